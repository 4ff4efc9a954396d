"""Buffers of profiles and logs: rows that are new, positions, status octets, compressed and repeated rows."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from address_space import clock as ticks
from address_space.catalogue import ValueType
from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import BitString
from twin_gateway.drivers.dlms.buffer import Rules, new_rows, shape_of
from twin_gateway.drivers.dlms.clock import encode_date_time
from twin_gateway.drivers.dlms.errors import MalformedApduError
from twin_gateway.drivers.dlms.logs import code_column
from twin_gateway.drivers.dlms.positions import RECENT, Position, Positions, read_json, write_json
from twin_gateway.drivers.dlms.profile import columns_of, rows_to_batch
from twin_gateway.drivers.dlms.scales import Scale
from twin_gateway.drivers.dlms.tables import event_codes, models, status_bits, status_word

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CLOCK = [8, obis.CLOCK_LN, 2, 0]
ENERGY = [3, obis.parse("1-0:1.8.0"), 2, 0]
STATUS = [1, obis.parse("0-0:96.10.1"), 2, 0]


def point(row, code):
    return BoundPoint(row, f"p{row}", "MV", ValueType.DOUBLE, {"obis": code})


def rows_of(*values):
    return [[encode_date_time(NOW + timedelta(minutes=15 * i)), value] for i, value in enumerate(values)]


def batch_of(buffer, shape, columns, position=None, scale=None, **rules):
    piece = new_rows(buffer, shape, position or Position(), Rules(**rules))
    return piece, rows_to_batch(piece.rows, columns, [scale or Scale()] * len(columns.points), "idis")


@pytest.fixture
def energy():
    shape = shape_of([CLOCK, ENERGY], 900, 96)
    return shape, columns_of(shape, [point(5, "1-0:1.8.0")])


def test_rows_are_late_scaled_and_have_the_meters_time(energy):
    _, batch = batch_of(rows_of(10, 11, 12), *energy, scale=Scale(10.0))
    assert batch.late and list(batch.rows) == [5, 5, 5] and list(batch.values) == [100.0, 110.0, 120.0]
    assert list(batch.source_time) == [ticks.from_datetime(NOW + timedelta(minutes=15 * i)) for i in range(3)]


def test_a_row_that_is_read_again_is_not_delivered_again(energy):
    position = Position()
    batch_of(rows_of(10, 11), *energy, position)
    piece, batch = batch_of(rows_of(10, 11, 12), *energy, position)
    assert list(batch.values) == [12.0] and piece.known == 2


def test_two_rows_of_one_time_after_the_clock_was_set_back_are_both_delivered_and_counted(energy):
    position = Position()
    batch_of(rows_of(10, 11, 12), *energy, position)
    position.until = NOW + timedelta(minutes=30)
    piece, batch = batch_of(rows_of(10, 99), *energy, position)
    assert list(batch.values) == [99.0] and piece.again == 1


def test_bad_rows_and_columns_cost_only_themselves(energy):
    piece, batch = batch_of([7, [b"short", 1], *rows_of(10, None, b"x", 13), []], *energy)
    assert list(batch.values) == [10.0, 13.0] and piece.bad == 3


def test_null_data_stands_for_the_next_time_and_where_the_meter_means_it_so_for_the_value_above(energy):
    compressed = [rows_of(10)[0], [None, None], [None, 12]]
    _, batch = batch_of(compressed, *energy)
    assert list(batch.values) == [10.0, 12.0]  # nothing is made up
    _, batch = batch_of(compressed, *energy, null_repeats=True)
    assert list(batch.values) == [10.0, 10.0, 12.0]
    assert list(batch.source_time) == [ticks.from_datetime(NOW + timedelta(minutes=15 * i)) for i in range(3)]


def test_the_hour_that_comes_twice_is_told_apart_by_the_order_of_rows(energy):
    prague = ZoneInfo("Europe/Prague")
    start = datetime(2026, 10, 24, 23, 45, tzinfo=UTC)
    local = [(start + timedelta(minutes=15 * i)).astimezone(prague) for i in range(10)]
    # No deviation and no status: the octets of 02:00 to 02:45 stand there twice.
    rows = [[encode_date_time(at)[:9] + b"\x80\x00\xff", i] for i, at in enumerate(local)]
    _, batch = batch_of(rows, *energy, zone=prague)
    assert list(batch.source_time) == [ticks.from_datetime(start + timedelta(minutes=15 * i)) for i in range(10)]


@pytest.mark.parametrize("status", [0x84, b"\x84", BitString(8, b"\x84")])
def test_the_status_octet_becomes_quality_by_the_table_of_the_maker(status):
    shape = shape_of([CLOCK, STATUS, ENERGY], 900, 96)
    columns = columns_of(shape, [point(5, "1-0:1.8.0")])
    _, batch = batch_of([[encode_date_time(NOW), status, 10]], shape, columns)
    assert int(batch.quality[0]) == Quality.PARTIAL | Quality.QUESTIONABLE | Quality.INACCURATE


def test_every_bit_of_the_status_table_has_flags_that_exist():
    assert status_word("idis", 0x01) == Quality.INVALID | Quality.FAILURE
    assert status_word("idis", 0x02) == TimeFlag.INVALID and status_word("idis", 0x50) == 0
    assert all(word for bits in status_bits().values() for word in bits.values())


def test_equal_events_of_one_second_are_several_and_an_equal_profile_row_is_one():
    shape = shape_of([CLOCK, [1, obis.parse("0-0:96.11.0"), 2, 0]])
    row = [encode_date_time(NOW), 2]
    log, profile = Position(), Position()
    assert len(new_rows([row, row], shape, log, Rules(repeats=True)).rows) == 2
    assert len(new_rows([row, row], shape, profile, Rules()).rows) == 1
    assert not new_rows([row, row], shape, log, Rules(repeats=True)).rows


def test_what_is_remembered_of_rows_has_a_limit(energy):
    position = Position()
    batch_of(rows_of(*range(RECENT + 100)), *energy, position)
    assert len(position.recent) == RECENT


def test_a_register_that_is_not_captured_is_named():
    missing = point(5, "1-0:2.8.0")
    assert columns_of(shape_of([CLOCK]), [missing]).missing == [missing]
    with pytest.raises(MalformedApduError):
        shape_of([[1, 2]])


def test_the_code_of_a_log_is_found_among_its_columns():
    counter, code = [1, obis.parse("0-0:96.15.0"), 2, 0], [1, obis.parse("0-0:96.11.1"), 2, 0]
    assert code_column(shape_of([CLOCK, counter, code])) == 2
    assert code_column(shape_of([CLOCK, counter])) == 1
    assert code_column(shape_of([CLOCK])) == -1


def test_positions_survive_and_a_damaged_file_only_costs_reading_again(tmp_path):
    path, name = tmp_path / "rows.json", obis.parse("1-0:99.1.0")
    positions = Positions(path)
    positions.get(name).until = NOW
    positions.get(name).add("key")
    positions.save()
    assert path.stat().st_mode & 0o777 == 0o600
    kept = Positions(path).get(name)
    assert kept.until == NOW and not kept.add("key")
    path.write_text('{"1-0:99.1.0": "2020-01-01T00:00:00+00:00", "1-0:99.2.0": {"until": 7}, "x": ["?"]}')
    assert Positions(path).get(name).until == datetime(2020, 1, 1, tzinfo=UTC)  # as an earlier version wrote it
    assert Positions(path).get(obis.parse("1-0:99.2.0")).until is None
    path.write_text("[1")
    assert Positions(path).get(name).until is None


def test_tables_of_codes_and_models_hold_together():
    codes = event_codes()["idis"]
    assert codes[40].text == "terminal cover removed" and codes[40].event == "L04"
    assert all(1 <= code.severity <= 1000 and code.text for code in codes.values())
    assert {"gurux-c-server", "pydlms-simulator", "idis"} <= set(models())


def test_small_files_do_not_keep_the_event_loop_waiting_for_the_disk(tmp_path, monkeypatch):
    def waited(_descriptor):
        raise AssertionError("the event loop waits for the disk")

    monkeypatch.setattr("os.fsync", waited)
    write_json(tmp_path / "push.json", {"counter": 7})
    assert read_json(tmp_path / "push.json", "") == {"counter": 7}
    assert (tmp_path / "push.json").stat().st_mode & 0o777 == 0o600
