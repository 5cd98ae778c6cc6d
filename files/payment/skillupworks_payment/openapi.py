"""The description of the HTTP interface, OpenAPI 3.1, generated from the types that read requests and make answers."""

import functools
from typing import Any

from pydantic import TypeAdapter

from . import bodies, idempotency, validation, webhooks
from .contract import Alive, HealthReport, Paid, PaymentRequired, Received, Refused, Summary
from .validation import PaymentRequest

# What each status of POST /pay/<sessionId> means. What a 4xx names as `field` can be corrected.
_REFUSALS = {
    400: "The request is malformed, has card data in it, or shows another cart; or the cart is empty or too large.",
    401: "The User service does not know the session.",
    409: "The same payment is in progress, or its outcome is being found out.",
    413: f"The body is larger than {bodies.MAX_BYTES} bytes.",
    415: "The body is not JSON in UTF-8.",
    422: "The Idempotency-Key was used for another session or body.",
    429: "The session or the client made too many requests.",
    500: "The gateway did not take the money, or did not say so in time.",
    503: "A service behind this one cannot do its part now. Trying again is safe.",
}
_WEBHOOK_REFUSALS = {
    400: "The body is not signed with the webhook's secret, or is not JSON; or the event has no id.",
    413: _REFUSALS[413],
    415: _REFUSALS[415],
    503: "The event could not be kept. It is to be sent again.",
}
_UNPAID = PaymentRequired | Refused
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_COMPONENTS = "#/components/schemas/{model}"


@functools.cache
def document(release: str, *, with_webhook: bool) -> dict[str, Any]:
    """The whole description, as JSON; `with_webhook` where there is that route."""
    types = (Alive, HealthReport, Paid, PaymentRequest, Received, Refused, Summary, _UNPAID)
    inputs = [(each, "validation", TypeAdapter(each)) for each in types]
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=_COMPONENTS)
    components = definitions["$defs"]

    def body(of: type) -> dict[str, Any]:
        return {"application/json": {"schema": schemas[of, "validation"]}}

    def answer(of: type, description: str, **more: Any) -> dict[str, Any]:
        return {"description": description, "content": body(of), **more}

    def report(of: type, summary: str, **more_content: Any) -> dict[str, Any]:
        ok = answer(of, of.__doc__)
        ok["content"] |= more_content
        return {"get": {"summary": summary, "responses": {"200": ok}}}

    def refusals(texts: dict[int, str]) -> dict[str, Any]:
        return {
            str(status): answer(Refused, text, **({"headers": _RETRY_AFTER} if status in (409, 429, 503) else {}))
            for status, text in texts.items()
        }

    pay = {
        "summary": "Pay for the cart of a session",
        "parameters": [
            {
                "name": "sessionId",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": f"^{validation.SESSION_ID.pattern}$"},
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A repeated request with the same key gets the answer of the first, for 24 hours.",
                "schema": {"type": "string", "pattern": f"^{idempotency.KEY.pattern}$"},
            },
        ],
        "requestBody": {"required": True, "content": body(PaymentRequest)},
        "responses": {
            "200": answer(
                Paid,
                Paid.__doc__,
                headers={
                    "Idempotency-Replayed": {
                        "description": "There when an earlier request was answered so.",
                        "schema": {"const": "true"},
                    }
                },
            ),
            "402": answer(_UNPAID, "The customer is to pay at the gateway; or it takes no money, and says why."),
            **refusals(_REFUSALS),
        },
    }
    receive = {
        "summary": "What Razorpay tells by webhook",
        "parameters": [
            {
                "name": "X-Razorpay-Signature",
                "in": "header",
                "required": True,
                "description": "HMAC-SHA256 of the body with the webhook's secret.",
                "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            },
            {
                "name": "X-Razorpay-Event-Id",
                "in": "header",
                "required": True,
                "description": "The same when an event comes again.",
                "schema": {"type": "string", "pattern": f"^{webhooks.EVENT_ID.pattern}$"},
            },
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {"200": answer(Received, Received.__doc__), **refusals(_WEBHOOK_REFUSALS)},
    }
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Payment Service", "version": release},
        "paths": {
            "/live": report(Alive, "The release; depends on nothing"),
            "/health": report(HealthReport, "Whether the services behind can be reached, at most a second old"),
            "/metrics": report(Summary, "The figures; as text for a Prometheus scraper that asks so", **text),
            "/pay/{sessionId}": {"post": pay},
            **({webhooks.PATH: {"post": receive}} if with_webhook else {}),
        },
        "components": {"schemas": components},
    }
