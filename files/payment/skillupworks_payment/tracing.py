"""W3C Trace Context, level 1: which distributed trace a request belongs to.

A request that brings no valid `traceparent` begins a trace. This service is one span of it, whose id stands in the log
beside the trace's: what it sends to Cart, User and the Order Processor names that span as its parent. `tracestate` is
others' and goes on to Cart and User as it came.
"""

import re
import secrets
from dataclasses import dataclass, field

from . import card_data

# A version to come may have more behind it; ff is none.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)
_TRACESTATE = re.compile(r"[\x20-\x7e\t]{1,512}")
_SAMPLED = 1  # the one flag of this version


@dataclass(frozen=True)
class Trace:
    """The trace of one request, and this service's span in it, as lower-case hex digits."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    sampled: bool = False
    state: str = ""
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def traceparent(self) -> str:
        """What tells the next service: this trace, and this span as the parent."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def headers(self) -> dict[str, str]:
        """For a request to another service."""
        return {"traceparent": self.traceparent} | ({"tracestate": self.state} if self.state else {})


def from_headers(traceparent: str, tracestate: str) -> Trace:
    """The trace that a request belongs to; a new one unless it says so rightly."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if not found or (found["version"] == "00" and found["more"]):
        return Trace()
    usable = _TRACESTATE.fullmatch(tracestate) and not card_data.in_text(tracestate)
    return Trace(found["trace"], bool(int(found["flags"], 16) & _SAMPLED), tracestate if usable else "")
