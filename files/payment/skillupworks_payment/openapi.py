"""The description of the HTTP interface, OpenAPI 3.1, generated from the types that read requests and make answers."""

import functools
from typing import Any

from pydantic import TypeAdapter

from . import idempotency, validation
from .contract import Alive, HealthReport, Paid, Refused, Summary
from .validation import PaymentRequest

# What each status of POST /pay/<sessionId> means. What a 4xx names as `field` can be corrected.
_REFUSALS = {
    400: "The request is malformed, has card data in it, or shows another cart; or the cart is empty.",
    401: "The User service does not know the session.",
    409: "The same payment is in progress, or its outcome is being found out.",
    413: f"The body is larger than {validation.MAX_BODY_BYTES} bytes.",
    415: "The body is not JSON in UTF-8.",
    422: "The Idempotency-Key was used for another session or body.",
    429: "The session or the client made too many requests.",
    500: "The gateway did not take the money, or did not say so in time.",
    503: "A service behind this one cannot do its part now. Trying again is safe.",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_COMPONENTS = "#/components/schemas/{model}"


@functools.cache
def document(release: str) -> dict[str, Any]:
    """The whole description, as JSON."""
    types = (Alive, HealthReport, Paid, PaymentRequest, Refused, Summary)
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

    refusals = {
        str(status): answer(Refused, text, **({"headers": _RETRY_AFTER} if status in (409, 429, 503) else {}))
        for status, text in _REFUSALS.items()
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
            **refusals,
        },
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
        },
        "components": {"schemas": components},
    }
