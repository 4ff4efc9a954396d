"""Types of variables (GetVariableAccessAttributes, ISO 9506-2 14.2), decoded by offsets with limits.

The codec library's decoder goes by tag numbers alone, so that nesting can be hidden from a check of constructed tags
before it; this one takes the tags of the standard only, and counts.
"""

from __future__ import annotations

from open61850.mms.types import PRIMITIVES, ArrayType, MmsType, NamedType, PrimitiveType, StructureType

from .errors import MmsProtocolError
from .tlv import MAX_DEPTH, fields

MAX_TYPES = 65_536
"""Components of one type, all levels together."""
_ARRAY, _STRUCTURE, _FLOAT = 0xA1, 0xA2, 0xA7
_SIZED = frozenset((4, 5, 6, 9, 10, 13, 16))
_MAX_SIZE = 5
"""Octets of a size."""


def type_description(content: bytes) -> MmsType:
    """The type in a response.

    Raises:
        MmsProtocolError: it is none, or has more levels or components than any sound one.
    """
    for tag, start, stop in fields(content):
        if tag == 0xA2:  # typeDescription
            return _Decoder(content).only(start, stop, 0)
    raise MmsProtocolError("variable without a type")


class _Decoder:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._count = 0

    def only(self, start: int, stop: int, depth: int) -> MmsType:
        """The one type in `content[start:stop]`."""
        for tag, inner, end in fields(self._content, start, stop):
            return self.one(tag, inner, end, depth)
        raise MmsProtocolError("empty type")

    def one(self, tag: int, start: int, stop: int, depth: int) -> MmsType:
        self._count += 1
        if depth > MAX_DEPTH:
            raise MmsProtocolError(f"type nested deeper than {MAX_DEPTH} levels")
        if self._count > MAX_TYPES:
            raise MmsProtocolError(f"type of more than {MAX_TYPES} components")
        if tag == _STRUCTURE:
            parts = [(inner, end) for number, inner, end in fields(self._content, start, stop) if number == 0xA1]
            return StructureType(
                [
                    self._component(begin, finish, depth)
                    for inner, end in parts
                    for _, begin, finish in fields(self._content, inner, end)
                ]
            )
        if tag == _ARRAY:
            found = {number: (inner, end) for number, inner, end in fields(self._content, start, stop)}
            if 0x81 not in found or 0xA2 not in found:
                raise MmsProtocolError("array without number or type of its elements")
            return ArrayType(self._number(*found[0x81], signed=False), self.only(*found[0xA2], depth + 1))
        if tag == 0xA0:  # the name of a type
            for _, inner, end in fields(self._content, start, stop):
                return NamedType(self._identifier(inner, end))
            raise MmsProtocolError("type without a name")
        return self._primitive(tag, start, stop)

    def _component(self, start: int, stop: int, depth: int) -> tuple[str, MmsType]:
        name, kind = "", None
        for tag, inner, end in fields(self._content, start, stop):
            if tag == 0x80:
                name = self._identifier(inner, end)
            elif tag == 0xA1:
                kind = self.only(inner, end, depth + 1)
        if kind is None:
            raise MmsProtocolError("component without a type")
        return name, kind

    def _primitive(self, tag: int, start: int, stop: int) -> PrimitiveType:
        number = tag & 0x1F
        if tag & 0xC0 != 0x80 or number not in PRIMITIVES or (tag & 0x20 and tag != _FLOAT):
            raise MmsProtocolError(f"unknown type 0x{tag:02X}")
        kind = PRIMITIVES[number]
        if tag == _FLOAT:
            for _, inner, end in fields(self._content, start, stop):
                return PrimitiveType(kind, self._number(inner, end, signed=False))
        if number in _SIZED and stop > start:
            return PrimitiveType(kind, self._number(start, stop, signed=True))
        return PrimitiveType(kind)

    def _identifier(self, start: int, stop: int) -> str:
        try:
            return self._content[start:stop].decode("ascii")
        except UnicodeDecodeError as error:
            raise MmsProtocolError(f"a name that no device may have: {self._content[start:stop]!r:.100}") from error

    def _number(self, start: int, stop: int, *, signed: bool) -> int:
        if not 0 < stop - start <= _MAX_SIZE:
            raise MmsProtocolError(f"size of {stop - start} octets in a type")
        return int.from_bytes(self._content[start:stop], "big", signed=signed)
