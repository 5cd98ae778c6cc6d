"""Money: whole minor units (paise, cents) inside, JSON numbers of major units (rupees, dollars) outside.

Binary floating point takes no part in it: the JSON that is read here has its numbers parsed as int and `Decimal`.
"""

from decimal import ROUND_HALF_UP, Decimal

_NUMBERS = int, Decimal
_HUNDREDTH = Decimal("0.01")
_FLOAT_NOISE = Decimal("0.000001")
MAX_MAJOR_UNITS = 10**10  # more is a mistake, and in minor units still far below 2**53


class TooMuch(ValueError):
    """The amount is larger than any that is taken."""


def exact(number: object) -> int:
    """The minor units of a JSON number of at most two decimals; ValueError says what is wrong.

    Who adds up in floating point means 0.3 by 0.30000000000000004, so that is 30; 0.305 is refused.
    """
    return _minor_units(number, tolerance=_FLOAT_NOISE)


def rounded(number: object) -> int:
    """As `exact`, for a derived amount of any precision, such as a tax: half a minor unit rounds up."""
    return _minor_units(number, tolerance=_HUNDREDTH)


def to_json(minor_units: int) -> int | float:
    """Major units as a JSON number: 199900 is 1999, 199950 is 1999.5."""
    whole, rest = divmod(minor_units, 100)
    return minor_units / 100 if rest else whole


def _minor_units(number: object, tolerance: Decimal) -> int:
    if isinstance(number, bool) or not isinstance(number, _NUMBERS):
        raise ValueError("must be a number")
    if number > MAX_MAJOR_UNITS:  # before any arithmetic: 1e999999 has a million digits
        raise TooMuch(f"must be at most {MAX_MAJOR_UNITS}")
    if number < 0:
        raise ValueError("must not be negative")
    if isinstance(number, int):
        return 100 * number
    nearest = Decimal(number).quantize(_HUNDREDTH, ROUND_HALF_UP)
    if abs(nearest - number) >= tolerance:
        raise ValueError("must have at most two decimals")
    return int(nearest * 100)
