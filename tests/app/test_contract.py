"""What the service answers, in both runtimes."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta

import pytest

from service import PATIENCE

ERROR_FIELDS = {"status", "message", "sessionId", "field", "error"}


def assert_refused(response, status, *, field=None, message=None):
    """An error of the documented shape, and nothing of the inside in it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body["status"] == "error"
    assert body["message"]
    assert body.keys() <= ERROR_FIELDS
    assert body.get("field") == field
    assert message is None or body["message"] == message
    assert not re.search(r"Traceback|Exception|Error\(|\.py|<html", response.text, re.IGNORECASE)
    return body


def assert_recent(timestamp):
    moment = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=PATIENCE)  # and not hours, as in another time zone


def test_live(service):
    response = service.get("/live")
    assert response.status_code == 200
    assert response.json() == {"status": "alive", "release": "development"}


def test_health(service):
    response = service.get("/health")
    assert response.status_code == 200
    report = response.json()
    assert_recent(report.pop("timestamp"))
    assert report == {
        "status": "healthy",
        "service": "payment",
        "cart": "connected",
        "user": "connected",
        "rabbitmq": "connected",
    }


def test_payment(service):
    response = service.pay("demo-payment")
    assert response.status_code == 200
    answer = response.json()
    assert re.fullmatch(r"ORD-\d{13,}", answer.pop("orderId"))
    assert re.fullmatch(r"pay_\w+", answer.pop("paymentId"))
    assert_recent(answer.pop("timestamp"))
    assert answer == {
        "status": "success",
        "sessionId": "demo-payment",
        "amount": 1999,
        "message": "Payment processed successfully",
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"total": 1999},
        {"total": 1999.00, "paymentMethod": "razorpay"},
        {"total": 1999, "tax": 333.17, "items": [{"sku": "Linux", "name": "x", "qty": 1, "price": 1999}]},
        {"total": None, "items": None, "paymentMethod": None},
    ],
)
def test_every_field_of_the_body_is_optional_and_unknown_ones_are_ignored(uwsgi, body):
    assert uwsgi.pay("demo-fields", body).status_code == 200


def test_amount_with_a_fraction(service, put_cart):
    item = {"sku": "pen", "name": "pen", "qty": 3, "price": 0.1, "subtotal": 0.1 * 3}
    session_id = put_cart({"total": 0.1 * 3, "tax": 0.05, "items": [item]})
    response = service.pay(session_id, {"total": 0.3})
    assert (response.status_code, response.json()["amount"]) == (200, 0.3)
    assert '"amount":0.3,' in response.text


def test_a_cart_posted_as_the_cart_service_gave_it(service, put_cart):
    """Its sum, in floating point: 182.45000000000002."""
    item = {"sku": "A", "name": "a", "qty": 5, "price": 36.49, "subtotal": 36.49 * 5}
    cart = {"total": 36.49 * 5, "tax": 30.4, "items": [item]}
    assert "0000000" in json.dumps(cart)
    response = service.pay(put_cart(cart), cart)
    assert (response.status_code, response.json()["amount"]) == (200, 182.45)


LINE = {"sku": "A", "qty": 1, "price": 1, "subtotal": 1}


@pytest.mark.parametrize(
    "cart",
    [
        {"total": 10_001, "items": [LINE | {"qty": 10_001, "subtotal": 10_001}]},
        {"total": 10**25, "items": [LINE | {"qty": 10**25, "subtotal": 10**25}]},
        {"total": 1e25, "items": [LINE | {"qty": 1e25, "subtotal": 1e25}]},
        {"total": 2 * 10**10, "items": [LINE | {"qty": 2, "price": 10**10, "subtotal": 2 * 10**10}]},
        {"total": 1.5 * 10**10, "items": [LINE | {"qty": 1, "price": 7.5 * 10**9, "subtotal": 7.5 * 10**9}] * 2},
        {"total": 501, "items": [LINE] * 501},
        {"total": 30_000, "items": [LINE] * 30_000},  # and longer than any answer that is read
    ],
    ids=["pieces", "pieces of 26 digits", "pieces in floating point", "subtotal", "total", "lines", "very many lines"],
)
def test_cart_that_is_too_large(service, put_cart, cart):
    """The client can mend it, so nobody is to try again, and nobody is to look into it."""
    before = len(service.logs())
    response = service.pay(put_cart({"tax": 0} | cart), {})
    assert assert_refused(response, 400)["message"].startswith("Cart is too large: ")
    assert "Retry-After" not in response.headers
    logged = service.logs()[before:]
    assert "cart_too_large" in logged
    assert not re.search("WARNING|ERROR", logged)


