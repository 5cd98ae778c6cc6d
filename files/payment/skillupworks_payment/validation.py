"""What a client may send: the session id of the path and the JSON body of a payment.

Amounts are major units in JSON, and minor units as soon as they are read.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from . import card_data, money, screening, strict_json
from .errors import invalid

SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")

_MOST_PROBLEMS = 10  # that one answer names

Sku = Annotated[str, Field(min_length=1, max_length=128)]
Quantity = Annotated[int, Field(ge=1, le=10_000)]


_AMOUNT = {"type": "number", "minimum": 0, "maximum": money.MAX_MAJOR_UNITS}


def _positive(number: object) -> int:
    minor_units = money.exact(number)
    if not minor_units:
        raise ValueError("must be more than 0")
    return minor_units


Price = Annotated[
    int,
    PlainValidator(money.exact),
    WithJsonSchema(_AMOUNT | {"description": "In major units, at most two decimals."}),
]
Total = Annotated[
    int,
    PlainValidator(_positive),
    WithJsonSchema(
        _AMOUNT
        | {
            "exclusiveMinimum": 0,
            "description": "What the cart costs, in major units, at most two decimals. Another total is refused.",
        }
    ),
]


class Item(BaseModel):
    """One line of the cart as the client shows it; `price` is that of one piece."""

    model_config = ConfigDict(strict=True, frozen=True)

    sku: Sku
    qty: Quantity
    price: Price


class PaymentRequest(BaseModel):
    """The body of POST /pay/<sessionId>.

    Every field is optional: the cart is the truth and these only confirm it. Fields that are not named here are
    ignored, so that a client may post the cart as it got it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    total: Total | None = None
    items: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=500)] | None = None
    razorpay_order_id: str | None = Field(None, alias="razorpayOrderId", pattern=r"^order_[A-Za-z0-9]{1,57}$")
    razorpay_payment_id: str | None = Field(None, alias="razorpayPaymentId", pattern=r"^pay_[A-Za-z0-9]{1,57}$")
    razorpay_signature: str | None = Field(None, alias="razorpaySignature", pattern=r"^[0-9a-f]{64}$")
    payment_method: Annotated[str | None, Field(alias="paymentMethod", pattern=r"^[A-Za-z0-9_-]{1,32}$")] = None


def check_session_id(text: str) -> None:
    """PaymentError 400 naming `sessionId` when no session can have that id."""
    if card_data.in_text(text):
        raise screening.card_data_sent("sessionId")
    if not SESSION_ID.fullmatch(text):
        raise invalid(
            "sessionId", "sessionId must be 1 to 128 of A-Z a-z 0-9 . _ ~ @ - and start with one of the first"
        )


def payment_request(body: bytes) -> tuple[PaymentRequest, dict[str, Any]]:
    """Read a body, and return also all that it says.

    PaymentError 400 that names every field that is wrong, and the first of them as its `field`.
    """
    try:
        document = strict_json.parse(body)
    except strict_json.RepeatedName as error:
        screening.check_name("", error.name)
        raise invalid(error.name, f"Body is not valid JSON: {error.name} is given twice") from error
    except strict_json.InvalidJson as error:
        raise invalid(None, f"Body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise invalid(None, "Body must be a JSON object")
    screening.screen(document)
    try:
        return PaymentRequest.model_validate(document), document
    except ValidationError as error:
        problems = _problems(error)
        more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        text = "; ".join(f"{field}: {problem}" for field, problem in problems[:_MOST_PROBLEMS])
        raise invalid(problems[0][0], text + more) from error


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The path of the first wrong field, such as `items[0].price`, and what is wrong with it."""
    return _problems(error)[0]


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    return [
        (_path(each["loc"]), each["msg"].removeprefix("Value error, "))
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
