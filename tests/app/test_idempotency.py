"""A repeated request is the same payment, over all workers: one charge, one order, the same answer."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import pytest

from ports import holding
from service import new_session
from test_contract import assert_refused


def keyed(service, session_id, key, body=None):
    return service.pay(session_id, body or {}, headers={"Idempotency-Key": key})


@pytest.fixture
def slow(start_service, runtime):
    return start_service(runtime, PAYMENT_GATEWAY="sandbox://approve?delay_ms=200", PAYMENT_THREADS=8)


def test_at_the_same_time_without_a_key(slow, broker):
    session_id = new_session()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: slow.pay(session_id), range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 8}
    assert len({answer.content for answer in answers}) == 1
    order_id = answers[0].json()["orderId"]
    events = broker.wait_for_orders([order_id])
    assert [event["orderId"] for event in events if event["sessionId"] == session_id] == [order_id]


def test_at_the_same_time_with_a_key(start_service, runtime):
    """Of eight, one is paid; the others are refused meanwhile, for the gateway answers only after them."""
    session_id = new_session()
    with holding({"payment_id": "pay_held"}) as held, ThreadPoolExecutor(8) as clients:
        gateway = {"PAYMENT_GATEWAY": f"sandbox://127.0.0.1:{held.port}", "PAYMENT_GATEWAY_TIMEOUT": 60}
        service = start_service(runtime, PAYMENT_THREADS=8, **gateway)
        asked = as_completed([clients.submit(keyed, service, session_id, session_id) for _ in range(8)])
        for each in islice(asked, 7):
            assert_refused(each.result(), 409)
            assert int(each.result().headers["Retry-After"]) > 0
        held.release.set()
        paid = next(asked).result()
    assert (paid.status_code, paid.json()["paymentId"]) == (200, "pay_held")
    assert keyed(service, session_id, session_id).content == paid.content


def test_one_after_the_other(service):
    session_id = new_session()
    first, second = service.pay(session_id), service.pay(session_id)
    assert first.content == second.content
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    other = keyed(service, session_id, session_id)
    assert other.json()["orderId"] != first.json()["orderId"]
    assert keyed(service, session_id, session_id).content == other.content


def test_changed_cart_is_another_payment(service, put_cart):
    def cart(price):
        item = {"sku": "pen", "qty": 1, "price": price, "subtotal": price}
        return {"total": price, "tax": 0, "items": [item]}

    session_id = put_cart(cart(1))
    first = service.pay(session_id, {}).json()["orderId"]
    put_cart(cart(2), session_id)
    assert service.pay(session_id, {}).json()["orderId"] != first


def test_key_after_the_cart_is_gone(service, put_cart):
    session_id = put_cart({"total": 1, "tax": 0, "items": [{"sku": "pen", "qty": 1, "price": 1, "subtotal": 1}]})
    first = keyed(service, session_id, session_id)
    put_cart({"total": 0, "tax": 0, "items": []}, session_id)
    assert keyed(service, session_id, session_id).content == first.content


@pytest.mark.parametrize("change", ["session", "body"])
def test_key_of_another_request(service, change):
    session_id = new_session()
    assert keyed(service, session_id, session_id, {"total": 1999}).status_code == 200
    other = new_session() if change == "session" else session_id
    body = {} if change == "body" else {"total": 1999}
    assert_refused(keyed(service, other, session_id, body), 422)
    same = service.post_with_key(session_id, session_id, b'{ "total" : 1999 }')
    assert same.status_code == 200


def test_refused_request_does_not_use_up_its_key(service, put_cart):
    session_id = put_cart({"total": 0, "tax": 0, "items": []})
    assert_refused(keyed(service, session_id, session_id), 400, message="Cart is empty")
    put_cart({"total": 1, "tax": 0, "items": [{"sku": "pen", "qty": 1, "price": 1, "subtotal": 1}]}, session_id)
    assert keyed(service, session_id, session_id).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, b"\xc3\xa9", "a\tb"])
def test_key_that_cannot_be_one(service, key):
    assert_refused(keyed(service, new_session(), key), 400, field="Idempotency-Key")


@pytest.mark.parametrize("key", ["x" * 255, "a b!~"])
def test_key_that_can_be_one(service, key):
    assert keyed(service, new_session(), key + new_session() if len(key) < 99 else key).status_code == 200


def test_declined_payment_can_be_tried_again_at_once(start_service):
    service = start_service("python", PAYMENT_GATEWAY="sandbox://decline")
    session_id = new_session()
    answers = [service.pay(session_id) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 500]
    assert "Idempotency-Replayed" not in answers[1].headers
    assert [keyed(service, session_id, "a").headers.get("Idempotency-Replayed") for _ in range(2)] == [None, "true"]
