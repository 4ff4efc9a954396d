"""Samples of one point as the aggregates of OPC UA Part 13 see them: usable samples, bounding values, intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ticks = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

GOOD: Final = 0
BAD: Final = 0x8000_0000
BAD_NO_DATA: Final = 0x809B_0000
UNCERTAIN_SUB_NORMAL: Final = 0x40A4_0000
# InfoType DataValue and the historian bits (Part 4, 7.39.1); a raw value has none of them.
CALCULATED: Final = 0x401
INTERPOLATED: Final = 0x402
PARTIAL: Final = 0x404
EXTRA_DATA: Final = 0x408
MULTIPLE_VALUES: Final = 0x410

RESOLUTION: Final = 10_000
"""Ticks of the time resolution: the last known sample counts for so long (Part 13, 5.4.2.4), and EffectiveEndTime."""


@dataclass(frozen=True, slots=True)
class AggregateConfiguration:
    """How aggregates treat quality (Part 13, 4.2.1.2).

    Attributes:
        treat_uncertain_as_bad: samples of Uncertain status are not used.
        percent_bad: least percentage of Bad data that makes a result Bad.
        percent_good: least percentage of Good data that makes a result Good.
        sloped_extrapolation: behind the last sample go on along the last line rather than hold the value.
    """

    treat_uncertain_as_bad: bool = True
    percent_bad: int = 100
    percent_good: int = 100
    sloped_extrapolation: bool = False

    @property
    def valid(self) -> bool:
        """Whether every ratio of Good and Bad data has one verdict: good >= 100 - bad, both up to 100."""
        percents = (self.percent_bad, self.percent_good)
        return all(0 <= each <= 100 for each in percents) and self.percent_good >= 100 - self.percent_bad


class Bound(NamedTuple):
    """Bounding values, one a time.

    Attributes:
        value: NaN where there is none.
        status: the raw status where a sample stands at the time, else with `INTERPOLATED`; BadNoData for none.
        sample: position of the sample that it was taken from unchanged; -1 when it was computed.
    """

    value: Floats
    status: Words
    sample: npt.NDArray[np.int64]

    @property
    def there(self) -> Mask:
        """Where there is a value."""
        return self.status < BAD


@dataclass(frozen=True)
class Series:
    """Samples of one point in order of time; at least one of them.

    What lies around the range asked for belongs to it: the nearest usable samples before and behind, where there are.

    Attributes:
        time: SourceTimestamps, ticks, int64, ascending.
        value: values as float64 (texts as numbers that differ where the texts do); what is Bad may be anything.
        status: StatusCodes, uint32.
        stepped: values hold until the next one (discrete points), rather than follow a line to it.
        configuration: how quality counts.
        until: the last sample is known to hold until then, ticks, because the point is still watched; None when
            nothing is known behind it.
    """

    time: Ticks
    value: Floats
    status: Words
    stepped: bool = False
    configuration: AggregateConfiguration = AggregateConfiguration()
    until: int | None = None

    @staticmethod
    def of(
        time: Ticks,
        value: Floats,
        status: Words,
        *,
        stepped: bool = False,
        configuration: AggregateConfiguration = AggregateConfiguration(),
        until: int | None = None,
    ) -> Series | None:
        """A series without the BadNoData marks at its ends, which are no data; None when nothing remains."""
        data = np.nonzero((status & 0xFFFF_0000) != BAD_NO_DATA)[0]
        if not len(data):
            return None
        part = slice(int(data[0]), int(data[-1]) + 1)
        if data[-1] != len(time) - 1:
            until = None
        last = int(time[part][-1])
        return Series(
            time[part], value[part], status[part], stepped, configuration, until if until and until > last else None
        )

    def __len__(self) -> int:
        return len(self.time)

    @property
    def first(self) -> int:
        """Start of the data, ticks."""
        return int(self.time[0])

    @property
    def last(self) -> int:
        """The newest time of which something is known, ticks."""
        return self.until or int(self.time[-1])

    @property
    def end(self) -> int:
        """End of the last sample's region, ticks."""
        return self.until or int(self.time[-1]) + RESOLUTION

    @cached_property
    def good(self) -> Mask:
        """Samples of Good status whose value is a number."""
        return (self.status < 0x4000_0000) & self._finite

    @cached_property
    def _finite(self) -> Mask:
        return np.isfinite(self.value)

    @cached_property
    def bad(self) -> Mask:
        """Samples that are not used: Bad ones, values that are not finite, Uncertain ones where treated as Bad."""
        return ~self.good if self.configuration.treat_uncertain_as_bad else (self.status >= BAD) | ~self._finite

    @cached_property
    def uncertain(self) -> Mask:
        """Uncertain samples that are used."""
        return ~self.good & ~self.bad

    @cached_property
    def usable(self) -> npt.NDArray[np.int64]:
        """Positions of the samples that are used."""
        return np.nonzero(~self.bad)[0]

    # ---- bounding values --------------------------------------------------------------------------------------------

    def simple_bounds(self, times: Ticks) -> Bound:
        """Simple Bounding Values (Part 13, 3.1.9) at some times: from the samples right before and behind."""
        count = len(self)
        before = np.searchsorted(self.time, times, "right") - 1
        at = np.clip(before, 0, None)
        after = np.minimum(at + 1, count - 1)
        exact = (before >= 0) & (self.time[at] == times)
        inside = (before >= 0) & (before < count - 1)
        held = np.zeros(len(times), np.bool_) if self.until is None else (before == count - 1) & (times <= self.until)
        there = (exact | inside | held) & ~self.bad[at]
        doubtful = self.uncertain[at].copy()
        sloped = np.zeros(len(times), np.bool_)
        if not self.stepped:
            doubtful |= inside & ~exact & ~self.good[after]
            sloped = inside & ~exact & ~self.bad[after]
        value = np.where(sloped, self._line(at, after, times), self.value[at])
        status = np.where(doubtful, np.uint32(UNCERTAIN_SUB_NORMAL), np.uint32(GOOD)) | np.uint32(INTERPOLATED)
        status = np.where(exact, self.status[at], status)
        return _bound(there, value, status.astype(np.uint32), np.where(sloped, -1, at))

    def interpolated_bounds(self, times: Ticks, *, stepped: bool | None = None) -> Bound:
        """Interpolated Bounding Values (Part 13, 3.1.8): from the nearest usable samples, behind the last one too.

        Args:
            times: where.
            stepped: for aggregates that always slope; the series' own way without it.
        """
        usable, stepped = self.usable, self.stepped if stepped is None else stepped
        if not len(usable):
            return _bound(np.zeros(len(times), np.bool_), np.zeros(len(times)), np.zeros(len(times), np.uint32), None)
        moments = self.time[usable]
        place = np.searchsorted(moments, times, "right") - 1
        there = place >= 0
        place = np.clip(place, 0, None)
        before = usable[place]
        exact = there & (self.time[before] == times)
        followed = place < len(usable) - 1
        after = usable[np.minimum(place + 1, len(usable) - 1)]
        newest = np.searchsorted(self.time, times, "right") - 1
        held = np.zeros(len(times), np.bool_)
        if self.until is not None:
            held = (before == len(self) - 1) & (times <= self.until)
        sample = before.copy()
        value = self.value[before]
        if stepped:
            doubtful = self.uncertain[before] | (newest != before) | ((times > self.time[-1]) & ~held)
        else:
            across = self.uncertain[before] | self.uncertain[after] | (after != before + 1)
            doubtful = np.where(followed, across, np.where(held, self.uncertain[before], True))
            sloped = followed & ~exact
            value = np.where(sloped, self._line(before, after, times), value)
            if self.configuration.sloped_extrapolation and len(usable) > 1:
                beyond = ~followed & ~held & ~exact
                value = np.where(beyond, self._line(usable[place - 1], before, times), value)
                sloped |= beyond
            sample = np.where(sloped, -1, sample)
        status = np.where(doubtful, np.uint32(UNCERTAIN_SUB_NORMAL), np.uint32(GOOD)) | np.uint32(INTERPOLATED)
        status = np.where(exact, self.status[before], status)
        return _bound(there, value, status.astype(np.uint32), sample)

    def _line(self, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], times: Ticks) -> Floats:
        """Value at some times of the lines through pairs of samples."""
        span = np.maximum(self.time[after] - self.time[before], 1)
        part = (times - self.time[before]) / span
        start = self.value[before]
        line: Floats = start + (self.value[after] - start) * part
        return line


