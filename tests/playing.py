"""Fixtures that run the shipped playbooks against test hosts, and load beside them. Not for a live fleet."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import resolved_inventory
from steady_load import Load

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    config.given_inventory = config.getoption("ansible_inventory")
    resolved_inventory.use(config)
    config.pluginmanager.register(Table())


class Table:
    """What each load saw, shown at the end and written to results/releases.json, beside what other scenarios saw."""

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
        file = ROOT / "results" / "releases.json"
        file.parent.mkdir(exist_ok=True)
        earlier = json.loads(file.read_text()) if file.exists() else []
        rows = {row["scenario"]: row for row in earlier + self._rows}
        file.write_text(json.dumps(list(rows.values()), indent=2) + "\n")


def ask(url: str, body: object = None, **headers: str) -> dict[str, object]:
    """The document that comes of a GET or, with a body, a POST; urllib's HTTPError unless it succeeds."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Played:
    """One run of a playbook."""

    code: int
    output: str

    def recap(self, host: str) -> dict[str, int]:
        """How many tasks of `host` were ok, changed, failed and so on."""
        line = re.search(rf"^{host} +: (.*)$", self.output, re.MULTILINE)[1]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


@pytest.fixture(scope="module")
def play(request: pytest.FixtureRequest, host: object) -> Callable[..., Played]:  # of a host: it keeps the tests' order
    """Run a playbook, with variables as keywords; with `kill_at`, kill it -9 as soon as that task begins."""
    plain = {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true", "PYTHONUNBUFFERED": "1"}
    environment = os.environ | plain | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    def run(playbook: str, *arguments: str, kill_at: str | None = None, **variables: object) -> Played:
        command = [sys.executable, "-m", "ansible", "playbook", f"playbooks/{playbook}"]
        command += [f"--inventory={request.config.given_inventory}", f"--extra-vars={json.dumps(variables)}"]
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            if kill_at and re.match(rf"TASK \[.*\b{re.escape(kill_at)}\]", line):
                os.killpg(process.pid, signal.SIGKILL)
        return Played(process.wait(), "".join(lines))

    return run


@pytest.fixture(scope="session")
def wheels() -> Path:
    """What the app requires, ready to be installed."""
    built = subprocess.run([ROOT / "scripts/wheels/build.sh"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Callable[..., dict[str, str]]:
    """Variables that deploy the bundled app under another version; `program` goes to the end of its payment.py."""

    def changed(version: str, program: str = "") -> dict[str, str]:
        app = tmp_path_factory.mktemp("source") / "payment"
        shutil.copytree(ROOT / "files" / "payment", app)
        shutil.copytree(wheels, app / "wheels")
        (app / "VERSION").write_text(f"{version}\n")
        with (app / "payment.py").open("a") as payment:
            payment.write(program)
        return {"__payment_bundle_source": str(app)}

    return changed


@pytest.fixture(scope="module")
def settings(host: object) -> dict[str, object]:
    return host.ansible.get_variables()


@contextmanager
def loaded(record_property: Callable[[str, object], None], scenario: str, base: str) -> Iterator[Load]:
    """Load on the service at the URL `base`, recorded as a row of the table; no request may fail."""
    with Load(base) as running:
        yield running
    record_property("load", running.row(scenario))
    assert running.failed() == []
    assert len(running.answers) > 50
