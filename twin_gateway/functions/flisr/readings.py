"""Values of the point table as FLISR reads them: whether they may be used, and whether their times may."""

from __future__ import annotations

from address_space import clock
from address_space.quality import Quality, StatusCode, TimeFlag
from address_space.table import PointTable
from twin_gateway.twin.flisr.watch import Reading

_NO_CLOCK = int(TimeFlag.RECEIVED | TimeFlag.INVALID | TimeFlag.NOT_SYNCHRONISED | TimeFlag.FUTURE | TimeFlag.DOUBTFUL)
_BAD = 0x8000_0000


def reading_at(table: PointTable, row: int) -> Reading:
    """A row as it stands."""
    sample = table.sample(row)
    return reading_of(sample.value, sample.status, sample.source_time, sample.received, sample.quality)


def reading_of(
    value: bool | int | float | str | None, status: int, source_time: int, received: int, quality: int
) -> Reading:
    """A value with what is to be known of its quality and times (FILETIME ticks)."""
    usable = not status & _BAD and not quality & (Quality.COMM_LOST | Quality.NOT_INITIALISED)
    return Reading(
        value,
        status == StatusCode.Good,
        bool(usable),
        clock.to_unix(source_time),
        clock.to_unix(received),
        not quality & _NO_CLOCK,
        bool(quality & Quality.COMM_LOST),
    )
