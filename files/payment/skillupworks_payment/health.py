"""Whether the services behind this one can be reached, asked anew and not from what earlier payments saw.

The ledger is asked too. RabbitMQ counts as disconnected also while it refuses an order, or leaves one waiting.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pika
import requests

from . import clock
from .amqp import connection_parameters
from .ledger import Backlog, Ledger
from .settings import Endpoint, Settings

_DEADLINE = 1.2  # seconds until a dependency counts as disconnected; the answer is promised within two
_PATIENCE = 10.0  # seconds that an order may wait for RabbitMQ
_MAX_AGE = 1.0  # seconds that a report serves everybody who asks


class Health:
    """Reports on cart, user, rabbitmq and the ledger. One serves all threads of a process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
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
        self._report: dict[str, str | int] = {}
        self._expires = 0.0

    def report(self) -> dict[str, str | int]:
        """The body of GET /health, not older than a second, within two whatever hangs."""
        with self._lock:
            if time.monotonic() >= self._expires:
                self._report = self._ask()
                self._expires = time.monotonic() + _MAX_AGE
            return self._report

    def _ask(self) -> dict[str, str | int]:
        for name, probe in self._probes.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._threads.submit(probe)
        wait(self._running.values(), timeout=_DEADLINE)
        connected = {name: call.done() and not call.exception() for name, call in self._running.items()}
        extra: dict[str, str | int] = {}
        if connected.pop("ledger"):
            backlog = self._running["ledger"].result()
            if backlog.problem or backlog.oldest > _PATIENCE:
                connected["rabbitmq"] = False
                extra["unpublished"] = backlog.unpublished
        else:
            extra["ledger"] = "disconnected"
        return {
            "status": "healthy" if all(connected.values()) and not extra else "degraded",
            "service": "payment",
            **{name: "connected" if yes else "disconnected" for name, yes in connected.items()},
            **extra,
            "timestamp": clock.rfc3339(clock.now()),
        }


def _get_health(endpoint: Endpoint) -> None:
    """Raises unless the service answers, over a connection of its own, and with no error of the server."""
    with requests.Session() as session:
        session.trust_env = False  # neighbours are not behind the proxy that the environment may name
        url = f"http://{endpoint.host}:{endpoint.port}/health"
        with session.get(url, timeout=_DEADLINE, allow_redirects=False, stream=True) as answer:
            if answer.status_code >= 500:
                answer.raise_for_status()
