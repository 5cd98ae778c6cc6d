"""One payment, from a valid request to what the ledger says of it."""

import logging
import time
from collections import Counter

from . import checkout, context, idempotency, money, orders
from .answers import Answer
from .attempts import Attempt
from .charging import Charging
from .checkout import Checkout
from .database import LedgerUnavailable
from .errors import in_progress, invalid, key_reused, ledger_unavailable
from .gateway import Charge
from .ledger import Claim, Ledger, NewPayment, Standing
from .orders import new_order_id
from .upstreams import Cart, Upstreams
from .validation import PaymentRequest

_POLL = 0.02  # seconds between two looks at how a payment ends that another request makes

log = logging.getLogger(__name__)


class Payments:
    """Makes payments. One serves all threads of a process."""

    def __init__(
        self,
        upstreams: Upstreams,
        charging: Charging,
        ledger: Ledger,
        *,
        currency: str,
        duplicate_window: float,
        patience: float,
    ) -> None:
        """A request without a key waits for how one that was first ends, `patience` seconds from its own arrival on."""
        self._upstreams = upstreams
        self._charging = charging
        self._ledger = ledger
        self._currency = currency
        self._duplicate_window = duplicate_window
        self._patience = patience

    def pay(self, attempt: Attempt, request: PaymentRequest, key: Claim | None = None) -> Answer:
        """Take the money for the cart of the attempt's session, once: 200, or 402 when the customer is to pay for it.

        A repeated request gets the answer of the first; PaymentError for every other end. `attempt` is told the amount
        and the order id as soon as there are any.
        """
        try:
            return self._pay(attempt, request, key)
        except LedgerUnavailable as error:
            log.error("the ledger cannot be used: %s", error)
            raise ledger_unavailable() from error

    def _pay(self, attempt: Attempt, request: PaymentRequest, key: Claim | None) -> Answer:
        deadline = time.monotonic() + self._patience
        if isinstance(self._charging, Checkout) and (result := checkout.result_of(request)):
            # What was shown and paid counts, whatever is in the cart by now.
            answer = self._charging.finish(attempt, result, request.total)
            return answer or self._wait(attempt, self._ledger.outcome(attempt.order_id), deadline)
        # A key is looked up before the cart is asked for: once paid, that may be empty.
        if key and (standing := self._ledger.standing(key.name)) and not standing.is_over(key.lifetime):
            return self._repeat(attempt, key, standing, deadline)
        cart = self._upstreams.cart_of_known_session(attempt.session_id)
        compare(request, cart)
        attempt.amount = cart.total
        claim = key or idempotency.by_cart(attempt.session_id, cart, self._duplicate_window)
        charge = Charge(new_order_id(), cart.total, self._currency, request.payment_method)
        draft = orders.draft(charge, attempt.session_id, cart)
        payment = NewPayment(
            charge.order_id, attempt.session_id, charge.amount, charge.currency, draft, context.traceparent()
        )
        if standing := self._ledger.open(payment, claim):
            return self._repeat(attempt, claim, standing, deadline)
        attempt.order_id = charge.order_id
        return self._charging.take(attempt, charge, claim, draft)

    def _repeat(self, attempt: Attempt, claim: Claim, standing: Standing, deadline: float) -> Answer:
        """The answer of the payment that has the claim, once that has ended; with a key, nobody waits for that."""
        if standing.request_hash != claim.request_hash:
            raise key_reused()
        attempt.order_id = standing.order_id
        return self._wait(attempt, standing, time.monotonic() if claim.survives else deadline)

    def _wait(self, attempt: Attempt, standing: Standing, deadline: float) -> Answer:
        """The answer of a payment that another request makes, as soon as there is one."""
        while not standing.is_answered:
            if time.monotonic() >= deadline:
                raise in_progress()
            time.sleep(_POLL)
            standing = self._ledger.outcome(standing.order_id)
        attempt.repeated = True
        return Answer(standing.answer.status, standing.answer.body, repeated=True)


def compare(request: PaymentRequest, cart: Cart) -> None:
    """PaymentError 400 naming `total`, `items` or one of them when the request shows another cart than the real one."""
    if request.total is not None and request.total != cart.total:
        asked, real = money.to_json(request.total), money.to_json(cart.total)
        raise invalid("total", f"total is {asked}, but the cart's is {real}")
    if request.items is None:
        return
    lines = Counter((item.sku, item.qty, item.price) for item in cart.items)
    for index, item in enumerate(request.items):
        if not lines[item.sku, item.qty, item.price]:
            raise invalid(f"items[{index}]", f"items[{index}] is not in the cart with this sku, qty and price")
        lines[item.sku, item.qty, item.price] -= 1
    if lines.total():
        raise invalid("items", "items lacks some of the cart's")
