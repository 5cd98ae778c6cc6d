"""What is started once for all workers of a run: by the first that needs it, and ended by the run itself."""

import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from broker import Broker, BrokerClient, stop_epmd
from postgres import Postgres, PostgresClient, is_running


class Shared:
    """`directory` is where the workers tell each other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def broker(self, vhosts: list[str]) -> BrokerClient:
        """Tests may not stop it, nor see what others do: each worker has a virtual host of its own."""

        def start() -> dict:
            broker = Broker(Path(tempfile.mkdtemp(dir=self.directory)), vhosts=vhosts)
            return {
                "pid": broker.pid,
                "address": broker.address,
                "port": broker.port,
                "environment": broker.environment,
            }

        known = self.once("broker", start)
        return BrokerClient(known["address"], known["port"], known["environment"])

    def postgres(self) -> PostgresClient:
        """Tests may not stop it."""

        def start() -> dict:
            postgres = Postgres(Path(tempfile.mkdtemp(dir=self.directory)))
            return {"pid": postgres.pids[0], "port": postgres.port, "home": str(postgres.home)}

        return PostgresClient(self.once("postgres", start)["port"])

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, which one worker calls while the others wait for it."""
        made = self.directory / f"{name}.json"
        with (self.directory / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                document = json.dumps(make())
                made.write_text(document)
            return json.loads(made.read_text())

    def end(self) -> None:
        """Once no worker needs anything any more."""
        if (known := self.known("broker")) is not None:
            with suppress(ProcessLookupError):
                os.killpg(known["pid"], signal.SIGKILL)
            stop_epmd(known["environment"])
        if (known := self.known("postgres")) is not None:
            with suppress(ProcessLookupError):
                os.kill(known["pid"], signal.SIGQUIT)
            while is_running(known["pid"]):
                time.sleep(0.05)
            shutil.rmtree(known["home"])
        shutil.rmtree(self.directory)

    def known(self, name: str) -> Any:
        """What was made once, if it was."""
        made = self.directory / f"{name}.json"
        return json.loads(made.read_text()) if made.exists() else None
