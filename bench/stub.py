#!/usr/bin/env python3
"""Cart, User and the gateway of a benchmark, for our service and for robot-shop's `payment`: `stub.py ADDRESS PORT`.

Every call is answered after the same latency, which `PUT /latency` sets in seconds; `GET /calls` says how many there
were. One thread and one epoll: what it costs per call is some tens of microseconds.
"""

import contextlib
import heapq
import json
import select
import socket
import sys
import time

# robot-shop's payment wants shipping in the cart of its request, ours wants the real cart to be that one.
CART = {
    "total": 2099,
    "tax": 2099 - 2099 / 1.2,
    "items": [
        {"sku": "Linux", "name": "Linux", "qty": 1, "price": 1999, "subtotal": 1999},
        {"sku": "SHIP", "name": "shipping", "qty": 1, "price": 100, "subtotal": 100},
    ],
}


def answer(document: object) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


OK, THE_CART = answer("OK"), answer(CART)


class Stub:
    """Serves for ever."""

    def __init__(self, address: str, port: int) -> None:
        self._latency = 0.0
        self._calls = 0
        self._listener = socket.create_server((address, port), backlog=1024)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}  # what came of a request that is not complete
        self._due: list[tuple[float, int, socket.socket, bytes]] = []

    def run(self) -> None:
        while True:
            if self._due:
                # epoll waits for whole milliseconds, select for microseconds.
                select.select([self._epoll], [], [], max(0.0, self._due[0][0] - time.monotonic()))
            for descriptor, _ in self._epoll.poll(0 if self._due else -1):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._receive(descriptor)
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, connection, what = heapq.heappop(self._due)
                self._send(connection, what)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connection.fileno()] = connection
        self._read[connection.fileno()] = b""
        self._epoll.register(connection, select.EPOLLIN)

    def _receive(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        try:
            received = connection.recv(65536)
        except ConnectionError:
            received = b""
        if not received:
            del self._connections[descriptor], self._read[descriptor]
            connection.close()
            return
        request = self._read[descriptor] + received
        head, end, body = request.partition(b"\r\n\r\n")
        complete = end and len(body) >= _content_length(head)
        self._read[descriptor] = b"" if complete else request
        if complete:
            self._answer(connection, head, body)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if path == b"/calls":
            self._send(connection, answer(self._calls))
        elif path == b"/latency":
            self._latency = float(body)
            self._send(connection, OK)
        else:
            self._calls += 1
            if path == b"/charges":
                what = answer({"payment_id": f"pay_{self._calls}"})
            else:
                what = THE_CART if method == b"GET" and path.startswith(b"/cart/") else OK
            if self._latency:
                heapq.heappush(self._due, (time.monotonic() + self._latency, self._calls, connection, what))
            else:
                self._send(connection, what)

    def _send(self, connection: socket.socket, what: bytes) -> None:
        with contextlib.suppress(OSError):  # a client that is gone; its end of the connection says so as well
            connection.send(what)


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


if __name__ == "__main__":
    Stub(sys.argv[1], int(sys.argv[2])).run()
