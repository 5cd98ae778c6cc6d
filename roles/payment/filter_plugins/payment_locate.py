"""Say in which file of an inventory a variable is set."""

import re
from collections.abc import Mapping
from pathlib import Path


def file_of(name: str, inventory_file: str) -> str | None:
    """Return the file that sets the variable `name`: the inventory's own or one beside it; None if none does."""
    setting = re.compile(rf"^\s*(- )?['\"]?{name}['\"]?\s*:", re.MULTILINE)
    folder = Path(inventory_file).parent
    of_all = [folder / "group_vars/all.yml", *sorted(folder.glob("group_vars/all/**/*.yml"))]
    of_groups = [file for file in sorted(folder.glob("group_vars/**/*.yml")) if file not in of_all]
    files = [Path(inventory_file), *of_all, *of_groups, *sorted(folder.glob("host_vars/**/*.yml"))]
    for file in reversed(files):  # the last one counts
        if file.is_file() and setting.search(file.read_text()):
            return str(file)
    return None


def payment_located(problems: dict[str, list[str]], hostvars: Mapping, otherwise: str = "") -> list[str]:
    """Return all sentences with the file before them, or `otherwise`, or the inventory's file.

    `problems` are host -> sentences, each of which begins with a variable's name.
    """
    located = []
    for host, sentences in problems.items():
        inventory_file = hostvars[host].get("inventory_file") or "the inventory"
        for sentence in sentences:
            name = re.match(r"\w+", sentence)[0]
            located.append(f"{file_of(name, inventory_file) or otherwise or inventory_file}: {sentence}")
    return located


def payment_misplaced_problems(hostvars: Mapping, hosts: list[str]) -> list[str]:
    """Find what has no effect where it is set: a play has its `serial` before it has the inventory's variables."""
    files = {hostvars[host].get("inventory_file") for host in hosts if "payment_serial" in hostvars[host]}
    found = {file_of("payment_serial", file) for file in files if file} - {None}
    return [f"{file}: payment_serial has no effect in an inventory. Give it with -e." for file in sorted(found)]


class FilterModule:
    """Filters for where to change what was found."""

    def filters(self) -> dict:
        return {"payment_located": payment_located, "payment_misplaced_problems": payment_misplaced_problems}
