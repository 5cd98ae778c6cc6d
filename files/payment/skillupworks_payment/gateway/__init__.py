"""Payment gateways: what one must do, the sandbox that charges nobody, and Razorpay."""

from ..settings import Settings, SettingsError
from .base import Charge, Declined, Gateway, GatewayTimeout, OutcomeUnknown
from .razorpay import RazorpayGateway
from .sandbox import RemoteSandboxGateway, SandboxGateway, sandbox

__all__ = [
    "Charge",
    "Declined",
    "Gateway",
    "GatewayTimeout",
    "OutcomeUnknown",
    "RazorpayGateway",
    "RemoteSandboxGateway",
    "SandboxGateway",
    "from_settings",
]


def from_settings(settings: Settings) -> Gateway | RazorpayGateway:
    """The gateway that PAYMENT_GATEWAY names; SettingsError when there is none for it."""
    scheme = settings.gateway_url.partition(":")[0]  # all of the URL that may be shown: the rest can hold a key
    if scheme == "sandbox":
        return sandbox(settings.gateway_url, settings.gateway_timeout, concurrency=settings.threads)
    if settings.razorpay:
        return RazorpayGateway(
            settings.gateway_url, settings.razorpay, settings.gateway_timeout, concurrency=settings.threads
        )
    raise SettingsError(f"PAYMENT_GATEWAY is {scheme}://...: write https://razorpay.com/, or sandbox://approve")
