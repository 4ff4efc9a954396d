"""Journals with cursors: what changed, kept once, read by each consumer at its own pace; bounded, overflow counted."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from address_space.point import Raw, Rows, Ticks, Words


@dataclass(slots=True)
class Chunk:
    """Changes of many points in columns.

    Attributes:
        rows: row of each change, int32.
        raw: value bits of each, uint64, low bytes first (see `PointTable.raw`); for text chunks a running number.
        status: OPC UA StatusCode, uint32.
        source_time: FILETIME ticks, int64.
        received: FILETIME ticks of the gateway, one for the whole chunk.
        quality: quality word, uint32.
        texts: the values of a text chunk, one for each row; None for a chunk of numbers.
        timestamp_only: value and status are as before, only the source time or the raw quality is another one.
    """

    rows: Rows
    raw: Raw
    status: Words
    source_time: Ticks
    received: int
    quality: Words
    texts: tuple[str, ...] | None = None
    timestamp_only: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, where: slice | npt.NDArray[np.intp]) -> Chunk:
        """Some of the changes, by a slice or by their places in order."""
        texts = self.texts
        if texts is not None:
            texts = texts[where] if isinstance(where, slice) else tuple(texts[at] for at in where.tolist())
        return replace(
            self,
            rows=self.rows[where],
            raw=self.raw[where],
            status=self.status[where],
            source_time=self.source_time[where],
            quality=self.quality[where],
            texts=texts,
        )


ItemT = TypeVar("ItemT", bound=Sized)
_TRIMMED = 256
"""Items that go at most with one that comes, as long as there is room."""


class Cursor(Generic[ItemT]):
    """One consumer's place in a journal.

    Attributes:
        lost: samples that went by unread because the consumer was too slow; only ever grows.
    """

    def __init__(self, journal: Journal[ItemT], name: str, on_data: Callable[[], None] | None) -> None:
        self.name = name
        self.lost = 0
        self._journal = journal
        self._position = journal.head
        self._on_data = on_data
        self._armed = on_data is not None

    @property
    def pending(self) -> int:
        """Samples not read yet (including those lost meanwhile)."""
        return self._journal.head - self._position

    def take(self, limit: int | None = None) -> list[ItemT]:
        """What came since the last call, oldest first; at most about `limit` samples (whole items, at least one)."""
        items, self._position, lost = self._journal.read(self._position, limit)
        self.lost += lost
        self._armed = self._on_data is not None and self._position == self._journal.head
        return items

    def skip(self) -> None:
        """Go to the head without reading."""
        self._position = self._journal.head
        self._armed = self._on_data is not None

    def close(self) -> None:
        """Stop reading; the journal no longer keeps anything for this cursor."""
        self._journal.release(self)

    def wake(self) -> None:
        """Called by the journal: tell the consumer once until it has read everything."""
        if self._armed and self._on_data is not None:
            self._armed = False
            self._on_data()

    @property
    def position(self) -> int:
        """Number of the next sample to read."""
        return self._position


class Journal(Generic[ItemT]):
    """A bounded run of items (chunks of changes, events), each counted by its length.

    Without a cursor nothing is kept. With the capacity reached the oldest items go, and cursors that had not read them
    count them as lost.
    """

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.capacity = capacity
        self.head = 0
        self._items: deque[tuple[int, ItemT]] = deque()
        self._kept = 0
        self._cursors: list[Cursor[ItemT]] = []

    def __len__(self) -> int:
        return self._kept

    @property
    def cursors(self) -> tuple[Cursor[ItemT], ...]:
        """The open cursors, for metrics."""
        return tuple(self._cursors)

    def cursor(self, name: str, on_data: Callable[[], None] | None = None) -> Cursor[ItemT]:
        """A new cursor at the head; `on_data` is called once whenever something is there after it had read all."""
        cursor = Cursor(self, name, on_data)
        self._cursors.append(cursor)
        return cursor

    def release(self, cursor: Cursor[ItemT]) -> None:
        """Forget a cursor; harmless when it is closed already."""
        if cursor in self._cursors:
            self._cursors.remove(cursor)
            if self._cursors:
                self._trim()
            else:
                self._items.clear()
                self._kept = 0

    def append(self, item: ItemT) -> None:
        """Add an item and wake the cursors that had read everything."""
        size = len(item)
        if not size:
            return
        if not self._cursors:
            self.head += size
            return
        self._items.append((self.head, item))
        self.head += size
        self._kept += size
        if self._kept > self.capacity or len(self._items) > 64:
            self._trim()
        for cursor in self._cursors:
            cursor.wake()

    def _trim(self) -> None:
        slowest = min((cursor.position for cursor in self._cursors), default=self.head)
        items, gone = self._items, 0
        while items:
            start, item = items[0]
            full = self._kept > self.capacity
            # What a slow cursor has left behind goes in parts: whoever appends does not wait for ten thousand items.
            if (start + len(item) > slowest or gone >= _TRIMMED) and (not full or len(items) == 1):
                break
            self._kept -= len(item)
            gone += 1
            items.popleft()

    def read(self, position: int, limit: int | None) -> tuple[list[ItemT], int, int]:
        """(items from `position` on, position after them, samples lost because they are gone)."""
        items: list[ItemT] = []
        if position >= self.head:
            return items, position, 0
        lost = 0
        oldest = self._items[0][0] if self._items else self.head
        if position < oldest:
            lost = oldest - position
            position = oldest
        taken = 0
        # Not by walking: who is far behind reads in many parts.
        first = bisect_left(self._items, position, key=itemgetter(0))
        for index in range(first, len(self._items)):
            start, item = self._items[index]
            if limit is not None and items and taken + len(item) > limit:
                return items, start, lost
            items.append(item)
            taken += len(item)
        return items, self.head, lost
