"""/health asks the neighbours at most once a second, whoever asks it how often, and tells of all that it hears."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

from service import wait_until
from test_tracing import Recorder


def test_one_probe_a_second_for_all_workers(start_service, runtime):
    neighbours = Recorder()
    service = start_service(runtime, CART_PORT=neighbours.port)

    def probes():
        return [when for path, _, when in neighbours.asked if path == "/health"]

    with ThreadPoolExecutor(8) as clients:
        while len(probes()) < 3:
            reports = list(clients.map(lambda _: service.get("/health").json(), range(40)))
            assert {report["cart"] for report in reports} == {"connected"}
    # Noted before it is answered, and a report's second begins with the answers: a slow machine only makes it longer.
    assert all(later - before >= 1 for before, later in itertools.pairwise(probes()))
    neighbours.shutdown()
    neighbours.server_close()

    wait_until(lambda: service.get("/health").json()["cart"] != "connected", "it is seen that the cart is away")


def test_a_price_is_never_remembered(start_service, put_cart):
    """Each payment is for the cart as it is then."""
    service = start_service("uwsgi")
    session_id = "priced"
    for price in (5, 7):
        item = {"sku": "pen", "name": "pen", "qty": 1, "price": price, "subtotal": price}
        put_cart({"total": price, "tax": 0, "items": [item]}, session_id)
        assert json.loads(service.pay(session_id, {}).text, parse_float=str)["amount"] == price
