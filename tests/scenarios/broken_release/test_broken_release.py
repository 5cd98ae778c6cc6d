"""Releases and settings that do not work: what served before goes on, and the run says what is wrong.

What is refused before anything is unpacked, and a full disk, are in the scenario `offline`, which has an S3.
"""

import re

import pytest

from conftest import ask, releases

pytestmark = pytest.mark.in_turn

MISSING_MODULE = "import no_such_module"
BROKEN = {
    "syntax error": ("def broken(:", {}, "SyntaxError"),
    "missing module": (MISSING_MODULE, {}, "No module named 'no_such_module'"),
    "hangs at start": ("import time; time.sleep(3600)", {}, "timeout"),
    "answers errors": ("import flask; flask.Flask.wsgi_app = lambda *_: 1 / 0", {}, "ZeroDivisionError"),
    "wrong port": ("import os; os.environ['PAYMENT_PORT'] = '9'", {"payment_runtime": "python"}, "Connection refused"),
}


def test_a_host_whose_first_release_fails_is_left_stopped_and_clean(play, source, host, settings):
    played = play("site.yml", **source("0.9.0", MISSING_MODULE))
    assert played.code != 0
    assert "No module named 'no_such_module'" in played.output
    assert "The host had no release before" in played.output
    assert not host.file(settings["payment_link"]).exists
    assert releases(host, settings) == set()
    assert host.check_output("systemctl list-units --all --no-legend 'payment*'") == ""
    assert host.check_output(f"ss -Hltn sport = :{settings['payment_port']}") == ""


def test_a_release_that_works_comes_next(play, source, release):
    assert play("site.yml", **source("1.0.0")).code == 0
    assert release().startswith("1.0.0-")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_release(kind, play, source, host, settings, release, order_of, under_load):
    before, order = release(), order_of()
    program, settings_of_its_own, cause = BROKEN[kind]
    with under_load(f"broken release: {kind}"):
        played = play(
            "site.yml", payment_processes=3, payment_live_tries=3, **settings_of_its_own, **source("2.0.0", program)
        )
    assert played.code != 0
    assert re.search(f"{before} serves again, and answers|what ran before still does", played.output), played.output
    assert cause in played.output
    assert (release(), order_of()) == (before, order)
    assert f"processes = {settings['payment_processes']}" in host.file("/app/payment.ini").content_string
    assert not any(name.startswith("2.0.0-") for name in releases(host, settings))
    assert host.check_output("systemctl list-units --all --no-legend 'payment-trial*'") == ""


def test_a_wrong_setting_is_taken_back(play, source, host, release, url, under_load):
    """One that only the host can find out to be wrong: a database that is not there."""
    before = release()
    ledger = {"payment_ledger_url": "postgresql://payment@127.0.0.1:9/payment", "payment_ledger_password": "p4-ss-w0rd"}
    with under_load("wrong setting"):
        played = play("site.yml", payment_live_tries=3, **ledger, **source("1.0.0"))
    assert played.code != 0
    assert "Wait until the service can use the ledger it shares" in played.output
    assert release() == before
    assert "PAYMENT_LEDGER_URL" not in host.file("/etc/systemd/system/payment.service").content_string
    assert ask(f"{url}/pay/demo-after", {})["status"] == "success"


def test_a_failure_that_cannot_be_taken_back_is_told_first(play, source, host, settings, release):
    """What served before cannot be started again either: the run says why the release failed, and then that."""
    before = release()
    unit = f"{settings['payment_root']}/proven/last/payment.service"
    host.check_output(f"cp {unit} /root/ && sed -i 's,^ExecStart=.*,ExecStart=/usr/bin/false,' {unit}")
    try:
        played = play("site.yml", payment_live_tries=2, **source("2.0.0", MISSING_MODULE))
    finally:
        host.check_output(f"mv /root/payment.service {unit}")
    said = " ".join(played.output.split())
    assert played.code != 0
    assert "2.0.0-" in said.partition("did not come into service.")[0].rpartition("payment-1: ")[2]
    assert re.search("failed: .* What was there before could not be put back: the task .* failed", said), said
    assert play("site.yml", **source("1.0.0")).code == 0
    assert release() == before


def test_the_same_as_before_changes_nothing(play, source):
    """Once the artifacts are gone that the failed runs had fetched."""
    assert play("site.yml", **source("1.0.0")).code == 0
    played = play("site.yml", **source("1.0.0"))
    assert (played.code, played.recap("payment-1")["changed"]) == (0, 0), played.output
