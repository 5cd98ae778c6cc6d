"""The flow of one payment, with doubles for what is behind it."""

import time

import pytest

from skillupworks_payment import idempotency, web
from skillupworks_payment.attempts import Attempt
from skillupworks_payment.database import from_url
from skillupworks_payment.direct import DirectCharge
from skillupworks_payment.errors import PaymentError
from skillupworks_payment.gateway import Declined, GatewayTimeout
from skillupworks_payment.ledger import Ledger
from skillupworks_payment.payments import Payments
from skillupworks_payment.rates import Rates
from skillupworks_payment.reconciler import Reconciler
from skillupworks_payment.upstreams import Cart, CartItem
from skillupworks_payment.validation import PaymentRequest

CART = Cart.model_construct(
    total=1000, tax=0, items=(CartItem.model_construct(sku="pen", qty=2, price=500, subtotal=1000),)
)


class Behind:
    """Upstreams and Gateway; writes down what it is asked. A charge raises `problem`; `taken` is what `find` knows."""

    def __init__(self):
        self.problem = None
        self.taken = {}
        self.calls = []
        self.meanwhile = lambda order_id: None

    def cart_of_known_session(self, session_id):
        return CART

    def charge(self, charge):
        self.calls.append("charge")
        self.meanwhile(charge.order_id)
        if self.problem:
            raise self.problem
        self.taken[charge.order_id] = f"pay_{len(self.taken)}"
        return self.taken[charge.order_id]

    def find(self, order_id):
        return self.taken.get(order_id)

    def void(self, payment_id):
        self.calls.append(f"void {payment_id}")


@pytest.fixture
def behind():
    return Behind()


@pytest.fixture
def ledger(tmp_path):
    database = from_url(f"sqlite:///{tmp_path}/ledger.db")
    database.migrate()
    return Ledger(database)


@pytest.fixture
def payments(behind, ledger):
    return Payments(behind, DirectCharge(behind, ledger), ledger, currency="INR", duplicate_window=600, patience=0.1)


@pytest.fixture
def reconcile(behind, ledger):
    """Look twice, so that everything is due."""
    charging = DirectCharge(behind, ledger)
    reconciler = Reconciler(ledger, charging, gateway_timeout=-10, interval=0.001, lifetime=60)

    def look():
        reconciler.look()
        time.sleep(0.01)
        reconciler.look()

    return look


def pay(payments, session_id="demo-1", key=None, body=None):
    claim = key and idempotency.by_key(key, session_id, body or {})
    return payments.pay(Attempt(session_id), PaymentRequest(), claim)


def refusal(*arguments, **options):
    with pytest.raises(PaymentError) as raised:
        pay(*arguments, **options)
    return raised.value


def orders(ledger):
    return [event.order_id for event in ledger.next_events(0, 100)]


def test_charged_and_in_the_outbox(payments, behind, ledger):
    answer = pay(payments)
    assert answer.status == 200
    assert orders(ledger) == list(behind.taken)


@pytest.mark.parametrize("key", [None, "key 1"])
def test_repeated(payments, behind, ledger, key):
    first, second = pay(payments, key=key), pay(payments, key=key)
    assert (first.body, first.status) == (second.body, second.status)
    assert (first.repeated, second.repeated) == (False, True)
    assert len(behind.taken) == len(orders(ledger)) == 1


def test_key_of_another_body_or_session(payments, behind):
    pay(payments, key="a")
    assert refusal(payments, key="a", body={"total": 10}).status == 422
    assert refusal(payments, "demo-2", key="a").status == 422
    assert len(behind.taken) == 1


def test_other_keys_are_other_payments(payments, behind):
    pay(payments, key="a")
    pay(payments, key="b")
    pay(payments)
    assert len(behind.taken) == 3


def test_declined_payment_can_be_tried_again_at_once(payments, behind, ledger):
    behind.problem = Declined()
    assert refusal(payments).status == 500
    behind.problem = None
    assert pay(payments).status == 200
    assert len(orders(ledger)) == 1


def test_declined_payment_with_a_key_is_repeated(payments, behind):
    behind.problem = Declined()
    assert refusal(payments, key="a").status == 500
    behind.problem = None
    assert (pay(payments, key="a").status, len(behind.taken)) == (500, 0)


