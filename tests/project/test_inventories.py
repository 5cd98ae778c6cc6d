"""A wrong inventory is refused before any host is touched, in words that say where, what and what instead."""

import itertools
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import results
import yaml
from resolved_inventory import resolve

from conftest import ROOT, run_site_in
from wrong_inventories import WRONG

ADDRESSES = {
    "<PAYMENT-SERVER-IP>": "192.0.2.11",
    "<CART-SERVER-IP>": "192.0.2.12",
    "<USER-SERVER-IP>": "192.0.2.13",
    "<RABBITMQ-SERVER-IP>": "192.0.2.14",
    "<FRONTEND-SERVER-IP>": "192.0.2.15",
}
RELEASE = {"<BUCKET>": "releases", "<SHA-256>": "5d" * 32}


def fill_in(folder, shipped="staging"):
    """Make `folder` a shipped inventory as an operator fills it in: addresses, the release and a password."""
    shutil.copytree(ROOT / "inventories" / shipped, folder)
    for file, values in {"hosts.yml": ADDRESSES, "group_vars/all/main.yml": RELEASE}.items():
        for placeholder, value in values.items():
            edit(folder / file, placeholder, value)
    (folder / "group_vars/all/vault.yml").write_text("payment_amqp_password: correct-horse\n")
    return folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def inventory(tmp_path):
    return fill_in(tmp_path / "fleet")


def test_filling_in_the_addresses_is_enough(inventory, run_site):
    """The counterpart of all refusals below: this inventory is let through to the hosts."""
    assert run_site(inventory).touched_a_host


def test_all_neighbours_on_localhost(inventory, run_site, tmp_path):
    """As in the guide: the service is told `localhost`, whatever host it runs on."""
    for address in list(ADDRESSES.values())[1:]:
        edit(inventory / "hosts.yml", address, "localhost")
    assert run_site(inventory).touched_a_host
    resolve(inventory, tmp_path, "--skip-tags=measure")
    settings = json.loads((tmp_path / "hosts.json").read_text())["all"]["hosts"]["payment-1"]
    assert {settings[f"payment_{name}_host"] for name in ("cart", "user", "amqp")} == {"localhost"}


@pytest.fixture(scope="session")
def refusal(request, tmp_path_factory):
    """Return a function: Wrong -> (its inventory's folder, Run). They begin at once, some at a time.

    All that is wrong is told at once, so inventories that differ in other settings share a run. What its run does not
    tell of has one of its own: other checks ended that one before.
    """
    wanted = [item.callspec.params["wrong"] for item in request.session.items if "refusal" in item.fixturenames]

    base, numbers = tmp_path_factory.mktemp("wrong"), itertools.count()  # pytest's factory is not for threads

    def run(wrongs):
        folder = base / str(next(numbers))
        folder.mkdir()
        inventory = fill_in(folder / "fleet")
        hosts = inventory / "hosts.yml"
        edit(hosts, *wrongs[0].hosts)
        hosts.write_text(re.sub(r"^    :\n.*\n", "", hosts.read_text(), flags=re.MULTILINE))  # a host without a name
        settings = {name: value for wrong in wrongs for name, value in wrong.settings().items()}
        (inventory / "group_vars/all/wrong.yml").write_text(yaml.safe_dump(settings))
        return inventory, run_site_in(folder, inventory, *wrongs[0].arguments)

    def run_of(wrong, shared):
        inventory, seen = shared.result()
        told = wrong.said.replace("{inventory}", str(inventory)) in seen.output
        return (inventory, seen) if told else run([wrong])

    with ThreadPoolExecutor(max_workers=3) as executor:
        shared = [(batch, executor.submit(run, batch)) for batch in batches(wanted)]
        runs = {wrong: executor.submit(run_of, wrong, future) for batch, future in shared for wrong in batch}
        yield lambda wrong: runs[wrong].result()


