"""Profiles and logs read piece by piece from a scripted meter: nothing lost, nothing twice, whatever a buffer does."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import buffer as buffers
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.clock import decode_date_time, encode_date_time
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.errors import AccessError, MalformedApduError
from twin_gateway.drivers.dlms.identity import DEVICE_NAME, Identity
from twin_gateway.drivers.dlms.logs import LogReader
from twin_gateway.drivers.dlms.positions import Positions
from twin_gateway.drivers.dlms.profile import ProfileReader
from twin_gateway.drivers.dlms.reading import Reading

NAME = obis.parse("1-0:99.1.0")
POINT = BoundPoint(0, "p0", "MV", ValueType.DOUBLE, {"obis": "1-0:1.8.0", "profile": "1-0:99.1.0"})
ENERGY = obis.attribute("3/1-0:1.8.0/2")
CAPTURED = [[8, obis.CLOCK_LN, 2, 0], [3, ENERGY.logical_name, 2, 0]]


class Meter:
    """Answers what a profile reader asks; `rows` are (time, value), in the order of the buffer."""

    def __init__(self, now, period=900, capacity=0, sort=1, **section):
        self.meter_now, self.rows, self.broken = now, [], None
        self.shape = {3: CAPTURED, 4: period, 5: sort, 8: capacity}
        self.zone, self.name = ZoneInfo("Europe/Prague"), "m1"
        self.config = DlmsConfig.model_validate({"host": "h", "logs": ["1-0:99.1.0"]} | section)
        self.session = SimpleNamespace(association=SimpleNamespace(can_select=True))
        self.link, self.counters, self.events, self.batches = self, Counter(), [], []
        self.empty = []
        self.within = lambda moment, start, end: start <= moment <= end

    # what of the link is used
    def count(self, counter, by=1):
        self.counters[counter] += by

    def event(self, code, text, **_more):
        self.events.append((code, text))

    def error(self, _text, _address=""):
        pass

    def kept_until(self):
        return 1 << 62

    def publish(self, batch):
        self.batches.append(batch)

    def failed(self, _error):
        pass

    @property
    def values(self):
        return [value for batch in self.batches for value in batch.values.tolist()]

    # what of the meter is asked
    def value(self, attribute):
        return self.shape[attribute.number]

    async def get_many(self, attributes):
        return [self.value(attribute) for attribute in attributes]

    async def get(self, attribute, selection=b""):
        if self.broken is not None:
            raise self.broken
        if attribute.number == buffers.ENTRIES_IN_USE:
            return len(self.rows)
        if self.config.selection == "entry":
            low, high = (int.from_bytes(selection[at : at + 4], "big") for at in (4, 9))
            rows = self.rows[low - 1 : high]
        else:
            start, end = (decode_date_time(selection[at : at + 12], self.zone).utc for at in (-28, -14))
            rows = [row for row in self.rows if self.within(row[0], start, end)]
        octets = [[encode_date_time(moment.astimezone(self.zone)), value] for moment, value in rows]
        return octets or self.empty


@pytest.fixture
def reading():
    reading = Reading([POINT], UTC, 1)
    reading.scalers.take(reading.missing_scalers(), [[0, 30]])
    return reading


def reader(tmp_path, reading):
    return ProfileReader(Positions(tmp_path / "profiles.json"), lambda: reading)


async def read_all(profiles, meter):
    while await profiles.read(meter, [POINT]):
        pass


async def test_rows_wait_until_the_scaler_of_their_register_is_known(tmp_path):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter, unread = Meter(now), Reading([POINT], UTC, 1)
    meter.rows = [(now - timedelta(minutes=15), 7)]
    profiles = reader(tmp_path, unread)
    await read_all(profiles, meter)
    assert not meter.values and profiles.waits
    unread.scalers.take(unread.missing_scalers(), [[3, 30]])
    await read_all(profiles, meter)
    assert meter.values == [7000.0] and not profiles.waits
    # Pushed rows are no exception: what cannot be scaled yet is read later.
    unread.forget_scalers()
    later = now + timedelta(minutes=15)
    assert not profiles.pushed(meter, NAME, [[encode_date_time(later), 8]])
    unread.scalers.take(unread.missing_scalers(), [[3, 30]])
    meter.rows.append((later, 8))
    meter.meter_now = later
    await read_all(profiles, meter)
    assert meter.values == [7000.0, 8000.0]


async def test_overwritten_rows_are_told_also_when_the_reading_that_found_it_out_failed(tmp_path, reading):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter = Meter(now, capacity=4)
    meter.rows = [(now, 1)]
    profiles = reader(tmp_path, reading)
    await read_all(profiles, meter)
    meter.meter_now = now + timedelta(days=2)
    meter.broken = MalformedApduError("nonsense")
    await profiles.read(meter, [POINT])
    assert not meter.events
    meter.broken = None
    await read_all(profiles, meter)
    assert [code for code, _ in meter.events] == ["D08"]


async def test_rows_of_a_minute_come_once_also_in_the_hour_that_comes_twice(tmp_path, reading):
    now = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30, the second time
    meter = Meter(now, period=60, profile_depth="5 h")
    meter.rows = [(now - timedelta(minutes=i), 300 - i) for i in range(280, 0, -1)]
    await read_all(reader(tmp_path, reading), meter)
    assert meter.values == [float(value) for _, value in meter.rows]
    after = len(meter.values)
    await read_all(reader(tmp_path, reading), meter)  # after a restart
    assert len(meter.values) == after


async def test_what_was_captured_between_a_clock_set_back_and_its_discovery_is_read(tmp_path, reading, monkeypatch):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    real = {"now": now - timedelta(hours=1)}
    monkeypatch.setattr(buffers, "datetime", type("D", (datetime,), {"now": classmethod(lambda _, __: real["now"])}))
    meter = Meter(now, period=60)
    meter.rows = [(now, 1)]
    profiles = reader(tmp_path, reading)
    await read_all(profiles, meter)
    # Set back by an hour at once; the next reading is a quarter of an hour later.
    real["now"] += timedelta(minutes=15)
    meter.meter_now = real["now"]
    since = [(now - timedelta(minutes=60 - i), 100 + i) for i in range(1, 15)]
    meter.rows += since
    await read_all(reader(tmp_path, reading), meter)
    assert meter.values == [1.0] + [float(value) for _, value in since]
    assert meter.counters["clock_set_back"] == 1


@pytest.mark.parametrize("selection", ["entry", "range"])
async def test_a_buffer_that_begins_with_its_newest_row_is_read_like_any_other(tmp_path, reading, selection):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter = Meter(now, sort=2, selection=selection, profile_depth="5 d")
    meter.rows = [(now - timedelta(minutes=15 * i), 1000 - i) for i in range(600)]
    await read_all(reader(tmp_path, reading), meter)
    assert sorted(meter.values) == [float(1000 - i) for i in range(480, -1, -1)]
    count = len(meter.values)
    meter.meter_now = now + timedelta(minutes=15)
    meter.rows.insert(0, (meter.meter_now, 1001))
    await read_all(reader(tmp_path, reading), meter)
    assert meter.values[count:] == [1001.0]


async def test_more_rows_than_are_read_by_number_are_told_as_lost(tmp_path, reading, monkeypatch):
    monkeypatch.setattr(buffers, "MOST_ROWS", 400)
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter = Meter(now, selection="entry")
    meter.rows = [(now, 0)]
    profiles = reader(tmp_path, reading)
    await read_all(profiles, meter)
    meter.rows += [(now + timedelta(minutes=15 * i), i) for i in range(1, 700)]
    meter.meter_now = meter.rows[-1][0]
    await read_all(profiles, meter)
    assert meter.values == [0.0] + [float(i) for i in range(300, 700)]
    assert [code for code, _ in meter.events] == ["D08"] and meter.rows[300][0].isoformat() in meter.events[0][1]


async def test_an_empty_buffer_may_be_null_data_and_the_rows_behind_the_gap_come(tmp_path, reading):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter = Meter(now, profile_depth="6 d")
    meter.empty = None
    meter.rows = [(now, 5)]
    await read_all(reader(tmp_path, reading), meter)
    assert meter.values == [5.0] and not meter.counters["profile_errors"]


async def test_a_log_that_is_unavailable_for_the_moment_is_asked_again(tmp_path):
    meter = Meter(datetime(2026, 11, 23, 12, tzinfo=UTC))
    meter.shape[3] = AccessError(2)
    logs = LogReader(Positions(tmp_path / "profiles.json"))
    await logs.read(meter)
    assert meter.counters["log_errors"] == 1 and not meter.counters["logs_absent"]
    meter.shape[3] = [CAPTURED[0], [1, obis.parse("0-0:96.11.0"), 2, 0]]
    meter.rows = [(meter.meter_now, 2)]
    await logs.read(meter)
    assert meter.counters["log_rows"] == 1


async def test_a_replaced_meter_is_known_only_once_what_was_kept_of_the_old_one_is_forgotten(tmp_path):
    meter = Meter(datetime(2026, 11, 23, 12, tzinfo=UTC))
    serial = {"now": b"1"}
    meter.value = lambda attribute: b"name" if attribute == DEVICE_NAME else serial["now"]
    path = tmp_path / "meter.json"
    assert not await Identity(path).check(meter)
    serial["now"] = b"2"
    assert await Identity(path).check(meter)  # killed here, before it has forgotten
    again = Identity(path)
    assert await again.check(meter)
    again.keep()
    assert not await Identity(path).check(meter)


@pytest.mark.parametrize("period", [1 << 63, 900])
@pytest.mark.parametrize("year", [1, 2026, 9999])
async def test_times_and_periods_beyond_reason_cost_an_error_at_most(tmp_path, reading, period, year):
    now = datetime(year, 1, 1, tzinfo=UTC) if year < 9999 else datetime.max.replace(tzinfo=UTC)
    meter = Meter(now, period=period, capacity=1 << 62)
    meter.shape[3] = CAPTURED
    profiles = reader(tmp_path, reading)
    await profiles.read(meter, [POINT])
    assert meter.counters["profile_errors"] == (year != 2026)
    last = encode_date_time(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    meter.meter_now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    await profiles.read(meter, [POINT])
    assert profiles.pushed(meter, NAME, [[last, 1], [None, 2]])
    assert meter.values[-1] == 1.0 and meter.counters["profile_rows_unreadable"] == 1


async def test_a_meter_that_sends_its_whole_buffer_for_every_span_repeats_nothing_once_it_is_read(tmp_path, reading):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    meter = Meter(now)
    meter.rows = [(now - timedelta(minutes=15 * i), 96 - i) for i in range(96, -1, -1)]
    profiles = reader(tmp_path, reading)
    await read_all(profiles, meter)
    assert meter.values == [float(i) for i in range(97)]
    meter.within = lambda _moment, _start, _end: True
    for minutes in (15, 30, 45):
        meter.meter_now = now + timedelta(minutes=minutes)
        meter.rows.append((meter.meter_now, 1000 + minutes))
        await read_all(profiles, meter)
    assert meter.values[97:] == [1015.0, 1030.0, 1045.0]


async def test_a_row_of_a_clock_that_is_a_little_ahead_waits_until_its_time_has_come(tmp_path, reading, monkeypatch):
    """A time in the future would be replaced by that of reception, and an energy would belong to another period."""
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    real = {"now": now - timedelta(seconds=30)}
    monkeypatch.setattr(buffers, "datetime", type("D", (datetime,), {"now": classmethod(lambda _, __: real["now"])}))
    meter = Meter(now, period=60, profile_depth="1 h")
    meter.rows = [(now - timedelta(minutes=1), 1), (now, 2)]
    profiles = reader(tmp_path, reading)
    assert not await profiles.read(meter, [POINT]) and meter.values == [1.0]
    real["now"], meter.meter_now = now, now + timedelta(seconds=30)
    await read_all(profiles, meter)
    assert meter.values == [1.0, 2.0]
    # One that is hours ahead is told as wrong; its rows are not kept back for ever.
    meter.meter_now = now + timedelta(days=1)
    meter.rows.append((meter.meter_now, 3))
    await read_all(profiles, meter)
    assert meter.values == [1.0, 2.0, 3.0]
