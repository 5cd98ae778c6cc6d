"""Every payment attempt leaves one line in the log, with nothing in it that could be misused."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("session_id", "body", "expected"),
    [
        ("demo-logged-1", {}, {"amount": 1999, "outcome": "success", "reason": "paid"}),
        ("demo-logged", {"total": 1}, {"amount": None, "outcome": "refused", "reason": "invalid_request"}),
        ("empty-logged", {}, {"amount": None, "outcome": "refused", "reason": "empty_cart"}),
        ("unknown-logged", {}, {"amount": None, "outcome": "refused", "reason": "unknown_session"}),
        ("a%20b", {}, {"amount": None, "outcome": "refused", "reason": "invalid_request"}),
    ],
)
def test_line_of_an_attempt(service, session_id, body, expected):
    response = service.pay(session_id, body)
    answer = response.json()
    line = json.loads(service.logs().splitlines()[-1])
    assert line.pop("duration_ms") >= 0
    assert line.pop("time").endswith("Z")
    assert re.fullmatch("[0-9a-f]{32}", line.pop("trace_id"))
    assert re.fullmatch("[0-9a-f]{16}", line.pop("span_id"))
    plain_id = session_id.replace("%20", " ")
    assert line == expected | {
        "level": "INFO",
        "logger": "skillupworks_payment.attempts",
        "message": "payment attempt",
        "request_id": response.headers["X-Request-Id"],
        "order_id": answer.get("orderId"),
        "session": hashlib.sha256(plain_id.encode()).hexdigest()[:16],
    }
    assert plain_id not in service.logs()


def test_log_file_of_all_workers_through_a_rotation(start_service, runtime, log_dir):
    service = start_service(runtime, PAYMENT_LOG_DIR=log_dir)
    rotated = log_dir / "payment.log.1"
    with ThreadPoolExecutor(12) as clients:
        first = list(clients.map(lambda _: service.pay(), range(100)))
        (log_dir / "payment.log").rename(rotated)
        second = list(clients.map(lambda _: service.pay(), range(100)))
    assert {line["order_id"] for line in lines(rotated)} == {answer.json()["orderId"] for answer in first}
    assert {line["order_id"] for line in lines(log_dir / "payment.log")} == {
        answer.json()["orderId"] for answer in second
    }
