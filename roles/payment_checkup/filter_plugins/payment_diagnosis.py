"""Find the root causes behind failed checks: what is wrong, how one sees it, and the command that puts it right.

RULES are asked in their order, which is that of the answer: what keeps a service from running at all comes before what
it needs, and that before what only differs, also between hosts. A rule speaks only where a check failed, so a healthy
host has no cause.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

MIB = 1024**2
NO_ROOM = 16 * MIB  # bytes; with less, nothing is written
NEIGHBOURS = {
    "cart": ("the Cart service", "payment_cart_host", "cart"),
    "user": ("the User service", "payment_user_host", "user"),
    "rabbitmq": ("RabbitMQ", "payment_amqp_host", "rabbitmq-server"),
}
VARIABLES = {
    "cart": ("CART_HOST", "CART_PORT"),
    "user": ("USER_HOST", "USER_PORT"),
    "rabbitmq": ("AMQP_HOST", "PAYMENT_AMQP_PORT", "AMQP_USER", "PAYMENT_AMQP_VHOST", "PAYMENT_QUEUE"),
}
SET_CLOCK = "systemctl enable --now chronyd && chronyc makestep"
RENEW_ROOTS = "dnf upgrade -y ca-certificates  # where the host does not know the issuer; else tell the gateway"
RENEW_OWN = "certbot renew && nginx -s reload  # or as you get your certificates"
LARGEST_FILES = "du -xah /var /opt | sort -h | tail -n 20"
LARGEST_PROCESSES = "ps -eo rss,comm --sort=-rss | head"


@dataclass
class Case:
    """One host: its evidence, its rows, and what the commands need to name."""

    host: str
    evidence: dict
    rows: list[dict]
    inventory: str
    found: list[dict] = field(default_factory=list)

    def failed(self, check: str) -> str | None:
        """What a check saw that failed, None when it did not fail."""
        return next((row["seen"] for row in self.rows if row["check"] == check and row["state"] == "failed"), None)

    def part(self, name: str) -> dict:
        """A part of the evidence; empty where it could not be collected."""
        part = self.evidence.get(name, {})
        return part if isinstance(part, dict) and "error" not in part else {}

    def logged(self, pattern: str) -> str | None:
        """The last line that matches of what was logged since the service was last started, or the time before."""
        lines = self.evidence.get("journal", [])
        if not isinstance(lines, list):
            return None
        starts = [number for number, line in enumerate(lines) if line.startswith("Starting payment.service")]
        lines = lines[starts[-2] :] if len(starts) > 1 else lines
        return next((line.strip() for line in reversed(lines) if re.search(pattern, line)), None)

    @property
    def lives(self) -> bool:
        return (self.part("answers").get("live") or {}).get("status") == 200

    def playbook(self, name: str = "site.yml") -> str:
        return f"ansible-playbook {self.inventory} playbooks/{name} --limit {self.host.partition(' ')[0]}"

    def reinstall(self) -> str:
        """Put the locked requirements back into the release that is linked."""
        link = self.part("releases").get("path", "/app")
        wheels = f"--no-index --find-links {link}/wheels -r {link}/wheels/requirements.txt"
        which = wheels if self.part("releases").get("wheels") else f"-r {link}/requirements.txt"
        pip = f"python3.11 -m pip --python {link}/venv/bin/python install --force-reinstall --require-hashes {which}"
        return f"{pip} && systemctl restart payment.service"


Finding = dict | None


def cause(case: Case, name: str, what: str, evidence: str, command: str, on: str | None = None) -> dict:
    """One root cause. `on` is the host to run the command on, the controller for a playbook."""
    place = "the controller" if command.startswith("ansible-playbook") else case.host
    return {"cause": name, "what": what, "evidence": evidence, "on": on or place, "command": command, "host": case.host}


def unreachable(case: Case) -> Finding:
    if "unreachable" not in case.evidence:
        return None
    reached = case.evidence.get("reached", {})
    served = [place for place, answers in reached.items() if answers and answers["health"]["status"] == 200]
    what = "the host is down, or refuses the login"
    if served:
        what = f"the login is refused; the service itself answers {served[0]}"
    fix = f"ansible {case.inventory} {case.host.partition(' ')[0]} --module-name ansible.builtin.ping -vvv"
    return cause(case, "host unreachable", what, case.failed("host is reached"), fix, "the controller")


def not_deployed(case: Case) -> Finding:
    if case.part("service").get("LoadState") != "not-found":
        return None
    return cause(case, "not deployed", "the host has no payment.service", "systemd knows no such unit", case.playbook())


def disk_full(case: Case) -> Finding:
    disks = case.evidence.get("disks", [])
    full = [
        disk
        for disk in disks
        if isinstance(disk, dict) and (disk["free"] < NO_ROOM or disk["inodes"] == 0 < disk["all_inodes"])
    ]
    if not case.failed("disk") or not full:
        return None
    path = full[0]["path"]
    seen = f"{case.failed('disk')}; {case.logged('[Nn]o space left|is full') or 'nothing can be written there'}"
    return cause(
        case,
        "disk full",
        f"there is no room left at {path}",
        seen,
        f"du -xah {path} | sort -h | tail -n 20  # and remove what may go",
    )


def out_of_memory(case: Case) -> Finding:
    seen = case.failed("memory") or ""
    if ";" not in seen:
        return None
    what = "the service was killed because memory ran out"
    return cause(
        case, "out of memory", what, seen, f"{case.playbook()} -e payment_processes=2  # or give the host more memory"
    )


def link_broken(case: Case) -> Finding:
    releases = case.part("releases")
    if not releases or releases["linked"] or not_deployed(case):
        return None
    seen = f"{releases['path']} leads to {releases['target'] or 'nothing'}, which is not there"
    return cause(case, "release missing", "the application path leads nowhere", seen, case.playbook())


def python_missing(case: Case) -> Finding:
    python = case.part("venv").get("python")
    if not python:
        return None
    seen = f"the release's venv/bin/python leads to {python}, which is not there"
    return cause(
        case,
        "Python not found",
        "the release's Python is gone",
        seen,
        "dnf reinstall -y python3.11 && systemctl restart payment.service",
    )


def program_missing(case: Case) -> Finding:
    service = case.part("service")
    if not service.get("Program") or service["ProgramRuns"] or case.found:
        return None
    program = service["Program"]
    name = "uWSGI not found" if program.endswith("uwsgi") else "program not found"
    seen = case.logged(f"{re.escape(program)}.*(No such file|Permission denied)|203/EXEC") or f"there is no {program}"
    return cause(case, name, f"{program} is not there or cannot be run", seen, case.reinstall())


def selinux_denial(case: Case) -> Finding:
    seen = case.failed("SELinux")
    if not seen:
        return None
    command = "restorecon -Rv /app/ /{opt,etc,var/lib,var/log}/skillupworks && systemctl restart payment.service"
    return cause(case, "SELinux denial", "SELinux does not let the service do its work", seen, command)


def module_missing(case: Case) -> Finding:
    logged = case.logged("ModuleNotFoundError|ImportError|cannot import name")
    packages = case.failed("virtual environment")
    if case.found or (not packages and (case.lives or not logged)):
        return None
    seen = "; ".join(each for each in (None if case.lives else logged, packages) if each)
    return cause(
        case, "Python module not found", "a package that the lock names is missing or damaged", seen, case.reinstall()
    )


def port_taken(case: Case) -> Finding:
    sockets = case.evidence.get("sockets", [])
    owners = [owner for each in sockets if isinstance(each, dict) for owner in each["owners"]]
    strangers = [each for each in owners if each["pid"] != 1 and each["unit"] != "payment.service"]
    if not strangers:
        return None
    owner = strangers[0]
    stop = f"systemctl stop {owner['unit']}" if owner["unit"].endswith(".service") else f"kill {owner['pid']}"
    return cause(
        case,
        "port taken",
        f"{owner['name']} has the service's port",
        f"{case.failed('port listens')}, of {owner['unit'] or 'no unit'}",
        f"{stop} && systemctl start payment.socket payment.service",
    )


def settings_refused(case: Case) -> Finding:
    seen = None if case.lives or case.found else case.logged(r"^payment: [A-Z_]+ is |^payment: .*(write|set it)")
    if not seen:
        return None
    return cause(case, "setting refused", "the service does not start with its settings", seen, case.playbook())


def credentials_missing(case: Case) -> Finding:
    seen = None if case.lives else case.logged("243/CREDENTIALS|[Ff]ailed to set up credentials")
    if not seen:
        return None
    return cause(case, "credentials missing", "systemd finds no password to hand over", seen, case.playbook())


def masked(case: Case) -> Finding:
    units = [f"payment.{name}" for name in ("service", "socket") if case.part(name).get("LoadState") == "masked"]
    if not units:
        return None
    fix = f"systemctl unmask {' '.join(units)}  # then, on the controller: {case.playbook()}"
    return cause(case, "service masked", "somebody keeps systemd from starting it", f"{', '.join(units)}: masked", fix)


def stopped(case: Case) -> Finding:
    service, socket = case.part("service"), case.part("socket")
    idle = {service.get("ActiveState"), socket.get("ActiveState")} == {"inactive"}
    if not idle or service.get("Result") != "success" or case.found:
        return None
    seen = case.failed("service is active")
    return cause(
        case, "service stopped", "somebody stopped the service", seen, "systemctl start payment.socket payment.service"
    )


def wrong_address(case: Case) -> Finding:
    """Is the service where nobody else reaches it: on the loopback, on another host's address, on another port?"""
    sockets = case.evidence.get("sockets", [])
    if not isinstance(sockets, list) or port_taken(case):
        return None
    heard = [each["address"] for each in sockets]
    seen = case.failed("port listens") or ", ".join(heard)
    elsewhere = [each["address"] for each in sockets if not each["of_host"]]
    if elsewhere:
        what = f"the service listens on {elsewhere[0]}, which is no address of the host"
    elif heard and all(each.startswith(("127.", "[::1]")) for each in heard) and unreached(case):
        what, seen = "the service listens where nobody else reaches it", f"{seen}; {'; '.join(unreached(case))}"
    elif not heard and "payment.socket is" in (case.failed("configuration") or "") and not case.found:
        what, seen = "systemd listens elsewhere than the inventory says", f"{seen}; {case.failed('configuration')}"
    else:
        return None
    fix = case.playbook()
    if case.part("inventory")["PAYMENT_BIND"] in str(heard):
        fix += "  # with payment_bind_address: 0.0.0.0 in the inventory, or an address of the host"
    return cause(case, "wrong address", what, seen, fix)