def batches(wrongs):
    """Put those together that differ in settings alone, each in other ones, and are found by the same check."""
    found = []
    for wrong in wrongs:
        fits = (each for each in found if wrong.setting and each[0].setting and each[0].early == wrong.early)
        free = (each for each in fits if not any(wrong.settings().keys() & other.settings() for other in each))
        batch = next(free, None)
        batch.append(wrong) if batch else found.append([wrong])
    return found


@pytest.fixture(scope="session")
def refused():
    """How many were tried, and how many were refused as they must be: for the figures of the run."""
    count = {"tried": 0, "refused": 0}
    yield count
    with results.document("security", {}) as document:
        document["wrong_inventories"] = count


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_inventory_is_refused(wrong, refusal, refused):
    refused["tried"] += 1
    inventory, run = refusal(wrong)
    assert run.code != 0
    assert not run.touched_a_host
    assert wrong.said.replace("{inventory}", str(inventory)) in run.output
    assert "s3cr3t" not in run.output
    if wrong.setting:
        assert re.search(rf"{inventory}/(hosts|group_vars/all/\w+)\.yml: \w+", run.output)
    refused["refused"] += 1


def test_the_wrong_inventories_differ():
    assert len(set(WRONG)) == len(WRONG) >= 30


def test_no_hosts_at_all(inventory, run_site):
    (inventory / "hosts.yml").write_text("---\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host


FRONTEND = "    frontend-1:\n      ansible_host: 192.0.2.15\n"


@pytest.mark.parametrize(
    ("frontend", "addresses", "rate"),
    [
        ("", [], "unlimited"),
        (FRONTEND, ["192.0.2.15"], "600/60s"),
        ("    frontend-1:\n      ansible_host: localhost\n", ["127.0.0.1"], "600/60s"),
        ("    192.0.2.15:\n    192.0.2.16:\n", ["192.0.2.15", "192.0.2.16"], "600/60s"),
    ],
)
def test_proxies_and_sources_are_the_frontend_hosts(inventory, tmp_path, frontend, addresses, rate):
    edit(inventory / "hosts.yml", FRONTEND, frontend)
    resolve(inventory, tmp_path, "--skip-tags=measure")
    settings = json.loads((tmp_path / "hosts.json").read_text())["all"]["hosts"]["payment-1"]
    assert (settings["payment_trusted_proxies"], settings["payment_rate_client"]) == (addresses, rate)
    assert settings["app_firewall_sources"] == addresses


def test_a_frontend_that_is_only_known_by_name(inventory, run_site):
    edit(inventory / "hosts.yml", FRONTEND, "    web.example.com:\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert "payment_trusted_proxies: 'web.example.com' does not appear to be" in run.output

    (inventory / "group_vars/all/proxies.yml").write_text("payment_trusted_proxies: [192.0.2.15]\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert "app_firewall_sources: 'web.example.com' does not appear to be" in run.output
    assert "firewalld knows no names. Write the addresses and networks that are let in" in run.output


def test_nobody_who_may_reach_the_service(inventory, run_site):
    edit(inventory / "hosts.yml", FRONTEND, "")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert f"{inventory}/hosts.yml: the group 'frontend' has no host and app_firewall_sources is not set" in run.output
    assert "Write the frontend's address into that group. Or set app_firewall_sources" in run.output
    (inventory / "group_vars/all/sources.yml").write_text("app_firewall_sources: [any]\n")
    assert run_site(inventory).touched_a_host


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("10.0.0.1", ["is '10.0.0.1', which is no list"]),
        (
            "[10.0.0.300, 10.0.0.1/8, 0.0.0.0, everyone]",
            [
                "'10.0.0.300' does not appear to be an IPv4 or IPv6 network",
                "10.0.0.1/8 has host bits set",
                "0.0.0.0 is nobody's address",
                "'everyone' does not appear to be",
            ],
        ),
    ],
)
def test_wrong_sources(inventory, run_site, sources, said):
    (inventory / "group_vars/all/sources.yml").write_text(f"app_firewall_sources: {sources}\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    found = re.findall(
        rf"{inventory}/hosts.yml: app_firewall_sources:? (.*?)Write the addresses and networks", run.output
    )
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True)), found


