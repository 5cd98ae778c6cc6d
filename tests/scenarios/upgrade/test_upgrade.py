"""From one release to the next and back, on a host that serves all the time and keeps its ledger."""

import pytest

from conftest import releases

pytestmark = pytest.mark.in_turn


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


@pytest.mark.parametrize(
    "task",
    [
        "Unpack the artifact",
        "Install the locked requirements in the release's own virtual environment",
        "Mark the release as complete",
        "Write the configuration",
        "Wait until the release answers",  # in its trial
        "Switch the application path to the release",
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


def test_the_run_after_a_killed_one_converges(play, source, release):
    assert play("site.yml", **source("1.2.0")).code == 0
    assert release().startswith("1.2.0-")
    served = play("site.yml", **source("1.2.0"))
    assert (served.code, served.recap("payment-1")["changed"]) == (0, 0), served.output


def test_old_releases_are_removed(play, source, host, settings):
    """But for so many, and never the current one and the one before."""
    assert play("site.yml", **source("1.3.0")).code == 0
    assert {name.split("-")[0] for name in releases(host, settings)} == {"1.1.0", "1.2.0", "1.3.0"}
    assert play("site.yml", payment_releases_kept=1, **source("1.4.0")).code == 0
    assert {name.split("-")[0] for name in releases(host, settings)} == {"1.3.0", "1.4.0"}
