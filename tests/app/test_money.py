"""Amounts are read to the minor unit or refused."""

import json
from decimal import Decimal

import pytest

from skillupworks_payment import money, strict_json


@pytest.mark.parametrize(
    ("text", "minor_units"),
    [
        ("0", 0),
        ("-0.0", 0),
        ("0.01", 1),
        ("1e-2", 1),
        ("0.29", 29),
        ("1.10", 110),
        ("2e2", 20000),
        ("1999", 199900),
        ("1999.0", 199900),
        ("1999.5", 199950),
        ("10000000000", 10**12),
        ("0.30000000000000004", 30),  # of who adds up in floating point
        ("1998.9999999999998", 199900),
        ("182.45000000000002", 18245),
    ],
)
def test_exact_amounts(text, minor_units):
    assert money.exact(strict_json.parse(text.encode())) == minor_units


NOT_AMOUNTS = ["NaN", "Infinity", "-Infinity", "true", "null", '"1999"', "[1]", "{}", "1e99999999999999999999"]
NO_GOOD_AMOUNTS = ["-1", "-0.01", "0.001", "1999.995", "0.305", "0.3001"]
TOO_LARGE = ["10000000000.01", "1e999999", "9" * 5000]


@pytest.mark.parametrize("text", [*NOT_AMOUNTS, *NO_GOOD_AMOUNTS, *TOO_LARGE])
def test_refused_amounts(text):
    with pytest.raises(ValueError, match="must"):
        money.exact(strict_json.parse(text.encode()))


@pytest.mark.parametrize("text", TOO_LARGE)
def test_what_is_only_too_large(text):
    with pytest.raises(money.TooMuch):
        money.exact(strict_json.parse(text.encode()))


@pytest.mark.parametrize(("text", "minor_units"), [("333.16666666666674", 33317), ("0.005", 1), ("0.0049", 0)])
def test_taxes_are_rounded(text, minor_units):
    assert money.rounded(Decimal(text)) == minor_units


@pytest.mark.parametrize(("minor_units", "text"), [(199900, "1999"), (199950, "1999.5"), (1, "0.01"), (29, "0.29")])
def test_amounts_in_json(minor_units, text):
    assert json.dumps(money.to_json(minor_units)) == text


def test_every_amount_survives_the_way_out_and_back():
    for minor_units in (*range(0, 1000), *range(10**11, 10**11 + 1000)):
        assert money.exact(strict_json.parse(json.dumps(money.to_json(minor_units)).encode())) == minor_units