def unreached(case: Case) -> list[str]:
    """What was seen from elsewhere by those who do not reach the service."""
    return [
        f"{row['check']}: {row['seen']}"
        for row in case.rows
        if row["check"].startswith("reached from") and row["state"] == "failed"
    ]


def wrong_owners(case: Case) -> Finding:
    seen = case.failed("owners and modes")
    if not seen or any(each["cause"] == "owners and modes" for each in case.found):
        return None
    paths = closed_paths(case)
    own = f"chown -R {case.evidence['run_as']}: {' '.join(paths)} && chmod -R o-rwx {' '.join(paths)}"
    fix = f"{own} && systemctl restart payment.service" if paths else case.playbook()  # which sees to secrets alone
    return cause(case, "owners and modes", "a file is open to others, or closed to the service", seen, fix)


def closed_paths(case: Case) -> list[str]:
    """What the service writes, and is not its own; without what is below another of them."""
    wrong = re.findall(r"(/\S+) is ", case.failed("owners and modes") or "")
    named = [path for path in wrong if "/credentials" not in path]
    return [path for path in named if path.rpartition("/")[0] not in named]


def kept_out(case: Case) -> Finding:
    """The service does not start where it cannot write."""
    return wrong_owners(case) if closed_paths(case) and not case.lives else None


