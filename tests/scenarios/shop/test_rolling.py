"""The life of two payment hosts behind a frontend, test after test: nothing, releases good and bad, a killed run.

Under load, which goes through the frontend, no request may fail, whatever is deployed.
"""

import json
import re
import time
import urllib.error
import urllib.request

import pytest

from conftest import PATIENCE, ask, wait_until

pytestmark = pytest.mark.in_turn

UPSTREAM = "/etc/nginx/conf.d/payment-upstream.conf"
LOCATION = "/etc/nginx/default.d/payment.conf"

MISSING_MODULE = "import no_such_module"
UNUSABLE_LEDGER = {
    "payment_ledger_url": "postgresql://payment@127.0.0.1:9/payment",
    "payment_ledger_password": "p4-ss-w0rd",
}


def drained(host):
    return re.findall(r" down;  # (\S+)", host.file(UPSTREAM).content_string)


def marked_down(played):
    """The payment hosts that a run took out at the frontend, in that order."""
    tasks = re.findall(r"TASK \[payment_route : Mark its server as down\].*?\n\n", played.output, re.DOTALL)
    return re.findall(r"changed: \[(\S+) -> frontend-1", "".join(tasks))


def status(url, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def releases(urls):
    """The versions that serve, by payment host."""
    return lambda: {name: ask(f"{url}/live")["release"].split("-")[0] for name, url in urls.items()}


@pytest.fixture
def shares(entrance, urls):
    """Pay forty orders at the frontend: how many of them each payment host took."""

    def taken():
        return {name: ask(f"{url}/metrics")["total_payments"] for name, url in urls.items()}

    def shared():
        before = taken()
        for number in range(40):
            assert ask(f"{entrance}/pay/share-{time.time_ns()}-{number}", {})["status"] == "success"
        return {name: total - before[name] for name, total in taken().items()}

    return shared


def test_check_mode_on_bare_hosts(play, source, host):
    played = play("site.yml", "--check", **source("1.0.0"))
    assert played.code == 0, played.output
    assert not host.package("nginx").is_installed


def test_from_nothing(play, source, host, releases, shares):
    played = play("site.yml", **source("1.0.0"))
    assert played.code == 0, played.output
    assert releases() == {"payment-1": "1.0.0", "payment-2": "1.0.0"}
    assert all(share > 0 for share in shares().values())


def test_the_same_again_changes_nothing(play, source):
    played = play("site.yml", **source("1.0.0"))
    assert played.code == 0, played.output
    assert {played.recap(name)["changed"] for name in ("payment-1", "payment-2", "frontend-1")} == {0}, played.output
    assert "-> frontend-1" not in played.output, "a frontend is asked before a restart alone"


def refused(url, body=None):
    """The status of an error, its `Retry-After`, and the message of its JSON."""
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=PATIENCE)
    answer = json.load(error.value)
    assert (error.value.headers.get_content_type(), answer["status"]) == ("application/json", "error")
    return error.value.status, error.value.headers["Retry-After"], answer["message"]


def test_the_body_limit(entrance):
    """The service has the same; Nginx is the first to say so, and in JSON as well."""
    body = b'{"paymentMethod": "%s"}'
    too_long = refused(f"{entrance}/pay/demo-body", body % (b"x" * 65_536))
    assert too_long == (413, None, "Body must not be larger than 64k")
    assert status(f"{entrance}/pay/demo-body", body % (b"x" * 65_000)) != 413


@pytest.mark.parametrize(
    "path", ["metrics", "metrics?of=1", "%6detrics", "pay/../metrics", "/metrics", "metrics/", ".error"]
)
def test_what_is_not_for_the_public(entrance, urls, path):
    assert {status(f"{url}/metrics") for url in urls.values()} == {200}
    assert refused(f"{entrance}/{path}")[0] == 404


