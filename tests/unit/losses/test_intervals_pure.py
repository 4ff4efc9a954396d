"""Readings at any time become values at interval ends."""

import numpy as np
import pytest

from address_space.quality import Quality
from twin_gateway.twin.intervals import BoundaryRegisters, IntervalMeans, of_profile, of_profile_means

START = 1_700_000_100.0  # a whole number of 900 s
GOOD = np.zeros(1, np.uint32)


def one(reader, time, value, word=0):
    return reader.take(np.array([0]), np.array([time]), np.array([value]), np.array([word], np.uint32))


def test_a_register_read_around_the_boundary_is_interpolated_to_it():
    reader = BoundaryRegisters(1, 900.0)
    assert len(one(reader, START - 20, 100.0)) == 0
    out = one(reader, START + 40, 160.0)
    assert out.number.tolist() == [START / 900]
    assert out.value[0] == pytest.approx(120.0)


def test_a_register_read_more_than_30_s_from_the_boundary_says_nothing_of_it():
    reader = BoundaryRegisters(1, 900.0)
    one(reader, START - 31, 100.0)
    assert len(one(reader, START + 31, 160.0)) == 0


def test_older_readings_are_ignored_and_counted():
    reader = BoundaryRegisters(1, 900.0)
    one(reader, START + 10, 5.0)
    one(reader, START + 10, 6.0)
    one(reader, START - 5, 4.0)
    assert reader.older == 2


def test_a_register_that_stands_still_has_its_value_at_the_boundary_when_it_was_read_near_it():
    reader = BoundaryRegisters(1, 900.0)
    one(reader, START - 500, 100.0)
    number = int(START // 900)
    assert len(reader.close(number, np.array([START - 40]), GOOD)) == 0
    out = reader.close(number, np.array([START - 10]), GOOD)
    assert out.value.tolist() == [100.0]
    assert len(reader.close(number, np.array([START - 10]), GOOD)) == 0


def test_a_flow_is_averaged_over_the_time_that_each_value_held():
    means = IntervalMeans(1, 900.0)
    one(means, START, 1000.0)
    one(means, START + 300, 400.0)
    out = means.close(int(START // 900) + 1)
    assert out.value[0] == pytest.approx((300 * 1000 + 600 * 400) / 900)
    assert out.quality[0] == 0
    following = one(means, START + 1800, 10.0)
    assert following.value.tolist() == [400.0]


def test_a_mean_over_a_partly_known_interval_is_marked_and_over_a_mostly_unknown_one_is_none():
    means = IntervalMeans(1, 900.0)
    one(means, START, 100.0)
    one(means, START + 600, 0.0, int(Quality.COMM_LOST))
    out = means.close(int(START // 900) + 1)
    assert out.value.tolist() == [100.0]
    assert out.quality[0] & Quality.PARTIAL
    assert len(means.close(int(START // 900) + 2)) == 0


def test_one_point_many_times_in_a_batch_is_taken_in_order():
    means = IntervalMeans(2, 900.0)
    which = np.array([0, 1, 0, 0])
    times = np.array([START, START, START + 450, START + 900])
    out = means.take(which, times, np.array([1.0, 7.0, 3.0, 9.0]), np.zeros(4, np.uint32))
    assert out.which.tolist() == [0]
    assert out.value[0] == pytest.approx(2.0)


def test_profile_rows_at_and_near_the_boundary():
    times = np.array([START, START + 900, START + 1810, START + 2250])
    out = of_profile(
        np.zeros(4, np.int64), times, np.array([0.0, 90.0, 181.0, 300.0]), np.zeros(4, np.uint32), length=900
    )
    assert out.value.tolist() == pytest.approx([0.0, 90.0, 180.0])
    assert (out.number - out.number[0]).tolist() == [0, 1, 2]


def test_a_single_row_off_the_boundary_has_nothing_to_be_interpolated_with():
    out = of_profile(np.zeros(1, np.int64), np.array([START + 9]), np.array([1.0]), GOOD, length=900)
    assert len(out) == 0


def test_rows_of_a_shorter_capture_period_are_averaged():
    times = START + np.array([300.0, 600.0, 900.0, 1200.0])
    out = of_profile_means(
        np.zeros(4, np.int64), times, np.array([230.0, 231.0, 232.0, 240.0]), np.zeros(4, np.uint32), length=900
    )
    assert out.value.tolist() == [231.0, 240.0]


def test_an_invalid_reading_is_no_reading():
    times = START + np.array([0.0, 900.0])
    words = np.array([0, int(Quality.INVALID)], np.uint32)
    out = of_profile(np.zeros(2, np.int64), times, np.array([1.0, 2.0]), words, length=900)
    assert out.value.tolist() == [1.0]
