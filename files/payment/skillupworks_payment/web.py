"""The HTTP interface: requests in, JSON out, errors included."""

import logging
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from . import attempts, metrics, validation
from .errors import PaymentError, invalid
from .health import Health
from .payments import Payments

log = logging.getLogger(__name__)


def create_app(payments: Payments, health: Health, release: str) -> Flask:
    """The WSGI application. Every answer is JSON, but for the Prometheus text of /metrics."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # fields in the order of the documentation
    app.json.compact = True
    app.config["MAX_CONTENT_LENGTH"] = validation.MAX_BODY_BYTES

    @app.get("/live")
    def live() -> dict[str, str]:
        return {"status": "alive", "release": release}

    @app.get("/health")
    def report_health() -> dict[str, str]:
        return health.report()

    @app.get("/metrics")
    def report_metrics() -> Response | dict[str, int | str]:
        accept = request.headers.get("Accept", "")
        if "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept):
            text, content_type = metrics.exposition(accept)
            return Response(text, content_type=content_type)
        return metrics.summary()

    @app.post("/pay/<session_id>")
    def pay(session_id: str) -> dict[str, Any]:
        with attempts.recorded(session_id) as attempt:
            validation.check_session_id(session_id)
            order = payments.pay(attempt, validation.payment_request(request.mimetype, _body()))
        return {
            "status": "success",
            "orderId": order.order_id,
            "sessionId": session_id,
            "amount": order.amount,
            "paymentId": order.payment_id,
            "message": "Payment processed successfully",
            "timestamp": order.timestamp,
        }

    @app.errorhandler(PaymentError)
    def refuse(error: PaymentError) -> tuple[dict[str, str], int, dict[str, str]]:
        body = {"status": "error", "message": error.message}
        if error.error:
            body["error"] = error.error
        elif error.field != "sessionId":
            body["sessionId"] = request.view_args["session_id"]
        if error.field:
            body["field"] = error.field
        return body, error.status, {"Retry-After": str(error.retry_after)} if error.retry_after else {}

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


def _body() -> bytes:
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        message = f"Body must not be larger than {validation.MAX_BODY_BYTES} bytes"
        raise PaymentError(413, "body_too_large", message) from error
    except ClientDisconnected as error:
        raise invalid(None, "Body is shorter than announced") from error
