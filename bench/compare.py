#!/usr/bin/env python3
"""The service beside a peer and two floors, measured in turns in one run: `make bench PEER=folder`.

The peer is any WSGI application `payment:app` that takes the same request. The floors are a Flask application that does
nothing, and what the slots could do at best: each pays, and waits twice for an upstream, without a pause.

Every figure is the median of the rounds. results/bench.json has them all, results/bench-*.svg show some.
"""

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import applications
import charts
import clients
import processes
from applications import ADDRESS, CACHE, PEER_EXCHANGE, PEER_QUEUE, ROOT, Application

from broker import Broker  # of tests/app

LATENCIES, CONNECTIONS = (0, 5, 20), (1, 8, 32)
GUIDE = {"payment_processes": 4, "payment_threads": 2}
HOPS = 2  # Cart and User are asked at the same time, then the gateway
WARM_UP = 0.3  # seconds before each window
PATIENCE = 2  # seconds without an order after which none is waited for any more


@dataclass
class Row:
    """One window, or the medians of some. `unmatched` counts payments answered 200 without an order in the queue."""

    app: str
    settings: str
    latency_ms: int
    connections: int
    rps: float | None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_ms: float | None = None
    pss_mb: float | None = None
    errors: int = 0
    unmatched: int = 0
    upstream_calls: float | None = None


class Stub:
    """stub.py in a process of its own."""

    def __init__(self) -> None:
        program = applications.BENCH / "stub.py"
        self.process = subprocess.Popen([sys.executable, program, ADDRESS, "8080"])

    def set_latency(self, milliseconds: int) -> None:
        self._ask("PUT", "/latency", str(milliseconds / 1000))

    def calls(self) -> int:
        return self._ask("GET", "/calls")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _ask(self, method: str, path: str, body: str | None = None) -> object:
        connection = http.client.HTTPConnection(ADDRESS, 8080, timeout=5)
        connection.request(method, path, body)
        document = json.loads(connection.getresponse().read())
        connection.close()
        return document


