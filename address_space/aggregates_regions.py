"""Time-weighted parts of aggregates (Part 13, 5.4.3.2): regions between samples, their areas and durations by quality.

Everything is a running sum over the regions of the series, read at the limits of the intervals; times in seconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from address_space.aggregates_series import (
    BAD,
    BAD_NO_DATA,
    GOOD,
    UNCERTAIN_SUB_NORMAL,
    AggregateConfiguration,
    Bound,
    Floats,
    Intervals,
    Mask,
    Series,
    Ticks,
    Words,
)

_SECOND = 1e-7


class Spans(NamedTuple):
    """Seconds of each interval by quality, and the area below the usable part.

    Attributes:
        good, uncertain, bad: durations; before the first sample is Bad, behind the last known one nothing counts.
        area: integral of the usable regions, value x seconds.
    """

    good: Floats
    uncertain: Floats
    bad: Floats
    area: Floats

    @property
    def used(self) -> Floats:
        """Seconds that are not Bad."""
        return self.good + self.uncertain


def simple_spans(series: Series, limits: Intervals) -> Spans:
    """Regions by Simple Bounding Values: each begins at a sample and has its quality; a line needs both ends usable."""
    count, sloped = len(series), not series.stepped
    length = np.diff(np.append(series.time, series.end)) * _SECOND
    doubtful = series.uncertain.copy()
    line = np.zeros(count, np.bool_)
    if sloped:
        doubtful[:-1] |= ~series.bad[:-1] & ~series.good[1:]
        line[:-1] = ~series.bad[1:]
        if series.until is None:
            doubtful[-1] = not series.bad[-1]
    usable = ~series.bad
    value = np.where(usable, series.value, 0.0)
    slope = np.zeros(count)
    slope[:-1] = np.where(line[:-1] & usable[:-1], np.diff(value) / np.maximum(length[:-1], _SECOND), 0.0)
    good, uncertain = usable & ~doubtful, usable & doubtful
    sums = [_running(length * each) for each in (good, uncertain, series.bad)]
    areas = _running(length * (value + slope * length / 2))

    def read(times: Ticks) -> tuple[Floats, Floats, Floats, Floats]:
        known = np.clip(times, series.first, series.end)
        place = np.clip(np.searchsorted(series.time, known, "right") - 1, 0, None)
        rest = (known - series.time[place]) * _SECOND
        durations = [
            total[place] + rest * each[place] for total, each in zip(sums, (good, uncertain, series.bad), strict=True)
        ]
        area = areas[place] + rest * (value[place] + slope[place] * rest / 2)
        return durations[0], durations[1], durations[2], area

    low, high = read(limits.low), read(limits.high)
    before = np.clip(np.minimum(limits.high, series.first) - limits.low, 0, None) * _SECOND
    return Spans(high[0] - low[0], high[1] - low[1], high[2] - low[2] + before, high[3] - low[3])


class StateSpans(NamedTuple):
    """Seconds of each interval by the quality of the sample that begins a region; values hold in it.

    Attributes:
        good, uncertain, bad: durations.
        zero, other: durations of Good regions whose value is zero, or is not.
    """

    good: Floats
    uncertain: Floats
    bad: Floats
    zero: Floats
    other: Floats


def state_spans(series: Series, limits: Intervals) -> StateSpans:
    """Regions that begin with a sample; the first one of an interval has the status and value of its simple bound."""
    length = np.diff(np.append(series.time, series.end)) * _SECOND
    zero = series.good & (series.value == 0)
    kinds: list[Mask] = [series.good, series.uncertain, series.bad, zero, series.good & ~zero]
    sums = [_running(length * each) for each in kinds]

    def read(times: Ticks) -> list[Floats]:
        known = np.clip(times, series.first, series.end)
        place = np.clip(np.searchsorted(series.time, known, "right") - 1, 0, None)
        rest = (known - series.time[place]) * _SECOND
        return [total[place] + rest * each[place] for total, each in zip(sums, kinds, strict=True)]

    low, high = read(limits.low), read(limits.high)
    found = [above - below for above, below in zip(high, low, strict=True)]
    found[2] = found[2] + np.clip(np.minimum(limits.high, series.first) - limits.low, 0, None) * _SECOND
    # The part of a region that was cut off by the interval's beginning counts as its bound does.
    place = np.searchsorted(series.time, limits.low, "right") - 1
    cut = (place >= 0) & (series.time[np.clip(place, 0, None)] != limits.low) & (limits.low < series.end)
    place = np.clip(place, 0, None)
    following = np.append(series.time, series.end)[place + 1]
    first = np.where(cut, np.clip(np.minimum(limits.high, following) - limits.low, 0, None) * _SECOND, 0.0)
    bound = series.simple_bounds(limits.low)
    nought = bound.value == 0
    now: list[Mask] = [
        bound.status < 0x4000_0000,
        bound.there & (bound.status >= 0x4000_0000),
        ~bound.there,
        (bound.status < 0x4000_0000) & nought,
        (bound.status < 0x4000_0000) & ~nought,
    ]
    good, uncertain, bad, none, other = (
        total + first * (after.astype(np.float64) - before[place])
        for total, after, before in zip(found, now, kinds, strict=True)
    )
    return StateSpans(good, uncertain, bad, none, other)


class Course(NamedTuple):
    """The line through the usable samples, over each interval.

    Attributes:
        seconds: of the interval from the first usable sample on.
        area: value x seconds.
        whole: the interval lies between Good samples with nothing unusable between them.
        there: some of it is known.
    """

    seconds: Floats
    area: Floats
    whole: Mask
    there: Mask


def sloped_course(series: Series, limits: Intervals) -> Course:
    """Interpolated bounds and sloped lines, whatever the series is (TimeAverage and Total), extrapolated at the end."""
    usable = series.usable
    if not len(usable):
        nothing = np.zeros(len(limits.low))
        return Course(nothing, nothing, nothing > 0, nothing > 0)
    time, value = series.time[usable], series.value[usable]
    length = np.diff(time) * _SECOND
    areas = _running(length * (value[:-1] + value[1:]) / 2)
    clean = series.good[usable]
    doubtful = ~(clean[:-1] & clean[1:]) | (np.diff(usable) != 1)
    doubts = _running(doubtful.astype(np.float64))

    def read(times: Ticks, bound: Bound) -> Floats:
        place = np.searchsorted(time, times, "right") - 1
        at = np.clip(place, 0, None)
        rest = (times - time[at]) * _SECOND
        area: Floats = np.where(place < 0, 0.0, areas[at] + rest * (value[at] + bound.value) / 2)
        return area

    low = np.maximum(limits.low, time[0])
    high = np.maximum(limits.high, low)
    area = read(high, series.interpolated_bounds(high, stepped=False)) - read(
        low, series.interpolated_bounds(low, stepped=False)
    )
    begin = np.clip(np.searchsorted(time, low, "right") - 1, 0, None)
    close = np.clip(np.searchsorted(time, high, "left") - 1, begin - 1, None)
    last = int(usable[-1]) == len(series) - 1 and bool(clean[-1])
    known = series.last if last else int(time[-1])
    inner = np.minimum(close + 1, len(time) - 1)
    whole = (limits.low >= time[0]) & (high <= known) & (doubts[inner] - doubts[np.minimum(begin, inner)] == 0)
    return Course((high - low) * _SECOND, area, whole, limits.high > time[0])


def _running(amounts: Floats) -> Floats:
    return np.concatenate(((0.0,), np.cumsum(amounts)))


def verdict(good: Floats, bad: Floats, total: Floats, configuration: AggregateConfiguration) -> Words:
    """StatusCode Calculation (Part 13, 5.4.3.2.1) of amounts of time or numbers of values; Good when there is none.

    Uncertain data are neither Good nor Bad here, unless they were counted as Bad because they are treated so.
    """
    whole = np.where(total > 0, total, 1.0)
    bad_share, good_share = bad / whole * 100, good / whole * 100
    # Sums of durations are not exact; a millionth of a percent is.
    is_bad = (bad_share >= configuration.percent_bad - 1e-6) & (bad > 0)
    is_good = good_share >= configuration.percent_good - 1e-6
    if configuration.percent_good == 100 - configuration.percent_bad:
        is_bad &= ~is_good
    status = np.where(is_bad, BAD, np.where(is_good | (total <= 0), GOOD, UNCERTAIN_SUB_NORMAL))
    status = np.where(is_bad & (good + (total - good - bad) <= whole * 1e-9), BAD_NO_DATA, status)
    return status.astype(np.uint32)
