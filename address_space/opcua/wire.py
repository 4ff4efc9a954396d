"""OPC UA binary pieces of bytes: what the services read from requests and put into answers without objects between."""

from __future__ import annotations

import math
import struct
import sys
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

from asyncua.common.utils import Buffer, ServiceError
from asyncua.ua import ua_binary
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary, variant_to_binary

from address_space.opcua.untyped import ua

NULL_STRING = b"\xff\xff\xff\xff"
NULL_NODE_ID = b"\x00\x00"
NULL_NAME = b"\x00\x00" + NULL_STRING
"""A QualifiedName without a name."""
NULL_TEXT = b"\x00"
"""A LocalizedText without locale and text."""
NULL_ARRAY = b"\xff\xff\xff\xff"
NO_DIAGNOSTICS = b"\x00\x00\x00\x00"
MOST_PIECES = 20_000
"""Pieces of octets that asyncua's decoder may take out of one request, some 100 ms of its work at the worst."""
MOST_LEVELS = 100
"""Levels of nesting, and dimensions of an array, that are decoded."""

unpack_u16 = struct.Struct("<H").unpack_from
unpack_u32 = struct.Struct("<I").unpack_from
unpack_i32 = struct.Struct("<i").unpack_from
unpack_i64 = struct.Struct("<q").unpack_from
unpack_f64 = struct.Struct("<d").unpack_from
pack_u16 = struct.Struct("<H").pack
pack_u32 = struct.Struct("<I").pack
pack_i32 = struct.Struct("<i").pack


_VARIANT: CodeType = ua_binary.variant_from_binary.__code__
_BOXES = frozenset({_VARIANT, ua_binary.extensionobject_from_binary.__code__})
_ARRAY: CodeType = vars(ua_binary)["_Primitive1"].unpack_array.__code__
"""asyncua's decoders by which `BoundedBuffer` sees where in a message it is read."""


class DecodeError(Exception):
    """The bytes are no such thing; the request is answered with BadDecodingError."""


class OperationError(Exception):
    """One operation of a request cannot be done.

    Attributes:
        status: OPC UA StatusCode of the operation.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ProtocolError(Exception):
    """The peer breaks OPC UA TCP or the secure channel; it gets an ERR message and the connection ends.

    Attributes:
        status: OPC UA StatusCode.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Bounds:
    """What is left of the work that one decoding may cost.

    Attributes:
        pieces: that may still be taken.
        look: number of pieces left at which the nesting is looked at next.
    """

    __slots__ = ("look", "pieces")

    def __init__(self) -> None:
        self.pieces = MOST_PIECES
        self.look = MOST_PIECES - MOST_LEVELS


class BoundedBuffer(Buffer):
    """Octets for asyncua's decoder, which may take no more than so many pieces of them, on so many levels.

    One octet may stand for a whole object (a null, an empty Variant), so the pieces are counted. Variants and
    structures may nest `MOST_LEVELS` deep (Part 6, 5.1.10 asks for as many at least). The decoder fills arrays up to
    their ArrayDimensions, so twenty octets could mean a million elements: dimensions of another number of elements are
    refused before (Part 6, 5.2.2.16).
    """

    def __init__(self, data: bytes, position: int = 0, size: int = -1, bounds: _Bounds | None = None) -> None:
        super().__init__(data, position, size)
        self._bounds = bounds if bounds is not None else _Bounds()

    def read(self, size: int) -> bytes:
        """The next octets."""
        bounds = self._bounds
        bounds.pieces -= 1
        if bounds.pieces < 0:
            raise DecodeError("too many pieces")
        if size < 0:
            raise DecodeError("a negative length")
        octets = bytes(super().read(size))
        caller = sys._getframe(1)
        if caller.f_code is _ARRAY:
            _check_dimensions(caller, octets)
        if bounds.pieces <= bounds.look:
            levels = _levels(caller)
            if levels > MOST_LEVELS:
                raise ServiceError(ua.StatusCodes.BadEncodingLimitsExceeded)
            # Looking costs as well. A level takes a piece: there are no more than these levels before that many.
            bounds.pieces -= levels // 8
            bounds.look = bounds.pieces - (MOST_LEVELS - levels)
        return octets

    def copy(self, size: int = -1) -> BoundedBuffer:
        """The same octets again, within the same bounds."""
        size = self._size if size < 0 else min(size, self._size)
        return BoundedBuffer(self._data, self._cur_pos, size, self._bounds)


