#!/usr/bin/python
"""Collect what can be known of a payment host, without changing anything on it. What it means is judged elsewhere."""

import ctypes
import glob
import grp
import json
import os
import pwd
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.payment_probes import ask, certificate, connect, run, unit

DOCUMENTATION = r"""
module: payment_inspect
short_description: Collects evidence of how a payment host does
description:
  - Reads units, sockets, answers, logs, files and rules, and asks the neighbours as the service would. Changes nothing.
  - Each part that cannot be told holds C(error) instead.
options:
  environment:
    description: What the inventory has the service's unit say, by the names of its environment variables.
    type: dict
    required: true
  link:
    description: The application path.
    type: path
    required: true
  root:
    description: Where the releases are.
    type: path
    required: true
  credentials:
    description: Directory of the secrets that systemd hands to the service.
    type: path
    required: true
  log_dir:
    description: Directory of the service's log.
    type: path
    required: true
  run_as:
    description: The service's user.
    type: str
    required: true
  queue_type:
    description: Type that the orders' queue is to have.
    type: str
    required: true
  encrypted:
    description: Whether the secrets are encrypted on the disk.
    type: bool
    default: false
  test_session:
    description: A session to pay for. Empty pays nothing.
    type: str
    default: ""
author: skillupworks
"""
RETURN = r"""
evidence:
  description: One entry for each part.
  type: dict
  returned: success
"""

# The only variables that are taken from the unit: one that was written by hand has passwords among its own.
NAMES = {"CART_HOST", "CART_PORT", "USER_HOST", "USER_PORT", "AMQP_HOST", "AMQP_USER", "PAYMENT_AMQP_PORT"}
NAMES |= {
    "PAYMENT_AMQP_VHOST",
    "PAYMENT_QUEUE",
    "PAYMENT_BIND",
    "PAYMENT_PORT",
    "PAYMENT_GATEWAY",
    "PAYMENT_LEDGER_URL",
}
STATE = "/var/lib/skillupworks/payment"
RECENT = 600  # seconds of logs
LOG_LINES = 400

# Run by the release's own Python as the service's user, with the login on its standard input. An active declaration
# changes nothing about a queue that is there: RabbitMQ compares, and says how it differs. Where the service's orders do
# not get through, a message to no queue, which RabbitMQ returns, gets what keeps them from it.
AMQP = """
import json, logging, sys
import pika
logging.disable(logging.CRITICAL)
wanted = json.load(sys.stdin)
said = {"step": "login"}
try:
    connection = pika.BlockingConnection(pika.ConnectionParameters(
        host=wanted["host"], port=wanted["port"], virtual_host=wanted["vhost"],
        credentials=pika.PlainCredentials(wanted["user"], wanted["password"]),
        connection_attempts=1, socket_timeout=3, stack_timeout=4, blocked_connection_timeout=4,
    ))
    said["step"] = "queue"
    found = connection.channel().queue_declare(wanted["queue"], passive=True).method
    said.update(messages=found.message_count, consumers=found.consumer_count)
    if wanted["unroutable"]:
        said["step"] = "publish"
        connection.add_on_connection_blocked_callback(lambda _, frame: said.update(blocked=frame.method.reason))
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish("", wanted["unroutable"], b"", mandatory=True)
        except pika.exceptions.UnroutableError:
            connection.process_data_events(time_limit=1)  # with an alarm it takes this one, and then says so
        if "blocked" in said:
            raise RuntimeError("RabbitMQ takes no messages")
    said["step"] = "type"
    kind = {} if wanted["type"] == "classic" else {"x-queue-type": wanted["type"]}
    connection.channel().queue_declare(wanted["queue"], durable=True, arguments=kind)
    said["step"] = "done"
    connection.close()
except Exception as error:
    said.update(code=getattr(error, "reply_code", 0), said=getattr(error, "reply_text", "") or repr(error))
print(json.dumps(said))
"""


