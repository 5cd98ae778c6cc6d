"""A PostgreSQL cluster of the test run's own: its port and its data are nobody else's."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from ports import free_port

USER, PASSWORD = "payment", "ledger@123"
_URL_PASSWORD = "ledger%40123"


def _binaries() -> Path:
    """Where initdb is: on the PATH, or where Debian keeps the versions side by side."""
    found = shutil.which("initdb")
    return Path(found).parent if found else max(Path("/usr/lib/postgresql").glob("*/bin"))


class PostgresClient:
    """What a cluster that runs can be asked for. Several processes may ask: each names its databases differently."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count()

    def create_database(self) -> str:
        """A new, empty database; its URL, with the password."""
        name = f"ledger_{os.getpid()}_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}:{_URL_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def connect(self, database: str) -> psycopg.Connection:
        """A connection of the superuser, in autocommit mode; `database` is a name or a URL."""
        if "://" in database:
            return psycopg.connect(database, autocommit=True)
        login = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
        return psycopg.connect(**login, dbname=database, autocommit=True)


class Postgres(PostgresClient):
    """Starts in the constructor, with fsync on and passwords asked for; `stop` ends it.

    `reachable` says that any user may look into the directory.
    """

    def __init__(self, directory: Path, reachable: bool = False) -> None:
        super().__init__(free_port())
        self._binaries = _binaries()
        # The server refuses to run as root, and its user may not look into root's temporary directories.
        user = "postgres" if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="payment-test-postgres-")) if user and not reachable else directory
        self._process = {"cwd": self._home, "user": user}
        self._server: subprocess.Popen | None = None
        password = self._home / "password"
        password.write_text(PASSWORD)
        if user:
            shutil.chown(self._home, user)
            shutil.chown(password, user)
        initialise = [
            *(self._binaries / "initdb", "--pgdata", self._data, "--username", USER, "--pwfile", password),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"),
        ]
        try:
            done = subprocess.run(initialise, **self._process, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            with (self._data / "postgresql.conf").open("a") as configuration:
                configuration.write(
                    f"port = {self.port}\n"
                    "listen_addresses = '127.0.0.1'\n"
                    "unix_socket_directories = ''\n"
                    "fsync = on\n"
                    "max_connections = 400\n"  # of tests that run side by side, each with two services or more
                    "deadlock_timeout = 100ms\n"
                    "synchronous_commit = off\n"  # the service must not rely on the server's default
                )
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def home(self) -> Path:
        """All that is its own on the disk."""
        return self._home

    @property
    def pids(self) -> list[int]:
        """The postmaster, if it runs, and its children."""
        if not self._server or self._server.poll() is not None:
            return []
        postmaster = self._server.pid
        return [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self._home / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data],
                **self._process,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches it through `remove` alone
            )
        deadline = time.monotonic() + 60  # only reached when it does not start: it takes less than a second
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                running = self._server.poll() is None and time.monotonic() < deadline
                assert running, (self._home / "log").read_text()
                time.sleep(0.05)

    def stop(self, immediate: bool = False) -> None:
        """End it, with all connections; `immediate` without a shutdown of its own, so that it recovers at the start."""
        self._server.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self._server.wait(60)  # only against a hang, here and below

    def kill(self) -> None:
        """As a crash does it: SIGKILL to all its processes."""
        pids = self.pids
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._server:
            self._server.wait(60)
        while any(map(is_running, pids)):
            time.sleep(0.02)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._home)


def is_running(pid: int) -> bool:
    """Whether a process has not ended yet; when it has, its parent may not have been told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
