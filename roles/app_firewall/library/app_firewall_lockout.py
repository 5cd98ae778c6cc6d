#!/usr/bin/python
"""See whether Ansible could still log in once firewalld is started."""

import ipaddress
import json
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.firewalld_zones import includes, is_from, zone_of

try:
    from firewall.client import FirewallClientServiceSettings, FirewallClientZoneSettings
    from firewall.core.fw import Firewall
    from firewall.core.rich import Rich_Accept, Rich_Port, Rich_Rule, Rich_Service
except ImportError as error:
    MISSING = error
else:
    MISSING = None

DOCUMENTATION = r"""
module: app_firewall_lockout
short_description: Refuses to go on where firewalld, once started, would lock out the SSH connection that Ansible uses
description:
  - Reads firewalld's files, and changes nothing. Where Ansible did not come by SSH, there is nothing to refuse.
author: skillupworks
"""


def ssh_connection():
    """Return the client's address, as a network, and the address and port of this host that Ansible is connected by.

    None where it is not connected by SSH.

    sudo hides the variable from the module, not from those that started it.
    """
    pid = os.getpid()
    while pid > 1:
        process = Path(f"/proc/{pid}")
        for variable in (process / "environ").read_bytes().split(b"\0"):
            if variable.startswith(b"SSH_CONNECTION="):
                client, _, here, port = variable.split(b"=", 1)[1].decode().split()
                return ipaddress.ip_network(client), here, int(port)
        pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return None


def lets_in(settings, service_ports, client, port):
    """Whether a zone lets the client in at TCP's `port`."""
    services, ports = list(settings.getServices()), list(settings.getPorts())
    for rule in (Rich_Rule(rule_str=text) for text in settings.getRichRules()):
        if type(rule.action) is Rich_Accept and (rule.source is None or is_from(client, rule.source.addr)):
            if type(rule.element) is Rich_Service:
                services.append(rule.element.name)
            if type(rule.element) is Rich_Port:
                ports.append((rule.element.port, rule.element.protocol))
    for service in services:
        ports += service_ports(service)
    return settings.getTarget() == "ACCEPT" or includes(ports, port)


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("firewall"), exception=str(MISSING))
    connection = ssh_connection()
    if connection is None:
        module.exit_json()
    client, here, port = connection

    firewall = Firewall(offline=True)
    firewall.start()
    config = firewall.config
    zones = {
        name: FirewallClientZoneSettings(config.get_zone_config_dict(config.get_zone(name)))
        for name in config.get_zones()
    }
    _, output, _ = module.run_command(["ip", "-json", "address", "show", "to", here], check_rc=True)
    interfaces = {link["ifname"] for link in json.loads(output) if link}
    bound = [(name, zone.getSources(), zone.getInterfaces()) for name, zone in zones.items()]
    zone = zone_of(client, interfaces, bound, firewall.get_default_zone())

    def service_ports(name):
        if name not in config.get_services():
            return []
        return FirewallClientServiceSettings(config.get_service_config_dict(config.get_service(name))).getPorts()

    if not lets_in(zones[zone], service_ports, client, port):
        module.fail_json(
            msg=f"firewalld was not started: its zone {zone} would not let in SSH at port {port}, by which Ansible is "
            f"connected from {client.network_address}. Run firewall-offline-cmd --zone={zone} --add-port={port}/tcp on "
            "this host first, or set app_firewall_service: false."
        )
    module.exit_json()


if __name__ == "__main__":
    main()
