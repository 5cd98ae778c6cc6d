"""The body of the request that is being answered."""

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from .errors import PaymentError, invalid

MAX_BYTES = 64 * 1024


def read() -> bytes:
    """All of it; PaymentError 413 when it is too long, 415 when it is not plain JSON in UTF-8, 400 when it is cut."""
    if request.content_encoding not in (None, "identity"):
        raise _unsupported("Content-Encoding must be left out: the body must not be compressed")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise PaymentError(413, "body_too_large", f"Body must not be larger than {MAX_BYTES} bytes") from error
    except ClientDisconnected as error:
        raise invalid(None, "Body is shorter than announced") from error
    if request.mimetype != "application/json":
        raise _unsupported("Content-Type must be application/json")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise _unsupported("JSON is UTF-8: leave charset out of Content-Type")
    return body


def _unsupported(message: str) -> PaymentError:
    return PaymentError(415, "unsupported_media_type", message)
