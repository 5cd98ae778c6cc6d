"""Several instances of the service on one ledger in PostgreSQL: one charge, one order, one that publishes."""

import itertools
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from service import new_session
from test_faults import assert_unavailable

queues = (f"shared-{number}" for number in itertools.count())


@pytest.fixture
def queue(broker):
    name = next(queues)
    with broker.connection() as connection:
        connection.channel().queue_declare(name, durable=True)
    return name


@pytest.fixture
def ledger(postgres):
    return postgres.create_database()


@pytest.fixture
def instance(start_service, ledger, queue):
    """Starts one more instance."""

    def start(runtime="uwsgi", **variables):
        settings = {"PAYMENT_LEDGER_URL": ledger, "PAYMENT_QUEUE": queue, "PAYMENT_THREADS": 8} | variables
        return start_service(runtime, **settings)

    return start


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def was_elected(service):
    return "elected to publish orders" in service.logs()


def test_repeated_requests_on_two_hosts_are_one_payment(instance, broker, queue, postgres, ledger):
    services = [instance(PAYMENT_GATEWAY="sandbox://approve?delay_ms=100") for _ in range(2)]
    expected = set()
    for key in (None, "key"):
        session_id = new_session()
        headers = {"Idempotency-Key": f"{session_id}-{key}"} if key else {}
        with ThreadPoolExecutor(12) as clients:
            paying = [clients.submit(services[number % 2].pay, session_id, headers=headers) for number in range(12)]
        answers = [each.result() for each in paying]
        answers += [service.pay(session_id, headers=headers) for service in services]
        assert {answer.status_code for answer in answers} <= ({200, 409} if key else {200})
        contents = {answer.content for answer in answers if answer.status_code == 200}
        assert len(contents) == 1
        assert [answer.headers["Idempotency-Replayed"] for answer in answers[-2:]] == ["true", "true"]
        expected.add(answers[-1].json()["orderId"])
    with postgres.connect(ledger) as connection:
        assert connection.execute("SELECT state, count(*) FROM payments GROUP BY state").fetchall() == [("paid", 2)]
    assert Counter(event["orderId"] for event in broker.wait_for_orders(expected, queue)) == Counter(expected)


def test_orders_of_all_hosts_are_published_once_by_one_of_them(instance, broker, queue, postgres, ledger):
    services = [instance() for _ in range(2)]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: services[number % 2].pay(), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    paid = Counter(answer.json()["orderId"] for answer in answers)
    assert max(paid.values()) == 1
    time.sleep(1)  # a second one that publishes would be at it by now
    assert Counter(event["orderId"] for event in broker.wait_for_orders(paid, queue)) == paid
    assert sorted(service.logs().count("elected to publish orders") for service in services) == [0, 1]
    with postgres.connect(ledger) as connection:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
        assert connection.execute(f"{locks} WHERE datname = current_database())").fetchone() == (1,)


def test_killed_host_is_replaced(instance, broker, queue):
    elected = instance()
    until(lambda: was_elected(elected), 5)
    other = instance()
    paid = [elected.pay().json()["orderId"]]
    os.killpg(elected.process.pid, signal.SIGKILL)
    elected.process.wait()
    paid.append(other.pay().json()["orderId"])
    until(lambda: was_elected(other), 5)
    assert {event["orderId"] for event in broker.wait_for_orders(paid, queue, timeout=3)} == set(paid)


def test_order_is_published_at_once(instance, broker, queue):
    """Also that of a host which is not elected: it need not wait for the next sweep."""
    elected = instance()
    until(lambda: was_elected(elected), 5)
    other = instance()
    delays = []
    for _ in range(8):
        began = time.monotonic()
        broker.wait_for_orders([other.pay().json()["orderId"]], queue)
        delays.append(time.monotonic() - began)
    assert sorted(delays)[4] < 0.25, delays


