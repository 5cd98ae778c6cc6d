"""Paying with Razorpay, from the cart to the order in the queue: nobody is charged twice, or without an order."""

import itertools
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
import requests
from pydantic import TypeAdapter

from deployments import children
from razorpay_simulator import KEY_ID, KEY_SECRET, WEBHOOK_SECRET, Razorpay, send_webhook
from service import PATIENCE, Service, in_time, new_session, wait_until
from skillupworks_payment.contract import PaymentRequired, Refused
from test_contract import assert_refused
from test_faults import counter
from test_tracing import PARENT, TRACE

TIMEOUT = 1.0  # of the gateway, in seconds
numbers = itertools.count()


class Store:
    """The service, the gateway behind it, and the queue that its orders go to."""

    def __init__(self, service: Service, razorpay: Razorpay, broker, queue: str) -> None:
        self.service = service
        self.razorpay = razorpay
        self._broker = broker
        self._queue = queue
        self._events: dict[str, dict] = {}
        self.traces: dict[str, str] = {}  # of each order id, what came with its event

    def order(self, session_id: str, **options) -> dict:
        """Begin to pay: what the browser is told."""
        answer = self.service.pay(session_id, **options)
        assert answer.status_code == 402, answer.text
        return answer.json()

    def buy(self, session_id: str, status: str = "authorized", **differing) -> dict[str, str]:
        """Begin to pay, and pay at the gateway: Checkout's result."""
        return self.razorpay.pay(self.order(session_id)["checkout"]["order_id"], status, **differing)

    def events(self, session_id: str) -> list[dict]:
        """The order events of a session. One that comes twice, as it may, has the same content."""
        for properties, event in self._broker.take_orders(self._queue):
            self.traces[event["orderId"]] = properties.headers["traceparent"]
            assert self._events.setdefault(event["orderId"], event) == event
        return [event for event in self._events.values() if event["sessionId"] == session_id]

    def wait_for_order(self, session_id: str) -> dict:
        (event,) = wait_until(lambda: self.events(session_id), f"the order of {session_id}")
        return event

    def captures(self, result: dict) -> int:
        return self.captured_ids().count(result["razorpayPaymentId"])

    def assert_captured_once(self, result: dict) -> None:
        """Taken once, and asked for once, but when it was asked in between how the payment stands."""
        assert self.captures(result) == 1
        payment_id, order_id = result["razorpayPaymentId"], result["razorpayOrderId"]
        calls = [call for call, about in self.razorpay.calls if about in (payment_id, order_id)]
        assert ("capture", "capture") not in itertools.pairwise(calls), calls

    def captured_ids(self) -> list[str]:
        """The payment of each capture that was made."""
        return [
            event["payload"]["payment"]["entity"]["id"]
            for event in self.razorpay.all_events()
            if event["event"] == "payment.captured"
        ]

    def assert_balanced(self) -> None:
        """Of the whole run: every captured payment has one order, and every order one captured payment."""
        self.events("")
        paid = Counter(event["paymentId"] for event in self._events.values())
        captured = Counter(each["id"] for each in self.razorpay.payments.values() if each["status"] == "captured")
        assert paid == captured
        assert max(Counter(self.captured_ids()).values(), default=0) <= 1
        assert self.razorpay.problems == []


@pytest.fixture(scope="module")
def open_store(launch, broker, tmp_path_factory):
    """Starts a service in uWSGI, with a gateway and a queue of its own."""
    opened = []

    def start(runtime="uwsgi", **variables):
        razorpay = Razorpay(tmp_path_factory.mktemp("razorpay"))
        queue = f"razorpay-{next(numbers)}"
        with broker.connection() as connection:
            connection.channel().queue_declare(queue, durable=True)
        settings = {
            "PAYMENT_GATEWAY_TIMEOUT": TIMEOUT,
            "PAYMENT_RECONCILE_INTERVAL": 0.3,
            "PAYMENT_THREADS": 8,
            "PAYMENT_QUEUE": queue,
        }
        service = launch(runtime, **razorpay.settings() | settings | variables)
        opened.append(Store(service, razorpay, broker, queue))
        return opened[-1]

    yield start
    for store in opened:
        store.service.terminate()
        store.razorpay.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_ledger(request):
    """Makes the settings of a new ledger, in each of the two and then the other."""
    if request.param == "sqlite":
        return dict
    postgres = request.getfixturevalue("postgres")
    return lambda: {"PAYMENT_LEDGER_URL": postgres.create_database()}