@pytest.mark.parametrize("key", [None, "a"])
def test_claim_of_a_payment_in_progress(payments, behind, key):
    refused = []
    behind.meanwhile = lambda _: refused.append(refusal(payments, key=key).status)
    pay(payments, key=key)
    assert (refused, len(behind.taken)) == ([409], 1)


def test_wait_for_another_request_begins_with_the_arrival(payments, behind, ledger, monkeypatch):
    """The time that the ledger took is not waited for once more."""
    opened = ledger.open

    def slow(*arguments):
        time.sleep(0.2)
        return opened(*arguments)

    def second(_):
        monkeypatch.setattr(ledger, "open", slow)
        monkeypatch.setattr(ledger, "outcome", lambda _: pytest.fail("it waits"))
        assert refusal(payments).status == 409

    behind.meanwhile = second
    assert pay(payments).status == 200


def test_clock_that_steps_back_opens_no_claim(payments, behind, monkeypatch):
    pay(payments)
    pay(payments, key="a")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 100_000)
    assert pay(payments).repeated
    assert pay(payments, key="a").repeated
    monkeypatch.setattr(time, "time", lambda: real() + 700)
    assert not pay(payments).repeated
    assert pay(payments, key="a").repeated
    monkeypatch.setattr(time, "time", lambda: real() + 90_000)
    assert not pay(payments, key="a").repeated


def test_timeout_that_charged_gets_its_order(payments, behind, ledger, reconcile):
    behind.problem = GatewayTimeout()
    behind.meanwhile = lambda order_id: behind.taken.update({order_id: "pay_late"})
    assert refusal(payments).error == "Gateway timeout"
    assert refusal(payments).status == 409
    reconcile()
    assert orders(ledger) == list(behind.taken)
    assert (pay(payments).status, len(behind.taken)) == (200, 1)


def test_timeout_that_did_not_charge_can_be_tried_again(payments, behind, ledger, reconcile):
    behind.problem = GatewayTimeout()
    assert refusal(payments).status == refusal(payments, key="a").status == 500
    reconcile()
    behind.problem = None
    assert pay(payments).status == 200
    assert pay(payments, key="a").status == 500, "what the key was told stands"
    assert len(orders(ledger)) == 1
    assert ledger.backlog().unresolved == 0


def test_charge_after_closing_is_given_back(payments, behind, ledger, reconcile):
    behind.problem = GatewayTimeout()
    refusal(payments)
    reconcile()
    ((closed,)) = ledger.unresolved()
    behind.taken[closed.order_id] = "pay_late"
    reconcile()
    reconcile()
    assert behind.calls == ["charge", "void pay_late"]
    assert orders(ledger) == []


def test_answer_after_closing_is_given_back(payments, behind, ledger, reconcile):
    behind.meanwhile = lambda _: reconcile()
    assert refusal(payments).status == 500
    assert behind.calls == ["charge", "void pay_0"]
    assert orders(ledger) == []


def test_answer_after_closing_whose_void_fails_is_given_back_later(payments, behind, ledger, reconcile, monkeypatch):
    behind.meanwhile = lambda _: reconcile()
    with monkeypatch.context() as failing:
        failing.setattr(behind, "void", lambda _: (_ for _ in ()).throw(GatewayTimeout))
        assert refusal(payments).error == "Gateway timeout"
    reconcile()
    assert behind.calls == ["charge", "void pay_0"]


def test_killed_before_the_record(payments, behind, ledger, reconcile):
    behind.problem = KeyboardInterrupt()
    behind.meanwhile = lambda order_id: behind.taken.update({order_id: "pay_1"})
    with pytest.raises(KeyboardInterrupt):
        pay(payments, key="a")
    assert refusal(payments, key="a").status == 409
    reconcile()
    assert orders(ledger) == list(behind.taken)
    assert (pay(payments, key="a").status, len(behind.taken)) == (200, 1)


def test_bug_is_answered_without_its_text_and_logged_with_its_stack(caplog):
    class Broken:
        def pay(self, attempt, request, key):
            raise RuntimeError("the inside")

    rates = Rates(None, session=None, client=None, trusted_proxies=())
    client = web.create_app(Broken(), rates, health=None, ledger=None, release="test").test_client()
    response = client.post("/pay/demo-1", json={})
    assert response.status_code == 500
    assert response.json == {"status": "error", "message": "Internal server error"}
    assert "RuntimeError: the inside" in caplog.text
