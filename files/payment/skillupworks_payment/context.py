"""What belongs to the request that a thread is answering: its ids, for the log and for the services behind."""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from . import card_data, tracing
from .tracing import Trace

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+/=@:-]{0,127}")


@dataclass(frozen=True)
class Context:
    """The id of a request, by which the log and the client speak of it, and its trace."""

    request_id: str
    trace: Trace


_current: ContextVar[Context | None] = ContextVar("context", default=None)


def begin(request_id: str, traceparent: str, tracestate: str) -> None:
    """From here on, this thread answers the request with these headers. An id that cannot be one gets a new one."""
    if not _REQUEST_ID.fullmatch(request_id) or card_data.in_text(request_id):
        request_id = secrets.token_hex(16)
    _current.set(Context(request_id, tracing.from_headers(traceparent, tracestate)))


def end() -> None:
    _current.set(None)


def traceparent() -> str | None:
    """Of what goes on from here, if this thread answers a request."""
    request = current()
    return request.trace.traceparent if request else None


def trace_headers() -> dict[str, str]:
    """For a request to another service."""
    request = current()
    return request.trace.headers() if request else {}


def current() -> Context | None:
    """None in a thread that answers no request."""
    return _current.get()
