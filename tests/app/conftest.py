"""A broker and a shop for the whole run, and the service in both of its runtimes."""

import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

# Bytecode does not belong beside files/payment, which gets bundled. Without any, each worker compiles all for seconds.
PYCACHE = Path(__file__).parents[2] / ".cache" / "pycache"
sys.dont_write_bytecode, sys.pycache_prefix = False, str(PYCACHE)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(PYCACHE)  # of the workers, and of what tests start

from broker import PASSWORD, USER, BrokerClient  # noqa: E402
from ports import Gate, free_port  # noqa: E402
from postgres import PostgresClient  # noqa: E402
from service import APP, ROOT, Service  # noqa: E402
from shared import Shared  # noqa: E402
from worlds import NEIGHBOURS, SERVICE, vhosts_of  # noqa: E402

RUNTIMES = ["uwsgi", "python"]
LONGEST = (
    "world",
    "test_hostile",
    "test_razorpay_checkout",
    "test_openapi",
    "test_shared",
    "test_contract",
    "test_orders",
)

SHARED = pytest.StashKey[Shared]()
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
WORKERS = [f"gw{number}" for number in range(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")))] or [WORKER]


def pytest_configure(config: pytest.Config) -> None:
    if is_worker(config):
        config.stash[SHARED] = Shared(Path(config.workerinput["shared"]))
    else:  # what the workers of pytest-xdist see is reported to their controller
        config.stash[SHARED] = Shared(Path(tempfile.mkdtemp(prefix="payment-test-")))
        config.pluginmanager.register(FaultTable())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["shared"] = str(node.config.stash[SHARED].directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config):
        config.stash[SHARED].end()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_unit(item):
            item.add_marker(pytest.mark.unit)
    # What takes longest begins first, so that all workers end at about the same time.
    items.sort(key=lambda item: next((n for n, name in enumerate(LONGEST) if group_of(item).startswith(name)), 99))


def pytest_collection_finish(session: pytest.Session) -> None:
    if is_worker(session.config):
        shared = session.config.stash[SHARED]
        shared.once("groups", lambda: {item.nodeid: group_of(item) for item in session.items})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--numprocesses` alone distributes groups. pytest-xdist's own are marks, which it does not find in pytest 9."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return groups()[nodeid]

    # Once a worker has collected, which comes before the first question.
    groups = functools.cache(lambda: config.stash[SHARED].known("groups"))
    return Scheduling(config, log)


def is_unit(item: pytest.Item) -> bool:
    """Whether a test needs nothing but Python: no process is started, neither for it nor by it."""
    return "processes" not in item.fixturenames and "postgresql" not in params_of(item).values()


def group_of(item: pytest.Item) -> str:
    """Tests of one group run in one worker: those that share what takes long to start."""
    file, names = item.path.stem, set(item.fixturenames)
    if "played" in names:
        return f"world {params_of(item)['played'].world}"
    if "new_ledger" in params_of(item):
        return f"{file} {params_of(item)['new_ledger']}"
    if "start_service" in names and not names & {"default_services", "pair"}:
        return f"{file} {item.originalname}"
    return file


def params_of(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


class FaultTable:
    """The rows of the fault scenarios: a table at the end of the run, also as results/faults.json."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, dict[str, object]]] = []  # with the place of the scenario among all

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._rows += [value for name, value in report.user_properties if name == "fault"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        rows = [row for _, row in sorted(self._rows, key=lambda placed: placed[0])]  # workers play side by side
        columns = list(rows[0])
        lines = [columns, *([str(cell) for cell in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        terminalreporter.section("faults")
        for cells in lines:
            names = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
            figures = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
            terminalreporter.write_line("  ".join(names + figures))
        (ROOT / "results").mkdir(exist_ok=True)
        (ROOT / "results" / "faults.json").write_text(json.dumps(rows, indent=2) + "\n")


@pytest.fixture(scope="session")
def processes() -> None:
    """What starts a process asks for this, which tells whether a test is a unit test."""


@pytest.fixture(autouse=True)
def no_process_of_a_unit_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("unit"):
        complaint = "a unit test starts a process: ask for the fixture `processes`"
        monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail(complaint))


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config, processes: None) -> Shared:
    return pytestconfig.stash[SHARED]


@pytest.fixture(scope="session")
def broker(servers: Shared) -> BrokerClient:
    """A virtual host of this worker's own."""
    broker = servers.broker([*WORKERS, *vhosts_of(SERVICE), *vhosts_of(NEIGHBOURS)])
    broker.vhost = WORKER
    return broker


@pytest.fixture
def gate(broker: BrokerClient) -> Iterator[Gate]:
    """A way to the broker that can be closed: the broker itself is needed by others."""
    gate = Gate(broker.port)
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def postgres(servers: Shared) -> PostgresClient:
    return servers.postgres()


@pytest.fixture(scope="session")
def shop(processes: None) -> Iterator[dict[str, int]]:
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
def environment(broker: BrokerClient, shop: dict[str, int]) -> dict[str, str]:
    """What the service's unit sets."""
    return {
        "CART_HOST": "127.0.0.1",
        "CART_PORT": str(shop["cart"]),
        "USER_HOST": "127.0.0.1",
        "USER_PORT": str(shop["user"]),
        "AMQP_HOST": "127.0.0.1",
        "PAYMENT_AMQP_PORT": str(broker.port),
        "PAYMENT_AMQP_VHOST": broker.vhost,
        "AMQP_USER": USER,
        "AMQP_PASS": PASSWORD,
        "PAYMENT_GATEWAY": "sandbox://approve",
        # All tests come from one address. The limits are there, and far off.
        "PAYMENT_RATE_SESSION": "1000/60s",
        "PAYMENT_RATE_CLIENT": "900000/60s",
    }


@pytest.fixture(scope="session")
def ini(servers: Shared) -> str:
    """The role's uWSGI configuration, rendered by Ansible with the role's defaults."""
    return servers.once("ini", lambda: rendered(servers.directory / "payment.ini"))


def rendered(target: Path) -> str:
    role = ROOT / "roles" / "payment"
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
    tmp_path_factory.getbasetemp()  # made at the first use, which must not be that of several threads

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
