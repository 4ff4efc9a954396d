"""Aggregates that know time: interpolation, time averages, totals, bounds, durations by state and quality (Part 13)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from address_space.aggregates_regions import (
    Spans,
    simple_spans,
    sloped_course,
    state_spans,
    verdict,
)
from address_space.aggregates_series import (
    BAD_NO_DATA,
    CALCULATED,
    GOOD,
    INTERPOLATED,
    MULTIPLE_VALUES,
    PARTIAL,
    RESOLUTION,
    UNCERTAIN_SUB_NORMAL,
    Bound,
    Floats,
    Intervals,
    Mask,
    Series,
    Ticks,
    Words,
)
from address_space.aggregates_values import Positions, Processed, Slices, finished


def interpolative(series: Series, limits: Intervals) -> Processed:
    """Interpolative: the interpolated bounding value at the interval's start, extrapolated behind the data."""
    bound = series.interpolated_bounds(limits.start)
    return Processed(limits.start, bound.value, bound.status, bound.sample)


def time_average(series: Series, limits: Intervals, *, total: bool = False) -> Processed:
    """TimeAverage and Total: always along sloped lines between interpolated bounds, which reach across Bad values."""
    course = sloped_course(series, limits)
    value = course.area if total else course.area / np.where(course.seconds > 0, course.seconds, 1.0)
    status = np.where(course.whole, np.uint32(GOOD), np.uint32(UNCERTAIN_SUB_NORMAL)) | np.uint32(CALCULATED)
    # Behind the data the value is extrapolated, so only their beginning makes an interval partial.
    begins = (series.first > limits.low) & (series.first < limits.high)
    status = np.where(begins, status | np.uint32(PARTIAL), status)
    status = np.where(course.there, status, np.uint32(BAD_NO_DATA)).astype(np.uint32)
    return Processed(limits.start, np.where(course.there, value, np.nan), status, np.full(len(value), -1, np.int64))


def time_average2(series: Series, limits: Intervals, *, total: bool = False) -> Processed:
    """TimeAverage2 and Total2: over what is not Bad between simple bounds."""
    spans = simple_spans(series, limits)
    status = np.where(spans.used > 0, _judged(series, spans), np.uint32(BAD_NO_DATA))
    value = spans.area if total else spans.area / np.where(spans.used > 0, spans.used, 1.0)
    return finished(series, limits, value, status)


def _judged(series: Series, spans: Spans) -> Words:
    return verdict(spans.good, spans.bad, spans.used + spans.bad, series.configuration)


def start_bound(series: Series, limits: Intervals) -> Processed:
    """StartBound: the simple bounding value at the interval's start."""
    bound = series.simple_bounds(limits.start)
    return finished(series, limits, bound.value, bound.status, bits=0, sample=bound.sample)


def end_bound(series: Series, limits: Intervals) -> Processed:
    """EndBound: the simple bounding value at the interval's end."""
    bound = series.simple_bounds(limits.stop)
    status = _without_bits(bound)
    return finished(series, limits, bound.value, status, sample=bound.sample)


def _without_bits(bound: Bound) -> Words:
    return bound.status & np.uint32(0xFFFF_0000)


def delta_bounds(series: Series, limits: Intervals) -> Processed:
    """DeltaBounds: EndBound minus StartBound."""
    begin, stop = series.simple_bounds(limits.start), series.simple_bounds(limits.stop)
    good = (begin.status < 0x4000_0000) & (stop.status < 0x4000_0000)
    status = np.where(good, np.uint32(GOOD), np.uint32(UNCERTAIN_SUB_NORMAL))
    status = np.where(begin.there & stop.there, status, np.uint32(BAD_NO_DATA))
    return finished(series, limits, stop.value - begin.value, status)


def duration_in_state(series: Series, limits: Intervals, *, zero: bool) -> Processed:
    """DurationInStateZero and NonZero: milliseconds of Good regions whose value is zero, or is not."""
    spans = state_spans(series, limits)
    whole = spans.good + spans.uncertain + spans.bad
    status = verdict(spans.good, spans.bad, whole, series.configuration)
    return finished(series, limits, (spans.zero if zero else spans.other) * 1000, status)


