"""Who may reach an application: the default, and what cannot be right, found on the controller."""

import ipaddress
import re

EVERYONE = "any"
PORT = re.compile(r"[0-9]{1,5}/(tcp|udp|sctp|dccp)")
HOW = f"Write the addresses and networks that are let in, for example [172.31.19.140], or [{EVERYONE}] for everyone."


def app_firewall_address(hostvars: dict) -> str:
    """The address of a host; localhost by its number, since connections do not come from names."""
    address = str(hostvars.get("ansible_host", hostvars["inventory_hostname"]))
    return "127.0.0.1" if address == "localhost" else address


def source_problem(source: object) -> str | None:
    """Say what is wrong with one of the sources, or return None."""
    if source == EVERYONE:
        return None
    try:
        network = ipaddress.ip_network(str(source))
    except ValueError as error:
        said = "one is no network" if "@" in str(source) else error  # it may be a URL with a password
        return f"{said}, and firewalld knows no names"
    if network.num_addresses == 1 and network.is_unspecified:
        return f"{source} is nobody's address"
    return None


def app_firewall_problems(sources: object, ports: list, ssh_port: object, inventory_file: str) -> list[str]:
    """Check the settings of one host; return sentences: what is wrong, what to write instead."""
    if not isinstance(sources, list):
        return [f"{inventory_file}: app_firewall_sources is {sources!r}, which is no list. {HOW}"]
    problems = [f"app_firewall_sources: {problem}. {HOW}" for problem in map(source_problem, sources) if problem]
    if not sources:
        problems.append(
            "the group 'frontend' has no host and app_firewall_sources is not set, so nobody could reach the "
            f"application. Write the frontend's address into that group. Or set app_firewall_sources: {HOW}"
        )
    for port in ports:
        if not PORT.fullmatch(str(port)):
            problems.append(f"app_firewall_ports: {port!r} is no port. Write one such as 8084/tcp.")
        elif str(port) == f"{ssh_port}/tcp":
            problems.append(f"app_firewall_ports: {port} is the port of SSH, which must not be closed to anyone.")
    return [f"{inventory_file}: {problem}" for problem in problems]


class FilterModule:
    """Filters for the app_firewall role."""

    def filters(self) -> dict:
        return {"app_firewall_address": app_firewall_address, "app_firewall_problems": app_firewall_problems}
