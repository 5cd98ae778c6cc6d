"""Moves order events from the outbox to RabbitMQ: at least once, in order, and out of the outbox when confirmed.

Many events are on their way at a time; RabbitMQ confirms them as it gets them onto disk. An event that is refused, or
finds no queue, stops the ones behind it: the session ends, and the next one begins with that event.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from . import amqp, metrics, threads
from .database import LedgerUnavailable
from .ledger import Event, Ledger
from .settings import Settings

_FIRST_RETRY, _LAST_RETRY = 0.1, 5.0  # seconds from one session to the next
_WINDOW = 1000  # events on their way at a time
_PAGE = 250  # events read or removed at a time
_LINGER = 0.05  # seconds in which events are gathered, to publish them together, and confirms, to remove theirs
_SWEEP = 0.5  # seconds from one reading of the outbox from its beginning to the next
_NOT_FOUND = 404

log = logging.getLogger(__name__)


class Relay:
    """Publishes for one ledger, in one thread at a time: that of `run`."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._parameters = amqp.connection_parameters(settings)
        self._queue = settings.queue

    def run(self, stop: threading.Event, wait: Callable[[float], bool], holds: Callable[[], bool]) -> None:
        """Publish until told to stop, or until this process is no longer elected.

        `wait` is Election.wait: its answer says that a process has put something into the outbox.
        """
        retry = _FIRST_RETRY
        while not stop.is_set() and holds():
            session = _Session(self._ledger, self._parameters, self._queue)
            waker = threads.start("relay-waker", _pass_on, session, stop, wait, holds)
            problem = session.run()
            metrics.relay_connected.set(0)
            session.ended.set()
            waker.join()
            session.dispose()
            if session.got_through:
                retry = _FIRST_RETRY
            if problem:
                log.warning("orders cannot be published now: %s", problem)
                stop.wait(retry * random.uniform(0.5, 1))
                retry = min(2 * retry, _LAST_RETRY)


def _pass_on(
    session: "_Session", stop: threading.Event, wait: Callable[[float], bool], holds: Callable[[], bool]
) -> None:
    """Tell the session what comes from outside its thread."""
    swept = time.monotonic()
    while not session.ended.is_set():
        woken = wait(_SWEEP)
        if woken:  # the first of many at once; what comes right behind it goes together
            session.wake()
            session.ended.wait(_LINGER)
        if not woken or time.monotonic() - swept >= _SWEEP:  # it must not wait for ever while there is always news
            session.sweep()
            swept = time.monotonic()
        if stop.is_set() or not holds():
            session.close()


