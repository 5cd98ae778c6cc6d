"""What Razorpay tells by itself: POST /webhooks/razorpay. It is kept, answered at once, and looked into afterwards.

A body is nobody's before its signature is checked, and nothing of it is logged.
"""

import hashlib
import hmac
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from flask import Blueprint, Response, request

from . import answers, bodies, strict_json
from .database import LedgerUnavailable
from .errors import invalid, unavailable
from .inbox import Event, Inbox

PATH = "/webhooks/razorpay"
EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}")

_EVENTS = {"payment.authorized", "payment.captured", "payment.failed", "order.paid"}
_PATIENCE = 0.8  # seconds for the ledger: the answer is promised within one

log = logging.getLogger(__name__)


def razorpay(secret: str, inbox: Inbox) -> Blueprint:
    """The route; `secret` is the one that the webhook was given in Razorpay's dashboard."""
    blueprint = Blueprint("webhooks", __name__)
    # An event that is kept after the answer was 503 is one that is known when it comes again.
    threads = ThreadPoolExecutor(4, thread_name_prefix="webhook")

    @blueprint.post(PATH)
    def receive() -> Response:
        answer = _receive(bodies.read())
        return Response(answer.body, answer.status, content_type="application/json")

    def _receive(body: bytes) -> answers.Answer:
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        signature = request.headers.get("X-Razorpay-Signature", "")
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            log.warning("a webhook's signature is wrong: is razorpay_webhook_secret the one of the dashboard?")
            raise invalid("X-Razorpay-Signature", "X-Razorpay-Signature is not that of this body")
        event_id = request.headers.get("X-Razorpay-Event-Id", "")
        if not EVENT_ID.fullmatch(event_id):
            raise invalid("X-Razorpay-Event-Id", "X-Razorpay-Event-Id must be 1 to 128 of ASCII without spaces")
        about = _about(body)
        if about is None:
            return answers.received(False, "Event is not one of an order's payment")
        gateway_order_id, payment_id = about
        keeping = threads.submit(inbox.receive, Event(event_id, payment_id), gateway_order_id)
        try:
            kept = keeping.result(_PATIENCE)
        except (LedgerUnavailable, FutureTimeout) as error:
            keeping.cancel()
            log.error("a webhook could not be kept: %s", str(error) or "the ledger does not answer in time")
            raise unavailable("ledger_unavailable", "Events cannot be kept at the moment") from error
        return answers.received(kept, "Event is kept" if kept else "Event is known, or not ours")

    return blueprint


def _about(body: bytes) -> tuple[str, str] | None:
    """The gateway's ids of the order and the payment that an event is about; None when it is about something else."""
    try:
        document = strict_json.parse(body)
    except strict_json.InvalidJson as error:
        raise invalid(None, f"Body is not valid JSON: {error}") from error
    try:
        payment = document["payload"]["payment"]["entity"]
        order_id, payment_id = payment["order_id"], payment["id"]
        known = document["event"] in _EVENTS and isinstance(order_id, str) and isinstance(payment_id, str)
    except (KeyError, TypeError):
        return None
    return (order_id[:64], payment_id[:64]) if known else None
