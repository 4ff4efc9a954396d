"""What outlives one connection of a link: events are known again when a station repeats them, and its clock is watched.

A station keeps an event until we have acknowledged it and repeats it on the next connection when the acknowledgement
was lost on the way. Such a repetition equals what we have in object, value, quality and time tag; it is dropped and
counted, so that the journal holds it once. Two equal events of one connection are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.quality import TimeFlag
from twin_gateway.drivers.iec104.points import Located

STEP_S = 2.0
"""A clock that goes back by less is merely set; events out of two queues of a station lie closer together."""
STEP_PAUSE_S = 60.0
"""Steps of one station are told this far apart at least."""
_STEP_TICKS = round(STEP_S * clock.TICKS_PER_SECOND)
_INVALID = np.uint32(TimeFlag.INVALID)
_KEPT_LEAST, _KEPT_MOST, _OBJECTS_A_FRAME = 1024, 16_384, 32
_BATCHES, _SAMPLES = 32, 8192
"""Batches, or samples, that are kept as they came before the events are picked out of all of them at once."""
_EVENT = np.dtype([("row", "<i4"), ("quality", "<u4"), ("value", "<f8"), ("time", "<i8")])
Repeated = Callable[[int], None]
"""Takes the number of samples that were dropped."""
Stepped = Callable[[int, float], None]
"""Takes a common address and by how many seconds its clock went back."""


class _Compared(NamedTuple):
    """What of samples is compared."""

    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint32]
    source_time: npt.NDArray[np.int64]
    event: npt.NDArray[np.bool_]


class Continuity:
    """The last events of a link; one for all its connections.

    Args:
        k: most frames that a station sends without acknowledgement: what it may repeat.

    Attributes:
        repeated: called when events were dropped because they had come before.
        stepped: called when the clock of a station has gone back.
    """

    def __init__(self, k: int) -> None:
        self.repeated: Repeated = lambda _count: None
        self.stepped: Stepped = lambda _station, _seconds: None
        self._size = min(_KEPT_MOST, max(_KEPT_LEAST, k * _OBJECTS_A_FRAME))
        self._ring: npt.NDArray[np.void] | None = None  # idle links need none
        self._next = self._count = self._gathered = 0
        self._batches: list[_Compared] = []
        self._known: set[bytes] = set()
        self._known_until = 0
        self._latest: dict[int, int] = {}  # common address -> time of its last event, ticks
        self._told: dict[int, float] = {}

    def begin(self) -> None:
        """A connection has started: what has come until now may come again. Times of events begin anew."""
        self._latest.clear()
        self._known.clear()
        self._gather()
        if self._ring is None or not self._count:
            return
        kept = self._ring[: self._count]
        self._known.update(record.tobytes() for record in kept)
        self._known_until = int(kept["time"].max())

    def sift(self, located: Located, now: float, *, replaying: bool) -> Located:
        """Samples without those that a station repeated; remembers what is new, and looks at the clock.

        Args:
            located: what came, in order; its columns are not changed afterwards.
            now: monotonic time, seconds.
            replaying: the station may still be emptying its buffer: its clock is not judged.
        """
        if not len(located.rows):
            return located
        if not replaying:
            self._watch(located, now)
        if self._known and bool((located.source_time <= self._known_until).any()):
            located = self._fresh(located)
        self._batches.append(_compared(located))
        self._gathered += len(located.rows)
        if len(self._batches) >= _BATCHES or self._gathered >= _SAMPLES:
            self._gather()
        return located

    def _fresh(self, located: Located) -> Located:
        """Samples without the repeated ones."""
        compared = _compared(located)
        timed = _timed(compared)
        if not timed.any():
            return located
        again = self._again(_records(compared, timed))
        if again is None:
            return located
        self.repeated(int(np.count_nonzero(again)))
        fresh = np.ones(len(timed), bool)
        fresh[np.flatnonzero(timed)[again]] = False
        return _only(located, fresh)

    def _gather(self) -> None:
        """Pick the events out of the last batches."""
        if not self._batches:
            return
        together = _Compared(*map(np.concatenate, zip(*self._batches, strict=True)))
        self._batches.clear()
        self._gathered = 0
        timed = _timed(together)
        if timed.any():
            self._keep(_records(together, timed))

    def _again(self, records: npt.NDArray[np.void]) -> npt.NDArray[np.bool_] | None:
        """Which records came on an earlier connection; None when none did."""
        old = records["time"] <= self._known_until
        if not old.any():
            return None
        again = np.zeros(len(records), bool)
        for at in np.flatnonzero(old).tolist():
            again[at] = records[at].tobytes() in self._known
        return again if again.any() else None

    def _keep(self, records: npt.NDArray[np.void]) -> None:
        if self._ring is None:
            self._ring = np.empty(self._size, _EVENT)
        records = records[-self._size :]
        room = self._size - self._next
        head = records[:room]
        self._ring[self._next : self._next + len(head)] = head
        rest = records[room:]
        self._ring[: len(rest)] = rest
        self._next = (self._next + len(records)) % self._size
        self._count = min(self._size, self._count + len(records))

    def _watch(self, located: Located, now: float) -> None:
        """Look at the last event only: a clock that went back stays back."""
        time = int(located.source_time[-1])
        if not located.event[-1] or time <= 0 or int(located.quality[-1]) & TimeFlag.INVALID:
            return
        station = int(located.common_address[-1])
        latest = self._latest.get(station, 0)
        if time >= latest - _STEP_TICKS:
            self._latest[station] = max(latest, time)
            return
        self._latest[station] = time
        if now - self._told.get(station, -STEP_PAUSE_S) >= STEP_PAUSE_S:
            self._told[station] = now
            self.stepped(station, (latest - time) / clock.TICKS_PER_SECOND)


def _compared(located: Located) -> _Compared:
    return _Compared(located.rows, located.values, located.quality, located.source_time, located.event)


def _timed(located: _Compared) -> npt.NDArray[np.bool_]:
    """Which samples are events with a valid time of their own."""
    timed: npt.NDArray[np.bool_] = located.event & (located.source_time > 0) & (located.quality & _INVALID == 0)
    return timed


def _records(located: _Compared, which: npt.NDArray[np.bool_]) -> npt.NDArray[np.void]:
    records = np.empty(int(np.count_nonzero(which)), _EVENT)
    records["row"] = located.rows[which]
    records["quality"] = located.quality[which]
    records["value"] = located.values[which]
    records["time"] = located.source_time[which]
    return records


def _only(located: Located, which: npt.NDArray[np.bool_]) -> Located:
    return located._replace(
        rows=located.rows[which],
        values=located.values[which],
        quality=located.quality[which],
        source_time=located.source_time[which],
        event=located.event[which],
        answer=located.answer[which],
        common_address=located.common_address[which],
    )
