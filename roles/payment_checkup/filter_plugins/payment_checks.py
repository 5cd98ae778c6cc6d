"""Judge the evidence of a host: one row a check.

A row is {"check", "state", "seen"}: `state` is ok, failed or skipped, `seen` is what it was judged by. The evidence is
that of the modules payment_inspect and payment_inspect_frontend; tasks/inspect.yml adds `drift`, `openings`, `wanted`
and `reached`.
"""

import json
import re
from datetime import datetime

MIB = 1024**2
LEAST_FREE = 200 * MIB  # bytes on a disk
LEAST_FREE_SHARE = 0.02  # of its inodes
LEAST_MEMORY = 64 * MIB
LARGEST_SKEW = 5.0  # seconds
LONGEST_WAIT = 60.0  # seconds that a paid order may wait for RabbitMQ
LATELY = 120.0  # seconds that payments say something about now
CERTIFICATE_DAYS = 14


def row(check: str, ok: bool | None, seen: object) -> dict:
    """Return one check; `ok` is None for one that does not apply."""
    return {"check": check, "state": "skipped" if ok is None else "ok" if ok else "failed", "seen": str(seen)}


def payment_checks(evidence: dict) -> list[dict]:
    """Turn the evidence of a payment host or a frontend into rows."""
    if "unreachable" in evidence:
        return [
            row(
                "host is reached", False, evidence["unreachable"].removeprefix("Task failed: ").strip() or "unreachable"
            )
        ]
    if evidence["kind"] == "frontend":
        return frontend_rows(evidence)
    missing = [
        f"{name}: {part['error']}" for name, part in evidence.items() if isinstance(part, dict) and "error" in part
    ]
    rows = [
        row("host is reached", True, "yes"),
        row("evidence is complete", not missing, "; ".join(missing) or "yes"),
    ]
    for judge in (
        *(
            service_rows,
            socket_rows,
            answer_rows,
            payment_rows,
            last_payments_rows,
            queue_rows,
            ledger_rows,
            reach_rows,
        ),
        *(drift_rows, venv_rows, release_rows, file_rows, firewall_rows, selinux_rows),
        *(disk_rows, memory_rows, clock_rows, gateway_rows),
    ):
        try:
            rows += judge(evidence)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            name = judge.__name__.removesuffix("_rows").replace("_", " ")
            rows.append(row(name, False, f"cannot be told ({error!r})"))
    return rows


def service_rows(evidence: dict) -> list[dict]:
    """The guide's first step: is it enabled, does it run?"""
    units = evidence["service"], evidence["socket"]
    enabled = [unit.get("UnitFileState") or "no unit" for unit in units]
    active = [f"{unit.get('ActiveState')} ({unit.get('SubState')})" for unit in units]
    return [
        row("service is enabled", enabled == ["enabled"] * 2, f"service {enabled[0]}, socket {enabled[1]}"),
        row(
            "service is active",
            all(unit.get("ActiveState") == "active" for unit in units),
            f"service {active[0]}, socket {active[1]}, {evidence['service'].get('NRestarts', 0)} restarts",
        ),
    ]


def socket_rows(evidence: dict) -> list[dict]:
    """Does the service, and nobody else, listen on the address that the inventory names?"""
    wanted = f"{evidence['inventory']['PAYMENT_BIND']}:{evidence['inventory']['PAYMENT_PORT']}"
    heard = [each["address"] for each in evidence["sockets"]]
    strangers = foreign_owners(evidence)
    of_host = all(each["of_host"] for each in evidence["sockets"])
    seen = ", ".join(heard) or "nothing listens"
    if strangers:
        seen += f" by {strangers[0]['name']} (pid {strangers[0]['pid']})"
    if not of_host:
        seen += ", no address of the host"
    return [row("port listens", heard == [wanted] and of_host and not strangers, seen)]