def start_fails(case: Case) -> Finding:
    """The service does not answer, and nothing above says why."""
    if case.lives or case.found or not case.failed("release runs"):
        return None
    last = case.logged(r"Error|error|refuse|denied|[Ff]ail|Traceback") or "its log says nothing"
    seen = f"{case.failed('service is active') or 'active'}; {last}"
    return cause(
        case,
        "service fails",
        "the service does not start or does not answer",
        seen,
        "journalctl --unit=payment.service --lines=50",
    )


def ledger_locked(case: Case) -> Finding:
    holders = case.part("ledger").get("holders")
    if not holders:
        return None
    owner = holders[0]
    seen = "; ".join(
        each for each in (case.failed("ledger"), case.logged("ledger cannot be used|database is locked")) if each
    )
    return cause(
        case,
        "ledger locked",
        f"{owner['name']} keeps the service from writing its ledger",
        seen,
        f"kill {owner['pid']}",
    )


def ledger_unreachable(case: Case) -> Finding:
    ledger = case.part("ledger")
    if ledger.get("kind") != "postgresql" or not (case.failed("ledger") or case.failed("health of ledger")):
        return None
    seen = case.failed("ledger") or case.logged("ledger cannot be used") or case.failed("health of ledger")
    return cause(
        case,
        "ledger unreachable",
        "PostgreSQL is not reached, or refuses the service",
        seen,
        "systemctl start postgresql",
        ledger["host"],
    )


