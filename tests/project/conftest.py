"""Tests of the project itself: no host is needed, and none is touched."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # results
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def load(path: Path):
    """Return the data of a YAML file."""
    return yaml.safe_load(path.read_text())


def plugin(path: Path) -> ModuleType:
    """Return a role's filter plugin or module, to have its functions at hand."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Run(NamedTuple):
    """How ansible-playbook ended, what it said, and whether it tried to reach a host."""

    code: int
    output: str
    touched_a_host: bool


def run_site_in(folder: Path, inventory: Path, *arguments: str) -> Run:
    """Run the shipped site.yml with an SSH that reaches nobody; `folder` is for what that leaves behind."""
    touched = folder / "touched"
    ssh = folder / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {touched}\nexit 255\n")
    ssh.chmod(0o755)
    surroundings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_SSH_EXECUTABLE": str(ssh), "COLUMNS": "10000"}
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={inventory}", "playbooks/site.yml", "--connection=ssh", *arguments],
        cwd=ROOT,
        env=os.environ | surroundings | {"ANSIBLE_SSH_RETRIES": "0"},
        capture_output=True,
        text=True,
    )
    return Run(done.returncode, done.stdout + done.stderr, touched.exists())


@pytest.fixture
def run_site(tmp_path):
    """Return a function: inventory folder, arguments -> Run of the shipped site.yml."""
    return functools.partial(run_site_in, tmp_path)
