"""What the service asks of a gateway, and what can come of it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Charge:
    """Money to take: minor units of `currency`, and the order id that the gateway knows it by."""

    order_id: str
    amount: int
    currency: str
    method: str | None


class Declined(Exception):
    """The gateway did not take the money, and will not. `text` says why in its words, `code` in its code's."""

    def __init__(self, text: str = "Payment declined", code: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class OutcomeUnknown(Exception):
    """The gateway may have taken the money. `reason` is for the log, `text` for the client."""

    reason, text = "gateway_error", "Gateway error"


class GatewayTimeout(OutcomeUnknown):
    """It did not answer in time."""

    reason, text = "gateway_timeout", "Gateway timeout"


class Gateway(Protocol):
    """Takes money and gives it back; shared by threads, and every call ends within PAYMENT_GATEWAY_TIMEOUT."""

    def charge(self, charge: Charge) -> str:
        """Take the money and return the gateway's payment id; Declined or OutcomeUnknown otherwise."""

    def find(self, order_id: str) -> str | None:
        """The id of the payment that took money for the order, if there is one; OutcomeUnknown when it cannot tell."""

    def void(self, payment_id: str) -> None:
        """Give back all of what a payment took; OutcomeUnknown when it may not have."""
