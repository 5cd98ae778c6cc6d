#!/usr/bin/env python3
"""How long site.yml takes on a host that has nothing: a release with wheels beside one that is compiled there.

Both are measured in turns, on containers of this machine. Prints the seconds of each run, the medians and their ratio;
results/first_deployment.json has the runs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "files" / "payment"
HOSTS = {"MOLECULE_SCENARIO_NAME": "bench", "TESTBED_SUBNET": "10.84.9"}  # of their own, beside those of demo and tests


def play(*arguments: str) -> None:
    """Run ansible-playbook, and show what it said when it fails."""
    command = ["ansible-playbook", "--inventory", "inventories/demo", *arguments]
    subprocess.run(command, cwd=ROOT, env=os.environ | HOSTS, check=True, stdout=subprocess.DEVNULL)


def first_deployment(source: Path) -> float:
    """Deploy the app at `source` to a payment host that is made anew; the seconds that took."""
    container = f"skillupworks-payment-{HOSTS['MOLECULE_SCENARIO_NAME']}-payment-1"
    subprocess.run([ROOT / "testbed/podman", "rm", "--force", "--time=2", container], check=True, capture_output=True)
    play("testbed/create.yml")
    began = time.monotonic()
    play("playbooks/site.yml", f"--extra-vars=__payment_bundle_source={source}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    rounds = parser.parse_args().rounds

    wheels = subprocess.run([ROOT / "scripts/wheels/build.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds: dict[str, list[float]] = {"compiled": [], "wheels": []}
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(APP, Path(folder) / "payment")
        shutil.copytree(wheels.strip(), source / "wheels")
        try:
            play("testbed/create.yml", "testbed/prepare.yml")
            for _ in range(rounds):
                for kind, app in {"compiled": APP, "wheels": source}.items():
                    seconds[kind].append(round(first_deployment(app), 1))
                    print(f"{kind:<10} {seconds[kind][-1]:6.1f} s", flush=True)
        finally:
            play("testbed/destroy.yml")
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/first_deployment.json").write_text(json.dumps(seconds, indent=2) + "\n")
    compiled, with_wheels = (statistics.median(seconds[kind]) for kind in ("compiled", "wheels"))
    print(f"median: {compiled:.1f} s compiled, {with_wheels:.1f} s with wheels, ratio {compiled / with_wheels:.2f}")


if __name__ == "__main__":
    main()
