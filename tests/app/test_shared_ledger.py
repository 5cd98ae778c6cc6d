"""Several instances of the service on one ledger in PostgreSQL: one charge, one order, one that publishes."""

import itertools
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from postgres import Postgres
from service import APP, Service, in_time, new_session, wait_until
from skillupworks_payment.database import TIMEOUT
from test_faults import assert_unavailable

queues = (f"shared-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def new_ledger(broker, postgres):
    """Makes a ledger and a queue, and says what tells an instance of them."""

    def make(postgres=postgres):
        queue = next(queues)
        with broker.connection() as connection:
            connection.channel().queue_declare(queue, durable=True)
        return {"PAYMENT_LEDGER_URL": postgres.create_database(), "PAYMENT_QUEUE": queue, "PAYMENT_THREADS": 8}

    return make


@pytest.fixture
def own_postgres(tmp_path, processes):
    """One that nobody else needs, so that it can be stopped."""
    postgres = Postgres(tmp_path)
    yield postgres
    postgres.remove()


@pytest.fixture(scope="module")
def pair(launch, new_ledger):
    """Two instances on one ledger, of which the first is elected; most tests share them."""
    settings = new_ledger() | {
        "PAYMENT_GATEWAY": "sandbox://approve?delay_ms=50",
        "PAYMENT_GATEWAY_TIMEOUT": 0.3,
        "PAYMENT_RECONCILE_INTERVAL": 0.3,
    }
    first = launch("uwsgi", **settings)
    wait_until(lambda: was_elected(first), "the first is elected")
    second = launch("uwsgi", **settings)
    yield Pair([first, second], settings["PAYMENT_LEDGER_URL"], settings["PAYMENT_QUEUE"])
    first.terminate()
    second.terminate()


class Pair(NamedTuple):
    services: list[Service]
    ledger: str
    queue: str


def was_elected(service):
    return "elected to publish orders" in service.logs()


def test_repeated_requests_on_two_hosts_are_one_payment(pair, broker, postgres):
    expected, sessions = [], []
    for key in (None, "key"):
        session_id = new_session()
        sessions.append(session_id)
        headers = {"Idempotency-Key": session_id} if key else {}
        with ThreadPoolExecutor(12) as clients:
            paying = [clients.submit(pair.services[n % 2].pay, session_id, headers=headers) for n in range(12)]
        answers = [each.result() for each in paying]
        answers += [service.pay(session_id, headers=headers) for service in pair.services]
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
        assert [answer.headers["Idempotency-Replayed"] for answer in answers[-2:]] == ["true", "true"]
        expected.append(answers[-1].json()["orderId"])
    with postgres.connect(pair.ledger) as connection:
        made = "SELECT order_id, state FROM payments WHERE session_id = ANY(%s) ORDER BY created_at"
        assert connection.execute(made, [sessions]).fetchall() == [(order_id, "paid") for order_id in expected]
    events = broker.wait_for_orders(expected, pair.queue)
    assert [event["orderId"] for event in events if event["sessionId"] in sessions] == expected


def test_orders_of_all_hosts_are_published_once_by_one_of_them(pair, broker, postgres):
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: pair.services[number % 2].pay(), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    paid = Counter(answer.json()["orderId"] for answer in answers)
    assert max(paid.values()) == 1
    time.sleep(1)  # a second one that publishes would be at it by now
    assert Counter(event["orderId"] for event in broker.wait_for_orders(paid, pair.queue)) == paid
    assert [service.logs().count("elected to publish orders") for service in pair.services] == [1, 0]
    with postgres.connect(pair.ledger) as connection:
        locks = "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid WHERE datname = %s"
        held = connection.execute(f"{locks} AND locktype = 'advisory'", [connection.info.dbname]).fetchone()
        assert held == (1,)


def test_order_is_published_at_once(start_service, new_ledger, broker):
    """Also that of a host which is not elected: it need not wait for the next sweep, which does not come here."""
    settings = new_ledger() | {"PYTHONPATH": f"{Path(__file__).with_name('no_sweep')}:{APP}"}
    elected = start_service("python", **settings)
    wait_until(lambda: was_elected(elected), "the first is elected")
    other = start_service("python", **settings)
    for _ in range(3):
        order_id = other.pay().json()["orderId"]
        assert [event["orderId"] for event in broker.wait_for_orders([order_id], settings["PAYMENT_QUEUE"])] == [
            order_id
        ]


def test_order_that_is_committed_behind_later_ones(pair, broker, postgres):
    """PostgreSQL numbers rows before they are committed. The late one is published while others keep coming."""
    ended = threading.Event()

    def shop_on(service):
        while not ended.is_set():
            assert service.pay().status_code == 200

    with ThreadPoolExecutor(4) as clients, postgres.connect(pair.ledger) as connection:
        try:
            with connection.transaction():
                connection.execute("INSERT INTO outbox (order_id, body, created_at) VALUES ('late', '{}', 0)")
                shopping = [clients.submit(shop_on, service) for service in pair.services * 2]
                time.sleep(1)
            late = "SELECT 1 FROM outbox WHERE order_id = 'late'"
            wait_until(lambda: connection.execute(late).fetchone() is None, "the late one is published")
        finally:
            ended.set()
    for each in shopping:
        each.result()
    assert "late" in [properties.message_id for properties, _ in broker.take_orders(pair.queue)]


def test_connections_ended_by_the_server(pair, broker, postgres):
    """Whatever a client was told at first: in the end it has one order, and what was answered with 200 stays."""
    ended = threading.Event()
    sessions, statuses = {}, Counter()

    def pay(session_id, number):
        while True:
            answer = pair.services[number % 2].pay(session_id)
            number += 1
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                return answer.json()["orderId"]
            # 500: this sandbox does not know what another process charged
            assert answer.status_code in (409, 500, 503), answer.text

    def shop_on(number):
        while not ended.is_set():
            session_id = new_session()
            sessions[session_id] = pay(session_id, number)

    name = pair.ledger.rpartition("/")[2]
    with ThreadPoolExecutor(6) as clients, postgres.connect("postgres") as connection:
        shopping = [clients.submit(shop_on, number) for number in range(6)]
        for _ in range(8):
            time.sleep(0.25)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        ended.set()
    for each in shopping:
        each.result()
    events = broker.wait_for_orders(set(sessions.values()), pair.queue)
    ordered = {(event["sessionId"], event["orderId"]) for event in events if event["sessionId"] in sessions}
    assert ordered == set(sessions.items())
    with postgres.connect(pair.ledger) as connection:
        paid = "SELECT session_id, order_id FROM payments WHERE state = 'paid' AND session_id = ANY(%s)"
        assert sorted(connection.execute(paid, [list(sessions)]).fetchall()) == sorted(sessions.items())


def test_killed_host_is_replaced(start_service, new_ledger, broker):
    settings = new_ledger()
    elected = start_service("uwsgi", **settings)
    wait_until(lambda: was_elected(elected), "the first is elected")
    other = start_service("python", **settings)
    paid = [elected.pay().json()["orderId"]]
    os.killpg(elected.process.pid, signal.SIGKILL)
    elected.process.wait()
    paid.append(other.pay().json()["orderId"])
    wait_until(lambda: was_elected(other), "the other is elected")
    assert {event["orderId"] for event in broker.wait_for_orders(paid, settings["PAYMENT_QUEUE"])} == set(paid)


@pytest.mark.parametrize("runtime", ["uwsgi", "python"])
def test_postgresql_that_is_away(start_service, new_ledger, runtime, broker, own_postgres):
    """At start and later: refused with 503, in time, and back without a restart."""
    postgres = own_postgres
    settings = new_ledger(postgres)
    postgres.stop()
    service = start_service(runtime, **settings)
    paid = []

    def assert_away():
        session_id = new_session()
        with in_time(TIMEOUT):
            assert_unavailable(service.pay(session_id))
        time.sleep(1)  # as old as a report of /health may be
        report = service.get("/health").json()
        assert (report["status"], report["ledger"]) == ("degraded", "disconnected")
        postgres.start()
        answer = wait_until(lambda: (answer := service.pay(session_id)).status_code == 200 and answer, "it is paid")
        paid.append(answer.json()["orderId"])

    assert_away()
    if runtime == "python":
        postgres.stop(immediate=True)
        assert_away()
        postgres.kill()
        assert_away()
    events = broker.wait_for_orders(paid, settings["PAYMENT_QUEUE"])
    # It may come twice: that RabbitMQ has it could not be recorded while the ledger was away.
    assert {event["orderId"] for event in events} == set(paid)
    assert "ledger@123" not in service.logs()


def test_postgresql_that_hangs(start_service, new_ledger, own_postgres):
    service = start_service("python", **new_ledger(own_postgres))
    assert service.pay().status_code == 200
    stopped = own_postgres.pids
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(8) as clients, in_time(TIMEOUT):
            refused = list(clients.map(lambda _: service.pay(), range(8)))
        for answer in refused:
            assert_unavailable(answer)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: service.pay().status_code == 200, "it is paid")
