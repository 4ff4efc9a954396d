"""Points of one device by common and object address: decoded columns to rows, values and times of the point table."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.config import common_address_of
from twin_gateway.drivers.iec104.times import NO_TIME
from twin_gateway.drivers.iec104.types import (
    BY_NAME,
    COUNTER_CAUSES,
    EVENT_CAUSES,
    INTERROGATED_CAUSES,
    MONITOR,
    MONITOR_CAUSES,
    VALUE_GROUP,
    Family,
)


class _Part(IntEnum):
    """What of an object a point shows."""

    WHOLE = 0
    TRANSIENT = 1
    DOUBLE_OF_SINGLE = 2
    ON = 3
    BIT = 4


_TICKS_PER_MS = clock.TICKS_PER_SECOND // 1000
_GROUP_OF_TYPE = np.zeros(256, np.uint8)
for _number, _known in MONITOR.items():
    _GROUP_OF_TYPE[_number] = VALUE_GROUP[_known.family]


def _causes(wanted: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Lookup by the whole cause octet; the test bit does not matter, a negative confirmation never carries data."""
    table = np.zeros(256, bool)
    for cause in wanted:
        table[cause] = table[cause | 0x80] = True
    return table


_ALLOWED, _EVENTS, _ANSWERS = _causes(MONITOR_CAUSES), _causes(EVENT_CAUSES), _causes(INTERROGATED_CAUSES)
REQUESTED = _causes(INTERROGATED_CAUSES | COUNTER_CAUSES)
"""By cause octet: an answer to a station, group or counter interrogation."""


class Located(NamedTuple):
    """Samples that belong to points, in columns and in order of arrival, and what did not belong anywhere.

    `event` marks spontaneous samples and return information, `answer` those of an interrogation. `refused` counts
    objects by reason.

    `objects` are those that were found, with the `places` of their keys; `unknown` those without a point, `misfits`
    those whose points are of another kind, None where there are none.
    """

    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint32]
    source_time: npt.NDArray[np.int64]
    event: npt.NDArray[np.bool_]
    answer: npt.NDArray[np.bool_]
    common_address: npt.NDArray[np.uint16]
    refused: dict[str, int]
    objects: Columns
    places: npt.NDArray[np.intp]
    unknown: Columns | None = None
    misfits: Columns | None = None


