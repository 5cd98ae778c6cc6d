"""The answers to a payment, as bytes: what a client gets first is what the ledger keeps for when it asks again."""

import json
from dataclasses import dataclass

from .contract import Paid, Refused
from .errors import PaymentError
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


def failure(error: PaymentError, session_id: str) -> Answer:
    body = Refused(status="error", message=error.message)
    if error.error:
        body["error"] = error.error
    elif error.field != "sessionId":
        body["sessionId"] = session_id
    if error.field:
        body["field"] = error.field
    return _answer(error.status, body)


def _answer(status: int, body: Paid | Refused) -> Answer:
    return Answer(status, json.dumps(body, separators=(",", ":")).encode() + b"\n")