def test_the_frontends_other_locations_are_left_alone(play, host, settings, entrance):
    frontend = f"http://{settings['ansible_host']}"
    host.check_output("printf 'location /shop { return 204; }' > /etc/nginx/default.d/shop.conf && nginx -s reload")
    played = play("site.yml", "--limit=frontend", payment_route_read_timeout=30)
    assert played.code == 0, played.output
    assert "proxy_read_timeout 30s;" in host.file(LOCATION).content_string
    assert status(f"{frontend}/shop") == 204
    assert status(f"{frontend}/") == 200
    assert status(f"{entrance}/health") == 200


def test_no_payment_host_answers(play, entrance, payment_hosts, urls):
    """First they hang, then they are down: clients are told in JSON, and when to try again."""

    def on_each(command):
        for host in payment_hosts.values():
            host.check_output(command)

    assert play("site.yml", "--limit=frontend", payment_route_read_timeout=1).code == 0
    on_each("systemctl kill --signal=STOP payment.service")
    try:
        assert refused(f"{entrance}/pay/demo-hangs", b"{}") == (504, "5", "The Payment Service did not answer in time")
    finally:
        on_each("systemctl kill --signal=CONT payment.service; systemctl stop payment.socket payment.service")
    try:
        for _ in range(20):  # until each has failed so often that Nginx would leave it out
            assert refused(f"{entrance}/live") == (502, "5", "The Payment Service cannot be reached at the moment")
    finally:
        payment_hosts["payment-2"].check_output("systemctl start payment.socket payment.service")
    wait_until(lambda: status(f"{urls['payment-2']}/live") == 200, "one is back")
    assert [status(f"{entrance}/live") for _ in range(10)] == [200] * 10, "it serves at once"
    on_each("systemctl start payment.socket payment.service")
    wait_until(lambda: status(f"{urls['payment-1']}/live") == 200, "the other is back")
    assert play("site.yml", "--limit=frontend").code == 0, "the tests below have the usual patience"


def test_deployment(play, source, host, releases, under_load):
    with under_load("rolling: deployment"):
        played = play("site.yml", **source("1.1.0"))
    assert played.code == 0, played.output
    assert releases() == {"payment-1": "1.1.0", "payment-2": "1.1.0"}
    assert marked_down(played) == ["payment-1", "payment-2"]
    assert drained(host) == []


def test_restart(play, host, under_load):
    with under_load("rolling: restart"):
        played = play("restart.yml")
    assert played.code == 0, played.output
    assert marked_down(played) == ["payment-1", "payment-2"]
    assert drained(host) == []


def test_changed_configuration_on_both_at_once(play, source, payment_hosts, under_load):
    """Nobody would be left, so nobody is drained, and clients wait for the restart, as with a single host."""
    with under_load("rolling: changed configuration, both at once"):
        played = play("site.yml", payment_serial="2", payment_processes=2, **source("1.1.0"))
    assert played.code == 0, played.output
    assert marked_down(played) == []
    for name, host in payment_hosts.items():
        assert "processes = 2" in host.file("/app/payment.ini").content_string, name


def test_rollback(play, host, releases, under_load):
    with under_load("rolling: rollback"):
        played = play("rollback.yml", payment_serial="25%")
    assert played.code == 0, played.output
    assert releases() == {"payment-1": "1.0.0", "payment-2": "1.0.0"}
    assert marked_down(played) == ["payment-1", "payment-2"]
    assert drained(host) == []


