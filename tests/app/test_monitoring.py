"""What is to be watched: /metrics as promtool wants it, alerts that fire when they should, names that really exist."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from broker import PASSWORD
from deployments import children
from service import ROOT, wait_until

MONITORING = ROOT / "files" / "monitoring"
RULES = MONITORING / "alerts.yml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
ALERTS = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
EXPRESSIONS = ALERTS | PANELS


@pytest.fixture
def promtool(processes):
    def run(*arguments, **options):
        ended = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **options)
        return ended.returncode, ended.stdout + ended.stderr

    return run


def scrape(service):
    return service.get("/metrics", headers={"Accept": "text/plain"}).text


def samples(text):
    """{name: {labels as they are written: value}}"""
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


def test_the_rules_are_good(promtool):
    code, said = promtool("check", "rules", "--lint-fatal", RULES)
    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said


def test_rules_that_are_there_twice_are_not_good(promtool, tmp_path):
    """promtool says so and ends with 0, but for --lint-fatal."""
    rules = yaml.safe_load(RULES.read_text())
    rules["groups"][0]["rules"] *= 2
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    code, said = promtool("check", "rules", "--lint-fatal", tmp_path / "rules.yml")
    assert (code, "duplicate rule" in said) == (3, True), said


def test_alerts_fire_when_they_should(promtool, tmp_path):
    text = (Path(__file__).parent / "alerts_test.yml").read_text()
    (tmp_path / "alerts_test.yml").write_text(text.replace("[RULES]", f"[{RULES}]"))
    code, said = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert code == 0, said
    assert ALERTS.keys() == set(re.findall(r'alertname="(\w+)"', text)), "each has been seen to fire"


def test_expressions_of_the_dashboard_can_be_evaluated(promtool, tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(PANELS.values())
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = promtool("check", "rules", "--lint-fatal", tmp_path / "rules.yml")
    assert code == 0, said


def test_metrics_are_as_prometheus_wants_them(promtool, service):
    service.pay()
    code, said = promtool("check", "metrics", input=scrape(service))
    assert (code, said) == (0, "")


@pytest.fixture(scope="module")
def exposed(launch):
    """What a service tells that has met every kind of thing: a payment, a refusal, a neighbour that is away."""
    service = launch("uwsgi", CART_PORT=1)
    service.pay()
    wait_until(lambda: samples(scrape(service))["payment_relay_connected"][""] == 1, "the relay is connected")
    return samples(scrape(service))


def test_what_can_be_expected_is_told_before_it_happens(exposed):
    outcomes = ("success", "repeated", "opened", "refused", "failed")
    assert exposed["payment_duration_seconds_count"].keys() == {f'{{outcome="{each}"}}' for each in outcomes}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_names_exist(exposed, where):
    named = re.findall(r"\b(payment_\w+)(?:\{([^}]*)\})?", EXPRESSIONS[where])
    assert named or where == "PaymentServiceDown"
    for name, selector in named:
        assert name in exposed
        written = next(iter(exposed[name]))
        for label in set(re.findall(r"(\w+)=", selector)) - {"instance"}:
            assert f"{label}=" in written
    by = {label for labels in re.findall(r"by \(([^)]*)\)", EXPRESSIONS[where]) for label in labels.split(", ")}
    for label in by - {"instance", "job"}:
        assert any(f"{label}=" in written for name, _ in named for written in exposed[name])


def test_release(uwsgi):
    release = uwsgi.get("/live").json()["release"]
    assert samples(scrape(uwsgi))["payment_release_info"] == {f'{{release="{release}"}}': 1}


def relay(service):
    told = samples(scrape(service))
    return told["payment_relay_elected"][""], told["payment_relay_connected"][""]


def test_state_of_the_relay(start_service, broker):
    user = "relay"
    broker.ctl("add_user", user, PASSWORD)
    broker.ctl("set_permissions", "--vhost", broker.vhost, user, ".*", ".*", ".*")
    service = start_service("uwsgi", AMQP_USER=user, PAYMENT_QUEUE=user)
    wait_until(lambda: relay(service) == (1, 1), "elected and connected")
    broker.ctl("delete_user", user)
    broker.drop_connections()
    wait_until(lambda: relay(service) == (1, 0), "not let in any more")


def test_state_that_a_killed_process_has_told_is_forgotten(start_service):
    service = start_service("uwsgi")
    wait_until(lambda: relay(service) == (1, 1), "elected and connected")
    told = service.metrics_directory
    before = set(children(service.process.pid))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(children(service.process.pid)) - before) == 4, "new workers")
    service.wait_until_alive()
    scrape(service)
    assert not before & {int(path.stem.rpartition("_")[2]) for path in told.glob("gauge_live*.db")}
    wait_until(lambda: relay(service) == (1, 1), "elected and connected again")
