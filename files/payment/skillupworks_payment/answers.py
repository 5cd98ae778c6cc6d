"""The answers to a payment, as bytes: what a client gets first is what the ledger keeps for when it asks again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import clock, money
from .contract import CheckoutOptions, Paid, PaymentRequired, Received, Refused
from .errors import PaymentError
from .gateway import Charge
from .orders import Order


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body; `repeated` when the ledger had it already."""

    status: int
    body: bytes
    repeated: bool = False


def success(order: Order) -> Answer:
    return _answer(
        200,
        Paid(
            status="success",
            orderId=order.order_id,
            sessionId=order.session_id,
            amount=order.amount,
            paymentId=order.payment_id,
            message="Payment processed successfully",
            timestamp=order.timestamp,
        ),
    )


def checkout(charge: Charge, session_id: str, gateway_order_id: str, key_id: str, expires_at: datetime) -> Answer:
    """402: what the browser gives to Razorpay's Checkout as it is, so that the customer can pay until `expires_at`."""
    return _answer(
        402,
        PaymentRequired(
            status="payment_required",
            message="Pay with Razorpay Checkout, then send its result",
            orderId=charge.order_id,
            sessionId=session_id,
            amount=money.to_json(charge.amount),
            checkout=CheckoutOptions(
                key=key_id, order_id=gateway_order_id, amount=charge.amount, currency=charge.currency
            ),
            expiresAt=clock.rfc3339(expires_at),
        ),
    )


def received(kept: bool, message: str) -> Answer:
    """200: Razorpay need not tell it again."""
    return _answer(200, Received(status="kept" if kept else "ignored", message=message))


def failure(error: PaymentError, session_id: str | None) -> Answer:
    """`session_id` is that of the payment, None when it was asked for something else."""
    body = Refused(status="error", message=error.message)
    if error.error:
        body["error"] = error.error
        if error.code:
            body["reason"] = error.code
    elif session_id and error.field != "sessionId":
        body["sessionId"] = session_id
    if error.field:
        body["field"] = error.field
    return _answer(error.status, body)


def _answer(status: int, body: Mapping[str, Any]) -> Answer:
    return Answer(status, json.dumps(body, separators=(",", ":")).encode() + b"\n")
