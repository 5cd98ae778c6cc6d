"""As many requests as the settings allow, and not one more, whichever worker or host they reach."""

import http.client
import itertools
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network

import pytest

from service import PATIENCE, new_session
from skillupworks_payment.counting import LocalCounts
from skillupworks_payment.database import LedgerUnavailable
from skillupworks_payment.errors import PaymentError
from skillupworks_payment.rates import Rates
from skillupworks_payment.settings import Rate
from test_contract import assert_refused

LONG = "120s"  # a window that no test outlives


def statuses(services, session_ids):
    """Counts the answers to a payment of each session, from many clients, on all services in turn."""
    asked = zip(itertools.cycle(services), session_ids, strict=False)
    with ThreadPoolExecutor(16) as clients:
        return Counter(clients.map(lambda each: each[0].pay(each[1], {}).status_code, asked))


def test_thousand_requests_of_one_session(start_service, runtime):
    """The count survives a restart, and another session is not concerned."""
    service = start_service(runtime, PAYMENT_RATE_SESSION=f"30/{LONG}")
    session_id = new_session()
    assert statuses([service], [session_id] * 25) == {200: 25}
    service.stop()
    service.start()
    service.wait_until_alive()
    began = time.monotonic()
    assert statuses([service], [session_id] * 975) == {200: 5, 429: 970}
    print(f"975 requests in {time.monotonic() - began:.1f} s")
    assert service.pay().status_code == 200


def test_all_sessions_of_one_client(start_service):
    """It is no trusted proxy, and says nothing of others."""
    service = start_service("uwsgi", PAYMENT_RATE_CLIENT=f"50/{LONG}")
    with ThreadPoolExecutor(16) as clients:
        others = [{"X-Forwarded-For": f"192.0.2.{each}"} for each in range(200)]
        answers = Counter(clients.map(lambda headers: service.pay(None, {}, headers=headers).status_code, others))
    assert answers == {200: 50, 429: 150}
    for path in ("/live", "/health", "/metrics", "/openapi.json"):
        assert service.get(path).status_code == 200


def test_hosts_with_one_ledger(start_service, postgres):
    url = postgres.create_database()
    limits = {"PAYMENT_RATE_SESSION": f"30/{LONG}", "PAYMENT_RATE_CLIENT": f"60/{LONG}"}
    services = [start_service("uwsgi", PAYMENT_LEDGER_URL=url, **limits) for _ in range(2)]
    session_id = new_session()
    assert statuses(services, [session_id] * 55) == {200: 30, 429: 25}
    assert statuses(services, [new_session() for _ in range(40)]) == {200: 5, 429: 35}


def test_refusal_says_when_to_try_again(start_service):
    service = start_service("uwsgi", PAYMENT_RATE_SESSION="2/4s")  # three requests take hundredths
    session_id = new_session()
    assert statuses([service], [session_id] * 2) == {200: 2}
    response = service.pay(session_id)
    assert_refused(response, 429)
    assert response.headers["Retry-After"] in ("1", "2", "3", "4")
    time.sleep(int(response.headers["Retry-After"]))
    assert service.pay(session_id).status_code == 200
    assert '"reason": "session_rate_limited"' in service.logs()


def test_refused_before_anything_is_asked(start_service):
    """Also of what cannot be paid: nothing listens where Cart and User should be."""
    service = start_service("uwsgi", CART_PORT=1, USER_PORT=1, PAYMENT_RATE_SESSION=f"5/{LONG}")
    assert statuses([service], [new_session()] * 20) == {503: 5, 429: 15}


