"""The flow of one payment, with doubles for what is behind it."""

import pytest

from skillupworks_payment import metrics, web
from skillupworks_payment.attempts import Attempt
from skillupworks_payment.errors import PaymentError
from skillupworks_payment.gateway import Declined
from skillupworks_payment.payments import Payments
from skillupworks_payment.publisher import NotConfirmed
from skillupworks_payment.upstreams import Cart, CartItem
from skillupworks_payment.validation import PaymentRequest

CART = Cart.model_construct(
    total=1000, tax=0, items=(CartItem.model_construct(sku="pen", qty=2, price=500, subtotal=1000),)
)


class Behind:
    """All of Upstreams, Gateway and Publisher; writes down what it is asked."""

    def __init__(self, ready=True, confirms=True, charges=True, voids=True):
        self.ready, self.confirms, self.charges, self.voids = ready, confirms, charges, voids
        self.calls = []

    def start(self):
        pass

    def cart_of_known_session(self, session_id):
        self.calls.append("cart")
        return CART

    def is_ready(self):
        return self.ready

    def charge(self, charge):
        self.calls.append(f"charge {charge.amount} {charge.currency}")
        if not self.charges:
            raise Declined
        return "pay_1"

    def publish(self, message_id, body):
        self.calls.append("publish")
        if not self.confirms:
            raise NotConfirmed("no confirm")

    def void(self, payment_id):
        self.calls.append(f"void {payment_id}")
        if not self.voids:
            raise TimeoutError


def pay(behind):
    return Payments(behind, behind, behind, "INR").pay(Attempt("demo-1"), PaymentRequest())


def refusal(behind):
    with pytest.raises(PaymentError) as raised:
        pay(behind)
    return raised.value


def test_charged_and_published():
    behind = Behind()
    assert pay(behind).payment_id == "pay_1"
    assert behind.calls == ["cart", "charge 1000 INR", "publish"]


def test_nothing_is_charged_while_the_broker_is_away():
    behind = Behind(ready=False)
    assert refusal(behind).status == 503
    assert behind.calls == ["cart"]


def test_failed_charge_makes_no_order():
    behind = Behind(charges=False)
    assert refusal(behind).status == 500
    assert behind.calls == ["cart", "charge 1000 INR"]


@pytest.mark.parametrize(("voids", "result"), [(True, "done"), (False, "failed")])
def test_charge_without_a_confirmed_order_is_given_back(voids, result):
    before = metrics.voids.labels(result)._value.get()
    behind = Behind(confirms=False, voids=voids)
    error = refusal(behind)
    assert (error.status, error.reason, error.retry_after) == (503, "order_not_confirmed", 5)
    assert behind.calls == ["cart", "charge 1000 INR", "publish", "void pay_1"]
    assert metrics.voids.labels(result)._value.get() == before + 1


def test_bug_is_answered_without_its_text_and_logged_with_its_stack(caplog):
    class Broken:
        def pay(self, attempt, request):
            raise RuntimeError("the inside")

    client = web.create_app(Broken(), health=None, release="test").test_client()
    response = client.post("/pay/demo-1", json={})
    assert response.status_code == 500
    assert response.json == {"status": "error", "message": "Internal server error"}
    assert "RuntimeError: the inside" in caplog.text
