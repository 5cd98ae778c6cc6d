"""What is counted, and how it is told: JSON for people, Prometheus text for a scraper.

With PROMETHEUS_MULTIPROC_DIR set, prometheus_client keeps the numbers of every worker process in files of that
directory and a scrape adds them up, so that any worker answers for all. The directory has to be empty at start.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from .contract import Summary

SUCCESS = "success"
REPEATED = "repeated"  # answered with what an earlier attempt came to
OPENED = "opened"  # answered with an order that the customer is to pay for: a payment yet to come

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# This module is imported by the uWSGI master, so that workers inherit it and a respawned one does not start anew.
_started = time.time()

attempts = Counter("payment_attempts", "Payment attempts by how they ended.", ["outcome", "reason"])
_durations = Histogram("payment_duration_seconds", "Time to answer a payment attempt.", ["outcome"], buckets=_BUCKETS)
reconciled = Counter("payment_reconciled", "Payments whose outcome was found out afterwards.", ["outcome"])
relay_elected = Gauge(
    "payment_relay_elected", "Whether a process of this host publishes the orders.", multiprocess_mode="livemax"
)
relay_connected = Gauge(
    "payment_relay_connected", "Whether it is ready to publish to RabbitMQ.", multiprocess_mode="livemax"
)
_call_durations = Histogram(
    "payment_upstream_duration_seconds", "Time that a call to a service behind took.", ["upstream"], buckets=_BUCKETS
)
_call_errors = Counter("payment_upstream_errors", "Calls to a service behind that failed.", ["upstream", "error"])

# What can be expected is told from the start, as 0: a rate cannot be taken of what appears with its first value.
durations = {outcome: _durations.labels(outcome) for outcome in (SUCCESS, REPEATED, OPENED, "refused", "failed")}
_calls = {upstream: _call_durations.labels(upstream) for upstream in ("cart", "user", "gateway")}
for _outcome in ("paid", "closed", "given_back"):
    reconciled.labels(_outcome)
attempts.labels(SUCCESS, "paid")


@contextmanager
def upstream_call(upstream: str, began: float | None = None) -> Iterator[None]:
    """Times a call, which `began` before or begins now, and counts it by the exception's class name when it raises."""
    began = began or time.perf_counter()
    try:
        yield
    except Exception as error:
        _call_errors.labels(upstream, type(error).__name__).inc()
        raise
    finally:
        _calls[upstream].observe(time.perf_counter() - began)


def summary() -> Summary:
    """The guide's figures since the service started. Every attempt counts but a repeated one and one that has yet to
    be paid for; one that made no order has failed.

    `success_rate` is rounded down, so that 100% means that none failed; it is 100% before the first attempt.
    """
    total = successful = 0
    for family in _registry().collect():
        for sample in family.samples:
            if sample.name == "payment_attempts_total" and sample.labels["outcome"] not in (REPEATED, OPENED):
                total += int(sample.value)
                successful += int(sample.value) if sample.labels["outcome"] == SUCCESS else 0
    return Summary(
        total_payments=total,
        successful_payments=successful,
        failed_payments=total - successful,
        success_rate=f"{100 * successful // total if total else 100}%",
        uptime=uptime(time.time() - _started),
    )


def exposition(accept: str, release: str, gauges: dict[str, tuple[str, float]]) -> tuple[bytes, str]:
    """Prometheus or OpenMetrics text, as the Accept header wants it, and its content type.

    The release's id and `gauges` are added to what is counted here: name, and help text and value.
    """
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Known(release, gauges))
    counted, own = encode(_registry()), encode(registry)
    return counted.removesuffix(b"# EOF\n") + own, content_type


def uptime(seconds: float) -> str:
    """The two largest units: "5m 30s", "2h 30m", "3d 4h"."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}h"
    return f"{hour}h {minute}m" if hours else f"{minute}m {second}s"


class _Known(Collector):
    """Figures that are known for the whole service, and need no adding up."""

    def __init__(self, release: str, gauges: dict[str, tuple[str, float]]) -> None:
        self._release = release
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("payment_release", "The release that runs.", {"release": self._release})
        for name, (text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value)


class _Counted(Collector):
    """What all worker processes have counted, from the files of a directory."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def collect(self) -> Iterable[Metric]:
        files = list(self._directory.glob("*.db"))
        for file in filter(_is_state_of_the_dead, files):  # what they have counted stays
            file.unlink(missing_ok=True)
        return MultiProcessCollector.merge([str(file) for file in files if _has_values(file)])


def _is_state_of_the_dead(file: Path) -> bool:
    """Whether it says what a worker was doing that was killed."""
    return file.name.startswith("gauge_live") and not Path(f"/proc/{file.stem.rpartition('_')[2]}").exists()


def _has_values(file: Path) -> bool:
    """Whether the library can read it: a starting worker has made it and it is still empty, or it is removed by now."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _registry() -> CollectorRegistry:
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(_Counted(directory))
    return registry
