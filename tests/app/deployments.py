"""The service with all that is around it, as the fault scenarios run it: ledgers, instances and neighbours."""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
import requests

from broker import QUEUE, Broker, BrokerClient
from load import Load, OrderProcessor, Row, judge, row
from ports import free_port
from postgres import Postgres
from service import PATIENCE, ROOT, Service, wait_until
from skillupworks_payment.postgresql import PUBLISHING_LOCK

_POLL = 0.2
_AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]


class Disk:
    """A small file system of its own, so that it can be filled. Needs root, or a sudo that asks for no password."""

    def __init__(self, megabytes: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="payment-test-disk-"))
        self._ballast = self.path / "ballast"
        options = f"size={megabytes}m,mode=0755,uid={os.getuid()}"
        subprocess.run([*_AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "payment-test", self.path], check=True)

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        self._ballast.unlink()

    def close(self) -> None:
        subprocess.run([*_AS_ROOT, "umount", "--lazy", self.path], check=True)
        self.path.rmdir()


class Ledger(Protocol):
    """What a scenario can do to a ledger, and see of it."""

    url: str
    disk: Disk

    def locked(self) -> Any:
        """A context in which another process has locked the ledger against writing."""

    def prepare_for_full_disk(self) -> None:
        """Leave the database no room that it has got already."""

    def relay_owner(self, pids: set[int]) -> int | None:
        """Which of these processes is elected to publish orders."""


