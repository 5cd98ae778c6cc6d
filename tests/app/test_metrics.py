"""The figures are those of the whole service, whichever worker is asked."""

import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import wait_until
from skillupworks_payment import metrics

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


def figures(service):
    """The counts of ten scrapes: total, successful, failed, rate."""
    scrapes = [list(service.get("/metrics").json().values())[:4] for _ in range(10)]
    assert all(scrape == scrapes[0] for scrape in scrapes), scrapes
    return scrapes[0]


def seconds(service):
    """How long the service says that it has been up."""
    minutes, seconds = re.fullmatch(r"(\d+)m (\d+)s", service.get("/metrics").json()["uptime"]).groups()
    return 60 * int(minutes) + int(seconds)


def workers(service):
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def test_exact_over_all_workers_and_their_deaths(start_service, runtime):
    service = start_service(runtime)
    assert re.fullmatch(r"\d+m \d+s", service.get("/metrics").json()["uptime"])
    assert figures(service) == [0, 0, 0, "100%"]

    sessions = [f"demo-{number}" for number in range(140)] + ["empty-1"] * 40 + ["unknown-1"] * 20
    with ThreadPoolExecutor(12) as clients:
        statuses = Counter(clients.map(lambda session_id: service.pay(session_id).status_code, sessions))
    assert statuses == {200: 140, 400: 40, 401: 20}
    assert figures(service) == [200, 140, 60, "70%"]

    text = service.get("/metrics", headers={"Accept": PROMETHEUS}).text
    for outcome, reason, count in [
        ("success", "paid", 140),
        ("refused", "empty_cart", 40),
        ("refused", "unknown_session", 20),
    ]:
        assert f'payment_attempts_total{{outcome="{outcome}",reason="{reason}"}} {count}.0' in text
    assert 'payment_duration_seconds_count{outcome="success"} 140.0' in text
    assert 'payment_upstream_duration_seconds_count{upstream="gateway"} 140.0' in text

    if runtime == "uwsgi":
        time.sleep(1)  # so that an uptime that started anew would show
        uptime = seconds(service)
        before = workers(service)
        assert len(before) == 4
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(workers(service)) == 4 and before[0] not in workers(service), "another worker")
        assert figures(service) == [200, 140, 60, "70%"]
        uptimes = [seconds(service) for _ in range(10)]
        assert uptime <= uptimes[0]
        assert uptimes == sorted(uptimes)
        assert service.pay().status_code == 200
        assert figures(service) == [201, 141, 60, "70%"]


def test_a_worker_that_has_just_made_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for kind in ("counter", "histogram", "gauge_livemax"):
        (tmp_path / f"{kind}_{os.getpid()}.db").touch()
    assert metrics.summary()["total_payments"] == 0


def test_the_state_of_a_killed_worker_is_forgotten_and_what_it_counted_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    dead = 2**22 + 1  # above any pid
    files = [tmp_path / f"{kind}_{dead}.db" for kind in ("counter", "gauge_livemax")]
    for file in files:
        file.touch()
    metrics.summary()
    assert [file.exists() for file in files] == [True, False]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/plain, */*", "text/html"])
def test_json_for_people(uwsgi, accept):
    response = uwsgi.get("/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"] == "application/json"
    assert "total_payments" in response.json()


@pytest.mark.parametrize("accept", [PROMETHEUS, "text/plain", "text/plain;version=0.0.4"])
def test_text_for_a_scraper(service, accept):
    service.pay()  # a histogram is there from its first value on
    response = service.get("/metrics", headers={"Accept": accept})
    kind = "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    assert response.headers["Content-Type"].startswith(kind)
    assert "# TYPE payment_duration_seconds histogram" in response.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m 0s"), (59.9, "0m 59s"), (330, "5m 30s"), (3600, "1h 0m"), (9000, "2h 30m"), (93600, "1d 2h")],
)
def test_uptime(seconds, text):
    assert metrics.uptime(seconds) == text
