"""The Payment Service: `payment:app` for a WSGI server such as uWSGI; `python payment.py` serves it by itself."""

import os
import sys
from pathlib import Path

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


try:
    settings = Settings.from_environment(os.environ)
    app = build(settings)
except SettingsError as error:
    sys.exit(f"payment: {error}")

if __name__ == "__main__":
    from skillupworks_payment.server import serve  # uWSGI does without cheroot

    serve(app, settings)
