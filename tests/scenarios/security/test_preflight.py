"""A host that cannot be served is refused before anything is changed, on it or on another one."""

import shlex
from contextlib import contextmanager

import pytest
import testinfra

from conftest import ROOT


@contextmanager
def listening(host, port, address="0.0.0.0"):
    """Have a program of somebody else listen on a port of the host."""
    host.run_expect(
        [0], f"systemd-run --unit=squatter --property=Type=exec python3 -m http.server {port} --bind {address}"
    )
    host.run_expect([0], f"timeout 180 sh -c 'until ss -Hltn sport = :{port} | grep -q .; do sleep 0.2; done'")
    try:
        yield
    finally:
        host.run_expect([0], "systemctl stop squatter.service")


@contextmanager
def mounted(host, place, options):
    """Have a small or otherwise special disk at a place of the host."""
    host.run_expect([0], f"mkdir -p {place} && mount -t tmpfs -o {options} tmpfs {place}")
    try:
        yield
    finally:
        host.run_expect([0], f"umount {place} && rmdir {place}")


@contextmanager
def saying(host, file, content):
    """Have a file of the system say something else."""
    host.run_expect([0], f"printf %s {shlex.quote(content)} > /run/said && mount --bind /run/said {file}")
    try:
        yield
    finally:
        host.run_expect([0], f"umount {file} && rm /run/said")


@pytest.fixture
def refused(play, unchanged):
    """Return a function: change one thing, and see that the run is refused in these words, and has changed nothing."""

    def run(*said, arguments=(), **variables):
        played = play("site.yml", *arguments, **({"payment_processes": 3} | variables))
        assert played.code != 0, played.output
        assert played.changed() == []
        for words in said:
            assert words in played.output.replace("\n        ", " "), played.output

    return run


def test_the_port_is_taken(refused, host):
    with listening(host, 8090):
        refused(
            "port 8090 is taken by python3 (process ",
            "squatter.service). Stop that, or write another",
            payment_port=8090,
        )


def test_the_port_of_the_trial_is_taken(refused, host):
    with listening(host, 18084, "127.0.0.1"):
        refused("port 18084 is taken by python3", "payment_trial_port.")


def test_the_disk_is_too_small(refused, host):
    with mounted(host, "/srv/small", "size=10M"):
        refused(
            "the disk of /srv/small/payment has 10 MiB left, and 300 MiB are needed", payment_root="/srv/small/payment"
        )


def test_no_program_may_run_on_the_disk(refused, host):
    with mounted(host, "/srv/noexec", "size=1G,noexec"):
        refused("/srv/noexec/payment lies on a disk that is mounted noexec", payment_root="/srv/noexec/payment")


def test_the_memory_is_too_small(refused, host):
    with saying(host, "/proc/meminfo", "MemTotal: 999999 kB\nMemAvailable: 51200 kB\n"):
        refused("it has 50 MiB of memory left, and the trial of a release need")


def test_the_system_is_another(refused, host):
    with saying(host, "/etc/os-release", 'NAME="Rocky Linux"\nID=rocky\nID_LIKE=rhel\nVERSION_ID=8.9\n'):
        refused("8.9, and the service is made for RHEL 9 and its rebuilds")


def test_the_clock_is_off(refused, tmp_path, monkeypatch):
    shift = tmp_path / "shift"
    shift.write_text("-300")
    monkeypatch.setenv("CLOCK_SHIFT", str(shift))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/app/shifted_clock"))
    refused("s ahead of this machine's. Let chronyd set it")


def test_the_application_path_is_somebody_elses(refused, host):
    host.run_expect([0], "mkdir /srv/shop && touch /srv/shop/index.html")
    try:
        refused("/srv/shop is a directory without payment.py", payment_link="/srv/shop")
    finally:
        assert host.file("/srv/shop/index.html").exists
        host.run_expect([0], "rm -r /srv/shop")


def test_one_host_is_refused_before_another_one_is_changed(refused, request, tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("payment: {hosts: {frontend-1: {}}}\n")
    frontend = testinfra.get_host(
        "ansible://frontend-1?sudo=true", ansible_inventory=request.config.getoption("ansible_inventory")
    )
    with listening(frontend, 8084):
        refused("frontend-1: port 8084 is taken by python3", arguments=[f"--inventory={inventory}"])