def unit_differs(case: Case) -> Finding:
    """The unit sends the service elsewhere than the inventory says, and there nobody answers."""
    used, wanted = case.part("used"), case.part("inventory")
    for name, variables in VARIABLES.items():
        other = [each for each in variables if wanted and used[each] != wanted[each]]
        if other and (case.failed(f"health of {name}") or (name == "rabbitmq" and case.failed("queue"))):
            seen = ", ".join(f"the unit says {each}={used[each]}, the inventory {wanted[each]}" for each in other)
            return cause(case, "unit differs", f"the service asks for {name} in the wrong place", seen, case.playbook())
    return None


def neighbour(name: str) -> Callable[[Case], Finding]:
    """The rule for a service behind this one, from its name to its answer."""

    def rule(case: Case) -> Finding:
        what, variable, unit = NEIGHBOURS[name]
        part = case.part(name)
        tcp = part.get("tcp", {"ok": True})
        if tcp["ok"]:
            status = part.get("http", {}).get("status", 200)
            if 0 < status < 500:
                return None
            seen = part["http"].get("said") or f"http://{part['host']}:{part['port']}/health answers {status}"
            return cause(
                case,
                f"{name} fails",
                f"{what} does not answer as it should",
                seen,
                f"journalctl --unit={unit} --lines=50",
                part["host"],
            )
        seen = f"{part['host']}:{part['port']}: {tcp['said']}"
        if tcp["reason"] == "name":
            fix = f"getent hosts {part['host']}  # correct the DNS record, or {variable} in the inventory"
            return cause(case, "DNS", f"the name of {what} is not known", seen, fix)
        if tcp["reason"] == "ECONNREFUSED":
            return cause(case, f"{name} down", f"{what} does not run", seen, f"systemctl start {unit}", part["host"])
        fix = f"firewall-cmd --permanent --add-port={part['port']}/tcp && firewall-cmd --reload"
        return cause(
            case, f"{name} unreachable", f"{what} is behind a firewall, or its host is down", seen, fix, part["host"]
        )

    return rule


def broker_login(case: Case) -> Finding:
    rabbitmq, used = case.part("rabbitmq"), case.part("used")
    amqp = rabbitmq.get("amqp", {})
    if amqp.get("step") != "login":
        return None
    user, vhost = used["AMQP_USER"], used["PAYMENT_AMQP_VHOST"]
    if amqp.get("code") == 530 or "vhost" in amqp["said"]:
        what, fix = (
            "RabbitMQ does not let the user into the vhost",
            f"rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'",
        )
        return cause(case, "RabbitMQ vhost refused", what, amqp["said"], fix, rabbitmq["host"])
    if amqp.get("code") != 403 and not re.search("ACCESS_REFUSED|Authentication", amqp["said"]):
        what = "RabbitMQ takes connections, and does not answer"
        fix = "rabbitmqctl status  # where it does not answer either: systemctl restart rabbitmq-server"
        return cause(case, "rabbitmq fails", what, amqp["said"], fix, rabbitmq["host"])
    fix = f"rabbitmqctl change_password {user}  # to payment_amqp_password of the vault; it asks for it"
    return cause(
        case,
        "RabbitMQ credentials",
        "RabbitMQ does not take the service's password",
        amqp["said"],
        fix,
        rabbitmq["host"],
    )


