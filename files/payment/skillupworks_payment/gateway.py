"""Payment gateways: what one must do, and the sandbox, which is the only one in this version."""

import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from .settings import Settings, SettingsError

_SANDBOX_URL = re.compile(r"sandbox://(?P<behaviour>approve|decline|timeout)/?(\?delay_ms=(?P<delay_ms>[0-9]{1,5}))?")
_REMOTE_URL = re.compile(r"sandbox://(?P<host>[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})/?")
_MAX_ANSWER_BYTES = 64 * 1024
_REMEMBERED = 100_000  # payments that the sandbox in this process can find again


@dataclass(frozen=True)
class Charge:
    """Money to take: minor units of `currency`, and the order id that the gateway knows it by."""

    order_id: str
    amount: int
    currency: str
    method: str | None


class Declined(Exception):
    """The gateway did not take the money, and will not."""


class OutcomeUnknown(Exception):
    """The gateway may have taken the money. `reason` is for the log, `text` for the client."""

    reason, text = "gateway_error", "Gateway error"


class GatewayTimeout(OutcomeUnknown):
    """It did not answer in time."""

    reason, text = "gateway_timeout", "Gateway timeout"


class Gateway(Protocol):
    """Takes money and gives it back; shared by threads, and every call ends within PAYMENT_GATEWAY_TIMEOUT."""

    def charge(self, charge: Charge) -> str:
        """Take the money and return the gateway's payment id; Declined or OutcomeUnknown otherwise."""

    def find(self, order_id: str) -> str | None:
        """The id of the payment that took money for the order, if there is one; OutcomeUnknown when it cannot tell."""

    def void(self, payment_id: str) -> None:
        """Give back all of what a payment took; OutcomeUnknown when it may not have."""


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
        self._timeout = timeout
        self._pool = urllib3.HTTPConnectionPool(host, port, timeout=timeout, maxsize=concurrency, retries=False)
        # A socket's timeout is per read: an answer that trickles is left to its thread when the time is up.
        self._threads = ThreadPoolExecutor(4 * concurrency, thread_name_prefix="gateway")

    def charge(self, charge: Charge) -> str:
        status, answer = self._call("POST", "/charges", asdict(charge))
        if status == 402:
            raise Declined
        return _payment_id(status, answer)

    def find(self, order_id: str) -> str | None:
        status, answer = self._call("GET", f"/charges/{quote(order_id, safe='')}")
        return None if status == 404 else _payment_id(status, answer)

    def void(self, payment_id: str) -> None:
        status, _ = self._call("POST", f"/payments/{quote(payment_id, safe='')}/void", {})
        if status != 200:
            raise OutcomeUnknown(f"answered {status}")

    def _call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
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
        response = self._pool.request(method, path, json=document, redirect=False, preload_content=False)
        body = response.read(_MAX_ANSWER_BYTES + 1)
        if len(body) > _MAX_ANSWER_BYTES:
            response.close()
            raise ValueError(f"answered more than {_MAX_ANSWER_BYTES} bytes")
        response.release_conn()
        return response.status, json.loads(body)


def _payment_id(status: int, answer: Any) -> str:
    if status != 200:
        raise OutcomeUnknown(f"answered {status}")
    payment_id = answer.get("payment_id") if isinstance(answer, dict) else None
    if not isinstance(payment_id, str) or not payment_id:
        raise OutcomeUnknown("answered without a payment id")
    return payment_id


def from_settings(settings: Settings) -> Gateway:
    """The gateway that PAYMENT_GATEWAY names; SettingsError when this version has none for it."""
    scheme = settings.gateway_url.partition(":")[0]  # all of the URL that may be shown: the rest can hold a key
    if scheme != "sandbox":
        raise SettingsError(
            f"PAYMENT_GATEWAY is {scheme}://...: this version has no gateway that moves money, write sandbox://approve"
        )
    if remote := _REMOTE_URL.fullmatch(settings.gateway_url):
        return RemoteSandboxGateway(
            remote["host"], int(remote["port"]), settings.gateway_timeout, concurrency=settings.threads
        )
    sandbox = _SANDBOX_URL.fullmatch(settings.gateway_url)
    if not sandbox:
        raise SettingsError(
            f"PAYMENT_GATEWAY is {settings.gateway_url!r}: write sandbox://approve, sandbox://decline or "
            "sandbox://timeout, with ?delay_ms=5 behind it for a gateway that takes its time, or sandbox://HOST:PORT"
        )
    return SandboxGateway(sandbox["behaviour"], int(sandbox["delay_ms"] or 0) / 1000, settings.gateway_timeout)
