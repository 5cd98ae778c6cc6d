#!/usr/bin/env python3
"""Run the tests by stage:  test.py lint app roles [SCENARIO ...]

A stage's checks are what its own runner counts. The last line sums them up, and the exit code is 0 only when all
stages passed and every stage did test something. Reports lie in results/, one JUnit file a stage.
"""

import os
import subprocess
import sys
import time
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


class Result(NamedTuple):
    """What one stage came to, in checks and seconds."""

    stage: str
    passed: int
    failed: int
    seconds: float


def run(stage: str, command: list[str], report: Path | None = None) -> Result:
    """Run one command, and count the tests in its JUnit report, or the command itself where it writes none."""
    print(f"\n=== {stage}: {' '.join(command)}", flush=True)
    environment = os.environ | {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    if report:
        report.unlink(missing_ok=True)
        environment["PYTEST_ADDOPTS"] = f"--junitxml={report}"
    started = time.monotonic()
    succeeded = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode == 0
    passed, failed = count(report) if report else (int(succeeded), int(not succeeded))
    if not succeeded or not passed:
        failed = max(failed, 1)
    return Result(stage, passed, failed, time.monotonic() - started)


def count(report: Path) -> tuple[int, int]:
    """Return how many tests of a JUnit report passed and failed."""
    if not report.exists():
        return 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors


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
            scenarios = [path.parent.name for path in sorted(ROOT.glob("molecule/*/molecule.yml"))]
            results += [scenario(name) for name in scenarios]
        else:
            results.append(scenario(name))
    return results


def scenario(name: str) -> Result:
    """Run one Molecule scenario."""
    return run(f"molecule {name}", ["molecule", "test", "--scenario-name", name], RESULTS / f"molecule-{name}.xml")


def main() -> int:
    RESULTS.mkdir(exist_ok=True)
    names = sys.argv[1:]
    if "roles" in names and names[-1] != "roles":
        names.remove("roles")
    results = stages(names)

    print(f"\n{'stage':<30} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for result in results:
        print(f"{result.stage:<30} {result.passed:>7} {result.failed:>7} {result.seconds:>8.0f}")
    failed = sum(result.failed for result in results)
    print(f"\n{sum(result.passed for result in results)} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
