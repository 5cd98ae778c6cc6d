"""A payment through the frontend's host becomes an order in the queue."""

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ORDER_PROCESSOR = Path(__file__).parents[2] / "testbed/neighbours/order_processor.py"

pytestmark = pytest.mark.disruptive


@pytest.fixture(scope="module")
def pay(in_group, settings):
    """Return a function: session id, body -> HTTP status and decoded JSON."""

    def post(session, body):
        answer = in_group("frontend").check_output(
            "curl --silent --show-error --max-time 10 --write-out '\\n%%{http_code}' --header 'Content-Type: application/json' --data %s %s",
            json.dumps(body),
            f"http://{settings['ansible_host']}:{settings['payment_port']}/pay/{session}",
        )
        text, status = answer.rsplit("\n", 1)
        return int(status), json.loads(text)

    return post


def orders(settings, count):
    """Take `count` orders from the queue, as the Order Processor does."""
    done = subprocess.run(
        [sys.executable, ORDER_PROCESSOR, f"--host={settings['payment_amqp_host']}", f"--user={settings['payment_amqp_user']}",
         "--password-env=AMQP_PASS", f"--queue={settings['payment_queue']}", f"--count={count}", "--timeout=10"],
        env={"AMQP_PASS": settings["payment_amqp_password"]}, capture_output=True, text=True, check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_paid_order_reaches_the_queue(pay, settings):
    session = f"demo-{uuid.uuid4().hex}"
    status, answer = pay(session, {"total": 1999})
    assert (status, answer["status"], answer["amount"], answer["sessionId"]) == (200, "success", 1999, session)
    [order] = orders(settings, 1)
    assert order["orderId"] == answer["orderId"]


def test_a_wrong_total_is_refused_and_nothing_is_ordered(pay, host, settings, in_group):
    status, answer = pay(f"demo-{uuid.uuid4().hex}", {"total": 1})
    assert (status, answer["status"]) == (400, "error")
    assert "total" in answer["message"]
    queues = in_group("rabbitmq").check_output("rabbitmqctl --quiet list_queues name messages")
    assert f"{settings['payment_queue']}\t0" in queues
