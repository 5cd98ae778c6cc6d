"""The HTTP interface: requests in, JSON out, errors included."""

import logging

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from . import answers, attempts, idempotency, metrics, validation
from .answers import Answer
from .database import LedgerUnavailable
from .errors import PaymentError, invalid
from .health import Health
from .ledger import Ledger
from .payments import Payments

log = logging.getLogger(__name__)


def create_app(
    payments: Payments, health: Health, ledger: Ledger, release: str, webhooks: Blueprint | None = None
) -> Flask:
    """The WSGI application. Every answer is JSON, but for the Prometheus text of /metrics."""
    app = Flask(__name__, static_folder=None)
    if webhooks:
        app.register_blueprint(webhooks)
    app.json.sort_keys = False  # fields in the order of the documentation
    app.json.compact = True
    app.config["MAX_CONTENT_LENGTH"] = validation.MAX_BODY_BYTES

    @app.get("/live")
    def live() -> dict[str, str]:
        return {"status": "alive", "release": release}

    @app.get("/health")
    def report_health() -> dict[str, str | int]:
        return health.report()

    @app.get("/metrics")
    def report_metrics() -> Response | dict[str, int | str]:
        accept = request.headers.get("Accept", "")
        if "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept):
            text, content_type = metrics.exposition(accept, _gauges(ledger))
            return Response(text, content_type=content_type)
        return metrics.summary()

    @app.post("/pay/<session_id>")
    def pay(session_id: str) -> Response:
        with attempts.recorded(session_id) as attempt:
            validation.check_session_id(session_id)
            payment, document = validation.payment_request(request.mimetype, _body())
            key = request.headers.get("Idempotency-Key")
            claim = None if key is None else idempotency.by_key(key, session_id, document)
            return _response(payments.pay(attempt, payment, claim))

    @app.errorhandler(PaymentError)
    def refuse(error: PaymentError) -> Response:
        response = _response(answers.failure(error, request.view_args["session_id"]))
        if error.retry_after:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        """404, 405 and their like, with the headers that belong to them."""
        response = Response(headers=error.get_headers(), status=error.code)
        response.content_type = "application/json"
        response.data = app.json.dumps({"status": "error", "message": error.name})
        return response

    @app.errorhandler(Exception)
    def report_bug(error: Exception) -> tuple[dict[str, str], int]:
        log.error("unexpected exception", exc_info=error)
        return {"status": "error", "message": "Internal server error"}, 500

    return app


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, content_type="application/json")
    if answer.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _gauges(ledger: Ledger) -> dict[str, tuple[str, float]]:
    """What is still to do, for Prometheus; nothing while the ledger cannot be asked."""
    try:
        backlog = ledger.backlog()
    except LedgerUnavailable as error:
        log.warning("the ledger cannot be used: %s", error)
        return {}
    return {
        "payment_outbox_orders": ("Paid orders that RabbitMQ has not confirmed yet.", backlog.unpublished),
        "payment_outbox_oldest_seconds": ("How long the oldest of them waits.", backlog.oldest),
        "payment_unresolved": ("Payments whose outcome is not known yet.", backlog.unresolved),
    }


def _body() -> bytes:
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        message = f"Body must not be larger than {validation.MAX_BODY_BYTES} bytes"
        raise PaymentError(413, "body_too_large", message) from error
    except ClientDisconnected as error:
        raise invalid(None, "Body is shorter than announced") from error
