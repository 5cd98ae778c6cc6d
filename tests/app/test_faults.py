"""What happens when a service behind this one is away, hangs or talks nonsense: nobody is charged without an order."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ports import dripping, free_port, hanging
from service import in_time
from test_contract import assert_refused

UPSTREAM_TIMEOUT, HEALTH_TIMEOUT = 0.5 + 2.0, 1.2  # seconds: to connect and to read, by default; of a question


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
        with in_time(UPSTREAM_TIMEOUT):
            assert_unavailable(service.pay())
        with in_time(HEALTH_TIMEOUT):
            report = service.get("/health").json()
        other = {"CART_PORT": "user", "USER_PORT": "cart"}[upstream]
        assert (report["status"], report[upstream[:4].lower()], report[other]) == (
            "degraded",
            "disconnected",
            "connected",
        )


def test_upstream_that_drips(start_service):
    with dripping(b"X-Header: more to come\r\n") as port:
        service = start_service("python", USER_PORT=port)
        with in_time(UPSTREAM_TIMEOUT):
            assert_unavailable(service.pay())


def test_scraper_storm_on_hanging_dependencies(start_service, runtime):
    """Every answer comes in time, and threads do not pile up."""
    with hanging() as port:
        service = start_service(runtime, CART_PORT=port, USER_PORT=port, PAYMENT_AMQP_PORT=port, PAYMENT_THREADS=8)

        def scrape(_):
            with in_time(HEALTH_TIMEOUT):
                assert service.get("/health").json()["status"] == "degraded"

        with ThreadPoolExecutor(8) as scrapers:
            list(scrapers.map(scrape, range(40)))
        # 64 of them for requests, and some that each process has in any case; one more for each question to each of the
        # three that hang would be 120. How fast the machine is does not matter.
        threads = threads_of(service.process.pid)
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


def test_broker_that_is_away(start_service, runtime, broker, gate):
    """Payments go on, and it is seen in /health; the orders follow when it is back, without a restart."""
    gate.close()
    service = start_service(runtime, PAYMENT_AMQP_PORT=gate.port, PAYMENT_QUEUE=f"away-{runtime}")
    paid = [service.pay().json()["orderId"] for _ in range(10)]
    assert service.get("/health").json()["rabbitmq"] == "disconnected"
    assert_refused(service.pay("empty-1", {}), 400, message="Cart is empty")
    assert counter(service, "payment_outbox_orders") == 10
    gate.open()
    assert [event["orderId"] for event in broker.wait_for_orders(paid, f"away-{runtime}")] == paid


def test_broker_that_hangs(start_service):
    with hanging() as port:
        service = start_service("python", PAYMENT_AMQP_PORT=port)
        with in_time(0):
            assert service.pay().status_code == 200


def test_wrong_broker_password(start_service):
    service = start_service("python", AMQP_PASS="wrong")
    assert service.pay().status_code == 200
    report = service.get("/health").json()
    assert (report["status"], report["rabbitmq"]) == ("degraded", "disconnected")