@pytest.mark.parametrize("runtime", ["uwsgi", "python"])
def test_postgresql_that_is_away(instance, runtime, broker, queue, postgres):
    """At start and later: refused with 503, in time, and back without a restart."""
    postgres.stop()
    service = instance(runtime)
    paid = []

    def assert_away():
        session_id = new_session()
        began = time.monotonic()
        assert_unavailable(service.pay(session_id))
        assert time.monotonic() - began < 3
        time.sleep(1)  # as old as a report of /health may be
        report = service.get("/health").json()
        assert (report["status"], report["ledger"]) == ("degraded", "disconnected")
        postgres.start()
        began = time.monotonic()
        until(lambda: service.pay(session_id).status_code == 200, 8)
        paid.append(service.pay(session_id).json()["orderId"])

    try:
        assert_away()
        if runtime == "uwsgi":
            postgres.stop(immediate=True)
            assert_away()
            postgres.kill()
            assert_away()
    finally:
        if not postgres.pids:
            postgres.start()
    events = broker.wait_for_orders(paid, queue)
    assert Counter(event["orderId"] for event in events) == Counter(paid)
    assert "ledger@123" not in service.logs()


def test_postgresql_that_hangs(instance, postgres):
    service = instance("python")
    assert service.pay().status_code == 200
    stopped = postgres.pids
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(8) as clients:
            began = time.monotonic()
            refused = list(clients.map(lambda _: service.pay(), range(8)))
            assert time.monotonic() - began < 3.5
        for answer in refused:
            assert_unavailable(answer)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    until(lambda: service.pay().status_code == 200, 5)


def test_connections_ended_by_the_server(instance, broker, queue, postgres, ledger):
    """Whatever a client was told at first: in the end it has one order, and what was answered with 200 stays."""
    fast = {"PAYMENT_GATEWAY_TIMEOUT": 0.3, "PAYMENT_RECONCILE_INTERVAL": 0.3}
    services = [instance(**fast) for _ in range(2)]
    ended = threading.Event()
    sessions, statuses = {}, Counter()

    def pay(session_id, number):
        while True:
            try:
                answer = services[number % 2].pay(session_id)
            except requests.ConnectionError:
                continue
            number += 1
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                return answer.json()["orderId"]
            assert answer.status_code in (409, 503), answer.text

    def shop_on(number):
        while not ended.is_set():
            session_id = new_session()
            sessions[session_id] = pay(session_id, number)

    with ThreadPoolExecutor(6) as clients, postgres.connect("postgres") as connection:
        shopping = [clients.submit(shop_on, number) for number in range(6)]
        for _ in range(8):
            time.sleep(0.25)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'ledger%'")
        ended.set()
    for each in shopping:
        each.result()
    paid = set(sessions.values())
    events = broker.wait_for_orders(paid, queue, timeout=15)
    orders = {(event["sessionId"], event["orderId"]) for event in events}
    assert orders == set(sessions.items())
    with postgres.connect(ledger) as connection:
        rows = connection.execute("SELECT session_id, order_id FROM payments WHERE state = 'paid'").fetchall()
    assert sorted(rows) == sorted(sessions.items())


def test_order_that_is_committed_behind_later_ones(instance, broker, queue, postgres, ledger):
    """PostgreSQL numbers rows before they are committed. The late one is published while others keep coming."""
    service = instance("python")
    ended = threading.Event()

    def shop_on():
        while not ended.is_set():
            assert service.pay().status_code == 200

    assert service.pay().status_code == 200
    with ThreadPoolExecutor(2) as clients, postgres.connect(ledger) as connection:
        with connection.transaction():
            connection.execute("INSERT INTO outbox (order_id, body, created_at) VALUES ('late', '{\"orderId\": 1}', 0)")
            shopping = [clients.submit(shop_on) for _ in range(2)]
            time.sleep(1)
        began = time.monotonic()
        try:
            until(lambda: connection.execute("SELECT 1 FROM outbox WHERE order_id = 'late'").fetchone() is None, 3)
        finally:
            ended.set()
        assert time.monotonic() - began < 2
    for each in shopping:
        each.result()
    assert 1 in [event["orderId"] for _, event in broker.take_orders(queue)]
