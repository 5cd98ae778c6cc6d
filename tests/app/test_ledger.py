"""The ledger's promises, kept by each database that it can be in."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url

from service import PATIENCE, in_time, wait_until
from skillupworks_payment import database, migrations, schema
from skillupworks_payment.answers import Answer
from skillupworks_payment.database import TIMEOUT, LedgerUnavailable
from skillupworks_payment.inbox import Event, Inbox
from skillupworks_payment.ledger import CHECKS, Claim, Ledger, NewPayment

PAID, ASKED, REFUSED = Answer(200, b"paid\n"), Answer(402, b"pay\n"), Answer(500, b"refused\n")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres").create_database()


@pytest.fixture
def tables(url):
    return opened(url)


@pytest.fixture
def shared(postgres):
    """The URL of a ledger in PostgreSQL."""
    url = postgres.create_database()
    opened(url)
    return url


def opened(url):
    tables = database.from_url(url)
    tables.migrate()
    return tables


def new_payment(order_id):
    return NewPayment(order_id, "session", 1999, "INR", {"orderId": order_id})


def claim(name="key:a", lifetime=60.0, survives=True):
    return Claim(name, "hash", lifetime, survives)


def rows(tables, table, columns="*"):
    query = text(f"SELECT {columns} FROM {table}")
    return tables.read(lambda connection: [tuple(row) for row in connection.execute(query)])


def execute(tables, statement):
    return tables.write(lambda connection: connection.execute(text(statement)).rowcount)


def backends(url, condition="true"):
    """Ends the connections of a database in PostgreSQL, but its own; how many."""
    where = f"datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    return f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {where}"


def test_a_commit_is_on_disk(tables, url, request):
    def asked(statement):
        return tables.write(lambda connection: connection.exec_driver_sql(statement).scalar_one())

    if url.startswith("sqlite"):
        assert (asked("PRAGMA synchronous"), asked("PRAGMA journal_mode")) == (2, "wal")
    else:
        with request.getfixturevalue("postgres").connect(url) as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",), "the server's default"
        assert (asked("SHOW synchronous_commit"), asked("SHOW fsync")) == ("on", "on")
        # It makes a COMMIT that waits for a synchronous standby succeed without one.
        assert asked("SHOW statement_timeout") == "0"


def test_one_claim_is_taken_once(url):
    ledgers = [Ledger(opened(url)) for _ in range(2)]
    for name in ("key:a", "key:b"):
        with ThreadPoolExecutor(8) as clients:
            attempts = clients.map(
                lambda n, name=name: ledgers[n % 2].open(new_payment(f"{name}-{n}"), claim(name)), range(16)
            )
        standings = list(attempts)
        assert standings.count(None) == 1
        assert len({standing.order_id for standing in standings if standing}) == 1
        winner = f"{name}-{standings.index(None)}"
        assert {standing.order_id for standing in standings if standing} == {winner}
    assert len(rows(opened(url), "payments")) == 2


def test_a_claim_that_is_over_is_taken_anew_once(tables):
    ledger = Ledger(tables)
    assert ledger.open(new_payment("first"), claim(lifetime=0)) is None
    ledger.pay("first", "pay_1", PAID, "{}")
    time.sleep(0.01)
    with ThreadPoolExecutor(8) as clients:
        standings = list(clients.map(lambda n: ledger.open(new_payment(f"again-{n}"), claim(lifetime=0)), range(8)))
    assert standings.count(None) == 1
    assert {standing.state for standing in standings if standing} == {schema.PENDING}


@pytest.mark.parametrize("end", ["pay", "decline", "close"])
def test_a_step_that_no_longer_applies_changes_nothing(tables, end):
    ledger = Ledger(tables)
    ledger.open(new_payment("order"), claim())
    steps = {
        "pay": lambda: ledger.pay("order", "pay_1", PAID, "{}"),
        "decline": lambda: ledger.decline("order", REFUSED, claim(survives=False)),
        "close": lambda: ledger.close("order", schema.PENDING, REFUSED, keep_claim=True),
        "doubt": lambda: ledger.doubt("order", REFUSED),
    }
    assert steps[end]()
    before = {table: rows(tables, table) for table in ("payments", "claims", "outbox")}
    assert [step() for step in steps.values()] == [False] * 4
    assert {table: rows(tables, table) for table in before} == before
    assert len(before["outbox"]) == (1 if end == "pay" else 0)


def test_one_of_all_who_try_captures(url):
    ledgers = [Ledger(opened(url)) for _ in range(2)]
    ledgers[0].open(new_payment("order"), claim())
    assert ledgers[0].await_checkout("order", "order_1", ASKED)
    assert not ledgers[0].await_checkout("order", "order_2", ASKED)
    assert ledgers[1].standing("key:a").is_answered
    with ThreadPoolExecutor(8) as clients:
        begun = clients.map(lambda n: ledgers[n % 2].begin_capture("order", schema.AWAITING, f"pay_{n}"), range(8))
    winner = list(begun).index(True)
    capturing = ledgers[0].of_gateway_order("order_1")
    assert (capturing.state, capturing.payment_id) == (schema.CAPTURING, f"pay_{winner}")
    assert not ledgers[0].close("order", schema.AWAITING, REFUSED, keep_claim=False), "as it stood before"
    assert ledgers[0].pay("order", capturing.payment_id, PAID, "{}")
    assert not ledgers[0].begin_capture("order", schema.AWAITING, "pay_9")


def test_what_is_to_be_looked_into(url):
    """Not what waits for a customer who has still time; but that too when the gateway told of it."""
    tables = opened(url)
    ledger, inbox = Ledger(tables), Inbox(tables)
    for name in ("pending", "unknown", "paid", "closed", "checked", "waiting"):
        ledger.open(new_payment(name), claim(f"key:{name}"))
    ledger.doubt("unknown", REFUSED)
    ledger.pay("paid", "pay_1", PAID, "{}")
    for name in ("closed", "checked"):
        ledger.close(name, schema.PENDING, REFUSED, keep_claim=False)
    ledger.checked("checked", CHECKS)
    ledger.await_checkout("waiting", "order_1", ASKED)

    def found(since=0):
        return {payment.order_id: payment.told for payment in ledger.unresolved(since)}

    expected = {"pending": False, "unknown": False, "closed": False}
    assert found() == expected
    assert found(time.time() + 1) == expected | {"waiting": False}
    told = Event("evt_1", "pay_2")
    assert [inbox.receive(told, order) for order in ("order_0", "order_1", "order_1")] == [False, True, False]
    assert found() == expected | {"waiting": True}
    assert inbox.unsettled("waiting") == [told]
    inbox.settle([told])
    assert (found(), inbox.unsettled("waiting")) == (expected, [])
    assert not inbox.receive(told, "order_1"), "it is still known"
    ledger.forget(-1)
    assert inbox.receive(told, "order_1")


def test_old_claims_are_forgotten_unless_they_were_taken_anew_meanwhile(tables, monkeypatch):
    ledger = Ledger(tables)
    for name in ("first", "other"):
        ledger.open(new_payment(name), claim(f"key:{name}"))
        ledger.pay(name, "pay_1", PAID, "{}")

    def look_and_be_late(operation, read=tables.read):
        found = read(operation)
        assert ledger.open(new_payment("second"), claim("key:first", lifetime=-1)) is None
        return found

    with monkeypatch.context() as late:
        late.setattr(tables, "read", look_and_be_late)
        ledger.forget(-1)
    assert ledger.standing("key:first").order_id == "second"
    assert ledger.standing("key:other") is None


def test_claims_are_forgotten_in_the_order_of_their_names(shared, postgres):
    """Two hosts that do it at the same time wait for each other at the first one that both want, and do not cross."""
    ledger = Ledger(opened(shared))
    for name in "cab":
        ledger.open(new_payment(name), claim(f"key:{name}"))
        ledger.pay(name, "pay_1", PAID, "{}")
    lock = "SELECT name FROM claims WHERE name = %s FOR UPDATE"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor(1) as host, postgres.connect(shared) as first, postgres.connect(shared) as other:
        with first.transaction():
            first.execute(lock, ["key:a"])
            forgetting = host.submit(ledger.forget, -1)
            wait_until(lambda: other.execute(waiting).fetchone() == (1,), "it waits for the first")
            for name in "bc":
                assert other.execute(f"{lock} SKIP LOCKED", [f"key:{name}"]).fetchone(), "it has one that is later"
        forgetting.result()
    assert rows(opened(shared), "claims") == []


def test_what_is_done_is_not_read(tmp_path):
    """The elected process looks every second, and the many payments that are done are none of its business; nor is one
    of them a webhook's that is about another."""
    tables = opened(f"sqlite:///{tmp_path / 'ledger.db'}")
    plans = []

    def explain(connection, cursor, statement, parameters, context, executemany):
        plans.extend(cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())

    event.listen(tables._reading, "before_cursor_execute", explain)
    Ledger(tables).unresolved()
    Ledger(tables).backlog()
    Ledger(tables).of_gateway_order("order_1")
    used = [detail for *_, detail in plans if "payments" in detail]
    assert len(used) == 4
    assert all("USING INDEX" in detail for detail in used), used


