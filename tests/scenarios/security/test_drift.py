"""Whatever somebody changes by hand of what site.yml manages, the next run finds, says, and puts right.

What is changed together is found by looks that do not know of each other.
"""

import re

import pytest

UNIT, SOCKET = "/etc/systemd/system/payment.service", "/etc/systemd/system/payment.socket"
CONFIG, ROTATION = "/etc/skillupworks/payment", "/etc/logrotate.d/payment"
INI, SECRETS = f"{CONFIG}/payment.ini", f"{CONFIG}/credentials"
ROOT = "/opt/skillupworks/payment"
RULES, FIREWALLD = "Let the sources in at the ports, and nobody else", "Run firewalld, now and after a reboot"
ACCOUNT, LOG = "Create the user", "Create the log directory"
# By runs: what is done to the host, and where the run says that it differs, or the task that says so.
DRIFTS = [
    {
        f"echo >> {UNIT}": UNIT,
        f"chmod 666 {SOCKET}": SOCKET,
        f"chgrp skillupworks {INI}": INI,
        f"sed -i s/daily/hourly/ {ROTATION}": ROTATION,
        f"printf another > {SECRETS}/amqp_password": f"{SECRETS}/amqp_password",
        f"mkdir {ROOT}/releases/0.1.0-000000000000": f"{ROOT}/releases/0.1.0-000000000000",
        "chown --no-dereference skillupworks /app": "/app",
        "usermod --shell /bin/bash skillupworks": ACCOUNT,
        "chmod 777 /var/log/skillupworks": LOG,
        "firewall-cmd --add-port=8084/tcp": RULES,
        "systemctl disable firewalld": FIREWALLD,
        "rpm --erase --nodeps unzip": "Install what the release needs",
    },
    {
        f"rm {UNIT}": UNIT,
        f"chown skillupworks {SOCKET}": SOCKET,
        f"mv {INI} /root/moved.ini && ln -s /root/moved.ini {INI}": INI,
        f"rm {ROTATION}": ROTATION,
        f"chmod 777 {CONFIG}": CONFIG,
        f"chmod 644 {SECRETS}/amqp_password": f"{SECRETS}/amqp_password",
        f"mkdir {ROOT}/artifacts": f"{ROOT}/artifacts",
        f"ln -sfn {ROOT}/releases/none /app": "/app",
        "usermod --comment somebody skillupworks": ACCOUNT,
        "chown root /var/log/skillupworks": LOG,
        "firewall-cmd --permanent --add-port=8084/tcp": RULES,
        "rpm --erase --nodeps python3.11-pip": "Install Python 3.11",
    },
    {
        f"chmod 755 {SECRETS} && touch {SECRETS}/surplus": f"{SECRETS}/surplus",
        f"rm {INI}": INI,
        f"rm {ROOT}/proven/last": f"{ROOT}/proven/last",
        "rm /app": "/app",
        "usermod --gid nobody skillupworks": ACCOUNT,
        "systemctl stop firewalld": FIREWALLD,
    },
    {
        "rpm --erase --nodeps --noscripts python3-firewall": "Install firewalld",
        "systemctl stop payment.service": "payment.service",
    },
    {"systemctl disable payment.service payment.socket": "payment.service"},
    {"systemctl stop payment.socket payment.service": "payment.socket"},
    {f"touch {INI}": "payment.service", f"touch {SOCKET} && systemctl daemon-reload": "payment.socket"},
    {f"echo >> {UNIT} && systemctl daemon-reload && sed -i '$d' {UNIT}": "payment.service"},
]


@pytest.fixture
def state(host):
    """Return a function: what of the host must be as before, one line each. firewalld's rules have no order."""
    paths = f"/app {CONFIG} {ROOT}/releases {ROOT}/proven {UNIT} {SOCKET} {ROTATION} /var/log/skillupworks"
    return lambda: host.check_output(
        f"find {paths} -maxdepth 2 -printf '%p %m %u %g %l\\n' | sort; getent passwd skillupworks;"
        f" cat {UNIT} {SOCKET} {INI} {ROTATION} {SECRETS}/*;"
        " (firewall-cmd --list-all; firewall-cmd --list-all --permanent) | sort;"
        " systemctl is-enabled firewalld payment.socket payment.service; rpm -qa | sort;"
        " systemctl is-active firewalld payment.socket payment.service"
    )


@pytest.mark.parametrize("drifts", DRIFTS, ids=lambda drifts: f"{next(iter(drifts))} and {len(drifts) - 1} more")
def test_drift_is_found_and_put_right(drifts, play, host, state):
    before = state()
    for command in drifts:
        host.check_output(command)
    checked = play("site.yml", "--check")
    assert checked.code == 0, checked.output
    done = play("site.yml")
    assert done.code == 0, done.output
    for played in (checked, done):
        said = re.findall(r"payment-1 differs: ([^']*)", " ".join(played.output.split()))
        found = {*played.changed(), *", ".join(said).split(", ")}
        missed = set(drifts.values()) - found
        assert missed == set(), played.output
    assert state() == before


def test_a_service_that_hangs_is_not_left_out(play, host):
    """It is active, and as it should be in every other way."""
    host.check_output("systemctl kill --signal=STOP --kill-who=all payment.service")
    played = play("site.yml", payment_live_tries=2)
    assert "payment-1 differs: http://127.0.0.1:8084/live" in " ".join(played.output.split())
    host.check_output("systemctl kill --signal=CONT --kill-who=all payment.service || true")
    assert play("site.yml").code == 0


def test_nothing_is_left_of_it(play):
    played = play("site.yml")
    assert (played.code, played.changed()) == (0, [])
