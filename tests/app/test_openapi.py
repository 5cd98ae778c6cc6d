"""The description of the interface is served, and what is served is as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from razorpay_simulator import Razorpay
from service import PATIENCE

SEED = 20260131
OURS = Path(__file__).parent
PATHS = {"/live", "/health", "/metrics", "/pay/{sessionId}"}


@pytest.fixture(scope="module")
def razorpays(launch, tmp_path_factory):
    """A service that takes money through Razorpay."""
    razorpay = Razorpay(tmp_path_factory.mktemp("razorpay"))
    service = launch("uwsgi", **razorpay.settings())
    yield service
    service.terminate()
    razorpay.close()


def test_description(service):
    document = service.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == service.get("/live").json()["release"]
    assert document["paths"].keys() == PATHS
    fields = document["components"]["schemas"]["PaymentRequest"]["properties"]
    assert fields.keys() >= {"total", "items", "paymentMethod", "razorpaySignature"}


def test_webhooks_are_described_where_they_are(razorpays):
    document = razorpays.get("/openapi.json").json()
    assert document["paths"].keys() == PATHS | {"/webhooks/razorpay"}


@pytest.mark.parametrize(("kind", "examples"), [("uwsgi", 300), ("razorpays", 100)])
def test_the_running_service_is_as_described(kind, examples, request, tmp_path, processes):
    """Generated requests, valid and not, by all checks of schemathesis; run again with the seed that it prints."""
    service = request.getfixturevalue(kind)
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", OURS / "schemathesis.toml", "run"),
        *("--checks", "all", "--seed", str(SEED), "--generation-database", "none", "--max-examples", str(examples)),
        *("--phases", "examples,coverage,fuzzing", "--request-timeout", "20", "--no-color"),
        f"{service.url}/openapi.json",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * PATIENCE)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    generated, passed = map(int, re.search(r"(\d+) generated, (\d+) passed", ended.stdout).groups())
    assert passed == generated >= examples
