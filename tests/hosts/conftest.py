"""The same tests for test hosts and live fleets:  pytest tests/hosts --hosts=ansible://payment --ansible-inventory=...

Expected values are the inventory's, as Ansible itself resolves them. Tests marked `disruptive` pay or open a port;
leave them out on a live fleet with  -m "not disruptive".
"""

import sys
from pathlib import Path

import pytest
import testinfra

sys.path.append(str(Path(__file__).parents[1]))

import resolved_inventory


def pytest_configure(config):
    """Hand Testinfra the resolved inventory in place of the given one, and reach the hosts as root."""
    config.addinivalue_line("markers", "disruptive: takes a payment or opens a port on a test host")
    resolved_inventory.use(config)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the service's own words beside a failure."""
    report = (yield).get_result()
    if report.failed and "host" in item.fixturenames and "host" in item.funcargs:
        journal = item.funcargs["host"].run("journalctl --unit=payment.service --lines=40 --no-pager")
        report.sections.append(("journal of payment.service", journal.stdout))


@pytest.fixture(scope="module")
def settings(host):
    """The variables of the host under test: name -> value."""
    return host.ansible.get_variables()


@pytest.fixture(scope="module")
def service(host):
    """The properties that systemd has of the running service."""
    shown = host.check_output("systemctl show payment.service")
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


@pytest.fixture(scope="module")
def secrets(settings):
    """What the inventory's configuration needs: name of the credential -> value."""
    needed = {"amqp_password": settings["payment_amqp_password"]}
    if settings["payment_ledger_url"]:
        needed["ledger_password"] = settings["payment_ledger_password"]
    if settings["payment_gateway"].startswith("https://"):
        needed["razorpay_key_secret"] = settings["payment_razorpay_key_secret"]
        needed["razorpay_webhook_secret"] = settings["payment_razorpay_webhook_secret"]
    return needed


@pytest.fixture(scope="module")
def in_group(settings, request):
    """Return a function: group name -> the first host of that group; a live fleet may have none to ask from."""

    def first(group):
        if not settings["groups"].get(group):
            pytest.skip(f"the inventory has no host in the group {group}")
        return testinfra.get_host(
            f"ansible://{settings['groups'][group][0]}?sudo=true",
            ansible_inventory=request.config.getoption("ansible_inventory"),
        )

    return first
