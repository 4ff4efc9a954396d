"""A-XDR: lengths and the COSEM data types, to and from plain Python values.

| COSEM type | Python |
|---|---|
| null-data, don't-care | None |
| boolean | bool |
| (unsigned) integers of all widths, enum, bcd | int |
| float32, float64 | float |
| octet-string, date-time, date, time | bytes |
| visible-string, utf8-string | str |
| bit-string | BitString |
| array, structure, compact-array | list |
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from twin_gateway.drivers.dlms.errors import MalformedApduError

MAX_DEPTH = 16
"""Arrays and structures nested deeper than this are refused."""


class Tag(IntEnum):
    """Type tags of COSEM data."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    INT32 = 5
    UINT32 = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INT8 = 15
    INT16 = 16
    UINT8 = 17
    UINT16 = 18
    COMPACT_ARRAY = 19
    INT64 = 20
    UINT64 = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DONT_CARE = 255


@dataclass(frozen=True, slots=True)
class BitString:
    """A bit string: `length` bits, first bit is the highest bit of the first octet."""

    length: int
    octets: bytes


Value = Any
"""What decode() returns; see the table in the module docstring."""

_FORMATS: dict[int, str] = {
    Tag.BOOLEAN: ">?",
    Tag.INT32: ">i",
    Tag.UINT32: ">I",
    Tag.BCD: ">B",
    Tag.INT8: ">b",
    Tag.INT16: ">h",
    Tag.UINT8: ">B",
    Tag.UINT16: ">H",
    Tag.INT64: ">q",
    Tag.UINT64: ">Q",
    Tag.ENUM: ">B",
    Tag.FLOAT32: ">f",
    Tag.FLOAT64: ">d",
}
_STRUCTS = {tag: struct.Struct(form) for tag, form in _FORMATS.items()}
_FIXED: dict[int, tuple[Callable[..., tuple[Any, ...]], int]] = {
    tag: (s.unpack_from, s.size) for tag, s in _STRUCTS.items()
}
_OCTETS: dict[int, int] = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """Reads a length (one octet, or 0x80+n and n octets, n <= 4) and returns (length, next position).

    Raises:
        MalformedApduError: truncated, or an unreasonable number of length octets.
    """
    if at >= len(data):
        raise MalformedApduError("length is missing")
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    count = first & 0x7F
    if not 1 <= count <= 4 or at + count > len(data):
        raise MalformedApduError("bad length")
    return int.from_bytes(data[at : at + count], "big"), at + count


def write_length(length: int) -> bytes:
    """Encodes a length in the shortest form."""
    if length < 0x80:
        return bytes((length,))
    count = (length.bit_length() + 7) // 8
    return bytes((0x80 | count,)) + length.to_bytes(count, "big")


def read_octets(data: bytes, at: int) -> tuple[bytes, int]:
    """Reads a length and that many octets; returns (octets, next position).

    Raises:
        MalformedApduError: the data ends before the octets do.
    """
    length, at = read_length(data, at)
    end = at + length
    if end > len(data):
        raise MalformedApduError("octets are truncated")
    return data[at:end], end


def decode(data: bytes, at: int = 0) -> tuple[Value, int]:
    """Decodes one value and returns (value, next position). Octets that follow are the caller's business.

    Raises:
        MalformedApduError: truncated, nested too deep, or a type that does not exist.
    """
    return _decode(data, at, 0)


