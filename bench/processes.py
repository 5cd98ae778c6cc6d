"""What a running service takes, over all of its processes."""

from pathlib import Path


def tree(pid: int) -> list[int]:
    """The process and all of its descendants."""
    found = [pid]
    for each in found:  # grows meanwhile
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that the living threads of the processes have had."""
    nanoseconds = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def pss_mb(pids: list[int]) -> float:
    """Proportional set size, in MB of a million bytes."""
    kib = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib * 1024 / 1e6