class PointIndex:
    """The points of a device, ready for lookups by column. Made anew when points change, for many in a thread.

    Attributes:
        keys: (common address << 24 | object address) of every object that has a point, sorted.

    Raises ValueError when a point's fields cannot be bound (they have been checked before, so this is a fault).
    """

    def __init__(self, config: Any, points: Iterable[BoundPoint]) -> None:
        self.points = tuple(points)
        entries: list[tuple[int, int, int, float, int, int]] = []
        shown: dict[tuple[Any, ...], tuple[int, int, int]] = {}  # most points of a device are alike
        for point in self.points:
            fields = point.fields
            kind = (fields["type"], fields.get("bit"), point.value_type.value, point.cdc)
            group_and_part = shown.get(kind)
            if group_and_part is None:
                known = BY_NAME.get(str(fields["type"]))
                if known is None or not known.monitor:
                    raise ValueError(f"{point.address}: {fields['type']} is no monitor type")
                group_and_part = shown[kind] = (VALUE_GROUP[known.family], *_pick(known.family, point))
            key = common_address_of(config, fields) << 24 | int(fields["ioa"])
            nominal = fields.get("nominal")
            gain = 1.0 if nominal is None else float(nominal)
            entries.append((key, point.row, group_and_part[0], gain, *group_and_part[1:]))
        entries.sort(key=lambda entry: (entry[0], entry[1]))
        columns = list(zip(*entries, strict=True)) or [()] * 6
        keys = np.array(columns[0], np.int64)
        self._rows = np.array(columns[1], np.int32)
        self._groups = np.array(columns[2], np.uint8)
        self._gain = np.array(columns[3], np.float64)
        self._pick = np.array(columns[4], np.uint8)
        self._bit = np.array(columns[5], np.uint8)
        self.keys, self._start, self._count = np.unique(keys, return_index=True, return_counts=True)
        self._shared = bool((self._count > 1).any())
        self._scaled = bool((self._gain != 1.0).any())
        self._picked = bool(self._pick.any())

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    def locate(self, columns: Columns) -> Located:
        """Find the points of decoded objects; objects without one, or that do not fit it, are counted and left out."""
        refused: dict[str, int] = {}
        allowed = _ALLOWED[columns.cause]
        if not allowed.all():
            refused["unexpected_cause"] = int(np.count_nonzero(~allowed))
            columns = rows_of(columns, allowed)
        at, found = self._find(columns)
        unknown = misfits = None
        if not found.all():
            unknown = rows_of(columns, ~found)
            refused["unknown_address"] = len(unknown)
            columns, at = rows_of(columns, found), at[found]
        objects = columns
        entry = self._start[at]
        if self._shared:
            columns, entry = self._spread(columns, at, entry)
        fits = _GROUP_OF_TYPE[columns.type] == self._groups[entry]
        if not fits.all():
            misfits = rows_of(columns, ~fits)
            refused["unexpected_type"] = len(misfits)
            columns, entry = rows_of(columns, fits), entry[fits]
        values = columns.value
        if self._scaled:
            values = values * self._gain[entry]
        if self._picked:
            values = self._choose(values, columns, entry)
        times = np.where(columns.time == NO_TIME, 0, columns.time * _TICKS_PER_MS + clock.UNIX_EPOCH_TICKS)
        return Located(
            self._rows[entry],
            values,
            columns.quality,
            times,
            _EVENTS[columns.cause],
            _ANSWERS[columns.cause],
            columns.common_address,
            refused,
            objects,
            at,
            unknown,
            misfits,
        )

    def _find(self, columns: Columns) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """The places of objects in the keys, and which objects have a point at all."""
        keys = columns.common_address.astype(np.int64) << 24 | columns.address
        if not len(self.keys):
            return np.zeros(len(keys), np.intp), np.zeros(len(keys), bool)
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        return at, self.keys[at] == keys

    def place(self, key: int) -> int:
        """Place of an object in the keys, -1 when it has no point."""
        at = int(np.searchsorted(self.keys, key))
        return at if at < len(self.keys) and self.keys[at] == key else -1

    def takes(self, type_number: int, key: int) -> bool:
        """Whether an object of this type has a point that shows it."""
        at = self.place(key)
        if at < 0:
            return False
        entries = slice(self._start[at], self._start[at] + self._count[at])
        return type_number in MONITOR and bool((self._groups[entries] == _GROUP_OF_TYPE[type_number]).any())

    def address(self, key: int) -> str:
        """Address of the first point of an object; empty when it has none."""
        at = self.place(key)
        return self._addresses[int(self._rows[self._start[at]])] if at >= 0 else ""

    @cached_property
    def _addresses(self) -> dict[int, str]:
        """Row -> address; made when somebody asks."""
        return {point.row: point.address for point in self.points}

    def _spread(
        self, columns: Columns, at: npt.NDArray[np.intp], entry: npt.NDArray[np.intp]
    ) -> tuple[Columns, npt.NDArray[np.intp]]:
        """Repeat the objects that several addresses show."""
        counts = self._count[at]
        if not (counts > 1).any():
            return columns, entry
        source = np.repeat(np.arange(len(at)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        return rows_of(columns, source), entry[source] + (np.arange(len(source)) - first)

    def _choose(
        self, values: npt.NDArray[np.float64], columns: Columns, entry: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Parts of objects: single bits, the transient flag, a double point from a single one."""
        pick = self._pick[entry]
        values = values.copy()
        for kind in np.unique(pick):
            mask = pick == kind
            match int(kind):
                case _Part.TRANSIENT:
                    values[mask] = columns.extra[mask]
                case _Part.DOUBLE_OF_SINGLE:
                    values[mask] += 1
                case _Part.ON:
                    values[mask] = values[mask] == 2
                case _Part.BIT:
                    values[mask] = values[mask].astype(np.int64) >> self._bit[entry[mask]] & 1
                case _:
                    continue
        return values


def _pick(family: Family, point: BoundPoint) -> tuple[int, int]:
    """What of an object the point shows."""
    bit = point.fields.get("bit")
    if bit is not None:
        return _Part.BIT, int(bit)
    boolean = point.value_type is ValueType.BOOLEAN
    if family is Family.STEP and boolean:
        return _Part.TRANSIENT, 0
    if family is Family.SINGLE and point.cdc in {"DPS", "DPC"}:
        return _Part.DOUBLE_OF_SINGLE, 0
    if family is Family.PROTECTION and boolean:
        return _Part.ON, 0
    if family in {Family.PROTECTION_START, Family.PROTECTION_OUTPUT} and boolean:
        return _Part.BIT, 0  # the general start or trip
    return _Part.WHOLE, 0


def rows_of(columns: Columns, which: npt.NDArray[Any]) -> Columns:
    """Some rows of columns, by mask or by place."""
    return Columns(*(column[which] for column in columns))
