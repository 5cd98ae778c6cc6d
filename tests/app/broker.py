"""A RabbitMQ node of the test run's own: its name, ports, cookie and data are nobody else's."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pika
from pika.exceptions import ChannelClosedByBroker

from ports import free_port
from service import PATIENCE, wait_until

# The scripts themselves: the wrappers in /usr/sbin change user and directory.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
_NOT_FOUND = 404
USER, PASSWORD, QUEUE = "skillupworks", "skillupworks@123", "order-processing"


class BrokerClient:
    """What a node that runs can be asked for. `environment` tells rabbitmqctl which one it is."""

    def __init__(self, address: str, port: int, environment: dict[str, str], vhost: str = "/") -> None:
        self.address = address
        self.port = port
        self.environment = environment
        self.vhost = vhost

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [SCRIPTS / "rabbitmqctl", "--quiet", *arguments]
        # Only against a hang: a call takes a second of a processor.
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def drop_connections(self) -> None:
        """All that the virtual host has."""
        self.ctl("close_all_connections", "--vhost", self.vhost, "a test says so")

    def connection(self, password: str = PASSWORD, vhost: str | None = None) -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(USER, password)
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                self.address, self.port, virtual_host=vhost or self.vhost, credentials=credentials
            )
        )

    def take_orders(self, queue: str = QUEUE) -> list[tuple[pika.BasicProperties, dict]]:
        """All messages of the queue, taken out of it: properties and body. One that is yet to be made has none."""
        orders = []
        with self.connection() as connection:
            channel = connection.channel()
            while True:
                try:
                    method, properties, body = channel.basic_get(queue, auto_ack=True)
                except ChannelClosedByBroker as closed:
                    if closed.reply_code != _NOT_FOUND:
                        raise
                    return orders
                if method is None:
                    return orders
                orders.append((properties, json.loads(body)))

    def wait_for_orders(self, order_ids: Collection[str], queue: str = QUEUE, timeout: float = PATIENCE) -> list[dict]:
        """The events taken out of the queue until there is one of each order id; those that came instead, in time."""
        deadline = time.monotonic() + timeout
        events = []
        while True:
            events += [event for _, event in self.take_orders(queue)]
            if set(order_ids) <= {event["orderId"] for event in events} or time.monotonic() > deadline:
                return events
            time.sleep(0.05)


class Broker(BrokerClient):
    """Starts in the constructor, with these virtual hosts and the queue in each; `stop` ends it and its epmd."""

    def __init__(
        self, directory: Path, address: str = "127.0.0.1", port: int | None = None, vhosts: Collection[str] = ("/",)
    ) -> None:
        port = port or free_port()
        (directory / "plugins").write_text("[].")
        (directory / "rabbitmq.conf").write_text(f"load_definitions = {directory / 'definitions.json'}\n")
        (directory / "definitions.json").write_text(json.dumps(_definitions(vhosts)))
        self._log = directory / "node.log"
        self._node: subprocess.Popen | None = None
        super().__init__(
            address,
            port,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(directory),  # the cookie
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "ERL_EPMD_PORT": str(free_port()),
                "RABBITMQ_NODENAME": f"payment-test-{os.getpid()}-{port}@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": address,
                "RABBITMQ_NODE_PORT": str(port),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_LOG_BASE": str(directory / "log"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
                "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
                "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            },
        )
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Of the script that is the node's parent, and of their process group."""
        return self._node.pid

    def start(self) -> None:
        """Start the node, the first time or after `kill`."""
        # A session of its own, so that Ctrl-C reaches it through `stop` alone.
        with self._log.open("ab") as log:
            self._node = subprocess.Popen(
                [SCRIPTS / "rabbitmq-server"], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_for_port()
        self.ctl("await_startup")

    def kill(self) -> None:
        if self._node:
            os.killpg(self._node.pid, signal.SIGKILL)  # the script and the Erlang machine that it started
            self._node.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stopped: it keeps its connections, and nothing answers."""
        os.killpg(self._node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._node.pid, signal.SIGCONT)

    def suspend(self) -> None:
        """Be away: close all connections and take no new ones."""
        self.ctl("suspend_listeners")
        self.ctl("close_all_connections", "--global", "a test says so")

    def resume(self) -> None:
        self.ctl("resume_listeners")

    def stop(self) -> None:
        """Nobody reads its data again, so it need not end well."""
        with suppress(ProcessLookupError):
            self.kill()
        stop_epmd(self.environment)

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + 120  # only reached when it does not start: it takes seconds
        while time.monotonic() < deadline:
            assert self._node.poll() is None, self._log.read_text()
            try:
                self.connection(password="wrong")
            except pika.exceptions.ProbableAuthenticationError:
                return
            except pika.exceptions.AMQPError:
                time.sleep(0.2)
        raise TimeoutError(self._log.read_text())


def stop_epmd(environment: dict[str, str]) -> None:
    """The daemon that the first Erlang machine of this environment has started."""

    def has_ended() -> bool:
        said = subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, timeout=PATIENCE).stdout
        return b"not allowed" not in said  # it is not for as long as it has not heard that the node has ended

    with suppress(FileNotFoundError):
        wait_until(has_ended, "epmd ends")


def _definitions(vhosts: Collection[str]) -> dict[str, list[dict]]:
    """What the node has from its start on. One rabbitmqctl for each of it would take a second of a processor."""
    salt = os.urandom(4)
    password_hash = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
    user = {"name": USER, "password_hash": password_hash, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    everything = {"user": USER, "configure": ".*", "write": ".*", "read": ".*"}
    queue = {"name": QUEUE, "durable": True, "auto_delete": False, "arguments": {}}
    return {
        "users": [user | {"tags": "", "limits": {}}],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [everything | {"vhost": vhost} for vhost in vhosts],
        "queues": [queue | {"vhost": vhost} for vhost in vhosts],
    }
