"""The zone that a packet reaches, as firewalld decides: by its source, else by its interface, else the default one."""

from ipaddress import ip_network

import pytest

from conftest import ROOT, plugin

ZONES = plugin(ROOT / "roles/app_firewall/module_utils/firewalld_zones.py")
BOUND = [
    ("office", ["198.51.100.0/24", "2001:db8::/64"], []),
    ("gate", ["00:11:22:33:44:55", "ipset:guests"], ["eth1"]),
    ("inside", [], ["eth0"]),
]


@pytest.mark.parametrize(
    ("source", "interfaces", "zone"),
    [
        ("198.51.100.7", {"eth0"}, "office"),
        ("198.51.100.0/25", {"eth0"}, "office"),
        ("198.51.0.0/16", {"eth0"}, "inside"),  # only a part of it is that zone's
        ("2001:db8::7", {"eth0"}, "office"),
        ("192.0.2.1", {"eth0"}, "inside"),
        ("192.0.2.1", {"eth1"}, "gate"),
        ("192.0.2.1", {"eth2"}, "public"),
        ("192.0.2.1", set(), "public"),
        (None, {"eth1"}, "gate"),
    ],
)
def test_zone_of_a_packet(source, interfaces, zone):
    assert ZONES.zone_of(source and ip_network(source), interfaces, BOUND, "public") == zone


@pytest.mark.parametrize(
    ("ports", "included"),
    [([], False), ([("8084", "tcp")], True), ([("8080-8090", "tcp")], True), ([("8080-8090", "udp")], False)],
)
def test_ports_that_include_one(ports, included):
    assert ZONES.includes(ports, 8084) == included
