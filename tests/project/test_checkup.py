"""What is made of the evidence of a fleet: rows, causes, documents and the page, without a host.

The evidence in recorded/ was collected on test hosts; each test changes it to what a fault shows there. The faults that
can be had on a test host are done to one in tests/scenarios/diagnose.
"""

import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import playbooks
import pytest
import yaml

from conftest import ROOT

RECORDED = Path(__file__).with_name("recorded")
ROLE = ROOT / "roles/payment_checkup"
sys.path.append(str(ROLE / "filter_plugins"))

from payment_checks import payment_checks, payment_table  # noqa: E402
from payment_diagnosis import payment_diagnosis, payment_diagnosis_text  # noqa: E402

Evidence = dict[str, Any]


@pytest.fixture
def payment() -> Evidence:
    """A payment host that is well."""
    return json.loads((RECORDED / "payment-1.json").read_text())


@pytest.fixture
def frontend() -> Evidence:
    return json.loads((RECORDED / "frontend-1.json").read_text())


def failed(evidence: Evidence) -> dict[str, str]:
    return {row["check"]: row["seen"] for row in payment_checks(evidence) if row["state"] == "failed"}


def causes(evidence: Evidence, host: str = "payment-1") -> list[dict[str, str]]:
    return payment_diagnosis({host: payment_checks(evidence)}, {host: evidence}, ["inventories/x"], {})


def test_a_healthy_fleet_has_no_failed_check_and_no_cause(payment, frontend):
    assert (failed(payment), failed(frontend)) == ({}, {})
    assert (causes(payment), causes(frontend, "frontend-1")) == ([], [])


# As auditd writes them on RHEL 9; no test host enforces SELinux, so these were never seen on one.
DENIAL = (
    'type=AVC msg=audit(1795560000.123:456): avc:  denied  { execute } for  pid=1234 comm="(uwsgi)" name="uwsgi" '
    'dev="dm-0" ino=5678 scontext=system_u:system_r:init_t:s0 tcontext=system_u:object_r:default_t:s0 tclass=file'
)
KILL = (
    "Out of memory: Killed process 4711 (uwsgi) total-vm:812345kB, anon-rss:401234kB, file-rss:0kB, shmem-rss:0kB, "
    "UID:990 pgtables:1024kB oom_score_adj:0"
)
NGINX_DENIED = (
    "2026/11/24 10:00:00 [crit] 812#812: *1 connect() to 192.0.2.11:8084 failed (13: Permission denied) while "
    'connecting to upstream, client: 192.0.2.1, server: _, request: "GET /api/payment/live HTTP/1.1"'
)


def set_skew(evidence: Evidence) -> None:
    evidence["clock"]["host"] -= 300


def deny(evidence: Evidence) -> None:
    evidence["selinux"] = {"mode": "enforcing", "denials": [DENIAL]}


def kill(evidence: Evidence) -> None:
    evidence["kernel"] = [KILL]


def let_expire(evidence: Evidence) -> None:
    evidence["gateway"] = {"kind": "https", "tcp": {"ok": True}, "tls": {"ok": True, "days": 3.2}}


def distrust(evidence: Evidence) -> None:
    said = "certificate has expired"
    evidence["gateway"] = {"kind": "https", "tcp": {"ok": True}, "tls": {"ok": False, "said": said}}


def lose_postgresql(evidence: Evidence) -> None:
    said = {"ok": False, "reason": "ECONNREFUSED", "said": "[Errno 111] Connection refused"}
    evidence["ledger"] = {"kind": "postgresql", "host": "192.0.2.15", "tcp": said}
    evidence["answers"]["health"]["json"]["ledger"] = "disconnected"


def undeploy(evidence: Evidence) -> None:
    evidence["service"] |= {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}


def outgrow(evidence: Evidence) -> None:
    evidence["disks"][0] |= {"free": 100 * 1024**2}


def use_up_inodes(evidence: Evidence) -> None:
    evidence["disks"][0] |= {"inodes": 0, "all_inodes": 1000}


def release_another(evidence: Evidence) -> None:
    evidence["wanted"] = "9.9.9-0123456789ab"


