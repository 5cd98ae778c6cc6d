"""Razorpay, over its documented HTTP API and not its package, which has no timeout.

A customer pays in the browser, with Razorpay's Checkout, for an order that is made here; that payment is `authorized`
then and takes no money before it is captured. https://razorpay.com/docs/api/ has the calls.
"""

import hashlib
import hmac
import re
import ssl
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import metrics
from ..http_client import HttpClient
from ..settings import RazorpayKeys, SettingsError
from .base import Charge, Declined, OutcomeUnknown
from .http import JsonApi

AUTHORIZED, CAPTURED, CREATED, REFUNDED = "authorized", "captured", "created", "refunded"

_URL = re.compile(r"https://(?P<host>[A-Za-z0-9.-]{1,253})(:(?P<port>[0-9]{1,5}))?/?")
_WEBSITES = {"razorpay.com", "www.razorpay.com"}  # what people write for the host of the API
_API = "api.razorpay.com"


class GatewayOrder(BaseModel):
    """An order as Razorpay has it; a customer can pay for it."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str = Field(pattern=r"^order_[A-Za-z0-9]{1,57}$")
    amount: int
    currency: str
    receipt: str | None


class GatewayPayment(BaseModel):
    """A payment as Razorpay has it, `amount` in minor units; `error_description` and `error_reason` when it failed."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str = Field(pattern=r"^pay_[A-Za-z0-9]{1,57}$")
    order_id: str | None
    amount: int
    currency: str
    status: Literal["created", "authorized", "captured", "refunded", "failed"]
    created_at: int
    error_description: str | None = None
    error_reason: str | None = None

    def declined(self) -> Declined:
        """Why no money can be taken with it."""
        return Declined(self.error_description or f"Payment is {self.status}", self.error_reason)


class _Payments(BaseModel):
    items: list[GatewayPayment]


class RazorpayGateway:
    """Every call ends within the timeout. Declined is raised when Razorpay says no and why; OutcomeUnknown when it
    does not answer, or not so that one knows. One serves all threads of a process."""

    def __init__(self, url: str, keys: RazorpayKeys, timeout: float, *, concurrency: int) -> None:
        """So many payments at a time find a connection; SettingsError when `url` cannot be the API's."""
        host, port = endpoint(url)
        self.key_id = keys.key_id
        self._key_secret = keys.key_secret.encode()
        service = HttpClient(
            host,
            port,
            connect_timeout=timeout,
            read_timeout=timeout,
            concurrency=concurrency,
            tls=ssl.create_default_context(),  # the system's certificate authorities, or those of SSL_CERT_FILE
            credentials=f"{keys.key_id}:{keys.key_secret}",
        )
        self._api = JsonApi(service, timeout)

    def create_order(self, charge: Charge) -> GatewayOrder:
        """Make an order that a customer can pay for, whose payments are captured by nobody but us."""
        document = {
            "amount": charge.amount,
            "currency": charge.currency,
            "receipt": charge.order_id,
            "payment_capture": False,
        }
        order = self._ask(GatewayOrder, "POST", "/v1/orders", document)
        if (order.amount, order.currency, order.receipt) != (charge.amount, charge.currency, charge.order_id):
            raise OutcomeUnknown(f"answered another order than {charge.order_id}")
        return order

    def payment(self, payment_id: str) -> GatewayPayment:
        return self._ask(GatewayPayment, "GET", f"/v1/payments/{payment_id}")

    def payments_of(self, gateway_order_id: str) -> list[GatewayPayment]:
        """All attempts to pay for an order, also those that failed."""
        return self._ask(_Payments, "GET", f"/v1/orders/{gateway_order_id}/payments").items

    def capture(self, payment_id: str, amount: int, currency: str) -> GatewayPayment:
        """Take the money of an authorized payment, which has to be this much."""
        document = {"amount": amount, "currency": currency}
        payment = self._ask(GatewayPayment, "POST", f"/v1/payments/{payment_id}/capture", document)
        if (payment.id, payment.status) != (payment_id, CAPTURED):
            raise OutcomeUnknown(f"answered a capture with {payment.id}, {payment.status}")
        return payment

    def refund(self, payment: GatewayPayment) -> None:
        """Give back all of what a captured payment took."""
        self._ask(None, "POST", f"/v1/payments/{payment.id}/refund", {"amount": payment.amount})

    def has_signed(self, gateway_order_id: str, payment_id: str, signature: str) -> bool:
        """Whether that is Razorpay's signature of a payment for an order, so that the two belong together."""
        message = f"{gateway_order_id}|{payment_id}".encode()
        return hmac.compare_digest(hmac.new(self._key_secret, message, hashlib.sha256).hexdigest(), signature)

    def _ask(self, kind: type[BaseModel] | None, method: str, path: str, document: Any = None) -> Any:
        with metrics.upstream_call("gateway"):
            status, answer = self._api.call(method, path, document)
            refusal = _refusal(answer)
            if status == 400 and refusal:
                raise refusal
            if status != 200:
                raise OutcomeUnknown(f"answered {status} to {method} {path}: {refusal}")
            try:
                return kind.model_validate(answer) if kind else None
            except ValidationError as error:
                raise OutcomeUnknown(f"answered to {method} {path} what cannot be read: {_fields(error)}") from error


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of the API that a PAYMENT_GATEWAY means; SettingsError when it means none."""
    parsed = _URL.fullmatch(url)
    if not parsed:
        raise SettingsError(
            "PAYMENT_GATEWAY is https://...: write https://razorpay.com/, without user, path and question mark"
        )
    host = _API if parsed["host"].lower() in _WEBSITES else parsed["host"]
    return host, int(parsed["port"] or 443)


def _refusal(answer: Any) -> Declined | None:
    """What an error says: `{"error": {"code", "description", "reason", ...}}`."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None
    code = error.get("reason")
    if code in (None, "NA"):
        code = error.get("code")
    return Declined(str(error.get("description") or "Payment declined")[:200], code and str(code)[:64])


def _fields(error: ValidationError) -> str:
    """Only the names: what is wrong in them may be personal."""
    return ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_url=False, include_input=False))
