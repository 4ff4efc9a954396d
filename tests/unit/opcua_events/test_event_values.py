"""Values of event fields: octets as asyncua writes them, comparison and conversion by the tables of Part 4, 7.7.3."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from address_space import clock
from address_space.opcua.condition_fields import own_value
from address_space.opcua.event_operators import both, either, like_pattern
from address_space.opcua.event_values import (
    BOOLEAN,
    DATE_TIME,
    DOUBLE,
    INT32,
    INT64,
    LOCALIZED_TEXT,
    NODE_ID,
    NULL,
    STRING,
    UINT16,
    UINT64,
    canonical,
    cast,
    encode,
    encode_known,
    equal,
    from_variant,
    less,
)

NOW = 133_800_000_000_000_000
VARIANTS = [
    ua.Variant(True, ua.VariantType.Boolean),
    ua.Variant(-5, ua.VariantType.Int32),
    ua.Variant(65_535, ua.VariantType.UInt16),
    ua.Variant(2.5, ua.VariantType.Double),
    ua.Variant("Öl", ua.VariantType.String),
    ua.Variant(b"\x01\x02", ua.VariantType.ByteString),
    ua.Variant(ua.NodeId("a/b", 2), ua.VariantType.NodeId),
    ua.Variant(ua.LocalizedText("text"), ua.VariantType.LocalizedText),
    ua.Variant(clock.to_datetime(NOW), ua.VariantType.DateTime),
    ua.Variant([1, 2, 3], ua.VariantType.Int32),
    ua.Variant(None),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_octets_are_those_of_the_variant(variant: Any) -> None:
    field = from_variant(variant)
    assert encode(field) == variant_to_binary(variant)
    assert encode_known(field) == encode(field)


@pytest.mark.parametrize("kind", ["0c", "1502"])
def test_octets_that_are_no_text_are_marked_and_can_be_told(kind: str) -> None:
    variant = variant_from_binary(Buffer(bytes.fromhex(kind) + b"\x02\0\0\0a\xff"))
    field = from_variant(variant)
    assert field[1] == "a\ufffd"
    assert encode(field).endswith("a\ufffd".encode())


def test_a_status_code_is_encoded_as_one() -> None:
    octets = encode((19, 0x8034_0000))
    assert variant_from_binary(Buffer(octets)).Value.name == "BadNodeIdUnknown"


def test_node_ids_of_another_form_are_equal() -> None:
    assert canonical(b"\x02\x00\x00\xf9\x07\x00\x00") == canonical(b"\x01\x00\xf9\x07") == b"\x01\x00\xf9\x07"


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ((UINT16, 500), (DOUBLE, 500.0), True),
        ((UINT16, 500), (STRING, "500"), True),
        ((UINT16, 500), (STRING, "many"), None),
        ((STRING, "a"), (LOCALIZED_TEXT, "a"), True),
        ((STRING, "a"), NULL, None),
        ((NODE_ID, b"\x00\x55"), (STRING, "i=85"), None),
        ((BOOLEAN, True), (INT32, 1), True),
    ],
)
def test_equals_converts_implicitly(left: Any, right: Any, wanted: bool | None) -> None:
    assert equal(left, right) is wanted
    assert equal(right, left) is wanted


def test_what_has_no_order_is_not_less() -> None:
    assert less((NODE_ID, b"\x00\x55"), (NODE_ID, b"\x00\x56")) is None
    assert less((DOUBLE, float("nan")), (DOUBLE, 1.0)) is None
    assert less((DATE_TIME, NOW), (DATE_TIME, NOW + 1)) is True


@pytest.mark.parametrize(
    ("field", "kind", "wanted"),
    [
        ((STRING, "42"), INT32, (INT32, 42)),
        ((DOUBLE, 2.5), INT32, (INT32, 3)),
        ((DOUBLE, -2.5), INT32, (INT32, -3)),
        ((DOUBLE, 1e12), INT32, NULL),
        ((INT32, -1), UINT16, NULL),
        ((STRING, "True"), BOOLEAN, (BOOLEAN, True)),
        ((STRING, "perhaps"), BOOLEAN, NULL),
        ((STRING, "2024-12-30T02:40:00Z"), DATE_TIME, (DATE_TIME, NOW)),
        ((STRING, "i=85"), NODE_ID, (NODE_ID, b"\x00\x55")),
        ((STRING, "ns=65536;i=1"), NODE_ID, NULL),
        ((DATE_TIME, 1 << 62), STRING, NULL),
        ((BOOLEAN, True), STRING, (STRING, "true")),
    ],
)
def test_cast(field: Any, kind: int, wanted: Any) -> None:
    assert cast(field, kind) == wanted


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("Th[ia][ts]%", "That is fine", True),
        ("Th[ia][ts]%", "Then at any", False),
        ("%en%", "entail", True),
        ("%en%", "green", True),
        ("%en%", "content", True),
        ("abc[13-68]", "abc5", True),
        ("abc[13-68]", "abc7", False),
        ("abc[^13-5]", "abc2", True),
        ("abc[^13-5]", "abc4", False),
        ("a\\%b", "a%b", True),
        ("a\\%b", "axb", False),
        ("_b", "ab", True),
        ("%", "", True),
        ("a%b", "a\nb", True),
        ("a(b", "a(b", True),
    ],
)
def test_like_as_the_standard_explains_it(pattern: str, text: str, wanted: bool) -> None:
    assert (like_pattern(pattern).match(text) is not None) is wanted


def test_no_like_pattern_takes_long() -> None:
    pattern = like_pattern("%a" * 40 + "b")
    began = time.perf_counter()
    assert pattern.match("a" * 5_000) is None
    assert time.perf_counter() - began < 1.0


def test_a_list_that_is_not_closed_is_no_pattern() -> None:
    with pytest.raises(ValueError, match="not closed"):
        like_pattern("[ab")


@pytest.mark.parametrize(
    ("left", "right", "and_", "or_"),
    [
        (True, None, None, True),
        (False, None, False, None),
        (None, None, None, None),
        (True, False, False, True),
    ],
)
def test_the_logic_of_three_values(left: bool | None, right: bool | None, and_: bool | None, or_: bool | None) -> None:
    assert (both(left, right), both(right, left)) == (and_, and_)
    assert (either(left, right), either(right, left)) == (or_, or_)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1 << 62, (INT64, 1 << 62)),
        (1 << 63, (UINT64, 1 << 63)),
        (1 << 64, (STRING, str(1 << 64))),
        (True, (BOOLEAN, True)),
        (None, NULL),
    ],
)
def test_a_whole_number_of_a_point_has_a_type_that_holds_it(value: Any, wanted: Any) -> None:
    field = own_value(value)
    assert field == wanted
    assert encode(field) == variant_to_binary(ua.Variant(wanted[1], ua.VariantType(wanted[0])))