def _bound(there: Mask, value: Floats, status: Words, sample: npt.NDArray[np.int64] | None) -> Bound:
    return Bound(
        np.where(there, value, np.nan),
        np.where(there, status, np.uint32(BAD_NO_DATA)).astype(np.uint32),
        np.full(len(value), -1, np.int64) if sample is None else np.where(there, sample, -1).astype(np.int64),
    )


class Intervals(NamedTuple):
    """Intervals in order of time.

    Attributes:
        low, high: their limits, ticks; without `reverse` the low one belongs to an interval, with it the high one.
        reverse: time flows backward: each interval starts at its high limit.
    """

    low: Ticks
    high: Ticks
    reverse: bool = False

    @property
    def start(self) -> Ticks:
        """Where each interval starts."""
        return self.high if self.reverse else self.low

    @property
    def stop(self) -> Ticks:
        """Where each interval ends."""
        return self.low if self.reverse else self.high


def interval_count(start: int, end: int, interval: int) -> int:
    """How many intervals a range gives (Part 13, Table 12); 0 for an empty range. All in ticks, 0 for one interval."""
    span = abs(end - start)
    if not span:
        return 0
    return 1 if interval <= 0 or interval >= span else -(-span // interval)


def intervals(start: int, end: int, interval: int, skip: int = 0, most: int | None = None) -> Intervals:
    """Intervals of a range (Part 13, 5.4.2.2) in order of time; the one farthest from the start may be shorter.

    Args:
        start: of the range, ticks; behind the end when time flows backward.
        end: of the range.
        interval: ProcessingInterval in ticks; 0 for the whole range.
        skip: how many to leave out, from the start.
        most: how many at most.
    """
    count = interval_count(start, end, interval)
    last = count if most is None else min(count, skip + most)
    width = min(interval if interval > 0 else abs(end - start), abs(end - start))
    numbers = np.arange(skip, last, dtype=np.int64)
    if end >= start:
        low = start + numbers * width
        return Intervals(low, np.minimum(low + width, end))
    high = (start - numbers * width)[::-1]
    return Intervals(np.maximum(high - width, end), high, True)
