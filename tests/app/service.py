"""The service as it runs on a host: under uWSGI with the role's ini, or as `python payment.py`."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
APP = ROOT / "files" / "payment"
DEMO_BODY = {"total": 1999, "items": [{"sku": "Linux", "qty": 1, "price": 1999}]}

# Becomes the service, with a listening socket that was handed over as systemd does it.
_EXEC_WITH_SOCKET = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


def listening_socket() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


class Service:
    """One running service; `environment` is all it gets beside PATH."""

    def __init__(
        self,
        runtime: str,
        directory: Path,
        environment: dict[str, str],
        *,
        ini: str,
        listener: socket.socket | None = None,
    ) -> None:
        self._listener = listener or listening_socket()
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.stdout, self.stderr = directory / "stdout", directory / "stderr"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "PAYMENT_BIND": "127.0.0.1",
            "PAYMENT_PORT": str(self.port),
            **environment,
        }
        if runtime == "uwsgi":
            (directory / "payment.ini").write_text(ini.replace("@PORT@", str(self.port)))
            (directory / "counters").mkdir()
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory / "counters")
            command = [str(Path(sys.executable).with_name("uwsgi")), "--ini", str(directory / "payment.ini")]
        else:
            command = [sys.executable, str(APP / "payment.py")]
        hand_over = [sys.executable, "-c", _EXEC_WITH_SOCKET, str(self._listener.fileno())]
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*hand_over, *command],
                cwd=APP,
                env=environment,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[self._listener.fileno()],
                start_new_session=True,
            )
        if listener is None:
            self._listener.close()  # from now on it is the service's alone, and closed when the service ends

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

    def pay(self, session_id: str, body: Any = DEMO_BODY, **options: Any) -> requests.Response:
        return requests.post(f"{self.url}/pay/{session_id}", **{"json": body, "timeout": 15} | options)

    def post(self, session_id: str, text: str | bytes, content_type: str = "application/json") -> requests.Response:
        return self.pay(session_id, None, data=text, headers={"Content-Type": content_type})

    def logs(self) -> str:
        return self.stdout.read_text() + self.stderr.read_text()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
