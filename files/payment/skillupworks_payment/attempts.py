"""The record of payment attempts: one JSON line in the log and one count in the metrics for each.

A line says when, which order, whose session (only its hash, because the id is the key to the account), how much, how it
ended, why, and how long it took. Amounts are major units.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import clock, metrics, money
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
        metrics.durations.labels(outcome).observe(seconds)
        log.info(_line(attempt, outcome, reason, seconds))


def _line(attempt: Attempt, outcome: str, reason: str, seconds: float) -> str:
    return json.dumps(
        {
            "time": clock.rfc3339(clock.now(), timespec="milliseconds"),
            "orderId": attempt.order_id,
            "session": hashlib.sha256(attempt.session_id.encode()).hexdigest()[:16],
            "amount": None if attempt.amount is None else money.to_json(attempt.amount),
            "outcome": outcome,
            "reason": reason,
            "duration_ms": round(1000 * seconds, 1),
        }
    )
