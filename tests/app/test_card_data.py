"""What counts as a card's number, and what only looks like one."""

import json
import random
import uuid
from base64 import urlsafe_b64encode

import pytest

import hostile
from skillupworks_payment import card_data, screening, validation
from skillupworks_payment.errors import PaymentError

TEST_CARDS = """
4111111111111111 4222222222222 5555555555554444 2223003122003222 378282246310005 30569309025904 6011111111111117
3530111333300000 6200000000000005 6304000000000000 6521111111111110 5081260000000001 4000000000000000006
"""


# `hex` are 128 digits, of which a token takes some.
IDS = [f"{{hex:.{length}}}" for length in (24, 26, 32, 40, 48, 64, 96, 128)]
IDS += ["6a{hex:.22}", "{uuid}", "sess_{uuid}", "cart-{hex:.32}", "{hex:.32}.{hex:.64}", "{base64}"]


@pytest.mark.parametrize("number", TEST_CARDS.split())
def test_numbers_of_cards(number):
    assert card_data.in_text(number)
    assert card_data.in_text(f"my card is {number}.")
    assert not card_data.in_text(number[:-1] + str((int(number[-1]) + 1) % 10)), "only with Luhn's check digit"


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "3782 822463 10005",
        "2024-4111-1111-1111-1111",
        "key-4111-1111-1111-1111",
        "user4111111111111111x",
        "1234567812345670",
    ],
)
def test_ways_to_write_one(text):
    assert card_data.in_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo-1795416983",
        "ORD-1795416983035889437047908",
        "411111111111",
        "4111111111111111" * 2,
        "2026-11-24T19:08:49Z",
        "4111 1111 1111",
        "+91 98765 43210",
    ],
)
def test_no_numbers_of_cards(text):
    assert not card_data.in_text(text)


@pytest.mark.parametrize("template", IDS)
def test_no_id_is_one(template):
    """By the kind, as many as show that none is; a million of each were tried once."""
    chance = random.Random(20260131)
    for _ in range(20_000):
        bits = chance.getrandbits(512)
        text = template.format(
            hex=f"{bits:0128x}",
            uuid=uuid.UUID(int=bits >> 384, version=4),
            base64=urlsafe_b64encode(bits.to_bytes(64, "big")).decode(),
        )
        assert not card_data.in_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "cc4000000000000000006",
        "card4111111111111111",
        "4111111111111111abcd",
        "deadbeef-4111111111111111",
        "4111-1111-1111-1111abcdef0123456789abcdef",
        "abcdef0123456789abcdef4111 1111 1111 1111",
        "9c7d498a8f76dc87564274036988f668 4111 1111 1111 1111",
        "550e8400-e29b-41d4-a716-446655440000-4111111111111111",
    ],
)
def test_one_beside_an_id(text):
    assert card_data.in_text(text)


def test_times_are_none():
    chance = random.Random(20260131)
    for digits in (13, 16, 19):
        for _ in range(1000):
            assert not card_data.in_text(f"load-{chance.randrange(15 * 10 ** (digits - 2), 2 * 10 ** (digits - 1))}-7")


def test_every_generated_number_is_one():
    chance = random.Random(20260131)
    assert all(card_data.in_text(hostile.card_number(chance)) for _ in range(1000))


NAMES = """
cardNumber card_number CARD-NO creditCardNumber ccnum cc_number pan PAN primaryAccountNumber cvv CVV2 cardCvv cvc csc
cvn securityCode track2 trackData track1Data cardPin
"""
OTHER_NAMES = "total items sku qty price paymentMethod card cardType company span panel pin"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_of_card_data(name):
    assert card_data.is_name(name)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_other_names(name):
    assert not card_data.is_name(name)


def test_only_a_sku_may_be_any_number():
    for field, document in {
        "sku": {"sku": "4111111111111111"},
        "items[0].sku.of": {"items": [{"sku": {"of": "4111111111111111"}}]},
        "razorpayPaymentId": {"razorpayPaymentId": "pay_4111111111111111"},
    }.items():
        with pytest.raises(PaymentError) as refused:
            screening.screen(document)
        assert refused.value.field == field
    screening.screen({"items": [{"sku": "4111111111111111"}]})


@pytest.mark.parametrize("signature", ["4111111111111111", "4111111111111111" * 4 + "0", 4111111111111111])
def test_what_is_no_signature_is_refused_all_the_same(signature):
    with pytest.raises(PaymentError) as refused:
        validation.payment_request(json.dumps({"razorpaySignature": signature}).encode())
    assert (refused.value.status, refused.value.field) == (400, "razorpaySignature")
    assert "4111" not in refused.value.message
