"""Time as the service keeps it: FILETIME ticks, 100 ns since 1601-01-01 UTC, the OPC UA DateTime."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

TICKS_PER_SECOND = 10_000_000
UNIX_EPOCH_TICKS = 116_444_736_000_000_000
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def now() -> int:
    """The present, in ticks."""
    return UNIX_EPOCH_TICKS + time.time_ns() // 100


def from_unix(seconds: float) -> int:
    """Ticks of a Unix time in seconds."""
    return UNIX_EPOCH_TICKS + round(seconds * TICKS_PER_SECOND)


def from_unix_ns(nanoseconds: int) -> int:
    """Ticks of a Unix time in nanoseconds."""
    return UNIX_EPOCH_TICKS + nanoseconds // 100


def to_unix(ticks: int) -> float:
    """Unix time in seconds of ticks."""
    return (ticks - UNIX_EPOCH_TICKS) / TICKS_PER_SECOND


def from_datetime(value: datetime) -> int:
    """Ticks of an aware datetime (ValueError when it is naive)."""
    if value.tzinfo is None:
        raise ValueError("a naive datetime has no place in time; give it a time zone")
    delta = value - _EPOCH
    return (delta.days * 86400 + delta.seconds) * TICKS_PER_SECOND + delta.microseconds * 10


def to_datetime(ticks: int) -> datetime:
    """Aware UTC datetime of ticks, truncated to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


def from_iso(text: str) -> int:
    """Ticks of an ISO 8601 text with a time zone (ValueError when it is none)."""
    return from_datetime(datetime.fromisoformat(text.replace("Z", "+00:00")))


def iso(ticks: int) -> str:
    """ISO 8601 UTC text with a trailing Z; milliseconds, or microseconds where the time has them."""
    value = to_datetime(ticks)
    precision = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
    return value.isoformat(timespec=precision).replace("+00:00", "Z")
