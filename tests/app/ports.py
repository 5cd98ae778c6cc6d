"""TCP ports on loopback."""

import json
import os
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_SHARES = 16
_SHARE = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % _SHARES
_given: set[int] = set()


def free_port() -> int:
    """One that the kernel gives to no client: a server that is away for a while finds it free again.

    Nor does anybody else of this run get it: each worker has ports of its own, and gives each of them once.
    """
    lowest_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000 + _SHARE, lowest_of_clients, _SHARES)
        if port in _given:
            continue
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            _given.add(port)
            return port


@contextmanager
def hanging() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener.getsockname()[1]


class Holding(NamedTuple):
    port: int
    asked: list[bytes]
    release: threading.Event


@contextmanager
def holding(document: object) -> Iterator[Holding]:
    """A server that answers every request with `document`, but none before its release."""
    body = json.dumps(document).encode()
    asked: list[bytes] = []
    release = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            asked.append(connection.recv(65536))
            release.wait()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with _accepting(answer) as port:
        yield Holding(port, asked, release)
    release.set()


@contextmanager
def dripping(line: bytes) -> Iterator[int]:
    """The port of a server that sends `line` again and again, slowly, as the head of an answer without an end."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(0.3):
                try:
                    connection.sendall(line)
                except OSError:
                    return

    with _accepting(drip) as port:
        yield port
    ended.set()


@contextmanager
def _accepting(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that leaves each connection to `serve`, in a thread of its own."""

    def accept() -> None:
        with suppress(OSError):  # until the end of the context
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class Gate:
    """A port that leads to another one, and is as if nobody listened there while it is closed. It begins open."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._connections: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def close(self) -> None:
        """End all connections and take no new ones."""
        for each in (self._listener, *self._connections):
            with suppress(OSError):  # closed already
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._connections += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
