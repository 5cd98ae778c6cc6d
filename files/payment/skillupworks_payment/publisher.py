"""Hands order events to RabbitMQ and waits until it has them safely.

A pika connection belongs to one thread: two that share it lose messages. So each process has one publishing thread,
which owns the one connection; request threads queue an event for it and wait for the broker's confirm.
"""

import atexit
import logging
import random
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from queue import SimpleQueue

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionWrongStateError, NackError

from . import metrics
from .settings import Settings

CONFIRM_TIMEOUT = 2.0  # seconds that a request waits for a connection, and again for the confirm

_FIRST_RETRY, _LAST_RETRY = 0.1, 5.0  # seconds from one attempt to connect to the next
_NOT_FOUND = 404

log = logging.getLogger(__name__)


class NotConfirmed(Exception):
    """RabbitMQ did not say that it has the event. When it had been sent already, RabbitMQ may have it all the same."""


class _State(Enum):
    CONNECTING = "there was no failed attempt yet: worth waiting for"
    CONNECTED = "events are published"
    AWAY = "the last attempt to connect failed; more follow"


@dataclass(frozen=True)
class _Message:
    message_id: str
    body: bytes
    confirmed: Future[None] = field(default_factory=Future)


def connection_parameters(settings: Settings) -> pika.ConnectionParameters:
    """How to log in to the broker: one attempt, given up after two seconds."""
    return pika.ConnectionParameters(
        host=settings.amqp.host,
        port=settings.amqp.port,
        virtual_host=settings.amqp_vhost,
        credentials=pika.PlainCredentials(settings.amqp_user, settings.amqp_password),
        heartbeat=10,
        connection_attempts=1,
        socket_timeout=1,
        stack_timeout=2,
        client_properties={"connection_name": "payment"},
    )


class Publisher:
    """Publishes persistent messages to one durable queue. Make it before a fork, `start` it after."""

    def __init__(self, settings: Settings) -> None:
        self._parameters = connection_parameters(settings)
        self._queue = settings.queue
        self._messages: SimpleQueue[_Message] = SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards _thread, _state and _connection
        self._state = _State.CONNECTING
        self._connection: pika.BlockingConnection | None = None
        self._sending_since: float | None = None

    def start(self) -> None:
        """Start the thread, in the process that is going to publish. Calls after the first do nothing."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def is_ready(self) -> bool:
        """Whether events are being published. Waits while connecting; says no at once when the broker is away."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not _State.CONNECTING, CONFIRM_TIMEOUT)
            since = self._sending_since
            stuck = since is not None and time.monotonic() - since > CONFIRM_TIMEOUT
            return self._state is _State.CONNECTED and not stuck

    def publish(self, message_id: str, body: bytes) -> None:
        """Return once RabbitMQ has the message safely in the queue; NotConfirmed when it has not said so in time."""
        message = _Message(message_id, body)
        try:
            with metrics.upstream_call("rabbitmq"):
                self._messages.put(message)
                self._wake()
                message.confirmed.result(CONFIRM_TIMEOUT)
        except Exception as error:
            message.confirmed.cancel()  # what was not sent by now never will be
            raise NotConfirmed(repr(error)) from error

    def close(self) -> None:
        """Log out of the broker and end the thread."""
        self._closing.set()
        self._wake()
        if self._thread:
            self._thread.join(CONFIRM_TIMEOUT)

    def _wake(self) -> None:
        # A connection that was lost just now needs no waking: the next one begins with what is queued.
        with self._changed, suppress(ConnectionWrongStateError):
            if self._connection:
                self._connection.add_callback_threadsafe(lambda: None)

    # What follows runs in the publishing thread.

    def _run(self) -> None:
        retry = _FIRST_RETRY
        while not self._closing.is_set():
            try:
                with pika.BlockingConnection(self._parameters) as connection:
                    channel = self._open_channel(connection)
                    self._become(_State.CONNECTED, connection)
                    retry = _FIRST_RETRY
                    self._serve(connection, channel)
            except Exception as error:  # pika raises more than its own errors, and the thread must outlive them all
                log.warning("RabbitMQ is not usable: %r", error)
                lost = self._state is _State.CONNECTED
                self._become(_State.CONNECTING if lost else _State.AWAY, None)
                self._closing.wait(retry * random.uniform(0.5, 1))  # not all workers at the same moment
                retry = min(2 * retry, _LAST_RETRY)

    def _become(self, state: _State, connection: pika.BlockingConnection | None) -> None:
        with self._changed:
            self._state = state
            self._connection = connection
            self._changed.notify_all()

    def _open_channel(self, connection: pika.BlockingConnection) -> BlockingChannel:
        """A channel with publisher confirms. The queue is used as it is, and made durable when there is none."""
        channel = connection.channel()
        try:
            channel.queue_declare(self._queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            channel = connection.channel()
            channel.queue_declare(self._queue, durable=True)
        channel.confirm_delivery()
        return channel

    def _serve(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        while not self._closing.is_set():
            while not self._messages.empty():
                self._send(channel, self._messages.get())
            connection.process_data_events(time_limit=None)  # heartbeats, until woken

    def _send(self, channel: BlockingChannel, message: _Message) -> None:
        if not message.confirmed.set_running_or_notify_cancel():
            return
        self._sending_since = time.monotonic()
        try:
            channel.basic_publish(
                exchange="",
                routing_key=self._queue,
                body=message.body,
                properties=pika.BasicProperties(
                    app_id="payment",
                    content_type="application/json",
                    delivery_mode=pika.DeliveryMode.Persistent,
                    message_id=message.message_id,
                    timestamp=int(time.time()),
                    type="order.paid",
                ),
                mandatory=True,
            )
        except NackError as error:  # RabbitMQ refused this message; the connection is as good as before
            message.confirmed.set_exception(error)
        except Exception as error:
            message.confirmed.set_exception(error)
            raise
        else:
            message.confirmed.set_result(None)
        finally:
            self._sending_since = None
