"""A ledger in one SQLite file, for the processes of one host.

WAL mode with full sync: a commit that has returned survives a power cut. SQLite lets one transaction write at a time,
and its own way to wait for that, sleeping and trying again, starves some writers while others pass. So the processes
take turns by locks of the kernel's, which end with the process that holds them. When nobody else writes, a request does
it itself; else it leaves that to the one writing thread of its process, which waits for the turn and puts what the
requests have asked for meanwhile into one transaction. Where the disk stalls, the one request that writes waits for it;
all others are refused in time.
"""

import fcntl
import os
import select
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Insert, Table, UpdateBase, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from . import migrations, threads
from .counting import LocalCounts
from .database import TIMEOUT, Counted, LedgerUnavailable, Prepared
from .settings import SettingsError

_LARGEST_GROUP = 64  # operations in one transaction
_FOR_ALL = OperationalError, sqlite3.OperationalError  # locked, full, broken: so it is for all that wrote together
_DRIVER = "driver"  # the driver's own connection, in Connection.info

T = TypeVar("T")


class Sqlite:
    """The file at `path`, and beside it the locks and the pipe by which its processes agree."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._migrated = False
        self._start = threading.Lock()
        self._writer: _Writer | None = None
        self._pipe: int | None = None
        self._counts = LocalCounts(f"{path}-rates")
        self._reading = _engine(path, isolation_level="AUTOCOMMIT", max_overflow=-1)
        self._writing = _engine(path, isolation_level="AUTOCOMMIT", paramstyle="named")

    def migrate(self) -> None:
        if self._migrated:
            return
        engine = _engine(self._path)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            with _Turn(self._path) as turn, turn.taken(), engine.begin() as connection:
                migrations.upgrade(connection)
                self._counts.prepare()
        except (OSError, SQLAlchemyError) as error:
            reason = getattr(error, "orig", None) or error
            raise SettingsError(
                f"PAYMENT_LEDGER_URL is 'sqlite:///{self._path}': write a path that the service may write to ({reason})"
            ) from error
        finally:
            engine.dispose()
        self._migrated = True

    def write(self, operation: Callable[[Connection], T]) -> T:
        if self._writer is None:
            with self._start:
                self._writer = self._writer or _Writer(self._path, self._writing)
        return self._writer.write(operation)

    def read(self, operation: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection:
                return operation(connection)
        except SQLAlchemyError as error:
            raise LedgerUnavailable(str(getattr(error, "orig", error))) from error

    def count(self, windows: dict[str, float]) -> dict[str, Counted]:
        return self._counts.count(windows)

    def prepare(self, statement: UpdateBase, *parameters: str) -> Prepared:
        sql = str(statement.compile(dialect=self._writing.dialect, column_keys=parameters))
        return lambda connection, values: connection.info[_DRIVER].execute(sql, values)

    def insert_new(self, table: Table) -> Insert:
        return insert(table).on_conflict_do_nothing()

    def wake(self) -> None:
        with suppress(OSError):  # a full pipe wakes as well
            os.write(self._open_pipe(), b"!")

    @contextmanager
    def elected(self) -> Iterator["_Elected"]:
        with _lock_file(f"{self._path}-relay") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield _Elected(self._open_pipe())

    def _open_pipe(self) -> int:
        """The pipe to the elected process. Opened for both ends, which waits for nobody and outlives them all."""
        if self._pipe is None:
            with self._start:
                if self._pipe is None:
                    path = f"{self._path}-wake"
                    with suppress(FileExistsError):
                        os.mkfifo(path, 0o600)
                    self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipe


class _Elected:
    """Holds the lock for as long as the process lives."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def holds(self) -> bool:
        return True

    def wait(self, seconds: float) -> bool:
        woken, _, _ = select.select([self._pipe], [], [], seconds)
        if woken:
            with suppress(BlockingIOError):
                os.read(self._pipe, 65536)
        return bool(woken)


