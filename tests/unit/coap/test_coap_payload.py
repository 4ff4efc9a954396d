"""One point out of a payload: text, JSON and CBOR members, SenML records, and their units."""

import json
import math

import cbor2
import pytest

from address_space.units import UnitError, unit
from twin_gateway.drivers.coap import units
from twin_gateway.drivers.coap.payload import CBOR, JSON, SENML_JSON, TEXT, Document, PayloadError, Selector

NOW = 1_795_000_000.0
PACK = json.dumps(
    [
        {"bn": "urn:dev:mac:0024befffe804ff1/", "n": "temp", "u": "Cel", "v": 21.5},
        {"n": "temp", "v": 21.0, "t": -60},
        {"n": "outer/temp2", "v": 3},
        {"n": "power", "u": "W", "v": 5, "s": 7200},
    ]
).encode()


def one(payload: bytes, content_format: int | None, **selector: object) -> object:
    wanted = Selector(**selector)  # type: ignore[arg-type]  # the tests name the fields
    document = Document(payload, content_format, NOW, senml_wanted=wanted.name is not None)
    return document.select(wanted)[-1].value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"21.5", 21.5),
        (b" 7\n", 7),
        (b"-1e3", -1000.0),
        (b"ON", True),
        (b"false", False),
        (b"open", "open"),
        (b"1_0", "1_0"),
    ],
)
def test_text_is_number_boolean_or_text(text: bytes, value: object) -> None:
    assert one(text, TEXT) == value
    assert one(text, None) == value


@pytest.mark.parametrize("text", [b"nan", b"-inf", b"1e999", b"\xff\xfe", b"9" * 5000])
def test_text_that_is_no_finite_value_is_an_error(text: bytes) -> None:
    with pytest.raises(PayloadError):
        one(text, TEXT)


def test_a_json_pointer_reaches_members_items_and_escaped_names() -> None:
    tree = {"a": {"b/c": [1, {"~d": 2.5}]}, "flt": True}
    assert one(json.dumps(tree).encode(), JSON, pointer="/a/b~1c/1/~0d") == 2.5
    assert one(cbor2.dumps(tree), CBOR, pointer="/flt") is True


@pytest.mark.parametrize("pointer", ["/x", "/a/9", "/a/-1", "/a", "a", "/a/0/0"])
def test_a_pointer_to_nothing_or_to_no_value_is_an_error(pointer: str) -> None:
    with pytest.raises(PayloadError):
        one(b'{"a":[1]}', JSON, pointer=pointer)


def test_a_record_is_found_by_full_name_and_behind_the_devices_prefix() -> None:
    assert one(PACK, SENML_JSON, name="urn:dev:mac:0024befffe804ff1/outer/temp2") == 3
    assert one(PACK, SENML_JSON, name="temp2") == 3
    assert one(PACK, JSON, name="temp2") == 3
    assert one(PACK, None, name="temp2") == 3


@pytest.mark.parametrize("name", ["emp", "nothing", None])
def test_a_record_that_is_absent_or_not_named_is_an_error(name: str | None) -> None:
    with pytest.raises(PayloadError):
        one(PACK, SENML_JSON, name=name)


def test_a_name_that_fits_two_devices_is_an_error() -> None:
    pack = b'[{"n":"a/temp","v":1},{"n":"b/temp","v":2}]'
    with pytest.raises(PayloadError, match="more than one"):
        one(pack, SENML_JSON, name="temp")


def test_the_newest_record_of_a_name_comes_last() -> None:
    readings = Document(PACK, SENML_JSON, NOW).select(Selector(name="temp"))
    assert [(r.value, r.time) for r in readings] == [(21.0, NOW - 60), (21.5, None)]


def test_the_sum_is_taken_only_when_asked_for_and_has_its_own_unit() -> None:
    document = Document(PACK, SENML_JSON, NOW)
    (total,) = document.select(Selector(name="power", total=True))
    assert (total.value, total.unit) == (7200, "J")
    with pytest.raises(PayloadError, match="no sum"):
        document.select(Selector(name="temp2", total=True))


@pytest.mark.parametrize("content_format", [42, 40])
def test_an_unknown_format_is_an_error(content_format: int) -> None:
    with pytest.raises(PayloadError, match=str(content_format)):
        Document(b"\x00", content_format, NOW)


def test_an_oversized_payload_is_not_parsed() -> None:
    with pytest.raises(PayloadError, match="octets"):
        Document(b"1" * 65_537, TEXT, NOW)


def test_every_senml_unit_of_the_table_is_a_unit_of_the_address_space() -> None:
    for symbol, (ours, factor) in units.FROM_SENML.items():
        assert unit(ours).symbol == ours
        assert math.isfinite(factor)
        assert units.conversion(symbol, ours) == (factor, 0.0)


@pytest.mark.parametrize(
    ("senml", "target", "value", "expected"),
    [
        ("J", "kWh", 7.2e6, 2.0),
        ("K", "Cel", 300.0, 26.85),
        ("km/h", "m/s", 36.0, 10.0),
        ("Ah", "C", 2.0, 7200.0),
        ("%", "1", 0.5, 0.5),
    ],
)
def test_senml_units_convert(senml: str, target: str, value: float, expected: float) -> None:
    converted = units.conversion(senml, target)
    assert converted is not None
    gain, bias = converted
    assert value * gain + bias == pytest.approx(expected)


def test_units_of_different_quantities_do_not_convert_and_unknown_ones_say_so() -> None:
    with pytest.raises(UnitError):
        units.conversion("V", "Cel")
    assert units.conversion("lx", "Cel") is None
