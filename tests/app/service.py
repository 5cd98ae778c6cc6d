"""The service as it runs on a host: under uWSGI with the role's ini, or as `python payment.py`."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from ports import free_port

ROOT = Path(__file__).parents[2]
APP = ROOT / "files" / "payment"
_sessions = itertools.count()
DEMO_BODY = {"total": 1999, "items": [{"sku": "Linux", "qty": 1, "price": 1999}]}


def new_session() -> str:
    """A session id that nobody has paid with; its cart is the demo's."""
    return f"demo-{os.getpid()}-{next(_sessions)}"


class Service:
    """One running service; `environment` is what it gets beside PATH and its port, `app` where its code is.

    Ended, it can be started again: with the same port and ledger.
    """

    def __init__(self, runtime: str, directory: Path, environment: dict[str, str], ini: str, app: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "log"
        self._app = app
        self._counters = directory / "counters"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "pycache"),  # not beside the code, which gets bundled
            "PAYMENT_BIND": "127.0.0.1",
            "PAYMENT_PORT": str(self.port),
            "PAYMENT_LEDGER_URL": f"sqlite:///{directory / 'ledger.db'}",
            **environment,
        }
        if runtime == "uwsgi":
            (directory / "payment.ini").write_text(ini.replace("@PORT@", str(self.port)))
            self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(self._counters)
            self._command = [str(Path(sys.executable).with_name("uwsgi")), "--ini", str(directory / "payment.ini")]
        else:
            self._command = [sys.executable, str(app / "payment.py")]
        self.start()

    def start(self, **variables: str) -> None:
        """As the unit starts it; `variables` are for this time only."""
        shutil.rmtree(self._counters, ignore_errors=True)
        self._counters.mkdir()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._app,
                env=self.environment | variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_alive(self) -> "Service":
        deadline = time.monotonic() + 20
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
        return requests.get(self.url + path, **{"timeout": 10} | options)

    def pay(self, session_id: str | None = None, body: Any = DEMO_BODY, **options: Any) -> requests.Response:
        return requests.post(f"{self.url}/pay/{session_id or new_session()}", **{"json": body, "timeout": 15} | options)

    def post(self, session_id: str, text: str | bytes, content_type: str = "application/json") -> requests.Response:
        return self.pay(session_id, None, data=text, headers={"Content-Type": content_type})

    def post_with_key(self, session_id: str, key: str, text: bytes) -> requests.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self.pay(session_id, None, data=text, headers=headers)

    def logs(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        """End it with SIGTERM; the exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of its processes at once; returns when none has the port any more."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with suppress(OSError):
            while True:
                socket.create_connection(("127.0.0.1", self.port)).close()

    def wait(self) -> int:
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