class _Turn:
    """Whose turn it is to write, among processes.

    Anyone can get a file lock that is free, also the one that just gave it back while others wait. So there are two:
    who has the first is next, and keeps it until it has the second. The writer of now must come back through the first.
    """

    def __init__(self, path: str) -> None:
        self._paths = f"{path}-next", f"{path}-writer"

    def __enter__(self) -> "_Turn":
        self._next, self._turn = (_open_lock(path) for path in self._paths)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._next)
        os.close(self._turn)

    @contextmanager
    def taken(self) -> Iterator[None]:
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    @contextmanager
    def taken_if_free(self) -> Iterator[bool]:
        """As `taken`, but waits for nobody and overtakes nobody who waits; yields whether it is this one's turn."""
        taken = _try_lock(self._next)
        if taken:
            taken = _try_lock(self._turn)
            fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            yield taken
        finally:
            if taken:
                fcntl.flock(self._turn, fcntl.LOCK_UN)


class _Writer:
    """Writes for all threads of its process."""

    def __init__(self, path: str, engine: Engine) -> None:
        self._transactions = _Transactions(engine)
        self._turn = _Turn(path).__enter__()  # for the life of the process
        self._writing = threading.Lock()  # the turn is the process's, so its threads must agree as well
        self._asked: SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]]] = SimpleQueue()
        threads.start("ledger", self._run)

    def write(self, operation: Callable[[Connection], T]) -> T:
        """Write in this thread if nobody else writes or waits for that."""
        try:
            if self._writing.acquire(blocking=False):
                try:
                    with self._turn.taken_if_free() as taken:
                        if taken:
                            return self._transactions.run([operation])[0]
                finally:
                    self._writing.release()
            return self._leave(operation)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise LedgerUnavailable(str(getattr(error, "orig", error))) from error

    def _leave(self, operation: Callable[[Connection], T]) -> T:
        """Leave it to the writing thread."""
        result: Future[T] = Future()
        self._asked.put((operation, result))
        try:
            return result.result(TIMEOUT)
        except FutureTimeout as error:
            result.cancel()  # what has not begun by now never will
            raise LedgerUnavailable("it is locked") from error

    def _run(self) -> None:
        while True:
            group = [self._asked.get()]
            with self._writing, self._turn.taken():
                with suppress(Empty):
                    while len(group) < _LARGEST_GROUP:
                        group.append(self._asked.get_nowait())
                wanted = [asked for asked in group if asked[1].set_running_or_notify_cancel()]
                self._commit(wanted)

    def _commit(self, group: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        """Run the operations in one transaction, and when one of them spoils that, each in its own."""
        if not group:
            return
        try:
            results = self._transactions.run([operation for operation, _ in group])
        except Exception as error:
            if len(group) == 1 or isinstance(error, _FOR_ALL):
                for _, future in group:
                    future.set_exception(error)
            else:
                for asked in group:
                    self._commit([asked])
            return
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)


class _Transactions:
    """Transactions one after the other, on a connection that is kept. The driver begins and ends them, at less cost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def run(self, operations: list[Callable[[Connection], Any]]) -> list[Any]:
        """What each of the operations returns, once all are committed."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            driver = self._connection.info[_DRIVER]
            driver.execute("BEGIN IMMEDIATE")
            results = [operation(self._connection) for operation in operations]
            driver.execute("COMMIT")
        except Exception:
            self._drop_connection()
            raise
        return results

    def _drop_connection(self) -> None:
        """Begin anew after an error, whatever state it left."""
        connection, self._connection = self._connection, None
        if connection:
            with suppress(SQLAlchemyError, sqlite3.Error):
                connection.close()


def _engine(path: str, **options: Any) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": TIMEOUT}, **options)
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins no transactions of its own
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    record.info[_DRIVER] = connection


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _lock_file(path: str) -> Iterator[int]:
    descriptor = _open_lock(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
