"""SenML packs as RFC 8428 writes them, and what is refused."""

import json

import cbor2
import pytest

from twin_gateway.drivers.coap import senml
from twin_gateway.drivers.coap.senml import Record, SenmlError

NOW = 1_795_000_000.0
LABELS = {v: k for k, v in senml._CBOR_LABELS.items()}


def as_cbor(pack: list[dict[str, object]]) -> bytes:
    return cbor2.dumps([{LABELS[key]: value for key, value in record.items()} for record in pack])


def both(pack: list[dict[str, object]]) -> list[Record]:
    """Resolve the JSON form and check that the CBOR form says the same."""
    records = senml.from_json(json.dumps(pack).encode(), NOW)
    assert senml.from_cbor(as_cbor(pack), NOW) == records
    return records


def test_base_fields_apply_until_they_are_replaced() -> None:
    records = both(
        [
            {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.320067464e9, "bu": "%RH", "n": "hum", "v": 21.2},
            {"n": "hum", "t": 10, "v": 21.3},
            {"bu": "Cel", "n": "temp", "t": -5, "v": 3.5},
            {"bn": "b:", "n": "x", "u": "V", "v": 1},
        ]
    )
    assert [r.name.rpartition(":")[2] for r in records] == ["hum", "hum", "temp", "x"]
    assert [r.unit for r in records] == ["%RH", "%RH", "Cel", "V"]
    assert [r.time for r in records] == [1320067464.0, 1320067474.0, 1320067459.0, 1320067464.0]
    assert records[3].name == "b:x"


def test_times_below_two_to_the_28_are_relative_to_now() -> None:
    records = both([{"n": "a", "t": -120, "v": 1}, {"n": "a", "t": 2**28 - 1, "v": 1}, {"n": "a", "t": 2**28, "v": 1}])
    assert [r.time for r in records] == [NOW - 120, NOW + 2**28 - 1, float(2**28)]


def test_a_pack_without_time_says_none_and_not_1970() -> None:
    assert both([{"n": "a", "v": 1}, {"n": "a", "t": 0, "v": 1}])[0].time is None


def test_base_value_and_base_sum_are_added() -> None:
    records = both([{"bn": "a", "bv": 20, "v": 1.5, "bs": 100, "s": 5}, {"n": "b"}, {"n": "c", "vb": True}])
    assert [(r.value, r.total) for r in records] == [(21.5, 105), (20, 100), (True, 100)]


def test_a_record_of_base_fields_alone_is_no_record() -> None:
    assert [r.name for r in both([{"bn": "dev:", "bver": 10}, {"n": "a", "v": 1}])] == ["dev:a"]


def test_every_kind_of_value_is_taken() -> None:
    records = both([{"n": "a", "v": 1}, {"n": "b", "vs": "on"}, {"n": "c", "vb": False}, {"n": "d", "s": 7.5}])
    assert [r.value for r in records] == [1, "on", False, None]
    assert records[3].total == 7.5
    assert senml.from_cbor(cbor2.dumps([{0: "e", 8: b"\x01\x02"}]), NOW)[0].value == b"\x01\x02"


def test_update_time_is_told() -> None:
    assert both([{"n": "a", "v": 1, "ut": 30}])[0].update_time == 30


def test_decimal_fractions_of_cbor_are_numbers() -> None:
    assert senml.from_cbor(bytes.fromhex("81a2006161") + b"\x02\xc4\x82\x20\x19\x01\x00", NOW)[0].value == 25.6


@pytest.mark.parametrize(
    ("pack", "says"),
    [
        ({"n": "a", "v": 1}, "array"),
        ([1], "not a map"),
        ([{"v": 1}], "no name"),
        ([{"n": "a"}], "no value"),
        ([{"n": "a", "v": "1"}], "not a number"),
        ([{"n": "a", "v": True}], "not a number"),
        ([{"n": "a", "vb": 1}], "not a boolean"),
        ([{"n": "a", "vs": 1}], "not text"),
        ([{"n": 3, "v": 1}], "not text"),
        ([{"n": "a", "v": 1, "vs": "x"}], "two values"),
        ([{"n": "a", "v": 1, "calibration_": 1}], "must be understood"),
        ([{"bver": 11, "n": "a", "v": 1}], "version"),
        ([{"n": "a", "v": 1, "t": 1e300}], "calendar"),
        ([{"n": "a", "v": 1, "t": -(2**40)}], "calendar"),
        ([{"n": "a", "v": 10**400}], "64 bits"),
        ([{"n": "a", "bv": 1.7e308, "v": 1.7e308}], "not finite"),
        ([{"n": "a", "v": 1}] * 1001, "1001 records"),
    ],
)
def test_what_is_no_pack_is_one_typed_error(pack: object, says: str) -> None:
    with pytest.raises(SenmlError, match=says):
        senml.from_json(json.dumps(pack).encode(), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[",
        b"\xff\xfe",
        b'[{"n":"a","v":NaN}]',
        b'[{"n":"a","v":Infinity}]',
        b'[{"n":"a","v":1e999}]',
        b"[" * 60_000,
        b'[{"n":"a","v":' + b"9" * 5000 + b"}]",
        b" " * 70_000,
    ],
)
def test_malformed_json_is_one_typed_error(payload: bytes) -> None:
    with pytest.raises(SenmlError):
        senml.from_json(payload, NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"\x81",
        b"\x81" * 60_000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x00\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x80",
        cbor2.dumps([{0: "a", 2: float("nan")}]),
        cbor2.dumps([{0: "a", 2: float("inf")}]),
        b"\x81\xa2\x00\x61a\x02\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x81\xa2\x00\x61a\x02\xc2\x58\xff" + b"\xff" * 255,
    ],
)
def test_malformed_cbor_is_one_typed_error(payload: bytes) -> None:
    with pytest.raises(SenmlError):
        senml.from_cbor(payload, NOW)


def test_only_number_tags_of_cbor_are_taken() -> None:
    """Tags make objects (shared references, regular expressions, MIME …) that a sensor has no business sending."""
    insides = (b"\x00", b"\x60", b"\x40", b"\x80", b"\x82\x01\x02", b"\xa0", b"\x64(a+)")
    taken = set()
    for tag in [*range(1100), 43000, 55799]:
        head = bytes([0xC0 | tag]) if tag < 24 else b"\xd9" + tag.to_bytes(2, "big")
        for inside in insides:
            try:
                senml.cbor_value(head + inside)
            except SenmlError:
                continue
            taken.add(tag)
    assert taken == {2, 3, 4, 5}


def test_unknown_fields_and_labels_are_passed_over() -> None:
    assert senml.from_json(b'[{"n":"a","v":1,"colour":"red"}]', NOW)[0].value == 1
    assert senml.from_cbor(cbor2.dumps([{0: "a", 2: 1, 77: "x", b"z": 1}]), NOW)[0].value == 1
