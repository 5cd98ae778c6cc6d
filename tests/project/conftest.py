"""Tests of the project itself: no host is needed, and none is touched."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def load(path: Path):
    """Return the data of a YAML file."""
    return yaml.safe_load(path.read_text())


class Run(NamedTuple):
    """How ansible-playbook ended, what it said, and whether it tried to reach a host."""

    code: int
    output: str
    touched_a_host: bool


@pytest.fixture
def run_site(tmp_path):
    """Return a function: inventory folder -> Run of the shipped site.yml, with an SSH that reaches nobody."""
    touched = tmp_path / "touched"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {touched}\nexit 255\n")
    ssh.chmod(0o755)
    surroundings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_SSH_EXECUTABLE": str(ssh), "COLUMNS": "10000"}

    def run(inventory: Path) -> Run:
        done = subprocess.run(
            ["ansible-playbook", f"--inventory={inventory}", "playbooks/site.yml", "--connection=ssh"],
            cwd=ROOT,
            env=os.environ | surroundings | {"ANSIBLE_SSH_RETRIES": "0"},
            capture_output=True,
            text=True,
        )
        return Run(done.returncode, done.stdout + done.stderr, touched.exists())

    return run
