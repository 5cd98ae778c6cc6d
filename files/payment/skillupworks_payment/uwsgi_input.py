"""What uWSGI's HTTP leaves to an application: bodies that come in chunks, and clients that ask before they send one."""

import io
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PATIENCE = 10.0  # seconds for a whole body in chunks, each of which a client could send just in time


def completed(application: WSGIApplication, uwsgi: ModuleType) -> WSGIApplication:
    """The application as other servers would call it; `uwsgi` is the module that exists inside uWSGI only."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
            os.write(uwsgi.connection_fd(), b"HTTP/1.1 100 Continue\r\n\r\n")  # curl waits a second for it
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
            return application(environ, start_response)
        chunks = _Chunks(uwsgi)
        environ["wsgi.input"] = io.BufferedReader(chunks)
        environ["wsgi.input_terminated"] = True
        answer = application(environ, start_response)
        chunks.discard()
        return answer

    return call


class _Chunks(io.RawIOBase):
    """A body that ends with an empty chunk; OSError when that does not come in time."""

    def __init__(self, uwsgi: ModuleType) -> None:
        self._uwsgi = uwsgi
        self._deadline = time.monotonic() + _PATIENCE
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        if not self._left and not self._ended:
            self._left = self._next()
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def discard(self) -> None:
        """Take what nobody has read: a connection that is closed before that is reset, and the answer is lost."""
        with suppress(OSError):
            while not self._ended:
                self._next()

    def _next(self) -> bytes:
        seconds = int(self._deadline - time.monotonic())
        if seconds < 1:
            self._ended = True
            raise TimeoutError("the body does not end")
        try:
            chunk = self._uwsgi.chunked_read(seconds)
        except OSError:
            self._ended = True
            raise
        self._ended = not chunk
        return chunk
