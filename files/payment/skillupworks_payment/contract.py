"""What the service answers, as types: the answers are made by them, and /openapi.json is generated from them.

What it reads is in `validation`.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # before Python 3.12, pydantic cannot read typing's

_closed = with_config(ConfigDict(extra="forbid"))

OrderId = Annotated[str, Field(pattern=r"^ORD-[0-9]{13,}$")]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Connection = Literal["connected", "disconnected"]


@_closed
class Paid(TypedDict):
    """The cart is paid for; `amount` is what was charged, in major units."""

    status: Literal["success"]
    orderId: OrderId
    sessionId: str
    amount: int | float
    paymentId: str
    message: str
    timestamp: Timestamp


@_closed
class CheckoutOptions(TypedDict):
    """What Razorpay's Checkout is opened with, in its words; `amount` is in minor units."""

    key: str
    order_id: str
    amount: int
    currency: str


@_closed
class PaymentRequired(TypedDict):
    """The customer is to pay at the gateway, until `expiresAt`; `amount` is in major units."""

    status: Literal["payment_required"]
    message: str
    orderId: OrderId
    sessionId: str
    amount: int | float
    checkout: CheckoutOptions
    expiresAt: Timestamp


@_closed
class Refused(TypedDict):
    """Nothing was done. `field` is what to correct, `error` why no money was taken, `reason` the gateway's word."""

    status: Literal["error"]
    message: str
    sessionId: NotRequired[str]
    error: NotRequired[str]
    reason: NotRequired[str]
    field: NotRequired[str]


@_closed
class Received(TypedDict):
    """The event need not come again. It is `kept` to be looked into, or `ignored`."""

    status: Literal["kept", "ignored"]
    message: str


@_closed
class Alive(TypedDict):
    """The release that runs."""

    status: Literal["alive"]
    release: str


@_closed
class HealthReport(TypedDict):
    """Whether the services behind can be reached. `unpublished` is there while orders wait for RabbitMQ too long."""

    status: Literal["healthy", "degraded"]
    service: Literal["payment"]
    cart: Connection
    user: Connection
    rabbitmq: Connection
    unpublished: NotRequired[int]
    ledger: NotRequired[Literal["disconnected"]]
    timestamp: Timestamp


@_closed
class Summary(TypedDict):
    """The figures since the service started."""

    total_payments: int
    successful_payments: int
    failed_payments: int
    success_rate: Annotated[str, Field(pattern=r"^[0-9]{1,3}%$")]
    uptime: str
