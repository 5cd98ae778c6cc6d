#!/usr/bin/python
"""Open an application's ports to its sources in firewalld, and close what was open for it beside that."""

import ipaddress
import json
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.firewalld_zones import includes, zone_of

try:
    from dbus.exceptions import DBusException
    from firewall.client import FirewallClient, FirewallClientZoneSettings
    from firewall.core.fw import Firewall
    from firewall.core.rich import Rich_Accept, Rich_Port, Rich_Rule
    from firewall.errors import FirewallError
except ImportError as error:
    MISSING = error
else:
    MISSING = None

DOCUMENTATION = r"""
module: app_firewall
short_description: Opens an application's ports to its sources in firewalld, now and after a reboot
description:
  - Adds what is missing, then removes what else lets anyone in at these ports, or was added by an earlier run for this
    application. All other rules stay, also those that only the running firewall has.
  - Where firewalld does not run, its files are written.
options:
  name:
    description: The application. What was added for it is remembered under this name.
    type: str
    required: true
  ports:
    description: Ports, each as C(port/protocol).
    type: list
    elements: str
    required: true
  sources:
    description: Addresses and networks that are let in; C(any) for everyone.
    type: list
    elements: str
    required: true
  zone:
    description:
      - Zone to open them in. It has to be the one that the sources' packets reach.
      - Empty means that one, for each source, by what firewalld goes by now and by what it goes by after a reboot - the
        zone of the source, else that of the interface, else the default one.
    type: str
    default: ""
  keep_earlier:
    description: Whether to leave open what an earlier run has added for other ports than these.
    type: bool
    default: false
author: skillupworks
"""
RETURN = r"""
running:
  description: Whether firewalld runs.
  type: bool
  returned: success
enabled:
  description: Whether it is started after a reboot.
  type: bool
  returned: success
earlier:
  description: What was left open of an earlier run, each as zone and opening.
  type: list
  returned: success
"""
RECORDS = Path("/var/lib/app_firewall")
EVERYONE = "any"


class Zone:
    """What is open in a zone, in the running firewall or for its next start.

    An opening is a port as `8084/tcp`, or a rich rule. `calls` has the methods of firewalld's bindings, all of which
    take `arguments` first, and `service_ports` returns those of a service.
    """

    def __init__(self, name, when, calls, service_ports, *arguments, save=lambda: None):
        self.name, self.when, self._calls, self._arguments, self._save = name, when, calls, arguments, save
        self._service_ports = service_ports

    def lets_everyone_in(self, port):
        """Whether that is open along with others, in a range of ports or a service."""
        number, protocol = port.split("/")
        ports = [pair for pair in self._calls.getPorts(*self._arguments) if pair[0] != number]
        for service in self._calls.getServices(*self._arguments):
            ports += self._service_ports(service)
        return number.isdecimal() and includes(ports, int(number), protocol)

    def openings(self):
        ports = {f"{port}/{protocol}" for port, protocol in self._calls.getPorts(*self._arguments)}
        return ports | set(self._calls.getRichRules(*self._arguments))

    def change(self, missing, surplus):
        """Add first, so that nobody is cut off who may come before and after."""
        for verb, openings in (("add", missing), ("remove", surplus)):
            for opening in openings:
                if opening.startswith("rule "):
                    getattr(self._calls, f"{verb}RichRule")(*self._arguments, opening)
                else:
                    getattr(self._calls, f"{verb}Port")(*self._arguments, *opening.split("/"))
        self._save()


class Running:
    """firewalld as it runs: what it does now, and what it will do after its next start.

    `arrivals` has for each of the two how it sorts packets: (name, sources, interfaces) of zones, and the default zone.
    """

    running = True

    def __init__(self, client):
        self._client, self._config = client, client.config()
        self.zone_names = self._config.getZoneNames()
        now = [(name, of.get("sources", []), of.get("interfaces", [])) for name, of in client.getActiveZones().items()]
        stored = [(name, self._config.getZoneByName(name)) for name in self.zone_names]
        later = [(name, zone.getSources(), zone.getInterfaces()) for name, zone in stored]
        self.arrivals = [(now, client.getDefaultZone()), (later, client.getDefaultZone())]

    def zone(self, name):
        def service_ports(service):
            return self._config.getServiceByName(service).getPorts()

        yield Zone(name, "now", self._client, service_ports, name)
        yield Zone(name, "after a reboot", self._config.getZoneByName(name), service_ports)


class Stopped:
    """firewalld's files, while it does not run."""

    running = False

    def __init__(self):
        firewall = Firewall(offline=True)
        firewall.start()
        self._config = firewall.config
        self.zone_names = firewall.config.get_zones()
        stored = [(name, self._settings(name)) for name in self.zone_names]
        later = [(name, zone.getSources(), zone.getInterfaces()) for name, zone in stored]
        self.arrivals = [(later, firewall.get_default_zone())]

    def zone(self, name):
        settings = self._settings(name)

        def save():
            self._config.set_zone_config_dict(self._config.get_zone(name), settings.getSettingsDict())

        def service_ports(service):
            return self._config.get_service(service).ports if service in self._config.get_services() else []

        yield Zone(name, "after a reboot", settings, service_ports, save=save)

    def _settings(self, name):
        return FirewallClientZoneSettings(self._config.get_zone_config_dict(self._config.get_zone(name)))


def firewalld():
    """Return firewalld as it is reached on this host."""
    try:
        client = FirewallClient()
    except FirewallError:  # there is no D-Bus
        return Stopped()
    return Running(client) if client.connected else Stopped()


