"""Events that a station repeats on the next connection, and clocks that go back."""

import numpy as np

from address_space import clock
from address_space.quality import TimeFlag
from twin_gateway.drivers.iec104.continuity import Continuity
from twin_gateway.drivers.iec104.points import Located

SECOND = clock.TICKS_PER_SECOND
START = 134_000_000_000_000_000


def located(*samples, event=True, quality=0):
    """Samples given as (row, value, seconds)."""
    rows, values, seconds = zip(*samples, strict=True)
    count = len(rows)
    given = {
        "rows": np.array(rows, np.int32),
        "values": np.array(values, np.float64),
        "quality": np.full(count, quality, np.uint32),
        "source_time": np.array([START + round(at * SECOND) for at in seconds], np.int64),
        "event": np.full(count, event),
        "answer": np.zeros(count, bool),
        "common_address": np.ones(count, np.uint16),
    }
    rest = dict.fromkeys(name for name in Located._fields if name not in given)
    return Located(**given, **rest)


def kept(continuity, *samples, replaying=True, **more):
    passed = continuity.sift(located(*samples, **more), 0.0, replaying=replaying)
    return [(row, value) for row, value in zip(passed.rows.tolist(), passed.values.tolist(), strict=True)]


def watched(k=12):
    continuity, repeated, steps = Continuity(k), [], []
    continuity.repeated = repeated.append
    continuity.stepped = lambda station, seconds: steps.append((station, seconds))
    return continuity, repeated, steps


def test_what_is_repeated_on_the_next_connection_comes_once():
    continuity, repeated, _ = watched()
    assert kept(continuity, (1, 5, 1), (2, 6, 2)) == [(1, 5), (2, 6)]
    continuity.begin()
    assert kept(continuity, (2, 6, 2), (1, 7, 3)) == [(1, 7)]
    assert repeated == [1]


def test_two_equal_events_of_one_connection_are_two():
    continuity, repeated, _ = watched()
    assert kept(continuity, (1, 5, 1), (1, 5, 1)) == [(1, 5), (1, 5)]
    assert repeated == []


def test_another_value_another_time_or_another_quality_is_another_event():
    continuity, _, _ = watched()
    kept(continuity, (1, 5, 1))
    continuity.begin()
    assert kept(continuity, (1, 6, 1), (1, 5, 1.001), (2, 5, 1)) == [(1, 6), (1, 5), (2, 5)]
    assert kept(continuity, (1, 5, 1), quality=0x40) == [(1, 5)]


def test_answers_and_samples_without_a_valid_time_are_left_alone():
    continuity, _, _ = watched()
    untimed = int(TimeFlag.INVALID)
    kept(continuity, (1, 5, 1), event=False)
    kept(continuity, (1, 5, 1), quality=untimed)
    continuity.begin()
    assert kept(continuity, (1, 5, 1), event=False) == [(1, 5)]
    assert kept(continuity, (1, 5, 1), quality=untimed) == [(1, 5)]


def test_what_came_before_the_last_cut_is_still_known_after_the_next():
    continuity, repeated, _ = watched()
    kept(continuity, (1, 5, 1))
    continuity.begin()
    kept(continuity, (1, 6, 2))
    continuity.begin()
    assert kept(continuity, (1, 5, 1), (1, 6, 2), (1, 7, 3)) == [(1, 7)]
    assert repeated == [2]


def test_the_newest_events_are_kept_and_no_more_than_a_limit():
    continuity, _, _ = watched(k=12)
    for first in range(0, 6000, 500):
        kept(continuity, *((1, number, number) for number in range(first, first + 500)))
    continuity.begin()
    assert kept(continuity, *((1, number, number) for number in range(5000, 6000))) == []
    assert kept(continuity, (1, 0, 0)) == [(1, 0)]


def test_a_clock_that_goes_back_is_told_once_and_then_taken_as_it_is():
    continuity, _, steps = watched()
    kept(continuity, (1, 1, 100), replaying=False)
    kept(continuity, (1, 2, 40), replaying=False)
    kept(continuity, (1, 3, 41), replaying=False)
    assert steps == [(1, 60.0)]


def test_events_a_little_out_of_order_and_replayed_ones_say_nothing_of_the_clock():
    continuity, _, steps = watched()
    kept(continuity, (1, 1, 100), replaying=False)
    kept(continuity, (1, 2, 98.5), replaying=False)
    kept(continuity, (1, 3, 1), replaying=True)
    assert steps == []
