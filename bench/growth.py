#!/usr/bin/env python3
"""What a large ledger and a large outbox cost: `make bench LONG=1` runs it after the comparison.

A payment with PAYMENTS in the ledger beside one with none, in turns; and how fast ORDERS leave the outbox, for a
classic queue. Both are filled by SQL. The figures are in results/bench_growth.json.
"""

import json
import os
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path

import applications
from applications import APP, ROOT, Application
from compare import GUIDE, Row, measure, medians, neighbours, table

PAYMENTS, ORDERS = 1_000_000, 100_000
CLAIMS = 50_000  # those of the last day; older ones are forgotten
ROUNDS, SECONDS = 5, 2.0

_PAYMENTS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO payments (order_id, session_id, amount, currency, state, payment_id, claim, draft, response_status,
                      response_body, created_at, finished_at, checks, traceparent)
SELECT printf('ORD-%013d%012d', :now * 1000 - n * 1000, n), printf('filled-%d', n), 209900, 'INR', 'paid',
       printf('pay_%d', n), printf('cart:%064d', n), :draft, 200, :body, :now - n, :now - n + 1, 0, :traceparent
FROM numbers"""
_CLAIMS = """
INSERT INTO claims (name, order_id, request_hash)
SELECT claim, order_id, substr(claim, 6) FROM payments ORDER BY created_at DESC LIMIT :count"""
_OUTBOX = """
INSERT INTO outbox (order_id, body, created_at)
SELECT order_id, json_set(:body, '$.orderId', order_id), created_at FROM payments ORDER BY created_at"""


def fill(ledger: Path, payments: int, *, unpublished: bool) -> None:
    """Make a ledger with so many payments, whose orders are still to be published or have been."""
    sys.path.append(str(APP))
    from skillupworks_payment import database

    database.from_url(f"sqlite:///{ledger}").migrate()
    event = json.dumps({"orderId": "", "sessionId": "filled", "items": [{"sku": "Linux", "qty": 1}] * 3})
    values = {"count": payments, "now": int(time.time()), "draft": event, "body": event, "traceparent": f"00-{1:032x}"}
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_PAYMENTS, values)
        connection.execute(_CLAIMS, {"count": min(payments, CLAIMS)})
        if unpublished:
            connection.execute(_OUTBOX, {"body": event})
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.sync()  # else the disk is still busy with it when payments are measured


def with_ledger(folder: Path, payments: int) -> Application:
    """The service on a ledger with so many payments."""
    app = applications.ours(folder, prepare=lambda: fill(folder / "ledger.db", payments, unpublished=False), **GUIDE)
    return replace(app, settings=f"{app.settings} {payments}")


def ledger() -> list[Row]:
    """A row for an empty ledger and one for a large one."""
    with neighbours() as (folder, stub, broker), ExitStack() as stack:
        apps = [with_ledger(folder / str(count), count) for count in (0, PAYMENTS)]
        for app in apps:
            stack.callback(app.service.stop)
            app.service.wait_until_alive()
        rows: dict[str, list[Row]] = {app.settings: [] for app in apps}
        for number in range(ROUNDS):
            for app in apps[:: 1 if number % 2 else -1]:
                rows[app.settings].append(measure(app, stub, broker, 0, 8, SECONDS))
    return [medians(each) for each in rows.values()]


def outbox() -> dict[str, float]:
    """How long the orders take from the outbox to the queue, from the first that has left it on."""
    with neighbours() as (folder, _, broker), ExitStack() as stack:
        file = folder / "app" / "ledger.db"
        app = applications.ours(folder / "app", prepare=lambda: fill(file, ORDERS, unpublished=True), **GUIDE)
        stack.callback(app.service.stop)
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:

            def left() -> int:
                return connection.execute("SELECT count(*) FROM outbox").fetchone()[0]

            while (first := left()) == ORDERS:
                time.sleep(0.005)
            began = time.monotonic()
            while left():
                time.sleep(0.05)
            seconds = time.monotonic() - began
        with broker.connection() as broker_connection:
            queued = broker_connection.channel().queue_declare(app.queue, passive=True).method.message_count
    return {"orders": ORDERS, "queued": queued, "seconds": round(seconds, 2), "orders_per_s": round(first / seconds)}


def main() -> None:
    rows, drain = ledger(), outbox()
    figures = {"ledger": [asdict(row) for row in rows], "outbox": drain}
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/bench_growth.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(table(rows))
    print("{orders} orders left the outbox at {orders_per_s} a second; {queued} are in the queue".format(**drain))


if __name__ == "__main__":
    main()
