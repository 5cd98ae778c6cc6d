"""verify.yml says yes to a sound host, and no to one that is not; diagnose.yml finds nothing wrong with a sound one."""

import json
from xml.etree import ElementTree

import playbooks
import pytest


@pytest.fixture
def play(request, tmp_path):
    """Return a function that runs a playbook; it returns the exit code, what it said and the document it wrote."""
    inventory = request.config.getoption("ansible_inventory")

    def run(name, document):
        results = f"--extra-vars=payment_checkup_results={tmp_path}"
        code, said = playbooks.Run(f"playbooks/{name}", f"--inventory={inventory}", results).wait()
        return code, said, json.loads((tmp_path / document).read_text())

    return run


def test_a_sound_host_passes_every_check(play, settings, tmp_path):
    code, output, report = play("verify.yml", "verify.json")
    rows = [row for about in report["hosts"].values() for row in about["checks"]]
    assert [row for row in rows if row["state"] == "failed"] == []
    assert (code, report["ok"]) == (0, True)
    assert len(rows) >= 25
    assert [row["check"] for row in rows if row["check"] not in output] == []
    cases = ElementTree.parse(tmp_path / "verify.xml").getroot().findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [row["check"] for row in rows]
    assert all(host in (tmp_path / "verify.html").read_text() for host in report["hosts"])
    assert settings["payment_amqp_password"] not in output + json.dumps(report)


def test_a_sound_host_has_no_diagnosis(play):
    code, output, diagnosis = play("diagnose.yml", "diagnosis.json")
    assert (code, diagnosis) == (0, {"causes": []})
    assert "nothing is wrong" in output


@pytest.mark.disruptive
def test_a_stopped_service_fails(play, host):
    host.check_output("systemctl stop payment.socket payment.service")
    try:
        code, output, report = play("verify.yml", "verify.json")
    finally:
        host.check_output("systemctl start payment.service")
    assert code != 0
    assert "FAIL" in output
    seen = {row["check"]: row["seen"] for row in report["hosts"]["payment-1"]["checks"] if row["state"] == "failed"}
    assert "inactive" in seen["service is active"]
    assert seen["port listens"] == "nothing listens"
