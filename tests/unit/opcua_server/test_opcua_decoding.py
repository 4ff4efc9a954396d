"""What asyncua's decoder may be made to do by one request: levels, dimensions and pieces are bounded (Part 6, 5)."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.ua_binary import nodeid_to_binary

from address_space.opcua.wire import MOST_LEVELS, DecodeError, decode

LITERAL = nodeid_to_binary(ua.NodeId(ua.ObjectIds.LiteralOperand_Encoding_DefaultBinary))
NUMBER = b"\x06" + struct.pack("<i", 7)


def variants(levels: int) -> bytes:
    return b"\x18" * (levels - 1) + NUMBER


def arrays_of_variants(levels: int) -> bytes:
    return (b"\x98" + struct.pack("<i", 1)) * (levels - 1) + NUMBER


def structures(levels: int) -> bytes:
    """LiteralOperands: each is a Variant with an ExtensionObject with a structure, two levels."""
    made = NUMBER
    for _ in range((levels - 1) // 2):
        made = b"\x16" + LITERAL + b"\x01" + struct.pack("<i", len(made)) + made
    return made


def data_values(levels: int) -> bytes:
    return b"\x17\x01" * (levels - 1) + NUMBER


NESTED: list[Callable[[int], bytes]] = [variants, arrays_of_variants, structures, data_values]


def value(variant: bytes) -> Any:
    return decode(ua.DataValue, b"\x01" + variant, 0)[0].Value


@pytest.mark.parametrize("nested", NESTED)
def test_a_hundred_levels_of_nesting_are_decoded(nested: Callable[[int], bytes]) -> None:
    assert value(nested(MOST_LEVELS)) is not None


@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize("levels", [MOST_LEVELS + 2, 400, 20_000])
def test_deeper_nesting_is_bad_encoding_limits_exceeded(nested: Callable[[int], bytes], levels: int) -> None:
    with pytest.raises(ServiceError) as error:
        value(nested(min(levels, 1_000) if nested is structures else levels))
    assert error.value.code == ua.StatusCodes.BadEncodingLimitsExceeded


def test_much_on_the_deepest_level_costs_no_more_time_than_elsewhere() -> None:
    deep = b"\x18" * (MOST_LEVELS - 2) + b"\x98" + struct.pack("<i", 19_000) + b"\0" * 19_000
    began = time.process_time()
    with pytest.raises(DecodeError, match="pieces"):
        value(deep)
    assert time.process_time() - began < 0.3


def matrix(count: int, *sizes: int) -> bytes:
    return b"\xc6" + struct.pack(f"<i{count}ii{len(sizes)}i", count, *range(count), len(sizes), *sizes)


def test_an_array_with_its_dimensions_is_decoded() -> None:
    assert value(matrix(6, 2, 3)).Value == [[0, 1, 2], [3, 4, 5]]
    assert value(matrix(0, 0, 0)).Value == []


@pytest.mark.parametrize(
    "variant",
    [
        matrix(1, 1000, 1000),
        matrix(6, 2, 2),
        matrix(6, -2, -3),
        matrix(0, 1_000_000, 0),
        matrix(1, *[0x7FFF_FFFF] * 20_000),
        matrix(1, *[1] * 20_000),
    ],
    ids=["more elements", "fewer elements", "negative", "rows of nothing", "a number without end", "many dimensions"],
)
def test_dimensions_of_another_number_of_elements_are_refused_before_memory_is_taken(variant: bytes) -> None:
    began = time.process_time()
    for _ in range(20):
        with pytest.raises(DecodeError, match="dimensions"):
            value(variant)
    assert time.process_time() - began < 0.5


def test_numbers_beside_a_variant_are_no_dimensions() -> None:
    path = struct.pack("<i", 1) + b"\0\0" + struct.pack("<I", 13) + NUMBER
    made, end = decode(ua.WriteParameters, b"\x01\0\0\0\0\x55\x0d\0\0\0\xff\xff\xff\xff\x01" + NUMBER + path, 0)
    assert made.NodesToWrite[0].Value.Value.Value == 7
    assert end == 20
