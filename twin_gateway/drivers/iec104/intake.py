"""From the ASDUs of a connection to batches: gathered for a moment under load, told apart into live and replayed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.point import Batch
from address_space.quality import TimeFlag
from twin_gateway.drivers.contract import Link
from twin_gateway.drivers.iec104.columns import Columns, decode_columns
from twin_gateway.drivers.iec104.continuity import Continuity
from twin_gateway.drivers.iec104.objects import ObjectBook
from twin_gateway.drivers.iec104.points import REQUESTED, Located, PointIndex
from twin_gateway.drivers.iec104.protection import IS_PROTECTION
from twin_gateway.drivers.iec104.reads import Reads
from twin_gateway.drivers.iec104.times import Zone

GATHER_S, GATHER_LONG_S, MUCH = 0.002, 0.01, 16
"""ASDUs gather this long, so that a batch is worth its fixed cost; the first after a pause goes at once.

The longer time holds after a batch of so many ASDUs: the station sends thousands a second."""
GATHER_MOST = 512
"""ASDUs that gather at most, whatever the time."""
DISCOVERED_MOST = 100_000


class Intake:
    """Decodes monitor ASDUs of one association and publishes them.

    Between STARTDT and the end of the first general interrogation a station empties its event buffer. Events of that
    phase whose own time lies before the connection are delivered as late. The interrogation then gives the live value;
    a point that it did not answer, or that had an event after its answer, takes its last event when the phase ends.

    Attributes:
        book: is told of everything that comes, mapped or not.
        reads: is told of answers to read commands; of the present connection, None without one.
        index: the points; replaced when they change.
        found: (common address << 24 | object address) -> type of everything received, while discovering; else None.
        answered_at: monotonic time of the last answer to an interrogation, seconds.
    """

    def __init__(
        self,
        link: Link,
        index: PointIndex,
        zone: Zone,
        book: ObjectBook,
        continuity: Continuity | None = None,
    ) -> None:
        self.index = index
        self.found: dict[int, int] | None = None
        self.answered_at = 0.0
        self.book = book
        self.reads: Reads | None = None
        self._link, self._zone, self._continuity = link, zone, continuity
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._flushed_at = 0.0
        self._gather_s = GATHER_S
        self._published = 0  # when the last batch was, ticks
        self._timer: asyncio.TimerHandle | None = None
        self._since: dict[int, int] = {}  # common address -> start of its first phase, ticks
        self._held: dict[int, tuple[int, float, int, int]] = {}  # row -> (common address, value, quality, time)
        self._answered: dict[int, int] = {}  # row -> device time of its answer
        self._year, self._year_until = 0, 0.0

    def begin(self, common_addresses: tuple[int, ...]) -> None:
        """Data transfer has started: what these stations report of older times is replayed."""
        self.book.begin()
        present = clock.now()
        self._since = dict.fromkeys(common_addresses, present)

    def end(self, common_address: int) -> None:
        """The first interrogation of a station is over (answered, refused or given up)."""
        self.flush()
        if self._since.pop(common_address, None) is None:
            return
        rows = [
            (row, held)
            for row, held in self._held.items()
            if held[0] == common_address and held[3] > self._answered.get(row, 0)
        ]
        for row in [row for row, held in self._held.items() if held[0] == common_address]:
            del self._held[row]
        if rows:
            values, words, times = zip(*(held[1:] for _, held in rows), strict=True)
            self._link.publish(Batch.of([row for row, _ in rows], values, words, times))
        if not self._since:
            self._answered.clear()

    def kept(self, until: int) -> bool:
        """Whether all that was fed is on disk, when so is what was published before `until` (ticks)."""
        return not self._gathered and self._published < until

    def feed(self, asdus: list[bytes]) -> None:
        """Take the monitor ASDUs of one read."""
        self._gathered.extend(asdus)
        now = self._loop.time()
        if len(self._gathered) >= GATHER_MOST or now - self._flushed_at >= self._gather_s:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._flushed_at + self._gather_s, self.flush)

    def close(self) -> None:
        """The association is over; what has gathered is published."""
        self.flush()
        self._since.clear()
        self._held.clear()
        self._answered.clear()

    def flush(self) -> None:
        """Publish what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asdus = self._gathered
        if not asdus:
            return
        self._gathered = []
        self._gather_s = GATHER_LONG_S if len(asdus) >= MUCH else GATHER_S
        self._flushed_at = self._loop.time()
        received_ms = time.time_ns() // 1_000_000
        columns, errors = decode_columns(asdus, received_ms=received_ms, this_year=self._this_year(), zone=self._zone)
        if errors:
            self.book.undecoded(asdus, errors, self._link)
        if columns is None:
            return
        if REQUESTED[columns.cause].any():
            self.answered_at = self._flushed_at
        if self.found is not None:
            self._note(columns, self.found)
        if IS_PROTECTION[columns.type].any():
            self.book.protection(columns, self._link)
        if self.reads is not None and self.reads.waiting:
            self.reads.came(columns)
        located = self.index.locate(columns)
        self.book.note(located, self._link)
        if len(located.rows):
            self._publish(located)
        self._published = clock.now()

    def _publish(self, located: Located) -> None:
        if self._continuity is not None:
            located = self._continuity.sift(located, self._flushed_at, replaying=bool(self._since))
            if not len(located.rows):
                return
        if self._since:
            replayed = self._replayed(located)
            if replayed is not None:
                self._link.count("late", int(np.count_nonzero(replayed)))
                self._link.publish(_batch(located, replayed, late=True))
                replayed = ~replayed
                if replayed.any():
                    self._link.publish(_batch(located, replayed, late=False))
                return
        self._link.publish(Batch(located.rows, located.values, located.quality, located.source_time))

    def _replayed(self, located: Located) -> npt.NDArray[np.bool_] | None:
        """Which samples come from a buffer, None when none does; keeps what the end of the phase will need."""
        common = located.common_address
        limit = np.zeros(len(common), np.int64)
        for station, since in self._since.items():
            limit[common == station] = since
        timed = (located.source_time > 0) & (located.quality & np.uint32(TimeFlag.INVALID) == 0)
        replayed: npt.NDArray[np.bool_] = located.event & timed & (located.source_time < limit)
        answers = located.answer & (limit > 0)
        timed_answers = answers & timed
        self._answered.update(
            zip(located.rows[timed_answers].tolist(), located.source_time[timed_answers].tolist(), strict=True)
        )
        if not replayed.any():
            if self._held:
                for row in located.rows[limit > 0].tolist():
                    self._held.pop(row, None)
            return None
        for place in np.flatnonzero(limit > 0).tolist():
            row = int(located.rows[place])
            if replayed[place]:
                held = (float(located.values[place]), int(located.quality[place]), int(located.source_time[place]))
                self._held[row] = (int(common[place]), *held)
            else:
                self._held.pop(row, None)
        return replayed

    def _note(self, columns: Columns, found: dict[int, int]) -> None:
        keys = columns.common_address.astype(np.int64) << 24 | columns.address
        for key, number in zip(keys.tolist(), columns.type.tolist(), strict=True):
            if len(found) < DISCOVERED_MOST or key in found:
                found[key] = number

    def _this_year(self) -> int:
        now = self._loop.time()
        if now >= self._year_until:
            self._year, self._year_until = datetime.now(UTC).year, now + 60
        return self._year


def _batch(located: Located, which: npt.NDArray[np.bool_], *, late: bool) -> Batch:
    return Batch(located.rows[which], located.values[which], located.quality[which], located.source_time[which], late)
