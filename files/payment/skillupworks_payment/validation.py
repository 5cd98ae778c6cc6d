"""What a client may send: the session id of the path and the JSON body of a payment."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from . import money, strict_json
from .errors import PaymentError, invalid

MAX_BODY_BYTES = 64 * 1024

_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")

Sku = Annotated[str, Field(min_length=1, max_length=128)]
Quantity = Annotated[int, Field(ge=1, le=10_000)]


class Item(BaseModel):
    """One line of the cart as the client shows it; `price` is that of one piece, in minor units."""

    model_config = ConfigDict(strict=True, frozen=True)

    sku: Sku
    qty: Quantity
    price: Annotated[int, PlainValidator(money.exact)]


class PaymentRequest(BaseModel):
    """The body of POST /pay/<sessionId>, amounts in minor units.

    Every field is optional: the cart is the truth and these only confirm it. Fields that are not named here are
    ignored, so that a client may post the cart as it got it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    total: Annotated[int, PlainValidator(money.exact)] | None = None
    items: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=500)] | None = None
    razorpay_order_id: str | None = Field(None, alias="razorpayOrderId", pattern=r"^order_[A-Za-z0-9]{1,57}$")
    razorpay_payment_id: str | None = Field(None, alias="razorpayPaymentId", pattern=r"^pay_[A-Za-z0-9]{1,57}$")
    razorpay_signature: str | None = Field(None, alias="razorpaySignature", pattern=r"^[0-9a-f]{64}$")
    payment_method: Annotated[str | None, Field(alias="paymentMethod", pattern=r"^[A-Za-z0-9_-]{1,32}$")] = None


def check_session_id(text: str) -> None:
    """PaymentError 400 naming `sessionId` when no session can have that id."""
    if not _SESSION_ID.fullmatch(text):
        raise invalid(
            "sessionId", "sessionId must be 1 to 128 of A-Z a-z 0-9 . _ ~ @ - and start with one of the first"
        )


def payment_request(media_type: str, body: bytes) -> tuple[PaymentRequest, dict[str, Any]]:
    """Read a body, and return also all that it says; PaymentError 415, or 400 naming the first field that is wrong."""
    if media_type != "application/json":
        raise PaymentError(415, "unsupported_media_type", "Content-Type must be application/json")
    try:
        document = strict_json.parse(body)
    except strict_json.InvalidJson as error:
        raise invalid(error.field, f"Body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise invalid(None, "Body must be a JSON object")
    try:
        return PaymentRequest.model_validate(document), document
    except ValidationError as error:
        field, problem = first_problem(error)
        raise invalid(field, f"{field}: {problem}") from error


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The path of the first wrong field, such as `items[0].price`, and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return path.lstrip("."), first["msg"].removeprefix("Value error, ")
