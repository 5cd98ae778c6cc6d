"""What holds for every playbook, template and inventory that is shipped."""

import re
import subprocess

import playbooks
import pytest

from conftest import ROOT, load

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
READ_ONLY = {"inspect.yml", "verify.yml", "diagnose.yml"}  # go on to the other hosts, since they are to tell of all
TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")[:-1]


def tasks_of(tasks, role=None):
    """All tasks that these lead to, those of blocks, files and roles that they import or include among them."""
    for task in tasks or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part), role)
        for name, given in task.items():
            verb = name.removeprefix("ansible.builtin.")
            if verb in ("import_role", "include_role"):
                yield from file_of(given["name"], given.get("tasks_from", "main"))
            elif verb in ("import_tasks", "include_tasks") and role:
                yield from file_of(role, given.removesuffix(".yml"))


def file_of(role, name):
    return tasks_of(load(ROOT / "roles" / role / "tasks" / f"{name}.yml"), role)


PLAYS = [
    pytest.param(play, id=f"{path.stem}: {play['name']}")
    for path in PLAYBOOKS
    if path.name not in READ_ONLY
    for play in load(path)
    if "hosts" in play
]


@pytest.mark.parametrize("play", PLAYS)
def test_one_failed_host_stops_the_rest(play):
    """And sends no other one into a rescue, as any_errors_fatal does since ansible-core 2.17."""
    fatal = {"any_errors_fatal", "max_fail_percentage"}
    tasks = list(tasks_of(play["tasks"]))
    if any("rescue" in task for task in tasks):
        assert [each["name"] for each in (play, *tasks) if fatal & each.keys()] == []
    if "serial" in play:
        assert play["tasks"][0]["ansible.builtin.import_tasks"] == "tasks/stop_after_failure.yml"


def test_no_template_holds_a_secret():
    secret = re.compile(r"{{[^}]*(password|secret|token)[^}]*}}", re.IGNORECASE)
    found = [path for path in ROOT.glob("roles/*/templates/*") if secret.search(path.read_text())]
    assert found == []


def test_what_writes_a_secret_logs_nothing():
    for path in ROOT.glob("roles/*/tasks/*.yml"):
        for task in load(path) or []:
            if re.search("(?<!_)payment_(amqp|ledger)_password", str(task)):
                assert task.get("no_log") is True, f"{path}: {task['name']}"


def test_no_vault_is_committed_in_the_clear():
    vaults = [ROOT / name for name in TRACKED if name.endswith("vault.yml")]
    assert [path for path in vaults if not path.read_text().startswith("$ANSIBLE_VAULT;")] == []


def test_the_guides_passwords_are_nowhere_but_on_the_list_of_refused_ones():
    published = re.compile("skillupworks@" + "123|Admin@" + "123")
    allowed = re.compile("roles/payment/filter_plugins/payment_validate.py|tests/.*")
    found = {name for name in TRACKED if (ROOT / name).is_file() and published.search((ROOT / name).read_text())}
    assert [name for name in found if not allowed.fullmatch(name)] == []


def test_addresses_are_in_hosts_files_alone():
    """Test hosts' subnets are named by their scenarios, 0.0.0.0 and loopback are nobody's address."""
    address = re.compile(r"\b(?!127\.|0\.0\.0\.0)\d{1,3}(\.\d{1,3}){3}\b")
    shipped = [
        *ROOT.glob("roles/**/*.yml"),
        *ROOT.glob("roles/**/*.j2"),
        *ROOT.glob("inventories/**/group_vars/**/*.yml"),
    ]
    assert [path for path in [*shipped, *PLAYBOOKS] if address.search(path.read_text())] == []


def test_verifying_an_inventory_without_payment_hosts_is_an_error(tmp_path):
    (tmp_path / "hosts.yml").write_text("cart: {hosts: {cart-1: {ansible_host: 192.0.2.12}}}\n")
    code, said = playbooks.Run("--inventory", tmp_path, "playbooks/verify.yml").wait()
    assert code != 0, said


def test_the_readme_is_finished():
    assert re.findall(r"@[A-Z]+@", (ROOT / "README.md").read_text()) == []
