"""The service's port is open to its sources alone, whatever firewalld was like before; what others opened stays.

Test after test, on one host, which is at the end as it was.
"""

import functools
import json
import re

import pytest
import results
import testinfra

from conftest import ROOT

pytestmark = pytest.mark.in_turn

# Prints which ports of a host let this one in. A port that does not may not answer at all.
SCAN = """
import concurrent.futures, json, socket, sys

def is_open(port):
    try:
        # An open port is the kernel's to answer, which takes no part of three seconds under any load.
        socket.create_connection((sys.argv[1], port), timeout=3).close()
        return True
    except OSError:
        return False

ports = json.loads(sys.argv[2])
with concurrent.futures.ThreadPoolExecutor(len(ports)) as threads:
    print(json.dumps([port for port, found in zip(ports, threads.map(is_open, ports)) if found]))
"""
USUAL = {22, 80, 443, 5432, 5672, *range(8080, 8100), 9090, 15672, 18084}
SSH, PORT, MOVED = 22, 8084, 8094
EVERYONE = ["any"]
WHEN = ("", "--permanent")
RULE = 'rule family="ipv4" source address="{}" port port="{}" protocol="tcp" {}'

# What others have done, at other ports and at ours: lasting, and until firewalld starts anew.
LASTING = {"9001/tcp", RULE.format("198.51.100.7", 9002, "accept"), RULE.format("198.51.100.7", PORT, "reject")}
PASSING = {"9003/tcp", RULE.format("198.51.100.8", 9004, "accept"), RULE.format("198.51.100.8", PORT, "reject")}


@pytest.fixture(scope="module")
def site(play):
    """Return a function that plays site.yml."""
    return functools.partial(play, "site.yml")


@pytest.fixture(scope="module")
def role(play):
    """Return a function that plays the role's part of site.yml alone."""
    return functools.partial(play, "../tests/scenarios/security/firewall.yml")


@pytest.fixture
def scan(host, settings, request, capsys):
    """Return a function that scans, shows, and returns the ports that the frontend and a stranger reach.

    Nothing is open where nothing listens: tried is what something listens at, and what is usual.
    """
    inventory = request.config.getoption("ansible_inventory")
    groups = {"frontend": "frontend", "stranger": "cart"}
    clients = {
        who: testinfra.get_host(f"ansible://{settings['groups'][group][0]}", ansible_inventory=inventory)
        for who, group in groups.items()
    }

    def reached(when):
        listening = {int(line.split()[3].rpartition(":")[2]) for line in host.check_output("ss -Hltn").splitlines()}
        ports = sorted(USUAL | listening)
        scan = "/usr/bin/python3 -c %s %s %s"
        found = {
            who: json.loads(client.check_output(scan, SCAN, settings["ansible_host"], json.dumps(ports)))
            for who, client in clients.items()
        }
        with capsys.disabled():
            print(f"\n{when + ':':<38}", *(f"{who} {found[who]}" for who in found), f"of {len(ports)} ports", end=" ")
        return found

    return reached


@pytest.fixture
def rules(host):
    """Return a function: what firewalld's zone has, now and after a reboot, as two sets of lines."""

    def lists(when):
        ports = host.check_output(f"firewall-cmd {when} --list-ports").split()
        services = host.check_output(f"firewall-cmd {when} --list-services").split()
        return {*ports, *services, *host.check_output(f"firewall-cmd {when} --list-rich-rules").splitlines()}

    return lambda: (lists(""), lists("--permanent"))


def ours(sources, port=PORT):
    """The rules that let the sources in."""
    return {RULE.format(source, port, "accept") for source in sources}


def firewall(host, verb, rule, when=""):
    option = f"--{verb}-rich-rule" if rule.startswith("rule ") else f"--{verb}-port"
    host.check_output(f"firewall-cmd {when} {option}=%s", rule)


@pytest.fixture(scope="module")
def sources(settings):
    return settings["app_firewall_sources"]


@pytest.fixture(scope="module")
def without_the_frontend(sources, request, settings):
    inventory = request.config.getoption("ansible_inventory")
    frontend = testinfra.get_host(f"ansible://{settings['groups']['frontend'][0]}", ansible_inventory=inventory)
    remaining = [source for source in sources if source != frontend.ansible.get_variables()["ansible_host"]]
    assert len(remaining) == len(sources) - 1
    return remaining


@pytest.fixture(scope="module")
def shipped(host):
    """What the firewall is like before and after these tests."""
    return set(host.check_output("firewall-cmd --list-services").split())


