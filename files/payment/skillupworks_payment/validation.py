"""What a client may send: the session id of the path and the JSON body of a payment.

Amounts are major units in JSON, and minor units as soon as they are read. What a client says of a cart only confirms
it, so a client may post the cart as the Cart service gave it, digits of floating point included.
"""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from . import card_data, money, screening, strict_json
from .errors import invalid

SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")

MOST_LINES = 500  # of a cart
MOST_PIECES = 10_000  # of one thing
_MOST_PROBLEMS = 10  # that one answer names
_TOO_LARGE = {"too_long", "less_than_equal"}  # as pydantic calls it of a list and of a number

Sku = Annotated[str, Field(min_length=1, max_length=128)]
Quantity = Annotated[int, Field(ge=1, le=MOST_PIECES)]


_DECIMALS = "at most two decimals, but for what floating point adds (182.45000000000002)"
_AMOUNT = {"type": "number", "minimum": 0, "maximum": money.MAX_MAJOR_UNITS}


def _positive(number: object) -> int:
    minor_units = money.exact(number)
    if not minor_units:
        raise ValueError("must be more than 0")
    return minor_units


Price = Annotated[
    int,
    PlainValidator(money.exact),
    WithJsonSchema(_AMOUNT | {"description": f"In major units, {_DECIMALS}."}),
]
Total = Annotated[
    int,
    PlainValidator(_positive),
    WithJsonSchema(
        _AMOUNT
        | {
            "exclusiveMinimum": 0,
            "description": f"What the cart costs, in major units, {_DECIMALS}. Another total is refused.",
        }
    ),
]


class Item(BaseModel):
    """One line of the cart as the client shows it; `price` is that of one piece."""

    model_config = ConfigDict(strict=True, frozen=True)

    sku: Sku
    qty: Quantity
    price: Price


def _of_checkout(ours: str, theirs: str, pattern: str) -> Any:
    """A field of Checkout's result, by our name or by the one that its handler has for it."""
    return Field(
        None,
        validation_alias=AliasChoices(ours, theirs),
        pattern=pattern,
        description=f"Of Checkout's result, which calls it `{theirs}`; that name is taken as well.",
    )


class PaymentRequest(BaseModel):
    """The body of POST /pay/<sessionId>.

    Every field is optional: the cart is the truth and these only confirm it. Fields that are not named here are
    ignored, so that a client may post the cart as it got it, but for those that only spell one of these otherwise.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    total: Total | None = None
    items: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=MOST_LINES)] | None = None
    razorpay_order_id: str | None = _of_checkout("razorpayOrderId", "razorpay_order_id", r"^order_[A-Za-z0-9]{1,57}$")
    razorpay_payment_id: str | None = _of_checkout(
        "razorpayPaymentId", "razorpay_payment_id", r"^pay_[A-Za-z0-9]{1,57}$"
    )
    razorpay_signature: str | None = _of_checkout("razorpaySignature", "razorpay_signature", r"^[0-9a-f]{64}$")
    payment_method: Annotated[str | None, Field(alias="paymentMethod", pattern=r"^[A-Za-z0-9_-]{1,32}$")] = None


def _spellings() -> dict[str, tuple[str, ...]]:
    """The names that a field is taken by, of which the first is ours, by its letters and digits in lower case."""
    names = {}
    for name, field in PaymentRequest.model_fields.items():
        alias = field.validation_alias or name
        choices = tuple(alias.choices) if isinstance(alias, AliasChoices) else (alias,)
        names[_letters(choices[0])] = choices
    return names


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_SPELLINGS = _spellings()


def _check_names(document: dict[str, Any]) -> None:
    """PaymentError 400 for a field that would be ignored though it means one of ours, or that is there twice."""
    for name in document:
        choices = _SPELLINGS.get(_letters(name), (name,))
        if name not in choices:
            raise invalid(name, f"{name} is not known: write {choices[0]}")
        if any(document[name] != document[other] for other in choices if other in document):
            raise invalid(name, f"{' and '.join(choices)} are the same, and differ here: send one of them")


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
    _check_names(document)
    try:
        return PaymentRequest.model_validate(document), document
    except ValidationError as error:
        found = problems(error)
        more = f"; and {len(found) - _MOST_PROBLEMS} more" if len(found) > _MOST_PROBLEMS else ""
        raise invalid(found[0].field, "; ".join(map(str, found[:_MOST_PROBLEMS])) + more) from error


class Problem(NamedTuple):
    """What is wrong with a field, of such a path as `items[0].price`; `too_large` when it is only that."""

    field: str
    text: str
    too_large: bool

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def problems(error: ValidationError) -> list[Problem]:
    """All of them, in the order of the fields."""
    return [
        Problem(
            _path(each["loc"]),
            each["msg"].removeprefix("Value error, "),
            each["type"] in _TOO_LARGE or isinstance(each.get("ctx", {}).get("error"), money.TooMuch),
        )
        for each in error.errors(include_url=False, include_input=False)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
