"""From the frontend's address to the order processor: paid once, whatever host answers, and whatever host dies."""

import json
import subprocess
import sys
import time
import urllib.error
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import PATIENCE, ROOT, ask, wait_until
from load import Load


@pytest.fixture(scope="module", autouse=True)
def provisioned(play, source, consumed):
    """The shop is open, and has processed what was ordered before."""
    played = play("site.yml", **source("1.2.0"))
    assert played.code == 0, played.output
    consumed(set())


@pytest.fixture(scope="module")
def consumed(settings):
    """Take what is in the queue, as the shop's order processor does, until these orders came: how often each came."""
    program = [sys.executable, ROOT / "testbed/neighbours/order_processor.py", "--count=0", "--every", "--timeout=60"]
    program += [f"--host={settings['payment_amqp_host']}", f"--queue={settings['payment_queue']}"]
    program += [f"--password-file={settings['testbed_cache']}/amqp_password"]

    def orders(awaited):
        came = Counter()
        deadline = time.monotonic() + PATIENCE
        while True:
            taken = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
            came.update(json.loads(line)["orderId"] for line in taken)
            if not taken and (awaited <= came.keys() or time.monotonic() > deadline):
                return came

    return orders


@pytest.fixture
def pay():
    """Pay: the HTTP status, and the id of the order if there is one."""

    def paid(door, session, **headers):
        try:
            return 200, ask(f"{door}/pay/{session}", {}, **headers)["orderId"]
        except urllib.error.HTTPError as refused:
            return refused.code, None

    return paid


def test_a_payment_at_the_frontends_address(entrance, pay, consumed):
    status, order = pay(entrance, f"shop-{uuid.uuid4()}")
    assert status == 200
    assert consumed({order})[order] == 1


def test_retries_that_reach_both_hosts_are_one_payment(entrance, urls, pay, consumed):
    """At the same time, then one after the other, at each host and through the frontend."""
    session, key = f"shop-{uuid.uuid4()}", {"Idempotency-Key": str(uuid.uuid4())}
    doors = [*urls.values(), entrance]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda door: pay(door, session, **key), doors * 4))
    assert {status for status, _ in answers} <= {200, 409}, "409: the first one is not decided yet"
    answers += [pay(door, session, **key) for door in doors * 2]
    orders = {order for status, order in answers if status == 200}
    assert len(orders) == 1
    assert consumed(orders) == dict.fromkeys(orders, 1)


def test_a_payment_host_that_dies_under_load(entrance, urls, settings, consumed):
    """What was under way there may fail, and nothing that begins afterwards; every order that was answered comes."""
    podman = [ROOT / "testbed/podman"]
    name = f"{settings['testbed_prefix']}-payment-2"
    with Load(entrance) as load:
        time.sleep(3)
        killing = time.monotonic()
        subprocess.run([*podman, "kill", "--signal=KILL", name], check=True, stdout=subprocess.DEVNULL)
        killed = time.monotonic()
        time.sleep(8)
    subprocess.run([*podman, "start", name], check=True, stdout=subprocess.DEVNULL)

    failed = load.failed()
    assert [answer for answer in failed if not answer.began <= killed] == []
    assert [answer for answer in failed if answer.began + answer.seconds < killing] == []
    answered = {answer.order for answer in load.answers if answer.order}
    assert len(answered) > 100  # a third of what is asked in eleven seconds
    # An order that was published by a relay that then died comes again, with the same id.
    assert answered - consumed(answered).keys() == set()


def test_the_host_that_died_is_back(urls):
    wait_until(lambda: ask(f"{urls['payment-2']}/health")["status"] == "healthy", "payment-2 is back")
