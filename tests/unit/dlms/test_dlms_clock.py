"""Meter times: deviation, its absence and inversion, clock status, daylight saving."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.dlms.clock import decode_date_time, encode_date_time
from twin_gateway.drivers.dlms.clock_watch import in_the_form_of
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.quality import of_time

PRAGUE = ZoneInfo("Europe/Prague")


def octets(local="07ea0b170c1e2d00", deviation="ffc4", status="00"):
    """2026-11-23 12:30:45.00 unless said; local = year, month, day, hour, minute, second, hundredths."""
    return bytes.fromhex(local[:8] + "ff" + local[8:] + deviation + status)


def test_deviation_is_what_leads_from_local_time_to_utc():
    # CET: -60 minutes
    assert decode_date_time(octets()).utc == datetime(2026, 11, 23, 11, 30, 45, tzinfo=UTC)


def test_some_meters_invert_the_deviation():
    assert decode_date_time(octets(deviation="003c"), deviation_sign=-1).utc == datetime(
        2026, 11, 23, 11, 30, 45, tzinfo=UTC
    )


def test_an_unspecified_deviation_means_the_zone_of_the_device():
    time = decode_date_time(octets(deviation="8000"), PRAGUE)
    assert time.utc == datetime(2026, 11, 23, 11, 30, 45, tzinfo=UTC) and time.assumed_zone


@pytest.mark.parametrize(("status", "hour"), [("80", 0), ("00", 1)])
def test_the_daylight_saving_bit_tells_two_equal_local_times_apart(status, hour):
    # 2026-10-25 02:30 happens twice in Prague.
    time = decode_date_time(octets("07ea0a19021e0000", "8000", status), PRAGUE)
    assert time.utc == datetime(2026, 10, 25, hour, 30, tzinfo=UTC)


def test_without_a_status_the_order_of_rows_tells_them_apart():
    twice = octets("07ea0a19021e0000", "8000", "ff")
    before = datetime(2026, 10, 25, 0, 15, tzinfo=UTC)
    first = decode_date_time(twice, PRAGUE, after=before).utc
    second = decode_date_time(twice, PRAGUE, after=first).utc
    assert (first.hour, second.hour) == (0, 1)


def test_unspecified_fields_of_the_time_are_zero_and_of_the_date_make_it_no_time():
    assert decode_date_time(octets("07ea0b170cffffff", "0000")).utc == datetime(2026, 11, 23, 12, tzinfo=UTC)
    for local in ("ffff0b170c1e2d00", "07eaff170c1e2d00", "07ea0bff0c1e2d00", "07ea0bfe0c1e2d00"):
        assert decode_date_time(octets(local)).utc is None


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("00", 0),
        ("01", Quality.QUESTIONABLE | TimeFlag.DOUBTFUL),
        ("02", TimeFlag.DOUBTFUL),
        ("04", TimeFlag.DOUBTFUL),
        ("08", TimeFlag.DOUBTFUL),
        ("80", TimeFlag.SUMMER),
        ("ff", 0),
    ],
)
def test_clock_status_becomes_quality(status, word):
    assert of_time(decode_date_time(octets(status=status))) == word


@pytest.mark.parametrize("data", ["", "00" * 11, "07ea021eff0c000000000000", "07ea0217ff19000000000000"])
def test_what_is_no_date_is_refused(data):
    with pytest.raises(MalformedApduError):
        decode_date_time(bytes.fromhex(data))  # 30 February, 25 o'clock


@given(st.integers(86_400_00, 4_000_000_000_00), st.integers(-720, 720), st.sampled_from([1, -1]))
def test_times_round_trip_in_every_zone(moment, minutes, sign):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=10 * moment)
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    data = encode_date_time(local, deviation_sign=sign)
    assert data[4] == 0xFF  # day of the week stays unspecified
    assert decode_date_time(data, deviation_sign=sign).utc == moment


@given(st.binary(min_size=12, max_size=12))
def test_twelve_random_octets_are_a_time_or_a_dlms_error(data):
    with contextlib.suppress(DlmsError):
        decode_date_time(data, PRAGUE)


@pytest.mark.parametrize(
    ("shown", "zone"),
    [
        (encode_date_time(datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))), 0x80), "UTC"),
        (encode_date_time(datetime(2026, 7, 1, 12, tzinfo=UTC))[:9] + b"\x80\x00\xff", "Europe/Prague"),
        (encode_date_time(datetime(2026, 7, 1, 12, tzinfo=UTC))[:9] + b"\x80\x00\x00", "Europe/Prague"),
    ],
)
def test_a_clock_is_set_in_the_form_in_which_the_meter_shows_it(shown, zone):
    moment = datetime(2026, 7, 1, 9, 30, 15, tzinfo=UTC)
    config = DlmsConfig(host="h", time_zone=zone)
    octets = in_the_form_of(shown, moment, ZoneInfo(zone), config.deviation_sign)
    assert octets[9:11] == shown[9:11] and (octets[11] == 0xFF) == (shown[11] == 0xFF)
    assert octets[4] == 3 and bool(octets[11] & 0x80)  # a Wednesday in summer
    assert decode_date_time(octets, ZoneInfo(zone)).utc == moment