def test_right_sources(inventory, run_site):
    sources = "[0.0.0.0/0, 'fd00::15', '2001:db8::/32', 192.0.2.15, 192.0.2.0/24]"
    (inventory / "group_vars/all/sources.yml").write_text(f"app_firewall_sources: {sources}\n")
    assert run_site(inventory).touched_a_host


def test_a_wrong_setting_is_found_in_its_file(inventory, run_site):
    """Where several files set it, the one that counts."""
    wrong = inventory / "group_vars/payment/main.yml"
    wrong.parent.mkdir()
    wrong.write_text("payment_gateway: ftp://pay\n")
    assert f"{wrong}: payment_gateway is 'ftp://pay'" in run_site(inventory).output


def test_a_shared_ledger(inventory, run_site):
    settings = [
        "payment_ledger_url: postgresql://payment@192.0.2.15:5432/payment?sslmode=verify-full",
        "payment_ledger_password: staple-battery",
    ]
    (inventory / "group_vars/all/ledger.yml").write_text("\n".join(settings) + "\n")
    run = run_site(inventory)
    assert run.touched_a_host
    assert "staple-battery" not in run.output


def test_production_with_the_keys_of_razorpay(tmp_path, run_site):
    """The shipped inventory, filled in, as the vault's example says."""
    folder = fill_in(tmp_path / "production", "production")
    vault = folder / "group_vars/all/vault.yml"
    shutil.copy(ROOT / "inventories/vault.example.yml", vault)
    edit(vault, "<PASSWORD-OF-RABBITMQ-USER-skillupworks>", "correct-horse")
    assert "payment_razorpay_key_id, the id of the API key" in run_site(folder).output
    edit(vault, "<RAZORPAY-KEY-ID>", "rzp_live_1DP5mmOlF5G5ag")
    edit(vault, "<RAZORPAY-KEY-SECRET>", "staple-battery")
    edit(vault, "<RAZORPAY-WEBHOOK-SECRET>", "staple-horse")
    run = run_site(folder)
    assert run.touched_a_host
    assert "staple" not in run.output


@pytest.mark.parametrize("name", ["production", "staging"])
def test_a_shipped_inventory_is_refused_until_it_is_filled_in(run_site, name):
    run = run_site(ROOT / "inventories" / name)
    assert run.code != 0
    assert not run.touched_a_host
    assert "payment-1: ansible_host is still the placeholder <PAYMENT-SERVER-IP>" in run.output


@pytest.mark.parametrize("name", ["production", "staging"])
def test_a_shipped_inventory_names_s3_as_where_releases_come_from(tmp_path, run_site, name):
    """Until the bucket is filled in it is refused by name; the app of the checkout is one line."""
    folder = fill_in(tmp_path / name, name)
    settings = folder / "group_vars/all/main.yml"
    vault = {"payment_amqp_password": "correct-horse", "payment_razorpay_key_id": "rzp_live_1DP5mmOlF5G5ag"}
    vault |= {"payment_razorpay_key_secret": "staple-battery", "payment_razorpay_webhook_secret": "staple-horse"}
    (folder / "group_vars/all/vault.yml").write_text(json.dumps(vault))
    edit(settings, "s3://releases/", "s3://<BUCKET>/")
    run = run_site(folder)
    assert run.code != 0
    assert not run.touched_a_host
    assert f"{settings}: payment_artifact_url still has the placeholder <BUCKET>" in run.output

    lines = settings.read_text().splitlines()
    release = lines.index('payment_version: "1.0.0"')
    assert lines[release - 1].startswith("payment_artifact_url: ")
    settings.write_text("\n".join([*lines[: release - 1], "payment_artifact_url: bundled"]))
    assert run_site(folder).touched_a_host


def test_the_vaults_example_cannot_be_used_by_mistake(inventory, run_site):
    shutil.copy(ROOT / "inventories/vault.example.yml", inventory / "group_vars/all/vault.yml")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert "payment_amqp_password, the password of RabbitMQ's user, is not set" in run.output
