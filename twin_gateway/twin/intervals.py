"""From readings at any time to values at the ends of intervals: registers interpolated, flows averaged over time.

Intervals are [end - length, end) in UTC and have the number `end / length` (Unix seconds); a day holds a whole number
of them. Readings are columns: which point (an index), Unix seconds, value, quality word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space.quality import FLAGS_MASK, VALIDITY_MASK, Quality

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint32]

WINDOW_S = 30.0
"""A register read within this of a boundary is brought to it; further away it says nothing of it (spec 4.3)."""
_UNUSABLE = np.uint32(Quality.INVALID | Quality.COMM_LOST | Quality.NOT_INITIALISED | Quality.NOT_CONFIGURED)
_KEPT = np.uint32(VALIDITY_MASK | FLAGS_MASK)


@dataclass(frozen=True, slots=True)
class Emitted:
    """Values at interval ends: point index, interval number, value, quality word; equally long."""

    which: Index
    number: Index
    value: Floats
    quality: Words

    def __len__(self) -> int:
        return len(self.which)

    @staticmethod
    def joined(parts: list[Emitted]) -> Emitted:
        """One after the other."""
        return Emitted(
            np.concatenate([part.which for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.number for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.value for part in parts] or [np.empty(0)]),
            np.concatenate([part.quality for part in parts] or [np.empty(0, np.uint32)]),
        )


def usable(quality: Words) -> npt.NDArray[np.bool_]:
    """Whether a reading has a value that counts (spec 8.3: what is questionable is accepted and marked)."""
    good: npt.NDArray[np.bool_] = quality & _UNUSABLE == 0
    return good


def rounds(which: Index) -> Iterator[npt.NDArray[np.intp]]:
    """Positions of the first occurrence of every index, then of the second, …: each part has an index at most once."""
    order = np.argsort(which, kind="stable")
    ordered = which[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, bool)
    if first.all():
        if len(which):
            yield np.arange(len(which))
        return
    begin = np.maximum.accumulate(np.where(first, np.arange(len(which)), 0))
    rank = np.empty(len(which), np.intp)
    rank[order] = np.arange(len(which)) - begin
    for number in range(int(rank.max()) + 1):
        yield np.nonzero(rank == number)[0]


class BoundaryRegisters:
    """Registers as they are read live, brought to the interval boundaries by linear interpolation.

    Args:
        count: number of points.
        length: of an interval, s.
        window: see `WINDOW_S`.
    """

    def __init__(self, count: int, length: float, *, window: float = WINDOW_S) -> None:
        self._length = length
        self._window = window
        self._time = np.full(count, np.nan)
        self._value = np.zeros(count)
        self._quality = np.zeros(count, np.uint32)
        self.older = 0
        """Readings that were not newer than the last one of their point: ignored, counted."""

    def take(self, which: Index, times: Floats, values: Floats, quality: Words) -> Emitted:
        """Readings in order of time of each point; what they say of boundaries between them and the one before."""
        keep = usable(quality)
        which, times, values, quality = which[keep], times[keep], values[keep], quality[keep] & _KEPT
        parts = [self._once(which[at], times[at], values[at], quality[at]) for at in rounds(which)]
        return Emitted.joined(parts)

    def _once(self, which: Index, times: Floats, values: Floats, quality: Words) -> Emitted:
        with np.errstate(invalid="ignore"):
            older = times <= self._time[which]
        self.older += int(np.count_nonzero(older))
        which, times, values, quality = which[~older], times[~older], values[~older], quality[~older]
        before, start = self._time[which], self._value[which]
        joined = self._quality[which] | quality
        known = ~np.isnan(before)
        span = np.where(known, times - before, 1.0)
        parts = []
        # The first boundary after the reading before, and the last one up to this reading: others are too far away.
        first = np.floor(np.where(known, before, times) / self._length) + 1
        last = np.floor(times / self._length)
        for number, more in ((first, last >= first), (last, last > first)):
            boundary = number * self._length
            near = (times - boundary <= self._window) | (boundary - before <= self._window)
            good = known & more & near
            value = start + (values - start) * (boundary - before) / span
            parts.append(Emitted(which[good], number[good].astype(np.int64), value[good], joined[good]))
        exact = ~known & (times == last * self._length)
        parts.append(Emitted(which[exact], last[exact].astype(np.int64), values[exact], quality[exact]))
        self._time[which], self._value[which], self._quality[which] = times, values, quality
        return Emitted.joined(parts)

    def rewind(self, now: float) -> None:
        """The clock was set back: readings of the time that has not come yet count as of now."""
        with np.errstate(invalid="ignore"):
            self._time[self._time > now] = now

    def close(self, number: int, received: Floats, quality: Words) -> Emitted:
        """End an interval for registers that stand still: read within the window, but no change was told.

        Args:
            number: the interval's number.
            received: Unix seconds of the last delivery of each point (changed or not).
            quality: present quality word of each point.
        """
        boundary = number * self._length
        with np.errstate(invalid="ignore"):
            still = (self._time < boundary) & (received >= boundary - self._window) & usable(quality)
        which = np.nonzero(still)[0]
        self._time[which] = boundary
        words = self._quality[which] | quality[which] & _KEPT
        return Emitted(which, np.full(len(which), number, np.int64), self._value[which].copy(), words)


class IntervalMeans:
    """Flows and voltages as they change, averaged over the interval, each value weighted with how long it held.

    Args:
        count: number of points.
        length: of an interval, s.
        least: share of the interval that must be known; less emits nothing, less than all is marked partial.
    """

    def __init__(self, count: int, length: float, *, least: float = 0.5) -> None:
        self._length = length
        self._least = least
        self._time = np.full(count, np.nan)
        self._value = np.full(count, np.nan)
        self._quality = np.zeros(count, np.uint32)
        self._sum = np.zeros(count)
        self._known = np.zeros(count)
        self._open = np.zeros(count, np.int64)

    def take(self, which: Index, times: Floats, values: Floats, quality: Words) -> Emitted:
        """Changes in order of time of each point; intervals that they end. An unusable value counts as not known."""
        values = np.where(usable(quality), values, np.nan)
        parts = [self._once(which[at], times[at], values[at], quality[at] & _KEPT) for at in rounds(which)]
        return Emitted.joined(parts)

    def _once(self, which: Index, times: Floats, values: Floats, quality: Words) -> Emitted:
        fresh = np.isnan(self._time[which])
        at = which[fresh]
        self._time[at], self._open[at] = times[fresh], np.floor(times[fresh] / self._length).astype(np.int64) + 1
        times = np.maximum(times, self._time[which])
        done = times >= self._open[which] * self._length
        out = self._finish(which[done])
        # After a silence over whole intervals nothing is said of those between.
        self._open[which[done]] = np.floor(times[done] / self._length).astype(np.int64) + 1
        self._time[which[done]] = np.maximum(self._time[which[done]], (self._open[which[done]] - 1) * self._length)
        self._flow(which, times)
        self._value[which] = values
        usable_now = ~np.isnan(values)
        self._quality[which[usable_now]] |= quality[usable_now]
        return out

    def rewind(self, now: float) -> None:
        """The clock was set back: points that are ahead begin again now, with the value that they have."""
        with np.errstate(invalid="ignore"):
            ahead = self._time > now
        self._time[ahead] = now
        self._open[ahead] = int(now // self._length) + 1
        self._sum[ahead] = self._known[ahead] = 0.0

    def close(self, number: int) -> Emitted:
        """End an interval for all points that have told nothing since."""
        which = np.nonzero(~np.isnan(self._time) & (self._open <= number))[0]
        behind = which[self._open[which] < number]
        self._finish(behind)
        self._open[behind], self._time[behind] = number, (number - 1) * self._length
        out = self._finish(which)
        self._open[which] = number + 1
        return out

    def _flow(self, which: Index, times: Floats) -> None:
        held = ~np.isnan(self._value[which])
        span = np.where(held, times - self._time[which], 0.0)
        self._sum[which] += np.where(held, self._value[which], 0.0) * span
        self._known[which] += span
        self._time[which] = times

    def _finish(self, which: Index) -> Emitted:
        """Emit the open interval of some points and begin the next."""
        self._flow(which, self._open[which].astype(np.float64) * self._length)
        known, total = self._known[which], self._sum[which]
        share = known / self._length
        enough = share >= self._least
        words = self._quality[which] | np.where(share < 0.999, np.uint32(Quality.PARTIAL), np.uint32(0))
        good = which[enough]
        out = Emitted(good, self._open[good].copy(), total[enough] / known[enough], words[enough].astype(np.uint32))
        self._sum[which] = self._known[which] = 0.0
        self._quality[which] = 0
        return out


def of_profile(
    which: Index, times: Floats, values: Floats, quality: Words, *, length: float, window: float = WINDOW_S
) -> Emitted:
    """Registers from load-profile rows: at the boundary as they are, near it interpolated between the rows around.

    Rows may come in any order; those far from a boundary (a shorter capture period) only serve as neighbours. A row at
    the edge of what is given takes the slope of the side that is there.
    """
    keep = usable(quality)
    which, times, values, quality = which[keep], times[keep], values[keep], quality[keep] & _KEPT
    order = np.lexsort((times, which))
    which, times, values, quality = which[order], times[order], values[order], quality[order]
    count = len(which)
    number = np.rint(times / length)
    offset = times - number * length
    picked = np.abs(offset) <= window
    same_before = np.concatenate([[False], which[1:] == which[:-1]]) if count else np.empty(0, bool)
    same_after = np.concatenate([which[1:] == which[:-1], [False]]) if count else np.empty(0, bool)
    index = np.arange(count)
    # A reading after the boundary looks back to the one before, an early one forward; else whatever side there is.
    back = np.where((offset > 0) & same_before | ~same_after, same_before, False)
    low = np.where(back, index - 1, index)
    high = np.where(back, index, np.where(same_after, index + 1, index))
    span = times[high] - times[low]
    slope = np.divide(values[high] - values[low], span, out=np.zeros(count), where=span > 0)
    picked &= (np.abs(offset) < 1e-3) | (span > 0)
    return Emitted(which[picked], number[picked].astype(np.int64), (values - slope * offset)[picked], quality[picked])


def of_profile_means(which: Index, times: Floats, values: Floats, quality: Words, *, length: float) -> Emitted:
    """Means from load-profile rows stamped at their end: the mean of the rows that end in each interval."""
    keep = usable(quality)
    which, times, values, quality = which[keep], times[keep], values[keep], quality[keep] & _KEPT
    if not len(which):
        return Emitted.joined([])
    number = np.ceil(times / length - 1e-6).astype(np.int64)
    order = np.lexsort((number, which))
    which, number, values, quality = which[order], number[order], values[order], quality[order]
    starts = np.nonzero(np.concatenate([[True], (which[1:] != which[:-1]) | (number[1:] != number[:-1])]))[0]
    counts = np.diff(np.append(starts, len(which)))
    means = np.add.reduceat(values, starts) / counts
    return Emitted(which[starts], number[starts], means, np.bitwise_or.reduceat(quality, starts))
