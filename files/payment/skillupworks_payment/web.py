"""The HTTP interface: requests in, JSON out, errors included."""

import json
import logging
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from . import answers, attempts, bodies, context, idempotency, metrics, openapi, validation
from .answers import Answer
from .contract import Alive, HealthReport, Refused, Summary
from .database import LedgerUnavailable
from .errors import PaymentError
from .health import Health
from .ledger import Ledger
from .payments import Payments
from .rates import Rates

log = logging.getLogger(__name__)


def create_app(
    payments: Payments,
    rates: Rates,
    health: Health,
    ledger: Ledger,
    release: str,
    webhook: Blueprint | None = None,
) -> Flask:
    """The WSGI application. Every answer is JSON, but for the Prometheus text of /metrics."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # fields in the order of the documentation
    app.json.compact = True
    app.wsgi_app = _only_http(app.wsgi_app)
    app.config["MAX_CONTENT_LENGTH"] = bodies.MAX_BYTES + 1  # of one in chunks, so much is read and all else is left

    @app.before_request
    def begin() -> None:
        headers = request.headers
        context.begin(headers.get("X-Request-Id", ""), headers.get("traceparent", ""), headers.get("tracestate", ""))

    @app.after_request
    def name_request(response: Response) -> Response:
        response.headers["X-Request-Id"] = context.current().request_id
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        context.end()

    @app.get("/live")
    def live() -> Alive:
        return Alive(status="alive", release=release)

    @app.get("/health")
    def report_health() -> HealthReport:
        return health.report()

    @app.get("/openapi.json")
    def describe() -> dict[str, Any]:
        return openapi.document(release, with_webhook=webhook is not None)

    @app.get("/metrics")
    def report_metrics() -> Response | Summary:
        accept = request.headers.get("Accept", "")
        if "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept):
            text, content_type = metrics.exposition(accept, release, _gauges(ledger))
            return Response(text, content_type=content_type)
        return metrics.summary()

    @app.post("/pay/<session_id>")
    def pay(session_id: str) -> Response:
        with attempts.recorded(session_id) as attempt:
            validation.check_session_id(session_id)
            rates.check(session_id, request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))
            payment, document = validation.payment_request(bodies.read())
            key = request.headers.get("Idempotency-Key")
            claim = None if key is None else idempotency.by_key(key, session_id, document)
            return _response(payments.pay(attempt, payment, claim))

    if webhook:
        app.register_blueprint(webhook)

    @app.errorhandler(PaymentError)
    def refuse(error: PaymentError) -> Response:
        response = _response(answers.failure(error, request.view_args.get("session_id")))
        if error.retry_after:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        """404, 405 and their like, with the headers that belong to them."""
        response = Response(headers=error.get_headers(), status=error.code)
        response.content_type = "application/json"
        response.data = app.json.dumps(Refused(status="error", message=error.name))
        return response

    @app.errorhandler(Exception)
    def report_bug(error: Exception) -> tuple[Refused, int]:
        log.error("unexpected exception", exc_info=error)
        return Refused(status="error", message="Internal server error"), 500

    return app


def _only_http(application: WSGIApplication) -> WSGIApplication:
    """Answer what uWSGI hands over though it is no HTTP, such as an empty line: Flask does not."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "REQUEST_METHOD" in environ and "PATH_INFO" in environ:
            return application(environ, start_response)
        body = Refused(status="error", message="This is not an HTTP request")
        return Response(json.dumps(body), 400, content_type="application/json")(
            environ | {"REQUEST_METHOD": "GET"}, start_response
        )

    return call


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
