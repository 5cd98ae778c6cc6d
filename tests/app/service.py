"""The service as it runs on a host: under uWSGI with the role's ini, or as `python payment.py`."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
APP = ROOT / "files" / "payment"
PYCACHE = {"PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "pycache")}  # not beside the code, which gets bundled
# Seconds after which a test gives up what it waits for, and a client an answer. No good run comes near it, however busy
# the machine is: what is waited for takes a few seconds at most. Only what never comes makes anyone wait so long.
PATIENCE = 60
_sessions = itertools.count()
DEMO_BODY = {"total": 1999, "items": [{"sku": "Linux", "qty": 1, "price": 1999}]}


def new_session() -> str:
    """A session id that nobody has paid with; its cart is the demo's."""
    return f"demo-{os.getpid()}-{next(_sessions)}"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What `condition` returns, as soon as that is true; AssertionError when it never is."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return result


@contextmanager
def in_time(timeout: float) -> Iterator[None]:
    """It is over when the timeout that applies is, in seconds.

    Two seconds more are for a busy machine, which adds tenths of one. What has no timeout takes longer than that, since
    it waits for something that does not come by itself; and a second 2.5 seconds, for another try, do so too.
    """
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < timeout + 2, f"{took:.1f} s instead of {timeout:g}"


# What systemd does for a socket-activated service: the socket is file descriptor 3, meant for the process of that id.
_ACTIVATE = 'exec env LISTEN_FDS=1 LISTEN_PID=$$ "${@:2}" 3<&"$1"-'


class Service:
    """One running service; `environment` is what it gets beside PATH and its port, `app` where its code is,
    `python` that of the virtual environment that it runs in.

    As on a host, the listening socket is not its own: it stays open while the service is restarted.
    """

    def __init__(
        self,
        runtime: str,
        directory: Path,
        environment: dict[str, str],
        ini: str,
        app: Path,
        python: Path = Path(sys.executable),
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._socket.setblocking(False)  # NonBlocking= in the unit
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_directory = directory / "counters"
        self._directory = directory
        self._app = app
        self._environment = {
            "PATH": os.environ["PATH"],
            **PYCACHE,
            "PAYMENT_BIND": "127.0.0.1",
            "PAYMENT_PORT": str(self.port),
            "PAYMENT_LEDGER_URL": f"sqlite:///{directory / 'ledger.db'}",
            **environment,
        }
        if runtime == "uwsgi":
            (directory / "payment.ini").write_text(ini)
            self._environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.metrics_directory)
            self._command = [str(python.with_name("uwsgi")), "--ini", str(directory / "payment.ini")]
        else:
            self._command = [str(python), str(app / "payment.py")]
        self.start()

    def start(self, **variables: str) -> None:
        """Start the process, for the first time or after its end; `variables` are for this time only."""
        shutil.rmtree(self.metrics_directory, ignore_errors=True)
        self.metrics_directory.mkdir()
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", _ACTIVATE, "activate", str(self._socket.fileno()), *self._command],
                cwd=self._app,
                env=self._environment | variables,
                stdout=log,
                stderr=log,
                pass_fds=[self._socket.fileno()],
                start_new_session=True,
            )

    def wait_until_alive(self) -> "Service":
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.logs()
            try:
                self.get("/live", timeout=1)
                return self
            except requests.RequestException:
                time.sleep(0.05)
        self.stop()
        raise TimeoutError(self.logs())

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, **{"timeout": PATIENCE} | options)

    def pay(self, session_id: str | None = None, body: Any = DEMO_BODY, **options: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/pay/{session_id or new_session()}", **{"json": body, "timeout": PATIENCE} | options
        )

    def post(self, session_id: str, text: str | bytes, content_type: str = "application/json") -> requests.Response:
        return self.pay(session_id, None, data=text, headers={"Content-Type": content_type})

    def post_with_key(self, session_id: str, key: str, text: bytes) -> requests.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self.pay(session_id, None, data=text, headers=headers)

    def logs(self) -> str:
        return (self._directory / "log").read_text()

    def stop(self) -> int:
        """End it with SIGTERM; the exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