def broker_queue(case: Case) -> Finding:
    rabbitmq, queue = case.part("rabbitmq"), case.part("used").get("PAYMENT_QUEUE")
    amqp = rabbitmq.get("amqp", {})
    if not case.failed("queue") or amqp.get("step") not in ("queue", "type"):
        return None
    if amqp["step"] == "type":
        fix = f"rabbitmqctl delete_queue {queue} --if-empty  # it is made anew; or set payment_checkup_queue_type"
        return cause(
            case,
            "queue of another type",
            f"{queue} was made otherwise than its consumers declare it",
            amqp["said"],
            fix,
            rabbitmq["host"],
        )
    if amqp.get("code") == 404:
        fix = "systemctl restart payment.service  # which makes it when it connects"
        return cause(case, "queue missing", f"somebody removed the queue {queue}", amqp["said"], fix)
    fix = "rabbitmqctl list_queues name state exclusive owner_pid"
    what = "RabbitMQ does not let the service use the queue"
    return cause(case, "queue refused", what, amqp["said"], fix, rabbitmq["host"])


def orders_refused(case: Case) -> Finding:
    """RabbitMQ takes the login, and no orders."""
    rabbitmq, used = case.part("rabbitmq"), case.part("used")
    amqp = rabbitmq.get("amqp", {})
    if amqp.get("step") != "publish" or not case.failed("health of rabbitmq"):
        return None
    seen, place = amqp.get("blocked") or amqp["said"], rabbitmq["host"]
    if "blocked" in amqp:
        what = "RabbitMQ takes no messages before it has memory and disk again"
        fix = "rabbitmq-diagnostics alarms  # says which; free it, or raise RabbitMQ's limit"
        return cause(case, "RabbitMQ alarm", what, seen, fix, place)
    fix = f"rabbitmqctl set_permissions -p {used['PAYMENT_AMQP_VHOST']} {used['AMQP_USER']} '.*' '.*' '.*'"
    return cause(case, "RabbitMQ permissions", "RabbitMQ takes no orders from the user", seen, fix, place)


def firewall_differs(case: Case) -> Finding:
    seen = case.failed("firewall")
    if not seen:
        return None
    missing = {rule: zone for zone, rule in re.findall(r"missing: ([^,;]+), [^:;]+: ([^;]+)", seen)}
    elsewhere = {rule: zone for zone, rule in re.findall(r"not the inventory's: ([^,;]+), [^:;]+: ([^;]+)", seen)}
    if moved := [rule for rule, zone in missing.items() if elsewhere.get(rule, zone) != zone]:
        reached, other = missing[moved[0]], elsewhere[moved[0]]
        what = f"packets reach firewalld's zone {reached}, and it is its zone {other} that lets them in"
        return cause(case, "firewall zone", what, "; ".join([seen, *unreached(case)]), case.playbook())
    if missing:
        what = "firewalld does not let the frontends in"
        return cause(case, "firewall closed", what, "; ".join([seen, *unreached(case)]), case.playbook())
    what = "firewalld lets in more than the inventory says"
    return cause(case, "firewall open to others", what, seen, case.playbook())


def not_reached(case: Case) -> Finding:
    away = unreached(case)
    if not away or not case.lives or wrong_address(case) or "missing: " in (case.failed("firewall") or ""):
        return None
    return cause(
        case,
        "network",
        "the service answers on its host, and not from elsewhere",
        "; ".join(away),
        f"tracepath -n {case.host}",
        "the frontend",
    )


def payments_fail(case: Case) -> Finding:
    seen = case.failed("last payments") or case.failed("payment")
    if not seen or case.found:
        return None
    logged = message(case.logged(r"cannot be used|cannot be charged|not known whether|gateway") or "")
    for name in ("cart", "user"):
        if name.capitalize() in logged:
            what, _, unit = NEIGHBOURS[name]
            place = case.part(name).get("host", name)
            return cause(
                case,
                f"{name} fails",
                f"payments fail because of {what}",
                f"{seen}; {logged}",
                f"journalctl --unit={unit} --lines=50",
                place,
            )
    if "gateway" in logged or "gateway" in seen:
        what = "payments fail because of the gateway"
        return cause(
            case,
            "gateway fails",
            what,
            f"{seen}; {logged}",
            "journalctl --unit=payment.service --grep=gateway --lines=20",
        )
    return cause(
        case,
        "payments fail",
        "the last payments failed",
        f"{seen}; {logged}".strip("; "),
        "journalctl --unit=payment.service --lines=50",
    )


