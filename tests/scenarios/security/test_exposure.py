"""How little of the system the service could reach, by systemd's own reckoning."""

import results


def test_the_exposure_is_low(host):
    """From 0 (safe) to 10; a service that no setting protects has 9.6."""
    verdict = host.check_output("systemd-analyze security --no-pager payment.service | tail -n 1")
    exposure = float(verdict.split("payment.service:")[1].split()[0])
    with results.document("security", {}) as document:
        document["exposure"] = exposure
    assert exposure <= 1.5
