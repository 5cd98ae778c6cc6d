"""Two payment hosts behind a frontend, which is the host under test: clients ask there."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

sys.path.append(str(Path(__file__).parents[1]))

from playing import loaded, play, pytest_configure, settings, source, wheels  # noqa: F401


@pytest.fixture(scope="module")
def payment_hosts(settings: dict[str, object], request: pytest.FixtureRequest) -> dict[str, Host]:  # noqa: F811
    """The payment hosts, by name."""
    inventory = request.config.getoption("ansible_inventory")
    return {
        name: testinfra.get_host(f"ansible://{name}?sudo=true", ansible_inventory=inventory)
        for name in settings["groups"]["payment"]
    }


@pytest.fixture(scope="module")
def urls(payment_hosts: dict[str, Host], settings: dict[str, object]) -> dict[str, str]:  # noqa: F811
    """Where the payment hosts themselves are asked, by name."""
    addresses = {name: host.ansible.get_variables()["ansible_host"] for name, host in payment_hosts.items()}
    return {name: f"http://{address}:{settings['payment_port']}" for name, address in addresses.items()}


@pytest.fixture(scope="module")
def route(settings: dict[str, object]) -> str:  # noqa: F811
    """Where clients ask."""
    return f"http://{settings['ansible_host']}/api/payment"


@pytest.fixture
def under_load(route: str, record_property: Callable[[str, object], None]) -> Callable[[str], AbstractContextManager]:
    return lambda scenario: loaded(record_property, f"rolling: {scenario}", route)
