"""The sandbox: gateways that move no money."""

import re
import secrets
import threading
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

from ..http_client import HttpClient
from ..settings import SettingsError
from .base import Charge, Declined, Gateway, GatewayTimeout, OutcomeUnknown
from .http import JsonApi

_URL = re.compile(r"sandbox://(?P<behaviour>approve|decline|timeout)/?(\?delay_ms=(?P<delay_ms>[0-9]{1,5}))?")
_REMOTE_URL = re.compile(r"sandbox://(?P<host>[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})/?")
_REMEMBERED = 100_000  # payments that the sandbox in this process can find again


class SandboxGateway:
    """Moves no money. Made from `sandbox://approve`, `sandbox://decline` or `sandbox://timeout`.

    `?delay_ms=N` makes each charge take that long, as a real gateway's does; one that times out takes the whole
    timeout. It remembers its payments in this process only.
    """

    def __init__(self, behaviour: str, delay: float, timeout: float) -> None:
        self._behaviour = behaviour
        self._delay = timeout if behaviour == "timeout" else delay
        self._taken: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def charge(self, charge: Charge) -> str:
        time.sleep(self._delay)
        if self._behaviour == "timeout":
            raise GatewayTimeout
        if self._behaviour == "decline":
            raise Declined
        payment_id = f"pay_{secrets.token_hex(7)}"
        with self._lock:
            self._taken[charge.order_id] = payment_id
            if len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)
        return payment_id

    def find(self, order_id: str) -> str | None:
        return self._taken.get(order_id)

    def void(self, payment_id: str) -> None:
        time.sleep(self._delay)


class RemoteSandboxGateway:
    """Moves no money either: a simulator that processes and hosts share, `sandbox://HOST:PORT`.

    Nothing is ever sent twice: whether a call that brought no answer did anything is for `find` to tell.
    """

    def __init__(self, host: str, port: int, timeout: float, *, concurrency: int) -> None:
        """So many payments at a time find a connection."""
        service = HttpClient(host, port, connect_timeout=timeout, read_timeout=timeout, concurrency=concurrency)
        self._api = JsonApi(service, timeout)

    def charge(self, charge: Charge) -> str:
        status, answer = self._api.call("POST", "/charges", vars(charge))
        if status == 402:
            raise Declined
        return _payment_id(status, answer)

    def find(self, order_id: str) -> str | None:
        status, answer = self._api.call("GET", f"/charges/{quote(order_id, safe='')}")
        return None if status == 404 else _payment_id(status, answer)

    def void(self, payment_id: str) -> None:
        status, _ = self._api.call("POST", f"/payments/{quote(payment_id, safe='')}/void", {})
        if status != 200:
            raise OutcomeUnknown(f"answered {status}")


def _payment_id(status: int, answer: Any) -> str:
    if status != 200:
        raise OutcomeUnknown(f"answered {status}")
    payment_id = answer.get("payment_id") if isinstance(answer, dict) else None
    if not isinstance(payment_id, str) or not payment_id:
        raise OutcomeUnknown("answered without a payment id")
    return payment_id


def sandbox(url: str, timeout: float, *, concurrency: int) -> Gateway:
    """The gateway of a `sandbox://` URL; SettingsError when it is none."""
    if remote := _REMOTE_URL.fullmatch(url):
        return RemoteSandboxGateway(remote["host"], int(remote["port"]), timeout, concurrency=concurrency)
    local = _URL.fullmatch(url)
    if not local:
        raise SettingsError(
            f"PAYMENT_GATEWAY is {url!r}: write sandbox://approve, sandbox://decline or sandbox://timeout, with "
            "?delay_ms=5 behind it for a gateway that takes its time, or sandbox://HOST:PORT"
        )
    return SandboxGateway(local["behaviour"], int(local["delay_ms"] or 0) / 1000, timeout)
