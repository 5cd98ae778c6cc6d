"""Lets Ansible resolve the inventory that the tests are given.

Testinfra itself does not template addresses, nor does it read the roles' defaults.
"""

import tempfile
from pathlib import Path

import playbooks
import pytest


def resolve(inventory: str | Path, folder: Path, *arguments: str) -> None:
    """Write the inventory into the folder as the playbooks see it."""
    code, said = playbooks.Run(
        "tests/resolve.yml", f"--inventory={inventory}", f"--extra-vars=resolved={folder}", *arguments
    ).wait()
    if code:
        raise pytest.UsageError(f"the inventory {inventory} could not be resolved:\n{said}")


def use(config: pytest.Config) -> None:
    """Hand Testinfra the resolved inventory in place of the given one, and reach the hosts as root."""
    given = config.getoption("ansible_inventory")
    if not given or config.getoption("collectonly"):
        return
    folder = tempfile.TemporaryDirectory(prefix="inventory-")
    config.add_cleanup(folder.cleanup)
    resolve(given, Path(folder.name))
    config.option.ansible_inventory = folder.name
    config.option.sudo = True