def test_a_stranger_finds_ssh_alone(scan, rules, shipped, sources):
    found = scan("as shipped")
    with results.document("security", {}) as document:
        document["open_ports_from_stranger"] = found["stranger"]
    assert found == {"frontend": [SSH, PORT], "stranger": [SSH]}
    assert rules() == (shipped | ours(sources), shipped | ours(sources))


def test_a_source_that_is_removed(role, scan, rules, host, shipped, without_the_frontend):
    """So is what this role once opened to everyone, as the guide does; not so what others opened or closed."""
    for rule in LASTING | PASSING | {f"{PORT}/tcp"}:
        firewall(host, "add", rule)
    for rule in LASTING | {f"{PORT}/tcp"}:
        firewall(host, "add", rule, "--permanent")
    assert scan("open to everyone by hand") == {"frontend": [SSH, PORT], "stranger": [SSH, PORT]}

    played = role(app_firewall_sources=without_the_frontend)
    assert played.code == 0, played.output
    assert scan("the frontend is removed") == {"frontend": [SSH], "stranger": [SSH]}
    lasting = shipped | ours(without_the_frontend) | LASTING
    assert rules() == (lasting | PASSING, lasting)


def test_check_mode_says_what_would_change(role, rules):
    before = rules()
    played = role("--check", "--diff", app_firewall_sources=EVERYONE)
    assert played.code == 0, played.output
    assert re.search(rf"^\+public, now: {PORT}/tcp$", played.output, re.MULTILINE)
    assert re.search(rf"^\+public, after a reboot: {PORT}/tcp$", played.output, re.MULTILINE)
    assert rules() == before


def test_everyone_where_that_is_said(role, scan, rules, shipped):
    """As in the guide: `firewall-cmd --list-ports` has it."""
    played = role(app_firewall_sources=EVERYONE)
    assert played.code == 0, played.output
    assert scan("open to any") == {"frontend": [SSH, PORT], "stranger": [SSH, PORT]}
    assert rules()[1] == shipped | LASTING | {f"{PORT}/tcp"}


def test_everyone_where_a_range_lets_everyone_in(role, rules, host):
    """What is open along with others is open: firewalld would refuse to add a part of a range."""
    host.check_output(f"firewall-cmd --remove-port={PORT}/tcp && firewall-cmd --permanent --remove-port={PORT}/tcp")
    for when in ("", "--permanent"):
        firewall(host, "add", "8080-8090/tcp", when)
    before = rules()
    try:
        played = role(app_firewall_sources=EVERYONE)
        assert (played.code, played.recap("payment-1")["changed"]) == (0, 0), played.output
        assert rules() == before
    finally:
        for when in ("", "--permanent"):
            firewall(host, "remove", "8080-8090/tcp", when)
    assert role(app_firewall_sources=EVERYONE).code == 0


def test_the_zone_that_packets_reach(role, scan, host, sources):
    """An interface that is bound to another zone than the default one, as NetworkManager and cloud images do it."""
    bind = "firewall-cmd --zone={zone} --change-interface=eth0 && firewall-cmd --permanent --zone={zone} {verb}=eth0"
    host.check_output(bind.format(zone="internal", verb="--change-interface"))
    try:
        assert scan("another zone")["frontend"] == [SSH]
        refused = role(app_firewall_sources=sources, app_firewall_zone="public")
        assert refused.code != 0
        assert "reach the zone internal. Set app_firewall_zone to that" in " ".join(refused.output.split())
        played = role(app_firewall_sources=sources)
        assert played.code == 0, played.output
        assert scan("opened there")["frontend"] == [SSH, PORT]
        opened = {when: host.check_output(f"firewall-cmd {when} --zone=internal --list-rich-rules") for when in WHEN}
        assert {when: set(lines.splitlines()) for when, lines in opened.items()} == dict.fromkeys(WHEN, ours(sources))
        assert f'port="{PORT}"' not in host.check_output("firewall-cmd --zone=public --list-rich-rules | grep accept")
    finally:
        host.check_output("firewall-cmd --zone=internal --remove-interface=eth0")
        host.check_output("firewall-cmd --permanent --zone=internal --remove-interface=eth0")
    assert role(app_firewall_sources=EVERYONE).code == 0


