"""Time tags: CP56Time2a and CP24Time2a, zones, flags, two-digit years; single values and columns agree."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.iec104.elements import complete_cp24

from twin_gateway.drivers.iec104.times import (
    CP24_FIELDS,
    CP56_FIELDS,
    NO_TIME,
    TagFlag,
    Zone,
    column_cp24,
    column_cp56,
    decode_cp24,
    decode_cp56,
    encode_cp24,
    encode_cp56,
    year_of,
)


def ms(*fields, zone=UTC, fold=0):
    return round(datetime(*fields, tzinfo=zone, fold=fold).timestamp() * 1000)


@pytest.mark.parametrize(
    ("digits", "now", "year"),
    [(26, 2026, 2026), (99, 2026, 1999), (75, 2026, 2075), (76, 2026, 1976), (0, 2099, 2100), (49, 2099, 2049)],
)
def test_two_digit_years_lie_within_fifty_years(digits, now, year):
    assert year_of(digits, now) == year


@settings(max_examples=300, deadline=None)
@given(
    st.integers(ms(1980, 1, 1), ms(2070, 1, 1)),
    st.sampled_from([TagFlag(0), TagFlag.INVALID, TagFlag.SUMMER, TagFlag.SUBSTITUTED, TagFlag(7)]),
)
def test_cp56_there_and_back(wall, flags):
    stamp = decode_cp56(encode_cp56(wall, flags), 0, 2026)
    assert (stamp.ms, stamp.flags) == (wall, flags)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(min_size=7, max_size=7), min_size=1, max_size=40))
def test_columns_of_cp56_agree_with_single_tags(tags):
    times, flags = column_cp56(np.frombuffer(b"".join(tags), CP56_FIELDS), 2026, Zone())
    for tag, time, flag in zip(tags, times.tolist(), flags.tolist(), strict=True):
        single = decode_cp56(tag, 0, 2026)
        assert (single.ms if single.ms is not None else NO_TIME, int(single.flags)) == (time, flag)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=20), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_columns_of_cp24_agree_with_single_tags(tags, name):
    zone, received = Zone(name), ms(2026, 6, 1, 12, 34, 56)
    times, flags = column_cp24(np.frombuffer(b"".join(tags), CP24_FIELDS), received, zone)
    for tag, time, flag in zip(tags, times.tolist(), flags.tolist(), strict=True):
        single = decode_cp24(tag, 0)
        expected = NO_TIME if single.ms is None else complete_cp24(single.ms, received, zone)
        assert (expected, int(single.flags)) == (time, flag)


@pytest.mark.parametrize(
    "tag",
    [
        encode_cp56(0)[:4] + bytes((31, 2, 26)),  # 31 February
        encode_cp56(0)[:4] + bytes((29, 2, 25)),  # no leap year
        encode_cp56(0)[:4] + bytes((0, 1, 26)),
        encode_cp56(0)[:4] + bytes((1, 0, 26)),
        encode_cp56(0)[:4] + bytes((1, 13, 26)),
        encode_cp56(0)[:4] + bytes((1, 1, 100)),
        bytes((0x60, 0xEA, 0, 0, 1, 1, 26)),  # 60 000 ms
        bytes((0, 0, 60, 0, 1, 1, 26)),
        bytes((0, 0, 0, 24, 1, 1, 26)),
    ],
)
def test_fields_that_are_no_time_give_none_and_the_invalid_flag(tag):
    stamp = decode_cp56(tag, 0, 2026)
    assert stamp.ms is None
    assert stamp.flags & TagFlag.INVALID


def test_the_leap_day_is_a_day():
    assert decode_cp56(encode_cp56(ms(2028, 2, 29, 1, 2)), 0, 2026).ms == ms(2028, 2, 29, 1, 2)


@pytest.mark.parametrize(
    ("wall", "summer", "utc"),
    [
        ((2026, 1, 15, 12), False, (2026, 1, 15, 11)),
        ((2026, 7, 15, 12), True, (2026, 7, 15, 10)),
        ((2026, 7, 15, 12), False, (2026, 7, 15, 10)),  # devices that never set SU
        ((2026, 10, 25, 2, 30), True, (2026, 10, 25, 0, 30)),  # the hour that comes twice
        ((2026, 10, 25, 2, 30), False, (2026, 10, 25, 1, 30)),
    ],
)
def test_local_clocks_become_utc_and_the_summer_flag_tells_the_repeated_hour_apart(wall, summer, utc):
    zone = Zone("Europe/Berlin")
    assert zone.to_utc(ms(*wall), summer=summer) == ms(*utc)
    column = zone.column_to_utc(np.array([ms(*wall)]), np.array([summer]))
    assert column.tolist() == [ms(*utc)]


def test_the_summer_flag_means_nothing_on_a_utc_clock():
    tag = np.frombuffer(encode_cp56(ms(2026, 7, 1), TagFlag.SUMMER), CP56_FIELDS)
    assert column_cp56(tag, 2026, Zone("UTC"))[0].tolist() == [ms(2026, 7, 1)]


@settings(max_examples=200, deadline=None)
@given(st.integers(ms(2000, 1, 1), ms(2040, 1, 1)), st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "UTC"]))
def test_a_zone_there_and_back(utc, name):
    zone = Zone(name)
    wall, summer = zone.from_utc(utc)
    assert zone.to_utc(wall, summer=summer) == utc
    assert summer == (name != "UTC" and bool(datetime.fromtimestamp(utc / 1000, ZoneInfo(name)).dst()))


def completed(tag_ms, received_ms, zone):
    times, _ = column_cp24(np.frombuffer(encode_cp24(tag_ms), CP24_FIELDS), received_ms, zone)
    return int(times[0])


@pytest.mark.parametrize(
    ("received", "tag", "moment"),
    [
        ((10, 20, 0), (19, 59), (10, 19, 59)),
        ((10, 0, 1), (59, 59), (9, 59, 59)),  # across the hour
        ((10, 59, 58), (0, 1), (11, 0, 1)),  # the device is a little ahead
        ((10, 20, 0), (30, 0), (9, 30, 0)),  # otherwise it is the past
    ],
)
def test_cp24_is_completed_from_the_time_of_reception(received, tag, moment):
    tag_ms = tag[0] * 60_000 + tag[1] * 1000
    assert decode_cp24(encode_cp24(tag_ms), 0).ms == tag_ms
    assert completed(tag_ms, ms(2026, 6, 1, *received), Zone()) == ms(2026, 6, 1, *moment)


def test_cp24_in_a_zone_of_half_hours_counts_local_minutes():
    zone, received = Zone("Asia/Kolkata"), ms(2026, 6, 1, 10, 0, 0)  # 15:30 there
    assert completed(29 * 60_000, received, zone) == ms(2026, 6, 1, 9, 59, 0)


def test_an_unknown_zone_is_a_value_error():
    with pytest.raises(ValueError, match="Mars"):
        Zone("Mars/Olympus")


def test_a_zone_without_summer_bit_neither_looks_at_it_nor_sets_it():
    plain, usual = Zone("Europe/Berlin", summer_bit=False), Zone("Europe/Berlin")
    summer = ms(2026, 7, 1, 10, 0, 0)
    assert (plain.from_utc(summer), usual.from_utc(summer)[1]) == ((summer + 7_200_000, False), True)
    repeated = ms(2026, 10, 25, 2, 30, 0)
    assert plain.to_utc(repeated, summer=True) == plain.to_utc(repeated) == usual.to_utc(repeated, summer=True)
    assert usual.to_utc(repeated) == usual.to_utc(repeated, summer=True) + 3_600_000