@pytest.fixture(scope="module")
def shared_store(open_store, new_ledger):
    store = open_store(**new_ledger())
    yield store
    wait_until(lambda: counter(store.service, "payment_unresolved") == 0, "all is settled")
    store.assert_balanced()
    logs = store.service.logs()
    for secret in (KEY_SECRET, WEBHOOK_SECRET, "razorpaySignature"):
        assert secret not in logs
    for payment in store.razorpay.payments.values():
        assert store.razorpay.result(payment["order_id"], payment["id"])["razorpaySignature"] not in logs


@pytest.fixture
def store(shared_store):
    """The service on one ledger and then the other; tests share it. What is wrong in its books is seen at their end."""
    return shared_store


@pytest.fixture
def session_id():
    return new_session()


def assert_declined(response, error="Payment was declined by the bank", reason="payment_declined"):
    body = response.json()
    assert (response.status_code, body["status"], body["message"]) == (402, "error", "Payment declined"), response.text
    assert (body["error"], body["reason"]) == (error, reason)
    TypeAdapter(Refused).validate_python(body, strict=True)


def test_from_the_cart_to_the_queue(store, session_id):
    before = store.service.get("/metrics").json()["total_payments"]
    order = store.order(session_id)
    TypeAdapter(PaymentRequired).validate_python(order, strict=True)
    checkout = order["checkout"]
    assert order == {
        "status": "payment_required",
        "message": "Pay with Razorpay Checkout, then send its result",
        "orderId": order["orderId"],
        "sessionId": session_id,
        "amount": 1999,
        "checkout": {"key": KEY_ID, "order_id": checkout["order_id"], "amount": 199_900, "currency": "INR"},
        "expiresAt": order["expiresAt"],
    }
    assert store.razorpay.orders[checkout["order_id"]]["receipt"] == order["orderId"]
    again = store.service.pay(session_id)
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (order, "true")

    result = store.razorpay.pay(checkout["order_id"])
    answer = store.service.pay(session_id, result)
    assert answer.status_code == 200, answer.text
    assert answer.json() | {"timestamp": ""} == {
        "status": "success",
        "orderId": order["orderId"],
        "sessionId": session_id,
        "amount": 1999,
        "paymentId": result["razorpayPaymentId"],
        "message": "Payment processed successfully",
        "timestamp": "",
    }
    event = store.wait_for_order(session_id)
    assert (event["orderId"], event["amountMinor"]) == (order["orderId"], 199_900)
    assert event["paymentId"] == result["razorpayPaymentId"]
    for body in (result, {}):  # also a browser that has lost the result, for as long as an unchanged cart is paid
        again = store.service.pay(session_id, body)
        assert (again.content, again.headers["Idempotency-Replayed"]) == (answer.content, "true")
    store.assert_captured_once(result)
    assert store.service.get("/metrics").json()["total_payments"] == before + 1


def test_with_a_key(store, session_id):
    """It is that of the first step; the second has its own, the order at the gateway."""
    headers = {"Idempotency-Key": session_id}
    order = store.order(session_id, headers=headers)
    assert store.order(session_id, headers=headers) == order
    assert store.order(session_id, headers={"Idempotency-Key": f"{session_id}-2"}) != order
    result = store.razorpay.pay(order["checkout"]["order_id"])
    paid = store.service.pay(session_id, result, headers=headers)
    assert (paid.status_code, paid.json()["orderId"]) == (200, order["orderId"])
    assert store.service.pay(session_id, headers=headers).content == paid.content
    assert_refused(store.service.pay(session_id, {"total": 1}, headers=headers), 422)


