"""Go by what a payment host has, as the module payment_preflight found it: refuse it, or size the service for it."""

MIB = 2**20
SKEW = 30  # seconds: an hour of a day, a presigned URL and the age of an order are told by the clock
# Four processes of sixteen threads were seen to take 100 MiB when idle, as a trial is, and 160 MiB under full load.
SHARED_MEMORY, IDLE_PROCESS, BUSY_PROCESS = 64 * MIB, 10 * MIB, 32 * MIB
USUAL_PROCESSES, FEWEST, MOST = 4, 2, 16  # one can be busy, or be replaced, and another answers
# A release takes 110 MiB and 4,000 files; beside it lies the one before, and what pip unpacks.
ROOT_SPACE, ROOT_FILES = 300 * MIB, 12_000
DATA_SPACE = 100 * MIB  # what some days of payments and their log take
NETWORK_DISKS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph"}
OURS = {"payment.socket", "payment.service", "payment-trial.service"}
ANY = "0.0.0.0"


def system_problem(facts: dict) -> str | None:
    """Say that the system is none that the service is made for, or return None."""
    if "os_family" not in facts:
        return "its system is not known, because no facts were gathered. Run the whole playbook, without --skip-tags."
    if (facts["os_family"], str(facts["distribution_major_version"])) == ("RedHat", "9"):
        return None
    name = f"{facts['distribution']} {facts['distribution_version']}"
    return f"runs {name}, and the service is made for RHEL 9 and its rebuilds. Take such a host."


def clock_problem(time: float, before: float, after: float) -> str | None:
    """Say how far the host's clock is off, which was read when the controller's was between `before` and `after`."""
    skew = time - after if time > after else min(time - before, 0)
    if abs(skew) <= SKEW:
        return None
    direction = "ahead of" if skew > 0 else "behind"
    return (
        f"its clock is {abs(skew):.0f} s {direction} this machine's. Let chronyd set it "
        "(systemctl enable --now chronyd), or this machine's, whichever is wrong."
    )


def memory_problem(free: int, processes: int, serving: bool) -> str | None:
    """Say that the service, and a trial of the next release beside it, do not fit, or return None."""
    trial = SHARED_MEMORY + processes * IDLE_PROCESS
    needed = trial if serving else trial + SHARED_MEMORY + processes * BUSY_PROCESS
    if free >= needed:
        return None
    what = "the trial of a release" if serving else "the service and the trial of a release beside it"
    return (
        f"it has {free // MIB} MiB of memory left, and {what} need up to {needed // MIB} MiB with "
        f"payment_processes: {processes}. Give it more memory, or fewer processes."
    )


def disk_problems(disks: list[dict], ledger_in_file: bool) -> list[str]:
    """Check the disks of the directories root, state and log, in this order."""
    root, state, log = disks
    problems = [
        f"{disk['path']} lies on a disk that is mounted read-only. Mount it for writing."
        for disk in disks
        if not disk["writable"]
    ]
    if not root["executable"]:
        problems.append(f"{root['path']} lies on a disk that is mounted noexec. Set payment_root to another directory.")
    if ledger_in_file and state["type"] in NETWORK_DISKS:
        problems.append(
            f"{state['path']}, where the ledger lies, is on {state['type']}, which loses payments. "
            "Use a local disk, or payment_ledger_url."
        )
    for device in dict.fromkeys(disk["device"] for disk in disks):
        needs = [(root, ROOT_SPACE), (state, DATA_SPACE), (log, DATA_SPACE)]
        needed = sum(space for disk, space in needs if disk["device"] == device)
        here = [disk for disk in disks if disk["device"] == device]
        if here[0]["free"] < needed:
            paths = ", ".join(disk["path"] for disk in here)
            problems.append(
                f"the disk of {paths} has {here[0]['free'] // MIB} MiB left, and {needed // MIB} MiB are needed. "
                "Make room."
            )
    if root["inodes"] is not None and root["inodes"] < ROOT_FILES:
        problems.append(
            f"the disk of {root['path']} takes {root['inodes']} more files, and {ROOT_FILES} are needed. Make room."
        )
    return problems


def port_problems(listeners: list[dict], settings: dict) -> list[str]:
    """Check that nobody else has the ports of the service and of its trial."""
    problems = []
    for name, address in (("payment_port", settings["payment_bind_address"]), ("payment_trial_port", "127.0.0.1")):
        others = [
            listener
            for listener in listeners
            if listener["port"] == int(settings[name])
            and listener["unit"] not in OURS
            and (listener["address"] == address or ANY in (listener["address"], address))
        ]
        if others:
            taken = others[0]
            who = f"{taken['program'] or 'a process that is not seen'}"
            who += f" (process {taken['pid']}, {taken['unit'] or 'no unit'})" if taken["pid"] else ""
            problems.append(f"port {settings[name]} is taken by {who}. Stop that, or write another {name}.")
    return problems


def link_problem(link: dict, path: str, root: str) -> str | None:
    """Say that the application path is somebody else's, or return None."""
    if link["mount"]:
        return (
            f"{path} is a mount point, which cannot become a link to a release. Unmount it, and mount that file system "
            "at a directory of releases instead (payment_root), or write another payment_link."
        )
    if link["kind"] == "absent" or (link["kind"] == "directory" and link["service"]):
        return None
    if link["kind"] == "link":
        if link["release"] or link["target"].startswith(f"{root}/releases/"):
            return None
        what = f"a link to {link['target']}, which is no release in {root}"
    elif link["kind"] == "directory":
        what = "a directory without payment.py, or without a payment.service"
    else:
        what = "a file"
    return f"{path} is {what}: somebody else's. Move it away, or write another payment_link."


def payment_host_problems(found: dict, settings: dict, facts: dict, answered: float) -> list[str]:
    """Return what is in the way on one host, in sentences without the host's name.

    `found` is what the module returned, `settings` are the role's variables, `facts` are Ansible's, `answered` is
    the controller's clock after the look, in seconds since 1970.
    """
    if "time" not in found:
        return ["nobody has looked at it yet. Begin with the first task, without --start-at-task."]
    serving = any(listener["unit"] in OURS for listener in found["listeners"])
    processes = int(settings["payment_processes"]) if settings["payment_runtime"] == "uwsgi" else 1
    problems = [
        system_problem(facts),
        clock_problem(found["time"], found["asked"], answered),
        link_problem(found["link"], settings["payment_link"], settings["payment_root"]),
        memory_problem(found["memory"], processes, serving),
        *disk_problems(found["disks"], not settings["payment_ledger_url"]),
        *port_problems(found["listeners"], settings),
    ]
    return [problem for problem in problems if problem]


def payment_processes_for_host(facts: dict) -> int:
    """Return how many processes suit a host: two a core, as far as a third of its memory holds them when they are busy.

    More than one a core, since each waits for disk and neighbours, and Python runs one thread of it at a time. For a
    host that nobody has looked at, it is the guide's number.
    """
    if "processor_nproc" not in facts:
        return USUAL_PROCESSES
    room = (facts["memtotal_mb"] * MIB // 3 - SHARED_MEMORY) // BUSY_PROCESS
    return max(FEWEST, min(2 * facts["processor_nproc"], room, MOST))


class FilterModule:
    """The filters by which the payment role goes by what a host has."""

    def filters(self) -> dict:
        return {
            "payment_host_problems": payment_host_problems,
            "payment_processes_for_host": payment_processes_for_host,
        }
