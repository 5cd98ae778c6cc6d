#!/usr/bin/python
"""Look at what a payment host has of the service: releases, the application path, the units, and what answers."""

import http.client
import json
import os
import re
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: payment_state
short_description: Looks at the releases, the application path, the units and the answers of the payment service
description:
  - Reads only. What decides on a restart is this state of the host, not what a run happened to change.
options:
  link:
    description: The application path.
    type: path
    required: true
  root:
    description: The directory of the releases.
    type: path
    required: true
  units:
    description: The units, each by its name with the property that says since when it runs, and the files it then read.
    type: dict
    required: true
  url:
    description: Where the service answers.
    type: str
    required: true
  health:
    description: Whether to ask it for its health as well, which asks its neighbours.
    type: bool
    default: false
author: skillupworks
"""
RETURN = r"""
link:
  description: What the application path is (absent, link, other), where it leads, whether root owns it.
  type: dict
  returned: success
releases:
  description: The releases, newest first, each with its id and whether it is complete.
  type: list
  elements: dict
  returned: success
proven:
  description: The ids of the releases that have served.
  type: list
  elements: str
  returned: success
last:
  description: The id of the release that served last, or nothing.
  type: str
  returned: success
previous:
  description: The id of the one before it, or nothing.
  type: str
  returned: success
leftovers:
  description: What lies there that a deployment needs only while it goes on.
  type: list
  elements: str
  returned: success
live:
  description: What C(/live) says; nothing when a unit is not active, or there is no answer in two seconds.
  type: dict
  returned: success
health:
  description: What C(/health) says, if it was asked; nothing when there is no answer in five seconds.
  type: dict
  returned: success
units:
  description: >-
    For each unit whether its file exists, whether it is active, since when it runs (empty when it never did) and which
    files are newer; and whether it is settled: enabled, active, read by systemd as the file says it, and nothing newer.
  type: dict
  returned: success
"""
SHOWN = ("UnitFileState", "ActiveState", "NeedDaemonReload")
TIME = re.compile(r"\w+ (\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)\.(\d{6}) UTC")


def link_of(link):
    """Return what the application path is."""
    if not os.path.lexists(link):
        return {"kind": "absent", "target": "", "owned": False}
    if not os.path.islink(link):
        return {"kind": "other", "target": "", "owned": False}
    status = os.lstat(link)
    return {"kind": "link", "target": os.readlink(link), "owned": (status.st_uid, status.st_gid) == (0, 0)}


def releases_of(root):
    """Return the releases, newest first."""
    found = [each for each in (root / "releases").glob("*") if each.is_dir()]
    found.sort(key=lambda release: release.stat().st_mtime, reverse=True)
    return [{"id": release.name, "complete": (release / "REVISION").exists()} for release in found]


def named(path):
    """Return what a link of the proven releases names, or nothing."""
    return os.readlink(path) if path.is_symlink() else ""


def nanoseconds(shown):
    """Return the time that systemd shows, in nanoseconds since 1970; None when the unit never ran."""
    match = TIME.fullmatch(shown)
    if not match:
        return None
    seconds = datetime(*map(int, match.groups()[:6]), tzinfo=timezone.utc).timestamp()
    return int(seconds) * 10**9 + int(match[7]) * 1000


def newer_than(since, files):
    """Return those of the files, and what lies below them, that were changed after `since`; links as such."""
    found = []
    for top in files:
        below = [os.path.join(folder, name) for folder, folders, names in os.walk(top) for name in folders + names]
        if os.path.islink(top):
            below = []
        found += [path for path in [top, *below] if os.path.lexists(path) and os.lstat(path).st_mtime_ns > since]
    return found


def unit_of(module, name, since_property, files):
    """Return the state of a unit."""
    shown = [f"--property={each}" for each in (*SHOWN, since_property)]
    command = ["systemctl", "show", name, *shown, "--timestamp=us+utc"]
    _, output, _ = module.run_command(command, check_rc=True)
    properties = dict(line.split("=", 1) for line in output.splitlines())
    since = nanoseconds(properties.get(since_property, ""))
    exists = os.path.exists(f"/etc/systemd/system/{name}")
    newer = [] if since is None else newer_than(since, files)
    as_wanted = [properties.get(each) for each in SHOWN] == ["enabled", "active", "no"]
    return {
        "exists": exists,
        "active": properties.get("ActiveState") == "active",
        "since": properties.get(since_property, ""),
        "newer": newer,
        "settled": exists and as_wanted and since is not None and not newer,
    }


def answer(url, timeout):
    """Return the document that a URL answers with; nothing when it does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout) as response:
            found = json.load(response)
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return found if isinstance(found, dict) else {}


def main():
    module = AnsibleModule(
        argument_spec={
            "link": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "units": {"type": "dict", "required": True},
            "url": {"type": "str", "required": True},
            "health": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    link, root = module.params["link"], Path(module.params["root"])
    proven = root / "proven"
    units = {name: unit_of(module, name, unit["since"], unit["files"]) for name, unit in module.params["units"].items()}
    # Its socket would start a service that is stopped.
    live = answer(f"{module.params['url']}/live", 2) if all(unit["active"] for unit in units.values()) else {}
    module.exit_json(
        link=link_of(link),
        releases=releases_of(root),
        proven=sorted(each.name for each in proven.glob("*") if each.is_dir() and not each.is_symlink()),
        last=named(proven / "last"),
        previous=named(proven / "previous"),
        leftovers=[path for path in (str(root / "artifacts"), f"{link}.by-hand") if os.path.lexists(path)],
        live=live,
        health=answer(f"{module.params['url']}/health", 5) if live and module.params["health"] else {},
        units=units,
    )


if __name__ == "__main__":
    main()
