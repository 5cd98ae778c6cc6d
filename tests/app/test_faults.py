"""What happens when a service behind this one is away, hangs or talks nonsense: nobody is charged without an order."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ports import dripping, free_port, hanging
from test_contract import assert_refused


@pytest.fixture
def away(broker):
    broker.suspend()
    yield broker
    broker.resume()


def counter(service, name):
    """The sum of a Prometheus counter over its labels."""
    text = service.get("/metrics", headers={"Accept": "text/plain"}).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + "{", name + " ")))


def assert_unavailable(response):
    assert_refused(response, 503)
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("runtime", "upstream"), [("uwsgi", "CART_PORT"), ("python", "USER_PORT")])
def test_upstream_that_hangs(start_service, runtime, upstream):
    with hanging() as port:
        service = start_service(runtime, **{upstream: port})
        began = time.monotonic()
        assert_unavailable(service.pay())
        assert time.monotonic() - began < 3

        began = time.monotonic()
        report = service.get("/health").json()
        assert time.monotonic() - began < 2
        other = {"CART_PORT": "user", "USER_PORT": "cart"}[upstream]
        assert (report["status"], report[upstream[:4].lower()], report[other]) == (
            "degraded",
            "disconnected",
            "connected",
        )


def test_upstream_that_drips(start_service):
    with dripping(b"X-Header: more to come\r\n") as port:
        service = start_service("python", USER_PORT=port)
        began = time.monotonic()
        assert_unavailable(service.pay())
        assert time.monotonic() - began < 3


def test_scraper_storm_on_hanging_dependencies(start_service, runtime):
    """Every answer comes in time, and threads do not pile up."""
    with hanging() as port:
        service = start_service(runtime, CART_PORT=port, USER_PORT=port, PAYMENT_AMQP_PORT=port, PAYMENT_THREADS=8)

        def timed(_):
            began = time.monotonic()
            assert service.get("/health").json()["status"] == "degraded"
            return time.monotonic() - began

        with ThreadPoolExecutor(8) as scrapers:
            times = list(scrapers.map(timed, range(40)))
        assert max(times) < 2
        threads = threads_of(service.process.pid)  # 64 of them for requests
        assert threads < 140, f"{threads} threads"


def threads_of(session):
    """How many threads the processes of a session have."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[17])
    return total


def test_upstream_that_is_not_there(start_service):
    service = start_service("python", USER_PORT=free_port())
    assert_unavailable(service.pay())
    assert service.get("/health").json()["user"] == "disconnected"
    assert counter(service, "payment_upstream_errors_total") == 1


@pytest.mark.parametrize(
    "cart",
    [
        {"total": 1, "items": [{"sku": "a", "qty": 1, "price": 2, "subtotal": 2}]},
        {"total": 1, "items": [{"sku": "a", "qty": 1, "price": 2, "subtotal": 1}]},
        {"total": 0, "items": [{"sku": "a", "qty": 1, "price": 0, "subtotal": 0}]},
        {"total": -1, "items": [{"sku": "a", "qty": 1, "price": -1, "subtotal": -1}]},
        {"total": 1, "items": [{"sku": "a", "qty": 0, "price": 1, "subtotal": 1}]},
        {"total": 1.005, "items": [{"sku": "a", "qty": 1, "price": 1.005, "subtotal": 1.005}]},
        {"total": "1", "items": [{"sku": "a", "qty": 1, "price": 1, "subtotal": 1}]},
        {"total": float("nan"), "items": [{"sku": "a", "qty": 1, "price": 1, "subtotal": 1}]},
        {"items": [{"sku": "a", "qty": 1, "price": 1, "subtotal": 1}]},
        {"total": 1, "items": [{"sku": "a"}]},
        ["not a cart"],
    ],
)
def test_cart_that_cannot_be_charged(uwsgi, shop, put_cart, cart):
    assert_unavailable(uwsgi.pay(put_cart(cart), {}))


def test_gateway_that_declines(start_service, broker):
    broker.take_orders()
    service = start_service("python", PAYMENT_GATEWAY="sandbox://decline")
    response = service.pay()
    assert response.status_code == 500
    assert response.json() == {
        "status": "error",
        "message": "Payment processing failed",
        "error": "Payment declined",
    }
    assert broker.take_orders() == []


def test_gateway_that_times_out(start_service, broker):
    broker.take_orders()
    service = start_service("python", PAYMENT_GATEWAY="sandbox://timeout", PAYMENT_GATEWAY_TIMEOUT=0.3)
    response = service.pay()
    assert response.status_code == 500
    assert response.json() == {"status": "error", "message": "Payment processing failed", "error": "Gateway timeout"}
    assert broker.take_orders() == []


def test_broker_that_is_away(start_service, runtime, away):
    """Payments go on, and it is seen in /health; the orders follow when it is back, without a restart."""
    service = start_service(runtime)
    paid = [service.pay().json()["orderId"] for _ in range(10)]
    assert service.get("/health").json()["rabbitmq"] == "disconnected"
    assert_refused(service.pay("empty-1", {}), 400, message="Cart is empty")
    assert counter(service, "payment_outbox_orders") == 10
    away.resume()
    assert [event["orderId"] for event in away.wait_for_orders(paid)][-10:] == paid


def test_broker_that_hangs(start_service):
    with hanging() as port:
        service = start_service("python", PAYMENT_AMQP_PORT=port)
        began = time.monotonic()
        assert service.pay().status_code == 200
        assert time.monotonic() - began < 1


def test_wrong_broker_password(start_service):
    service = start_service("python", AMQP_PASS="wrong")
    assert service.pay().status_code == 200
    report = service.get("/health").json()
    assert (report["status"], report["rabbitmq"]) == ("degraded", "disconnected")