def test_result_as_checkouts_handler_has_it(store, session_id):
    """As it is, and as somebody sends it who has read of our names as well."""
    ours = store.buy(session_id)
    theirs = {
        "razorpay_order_id": ours["razorpayOrderId"],
        "razorpay_payment_id": ours["razorpayPaymentId"],
        "razorpay_signature": ours["razorpaySignature"],
    }
    paid = store.service.pay(session_id, theirs)
    assert (paid.status_code, paid.json()["paymentId"]) == (200, ours["razorpayPaymentId"])
    assert store.service.pay(session_id, ours | theirs).content == paid.content
    store.assert_captured_once(ours)


def test_webhook_in_chunks(store, session_id):
    (event,) = store.razorpay.events(store.buy(session_id)["razorpayOrderId"])
    answer = send_webhook(store.service.url, event, in_chunks=True)
    assert (answer.status_code, answer.json()["status"]) == (200, "kept")
    store.wait_for_order(session_id)


@pytest.mark.parametrize("part", ["razorpayOrderId", "razorpayPaymentId", "razorpaySignature"])
@pytest.mark.parametrize("wrong", ["missing", "malformed", "another's"])
def test_result_that_is_none(store, session_id, part, wrong):
    result, other = store.buy(session_id), store.buy(new_session(), "failed")
    assert len(other["razorpaySignature"]) == 64
    body = {name: value for name, value in result.items() if name != part}
    if wrong != "missing":
        body[part] = "order_!" if wrong == "malformed" else other[part]
    before = list(store.razorpay.calls)
    response = store.service.pay(session_id, body)
    assert_refused(response, 400, field="razorpaySignature" if wrong == "another's" else part)
    assert store.razorpay.calls == before, "the gateway is not asked"
    assert store.service.pay(session_id, result).status_code == 200


def test_result_that_does_not_fit(store, session_id):
    """All of them are signed: with another session, another order's payment, or another amount."""
    result, other = store.buy(session_id), new_session()
    theirs = store.buy(other)
    less = store.razorpay.pay(result["razorpayOrderId"], amount=100)
    mixed = store.razorpay.result(result["razorpayOrderId"], theirs["razorpayPaymentId"])
    unknown = store.razorpay.result(result["razorpayOrderId"], "pay_NoSuchPayment0")
    for session, body, field in [
        (other, result, "razorpayOrderId"),
        (session_id, store.razorpay.result("order_NoSuchOrder000", "pay_NoSuchPayment0"), "razorpayOrderId"),
        (session_id, mixed, "razorpayPaymentId"),
        (session_id, less, "razorpayPaymentId"),
        (session_id, result | {"total": 1}, "total"),
    ]:
        assert_refused(store.service.pay(session, body), 400, field=field)
    assert_declined(store.service.pay(session_id, unknown), "The id provided does not exist", "BAD_REQUEST_ERROR")
    assert store.captures(theirs) == store.captures(less) == store.captures(result) == 0
    assert store.service.pay(session_id, result | {"total": 1999}).status_code == 200
    assert store.service.pay(other, theirs).status_code == 200


def test_what_was_shown_and_paid_counts(store, put_cart):
    """A changed cart is another order; one for the old cart that is paid all the same is delivered."""

    def cart(price):
        return {"total": price, "tax": 0, "items": [{"sku": "pen", "qty": 1, "price": price, "subtotal": price}]}

    session_id = put_cart(cart(10))
    old = store.order(session_id, body={})
    put_cart(cart(20), session_id)
    new = store.order(session_id, body={})
    assert (old["checkout"]["amount"], new["checkout"]["amount"]) == (1000, 2000)
    put_cart({"total": 0, "tax": 0, "items": []}, session_id)
    result = store.razorpay.pay(old["checkout"]["order_id"])
    paid = store.service.pay(session_id, result)
    assert (paid.status_code, paid.json()["orderId"], paid.json()["amount"]) == (200, old["orderId"], 10)


def test_declined(store, session_id):
    """By the bank, whereupon the customer may try again; at the capture; and already for the order."""
    failed = store.buy(session_id, "failed")
    assert_declined(store.service.pay(session_id, failed))
    result = store.razorpay.pay(failed["razorpayOrderId"])
    with store.razorpay.fault("capture", "decline"):
        assert_declined(store.service.pay(session_id, result))
    again = store.service.pay(session_id, result)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (402, "true")
    with store.razorpay.fault("create_order", "decline"):
        assert_declined(store.service.pay(session_id))
    order = store.order(session_id)
    assert order["checkout"]["order_id"] != result["razorpayOrderId"]
    assert store.service.pay(session_id, store.razorpay.pay(order["checkout"]["order_id"])).status_code == 200
    assert store.captures(result) == 0


