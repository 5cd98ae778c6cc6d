"""Whether the services behind this one can be reached, asked anew and not from what earlier payments saw.

The ledger is asked too. RabbitMQ counts as disconnected also while it refuses an order, or leaves one waiting.
"""

import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pika
import requests

from . import clock
from .amqp import connection_parameters
from .contract import HealthReport
from .ledger import Backlog, Ledger
from .settings import Endpoint, Settings

_DEADLINE = 1.2  # seconds until a dependency counts as disconnected; the answer is promised within two
_PATIENCE = 10.0  # seconds that an order may wait for RabbitMQ
_MAX_AGE = 1.0  # seconds that a report serves everybody who asks


class Health:
    """Reports on cart, user, rabbitmq and the ledger. One serves all threads of a process."""

    def __init__(self, settings: Settings, ledger: Ledger, shared: Path | None) -> None:
        """Processes with the same file `shared` share what they hear; None when there is only one."""
        self._probes: dict[str, Callable[[], Backlog | None]] = {
            "cart": lambda: _get_health(settings.cart),
            "user": lambda: _get_health(settings.user),
            "rabbitmq": lambda: pika.BlockingConnection(connection_parameters(settings)).close(),
            "ledger": ledger.backlog,
        }
        # One thread for each probe. One that hangs is not started again before it ends, so that threads do not pile up.
        self._threads = ThreadPoolExecutor(len(self._probes), thread_name_prefix="health")
        self._running: dict[str, Future[Backlog | None]] = {}
        self._lock = threading.Lock()
        self._shared = shared
        self._report: HealthReport | None = None
        self._expires = 0.0

    def report(self) -> HealthReport:
        """The body of GET /health, not older than a second, within two whatever hangs."""
        with self._lock:
            if self._expired():
                with self._turn():
                    if self._expired():
                        self._report = self._ask()
                        self._expires = time.monotonic() + _MAX_AGE
            return self._report

    def _expired(self) -> bool:
        return time.monotonic() >= self._expires

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process of those that share the file asks at a time; inside, this one knows what the last one has heard.

        The monotonic clock is the same for all processes of a host.
        """
        if self._shared is None:
            yield
            return
        with self._shared.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if heard := file.read():
                self._expires, self._report = json.loads(heard)
            before = self._expires
            yield
            if self._expires != before:
                file.truncate(0)
                file.write(json.dumps([self._expires, self._report]).encode())

    def _ask(self) -> HealthReport:
        for name, probe in self._probes.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._threads.submit(probe)
        wait(self._running.values(), timeout=_DEADLINE)
        connected = {name: call.done() and not call.exception() for name, call in self._running.items()}
        extra = {}
        if connected.pop("ledger"):
            backlog = self._running["ledger"].result()
            if backlog.problem or backlog.oldest > _PATIENCE:
                connected["rabbitmq"] = False
                extra["unpublished"] = backlog.unpublished
        else:
            extra["ledger"] = "disconnected"
        return HealthReport(
            status="healthy" if all(connected.values()) and not extra else "degraded",
            service="payment",
            **{name: "connected" if yes else "disconnected" for name, yes in connected.items()},
            **extra,
            timestamp=clock.rfc3339(clock.now()),
        )


def _get_health(endpoint: Endpoint) -> None:
    """Raises unless the service answers, over a connection of its own, and with no error of the server."""
    with requests.Session() as session:
        session.trust_env = False  # neighbours are not behind the proxy that the environment may name
        url = f"http://{endpoint.host}:{endpoint.port}/health"
        with session.get(url, timeout=_DEADLINE, allow_redirects=False, stream=True) as answer:
            if answer.status_code >= 500:
                answer.raise_for_status()
