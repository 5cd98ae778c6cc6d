"""A wrong inventory is refused before any host is touched, in words that say where, what and what instead."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

ADDRESSES = {
    "<PAYMENT-SERVER-IP>": "192.0.2.11",
    "<CART-SERVER-IP>": "192.0.2.12",
    "<USER-SERVER-IP>": "192.0.2.13",
    "<RABBITMQ-SERVER-IP>": "192.0.2.14",
    "<FRONTEND-SERVER-IP>": "192.0.2.15",
}


@pytest.fixture
def inventory(tmp_path):
    """The shipped staging inventory as an operator fills it in: addresses and a password."""
    folder = tmp_path / "fleet"
    shutil.copytree(ROOT / "inventories/staging", folder)
    hosts = folder / "hosts.yml"
    text = hosts.read_text()
    for placeholder, address in ADDRESSES.items():
        text = text.replace(placeholder, address)
    hosts.write_text(text)
    (folder / "group_vars/all/vault.yml").write_text("payment_amqp_password: correct-horse\n")
    return folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_filling_in_the_addresses_is_enough(inventory, run_site):
    """The counterpart of all refusals below: this inventory is let through to the hosts."""
    assert run_site(inventory).touched_a_host


def test_all_neighbours_on_localhost(inventory, run_site, tmp_path):
    """As in the guide: the service is told `localhost`, whatever host it runs on."""
    for address in list(ADDRESSES.values())[1:]:
        edit(inventory / "hosts.yml", address, "localhost")
    assert run_site(inventory).touched_a_host
    command = ["ansible-playbook", f"--inventory={inventory}", f"--extra-vars=resolved={tmp_path}"]
    subprocess.run([*command, "tests/resolve.yml"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    settings = json.loads((tmp_path / "payment-1.json").read_text())["all"]["hosts"]["payment-1"]
    assert {settings[f"payment_{name}_host"] for name in ("cart", "user", "amqp")} == {"localhost"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("192.0.2.12", "<CART-SERVER-IP>", "cart-1: ansible_host is still the placeholder <CART-SERVER-IP>"),
        ("192.0.2.12", "192.168.1.522", "cart-1: ansible_host is 192.168.1.522, which is no IPv4 address"),
        ("192.0.2.12", "192.168.1", "cart-1: ansible_host is 192.168.1, which is no IPv4 address"),
        ("192.0.2.12", "cart_1 .example", "cart-1: ansible_host is 'cart_1 .example', which is neither"),
        ("192.0.2.12", "http://192.0.2.12", "cart-1: ansible_host is 'http://192.0.2.12', which is neither"),
        (
            "192.0.2.12",
            "fd00::12",
            "cart-1: ansible_host is 'fd00::12', which is neither an IPv4 address nor a DNS name",
        ),
        ("192.0.2.12", "0.0.0.0", "cart-1: ansible_host is 0.0.0.0, which is not the address of one host"),
        ("192.0.2.12", "''", "cart-1: ansible_host is empty"),
        ("192.0.2.13", "192.0.2.12", "user-1: ansible_host is 192.0.2.12, which cart-1 has already"),
    ],
)
def test_a_wrong_address(inventory, run_site, old, new, said):
    hosts = inventory / "hosts.yml"
    edit(hosts, old, new)
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert f"{hosts}: {said}" in run.output
    assert "Write the address of" in run.output


@pytest.mark.parametrize("group", ["payment", "cart", "user", "rabbitmq"])
def test_an_empty_group(inventory, run_site, group):
    hosts = inventory / "hosts.yml"
    hosts.write_text(re.sub(rf"({group}:\n  hosts:\n)    .*\n.*\n", r"\1", hosts.read_text()))
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert f"{hosts}: group '{group}' has no host. Write the address of" in run.output


def test_no_hosts_at_all(inventory, run_site):
    (inventory / "hosts.yml").write_text("---\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("payment_port: 99999", "payment_port is 99999, which is not from 1024 to 65535"),
        ("payment_trial_port: 8084", "payment_trial_port is payment_port. Write another one"),
        ("payment_port: 80", "payment_port is 80, which is not from 1024 to 65535"),
        ("payment_cart_port: http", "payment_cart_port is 'http', which is no port"),
        ("payment_cart_host: 10.0.0.300", "payment_cart_host is 10.0.0.300, which is no IPv4 address"),
        ("payment_bind_address: localhost", "Write an IPv4 address of the host, or 0.0.0.0 for all"),
        ("payment_runtime: gunicorn", "payment_runtime is 'gunicorn'. Write uwsgi or python"),
        ("payment_queue: order processing", "payment_queue is 'order processing'. Write it without spaces"),
        ("payment_processes: 0", "payment_processes is 0. Write a number from 1 to 99"),
        (
            "payment_gateway: sandbox://aprove",
            "payment_gateway is 'sandbox://aprove'. Write https://razorpay.com/, or sandbox",
        ),
        ("payment_gateway: ftp://pay", "payment_gateway is 'ftp://pay'. Write https://razorpay.com/"),
        ("payment_gateway: https://key@razorpay.com/", "payment_gateway has more than a host in it. Write https://"),
        (
            "payment_gateway: https://razorpay.com/",
            "payment_razorpay_key_id, the id of the API key from Razorpay's dashboard, is not set",
        ),
        (
            "{payment_gateway: https://razorpay.com/, payment_razorpay_key_id: rzp_live_1}",
            "payment_razorpay_key_secret, the secret of that key, is not set",
        ),
        (
            "{payment_gateway: https://razorpay.com/, payment_razorpay_webhook_secret: <RAZORPAY-WEBHOOK-SECRET>}",
            "payment_razorpay_webhook_secret, the secret of the webhook in Razorpay's dashboard, is not set",
        ),
        (
            "{payment_gateway: https://razorpay.com/, payment_razorpay_key_id: acc_1, payment_razorpay_key_secret: a,"
            " payment_razorpay_webhook_secret: b}",
            "payment_razorpay_key_id is 'acc_1'. Write the key's id, which begins with rzp_live_",
        ),
        ("payment_sandbox_allowed: 'false'", "Set payment_sandbox_allowed: true, on test hosts only"),
        ("payment_sandbox_allowed: false", "Set payment_sandbox_allowed: true, on test hosts only"),
        ("payment_amqp_password: ''", "payment_amqp_password, the password of RabbitMQ's user, is not set"),
        ("payment_amqp_password: skillupworks@123", "payment_amqp_password is one that the install guide publishes"),
        (
            "payment_ledger_url: postgresql://payment:secret@192.0.2.15/payment",
            "payment_ledger_url has a password in it. Write that as payment_ledger_password",
        ),
        (
            "payment_ledger_url: postgresql://payment@192.0.2.15/payment?password=secret",
            "payment_ledger_url has a password in it",
        ),
        (
            "payment_ledger_url: mysql://payment@192.0.2.15/payment",
            "payment_ledger_url is 'mysql://payment@192.0.2.15/payment'. Write postgresql://",
        ),
        ("payment_ledger_url: postgresql://192.0.2.15", "Write postgresql://payment@172.31.19.150:5432/payment"),
        (
            "payment_ledger_url: postgresql://payment@192.0.2.15/payment",
            "payment_ledger_password, the password of PostgreSQL's user, is not set",
        ),
        (
            "payment_rate_session: 30",
            "payment_rate_session is 30. Write requests and seconds such as 30/60s, or unlimited",
        ),
        ("payment_rate_client: 0/60s", "payment_rate_client is '0/60s'. Write requests and seconds such as 30/60s"),
        ("payment_rate_client: off", "payment_rate_client is False. Write requests and seconds such as 30/60s"),
        ("payment_trusted_proxies: 10.0.0.1", "payment_trusted_proxies is '10.0.0.1'. Write a list"),
        (
            "payment_trusted_proxies: [10.0.0.300]",
            "payment_trusted_proxies: '10.0.0.300' does not appear to be an IPv4 or IPv6 network. Write the addresses",
        ),
        ("payment_trusted_proxies: [10.0.0.1/8]", "payment_trusted_proxies: 10.0.0.1/8 has host bits set. Write the"),
        ("payment_artifact_url: http://192.0.2.1/a.zip", "Write s3://bucket/key, an https:// URL, or bundled"),
        ("payment_artifact_url: s3://<BUCKET>/a.zip", "Write s3://bucket/key, an https:// URL, or bundled"),
        ("payment_artifact_url: s3://releases", "Write s3://bucket/key, an https:// URL, or bundled"),
        ("payment_artifact_url: https://192.0.2.1/a.zip", "payment_version is not set to the artifact's version"),
        (
            "{payment_artifact_url: s3://releases/a.zip, payment_version: 1.2.0}",
            "payment_artifact_sha256s has no SHA-256 for version 1.2.0. Add the line that make publish printed:",
        ),
        (
            "{payment_artifact_url: s3://a-b/a.zip, payment_version: 1.2.0, payment_artifact_sha256s: {1.2.0: abc}}",
            "payment_artifact_sha256 is 'abc', which is no SHA-256",
        ),
        (
            "{payment_artifact_url: s3://releases/a.zip, payment_s3_endpoint: http://192.0.2.1}",
            "payment_s3_endpoint is 'http://192.0.2.1'. Write an https:// URL, or nothing for AWS",
        ),
        (
            "{payment_artifact_url: s3://releases/a.zip, payment_s3_region: US East}",
            "payment_s3_region is 'US East'. Write one like us-east-1",
        ),
    ],
)
def test_a_wrong_setting(inventory, run_site, setting, said):
    (inventory / "group_vars/all/wrong.yml").write_text(setting + "\n")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert said in run.output
    assert re.search(rf"{inventory}/(hosts|group_vars/all/\w+)\.yml: payment_", run.output)


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
    command = ["ansible-playbook", f"--inventory={inventory}", f"--extra-vars=resolved={tmp_path}"]
    subprocess.run([*command, "tests/resolve.yml"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    settings = json.loads((tmp_path / "payment-1.json").read_text())["all"]["hosts"]["payment-1"]
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
    folder = tmp_path / "production"
    shutil.copytree(ROOT / "inventories/production", folder)
    for placeholder, address in ADDRESSES.items():
        edit(folder / "hosts.yml", placeholder, address)
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


def test_the_vaults_example_cannot_be_used_by_mistake(inventory, run_site):
    shutil.copy(ROOT / "inventories/vault.example.yml", inventory / "group_vars/all/vault.yml")
    run = run_site(inventory)
    assert run.code != 0
    assert not run.touched_a_host
    assert "payment_amqp_password, the password of RabbitMQ's user, is not set" in run.output