def foreign_owners(evidence: dict) -> list[dict]:
    """Processes that have the service's port and are neither the service nor systemd, which hands it over."""
    owners = [owner for each in evidence["sockets"] for owner in each["owners"]]
    return [owner for owner in owners if owner["pid"] != 1 and owner["unit"] != "payment.service"]


def answer_rows(evidence: dict) -> list[dict]:
    """Steps two and three: health and metrics, from the host itself."""
    live, health, metrics = (evidence["answers"][name] for name in ("live", "health", "metrics"))
    running = field(live, "release")
    installed, wanted = evidence["releases"]["installed"] or "nothing", evidence["wanted"]
    rows = [
        row(
            "release runs",
            running == installed == wanted,
            running
            if running == installed == wanted
            else f"{running} runs, {installed} is installed, {wanted} is wanted",
        )
    ]
    for name in ("cart", "user", "rabbitmq"):
        rows.append(row(f"health of {name}", field(health, name) == "connected", field(health, name)))
    if field(health, "ledger") != "no answer":
        rows.append(row("health of ledger", False, field(health, "ledger")))
    failed = field(metrics, "failed_payments")
    counted = f"{field(metrics, 'total_payments')} payments, {failed} failed, up {field(metrics, 'uptime')}"
    return [*rows, row("metrics", failed != "no answer", counted if failed != "no answer" else refusal(metrics))]


def field(answer: dict, name: str) -> object:
    """One field of a JSON answer."""
    return (answer.get("json") or {}).get(name, "no answer")


def refusal(answer: dict) -> str:
    """How an answer that was not the wanted one looked."""
    return f"HTTP {answer['status']}" if answer.get("status") else answer.get("said", "no answer")


def payment_rows(evidence: dict) -> list[dict]:
    """Step four: a payment where the inventory allows one, else whether the route for it is there."""
    paid = evidence["answers"].get("payment")
    if paid is None:
        route = evidence["answers"]["route"]
        takes = "POST" in route.get("headers", {}).get("allow", "")
        return [
            row(
                "payment route", takes, "takes POST; no payment, as no test session is set" if takes else refusal(route)
            )
        ]
    ok = paid["status"] == 200 and field(paid, "status") == "success"
    return [
        row(
            "payment",
            ok,
            f"{field(paid, 'orderId')} over {field(paid, 'amount')}"
            if ok
            else f"{refusal(paid)}: {paid.get('body', '')[:200]}",
        )
    ]


def last_payments_rows(evidence: dict) -> list[dict]:
    """Do customers' payments fail, one after the other, just now? A refused one is the customer's own doing."""
    attempts = [json.loads(line) for line in evidence["journal"] if '"payment attempt"' in line]
    now = evidence["clock"]["host"]
    ages = [now - datetime.fromisoformat(each["time"].replace("Z", "+00:00")).timestamp() for each in attempts]
    last = [each for each, age in zip(attempts, ages, strict=True) if age < LATELY][-3:]
    if not last:
        return [row("last payments", None, f"none in {LATELY:.0f} s")]
    failed = [each["reason"] for each in last if each["outcome"] == "failed"]
    seen = f"{len(failed)} of the last {len(last)} failed"
    return [row("last payments", len(failed) < len(last), f"{seen}: {failed[-1]}" if failed else seen)]


def queue_rows(evidence: dict) -> list[dict]:
    """Step five: the orders' queue, as the service's own login sees it, and what waits for it."""
    rabbitmq, gauges = evidence["rabbitmq"], evidence["answers"]["gauges"]
    amqp = rabbitmq.get("amqp", {})
    if not rabbitmq["tcp"]["ok"]:
        rows = [row("queue", False, rabbitmq["tcp"]["said"])]
    elif "messages" not in amqp:
        rows = [row("queue", False, amqp.get("said", "no answer"))]
    else:
        other = amqp["step"] == "type" and amqp.get("code") in (405, 406)
        seen = f"{amqp['messages']} orders, {amqp['consumers']} consumers"
        rows = [row("queue", not other, f"{seen}: {amqp['said']}" if other else seen)]
    if "payment_outbox_orders" not in gauges:
        return [*rows, row("outbox", False, "no answer")]
    oldest = gauges["payment_outbox_oldest_seconds"]
    seen = f"{gauges['payment_outbox_orders']:.0f} orders, oldest {oldest:.0f} s"
    return [*rows, row("outbox", oldest <= LONGEST_WAIT, seen)]


