"""How a payment ends when it does not end well: one exception class, one function for each HTTP meaning."""

from dataclasses import dataclass


@dataclass(eq=False)
class PaymentError(Exception):
    """The answer to a payment that was not made, or to a webhook that was not kept.

    `status` and `message` go to the client, with `field` (what to correct), `error` (why a charge failed), `code` (the
    gateway's word for that) and `retry_after` (seconds) where they apply. `reason` is the word for it in the log and
    the metrics.
    """

    status: int
    reason: str
    message: str
    field: str | None = None
    error: str | None = None
    code: str | None = None
    retry_after: int | None = None

    @property
    def outcome(self) -> str:
        """`refused` when the request was at fault, `failed` when this service or one behind it was."""
        return "refused" if self.status < 500 else "failed"


def invalid(field: str | None, message: str) -> PaymentError:
    """400: the request is malformed, or says something that is not so."""
    return PaymentError(400, "invalid_request", message, field=field)


def unknown_session() -> PaymentError:
    """401: the User service does not know the session."""
    return PaymentError(401, "unknown_session", "Session is not known")


def empty_cart() -> PaymentError:
    """400: there is nothing to pay for."""
    return PaymentError(400, "empty_cart", "Cart is empty")


def cart_too_large(problem: str) -> PaymentError:
    """400: nobody is charged for so much at once; the client can take something out."""
    return PaymentError(400, "cart_too_large", f"Cart is too large: {problem}")


def charge_failed(reason: str, error: str) -> PaymentError:
    """500: the gateway did not take the money, or did not say so in time."""
    return PaymentError(500, reason, "Payment processing failed", error=error)


def declined(error: str, code: str | None) -> PaymentError:
    """402: the gateway takes no money, and says why."""
    return PaymentError(402, "declined", "Payment declined", error=error, code=code)


def in_progress() -> PaymentError:
    """409: the same payment is being made, or its outcome is being found out."""
    return PaymentError(409, "in_progress", "The same payment is in progress", retry_after=1)


def key_reused() -> PaymentError:
    """422: the idempotency key belongs to another request."""
    return PaymentError(422, "key_reused", "Idempotency-Key was used for another session or body")


def rate_limited(whose: str, seconds: int) -> PaymentError:
    """429: there were too many requests of one session or one client."""
    message = f"Too many requests of this {whose}, try again in {seconds} seconds"
    return PaymentError(429, f"{whose}_rate_limited", message, retry_after=seconds)


def unavailable(reason: str, message: str) -> PaymentError:
    """503: a service behind this one cannot do its part now. Trying again is safe."""
    return PaymentError(503, reason, message, retry_after=5)


def ledger_unavailable() -> PaymentError:
    """503: a payment could not be recorded, so none is made."""
    return unavailable("ledger_unavailable", "Payments cannot be recorded at the moment")
