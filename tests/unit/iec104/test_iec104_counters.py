"""Counter sequences and intervals of objects on columns say what a plain loop says, however readings are batched."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from address_space.quality import Quality
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.counters import FREEZES, Freeze, Sequences, qualifiers
from twin_gateway.drivers.iec104.timing import Timing

KEYS = np.array([1 << 24 | 40, 1 << 24 | 41, 2 << 24 | 40], np.int64)
SECOND = 10_000_000
READINGS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 31), st.sampled_from((0, Quality.ADJUSTED, Quality.CARRY))), max_size=30
)


def columns_of(readings):
    count = len(readings)
    empty = np.zeros(count, np.int64)
    return Columns(
        empty.astype(np.uint8),
        empty.astype(np.uint8),
        empty.astype(np.uint16),
        empty.astype(np.uint32),
        empty.astype(np.float64),
        np.array([number for _, number, _ in readings], np.uint32),
        np.array([int(word) for *_, word in readings], np.uint32),
        empty,
    )


def plain(readings):
    """(missed, keys adjusted, keys carried), one reading after the other."""
    last, missed, told = {}, 0, {Quality.ADJUSTED: [], Quality.CARRY: []}
    for place, number, word in readings:
        before, word_before = last.get(place, (None, 0))
        fresh = before is None or number != before
        if before is not None and (number - before) % 32 > 1 and number > 1:
            missed += (number - before) % 32 - 1
        for flag, keys in told.items():
            if word & flag and (fresh or not word_before & flag):
                keys.append(int(KEYS[place]))
        last[place] = (number, word)
    return missed, sorted(set(told[Quality.ADJUSTED])), sorted(set(told[Quality.CARRY]))


@settings(max_examples=150, deadline=None)
@given(READINGS)
def test_readings_of_one_batch_say_what_they_say_one_by_one(readings):
    if not readings:
        return
    places = np.array([place for place, *_ in readings], np.intp)
    whole = Sequences(KEYS).take(columns_of(readings), places)
    assert tuple(whole) == plain(readings)
    single = Sequences(KEYS)
    parts = [single.take(columns_of([reading]), np.array([reading[0]], np.intp)) for reading in readings]
    assert sum(part.missed for part in parts) == whole.missed
    assert sorted({key for part in parts for key in part.adjusted}) == whole.adjusted
    for place, number, _ in readings[-1:]:
        assert single.last(int(KEYS[place])) == number
    assert single.last(5) == -1


def test_what_is_known_of_a_counter_stays_when_points_change():
    sequences = Sequences(KEYS[:2])
    sequences.take(columns_of([(1, 7, 0)]), np.array([1], np.intp))
    renewed = Sequences(KEYS[1:], sequences)
    assert renewed.take(columns_of([(0, 9, 0)]), np.array([0], np.intp)).missed == 1


@pytest.mark.parametrize(
    ("groups", "freeze", "read", "expected"),
    [
        ((), "none", True, [(5, True)]),
        ((1, 4), "freeze", True, [(0x41, False), (0x44, False), (1, True), (4, True)]),
        ((), "reset", False, [(0xC5, False)]),
        ((), "none", False, [(5, True)]),  # nothing else would be left
    ],
)
def test_requests_freeze_first_and_read_then(groups, freeze, read, expected):
    assert qualifiers(groups, FREEZES[freeze], read=read) == expected


def test_the_numbers_of_freezing_are_those_of_the_standard():
    assert [int(freeze) for freeze in Freeze] == [0, 1, 2, 3]


def test_intervals_are_those_between_moments_of_reception():
    timing = Timing(KEYS)
    for second, places in ((10, [0, 1]), (11, [0]), (14, [0, 0, 2])):
        timing.note(np.array(places, np.intp), second * SECOND)
    first, second, third = timing.rhythms()
    assert (first.receptions, first.last, first.shortest, first.longest) == (4, 14 * SECOND, 1.0, 3.0)
    assert first.mean == pytest.approx(4 / 3)
    assert (second.receptions, third.receptions) == (1, 1)
    assert math.isnan(second.mean)
    renewed = Timing(KEYS[[0, 2]], timing)
    renewed.note(np.array([1], np.intp), 15 * SECOND)
    assert [rhythm.receptions for rhythm in renewed.rhythms()] == [4, 2]
