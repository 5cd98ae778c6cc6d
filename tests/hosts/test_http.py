"""What the service answers, on its host and to another one."""

import json

import pytest


@pytest.fixture(scope="module", params=["itself", "the frontend"])
def get(request, host, settings, in_group):
    """Return a function: path -> decoded JSON, asked from each of two hosts."""
    address, client = ("127.0.0.1", host) if request.param == "itself" else (settings["ansible_host"], in_group("frontend"))
    return lambda path: json.loads(client.check_output(f"curl --silent --show-error --fail --max-time 5 http://{address}:{settings['payment_port']}{path}"))


def test_health_is_healthy(get):
    health = get("/health")
    timestamp = health.pop("timestamp")
    assert health == {"status": "healthy", "service": "payment", "cart": "connected", "user": "connected", "rabbitmq": "connected"}
    assert timestamp.endswith("Z")


def test_the_release_that_is_linked_is_the_one_that_answers(host, settings, get):
    assert get("/live")["release"] == host.file(f"{settings['payment_link']}/REVISION").content_string.strip()


def test_metrics_have_the_guides_fields(get):
    assert set(get("/metrics")) == {"total_payments", "successful_payments", "failed_payments", "success_rate", "uptime"}
