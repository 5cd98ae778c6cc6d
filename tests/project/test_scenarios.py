"""Molecule passes when it finds no tests. These make sure that it does find them, all of them."""

import ast
import subprocess
import sys

import pytest

from conftest import ROOT, load

SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
BASE = load(ROOT / ".config/molecule/config.yml")
TO_CHANGED_CONFIGURATION = ("test_the_same_again_changes_nothing", "test_deployment", "test_changed_configuration")


def collected(folder, *options):
    """Return the test functions that pytest finds below `folder`, as file::function."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *options, folder]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {line.split("[")[0].rsplit("/", 1)[-1] for line in listing.splitlines() if "::" in line}


def written(folder):
    """Return the test functions that stand in the files below `folder`, as file::function."""
    return {
        f"{path.name}::{node.name}"
        for path in folder.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_collects_every_test_of_its_tree(scenario):
    verifier = BASE["verifier"] | load(scenario / "molecule.yml").get("verifier", {})
    folder = (scenario / verifier["directory"]).resolve()
    assert written(folder)
    assert collected(folder) == written(folder)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_verifies(scenario):
    sequence = (BASE["scenario"] | load(scenario / "molecule.yml").get("scenario", {}))["test_sequence"]
    assert "verify" in sequence


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_has_the_playbooks_that_its_sequence_names(scenario):
    """Without a side_effect of its own, Molecule skips all of them, and says so in a warning alone."""
    own = load(scenario / "molecule.yml")
    sequence = (BASE["scenario"] | own.get("scenario", {}))["test_sequence"]
    playbooks = BASE["provisioner"]["playbooks"] | own.get("provisioner", {}).get("playbooks", {})
    needed = {step.split()[0] for step in sequence} & {"create", "prepare", "converge", "side_effect", "destroy"}
    assert needed <= playbooks.keys()
    for step in sequence:
        assert all((scenario / path).exists() for path in step.split()[1:])


def test_scenarios_have_subnets_of_their_own():
    subnets = [
        load(path / "molecule.yml").get("provisioner", {}).get("env", {}).get("TESTBED_SUBNET") for path in SCENARIOS
    ]
    named = [subnet for subnet in subnets if subnet]
    assert len(named) == len(set(named)) == len(SCENARIOS) - 1, "all but `project`, which has no hosts"


@pytest.mark.parametrize("name", ["default", "python_runtime_mode", "offline", "adopt", "broken_release"])
def test_the_road_from_nothing_begins_with_nothing(name):
    """A payment host there is never a snapshot of a provisioned one."""
    own = load(ROOT / "molecule" / name / "molecule.yml")["provisioner"]["env"]
    snapshots = (BASE["provisioner"]["env"] | own)["TESTBED_SNAPSHOTS"]
    assert set(snapshots.split(",")) == {"cart", "user", "rabbitmq"}


def test_a_test_in_turn_brings_those_before_it_along():
    folder = ROOT / "tests/scenarios/upgrade"
    tests = collected(folder, "-k", "test_changed_configuration")
    assert tests == {f"test_upgrade.py::{name}" for name in TO_CHANGED_CONFIGURATION}
