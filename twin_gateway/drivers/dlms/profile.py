"""Load profiles: which column belongs to which point, the range still to read, and rows as late samples."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from address_space import clock as ticks
from address_space.point import Batch
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.config import attribute_of
from twin_gateway.drivers.dlms.errors import MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.reading import Scale, zone_time

_log = logging.getLogger(__name__)

BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD = 2, 3, 4
LONGEST_RANGE = timedelta(days=1)
"""Longer ranges are read in several requests, so that a command never waits for a month of rows."""


def profiles_of(points: Sequence[BoundPoint]) -> dict[bytes, list[BoundPoint]]:
    """Profiles that the points name, by logical name."""
    out: dict[bytes, list[BoundPoint]] = {}
    for point in points:
        if point.fields.get("profile"):
            out.setdefault(obis.parse(str(point.fields["profile"])), []).append(point)
    return out


@dataclass(slots=True)
class Columns:
    """Where the columns of one profile are.

    Attributes:
        clock: column of the time; -1 when the profile has none.
        points: (column, point) of each mapped column.
        missing: points whose register the profile does not capture.
    """

    clock: int = -1
    points: list[tuple[int, BoundPoint]] = field(default_factory=list)
    missing: list[BoundPoint] = field(default_factory=list)


def columns_of(capture_objects: Value, points: Sequence[BoundPoint]) -> Columns:
    """Columns from the capture_objects attribute.

    Raises:
        MalformedApduError: not a list of capture objects.
    """
    if not isinstance(capture_objects, list):
        raise MalformedApduError("capture_objects is not an array")
    captured: dict[Attribute, int] = {}
    for column, item in enumerate(capture_objects):
        match item:
            case [int(class_id), bytes(name), int(number), *_] if len(name) == 6:
                captured.setdefault(Attribute(class_id, name, number), column)
            case _:
                raise MalformedApduError("capture_objects holds something that is no capture object")
    columns = Columns(captured.get(Attribute(obis.CLOCK, obis.CLOCK_LN, 2), -1))
    for point in points:
        at = captured.get(attribute_of(point.fields))
        if at is None:
            columns.missing.append(point)
        else:
            columns.points.append((at, point))
    return columns


def rows_to_batch(
    rows: Value, columns: Columns, scales: Sequence[Scale | None], *, zone: tzinfo, sign: int, after: datetime | None
) -> tuple[Batch, datetime | None, int]:
    """Late samples from profile rows, in order.

    Args:
        rows: the buffer (or a range of it).
        columns: of columns_of.
        scales: one for each of columns.points; None leaves that column out.
        zone: of meter times without deviation.
        sign: of the deviation.
        after: rows at or before this are known already and left out.

    Returns:
        The batch, the time of its last row (`after` when there is none), and how many rows could not be read.

    Raises:
        MalformedApduError: the buffer is no array.
    """
    if not isinstance(rows, list):
        raise MalformedApduError("profile buffer is not an array")
    out_rows: list[int] = []
    values: list[float] = []
    words: list[int] = []
    times: list[int] = []
    last, previous, bad = after, None, 0
    for row in rows:
        time = None
        if isinstance(row, list) and len(row) > columns.clock:
            time = zone_time(row[columns.clock], zone, sign, previous)
        if time is None or time.utc is None:
            bad += 1
            continue
        previous = time.utc
        if last is not None and time.utc <= last:
            continue
        last = time.utc
        word, moment = quality.of_time(time), ticks.from_datetime(time.utc)
        for (column, point), scale in zip(columns.points, scales, strict=True):
            raw = row[column] if column < len(row) else None
            if scale is None or isinstance(raw, bool) or not isinstance(raw, int | float):
                continue
            out_rows.append(point.row)
            values.append(scale(raw))
            words.append(word)
            times.append(moment)
    return Batch.of(out_rows, values, words, times, late=True), last, bad


def ranges(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The span from start to end in parts of at most LONGEST_RANGE."""
    out = []
    while start < end:
        stop = min(start + LONGEST_RANGE, end)
        out.append((start, stop))
        start = stop
    return out


class LastRows:
    """Until when each profile of a device is known, kept over restarts; a lost file only means reading rows again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: dict[str, datetime] = {}
        try:
            kept = json.loads(path.read_text("utf-8"))
            self._times = {str(name): datetime.fromisoformat(text) for name, text in kept.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError) as error:
            _log.warning("%s cannot be read (%s); load profiles are read again from their full depth", path, error)

    def get(self, profile: bytes) -> datetime | None:
        """Time of the last row delivered; never in the future, else a meter's wrong clock would end all reading."""
        found = self._times.get(obis.text(profile))
        return min(found, datetime.now(UTC)) if found is not None else None

    def put(self, profile: bytes, last: datetime) -> None:
        """Remembers the last row delivered."""
        if self._times.get(obis.text(profile)) == last:
            return
        self._times[obis.text(profile)] = last
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({name: time.isoformat() for name, time in self._times.items()}), "utf-8")
        fresh.replace(self._path)
