"""Passwords change, and the way they are kept, while the service goes on."""

import json
import secrets

import pytest
import testinfra

from conftest import ask


@pytest.fixture(scope="module")
def rabbitmq(request):
    return testinfra.get_host(
        "ansible://rabbitmq-1?sudo=true", ansible_inventory=request.config.getoption("ansible_inventory")
    )


@pytest.fixture(scope="module")
def changed(host, play, rabbitmq, settings, url, tmp_path_factory):
    """Change the password in RabbitMQ, and return the argument by which the inventory has the new one."""
    old, new = settings["payment_amqp_password"], f"new-{secrets.token_hex(12)}"
    file = tmp_path_factory.mktemp("vault") / "vault.json"
    file.write_text(json.dumps({"payment_amqp_password": new}))
    change = (
        "rabbitmqctl change_password {payment_amqp_user} '{password}' && rabbitmqctl close_all_user_connections"
        " {payment_amqp_user} rotated"
    )
    assert play("site.yml", payment_rate_client="unlimited").code == 0  # the load comes from one address
    rabbitmq.check_output(change.format(password=new, **settings))
    yield f"--extra-vars=@{file}"
    rabbitmq.check_output(change.format(password=old, **settings))
    assert play("site.yml").code == 0
    assert host.file(kept(settings)).content_string == settings["payment_amqp_password"]
    assert ask(f"{url}/health")["rabbitmq"] == "connected"


def kept(settings):
    """Where a host has the password."""
    return f"{settings['payment_config_dir']}/credentials/amqp_password"


def test_a_password_is_changed_without_a_failed_request(host, play, changed, settings, url, under_load):
    """First in RabbitMQ, then in the inventory: payments go on, and their orders follow."""
    with under_load("changed password"):
        assert play("site.yml", changed, payment_rate_client="unlimited").code == 0
    assert ask(f"{url}/health")["rabbitmq"] == "connected"
    assert host.file(kept(settings)).content_string.startswith("new-")


def test_secrets_encrypted_on_the_disk(host, play, changed, settings, url):
    encrypted = {"payment_credentials_encrypted": True, "payment_rate_client": "unlimited"}
    assert play("site.yml", changed, **encrypted).code == 0
    assert "new-" not in host.file(kept(settings)).content_string
    assert ask(f"{url}/health")["rabbitmq"] == "connected"
    played = play("site.yml", changed, **encrypted)
    assert (played.code, played.recap("payment-1")["changed"]) == (0, 0)
