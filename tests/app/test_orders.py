"""Every paid order is in RabbitMQ, once, and as the Order Processor expects it."""

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from broker import PASSWORD, USER
from service import ROOT


@pytest.fixture
def queue(broker):
    """The queue that all services use, empty, and emptied of what came to it."""
    broker.take_orders()
    yield broker
    broker.take_orders()


def test_event_of_an_order(service, queue, put_cart):
    items = [
        {"sku": "pen", "name": "a pen", "qty": 3, "price": 1.25, "subtotal": 3.75},
        {"sku": "SHIP", "name": "shipping", "qty": 1, "price": 5, "subtotal": 5},
    ]
    session_id = put_cart({"total": 8.75, "tax": 8.75 - 8.75 / 1.2, "items": items})
    answer = service.pay(session_id, {"total": 8.75, "paymentMethod": "razorpay"}).json()
    ((properties, event),) = queue.take_orders()
    assert event == {
        "orderId": answer["orderId"],
        "sessionId": session_id,
        "paymentId": answer["paymentId"],
        "paymentMethod": "razorpay",
        "amount": 8.75,
        "amountMinor": 875,
        "currency": "INR",
        "tax": 1.46,
        "items": [{key: item[key] for key in ("sku", "qty", "price", "subtotal")} for item in items],
        "timestamp": answer["timestamp"],
    }
    assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    assert properties.message_id == answer["orderId"]
    assert properties.content_type == "application/json"
    assert properties.type == "order.paid"
    assert properties.app_id == "payment"
    assert abs(properties.timestamp - time.time()) < 10


def test_500_concurrent_payments_make_500_orders(service, queue):
    with ThreadPoolExecutor(16) as clients:
        responses = list(clients.map(lambda number: service.pay(f"demo-{number}"), range(500)))
    assert Counter(response.status_code for response in responses) == {200: 500}
    paid = Counter(response.json()["orderId"] for response in responses)
    assert max(paid.values()) == 1
    assert Counter(event["orderId"] for _, event in queue.take_orders()) == paid


@pytest.mark.parametrize(("session_id", "body"), [("empty-1", {}), ("unknown-1", {}), ("demo-1", {"total": 1})])
def test_no_order_without_a_payment(service, queue, session_id, body):
    assert service.pay(session_id, body).status_code in (400, 401)
    assert queue.take_orders() == []


def test_missing_queue_is_made_durable(start_service, broker):
    start_service("python", PAYMENT_QUEUE="made-by-us").pay("demo-1").raise_for_status()
    with broker.connection() as connection:
        declared = connection.channel().queue_declare("made-by-us", durable=True)  # refused if it is not durable
    assert declared.method.message_count == 1


def test_existing_queue_of_another_kind_is_used_as_it_is(start_service, broker):
    with broker.connection() as connection:
        connection.channel().queue_declare("made-by-others", durable=True, arguments={"x-max-length": 100})
    service = start_service("python", PAYMENT_QUEUE="made-by-others")
    order_id = service.pay("demo-1").json()["orderId"]
    assert [event["orderId"] for _, event in broker.take_orders("made-by-others")] == [order_id]


def test_deleted_queue_is_made_again(start_service, broker):
    """The message that finds no queue comes back as unroutable: its payment is not answered with 200."""
    service = start_service("python", PAYMENT_QUEUE="deleted")
    service.pay("demo-1").raise_for_status()
    with broker.connection() as connection:
        connection.channel().queue_delete("deleted")
    first, *others = [service.pay("demo-1") for _ in range(10)]
    assert first.status_code == 503
    assert {answer.status_code for answer in others} == {200}
    paid = {answer.json()["orderId"] for answer in others}
    assert {event["orderId"] for _, event in broker.take_orders("deleted")} == paid


def test_refused_message_is_not_a_paid_order(start_service, broker):
    """A full queue that refuses more: RabbitMQ confirms negatively."""
    with broker.connection() as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_declare("full", durable=True, arguments=full)
    service = start_service("python", PAYMENT_QUEUE="full")
    assert [service.pay("demo-1").status_code for _ in range(5)] == [200, 503, 503, 503, 503]
    assert len(broker.take_orders("full")) == 1


def test_order_processor_reads_the_orders(service, queue):
    paid = {service.pay(f"demo-{number}").json()["orderId"] for number in range(3)}
    program = ROOT / "testbed" / "neighbours" / "order_processor.py"
    command = [sys.executable, program, "--port", str(queue.port), "--user", USER, "--timeout", "5"]

    def read(*options):
        done = subprocess.run(
            [*command, *options], env={"AMQP_PASS": PASSWORD}, capture_output=True, text=True, timeout=30
        )
        return done.returncode, {json.loads(line)["orderId"] for line in done.stdout.splitlines()}, done.stderr

    assert read("--count", "3", "--peek") == (0, paid, "")
    assert read("--count", "3") == (0, paid, "")
    code, orders, complaint = read("--count", "1", "--timeout", "0.5")
    assert (code, orders) == (1, set())
    assert complaint == "0 of 1 orders arrived in order-processing within 0.5 seconds\n"