def test_less_than_razorpay_takes(store, put_cart):
    session_id = put_cart({"total": 0.5, "tax": 0, "items": [{"sku": "a", "qty": 1, "price": 0.5, "subtotal": 0.5}]})
    assert_declined(
        store.service.pay(session_id, {}), "The amount must be at least INR 1.00", "input_validation_failed"
    )


def test_bank_that_is_still_at_it(store, session_id):
    result = store.buy(session_id, "created")
    assert_refused(store.service.pay(session_id, result), 409)
    store.razorpay.payments[result["razorpayPaymentId"]]["status"] = "authorized"
    assert store.service.pay(session_id, result).status_code == 200


def test_account_that_captures_by_itself(store, session_id):
    result = store.buy(session_id, "captured")
    assert store.service.pay(session_id, result).status_code == 200
    store.assert_captured_once(result)


def test_all_at_once(store, session_id):
    """The same result eight times, and each webhook three times: one is captured."""
    result = store.buy(session_id)
    with ThreadPoolExecutor(10) as clients:
        answers = [clients.submit(store.service.pay, session_id, result) for _ in range(8)]
        for _ in range(3):
            clients.submit(store.razorpay.send, store.service.url, store.razorpay.events(result["razorpayOrderId"]))
    answers = [each.result() for each in answers]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert store.service.pay(session_id, result).status_code == 200
    store.razorpay.send(store.service.url, store.razorpay.events(result["razorpayOrderId"]), copies=2)
    store.assert_captured_once(result)
    assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]


@pytest.mark.parametrize("status", ["authorized", "captured"])
def test_browser_that_never_comes_back(store, session_id, status):
    """Its webhooks come twice, and the last one first. The order goes with the trace of the payment's beginning."""
    order = store.order(session_id, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    result = store.razorpay.pay(order["checkout"]["order_id"], status)
    events = store.razorpay.events(result["razorpayOrderId"])
    statuses = store.razorpay.send(store.service.url, events, copies=2, backwards=True)
    assert statuses == [200] * 2 * len(events)
    assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]
    assert store.traces[order["orderId"]].startswith(f"00-{TRACE}-")
    store.assert_captured_once(result)
    again = store.service.pay(session_id, result)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")


def test_second_payment_for_an_order_is_given_back(store, session_id):
    """Also when that is refused at first: for want of a balance, say."""
    result = store.buy(session_id)
    assert store.service.pay(session_id, result).status_code == 200
    second = store.razorpay.pay(result["razorpayOrderId"], "captured")
    assert store.service.pay(session_id, second).json()["paymentId"] == result["razorpayPaymentId"]
    payment_id, payments = second["razorpayPaymentId"], store.razorpay.payments
    with store.razorpay.fault("refund", "decline", about=payment_id):
        store.razorpay.send(store.service.url, store.razorpay.events(result["razorpayOrderId"]))
        wait_until(lambda: store.razorpay.asked("refund", payment_id) >= 2, "it is tried again")
    wait_until(lambda: payments[payment_id]["status"] == "refunded", "it is given back")
    assert payments[result["razorpayPaymentId"]]["status"] == "captured"


def test_two_payments_that_nobody_told_of(store, session_id):
    """Of an account that captures by itself: one makes the order, the other is given back."""
    first = store.buy(session_id, "captured")
    second = store.razorpay.pay(first["razorpayOrderId"], "captured")
    (event,) = store.razorpay.events(first["razorpayOrderId"])[-1:]
    assert send_webhook(store.service.url, event).status_code == 200
    payments = [store.razorpay.payments[each["razorpayPaymentId"]] for each in (first, second)]
    wait_until(lambda: {each["status"] for each in payments} == {"captured", "refunded"}, "one is given back")
    (kept,) = (each["id"] for each in payments if each["status"] == "captured")
    assert store.wait_for_order(session_id)["paymentId"] == kept


