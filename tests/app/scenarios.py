"""What goes wrong while clients pay: one function a scenario, and what has to be seen in its rows.

A scenario begins and ends its fault, and asserts that there was one. Load goes on before, during and after it.
"""

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from broker import QUEUE
from deployments import Deployment, World
from postgres import is_running
from service import PATIENCE, Service, wait_until
from worlds import BROKER, NEIGHBOURS, SERVICE

# Seconds in which a request is answered while the service runs. The longest timeout is 2.5, and a busy machine adds one
# or two; who waited for the broker of the longest fault, or for a lock, would take more. That there is a timeout at all
# is seen by the statuses, and that payments go on by counting them during the fault.
ANSWERED = 10
_SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock")


@dataclass(frozen=True, eq=False)
class Scenario:
    """A fault and what its rows must show; in all of them, nothing is lost, doubled or charged without an order."""

    name: str
    world: str
    fault: Callable[[World], None]
    after: float  # seconds of load after it
    failures: bool  # whether requests may fail
    seen: frozenset[int]  # statuses that prove the fault
    slowest: float  # seconds that an answer may take


SCENARIOS: list[Scenario] = []


def scenario(
    world: str,
    *,
    after: float = 1,
    failures: bool = False,
    seen: tuple[int, ...] = (),
    slowest: float = PATIENCE,
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def register(fault: Callable[[World], None]) -> Callable[[World], None]:
        name = fault.__name__.replace("_", " ")
        SCENARIOS.append(Scenario(name, world, fault, after, failures, frozenset(seen), slowest))
        return fault

    return register


@scenario(BROKER, slowest=ANSWERED)
def no_fault(world: World) -> None:
    time.sleep(2)


# The broker. Payments go on as if nothing was.


@scenario(BROKER, slowest=ANSWERED)
def broker_stopped_for_15_s(world: World) -> None:
    world.broker.ctl("stop_app")
    try:
        time.sleep(15)
        world.wait_for_payments(20)
    finally:
        world.broker.ctl("start_app")


@scenario(BROKER, slowest=ANSWERED)
def broker_killed_with_messages_queued(world: World) -> None:
    world.each(lambda deployment: deployment.processor.pause())
    wait_until(lambda: all(_queued(deployment) >= 5 for deployment in world.deployments), "messages are queued")
    world.broker.kill()
    world.wait_for_payments(20)
    world.broker.start()
    world.each(lambda deployment: deployment.processor.resume())


@scenario(BROKER)
def broker_unreachable_at_start(world: World) -> None:
    world.broker.suspend()
    try:
        world.each(_restart)
        world.wait_for_payments(10)
    finally:
        world.broker.resume()


@scenario(BROKER, slowest=ANSWERED)
def broker_hanging(world: World) -> None:
    with world.broker.hanging():
        time.sleep(3)
        world.wait_for_payments(10)


@scenario(BROKER, slowest=ANSWERED)
def queue_deleted(world: World) -> None:
    """It is made again, durable."""
    world.each(_delete_queue)
    wait_until(lambda: all(_queue_exists(deployment) for deployment in world.deployments), "the queue is back")


@scenario(BROKER, slowest=ANSWERED)
def queue_of_another_kind(world: World) -> None:
    """Made by someone else, not durable and with other arguments; it is used as it is."""
    other = {"durable": False, "arguments": {"x-max-length": 100_000}}
    world.each(lambda deployment: _delete_queue(deployment, **other))
    world.broker.drop_connections()
    time.sleep(2)
    world.each(lambda deployment: _assert_queue(deployment, **other))
    world.each(lambda deployment: _delete_queue(deployment, durable=True))


# Processes.


@scenario(SERVICE, failures=True, after=2)
def worker_killed_every_2_s(world: World) -> None:
    with world.gateway.mode("slow", 0.6):
        for _ in range(3):
            _kill_and_see({min(deployment.workers()) for deployment in world.deployments})
            time.sleep(1.9)


@scenario(SERVICE, failures=True)
def relay_owner_killed(world: World) -> None:
    """Another process is elected at once."""
    owners = {deployment.name: _owner(deployment) for deployment in world.deployments}
    with world.gateway.mode("slow", 0.6):
        time.sleep(0.5)
        _kill_and_see(set(owners.values()))
        for deployment in world.deployments:
            wait_until(lambda: deployment.relay_owner() not in (None, owners[deployment.name]), "another owner")  # noqa: B023


@scenario(SERVICE, failures=True, after=2)
def service_killed_and_started_again(world: World) -> None:
    with world.gateway.mode("slow", 0.6):
        time.sleep(0.5)
        world.each(lambda deployment: deployment.stop(Service.kill))
        world.each(lambda deployment: deployment.start())


@scenario(SERVICE)
def stopped_and_started_again(world: World) -> None:
    """SIGTERM: what is in flight is answered, and who comes meanwhile waits."""
    codes = world.each(_restart)
    assert all(code == 0 for codes_of_one in codes for code in codes_of_one), codes


@scenario(SERVICE)
def reloaded(world: World) -> None:
    """SIGHUP: other workers, the same master and socket."""
    before = {deployment.name: deployment.workers() for deployment in world.deployments}
    for deployment in world.deployments:
        for service in deployment.services:
            service.process.send_signal(signal.SIGHUP)
    for deployment in world.deployments:
        wait_until(lambda: deployment.workers() and not deployment.workers() & before[deployment.name], "reload")  # noqa: B023
    time.sleep(1)


# The ledger.


@scenario(SERVICE, failures=True, seen=(503,), slowest=ANSWERED)
def disk_full(world: World) -> None:
    disks = {deployment.ledger.disk for deployment in world.deployments}
    for deployment in world.deployments:
        deployment.ledger.prepare_for_full_disk()
    for disk in disks:
        disk.fill()
    try:
        _wait_for_status(world, 503)
        time.sleep(1)
    finally:
        for disk in disks:
            disk.free()


@scenario(SERVICE, failures=True, seen=(503,), slowest=ANSWERED)
def ledger_locked(world: World) -> None:
    with ExitStack() as locks:
        for deployment in world.deployments:
            locks.enter_context(deployment.ledger.locked())
        _wait_for_status(world, 503)
        time.sleep(1)


# The neighbours.


@scenario(NEIGHBOURS, failures=True, seen=(503,), slowest=ANSWERED)
def cart_answers_500(world: World) -> None:
    with world.cart.broken():
        time.sleep(2)
        _wait_for_status(world, 503)


@scenario(NEIGHBOURS, failures=True, seen=(503,), slowest=ANSWERED)
def cart_hanging(world: World) -> None:
    with world.cart.hanging():
        time.sleep(3)
        _wait_for_status(world, 503)


@scenario(NEIGHBOURS, failures=True, seen=(503,), slowest=ANSWERED)
def user_hanging(world: World) -> None:
    with world.user.hanging():
        time.sleep(3)
        _wait_for_status(world, 503)


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_hanging(world: World) -> None:
    with world.gateway.mode("hang"):
        time.sleep(3)
        _wait_for_status(world, 500)


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_answering_after_the_timeout(world: World) -> None:
    with world.gateway.mode("slow", 3.5):
        time.sleep(3)
        _wait_for_status(world, 500)


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_taking_the_money_late(world: World) -> None:
    """After the payment was closed because the gateway did not know it: it is given back."""
    with world.gateway.mode("late", 7):
        time.sleep(2)
        _wait_for_status(world, 500)
    wait_until(lambda: world.gateway.charges(0)[1] == 0, "the money is taken")


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_answering_500_before_the_money(world: World) -> None:
    with world.gateway.mode("error-before"):
        time.sleep(2)
        _wait_for_status(world, 500)


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_answering_500_after_the_money(world: World) -> None:
    with world.gateway.mode("error-after"):
        time.sleep(2)
        _wait_for_status(world, 500)


@scenario(NEIGHBOURS, failures=True, seen=(500,), slowest=ANSWERED)
def gateway_resetting_after_the_money(world: World) -> None:
    with world.gateway.mode("reset-after"):
        time.sleep(2)
        _wait_for_status(world, 500)


# The clients.


@scenario(NEIGHBOURS, slowest=ANSWERED)
def same_payment_many_times(world: World) -> None:
    """With and without a key, at once and one after the other: all get one order, or 409 while it is made."""

    def insist(deployment: Deployment) -> None:
        for number, keyed in itertools.product(range(5), [True, False]):
            session = deployment.load.session(f"many-{number}-{keyed}")
            key = session if keyed else None
            answers = deployment.load.post_at_once(session, key, times=6)
            answers += [deployment.load.post(session, key) for _ in range(2)]
            assert {answer.status for answer in answers} <= {200, 409}
            assert len({answer.order_id for answer in answers if answer.status == 200}) == 1

    world.each(insist)


@scenario(NEIGHBOURS, seen=(422,), slowest=ANSWERED)
def key_reused_with_another_body(world: World) -> None:
    def reuse(deployment: Deployment) -> None:
        for number in range(5):
            session = deployment.load.session(f"reused-{number}")
            assert deployment.load.post(session, session).status == 200
            assert deployment.load.post(session, session, {}).status == 422

    world.each(reuse)
    time.sleep(1)


@scenario(SERVICE)
def clock_set_back(world: World) -> None:
    """By two hours: who paid before gets the same answer again, and other payments go on."""
    with TemporaryDirectory() as directory:
        shift = Path(directory, "shift")
        shift.write_text("0")
        world.each(lambda deployment: _restart(deployment, PYTHONPATH=str(_SHIFTED_CLOCK), CLOCK_SHIFT=str(shift)))
        try:
            before = world.each(_pay_with_and_without_key)
            Path(directory, "new").write_text("-7200")
            Path(directory, "new").rename(shift)  # at once: it is read all the time
            world.each(_assert_clock_is_back)
            time.sleep(1)
            assert world.each(_pay_with_and_without_key) == before
        finally:
            world.each(_restart_between_payments)


@scenario(NEIGHBOURS, slowest=ANSWERED)
def slow_headers(world: World) -> None:
    """Clients that send their headers byte by byte take half of the slots, and do not stop the others."""
    line = itertools.cycle(b"GET /live HTTP/1.1\r\nX-Header: " + b"x" * 200)
    with ExitStack() as connections:
        slow = [
            connections.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            for deployment in world.deployments
            for service in deployment.services
            for _ in range(32)
        ]
        before = {each.name: each.load.statuses()[200] for each in world.deployments}
        for _ in range(20):
            byte = bytes([next(line)])
            for connection in slow:
                connection.sendall(byte)
            time.sleep(0.2)
        # A hundred in those four seconds, and none when they have to wait for the slow ones.
        assert all(each.load.statuses()[200] >= before[each.name] + 5 for each in world.deployments)


def _restart(deployment: Deployment, **variables: str) -> list[int]:
    codes = deployment.stop()
    deployment.start(**variables)
    return codes


def _restart_between_payments(deployment: Deployment) -> None:
    """A clock that is set forward ends every duplicate window, so no client may be between two tries of one payment."""
    with deployment.load.paused():
        _restart(deployment)


def _kill_and_see(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)), "the processes are gone")


