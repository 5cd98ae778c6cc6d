"""The Payment Service: `payment:app` for a WSGI server such as uWSGI; `python payment.py` serves it by itself."""

import os
import signal
import sys
import threading
from pathlib import Path

from cheroot.wsgi import Server
from flask import Flask

from skillupworks_payment import gateway, logs, web
from skillupworks_payment.health import Health
from skillupworks_payment.payments import Payments
from skillupworks_payment.publisher import Publisher
from skillupworks_payment.settings import Settings, SettingsError
from skillupworks_payment.upstreams import Upstreams


def build(settings: Settings) -> Flask:
    """Put the service together. Starts no thread and opens no connection: a WSGI server may fork after this."""
    logs.configure(settings.log_dir)
    payments = Payments(
        Upstreams(settings, concurrency=settings.threads),
        gateway.from_settings(settings),
        Publisher(settings),
        settings.currency,
    )
    return web.create_app(payments, Health(settings), release())


def release() -> str:
    """The id of this release: what its deployment wrote into the file REVISION beside this one."""
    revision = Path(__file__).with_name("REVISION")
    return revision.read_text(encoding="utf-8").strip() if revision.exists() else "development"


def serve(app: Flask, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and return."""
    server = Server((settings.bind, settings.port), app, numthreads=settings.threads, shutdown_timeout=30)
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


try:
    settings = Settings.from_environment(os.environ)
    app = build(settings)
except SettingsError as error:
    sys.exit(f"payment: {error}")

if __name__ == "__main__":
    serve(app, settings)
