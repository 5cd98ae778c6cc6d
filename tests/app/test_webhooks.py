"""What is sent to the webhook's address is read strictly, and nothing of it is logged; that it works is seen with the
simulator of Razorpay."""

import gzip
import hashlib
import hmac
import json
import logging

import pytest

from skillupworks_payment import web, webhooks
from skillupworks_payment.database import LedgerUnavailable
from skillupworks_payment.rates import Rates
from skillupworks_payment.settings import Rate
from test_contract import ERROR_FIELDS

SECRET = "the webhook's"
PAYMENT = {
    "id": "pay_DESlfW9H8K9uqM",
    "order_id": "order_DESlLckIVRkHWj",
    "card": {"last4": "1111"},
    "email": "a@b.example",
}
EVENT = {"event": "payment.captured", "payload": {"payment": {"entity": PAYMENT}}}


class FakeInbox:
    def __init__(self):
        self.events = []
        self.works = True

    def receive(self, event, gateway_order_id):
        if not self.works:
            raise LedgerUnavailable("disk is full")
        self.events.append((event.event_id, event.payment_id, gateway_order_id))
        return True


class NothingCounts:
    def count(self, windows):
        raise AssertionError("webhooks are not counted")


@pytest.fixture
def inbox():
    return FakeInbox()


@pytest.fixture
def send(inbox):
    rates = Rates(NothingCounts(), session=Rate(1, 60), client=Rate(1, 60), trusted_proxies=())
    app = web.create_app(None, rates, None, None, "test", webhooks.razorpay(SECRET, inbox))
    client = app.test_client()

    def post(body, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        sent = {
            "Content-Type": "application/json",
            "X-Razorpay-Event-Id": "event-1",
            "X-Razorpay-Signature": signature,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return client.post(webhooks.PATH, data=body, headers=sent)

    return post


def test_kept(send, inbox):
    response = send(EVENT)
    assert (response.status_code, response.json["status"]) == (200, "kept")
    assert inbox.events == [("event-1", PAYMENT["id"], PAYMENT["order_id"])]


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        7.5,
        None,
        {},
        EVENT | {"event": ["payment.captured"]},
        EVENT | {"event": "settlement.processed"},
        EVENT | {"payload": {"payment": {"entity": PAYMENT | {"order_id": None}}}},
        EVENT | {"payload": {"payment": []}},
    ],
)
def test_ignored(send, inbox, document):
    response = send(document)
    assert (response.status_code, response.json["status"], inbox.events) == (200, "ignored", [])


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (EVENT, {"X_Razorpay_Signature": "0" * 64}, 400, "X-Razorpay-Signature"),
        (EVENT, {"X_Razorpay_Signature": ""}, 400, "X-Razorpay-Signature"),
        (EVENT, {"X_Razorpay_Event_Id": ""}, 400, "X-Razorpay-Event-Id"),
        (EVENT, {"X_Razorpay_Event_Id": "a b"}, 400, "X-Razorpay-Event-Id"),
        (EVENT, {"Content_Type": "text/plain"}, 415, None),
        (EVENT, {"Content_Type": "application/json; charset=utf-16"}, 415, None),
        (gzip.compress(json.dumps(EVENT).encode()), {"Content_Encoding": "gzip"}, 415, None),
        (b"{", {}, 400, None),
        (b'{"event": 1, "event": 2}', {}, 400, None),
        (b"[" * 60_000, {}, 400, None),
        (b"\xff", {}, 400, None),
        (EVENT | {"more": "a" * 65_536}, {}, 413, None),
    ],
)
def test_refused(send, inbox, body, headers, status, field):
    response = send(body, **headers)
    assert (response.status_code, response.json["status"], response.json.get("field")) == (status, "error", field)
    assert response.json.keys() <= ERROR_FIELDS - {"sessionId"}
    assert inbox.events == []


def test_ledger_that_cannot_be_used(send, inbox):
    inbox.works = False
    response = send(EVENT)
    assert (response.status_code, response.json["status"], response.headers["Retry-After"]) == (503, "error", "5")
    inbox.works = True
    assert send(EVENT).json["status"] == "kept"


def test_nothing_of_it_is_logged(send, inbox, caplog):
    caplog.set_level(logging.DEBUG)
    send(EVENT)
    send(EVENT, X_Razorpay_Signature="0" * 64)
    inbox.works = False
    send(EVENT)
    assert len(caplog.records) >= 2
    for value in (PAYMENT["id"], PAYMENT["order_id"], PAYMENT["email"], "1111", "event-1", "0" * 64):
        assert value not in caplog.text
