"""Set-up waits where another run of the package manager holds its lock, as on a fresh machine, and says for whom."""

import os
import subprocess

import pytest

from conftest import ROOT

# What apt 2.6 and dnf 4.14 say, and the exit status.
APT_LISTS = ("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (apt-get)", 100)
APT_DPKG = ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)", 100)
APT_UNNAMED = ("E: Could not get lock /var/lib/dpkg/lock - open (11: Resource temporarily unavailable)", 100)
DNF_METADATA = ("metadata already locked by 4711\n  The application with PID 4711 is: dnf", 200)
DNF_RPM = ("RPM: error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)", 1)
NAME = "the package manager"
FAKE = """\
#!/bin/sh
echo "$0 $*" >> {log}
[ $(wc -l < {log}) -gt {times} ] && exit 0
printf %b "{said}\\n" >&2
exit {status}
"""


@pytest.fixture
def install(tmp_path):
    """Return a function: have the package manager fail so many times, and install a package; how that ended."""

    def run(manager, said, status, times, patience=60):
        log = tmp_path / "log"
        log.touch()
        program = tmp_path / manager
        program.write_text(FAKE.format(log=log, said=said, status=status, times=times))
        program.chmod(0o755)
        command = 'manager=("$@"); set --; source scripts/setup.sh; package_manager "${manager[@]}"'
        return subprocess.run(
            ["bash", "-c", command, "bash", NAME, manager, "install", "podman"],
            cwd=ROOT,
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOCK_PATIENCE": str(patience)},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    ("manager", "lock", "holder"),
    [
        ("apt-get", APT_LISTS, "process 4711 (apt-get)"),
        ("apt-get", APT_DPKG, "process 4711 (unattended-upgr)"),
        ("apt-get", APT_UNNAMED, "another process"),
        ("dnf", DNF_METADATA, "process 4711"),
        ("dnf", DNF_RPM, "another process"),
    ],
)
def test_a_lock_is_waited_for(install, manager, lock, holder):
    done = install(manager, *lock, times=1)
    assert (done.returncode, done.stderr) == (0, f"setup: waiting for {holder}, which holds the lock of {NAME}\n")


def test_a_lock_that_stays_is_given_up_naming_its_holder(install):
    done = install("apt-get", *APT_DPKG, times=99, patience=1)
    assert done.returncode == 1
    assert f"process 4711 (unattended-upgr) has held the lock of {NAME} for 1 seconds: let it end" in done.stderr


def test_another_failure_is_told_at_once(install):
    done = install("apt-get", "E: Unable to locate package podman", 100, times=99)
    assert (done.returncode, done.stderr) == (100, "E: Unable to locate package podman\n")