def test_who_is_behind_a_trusted_proxy(start_service, runtime):
    """It tells who came to it, whatever these say themselves: before what it writes, or in a line of their own.

    A proxy may add a line to the client's, as HAProxy does: the last one is the proxy's.
    """
    service = start_service(runtime, PAYMENT_RATE_CLIENT=f"5/{LONG}", PAYMENT_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8")

    def status(*forwarded_for):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
        connection.putrequest("POST", f"/pay/{new_session()}")
        for line in forwarded_for:
            connection.putheader("X-Forwarded-For", line)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"{}")
        answered = connection.getresponse().status
        connection.close()
        return answered

    for client in ("192.0.2.1", "192.0.2.2"):
        forged = [status(f"198.51.100.{each}, {client}, 10.1.2.3") for each in range(10)]
        assert Counter(forged) == {200: 5, 429: 5}
    assert Counter(status(f"198.51.100.{each}", "192.0.2.3") for each in range(10)) == {200: 5, 429: 5}


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("10.0.0.5", "", "10.0.0.5"),
        ("10.0.0.5", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", "198.51.100.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.5", "198.51.100.1,10.0.0.6", "198.51.100.1"),
        ("10.0.0.5", "10.0.0.7, 10.0.0.6", "10.0.0.7"),
        ("10.0.0.5", "198.51.100.1, unknown", "10.0.0.5"),
        ("10.0.0.5", "198.51.100.1, ", "10.0.0.5"),
        ("10.0.0.5", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.5", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("10.0.0.5", "2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", "", ""),
    ],
)
def test_who_the_client_is(peer, forwarded_for, client):
    rates = Rates(None, session=None, client=None, trusted_proxies=(ip_network("10.0.0.0/24"),))
    assert rates.client(peer, forwarded_for) == client


def requests(counts, key, seconds=60.0):
    return counts.count({key: seconds})[key].requests


def test_windows_begin_with_their_first_request_and_end(tmp_path, monkeypatch):
    counts = LocalCounts(str(tmp_path / "rates"))
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [requests(counts, "a") for _ in range(3)] == [1, 2, 3]
    now = 1059.9
    both = counts.count({"a": 60.0, "b": 60.0})
    assert (both["a"].requests, both["b"].requests) == (4, 1)
    assert both["a"].seconds_left == pytest.approx(0.1)
    now = 1060.0
    assert (requests(counts, "a"), requests(counts, "b")) == (1, 2)
    now = 5.0  # the host was booted
    assert (requests(counts, "a"), requests(counts, "b")) == (1, 1)


def test_old_windows_are_removed(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    counts = LocalCounts(str(tmp_path / "rates"))
    for number in range(10):
        requests(counts, f"old-{number}")
    now = 1100.0
    requests(counts, "new")
    assert sqlite3.connect(tmp_path / "rates").execute("SELECT key FROM rates").fetchall() == [("new",)]


def test_a_file_that_cannot_be_used_lets_payments_through(start_service, tmp_path):
    (tmp_path / "ledger.db-rates").mkdir()
    service = start_service(
        "uwsgi", PAYMENT_LEDGER_URL=f"sqlite:///{tmp_path}/ledger.db", PAYMENT_RATE_SESSION=f"1/{LONG}"
    )
    assert statuses([service], [new_session()] * 20) == {200: 20}
    assert "requests cannot be counted, payments go on without limits" in service.logs()


@pytest.mark.parametrize("spoilt", [b"no database at all" * 300, None])
def test_a_spoilt_file_is_made_anew(tmp_path, spoilt):
    path = tmp_path / "rates"
    if spoilt:
        path.write_bytes(spoilt)
    else:
        counts = LocalCounts(str(path))
        for number in range(2000):
            requests(counts, f"key-{number}")
        counts._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        counts._connection.close()
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * 20_000 + content[24_096:])
    counts = LocalCounts(str(path))
    counts.prepare()
    assert [requests(counts, "a") for _ in range(2)] == [1, 2]


def test_a_ledger_that_cannot_be_used_is_told_as_for_any_payment():
    class Away:
        def count(self, windows):
            raise LedgerUnavailable("away")

    rates = Rates(Away(), session=Rate(1, 1), client=None, trusted_proxies=())
    with pytest.raises(PaymentError) as raised:
        rates.check("demo-1", "192.0.2.1", "")
    assert (raised.value.status, raised.value.reason) == (503, "ledger_unavailable")