def test_a_payment_is_settled_once_by_all_who_try(url):
    ledgers = [Ledger(opened(url)) for _ in range(2)]
    ledgers[0].open(new_payment("order"), claim())
    with ThreadPoolExecutor(8) as clients:
        done = list(clients.map(lambda n: ledgers[n % 2].pay("order", f"pay_{n}", PAID, "{}"), range(8)))
    assert Counter(done) == {True: 1, False: 7}
    assert len(ledgers[0].next_events(0, 10)) == 1


def test_rows_of_the_first_revision_are_kept(url):
    to_write_to = make_url(url)
    if to_write_to.drivername == "postgresql":
        to_write_to = to_write_to.set(drivername="postgresql+psycopg")
    engine = create_engine(to_write_to)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        columns = "order_id, session_id, amount, currency, state, claim, draft, created_at"
        connection.execute(
            text(f"INSERT INTO payments ({columns}) VALUES ('order', 's', 1999, 'INR', 'paid', 'c', '{{}}', 1.5)")
        )
        connection.execute(text("INSERT INTO claims VALUES ('c', 'order', 'hash')"))
        connection.execute(text("INSERT INTO outbox (order_id, body, created_at) VALUES ('order', '{}', 1.5)"))
        before = {
            table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
            for table in ("payments", "claims", "outbox")
        }
    engine.dispose()
    tables = opened(url)
    for table, (old,) in before.items():
        (new,) = tables.read(
            lambda connection, table=table: connection.execute(text(f"SELECT * FROM {table}")).mappings().all()
        )
        assert old.items() <= dict(new).items()
    assert [event.order_id for event in Ledger(tables).next_events(0, 10)] == ["order"]


