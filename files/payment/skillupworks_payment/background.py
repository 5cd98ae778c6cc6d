"""What goes on beside the requests: every process stands for election, and the elected one publishes and reconciles."""

import atexit
import logging
import threading
import time
from contextlib import suppress

from . import metrics, threads
from .database import Database, Election, LedgerUnavailable
from .ledger import Ledger
from .reconciler import Reconciler
from .relay import Relay

_RETRY = 1.0  # seconds until a process stands for election again after an error
_LAST_ORDERS = 2.0  # seconds that a process which ends leaves the relay for what is still in the outbox
_WAITS_FOR_BROKER = 1.0  # an order that is older, in seconds, is not taken at once

log = logging.getLogger(__name__)


class Background:
    """The threads of one process. Make it before a fork, `start` it after."""

    def __init__(self, database: Database, ledger: Ledger, relay: Relay, reconciler: Reconciler) -> None:
        self._database = database
        self._ledger = ledger
        self._relay = relay
        self._reconciler = reconciler
        self._stop = threading.Event()
        self._elected = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Calls after the first do nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threads.start("election", self._run)
                atexit.register(self.close)

    def close(self) -> None:
        """Leave no order behind that RabbitMQ takes at once, give up the election and log out of the broker."""
        deadline = time.monotonic() + _LAST_ORDERS
        with suppress(LedgerUnavailable):
            while time.monotonic() < deadline and 0 < self._ledger.backlog().oldest < _WAITS_FOR_BROKER:
                time.sleep(0.02)
        self._stop.set()
        self._database.wake()
        if self._thread and self._elected:
            self._thread.join(_LAST_ORDERS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._database.migrate()  # which may not have been possible at start
                with self._database.elected() as election:
                    self._elected = True
                    self._serve(election)
            except LedgerUnavailable as error:
                log.warning("cannot stand for election now: %s", error)
                time.sleep(_RETRY)
            except Exception:
                log.exception("cannot publish orders now")
                time.sleep(_RETRY)
            finally:
                self._elected = False

    def _serve(self, election: Election) -> None:
        log.info("elected to publish orders")
        metrics.relay_elected.set(1)
        ended = threading.Event()
        threads.start("reconciler", self._reconciler.run, ended)
        try:
            self._relay.run(self._stop, election.wait, election.holds)
        finally:
            metrics.relay_elected.set(0)
            ended.set()
