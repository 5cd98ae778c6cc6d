"""Tests of the project itself: no host is needed, and none is touched."""

import functools
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import playbooks  # noqa: E402

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
    code, said = playbooks.Run(
        *(f"--inventory={inventory}", "playbooks/site.yml", "--connection=ssh", *arguments),
        PATH=f"{folder}:{os.environ['PATH']}",
        ANSIBLE_SSH_RETRIES="0",
        COLUMNS="10000",
    ).wait()
    return Run(code, said, touched.exists())


@pytest.fixture
def run_site(tmp_path):
    """Return a function: inventory folder, arguments -> Run of the shipped site.yml."""
    return functools.partial(run_site_in, tmp_path)
