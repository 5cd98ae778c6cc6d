"""Lets Ansible resolve the inventory that the tests are given.

Testinfra itself does not template addresses, nor does it read the roles' defaults.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def use(config: pytest.Config) -> None:
    """Hand Testinfra the resolved inventory in place of the given one, and reach the hosts as root."""
    given = config.getoption("ansible_inventory")
    if not given or config.getoption("collectonly"):
        return
    folder = tempfile.TemporaryDirectory(prefix="inventory-")
    config.add_cleanup(folder.cleanup)
    playbook = [sys.executable, "-m", "ansible", "playbook", ROOT / "tests/resolve.yml"]
    subprocess.run(
        [*playbook, f"--inventory={given}", f"--extra-vars=resolved={folder.name}"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )
    config.option.ansible_inventory = folder.name
    config.option.sudo = True
