"""Whatever is sent: an answer of the contract or none, and nothing of it in the gateway, the queue or a log."""

import http.client
import json
import random
import re
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

import hostile
from broker import PASSWORD
from deployments import Gateway, children
from service import PATIENCE, Service, wait_until

SEEDS, COUNT = range(20260131, 20260141), 648  # ten rounds of so many requests
GARBAGE, RESET = 100, 20
FLAT = 1.005  # a leak adds more memory than this in each round; what is kept once for a large body, in some of them


def send(service: Service, request: hostile.Request) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    try:
        connection.putrequest("POST", request.path, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders()
        with suppress(OSError):  # refused before it was read
            connection.send(request.body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def send_garbage(service: Service, data: bytes) -> bytes:
    """What comes back before the connection ends."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return b""


def reset(service: Service, path: str) -> None:
    """Ask, and reset the connection before the answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        client.sendall(head.encode())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def memory(service: Service) -> int:
    """Proportional set size of all processes, in kB."""
    pids = [service.process.pid, *children(service.process.pid)]
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(r"^Pss: +(\d+)", rollup, re.MULTILINE)[1]) for rollup in rollups)


def wrong(request: hostile.Request, status: int, text: str) -> str | None:
    """What is wrong with an answer."""
    if status not in request.statuses:
        return f"{status} instead of {sorted(request.statuses)}"
    if re.search(r"Traceback|Exception|Error\(|\.py|<html", text, re.IGNORECASE):
        return "text of the inside"
    body = json.loads(text)
    if status != 200 and (body["status"] != "error" or not body["message"]):
        return "not an error of the contract"
    if request.field and body.get("field") != request.field:
        return f"names {body.get('field')} instead of {request.field}"
    if request.secret and request.secret in re.sub(r"[ .-]", "", text):
        return "says the card's number"
    return None


@pytest.fixture(scope="module")
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.close()


def test_generated_requests(launch, broker, gateway, log_dir):
    with broker.connection() as connection:
        connection.channel().queue_declare("hostile", durable=True)
    service = launch(
        "uwsgi",
        PAYMENT_GATEWAY=f"sandbox://127.0.0.1:{gateway.port}",
        PAYMENT_QUEUE="hostile",
        PAYMENT_LOG_DIR=log_dir,
        MALLOC_ARENA_MAX=1,  # else each thread that meets a large body for the first time keeps memory of its own
    )
    counted: Counter[tuple[str, int]] = Counter()
    problems: list[str] = []
    kept = []
    for seed in SEEDS:
        asked = hostile.requests(seed, COUNT)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda request: send(service, request), asked))
            list(clients.map(lambda data: send_garbage(service, data), hostile.garbage(seed, GARBAGE)))
        counted.update((request.kind, status) for request, (status, _) in zip(asked, answers, strict=True))
        problems += [
            f"{request}: {problem}: {text}"[:600]
            for request, (status, text) in zip(asked, answers, strict=True)
            if (problem := wrong(request, status, text))
        ]
        kept.append(memory(service))
    left = hostile.card_number(random.Random(SEEDS[0]))
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda path: reset(service, path), [f"/pay/{left}"] * RESET))
        list(clients.map(lambda number: reset(service, f"/pay/reset-{number}"), range(RESET)))
    assert not problems, f"seeds {SEEDS}: {len(problems)} of {len(SEEDS) * COUNT}, such as\n" + "\n".join(problems[:5])

    paid = sum(count for (_, status), count in counted.items() if status == 200)
    charges = {each["order_id"] for each in gateway.charges(0)[0]}
    assert paid <= len(charges) <= paid + RESET, "nothing that was refused may reach the gateway; the reset ones may"
    orders = set()
    wait_until(
        lambda: (
            orders.update(properties.message_id for properties, _ in broker.take_orders("hostile"))
            or orders == {each["order_id"] for each in gateway.charges(0)[0]}
        ),
        "each charge has its order, and nothing else",
    )

    log = service.logs() + (log_dir / "payment.log").read_text()
    digits = re.sub(r"(?<=\d)[ .-](?=\d)", "", log)
    secrets = {left} | {request.secret for seed in SEEDS for request in hostile.requests(seed, COUNT) if request.secret}
    assert [secret for secret in secrets if secret in digits] == []
    assert PASSWORD not in log
    assert not re.search(r"Traceback|hostile-\d|reset-\d", log), "neither a bug nor a session"
    assert len((log_dir / "payment.log").read_text().splitlines()) >= len(SEEDS) * COUNT, "one line for each attempt"
    assert any(later < FLAT * before for before, later in pairwise(kept)), f"memory grew: {kept} kB"
    print(f"{len(SEEDS) * COUNT} requests ({SEEDS}), {paid} paid, memory {kept} kB, {dict(counted)}")
