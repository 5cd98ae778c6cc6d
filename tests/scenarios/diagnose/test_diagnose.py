"""Each fault is done to a real host or its neighbours; the first cause that diagnose.yml names must be that fault, and
for many of them the command that it gives is run, and must help.

What cannot be had in a container, a denial of SELinux's and a wrong clock, is judged in tests/project from evidence.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import results
import testinfra
from faults import FAULTS, PAYMENT, Fault

from conftest import PATIENCE, ask, wait_until

Host = testinfra.host.Host

# All that diagnosing might leave behind: files with their owners, modes, sizes and times, but for what the service
# itself writes as it runs; units; rules of the firewall.
SNAPSHOT = """
find /etc /opt /usr/local /var/lib/skillupworks /var/log/skillupworks /root /tmp /var/tmp -mindepth 1 -xdev \
    -not -path '*/ledger.db*' -not -path '*/payment.log' -printf '%p %u %g %m %s %T@ %l\\n' | sort
systemctl show --property=Id,LoadState,UnitFileState 'payment*' 'nginx*' 'firewalld*'
systemctl list-unit-files --no-legend 'payment*'
firewall-cmd --list-all-zones
"""


class Confusion:
    """What was done, and what was found first: shown at the end, and written to results/diagnose.json."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("injected, and diagnosed first")
        for row in self.rows:
            mark = " " if row["injected"] == row["diagnosed"] else "X"
            terminalreporter.write_line(f"{mark} {row['injected']:<28} {row['diagnosed']}")
        with results.document("diagnose", []) as document:
            document[:] = self.rows


@pytest.fixture(scope="module")
def confusion(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    table = Confusion()
    request.config.pluginmanager.register(table)
    return table.rows


@pytest.fixture(scope="module")
def on(request: pytest.FixtureRequest) -> Callable[[str], Host]:
    """The host of the inventory with that name."""
    inventory = request.config.getoption("ansible_inventory")
    return lambda name: testinfra.get_host(f"ansible://{name}?sudo=true", ansible_inventory=inventory)


@pytest.fixture
def diagnose(play: Callable[..., object], tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Run diagnose.yml; the causes that it wrote down, and showed."""

    def run(**inventory: str) -> list[dict[str, str]]:
        played = play("diagnose.yml", payment_checkup_results=str(tmp_path), **inventory)
        assert played.code == 0, played.output
        causes = json.loads((tmp_path / "diagnosis.json").read_text())["causes"]
        assert [each["cause"] for each in causes if each["command"] not in played.output] == []
        return causes

    return run


@pytest.fixture
def unchanged(on: Callable[[str], Host]) -> Callable[[], AbstractContextManager[None]]:
    """Nothing may change meanwhile on the hosts that are looked at."""
    hosts = [on(PAYMENT), on("frontend-1")]

    def look() -> list[set[str]]:
        return [set(host.run(SNAPSHOT).stdout.splitlines()) for host in hosts]

    @contextmanager
    def watch() -> Iterator[None]:
        before = look()
        assert all(len(seen) > 100 for seen in before)
        yield
        assert [sorted(now ^ then) for now, then in zip(look(), before, strict=True)] == [[] for _ in hosts]

    return watch


@pytest.fixture
def well(url: str, on: Callable[[str], Host]) -> Callable[[], None]:
    """Wait until the service is what it was."""
    until = f"until curl --silent --max-time 5 {url}/health | grep '.healthy.'; do sleep 1; done"
    return lambda: on(PAYMENT).check_output(f"timeout {PATIENCE} sh -c %s", until)


@pytest.fixture
def injected(
    on: Callable[[str], Host], well: Callable[[], None], settings: dict[str, str]
) -> Callable[[Fault], AbstractContextManager[None]]:
    """Do a fault, and undo it."""
    known = {"{password}": settings["payment_amqp_password"], "{broker}": settings["payment_amqp_host"]}

    def run(host: str, command: str) -> None:
        for name, value in known.items():
            command = command.replace(name, value)
        on(host).check_output(command)

    @contextmanager
    def do(fault: Fault) -> Iterator[None]:
        try:
            run(fault.on, fault.do)
            yield
        finally:
            run(fault.on, fault.undo)
            well()

    return do


def test_a_healthy_host_has_no_cause_and_is_left_as_it_was(diagnose, unchanged, confusion, well):
    well()
    with unchanged():
        causes = diagnose()
    confusion.append({"injected": "nothing", "diagnosed": causes[0]["cause"] if causes else "nothing"})
    assert causes == []


def test_a_host_that_is_down_is_left_as_it_was(diagnose, unchanged, injected):
    with injected(FAULTS[0]), unchanged():
        assert [each["cause"] for each in diagnose()] == [FAULTS[0].name]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault, injected, diagnose, confusion, on, well, url):
    with injected(fault):
        for attempt in range(3 * fault.pays):  # one after the other, as one may fail for itself
            with pytest.raises(OSError, match=r"50\d"):
                ask(f"{url}/pay/diagnosed-{attempt}", {})
        if fault.orders:
            ask(f"{url}/pay/diagnosed-{time.time_ns()}", {})
            wait_until(
                lambda: ask(f"{url}/health")["rabbitmq"] == "disconnected", "the service has seen that it is refused"
            )
        causes = diagnose(**fault.inventory)
        confusion.append({"injected": fault.name, "diagnosed": causes[0]["cause"] if causes else "nothing"})
        assert confusion[-1]["diagnosed"] == fault.name, causes
        if fault.cured:
            on(causes[0]["on"]).check_output(causes[0]["command"])
            well()
    if fault.pays:
        assert ask(f"{url}/pay/well-again", {})["status"] == "success"
