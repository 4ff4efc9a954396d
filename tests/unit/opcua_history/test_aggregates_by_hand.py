"""The aggregates on columns against those worked out one sample at a time, on series of all kinds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.opcua.aggregates_by_hand import BAD, GOOD, UNCERTAIN, Dot, Hand

from address_space.aggregates import AGGREGATES
from address_space.aggregates_series import AggregateConfiguration, Intervals, Series, intervals

NOON = 133_800_048_000_000_000
SECOND = 10_000_000
_CODES = {GOOD: 0, UNCERTAIN: 0x4000_0000, BAD: 0x8000_0000}
_BY_HAND = {
    "Interpolative": Hand.interpolative,
    "Average": Hand.average,
    "TimeAverage": Hand.time_average,
    "TimeAverage2": Hand.time_average2,
    "Minimum": Hand.minimum,
    "Minimum2": Hand.minimum2,
    "DurationGood": Hand.duration_good,
    "NumberOfTransitions": Hand.transitions,
    "VariancePopulation": Hand.variance,
    "DeltaBounds": Hand.delta_bounds,
}

_dots = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-5, 5), st.sampled_from([GOOD, GOOD, GOOD, UNCERTAIN, BAD])),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)
_percents = st.sampled_from([(100, 100), (50, 50), (30, 80), (1, 100)])


def hands(rows: list[tuple[int, int, str]], stepped: bool, uncertain_is_bad: bool, percents: tuple[int, int]) -> Hand:
    dots = tuple(Dot(time, Fraction(value), quality) for time, value, quality in sorted(rows))
    return Hand(dots, stepped, uncertain_is_bad, *percents)


def series(hand: Hand) -> Series:
    return Series(
        np.array([NOON + dot.time * SECOND for dot in hand.dots], np.int64),
        np.array([float(dot.value) for dot in hand.dots]),
        np.array([_CODES[dot.quality] for dot in hand.dots], np.uint32),
        hand.stepped,
        AggregateConfiguration(hand.uncertain_is_bad, hand.percent_bad, hand.percent_good),
    )


def severity(status: int) -> str:
    return (GOOD, UNCERTAIN, BAD)[min(status >> 30, 2)]


@pytest.mark.parametrize("name", _BY_HAND)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(_dots, st.booleans(), st.booleans(), _percents, st.integers(-5, 20), st.integers(1, 25))
def test_the_same_by_hand(
    name: str,
    rows: list[tuple[int, int, str]],
    stepped: bool,
    uncertain_is_bad: bool,
    percents: tuple[int, int],
    start: int,
    width: int,
) -> None:
    hand = hands(rows, stepped, uncertain_is_bad, percents)
    end = start + 60
    limits = intervals(NOON + start * SECOND, NOON + end * SECOND, width * SECOND)
    found = AGGREGATES[name].of(series(hand), limits)
    lows = range(start, end, width)
    assert len(found.value) == len(lows)
    for place, low in enumerate(lows):
        expected = _BY_HAND[name](hand, low, min(low + width, end))
        status = int(found.status[place])
        if expected is None or expected[1] in {BAD, "none"}:
            assert severity(status) == BAD, (low, expected)
            continue
        value, quality = expected
        assert severity(status) == quality, (low, expected)
        assert found.value[place] == pytest.approx(float(value), rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_dots, st.booleans(), st.booleans())
def test_total_is_the_average_over_its_seconds(
    rows: list[tuple[int, int, str]], stepped: bool, uncertain_is_bad: bool
) -> None:
    made = series(hands(rows, stepped, uncertain_is_bad, (100, 100)))
    inside = intervals(NOON + 60 * SECOND - 50 * SECOND, NOON + 60 * SECOND, 5 * SECOND)
    average, total = AGGREGATES["TimeAverage"].of(made, inside), AGGREGATES["Total"].of(made, inside)
    later = (~average.empty) & (inside.low >= made.first)
    usable = made.usable
    if len(usable):
        later &= inside.low >= made.time[usable[0]]
    assert total.value[later] == pytest.approx(average.value[later] * 5, abs=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_dots, st.booleans(), st.sampled_from(sorted(AGGREGATES)))
def test_intervals_one_by_one_give_the_same_as_all_at_once(
    rows: list[tuple[int, int, str]], stepped: bool, name: str
) -> None:
    made = series(hands(rows, stepped, True, (100, 100)))
    for start, end in ((0, 60), (60, 0)):
        limits = intervals(NOON + start * SECOND, NOON + end * SECOND, 7 * SECOND)
        whole = AGGREGATES[name].of(made, limits)
        for place in range(len(limits.low)):
            part = slice(place, place + 1)
            single = AGGREGATES[name].of(made, Intervals(limits.low[part], limits.high[part], limits.reverse))
            assert single.status[0] == whole.status[place]
            assert single.time[0] == whole.time[place]
            assert np.allclose(single.value, whole.value[part], equal_nan=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(_dots, st.sampled_from(["Maximum", "Maximum2", "MaximumActualTime", "MaximumActualTime2"]))
def test_the_maximum_is_the_minimum_of_the_opposite(rows: list[tuple[int, int, str]], name: str) -> None:
    made = series(hands(rows, False, True, (100, 100)))
    turned = Series(made.time, -made.value, made.status, made.stepped, made.configuration)
    limits = intervals(NOON, NOON + 60 * SECOND, 9 * SECOND)
    highest = AGGREGATES[name].of(made, limits)
    lowest = AGGREGATES[name.replace("Max", "Min")].of(turned, limits)
    assert np.array_equal(highest.value, -lowest.value, equal_nan=True)
    assert (highest.status == lowest.status).all()
    assert (highest.time == lowest.time).all()


def test_a_watched_point_holds_its_value_until_now() -> None:
    rows = [(0, 4, GOOD)]
    known = series(hands(rows, False, True, (100, 100)))
    held = Series(known.time, known.value, known.status, until=NOON + 100 * SECOND)
    limits = intervals(NOON + 20 * SECOND, NOON + 80 * SECOND, 30 * SECOND)
    for name in ("TimeAverage", "TimeAverage2", "Minimum2", "StartBound", "EndBound", "Interpolative"):
        found = AGGREGATES[name].of(held, limits)
        assert (found.value.tolist(), [severity(int(each)) for each in found.status]) == ([4, 4], [GOOD, GOOD]), name
        if name != "TimeAverage":
            assert (AGGREGATES[name].of(known, limits).status >= 0x4000_0000).all(), name
    assert AGGREGATES["DurationGood"].of(held, limits).value.tolist() == pytest.approx([30_000, 30_000])


def test_extrapolation_along_the_last_line_when_asked_for() -> None:
    configuration = AggregateConfiguration(sloped_extrapolation=True)
    made = Series(
        np.array([NOON, NOON + 10 * SECOND], np.int64),
        np.array([0.0, 10.0]),
        np.zeros(2, np.uint32),
        configuration=configuration,
    )
    bound = made.interpolated_bounds(np.array([NOON + 15 * SECOND], np.int64))
    assert (bound.value.tolist(), bound.status.tolist()) == ([15.0], [0x40A4_0402])


@pytest.mark.parametrize(
    ("start", "end", "interval", "expected"),
    [
        (0, 30, 10, [(0, 10), (10, 20), (20, 30)]),
        (0, 25, 10, [(0, 10), (10, 20), (20, 25)]),
        (25, 0, 10, [(0, 5), (5, 15), (15, 25)]),
        (0, 25, 0, [(0, 25)]),
        (0, 25, 99, [(0, 25)]),
        (0, 25, 1 << 70, [(0, 25)]),
        (25, 0, 1 << 70, [(0, 25)]),
        (5, 5, 1, []),
    ],
)
def test_intervals_of_a_range(start: int, end: int, interval: int, expected: list[tuple[int, int]]) -> None:
    limits = intervals(start, end, interval)
    assert list(zip(limits.low.tolist(), limits.high.tolist(), strict=True)) == expected


def test_pages_of_intervals_are_parts_of_the_whole() -> None:
    for start, end in ((0, 95), (95, 0)):
        whole = intervals(start, end, 10)
        pages = [intervals(start, end, 10, skip, 4) for skip in (0, 4, 8)]
        if end < start:
            pages.reverse()
        assert np.concatenate([page.low for page in pages]).tolist() == whole.low.tolist()