@contextmanager
def neighbours() -> Iterator[tuple[Path, Stub, Broker]]:
    """A folder on disk, the upstreams and a RabbitMQ."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as name, ExitStack() as stack:
        folder = Path(name)
        stub = Stub()
        stack.callback(stub.stop)
        (folder / "broker").mkdir()
        broker = Broker(folder / "broker", ADDRESS, 5672)
        stack.callback(broker.stop)
        with broker.connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(PEER_EXCHANGE, "direct", durable=True)
            channel.queue_declare(PEER_QUEUE, durable=True)
            channel.queue_bind(PEER_QUEUE, PEER_EXCHANGE, "orders")
        yield folder, stub, broker


def measure(app: Application, stub: Stub, broker: Broker, latency: int, connections: int, seconds: float) -> Row:
    """One window."""
    stub.set_latency(latency)
    warm = clients.pay(app.service.port, connections, WARM_UP)
    pids = processes.tree(app.service.process.pid)
    calls, cpu, began = stub.calls(), processes.cpu_seconds(pids), time.perf_counter()
    seen = clients.pay(app.service.port, connections, seconds)
    elapsed = time.perf_counter() - began
    cpu, calls, pss = processes.cpu_seconds(pids) - cpu, stub.calls() - calls, processes.pss_mb(pids)
    paid = len(seen.seconds) or 1
    times = sorted(seen.seconds) or [0.0]
    return Row(
        app.name,
        app.settings,
        latency,
        connections,
        rps=len(seen.seconds) / elapsed,
        p50_ms=1000 * statistics.median(times),
        p99_ms=1000 * times[int(0.99 * (len(times) - 1))],
        cpu_ms=1000 * cpu / paid,
        pss_mb=pss,
        errors=seen.errors + warm.errors,
        unmatched=len(unmatched(broker, app.queue, warm.order_ids + seen.order_ids)) if app.queue else 0,
        upstream_calls=calls / paid,
    )


def unmatched(broker: Broker, queue: str, order_ids: list[str]) -> set[str]:
    """Takes the orders out of the queue; which of the ids have none."""
    missing = set(order_ids)
    with broker.connection() as connection:
        channel = connection.channel()
        for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE):
            if method:
                order = json.loads(body)
                missing.discard(order.get("orderId") or order.get("orderid"))
            if not method or not missing:
                break
        channel.cancel()
    return missing


def ideal(app: Application, latency: int, connections: int) -> Row:
    slots = min(app.slots, connections)
    return Row("ideal", app.settings, latency, connections, 1000 * slots / (HOPS * latency) if latency else None)


def medians(rows: list[Row]) -> Row:
    """One row of those of all rounds; errors and unmatched orders add up."""

    def figure(name: str) -> float:
        return round(statistics.median(getattr(row, name) for row in rows), 2)

    first = rows[0]
    return Row(
        *(first.app, first.settings, first.latency_ms, first.connections),
        **{name: figure(name) for name in ("rps", "p50_ms", "p99_ms", "cpu_ms", "pss_mb", "upstream_calls")},
        errors=sum(row.errors for row in rows),
        unmatched=sum(row.unmatched for row in rows),
    )


def start(peer: Path | None, folder: Path, stack: ExitStack) -> list[Application]:
    """All applications, alive."""
    apps = [
        applications.ours(folder / "guide", **GUIDE),
        applications.ours(folder / "tuned"),
        applications.floor(folder / "floor", **GUIDE),
    ]
    if peer:
        apps.append(applications.peer(peer, folder / "peer", **GUIDE))
    for app in apps:
        stack.callback(app.service.kill)  # nothing more is asked of it
    for app in apps:
        app.service.wait_until_alive()
    return apps


def compare(peer: Path | None, rounds: int, seconds: float, latencies: list[int], connections: list[int]) -> list[Row]:
    windows: dict[tuple, list[Row]] = defaultdict(list)
    with neighbours() as (folder, stub, broker), ExitStack() as stack:
        apps = start(peer, folder, stack)
        for number in range(rounds):
            for latency in latencies:
                for count in connections:
                    for app in apps[number % len(apps) :] + apps[: number % len(apps)]:
                        row = measure(app, stub, broker, latency, count, seconds)
                        windows[latency, count, app.name, app.settings].append(row)
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr, flush=True)
    ceilings = [ideal(app, *each) for app in apps[:2] for each in itertools.product(latencies, connections)]
    return sorted(
        [medians(rows) for rows in windows.values()] + ceilings, key=lambda row: (row.latency_ms, row.connections)
    )


def table(rows: list[Row]) -> str:
    columns = ["app", "settings", "latency_ms", "connections", "rps", "p50_ms", "p99_ms", "cpu_ms", "pss_mb"]
    columns += ["errors", "unmatched", "upstream_calls"]
    cells = [columns, *([_cell(getattr(row, column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def draw(rows: list[Row], latencies: list[int], connections: list[int]) -> None:
    """Payments a second and the median of the waiting times, for each number of connections."""
    found = {(row.app, row.settings, row.latency_ms, row.connections): row for row in rows}
    names = [key for key in dict.fromkeys((row.app, row.settings) for row in rows) if key[0] != "flask"]
    groups = [f"{latency} ms upstream" for latency in latencies]
    for figure, title in (("rps", "payments a second"), ("p50_ms", "median of the waiting time, ms")):
        for count in connections:
            series = {
                " ".join(name): [getattr(found[*name, latency, count], figure) for latency in latencies]
                for name in names
                if figure == "rps" or name[0] != "ideal"
            }
            file = ROOT / f"results/bench-{figure}-{count}.svg"
            charts.bars(file, f"{title}, {count} connections", groups, series)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="the folder of a WSGI application payment:app")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each window is")
    parser.add_argument("--latency", type=int, nargs="+", default=LATENCIES, help="of the upstreams, in ms")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS, help="clients at a time")
    given = parser.parse_args()
    rows = compare(given.peer, given.rounds, given.seconds, given.latency, given.connections)
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/bench.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    draw(rows, given.latency, given.connections)
    print(table(rows))


if __name__ == "__main__":
    main()
