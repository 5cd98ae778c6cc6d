#!/usr/bin/env python3
"""How long site.yml takes, beside what one would do without it: measured in turns, on containers of this machine.

Each round has, on one payment host: ten tasks that do nothing, site.yml where nothing is to change, and the deployment
of a new release; then, each on a host that is made anew, the install guide's commands as a script over SSH, site.yml,
and site.yml with a release that brings wheels. Then ten hosts: the first run, with wheels, and runs that change
nothing.
Prints seconds, medians and ratios; results/provisioning.json has them.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "files" / "payment"
# Hosts of their own, beside those of demo and tests.
NAME = os.environ.setdefault("MOLECULE_SCENARIO_NAME", "bench")
SUBNET = os.environ.setdefault("TESTBED_SUBNET", "10.84.9")
os.environ.setdefault("TESTBED_S3", "false")  # the app of this checkout, as the guide's commands have it
UWSGI = re.compile(r"^uwsgi==(\S+).*?(?=^\S)", re.MULTILINE | re.DOTALL)
TEN, ONE_AND_NEIGHBOURS = 10, 5
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INSTANCES = 5  # of inotify, that the systemd of one container takes


def play(*arguments: object) -> float:
    """Run ansible-playbook; the seconds it took. What it said is shown when it fails."""
    began = time.monotonic()
    command = ["ansible-playbook", "--inventory", "inventories/demo", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def podman(*arguments: str) -> str:
    return subprocess.run([ROOT / "testbed/podman", *arguments], check=True, capture_output=True, text=True).stdout


def make_anew(*hosts: str) -> None:
    """Have hosts with nothing on them."""
    for host in hosts:
        podman("rm", "--force", "--ignore", "--time=2", f"skillupworks-payment-{NAME}-{host}")


def app(folder: Path, version: str, wheels: Path | None) -> str:
    """A copy of the app as another release, with wheels or without; the argument that deploys it."""
    source = shutil.copytree(APP, folder / version)
    (source / "VERSION").write_text(f"{version}\n")
    if wheels:
        shutil.copytree(wheels, source / "wheels")
    return f"--extra-vars=__payment_bundle_source={source}"


def by_the_guide(folder: Path) -> float:
    """Set payment-1 up by typing the guide's commands; the seconds it took."""
    lock = (APP / "requirements.txt").read_text()
    path = folder / "skillupworks-payment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(APP.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.name != "requirements.txt":
                archive.write(file, file.relative_to(APP))
        archive.writestr("requirements.txt", UWSGI.sub("", lock))  # the guide installs uWSGI by itself
    settings = {
        "CART_HOST": f"{SUBNET}.12",
        "USER_HOST": f"{SUBNET}.13",
        "AMQP_HOST": f"{SUBNET}.14",
        "AMQP_PASS": (ROOT / ".cache/testbed/amqp_password").read_text().split()[0],
        "UWSGI": UWSGI.search(lock)[1],
    }
    script = "".join(f"{name}='{value}'\n" for name, value in settings.items()) + (ROOT / "bench/guide.sh").read_text()
    options = ["-i", ROOT / ".cache/testbed/id_ed25519", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
    ssh = ["ssh", *options, "-o", "UserKnownHostsFile=/dev/null", f"ops@{SUBNET}.11"]
    began = time.monotonic()
    subprocess.run([*ssh, "cat > /tmp/skillupworks-payment.zip"], check=True, stdin=path.open("rb"))
    done = subprocess.run([*ssh, "sudo bash -s"], input=script, capture_output=True, text=True)
    if done.returncode or '"service":"payment"' not in done.stdout:
        raise SystemExit(f"The guide's commands failed:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def missing_room(more: int) -> str | None:
    """Say what is missing to run so many more containers, or return None."""
    running = len(podman("ps", "--quiet").split())
    needed, allowed = (running + more) * INSTANCES, int(INOTIFY.read_text())
    if needed <= allowed:
        return None
    return (
        f"{running} containers run, and {more} more would need some {needed} instances of inotify; "
        f"fs.inotify.max_user_instances is {allowed}. Stop other containers, or raise it with sysctl."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    rounds = parser.parse_args().rounds

    ours = len(podman("ps", "--quiet", "--filter", f"name=^skillupworks-payment-{NAME}-").split())
    if missing := missing_room(ONE_AND_NEIGHBOURS - ours):
        raise SystemExit(f"There is no room for the hosts: {missing}")
    built = subprocess.run([ROOT / "scripts/wheels/build.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout
    wheels = Path(built.strip())
    seconds: dict[str, list[float]] = {}

    def measure(what: str, run: Callable[[], float]) -> None:
        seconds.setdefault(what, []).append(round(run(), 2))
        print(f"{what:<34} {seconds[what][-1]:7.1f} s   load {os.getloadavg()[0]:.1f}", flush=True)

    notes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ten = folder / "ten.yml"
        hosts = {f"payment-{number}": {"ansible_host": f"{SUBNET}.{100 + number}"} for number in range(2, TEN + 1)}
        ten.write_text(json.dumps({"payment": {"hosts": hosts}}))
        of_ten = ("--inventory", ten)
        nothing = ROOT / "bench/ten_tasks.yml"
        try:
            play("testbed/create.yml", "testbed/prepare.yml")
            with_wheels = app(folder, "1.0.0", wheels)
            for number in range(1, rounds + 1):
                for what, first in {
                    "first run, guide's commands": lambda: by_the_guide(folder),
                    "first run": lambda: play("playbooks/site.yml"),
                    "first run, wheels": lambda: play("playbooks/site.yml", with_wheels),
                }.items():
                    make_anew("payment-1")
                    play("testbed/create.yml")
                    measure(what, first)
                for _ in range(2):
                    measure("ten tasks that do nothing", lambda: play(nothing))
                    measure("nothing to change", lambda: play("playbooks/site.yml", with_wheels))
                release = app(folder, f"1.{number}.0", wheels)
                measure("new release", lambda release=release: play("playbooks/site.yml", release))
            if missing := missing_room(TEN - 1):
                notes.append(f"ten hosts were not measured: {missing}")
            else:
                play("testbed/create.yml", *of_ten)
                measure("ten hosts: first run, wheels", lambda: play("playbooks/site.yml", with_wheels, *of_ten))
                for _ in range(rounds):
                    measure("ten hosts: nothing to change", lambda: play("playbooks/site.yml", with_wheels, *of_ten))
                    measure("ten hosts: ten tasks", lambda: play(nothing, *of_ten))
        finally:
            play("testbed/destroy.yml", *of_ten)

    medians = {what: round(statistics.median(each), 1) for what, each in seconds.items()}
    compared = {
        "nothing to change / ten tasks that do nothing": ("nothing to change", "ten tasks that do nothing"),
        "first run / guide's commands": ("first run", "first run, guide's commands"),
        "first run, wheels / guide's commands": ("first run, wheels", "first run, guide's commands"),
        "ten hosts / one host, nothing to change": ("ten hosts: nothing to change", "nothing to change"),
        "ten hosts / one host, first run": ("ten hosts: first run, wheels", "first run, wheels"),
    }
    ratios = {
        what: round(medians[one] / medians[other], 2) for what, (one, other) in compared.items() if one in medians
    }
    (ROOT / "results").mkdir(exist_ok=True)
    document = {"seconds": seconds, "medians": medians, "ratios": ratios, "notes": notes}
    (ROOT / "results/provisioning.json").write_text(json.dumps(document, indent=2) + "\n")
    print("\nmedian seconds", *(f"  {what:<46} {median:7.1f}" for what, median in medians.items()), sep="\n")
    print("\nratios", *(f"  {what:<46} {ratio:7.2f}" for what, ratio in ratios.items()), *notes, sep="\n")


if __name__ == "__main__":
    main()
