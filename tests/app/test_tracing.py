"""Requests can be followed: by their id in the log, and by their trace through the services behind."""

import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from service import new_session, wait_until
from skillupworks_payment import tracing
from test_contract import assert_refused

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Recorder(ThreadingHTTPServer):
    """Cart and User in one: what it is asked, and when."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.asked = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class RecorderHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers.items()), time.monotonic()))
        item = {"sku": "pen", "qty": 1, "price": 5, "subtotal": 5}
        body = json.dumps({"total": 5, "tax": 0, "items": [item]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        pass


@pytest.fixture
def neighbours():
    server = Recorder()
    yield server
    server.shutdown()
    server.server_close()


def line_of(service, request_id):
    lines = [json.loads(line) for line in service.logs().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == request_id]
    return line


def test_the_trace_goes_on_to_cart_and_user_and_with_the_order(start_service, neighbours, broker, runtime):
    queue = f"traced-{runtime}"
    service = start_service(runtime, CART_PORT=neighbours.port, USER_PORT=neighbours.port, PAYMENT_QUEUE=queue)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=7, other=8", "X-Request-Id": "asked-1"}
    response = service.pay("traced-1", {}, headers=headers)
    assert response.status_code == 200
    line = line_of(service, "asked-1")
    assert (line["trace_id"], line["order_id"]) == (TRACE, response.json()["orderId"])
    assert line["span_id"] != PARENT

    ours = f"00-{TRACE}-{line['span_id']}-01"
    assert sorted(path for path, _, _ in neighbours.asked) == ["/cart/traced-1", "/check/traced-1"]
    assert [(sent["traceparent"], sent["tracestate"]) for _, sent, _ in neighbours.asked] == [
        (ours, "vendor=7, other=8")
    ] * 2
    ((properties, _),) = wait_until(lambda: broker.take_orders(queue), "the order")
    assert properties.headers == {"traceparent": ours}


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0x",
    ],
)
def test_what_is_no_trace_begins_a_new_one(header):
    trace = tracing.from_headers(header, "vendor=7")
    assert trace.trace_id != TRACE
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace.traceparent)
    assert trace.state == ""


@pytest.mark.parametrize(
    ("header", "flags"),
    [(f"00-{TRACE}-{PARENT}-00", "00"), (f"00-{TRACE}-{PARENT}-03", "01"), (f"cc-{TRACE}-{PARENT}-01-what", "01")],
)
def test_what_is_one_is_continued_by_another_span(header, flags):
    first, second = (tracing.from_headers(header, "") for _ in range(2))
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-{flags}", first.traceparent)
    assert PARENT not in first.traceparent
    assert first.span_id != second.span_id
    assert "tracestate" not in first.headers()


@pytest.mark.parametrize("state", ["", "é=1", "a=1\r\nb: 2", "a" * 513, "card=4111111111111111"])
def test_state_that_does_not_go_on(state):
    trace = tracing.from_headers(f"00-{TRACE}-{PARENT}-01", state)
    assert (trace.trace_id, trace.state) == (TRACE, "")


@pytest.mark.parametrize("path", ["/live", "/health", "/metrics", "/openapi.json", "/nothing"])
def test_every_answer_has_the_requests_id(service, path):
    assert service.get(path, headers={"X-Request-Id": "a-1/b:2"}).headers["X-Request-Id"] == "a-1/b:2"
    made = {service.get(path).headers["X-Request-Id"] for _ in range(2)}
    assert len(made) == 2


@pytest.mark.parametrize("given", ["", "a b", "é", "a" * 129, "-a", "4111111111111111", "<script>"])
def test_id_that_cannot_be_one(uwsgi, given):
    headers = {"X-Request-Id": given.encode()}
    answered = uwsgi.get("/live", headers=headers).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_refused_requests_can_be_found_as_well(service):
    response = service.pay("demo-1", {"total": 1}, headers={"X-Request-Id": f"refused-{new_session()}"})
    assert_refused(response, 400, field="total")
    line = line_of(service, response.headers["X-Request-Id"])
    assert (line["reason"], line["order_id"]) == ("invalid_request", None)


def test_the_journal_has_an_object_a_line(service):
    service.pay()
    ours = [line for line in service.logs().splitlines() if "skillupworks_payment" in line]
    assert ours
    assert all({"time", "level", "logger", "message"} <= json.loads(line).keys() for line in ours)
