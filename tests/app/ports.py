"""TCP ports on loopback."""

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    """One that the kernel gives to no client: a server that is away for a while finds it free again."""
    lowest_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, lowest_of_clients)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@contextmanager
def hanging() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener.getsockname()[1]


@contextmanager
def holding(document: object) -> Iterator[tuple[int, threading.Event]]:
    """The port of a server that answers with `document`, but nobody before the event is set."""
    release = threading.Event()
    body = json.dumps(document).encode()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            release.wait()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with _accepting(answer) as port:
        yield port, release
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
