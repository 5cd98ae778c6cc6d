"""playbooks/verify.yml says yes to a sound host, and no to one that is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def verify(request):
    """Return a function that runs the playbook; it returns the exit code and the rows of its table."""
    inventory = request.config.getoption("ansible_inventory")
    command = [sys.executable, "-m", "ansible", "playbook", "playbooks/verify.yml", f"--inventory={inventory}"]

    def run():
        plain = {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}  # Molecule wants colours
        environment = os.environ | plain | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.returncode, {line.strip(" -'") for line in done.stdout.splitlines() if line.startswith("    - ")}

    return run


def test_a_sound_host_passes_every_check(verify):
    code, rows = verify()
    assert [row for row in rows if not row.startswith("ok ")] == []
    assert code == 0
    assert len(rows) >= 10


@pytest.mark.disruptive
def test_a_stopped_service_fails(verify, host):
    host.check_output("systemctl stop payment.socket payment.service")
    try:
        code, rows = verify()
    finally:
        host.check_output("systemctl start payment.service")
    assert code != 0
    failed = {row.split(maxsplit=1)[1] for row in rows if row.startswith("FAIL")}
    assert {"service is active        inactive", "port listens             nothing listens"} <= failed
