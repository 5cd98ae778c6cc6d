"""Payment gateways: what one must do, and the sandbox, which is the only one in this version."""

import re
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from .settings import Settings, SettingsError

_SANDBOX_URL = re.compile(r"sandbox://(?P<behaviour>approve|decline|timeout)/?(\?delay_ms=(?P<delay_ms>[0-9]{1,5}))?")
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


def from_settings(settings: Settings) -> Gateway:
    """The gateway that PAYMENT_GATEWAY names; SettingsError when this version has none for it."""
    scheme = settings.gateway_url.partition(":")[0]  # all of the URL that may be shown: the rest can hold a key
    if scheme != "sandbox":
        raise SettingsError(
            f"PAYMENT_GATEWAY is {scheme}://...: this version has no gateway that moves money, write sandbox://approve"
        )
    sandbox = _SANDBOX_URL.fullmatch(settings.gateway_url)
    if not sandbox:
        raise SettingsError(
            f"PAYMENT_GATEWAY is {settings.gateway_url!r}: write sandbox://approve, sandbox://decline or "
            "sandbox://timeout, with ?delay_ms=5 behind it for a gateway that takes its time"
        )
    return SandboxGateway(sandbox["behaviour"], int(sandbox["delay_ms"] or 0) / 1000, settings.gateway_timeout)
