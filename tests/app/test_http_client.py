"""Answers over kept connections: whole ones only, in time, and never something sent twice that does something."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from service import APP, PATIENCE

sys.path.append(str(APP))

from skillupworks_payment.http_client import HttpClient, IncompleteRead, TooLong

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLOSE = None


class Requests(list[bytes]):
    """`closed` is released for each connection that the server has closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = threading.Semaphore(0)


@contextmanager
def server(*pieces: bytes | float | None) -> Iterator[tuple[HttpClient, Requests]]:
    """A server that answers each request with these pieces, waits of so many seconds, or by closing; what it got."""
    requests = Requests()

    def answer(connection: socket.socket) -> None:
        with ExitStack() as stack:
            stack.callback(requests.closed.release)
            stack.enter_context(connection)
            try:
                while request := connection.recv(65536):
                    requests.append(request)
                    for piece in pieces:
                        if piece is CLOSE:
                            return
                        time.sleep(piece) if isinstance(piece, float) else connection.sendall(piece)
            except OSError:
                pass  # the client went away

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        yield HttpClient("127.0.0.1", port, connect_timeout=5, read_timeout=5, concurrency=2), requests
        listener.shutdown(socket.SHUT_RDWR)


def ask(service: HttpClient, method: str = "GET", seconds: float = 10) -> tuple[int, bytes]:
    return service.ask(method, "/x", time.monotonic() + seconds).answer()


@pytest.mark.parametrize(
    "pieces",
    [
        (PLAIN,),
        (PLAIN[:20], 0.05, PLAIN[20:-1], 0.05, PLAIN[-1:]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nhi",),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", CLOSE),
    ],
)
def test_every_way_to_answer_is_understood_again_and_again(pieces):
    with server(*pieces) as (service, _):
        assert [ask(service) for _ in range(3)] == [(200, b"hi")] * 3


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi", CLOSE), IncompleteRead),
        ((CLOSE,), ConnectionError),
        ((b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**21, CLOSE), TooLong),
    ],
)
def test_an_answer_that_is_not_whole_is_none(pieces, error):
    with server(*pieces) as (service, requests):
        with pytest.raises(error):
            ask(service, "POST")
        assert len(requests) == 1


def test_an_answer_that_trickles_is_none():
    with server(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n", 0.1] * 100) as (service, _), pytest.raises(TimeoutError):
        ask(service, seconds=0.5)


def test_a_get_is_sent_again_where_the_connection_was_lost_and_a_post_is_not():
    with server(CLOSE) as (service, requests):
        for method in ("GET", "POST"):
            with pytest.raises(ConnectionError):
                ask(service, method)
        assert [request.split()[0] for request in requests] == [b"GET", b"GET", b"POST"]


def test_a_connection_that_was_closed_meanwhile_is_not_used():
    with server(PLAIN, CLOSE) as (service, requests):
        for _ in range(2):
            assert ask(service, "POST") == (200, b"hi")
            assert requests.closed.acquire(timeout=PATIENCE)
        assert len(requests) == 2


def test_nothing_is_sent_when_it_is_too_late():
    with server(PLAIN) as (service, requests):
        with pytest.raises(TimeoutError):
            ask(service, "POST", seconds=-1)
        time.sleep(0.2)
        assert requests == []
