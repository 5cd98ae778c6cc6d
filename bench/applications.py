"""The applications that `make bench` compares, each under uWSGI as the role configures it for our service."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).parent
ROOT = BENCH.parent
CACHE = ROOT / ".cache" / "bench"
sys.path.append(str(ROOT / "tests" / "app"))

from broker import PASSWORD  # noqa: E402
from service import APP, PYCACHE, Service  # noqa: E402

ADDRESS = "127.84.0.1"  # of the stub and the broker, as in inventory.yml
PEER_EXCHANGE, PEER_QUEUE = "robot-shop", "bench-peer"


@dataclass(frozen=True)
class Application:
    """One that runs, with the queue that its orders go to."""

    name: str
    settings: str  # processes x threads
    slots: int
    queue: str | None
    service: Service


def render(folder: Path, **variables: object) -> tuple[dict[str, str], str]:
    """The environment of the unit and the ini, as the role renders them for inventory.yml with these variables."""
    folder.mkdir()
    (folder / "attempts").mkdir()  # payment_log_dir
    playbook = [ROOT / ".venv/bin/ansible-playbook", "--inventory", BENCH / "inventory.yml", BENCH / "render.yml"]
    given = json.dumps({"bench_folder": str(folder), **variables})
    done = subprocess.run([*playbook, "--extra-vars", given], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the role does not render the service:\n{done.stdout}")
    unit = (folder / "payment.service").read_text()
    assignments = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("Environment=")]
    environment = dict(each.partition("=")[::2] for line in assignments for each in shlex.split(line))
    return environment, (folder / "payment.ini").read_text()


def ours(folder: Path, prepare: Callable[[], None] = lambda: None, **variables: object) -> Application:
    """The service of this checkout; its ledger and logs are in `folder`, where `prepare` may put something first."""
    environment, ini = render(folder, **variables)
    prepare()
    for name in ("PAYMENT_BIND", "PAYMENT_PORT", "PROMETHEUS_MULTIPROC_DIR"):  # Service has its own
        del environment[name]
    environment["CREDENTIALS_DIRECTORY"] = str(folder)
    (folder / "amqp_password").write_text(PASSWORD)
    return _start("ours", "order-processing", folder, environment, ini, APP)


def peer(source: Path, folder: Path, **variables: object) -> Application:
    """The WSGI application payment:app in the folder `source`, in a virtual environment with its own requirements."""
    _, ini = render(folder, **variables)
    environment = {
        "USER_HOST": ADDRESS,
        "CART_HOST": ADDRESS,
        "PAYMENT_GATEWAY": f"http://{ADDRESS}:8080/",
        "AMQP_HOST": ADDRESS,
        "INSTANA_DISABLE": "true",  # it has no agent here to report to
    }
    return _start("peer", PEER_QUEUE, folder, environment, ini, source, _python_for(source))


def floor(folder: Path, **variables: object) -> Application:
    """A Flask application that does nothing."""
    _, ini = render(folder, **variables)
    return _start("flask", None, folder, {}, ini, BENCH / "floor")


def _start(
    name: str,
    queue: str | None,
    folder: Path,
    environment: dict[str, str],
    ini: str,
    app: Path,
    python: Path = Path(sys.executable),
) -> Application:
    settings = dict(line.split(" = ") for line in ini.splitlines() if line.startswith(("processes =", "threads =")))
    processes, threads = int(settings["processes"]), int(settings["threads"])
    # As the role does it: what compiles modules while it starts keeps the memory that this took.
    compiling = [python, "-m", "compileall", "-qq", "-j", "0", app, python.parents[1] / "lib"]
    subprocess.run(compiling, check=False, env=os.environ | PYCACHE)  # some package may hold what is no Python
    service = Service("uwsgi", folder, environment, ini, app, python)
    return Application(name, f"{processes}x{threads}", processes * threads, queue, service)


def _python_for(source: Path) -> Path:
    """Python with the requirements of the application, if it states any, and the uWSGI that our service has."""
    requirements = source / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable)
    python, stamp = CACHE / "peer" / "bin" / "python", CACHE / "peer" / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        shutil.rmtree(CACHE / "peer", ignore_errors=True)
        print("making a virtual environment for the peer", flush=True)
        subprocess.run([sys.executable, "-m", "venv", CACHE / "peer"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        (CACHE / "constraints.txt").write_text(_locked("uwsgi") + "\n")
        install = [*pip, "--requirement", requirements, "--constraint", CACHE / "constraints.txt"]
        subprocess.run([*install, "uwsgi"], check=True, env=os.environ)
        shutil.copy(requirements, stamp)
    return python


def _locked(package: str) -> str:
    """The version of a package that our service has, such as uwsgi==2.0.31."""
    lines = (APP / "requirements.txt").read_text().splitlines()
    return next(line.split()[0] for line in lines if line.startswith(f"{package}=="))