def _levels(frame: FrameType | None) -> int:
    """Nesting of Variants and ExtensionObjects that the decoder is at; nothing else in asyncua holds its like."""
    levels = 0
    while frame is not None:
        levels += frame.f_code in _BOXES
        frame = frame.f_back
    return levels


def _check_dimensions(reader: FrameType, octets: bytes) -> None:
    """Refuse ArrayDimensions that are not those of the Variant's array; any other array of numbers passes."""
    frame: FrameType | None = reader
    for _ in range(3):  # the array's length is read, the array, the Variant
        frame = frame.f_back if frame is not None else None
    if frame is None or frame.f_code is not _VARIANT or "value" not in frame.f_locals:
        return
    value = frame.f_locals["value"]
    sizes = struct.unpack(f"<{len(octets) // 4}i", octets)
    if len(sizes) > MOST_LEVELS or not isinstance(value, list):
        raise DecodeError("an array of too many dimensions")
    if min(sizes) < 0 or sizes[0] * math.prod(max(size, 1) for size in sizes[1:]) != len(value):
        raise DecodeError("an array of other dimensions")


def decode(kind: Any, data: bytes, position: int) -> tuple[Any, int]:
    """An asyncua class off the wire within bounds, and where it ends.

    Raises:
        ServiceError: BadEncodingLimitsExceeded when it nests too deep.
        DecodeError: when it is no such thing, or of too many pieces.
    """
    buffer = BoundedBuffer(data, position)
    try:
        return struct_from_binary(kind, buffer), buffer.cur_pos
    except ServiceError:
        raise
    except Exception as error:  # asyncua's decoder fails in many ways on damaged octets
        raise DecodeError(str(error)) from error


class Reader:
    """Reads a request body piece by piece.

    Attributes:
        data: the whole message.
        position: of the next byte to read.
    """

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def u8(self) -> int:
        """A byte."""
        position = self.position
        if position >= len(self.data):
            raise DecodeError("the message ends too early")
        self.position = position + 1
        return self.data[position]

    def boolean(self) -> bool:
        """A Boolean."""
        return self.u8() != 0

    def u16(self) -> int:
        """A UInt16."""
        return int(self._number(unpack_u16(self.data, self.position), 2))

    def u32(self) -> int:
        """A UInt32."""
        return int(self._number(unpack_u32(self.data, self.position), 4))

    def i32(self) -> int:
        """An Int32 (also enumerations and lengths)."""
        return int(self._number(unpack_i32(self.data, self.position), 4))

    def i64(self) -> int:
        """An Int64 (also a DateTime)."""
        return int(self._number(unpack_i64(self.data, self.position), 8))

    def f64(self) -> float:
        """A Double."""
        return float(self._number(unpack_f64(self.data, self.position), 8))

    def _number(self, unpacked: tuple[float, ...], size: int) -> float:
        self.position += size
        return unpacked[0]

    def octets(self) -> bytes | None:
        """A ByteString or the octets of a String; None for null."""
        length = self.i32()
        if length < 0:
            return None
        start, end = self.position, self.position + length
        if end > len(self.data):
            raise DecodeError("a string is longer than the message")
        self.position = end
        return self.data[start:end]

    def text(self) -> str | None:
        """A String; None for null."""
        octets = self.octets()
        if octets is None:
            return None
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError("a string is not UTF-8") from error

    def array(self, smallest: int = 1) -> int:
        """The length of an array (null is 0); `smallest` octets an element must at least follow."""
        length = self.i32()
        if length <= 0:
            return 0
        if length * smallest > len(self.data) - self.position:
            raise DecodeError("an array is longer than the message")
        return length

    def node_id(self) -> bytes:
        """A NodeId as it stands on the wire."""
        start = self.position
        kind = self.u8()
        if kind == 0x00:
            self.position += 1
        elif kind == 0x01:
            self.position += 3
        elif kind == 0x02:
            self.position += 6
        elif kind in {0x03, 0x05}:
            self.position += 2
            self.octets()
        elif kind == 0x04:
            self.position += 18
        else:
            raise DecodeError(f"{kind:#x} is no kind of NodeId")
        if self.position > len(self.data):
            raise DecodeError("the message ends inside a NodeId")
        return self.data[start : self.position]

    def qualified_name(self) -> bytes:
        """A QualifiedName as it stands on the wire."""
        start = self.position
        self.position += 2
        self.octets()
        return self.data[start : self.position]

    def extension_object(self) -> None:
        """Skip an ExtensionObject."""
        self.node_id()
        encoding = self.u8()
        if encoding:
            self.octets()


