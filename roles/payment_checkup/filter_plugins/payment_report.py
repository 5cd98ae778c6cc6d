"""Bring the checks of a fleet into documents: for programs, for CI, and for the page that people look at."""

from datetime import UTC, datetime
from xml.etree import ElementTree


def payment_report(rows_of_hosts: dict, fleet: dict, began: float, ended: float) -> dict:
    """Return what results/verify.json holds.

    Times are in seconds since 1970. The document has `time` (RFC 3339), `seconds` that it took, `ok`, and `hosts`: for
    each by its name `kind` (payment or frontend), `ok`, `checks` as payment_checks makes them, and for a payment host
    what it runs and has waiting: `release`, `uptime`, `payments`, `outbox_orders`, `outbox_oldest_seconds`, None where
    it did not answer.
    """
    hosts = {
        host: {
            "kind": fleet[host]["kind"],
            "ok": all(row["state"] != "failed" for row in rows),
            **(figures(fleet[host]) if fleet[host]["kind"] == "payment" else {}),
            "checks": rows,
        }
        for host, rows in rows_of_hosts.items()
    }
    ok = all(host["ok"] for host in hosts.values())
    time = datetime.fromtimestamp(float(began), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"time": time, "seconds": round(float(ended) - float(began), 1), "ok": ok, "hosts": hosts}


def figures(evidence: dict) -> dict:
    """What a payment host runs and has waiting."""
    answers = evidence.get("answers", {})
    live, metrics = (((answers.get(name) or {}).get("json")) or {} for name in ("live", "metrics"))
    gauges = answers.get("gauges", {})
    return {
        "release": live.get("release"),
        "uptime": metrics.get("uptime"),
        "payments": metrics.get("total_payments"),
        "outbox_orders": gauges.get("payment_outbox_orders"),
        "outbox_oldest_seconds": gauges.get("payment_outbox_oldest_seconds"),
    }


def payment_failures(report: dict) -> list[tuple[tuple[str, str], list[str]]]:
    """What failed, as (check, seen), each with its hosts: one that takes a fleet down is one line."""
    failures: dict[tuple[str, str], list[str]] = {}
    for host, about in report["hosts"].items():
        for row in about["checks"]:
            if row["state"] == "failed":
                failures.setdefault((row["check"], row["seen"]), []).append(host)
    return list(failures.items())


def payment_junit(report: dict) -> str:
    """The report as JUnit XML: a suite for each host, a test case for each check."""
    suites = ElementTree.Element("testsuites", name="verify", time=str(report["seconds"]))
    for host, about in report["hosts"].items():
        count = {state: sum(row["state"] == state for row in about["checks"]) for state in ("failed", "skipped")}
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=host,
            tests=str(len(about["checks"])),
            failures=str(count["failed"]),
            skipped=str(count["skipped"]),
            errors="0",
            timestamp=report["time"],
        )
        for row in about["checks"]:
            case = ElementTree.SubElement(suite, "testcase", classname=host, name=row["check"])
            if row["state"] == "failed":
                ElementTree.SubElement(case, "failure", message=printable(row["seen"]))
            elif row["state"] == "skipped":
                ElementTree.SubElement(case, "skipped", message=printable(row["seen"]))
            else:
                ElementTree.SubElement(case, "system-out").text = printable(row["seen"])
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """Without what XML cannot hold, such as the escapes of a coloured log line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class FilterModule:
    """Filters for the documents."""

    def filters(self) -> dict:
        return {
            "payment_failures": payment_failures,
            "payment_junit": payment_junit,
            "payment_report": payment_report,
        }
