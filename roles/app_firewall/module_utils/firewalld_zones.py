"""Which zone of firewalld a packet reaches, and what a zone lets everyone in at. Networks are ipaddress's."""

import ipaddress


def is_from(network, source):
    """Whether a source of firewalld, which may be a MAC address or an ipset as well, has the whole network in it."""
    try:
        whole = ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False
    return whole.version == network.version and network.subnet_of(whole)


def includes(ports, port, protocol="tcp"):
    """Whether one of firewalld's pairs of port or range and protocol is this port, a number."""
    for numbers, of_protocol in ports:
        first, _, last = numbers.partition("-")
        if of_protocol == protocol and int(first) <= port <= int(last or first):
            return True
    return False


def zone_of(network, interfaces, zones, default):
    """Return the zone that packets of the network reach, which come in by one of the interfaces.

    `zones` has (name, sources, interfaces) of each zone. As firewalld decides: by source, else by interface.
    """
    of_source = [name for name, sources, _ in zones if network and any(is_from(network, source) for source in sources)]
    of_interface = [name for name, _, bound in zones if interfaces.intersection(bound)]
    return [*of_source, *of_interface, default][0]
