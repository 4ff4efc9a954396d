"""What state still has to be published: each item at most once, however often it changes, so it cannot grow."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from address_space.point import Rows

_SCAN = 1 << 16


class StateQueue:
    """Items (rows of points, numbers of groups) whose newest state is to be published.

    An item is named here and its value read from the table when its turn comes, so the last value wins and memory is
    bounded by the number of items. *Waiting* items changed and go first come, first served; *due* items are to be
    published again although they did not change (first start, reconnect, lost changes).

    Attributes:
        waiting: how many items changed and wait.
        coalesced: changes that were overtaken by a newer one of the same item before they could be published.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.coalesced = 0
        self._waits: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._due: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._due_count = 0
        self._scan_from = 0
        self._segments: deque[Rows] = deque()

    def __len__(self) -> int:
        return self.waiting + self._due_count

    @property
    def due(self) -> int:
        """Items to be published again (some of them may wait as well)."""
        return self._due_count

    def grow(self, size: int) -> None:
        """Make room for items below `size`; nothing is taken away."""
        more = size - len(self._waits)
        if more > 0:
            self._waits = np.concatenate([self._waits, np.zeros(more, bool)])
            self._due = np.concatenate([self._due, np.zeros(more, bool)])

    def mark(self, items: Rows) -> None:
        """These items changed; an item may occur more than once."""
        self.coalesced += len(items) - self._join(items, front=False)

    def restore(self, items: Rows) -> None:
        """These items were taken but did not arrive; they go first."""
        self._join(items, front=True)

    def _join(self, items: Rows, *, front: bool) -> int:
        fresh = items[~self._waits[items]]
        if not len(fresh):
            return 0
        if len(fresh) > 1 and not (np.diff(fresh) > 0).all():
            fresh = np.unique(fresh)
        self._waits[fresh] = True
        self.waiting += len(fresh)
        if front:
            self._segments.appendleft(fresh)
        else:
            self._segments.append(fresh)
        return len(fresh)

    def set_due(self, items: Rows) -> None:
        """These items, each once, are to be published again."""
        self._due[items] = True
        self._due_count = int(np.count_nonzero(self._due))
        self._scan_from = 0

    def set_all_due(self, items: Rows | None = None) -> None:
        """Everything (of `items`, when not every number is an item) is to be published again, from the beginning."""
        if items is not None:
            self.set_due(items)
            return
        self._due[:] = True
        self._due_count = len(self._due)
        self._scan_from = 0

    def take(self, limit: int) -> Rows:
        """The next waiting items, at most `limit`; they no longer wait, nor are they due."""
        taken: list[Rows] = []
        room = limit
        while room > 0 and self._segments:
            segment = self._segments.popleft()
            if len(segment) > room:
                self._segments.appendleft(segment[room:])
                segment = segment[:room]
            taken.append(segment)
            room -= len(segment)
        if not taken:
            return np.empty(0, np.int32)
        items = taken[0] if len(taken) == 1 else np.concatenate(taken)
        self._waits[items] = False
        self.waiting -= len(items)
        self._done(items)
        return items

    def take_due(self, limit: int) -> Rows:
        """The next items to be published again, at most `limit`; those that wait as well are left to `take`."""
        while self._due_count and self._scan_from < len(self._due):
            window = slice(self._scan_from, self._scan_from + _SCAN)
            found = np.nonzero(self._due[window] & ~self._waits[window])[0][:limit]
            if len(found):
                items = (found + self._scan_from).astype(np.int32)
                self._scan_from = int(items[-1]) + 1
                self._done(items)
                return items
            self._scan_from += _SCAN
        return np.empty(0, np.int32)

    def _done(self, items: Rows) -> None:
        if self._due_count:
            self._due_count -= int(np.count_nonzero(self._due[items]))
            self._due[items] = False
