#!/usr/bin/env python3
"""A payment gateway of a test shop, which moves no money: `sandbox://HOST:PORT` of the Payment Service.

POST /charges takes money for {"order_id", "amount", "currency", "method"}, GET /charges/<order id> finds the payment
that took it, POST /payments/<payment id>/void gives it back. Every charge counts: a second one for the same order is a
second payment. GET /charges/from/<n> lists them, from the n-th on. PUT /mode {"mode": ..., "seconds": ...} says how to
behave from now on:
"""

import argparse
import json
import secrets
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

MODES = {
    "approve": "take the money and say so",
    "decline": "take nothing and say so",
    "hang": "answer nothing, whatever is asked, until told otherwise",
    "slow": "take the money, and say so after `seconds`",
    "late": "take the money after `seconds`, and say so",
    "error-before": "take nothing and answer 500, whatever is asked",
    "error-after": "take the money and answer 500",
    "reset-after": "take the money and reset the connection",
}


class Handler(BaseHTTPRequestHandler):
    """The server carries the charges and the mode."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        if self.path.startswith("/charges/from/"):
            self.answer(200, self.server.list(int(self.path.rpartition("/")[2])))
        elif self.path.startswith("/charges/") and self.works():
            payment_id = self.server.find(unquote(self.path[len("/charges/") :]))
            self.answer(*(200, {"payment_id": payment_id}) if payment_id else (404, {"error": "no such charge"}))

    def do_POST(self):
        body = self.body()
        if not self.works():
            return
        if self.path == "/charges":
            self.charge(body)
        else:
            payment_id = unquote(self.path.removeprefix("/payments/").removesuffix("/void"))
            self.answer(*(200, {}) if self.server.void(payment_id) else (404, {"error": "no such payment"}))

    def do_PUT(self):
        body = self.body()
        if self.path != "/mode" or body.get("mode") not in MODES:
            self.answer(404, {"error": f"PUT /mode with one of {', '.join(MODES)}"})
            return
        self.server.mode = body["mode"], body.get("seconds", 0)
        self.answer(200, {})

    def works(self):
        """Whether the gateway does anything at all in this mode; what it has instead of an answer is sent here."""
        mode, _ = current = self.server.mode
        if mode == "hang":
            while self.server.mode == current:
                time.sleep(0.05)
            self.close_connection = True
        if mode == "error-before":
            self.answer(500, {"error": "broken"})
        return mode not in ("hang", "error-before")

    def charge(self, body):
        mode, seconds = self.server.mode
        if mode == "decline":
            self.answer(402, {"error": "declined"})
            return
        with self.server.charging():
            time.sleep(seconds if mode == "late" else 0)
            payment_id = self.server.take(body)
        time.sleep(seconds if mode == "slow" else 0)
        if mode == "error-after":
            self.answer(500, {"error": "broken"})
        elif mode == "reset-after":
            # With SO_LINGER at 0 seconds, closing is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self.answer(200, {"payment_id": payment_id})

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self):
        try:
            super().finish()
        except OSError:  # the connection was reset on purpose
            self.close_connection = True

    def log_request(self, code="-", size="-"):
        """Only errors are worth a line."""


class Gateway(ThreadingHTTPServer):
    """Remembers what it took for as long as it runs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address):
        super().__init__(address, Handler)
        self.mode = "approve", 0
        self._charges = []
        self._in_flight = 0
        self._lock = threading.Lock()

    @contextmanager
    def charging(self):
        """Counts a charge as in flight until the money is taken."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def take(self, request):
        payment_id = f"pay_{secrets.token_hex(7)}"
        with self._lock:
            self._charges.append({**request, "payment_id": payment_id, "voided": False})
        return payment_id

    def find(self, order_id):
        """The payment that took the money of an order and did not give it back."""
        with self._lock:
            taken = (each for each in self._charges if each["order_id"] == order_id and not each["voided"])
            return next((each["payment_id"] for each in taken), None)

    def void(self, payment_id):
        with self._lock:
            found = [each for each in self._charges if each["payment_id"] == payment_id]
            for each in found:
                each["voided"] = True
            return bool(found)

    def list(self, first):
        with self._lock:
            return {"charges": self._charges[first:], "in_flight": self._in_flight}

    def _count(self, change):
        with self._lock:
            self._in_flight += change

    def handle_error(self, request, client_address):
        """A client that went away while it waited is no news."""


def main():
    modes = "\n".join(f"  {mode:<13} {meaning}" for mode, meaning in MODES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{modes}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="0.0.0.0")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    Gateway((arguments.bind, arguments.port)).serve_forever()


if __name__ == "__main__":
    main()