def node_id_object(octets: bytes) -> Any:
    """The NodeId of its wire form."""
    return nodeid_from_binary(Buffer(octets))


def encode_node_id(node_id: Any) -> bytes:
    """Wire form of a NodeId object."""
    return bytes(nodeid_to_binary(node_id))


@lru_cache(maxsize=4096)
def numeric_node_id(identifier: int, namespace: int = 0) -> bytes:
    """Wire form of a numeric NodeId, the shortest one."""
    if namespace == 0 and identifier < 256:
        return bytes((0, identifier))
    if namespace < 256 and identifier < 65536:
        return struct.pack("<BBH", 1, namespace, identifier)
    return struct.pack("<BHI", 2, namespace, identifier)


def numeric_identifier(octets: bytes) -> int | None:
    """Identifier of a numeric NodeId of namespace 0 on the wire; None for any other."""
    kind = octets[0]
    if kind == 0:
        return octets[1]
    if kind == 1:
        return int(unpack_u16(octets, 2)[0]) if octets[1] == 0 else None
    if kind == 2:
        return int(unpack_u32(octets, 3)[0]) if octets[1:3] == b"\0\0" else None
    return None


def numeric_key(octets: bytes) -> int | None:
    """Namespace (from bit 32 on) and identifier of a numeric NodeId on the wire; None for any other."""
    kind = octets[0]
    if kind == 1:
        return (octets[1] << 32) | int(unpack_u16(octets, 2)[0])
    if kind == 2:
        return (int(unpack_u16(octets, 1)[0]) << 32) | int(unpack_u32(octets, 3)[0])
    return octets[1] if kind == 0 else None


def string_node_id(identifier: str, namespace: int) -> bytes:
    """Wire form of a string NodeId."""
    octets = identifier.encode("utf-8")
    return struct.pack("<BHi", 3, namespace, len(octets)) + octets


def encode_text(text: str | None) -> bytes:
    """Wire form of a String; what is no Unicode (half a surrogate pair, octets of an identifier) becomes `?`."""
    if text is None:
        return NULL_STRING
    octets = text.encode("utf-8", "replace")
    return pack_i32(len(octets)) + octets


@lru_cache(maxsize=16384)
def qualified_name(name: str, namespace: int) -> bytes:
    """Wire form of a QualifiedName."""
    return pack_u16(namespace) + encode_text(name)


@lru_cache(maxsize=16384)
def localized_text(text: str, locale: str = "") -> bytes:
    """Wire form of a LocalizedText, without a locale unless one is given."""
    return b"\x03" + encode_text(locale) + encode_text(text) if locale else b"\x02" + encode_text(text)


def encode_variant(value: Any) -> bytes:
    """Wire form of a Variant object."""
    return bytes(variant_to_binary(value))
