"""Clients that pay in a closed loop, each with a new connection and a new session for every payment."""

import itertools
import json
import os
import select
import socket
import time
from dataclasses import dataclass, field

from stub import CART

_BODY = json.dumps({"total": CART["total"], "items": CART["items"]}).encode()
_PATIENCE = 15.0  # seconds that a client waits for an answer
_sessions = itertools.count()


@dataclass
class Seen:
    """What the clients of one window saw: seconds for each payment that was answered 200, their order ids, and the
    number of other ends."""

    seconds: list[float] = field(default_factory=list)
    order_ids: list[str] = field(default_factory=list)
    errors: int = 0


def pay(port: int, clients: int, duration: float) -> Seen:
    """Let so many clients pay at 127.0.0.1 for `duration` seconds, and return when all are answered.

    One thread and one epoll, so that the clients cost little beside what is measured. An answer counts when it is 200,
    complete, and, where it names an order, that is remembered.
    """
    seen = Seen()
    end = time.perf_counter() + duration
    with select.epoll() as epoll:
        waiting = {}
        for _ in range(clients):
            _begin(port, epoll, waiting)
        while waiting:
            events = epoll.poll(_PATIENCE)
            if not events:
                seen.errors += len(waiting)
                for connection, _, _ in waiting.values():
                    connection.close()
                break
            for descriptor, _ in events:
                connection, began, parts = waiting[descriptor]
                try:
                    received = connection.recv(65536)
                except OSError:
                    received, parts[:] = b"", []
                if received:
                    parts.append(received)
                    continue
                connection.close()
                del waiting[descriptor]
                _judge(b"".join(parts), time.perf_counter() - began, seen)
                if time.perf_counter() < end:
                    _begin(port, epoll, waiting)
    return seen


def _begin(port: int, epoll: select.epoll, waiting: dict) -> None:
    began = time.perf_counter()
    request = (
        f"POST /pay/bench-{os.getpid()}-{next(_sessions)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request.encode() + _BODY)
    connection.setblocking(False)
    epoll.register(connection, select.EPOLLIN)
    waiting[connection.fileno()] = connection, began, []


def _judge(answer: bytes, seconds: float, seen: Seen) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if head[9:12] != b"200" or not isinstance(document, dict):
        seen.errors += 1
        return
    seen.seconds.append(seconds)
    order_id = document.get("orderId") or document.get("orderid")  # ours, robot-shop's
    if order_id:
        seen.order_ids.append(order_id)
