"""How often the objects of a link arrive: intervals of reception, on arrays, one entry an object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_TICKS_PER_SECOND = 10_000_000


class Rhythm(NamedTuple):
    """How one object arrives; intervals in seconds, not a number before the second reception.

    Attributes:
        key: common address << 24 | object address.
        receptions: how often it came.
        last: FILETIME ticks of the last reception.
    """

    key: int
    receptions: int
    last: int
    shortest: float
    mean: float
    longest: float


class Timing:
    """Receptions of objects by their place in a sorted column of keys.

    What comes in one read has one moment of reception, so an object that comes twice in it counts twice and makes no
    interval of its own.
    """

    def __init__(self, keys: npt.NDArray[np.int64], before: Timing | None = None) -> None:
        self._keys = keys
        size = len(keys)
        self._count = np.zeros(size, np.int64)
        self._first = np.zeros(size, np.int64)
        self._last = np.zeros(size, np.int64)
        self._shortest = np.full(size, np.iinfo(np.int64).max, np.int64)
        self._longest = np.zeros(size, np.int64)
        if before is not None and len(before._keys) and size:
            _, mine, others = np.intersect1d(keys, before._keys, assume_unique=True, return_indices=True)
            for name in ("_count", "_first", "_last", "_shortest", "_longest"):
                getattr(self, name)[mine] = getattr(before, name)[others]

    def note(self, at: npt.NDArray[np.intp], now: int) -> None:
        """Objects (places in the keys, repeated as they came) have been received at `now` (FILETIME ticks)."""
        last = np.minimum(self._last[at], now)  # our clock may be set back
        fresh = last == 0
        if fresh.any():
            self._first[at[fresh]] = now
            known = ~fresh
            gap, again = now - last[known], at[known]
        else:
            gap, again = now - last, at
        # an object that comes twice has the same interval twice: assignment in any order gives the same
        self._shortest[again] = np.minimum(self._shortest[again], gap)
        self._longest[again] = np.maximum(self._longest[again], gap)
        self._last[at] = now
        np.add.at(self._count, at, 1)

    def rhythms(self) -> list[Rhythm]:
        """Of every object that has come, by key."""
        told = []
        for at in np.flatnonzero(self._count).tolist():
            count = int(self._count[at])
            several = self._last[at] > self._first[at]
            span = float(self._last[at] - self._first[at]) / _TICKS_PER_SECOND
            told.append(
                Rhythm(
                    int(self._keys[at]),
                    count,
                    int(self._last[at]),
                    float(self._shortest[at]) / _TICKS_PER_SECOND if several else float("nan"),
                    span / (count - 1) if several else float("nan"),
                    float(self._longest[at]) / _TICKS_PER_SECOND if several else float("nan"),
                )
            )
        return told
