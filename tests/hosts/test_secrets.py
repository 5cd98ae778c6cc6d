"""Who on the host can read a secret: root and, as long as it runs, the service."""

import pytest
import results

# What another user of the host can ask for, to find a secret in.
OPEN_TO_ALL = (
    "cat /etc/systemd/system/payment.service /etc/systemd/system/payment.socket",
    "systemctl show payment.service",
    "cat /proc/[0-9]*/cmdline",
    "cat /proc/[0-9]*/environ",
    "journalctl --unit=payment.service --no-pager",
    "grep --recursive --no-messages --text '' {payment_config_dir} {payment_root}/proven /run/credentials",
    "grep --recursive --no-messages --text '' {payment_log_dir} /var/lib/skillupworks /tmp /var/tmp",
)


@pytest.fixture(scope="module")
def directory(settings):
    return f"{settings['payment_config_dir']}/credentials"


def test_root_alone_can_read_them(host, directory, secrets):
    assert host.file(directory).mode == 0o700
    assert set(host.check_output(f"ls --almost-all {directory}").split()) == set(secrets)
    for name in secrets:
        file = host.file(f"{directory}/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o600), name


def test_they_are_the_inventorys(host, settings, directory, secrets):
    read = "systemd-creds decrypt --name={0} {1}/{0} -" if settings["payment_credentials_encrypted"] else "cat {1}/{0}"
    for name, secret in secrets.items():
        # Compared without an assertion on the values, which would print them.
        same = host.run(read.format(name, directory)).stdout == secret
        assert same, f"{name} is not what the inventory has"


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_nobody_else_can_read_them(host, settings, secrets, user):
    """Nor do they stand where root, or a backup that root makes, would come upon them."""
    places = OPEN_TO_ALL if user == "nobody" else OPEN_TO_ALL[:5]
    readable = set()
    for place in places:
        seen = host.run(f"cd / && runuser --user={user} -- sh -c %s", place.format(**settings)).stdout
        readable |= {f"{name} by: {place}" for name, secret in secrets.items() if secret in seen}
    if user == "nobody":
        with results.document("security", {}) as document:
            document["secrets_readable_by_others"] = len(readable)
    assert readable == set()
