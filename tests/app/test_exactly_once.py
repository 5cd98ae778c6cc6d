"""Whatever goes wrong while clients pay: each paid order comes to the Order Processor, and is paid for once.

Every scenario runs on all deployments at the same time, so that a fault's duration is spent once.
"""

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from broker import Broker, BrokerClient
from deployments import Deployment, Disk, Gateway, Ledger, Neighbour, PostgresqlLedger, SqliteLedger, World
from load import Row
from postgres import Postgres
from scenarios import SCENARIOS, Scenario
from service import Service
from shared import Shared
from worlds import APART, BROKER, DEPLOYMENTS, vhosts_of

_ROUND = 240  # seconds that all scenarios take, on two processors


def _planned() -> list[Scenario]:
    """All scenarios; when SOAK_MINUTES is set, for so long, in random order."""
    minutes = int(os.environ.get("SOAK_MINUTES", "0"))
    if not minutes:
        return SCENARIOS
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(10**6))
    print(f"SOAK_SEED={seed}")
    chance = random.Random(seed)
    rounds = max(1, minutes * 60 // _ROUND)
    # Copies, because pytest plays equal parameters one after the other.
    return [replace(each) for _ in range(rounds) for each in chance.sample(SCENARIOS, len(SCENARIOS))]


@pytest.fixture(scope="module")
def world_of(servers: Shared, broker: BrokerClient, launch: Callable[..., Service]) -> Iterator[Callable[..., World]]:
    """The world of a scenario. Unless they are played side by side, the one whose broker may be stopped is for all."""
    with ExitStack() as stack:

        @cache
        def opened(name: str) -> World:
            return _open(name, stack, servers, broker, launch)

        yield lambda scenario: opened(scenario.world if APART else BROKER)


def _open(name: str, stack: ExitStack, servers: Shared, broker: BrokerClient, launch: Callable[..., Service]) -> World:
    def until_the_end(thing: Any) -> Any:
        stack.callback(thing.close)
        return thing

    vhosts = vhosts_of(name)
    if name == BROKER:
        broker = Broker(Path(tempfile.mkdtemp(dir=servers.directory)), vhosts=vhosts)
        stack.callback(broker.stop)
    gateway, cart, user = (
        until_the_end(neighbour)
        for neighbour in (Gateway(), Neighbour("shop.py", "cart"), Neighbour("shop.py", "user"))
    )

    def deployment(vhost: str, ledger_name: str, ledger: Ledger, instances: int) -> Deployment:
        variables = {
            "CART_PORT": cart.port,
            "USER_PORT": user.port,
            "PAYMENT_GATEWAY": f"sandbox://127.0.0.1:{gateway.port}",
            "PAYMENT_AMQP_PORT": broker.port,
            "PAYMENT_AMQP_VHOST": vhost,
            "PAYMENT_LEDGER_URL": ledger.url,
            "PAYMENT_RECONCILE_INTERVAL": 1,
        }
        services = [launch("uwsgi", **variables) for _ in range(instances)]
        return until_the_end(Deployment(ledger_name, ledger, services, broker, vhost))

    sqlite = SqliteLedger(until_the_end(Disk(megabytes=64)))
    disk = until_the_end(Disk(megabytes=256))
    (disk.path / "cluster").mkdir()
    postgres = Postgres(disk.path / "cluster", reachable=True)
    stack.callback(postgres.remove)
    wanted = [
        ("sqlite", sqlite, 1),
        ("postgresql", PostgresqlLedger(disk, postgres), 1),
        ("postgresql", PostgresqlLedger(disk, postgres), 2),
    ]
    with ThreadPoolExecutor() as threads:
        deployments = list(threads.map(lambda vhost, each: deployment(vhost, *each), vhosts, wanted))
    return World(broker, gateway, cart, user, deployments)


@pytest.fixture(scope="module", params=_planned(), ids=lambda scenario: scenario.name.replace(" ", "-"))
def played(
    request: pytest.FixtureRequest, world_of: Callable[[Scenario], World]
) -> tuple[int, Scenario, dict[str, Row]]:
    """One scenario: which of all it is, and its row for each deployment."""
    scenario = request.param
    return request.param_index, scenario, world_of(scenario).run(scenario.name, scenario.fault, scenario.after)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_exactly_once(
    played: tuple[int, Scenario, dict[str, Row]],
    deployment: str,
    record_property: Callable[[str, object], None],
) -> None:
    place, scenario, rows = played
    row = rows[deployment]
    record_property("fault", (place, row.figures()))
    assert (row.lost, row.doubled, row.charged_without_order) == (0, 0, 0), (row.details, row.statuses)
    assert row.details == {"unresolved": 0}, row.statuses
    assert row.ok >= 5, row.statuses
    assert scenario.failures or row.failed == 0, row.statuses
    assert row.slowest_s < scenario.slowest, row.statuses
    assert scenario.seen <= row.statuses.keys(), row.statuses
