"""A server for the service in one process: cheroot's threads instead of uWSGI's workers."""

import logging
import signal
import threading

from cheroot.wsgi import Server
from flask import Flask

from .settings import Settings

log = logging.getLogger(__name__)


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
