"""Whatever somebody changes by hand of what site.yml manages, the next run finds, says, and puts right."""

import pytest

UNIT, SOCKET = "/etc/systemd/system/payment.service", "/etc/systemd/system/payment.socket"
INI, ROTATION = "/etc/skillupworks/payment/payment.ini", "/etc/logrotate.d/payment"
SECRETS = "/etc/skillupworks/payment/credentials"
CONFIGURATION = "Write the configuration"
SECRET = "Keep the secrets, for systemd to hand to the service alone"
ACCOUNT, LOG = "Create the user", "Create the log directory"
LINK, ENABLE = "Switch the application path to the release", "Enable the service and its socket"
RULES, FIREWALLD = "Let the sources in at the ports, and nobody else", "Run firewalld, now and after a reboot"
FIRST_RULE = "firewall-cmd --list-rich-rules | head -1"
PRUNE = "Remove old releases, and what is no longer needed of the others"
RESTART = "Start the service, anew when anything is newer than it"
# What is done to the host, and the task that says that it has put it right.
DRIFT = {
    "unit": (f"echo >> {UNIT}", CONFIGURATION),
    "unit's mode": (f"chmod 666 {UNIT}", CONFIGURATION),
    "unit is gone": (f"rm {UNIT}", CONFIGURATION),
    "socket": (f"echo >> {SOCKET}", CONFIGURATION),
    "socket's owner": (f"chown skillupworks {SOCKET}", CONFIGURATION),
    "ini": (f"echo >> {INI}", CONFIGURATION),
    "ini's group": (f"chgrp skillupworks {INI}", CONFIGURATION),
    "ini is a link": (f"mv {INI} /root/moved.ini && ln -s /root/moved.ini {INI}", CONFIGURATION),
    "log rotation": (f"sed -i s/daily/hourly/ {ROTATION}", CONFIGURATION),
    "directory's mode": ("chmod 777 /etc/skillupworks/payment", CONFIGURATION),
    "directory of the secrets": (f"chmod 755 {SECRETS}", CONFIGURATION),
    "secret": (f"printf another > {SECRETS}/amqp_password", SECRET),
    "secret's mode": (f"chmod 644 {SECRETS}/amqp_password", SECRET),
    "one secret too many": (f"touch {SECRETS}/surplus", SECRET),
    "shell": ("usermod --shell /bin/bash skillupworks", ACCOUNT),
    "comment": ("usermod --comment somebody skillupworks", ACCOUNT),
    "primary group": ("usermod --gid nobody skillupworks", ACCOUNT),
    "log directory": ("chmod 777 /var/log/skillupworks", LOG),
    "log directory's owner": ("chown root /var/log/skillupworks", LOG),
    "service is disabled": ("systemctl disable payment.service", ENABLE),
    "socket is disabled": ("systemctl disable payment.socket", ENABLE),
    "service is stopped": ("systemctl stop payment.service", RESTART),
    "both are stopped": ("systemctl stop payment.socket payment.service", "Open the socket"),
    "unit was not read": (f"echo '# later' >> {UNIT} && systemctl daemon-reload && sed -i '$d' {UNIT}", RESTART),
    "configuration is newer than the service": (f"touch {INI}", RESTART),
    "application path": ("ln -sfn /opt/skillupworks/payment /app", LINK),
    "application path is gone": ("rm /app", LINK),
    "application path's owner": ("chown --no-dereference skillupworks /app", LINK),
    "release is half": ("rm /app/REVISION", "Mark the release as complete"),
    "release that never served": ("mkdir /opt/skillupworks/payment/releases/0.1.0-000000000000", PRUNE),
    "artifacts": ("mkdir /opt/skillupworks/payment/artifacts", PRUNE),
    "what was proven last": ("ln -sfn none /opt/skillupworks/payment/proven/last", "Name it"),
    "rule is gone": (f'firewall-cmd --remove-rich-rule="$({FIRST_RULE})"', RULES),
    "port is open to everyone": ("firewall-cmd --add-port=8084/tcp", RULES),
    "port will be open to everyone": ("firewall-cmd --permanent --add-port=8084/tcp", RULES),
    "firewalld is stopped": ("systemctl stop firewalld", FIREWALLD),
    "firewalld is disabled": ("systemctl disable firewalld", FIREWALLD),
    "package of a release": ("rpm --erase --nodeps unzip", "Install what the release needs"),
    "package of Python": ("rpm --erase --nodeps python3.11-pip", "Install Python 3.11"),
    "package of firewalld": ("rpm --erase --nodeps --noscripts python3-firewall", "Install firewalld"),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_found_and_put_right(drift, play, as_deployed, host, url):
    command, task = DRIFT[drift]
    host.check_output(command)
    told = play("site.yml", "--check", **as_deployed) if drift in CHECKED else None
    done = play("site.yml", **as_deployed)
    assert done.code == 0, done.output
    assert task in done.changed()
    assert told is None or task in told.changed()


# Check mode of each kind of thing; all of them would take as long again.
CHECKED = {"unit", "secret", "shell", "log directory", "socket is disabled", "application path", "rule is gone"}


def test_a_service_that_hangs_is_not_left_out(play, as_deployed, host, release):
    """It is active and as it should be in every other way."""
    host.check_output("systemctl kill --signal=STOP --kill-whom=all payment.service")
    played = play("site.yml", payment_live_tries=2, **as_deployed)
    assert "does not answer" in played.output or played.code != 0
    host.check_output("systemctl kill --signal=CONT --kill-whom=all payment.service || true")
    assert play("site.yml", **as_deployed).code == 0


def test_nothing_is_left_of_it(play, as_deployed):
    played = play("site.yml", **as_deployed)
    assert (played.code, played.changed()) == (0, [])
