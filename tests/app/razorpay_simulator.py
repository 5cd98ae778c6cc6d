"""Razorpay's HTTP API as far as the service uses it, on loopback over TLS, and the customers who pay through it.

It is strict: a request with a wrong header, path or field is refused as Razorpay would, and noted in `problems`. It is
also less careful than Razorpay in one thing: an order can be paid for twice, so that a service which does so is seen.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
import ssl
import string
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import trustme

from service import PATIENCE

KEY_ID, KEY_SECRET, WEBHOOK_SECRET = "rzp_test_1DP5mmOlF5G5ag", "thisisasecret-4f1c", "whs-7c2b9d1e"

FAULTS = {
    "decline": "do nothing and say why",
    "hang": "do nothing and answer nothing",
    "drip": "do nothing, and answer for `seconds` with the beginning of an answer",
    "slow": "do it, and say so after `seconds`",
    "late": "do it after `seconds`, and say so",
    "error-before": "do nothing and answer 502",
    "error-after": "do it and answer 502",
    "reset-after": "do it and reset the connection",
}
REFUSAL = {
    "code": "BAD_REQUEST_ERROR",
    "description": "Payment was declined by the bank",
    "source": "bank",
    "step": "payment_authorization",
    "reason": "payment_declined",
    "metadata": {},
}

_ROUTES = {
    "create_order": ("POST", r"/v1/orders"),
    "payments_of": ("GET", r"/v1/orders/(order_[A-Za-z0-9]{14})/payments"),
    "payment": ("GET", r"/v1/payments/(pay_[A-Za-z0-9]{14})"),
    "capture": ("POST", r"/v1/payments/(pay_[A-Za-z0-9]{14})/capture"),
    "refund": ("POST", r"/v1/payments/(pay_[A-Za-z0-9]{14})/refund"),
}
_FIELDS = {  # of each POST: what it must have and nothing else
    "create_order": {"amount": int, "currency": str, "receipt": str, "payment_capture": bool},
    "capture": {"amount": int, "currency": str},
    "refund": {"amount": int},
}


@dataclass(eq=False)
class _Fault:
    call: str
    kind: str
    seconds: float
    about: str | None
    after: int

    def applies(self, call: str, ids: tuple[str, ...]) -> bool:
        if call != self.call or (self.about and self.about not in ids):
            return False
        self.after -= 1
        return self.after < 0


class Refused(Exception):
    """400, as Razorpay says it."""

    def __init__(self, description: str, **error: str) -> None:
        super().__init__(description)
        self.error = {"code": "BAD_REQUEST_ERROR", "description": description, "reason": "NA", **error}


class Razorpay:
    """The API and its book; `ca` is the file of the authority that signed its certificate."""

    def __init__(self, directory: Path) -> None:
        self.ca = directory / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._tls)
        self.orders: dict[str, dict] = {}
        self.payments: dict[str, dict] = {}
        self.calls: list[tuple[str, str]] = []  # which, and the id in its path
        self.problems: list[str] = []
        self._events: list[dict] = []
        self._faults: list[_Fault] = []
        self._lock = threading.RLock()
        self._server = _Server(self, self._tls)
        self.url = f"https://localhost:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def settings(self) -> dict[str, str]:
        """The environment of a service that takes money here."""
        return {
            "PAYMENT_GATEWAY": self.url,
            "PAYMENT_RAZORPAY_KEY_ID": KEY_ID,
            "PAYMENT_RAZORPAY_KEY_SECRET": KEY_SECRET,
            "PAYMENT_RAZORPAY_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "SSL_CERT_FILE": str(self.ca),
        }

    def asked(self, call: str, about: str = "") -> int:
        """How often a call was made, with that id or any."""
        return sum(name == call and about in (id_, "") for name, id_ in self.calls)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def fault(
        self, call: str, kind: str, seconds: float = 0, *, about: str | None = None, after: int = 0
    ) -> Iterator[None]:
        """Have one of the calls go wrong so, see FAULTS; only those with that id in the path, if there is one, and only
        behind the first `after` of them."""
        assert call in _ROUTES
        assert kind in FAULTS
        fault = _Fault(call, kind, seconds, about, after)
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)

    # What customers do.

    def pay(self, order_id: str, status: str = "authorized", **differing: Any) -> dict[str, str]:
        """A customer pays for an order in the browser: what Checkout hands to it, in the service's words.

        `status` is what the payment comes to: `authorized`, `captured` (an account that captures by itself), `created`
        (the bank is still at it) or `failed`.
        """
        with self._lock:
            order = self.orders[order_id]
            payment = {
                "id": f"pay_{_id()}",
                "entity": "payment",
                "amount": order["amount"],
                "currency": order["currency"],
                "status": status,
                "order_id": order_id,
                "invoice_id": None,
                "international": False,
                "method": "card",
                "amount_refunded": 0,
                "refund_status": None,
                "captured": status == "captured",
                "card_id": f"card_{_id()}",
                "email": "gaurav.kumar@example.com",
                "contact": "+919000090000",
                "notes": [],
                "fee": None,
                "tax": None,
                "error_code": None,
                "error_description": None,
                "error_reason": None,
                "created_at": int(time.time()),
                **differing,
            }
            if status == "failed":
                payment["error_code"] = REFUSAL["code"]
                payment["error_description"], payment["error_reason"] = REFUSAL["description"], REFUSAL["reason"]
            self.payments[payment["id"]] = payment
            if status in ("authorized", "captured"):
                self._tell("payment.authorized", payment | {"status": "authorized"})
            if status == "captured":
                self._tell("payment.captured", payment)
                self._tell("order.paid", payment)
            if status == "failed":
                self._tell("payment.failed", payment)
        return self.result(order_id, payment["id"])

    def result(self, order_id: str, payment_id: str) -> dict[str, str]:
        signature = hmac.new(KEY_SECRET.encode(), f"{order_id}|{payment_id}".encode(), hashlib.sha256).hexdigest()
        return {"razorpayOrderId": order_id, "razorpayPaymentId": payment_id, "razorpaySignature": signature}

    # Webhooks.

    def all_events(self) -> list[dict]:
        with self._lock:
            return list(self._events)

    def events(self, order_id: str) -> list[dict]:
        """What happened to the payments of an order, in that order."""
        return [each for each in self.all_events() if each["payload"]["payment"]["entity"]["order_id"] == order_id]

    def send(self, service_url: str, events: list[dict], *, copies: int = 1, backwards: bool = False) -> list[int]:
        """Send webhooks, each `copies` times and all of a round at once; the statuses of the answers."""
        ordered = list(reversed(events)) if backwards else events
        with ThreadPoolExecutor(8) as threads:
            sent = [threads.submit(send_webhook, service_url, event) for _ in range(copies) for event in ordered]
        return [each.result().status_code for each in sent]

    def _tell(self, name: str, payment: dict) -> None:
        payload = {"payment": {"entity": dict(payment)}}
        if name == "order.paid":
            payload["order"] = {"entity": dict(self.orders[payment["order_id"]], status="paid")}
        self._events.append(
            {
                "entity": "event",
                "account_id": "acc_BFQ7uQEaa7j2z7",
                "event": name,
                "contains": list(payload),
                "payload": payload,
                "created_at": int(time.time()),
                "id": f"evt_{_id()}",  # sent as a header
            }
        )

    # The API.

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, dict, str | None]:
        """Status, document, and what to do instead of sending them."""
        expected = base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
        if headers["Authorization"] != f"Basic {expected}":
            return 401, {"error": {"code": "BAD_REQUEST_ERROR", "description": "Authentication failed"}}, None
        call, ids = _route(method, urlsplit(target).path)
        if call is None:
            self.problems.append(f"{method} {target}")
            return 404, {"error": {"code": "BAD_REQUEST_ERROR", "description": "The requested URL was not found"}}, None
        with self._lock:
            self.calls.append((call, "".join(ids)))
            kind, seconds = next(
                ((each.kind, each.seconds) for each in self._faults if each.applies(call, ids)), (None, 0)
            )
        if kind == "decline":
            return 400, {"error": REFUSAL}, None
        if kind == "error-before":
            return 502, {"error": {"code": "GATEWAY_ERROR", "description": "Gateway is down"}}, None
        if kind in ("hang", "drip"):
            return 0, {"seconds": seconds}, kind
        if kind == "late":
            time.sleep(seconds)
        try:
            document = self._fields_of(call, target, headers, body)
            with self._lock:
                answer = getattr(self, f"_{call}")(*ids, **document)
        except Refused as refusal:
            return 400, {"error": refusal.error}, None
        if kind == "slow":
            time.sleep(seconds)
        if kind == "error-after":
            return 502, {"error": {"code": "GATEWAY_ERROR", "description": "Gateway is down"}}, None
        return 200, answer, "reset" if kind == "reset-after" else None

    def _fields_of(self, call: str, target: str, headers: Any, body: bytes) -> dict:
        wanted = _FIELDS.get(call)
        if urlsplit(target).query or (wanted is None and body):
            self._refuse(f"{call}: there is nothing to be said")
        if wanted is None:
            return {}
        if headers["Content-Type"] != "application/json":
            self._refuse(f"{call}: Content-Type is {headers['Content-Type']}")
        document = json.loads(body)
        if {name: type(value) for name, value in document.items()} != wanted:
            self._refuse(f"{call}: fields are {document}")
        return document

    def _refuse(self, problem: str) -> None:
        self.problems.append(problem)
        raise Refused(problem, field=problem.split()[-1], reason="input_validation_failed")

    def _create_order(self, amount: int, currency: str, receipt: str, payment_capture: bool) -> dict:
        if currency != "INR":
            self._refuse(f"create_order: currency is {currency}")
        if not re.fullmatch(r"ORD-[0-9]{25}", receipt) or any(
            receipt == each["receipt"] for each in self.orders.values()
        ):
            self._refuse(f"create_order: receipt is {receipt}")
        if payment_capture:
            self._refuse("create_order: it is us who capture")
        if amount < 100:  # what a customer can put into the cart: no mistake of the service
            raise Refused("The amount must be at least INR 1.00", reason="input_validation_failed", field="amount")
        order = {
            "id": f"order_{_id()}",
            "entity": "order",
            "amount": amount,
            "amount_paid": 0,
            "amount_due": amount,
            "currency": currency,
            "receipt": receipt,
            "status": "created",
            "attempts": 0,
            "notes": [],
            "created_at": int(time.time()),
        }
        self.orders[order["id"]] = order
        return dict(order)

    def _payments_of(self, order_id: str) -> dict:
        if order_id not in self.orders:
            self._refuse(f"payments_of: there is no {order_id}")
        items = [dict(each) for each in self.payments.values() if each["order_id"] == order_id]
        return {"entity": "collection", "count": len(items), "items": items}

    def _payment(self, payment_id: str) -> dict:
        if payment_id not in self.payments:
            raise Refused("The id provided does not exist")
        return dict(self.payments[payment_id])

    def _capture(self, payment_id: str, amount: int, currency: str) -> dict:
        payment = self.payments[payment_id]
        if payment["status"] == "captured":
            raise Refused("This payment has already been captured")
        if payment["status"] != "authorized":
            raise Refused("Only payments which have been authorized and not yet captured can be captured")
        if (amount, currency) != (payment["amount"], payment["currency"]):
            self._refuse(f"capture: amount is {amount} {currency}")
        payment |= {"status": "captured", "captured": True, "fee": 1, "tax": 0}
        self._tell("payment.captured", payment)
        self._tell("order.paid", payment)
        return dict(payment)

    def _refund(self, payment_id: str, amount: int) -> dict:
        payment = self.payments[payment_id]
        if payment["status"] != "captured":
            raise Refused("The payment has been fully refunded already")
        if amount != payment["amount"]:
            self._refuse(f"refund: amount is {amount}")
        payment |= {"status": "refunded", "amount_refunded": amount, "refund_status": "full"}
        return {"id": f"rfnd_{_id()}", "entity": "refund", "amount": amount, "payment_id": payment_id}


def _route(method: str, path: str) -> tuple[str | None, tuple[str, ...]]:
    """The call, and the ids in its path."""
    for call, (verb, pattern) in _ROUTES.items():
        if method == verb and (match := re.fullmatch(pattern, path)):
            return call, match.groups()
    return None, ()


def send_webhook(
    service_url: str, event: dict, secret: str = WEBHOOK_SECRET, *, in_chunks: bool = False, **headers: str
) -> requests.Response:
    """POST an event as Razorpay does, or in chunks, as a proxy between may pass it on."""
    body = json.dumps({name: value for name, value in event.items() if name != "id"}).encode()
    sent = {
        "Content-Type": "application/json",
        "X-Razorpay-Event-Id": event["id"],
        "X-Razorpay-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        **headers,
    }
    data = iter([body[:100], body[100:]]) if in_chunks else body
    return requests.post(f"{service_url}/webhooks/razorpay", data=data, headers=sent, timeout=PATIENCE)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, razorpay: Razorpay, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.razorpay = razorpay
        self._tls = tls

    def finish_request(self, request: socket.socket, client_address: Any) -> None:
        with suppress(OSError):  # a client that goes away, or does not trust us, is no news
            super().finish_request(self._tls.wrap_socket(request, server_side=True), client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, document, instead = self.server.razorpay.answer(self.command, self.path, self.headers, body)
        if instead == "hang":
            self.rfile.read(1)  # until the client has had enough
        elif instead == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(int(document["seconds"] / 0.1)):
                self.wfile.write(b"X-Header: more to come\r\n")
                time.sleep(0.1)
        elif instead == "reset":
            # With SO_LINGER at 0 seconds, closing is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if instead:
            self.close_connection = True
            return
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Nothing: `calls` has it."""


def _id() -> str:
    """14 letters and digits."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(14))