@pytest.mark.parametrize(("failing", "version"), [("payment-1", "1.9.0"), ("payment-2", "1.9.1")])
def test_a_failure_beside_a_host_that_succeeds(failing, version, play, source, host, settings, releases, payment_hosts):
    """In one batch, after the switch: one gets back what answered before, the other one's release is proven."""
    (other,) = payment_hosts.keys() - {failing}
    program = (
        "import os, socket\n"
        f"if (socket.gethostname(), os.environ['PAYMENT_PORT']) == ('{failing}', '{settings['payment_port']}'):\n"
        "    raise SystemExit('fails on this host alone')\n"
    )
    before = releases()
    played = play("site.yml", payment_serial="2", payment_live_tries=3, **source(version, program))
    assert played.code != 0
    assert "fails on this host alone" in played.output
    assert "Lay the route" not in played.output
    assert releases() == before | {other: version}
    assert [played.recap(name)["failed"] for name in (failing, other)] == [1, 0]
    proven = payment_hosts[other].check_output("readlink /opt/skillupworks/payment/proven/last")
    assert proven.startswith(f"{version}-")
    assert drained(host) == []


@pytest.mark.parametrize("kind", ["missing module", "unusable ledger"])
def test_a_failure_on_the_first_host(kind, play, source, host, releases, payment_hosts, under_load):
    """It is put back and gets requests again; what serves on the second host is not touched."""
    second = payment_hosts["payment-2"]
    serving = (
        "readlink /app; systemctl show payment.service --property=MainPID; cat /etc/systemd/system/payment.service"
    )
    before = releases(), second.check_output(serving)
    release = source("2.0.0", MISSING_MODULE if kind == "missing module" else "")
    settings = UNUSABLE_LEDGER if kind == "unusable ledger" else {}
    with under_load(f"rolling: failed deployment: {kind}"):
        played = play("site.yml", payment_live_tries=3, **settings, **release)
    assert played.code != 0
    assert (releases(), second.check_output(serving)) == before
    assert drained(host) == []


def test_a_drained_host_gets_no_requests(play, source, host, shares):
    """A run that is killed when it has restarted the first host leaves it drained."""
    played = play("site.yml", kill_at="Remember what serves", **source("1.2.0"))
    assert played.code == -9
    assert drained(host) == ["payment-1"]
    assert shares() == {"payment-1": 0, "payment-2": 40}


def test_the_run_after_a_killed_one_drains_nobody_for_ever(play, source, host, releases, shares):
    played = play("site.yml", **source("1.2.0"))
    assert played.code == 0, played.output
    assert releases() == {"payment-1": "1.2.0", "payment-2": "1.2.0"}
    assert drained(host) == []
    assert all(share > 0 for share in shares().values())


def test_the_last_host_that_serves_is_not_drained(play, source, payment_hosts, under_load):
    other = payment_hosts["payment-2"]
    other.check_output("systemctl stop payment.socket payment.service")
    with under_load("rolling: the other host is down"):
        played = play("site.yml", "--limit=payment-1", payment_processes=3, **source("1.2.0"))
    other.check_output("systemctl start payment.socket payment.service")
    assert played.code == 0, played.output
    assert played.recap("payment-1")["changed"] > 0
    assert marked_down(played) == []


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("payment_route_max_body", "99999999999999999999k", '"client_max_body_size" directive invalid value'),
        ("payment_route_location_file", "/etc/nginx/elsewhere/payment.conf", 'Put "include /etc/nginx/elsewhere'),
    ],
)
def test_a_wrong_setting_leaves_the_frontend_as_it_was(setting, value, said, play, host, entrance):
    seen = "find /etc/nginx -type f | xargs sha256sum; pgrep -af ^nginx"
    before = host.check_output(seen)
    played = play("site.yml", "--limit=frontend", **{setting: value})
    assert played.code != 0
    assert said in " ".join(played.output.split()), played.output
    assert host.check_output(seen) == before
    assert status(f"{entrance}/health") == 200


def test_the_rate_limit(play, entrance):
    def seen():
        return {status(f"{entrance}/live") for _ in range(30)}

    assert play("site.yml", "--limit=frontend", payment_route_rate="1r/s", payment_route_burst=5).code == 0
    assert seen() == {200, 429}
    assert refused(f"{entrance}/live")[:2] == (429, "1")
    assert play("site.yml", "--limit=frontend", payment_route_rate="").code == 0
    assert seen() == {200}