def test_cart_that_is_wrong_and_too_large(service, put_cart):
    cart = {"total": 10_001, "tax": 0, "items": [LINE | {"qty": 10_001, "price": -1, "subtotal": 10_001}]}
    assert_refused(service.pay(put_cart(cart), {}), 503)


@pytest.mark.parametrize("session_id", ["empty-1", "missing-1"])
def test_empty_cart(service, session_id):
    response = service.pay(session_id, {})
    assert response.status_code == 400
    assert response.json() == {"status": "error", "message": "Cart is empty", "sessionId": session_id}


def test_unknown_session(service):
    body = assert_refused(service.pay("unknown-1"), 401)
    assert body["sessionId"] == "unknown-1"


def test_total_that_is_not_the_carts(service):
    body = assert_refused(service.pay("demo-total", {"total": 1}), 400, field="total")
    assert re.search(r"\b1\b.*\b1999\b", body["message"])


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"sku": "Linux", "qty": 1, "price": 1}], "items[0]"),
        ([{"sku": "Linux", "qty": 2, "price": 1999}], "items[0]"),
        ([{"sku": "Linux", "qty": 1, "price": 1999}, {"sku": "Linux", "qty": 1, "price": 1999}], "items[1]"),
    ],
)
def test_items_that_are_not_the_carts(uwsgi, items, field):
    assert_refused(uwsgi.pay("demo-items", {"items": items}), 400, field=field)


def test_items_that_are_not_all_of_the_carts(uwsgi, put_cart):
    items = [{"sku": sku, "qty": 1, "price": 5, "subtotal": 5} for sku in "ab"]
    session_id = put_cart({"total": 10, "tax": 0, "items": items})
    assert_refused(uwsgi.pay(session_id, {"items": items[:1]}), 400, field="items")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", None),
        ("not json", None),
        ("[]", None),
        ("null", None),
        (b'{"total": 1\xff}', None),
        ("[" * 60000, None),
        ('{"total": 1999, "total": 1999}', "total"),
        ('{"total": 0}', "total"),
        ('{"total": 1e-999999999}', "total"),
        ('{"total": NaN}', "total"),
        ('{"total": Infinity}', "total"),
        ('{"total": -1999}', "total"),
        ('{"total": 1999.001}', "total"),
        ('{"total": "1999"}', "total"),
        ('{"total": true}', "total"),
        ('{"total": 1e999999999}', "total"),
        ('{"total": 1e99999999999999999999}', "total"),
        (f'{{"total": {"9" * 5000}}}', "total"),
        ('{"paymentMethod": 7}', "paymentMethod"),
        ('{"paymentMethod": "a b"}', "paymentMethod"),
        ('{"Total": 1999}', "Total"),
        ('{"payment_method": "razorpay"}', "payment_method"),
        ('{"razorpay_paymentId": "pay_1"}', "razorpay_paymentId"),
        ('{"razorpayOrderID": "order_1"}', "razorpayOrderID"),
        ('{"razorpayOrderId": "order_1", "razorpay_order_id": "order_2"}', "razorpayOrderId"),
        ('{"razorpay_order_id": "order!"}', "razorpay_order_id"),
        ('{"items": {}}', "items"),
        ('{"items": []}', "items"),
        ('{"items": [7]}', "items[0]"),
        ('{"items": [{"sku": "Linux", "qty": 1}]}', "items[0].price"),
        ('{"items": [{"sku": "Linux", "qty": 1.5, "price": 1999}]}', "items[0].qty"),
        ('{"items": [{"sku": "Linux", "qty": 0, "price": 1999}]}', "items[0].qty"),
        ('{"items": [{"sku": "Linux", "qty": true, "price": 1999}]}', "items[0].qty"),
        ('{"items": [{"sku": 1, "qty": 1, "price": 1999}]}', "items[0].sku"),
        ('{"items": [{"sku": "", "qty": 1, "price": 1999}]}', "items[0].sku"),
    ],
)
def test_malformed_body(uwsgi, text, field):
    assert_refused(uwsgi.post("demo-body", text), 400, field=field)


