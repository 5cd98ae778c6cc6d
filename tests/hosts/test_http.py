"""What the service answers, on its host and to another one."""

import json

import pytest


@pytest.fixture(scope="module", params=["itself", "the frontend"])
def get(request, host, settings, in_group):
    """Return a function: path -> decoded JSON, asked from each of two hosts."""
    asked_by_itself = request.param == "itself"
    client = host if asked_by_itself else in_group("frontend")
    bound = settings["payment_bind_address"]
    address = settings["ansible_host"] if not asked_by_itself else "127.0.0.1" if bound == "0.0.0.0" else bound
    url = f"http://{address}:{settings['payment_port']}"
    return lambda path: json.loads(client.check_output(f"curl --silent --show-error --fail --max-time 5 {url}{path}"))


def test_health_is_healthy(get):
    health = get("/health")
    assert health.pop("timestamp").endswith("Z")
    neighbours = dict.fromkeys(["cart", "user", "rabbitmq"], "connected")
    assert health == {"status": "healthy", "service": "payment"} | neighbours


def test_the_release_that_is_linked_is_the_one_that_answers(host, settings, get):
    assert get("/live")["release"] == host.file(f"{settings['payment_link']}/REVISION").content_string.strip()


def test_metrics_have_the_guides_fields(get):
    fields = {"total_payments", "successful_payments", "failed_payments", "success_rate", "uptime"}
    assert set(get("/metrics")) == fields
