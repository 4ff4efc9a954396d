"""What is kept of the objects of a link beside values: strays, rhythm, counter sequences; it outlives associations."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceLine, DeviceTable, Link, Stray
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.counters import IS_COUNTER, Sequences
from twin_gateway.drivers.iec104.points import Located, PointIndex, rows_of
from twin_gateway.drivers.iec104.protection import ProtectionEvent, events_of
from twin_gateway.drivers.iec104.strays import OTHER_TYPE, UNKNOWN_ADDRESS, UNKNOWN_STATION, Strays
from twin_gateway.drivers.iec104.timing import Timing
from twin_gateway.drivers.iec104.types import MAX_ADDRESS

_REMEMBERED = 1024
_TOLD = 20
"""Counters that one batch of readings names one by one."""


class ObjectBook:
    """The book of one driver.

    Args:
        index: its points.
        stations: the common addresses of the link.

    Attributes:
        strays: what came and no point takes.
    """

    def __init__(self, index: PointIndex, stations: Sequence[int]) -> None:
        self._index = index
        self._stations = np.array(stations, np.int64)
        self.strays = Strays()
        self._recent: deque[ProtectionEvent] = deque(maxlen=_REMEMBERED)
        self._before: frozenset[ProtectionEvent] = frozenset()
        self._sequences = Sequences(index.keys)
        self._timing = Timing(index.keys)

    def begin(self) -> None:
        """A connection has started: what came until now may come again."""
        self._before = frozenset(self._recent)

    def renew(self, index: PointIndex) -> None:
        """The points have changed; what is known of those that stay is kept."""
        self._index = index
        self._sequences = Sequences(index.keys, self._sequences)
        self._timing = Timing(index.keys, self._timing)
        self.strays.forget(index.takes)

    # -- from the intake ----------------------------------------------------------------------------------------

    def note(self, located: Located, link: Link) -> None:
        """Objects that have been received; what must be told of them is told."""
        if located.refused:
            self._refuse(located, link)
        if len(located.places):
            self._timing.note(located.places, clock.now())
        counters = IS_COUNTER[located.objects.type]
        if counters.any():
            self._readings(located, counters.nonzero()[0], link)

    def undecoded(self, asdus: Sequence[bytes], errors: int, link: Link) -> None:
        """So many of these ASDUs could not be decoded: those of unknown types are listed, the others are errors."""
        unknown = sum(map(self.strays.note_unknown, asdus))
        if unknown:
            link.count("unknown_type", unknown)
        if errors > unknown:
            link.count("asdu_errors", errors - unknown)

    def protection(self, columns: Columns, link: Link) -> None:
        """Events of protection equipment go to the journal, mapped or not."""
        for event in events_of(columns):
            if event.source_time and event in self._before:
                link.count("repeated")  # sent again because our acknowledgement was lost
                continue
            self._recent.append(event)
            station, ioa = event.key >> 24, event.key & MAX_ADDRESS
            address = self._index.address(event.key)
            text = event.text if address else f"{event.text} (object {station}/{ioa})"
            link.count("protection_events")
            link.event(
                event.code,
                text,
                severity=event.severity,
                address=address,
                source_time=event.source_time,
                time_quality=event.time_quality or None,
            )

    def _refuse(self, located: Located, link: Link) -> None:
        for reason, count in located.refused.items():
            if reason != "unknown_address":
                link.count(reason, count)
        if located.misfits is not None:
            self.strays.note(located.misfits, OTHER_TYPE)
        unknown = located.unknown
        if unknown is None:
            return
        own = np.isin(unknown.common_address.astype(np.int64), self._stations)
        for mask, counter, reason in (
            (own, "unknown_address", UNKNOWN_ADDRESS),
            (~own, "unknown_common_address", UNKNOWN_STATION),
        ):
            if mask.any():
                rows = rows_of(unknown, mask)
                link.count(counter, len(rows))
                self.strays.note(rows, reason)

    def _readings(self, located: Located, which: npt.NDArray[np.intp], link: Link) -> None:
        told = self._sequences.take(rows_of(located.objects, which), located.places[which])
        if told.missed:
            link.count("counter_readings_missed", told.missed)
            link.event("D08", f"{told.missed} counter readings were made and never came", severity=650)
        for keys, counter, what in (
            (told.adjusted, "counters_adjusted", "was set since its last reading"),
            (told.carried, "counters_carried", "has run over since its last reading"),
        ):
            if not keys:
                continue
            link.count(counter, len(keys))
            for key in keys[:_TOLD]:
                text = f"Counter {key >> 24}/{key & MAX_ADDRESS} {what}"
                link.event("counter", text, severity=300, address=self._index.address(key))
            if len(keys) > _TOLD:
                link.event("counter", f"And {len(keys) - _TOLD} more: each {what}", severity=300)

    # -- for people ---------------------------------------------------------------------------------------------

    def unmapped(self) -> Sequence[Stray]:
        """What came and no point takes, newest last."""
        return self.strays.list()

    def table(self, table: DeviceTable) -> tuple[Outcome, Sequence[DeviceLine]]:
        """The lists that need no association."""
        lines = {DeviceTable.UNMAPPED: self._stray_lines, DeviceTable.OBJECTS: self._rhythm_lines}.get(table)
        if lines is None:
            return Outcome(StatusCode.BadNotSupported, gate="link", text=f"IEC 60870-5-104 has no {table}"), ()
        found = lines()
        return Outcome(StatusCode.Good, text=f"{len(found)} lines"), found

    def _stray_lines(self) -> list[DeviceLine]:
        """The same as lines, newest first."""
        return [
            DeviceLine(
                f"{stray.fields['common_address']}/{stray.fields['ioa']} {stray.fields['type']}",
                stray.value,
                f"{stray.reason}, {stray.count} times, {clock.iso(stray.first)} to {clock.iso(stray.last)}",
            )
            for stray in reversed(self.unmapped())
        ]

    def _rhythm_lines(self) -> list[DeviceLine]:
        """How often each object comes."""
        return [
            DeviceLine(
                f"{rhythm.key >> 24}/{rhythm.key & MAX_ADDRESS}",
                f"{rhythm.receptions} times, last {clock.iso(rhythm.last)}",
                f"interval {rhythm.shortest:.3f} / {rhythm.mean:.3f} / {rhythm.longest:.3f} s (shortest/mean/longest)"
                + (f", sequence {number}" if (number := self._sequences.last(rhythm.key)) >= 0 else ""),
            )
            for rhythm in self._timing.rhythms()
        ]
