"""The description of the interface is served, and what is served is as it says."""

import re
import subprocess
import sys
from pathlib import Path

SEED = 20260131
OURS = Path(__file__).parent


def test_description(service):
    document = service.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == service.get("/live").json()["release"]
    assert document["paths"].keys() == {"/live", "/health", "/metrics", "/pay/{sessionId}"}
    fields = document["components"]["schemas"]["PaymentRequest"]["properties"]
    assert fields.keys() >= {"total", "items", "paymentMethod"}


def test_the_running_service_is_as_described(uwsgi, tmp_path):
    """Generated requests, valid and not, by all checks of schemathesis; run again with the seed that it prints."""
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", OURS / "schemathesis.toml", "run"),
        *("--checks", "all", "--seed", str(SEED), "--generation-database", "none"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "300", "--request-timeout", "20", "--no-color"),
        f"{uwsgi.url}/openapi.json",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "No issues found" in ended.stdout
    assert int(re.search(r"(\d+) generated", ended.stdout)[1]) >= 300
