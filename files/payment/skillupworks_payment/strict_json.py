"""JSON whose numbers keep their value and whose names are unique."""

import json
from decimal import Decimal, DecimalException
from typing import Any


class InvalidJson(ValueError):
    """The text is not JSON; the message has nothing of it."""


class RepeatedName(InvalidJson):
    """An object has two fields of one `name`, which the message does not say."""

    def __init__(self, name: str) -> None:
        super().__init__("a name is given twice")
        self.name = name


def parse(text: bytes) -> Any:
    """The document in `text`, decimal numbers as `Decimal`; InvalidJson when it is none.

    Of a repeated name `json` keeps the last, and a proxy perhaps the first: that is refused. NaN, Infinity and what no
    Decimal can hold become floats, the one type that no field of ours accepts, so that the answer can name the field.
    """
    try:
        return json.loads(
            text.decode("utf-8"), parse_float=_decimal, parse_int=_integer, object_pairs_hook=_with_unique_names
        )
    except UnicodeDecodeError:
        raise InvalidJson("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 20 else Decimal(digits)  # int() refuses thousands of digits


def _decimal(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except DecimalException:
        return float(digits)


def _with_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RepeatedName(name)
            seen.add(name)
    return document
