"""A server for the service in one process: cheroot's threads instead of uWSGI's workers."""

import json
import logging
import signal
import threading
from contextlib import suppress
from typing import BinaryIO

from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest
from cheroot.wsgi import Server
from flask import Flask

from .contract import Refused
from .settings import Settings

log = logging.getLogger(__name__)


class _Repeated(dict[bytes, bytes]):
    """Fields of a head; one that comes again is joined, as uWSGI does, where cheroot would keep the last."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        super().__setitem__(name, self[name] + b", " + value if name in self else value)

    def get(self, name: bytes, default: bytes | None = None) -> None:
        """None, so that cheroot joins none by itself."""


class _JoiningReader(HeaderReader):
    def __call__(self, rfile: BinaryIO, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        fields = {} if hdict is None else hdict
        fields.update(super().__call__(rfile, _Repeated()))
        return fields


class _Request(HTTPRequest):
    header_reader = _JoiningReader()

    def simple_response(self, status: str, msg: str = "") -> None:
        """What cheroot answers by itself, to what is no HTTP, in JSON like all else."""
        self.close_connection = True
        body = json.dumps(Refused(status="error", message=msg or str(status))).encode()
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with suppress(OSError):  # a client that is gone
            self.conn.wfile.write(f"{self.server.protocol} {status}\r\n{head}".encode() + body)


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request


def serve(app: Flask, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and return."""
    server = Server(
        (settings.bind, settings.port),
        app,
        numthreads=settings.threads,
        request_queue_size=1024,  # with cheroot's 5, clients that come at the same time wait a second to be let in
        timeout=4,
        shutdown_timeout=30,
    )
    server.ConnectionClass = _Connection
    server.error_log = _log_error
    server.keep_alive_conn_limit = 0  # at a stop, a kept connection could be closed just as a request arrives on it

    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)  # inherited by all threads: only sigwait gets them

    def stop_on_signal() -> None:
        signal.sigwait(stop_signals)
        server.stop()

    stopper = threading.Thread(target=stop_on_signal, daemon=True)
    stopper.start()
    server.start()
    stopper.join()


def _log_error(message: str = "", level: int = logging.ERROR, traceback: bool = False) -> None:
    log.log(level, "%s", message.strip(), exc_info=traceback)
