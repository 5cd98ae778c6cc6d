"""A broker and a shop for the whole run, and the service in both of its runtimes."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

sys.dont_write_bytecode = True  # files/payment is what gets bundled

from broker import PASSWORD, USER, Broker  # noqa: E402
from ports import free_port  # noqa: E402
from postgres import Postgres  # noqa: E402
from service import APP, ROOT, Service  # noqa: E402

RUNTIMES = ["uwsgi", "python"]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # what the workers of pytest-xdist see is reported to their controller
        config.pluginmanager.register(FaultTable())


class FaultTable:
    """The rows of the fault scenarios: a table at the end of the run, also as results/faults.json."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._rows += [value for name, value in report.user_properties if name == "fault"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        columns = list(self._rows[0])
        lines = [columns, *([str(cell) for cell in row.values()] for row in self._rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        terminalreporter.section("faults")
        for cells in lines:
            names = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
            figures = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
            terminalreporter.write_line("  ".join(names + figures))
        (ROOT / "results").mkdir(exist_ok=True)
        (ROOT / "results" / "faults.json").write_text(json.dumps(self._rows, indent=2) + "\n")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres"))
    yield postgres
    postgres.remove()


@pytest.fixture(scope="session")
def shop() -> Iterator[dict[str, int]]:
    """The ports of the Cart and the User service."""
    ports = {service: free_port() for service in ("cart", "user")}
    program = ROOT / "testbed" / "neighbours" / "shop.py"
    processes = [
        subprocess.Popen([sys.executable, program, service, "--bind", "127.0.0.1", "--port", str(port)])
        for service, port in ports.items()
    ]
    yield ports
    for process in processes:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def put_cart(shop: dict[str, int]) -> Callable[..., str]:
    """Stores a cart, for a new session or the one that is given, and returns the session id."""
    numbers = itertools.count()

    def put(cart: dict, session_id: str | None = None) -> str:
        session_id = session_id or f"stored-{next(numbers)}"
        url = f"http://127.0.0.1:{shop['cart']}/cart/{session_id}"
        requests.put(url, data=json.dumps(cart), timeout=5).raise_for_status()
        return session_id

    return put


@pytest.fixture(scope="session")
def environment(broker: Broker, shop: dict[str, int]) -> dict[str, str]:
    """What the service's unit sets."""
    return {
        "CART_HOST": "127.0.0.1",
        "CART_PORT": str(shop["cart"]),
        "USER_HOST": "127.0.0.1",
        "USER_PORT": str(shop["user"]),
        "AMQP_HOST": "127.0.0.1",
        "PAYMENT_AMQP_PORT": str(broker.port),
        "AMQP_USER": USER,
        "AMQP_PASS": PASSWORD,
        "PAYMENT_GATEWAY": "sandbox://approve",
        # All tests come from one address. The limits are there, and far off.
        "PAYMENT_RATE_SESSION": "1000/60s",
        "PAYMENT_RATE_CLIENT": "900000/60s",
    }


@pytest.fixture(scope="session")
def ini(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The role's uWSGI configuration, rendered by Ansible with the role's defaults."""
    role, target = ROOT / "roles" / "payment", tmp_path_factory.mktemp("ini") / "payment.ini"
    subprocess.run(
        [
            *(ROOT / ".venv" / "bin" / "ansible", "localhost", "--connection", "local"),
            *("--module-name", "ansible.builtin.template"),
            *("--args", f"src={role / 'templates' / 'payment.ini.j2'} dest={target}"),
            *("--extra-vars", f"@{role / 'defaults' / 'main.yml'}"),
            *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_FILTER_PLUGINS": str(role / "filter_plugins")},
        check=True,
        capture_output=True,
    )
    return target.read_text()


@pytest.fixture(scope="session")
def launch(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], ini: str
) -> Iterator[Callable[..., Service]]:
    """Starts a service whose environment differs in the variables given as keywords, and waits until it is alive."""
    services = []

    def start(runtime: str, app: Path = APP, **variables: object) -> Service:
        changed = environment | {name: str(value) for name, value in variables.items()}
        services.append(Service(runtime, tmp_path_factory.mktemp(runtime), changed, ini, app))
        return services[-1].wait_until_alive()

    yield start
    for service in services:
        service.terminate()
    for service in services:
        service.wait()


@pytest.fixture
def start_service(launch: Callable[..., Service]) -> Iterator[Callable[..., Service]]:
    """`launch` for the time of a test."""
    services = []

    def start(*arguments: object, **options: object) -> Service:
        services.append(launch(*arguments, **options))
        return services[-1]

    yield start
    for service in services:
        service.terminate()


@pytest.fixture(scope="session")
def default_services(launch: Callable[..., Service]) -> dict[str, Service]:
    return {runtime: launch(runtime) for runtime in RUNTIMES}


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def service(default_services: dict[str, Service], runtime: str) -> Service:
    """The service with default settings, in one runtime and then in the other; tests share it."""
    return default_services[runtime]


@pytest.fixture
def uwsgi(default_services: dict[str, Service]) -> Service:
    """The service with default settings under uWSGI, for what does not depend on the runtime."""
    return default_services["uwsgi"]


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    directory.mkdir()
    return directory
