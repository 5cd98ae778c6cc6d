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

    url = f"http://{settings['ansible_host']}:{settings['payment_port']}/pay"
    curl = "curl --silent --show-error --max-time 10 --write-out '\\n%%{http_code}' --header %s --data %s %s"

    def post(session, body):
        answer = in_group("frontend").check_output(
            curl, "Content-Type: application/json", json.dumps(body), f"{url}/{session}"
        )
        text, status = answer.rsplit("\n", 1)
        return int(status), json.loads(text)

    return post


@pytest.fixture(scope="module")
def waiting(in_group, settings):
    """Return a function that tells how many orders are in the queue."""

    def count():
        queues = in_group("rabbitmq").check_output("rabbitmqctl --quiet list_queues name messages --formatter json")
        return {queue["name"]: queue["messages"] for queue in json.loads(queues)}.get(settings["payment_queue"], 0)

    return count


def take(settings, count):
    """Take `count` orders from the queue, as the Order Processor does."""
    broker = [f"--host={settings['payment_amqp_host']}", f"--user={settings['payment_amqp_user']}"]
    done = subprocess.run(
        [sys.executable, ORDER_PROCESSOR, *broker, f"--queue={settings['payment_queue']}", f"--count={count}"],
        env={"AMQP_PASS": settings["payment_amqp_password"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_paid_order_reaches_the_queue(pay, waiting, settings):
    session = f"demo-{uuid.uuid4().hex}"
    status, answer = pay(session, {"total": 1999})
    assert (status, answer["status"], answer["amount"], answer["sessionId"]) == (200, "success", 1999, session)
    assert take(settings, waiting())[-1]["orderId"] == answer["orderId"]


def test_a_wrong_total_is_refused_and_nothing_is_ordered(pay, waiting):
    before = waiting()
    status, answer = pay(f"demo-{uuid.uuid4().hex}", {"total": 1})
    assert (status, answer["status"]) == (400, "error")
    assert "total" in answer["message"]
    assert waiting() == before
