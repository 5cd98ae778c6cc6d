"""Runs the shipped playbooks against test hosts, and load beside them. Not for a live fleet."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).parents[2]
APP = ROOT / "files" / "payment"
sys.path.append(str(ROOT / "tests"))

import playbooks  # noqa: E402
import resolved_inventory  # noqa: E402
import results  # noqa: E402

from load import Load  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "in_turn: each test of the file goes on from where the one before it has ended")
    config.given_inventory = config.getoption("ansible_inventory")
    resolved_inventory.use(config)
    config.pluginmanager.register(Table())


@pytest.hookimpl(hookwrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """A test that is chosen from a file of tests in turn brings those before it along."""
    written = list(items)
    yield
    chosen = set(items)
    last = {item.path: item for item in written if item in chosen and item.get_closest_marker("in_turn")}
    for path, item in last.items():
        chosen |= {each for each in written[: written.index(item)] if each.path == path}
    items[:] = [item for item in written if item in chosen]


class Table:
    """What each load saw, shown at the end, and written to results/releases.json beside what other scenarios saw."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._rows += [value for name, value in report.user_properties if name == "load"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        terminalreporter.section("releases under load")
        for row in self._rows:
            terminalreporter.write_line("{scenario:<40} {requests:>8} {failed:>6} {longest_s:>8}".format(**row))
        seen = {row["scenario"] for row in self._rows}
        with results.document("releases", []) as rows:
            rows[:] = [row for row in rows if row["scenario"] not in seen] + self._rows


PATIENCE = (
    180  # seconds: what is only waited for takes ten at most, and three times that is none of the tests' business
)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as the condition holds; an OSError is that it does not yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.5)


def ask(url: str, body: object = None, **headers: str) -> dict[str, object]:
    """The document that comes of a GET or, with a body, a POST; urllib's HTTPError unless it succeeds."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def releases(host: object, settings: dict[str, object]) -> set[str]:
    """The ids of the releases that lie on the host."""
    return set(host.check_output(f"ls {settings['payment_root']}/releases").split())


@dataclass(frozen=True)
class Played:
    """One run of a playbook."""

    code: int
    output: str

    def recap(self, host: str) -> dict[str, int]:
        """How many tasks of `host` were ok, changed, failed and so on."""
        line = re.search(rf"^{host} +: (.*)$", self.output, re.MULTILINE)[1]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}

    def changed(self) -> list[str]:
        """The names of the tasks that changed something, in their order."""
        tasks = re.split(r"^TASK \[", self.output, flags=re.MULTILINE)[1:]
        return [task.split("]")[0].split(" : ")[-1] for task in tasks if re.search(r"^changed: ", task, re.MULTILINE)]


@pytest.fixture(scope="module")
def play(request: pytest.FixtureRequest, host: object) -> Callable[..., Played]:  # of a host: it keeps the tests' order
    """Run a playbook, with variables as keywords; with `kill_at`, kill it -9 as soon as that task begins."""

    def run(playbook: str, *arguments: str, kill_at: str | None = None, **variables: object) -> Played:
        given = f"--inventory={request.config.given_inventory}", f"--extra-vars={json.dumps(variables)}"
        started = playbooks.Run(f"playbooks/{playbook}", *given, *arguments)
        lines = []
        for line in started.lines:
            lines.append(line)
            if kill_at and re.match(rf"TASK \[.*\b{re.escape(kill_at)}\]", line):
                started.kill()
        return Played(started.wait()[0], "".join(lines))

    return run


@pytest.fixture(scope="session")
def wheels() -> Path:
    """What the app requires, ready to be installed."""
    built = subprocess.run([ROOT / "scripts/wheels/build.sh"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Callable[..., dict[str, str]]:
    """Variables that deploy the bundled app under another version, with `program` before what its payment.py does."""

    def changed(version: str, program: str = "") -> dict[str, str]:
        app = tmp_path_factory.mktemp("source") / "payment"
        shutil.copytree(APP, app)
        shutil.copytree(wheels, app / "wheels")
        (app / "VERSION").write_text(f"{version}\n")
        if program:
            payment = app / "payment.py"
            payment.write_text(f"{program}\n{payment.read_text()}")
        return {"payment_artifact_url": "bundled", "__payment_bundle_source": str(app)}

    return changed


@pytest.fixture(scope="module")
def settings(host: object) -> dict[str, object]:
    return host.ansible.get_variables()


@pytest.fixture(scope="module")
def url(settings: dict[str, object]) -> str:
    return f"http://{settings['ansible_host']}:{settings['payment_port']}"


@pytest.fixture(scope="module")
def payment_hosts(settings: dict[str, object], request: pytest.FixtureRequest) -> dict[str, Host]:
    """All payment hosts, by name."""
    inventory = request.config.getoption("ansible_inventory")
    return {
        name: testinfra.get_host(f"ansible://{name}?sudo=true", ansible_inventory=inventory)
        for name in settings["groups"]["payment"]
    }


@pytest.fixture(scope="module")
def urls(payment_hosts: dict[str, Host], settings: dict[str, object]) -> dict[str, str]:
    """Where the payment hosts themselves are asked, by name."""
    addresses = {name: host.ansible.get_variables()["ansible_host"] for name, host in payment_hosts.items()}
    return {name: f"http://{address}:{settings['payment_port']}" for name, address in addresses.items()}


@pytest.fixture(scope="module")
def entrance(settings: dict[str, object], url: str) -> str:
    """Where clients ask: the frontend, where it is the host under test and leads to the payment hosts."""
    return f"http://{settings['ansible_host']}/api/payment" if settings.get("payment_route_enabled") else url


@pytest.fixture
def release(url: str) -> Callable[[], str]:
    """The id of the release that serves."""
    return lambda: ask(f"{url}/live")["release"]


@pytest.fixture(scope="module")
def order_of(url: str) -> Callable[[], str]:
    """Pay, always with one key: the id of the order, which is the same as long as the ledger is."""
    key = {"Idempotency-Key": "kept through releases"}
    return lambda: ask(f"{url}/pay/demo-kept", {}, **key)["orderId"]


@pytest.fixture
def under_load(
    entrance: str, record_property: Callable[[str, object], None]
) -> Callable[..., AbstractContextManager[Load]]:
    """No request may fail meanwhile, except in ways that match `unless`."""

    @contextmanager
    def load(scenario: str, unless: str = "(?!)") -> Iterator[Load]:
        with Load(entrance) as running:
            yield running
        record_property("load", running.row(scenario))
        failed = [answer for answer in running.failed() if not re.match(unless, str(answer.status))]
        assert Counter((answer.status, answer.message) for answer in failed) == {}
        assert len(running.answers) > 50  # it asks 55 times a second, and a run takes five seconds at least

    return load


@pytest.fixture
def unchanged(host: object) -> Iterator[None]:
    """The test leaves links, units, configuration, releases, accounts, ports and the running processes as they were."""

    def state() -> str:
        return host.check_output(
            "readlink /app; systemctl show payment.service payment.socket firewalld.service"
            " --property=MainPID,ActiveEnterTimestamp,UnitFileState --value;"
            " find /app /opt/skillupworks /etc/skillupworks /etc/systemd/system /etc/logrotate.d /etc/firewalld"
            r" -printf '%p %i %C@ %m %U %l\n' | sort; md5sum /etc/passwd /etc/group"
        )

    before = state()
    yield
    assert state() == before