def ledger_rows(evidence: dict) -> list[dict]:
    """Can payments be recorded?"""
    ledger = evidence["ledger"]
    if ledger["kind"] == "postgresql":
        return [
            row("ledger", ledger["tcp"]["ok"], ledger["tcp"].get("said", f"PostgreSQL on {ledger['host']} is reached"))
        ]
    holders = [f"{each['file']} is locked by {each['name']} (pid {each['pid']})" for each in ledger["holders"]]
    return [
        row(
            "ledger",
            ledger["exists"] and not holders,
            "; ".join(holders) or (ledger["path"] if ledger["exists"] else "there is none"),
        )
    ]


def reach_rows(evidence: dict) -> list[dict]:
    """Step six: /health and /metrics from elsewhere."""
    rows = []
    for place, answers in evidence["reached"].items():
        name = "the controller" if place == "localhost" else place
        if answers is None:
            rows.append(row(f"reached from {name}", None, f"{name} was not asked, or not reached itself"))
            continue
        bad = {path: answer for path, answer in answers.items() if answer["status"] != 200}
        seen = "; ".join(f"/{path}: {refusal(answer)}" for path, answer in bad.items())
        rows.append(row(f"reached from {name}", not bad, seen or "/health and /metrics answer"))
    return rows


def drift_rows(evidence: dict) -> list[dict]:
    """Is what lies on the host what site.yml would write there?"""
    if "error" in evidence["drift"]:
        return []
    stale = [name for name in ("service", "socket") if evidence[name].get("NeedDaemonReload") == "yes"]
    seen = [f"{path} is not the inventory's" for path in evidence["drift"]]
    seen += [f"systemd has not read payment.{name} since it changed" for name in stale]
    return [row("configuration", not seen, "; ".join(seen) or "as site.yml writes it")]


def venv_rows(evidence: dict) -> list[dict]:
    """Are the installed packages those of the lock, whole?"""
    venv = evidence["venv"]
    if not venv["exists"]:
        return [row("virtual environment", False, "there is none")]
    problems = [*venv["problems"], *([f"its Python, {venv['python']}, is gone"] if venv["python"] else [])]
    return [
        row("virtual environment", not problems, "; ".join(problems[:3]) or f"{venv['installed']} packages, as locked")
    ]


def release_rows(evidence: dict) -> list[dict]:
    """Did every deployment end?"""
    half = evidence["releases"]["half_done"]
    return [row("releases", not half, f"half done: {', '.join(half)}" if half else "complete")]


def file_rows(evidence: dict) -> list[dict]:
    """Are secrets root's alone, and the ledger the service's alone?"""
    wrong = wrong_files(evidence)
    return [row("owners and modes", not wrong, "; ".join(wrong) or "as they should be")]


def wrong_files(evidence: dict) -> list[str]:
    """Secrets that others can read, and state and logs that the service cannot write."""
    wrong = []
    for path, file in evidence["files"].items():
        if file is None:
            continue
        secret = "/credentials" in path
        private = int(file["mode"], 8) & 0o077 == 0
        if secret and not (file["owner"] == "root" and private):
            wrong.append(f"{path} is {file['owner']}'s with mode {file['mode']}, should be root's alone")
        open_state = path.startswith("/var/lib/") and int(file["mode"], 8) & 0o007
        owner = evidence["run_as"]
        if not secret and (file["owner"] != owner or open_state):
            wrong.append(f"{path} is {file['owner']}'s with mode {file['mode']}, should be {owner}'s alone")
    return wrong


