"""A ledger in PostgreSQL, for the payment hosts that share one database.

A commit that has returned is on the server's disk, whatever the server's own default is. No request waits longer than
TIMEOUT, whatever hangs: name resolution, network, server, disk. So each process has a few threads that use the database
for all others, which can stop waiting for them.

Two processes agree by advisory locks, which the server frees when the connection that holds them ends. They need
connections that go to the server itself, or through a pooler that pools sessions and not transactions.
"""

import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack, closing, contextmanager, suppress
from os import dup
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, Engine, Insert, NullPool, Table, UpdateBase, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from . import counting, migrations, threads
from .database import TIMEOUT, Counted, LedgerUnavailable, Prepared
from .settings import SettingsError

_CONNECTIONS = 4  # of one process, beside the one that it stands for election with
_MIGRATION_PATIENCE = 10.0  # seconds that a migration waits for another one, or for those who use a table
_POLL = 0.5  # seconds from one attempt to be elected to the next
_MIGRATING, PUBLISHING_LOCK = 7_205_759, 7_205_760  # keys of advisory locks
_CHANNEL = "payment_outbox"  # of NOTIFY
_ROLLED_BACK = {"40001", "40P01"}  # SQLSTATEs that say: serialization failure or deadlock, try again

# What the server does for a session. It ends one whose host has vanished, and frees its locks, within 10 seconds. There
# is no statement_timeout: it would make a COMMIT that waits for a synchronous standby succeed without one.
_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": f"{TIMEOUT:.0f}s",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "9s",
}
# The client gives up a vanished server before that gives up the client: its lock is not another's while it thinks it
# has it.
_CLIENT = {
    "connect_timeout": f"{TIMEOUT:.0f}",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "4000",
    "target_session_attrs": "read-write",
    "application_name": "payment",
}

log = logging.getLogger(__name__)

T = TypeVar("T")


class Postgresql:
    """The database at `url`, whose password is `password` unless the URL has one."""

    def __init__(self, url: URL, password: str | None) -> None:
        login = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
        self._login = {
            **_CLIENT,
            **{name: str(value) for name, value in login.items() if value},
            **{name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()},
            "password": url.password or password or "",
        }
        try:
            make_conninfo(**self._login)
        except psycopg.ProgrammingError as error:
            raise SettingsError(
                f"PAYMENT_LEDGER_URL is wrong behind the ?: write libpq's options ({_reason(error)})"
            ) from error
        self._migrated = False
        self._sweep = counting.Sweep()
        self._start = threading.Lock()
        self._workers: _Workers | None = None
        self._wake_asked = False
        self._engine = create_engine(
            "postgresql+psycopg://", creator=self._connect, pool_size=_CONNECTIONS, max_overflow=0
        )
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    def migrate(self) -> None:
        if self._migrated:
            return
        patience = {"lock_timeout": f"{_MIGRATION_PATIENCE:.0f}s"}
        engine = create_engine("postgresql+psycopg://", creator=lambda: self._connect(**patience), poolclass=NullPool)
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
                migrations.upgrade(connection)
        except (SQLAlchemyError, psycopg.Error) as error:
            raise LedgerUnavailable(_reason(error)) from error
        self._migrated = True

    def write(self, operation: Callable[[Connection], T]) -> T:
        return self._ask(self._engine, operation).wait()

    def read(self, operation: Callable[[Connection], T]) -> T:
        return self._ask(self._reading, operation).wait()

    def count(self, windows: dict[str, float]) -> dict[str, Counted]:
        # The server's clock: the hosts' may differ. Without a transaction, and in a table that is not logged, it waits
        # for one answer of the server and not for the disk.
        query = text(counting.statement(len(windows), now="extract(epoch FROM statement_timestamp())"))
        rows = self.read(lambda connection: connection.execute(query, counting.parameters(windows)).all())
        if self._sweep.is_due():
            self._ask(self._reading, _sweep)
        return counting.counted(rows)

    def prepare(self, statement: UpdateBase, *parameters: str) -> Prepared:
        sql = str(statement.compile(dialect=self._engine.dialect, column_keys=parameters))
        return lambda connection, values: connection.exec_driver_sql(sql, values)

    def insert_new(self, table: Table) -> Insert:
        # SQLAlchemy keeps the row count of an INSERT only when it is asked to.
        return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)

    def wake(self) -> None:
        if self._migrated and not self._wake_asked:  # one that is still to be sent tells it all
            self._wake_asked = True
            self._ask(self._engine, self._notify).outcome.add_done_callback(self._forget_wake)

    @contextmanager
    def elected(self) -> Iterator["_Elected"]:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(closing(self._connect(autocommit=True)))
                election = _Elected(connection)
                while not election.stand():
                    time.sleep(_POLL)
            except psycopg.Error as error:
                raise LedgerUnavailable(_reason(error)) from error
            yield election

    def _connect(self, autocommit: bool = False, **session: str) -> psycopg.Connection:
        options = " ".join(f"-c {name}={value}" for name, value in (_SESSION | session).items())
        return psycopg.connect(**self._login, options=options, autocommit=autocommit)

    def _ask(self, engine: Engine, operation: Callable[[Connection], T]) -> "_Call[T]":
        if not self._migrated:
            raise LedgerUnavailable("its tables could not be looked at yet")
        if self._workers is None:
            with self._start:
                self._workers = self._workers or _Workers()
        return self._workers.ask(engine, operation)

    def _forget_wake(self, _: object) -> None:
        self._wake_asked = False

    def _notify(self, connection: Connection) -> None:
        self._wake_asked = False  # what is committed from here on may be too late for this one
        # Nobody waits for it, and one that is lost is made good by the relay's sweep: it need not wait for the disk.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(text(f"NOTIFY {_CHANNEL}"))


