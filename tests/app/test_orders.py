"""Every paid order is in RabbitMQ, once, and as the Order Processor expects it."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from broker import PASSWORD, USER
from service import PATIENCE, ROOT, wait_until


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
    ((properties, event),) = wait_until(queue.take_orders, "the order")
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
    assert abs(properties.timestamp - time.time()) < PATIENCE  # in seconds, and not in those of another time zone


def test_500_concurrent_payments_make_500_orders(service, queue):
    with ThreadPoolExecutor(16) as clients:
        responses = list(clients.map(lambda _: service.pay(), range(500)))
    assert Counter(response.status_code for response in responses) == {200: 500}
    paid = Counter(response.json()["orderId"] for response in responses)
    assert max(paid.values()) == 1
    assert Counter(event["orderId"] for event in queue.wait_for_orders(paid)) == paid


@pytest.mark.parametrize(("session_id", "body"), [("empty-1", {}), ("unknown-1", {}), ("demo-1", {"total": 1})])
def test_no_order_without_a_payment(service, queue, session_id, body):
    assert service.pay(session_id, body).status_code in (400, 401)
    assert queue.take_orders() == []


def test_missing_queue_is_made_durable(start_service, broker):
    order_id = start_service("python", PAYMENT_QUEUE="made-by-us").pay().json()["orderId"]
    durable = ("list_queues", "--vhost", broker.vhost, "name", "durable")
    wait_until(lambda: "made-by-us\ttrue" in broker.ctl(*durable), "the queue is made")
    assert [event["orderId"] for event in broker.wait_for_orders([order_id], "made-by-us")] == [order_id]


def test_deleted_queue_is_made_again(start_service, broker):
    """The message that finds no queue comes back as unroutable, stays in the outbox and is sent again."""
    service = start_service("python", PAYMENT_QUEUE="deleted")
    broker.wait_for_orders([service.pay().json()["orderId"]], "deleted")
    with broker.connection() as connection:
        connection.channel().queue_delete("deleted")
    paid = [service.pay().json()["orderId"] for _ in range(10)]
    events = broker.wait_for_orders(paid, "deleted")
    assert [event["orderId"] for event in events] == paid


def test_refused_messages_wait_in_the_outbox_and_are_seen(start_service, broker):
    """A full queue that refuses more: RabbitMQ confirms negatively."""
    with broker.connection() as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_declare("full", durable=True, arguments=full)
    service = start_service("python", PAYMENT_QUEUE="full")
    paid = []
    for _ in range(5):
        answer = service.pay()
        assert answer.status_code == 200
        paid.append(answer.json()["orderId"])
    wait_until(lambda: service.get("/health").json().get("unpublished") == 4, "four are refused")
    report = service.get("/health").json()
    assert (report["status"], report["rabbitmq"]) == ("degraded", "disconnected")
    text = service.get("/metrics", headers={"Accept": "text/plain"}).text
    assert "payment_outbox_orders 4.0" in text
    assert not re.search(r"payment_outbox_oldest_seconds 0\.0$", text, re.MULTILINE)
    events = broker.wait_for_orders(paid, "full")
    assert sorted(event["orderId"] for event in events) == sorted(paid)
    wait_until(lambda: service.get("/health").json()["status"] == "healthy", "all is well")
    assert "payment_outbox_orders 0.0" in service.get("/metrics", headers={"Accept": "text/plain"}).text


def test_order_processor_reads_the_orders(service, queue):
    paid = {service.pay().json()["orderId"] for _ in range(3)}
    program = ROOT / "testbed" / "neighbours" / "order_processor.py"
    where = ["--port", str(queue.port), "--vhost", queue.vhost]
    command = [sys.executable, program, *where, "--user", USER, "--timeout", "5"]

    def read(*options):
        done = subprocess.run(
            [*command, *options], env={"AMQP_PASS": PASSWORD}, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.returncode, {json.loads(line)["orderId"] for line in done.stdout.splitlines()}, done.stderr

    assert read("--count", "3", "--peek") == (0, paid, "")
    assert read("--count", "3") == (0, paid, "")
    code, orders, complaint = read("--count", "1", "--timeout", "0.5")
    assert (code, orders) == (1, set())
    assert complaint == "0 of 1 orders arrived in order-processing within 0.5 seconds\n"
