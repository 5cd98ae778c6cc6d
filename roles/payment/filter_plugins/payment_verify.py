"""Judge what tasks/verify.yml saw of a payment host: one row per check."""

NEIGHBOURS = ("cart", "user", "rabbitmq")


def row(check: str, ok: bool, seen: str) -> dict:
    """Return one check: its name, whether it holds, and what was seen."""
    return {"check": check, "ok": ok, "seen": seen}


def payment_checks(seen: dict) -> list[dict]:
    """Turn observations into rows.

    `seen`: `unit`, lines of `systemctl show`; `sockets`, lines of `ss -Hltn`; `address`, the `ip:port` that must
    listen; `installed`, the release id below the application path; `answers`, results of the uri module for /live,
    /health and /metrics on the host itself; `reached`, its results for the last two from other hosts.
    """
    unit = dict(line.split("=", 1) for line in seen["unit"])
    listening = [line.split()[3] for line in seen["sockets"]]
    live, health, metrics = (answer.get("json", {}) for answer in seen["answers"])
    running, installed = live.get("release", "no answer"), seen["installed"].strip() or "nothing"
    checks = [
        row("service is enabled", unit["UnitFileState"] == "enabled", unit["UnitFileState"] or "no unit"),
        row("service is active", unit["ActiveState"] == "active", unit["ActiveState"]),
        row("port listens", seen["address"] in listening, " ".join(listening) or "nothing listens"),
        row("release runs", running == installed, f"{running} runs, {installed} is installed"),
        row("metrics", "total_payments" in metrics, f"{metrics.get('total_payments', 'no answer, so no')} payments"),
    ]
    for name in NEIGHBOURS:
        checks.append(row(f"health of {name}", health.get(name) == "connected", health.get(name, "no answer")))
    for answer in seen["reached"]:
        host, path = answer["item"]
        checks.append(row(f"{path} from {host}", answer.get("status") == 200, answer.get("msg", "unreachable")))
    return checks


def payment_table(checks: list[dict]) -> list[str]:
    """Return the rows as lines of a table."""
    return [f"{'ok' if check['ok'] else 'FAIL':<5} {check['check']:<24} {check['seen']}" for check in checks]


class FilterModule:
    """Filters for the payment role's verification."""

    def filters(self) -> dict:
        return {"payment_checks": payment_checks, "payment_table": payment_table}
