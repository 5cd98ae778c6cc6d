"""Passwords that stand out are brought to a host while Ansible says all it can, and are looked for everywhere."""

import json
import secrets
import subprocess
from pathlib import Path

import pytest

CANARIES = {
    name: f"canary-{secrets.token_hex(12)}"
    for name in (
        "payment_amqp_password",
        "payment_ledger_password",
        "payment_razorpay_key_secret",
        "payment_razorpay_webhook_secret",
    )
}
GATEWAY = {"payment_gateway": "https://gateway.invalid/", "payment_razorpay_key_id": "rzp_test_canary"}


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """The inventory's secrets are in a file, not in an argument of ansible-playbook itself."""
    file = tmp_path_factory.mktemp("vault") / "vault.json"
    file.write_text(json.dumps(CANARIES | GATEWAY))
    return f"--extra-vars=@{file}"


@pytest.fixture(scope="module")
def watched(host, play, vault):
    """A run with everything shown, which succeeds, and one that fails while it tries a ledger that is not there.

    What they said, and what was seen of the host's processes meanwhile.
    """
    host.check_output(
        "systemd-run --quiet --collect --unit=watch --uid=nobody --property=RuntimeMaxSec=600"
        " --property=StandardOutput=file:/run/watched sh -c %s",
        "while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.05; done 2>/dev/null",
    )
    try:
        succeeded = play("site.yml", vault, "-vvv", "--diff")
        failed = play(
            "site.yml", vault, "-vvv", "--diff", payment_ledger_url="postgresql://payment@127.0.0.1:1/payment"
        )
        seen = host.check_output("systemctl stop watch.service; tr '\\0' ' ' < /run/watched; rm /run/watched")
        yield succeeded, failed, seen
    finally:
        host.run("systemctl stop watch.service; rm -f /run/watched")
        assert play("site.yml").code == 0


def canaries_in(text):
    return [name for name, canary in CANARIES.items() if canary in text]


def test_both_runs_went_as_they_should(watched):
    succeeded, failed, _ = watched
    assert (succeeded.code, failed.code) == (0, 2)
    assert "Wait until the service can use the ledger it shares" in failed.output


def test_nothing_that_ansible_says_has_them(watched):
    succeeded, failed, _ = watched
    assert "Keep the secrets" in succeeded.output
    assert canaries_in(succeeded.output) == canaries_in(failed.output) == []


def test_no_process_was_given_them(watched):
    seen = watched[2]
    assert "AnsiballZ" in seen or "python3" in seen, "the watch itself must work"
    assert canaries_in(seen) == []


def test_no_file_has_them_but_those_of_root(watched, host, settings):
    """On the whole host, the journal and Ansible's temporary files included."""
    pattern = "canary-[0-9a-f]\\{24\\}"  # not to be found in the command line itself, which sudo logs
    places = "/app/ /boot /etc /home /opt /root /run /srv /tmp /usr/local /var"
    found = host.run(f"grep --recursive --files-with-matches --no-messages --text '{pattern}' {places}").stdout
    files = {file for file in found.splitlines() if not file.startswith("/run/credentials/payment.service/")}
    kept = [settings["payment_config_dir"] + "/credentials", settings["payment_root"] + "/proven"]
    assert {file.rsplit("/", 1)[0] for file in files} >= {kept[0]}, "the search itself must work"
    assert [file for file in files if not file.startswith(tuple(kept))] == []
    for directory in kept:
        assert (host.file(directory).user, host.file(directory).mode) == ("root", 0o700)


def test_systemd_does_not_tell_them(watched, host):
    said = host.check_output("systemctl show payment.service; systemctl cat payment.service; journalctl --no-pager")
    assert canaries_in(said) == []


def test_the_controller_keeps_none(watched):
    """Where Ansible puts what it is about to copy."""
    kept = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--text", "canary-", Path.home() / ".ansible"],
        capture_output=True,
        text=True,
    ).stdout
    assert kept == ""