def test_webhook_that_is_refused_or_ignored(store, session_id):
    result = store.buy(session_id)
    (event,) = store.razorpay.events(result["razorpayOrderId"])
    url = store.service.url

    def said(changed, **options):
        response = send_webhook(url, changed, **options)
        return response.status_code, response.json()["status"]

    assert said(event, secret="another") == (400, "error")
    assert said(event, **{"X-Razorpay-Signature": "é"}) == (400, "error")
    assert said(event | {"id": ""}) == (400, "error")
    assert said(event | {"id": "x" * 129}) == (400, "error")
    assert said(event | {"event": "settlement.processed"}) == (200, "ignored")
    assert said(event | {"payload": {}}) == (200, "ignored")
    other = event["payload"]["payment"]["entity"] | {"order_id": "order_NoSuchOrder000"}
    assert said(event | {"payload": {"payment": {"entity": other}}}) == (200, "ignored")
    assert said(event) == (200, "kept")
    assert said(event) == (200, "ignored")
    assert requests.get(f"{url}/webhooks/razorpay", timeout=PATIENCE).status_code == 405
    assert store.wait_for_order(session_id)


def test_webhook_of_a_failure_takes_nothing(store, session_id):
    failed = store.buy(session_id, "failed")
    assert store.razorpay.send(store.service.url, store.razorpay.events(failed["razorpayOrderId"])) == [200]
    wait_until(lambda: store.razorpay.asked("payments_of", failed["razorpayOrderId"]), "it is looked into")
    assert store.service.pay(session_id, store.razorpay.pay(failed["razorpayOrderId"])).status_code == 200


def test_captures_of_which_nobody_knows(store):
    """The gateway is asked, by the request or afterwards, and the money taken once."""
    taken = {"slow", "error-after", "reset-after"}
    results = {
        fault: (session := new_session(), store.buy(session)) for fault in taken | {"hang", "late", "error-before"}
    }
    with ExitStack() as faults, ThreadPoolExecutor(len(results)) as clients:
        for fault, (_, result) in results.items():
            about = result["razorpayPaymentId"]
            faults.enter_context(store.razorpay.fault("capture", fault, TIMEOUT + 2, about=about))
        paying = {fault: clients.submit(store.service.pay, *results[fault]) for fault in results}
        answers = {fault: each.result() for fault, each in paying.items()}
    for fault, answer in answers.items():
        assert answer.status_code == (200 if fault in taken else 500), f"{fault}: {answer.text}"
    for session_id, result in results.values():
        assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]
        assert store.service.pay(session_id, result).status_code == 200
        store.assert_captured_once(result)


@pytest.mark.parametrize("call", ["payment", "create_order"])
def test_gateway_that_cannot_be_asked(store, session_id, call):
    """Nothing was begun, and trying again is safe."""
    body = store.buy(session_id) if call == "payment" else {}
    with store.razorpay.fault(call, "error-after"):
        response = store.service.pay(session_id, body)
        assert_refused(response, 503)
        assert int(response.headers["Retry-After"]) > 0
    body = body or store.buy(session_id)
    assert store.service.pay(session_id, body).status_code == 200


def test_nobody_can_tell_how_a_capture_ended(store, session_id):
    """Neither the capture nor the question is answered: 500, until it is known."""
    result = store.buy(session_id)
    payment_id = result["razorpayPaymentId"]
    with (
        store.razorpay.fault("capture", "error-after", about=payment_id),
        store.razorpay.fault("payment", "error-before", about=payment_id, after=1),
    ):
        assert_refused(store.service.pay(session_id, result), 500, message="Payment processing failed")
    assert store.wait_for_order(session_id)
    assert store.service.pay(session_id, result).status_code == 200


