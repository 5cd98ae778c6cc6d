"""firewalld lets the service's port in, now and after a reboot, and nothing beside it."""

import pytest


def test_firewalld_runs_now_and_after_a_reboot(host):
    assert host.service("firewalld").is_running
    assert host.service("firewalld").is_enabled


@pytest.mark.parametrize("when", ["", "--permanent"], ids=["now", "after a reboot"])
def test_the_services_port_is_open(host, settings, when):
    zone = f"--zone={settings['app_firewall_zone']}" if settings["app_firewall_zone"] else ""
    ports = host.check_output(f"firewall-cmd {when} {zone} --list-ports").split()
    assert f"{settings['payment_port']}/tcp" in ports
    if "testbed_name" in settings:  # a live host may have other ports, for others
        assert len(ports) == 1


def test_another_host_reaches_the_service(in_group, settings):
    other = in_group("frontend")
    assert other.addr(settings["ansible_host"]).port(settings["payment_port"]).is_reachable


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