class _Call(Generic[T]):
    """An operation that one thread asks for and another one runs."""

    def __init__(self, engine: Engine, operation: Callable[[Connection], T]) -> None:
        self.outcome: Future[T] = Future()
        self._engine = engine
        self._operation = operation
        self._deadline = time.monotonic() + TIMEOUT
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None  # the one in use

    def wait(self) -> T:
        try:
            return self.outcome.result(TIMEOUT)
        except FutureTimeout as error:
            if not self.outcome.cancel():
                with self._lock:
                    if self._connection:
                        _cut(self._connection)
            raise LedgerUnavailable("it does not answer in time") from error
        except (SQLAlchemyError, psycopg.Error) as error:
            raise LedgerUnavailable(_reason(error)) from error

    def run(self) -> None:
        if self.outcome.set_running_or_notify_cancel():  # nobody waits for it otherwise
            try:
                self.outcome.set_result(self._run())
            except Exception as error:
                self.outcome.set_exception(error)

    def _run(self) -> T:
        while True:
            with self._engine.connect() as connection, self._in_use(connection):
                try:
                    result = self._operation(connection)
                except DBAPIError as error:
                    if _may_be_repeated(error) and time.monotonic() < self._deadline:
                        continue
                    raise
                connection.commit()  # not repeated: when the connection is lost here, nobody knows whether it is done
                return result

    @contextmanager
    def _in_use(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            self._connection = connection.connection.driver_connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None


class _Workers:
    """The threads that use the database, each with one connection at a time. First come, first served."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[_Call[Any]] = SimpleQueue()
        for _ in range(_CONNECTIONS):
            threads.start("ledger", self._run)

    def ask(self, engine: Engine, operation: Callable[[Connection], T]) -> _Call[T]:
        call = _Call(engine, operation)
        self._asked.put(call)
        return call

    def _run(self) -> None:
        while True:
            self._asked.get().run()


class _Elected:
    """Holds the lock for as long as the connection lives."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._connected = True
        self._woken = False
        connection.add_notify_handler(self._on_notify)

    def stand(self) -> bool:
        """Try to be elected. Waiting for the lock in the server would keep it from vacuuming what is deleted."""
        (elected,) = self._execute("SELECT pg_try_advisory_lock(%s)", PUBLISHING_LOCK).fetchone()
        if elected:
            self._execute(f"LISTEN {_CHANNEL}")
        return elected

    def holds(self) -> bool:
        if self._connected:
            try:
                self._execute("SELECT 1")
            except psycopg.Error as error:
                log.warning("no longer elected: %s", _reason(error))
                self._connected = False
        return self._connected

    def wait(self, seconds: float) -> bool:
        if not self._connected:
            time.sleep(seconds)
            return False
        if not self._woken:
            select.select([self._connection], [], [], seconds)
            self.holds()  # takes in what has arrived
        woken, self._woken = self._woken, False
        return woken

    def _on_notify(self, _: psycopg.Notify) -> None:
        self._woken = True

    def _execute(self, query: str, *parameters: int) -> psycopg.Cursor:
        """Run the query, no longer than TIMEOUT: a server that hangs would be waited for for ever."""
        timer = threading.Timer(TIMEOUT, _cut, [self._connection])
        timer.start()
        try:
            return self._connection.execute(query, parameters or None)
        finally:
            timer.cancel()


def _sweep(connection: Connection) -> None:
    """Remove windows that have ended, and wait for no request that begins one of them anew."""
    ended = "SELECT key FROM rates WHERE expires < extract(epoch FROM now()) FOR UPDATE SKIP LOCKED"
    connection.execute(text(f"DELETE FROM rates WHERE key IN ({ended})"))


def _may_be_repeated(error: DBAPIError) -> bool:
    """Whether a transaction that failed before its COMMIT can succeed when it is run again, on a new connection."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _ROLLED_BACK


def _cut(connection: psycopg.Connection) -> None:
    """End a connection under the thread that waits for it."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as connected:
        connected.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    """Why, on one line; no message of the server or the driver holds a password."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
