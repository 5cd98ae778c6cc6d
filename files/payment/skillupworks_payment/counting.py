"""Counts requests in windows of time, exactly over all processes: one SQL statement, for SQLite and for PostgreSQL.

A window begins with the first request that is counted in it. A clock that was set back does not prolong one.
"""

import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from .database import TIMEOUT, Counted

_TOLERANCE = 10.0  # seconds that a statement may have waited for another one, by which its `now` is behind
_SWEEP = 60.0  # seconds from one removal of old windows to the next
_TABLE = "CREATE TABLE IF NOT EXISTS rates (key TEXT PRIMARY KEY, requests INTEGER, expires REAL) WITHOUT ROWID"

log = logging.getLogger(__name__)


@functools.cache
def statement(keys: int, now: str = ":now") -> str:
    """Counts a request for each of so many keys; `parameters` for it, rows for `counted`."""
    values = ", ".join(f"(:key{each}, 1, {now} + :seconds{each})" for each in range(keys))
    goes_on = f"rates.expires > {now} AND rates.expires < excluded.expires + {_TOLERANCE}"
    return (
        f"INSERT INTO rates (key, requests, expires) VALUES {values} ON CONFLICT (key) DO UPDATE SET"
        f" requests = CASE WHEN {goes_on} THEN rates.requests + 1 ELSE 1 END,"
        f" expires = CASE WHEN {goes_on} THEN rates.expires ELSE excluded.expires END"
        f" RETURNING key, requests, expires - {now}"
    )


def parameters(windows: dict[str, float]) -> dict[str, Any]:
    return {
        name: value
        for number, (key, seconds) in enumerate(windows.items())
        for name, value in ((f"key{number}", key), (f"seconds{number}", seconds))
    }


def counted(rows: Iterable[Any]) -> dict[str, Counted]:
    return {key: Counted(requests, float(seconds_left)) for key, requests, seconds_left in rows}


class Sweep:
    """When to remove the windows that have ended."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _SWEEP

    def is_due(self) -> bool:
        """Whether it is time; says so once."""
        due = time.monotonic() >= self._due
        if due:
            self._due = time.monotonic() + _SWEEP
        return due


class LocalCounts:
    """For the processes of one host: an SQLite file that is not synced, since counts need not survive a power cut.

    When it cannot be used, nothing is counted and the log says so: payments go on without limits.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None  # opened after a fork
        self._sweep = Sweep()
        self._works = True

    def prepare(self) -> None:
        """Make the file; make it anew when a power cut has spoilt it. While no other process opens it."""
        try:
            with closing(self._connect()) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            spoilt = verdict != "ok"
        except sqlite3.OperationalError:
            return  # no room, no right: counting will say so
        except sqlite3.DatabaseError:
            spoilt = True
        if spoilt:
            for suffix in ("", "-wal", "-shm"):
                Path(self._path + suffix).unlink(missing_ok=True)
            self.prepare()

    def count(self, windows: dict[str, float]) -> dict[str, Counted]:
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._connect()
                now = time.monotonic()  # a host's processes have the same, until it boots
                asked = parameters(windows) | {"now": now}
                rows = self._connection.execute(statement(len(windows)), asked).fetchall()
                if self._sweep.is_due():
                    self._connection.execute("DELETE FROM rates WHERE expires < ?", [now])
        except sqlite3.Error as error:
            if self._works:
                log.error("requests cannot be counted, payments go on without limits: %s", error)
            self._works = False
            return {}
        self._works = True
        return counted(rows)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=TIMEOUT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_TABLE)
        return connection