def _owner(deployment: Deployment) -> int:
    return wait_until(deployment.relay_owner, "a relay is elected")


def _wait_for_status(world: World, status: int) -> None:
    wait_until(lambda: all(each.load.statuses()[status] for each in world.deployments), f"{status} everywhere")


def _pay_with_and_without_key(deployment: Deployment) -> list[str | None]:
    session = deployment.load.session("clock")
    return [deployment.load.post(f"{session}-{key}", key).order_id for key in (f"{session}-k", None)]


def _assert_clock_is_back(deployment: Deployment) -> None:
    """An order id begins with the time in milliseconds."""
    order_id = deployment.load.post(deployment.load.session("back")).order_id
    assert int(order_id[4:17]) / 1000 < time.time() - 3600


def _queued(deployment: Deployment) -> int:
    with deployment.connect() as connection:
        return connection.channel().queue_declare(QUEUE, passive=True).method.message_count


def _queue_exists(deployment: Deployment) -> bool:
    try:
        _assert_queue(deployment, durable=True)
    except ChannelClosedByBroker:
        return False
    return True


def _assert_queue(deployment: Deployment, **properties: Any) -> None:
    """An active declaration fails when the queue has other properties, a passive one when there is none."""
    with deployment.connect() as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, passive=True)
        channel.queue_declare(QUEUE, **properties)


def _delete_queue(deployment: Deployment, **another: Any) -> None:
    """While no order is in it or on its way: RabbitMQ confirms what a deletion overtakes. `another` is made then."""
    with deployment.load.paused(), deployment.connect() as connection:
        wait_until(lambda: deployment.unresolved() == 0 and _queued(deployment) == 0, "the queue is empty")
        channel = connection.channel()
        channel.queue_delete(QUEUE)
        if another:
            channel.queue_declare(QUEUE, **another)
