"""What is installed is what was locked: by hash, by version, by commit."""

import json
import os
import re
import subprocess
from importlib.metadata import distribution

import pytest

from conftest import ROOT, load

LOCKED = sorted(
    path.with_suffix(".txt")
    for path in ROOT.glob("**/requirements.in")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
COLLECTIONS = {entry["name"]: entry["version"] for entry in load(ROOT / "requirements.yml")["collections"]}


def entries(lock):
    """Return name -> the rest of its entry, of every requirement in a lock."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(.*(?:\n .*)*)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_requirement_has_one_version_and_its_hashes(lock):
    assert entries(lock)
    loose = [
        name
        for name, rest in entries(lock).items()
        if not re.match(r"(\[[a-z,]+\])?==[^=\s*]+( ;[^\\]*)?( \\\n +--hash=sha256:[0-9a-f]{64})+$", rest)
    ]
    assert loose == []


def test_make_lock_knows_every_lock():
    names = re.search(r"^lock:.*\n.* in (\S+ .*?);", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    known = subprocess.run(["bash", "-c", f"echo {names}"], check=True, capture_output=True, text=True).stdout.split()
    assert sorted(known) == sorted(str(path.with_suffix(".in").relative_to(ROOT)) for path in LOCKED)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_is_pinned_to_what_the_locked_ansible_brings(name):
    manifest = distribution("ansible").locate_file(f"ansible_collections/{name.replace('.', '/')}/MANIFEST.json")
    version = json.loads(manifest.read_text())["collection_info"]["version"]
    assert COLLECTIONS[name] == f"=={version}", "write this version into requirements.yml"


def test_every_collection_that_is_used_is_pinned():
    folders = ("roles", "playbooks", "testbed", "molecule", "tests")
    texts = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.yml")]
    used = {
        match for text in texts for match in re.findall(r"^\s+(?:- )?([a-z]+\.[a-z]+)\.[a-z_]+:$", text, re.MULTILINE)
    }
    assert used - {"ansible.builtin"} == set(COLLECTIONS)


def test_the_workflows_actions_are_pinned_by_commit():
    used = re.findall(r"uses: (\S+)", "".join(path.read_text() for path in ROOT.glob(".github/workflows/*")))
    assert used
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []


def test_pip_installs_nothing_that_is_not_locked():
    """Each command that takes requirements wants hashes, and wheels alone or a compiler that fetches nothing more."""
    script = (ROOT / "roles/payment/files/install_requirements.sh").read_text().replace("\\\n", "")
    assert re.search(r"^install=.* --only-binary :all:", script, re.MULTILINE)
    commands = [line for line in script.splitlines() if " --requirement " in line]
    assert len(commands) == 3
    assert [line for line in commands if "--require-hashes" not in line] == []
    assert [line for line in commands if '"${install[@]}"' not in line and "--no-build-isolation" not in line] == []
    (without,) = [line for line in script.splitlines() if '"${install[@]}"' in line and line not in commands]
    assert "--no-index --find-links build" in without  # what was compiled here


def test_the_sbom_names_every_locked_requirement_by_hash():
    version = "0.0.sbom"
    subprocess.run([ROOT / "scripts/bundle.sh"], env=os.environ | {"VERSION": version}, check=True, capture_output=True)
    made = sorted((ROOT / "dist").glob(f"skillupworks-payment-{version}-*"))
    try:
        assert [path.name.split(".zip")[1] for path in made] == ["", ".cdx.json", ".sha256"]
        sbom = json.loads(made[1].read_text())
    finally:
        for path in made:
            path.unlink()
    hashes = {
        component["name"]: {
            digest["content"] for reference in component["externalReferences"] for digest in reference.get("hashes", [])
        }
        for component in sbom["components"]
    }
    lock = entries(ROOT / "files/payment/requirements.txt")
    assert hashes == {name: set(re.findall(r"sha256:([0-9a-f]{64})", rest)) for name, rest in lock.items()}
    assert sbom["metadata"]["component"]["version"] == version
