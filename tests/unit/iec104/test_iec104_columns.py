"""The fast path: columns say the same as the strict decoder, keep the order of arrival and count what is malformed."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.iec104.elements import complete_cp24

from address_space.quality import Quality, StatusCode, TimeFlag, status_of
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.columns import decode_columns
from twin_gateway.drivers.iec104.quality import QUALITY, TIME
from twin_gateway.drivers.iec104.times import NO_TIME, Stamp, TagFlag, Zone
from twin_gateway.drivers.iec104.types import MONITOR, AsduError, Family, TimeTag

YEAR, RECEIVED = 2026, 1_780_000_000_000
RECIPE = st.tuples(
    st.sampled_from(sorted(MONITOR)), st.booleans(), st.integers(1, 6), st.randoms(use_true_random=False)
)


def columns_of(*asdus):
    return decode_columns(asdus, received_ms=RECEIVED, this_year=YEAR, zone=Zone())


def expected_rows(asdu):
    family = MONITOR[asdu.type].family
    for item in asdu.objects:
        quality, time = int(QUALITY[family][item.quality]), NO_TIME
        if item.time is not None:
            quality |= int(TIME[int(item.time.flags)])
            if item.time.ms is not None:
                time = item.time.ms if item.time.octets == 7 else complete_cp24(item.time.ms, RECEIVED, Zone())
        if family is Family.STEP and item.extra:
            quality |= Quality.TRANSIENT
        if asdu.test:
            quality |= Quality.TEST
        yield asdu.type, asdu.common_address, item.address, item.value, item.extra, int(quality), time


def rows_of(columns):
    return list(
        zip(
            *(
                column.tolist()
                for column in (
                    columns.type,
                    columns.common_address,
                    columns.address,
                    columns.value,
                    columns.extra,
                    columns.quality,
                    columns.time,
                )
            ),
            strict=True,
        )
    )


@settings(max_examples=250, deadline=None)
@given(st.lists(RECIPE, min_size=1, max_size=8))
def test_columns_say_what_the_strict_decoder_says_in_order_of_arrival(recipes):
    asdus, expected, errors = [], [], 0
    for number, sequence, count, random in recipes:
        length = count * MONITOR[number].size + (3 if sequence else 3 * count)
        octets = bytes((number, count | 0x80 * sequence)) + random.randbytes(4 + length)
        asdus.append(octets)
        try:
            expected.extend(expected_rows(decode(octets, YEAR)))
        except AsduError:
            errors += 1
    columns, counted = columns_of(*asdus)
    assert counted == errors
    assert repr([] if columns is None else rows_of(columns)) == repr(
        [(*row[:3], float(row[3]), *row[4:]) for row in expected]
    )


@settings(max_examples=150, deadline=None)
@given(RECIPE, st.integers(2, 6), st.sampled_from(("none", "type", "structure", "cut", "grown", "shifted")))
def test_asdus_that_look_alike_are_told_apart_where_they_differ(recipe, count, odd):
    number, sequence, objects, random = recipe
    length = objects * MONITOR[number].size + (3 if sequence else 3 * objects)
    asdus = [bytes((number, objects | 0x80 * sequence)) + random.randbytes(4 + length) for _ in range(count)]
    first, last = asdus[0], asdus[-1]
    match odd:
        case "type":
            asdus[-1] = bytes((random.randrange(256),)) + last[1:]
        case "structure":
            asdus[-1] = last[:1] + bytes((random.randrange(256),)) + last[2:]
        case "cut":
            asdus[-1] = last[:-1]
        case "grown":
            asdus[-1] = last + b"\0"
        case "shifted":  # as many octets in all, and the right ones at every stride
            asdus[0], asdus[-1] = first + last[:2], last[2:]
    expected, errors = [], 0
    for octets in asdus:
        try:
            asdu = decode(octets, YEAR)
        except AsduError:
            errors += 1
            continue
        if asdu.type in MONITOR:
            expected.extend(expected_rows(asdu))
        else:
            errors += 1
    columns, counted = columns_of(*asdus)
    assert counted == errors
    assert repr([] if columns is None else rows_of(columns)) == repr(
        [(*row[:3], float(row[3]), *row[4:]) for row in expected]
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=12))
def test_noise_costs_one_error_each_and_never_an_exception(noise):
    columns, errors = columns_of(*noise)
    good = 0
    for octets in noise:
        with contextlib.suppress(AsduError):
            good += decode(octets, YEAR).type <= 40
    assert errors == len(noise) - good
    assert (columns is None) == (good == 0)


@pytest.mark.parametrize("octet", range(256))
def test_every_quality_octet_of_a_measured_value_maps_to_its_status(octet):
    columns, _ = columns_of(bytes((13, 1, 3, 0, 1, 0, 1, 0, 0, 0, 0, 128, 63, octet)))
    word = int(columns.quality[0])
    expected = StatusCode.Good
    if octet & 0x80:
        expected = StatusCode.BadSensorFailure if octet & 0x01 else StatusCode.Bad
    elif octet & 0x50:
        expected = StatusCode.UncertainLastUsableValue
    elif octet & 0x01:
        expected = StatusCode.UncertainEngineeringUnitsExceeded
    elif octet & 0x20:
        expected = StatusCode.GoodLocalOverride
    assert status_of(word) == expected
    assert bool(word & Quality.OVERFLOW) == bool(octet & 0x01)
    assert bool(word & Quality.OPERATOR_BLOCKED) == bool(octet & 0x10)
    assert bool(word & Quality.SUBSTITUTED) == bool(octet & 0x20)
    assert bool(word & Quality.OLD_DATA) == bool(octet & 0x40)


@pytest.mark.parametrize("octet", range(256))
def test_the_low_bits_of_single_and_double_points_are_value_and_never_overflow(octet):
    for number, mask in ((1, 1), (3, 3)):
        columns, _ = columns_of(bytes((number, 1, 3, 0, 1, 0, 1, 0, 0, octet)))
        assert columns.value[0] == octet & mask
        assert not int(columns.quality[0]) & Quality.OVERFLOW


@pytest.mark.parametrize("octet", range(256))
def test_counter_flags_stay_good_and_only_iv_is_bad(octet):
    columns, _ = columns_of(bytes((15, 1, 37, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, octet)))
    word = int(columns.quality[0])
    assert bool(word & Quality.CARRY) == bool(octet & 0x20)
    assert bool(word & Quality.ADJUSTED) == bool(octet & 0x40)
    assert status_of(word) == (StatusCode.Bad if octet & 0x80 else StatusCode.Good)


def test_the_test_bit_marks_the_value_as_simulated():
    columns, _ = columns_of(encode(Asdu(1, 3, 1, (Information(1, 1),), test=True)))
    assert status_of(int(columns.quality[0])) == StatusCode.UncertainSimulatedValue


def test_a_bad_elapsed_time_casts_doubt_on_the_time_and_keeps_it():
    tag = Stamp(RECEIVED - 5000, TagFlag(0), 7)
    columns, _ = columns_of(encode(Asdu(38, 3, 1, (Information(1, 2, 100, 0x08, tag),))))
    assert int(columns.quality[0]) & TimeFlag.DOUBTFUL
    assert columns.time[0] == RECEIVED - 5000


@pytest.mark.parametrize("flags", [TagFlag(bits) for bits in range(8)])
def test_the_flags_of_a_time_tag_reach_the_quality_word(flags):
    columns, _ = columns_of(encode(Asdu(30, 3, 1, (Information(1, 1, 0, 0, Stamp(RECEIVED, flags, 7)),))))
    word = int(columns.quality[0])
    assert bool(word & TimeFlag.INVALID) == bool(flags & TagFlag.INVALID)
    assert bool(word & TimeFlag.SUMMER) == bool(flags & TagFlag.SUMMER)
    assert bool(word & TimeFlag.SUBSTITUTED) == bool(flags & TagFlag.SUBSTITUTED)
    assert status_of(word) == StatusCode.Good


def test_one_address_with_and_without_time_tag_stays_in_order():
    plain = encode(Asdu(1, 20, 1, (Information(7, 0),)))
    tagged = encode(Asdu(30, 3, 1, (Information(7, 1, 0, 0, Stamp(RECEIVED, TagFlag(0), 7)),)))
    columns, errors = columns_of(plain, tagged, plain, tagged)
    assert errors == 0
    assert columns.value.tolist() == [0, 1, 0, 1]
    assert columns.type.tolist() == [1, 30, 1, 30]


def test_a_sequence_past_the_last_address_costs_one_error_and_spares_its_neighbours():
    good = bytes((1, 0x82, 3, 0, 1, 0, 1, 0, 0, 1, 0))
    bad = bytes((1, 0x82, 3, 0, 1, 0, 255, 255, 255, 1, 0))
    columns, errors = columns_of(good, bad, good)
    assert errors == 1
    assert columns.address.tolist() == [1, 2, 1, 2]


def test_every_monitor_type_is_a_column_type():
    for known in MONITOR.values():
        tag = {0: None, 3: Stamp(0, TagFlag(0), 3), 7: Stamp(RECEIVED, TagFlag(0), 7)}[int(known.time)]
        columns, errors = columns_of(encode(Asdu(known.number, 3, 1, (Information(1, 0, 0, 0, tag),))))
        assert errors == 0
        assert len(columns) == 1
        assert columns.value.dtype == np.float64
        assert (columns.time[0] == NO_TIME) == (known.time is TimeTag.NONE)


@pytest.mark.parametrize("octets", ["0000c07f", "010080ff", "0100807f"], ids=["quiet", "signalling", "positive"])
def test_a_float_that_is_no_number_passes_quietly(octets):
    columns, errors = columns_of(bytes((13, 1, 3, 0, 1, 0, 1, 0, 0)) + bytes.fromhex(octets) + b"\0")
    assert errors == 0
    assert np.isnan(columns.value[0])