def port_of(opening):
    """Return the port that an opening lets in, as port/protocol, or None for a rule that does something else."""
    if not opening.startswith("rule "):
        return opening
    rule = Rich_Rule(rule_str=opening)
    if type(rule.action) is Rich_Accept and type(rule.element) is Rich_Port:  # subclasses are their opposites
        return f"{rule.element.port}/{rule.element.protocol}"
    return None


def opening_of(port, source):
    """Return what lets a source in at a port, as firewalld writes it."""
    if source == EVERYONE:
        return port
    network = ipaddress.ip_network(source)
    address = network.network_address if network.num_addresses == 1 else network
    number, protocol = port.split("/")
    return (
        f'rule family="ipv{network.version}" source address="{address}" '
        f'port port="{number}" protocol="{protocol}" accept'
    )


def zones_reached(module, wall, source):
    """Return the zones that packets of a source reach, now and after a reboot; those of everyone, by any interface."""
    if source == EVERYONE:
        _, output, _ = module.run_command(["ip", "-json", "address", "show", "up"], check_rc=True)
        ways = [(None, {link["ifname"]}) for link in json.loads(output) if "LOOPBACK" not in link.get("flags", ())]
    else:
        network = ipaddress.ip_network(source)
        code, output, _ = module.run_command(["ip", "-json", "route", "get", str(network.network_address)])
        ways = [(network, {route["dev"] for route in json.loads(output)} if code == 0 else set())]
    return {zone_of(*way, zones, default) for zones, default in wall.arrivals for way in ways or [(None, set())]}


def zones_to_open(module, wall, source):
    """Return the zones to let a source in at, which a wrong parameter ends."""
    zone, reached = module.params["zone"], zones_reached(module, wall, source)
    if not zone:
        return reached
    if zone not in wall.zone_names:
        module.fail_json(msg=f"firewalld has no zone {zone!r}. Set app_firewall_zone to one of {wall.zone_names}.")
    if zone not in reached:
        module.fail_json(
            msg=f"app_firewall_zone is {zone}, but packets of {source} reach the zone {' or '.join(sorted(reached))}. "
            "Set app_firewall_zone to that, or leave it out."
        )
    return {zone}


def added_before(record):
    """Return what was added for the application by the run before: pairs of zone and opening."""
    return {tuple(pair) for pair in json.loads(record.read_text())} if record.exists() else set()


def remember(record, added):
    """Write down what is added for the application, in a way that being killed cannot harm."""
    record.parent.mkdir(mode=0o755, exist_ok=True)
    new = record.with_suffix(".new")
    new.write_text(json.dumps(sorted(added)) + "\n")
    os.replace(new, record)


def settle(module, wall):
    """Bring about what the module's parameters say; return its results."""
    ports = module.params["ports"]
    sources = [EVERYONE] if EVERYONE in module.params["sources"] else module.params["sources"]
    wanted = {
        (zone, opening_of(port, source))
        for source in sources
        for zone in zones_to_open(module, wall, source)
        for port in ports
    }
    zones = {zone for zone, _ in wanted} or {default for _, default in wall.arrivals}
    record = RECORDS / f"{module.params['name']}.json"
    before = added_before(record)
    earlier = {(name, opening) for name, opening in before if name not in zones or port_of(opening) not in ports}
    kept = earlier if module.params["keep_earlier"] else set()
    after = wanted | kept

    changes = []
    for name in sorted(zones | {name for name, _ in earlier}.intersection(wall.zone_names)):
        for each in wall.zone(name):
            present = {(name, opening) for opening in each.openings()}
            ours = {(name, opening) for _, opening in present if name in zones and port_of(opening) in ports}
            # What is open along with others is not to be opened by itself, which firewalld refuses in a range.
            open_already = {port for port in ports if each.lets_everyone_in(port)}
            missing = {opening for where, opening in wanted - present if where == name} - open_already
            surplus = {opening for _, opening in (ours | before) & present - after}
            changes.append((each, sorted(missing), sorted(surplus)))

    changed = before != after or any(missing or surplus for _, missing, surplus in changes)

    if changed and not module.check_mode:
        remember(record, before | after)  # for the next run, if this one is killed on the way
        for each, missing, surplus in changes:
            each.change(missing, surplus)
        remember(record, after)
    return {
        "changed": changed,
        "running": wall.running,
        "enabled": module.run_command(["systemctl", "is-enabled", "firewalld.service"])[1].strip() == "enabled",
        "earlier": sorted(kept),
        "diff": {
            "before": "".join(f"{zone.name}, {zone.when}: {old}\n" for zone, _, surplus in changes for old in surplus),
            "after": "".join(f"{zone.name}, {zone.when}: {new}\n" for zone, missing, _ in changes for new in missing),
        },
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "str", "required": True},
            "sources": {"type": "list", "elements": "str", "required": True},
            "zone": {"type": "str", "default": ""},
            "keep_earlier": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if MISSING and module.check_mode:  # a real run has it installed
        module.exit_json(changed=True, running=False, enabled=False, earlier=[])
    if MISSING:
        module.fail_json(msg=missing_required_lib("firewall"), exception=str(MISSING))
    try:
        module.exit_json(**settle(module, firewalld()))
    except (DBusException, FirewallError) as error:
        module.fail_json(msg=f"firewalld: {error}")


if __name__ == "__main__":
    main()