def message(line: str) -> str:
    """What a line of the log says; a long one is cut, and no JSON any more."""
    try:
        return json.loads(line)["message"]
    except (ValueError, KeyError, TypeError):
        return line[:300]


def orders_wait(case: Case) -> Finding:
    seen = case.failed("outbox") or case.failed("health of rabbitmq")
    if not seen or case.found or not case.lives:
        return None
    logged = case.logged("orders cannot be published") or "its log says nothing"
    fix = "journalctl --unit=payment.service --grep=published --lines=20"
    return cause(case, "orders wait", "paid orders do not reach RabbitMQ", f"{seen}; {logged}", fix)


def simple(
    check: str, name: str, what: str, command: str | None = None, unless_found: bool = False
) -> Callable[[Case], Finding]:
    """The rule that a failed check is a cause of its own, put right by `command`, else by site.yml."""

    def rule(case: Case) -> Finding:
        seen = case.failed(check)
        if not seen or (unless_found and case.found):
            return None
        return cause(case, name, what, seen, command or case.playbook())

    return rule


def half_done(case: Case) -> Finding:
    seen = case.failed("releases")
    if not seen:
        return None
    releases = case.part("releases")
    wanted = case.evidence["wanted"] in releases["half_done"]  # else it is nobody's, and no run would complete it
    fix = case.playbook() if wanted else f"rm -r {releases['folder']}/{releases['half_done'][0]}"
    return cause(case, "half-done release", "a deployment was cut off", seen, fix)


def release_differs(case: Case) -> Finding:
    seen = case.failed("release runs")
    if not seen or not case.lives:
        return None
    return cause(case, "release differs", "another release runs than the inventory names", seen, case.playbook())


def nginx_down(case: Case) -> Finding:
    seen = case.failed("nginx is active")
    return seen and cause(
        case, "Nginx down", "the frontend's Nginx does not run", seen, "nginx -t && systemctl start nginx"
    )


def wrong_upstream(case: Case) -> Finding:
    if not case.failed("route's payment hosts") or case.found:
        return None
    servers = [each["address"] for each in case.evidence["servers"]]
    strange = [each for each in servers if each not in case.evidence["hosts"]]
    if strange:
        hosts = ", ".join(case.evidence["hosts"])
        seen = f"{case.evidence['location']} leads to {', '.join(strange)}; the payment hosts are {hosts}"
        if route := case.failed("route /api/payment/"):
            seen += f"; the route answers {route}"
        fix = (
            case.playbook()
            if case.evidence["managed"]
            else f"grep -rn {strange[0]} /etc/nginx  # write the right address, then: nginx -s reload"
        )
        return cause(case, "wrong upstream in Nginx", "Nginx sends payments to what is no payment host", seen, fix)
    seen = case.failed("route's payment hosts")
    return cause(case, "host left drained", "Nginx sends a payment host nothing", seen, case.playbook())


def proxy_denied(case: Case) -> Finding:
    denied = [line for line in case.evidence.get("log", []) if "(13: Permission denied) while connecting" in line]
    if not case.failed("route /api/payment/") or not denied:
        return None
    # To web servers' ports alone, not to any, as httpd_can_network_connect does.
    port = next(iter(case.evidence["hosts"])).rpartition(":")[2]
    fix = f"setsebool -P httpd_can_network_relay on && semanage port -m -t http_port_t -p tcp {port}"
    return cause(case, "SELinux denial", "SELinux does not let Nginx connect", denied[-1], fix)


