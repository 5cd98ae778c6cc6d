"""A host that was set up by typing the install guide's commands becomes one of ours, and can go back."""

import re
import zipfile

import pytest

from conftest import APP, ask, releases

pytestmark = pytest.mark.in_turn

# The guide's sections 1 to 5 and its method 1, with the placeholders filled in and its port open to other hosts.
# uWSGI is compiled for Python alone: without that, it takes a minute of all processors.
GUIDE = """\
set -e
dnf --quiet --assumeyes install python3.11 python3.11-pip python3.11-devel gcc unzip
useradd skillupworks
mkdir -p /app /var/log/skillupworks
chown skillupworks:skillupworks /app /var/log/skillupworks
cd /app
unzip -q /root/skillupworks-payment.zip
chown -R skillupworks:skillupworks /app
sudo -u skillupworks pip3.11 install --quiet -r requirements.txt
UWSGI_PROFILE=pyonly pip3.11 install --quiet uwsgi=={uwsgi}
cat > /app/payment.ini << 'EOF'
[uwsgi]
module = payment:app
master = true
processes = 4
threads = 2
socket = 0.0.0.0:8084
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
Environment=CART_HOST={settings[payment_cart_host]} CART_PORT=8083
Environment=USER_HOST={settings[payment_user_host]} USER_PORT=8081
Environment=AMQP_HOST={settings[payment_amqp_host]} AMQP_USER=skillupworks AMQP_PASS={settings[payment_amqp_password]}
Environment=PAYMENT_PORT=8084 PAYMENT_GATEWAY=sandbox://approve
# what the app needs beyond the guide, no limit for the one client that the load comes from, and patience with
# neighbours while gcc has all processors
Environment=PAYMENT_LEDGER_URL=sqlite:////home/skillupworks/ledger.db PAYMENT_RATE_CLIENT=unlimited
Environment=PAYMENT_CONNECT_TIMEOUT=10 PAYMENT_READ_TIMEOUT=10
ExecStart=/usr/local/bin/uwsgi --ini /app/payment.ini --enable-threads
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now payment
curl --silent --show-error --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8084/health
"""
UWSGI = re.compile(r"^uwsgi==(\S+).*?(?=^\S)", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def guides_zip(tmp_path_factory):
    """The app as the guide has it: its requirements.txt is without uWSGI, which is installed by itself."""
    path = tmp_path_factory.mktemp("guide") / "skillupworks-payment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(APP.rglob("*")):
            if file.is_file() and file.name != "requirements.txt":
                archive.write(file, file.relative_to(APP))
        archive.writestr("requirements.txt", UWSGI.sub("", (APP / "requirements.txt").read_text()))
    return path


def test_the_guide_by_hand(guides_zip, host, settings):
    host.run_expect([0], "systemctl disable --now firewalld")  # as RHEL's cloud images have it
    host.ansible("copy", f"src={guides_zip} dest=/root/skillupworks-payment.zip mode=0644", check=False, become=True)
    uwsgi = UWSGI.search((APP / "requirements.txt").read_text())[1]
    done = host.run("bash -c %s", GUIDE.format(settings=settings, uwsgi=uwsgi))
    assert done.rc == 0, done.stderr
    assert '"status":"healthy"' in done.stdout


def test_it_is_adopted(play, source, host, settings, release, under_load):
    # At its end the guide's service answers 500 and resets, and its port is closed until systemd has opened it.
    ends_hard = "500|Connection(Refused|Reset)Error|RemoteDisconnected"
    with under_load("adoption of an installation by hand", unless=ends_hard):
        played = play("site.yml", **source("1.0.0"))
        assert played.code == 0, played.output
    assert release().startswith("1.0.0-")
    assert "by-hand" in releases(host, settings)
    assert not host.file(f"{settings['payment_link']}.by-hand").exists


def test_and_gone_back_to(play, host, url):
    """With its own unit, configuration and packages, the port open as before."""
    played = play("rollback.yml")
    assert played.code == 0, played.output
    assert ask(f"{url}/live")["release"] == "development"
    assert "AMQP_PASS" in host.file("/etc/systemd/system/payment.service").content_string


def test_and_left_again(play, host, settings, release):
    """For the inventory's release, whose requirements come from a package index: S3 has it without wheels."""
    played = play("site.yml")
    assert played.code == 0, played.output
    assert "Install the locked requirements in the release's own virtual environment" in played.changed()
    assert release() == f"1.0.0-{settings['payment_artifact_sha256'][:12]}"
    assert not host.file(f"{settings['payment_link']}/wheels").exists