def firewall_rows(evidence: dict) -> list[dict]:
    """Are exactly the inventory's sources let in, now and after a reboot?"""
    if evidence["firewall"]["state"] != "running":
        return [row("firewall", None, f"firewalld: {evidence['firewall']['state'] or 'is not there'}")]
    differ = [
        f"{what}: {opening}"
        for what, side in (("missing", "after"), ("not the inventory's", "before"))
        for opening in evidence["openings"].get(side, "").splitlines()
    ]
    return [row("firewall", not differ, "; ".join(differ) or "the inventory's sources are let in, and nobody else")]


def selinux_rows(evidence: dict) -> list[dict]:
    """Did SELinux deny the service anything lately?"""
    selinux = evidence["selinux"]
    if selinux["mode"] == "disabled":
        return [row("SELinux", None, "disabled")]
    return [
        row("SELinux", not selinux["denials"], "; ".join(selinux["denials"][-1:]) or f"{selinux['mode']}, no denial")
    ]


def disk_rows(evidence: dict) -> list[dict]:
    """Is there room for the ledger, the log and the next release?"""
    full = [each for each in evidence["disks"] if disk_is_short(each)]
    least = min(evidence["disks"], key=lambda each: each["free"])
    seen = ", ".join(disk_seen(each) for each in full) or disk_seen(least)
    return [row("disk", not full, seen)]


def disk_is_short(disk: dict) -> bool:
    return disk["free"] < LEAST_FREE or disk["inodes"] < LEAST_FREE_SHARE * disk["all_inodes"]


def disk_seen(disk: dict) -> str:
    inodes = f", {disk['inodes']} inodes" if disk["inodes"] < LEAST_FREE_SHARE * disk["all_inodes"] else ""
    return f"{disk['path']}: {disk['free'] / MIB:.0f} MiB free{inodes}"


def memory_rows(evidence: dict) -> list[dict]:
    """Is there memory left, and was the service killed for want of it?"""
    memory, kills = evidence["memory"], memory_kills(evidence)
    seen = f"{memory['available'] / MIB:.0f} of {memory['size'] / MIB:.0f} MiB available"
    return [row("memory", not kills and memory["available"] >= LEAST_MEMORY, "; ".join([seen, *kills[-1:]]))]


def memory_kills(evidence: dict) -> list[str]:
    """What the kernel and systemd said of the service's processes that were killed for want of memory."""
    ours = re.compile(r"payment|uwsgi|python")
    killed = [line for line in evidence["kernel"] if "illed process" in line and ours.search(line)]
    return killed + [line for line in evidence["journal"] if re.search("OOM killer|oom-kill", line)]


def clock_rows(evidence: dict) -> list[dict]:
    """Does the host know what time it is? It does where its time lies between the controller's before and after."""
    asked, answered, host = float(evidence["asked"]), float(evidence["answered"]), evidence["clock"]["host"]
    skew = host - min(max(host, asked), answered)
    synchronized = "synchronized" if evidence["clock"]["synchronized"] else "not synchronized"
    return [row("clock", abs(skew) <= LARGEST_SKEW, f"{skew:+.1f} s from the controller's, {synchronized}")]


def gateway_rows(evidence: dict) -> list[dict]:
    """Is the gateway reached, with a certificate that will do?"""
    gateway = evidence["gateway"]
    if gateway["kind"] != "https":
        return [row("gateway's certificate", None, f"{gateway['kind']}://")]
    if "tls" not in gateway:
        return [row("gateway's certificate", False, gateway["tcp"]["said"])]
    return [certificate_row("gateway's certificate", gateway["tls"])]


def certificate_row(check: str, tls: dict) -> dict:
    """Does the certificate hold, and for some time yet?"""
    if not tls["ok"]:
        return row(check, False, tls["said"])
    return row(check, tls["days"] >= CERTIFICATE_DAYS, f"valid for {tls['days']:.0f} days")