def _decode(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if at >= len(data):
        raise MalformedApduError("value is missing")
    tag = data[at]
    at += 1
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        if depth >= MAX_DEPTH:
            raise MalformedApduError("nested too deep")
        count, at = read_length(data, at)
        if count > len(data) - at:
            raise MalformedApduError("more elements announced than octets left")
        items = []
        for _ in range(count):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return items, at
    if tag in (Tag.NULL, Tag.DONT_CARE):
        return None, at
    if tag == Tag.COMPACT_ARRAY:
        return _compact_array(data, at)
    return _simple(tag, data, at)


def _simple(tag: int, data: bytes, at: int) -> tuple[Value, int]:
    """One value without its tag; not for arrays and structures."""
    fixed = _FIXED.get(tag)
    if fixed is not None:
        unpack, size = fixed
        if at + size > len(data):
            raise MalformedApduError("number is truncated")
        return unpack(data, at)[0], at + size
    if tag == Tag.OCTET_STRING:
        return read_octets(data, at)
    if tag in (Tag.VISIBLE_STRING, Tag.UTF8_STRING):
        raw, at = read_octets(data, at)
        return raw.decode("utf-8", "replace"), at
    if tag == Tag.BIT_STRING:
        bits, at = read_length(data, at)
        end = at + (bits + 7) // 8
        if end > len(data):
            raise MalformedApduError("bit string is truncated")
        return BitString(bits, data[at:end]), end
    size = _OCTETS.get(tag, 0)
    if not size:
        raise MalformedApduError(f"data type {tag} does not exist or is not supported")
    if at + size > len(data):
        raise MalformedApduError("date or time is truncated")
    return data[at : at + size], at + size


@dataclass(frozen=True, slots=True)
class _Shape:
    """Type description of a compact array; `least` is the fewest octets one value takes."""

    tag: int
    least: int
    count: int = 0
    members: tuple[_Shape, ...] = ()


def _shape(data: bytes, at: int, depth: int) -> tuple[_Shape, int]:
    if depth >= MAX_DEPTH:
        raise MalformedApduError("compact array is nested too deep")
    if at >= len(data):
        raise MalformedApduError("type description is truncated")
    tag = data[at]
    at += 1
    if tag == Tag.ARRAY:
        if at + 2 > len(data):
            raise MalformedApduError("type description is truncated")
        count = int.from_bytes(data[at : at + 2], "big")
        member, at = _shape(data, at + 2, depth + 1)
        return _Shape(tag, count * member.least, count, (member,)), at
    if tag == Tag.STRUCTURE:
        count, at = read_length(data, at)
        if count > len(data) - at:
            raise MalformedApduError("more members announced than octets left")
        members = []
        for _ in range(count):
            member, at = _shape(data, at, depth + 1)
            members.append(member)
        return _Shape(tag, sum(m.least for m in members), 0, tuple(members)), at
    if tag in _FIXED:
        return _Shape(tag, _FIXED[tag][1]), at
    if tag in _OCTETS:
        return _Shape(tag, _OCTETS[tag]), at
    if tag in (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING, Tag.BIT_STRING):
        return _Shape(tag, 1), at
    raise MalformedApduError(f"data type {tag} cannot stand in a compact array")


def _compact_array(data: bytes, at: int) -> tuple[list[Value], int]:
    shape, at = _shape(data, at, 0)
    if shape.least == 0:
        # Elements of no size would let a few octets announce any number of values.
        raise MalformedApduError("compact array of empty elements")
    content, end = read_octets(data, at)
    items = []
    at = 0
    while at < len(content):
        item, at = _shaped(shape, content, at)
        items.append(item)
    return items, end


def _shaped(shape: _Shape, data: bytes, at: int) -> tuple[Value, int]:
    if shape.least > len(data) - at:
        raise MalformedApduError("compact array is truncated")
    if shape.tag == Tag.ARRAY:
        members = shape.members * shape.count if shape.members[0].least else ()
    elif shape.tag == Tag.STRUCTURE:
        members = shape.members
    else:
        return _simple(shape.tag, data, at)
    items = []
    for member in members:
        item, at = _shaped(member, data, at)
        items.append(item)
    return items, at


def encode(tag: Tag, value: Any = None) -> bytes:
    """Encodes one value with its tag; arrays and structures take a list of encoded values.

    Raises:
        ValueError: the value does not fit the type.
    """
    packer = _STRUCTS.get(tag)
    if packer is not None:
        try:
            return bytes((tag,)) + packer.pack(value)
        except struct.error as error:
            raise ValueError(f"{value!r} does not fit COSEM type {tag.name}") from error
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        return bytes((tag,)) + write_length(len(value)) + b"".join(list[bytes](value))
    if tag in (Tag.NULL, Tag.DONT_CARE):
        return bytes((tag,))
    if tag == Tag.OCTET_STRING:
        octets = bytes(value)
        return b"\x09" + write_length(len(octets)) + octets
    if tag in (Tag.VISIBLE_STRING, Tag.UTF8_STRING):
        raw = str(value).encode("utf-8")
        return bytes((tag,)) + write_length(len(raw)) + raw
    if tag == Tag.BIT_STRING:
        bits: BitString = value
        return b"\x04" + write_length(bits.length) + bits.octets
    size = _OCTETS.get(tag, 0)
    if not size or len(value) != size:
        raise ValueError(f"{value!r} does not fit COSEM type {tag.name}")
    return bytes((tag,)) + bytes(value)