# What is not as it should be, and yet serves: told after all that does not serve, on whatever host.
DIFFERENCES = (
    half_done,
    simple("service is enabled", "not enabled", "the service does not come with the next boot"),
    wrong_owners,
    simple("configuration", "configuration differs", "the configuration is not the inventory's"),
    release_differs,
    simple("disk", "disk nearly full", "there is little room left", LARGEST_FILES, unless_found=True),
    simple("memory", "little memory", "there is little memory left", LARGEST_PROCESSES, unless_found=True),
)
RULES = {
    "payment": (
        *(unreachable, not_deployed, masked, port_taken, stopped, disk_full, out_of_memory, link_broken),
        *(python_missing, program_missing, selinux_denial, module_missing, kept_out, settings_refused),
        *(credentials_missing, wrong_address, start_fails),
        *(ledger_locked, ledger_unreachable, unit_differs, neighbour("cart"), neighbour("user"), neighbour("rabbitmq")),
        *(broker_login, broker_queue, orders_refused, firewall_differs, not_reached),
        simple("clock", "clock skew", "the host's clock is wrong", SET_CLOCK),
        simple("gateway's certificate", "certificate", "the gateway has no certificate that will do", RENEW_ROOTS),
        *(payments_fail, orders_wait),
        *DIFFERENCES,
    ),
    "frontend": (
        *(unreachable, nginx_down, wrong_upstream, proxy_denied),
        simple("route's certificate", "certificate", "the route has no certificate that will do", RENEW_OWN),
    ),
}  # fmt: skip


def payment_diagnosis(rows_of_hosts: dict, fleet: dict, inventories: list[str], names: dict) -> list[dict]:
    """Return the root causes on all hosts, worst first: `cause`, `what`, `evidence`, `host`, and `command` with `on`.

    `rows_of_hosts` are the checks of `fleet`, the evidence by host; `inventories` are what Ansible was given; `names`
    are the inventory's hosts by their addresses.
    """
    options = " ".join(f"-i {each}" for each in inventories)
    ranked = []
    for host, rows in rows_of_hosts.items():
        case = Case(host, fleet[host], rows, options)
        for rank, rule in enumerate(RULES[case.evidence["kind"]]):
            if finding := rule(case):
                finding["on"] = names.get(finding["on"], finding["on"])
                case.found.append(finding)
                ranked.append((rule in DIFFERENCES, case.evidence["kind"] == "frontend", rank, finding))
    ranked.sort(key=lambda each: each[:3])
    causes = [finding for *_, finding in ranked]
    explained = {each["host"] for each in causes}
    # Behind payment hosts that do not do well, a frontend's route cannot.
    left = {
        host for host in rows_of_hosts if host not in explained and not (causes and fleet[host]["kind"] == "frontend")
    }
    return causes + unexplained({host: rows for host, rows in rows_of_hosts.items() if host in left})


def unexplained(rows_of_hosts: dict) -> list[dict]:
    """Failed checks of hosts on which no rule knows a cause."""
    return [
        {
            "cause": "unexplained",
            "what": f"the check '{row['check']}' failed, and the cause is not known",
            "evidence": row["seen"],
            "host": host,
            "on": host,
            "command": "journalctl --unit=payment.service --lines=50",
        }
        for host, rows in rows_of_hosts.items()
        for row in rows
        if row["state"] == "failed"
    ]


def payment_diagnosis_text(causes: list[dict], fleet: dict) -> str:
    """The causes in words; one that several hosts have, and that is put right at once, is told once."""
    if not causes:
        return f"{', '.join(fleet)}: nothing is wrong"
    shared: dict[tuple[str, ...], list[dict]] = {}
    for each in causes:
        shared.setdefault(tuple(value for name, value in each.items() if name != "host"), []).append(each)
    lines = []
    for number, (each, *others) in enumerate(shared.values(), 1):
        hosts = f"{each['host']} and {len(others)} more" if others else each["host"]
        lines += [
            f"{number}. {hosts}: {each['cause']} - {each['what']}",
            f"   seen     {each['evidence']}",
            f"   to do    on {each['on']}: {each['command']}",
        ]
    return "\n".join(lines)


class FilterModule:
    """Filters of diagnose.yml."""

    def filters(self) -> dict:
        return {"payment_diagnosis": payment_diagnosis, "payment_diagnosis_text": payment_diagnosis_text}
