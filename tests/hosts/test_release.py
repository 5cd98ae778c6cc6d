"""The release that /app leads to: complete, its own, and out of the service's reach."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release(host, settings):
    return host.file(settings["payment_link"]).linked_to


def test_it_is_made_of_the_inventorys_artifact(settings, release):
    if settings["payment_artifact_url"] == "bundled":
        bundle = [ROOT / "roles/payment/files/bundle.py", ROOT / "files/payment", ROOT / ".cache/artifacts"]
        artifact = json.loads(subprocess.check_output([sys.executable, *bundle]))
        version, sha256 = artifact["version"], artifact["sha256"]
    else:
        version, sha256 = settings["payment_version"], settings["payment_artifact_sha256"]
    assert release == f"{settings['payment_root']}/releases/{version}-{sha256[:12]}"


def test_the_release_knows_its_id(host, release):
    assert host.file(f"{release}/REVISION").content_string.strip() == release.rsplit("/", 1)[1]


@pytest.mark.parametrize("name", ["payment.py", "requirements.txt", "payment.ini"])
def test_the_guides_files_are_there(host, settings, name):
    assert host.file(f"{settings['payment_link']}/{name}").exists


def test_the_virtual_environment_holds_the_lock_and_no_more(host, settings):
    lock = host.file(f"{settings['payment_link']}/requirements.txt").content_string
    on_host = {"platform_machine": host.check_output("uname -m"), "sys_platform": "linux", "python_version": "3.11"}
    requirements = [Requirement(line) for line in re.findall(r"^[\w.-]+==[^\\\n]+", lock, re.MULTILINE)]
    locked = {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if not requirement.marker or requirement.marker.evaluate(on_host)
    }
    frozen = host.check_output(f"python3.11 -m pip --python {settings['payment_link']}/venv/bin/python freeze")
    installed = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in frozen.splitlines())
    }
    assert installed == locked


def test_nothing_in_it_can_be_changed_by_the_service(host, settings):
    places = f"{settings['payment_root']} {settings['payment_config_dir']} {settings['payment_log_dir']}"
    search = f"cd / && runuser --user {settings['payment_run_as']} -- find {places} -writable ! -type l"
    writable = host.run(search).stdout.splitlines()
    assert settings["payment_log_dir"] in writable, "the search itself must work"
    assert [path for path in writable if not path.startswith(settings["payment_log_dir"])] == []


def test_everything_in_it_belongs_to_root(host, settings):
    assert host.check_output(f"find {settings['payment_root']} ! -user root") == ""


def test_its_python_is_python_3_11(host, settings):
    assert host.check_output(f"{settings['payment_link']}/venv/bin/python --version").startswith("Python 3.11.")
