#!/usr/bin/env python3
"""Run the tests by stage:  test.py lint app roles [SCENARIO ...]

A stage's checks are what its own runner counts. The last line sums them up, and the exit code is 0 only when all
stages passed and every stage did test something. Reports lie in results/, one JUnit file a stage. Scenarios run two at
a time, as each has hosts of its own; what one says is shown when it ends.
"""

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
LANES = 2
FIRST = ("default", "shop", "security", "diagnose", "upgrade", "broken_release")
LINTERS = {
    "yamllint": ["yamllint", "--strict", "."],
    "ansible-lint": ["ansible-lint", "-q"],
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
}


class Result(NamedTuple):
    """What one stage came to, in checks and seconds; of each check that failed its name and what it said."""

    stage: str
    passed: int
    failures: list[str]
    seconds: float


def run(stage: str, command: list[str], report: Path | None = None, aside: bool = False) -> Result:
    """Run one command, and count the tests in its JUnit report, or the command itself where it writes none.

    What a command says that runs `aside` another one is shown at its end.
    """
    headline = f"\n=== {stage}: {' '.join(command)}"
    print(headline, flush=True)
    environment = os.environ | {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    if report:
        report.unlink(missing_ok=True)
        environment["PYTEST_ADDOPTS"] = f"--junitxml={report}"
    started = time.monotonic()
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if aside else {}
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, **output)
    succeeded = ended.returncode == 0
    if aside:
        sys.stdout.buffer.write(f"{headline}\n".encode() + ended.stdout)
        sys.stdout.flush()
    passed, failures = read(report) if report else (int(succeeded), [])
    if not failures and not (succeeded and passed):
        failures = [f"{' '.join(command)} ended with exit code {ended.returncode}"]
    return Result(stage, passed, failures, time.monotonic() - started)


def read(report: Path) -> tuple[int, list[str]]:
    """Return how many tests of a JUnit report passed, and the name and message of each that failed."""
    passed, failures = 0, []
    for case in ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ():
        failed = [each for each in case if each.tag in ("failure", "error")]
        failures += [f"{case.get('classname')}::{case.get('name')}: {each.get('message')}" for each in failed]
        passed += not failed and case.find("skipped") is None
    return passed, failures


def stages(names: list[str]) -> list[Result]:
    """Run the named stages in their order."""
    results = []
    for name in names:
        if name == "lint":
            results += [run(linter, command) for linter, command in LINTERS.items()]
        elif name == "app":
            command = [".venv-app/bin/pytest", "--numprocesses=2", "--dist=loadfile", "tests/app"]
            results.append(run("app", command, RESULTS / "app.xml"))
        elif name == "roles":
            first, *others = sorted((path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")), key=order)
            results.append(scenario(first))
            with ThreadPoolExecutor(LANES) as lanes:
                results += lanes.map(lambda name: scenario(name, aside=True), others)
        else:
            results.append(scenario(name))
    return results


def order(scenario: str) -> tuple[int, str]:
    """The default scenario comes first and alone: it makes what the others share, such as the image of their hosts.
    Then those that take longest, so that both lanes end at about the same time.
    """
    return FIRST.index(scenario) if scenario in FIRST else len(FIRST), scenario


def scenario(name: str, aside: bool = False) -> Result:
    """Run one Molecule scenario."""
    command = ["molecule", "test", "--scenario-name", name]
    return run(f"molecule {name}", command, RESULTS / f"molecule-{name}.xml", aside)


def main() -> int:
    RESULTS.mkdir(exist_ok=True)
    names = sys.argv[1:]
    if "roles" in names and names[-1] != "roles":
        names.remove("roles")
    results = stages(names)

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
