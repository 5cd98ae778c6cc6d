"""What a host has is judged before anything is changed there: each lack in words that say what to do."""

import pytest

from conftest import ROOT, plugin

PREFLIGHT = plugin(ROOT / "roles/payment/filter_plugins/payment_host.py")
MIB = 2**20
SETTINGS = {
    "payment_bind_address": "0.0.0.0",
    "payment_ledger_url": "",
    "payment_link": "/app",
    "payment_port": "8084",
    "payment_processes": 4,
    "payment_root": "/opt/payment",
    "payment_runtime": "uwsgi",
    "payment_trial_port": 18084,
}
EL9 = {"os_family": "RedHat", "distribution": "Rocky", "distribution_version": "9.4", "distribution_major_version": "9"}
DISK = {"device": 1, "type": "xfs", "free": 500 * MIB, "inodes": 100_000, "writable": True, "executable": True}
NGINX = {"port": 8084, "address": "0.0.0.0", "pid": 17, "program": "nginx", "unit": "nginx.service"}
OURS = {"port": 8084, "address": "0.0.0.0", "pid": 1, "program": "systemd", "unit": "payment.socket"}


def problems(facts=EL9, disks=(), settings=(), **found):
    """Judge a bare host that is as it must be, except for what is given: found=..., disks={directory: difference}."""
    paths = {"root": "/opt/payment", "state": "/var/lib/payment", "log": "/var/log/payment"}
    host = {
        "asked": 1000.0,
        "time": 1001.0,
        "memory": 296 * MIB,
        "disks": [DISK | {"path": path} | dict(disks).get(name, {}) for name, path in paths.items()],
        "listeners": [],
        "link": {"kind": "absent", "service": False, "mount": False},
    }
    return PREFLIGHT.payment_host_problems(host | found, SETTINGS | dict(settings), facts, 1002.0)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"time": 1031.9},
        {"time": 970.1},
        {"listeners": [OURS], "memory": 104 * MIB},
        {"listeners": [OURS | {"pid": 5, "program": "uwsgi", "unit": "payment.service"}]},
        {"listeners": [NGINX | {"port": 18084, "unit": "payment-trial.service"}]},
        {"listeners": [NGINX | {"address": "192.0.2.1"}], "settings": {"payment_bind_address": "192.0.2.2"}},
        {"listeners": [NGINX | {"port": 18084, "address": "192.0.2.1"}]},
        {"link": {"kind": "directory", "service": True, "mount": False}},
        {"link": {"kind": "link", "target": "/opt/payment/releases/by-hand", "release": False, "mount": False}},
        {"link": {"kind": "link", "target": "/srv/old/releases/1.0.0-0", "release": True, "mount": False}},
        {"disks": {"root": {"inodes": None}}},
        {"disks": {"state": {"type": "nfs4"}}, "settings": {"payment_ledger_url": "postgresql://a@b/c"}},
        {"memory": 170 * MIB, "settings": {"payment_runtime": "python"}},
    ],
    ids=str,
)
def test_a_host_that_can_be_served(found):
    assert problems(**found) == []


@pytest.mark.parametrize(
    ("cores", "megabytes", "processes"),
    [(1, 460, 2), (1, 3700, 2), (2, 3700, 4), (8, 900, 7), (8, 31_000, 16), (64, 250_000, 16)],
)
def test_processes_that_suit_a_host(cores, megabytes, processes):
    """The first is the guide's t2.micro."""
    found = {"processor_nproc": cores, "memtotal_mb": megabytes}
    assert PREFLIGHT.payment_processes_for_host(found) == processes
    whole = {"payment_processes": processes}
    assert problems(settings=whole, memory=megabytes * MIB * 9 // 10) == [], "all of them fit"


def test_processes_of_a_host_that_nobody_has_looked_at():
    assert PREFLIGHT.payment_processes_for_host({}) == 4


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"facts": EL9 | {"distribution_major_version": "8", "distribution_version": "8.9"}},
            "runs Rocky 8.9, and the",
        ),
        (
            {
                "facts": EL9
                | {"os_family": "Debian", "distribution": "Debian", "distribution_version": "12"}
                | {"distribution_major_version": "12"}
            },
            "runs Debian 12, and the service is made for RHEL 9",
        ),
        ({"facts": {}}, "its system is not known, because no facts were gathered"),
        ({"time": 1302.0}, "its clock is 300 s ahead of this machine's. Let chronyd set it"),
        ({"time": 700.0}, "its clock is 300 s behind this machine's. Let chronyd set it"),
        (
            {"memory": 295 * MIB},
            "it has 295 MiB of memory left, and the service and the trial of a release beside it need",
        ),
        ({"memory": 103 * MIB, "listeners": [OURS]}, "103 MiB of memory left, and the trial of a release need"),
        (
            {"settings": {"payment_processes": 16}},
            "up to 800 MiB with payment_processes: 16. Give it more memory, or fewer processes.",
        ),
        (
            {"disks": {name: {"free": 499 * MIB} for name in ("root", "state", "log")}},
            "the disk of /opt/payment, /var/lib/payment, /var/log/payment has 499 MiB left, and 500 MiB are needed.",
        ),
        (
            {"disks": {"state": {"device": 2, "free": 99 * MIB}}},
            "the disk of /var/lib/payment has 99 MiB left, and 100 MiB are needed. Make room.",
        ),
        (
            {"disks": {"root": {"inodes": 11_000}}},
            "the disk of /opt/payment takes 11000 more files, and 12000 are needed",
        ),
        (
            {"disks": {"root": {"executable": False}}},
            "/opt/payment lies on a disk that is mounted noexec. Set payment_root",
        ),
        (
            {"disks": {"log": {"writable": False}}},
            "/var/log/payment lies on a disk that is mounted read-only. Mount it",
        ),
        (
            {"disks": {"state": {"type": "nfs4"}}},
            "/var/lib/payment, where the ledger lies, is on nfs4, which loses payments",
        ),
        (
            {"listeners": [NGINX]},
            "port 8084 is taken by nginx (process 17, nginx.service). Stop that, or write another payment_port.",
        ),
        (
            {"listeners": [NGINX | {"address": "127.0.0.1", "unit": None}]},
            "taken by nginx (process 17, no unit). Stop that",
        ),
        ({"listeners": [NGINX | {"pid": None, "program": None, "unit": None}]}, "taken by a process that is not seen."),
        ({"listeners": [OURS, NGINX | {"port": 18084}]}, "port 18084 is taken by nginx"),
        (
            {"listeners": [NGINX | {"port": 18084, "address": "127.0.0.1"}]},
            "Stop that, or write another payment_trial_port.",
        ),
        (
            {"link": {"kind": "directory", "service": False, "mount": False}},
            "/app is a directory without payment.py, or without a payment.s",
        ),
        (
            {"link": {"kind": "directory", "service": True, "mount": True}},
            "/app is a mount point, which cannot become a link to a release. Unmount it,",
        ),
        (
            {"link": {"kind": "other", "service": False, "mount": False}},
            "/app is a file: somebody else's. Move it away, or write another",
        ),
        (
            {"link": {"kind": "link", "target": "/srv/shop", "release": False, "mount": False}},
            "/app is a link to /srv/shop, which is no release in /opt/payment: somebody else's.",
        ),
    ],
    ids=str,
)
def test_a_host_that_is_refused(found, said):
    assert len(problems(**found)) == 1
    assert said in problems(**found)[0]


def test_a_host_that_nobody_looked_at():
    assert "Begin with the first task" in PREFLIGHT.payment_host_problems({}, SETTINGS, EL9, 0.0)[0]