def test_a_new_ledger_has_all_migrations(tables):
    """Also when the files' names, which tell without Alembic that nothing is missing, are not as they should be."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    newest = ScriptDirectory.from_config(config).get_current_head()
    assert rows(tables, "alembic_version") == [(newest,)]
    assert newest == migrations.NEWEST


def test_a_ledger_of_a_newer_release_is_left_alone_and_used(tables, url):
    execute(tables, "UPDATE alembic_version SET version_num = '9999'")
    execute(tables, "ALTER TABLE payments ADD COLUMN colour VARCHAR(10)")
    ledger = Ledger(opened(url))
    assert ledger.open(new_payment("order"), claim()) is None
    assert ledger.pay("order", "pay_1", PAID, "{}")
    assert ledger.standing("key:a").answer == PAID
    assert rows(tables, "alembic_version") == [("9999",)]


def test_all_may_migrate_at_the_same_time(url):
    with ThreadPoolExecutor(6) as hosts:
        ledgers = [Ledger(tables) for tables in hosts.map(lambda _: opened(url), range(6))]
    assert all(ledger.backlog().unpublished == 0 for ledger in ledgers)


def test_one_is_elected(url):
    first, second = opened(url), opened(url)
    order = []

    def stand():
        with second.elected() as election:
            order.append("second")
            assert election.holds()

    with first.elected() as election:
        waiting = threading.Thread(target=stand, daemon=True)
        waiting.start()
        assert not election.wait(0.7)
        second.wake()
        assert election.wait(PATIENCE)
        assert election.holds()
        order.append("first")
    waiting.join(PATIENCE)
    assert order == ["first", "second"]


def test_an_election_ends_with_its_connection(shared, postgres):
    tables = opened(shared)
    with tables.elected() as election, postgres.connect(shared) as connection:
        connection.execute(backends(shared))
        with in_time(0):
            assert not election.wait(PATIENCE)
            assert not election.holds()
        with opened(shared).elected() as other:
            assert other.holds()


def test_nothing_is_done_before_the_tables_are_there(postgres):
    tables = database.from_url(postgres.create_database())
    with pytest.raises(LedgerUnavailable):
        Ledger(tables).backlog()
    tables.wake()
    tables.migrate()
    assert Ledger(tables).backlog().unpublished == 0


def test_connections_that_were_ended_while_idle_are_made_anew(shared, postgres):
    ledger = Ledger(opened(shared))
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(lambda n: ledger.open(new_payment(f"before-{n}"), claim(f"key:{n}")), range(16)))
    with postgres.connect(shared) as connection:
        assert connection.execute(backends(shared)).fetchone()[0] > 0
    with ThreadPoolExecutor(4) as clients:
        standings = list(clients.map(lambda n: ledger.open(new_payment(f"o-{n}"), claim(f"key:o-{n}")), range(16)))
    assert standings == [None] * 16


def test_deadlocks_are_resolved(shared):
    tables = opened(shared)
    ledger = Ledger(tables)
    for name in "ab":
        ledger.open(new_payment(name), claim(f"key:{name}"))
    both = threading.Barrier(2)
    runs = Counter()

    def crossing(names):
        def operation(connection):
            runs[names] += 1
            for name in names:
                connection.execute(
                    text("UPDATE payments SET checks = checks + 1 WHERE order_id = :name"), {"name": name}
                )
                if max(runs.values()) == 1 and name == names[0]:
                    both.wait(PATIENCE)  # a few hundredths; the ledger would give up after its TIMEOUT

        tables.write(operation)

    with ThreadPoolExecutor(2) as clients:
        list(clients.map(crossing, ["ab", "ba"]))
    assert runs.total() > 2, "one of them was run again"
    assert [checks for (checks,) in rows(tables, "payments", "checks")] == [2, 2]


@pytest.fixture
def slow_commit(shared, postgres):
    """A ledger whose COMMIT takes ten seconds when a claim was taken."""
    with postgres.connect(shared) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END'"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON claims DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION slow()"
        )
    return shared


@pytest.mark.parametrize("terminated", [False, True])
def test_a_commit_whose_outcome_is_unknown_is_not_repeated(slow_commit, postgres, terminated):
    tables = opened(slow_commit)
    runs = []

    def operation(connection):
        runs.append(1)
        connection.execute(text("INSERT INTO claims VALUES ('c', 'order', 'hash')"))

    with ThreadPoolExecutor(1) as client, postgres.connect(slow_commit) as connection, in_time(TIMEOUT):
        asked = client.submit(tables.write, operation)
        if terminated:
            ended = backends(slow_commit, "query = 'COMMIT' AND state = 'active'")
            wait_until(lambda: connection.execute(ended).fetchone() == (1,), "it commits")
        with pytest.raises(LedgerUnavailable):
            asked.result()
    assert runs == [1]


def test_a_lock_is_not_waited_for_too_long(shared, postgres):
    ledger = Ledger(opened(shared))
    ledger.open(new_payment("order"), claim())
    with postgres.connect(shared) as connection, connection.transaction():
        connection.execute("LOCK TABLE payments")
        with in_time(TIMEOUT), pytest.raises(LedgerUnavailable):
            ledger.pay("order", "pay_1", PAID, "{}")
    assert ledger.pay("order", "pay_1", PAID, "{}")
