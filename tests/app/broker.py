"""A RabbitMQ node of the test run's own: its name, ports, cookie and data are nobody else's."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
from pika.exceptions import ChannelClosedByBroker

from ports import free_port

# The scripts themselves: the wrappers in /usr/sbin change user and directory.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
_NOT_FOUND = 404
USER, PASSWORD, QUEUE = "skillupworks", "skillupworks@123", "order-processing"


class Broker:
    """Starts in the constructor; `stop` ends it and its epmd."""

    def __init__(self, directory: Path, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.address = address
        self.port = port or free_port()
        self._log = directory / "node.log"
        (directory / "plugins").write_text("[].")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),  # the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"payment-test-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": address,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
        }
        try:
            self.start()
            self.ctl("add_user", USER, PASSWORD)
            self.ctl("set_permissions", USER, ".*", ".*", ".*")
            with self.connection() as connection:
                connection.channel().queue_declare(QUEUE, durable=True)
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start the node, the first time or after `kill`."""
        # A session of its own, so that Ctrl-C reaches it through `stop` alone.
        with self._log.open("ab") as log:
            self._node = subprocess.Popen(
                [SCRIPTS / "rabbitmq-server"], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_for_port()
        self.ctl("await_startup")

    def kill(self) -> None:
        os.killpg(self._node.pid, signal.SIGKILL)  # the script and the Erlang machine that it started
        self._node.wait()

    def add_vhost(self, name: str) -> None:
        self.ctl("add_vhost", name)
        self.ctl("set_permissions", "--vhost", name, USER, ".*", ".*", ".*")

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [SCRIPTS / "rabbitmqctl", "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self._log.read_text()}"
        return done.stdout

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
        self.drop_connections()

    def resume(self) -> None:
        self.ctl("resume_listeners")

    def drop_connections(self) -> None:
        self.ctl("close_all_connections", "--global", "a test says so")

    def connection(self, password: str = PASSWORD, vhost: str = "/") -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(USER, password)
        return pika.BlockingConnection(
            pika.ConnectionParameters(self.address, self.port, virtual_host=vhost, credentials=credentials)
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

    def wait_for_orders(self, order_ids: Collection[str], queue: str = QUEUE, timeout: float = 10) -> list[dict]:
        """The events taken out of the queue until there is one of each order id; those that came instead, in time."""
        deadline = time.monotonic() + timeout
        events = []
        while True:
            events += [event for _, event in self.take_orders(queue)]
            if set(order_ids) <= {event["orderId"] for event in events} or time.monotonic() > deadline:
                return events
            time.sleep(0.05)

    def stop(self) -> None:
        subprocess.run([SCRIPTS / "rabbitmqctl", "shutdown"], env=self._environment, capture_output=True, timeout=60)
        try:
            self._node.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        epmd = shutil.which("epmd")
        if epmd:
            subprocess.run([epmd, "-kill"], env=self._environment, capture_output=True, timeout=10)

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._node.poll() is None, self._log.read_text()
            try:
                self.connection(password="wrong")
            except pika.exceptions.ProbableAuthenticationError:
                return
            except pika.exceptions.AMQPError:
                time.sleep(0.2)
        raise TimeoutError(self._log.read_text())