def frontend_rows(evidence: dict) -> list[dict]:
    """Step seven: through Nginx."""
    if not evidence["location"]:
        none = row("route /api/payment/", None, "Nginx has no location /api/payment/")
        return [row("host is reached", True, "yes"), none | ({"state": "failed"} if evidence["managed"] else {})]
    route, nginx = evidence["route"], evidence["nginx"]
    release = (re.search(r'"release": ?"([^"]+)"', route.get("body", "")) or ["", ""])[1]
    down = [each["address"] for each in evidence["servers"] if each["down"]]
    return [
        row("host is reached", True, "yes"),
        row("nginx is active", nginx.get("ActiveState") == "active", nginx.get("ActiveState")),
        row("route /api/payment/", bool(release), f"{release} answers" if release else refusal(route)),
        row(
            "route's payment hosts",
            not down and not strange_servers(evidence),
            ", ".join(each["address"] + (" (drained)" if each["down"] else "") for each in evidence["servers"]),
        ),
        certificate_row("route's certificate", evidence["tls"])
        if "tls" in evidence
        else row("route's certificate", None, "http://"),
    ]


def strange_servers(evidence: dict) -> list[str]:
    """Addresses that Nginx sends payments to, and that are no payment host's."""
    return [each["address"] for each in evidence["servers"] if each["address"] not in evidence["hosts"]]


def payment_endpoint(hostvars: dict, port: int) -> str:
    """Where a payment host is asked from elsewhere, `address:port`; `port` is the role's default."""
    return f"{hostvars.get('ansible_host', hostvars['inventory_hostname'])}:{hostvars.get('payment_port', port)}"


def payment_reached(hostvars: dict, places: list[str], host: str) -> dict:
    """How `host` was reached from each of `places`: None where that is not known."""
    seen = {place: hostvars[place].get("__payment_checkup_frontend", {}) for place in places}
    return {place: evidence.get("reached", {}).get(host) for place, evidence in seen.items()}


def payment_fleet(hostvars: dict, payment: list[str], frontend: list[str]) -> dict:
    """The evidence of all hosts that were looked at, by their names; a host that is both is there twice."""
    names = {host: f"{host} (frontend)" if host in payment else host for host in frontend}
    evidence = {host: hostvars[host].get("__payment_checkup_payment") for host in payment}
    evidence |= {names[host]: hostvars[host].get("__payment_checkup_frontend") for host in frontend}
    return {host: each for host, each in evidence.items() if each is not None}


def payment_table(rows_of_hosts: dict) -> str:
    """The rows of all hosts as one table: what is the same on several hosts is one line, failures first."""
    lines = [("state", "check", "host", "seen")]
    names = dict.fromkeys(row["check"] for rows in rows_of_hosts.values() for row in rows)
    marks = {"failed": "FAIL", "skipped": "-", "ok": "ok"}
    for name in names:
        groups: dict[tuple[str, str], list[str]] = {}
        for host, rows in rows_of_hosts.items():
            for each in rows:
                if each["check"] == name:
                    groups.setdefault((each["state"], each["seen"]), []).append(host)
        for (state, seen), hosts in sorted(groups.items()):  # failed, ok, skipped
            others = f"{hosts[0]} and {len(hosts) - 1} more" if len(hosts) > 1 else hosts[0]
            lines.append((marks[state], name, others, seen))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        f"{mark:<5}  {name:<{widths[1]}}  {host:<{widths[2]}}  {seen}".rstrip() for mark, name, host, seen in lines
    )


class FilterModule:
    """Filters that judge, and what they need."""

    def filters(self) -> dict:
        return {
            "payment_checks": payment_checks,
            "payment_endpoint": payment_endpoint,
            "payment_fleet": payment_fleet,
            "payment_reached": payment_reached,
            "payment_table": payment_table,
        }
