"""What time and links do to points: lost communication, staleness, flags that are imposed, and the journal of it."""

from __future__ import annotations

import numpy as np

from address_space import clock
from address_space.catalogue import ValueType
from address_space.columns import PointColumns
from address_space.imposed import Imposed
from address_space.journal import Chunk, Journal
from address_space.point import Rows, Ticks, Words
from address_space.quality import Quality, StatusCode, status_column


class PointStates(PointColumns):
    """Columns of points whose changes are journalled; changes of quality alone are made here.

    Args:
        journal_capacity: changes that are kept for slow consumers.
    """

    def __init__(self, *, journal_capacity: int = 1 << 20) -> None:
        super().__init__()
        self.journal: Journal[Chunk] = Journal(journal_capacity)
        self._imposed = Imposed()
        self._lost_since: Ticks = np.empty(0, np.int64)  # made with the first loss; 0 where nothing is lost

    def link_lost(self, link: str, *, now: int | None = None) -> int:
        """All points of a link lose communication; value and source time stay. Returns how many changed."""
        return self.comm_lost(self.rows_of_link(link), now=now)

    def comm_lost(self, rows: Rows, *, now: int | None = None) -> int:
        """Some points of a link lose communication (an unreachable device behind a concentrator).

        Points that have lost it already stay as they are: what counts is when they were lost first.
        """
        received = clock.now() if now is None else now
        rows = rows[self.quality[rows] & np.uint32(Quality.COMM_LOST) == 0]
        if not len(rows):
            return 0
        self._lost_times()[rows] = received
        return self._set_quality(rows, self.quality[rows] | np.uint32(Quality.COMM_LOST), received)

    def impose(self, rows: Rows, flags: int, *, now: int | None = None) -> int:
        """Add quality flags to whatever the devices say of some points, now and from now on (see `Imposed`).

        Args:
            rows: of the points, at least one.
            flags: the flags that are added, all of them; 0 ends it.
            now: time of the change in ticks.

        Returns:
            How many points changed their status.
        """
        rows = rows[self.is_point(rows)]
        if not len(rows):
            return 0
        words = self._imposed.change(rows, flags, self.quality[rows])
        return self._set_quality(rows, words, clock.now() if now is None else now)

    def _lost_times(self) -> Ticks:
        missing = len(self) - len(self._lost_since)
        if missing:
            self._lost_since = np.concatenate([self._lost_since, np.zeros(missing, np.int64)])
        return self._lost_since

    def sweep(self, *, now: int | None = None, dead_after: float = 86_400.0) -> int:
        """Mark what has become old: points past their `stale_after`, points lost for more than `dead_after` seconds.

        To be called about once a second. Returns how many points changed.
        """
        present = clock.now() if now is None else now
        return self._sweep_stale(present) + self._sweep_dead(present, dead_after)

    def _sweep_stale(self, present: int) -> int:
        if not self._scaling.has_stale:
            return 0
        limit = self._scaling.stale_ticks[self._profile]
        skip = np.uint32(Quality.OLD_DATA | Quality.COMM_LOST | Quality.NOT_INITIALISED)
        stale = (limit > 0) & (present - self.received > limit) & (self.quality & skip == 0)
        rows = np.nonzero(stale)[0].astype(np.int32)
        if not len(rows):
            return 0
        words = self.quality[rows] | np.uint32(Quality.OLD_DATA)
        good = words & np.uint32(Quality.INVALID) == 0
        words[good] |= np.uint32(Quality.QUESTIONABLE)
        return self._set_quality(rows, words, None)

    def _sweep_dead(self, present: int, dead_after: float) -> int:
        # Drivers that know single points as lost say so in the quality: those count from when it is first seen here.
        lost = self.quality & np.uint32(Quality.COMM_LOST) != 0
        if not len(self._lost_since) and not lost.any():
            return 0
        since = self._lost_times()
        since[~lost] = 0
        since[lost & (since == 0)] = present
        usable = self.status == StatusCode.UncertainNoCommunicationLastUsableValue
        dead = usable & lost & (present - since > dead_after * clock.TICKS_PER_SECOND)
        rows = np.nonzero(dead)[0].astype(np.int32)
        if not len(rows):
            return 0
        return self._set_quality(rows, self.quality[rows], None, status=StatusCode.BadNoCommunication)

    def _set_quality(self, rows: Rows, words: Words, received: int | None, status: int | None = None) -> int:
        codes = status_column(words) if status is None else np.full(len(rows), status, np.uint32)
        changed = codes != self.status[rows]
        requalified = ~changed & (words != self.quality[rows])
        self.quality[rows] = words
        self.status[rows] = codes
        moment = clock.now() if received is None else received
        if requalified.any():
            self._journal_state(rows[requalified], moment, timestamp_only=True)
        count = int(np.count_nonzero(changed))
        if count:
            self.counters.changes += count
            self._journal_state(rows[changed], moment)
        return count

    def _journal_state(self, rows: Rows, received: int, *, timestamp_only: bool = False, more: int = 0) -> None:
        texts = self.value_type[rows] == ValueType.STRING
        for picked, is_text in ((rows[~texts], False), (rows[texts], True)):
            if len(picked):
                self.journal.append(
                    Chunk(
                        picked,
                        self.raw[picked],
                        self.status[picked] | np.uint32(more),
                        self.source_time[picked],
                        received,
                        self.quality[picked],
                        tuple(self._texts.get(int(row), "") for row in picked) if is_text else None,
                        timestamp_only,
                    )
                )
