"""Taking money in two steps: the customer pays at the gateway for an order made there, then we take what was paid.

A request without a result gets the gateway's order, and what its browser needs to pay for it. What the browser brings
back is checked, and captured. Should the browser never come back, the gateway tells by webhook, or is asked when the
time for the order is up. Who captures is decided in the ledger, where one of all requests, processes and hosts gets
the right to, before the gateway is asked. When that does not answer, it is asked how the payment stands.
"""

import logging
import time
from dataclasses import dataclass
from datetime import timedelta

from . import answers, clock, metrics, schema
from .answers import Answer
from .attempts import Attempt
from .errors import PaymentError, charge_failed, declined, in_progress, invalid, unavailable
from .gateway import Charge, Declined, OutcomeUnknown, RazorpayGateway
from .gateway.razorpay import AUTHORIZED, CAPTURED, CREATED, GatewayPayment
from .inbox import Event, Inbox
from .ledger import CHECKS, Claim, Ledger, Unresolved
from .orders import Order
from .validation import PaymentRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What Razorpay's Checkout hands to the browser of a customer who has paid."""

    gateway_order_id: str
    payment_id: str
    signature: str


class Checkout:
    """Makes orders at the gateway, and takes what was paid for them. One serves all threads of a process."""

    def __init__(self, gateway: RazorpayGateway, ledger: Ledger, inbox: Inbox, *, lifetime: float) -> None:
        """An order that is not paid for within `lifetime` seconds is closed."""
        self._gateway = gateway
        self._ledger = ledger
        self._inbox = inbox
        self._lifetime = lifetime

    def take(self, attempt: Attempt, charge: Charge, claim: Claim, draft: dict) -> Answer:
        """402 with the order that the customer is to pay for; PaymentError 402 when the gateway makes none, and why,
        503 when it cannot be asked."""
        expires_at = clock.now() + timedelta(seconds=self._lifetime)
        try:
            gateway_order_id = self._gateway.create_order(charge).id
        except Declined as error:
            refusal = declined(error.text, error.code)
            self._ledger.decline(charge.order_id, answers.failure(refusal, attempt.session_id), claim)
            raise refusal from error
        except OutcomeUnknown as error:
            # Nobody was told of an order that may have been made, so nobody can pay for it.
            log.warning("the gateway made no order for %s: %s", charge.order_id, error)
            refusal = _gateway_unavailable()
            answer = answers.failure(refusal, attempt.session_id)
            self._ledger.close(charge.order_id, schema.PENDING, answer, keep_claim=False)
            raise refusal from error
        answer = answers.checkout(charge, attempt.session_id, gateway_order_id, self._gateway.key_id, expires_at)
        if not self._ledger.await_checkout(charge.order_id, gateway_order_id, answer):
            raise _gateway_unavailable()  # it took so long that the payment was closed meanwhile
        attempt.opened = True
        return answer

    def finish(self, attempt: Attempt, result: Result, total: int | None) -> Answer | None:
        """Take the money of a payment that the customer made: 200, or None when another one is at it or has done it.

        PaymentError 400 when the result is not one for this session and that total, 402 when no money can be taken and
        why, 500 when it is not known yet whether it was taken, 503 when the gateway cannot be asked.
        """
        if not self._gateway.has_signed(result.gateway_order_id, result.payment_id, result.signature):
            raise invalid("razorpaySignature", "razorpaySignature is not that of this order and payment")
        order = self._ledger.of_gateway_order(result.gateway_order_id)
        if order is None or order.session_id != attempt.session_id:
            raise invalid("razorpayOrderId", "razorpayOrderId is not an order of this session")
        attempt.order_id, attempt.amount = order.order_id, order.amount
        if total not in (None, order.amount):
            raise invalid("total", "total is not what the order was made for")
        if order.state != schema.AWAITING:
            return None
        try:
            payment = self._gateway.payment(result.payment_id)
        except Declined as error:
            raise declined(error.text, error.code) from error
        except OutcomeUnknown as error:  # nothing was asked of it yet
            raise _gateway_unavailable() from error
        if payment.order_id != result.gateway_order_id or not _pays(order, payment):
            log.error("payment %s is not one of %s for its amount", payment.id, order.order_id)
            raise invalid("razorpayPaymentId", "razorpayPaymentId is not a payment of this order and amount")
        if payment.status == CREATED:
            raise in_progress()
        if payment.status not in (AUTHORIZED, CAPTURED):
            refusal = payment.declined()
            raise declined(refusal.text, refusal.code)
        try:
            return self._collect(order, payment)
        except Declined as error:
            raise declined(error.text, error.code) from error
        except OutcomeUnknown as error:
            log.warning("it is not known whether the money of %s was taken: %s", order.order_id, error)
            raise charge_failed(error.reason, error.text) from error

    def settle(self, order: Unresolved) -> None:
        """Ask the gateway how an order stands that nobody else looks after, and bring it to its end.

        OutcomeUnknown when the gateway does not say; then everything is as it was, or still to be looked into.
        """
        events = self._inbox.unsettled(order.order_id) if order.told else []
        if order.state == schema.PAID and all(event.payment_id == order.payment_id for event in events):
            self._inbox.settle(events)  # the browser came first
            return
        # Without an order at the gateway nobody can have paid.
        payments = self._gateway.payments_of(order.gateway_order_id) if order.gateway_order_id else []
        has_ended = order.state in (schema.PAID, schema.CLOSED)
        chosen = None if has_ended else _choose(order, payments)
        kept = chosen.id if chosen else order.payment_id if order.state == schema.PAID else None
        surplus = [each for each in payments if each.status == CAPTURED and each.id != kept]
        for payment in surplus:
            if has_ended:
                self._give_back(order, payment)
            else:  # until then another one may be what pays for the order
                self._look_again(order, payment)
        if chosen:
            self._take_late(order, chosen)
        elif order.state == schema.CLOSED:
            self._ledger.checked(order.order_id, order.checks + 1 if order.gateway_order_id else CHECKS)
        elif order.state in schema.UNRESOLVED or self._is_over(order):
            self._close(order, next((each for each in payments if each.id == order.payment_id), None))
        left = set() if has_ended else {payment.id for payment in surplus}
        self._inbox.settle([event for event in events if event.payment_id not in left])

    def _collect(self, order: Unresolved, payment: GatewayPayment) -> Answer | None:
        """Take the money and record the order; None when another one does, or has done it."""
        if payment.status == AUTHORIZED:
            if not self._ledger.begin_capture(order.order_id, order.state, payment.id):
                return None
            self._capture(order, payment)
        paid = Order(order.draft, payment.id, clock.now())
        answer = answers.success(paid)
        if self._ledger.pay(order.order_id, payment.id, answer, paid.event()):
            return answer
        self._look_again(order, payment)
        return None

    def _capture(self, order: Unresolved, payment: GatewayPayment) -> None:
        """Take the money, once. Where that says no or nothing, how the payment stands is what counts.

        Declined when no money is taken: the order is closed then. OutcomeUnknown when it may be: it is looked into.
        """
        try:
            try:
                self._gateway.capture(payment.id, order.amount, order.currency)
            except (Declined, OutcomeUnknown) as problem:
                now = self._gateway.payment(payment.id)
                if now.status == CAPTURED:
                    return
                if now.status != AUTHORIZED:
                    raise now.declined() from problem
                if isinstance(problem, Declined) and order.state != schema.AWAITING:
                    # An earlier capture may be what is in the way of this one.
                    raise OutcomeUnknown(problem.text) from problem
                raise
        except Declined as problem:
            refusal = declined(problem.text, problem.code)
            answer = answers.failure(refusal, order.session_id)
            self._ledger.close(order.order_id, schema.CAPTURING, answer, keep_claim=False)
            raise
        except OutcomeUnknown as problem:
            refusal = charge_failed(problem.reason, problem.text)
            self._ledger.doubt(order.order_id, answers.failure(refusal, order.session_id))
            raise

    def _take_late(self, order: Unresolved, payment: GatewayPayment) -> None:
        try:
            if self._collect(order, payment):
                log.info("%s had been paid: its order follows", order.order_id)
                metrics.reconciled.labels("paid").inc()
        except Declined as error:
            log.info("%s could not be paid: closed (%s)", order.order_id, error)
            metrics.reconciled.labels("closed").inc()

    def _close(self, order: Unresolved, payment: GatewayPayment | None) -> None:
        """`payment` is the one that was going to be captured, if there is one."""
        if order.gateway_order_id:
            why = payment.declined() if payment else Declined("The order was not paid for in time", "order_expired")
            refusal = declined(why.text, why.code)
        else:
            refusal = _gateway_unavailable()
        answer = answers.failure(refusal, order.session_id)
        if self._ledger.close(order.order_id, order.state, answer, keep_claim=False):
            log.info("%s had not been paid: closed", order.order_id)
            metrics.reconciled.labels("closed").inc()

    def _look_again(self, order: Unresolved, payment: GatewayPayment) -> None:
        """Leave a note, as if the gateway had told of it: if the order ends without this payment, it is given back."""
        self._inbox.receive(Event(f"note:{payment.id}", payment.id), order.gateway_order_id)

    def _give_back(self, order: Unresolved, payment: GatewayPayment) -> None:
        """OutcomeUnknown when it may not be given back, so that it is tried again."""
        try:
            self._gateway.refund(payment)
        except Declined as error:  # the account's balance does not suffice, say
            raise OutcomeUnknown(f"{payment.id} cannot be given back: {error}") from error
        log.error("payment %s of %s was taken without need: given back", payment.id, order.order_id)
        metrics.reconciled.labels("given_back").inc()

    def _is_over(self, order: Unresolved) -> bool:
        return order.state == schema.AWAITING and order.created_at + self._lifetime < time.time()


