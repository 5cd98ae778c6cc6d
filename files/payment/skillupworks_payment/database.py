"""Where the ledger's tables are: what a database has to do for the ledger.

Connections are opened at the first use and not before, so that a process which forks has none to share.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Insert, Table, UpdateBase
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .settings import SettingsError

TIMEOUT = 2.0  # seconds that a request waits for the ledger

T = TypeVar("T")


class LedgerUnavailable(Exception):
    """The ledger did not do it in time. A write that was on its way may be done all the same."""


@dataclass(frozen=True)
class Counted:
    """How many requests there were in a window with this one, and how many seconds it still lasts."""

    requests: int
    seconds_left: float


class Election(Protocol):
    """Being the one that publishes and reconciles. It ends with the process, whatever ends it."""

    def holds(self) -> bool:
        """Whether this one is still elected."""

    def wait(self, seconds: float) -> bool:
        """Wait for `Database.wake` of any process, no longer than `seconds`; whether there was one."""


class Changed(Protocol):
    """What a statement has done."""

    @property
    def rowcount(self) -> int:
        """How many rows there were to change."""


Prepared = Callable[[Connection, dict[str, Any]], Changed]  # runs a statement with these parameters


class Database(Protocol):
    """Shared by threads. Every method but `wake` raises LedgerUnavailable when it cannot be done in time."""

    def migrate(self) -> None:
        """Make or complete the tables; one process does it, others wait. Leaves no connection open.

        Nothing else can be done before it. Once done, it does nothing.
        """

    def write(self, operation: Callable[[Connection], T]) -> T:
        """Run `operation` in a transaction and return what it returns once that is safely on disk.

        It may be run more than once, of which only the last counts, and must not do anything but use the connection.
        """

    def read(self, operation: Callable[[Connection], T]) -> T:
        """Run `operation`, which only reads."""

    def count(self, windows: dict[str, float]) -> dict[str, "Counted"]:
        """Count one request for each key, in the key's window of that many seconds, which its first request begins.

        Exact over all processes that have the ledger. LedgerUnavailable as for `write`; empty when only the counting
        does not work.
        """

    def prepare(self, statement: UpdateBase, *parameters: str) -> Prepared:
        """Work out a statement's SQL once, and before a fork, since a payment would pay for every time.

        It is to be run in operations of `write`, always with the `parameters` of these names.
        """

    def insert_new(self, table: Table) -> Insert:
        """An INSERT that does nothing, and says so by its rowcount, when the key exists."""

    def wake(self) -> None:
        """Tell the elected process that there is something to do; never waits."""

    def elected(self) -> AbstractContextManager[Election]:
        """Wait, for ever, to be elected; the end of the context gives it up."""


def from_url(url: str, password: str | None = None) -> Database:
    """The database of a PAYMENT_LEDGER_URL; SettingsError when there is none for it. The URL may have the password."""
    wanted = "write sqlite:////absolute/path/of/ledger.db or postgresql://user@host:5432/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(f"PAYMENT_LEDGER_URL is not a URL: {wanted}") from error
    if parsed.drivername == "sqlite" and parsed.database and parsed.database.startswith("/"):
        from .sqlite import Sqlite

        return Sqlite(parsed.database)
    if parsed.drivername == "postgresql" and parsed.host and parsed.username and parsed.database:
        from .postgresql import Postgresql

        return Postgresql(parsed, password)
    raise SettingsError(f"PAYMENT_LEDGER_URL is {parsed.drivername}://...: {wanted}")