def test_a_port_is_open_until_the_service_has_left_it(site, scan, rules, shipped, sources):
    """Here a run is killed before the service has; the next one still knows what to close."""
    site(payment_port=MOVED, kill_at="Look at the account")
    assert scan("killed before the port has changed")["frontend"] == [SSH, PORT]
    assert ours(sources, MOVED) | {f"{PORT}/tcp"} <= rules()[0]

    played = site(payment_port=MOVED)
    assert played.code == 0, played.output
    assert scan("the port has changed") == {"frontend": [SSH, MOVED], "stranger": [SSH]}
    lasting = shipped | ours(sources, MOVED) | LASTING
    assert rules() == (lasting | PASSING, lasting)


def test_a_firewall_that_would_lock_out_ssh_is_not_started(role, host):
    host.check_output("systemctl disable --now firewalld")
    host.check_output("firewall-offline-cmd --zone=public --remove-service-from-zone=ssh")
    played = role()
    assert played.code != 0
    assert f"its zone public would not let in SSH at port {SSH}, by which Ansible is connected" in played.output
    assert f"Run firewall-offline-cmd --zone=public --add-port={SSH}/tcp" in played.output
    assert not host.service("firewalld").is_running
    host.check_output("firewall-offline-cmd --zone=public --add-service=ssh")


REMOVE_SSH = "--zone=public --remove-service-from-zone=ssh"
FROM = "--zone=public --add-rich-rule='rule family=ipv4 source address={} service name=ssh accept'"


@pytest.mark.parametrize(
    ("files", "refusing_zone"),
    [
        ([], None),
        ([REMOVE_SSH], "public"),
        ([REMOVE_SSH, "--zone=public --add-port=20-25/tcp"], None),
        ([REMOVE_SSH, "--zone=public --add-port=22/udp"], "public"),
        ([REMOVE_SSH, FROM.format("{client}")], None),
        ([REMOVE_SSH, FROM.format("198.51.100.7")], "public"),
        ([REMOVE_SSH, FROM.format("{client}").replace("accept", "drop")], "public"),
        (["--set-default-zone=drop"], "drop"),
        (["--set-default-zone=trusted"], None),
        (["--zone=drop --add-source={client}"], "drop"),
        (["--zone=drop --add-interface=eth0"], "drop"),
        (["--zone=drop --add-interface=eth1"], None),
        (["--zone=drop --add-interface=eth0", "--zone=public --add-source={client}"], None),
    ],
)
def test_what_lets_in_ssh(host, without_the_frontend, files, refusing_zone, monkeypatch):
    monkeypatch.setenv("ANSIBLE_LIBRARY", str(ROOT / "roles/app_firewall/library"))
    monkeypatch.setenv("ANSIBLE_MODULE_UTILS", str(ROOT / "roles/app_firewall/module_utils"))
    host.check_output("cp -a /etc/firewalld /root/firewalld")
    try:
        for change in files:
            host.check_output("firewall-offline-cmd " + change.format(client=without_the_frontend[0]))
        said = host.ansible("app_firewall_lockout", check=False, become=True)
    except host.ansible.AnsibleException as failure:
        said = failure.result
    finally:
        host.check_output("rm -r /etc/firewalld && mv /root/firewalld /etc/firewalld")
    refused = re.search(r"its zone (\w+) would not let in SSH at port 22, by which", said.get("msg", ""))
    assert (refused and refused[1]) == refusing_zone, said


def test_a_firewall_that_was_stopped(site, scan, rules, host, shipped, sources):
    """The service comes back to its port, too: what was opened for the other one is closed."""
    played = site()
    assert played.code == 0, played.output
    assert host.service("firewalld").is_running
    assert host.service("firewalld").is_enabled
    assert scan("firewalld was stopped") == {"frontend": [SSH, PORT], "stranger": [SSH]}
    lasting = shipped | ours(sources) | LASTING
    assert rules() == (lasting, lasting)


def test_a_firewall_that_is_absent(role, scan, rules, host, shipped, sources):
    host.check_output("systemctl stop firewalld")
    host.check_output("dnf --quiet --assumeyes remove firewalld python3-firewall")
    host.check_output("rm -rf /etc/firewalld /var/lib/app_firewall")
    checked = role("--check")
    assert checked.code == 0, checked.output
    assert not host.package("firewalld").is_installed
    assert checked.recap("payment-1")["changed"] >= 1

    played = role()
    assert played.code == 0, played.output
    assert host.service("firewalld").is_enabled
    assert scan("firewalld was absent") == {"frontend": [SSH, PORT], "stranger": [SSH]}
    assert rules() == (shipped | ours(sources), shipped | ours(sources))


def test_the_host_is_as_it_was(site):
    """And a run that changes nothing says so."""
    assert site().recap("payment-1")["changed"] == 0