def main():
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "dict", "required": True},
            "link": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "credentials": {"type": "path", "required": True},
            "log_dir": {"type": "path", "required": True},
            "run_as": {"type": "str", "required": True},
            "queue_type": {"type": "str", "required": True},
            "encrypted": {"type": "bool", "default": False},
            "test_session": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    clock = time.time()
    if module.check_mode:
        wanted["test_session"] = ""
    service = whole_unit()
    environment = {name: str(value) for name, value in wanted["environment"].items()}
    used = {**environment, **service["environment"]}

    parts = {
        "sockets": lambda: sockets(used["PAYMENT_PORT"]),
        "answers": lambda: answers(used, wanted["test_session"]),
        "journal": lambda: journal("--unit=payment.service", "--unit=payment.socket"),
        "kernel": lambda: [line for line in journal("--dmesg") if re.search("oom|Out of memory", line, re.I)],
        "cart": lambda: neighbour(used["CART_HOST"], used["CART_PORT"], "/health"),
        "user": lambda: neighbour(used["USER_HOST"], used["USER_PORT"], "/health"),
        "rabbitmq": lambda: rabbitmq(used, wanted),
        "ledger": lambda: ledger(used.get("PAYMENT_LEDGER_URL"), service["service"]),
        "gateway": lambda: gateway(used["PAYMENT_GATEWAY"]),
        "files": lambda: files(wanted),
        "releases": lambda: releases(wanted),
        "venv": lambda: venv(wanted["link"]),
        "disks": lambda: [disk(path) for path in (STATE, wanted["log_dir"], wanted["root"], "/tmp")],
        "memory": memory,
        "clock": lambda: {"host": clock, "synchronized": synchronized()},
        "selinux": selinux,
        "firewall": firewall,
    }
    # Nearly all of the time is spent waiting for others.
    with ThreadPoolExecutor(len(parts)) as threads:
        running = {name: threads.submit(part) for name, part in parts.items()}
    evidence = {name: outcome(future) for name, future in running.items()}
    asked = {"used": used, "inventory": environment, "run_as": wanted["run_as"]}
    # What defaults of the role payment go by, named as setup names them.
    size = {"processor_nproc": len(os.sched_getaffinity(0)), "memtotal_mb": memory()["size"] // 2**20}
    module.exit_json(evidence={**evidence, **service, **asked}, ansible_facts=size)


def outcome(future):
    """What a part found, or why it found nothing."""
    error = future.exception()
    return {"error": f"{type(error).__name__}: {error}"} if error else future.result()


def whole_unit():
    """The service, its socket, and what it starts with which environment, as systemd has loaded them."""
    properties = ["LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NeedDaemonReload"]
    socket_unit = unit("payment.socket", *properties)
    service = unit(
        "payment.service",
        *properties,
        *["NRestarts", "ExecStart", "Environment"],
    )
    pairs = re.findall(r'(?:^| )"?([A-Z_]+)=([^ "]*)', service.pop("Environment", ""))
    program = re.search(r"path=(\S+)", service.pop("ExecStart", ""))
    path = program.group(1) if program else ""
    service["Program"] = path
    service["ProgramRuns"] = os.access(path, os.X_OK)
    service["ProgramLink"] = broken_link(path)
    return {
        "service": service,
        "socket": socket_unit,
        "environment": {name: value for name, value in pairs if name in NAMES},
    }


def broken_link(path):
    """The target of a link on the way of `path` that leads to nothing, empty when there is none."""
    return os.path.realpath(path) if os.path.islink(path) and not os.path.exists(path) else ""


def sockets(port):
    """Who listens on the service's port, and which unit it belongs to."""
    found = []
    for line in run("ss", "-Hltnp", "sport = :" + port)["out"].splitlines():
        owners = [
            {"name": name, "pid": int(pid), "unit": unit_of(pid)}
            for name, pid in re.findall(r'"([^"]+)",pid=(\d+)', line)
        ]
        address = line.split()[3]
        found.append({"address": address, "of_host": is_of_host(address.rpartition(":")[0]), "owners": owners})
    return found


def is_of_host(address):
    """Whether the host has the address: systemd listens on any."""
    if address in ("*", "[::]"):
        return True
    bare = address.strip("[]").partition("%")[0]
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as trial:
        try:
            trial.bind((bare, 0))
        except OSError:
            return False
    return True


def unit_of(pid):
    """The systemd unit that a process belongs to, empty when it has none."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            match = re.search(r"([^/\n]+\.(?:service|scope))", file.read())
    except OSError:
        return ""
    return match.group(1) if match else ""


def answers(used, session):
    """What the service says on its own host. OPTIONS is the dry run of a payment: the route is there, and no more."""
    host, port = own_address(used)
    questions = {
        "live": {"path": "/live"},
        "health": {"path": "/health"},
        "metrics": {"path": "/metrics"},
        "exposition": {"path": "/metrics", "headers": {"Accept": "text/plain"}},
        "route": {"path": "/pay/checkup", "method": "OPTIONS"},
    }
    with ThreadPoolExecutor(len(questions)) as threads:  # where nothing answers, each takes its whole time
        said = dict(zip(questions, threads.map(lambda each: document(ask(host, port, **each)), questions.values())))
    lines = re.findall(r"^(payment_\w+) ([0-9.e+-]+)$", said.pop("exposition").get("body", ""), re.M)
    said["gauges"] = {name: float(value) for name, value in lines}
    if session:
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"checkup-{time.time():.3f}"}
        said["payment"] = document(ask(host, port, "/pay/" + session, "POST", headers, "{}", timeout=15))
    return said


def own_address(used):
    """Where the service is asked on its own host."""
    return "127.0.0.1" if used["PAYMENT_BIND"] == "0.0.0.0" else used["PAYMENT_BIND"], used["PAYMENT_PORT"]


def document(answer):
    """An answer with its JSON decoded, None when it is none."""
    try:
        return dict(answer, json=json.loads(answer.get("body", "")))
    except ValueError:
        return dict(answer, json=None)


def journal(*which):
    """The last lines of the last minutes, in their order."""
    # Backwards, because otherwise --since has it count from there.
    since, number = f"--since=-{RECENT}s", f"--lines={LOG_LINES}"
    shown = run("journalctl", *which, since, number, "--reverse", "--output=json", "--output-fields=MESSAGE")["out"]
    messages = [json.loads(line).get("MESSAGE") for line in shown.splitlines()]
    return [message[:2000] for message in reversed(messages) if isinstance(message, str)]


def neighbour(host, port, path=None):
    """Whether another service is reached, step by step: its name, its port, its answer."""
    found = {"host": host, "port": port}
    try:
        found["addresses"] = sorted(
            {each[4][0] for each in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)}
        )
    except OSError as error:
        return dict(found, tcp={"ok": False, "reason": "name", "said": str(error)})
    found["tcp"] = connect(host, port)
    if path and found["tcp"]["ok"]:
        found["http"] = ask(host, port, path)
    return found


def secret(wanted, name):
    """Read a secret as systemd does; OSError where that is not possible."""
    path = os.path.join(wanted["credentials"], name)
    if wanted["encrypted"]:
        decrypted = run("systemd-creds", "decrypt", "--name=" + name, path, "-")
        if decrypted["code"] != 0:
            raise OSError(decrypted["error"])
        return decrypted["out"]
    with open(path, encoding="utf-8") as file:
        return file.read().rstrip("\r\n")


def rabbitmq(used, wanted):
    """Log in as the service does, and look at the queue."""
    found = neighbour(used["AMQP_HOST"], used["PAYMENT_AMQP_PORT"])
    if not found["tcp"]["ok"]:
        return found
    python = os.path.join(wanted["link"], "venv/bin/python")
    try:
        password = secret(wanted, "amqp_password")
        account = pwd.getpwnam(wanted["run_as"])
    except (OSError, KeyError) as error:
        return dict(found, amqp={"step": "none", "said": str(error)})
    health = document(ask(*own_address(used), "/health"))["json"] or {}
    login = {
        "host": found["host"],
        "port": int(found["port"]),
        "vhost": used["PAYMENT_AMQP_VHOST"],
        "user": used["AMQP_USER"],
        "password": password,
        "queue": used["PAYMENT_QUEUE"],
        "type": wanted["queue_type"],
        "unroutable": f"checkup-{uuid.uuid4()}" if health.get("rabbitmq") == "disconnected" else "",
    }
    said = run(
        python, "-I", "-B", "-c", AMQP,
        input=json.dumps(login).encode(), user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/",
    )  # fmt: skip
    try:
        amqp = json.loads(said["out"].replace(password, "***"))
    except ValueError:
        amqp = {"step": "none", "said": said["error"].replace(password, "***")[-300:]}
    return dict(found, amqp=amqp)


def ledger(url, service):
    """Who else holds a ledger's lock; for one in PostgreSQL, whether its server is reached."""
    if url and url.startswith("postgresql:"):
        parts = urlsplit(url)
        return dict(neighbour(parts.hostname, parts.port or 5432), kind="postgresql")
    path = STATE + "/ledger.db"
    first = lock_holders(path, service)
    time.sleep(0.5)  # a lock that is passed on in time is none
    holders = [each for each in lock_holders(path, service) if each in first]
    return {"kind": "sqlite", "path": path, "exists": os.path.exists(path), "holders": holders}


def lock_holders(path, service):
    """The processes that lock the file at `path`, or one beside it, for writing, and are not the service's own."""
    inodes = {}
    for file in glob.glob(path + "*"):
        status = os.stat(file)
        inodes[(os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)] = file
    holders = []
    with open("/proc/locks") as locks:
        for line in locks:
            fields = line.split()
            if fields[1] == "->" or fields[3] != "WRITE":
                continue
            major, minor, inode = fields[5].split(":")
            file = inodes.get((int(major, 16), int(minor, 16), int(inode)))
            if file and unit_of(fields[4]) != "payment.service":
                holders.append({"pid": int(fields[4]), "name": process_name(fields[4]), "file": file})
    return holders


def process_name(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"


def gateway(url):
    """The certificate of a gateway on the internet, verified as the service does."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return {"kind": parts.scheme}
    address = parts.hostname, parts.port or 443
    found = dict(neighbour(*address), kind="https")
    if not found["tcp"]["ok"]:
        return found
    return dict(found, tls=certificate(*address))


def files(wanted):
    """Owner and mode of what must be just so, by path; None for what is not there."""
    paths = [wanted["credentials"], *glob.glob(wanted["credentials"] + "/*"), STATE, STATE + "/ledger.db"]
    paths += [wanted["log_dir"], wanted["log_dir"] + "/payment.log"]
    return {path: owner_and_mode(path) for path in paths}


def owner_and_mode(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return {
        "owner": name_of(pwd.getpwuid, status.st_uid),
        "group": name_of(grp.getgrgid, status.st_gid),
        "mode": f"{status.st_mode & 0o7777:04o}",
    }


def name_of(look_up, number):
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)


def releases(wanted):
    """What lies in the releases' directory, and which of it is linked. A release without a REVISION is half done."""
    folder = os.path.join(wanted["root"], "releases")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    link = wanted["link"]
    return {
        "folder": folder,
        "path": link,
        "target": os.readlink(link) if os.path.islink(link) else "",
        "linked": os.path.isdir(link),
        "wheels": os.path.isdir(os.path.join(link, "wheels")),
        "installed": read_line(os.path.join(link, "REVISION")),
        "half_done": [
            name for name in names if name != "by-hand" and not os.path.exists(os.path.join(folder, name, "REVISION"))
        ],
    }


def read_line(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def venv(link):
    """How the release's virtual environment differs from its lock: versions, and files that are gone or changed."""
    packages = glob.glob(link + "/venv/lib/python3*/site-packages")
    lock = os.path.join(link, "requirements.txt")
    if not packages or not os.path.exists(lock):
        return {"exists": False, "python": broken_link(link + "/venv/bin/python"), "problems": []}
    installed, problems = {}, []
    for distribution in distributions(path=packages):
        name = canonical(distribution.metadata["Name"])
        installed[name] = distribution.version
        changed = changed_files(distribution)
        if changed:
            problems.append(f"{name}: {len(changed)} files are gone or changed, such as {changed[0]}")
    with open(lock, encoding="utf-8") as file:
        locked = re.findall(r"^([\w.-]+)==([^\s;]+)( *;)?", file.read(), re.M)
    for name, version, optional in locked:
        there = installed.get(canonical(name))
        if there != version and not (optional and there is None):
            problems.append("{} is {}, the lock says {}".format(name, there or "missing", version))
    return {
        "exists": True,
        "python": broken_link(link + "/venv/bin/python"),
        "installed": len(installed),
        "problems": sorted(problems),
    }


def canonical(name):
    return re.sub(r"[-_.]+", "-", name or "?").lower()


def changed_files(distribution):
    """Files that are not there, or have another size than they were installed with."""
    changed = []
    for file in distribution.files or []:
        if file.size is None:
            continue
        path = str(file.locate())
        if not os.path.exists(path) or os.path.getsize(path) != file.size:
            changed.append(str(file))
    return changed


def disk(path):
    """How much is free where `path` is or would be, for those who are not root."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return {
        "path": path,
        "free": status.f_bavail * status.f_frsize,
        "size": status.f_blocks * status.f_frsize,
        "inodes": status.f_favail,
        "all_inodes": status.f_files,
    }


def memory():
    """Bytes that the host has, and has left."""
    with open("/proc/meminfo") as file:
        values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    return {"size": values["MemTotal"], "available": values["MemAvailable"]}


def synchronized():
    """Whether the clock follows another one, by the kernel's word: timedatectl would start a service for it."""
    unsynchronized = 5  # TIME_ERROR
    nothing_to_set = ctypes.create_string_buffer(512)  # struct timex, whose `modes` is 0
    return ctypes.CDLL(None).adjtimex(nothing_to_set) != unsynchronized


def selinux():
    """Whether SELinux enforces, and what it denied lately."""
    enforce = read_line("/sys/fs/selinux/enforce")
    if enforce == "":
        return {"mode": "disabled", "denials": []}
    found = run("ausearch", "--message", "AVC,USER_AVC", "--start", "recent", "--raw")
    lines = found["out"].splitlines() if found["code"] == 0 else journal("_TRANSPORT=audit")
    ours = [line for line in lines if re.search(r"denied .*(payment|uwsgi|skillupworks|/app|python3)", line)]
    return {"mode": "enforcing" if enforce == "1" else "permissive", "denials": ours[-5:]}


def firewall():
    """Whether firewalld runs; what it lets in is compared by the role app_firewall itself."""
    state = run("firewall-cmd", "--state")
    return {"state": state["out"] or state["error"]}


if __name__ == "__main__":
    main()