class SqliteLedger:
    """A file."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._path = disk.path / "ledger.db"
        self.url = f"sqlite:///{self._path}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=PATIENCE)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.close()

    def prepare_for_full_disk(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=PATIENCE)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def relay_owner(self, pids: set[int]) -> int | None:
        inode = Path(f"{self._path}-relay").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and int(fields[4]) in pids:
                return int(fields[4])
        return None


class PostgresqlLedger:
    """A database of a cluster."""

    def __init__(self, disk: Disk, postgres: Postgres) -> None:
        self.disk = disk
        self.url = postgres.create_database()
        self._postgres = postgres

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._postgres.connect(self.url) as connection:
            # One table after the other, in the order in which payments take them. Those that end a payment take its
            # claim last: with one of these it can be a deadlock, of which the server ends either.
            for attempts_left in reversed(range(10)):
                try:
                    connection.execute("BEGIN; LOCK TABLE claims, payments, outbox IN EXCLUSIVE MODE")
                    break
                except psycopg.errors.DeadlockDetected:
                    connection.execute("ROLLBACK")
                    if not attempts_left:
                        raise
            yield
            connection.execute("ROLLBACK")

    def prepare_for_full_disk(self) -> None:
        """The few rows that its pages have room for are soon used up."""

    def relay_owner(self, pids: set[int]) -> int | None:
        with self._postgres.connect(self.url) as connection:
            row = connection.execute(
                "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid)"
                " WHERE locktype = 'advisory' AND granted AND objid = %s AND datname = current_database()",
                [PUBLISHING_LOCK],
            ).fetchone()
        return next((pid for pid in pids if row and row[0] in local_ports(pid)), None)


class Deployment:
    """Instances of the service on one ledger, with a virtual host of the broker's and who takes the orders there."""

    def __init__(
        self, ledger_name: str, ledger: Ledger, services: list[Service], broker: BrokerClient, vhost: str
    ) -> None:
        self.ledger_name = ledger_name
        self.ledger = ledger
        self.services = services
        self.name = f"{ledger_name}-{len(services)}"
        self.load: Load
        self._broker = broker
        self._vhost = vhost
        self.processor = OrderProcessor(self.connect, QUEUE)

    def connect(self) -> Any:
        return self._broker.connection(vhost=self._vhost)

    def workers(self) -> set[int]:
        """The processes of all instances but their masters."""
        return {pid for service in self.services for pid in children(service.process.pid)}

    def relay_owner(self) -> int | None:
        return self.ledger.relay_owner(self.workers())

    def unresolved(self) -> float | None:
        """How many payments and orders the ledger has still to settle; None when it cannot be asked."""
        try:
            text = self.services[0].get("/metrics", headers={"Accept": "text/plain"}, timeout=PATIENCE).text
        except requests.RequestException:
            return None
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        wanted = ("payment_unresolved", "payment_outbox_orders")
        return sum(float(values[name]) for name in wanted) if values.keys() >= set(wanted) else None

    def stop(self, how: Callable[[Service], Any] = Service.stop) -> list[Any]:
        with ThreadPoolExecutor(len(self.services)) as threads:
            return list(threads.map(how, self.services))

    def start(self, **variables: str) -> None:
        for service in self.services:
            service.start(**variables)
        for service in self.services:
            service.wait_until_alive()

    def close(self) -> None:
        self.processor.stop()
        for service in self.services:
            service.terminate()
        for service in self.services:
            service.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def local_ports(pid: int) -> set[int]:
    """Of the TCP connections that a process has."""
    try:
        inodes = {os.readlink(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}
    except FileNotFoundError:
        return set()
    connections = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {int(fields[1].split(":")[1], 16) for fields in connections if f"socket:[{fields[9]}]" in inodes}


class Neighbour:
    """A program of testbed/neighbours, on a port of its own."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, ROOT / "testbed" / "neighbours" / program, *arguments]
        self._process = subprocess.Popen([*command, "--bind", "127.0.0.1", "--port", str(self.port)])
        wait_until(self._listens, f"{program} listens")

    def _listens(self) -> bool:
        assert self._process.poll() is None, "it has ended, and who listens is another"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def put(self, path: str, document: object) -> None:
        requests.put(self.url + path, json=document, timeout=PATIENCE).raise_for_status()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stopped: the kernel still takes its connections, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.put("/broken", True)
        try:
            yield
        finally:
            self.put("/broken", False)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Gateway(Neighbour):
    """The gateway simulator, and its book of charges."""

    def __init__(self) -> None:
        super().__init__("gateway.py")

    @contextmanager
    def mode(self, mode: str, seconds: float = 0) -> Iterator[None]:
        self.put("/mode", {"mode": mode, "seconds": seconds})
        try:
            yield
        finally:
            self.put("/mode", {"mode": "approve"})

    def charges(self, first: int) -> tuple[list[dict], int]:
        """The charges from the `first` on, and how many are being made."""
        document = requests.get(f"{self.url}/charges/from/{first}", timeout=PATIENCE).json()
        return document["charges"], document["in_flight"]


class World:
    """All deployments, and what they share. A scenario runs on all of them at the same time."""

    def __init__(
        self, broker: Broker, gateway: Gateway, cart: Neighbour, user: Neighbour, deployments: list[Deployment]
    ) -> None:
        self.broker = broker
        self.gateway = gateway
        self.cart = cart
        self.user = user
        self.deployments = deployments
        self._runs = 0

    def each(self, action: Callable[[Deployment], Any]) -> list[Any]:
        """What the action returns for each deployment; all are done at the same time."""
        with ThreadPoolExecutor(len(self.deployments)) as threads:
            return list(threads.map(action, self.deployments))

    def wait_for_payments(self, count: int) -> None:
        """Until each deployment has made so many more."""
        before = {each.name: each.load.statuses()[200] for each in self.deployments}
        wait_until(
            lambda: all(each.load.statuses()[200] >= before[each.name] + count for each in self.deployments),
            f"{count} payments everywhere",
        )

    def run(self, scenario: str, fault: Callable[["World"], None], seconds: float) -> dict[str, Row]:
        """Load on all deployments: during the fault, and `seconds` after it. Returns a row for each, by its name."""
        self._runs += 1
        taken_before = len(self.gateway.charges(0)[0])
        with ExitStack() as loads:
            for number, deployment in enumerate(self.deployments):
                ports = [service.port for service in deployment.services]
                deployment.load = loads.enter_context(Load(f"{self._runs}-{number}", ports))
            time.sleep(0.5)
            fault(self)
            time.sleep(seconds)
            self.wait_for_payments(5)  # so few only when the service does not recover

        deadline = time.monotonic() + PATIENCE
        rows: dict[str, Row] = {}
        while True:
            charges, in_flight = self.gateway.charges(taken_before)
            settled = in_flight == 0
            for deployment in self.deployments:
                left = deployment.unresolved()
                verdict = judge(deployment.load, charges, deployment.processor.orders)
                settled = settled and verdict.good and left == 0
                rows[deployment.name] = row(
                    scenario, deployment.ledger_name, len(deployment.services), deployment.load, verdict
                )
                rows[deployment.name].details["unresolved"] = left
            if settled or time.monotonic() > deadline:
                return rows
            time.sleep(_POLL)
