"""A run of a part of the playbook or of the fleet does no harm: it is refused, or it does that part whole."""

import pytest

# What would be changed if the part ran.
CHANGE = {"payment_processes": 3}
LEFT_OUT = "nothing was done, because the checks at the beginning were left out. Run the whole playbook"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("playbook", "arguments", "said"),
    [
        ("site.yml", ["--start-at-task=Install Python 3.11"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Refuse settings that cannot work"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Look at the host"], LEFT_OUT),
        (
            "site.yml",
            ["--start-at-task=Refuse a host that cannot be served"],
            "nobody has looked at it yet. Begin with",
        ),
        ("site.yml", ["--start-at-task=Build the artifact from the bundled app"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Write the configuration"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Switch the application path to the release"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Start the service, anew when anything is newer than it"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Remember what serves"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Leave out the host, if it is settled"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Let the sources in at the ports, and nobody else"], LEFT_OUT),
        ("site.yml", ["--start-at-task=Lay the route"], LEFT_OUT),
        ("site.yml", ["--tags=deploy"], LEFT_OUT),
        ("site.yml", ["--limit=payment-9"], "Specified inventory, host pattern and/or --limit leaves us with no hosts"),
        ("rollback.yml", ["--start-at-task=List the releases that have served"], LEFT_OUT),
        ("rollback.yml", ["--start-at-task=Start the service anew"], LEFT_OUT),
        ("rollback.yml", ["--tags=deploy"], LEFT_OUT),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_part_that_is_refused(play, playbook, arguments, said):
    played = play(playbook, *arguments, **CHANGE)
    assert played.code != 0, played.output
    assert said in played.output
    assert played.changed() == []


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "arguments", [["--limit=cart"], ["--limit=frontend"], ["--start-at-task=No such task"]], ids=str
)
def test_a_part_that_is_none_of_the_payment_hosts(play, arguments):
    played = play("site.yml", *arguments, **CHANGE)
    assert played.changed() == []
    assert "payment-1 " not in played.output


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--skip-tags=deploy"],
        ["--skip-tags=always"],
        ["--limit=payment-1"],
        ["--start-at-task=Refuse an inventory that cannot work"],
    ],
    ids=str,
)
def test_a_part_that_is_all_of_the_payment_hosts(play, arguments):
    played = play("site.yml", *arguments)
    assert played.code == 0, played.output
    assert played.recap("payment-1")["changed"] == 0
    assert played.recap("payment-1")["ok"] > 10
