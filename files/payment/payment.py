"""The Payment Service: `payment:app` for a WSGI server such as uWSGI; `python payment.py` serves it by itself."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from skillupworks_payment import charging, database, gateway, logs, uwsgi_input, web, webhooks
from skillupworks_payment.background import Background
from skillupworks_payment.database import LedgerUnavailable
from skillupworks_payment.health import Health
from skillupworks_payment.inbox import Inbox
from skillupworks_payment.ledger import Ledger
from skillupworks_payment.payments import Payments
from skillupworks_payment.rates import Rates
from skillupworks_payment.reconciler import Reconciler
from skillupworks_payment.relay import Relay
from skillupworks_payment.settings import Settings, SettingsError
from skillupworks_payment.upstreams import Upstreams

try:
    import uwsgi  # it exists inside uWSGI only
except ImportError:
    uwsgi = None

log = logging.getLogger(__name__)


def build(settings: Settings) -> tuple[Flask, Background]:
    """Put the service together. Leaves no thread and no connection behind: a WSGI server may fork after this."""
    logs.configure(settings.log_dir)
    money = gateway.from_settings(settings)
    tables = database.from_url(settings.ledger_url, settings.ledger_password)
    try:
        _aside(tables.migrate)
        tables.migrate()
    except LedgerUnavailable as error:
        log.error("the ledger cannot be used, payments are refused until it can: %s", error)
    ledger = Ledger(tables)
    way = charging.through(money, tables, ledger, lifetime=settings.checkout_lifetime)
    payments = Payments(
        Upstreams(settings, concurrency=settings.threads),
        way,
        ledger,
        currency=settings.currency,
        duplicate_window=settings.duplicate_window,
        patience=settings.gateway_timeout,
    )
    reconciler = Reconciler(
        ledger,
        way,
        gateway_timeout=settings.gateway_timeout,
        interval=settings.reconcile_interval,
        lifetime=settings.checkout_lifetime,
    )
    background = Background(tables, ledger, Relay(ledger, settings), reconciler)
    rates = Rates(
        tables, session=settings.rate_session, client=settings.rate_client, trusted_proxies=settings.trusted_proxies
    )
    health = Health(settings, ledger, shared=settings.shared_dir and settings.shared_dir / "health.json")
    webhook = webhooks.razorpay(settings.razorpay.webhook_secret, Inbox(tables)) if settings.razorpay else None
    return web.create_app(payments, rates, health, ledger, release(), webhook), background


def _aside(work: Callable[[], None]) -> None:
    """Do it in a child, so that what only a first start needs takes no memory here. How it went, the next call says."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def release() -> str:
    """The id of this release: what its deployment wrote into the file REVISION beside this one."""
    revision = Path(__file__).with_name("REVISION")
    return revision.read_text(encoding="utf-8").strip() if revision.exists() else "development"


try:
    settings = Settings.from_environment(os.environ)
    app, background = build(settings)
except SettingsError as error:
    sys.exit(f"payment: {error}")

if uwsgi:
    app.wsgi_app = uwsgi_input.completed(app.wsgi_app, uwsgi)
    # What is here now stays, and is shared by the workers as long as nobody writes into it: the collector would.
    gc.collect()
    gc.freeze()
    uwsgi.post_fork_hook = background.start

if __name__ == "__main__":
    from skillupworks_payment.server import serve  # uWSGI does without cheroot

    background.start()
    serve(app, settings)
