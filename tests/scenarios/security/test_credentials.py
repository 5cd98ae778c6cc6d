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


def test_a_password_is_changed_without_a_failed_request(host, play, rabbitmq, settings, url, under_load, tmp_path):
    """First in RabbitMQ, then in the inventory: payments go on, and their orders follow."""
    old, new = settings["payment_amqp_password"], f"new-{secrets.token_hex(12)}"
    file = tmp_path / "vault.json"
    file.write_text(json.dumps({"payment_amqp_password": new}))
    change = (
        "rabbitmqctl change_password {payment_amqp_user} '{password}' && rabbitmqctl close_all_user_connections"
        " {payment_amqp_user} rotated"
    )
    unlimited = {"payment_rate_client": "unlimited"}  # the load comes from one address
    assert play("site.yml", **unlimited).code == 0
    try:
        rabbitmq.check_output(change.format(password=new, **settings))
        with under_load("changed password"):
            assert play("site.yml", f"--extra-vars=@{file}", **unlimited).code == 0
        assert ask(f"{url}/health")["rabbitmq"] == "connected"
        played = play("site.yml", f"--extra-vars=@{file}", **unlimited)
        assert (played.code, played.recap("payment-1")["changed"]) == (0, 0)
    finally:
        rabbitmq.check_output(change.format(password=old, **settings))
        assert play("site.yml").code == 0
    assert ask(f"{url}/health")["rabbitmq"] == "connected"


def test_secrets_encrypted_on_the_disk(host, play, settings, url):
    path = f"{settings['payment_config_dir']}/credentials/amqp_password"
    try:
        assert play("site.yml", payment_credentials_encrypted=True).code == 0
        assert settings["payment_amqp_password"] not in host.file(path).content_string
        assert ask(f"{url}/health")["rabbitmq"] == "connected"
        played = play("site.yml", payment_credentials_encrypted=True)
        assert (played.code, played.recap("payment-1")["changed"]) == (0, 0)
    finally:
        assert play("site.yml").code == 0
    same = host.file(path).content_string == settings["payment_amqp_password"]
    assert same