def test_every_wrong_field_is_named(uwsgi):
    body = {"total": -1, "paymentMethod": "a b", "items": [{"sku": "", "qty": 0, "price": 1}]}
    message = assert_refused(uwsgi.pay("demo-body", body), 400, field="total")["message"]
    assert all(f"{field}: " in message for field in ("total", "paymentMethod", "items[0].sku", "items[0].qty"))


def test_a_field_in_another_spelling_is_told_the_right_one(uwsgi):
    message = assert_refused(uwsgi.pay("demo-body", {"payment-method": "x"}), 400, field="payment-method")["message"]
    assert message == "payment-method is not known: write paymentMethod"


def test_gift_in_a_cart(uwsgi, put_cart):
    """A price of 0 is real, a total of 0 is not."""
    items = [{"sku": sku, "qty": 1, "price": price, "subtotal": price} for sku, price in (("pen", 5), ("gift", 0))]
    assert uwsgi.pay(put_cart({"total": 5, "tax": 0, "items": items}), {"total": 5, "items": items}).status_code == 200


def test_barcode_that_looks_like_a_card(uwsgi, put_cart):
    """As a sku it is only compared with the cart's; elsewhere it is refused."""
    barcode = "4006381333932"  # passes Luhn's check
    items = [{"sku": barcode, "qty": 1, "price": 5, "subtotal": 5}]
    session_id = put_cart({"total": 5, "tax": 0, "items": items})
    assert_refused(uwsgi.pay(session_id, {"barcode": barcode}), 400, field="barcode")
    assert uwsgi.pay(session_id, {"items": items}).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_body_of_another_type(service, content_type):
    assert_refused(service.post("demo-type", "{}", content_type), 415)


def test_charset_of_json(service):
    assert service.post("demo-charset", "{}", "application/json; charset=utf-8").status_code == 200


@pytest.mark.parametrize("size", [65537, 5_000_000])
def test_body_that_is_too_large(service, size):
    assert_refused(service.post("demo-large", b" " * size), 413)


@pytest.mark.parametrize("session_id", ["-starts-badly", "a%20b", "a%00b", "%C3%A9", "a%0Ab", "..%2e", "a" * 129])
def test_session_id_that_cannot_be_one(service, session_id):
    assert_refused(service.pay(session_id), 400, field="sessionId")


def test_long_path_is_answered(service):
    assert_refused(service.pay("a" * 10_000), 400, field="sessionId")


@pytest.mark.parametrize("path", ["/", "/pay", "/pay/", "/pay/a/b", "/nothing"])
def test_unknown_path(service, path):
    assert_refused(service.get(path), 404)


def test_wrong_method(service):
    response = service.get("/pay/demo-1")
    assert_refused(response, 405)
    assert "POST" in response.headers["Allow"]


def test_a_connection_that_is_not_kept_is_said_to_be_closed(service):
    """Else a client that keeps connections sends its next request into a closed one."""
    assert service.get("/live").headers["Connection"] == "close"


def test_body_that_never_comes_does_not_occupy_the_service(service):
    """As many clients as there are threads announce a body and send none."""
    head = "POST /pay/demo-slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(8)]
    try:
        for client in clients:
            client.sendall(head.encode())
        assert service.get("/live").status_code == 200
        for client in clients:
            client.settimeout(PATIENCE)
            assert b" 400 " in client.recv(1000).partition(b"\r\n")[0]
    finally:
        for client in clients:
            client.close()