class _Session:
    """One connection, from login to its end. All but `wake`, `sweep` and `close` runs in the thread of `run`."""

    def __init__(self, ledger: Ledger, parameters: pika.ConnectionParameters, queue: str) -> None:
        self.ended = threading.Event()
        self.got_through = False  # whether RabbitMQ confirmed anything
        self._ledger = ledger
        self._parameters = parameters
        self._queue = queue
        self._loop = IOLoop()
        self._connection: pika.SelectConnection | None = None
        self._channel: Channel | None = None  # once it is ready
        self._problem: str | None = None
        self._closing = False
        self._published_tag = 0  # RabbitMQ numbers the messages of a channel from 1
        self._last = 0  # sequence number of the event that was read last
        self._on_their_way: dict[int, Event] = {}  # by tag, in order
        self._returned: set[str] = set()
        self._confirmed: list[int] = []
        self._removal_planned = False
        self._more = False  # whether the outbox held more than was read

    def run(self) -> str | None:
        """Until the connection ends; why it did, None when it was asked to."""
        try:
            self._connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=lambda _: self._open_channel(declare=False),
                on_open_error_callback=self._on_lost,
                on_close_callback=self._on_lost,
                custom_ioloop=self._loop,
            )
            self._loop.start()
        except Exception as error:  # pika raises more than its own errors, and the relay must outlive them all
            self._problem = self._problem or repr(error)
            self._abandon()
        self._remove_confirmed()
        return self._problem

    def wake(self) -> None:
        self._loop.add_callback_threadsafe(self._publish)

    def sweep(self) -> None:
        """As `wake`, and see to events that were numbered before those that came first, as PostgreSQL allows."""
        self._loop.add_callback_threadsafe(lambda: self._publish(sweep=True))

    def dispose(self) -> None:
        self._loop.close()

    def close(self) -> None:
        self._loop.add_callback_threadsafe(self._close)

    def _close(self) -> None:
        self._closing = True
        if not self._on_their_way:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection and self._connection.is_open:
            self._connection.close()
        elif not self._connection or self._connection.is_closed:
            self._loop.stop()

    def _abandon(self) -> None:
        """Close the sockets of a connection that failed in a way of its own."""
        try:
            if self._connection and not self._connection.is_closed:
                self._connection.close()
                self._loop.call_later(1, self._loop.stop)
                self._loop.start()
        except Exception as error:
            log.debug("while closing: %r", error)

    def _on_lost(self, _: object, reason: object) -> None:
        if not self._closing:
            self._problem = self._problem or repr(reason)
        self._loop.stop()

    def _fail(self, problem: str) -> None:
        """Send no more, hear what becomes of what was sent, and end."""
        self._problem = self._problem or problem
        self._close()

    def _open_channel(self, declare: bool) -> None:
        """The queue is used as it is, and made durable when there is none."""

        def opened(channel: Channel) -> None:
            channel.add_on_close_callback(closed)
            channel.queue_declare(
                self._queue, passive=not declare, durable=True, callback=lambda _: self._prepare(channel)
            )

        def closed(_: Channel, reason: Exception) -> None:
            missing = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == _NOT_FOUND
            if missing and not declare and not self._channel:
                self._open_channel(declare=True)
            elif not self._closing:
                self._on_their_way.clear()
                self._fail(repr(reason))

        self._connection.channel(on_open_callback=opened)

    def _prepare(self, channel: Channel) -> None:
        def ready(_: Method) -> None:
            self._channel = channel
            metrics.relay_connected.set(1)
            self._publish()

        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_outcome, callback=ready)

    def _publish(self, sweep: bool = False) -> None:
        """Send what is in the outbox, as far as the window goes."""
        if not self._channel or self._closing:
            return
        try:
            if sweep:
                known = {event.sequence for event in self._on_their_way.values()} | set(self._confirmed)
                for event in self._ledger.next_events(0, _WINDOW + _PAGE):
                    if event.sequence <= self._last and event.sequence not in known:
                        self._send(event)
            while len(self._on_their_way) < _WINDOW:
                events = self._ledger.next_events(self._last, _PAGE)
                for event in events:
                    self._send(event)
                self._more = len(events) == _PAGE
                if not self._more:
                    return
        except LedgerUnavailable as error:
            self._fail(f"the ledger cannot be used: {error}")

    def _send(self, event: Event) -> None:
        self._last = max(self._last, event.sequence)
        self._published_tag += 1
        self._on_their_way[self._published_tag] = event
        self._channel.basic_publish(
            exchange="",
            routing_key=self._queue,
            body=event.body.encode(),
            properties=pika.BasicProperties(
                app_id="payment",
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                headers={"traceparent": event.traceparent} if event.traceparent else None,
                message_id=event.order_id,
                timestamp=int(event.created_at),
                type="order.paid",
            ),
            mandatory=True,
        )

    def _on_returned(self, _: Channel, __: Basic.Return, properties: pika.BasicProperties, ___: bytes) -> None:
        """There is no queue. The confirm follows all the same."""
        self._returned.add(properties.message_id)

    def _on_outcome(self, frame: Method) -> None:
        """RabbitMQ has one message or all up to it, or refuses them."""
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            tags = [each for each in self._on_their_way if each <= tag]
        else:
            tags = [tag] if tag in self._on_their_way else []
        for each in tags:
            event = self._on_their_way.pop(each)
            if isinstance(frame.method, Basic.Nack):
                self._refused(event, "RabbitMQ refuses it")
            elif event.order_id in self._returned:
                self._refused(event, "there is no queue for it")
            else:
                self.got_through = True
                self._confirmed.append(event.sequence)
        if self._closing and not self._on_their_way:
            self._disconnect()
        elif len(self._confirmed) >= _PAGE:
            self._remove_confirmed()
        elif self._confirmed and not self._removal_planned:
            self._removal_planned = True
            self._loop.call_later(_LINGER, self._remove_confirmed)
        if self._more and len(self._on_their_way) < _WINDOW // 2:
            self._publish()

    def _refused(self, event: Event, problem: str) -> None:
        if not self._problem:
            try:
                self._ledger.refused(event.sequence, problem)
            except LedgerUnavailable as error:
                log.warning("cannot record that %s was refused: %s", event.order_id, error)
        self._fail(f"{event.order_id}: {problem}")

    def _remove_confirmed(self) -> None:
        self._removal_planned = False
        if not self._confirmed:
            return
        try:
            self._ledger.published(self._confirmed)
            self._confirmed.clear()
        except LedgerUnavailable as error:
            # They stay in the outbox and are published once more, which their message_id tells.
            self._confirmed.clear()
            self._fail(f"the ledger cannot be used: {error}")
