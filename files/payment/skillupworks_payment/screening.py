"""What no body may have, whatever its fields mean: more of anything than a cart can need, or card data."""

from decimal import Decimal
from typing import Any

from . import card_data
from .errors import PaymentError, invalid

DEEPEST = 16  # objects and lists in each other
MOST_VALUES = 10_000
LONGEST_NAME = 128
LONGEST_STRING = 4096

_CONTAINERS, _NUMBERS = (dict, list), (int, Decimal)  # asked for at every value
_CARD_DATA = "must not be here: it is, or looks like, card data, which this service does not take"


def screen(document: dict[str, Any]) -> None:
    """PaymentError 400 naming a field that may not be; the answer has names of the body, and none of its values.

    `sku` of an item may be any number, as a barcode is one: it is compared with the cart's and goes nowhere.
    """
    containers: list[tuple[str, dict[str, Any] | list[Any], int]] = [("", document, 1)]
    values = 1
    while containers:
        path, container, depth = containers.pop()
        if depth > DEEPEST:
            raise invalid(path, f"{path}: must not be nested deeper than {DEEPEST} levels")
        values += len(container)
        if values > MOST_VALUES:
            raise invalid(None, f"Body must not have more than {MOST_VALUES} values")
        named = isinstance(container, dict)
        for name, value in container.items() if named else enumerate(container):
            if named:
                check_name(path, name)
            if isinstance(value, str):
                if len(value) > LONGEST_STRING:
                    where = _path(path, name)
                    raise invalid(where, f"{where}: must not be longer than {LONGEST_STRING} characters")
                if card_data.in_text(value) and not _is_sku(_path(path, name)):
                    raise card_data_sent(_path(path, name))
            elif isinstance(value, _CONTAINERS):
                containers.append((_path(path, name), value, depth + 1))
            elif isinstance(value, _NUMBERS) and card_data.in_text(_plain(value)):
                raise card_data_sent(_path(path, name))


def check_name(path: str, name: str) -> None:
    """PaymentError 400 for a field's name that may not be; one that is itself a card's number is not said again."""
    if card_data.in_text(name):
        raise card_data_sent(path or None, subject="The name of a field")
    if len(name) > LONGEST_NAME:
        raise invalid(path or None, f"Names of fields must not be longer than {LONGEST_NAME} characters")
    if card_data.is_name(name):
        raise card_data_sent(_path(path, name))


def card_data_sent(field: str | None, subject: str | None = None) -> PaymentError:
    """400: there is card data in `field`."""
    return PaymentError(400, "card_data", f"{subject or field} {_CARD_DATA}", field=field)


def _path(container: str, name: str | int) -> str:
    """Of a field of an object, or of an element of a list."""
    if isinstance(name, int):
        return f"{container}[{name}]"
    return f"{container}.{name}" if container else name


def _is_sku(path: str) -> bool:
    return path.startswith("items[") and path.endswith("].sku") and path.count(".") == 1


def _plain(number: int | Decimal) -> str:
    """The digits before the point; nothing of a number that is longer than any card's."""
    if isinstance(number, Decimal):
        return f"{number:.0f}" if number.is_finite() and number.adjusted() < 19 else ""
    return str(number)
