"""`--check --diff` tells what a run would change, no more and no less, and no secret."""

import re

import pytest
import testinfra

RESTART = "Start the service, anew when anything is newer than it"
# What a run does beside what check mode tells: it tries the release first, and remembers it when it has answered.
BESIDE = {
    "Write the unit of the trial, which the next boot does not know",
    "Start the trial, anew where a killed run left one",
    "End the trial",
    "Remove its unit",
    "Remember what serves",
}


@pytest.mark.usefixtures("unchanged")
def test_nothing_to_change(play):
    played = play("site.yml", "--check", "--diff")
    assert played.code == 0, played.output
    assert played.changed() == []


@pytest.mark.usefixtures("unchanged")
def test_a_setting(play):
    played = play("site.yml", "--check", "--diff", payment_queue="other-orders")
    assert played.code == 0, played.output
    assert played.changed() == ["Write the configuration", RESTART]
    diff = re.findall(r"^[+-](?![+-]{2}).+", played.output, re.MULTILINE)
    assert diff == ["-Environment=PAYMENT_QUEUE=order-processing", "+Environment=PAYMENT_QUEUE=other-orders"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("verbosity", ["--diff", "-vvv"])
def test_a_password(play, settings, verbosity):
    played = play("site.yml", "--check", "--diff", verbosity, payment_amqp_password="staple-battery")
    assert played.code == 0, played.output
    assert played.changed() == ["Keep the secrets, for systemd to hand to the service alone", RESTART]
    assert "staple-battery" not in played.output
    assert settings["payment_amqp_password"] not in played.output


@pytest.fixture
def bare(request):
    """A host that has nothing of the kind, and has nothing of it afterwards."""
    inventory = request.config.getoption("ansible_inventory")
    host = testinfra.get_host("ansible://frontend-1?sudo=true", ansible_inventory=inventory)
    # Folders without their times: Python keeps what it has compiled in some.
    shown = r"-type d -printf '%p %m %U\n' -o -printf '%p %i %C@ %m %U %l\n'"
    look = (
        rf"find /etc /opt /srv /usr ! -path '*/__pycache__*' \( {shown} \); rpm --query --all;"
        " getent passwd; systemctl list-unit-files; firewall-cmd --list-all-zones"
    )
    before = set(host.check_output(look).splitlines())
    assert len(before) > 1000
    yield host
    assert set(host.check_output(look).splitlines()) ^ before == set()


@pytest.mark.usefixtures("unchanged", "bare")
def test_a_bare_host(play, settings, tmp_path):
    """Another host as a payment host: all is told, and nothing of it done."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("payment: {hosts: {frontend-1: {}}}\n")
    played = play("site.yml", "--check", "--diff", f"--inventory={inventory}", "--limit=frontend-1")
    assert played.code == 0, played.output
    told = played.changed()
    for task in (
        "Install Python 3.11",
        "Create the user",
        "Create the log directory",
        "Install what the release needs",
        "Create the release directory",
        "Keep the secrets, for systemd to hand to the service alone",
        "Write the configuration",
        "Switch the application path to the release",
    ):
        assert task in told
    assert settings["payment_amqp_password"] not in played.output


def test_a_run_does_what_it_told(play):
    change = {"payment_processes": 3}
    told = play("site.yml", "--check", **change).changed()
    done = play("site.yml", **change)
    assert done.code == 0, done.output
    assert "Write the configuration" in told
    assert [task for task in done.changed() if task not in BESIDE] == told
    assert play("site.yml").code == 0