def result_of(request: PaymentRequest) -> Result | None:
    """The Checkout's result in a request, if there is one; PaymentError 400 naming what a part of one lacks."""
    parts = {
        "razorpayOrderId": request.razorpay_order_id,
        "razorpayPaymentId": request.razorpay_payment_id,
        "razorpaySignature": request.razorpay_signature,
    }
    missing = [name for name, part in parts.items() if part is None]
    if len(missing) == len(parts):
        return None
    if missing:
        raise invalid(missing[0], f"{missing[0]} is missing: send all three that Checkout's handler gets")
    return Result(*parts.values())


def _choose(order: Unresolved, payments: list[GatewayPayment]) -> GatewayPayment | None:
    """The payment that pays for the order: one that took money, else the one that was going to, else the first."""
    candidates = [each for each in payments if each.status in (CAPTURED, AUTHORIZED) and _pays(order, each)]
    return min(
        candidates,
        key=lambda each: (each.status != CAPTURED, each.id != order.payment_id, each.created_at),
        default=None,
    )


def _pays(order: Unresolved, payment: GatewayPayment) -> bool:
    return (payment.amount, payment.currency) == (order.amount, order.currency)


def _gateway_unavailable() -> PaymentError:
    return unavailable("gateway_unavailable", "Payment gateway is unavailable")
