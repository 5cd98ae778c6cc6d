"""What card data looks like. This service must never have any: what has it is refused, and neither kept nor logged.

A card's number is 13 to 19 digits, in one piece or in the groups that cards show, whose last digit is Luhn's check of
the others. Three kinds of number that pass by chance are no cards: those in a UUID, those in a longer hexadecimal id,
and times since 1970 in milli-, micro- or nanoseconds, which have 13, 16 or 19 digits and begin with 15 to 19, as no
card of those lengths does.
"""

import functools
import re

_UUID = re.compile(r"(?<![^\W_])[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![^\W_])", re.IGNORECASE)
# A whole word of hexadecimal digits, but for one that is the end or the begin of a grouped number.
_HEX = re.compile(
    r"(?<![^\W_])(?<!\d{4}[ .-]\d{4}[ .-])(?:[0-9a-f]{20,}|[0-9A-F]{20,})(?![^\W_])(?![ .-]\d{4}[ .-]\d{4})"
)
_LENGTHS_OF_IDS = {24, 32, 40, 48, 56, 64, 96, 128}
_DIGITS = re.compile(
    r"(?<!\d)(?=("  # looks ahead, so that a number which follows other groups of digits is found as well
    r"\d{13,19}"
    r"|\d{4}(?:[ .-]\d{4}){2,3}(?:[ .-]\d{1,4})?"
    r"|\d{4}[ .-]\d{6}[ .-]\d{4,5}"
    r")(?!\d))"
)
_TIME = re.compile(r"1[5-9](\d{11}|\d{14}|\d{17})")
_NAME = re.compile(
    r"pan|csc|.*(card(number|num|no|pin)|cc(number|num|no)|primaryaccountnumber|cvv\d?|cvc\d?|cvn|securitycode"
    r"|track[123]?(data)?)"
)
_SHORTEST = 13


def in_text(text: str) -> bool:
    """Whether there is a card's number in the text."""
    if len(text) < _SHORTEST or not _DIGITS.search(text):
        return False
    for found in _DIGITS.findall(_HEX.sub(_without_id, _UUID.sub("x", text))):
        digits = re.sub(r"\D", "", found)
        if _SHORTEST <= len(digits) <= 19 and not _TIME.fullmatch(digits) and _passes_luhn(digits):
            return True
    return False


@functools.lru_cache(1024)  # the same few names come with every cart
def is_name(name: str) -> bool:
    """Whether a field of that name is for card data: `cardNumber`, `card_cvv`, `PAN`."""
    return bool(_NAME.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())))


def _without_id(word: re.Match[str]) -> str:
    """`x` for a hexadecimal id. `cc4000000000000000006` is none: it has only letters beside a card's number."""
    text = word[0]
    is_id = not text.isdigit() and (len(text) in _LENGTHS_OF_IDS or len(re.findall(r"\d+", text)) > 1)
    return "x" if is_id else text


def _passes_luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0
