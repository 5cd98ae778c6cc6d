"""JSON over HTTP as money needs it: an answer in time or none, and nothing that does something is ever sent twice."""

import json
import time
from typing import Any

from ..http_client import HttpClient, Unanswered
from .base import GatewayTimeout, OutcomeUnknown


class JsonApi:
    """Calls over kept connections. One serves all threads of a process."""

    def __init__(self, service: HttpClient, timeout: float) -> None:
        """An answer is waited for `timeout` seconds."""
        self._service = service
        self._timeout = timeout

    def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Status and answer; OutcomeUnknown when there is none in time or none that can be read."""
        body = None if document is None else json.dumps(document).encode()
        try:
            status, answer = self._service.ask(method, path, time.monotonic() + self._timeout, body=body).answer()
            return status, json.loads(answer)
        except TimeoutError as error:
            raise GatewayTimeout(str(error)) from error
        except (*Unanswered, ValueError) as error:
            raise OutcomeUnknown(repr(error)) from error
