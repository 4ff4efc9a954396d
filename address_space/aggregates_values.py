"""Aggregates of the raw values of an interval (Part 13): counts, means, extremes, first and last, quality, spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from address_space.aggregates_regions import verdict
from address_space.aggregates_series import (
    BAD_NO_DATA,
    CALCULATED,
    GOOD,
    MULTIPLE_VALUES,
    PARTIAL,
    UNCERTAIN_SUB_NORMAL,
    Floats,
    Intervals,
    Mask,
    Series,
    Ticks,
    Words,
)

Positions = npt.NDArray[np.int64]
_FAR = np.iinfo(np.int64).max


class Processed(NamedTuple):
    """Results, one an interval.

    Attributes:
        time: timestamp of each, ticks.
        value: as float64; meaningless where the status is Bad.
        status: StatusCodes with the historian bits.
        sample: position of the sample whose value it is unchanged; -1 where it was computed.
    """

    time: Ticks
    value: Floats
    status: Words
    sample: Positions

    @property
    def empty(self) -> Mask:
        """Where there is no value."""
        return self.status >= 0x8000_0000


@dataclass(frozen=True, slots=True)
class Slices:
    """Which samples lie in which interval.

    Attributes:
        begin, end: positions of the first sample of each and the first one behind it.
    """

    begin: Positions
    end: Positions

    @property
    def count(self) -> Positions:
        """Samples of each interval."""
        return self.end - self.begin

    def sums(self, amounts: Floats) -> Floats:
        """Sum over each interval."""
        return self._reduced(np.add, amounts.astype(np.float64), 0.0)

    def least(self, amounts: Floats) -> Floats:
        """Smallest of each interval; infinite for none."""
        return self._reduced(np.minimum, amounts, np.inf)

    def first(self, wanted: Mask) -> Positions:
        """Position of the first wanted sample of each interval; -1 for none."""
        found = self._reduced(np.minimum, np.where(wanted, np.arange(len(wanted), dtype=np.int64), _FAR), _FAR)
        return np.where(found == _FAR, -1, found)

    def last(self, wanted: Mask) -> Positions:
        """Position of the last wanted sample of each interval; -1 for none."""
        return self._reduced(np.maximum, np.where(wanted, np.arange(len(wanted), dtype=np.int64), -1), -1)

    def _reduced(self, how: np.ufunc, amounts: npt.NDArray[Any], nothing: float) -> npt.NDArray[Any]:
        if not len(self.begin):
            return amounts[:0]
        padded = np.append(amounts, np.asarray(nothing, amounts.dtype))
        limits = np.stack((self.begin, self.end), 1).ravel()
        found: npt.NDArray[Any] = how.reduceat(padded, limits)[::2]
        return np.where(self.count > 0, found, np.asarray(nothing, amounts.dtype))

    def spread(self, one_each: Floats) -> Floats:
        """The number of each interval at each of its samples, in the order of `positions`."""
        return np.repeat(one_each, self.count)

    @property
    def positions(self) -> Positions:
        """Positions of all samples that are in an interval, interval by interval."""
        count = self.count
        return np.repeat(self.begin - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))

    def equal(self, amounts: Floats, one_each: Floats) -> Mask:
        """Which samples equal the number of their interval."""
        found = np.zeros(len(amounts), np.bool_)
        positions = self.positions
        found[positions] = amounts[positions] == self.spread(one_each)
        return found


def slices(series: Series, limits: Intervals) -> Slices:
    """The samples of each interval: [low, high), or (low, high] when time flows backward."""
    side: Literal["left", "right"] = "right" if limits.reverse else "left"
    return Slices(
        np.searchsorted(series.time, limits.low, side).astype(np.int64),
        np.searchsorted(series.time, limits.high, side).astype(np.int64),
    )


def outside(series: Series, limits: Intervals) -> Mask:
    """Intervals before the first sample or behind the last known one: BadNoData."""
    if limits.reverse:
        return (limits.high < series.first) | (limits.low >= series.last)
    return (limits.high <= series.first) | (limits.low > series.last)


def partial(series: Series, limits: Intervals) -> Mask:
    """Intervals that the data begin or end in (Part 13, 5.3.3.2)."""
    begins = (series.first > limits.low) & (series.first < limits.high)
    if limits.reverse:
        return begins | ((series.last > limits.low) & (series.last < limits.high))
    return begins | ((series.last >= limits.low) & (series.last < limits.high))


def finished(
    series: Series,
    limits: Intervals,
    value: Floats,
    status: Words,
    *,
    bits: int | Words = CALCULATED,
    time: Ticks | None = None,
    sample: Positions | None = None,
    partially: bool = True,
) -> Processed:
    """Results with their bits; nothing outside of the data.

    Args:
        series: what they belong to.
        limits: the intervals.
        value: the values.
        status: StatusCodes without bits.
        bits: historian bits of what is not Bad.
        time: other timestamps than the intervals' starts, where not negative.
        sample: as in `Processed`.
        partially: whether the aggregate tells partial intervals.
    """
    gone = outside(series, limits)
    status = np.where(status >= 0x8000_0000, status, status | np.asarray(bits, np.uint32)).astype(np.uint32)
    if partially:
        status = np.where(partial(series, limits), status | np.uint32(PARTIAL), status).astype(np.uint32)
    status = np.where(gone, np.uint32(BAD_NO_DATA), status).astype(np.uint32)
    empty = status >= 0x8000_0000
    start = limits.start if time is None else np.where((time < 0) | empty, limits.start, time)
    taken = np.full(len(value), -1, np.int64) if sample is None else np.where(empty, -1, sample)
    return Processed(start.astype(np.int64), np.where(empty, np.nan, value), status, taken)


def _judged(series: Series, parts: Slices) -> Words:
    """StatusCode Calculation by the numbers of values."""
    return verdict(
        parts.sums(series.good.astype(np.float64)),
        parts.sums(series.bad.astype(np.float64)),
        parts.count.astype(np.float64),
        series.configuration,
    )


def average(series: Series, limits: Intervals) -> Processed:
    """Average: sum of the Good raw values by their number."""
    parts = slices(series, limits)
    number = parts.sums(series.good.astype(np.float64))
    total = parts.sums(np.where(series.good, series.value, 0.0))
    status = np.where(number > 0, _judged(series, parts), np.uint32(BAD_NO_DATA))
    return finished(series, limits, total / np.maximum(number, 1), status, partially=False)


def count(series: Series, limits: Intervals) -> Processed:
    """Count: number of Good raw values, 0 for an interval without values inside the data."""
    parts = slices(series, limits)
    return finished(series, limits, parts.sums(series.good.astype(np.float64)), _judged(series, parts))


def annotation_count(series: Series, limits: Intervals) -> Processed:
    """AnnotationCount: none are kept, so 0."""
    nothing = np.zeros(len(limits.low))
    return finished(series, limits, nothing, nothing.astype(np.uint32), partially=False)


def number_of_transitions(series: Series, limits: Intervals) -> Processed:
    """NumberOfTransitions: usable values that differ from the usable one before; a first one without any counts."""
    parts, usable = slices(series, limits), series.usable
    changed = np.zeros(len(series), np.float64)
    values = series.value[usable]
    changed[usable] = np.concatenate(((1.0,), values[1:] != values[:-1])) if len(usable) else 0.0
    return finished(series, limits, parts.sums(changed), _judged(series, parts))


def start(series: Series, limits: Intervals) -> Processed:
    """Start: the earliest raw value with its status and time."""
    return _raw(series, limits, slices(series, limits).first(np.ones(len(series), np.bool_)))


def end(series: Series, limits: Intervals) -> Processed:
    """End: the latest raw value with its status and time."""
    return _raw(series, limits, slices(series, limits).last(np.ones(len(series), np.bool_)))


def _raw(series: Series, limits: Intervals, sample: Positions) -> Processed:
    there = sample >= 0
    status = np.where(there, series.status[sample], np.uint32(BAD_NO_DATA)) | np.where(
        there & partial(series, limits), np.uint32(PARTIAL), np.uint32(0)
    )
    gone = outside(series, limits) | ~there
    # The raw value is returned whatever its status is, so its time is too.
    return Processed(
        np.where(gone, limits.start, series.time[sample]),
        np.where(gone, np.nan, series.value[sample]),
        np.where(gone, np.uint32(BAD_NO_DATA), status).astype(np.uint32),
        np.where(gone, -1, sample),
    )


def delta(series: Series, limits: Intervals) -> Processed:
    """Delta: latest minus earliest Good raw value."""
    parts = slices(series, limits)
    first, last = parts.first(series.good), parts.last(series.good)
    skipped = (first != parts.begin) | (last != parts.end - 1)
    status = np.where(skipped, np.uint32(UNCERTAIN_SUB_NORMAL), np.uint32(GOOD))
    status = np.where(first < 0, np.uint32(BAD_NO_DATA), status)
    return finished(series, limits, series.value[last] - series.value[first], status)


class _Extreme(NamedTuple):
    value: Floats
    sample: Positions
    several: Mask
    status: Words


def _extreme(series: Series, limits: Intervals, sign: int) -> _Extreme:
    """Smallest (sign 1) or largest (-1) Good raw value: value, first position, whether there are several, status."""
    parts = slices(series, limits)
    amounts = series.value * sign
    best = parts.least(np.where(series.good, amounts, np.inf))
    at_best = series.good & parts.equal(amounts, best)
    beyond = parts.least(np.where(series.uncertain, amounts, np.inf)) < best
    doubtful = (parts.sums(series.bad.astype(np.float64)) > 0) | beyond
    status = np.where(doubtful, np.uint32(UNCERTAIN_SUB_NORMAL), np.uint32(GOOD))
    sample = parts.first(at_best)
    status = np.where(sample < 0, np.uint32(BAD_NO_DATA), status).astype(np.uint32)
    return _Extreme(best * sign, sample, parts.sums(at_best.astype(np.float64)) > 1, status)


def extreme(series: Series, limits: Intervals, sign: int, *, actual_time: bool) -> Processed:
    """Minimum, Maximum and their ActualTime forms.

    Part 13's table also sets Calculated for an ActualTime result of lesser status, its examples do not; the examples
    are followed.
    """
    found = _extreme(series, limits, sign)
    bits = np.where(found.several, np.uint32(MULTIPLE_VALUES), np.uint32(0))
    times = np.where(found.sample >= 0, series.time[found.sample], -1)
    if actual_time:
        return finished(series, limits, found.value, found.status, bits=bits, time=times, sample=found.sample)
    made = (times != limits.start) | (found.status != GOOD)
    bits |= np.where(made, np.uint32(CALCULATED), np.uint32(0))
    return finished(series, limits, found.value, found.status, bits=bits, sample=found.sample)


def value_range(series: Series, limits: Intervals) -> Processed:
    """Range: Maximum minus Minimum."""
    low, high = _extreme(series, limits, 1), _extreme(series, limits, -1)
    empty = low.sample < 0
    span = np.where(empty, 0.0, high.value) - np.where(empty, 0.0, low.value)
    return finished(series, limits, span, np.maximum(low.status, high.status))


def spread(series: Series, limits: Intervals, *, sample: bool, root: bool) -> Processed:
    """StandardDeviation and Variance of the Good raw values, of a sample (n - 1) or a population (n); 0 for one."""
    parts = slices(series, limits)
    number = parts.sums(series.good.astype(np.float64))
    mean = parts.sums(np.where(series.good, series.value, 0.0)) / np.maximum(number, 1)
    squares = np.zeros(len(series))
    inside = parts.positions
    away = series.value[inside] - parts.spread(mean)
    squares[inside] = np.where(series.good[inside], away * away, 0.0)
    value = parts.sums(squares) / np.maximum(number - 1 if sample else number, 1)
    status = np.where(number > 0, _judged(series, parts), np.uint32(BAD_NO_DATA))
    return finished(series, limits, np.sqrt(value) if root else value, status)


def worst_quality(series: Series, limits: Intervals, *, bounds: bool) -> Processed:
    """WorstQuality: the first of the worst StatusCodes, as a number; WorstQuality2 with the simple start bound too.

    How Uncertain is treated does not matter; with several of the same severity MultipleValues is set.
    """
    parts = slices(series, limits)
    severity = (series.status >> 30).clip(0, 2).astype(np.float64)
    worst = np.where(parts.count > 0, -parts.least(-severity), -1.0)
    at_worst = parts.equal(severity, worst)
    first = parts.first(at_worst)
    number = parts.sums(at_worst.astype(np.float64))
    code = np.where(first >= 0, series.status[first] & np.uint32(0xFFFF_0000), 0)
    if bounds:
        bound = series.simple_bounds(limits.start)
        place = (np.searchsorted(series.time, limits.start, "right") - 1).clip(0)
        apart = (bound.sample < 0) | (series.time[place] != limits.start)
        of_bound = (bound.status >> 30).clip(0, 2).astype(np.float64)
        leads = apart & (of_bound >= worst) & (not limits.reverse) | apart & (of_bound > worst)
        number = np.where(apart & (of_bound == worst), number + 1, np.where(apart & (of_bound > worst), 1, number))
        code = np.where(leads, bound.status & np.uint32(0xFFFF_0000), code)
        worst = np.where(apart, np.maximum(worst, of_bound), worst)
    status = np.where(worst < 0, np.uint32(BAD_NO_DATA), np.uint32(GOOD))
    several = np.where((number > 1) & (worst > 0), np.uint32(MULTIPLE_VALUES), np.uint32(0))
    return finished(series, limits, code.astype(np.float64), status, bits=several | np.uint32(CALCULATED))
