"""Finds out how payments ended whose outcome nobody knows, by asking the gateway.

Such a payment is `unknown` when the gateway did not answer in time, or `pending` or `capturing` for longer than any
request lives: its process was killed. What counts is how long this process has seen it so, by the monotonic clock: the
wall clock may be set. A payment that the gateway does not know is closed; should the gateway take the money after all,
it is given back. An order that the customer is to pay for is looked into when the gateway told something of it, and
when its time is up.
"""

import logging
import threading
import time

from . import schema
from .charging import Charging
from .database import TIMEOUT, LedgerUnavailable
from .gateway import OutcomeUnknown
from .ledger import KEY_LIFETIME, Ledger, Unresolved

_LOOK = 1.0  # seconds between two looks into the ledger, which are cheap
_FORGET = 3600.0  # seconds between two removals of old claims

log = logging.getLogger(__name__)


class Reconciler:
    """Runs in one thread of the elected process."""

    def __init__(
        self, ledger: Ledger, charging: Charging, *, gateway_timeout: float, interval: float, lifetime: float
    ) -> None:
        """`lifetime` is what a customer has to pay for an order, in seconds."""
        self._ledger = ledger
        self._charging = charging
        self._interval = interval
        self._lifetime = lifetime
        self._delays = {
            # A request waits for the gateway, and then for the ledger, no longer than this.
            schema.PENDING: gateway_timeout + TIMEOUT + 1,
            # It may ask the gateway how a capture ended.
            schema.CAPTURING: 2 * gateway_timeout + TIMEOUT + 1,
            # The gateway may still be at it: it gets as long again as the request waited for it.
            schema.UNKNOWN: gateway_timeout,
            schema.CLOSED: interval,  # each time twice as long as the time before
        }
        self._browser = gateway_timeout  # what the browser, which most often comes by itself, is given
        self._due: dict[tuple[str, str, bool], float] = {}  # of each payment as it stands, when to ask for it
        self._forget_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Look after what is unresolved until told to stop."""
        while not stop.wait(min(_LOOK, self._interval)):
            try:
                self.look()
            except LedgerUnavailable as error:
                log.warning("cannot reconcile now: %s", error)
            except Exception:
                log.exception("cannot reconcile now")

    def look(self) -> None:
        """Note what is unresolved now, and settle what has been so for long enough."""
        found = self._ledger.unresolved(time.time() - self._lifetime)
        now = time.monotonic()
        entries = {(payment.order_id, payment.state, payment.told): payment for payment in found}
        self._due = {entry: self._due.get(entry, now + self._delay(payment)) for entry, payment in entries.items()}
        for entry, payment in entries.items():
            if self._due[entry] <= time.monotonic():
                self._settle(entry, payment)
        if self._forget_at <= now:
            self._forget_at = now + _FORGET
            self._ledger.forget(KEY_LIFETIME)

    def _settle(self, entry: tuple[str, str, bool], payment: Unresolved) -> None:
        try:
            self._charging.settle(payment)
            del self._due[entry]
        except OutcomeUnknown as error:
            log.warning("the gateway does not say what became of %s: %s", payment.order_id, error)
            self._due[entry] = time.monotonic() + self._interval

    def _delay(self, payment: Unresolved) -> float:
        """How long a payment may stand so before it is looked into."""
        if payment.told and payment.state not in schema.UNRESOLVED:
            return self._browser
        return self._delays.get(payment.state, 0.0) * 2**payment.checks
