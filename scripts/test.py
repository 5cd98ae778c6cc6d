#!/usr/bin/env python3
"""Run the tests by stage:  test.py [--only EXPRESSION] lint unit project app roles SCENARIO ...

A stage's checks are what its own runner counts. The last lines sum them up and name what failed, and the exit code is 0
only when all stages passed and every stage did test something. Reports lie in results/, one JUnit file a stage.

Stages run side by side, in the order in which they are started: the cheap ones first, then those that take longest, so
that all lanes end at about the same time. What one says is shown when it ends, unless it is the only one.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
LINTERS = {
    "yamllint": ["yamllint", "--strict", "."],
    "ansible-lint": ["ansible-lint", "-q"],
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
}
PYTEST = {
    "unit": [".venv-app/bin/pytest", "-m", "unit", "tests/app"],
    "project": ["pytest", "tests/project"],
    "app": [".venv-app/bin/pytest", "--numprocesses=6", "tests/app"],  # they wait more than they compute
}
# Those that take longest, in this order.
LONGEST = ("app", "security", "shop", "default", "diagnose", "offline", "upgrade", "adopt")
# What stages wait for is mostly each other's containers and processes, so there is room for one more than there are
# processors; each takes up to 3 GiB, and some 35 of the kernel's instances of inotify for its containers.
GIB_EACH, INOTIFY_EACH = 3, 35


class Stage(NamedTuple):
    """What is run under one name; `report` is the JUnit file that its runner writes, if it does."""

    name: str
    command: list[str]
    report: Path | None = None


class Result(NamedTuple):
    """What one stage came to, in checks and seconds; of each check that failed its name and what it said."""

    stage: str
    passed: int
    failures: list[str]
    seconds: float


def stages(names: list[str]) -> list[Stage]:
    """Return the named stages, in the order in which they begin."""
    found = []
    for name in names:
        if name == "lint":
            found += [Stage(linter, command) for linter, command in LINTERS.items()]
        elif name in PYTEST:
            found.append(Stage(name, PYTEST[name], RESULTS / f"{name}.xml"))
        elif name == "roles":  # the scenario `project` is the stage of that name
            found += [scenario(path.parent.name) for path in ROOT.glob("molecule/*/molecule.yml")]
        else:
            found.append(scenario(name))
    if "project" in names:
        found = [each for each in found if each.name != "molecule project"]
    return sorted(found, key=order)


def scenario(name: str) -> Stage:
    command = ["molecule", "test", "--scenario-name", name]
    return Stage(f"molecule {name}", command, RESULTS / f"molecule-{name}.xml")


def order(stage: Stage) -> tuple[int, str]:
    name = stage.name.removeprefix("molecule ")
    if stage.name in LINTERS or name in ("unit", "project"):
        return -1, name
    return LONGEST.index(name) if name in LONGEST else len(LONGEST), name


def lanes() -> int:
    """Return how many stages this machine carries at once."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    inotify = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    return max(1, min((os.cpu_count() or 1) + 1, int(memory / GIB_EACH), inotify // INOTIFY_EACH))


def run(stage: Stage, only: str | None, alone: bool) -> Result:
    """Run one stage, and count the tests in its report, or the command itself where it writes none."""
    headline = f"\n=== {stage.name}: {' '.join(stage.command)}"
    print(headline, flush=True)
    environment = os.environ | {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(ROOT / "testbed/python"), "KEEP_COMPILED": str(ROOT / ".cache")}
    if stage.report:
        stage.report.unlink(missing_ok=True)
        environment["PYTEST_ADDOPTS"] = f"--junitxml={stage.report}" + (f" -k '{only}'" if only else "")
    started = time.monotonic()
    output = {} if alone else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ended = subprocess.run(stage.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, **output)
    succeeded = ended.returncode == 0
    if not alone:
        sys.stdout.buffer.write(f"{headline}\n".encode() + ended.stdout)
        sys.stdout.flush()
    passed, failures = read(stage.report) if stage.report else (int(succeeded), [])
    if not failures and not (succeeded and passed):
        failures = [f"{' '.join(stage.command)} ended with exit code {ended.returncode}"]
    return Result(stage.name, passed, failures, time.monotonic() - started)


def read(report: Path) -> tuple[int, list[str]]:
    """Return how many tests of a JUnit report passed, and the name and message of each that failed."""
    passed, failures = 0, []
    for case in ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ():
        failed = [each for each in case if each.tag in ("failure", "error")]
        failures += [f"{case.get('classname')}::{case.get('name')}: {each.get('message')}" for each in failed]
        passed += not failed and case.find("skipped") is None
    return passed, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="STAGE")
    parser.add_argument("--only", help="run the tests alone that match, as pytest's -k does")
    arguments = parser.parse_args()

    RESULTS.mkdir(exist_ok=True)
    wanted = stages(arguments.names)
    with ThreadPoolExecutor(lanes()) as executor:
        results = list(executor.map(lambda stage: run(stage, arguments.only, len(wanted) == 1), wanted))

    failures = [f"{result.stage}: {failure}" for result in results for failure in result.failures]
    print(f"\n{'stage':<30} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for result in results:
        print(f"{result.stage:<30} {result.passed:>7} {len(result.failures):>7} {result.seconds:>8.0f}")
    if failures:
        print("\nFailed:", *(" ".join(failure.split())[:300] for failure in failures), sep="\n- ")
    print(f"\n{sum(result.passed for result in results)} passed, {len(failures)} failed")
    return 1 if failures or not results else 0


if __name__ == "__main__":
    sys.exit(main())
