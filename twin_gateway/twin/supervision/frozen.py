"""Frozen data: measurands that have always moved and do not any more (spec 7.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEAST_CHANGES = 10
FACTOR = 10.0


class Movements:
    """How often each of n measurands has changed, and when last. Times in s."""

    def __init__(self, count: int) -> None:
        self.changes = np.zeros(count, np.int64)
        self.first = np.full(count, np.nan)
        self.last = np.full(count, np.nan)

    def moved(self, indices: npt.NDArray[np.intp], now: float) -> None:
        """These have changed now."""
        self.changes[indices] += 1
        self.last[indices] = now
        fresh = indices[np.isnan(self.first[indices])]
        self.first[fresh] = now

    def take_over(self, here: npt.NDArray[np.intp], other: Movements, there: npt.NDArray[np.intp]) -> None:
        """What was seen of some measurands under other numbers."""
        self.changes[here] = other.changes[there]
        self.first[here], self.last[here] = other.first[there], other.last[there]

    def frozen(self, now: float, after: float) -> npt.NDArray[np.bool_]:
        """Which are frozen: ten changes or more so far, and now none for `after` seconds and ten usual intervals."""
        with np.errstate(invalid="ignore", divide="ignore"):
            usual = (self.last - self.first) / np.maximum(self.changes - 1, 1)
            quiet = now - self.last
            still = (quiet > after) & (quiet > FACTOR * usual)
        return np.asarray((self.changes >= LEAST_CHANGES) & still)
