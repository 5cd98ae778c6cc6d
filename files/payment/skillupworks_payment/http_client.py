"""HTTP/1.1 over kept connections: an answer in time or none, read by the thread that asks.

Above `http.client`, which a payment can afford: a call costs a third of urllib3's CPU time, and no thread is handed
anything. Only connecting is left to other threads, since nothing bounds the time that resolving a name takes.
"""

import base64
import io
import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse, IncompleteRead

_MAX_ANSWER_BYTES = 1024 * 1024

# HTTP/1.1, a final status that may have a body, and fields without a line that is folded.
_PLAIN = re.compile(
    rb"HTTP/1\.1 (?P<status>[2-5][0-9][0-9])(?<!204)(?<!304)(?: [^\r\n]*)?\r\n"
    rb"(?P<fields>(?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n"
)
_FIELD = re.compile(rb"([!-9;-~]+):([^\r\n]*)\r\n")

Unanswered = (OSError, HTTPException)  # what is raised when there is no answer; TimeoutError is one of the former


class TooLong(HTTPException):
    """The answer is longer than any that is wanted."""


class HttpClient:
    """The connections to one service. One serves all threads of a process."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect_timeout: float,
        read_timeout: float,
        concurrency: int,
        tls: ssl.SSLContext | None = None,
        credentials: str | None = None,
    ) -> None:
        """Times in seconds, for connecting and for each read; no more than `concurrency` connections are kept.

        `credentials` are `user:password`, for every request.
        """
        self._address = host, port
        self._connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self._tls = tls
        self._fields = f"Host: {host}:{port}\r\nUser-Agent: payment\r\nAccept: */*\r\n"
        if credentials:
            self._fields += f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n"
        self._idle: deque[socket.socket] = deque(maxlen=concurrency)
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix=f"connect-{host}")

    def ask(
        self,
        method: str,
        path: str,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> "Call":
        """Send a request, which is answered by `deadline`, in seconds of the monotonic clock, or never."""
        fields = self._fields + "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if body is not None:
            fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{fields}\r\n"
        return Call(self, method, head.encode("latin-1") + (body or b""), deadline)

    def take(self) -> socket.socket | None:
        """An idle connection that the other side has not closed."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            readable = select.poll()
            readable.register(connection, select.POLLIN)
            if not readable.poll(0):
                return connection
            connection.close()

    def keep(self, connection: socket.socket) -> None:
        if len(self._idle) < self._idle.maxlen:
            self._idle.append(connection)
        else:
            connection.close()

    def connect(self, request: bytes, deadline: float) -> Future[socket.socket]:
        """Connect in another thread, and send the request unless it is too late by then."""
        return self._threads.submit(self._connect, request, deadline)

    def _connect(self, request: bytes, deadline: float) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=self._connect_timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
            send(connection, request, deadline)
        except BaseException:
            connection.close()
            raise
        return connection


class Call:
    """One request on its way."""

    def __init__(self, service: HttpClient, method: str, request: bytes, deadline: float) -> None:
        self.began = time.perf_counter()
        self._service = service
        self._method = method
        self._request = request
        self._deadline = deadline
        self._connection = service.take()
        self._connecting: Future[socket.socket] | None = None
        self._problem: OSError | None = None
        if self._connection is None:
            self._connecting = service.connect(request, deadline)
            return
        try:
            send(self._connection, request, deadline)
        except OSError as error:
            self._problem = error

    def answer(self) -> tuple[int, bytes]:
        """Status and body, one of `Unanswered` when there are none. What changes nothing may be sent a second time."""
        try:
            return self._read()
        except (ConnectionError, HTTPException) as error:
            if self._method != "GET" or self._connecting or isinstance(error, TooLong):
                raise
            # Most likely a kept connection that the other side closed at this moment.
            self._problem = None
            self._connecting = self._service.connect(self._request, self._deadline)
            return self._read()

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        if self._connecting:
            self._connecting.cancel()
            self._connecting.add_done_callback(_close)
        elif self._connection:
            self._connection.close()

    def _read(self) -> tuple[int, bytes]:
        try:
            if self._problem:
                raise self._problem
            if self._connecting:
                self._connection = self._connecting.result(max(0, self._deadline - time.monotonic()))
                self._connecting = None
            reading = _Reading(self._connection, self._deadline, self._service.read_timeout)
            status, body, stays = reading.plain_answer() or reading.any_answer(self._method)
        except BaseException:
            self.abandon()
            raise
        if stays:
            self._service.keep(self._connection)
        else:
            self._connection.close()
        return status, body


class _Reading(io.RawIOBase):
    """Reads an answer. A socket's own timeout is for each read, however slowly an answer trickles."""

    def __init__(self, connection: socket.socket, deadline: float, patience: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._patience = patience
        self._begin = b""  # what was read and is not used yet

    def plain_answer(self) -> tuple[int, bytes, bool] | None:
        """Status, body, and whether the connection can be kept; None for any other answer than a whole one of stated
        length that came in one piece. Most are like that, and the general way costs more than all else of a call."""
        _be_done_by(self._connection, self._deadline, self._patience)
        self._begin = self._connection.recv(65536)
        found = _PLAIN.match(self._begin)
        if not found:
            return None
        fields = {name.lower(): value.strip() for name, value in _FIELD.findall(found["fields"])}
        body = self._begin[found.end() :]
        length = fields.get(b"content-length")
        if b"transfer-encoding" in fields or length is None or not length.isdigit() or int(length) != len(body):
            return None
        return int(found["status"]), body, fields.get(b"connection", b"").lower() not in (b"close", b"upgrade")

    def any_answer(self, method: str) -> tuple[int, bytes, bool]:
        """As `plain_answer`, for every answer; TooLong when that is more than anybody wants."""
        response = HTTPResponse(self, method=method)
        response.begin()
        body = response.read(_MAX_ANSWER_BYTES + 1)
        if len(body) > _MAX_ANSWER_BYTES:
            raise TooLong(f"answered more than {_MAX_ANSWER_BYTES} bytes")
        if response.length:
            raise IncompleteRead(body, response.length)
        return response.status, body, not response.will_close

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        if self._begin:
            count = min(len(buffer), len(self._begin))
            buffer[:count], self._begin = self._begin[:count], self._begin[count:]
            return count
        _be_done_by(self._connection, self._deadline, self._patience)
        return self._connection.recv_into(buffer)


def send(connection: socket.socket, request: bytes, deadline: float) -> None:
    """Send all of it before the deadline."""
    _be_done_by(connection, deadline)
    connection.sendall(request)


def _be_done_by(connection: socket.socket, deadline: float, patience: float = float("inf")) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(min(left, patience))


def _close(connecting: Future[socket.socket]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().close()
