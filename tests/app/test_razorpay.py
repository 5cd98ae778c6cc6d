"""The simulator of Razorpay's API, and what the service makes of its answers."""

import pytest

from razorpay_simulator import KEY_ID, KEY_SECRET, WEBHOOK_SECRET, Razorpay
from service import in_time, wait_until
from skillupworks_payment.gateway import Charge, Declined, GatewayTimeout, OutcomeUnknown, RazorpayGateway
from skillupworks_payment.gateway.razorpay import endpoint
from skillupworks_payment.orders import new_order_id
from skillupworks_payment.settings import RazorpayKeys, SettingsError

TIMEOUT = 0.3  # seconds
KEYS = RazorpayKeys(KEY_ID, KEY_SECRET, WEBHOOK_SECRET)


@pytest.fixture(scope="module")
def razorpay(tmp_path_factory):
    razorpay = Razorpay(tmp_path_factory.mktemp("razorpay"))
    yield razorpay
    razorpay.close()


@pytest.fixture
def connect(razorpay, monkeypatch):
    """Makes a gateway that trusts the simulator, and waits so long for it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(razorpay.ca))
    razorpay.problems.clear()
    return lambda timeout: RazorpayGateway(razorpay.url, KEYS, timeout, concurrency=2)


@pytest.fixture
def gateway(connect):
    return connect(10)


def charge(amount=199_900):
    return Charge(new_order_id(), amount, "INR", "razorpay")


def test_order_payment_capture_and_refund(gateway, razorpay):
    order = gateway.create_order(charge())
    assert gateway.payments_of(order.id) == []
    failed, paid = (razorpay.pay(order.id, status)["razorpayPaymentId"] for status in ("failed", "authorized"))
    assert [each.status for each in gateway.payments_of(order.id)] == ["failed", "authorized"]
    assert gateway.payment(failed).declined().code == "payment_declined"
    assert gateway.capture(paid, order.amount, "INR").status == "captured"
    with pytest.raises(Declined, match="already been captured"):
        gateway.capture(paid, order.amount, "INR")
    gateway.refund(gateway.payment(paid))
    assert gateway.payment(paid).status == "refunded"
    with pytest.raises(Declined, match="fully refunded"):
        gateway.refund(gateway.payment(paid))
    assert razorpay.problems == []


def test_signature_of_a_result(gateway, razorpay):
    """HMAC-SHA256 of order id, bar and payment id, by the key's secret."""
    signed = "f57f37adf008594928111317aa9ee2191d943810c4b6302970a148a9f0389a2f"
    assert razorpay.result("order_1", "pay_1")["razorpaySignature"] == signed
    assert gateway.has_signed("order_1", "pay_1", signed)
    assert not gateway.has_signed("order_1", "pay_2", signed)
    assert not gateway.has_signed("order_2", "pay_1", signed)
    assert not gateway.has_signed("order_1", "pay_1", signed[:-1] + "0")


@pytest.mark.parametrize("call", ["create_order", "payment", "payments_of", "capture", "refund"])
@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("decline", Declined),
        ("hang", GatewayTimeout),
        ("drip", GatewayTimeout),
        ("slow", GatewayTimeout),
        ("error-before", OutcomeUnknown),
        ("reset-after", OutcomeUnknown),
    ],
)
def test_call_that_fails(gateway, razorpay, monkeypatch, call, fault, problem):
    """It is in time, and nothing but a question is asked twice."""
    order = gateway.create_order(charge())
    payment_id = razorpay.pay(order.id, "captured" if call == "refund" else "authorized")["razorpayPaymentId"]
    payment = gateway.payment(payment_id)
    if problem is GatewayTimeout:  # on the connection that is there by now: however short, it is long enough to ask
        monkeypatch.setattr(gateway._api, "_timeout", TIMEOUT)
    calls = {
        "create_order": lambda: gateway.create_order(charge(100)),
        "payment": lambda: gateway.payment(payment_id),
        "payments_of": lambda: gateway.payments_of(order.id),
        "capture": lambda: gateway.capture(payment_id, order.amount, "INR"),
        "refund": lambda: gateway.refund(payment),
    }
    razorpay.calls.clear()
    with razorpay.fault(call, fault, seconds=10), in_time(TIMEOUT), pytest.raises(problem) as raised:
        calls[call]()
    assert isinstance(raised.value, OutcomeUnknown) == (fault != "decline")
    if fault == "decline":
        assert (raised.value.text, raised.value.code) == ("Payment was declined by the bank", "payment_declined")
    is_question = call.startswith("payment")
    expected = 2 if is_question and fault == "reset-after" else 1
    wait_until(lambda: razorpay.asked(call) == expected, f"it is asked {expected} times")
    assert razorpay.problems == []


@pytest.mark.parametrize("answer", ["wrong key", "another certificate"])
def test_nobody_to_trust(connect, razorpay, monkeypatch, answer):
    keys, before = KEYS, dict(razorpay.orders)
    if answer == "wrong key":
        keys = RazorpayKeys(KEY_ID, "another", WEBHOOK_SECRET)
    if answer == "another certificate":
        monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OutcomeUnknown):
        RazorpayGateway(razorpay.url, keys, 10, concurrency=2).create_order(charge())
    assert razorpay.orders == before


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        ("create_order", "orders", {"amount": 100.0}),
        ("create_order", "orders", {"amount": "100"}),
        ("create_order", "orders", {"currency": "USD"}),
        ("create_order", "orders", {"receipt": "x" * 41}),
        ("create_order", "orders", {"payment_capture": True}),
        ("create_order", "orders", {"partial_payment": False}),
        ("capture", "payments/{payment}/capture", {"amount": 199_901}),
        ("capture", "payments/{payment}/capture", {"currency": "USD"}),
        ("capture", "payments/{payment}/capture", {"more": 1}),
        ("refund", "payments/{payment}/refund", {"amount": 1}),
        ("refund", "payments/{payment}/refunds", {}),
    ],
)
def test_simulator_is_strict(gateway, razorpay, call, path, body):
    order = gateway.create_order(charge())
    payment_id = razorpay.pay(order.id, "captured" if call == "refund" else "authorized")["razorpayPaymentId"]
    good = {
        "create_order": {"amount": 100, "currency": "INR", "receipt": new_order_id(), "payment_capture": False},
        "capture": {"amount": order.amount, "currency": "INR"},
        "refund": {"amount": order.amount},
    }[call]
    status, _ = gateway._api.call("POST", f"/v1/{path.format(payment=payment_id)}", good | body)
    assert status in (400, 404)
    assert len(razorpay.problems) == 1
    if status == 400:
        assert gateway._api.call("POST", f"/v1/{path.format(payment=payment_id)}", good)[0] == 200


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://razorpay.com/", ("api.razorpay.com", 443)),
        ("https://www.razorpay.com", ("api.razorpay.com", 443)),
        ("https://api.razorpay.com/", ("api.razorpay.com", 443)),
        ("https://localhost:8443", ("localhost", 8443)),
    ],
)
def test_host_of_the_api(url, expected):
    assert endpoint(url) == expected


@pytest.mark.parametrize("url", ["https://key:secret@razorpay.com/", "https://razorpay.com/v1?secret", "https:///"])
def test_url_that_is_no_hosts(url):
    with pytest.raises(SettingsError, match=r"^PAYMENT_GATEWAY is https://\.\.\.: write https://razorpay") as raised:
        endpoint(url)
    assert "secret" not in str(raised.value)
