"""The life of a host, test after test: nothing, a failure, an installation by hand, releases good and bad.

Under load, no request may fail, whatever is deployed.
"""

import re
from pathlib import Path

import pytest

from conftest import ask

ROOT = Path(__file__).parents[2]

BY_HAND = """\
set -e
dnf --quiet --assumeyes install python3.11 python3.11-pip python3.11-devel gcc unzip
id skillupworks >/dev/null 2>&1 || useradd -r -s /bin/false skillupworks
mkdir /app
cd /app
unzip -q /root/payment.zip
chown -R skillupworks:skillupworks /app
pip3.11 install --quiet -r requirements.txt
cat > /app/payment.ini << 'EOF'
[uwsgi]
module = payment:app
master = true
processes = 4
threads = 2
socket = 127.0.0.1:8084
protocol = http
chmod-socket = 660
vacuum = true
die-on-term = true
EOF
cat > /etc/systemd/system/payment.service << 'EOF'
[Unit]
Description=skillupworks Payment Service
After=network.target

[Service]
User=skillupworks
WorkingDirectory=/app
Environment=CART_HOST={cart} CART_PORT=8083 USER_HOST={user} USER_PORT=8081
Environment=AMQP_HOST={amqp} AMQP_USER=skillupworks AMQP_PASS={password}
Environment=PAYMENT_PORT=8084 PAYMENT_GATEWAY=sandbox://approve
Environment=PAYMENT_LEDGER_URL=sqlite:////tmp/by-hand.db PROMETHEUS_MULTIPROC_DIR=/tmp
ExecStart=/usr/local/bin/uwsgi --ini /app/payment.ini
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now payment
curl --silent --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8084/health
"""

MISSING_MODULE = "\nimport no_such_module\n"


@pytest.fixture(scope="module")
def order_of(url):
    """Pay, always with one key: the id of the order, which is the same as long as the ledger is."""

    def pay():
        return ask(f"{url}/pay/demo-kept", {}, **{"Idempotency-Key": "kept through releases"})["orderId"]

    return pay


def releases(host, settings):
    return set(host.check_output(f"ls {settings['payment_root']}/releases").split())


def test_a_host_whose_first_release_fails_is_left_stopped_and_clean(play, source, host, settings):
    played = play("site.yml", **source("0.9.0", MISSING_MODULE))
    assert played.code != 0
    assert "No module named 'no_such_module'" in played.output
    assert "The host had no release before" in played.output
    assert not host.file(settings["payment_link"]).exists
    assert releases(host, settings) == set()
    assert host.check_output("systemctl list-units --all --no-legend 'payment.*'") == ""
    assert host.check_output(f"ss -Hltn sport = :{settings['payment_port']}") == ""


def test_an_installation_by_hand_is_adopted(play, source, host, settings, release, url):
    """By the guide's own commands, with the app of this project, which has no uWSGI of its own there."""
    artifact = next((ROOT / ".cache/artifacts").glob("*.zip"))
    host.ansible("copy", f"src={artifact} dest=/root/payment.zip mode=0644", check=False, become=True)
    script = BY_HAND.format(
        cart=settings["payment_cart_host"],
        user=settings["payment_user_host"],
        amqp=settings["payment_amqp_host"],
        password=settings["payment_amqp_password"],
    )
    done = host.run("bash -c %s", script)
    assert done.rc == 0, done.stderr
    assert '"service":"payment"' in done.stdout
    played = play("site.yml", **source("1.0.0"))
    assert played.code == 0, played.output
    assert release().startswith("1.0.0-")
    assert "by-hand" in releases(host, settings)
    assert not host.file(f"{settings['payment_link']}.by-hand").exists


def test_the_same_again_changes_nothing(play, source):
    variables = source("1.0.0")
    assert play("site.yml", **variables).code == 0
    played = play("site.yml", **variables)
    assert (played.code, played.recap("payment-1")["changed"]) == (0, 0), played.output


