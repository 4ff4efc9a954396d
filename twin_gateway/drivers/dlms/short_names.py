"""The client's side of an association with short names: older meters address attributes by 16-bit numbers.

Attribute n of an object is at its base name + 8 (n - 1), its methods at an offset of their own. The base names come
from the object list of the association itself (base name 0xFA00, class 12), read when the association opens; everything
else looks like an association with logical names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from twin_gateway.drivers.dlms.acse import PROPOSED_SHORT, SHORT_NAMES, SHORT_NAMES_CIPHERED, Conformance
from twin_gateway.drivers.dlms.association import Association
from twin_gateway.drivers.dlms.axdr import Tag, Value, decode, encode, read_length, read_octets, write_length
from twin_gateway.drivers.dlms.block_transfer import Steps
from twin_gateway.drivers.dlms.errors import (
    AccessError,
    ActionError,
    DlmsError,
    MalformedApduError,
    NotNegotiatedError,
    TooLargeError,
)
from twin_gateway.drivers.dlms.obis import ASSOCIATION, ASSOCIATION_LN, Attribute

READ_REQUEST, WRITE_REQUEST, READ_RESPONSE, WRITE_RESPONSE = 0x05, 0x06, 0x0C, 0x0D
_OBJECT_LIST = 0xFA08
_REPLY_TO_HLS = 0xFA58
_MOST_OBJECTS = 10_000
_UNDEFINED = 4

_METHODS = {3: 0x28, 4: 0x38, 5: 0x48, 7: 0x58, 8: 0x60, 9: 0x20, 18: 0x40, 20: 0x50, 40: 0x38, 70: 0x20}
"""Where the first method of each class is, from its base name (IEC 62056-6-2)."""


@dataclass(slots=True)
class ShortNameAssociation(Association):
    """See Association; `get`, `get_many`, `set` and `action` take the same attributes and raise the same errors.

    Attributes:
        names: base name and version by class and logical name.
    """

    names: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    _contexts: ClassVar[tuple[int, int]] = (SHORT_NAMES, SHORT_NAMES_CIPHERED)
    _can: ClassVar[Conformance] = PROPOSED_SHORT
    _reading: ClassVar[Conformance] = Conformance.READ
    _selecting: ClassVar[Conformance] = Conformance.PARAMETERIZED_ACCESS
    _item_octets: ClassVar[int] = 3

    def _get_ready(self) -> Steps[None]:
        """Reads the object list, without which nothing can be addressed."""
        objects = yield from self._read(b"\x02" + _OBJECT_LIST.to_bytes(2, "big"))
        if not isinstance(objects, list) or len(objects) > _MOST_OBJECTS:
            raise MalformedApduError("the object list of the association is no list")
        for entry in objects:
            match entry:
                case [int(base), int(class_id), int(version), bytes(name)] if len(name) == 6:
                    self.names[class_id, name] = base & 0xFFFF, version
                case _:
                    self.counters.trailing_octets += 1

    def _address(self, attribute: Attribute) -> bytes:
        """Two octets.

        Raises:
            AccessError: the meter has no such object.
        """
        found = self.names.get((attribute.class_id, attribute.logical_name))
        if found is None or attribute.number < 1:
            raise AccessError(_UNDEFINED)
        return (found[0] + 8 * (attribute.number - 1) & 0xFFFF).to_bytes(2, "big")

    def get(self, attribute: Attribute, selection: bytes = b"") -> Steps[Value]:
        """Value of one attribute; `selection` becomes parameterized access. See Association.get."""
        self._require(Conformance.READ, "READ")
        if (attribute.class_id, attribute.logical_name, attribute.number) == (ASSOCIATION, ASSOCIATION_LN, 2):
            # In the form of an association with logical names, so that discovery is the same.
            return [[class_id, version, name, [[], []]] for (class_id, name), (_, version) in self.names.items()]
        if selection:
            self._require(Conformance.PARAMETERIZED_ACCESS, "parameterized access")
        address = self._address(attribute)
        return (yield from self._read(b"\x04" + address + selection if selection else b"\x02" + address))

    def _read(self, what: bytes) -> Steps[Value]:
        reply = yield from self._call(b"\x05\x01" + what, READ_RESPONSE)
        count, at = read_length(reply, 1)
        if count != 1 or at >= len(reply):
            raise MalformedApduError("READ response with another number of results")
        if reply[at] == 2:
            return (yield from self._parts(reply, at + 1))
        value, at = _result(reply, at)
        if isinstance(value, AccessError):
            raise value
        self.counters.trailing_octets += len(reply) - at
        return value

    def _parts(self, reply: bytes, at: int) -> Steps[Value]:
        """A value that comes in blocks, the first of which is given."""
        parts: list[bytes] = []
        total, number = 0, 1
        while True:
            if len(reply) < at + 4:
                raise MalformedApduError("block of a READ response is truncated")
            last, given = bool(reply[at]), int.from_bytes(reply[at + 1 : at + 3], "big")
            data, _ = read_octets(reply, at + 3)
            if given != number & 0xFFFF:
                raise MalformedApduError(f"block {given} instead of {number}")
            parts.append(data)
            total += len(data)
            if total > self.limits.value_octets or not (data or last):
                raise TooLargeError(f"value is longer than {self.limits.value_octets} octets, or does not end")
            if last:
                break
            reply = yield from self._call(b"\x05\x01\x05" + given.to_bytes(2, "big"), READ_RESPONSE)
            if reply[1:3] != b"\x01\x02":
                value, _ = _result(reply, 2)
                raise value if isinstance(value, AccessError) else MalformedApduError("no block in a READ response")
            number, at = number + 1, 3
        whole = b"".join(parts)
        if whole[:2] == b"\x01\x00" and len(whole) > 2:
            # Some meters cut the list of results, one of them: its count and choice stand before the value.
            value, end = decode(whole, 2)
            if end == len(whole):
                return value
        value, end = decode(whole)
        self.counters.trailing_octets += len(whole) - end
        return value

    def _get_list(self, attributes: list[Attribute]) -> Steps[list[Value | DlmsError]]:
        out: list[Value | DlmsError] = []
        asked = []
        for attribute in attributes:
            try:
                asked.append(b"\x02" + self._address(attribute))
                out.append(None)
            except AccessError as error:
                out.append(error)
        if not asked:
            return out
        reply = yield from self._call(b"\x05" + write_length(len(asked)) + b"".join(asked), READ_RESPONSE)
        count, at = read_length(reply, 1)
        if count != len(asked):
            raise MalformedApduError(f"{count} results for {len(asked)} names")
        for place, before in enumerate(out):
            if before is None:
                out[place], at = _result(reply, at)
        self.counters.trailing_octets += len(reply) - at
        return out

    def set(self, attribute: Attribute, data: bytes) -> Steps[None]:
        """Writes one attribute; what does not fit one APDU needs general block transfer. See Association.set."""
        self._require(Conformance.WRITE, "WRITE")
        request = b"\x06\x01\x02" + self._address(attribute) + b"\x01" + data
        self._fits(request, Conformance(0))
        reply = yield from self._call(request, WRITE_RESPONSE)
        if reply[1:2] != b"\x01" or len(reply) < 3 or (reply[2] == 1 and len(reply) < 4) or reply[2] > 1:
            raise MalformedApduError("WRITE response expected")
        if reply[2]:
            raise AccessError(reply[3])

    def action(self, method: Attribute, data: bytes = b"") -> Steps[Value]:
        """Invokes a method: a READ with its parameter at the method's own short name. See Association.action."""
        self._require(Conformance.PARAMETERIZED_ACCESS, "parameterized access")
        offset = _METHODS.get(method.class_id)
        if offset is None:
            raise NotNegotiatedError(f"the short names of the methods of class {method.class_id} are not known")
        base = int.from_bytes(self._address(Attribute(method.class_id, method.logical_name, 1)), "big")
        address = base + offset + 8 * (method.number - 1) & 0xFFFF
        what = b"\x04" + address.to_bytes(2, "big") + b"\x01" + (data or encode(Tag.NULL))
        self._fits(b"\x05\x01" + what, Conformance(0))
        try:
            return (yield from self._read(what))
        except AccessError as error:
            raise ActionError(error.code) from error

    def _give_proof(self, proof: bytes) -> Steps[Value]:
        return (yield from self._read(b"\x04" + _REPLY_TO_HLS.to_bytes(2, "big") + b"\x01" + proof))


def _result(reply: bytes, at: int) -> tuple[Value | AccessError, int]:
    """One result of a READ response and the position after it."""
    if at + 1 >= len(reply):
        raise MalformedApduError("READ response is truncated")
    if reply[at] == 0:
        return decode(reply, at + 1)
    if reply[at] == 1:
        return AccessError(reply[at + 1]), at + 2
    raise MalformedApduError("result of a READ is neither data nor data-access-error")
