#!/usr/bin/python
"""Collect how a frontend reaches the payment hosts, and what its Nginx does with them, without changing anything."""

import glob
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.payment_probes import ask, certificate, run, unit

DOCUMENTATION = r"""
module: payment_inspect_frontend
short_description: Collects evidence of how a frontend reaches the payment hosts
description:
  - Asks each payment host, and the route through Nginx. Changes nothing.
options:
  hosts:
    description: Address and port of each payment host, by its name.
    type: dict
    required: true
  route:
    description: URL of the route, without a slash at its end.
    type: str
    required: true
author: skillupworks
"""
RETURN = r"""
evidence:
  description: C(reached), C(nginx), C(servers), C(route), and C(tls) where that is HTTPS.
  type: dict
  returned: success
"""
LOCATION = re.compile(r"location\s+(?:\^~\s+)?/api/payment", re.M)


def main():
    module = AnsibleModule(
        argument_spec={"hosts": {"type": "dict", "required": True}, "route": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    url = urlsplit(module.params["route"])
    location, servers = route_of_nginx()
    evidence = {
        "nginx": unit("nginx.service", "LoadState", "ActiveState", "UnitFileState"),
        "location": location,
        "servers": servers,
    }
    with ThreadPoolExecutor(16) as threads:
        asked = {
            host: {path: threads.submit(ask, *address.rsplit(":", 1), "/" + path) for path in ("health", "metrics")}
            for host, address in module.params["hosts"].items()
        }
        if location:
            tls = url.scheme == "https"
            address = url.hostname, url.port or (443 if tls else 80)
            evidence["route"] = ask(*address, url.path + "/live", tls=tls)
            if tls:
                evidence["tls"] = certificate(*address)
            evidence["log"] = run("tail", "--lines=50", "/var/log/nginx/error.log")["out"].splitlines()
        evidence["reached"] = {
            host: {path: answer.result() for path, answer in answers.items()} for host, answers in asked.items()
        }
    module.exit_json(evidence=evidence)


def route_of_nginx():
    """The file with the location of the guide, empty when there is none, and the servers that it leads to."""
    texts = {}
    for path in ["/etc/nginx/nginx.conf", *glob.glob("/etc/nginx/*.d/*.conf")]:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                texts[path] = re.sub(r"^\s*#.*$", "", file.read(), flags=re.M)
        except OSError:
            continue
    location = next((path for path, text in texts.items() if LOCATION.search(text)), "")
    if not location:
        return "", []
    block = texts[location][LOCATION.search(texts[location]).start() :]
    target = re.search(r"proxy_pass\s+http://([^/;\s]+)", block)
    name = target.group(1) if target else ""
    for text in texts.values():
        upstream = re.search(r"upstream\s+" + re.escape(name) + r"\s*\{(.*?)\}", text, re.S)
        if upstream:
            rows = re.findall(r"^\s*server\s+(\S+?)(?:\s+([^;]*))?;", upstream.group(1), re.M)
            # A backup is a server that is asked when all others have failed.
            usual = [(address, options.split()) for address, options in rows if "backup" not in options.split()]
            return location, [{"address": address, "down": "down" in options} for address, options in usual]
    return location, [{"address": name, "down": False}] if name else []


if __name__ == "__main__":
    main()
