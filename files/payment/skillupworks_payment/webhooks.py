"""What Razorpay tells by itself: POST /webhooks/razorpay. It is kept, answered at once, and looked into afterwards."""

import hashlib
import hmac
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from flask import Blueprint, Response, request

from .answers import Answer, plain
from .database import LedgerUnavailable
from .inbox import Event, Inbox

_EVENTS = {"payment.authorized", "payment.captured", "payment.failed", "order.paid"}
_EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_PATIENCE = 0.8  # seconds for the ledger: the answer is promised within one

log = logging.getLogger(__name__)


def razorpay(secret: str, inbox: Inbox) -> Blueprint:
    """The route; `secret` is the one that the webhook was given in Razorpay's dashboard."""
    blueprint = Blueprint("webhooks", __name__)
    # An event that is kept after the answer was 503 is one that is known when it comes again.
    threads = ThreadPoolExecutor(4, thread_name_prefix="webhook")

    @blueprint.post("/webhooks/razorpay")
    def receive() -> Response:
        body = request.get_data(cache=False)
        answer = _receive(body, request.headers.get("X-Razorpay-Signature", ""), request.headers)
        return Response(answer.body, answer.status, content_type="application/json")

    def _receive(body: bytes, signature: str, headers: Any) -> Answer:
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            log.warning("a webhook's signature is wrong: is razorpay_webhook_secret the one of the dashboard?")
            return plain(400, "error", "X-Razorpay-Signature is not that of this body")
        event_id = headers.get("X-Razorpay-Event-Id", "")
        if not _EVENT_ID.fullmatch(event_id):
            return plain(400, "error", "X-Razorpay-Event-Id is missing")
        about = _about(body)
        if about is None:
            return plain(200, "ignored", "Event is not one of an order's payment")
        gateway_order_id, payment_id = about
        keeping = threads.submit(inbox.receive, Event(event_id, payment_id), gateway_order_id)
        try:
            kept = keeping.result(_PATIENCE)
        except (LedgerUnavailable, FutureTimeout) as error:
            keeping.cancel()
            log.error("a webhook could not be kept: %s", str(error) or "the ledger does not answer in time")
            return plain(503, "error", "Events cannot be kept at the moment")
        return plain(200, "kept", "Event is kept") if kept else plain(200, "ignored", "Event is known, or not ours")

    return blueprint


def _about(body: bytes) -> tuple[str, str] | None:
    """The gateway's ids of the order and the payment that an event is about; None when it is about something else."""
    try:
        document = json.loads(body)
        payment = document["payload"]["payment"]["entity"]
        order_id, payment_id = payment["order_id"], payment["id"]
    except (ValueError, KeyError, TypeError):
        return None
    known = document.get("event") in _EVENTS and isinstance(order_id, str) and isinstance(payment_id, str)
    return (order_id[:64], payment_id[:64]) if known else None
