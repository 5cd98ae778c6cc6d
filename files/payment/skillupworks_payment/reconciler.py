"""Finds out how payments ended whose outcome nobody knows, by asking the gateway for the order id.

Such a payment is `unknown` when the gateway did not answer in time, or `pending` for longer than any request lives: its
process was killed. What counts is how long this process has seen it so, by the monotonic clock: the wall clock may be
set. A payment that the gateway does not know is closed; should the gateway take the money after all, it is given back.
"""

import logging
import threading
import time

from . import answers, clock, metrics, schema
from .answers import Answer
from .database import TIMEOUT, LedgerUnavailable
from .errors import charge_failed
from .gateway import Gateway, OutcomeUnknown
from .idempotency import is_key
from .ledger import KEY_LIFETIME, Ledger, Unresolved
from .orders import Order

_LOOK = 1.0  # seconds between two looks into the ledger, which are cheap
_CHECKS = 8  # of a closed payment, each after twice the time of the one before
_FORGET = 3600.0  # seconds between two removals of old claims

log = logging.getLogger(__name__)


class Reconciler:
    """Runs in one thread of the elected process."""

    def __init__(self, ledger: Ledger, gateway: Gateway, *, gateway_timeout: float, interval: float) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._interval = interval
        self._delays = {
            # A request waits for the gateway, and then for the ledger, no longer than this.
            schema.PENDING: gateway_timeout + TIMEOUT + 1,
            # The gateway may still be at it: it gets as long again as the request waited for it.
            schema.UNKNOWN: gateway_timeout,
            schema.CLOSED: interval,
        }
        self._due: dict[tuple[str, str], float] = {}  # of each payment in each state, when to ask for it
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
        found = self._ledger.unresolved(_CHECKS)
        now = time.monotonic()
        self._due = {
            (payment.order_id, payment.state): self._due.get(
                (payment.order_id, payment.state), now + self._delays[payment.state] * 2**payment.checks
            )
            for payment in found
        }
        for payment in found:
            if self._due[payment.order_id, payment.state] <= time.monotonic():
                self._settle(payment)
        if self._forget_at <= now:
            self._forget_at = now + _FORGET
            self._ledger.forget(KEY_LIFETIME)

    def _settle(self, payment: Unresolved) -> None:
        entry = (payment.order_id, payment.state)
        try:
            payment_id = self._gateway.find(payment.order_id)
            if payment.state == schema.CLOSED:
                self._check(payment, payment_id)
                del self._due[entry]
            elif payment_id is None:
                self._close(payment)
            else:
                self._complete(payment, payment_id)
        except OutcomeUnknown as error:
            log.warning("the gateway does not say what became of %s: %s", payment.order_id, error)
            self._due[entry] = time.monotonic() + self._interval

    def _complete(self, payment: Unresolved, payment_id: str) -> None:
        order = Order(payment.draft, payment_id, clock.now())
        if self._ledger.pay(payment.order_id, payment_id, answers.success(order), order.event()):
            log.info("%s had been paid: its order follows", payment.order_id)
            metrics.reconciled.labels("paid").inc()

    def _close(self, payment: Unresolved) -> None:
        # A refusal that a client was given under its key stands. Where nobody was told anything, anybody may try again.
        keep_claim = is_key(payment.claim) and payment.state == schema.UNKNOWN
        if self._ledger.close(payment.order_id, _timed_out(payment), keep_claim):
            log.info("%s had not been paid: closed", payment.order_id)
            metrics.reconciled.labels("closed").inc()

    def _check(self, payment: Unresolved, payment_id: str | None) -> None:
        if payment_id is None:
            self._ledger.checked(payment.order_id, payment.checks + 1)
            return
        self._gateway.void(payment_id)
        self._ledger.checked(payment.order_id, _CHECKS)
        log.error("%s was paid after it had been closed: payment %s given back", payment.order_id, payment_id)
        metrics.reconciled.labels("given_back").inc()


def _timed_out(payment: Unresolved) -> Answer:
    return answers.failure(charge_failed("gateway_timeout", "Gateway timeout"), payment.session_id)
