#!/usr/bin/python
"""Look at what a payment host has, in one go and without changing anything."""

import os
import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts.system.distribution import DistributionFactCollector
from ansible.module_utils.facts.system.pkg_mgr import PkgMgrFactCollector
from ansible.module_utils.facts.system.selinux import SelinuxFactCollector

DOCUMENTATION = r"""
module: payment_preflight
short_description: Looks at clock, memory, disks, ports, packages and the application path of a payment host
description:
  - Reads only. What it finds is judged on the controller, by the filter payment_host_problems.
  - What it says of the system are facts, the same as from M(ansible.builtin.setup) with C(distribution), C(pkg_mgr)
    and C(selinux), of its C(hardware) only C(processor_nproc) and C(memtotal_mb), and from
    M(ansible.builtin.package_facts); in one go, because an operator waits for each look.
options:
  asked:
    description: The controller's clock, in seconds since 1970. It is returned beside the host's.
    type: float
    required: true
  link:
    description: The application path.
    type: path
    required: true
  directories:
    description: Directories that will be written to. Those that are not there yet lie where their parent does.
    type: list
    elements: path
    required: true
  ports:
    description: TCP ports to find the listeners of.
    type: list
    elements: int
    required: true
author: skillupworks
"""
RETURN = r"""
asked:
  description: The controller's clock, as it was given.
  type: float
  returned: success
time:
  description: The host's clock, in seconds since 1970.
  type: float
  returned: success
memory:
  description: Memory that programs could still take, in bytes.
  type: int
  returned: success
disks:
  description: For each directory its path, device and type, free bytes and inodes, and whether one may write and run.
  type: list
  returned: success
listeners:
  description: For each listener its port, address, pid, program and systemd unit.
  type: list
  returned: success
link:
  description: >-
    What the application path is (absent, link, directory, other), where it leads, whether it is a service, and whether
    something is mounted there.
  type: dict
  returned: success
"""
UNIT = re.compile(r"/([^/]+\.(?:service|scope))")


def disk_of(directory):
    """Return what the file system of a directory, or of what will be its parent, has left."""
    path = Path(directory)
    while not path.exists():
        path = path.parent
    stats = os.statvfs(path)
    kind, best = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, mount_type, _ = line.split(" ", 3)
        if len(mount) >= len(best) and (path.resolve() / "x").is_relative_to(mount):
            kind, best = mount_type, mount
    return {
        "path": directory,
        "device": os.stat(path).st_dev,
        "type": kind,
        "free": stats.f_bavail * stats.f_frsize,
        "inodes": stats.f_favail if stats.f_files else None,  # some file systems make them as they go
        "writable": not stats.f_flag & os.ST_RDONLY,
        "executable": not stats.f_flag & os.ST_NOEXEC,
    }


def address_of(hexadecimal):
    """Return an address of /proc/net/tcp or tcp6; of IPv6 only whether it is any, or holds an IPv4 one."""
    if len(hexadecimal) > 8 and set(hexadecimal) != {"0"} and hexadecimal[:24] != "0000000000000000FFFF0000":
        return "::1"
    numbers = bytes.fromhex(hexadecimal[-8:])
    return ".".join(str(number) for number in reversed(numbers))


def owners_of(inodes):
    """Return inode -> pid of one process that has the socket open; systemd's own if it has it."""
    owners = {}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            socket = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
        except OSError:  # it is closed by now
            continue
        if socket and socket[1] in inodes:
            pid = int(descriptor.parts[2])
            owners[socket[1]] = min(pid, owners.get(socket[1], pid))
    return owners


def process_of(user):
    """Return the pid of a user's oldest process, or None: in a container, root may not see what others have open."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                pids.append(int(process.name))
        except OSError:  # it is over by now
            continue
    return min(pids, default=None)


def listeners_of(module, ports):
    """Return who listens on `ports`."""
    found, users = {}, {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for line in lines:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A" and int(port, 16) in ports:
                found[fields[9]] = {"port": int(port, 16), "address": address_of(address)}
                users[fields[9]] = int(fields[7])
    if not found:
        return []
    owners = owners_of(found)
    sockets = module.run_command(["systemctl", "show", "*.socket", "--property=Id", "--property=Listen"])[1]
    for inode, listener in found.items():
        pid = owners.get(inode) or process_of(users[inode])
        listener.update(pid=pid, program=None, unit=None)
        if pid == 1:
            mine = [each for each in sockets.split("\n\n") if re.search(rf"^Listen=.*:{listener['port']} ", each, re.M)]
            listener.update(program="systemd", unit=re.search(r"^Id=(.*)$", mine[0], re.M)[1] if mine else None)
        elif pid:
            units = UNIT.findall(Path(f"/proc/{pid}/cgroup").read_text())
            listener.update(program=Path(f"/proc/{pid}/comm").read_text().strip(), unit=units[-1] if units else None)
    return list(found.values())


def link_of(link):
    """Return what the application path is."""
    path = Path(link)
    if path.is_symlink():
        release = (path / "REVISION").exists()
        return {"kind": "link", "target": os.readlink(path), "release": release, "mount": False}
    kind = "directory" if path.is_dir() else "other" if path.exists() else "absent"
    service = (path / "payment.py").exists() and Path("/etc/systemd/system/payment.service").exists()
    return {"kind": kind, "service": service, "mount": os.path.ismount(path)}


def packages_of(module):
    """Return the installed packages: name -> one dictionary for each version of it."""
    names = ("name", "version", "release", "arch")
    query = "\\t".join(f"%{{{name.upper()}}}" for name in names) + "\\n"
    packages = {}
    for line in module.run_command(["rpm", "--query", "--all", "--queryformat", query])[1].splitlines():
        package = dict(zip(names, line.split("\t")), source="rpm")
        packages.setdefault(package["name"], []).append(package)
    return packages


def facts_of(module):
    """Return Ansible's own facts of the system, and the installed packages."""
    facts = DistributionFactCollector().collect(module, {})
    for collector in (PkgMgrFactCollector(), SelinuxFactCollector()):
        facts.update(collector.collect(module, {f"ansible_{name}": value for name, value in facts.items()}))
    facts.update(processor_nproc=len(os.sched_getaffinity(0)), memtotal_mb=memory("MemTotal") // 2**20)
    return {**facts, "packages": packages_of(module)}


def memory(name):
    """Return an entry of /proc/meminfo in bytes."""
    return int(re.search(rf"{name}: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024


def main():
    module = AnsibleModule(
        argument_spec={
            "asked": {"type": "float", "required": True},
            "link": {"type": "path", "required": True},
            "directories": {"type": "list", "elements": "path", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        asked=module.params["asked"],
        time=time.time(),
        memory=memory("MemAvailable"),
        disks=[disk_of(directory) for directory in module.params["directories"]],
        listeners=listeners_of(module, module.params["ports"]),
        link=link_of(module.params["link"]),
        ansible_facts=facts_of(module),
    )


if __name__ == "__main__":
    main()
