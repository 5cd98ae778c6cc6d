"""The record of payment attempts: one JSON line in the log and one count in the metrics for each.

A line says when, which request and order, whose session (only its hash, because the id is the key to the account), how
much, how it ended, why, and how long it took. Amounts are major units.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import card_data, metrics, money
from .errors import PaymentError

log = logging.getLogger(__name__)


@dataclass
class Attempt:
    """What becomes known of a payment on its way; `amount` is in minor units.

    `repeated` when it was answered with what an earlier attempt came to, `opened` when it is the customer's turn to
    pay at the gateway.
    """

    session_id: str
    order_id: str | None = None
    amount: int | None = None
    repeated: bool = False
    opened: bool = False


@contextmanager
def recorded(session_id: str) -> Iterator[Attempt]:
    """Records the attempt that is made inside, by the PaymentError or other exception that leaves it, if any."""
    attempt = Attempt(session_id)
    began = time.perf_counter()
    outcome, reason = metrics.SUCCESS, "paid"
    try:
        yield attempt
        if attempt.repeated:
            outcome, reason = metrics.REPEATED, "answered_before"
        elif attempt.opened:
            outcome, reason = metrics.OPENED, "checkout"
    except PaymentError as error:
        outcome, reason = error.outcome, error.reason
        raise
    except Exception:
        outcome, reason = "failed", "internal_error"
        raise
    finally:
        seconds = time.perf_counter() - began
        metrics.attempts.labels(outcome, reason).inc()
        metrics.durations[outcome].observe(seconds)
        fields = {
            "order_id": attempt.order_id,
            "session": _session_hash(attempt.session_id),
            "amount": None if attempt.amount is None else money.to_json(attempt.amount),
            "outcome": outcome,
            "reason": reason,
            "duration_ms": round(1000 * seconds, 1),
        }
        log.info("payment attempt", extra={"fields": fields})


def _session_hash(session_id: str) -> str | None:
    """The same on all hosts and in all releases; None for a card's number, which its hash would give away."""
    if card_data.in_text(session_id):
        return None
    return hashlib.sha256(session_id.encode()).hexdigest()[:16]
