"""The time as it is written in answers, events and logs."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime, *, timespec: str = "seconds") -> str:
    """Such as 2026-01-31T10:00:00Z; `timespec` as for `datetime.isoformat`."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