def mask(evidence: Evidence) -> None:
    evidence["service"] |= {"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}


def bind_to_loopback(evidence: Evidence) -> None:
    """As an inventory has it that says payment_bind_address: 127.0.0.1."""
    for part in ("inventory", "used"):
        evidence[part]["PAYMENT_BIND"] = "127.0.0.1"
    evidence["sockets"][0]["address"] = "127.0.0.1:8084"
    for answers in evidence["reached"].values():
        answers |= {path: {"status": 0, "reason": "ECONNREFUSED", "said": "Connection refused"} for path in answers}


def bind_to_another_host(evidence: Evidence) -> None:
    """Which systemd does."""
    for part in ("inventory", "used"):
        evidence[part]["PAYMENT_BIND"] = "192.0.2.99"
    evidence["sockets"][0] |= {"address": "192.0.2.99:8084", "of_host": False}
    silence(evidence)
    lose_the_way(evidence)


def bind_to_another_port(evidence: Evidence) -> None:
    """Somebody wrote it into the socket's unit."""
    evidence |= {"sockets": [], "drift": ["/etc/systemd/system/payment.socket"]}
    silence(evidence)
    lose_the_way(evidence)


def silence(evidence: Evidence) -> None:
    for name in ("live", "health", "metrics", "route"):
        evidence["answers"][name] = {"status": 0, "reason": "timeout", "said": "timed out", "json": None}
    evidence["answers"]["gauges"] = {}


def refuse_queue(evidence: Evidence) -> None:
    said = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'order-processing' in vhost '/'"
    evidence["rabbitmq"]["amqp"] = {"step": "queue", "code": 405, "said": said}


def hang_rabbitmq(evidence: Evidence) -> None:
    """As a host that was stopped in the middle does: its kernel takes connections, and nobody answers them."""
    evidence["answers"]["health"]["json"] |= {"rabbitmq": "disconnected", "status": "degraded"}
    said = "AMQPConnectorStackTimeout(\"Timeout during AMQP handshake'192.0.2.14'\")"
    evidence["rabbitmq"]["amqp"] = {"step": "login", "code": 0, "said": said}


def raise_alarm(evidence: Evidence) -> None:
    let_orders_wait(evidence)
    said = {"step": "publish", "code": 0, "said": "ConnectionBlockedTimeout()", "blocked": "low on memory"}
    evidence["rabbitmq"]["amqp"] |= said


def let_orders_wait(evidence: Evidence) -> None:
    evidence["answers"]["health"]["json"] |= {"rabbitmq": "disconnected", "status": "degraded"}
    evidence["answers"]["gauges"] |= {"payment_outbox_orders": 3.0, "payment_outbox_oldest_seconds": 75.0}


def let_payments_fail(evidence: Evidence) -> None:
    now = datetime.fromtimestamp(evidence["clock"]["host"], UTC).isoformat().replace("+00:00", "Z")
    attempt = {"message": "payment attempt", "time": now, "outcome": "failed", "reason": "internal_error"}
    evidence["journal"] = [json.dumps(attempt)] * 3


def starve(evidence: Evidence) -> None:
    evidence["memory"]["available"] = 20 * 1024**2


def take_the_log(evidence: Evidence) -> None:
    evidence["files"]["/var/log/skillupworks/payment.log"]["owner"] = "root"


def take_the_ledger(evidence: Evidence) -> None:
    """And with it, the service's start."""
    evidence["files"]["/var/lib/skillupworks/payment/ledger.db"]["owner"] = "root"
    silence(evidence)


def close_the_log(evidence: Evidence) -> None:
    """Which the service says as well."""
    evidence["files"]["/var/log/skillupworks"]["owner"] = "root"
    said = "payment: PAYMENT_LOG_DIR is '/var/log/skillupworks': write a directory that the service may write to"
    evidence["journal"] = [f"{said} (Permission denied)"]
    silence(evidence)


def bind_another_zone(evidence: Evidence) -> None:
    rule = 'rule family="ipv4" source address="192.0.2.9" port port="8084" protocol="tcp" accept'
    sides = {"after": "internal", "before": "public"}
    evidence["openings"] = {
        side: "".join(f"{zone}, {when}: {rule}\n" for when in ("now", "after a reboot")) for side, zone in sides.items()
    }


def lose_the_way(evidence: Evidence) -> None:
    for answers in evidence["reached"].values():
        answers |= {path: {"status": 0, "reason": "timeout", "said": "timed out"} for path in answers}


def stop_user(evidence: Evidence) -> None:
    evidence["user"]["tcp"] = {"ok": False, "reason": "ECONNREFUSED", "said": "Connection refused"}
    evidence["answers"]["health"]["json"]["user"] = "disconnected"


@pytest.mark.parametrize(
    ("change", "cause", "check"),
    [
        (set_skew, "clock skew", "clock"),
        (deny, "SELinux denial", "SELinux"),
        (kill, "out of memory", "memory"),
        (let_expire, "certificate", "gateway's certificate"),
        (distrust, "certificate", "gateway's certificate"),
        (lose_postgresql, "ledger unreachable", "ledger"),
        (undeploy, "not deployed", "service is active"),
        (outgrow, "disk nearly full", "disk"),
        (use_up_inodes, "disk full", "disk"),
        (release_another, "release differs", "release runs"),
        (bind_another_zone, "firewall zone", "firewall"),
        (lose_the_way, "network", "reached from frontend-1"),
        (stop_user, "user down", "health of user"),
        (mask, "service masked", "service is active"),
        (bind_to_loopback, "wrong address", "reached from frontend-1"),
        (bind_to_another_host, "wrong address", "port listens"),
        (bind_to_another_port, "wrong address", "port listens"),
        (refuse_queue, "queue refused", "queue"),
        (hang_rabbitmq, "rabbitmq fails", "queue"),
        (raise_alarm, "RabbitMQ alarm", "outbox"),
        (let_orders_wait, "orders wait", "outbox"),
        (let_payments_fail, "payments fail", "last payments"),
        (starve, "little memory", "memory"),
        (take_the_log, "owners and modes", "owners and modes"),
        (close_the_log, "owners and modes", "owners and modes"),
        (take_the_ledger, "owners and modes", "owners and modes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_was_not_caused_on_a_host_is_judged_from_evidence(payment, change, cause, check):
    change(payment)
    assert check in failed(payment)
    assert causes(payment)[0]["cause"] == cause


def test_a_proxy_that_selinux_keeps_from_connecting(frontend):
    frontend |= {"route": {"status": 502, "body": ""}, "log": [NGINX_DENIED]}
    assert causes(frontend, "frontend-1")[0]["command"].startswith("setsebool -P httpd_can_network_relay on")


@pytest.mark.parametrize("tls", [{"ok": False, "said": "certificate has expired"}, {"ok": True, "days": 3.2}])
def test_the_routes_certificate(frontend, tls):
    frontend["tls"] = {"ok": True, "days": 60.0}
    assert causes(frontend, "frontend-1") == []
    frontend["tls"] = tls
    assert [each["cause"] for each in causes(frontend, "frontend-1")] == ["certificate"]


def test_the_command_fits_whose_files_they_are(payment):
    take_the_log(payment)
    assert causes(payment)[0]["command"].startswith("chown -R skillupworks: /var/log/skillupworks/payment.log && ")
    payment["files"]["/var/log/skillupworks/payment.log"]["owner"] = "skillupworks"
    payment["files"]["/etc/skillupworks/payment/credentials/amqp_password"]["mode"] = "0644"
    assert causes(payment)[0]["command"].startswith("ansible-playbook ")


def diagnosed(fleet: dict[str, Evidence]) -> list[tuple[str, str]]:
    rows = {host: payment_checks(evidence) for host, evidence in fleet.items()}
    return [(each["host"], each["cause"]) for each in payment_diagnosis(rows, fleet, ["inventories/x"], {})]


def test_what_does_not_serve_comes_before_what_differs_on_another_host(payment, frontend):
    take_the_log(payment)
    frontend["nginx"]["ActiveState"] = "inactive"
    assert diagnosed({"payment-1": payment, "frontend-1": frontend}) == [
        ("frontend-1", "Nginx down"),
        ("payment-1", "owners and modes"),
    ]


def test_one_hosts_cause_does_not_hide_what_failed_on_another(payment, frontend):
    """But for a frontend, whose route fails for the payment hosts' reasons."""
    other = copy.deepcopy(payment)
    other["answers"]["metrics"] = {"status": 500, "body": "", "json": None}
    starve(payment)
    frontend["route"] = {"status": 502, "body": ""}
    assert diagnosed({"payment-1": payment, "payment-2": other, "frontend-1": frontend}) == [
        ("payment-1", "little memory"),
        ("payment-2", "unexplained"),
    ]


def test_a_cause_that_a_fleet_shares_is_told_once(payment):
    payment["cart"]["tcp"] = {"ok": False, "reason": "ECONNREFUSED", "said": "Connection refused"}
    fleet = {f"payment-{number}": payment for number in range(1, 4)}
    rows = {host: payment_checks(evidence) for host, evidence in fleet.items()}
    text = payment_diagnosis_text(payment_diagnosis(rows, fleet, ["inventories/x"], {}), fleet)
    assert text.splitlines()[0] == "1. payment-1 and 2 more: cart down - the Cart service does not run"
    assert len(text.splitlines()) == 3


def test_a_host_that_is_not_reached_is_told_of(payment):
    lost = {"kind": "payment", "unreachable": "Failed to connect to the host via ssh: Connection timed out"}
    assert failed(lost) == {"host is reached": lost["unreachable"]}
    assert [each["cause"] for each in causes(lost)] == ["host unreachable"]
    assert causes(lost)[0]["command"] == "ansible -i inventories/x payment-1 --module-name ansible.builtin.ping -vvv"
    assert "answers" not in causes(lost)[0]["what"]
    assert causes(lost | {"reached": payment["reached"]})[0]["what"].endswith("answers frontend-1")


PARTS = [
    "sockets",
    "answers",
    "journal",
    "kernel",
    "rabbitmq",
    "ledger",
    "gateway",
    "files",
    "releases",
    "venv",
    "disks",
]
PARTS += ["memory", "clock", "selinux", "firewall", "drift"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_could_not_be_collected_fails_its_check_and_no_other(payment, part):
    payment[part] = {"error": f"PermissionError: {part}"}
    assert failed(payment)["evidence is complete"] == f"{part}: PermissionError: {part}"
    assert len(failed(payment)) < 10
    assert causes(payment)


def test_a_failed_check_that_nobody_can_explain_is_told_all_the_same(payment):
    payment["answers"]["metrics"] = {"status": 500, "body": "", "json": None}
    assert [(each["cause"], each["evidence"]) for each in causes(payment)] == [("unexplained", "HTTP 500")]


def test_a_long_line_of_the_log_was_cut(payment):
    let_payments_fail(payment)
    payment["journal"].append('{"message": "the gateway is away", "exception": "' + "x" * 1950)
    assert causes(payment)[0]["cause"] == "gateway fails"


def test_what_several_hosts_share_is_one_line_and_failures_come_first():
    rows = {f"payment-{n}": [{"check": "disk", "state": "ok", "seen": "12 MiB free"}] for n in range(1, 11)}
    rows["payment-7"] = [{"check": "disk", "state": "failed", "seen": "full"}]
    table = payment_table(rows).splitlines()
    assert [re.split("  +", line) for line in table[1:]] == [
        ["FAIL", "disk", "payment-7", "full"],
        ["ok", "disk", "payment-1 and 8 more", "12 MiB free"],
    ]


# The documents


class Page(HTMLParser):
    """What the page's tables hold: the states of the cells of each row, by the row's header."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.states: list[str] = []
        self.external: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = dict(attributes)
        if tag == "td" and "data-state" in about and "title" in about:
            self.states.append(about["data-state"])
        self.external += [value for name, value in attributes if name in ("src", "href", "srcset")]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser, installed where it is not there yet."""
    subprocess.run([ROOT / "scripts/setup.sh", "browser"], check=True)
    found = subprocess.run(["sh", "-c", "command -v chromium chromium-browser"], stdout=subprocess.PIPE, text=True)
    return found.stdout.split()[0]


@pytest.fixture
def report(tmp_path: Path, payment: Evidence, frontend: Evidence) -> Callable[[int], Path]:
    """Return a function that has the shipped role report on so many payment hosts; every seventh has a fault."""

    def make(hosts: int, *options: str) -> Path:
        evidence = {"frontend-1": frontend}
        for number in range(1, hosts + 1):
            one = copy.deepcopy(payment)
            if number % 7 == 0:
                one["answers"]["health"]["json"] |= {"cart": "disconnected", "status": "degraded"}
            if number % 21 == 0:
                one = {"kind": "payment", "unreachable": "Connection <timed> out"}
            evidence[f"payment-{number}"] = one
        inventory = {
            group: {
                "hosts": {host: {f"__payment_checkup_{group}": evidence[host]} for host in evidence if group in host}
            }
            for group in ("payment", "frontend")
        }
        if "--limit=payment" in options:
            inventory["frontend"]["hosts"]["frontend-1"] = {}
            inventory["payment"]["vars"] = {"__payment_checkup_asked": time.time() - 3}
        else:
            inventory["frontend"]["vars"] = {"__payment_checkup_asked": time.time() - 4}
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
        (tmp_path / "report.yml").write_text(REPORT)
        code, said = playbooks.Run(
            f"--inventory={tmp_path}/inventory.yml",
            tmp_path / "report.yml",
            f"--extra-vars=payment_checkup_results={tmp_path}",
            *options,
        ).wait()
        assert (tmp_path / "verify.html").exists(), said
        assert (code == 0) == (hosts < 7), "it ends with an error when a check failed"
        return tmp_path

    return make


REPORT = """
- hosts: payment:frontend
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: payment_checkup, tasks_from: verify}
"""


@pytest.mark.parametrize("hosts", [1, 2, 50])
def test_the_documents_and_the_page(report, chromium, hosts):
    folder = report(hosts)
    document = json.loads((folder / "verify.json").read_text())
    assert len(document["hosts"]) == hosts + 1
    suites = ElementTree.parse(folder / "verify.xml").getroot().findall("testsuite")
    failures = sum(len(suite.findall("testcase/failure")) for suite in suites)
    assert failures == sum(int(suite.get("failures")) for suite in suites)
    states = [row["state"] for about in document["hosts"].values() for row in about["checks"]]
    assert (len(suites), failures) == (hosts + 1, states.count("failed"))

    html = (folder / "verify.html").read_text()
    page = Page(html)
    assert page.external == []
    assert page.states.count("failed") == states.count("failed")
    assert page.states.count("ok") == states.count("ok")
    assert "<timed>" not in html

    look(chromium, folder, hosts)


def test_a_run_that_is_limited_to_the_payment_hosts(report):
    document = json.loads((report(2, "--limit=payment") / "verify.json").read_text())
    assert list(document["hosts"]) == ["payment-1", "payment-2"]
    assert document["seconds"] >= 3


LOOK = """<script>
addEventListener("load", () => {
  const marks = state => [...document.querySelectorAll(`td[data-state=${state}] .mark`)];
  const colours = state => [...new Set(marks(state).map(mark => getComputedStyle(mark).backgroundColor))];
  const seen = {
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - innerWidth,
    marksInSight: marks("ok").filter(mark => mark.getBoundingClientRect().right <= innerWidth).length,
    header: (() => {
      const box = document.querySelector(".tall"), name = box.querySelector("th.check");
      box.scrollTop = box.scrollHeight;
      const distance = name.getBoundingClientRect().top - box.getBoundingClientRect().top;
      box.scrollTop = 0;
      return distance;
    })(),
    rows: document.querySelectorAll(".matrix tbody tr").length,
    heading: document.querySelector("h1").textContent,
    failed: colours("failed"),
    ok: colours("ok"),
    requests: performance.getEntriesByType("resource").length,
  };
  document.body.dataset.seen = JSON.stringify(seen);
});
</script>"""


def look(chromium: str, folder: Path, hosts: int) -> None:
    """Open the page in a browser, wide and narrow, light and dark; leave a picture of it in results/."""
    pictures = ROOT / "results"
    pictures.mkdir(exist_ok=True)
    watched = folder / "watched.html"
    watched.write_text((folder / "verify.html").read_text().replace("</body>", f"{LOOK}</body>"))
    fills = {}
    for scheme, width in (("light", 1400), ("light", 420), ("dark", 1400)):
        browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        browser += [f"--blink-settings=preferredColorScheme={int(scheme == 'light')}", f"--window-size={width},1400"]
        browser += [f"--user-data-dir={folder}/profile"]
        picture = pictures / f"verify-{hosts}-{scheme}-{width}.png"
        picture.unlink(missing_ok=True)
        browser += ["--dump-dom", f"--screenshot={picture}", watched.as_uri()]
        dom = subprocess.run(browser, capture_output=True, text=True, check=True)
        (seen,) = re.findall(r'data-seen="([^"]*)"', dom.stdout)
        seen = json.loads(seen.replace("&quot;", '"'))
        assert seen["overflow"] <= 0, f"{width} pixels are too few: {seen}"
        assert (seen["rows"], seen["requests"]) == (hosts + 1, 0)
        assert seen["marksInSight"] > 5 * hosts, "a narrow screen shows some of every host's"
        assert 0 <= seen["header"] < 5, "the checks' names stay where the table is scrolled"
        assert not set(seen["failed"]) & set(seen["ok"])
        fills[scheme] = seen["ok"]
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert fills["light"] != fills["dark"]