def duration_of_quality(series: Series, limits: Intervals, *, bad: bool, percent: bool) -> Processed:
    """DurationGood, DurationBad (ms), PercentGood and PercentBad (of the interval)."""
    spans = state_spans(series, limits)
    seconds = spans.bad if bad else spans.good
    length = (limits.high - limits.low) * 1e-7
    value = seconds / length * 100 if percent else seconds * 1000
    return finished(series, limits, value, np.zeros(len(value), np.uint32))


class _Candidate(NamedTuple):
    """What may be the extreme of each interval: amounts to be the least, with what is told when it is."""

    amount: Floats
    time: Ticks
    bits: Words
    sample: Positions


def _at_bound(bound: Bound, times: Ticks, sign: int, bits: Words) -> _Candidate:
    return _Candidate(np.where(bound.there, bound.value * sign, np.inf), times, bits, bound.sample)


def _best2(series: Series, limits: Intervals, sign: int, *, actual_time: bool) -> tuple[_Candidate, Mask]:
    """Least of the bounds and the values between; the oldest wins. Whether there are several too.

    The bound at the interval's end counts on a slope only, and is told at the EffectiveEndTime.
    """
    interpolated, calculated = np.uint32(INTERPOLATED), np.uint32(CALCULATED)
    begin, stop = series.simple_bounds(limits.start), series.simple_bounds(limits.stop)
    of_begin = np.where(begin.status & 0x3 == 0x2, interpolated, 0).astype(np.uint32)
    of_stop = np.where(actual_time | (stop.status & 0x3 == 0x2), interpolated, calculated).astype(np.uint32)
    effective = limits.stop + (RESOLUTION if limits.reverse else -RESOLUTION)
    near, far = _at_bound(begin, limits.start, sign, of_begin), _at_bound(stop, effective, sign, of_stop)
    if series.stepped:
        far = far._replace(amount=np.full(len(effective), np.inf))
    # Only samples strictly between: one at a limit is the bound.
    low = np.searchsorted(series.time, limits.low, "right").astype(np.int64)
    high = np.searchsorted(series.time, limits.high, "left").astype(np.int64)
    parts = Slices(low, np.maximum(low, high))
    amounts = np.where(series.bad, np.inf, series.value * sign)
    least = parts.least(amounts)
    hits = parts.equal(amounts, least) & ~series.bad
    place = parts.first(hits)
    inner_bits = np.full(len(least), np.uint32(0) if actual_time else calculated)
    inner = _Candidate(least, series.time[place], inner_bits, place)
    order = (far, inner, near) if limits.reverse else (near, inner, far)
    best = np.minimum(np.minimum(near.amount, least), far.amount)
    number = parts.sums(hits.astype(np.float64)) * (least == best) + (near.amount == best) + (far.amount == best)
    which = [each.amount == best for each in order]
    chosen = _Candidate(
        best,
        np.select(which, [each.time for each in order]),
        np.select(which, [each.bits for each in order]),
        np.select(which, [each.sample for each in order]),
    )
    return chosen, number > 1


def extreme2(series: Series, limits: Intervals, sign: int, *, actual_time: bool) -> Processed:
    """Minimum2, Maximum2 and their ActualTime forms: of usable values and simple bounds."""
    best, several = _best2(series, limits, sign, actual_time=actual_time)
    there = np.isfinite(best.amount)
    spans = simple_spans(series, limits)
    status = np.where(there, _judged(series, spans), np.uint32(BAD_NO_DATA))
    bits = best.bits | np.where(several, np.uint32(MULTIPLE_VALUES), np.uint32(0))
    time = best.time if actual_time else None
    return finished(series, limits, best.amount * sign, status, bits=bits, time=time, sample=best.sample)


def range2(series: Series, limits: Intervals) -> Processed:
    """Range2: Maximum2 minus Minimum2."""
    low = extreme2(series, limits, 1, actual_time=False)
    high = extreme2(series, limits, -1, actual_time=False)
    worst = np.maximum(low.status, high.status)
    status = np.where(worst >= 0x4000_0000, np.uint32(UNCERTAIN_SUB_NORMAL), np.uint32(GOOD))
    status = np.where(worst >= 0x8000_0000, np.uint32(BAD_NO_DATA), status)
    return finished(series, limits, high.value - low.value, status)
