#!/usr/bin/env python3
"""The Cart or the User service of a test shop, as far as the Payment Service asks them: `shop.py cart|user`.

The session id decides the answer. cart: `missing-...` has no cart, `empty-...` has nothing in it, every other session
has DEMO_CART, until PUT /cart/<id> stores another one. user: `unknown-...` is not known, every other session is.
PUT /broken with true or false says whether every answer is 500 from now on.
"""

import argparse
import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

# robot-shop's shape: the total includes 20 % tax, which its Cart service works out in floating point.
DEMO_CART = {
    "total": 1999,
    "tax": 1999 - 1999 / 1.2,
    "items": [{"sku": "Linux", "name": "Linux", "qty": 1, "price": 1999, "subtotal": 1999}],
}
EMPTY_CART = {"total": 0, "tax": 0, "items": []}


class Handler(BaseHTTPRequestHandler):
    """GET /health and what the service in question has; the server carries the settings and the carts."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"app": "OK"})
            return
        time.sleep(self.server.delay)
        if self.server.broken:
            self.answer(500, "broken")
            return
        root, _, session_id = self.path.lstrip("/").partition("/")
        if (self.server.service, root) == ("cart", "cart"):
            cart = self.server.cart(unquote(session_id))
            self.answer(*(200, cart) if cart else (404, "cart not found"))
        elif (self.server.service, root) == ("user", "check"):
            self.answer(*(404, "user not found") if session_id.startswith("unknown-") else (200, "OK"))
        else:
            self.answer(404, "no such page")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/broken":
            self.server.broken = json.loads(body)
            self.answer(200, "as told")
            return
        if self.server.service != "cart" or not self.path.startswith("/cart/"):
            self.answer(404, "no such page")
            return
        self.server.carts[unquote(self.path[len("/cart/") :])] = json.loads(body)
        self.answer(200, "stored")

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        """Only errors are worth a line."""


class Shop(ThreadingHTTPServer):
    """One of the two services."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service, address, delay):
        super().__init__(address, Handler)
        self.service = service
        self.delay = delay
        self.broken = False
        self.carts = {}

    def cart(self, session_id):
        """The cart of a session, None when it has none."""
        if session_id in self.carts:
            return self.carts[session_id]
        if session_id.startswith("missing-"):
            return None
        return EMPTY_CART if session_id.startswith("empty-") else DEMO_CART


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", choices=["cart", "user"])
    parser.add_argument("--bind", default="0.0.0.0")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=0, help="how long every answer but /health takes")
    arguments = parser.parse_args()
    Shop(arguments.service, (arguments.bind, arguments.port), arguments.delay_ms / 1000).serve_forever()


if __name__ == "__main__":
    main()
