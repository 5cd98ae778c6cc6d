"""How money is taken, which the gateway decides: in one step, or with a customer who pays at the gateway in between."""

from typing import Protocol

from .answers import Answer
from .attempts import Attempt
from .checkout import Checkout
from .database import Database
from .direct import DirectCharge
from .gateway import Charge, Gateway, RazorpayGateway
from .inbox import Inbox
from .ledger import Claim, Ledger, Unresolved


class Charging(Protocol):
    """One serves all threads of a process."""

    def take(self, attempt: Attempt, charge: Charge, claim: Claim, draft: dict) -> Answer:
        """Do what is to be done for a payment that is pending in the ledger; the answer, which is recorded there."""

    def settle(self, payment: Unresolved) -> None:
        """Find out what became of a payment, and record it; OutcomeUnknown when the gateway does not say."""


def through(gateway: Gateway | RazorpayGateway, database: Database, ledger: Ledger, *, lifetime: float) -> Charging:
    """The way to take money through that gateway; `lifetime` is what a customer has to pay, in seconds."""
    if isinstance(gateway, RazorpayGateway):
        return Checkout(gateway, ledger, Inbox(database), lifetime=lifetime)
    return DirectCharge(gateway, ledger)
