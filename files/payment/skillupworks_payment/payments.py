"""One payment, from a valid request to an order that is in the ledger."""

import logging
import time
from collections import Counter

from . import answers, clock, context, idempotency, metrics, money, orders
from .answers import Answer
from .attempts import Attempt
from .database import LedgerUnavailable
from .errors import charge_failed, in_progress, invalid, key_reused, ledger_unavailable
from .gateway import Charge, Declined, Gateway, OutcomeUnknown
from .ledger import Claim, Ledger, NewPayment, Standing
from .orders import Order, new_order_id
from .upstreams import Cart, Upstreams
from .validation import PaymentRequest

_POLL = 0.02  # seconds between two looks at how a payment ends that another request makes

log = logging.getLogger(__name__)


class Payments:
    """Makes payments. One serves all threads of a process."""

    def __init__(
        self,
        upstreams: Upstreams,
        gateway: Gateway,
        ledger: Ledger,
        *,
        currency: str,
        duplicate_window: float,
        patience: float,
    ) -> None:
        """A request without a key waits for how one that was first ends, `patience` seconds from its own arrival on."""
        self._upstreams = upstreams
        self._gateway = gateway
        self._ledger = ledger
        self._currency = currency
        self._duplicate_window = duplicate_window
        self._patience = patience

    def pay(self, attempt: Attempt, request: PaymentRequest, key: Claim | None = None) -> Answer:
        """Charge the cart of the attempt's session, once: 200, or 500 when the gateway did not take the money.

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
        return self._charge(charge, claim, attempt.session_id, draft)

    def _repeat(self, attempt: Attempt, claim: Claim, standing: Standing, deadline: float) -> Answer:
        """The answer of the payment that has the claim, once that has ended; with a key, nobody waits for that."""
        if standing.request_hash != claim.request_hash:
            raise key_reused()
        attempt.order_id = standing.order_id
        while not standing.has_ended:
            if claim.survives or time.monotonic() > deadline:
                raise in_progress()
            time.sleep(_POLL)
            standing = self._ledger.outcome(standing.order_id)
        attempt.repeated = True
        return Answer(standing.answer.status, standing.answer.body, repeated=True)

    def _charge(self, charge: Charge, claim: Claim, session_id: str, draft: dict) -> Answer:
        try:
            with metrics.upstream_call("gateway"):
                payment_id = self._gateway.charge(charge)
        except Declined as error:
            refusal = charge_failed("declined", "Payment declined")
            self._ledger.decline(charge.order_id, answers.failure(refusal, session_id), claim)
            raise refusal from error
        except OutcomeUnknown as error:
            log.warning("it is not known whether the gateway took the money of %s: %s", charge.order_id, error)
            refusal = charge_failed(error.reason, error.text)
            self._ledger.doubt(charge.order_id, answers.failure(refusal, session_id))
            raise refusal from error
        order = Order(draft, payment_id, clock.now())
        answer = answers.success(order)
        if self._ledger.pay(charge.order_id, payment_id, answer, order.event()):
            return answer
        return self._too_late(charge.order_id, payment_id)

    def _too_late(self, order_id: str, payment_id: str) -> Answer:
        """The gateway took so long that the payment was looked into meanwhile: what that found is what counts."""
        standing = self._ledger.outcome(order_id)
        if standing and standing.answer and standing.answer.status == 200:
            return standing.answer
        log.error("payment %s of %s came too late, giving it back", payment_id, order_id)
        try:
            self._gateway.void(payment_id)
        except OutcomeUnknown as error:
            log.warning(
                "the gateway did not say that it gave %s back, the reconciler sees to it: %s", payment_id, error
            )
        raise charge_failed("gateway_timeout", "Gateway timeout")


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