def test_workers_killed_while_customers_pay(store):
    """Captures are slow, results and webhooks come twice or not at all, and two workers are killed in between."""

    def insist(action):
        """Clients try again when their connection breaks, or when a request of theirs that it broke is in progress."""
        while True:
            with suppress(requests.ConnectionError, AssertionError):
                return action()
            time.sleep(0.1)

    def buy(number):
        session_id = new_session()
        result = insist(lambda: store.buy(session_id))
        if number % 3:
            for _ in range(2):
                insist(lambda: store.service.pay(session_id, result))
        if number % 3 != 1:
            events = store.razorpay.events(result["razorpayOrderId"])
            insist(lambda: store.razorpay.send(store.service.url, events, copies=2, backwards=True))
        return session_id, result

    def kill():
        for _ in range(2):
            time.sleep(0.4)
            os.kill(children(store.service.process.pid)[0], signal.SIGKILL)

    with store.razorpay.fault("capture", "slow", seconds=0.2), ThreadPoolExecutor(9) as threads:
        killing = threads.submit(kill)
        bought = list(threads.map(buy, range(30)))
        killing.result()
    for session_id, result in bought:
        assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]
        store.assert_captured_once(result)


def test_killed_between_capture_and_record(open_store, new_ledger, session_id):
    """All processes, -9; when it is started again the order follows, without a word of browser or webhook."""
    store = open_store(**new_ledger())
    result = store.buy(session_id)
    with store.razorpay.fault("capture", "slow", seconds=3), ThreadPoolExecutor(1) as client:
        paying = client.submit(store.service.pay, session_id, result)
        wait_until(lambda: store.captures(result), "it is captured")
        store.service.kill()
        with pytest.raises(requests.ConnectionError):
            paying.result()
    store.service.start()
    store.service.wait_until_alive()
    assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]
    assert store.service.pay(session_id, result).status_code == 200
    store.assert_captured_once(result)
    store.assert_balanced()


def test_broker_that_is_away(open_store, gate, session_id):
    store = open_store("python", PAYMENT_AMQP_PORT=gate.port)
    gate.close()
    result = store.buy(session_id)
    assert store.service.pay(session_id, result).status_code == 200
    assert counter(store.service, "payment_outbox_orders") == 1
    gate.open()
    assert store.wait_for_order(session_id)["paymentId"] == result["razorpayPaymentId"]
    store.assert_balanced()


def test_order_whose_time_is_up(open_store):
    """It is asked for once more: what was paid is delivered. What is paid afterwards is not taken, or given back."""
    store = open_store("python", PAYMENT_CHECKOUT_LIFETIME=1, PAYMENT_GATEWAY_TIMEOUT=1)
    unpaid, paid, late = new_session(), new_session(), new_session()
    orders = {session_id: store.order(session_id)["checkout"]["order_id"] for session_id in (unpaid, late)}
    order = store.order(paid, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    result = store.razorpay.pay(order["checkout"]["order_id"])
    assert store.wait_for_order(paid)["paymentId"] == result["razorpayPaymentId"]
    assert store.traces[order["orderId"]].startswith(f"00-{TRACE}-")
    (line,) = [line for line in store.service.logs().splitlines() if "had been paid: its order follows" in line]
    assert json.loads(line)["order_id"] == order["orderId"]
    wait_until(lambda: store.service.logs().count("had not been paid: closed") == 2, "the others are closed")

    authorized = store.razorpay.pay(orders[unpaid])
    assert_declined(store.service.pay(unpaid, authorized), "The order was not paid for in time", "order_expired")
    assert store.order(unpaid)["checkout"]["order_id"] != orders[unpaid]
    captured = store.razorpay.pay(orders[late], "captured")["razorpayPaymentId"]
    store.razorpay.send(store.service.url, store.razorpay.events(orders[late]))
    wait_until(lambda: store.razorpay.payments[captured]["status"] == "refunded", "it is given back")
    assert store.captures(authorized) == 0
    store.assert_balanced()


def test_ledger_that_hangs_while_a_webhook_comes(open_store, session_id, tmp_path):
    """503 in time, and when it comes again it is kept."""
    path = tmp_path / "ledger.db"
    store = open_store("python", PAYMENT_LEDGER_URL=f"sqlite:///{path}")
    result = store.buy(session_id)
    (event,) = store.razorpay.events(result["razorpayOrderId"])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with in_time(0.8):
        assert send_webhook(store.service.url, event).status_code == 503
    connection.close()
    wait_until(lambda: send_webhook(store.service.url, event).status_code == 200, "it is kept")
    assert store.wait_for_order(session_id)
