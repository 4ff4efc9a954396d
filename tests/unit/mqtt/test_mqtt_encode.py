"""JSON of values, events and metadata."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from address_space import clock
from address_space.address import parse
from address_space.catalogue import ValueType, VariableKind, classify
from address_space.events import Event
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.quality import Quality, StatusCode, TimeFlag
from address_space.table import PointTable
from address_space.units import unit
from twin_gateway.mqtt.encode import event_object, late_objects, metadata_object, table_objects, time_texts

TIME = clock.from_unix(1_760_000_000) + 1_230_000
BAY = "dso1/north/PS01/MV1/F05"


def table_of(value_type: ValueType, count: int = 1) -> PointTable:
    table = PointTable()
    profile = PointProfile("MV", value_type, VariableKind.DATA)
    table.add(Point(f"{BAY}/_/GGIO{row + 1}/AnIn1", profile) for row in range(count))
    return table


def published(table: PointTable, row: int = 0) -> dict:
    return json.loads(table_objects(table, np.array([row], np.int32))[0])


def test_a_value_is_written_exactly_as_the_design_says():
    table = table_of(ValueType.DOUBLE)
    table.ingest(Batch.of([0], [230.5], 0, TIME))
    assert table_objects(table, np.array([0], np.int32)) == [
        '{"v":230.5,"s":0,"t":"2025-10-09T08:53:20.123Z","q":"good","tq":null}'
    ]


def test_a_point_without_a_sample_has_no_value_and_says_why():
    assert published(table_of(ValueType.DOUBLE)) | {"t": ""} == {
        "v": None,
        "s": StatusCode.BadWaitingForInitialData,
        "t": "",
        "q": "good,notInitialised",
        "tq": "rx",
    }


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_write_is_null_and_bad(number):
    table = table_of(ValueType.DOUBLE)
    table.ingest(Batch.of([0], [number], 0, TIME))
    value = published(table)
    assert value["v"] is None
    assert value["s"] == StatusCode.Bad


def test_an_int64_is_text():
    table = table_of(ValueType.INT64)
    table.ingest(Batch.of([0], [-(2.0**60)], 0, TIME))
    assert published(table)["v"] == str(-(2**60))


@pytest.mark.parametrize(
    ("value_type", "number", "expected"),
    [
        (ValueType.BOOLEAN, 1, True),
        (ValueType.BOOLEAN, 0, False),
        (ValueType.INT32, -7, -7),
        (ValueType.UINT32, 4294967295, 4294967295),
        (ValueType.DOUBLE, 1e22, 1e22),
    ],
)
def test_other_types_are_json_booleans_and_numbers(value_type, number, expected):
    table = table_of(value_type)
    table.ingest(Batch.of([0], [number], 0, TIME))
    value = published(table)["v"]
    assert value == expected
    assert type(value) is type(expected)


def test_text_is_escaped_and_mixed_types_keep_their_order():
    table = PointTable()
    kinds = [ValueType.STRING, ValueType.DOUBLE, ValueType.BOOLEAN, ValueType.STRING]
    profiles = [PointProfile("MV", kind, VariableKind.DATA) for kind in kinds]
    table.add(Point(f"{BAY}/_/GGIO{row + 1}/AnIn1", profile) for row, profile in enumerate(profiles))
    texts = [TextSample(0, 'say "ß"\n', 0, TIME), TextSample(3, "two", 0, TIME)]
    table.ingest(Batch.of([1, 2], [0.25, 1], 0, TIME, texts=texts))
    values = [json.loads(text)["v"] for text in table_objects(table, np.arange(4, dtype=np.int32))]
    assert values == ['say "ß"\n', 0.25, True, "two"]


def test_quality_and_time_quality_are_told_for_each_point_of_a_batch():
    table = table_of(ValueType.DOUBLE, 3)
    words = [0, Quality.QUESTIONABLE | Quality.OLD_DATA, TimeFlag.NOT_SYNCHRONISED]
    table.ingest(Batch.of([0, 1, 2], [1, 2, 3], [int(word) for word in words], [TIME, TIME, TIME]))
    values = [json.loads(text) for text in table_objects(table, np.arange(3, dtype=np.int32))]
    assert [value["q"] for value in values] == ["good", "questionable,oldData", "good"]
    assert [value["s"] for value in values] == [0, StatusCode.UncertainLastUsableValue, 0]
    assert [value["tq"] for value in values] == [None, None, "notSynchronised"]


@given(st.lists(st.integers(1, clock.from_unix(32_503_680_000)), min_size=1, max_size=30))
def test_times_are_those_of_the_clock_module(ticks):
    assert time_texts(np.array(ticks, np.int64)) == [clock.iso(tick) for tick in ticks]


def test_late_samples_are_events_with_their_own_time():
    table = table_of(ValueType.DOUBLE, 2)
    cursor = table.late.cursor("test")
    table.ingest(Batch.of([0, 1], [5.0, 6.0], 0, [TIME, TIME - 10_000_000], late=True), now=TIME + 70_000_000)
    (chunk,) = cursor.take()
    events = {row: json.loads(text) for row, text in late_objects(table, chunk)}
    assert events[1] == {
        "code": "late",
        "severity": 200,
        "rx": clock.iso(TIME + 70_000_000),
        "v": 6.0,
        "s": 0,
        "t": clock.iso(TIME - 10_000_000),
        "q": "good",
        "tq": None,
    }
    assert events[0]["v"] == 5.0


def test_an_event_says_only_what_there_is():
    event = Event("D01", "link down", 700, f"{BAY}/_", TIME, TIME, None, "active", id=3)
    assert json.loads(event_object(event)) == {
        "id": 3,
        "code": "D01",
        "state": "active",
        "severity": 700,
        "text": "link down",
        "t": clock.iso(TIME),
        "rx": clock.iso(TIME),
        "tq": None,
    }


def test_an_event_keeps_every_digit_of_a_wide_integer_and_no_nan():
    assert json.loads(event_object(Event("X", "x", value=2**60, source_time=TIME, received=TIME)))["v"] == str(2**60)
    assert json.loads(event_object(Event("X", "x", value=math.nan, source_time=TIME, received=TIME)))["v"] is None


def test_metadata_tells_class_type_unit_and_binding():
    table = PointTable()
    profile = PointProfile.of(classify(parse(f"{BAY}/_/MMXU1/TotW")), unit("W"))
    table.add([Point(f"{BAY}/_/MMXU1/TotW", profile, "rtu1", 17, "Feeder power")])
    metadata = json.loads(metadata_object(table, 0, "dso1/_sys/gw1", lambda link, source: f"iec104:{link}/{source}"))
    assert metadata == {
        "address": f"{BAY}/_/MMXU1/TotW",
        "cdc": "MV",
        "type": "Double",
        "controllable": False,
        "gateway": "dso1/_sys/gw1",
        "name": "Feeder power",
        "unit": "W",
        "quantity": "active power",
        "unece": "WTT",
        "link": "rtu1",
        "binding": "iec104:rtu1/17",
    }


def test_metadata_of_a_double_point_names_its_states():
    table = PointTable()
    address = f"{BAY}/QA1/XCBR1/Pos"
    table.add([Point(address, PointProfile.of(classify(parse(address))))])
    assert json.loads(metadata_object(table, 0, ""))["states"]["2"] == "on"
