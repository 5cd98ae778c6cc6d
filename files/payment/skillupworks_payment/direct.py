"""Taking money in one step: the gateway is asked to charge, and says whether it did."""

import logging

from . import answers, clock, metrics, schema
from .answers import Answer
from .attempts import Attempt
from .errors import charge_failed
from .gateway import Charge, Declined, Gateway, OutcomeUnknown
from .idempotency import is_key
from .ledger import CHECKS, Claim, Ledger, Unresolved
from .orders import Order

log = logging.getLogger(__name__)


class DirectCharge:
    """Charges, and finds out how a charge ended whose outcome is not known. One serves all threads of a process."""

    def __init__(self, gateway: Gateway, ledger: Ledger) -> None:
        self._gateway = gateway
        self._ledger = ledger

    def take(self, attempt: Attempt, charge: Charge, claim: Claim, draft: dict) -> Answer:
        """Charge what is pending in the ledger: 200, or PaymentError 500 when the gateway did not take the money."""
        try:
            with metrics.upstream_call("gateway"):
                payment_id = self._gateway.charge(charge)
        except Declined as error:
            refusal = charge_failed("declined", "Payment declined")
            self._ledger.decline(charge.order_id, answers.failure(refusal, attempt.session_id), claim)
            raise refusal from error
        except OutcomeUnknown as error:
            log.warning("it is not known whether the gateway took the money of %s: %s", charge.order_id, error)
            refusal = charge_failed(error.reason, error.text)
            self._ledger.doubt(charge.order_id, answers.failure(refusal, attempt.session_id))
            raise refusal from error
        order = Order(draft, payment_id, clock.now())
        answer = answers.success(order)
        if self._ledger.pay(charge.order_id, payment_id, answer, order.event()):
            return answer
        return self._too_late(charge.order_id, payment_id)

    def settle(self, payment: Unresolved) -> None:
        """Ask the gateway what became of a payment, and record it; OutcomeUnknown when it does not say."""
        if payment.gateway_order_id:
            if payment.state == schema.CLOSED:
                return
            raise OutcomeUnknown("it was begun with another gateway than the one that is set")
        payment_id = self._gateway.find(payment.order_id)
        if payment.state == schema.CLOSED:
            self._check(payment, payment_id)
        elif payment_id is None:
            self._close(payment)
        else:
            self._complete(payment, payment_id)

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

    def _complete(self, payment: Unresolved, payment_id: str) -> None:
        order = Order(payment.draft, payment_id, clock.now())
        if self._ledger.pay(payment.order_id, payment_id, answers.success(order), order.event()):
            log.info("%s had been paid: its order follows", payment.order_id)
            metrics.reconciled.labels("paid").inc()

    def _close(self, payment: Unresolved) -> None:
        # A refusal that a client was given under its key stands. Where nobody was told anything, anybody may try again.
        keep_claim = is_key(payment.claim) and payment.state == schema.UNKNOWN
        answer = payment.answer or answers.failure(
            charge_failed("gateway_timeout", "Gateway timeout"), payment.session_id
        )
        if self._ledger.close(payment.order_id, payment.state, answer, keep_claim):
            log.info("%s had not been paid: closed", payment.order_id)
            metrics.reconciled.labels("closed").inc()

    def _check(self, payment: Unresolved, payment_id: str | None) -> None:
        if payment_id is None:
            self._ledger.checked(payment.order_id, payment.checks + 1)
            return
        self._gateway.void(payment_id)
        self._ledger.checked(payment.order_id, CHECKS)
        log.error("%s was paid after it had been closed: payment %s given back", payment.order_id, payment_id)
        metrics.reconciled.labels("given_back").inc()
