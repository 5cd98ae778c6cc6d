"""The bundled artifact is the same, byte for byte, wherever it is built."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT


def bundle(source, directory, *options):
    """Run the role's bundle.py; return the artifact's path and sha256."""
    command = [sys.executable, ROOT / "roles/payment/files/bundle.py", source, directory, *options]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Path(told["path"]), told["sha256"]


def test_times_modes_and_caches_make_no_difference(tmp_path):
    source = tmp_path / "payment"
    shutil.copytree(ROOT / "files/payment", source, ignore=shutil.ignore_patterns("__pycache__"))
    first, _ = bundle(source, tmp_path / "first")
    for path in source.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    (source / "__pycache__").mkdir()
    (source / "__pycache__/payment.pyc").write_bytes(b"cache")
    (source / ".hidden").write_text("hidden")
    second, _ = bundle(source, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_another_source_is_another_artifact(tmp_path):
    source = tmp_path / "payment"
    shutil.copytree(ROOT / "files/payment", source)
    first, _ = bundle(source, tmp_path)
    with (source / "payment.py").open("a") as file:
        file.write("# changed\n")
    second, _ = bundle(source, tmp_path)
    assert first.name != second.name


def test_it_holds_what_the_guide_expects(tmp_path):
    path, _ = bundle(ROOT / "files/payment", tmp_path)
    names = zipfile.ZipFile(path).namelist()
    assert {"payment.py", "requirements.txt", "VERSION"} <= set(names)
    assert [name for name in names if "__pycache__" in name or name.startswith((".", "/"))] == []


def test_version_and_wheels_are_brought_along(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/requirements.txt").write_text("uwsgi==2.0.31\n")
    path, _ = bundle(ROOT / "files/payment", tmp_path, "--version=1.2.0", f"--wheels={tmp_path / 'wheels'}")
    assert path.name.startswith("skillupworks-payment-1.2.0-")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("VERSION") == b"1.2.0\n"
        assert archive.read("wheels/requirements.txt") == b"uwsgi==2.0.31\n"


def test_a_version_that_cannot_name_a_release(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        bundle(ROOT / "files/payment", tmp_path, "--version=../1.2.0")
    assert list(tmp_path.iterdir()) == []
