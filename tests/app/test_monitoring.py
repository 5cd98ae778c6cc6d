"""What is to be watched: /metrics as promtool wants it, alerts that fire when they should, names that really exist."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deployments import children, wait_until
from service import ROOT

MONITORING = ROOT / "files" / "monitoring"
RULES = MONITORING / "alerts.yml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
ALERT = re.compile(r"- alert: (\w+)\n +expr: (?:>-\n)?(.*?)\n        (?:for|labels):", re.DOTALL)
EXPRESSIONS = dict(ALERT.findall(RULES.read_text())) | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


def promtool(*arguments, **options):
    ended = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **options)
    return ended.returncode, ended.stdout + ended.stderr


def scrape(service):
    return service.get("/metrics", headers={"Accept": "text/plain"}).text


def samples(text):
    """{name: {labels as they are written: value}}"""
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


def test_the_rules_are_good():
    code, said = promtool("check", "rules", RULES)
    assert code == 0, said
    assert f"{RULES.read_text().count('- alert:')} rules found" in said


def test_alerts_fire_when_they_should(tmp_path):
    text = (Path(__file__).parent / "alerts_test.yml").read_text()
    (tmp_path / "alerts_test.yml").write_text(text.replace("[RULES]", f"[{RULES}]"))
    code, said = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert code == 0, said
    assert set(re.findall(r"- alert: (\w+)", RULES.read_text())) == set(re.findall(r'alertname="(\w+)"', text))


def test_expressions_of_the_dashboard_can_be_evaluated(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = promtool("check", "rules", tmp_path / "rules.yml")
    assert code == 0, said


def test_metrics_are_as_prometheus_wants_them(service):
    service.pay()
    code, said = promtool("check", "metrics", input=scrape(service))
    assert (code, said) == (0, "")


@pytest.fixture(scope="module")
def exposed(launch):
    """What a service tells that has met every kind of thing: a payment, a refusal, a neighbour that is away."""
    service = launch("uwsgi", CART_PORT=1)
    service.pay()
    wait_until(lambda: samples(scrape(service))["payment_relay_connected"][""] == 1, 10, "the relay is connected")
    return samples(scrape(service))


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


def test_state_of_the_relay(start_service, broker, runtime):
    service = start_service(runtime, PAYMENT_QUEUE=f"relayed-{runtime}")

    def state():
        told = samples(scrape(service))
        return told["payment_relay_elected"][""], told["payment_relay_connected"][""]

    wait_until(lambda: state() == (1, 1), 10, "elected and connected")
    with broker.hanging():
        broker_gone = wait_until(lambda: state() == (1, 0), 30, "the broker's silence is noticed")
        assert broker_gone
    wait_until(lambda: state() == (1, 1), 30, "connected again")


def test_state_of_a_relay_whose_process_was_killed(start_service, tmp_path):
    """What the dead one has told last is not taken for true: another ledger's lock keeps the next one from election."""
    service = start_service("uwsgi", AMQP_PASS="wrong")
    wait_until(lambda: samples(scrape(service))["payment_relay_elected"][""] == 1, 10, "elected")
    for _ in range(3):
        before = set(children(service.process.pid))
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(children(service.process.pid)) - before) == 4, 10, "new workers")  # noqa: B023
        service.wait_until_alive()
        time.sleep(0.5)
        files = list((service._directory / "counters").glob("gauge_live*.db"))
        scrape(service)
        left = {int(path.stem.rpartition("_")[2]) for path in (service._directory / "counters").glob("gauge_live*.db")}
        assert left < {int(path.stem.rpartition("_")[2]) for path in files}
        assert not left & before
    told = samples(scrape(service))
    assert told["payment_relay_connected"][""] == 0