def test_deployment(play, source, release, order_of, under_load):
    order = order_of()
    with under_load("deployment"):
        assert play("site.yml", **source("1.1.0")).code == 0
    assert release().startswith("1.1.0-")
    assert order_of() == order


def test_changed_configuration(play, source, host, under_load):
    with under_load("changed configuration"):
        assert play("site.yml", payment_processes=2, **source("1.1.0")).code == 0
    assert "processes = 2" in host.file("/app/payment.ini").content_string


def test_rollback(play, release, order_of, under_load):
    order, current = order_of(), release()
    with under_load("rollback"):
        assert play("rollback.yml").code == 0
    assert release().startswith("1.0.0-")
    assert order_of() == order
    assert play("rollback.yml", payment_rollback_to=current).code == 0
    assert release() == current


def test_rollback_to_what_is_not_there(play, release):
    before = release()
    played = play("rollback.yml", payment_rollback_to="0.0.1-000000000000")
    assert played.code != 0
    assert "has no release 0.0.1-000000000000. Write one of these in payment_rollback_to:" in played.output
    assert release() == before


BROKEN = {
    "syntax error": ("def broken(:\n", r"SyntaxError"),
    "missing module": (MISSING_MODULE, r"No module named 'no_such_module'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_release(kind, play, source, host, settings, release, order_of, under_load):
    """What served before serves again, with its configuration, and the cause is named."""
    before, order = release(), order_of()
    program, cause = BROKEN[kind]
    with under_load(f"broken release: {kind}"):
        played = play("site.yml", payment_processes=3, payment_live_tries=3, **source("2.0.0", program))
    assert played.code != 0
    assert re.search(cause, played.output), played.output
    assert release() == before
    assert order_of() == order
    assert "processes = 2" in host.file("/app/payment.ini").content_string
    assert not any(name.startswith("2.0.0-") for name in releases(host, settings))


def test_a_release_that_hangs_at_start(play, source, release):
    """Not under load: who comes before it is given up waits for more than a minute."""
    before = release()
    played = play("site.yml", payment_live_tries=3, **source("2.0.0", "\nimport time\ntime.sleep(3600)\n"))
    assert played.code != 0
    assert re.search(r"timeout|timed out", played.output)
    assert release() == before


def test_a_wrong_setting_is_taken_back(play, source, host, release, url):
    """One that only the host can find out to be wrong: a database that is not there."""
    before = release()
    ledger = {"payment_ledger_url": "postgresql://payment@127.0.0.1:9/payment", "payment_ledger_password": "p4-ss-w0rd"}
    played = play("site.yml", payment_live_tries=3, **ledger, **source("1.1.0"))
    assert played.code != 0
    assert "Wait until the service can use the ledger it shares" in played.output
    assert release() == before
    assert "PAYMENT_LEDGER_URL" not in host.file("/etc/systemd/system/payment.service").content_string
    assert ask(f"{url}/pay/demo-after", {})["status"] == "success"


@pytest.mark.parametrize(
    "task",
    [
        "Unpack the artifact",
        "Install the locked requirements in the release's own virtual environment",
        "Mark the release as complete",
        "Write the configuration",
        "Start the service, anew when anything is newer than it",
    ],
)
def test_killed_run(task, play, source, release):
    """What served still serves, and the next run, killed a step later, goes on from there."""
    before = release()
    played = play("site.yml", kill_at=task, **source("1.2.0"))
    assert played.code == -9
    assert f"[payment : {task}]" in played.output
    assert release() == before or task.startswith("Start the service")  # which may be under way


def test_the_run_after_a_killed_one_converges(play, source, host, settings, release):
    assert play("site.yml", **source("1.2.0")).code == 0
    assert release().startswith("1.2.0-")
    served = play("site.yml", **source("1.2.0"))
    assert (served.code, served.recap("payment-1")["changed"]) == (0, 0), served.output


def test_old_releases_are_removed(play, source, host, settings):
    for version in ("1.3.0", "1.4.0"):
        assert play("site.yml", **source(version)).code == 0
    assert {name.split("-")[0] for name in releases(host, settings)} == {"1.2.0", "1.3.0", "1.4.0"}
