"""firewalld lets the inventory's sources in at the service's port, now and after a reboot, and nobody else."""

import ipaddress
import re

import pytest
import testinfra

EVERYONE = "any"


def test_firewalld_runs_now_and_after_a_reboot(host):
    assert host.service("firewalld").is_running
    assert host.service("firewalld").is_enabled


@pytest.mark.parametrize("when", ["", "--permanent"], ids=["now", "after a reboot"])
def test_the_services_port_is_open_to_its_sources_alone(host, settings, when):
    zone = f"--zone={settings['app_firewall_zone']}" if settings["app_firewall_zone"] else ""
    port, sources = settings["payment_port"], settings["app_firewall_sources"]
    ports = set(host.check_output(f"firewall-cmd {when} {zone} --list-ports").split())
    rules = set(host.check_output(f"firewall-cmd {when} {zone} --list-rich-rules").splitlines())
    if "testbed_name" not in settings:  # a live host may have other rules, for others
        ports &= {f"{port}/tcp"}
        rules = {rule for rule in rules if re.search(rf'port port="{port}" protocol="tcp".* accept', rule)}
    if EVERYONE in sources:
        assert (ports, rules) == ({f"{port}/tcp"}, set())
        return
    assert ports == set()
    assert rules == {
        f'rule family="ipv{ipaddress.ip_network(source).version}" source address="{source}" '
        f'port port="{port}" protocol="tcp" accept'
        for source in sources
    }


def test_a_frontend_reaches_the_service(in_group, settings):
    frontend = in_group("frontend")
    assert frontend.addr(settings["ansible_host"]).port(settings["payment_port"]).is_reachable


def test_a_stranger_does_not(host, settings, request):
    """A host of the inventory that is none of the sources reaches the host, but not the service."""
    sources = settings["app_firewall_sources"]
    if EVERYONE in sources:
        pytest.skip("there are no strangers")
    name = settings["groups"]["cart"][0]
    inventory = request.config.getoption("ansible_inventory")
    stranger = testinfra.get_host(f"ansible://{name}?sudo=true", ansible_inventory=inventory)
    address = stranger.ansible.get_variables()["ansible_host"]
    known = [settings["ansible_host"], *settings["app_firewall_sources"]]
    if address == "localhost" or any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in known):
        pytest.skip(f"{name} is no stranger")
    assert stranger.addr(settings["ansible_host"]).port(settings.get("ansible_port", 22)).is_reachable
    assert not stranger.addr(settings["ansible_host"]).port(settings["payment_port"]).is_reachable


@pytest.mark.disruptive
@pytest.mark.parametrize("offset", [-1, 1])
def test_another_host_does_not_reach_the_ports_beside_it(host, in_group, settings, offset):
    """A listener makes sure that it is the firewall that refuses."""
    port = settings["payment_port"] + offset
    unit = f"listener-{port}"
    host.check_output(f"systemd-run --quiet --collect --unit={unit} /usr/bin/python3 -m http.server {port}")
    try:
        host.check_output(f"curl --silent --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:{port}/")
        assert not in_group("frontend").addr(settings["ansible_host"]).port(port).is_reachable
    finally:
        host.check_output(f"systemctl stop {unit}")
