"""The body of the request that is being answered."""

from contextlib import suppress

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from .errors import PaymentError, invalid

MAX_BYTES = 64 * 1024
_MOST_DISCARDED = 8 * 1024 * 1024


def read() -> bytes:
    """All of it; PaymentError 413 when it is too long, 415 when it is not plain JSON in UTF-8, 400 when it is cut, or
    when it is not clear where it ends."""
    _check_framing(request.headers.get("Content-Length"), request.headers.get("Transfer-Encoding"))
    if request.content_encoding not in (None, "identity"):
        raise _unsupported("Content-Encoding must be left out: the body must not be compressed")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        _discard()
        raise _too_large() from error
    except ClientDisconnected as error:
        raise invalid(None, "Body is shorter than announced") from error
    if len(body) > MAX_BYTES:  # of one in chunks, nobody has announced that
        _discard()
        raise _too_large()
    if request.mimetype != "application/json":
        raise _unsupported("Content-Type must be application/json")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise _unsupported("JSON is UTF-8: leave charset out of Content-Type")
    return body


def _check_framing(length: str | None, coding: str | None) -> None:
    """Two servers that understand a body's length differently take a part of it for another request."""
    if coding is None:
        if length and not length.isdecimal():
            raise invalid("Content-Length", "Content-Length must be there once, with one whole number")
    elif length is not None:
        raise invalid("Content-Length", "Content-Length and Transfer-Encoding must not both be there")
    elif coding.lower() != "chunked":
        raise invalid("Transfer-Encoding", "Transfer-Encoding must be chunked, or left out")


def _discard() -> None:
    """Take what is left of the body: a connection that is closed before is reset, and the answer may be lost."""
    left = request.environ["wsgi.input"]
    with suppress(OSError, ValueError):  # it is cut, or its chunks cannot be read
        for _ in range(_MOST_DISCARDED // MAX_BYTES):
            if not left.read(MAX_BYTES):
                return


def _too_large() -> PaymentError:
    return PaymentError(413, "body_too_large", f"Body must not be larger than {MAX_BYTES} bytes")


def _unsupported(message: str) -> PaymentError:
    return PaymentError(415, "unsupported_media_type", message)
