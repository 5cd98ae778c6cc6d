"""JSON over HTTP as money needs it: an answer in time or none, and nothing that does something is ever sent twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from .base import GatewayTimeout, OutcomeUnknown

_MAX_ANSWER_BYTES = 1024 * 1024


class JsonApi:
    """Calls over kept connections. One serves all threads of a process."""

    def __init__(self, pool: urllib3.HTTPConnectionPool, timeout: float, *, concurrency: int) -> None:
        """`pool` without retries, for `concurrency` calls at a time; an answer is waited for `timeout` seconds."""
        self._pool = pool
        self._timeout = timeout
        # A socket's timeout is per read: an answer that trickles is left to its thread when the time is up.
        self._threads = ThreadPoolExecutor(4 * concurrency, thread_name_prefix="gateway")

    def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Status and answer; OutcomeUnknown when there is none in time or none that can be read."""
        call = self._threads.submit(self._exchange, method, path, document)
        try:
            return call.result(self._timeout)
        except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
            call.cancel()  # what was not sent by now never will be
            raise GatewayTimeout(str(error)) from error
        except (HTTPError, ValueError) as error:
            raise OutcomeUnknown(repr(error)) from error

    def _exchange(self, method: str, path: str, document: Any) -> tuple[int, Any]:
        try:
            return self._send(method, path, document)
        except ProtocolError:
            if method != "GET":
                raise
            # Most likely a kept connection that the other side closed at this moment.
            return self._send(method, path, document)

    def _send(self, method: str, path: str, document: Any) -> tuple[int, Any]:
        response = self._pool.request(method, path, json=document, redirect=False, preload_content=False)
        body = response.read(_MAX_ANSWER_BYTES + 1)
        if len(body) > _MAX_ANSWER_BYTES:
            response.close()
            raise ValueError(f"answered more than {_MAX_ANSWER_BYTES} bytes")
        response.release_conn()
        return response.status, json.loads(body)
