"""xDLMS services with logical names: GET, SET and ACTION requests and the pieces of their responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from twin_gateway.drivers.dlms.axdr import Tag, Value, decode, encode, read_length, read_octets, write_length
from twin_gateway.drivers.dlms.clock import encode_date_time
from twin_gateway.drivers.dlms.errors import (
    SERVICE_ERRORS,
    AccessError,
    ActionError,
    DlmsError,
    MalformedApduError,
    ServiceError,
)
from twin_gateway.drivers.dlms.obis import CLOCK, CLOCK_LN, Attribute

GET_REQUEST, SET_REQUEST, ACTION_REQUEST = 0xC0, 0xC1, 0xC3
GET_RESPONSE, SET_RESPONSE, ACTION_RESPONSE = 0xC4, 0xC5, 0xC7
DATA_NOTIFICATION, EVENT_NOTIFICATION = 0x0F, 0xC2
UNASKED = frozenset({DATA_NOTIFICATION, EVENT_NOTIFICATION, 0x18})
"""What a meter sends by itself; the last is the InformationReport of short names."""
EXCEPTION_RESPONSE, CONFIRMED_SERVICE_ERROR = 0xD8, 0x0E

NORMAL, BLOCK, LIST = 1, 2, 3
"""Choices of a GET response."""
ACTION_NEXT = 4
"""Choice of an ACTION response that acknowledges a block of the request."""
LIST_ITEM_OCTETS = 10
"""Octets one attribute takes in a GET with-list request."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a long GET response."""

    last: bool
    number: int
    data: bytes


def _attribute(attribute: Attribute) -> bytes:
    return attribute.class_id.to_bytes(2, "big") + attribute.logical_name + bytes((attribute.number & 0xFF,))


def get_normal(invoke: int, attribute: Attribute, selection: bytes = b"") -> bytes:
    """GET of one attribute; `selection` is selector and parameters (see by_range, by_entry)."""
    return bytes((GET_REQUEST, 1, invoke)) + _attribute(attribute) + (b"\x01" + selection if selection else b"\x00")


def get_next(invoke: int, number: int) -> bytes:
    """GET of the block after `number`."""
    return bytes((GET_REQUEST, 2, invoke)) + number.to_bytes(4, "big")


def get_list(invoke: int, attributes: list[Attribute]) -> bytes:
    """GET of several attributes at once."""
    items = b"".join([_attribute(a) + b"\x00" for a in attributes])
    return bytes((GET_REQUEST, 3, invoke)) + write_length(len(attributes)) + items


def set_normal(invoke: int, attribute: Attribute, data: bytes) -> bytes:
    """SET of one attribute to an encoded value."""
    return bytes((SET_REQUEST, 1, invoke)) + _attribute(attribute) + b"\x00" + data


def action_normal(invoke: int, method: Attribute, data: bytes = b"") -> bytes:
    """ACTION: invokes a method (number is the method id) with an encoded parameter or none."""
    return bytes((ACTION_REQUEST, 1, invoke)) + _attribute(method) + (b"\x01" + data if data else b"\x00")


def _part(number: int, last: bool, data: bytes) -> bytes:
    return bytes((last,)) + number.to_bytes(4, "big") + write_length(len(data)) + data


def set_block(invoke: int, attribute: Attribute, number: int, last: bool, data: bytes) -> bytes:
    """Block `number` (from 1) of a SET; the first names the attribute."""
    if number == 1:
        return bytes((SET_REQUEST, 2, invoke)) + _attribute(attribute) + b"\x00" + _part(number, last, data)
    return bytes((SET_REQUEST, 3, invoke)) + _part(number, last, data)


def action_block(invoke: int, method: Attribute, number: int, last: bool, data: bytes) -> bytes:
    """Block `number` (from 1) of the parameter of an ACTION; the first names the method."""
    if number == 1:
        return bytes((ACTION_REQUEST, 4, invoke)) + _attribute(method) + _part(number, last, data)
    return bytes((ACTION_REQUEST, 6, invoke)) + _part(number, last, data)


def action_next(invoke: int, number: int) -> bytes:
    """Asks for the block of an ACTION's result after `number`."""
    return bytes((ACTION_REQUEST, 2, invoke)) + number.to_bytes(4, "big")


def by_range(start: datetime, end: datetime, deviation_sign: int = 1) -> bytes:
    """Selective access to the rows of a profile with start <= clock <= end; all columns.

    The bounds go out in the zone they are given in: some meters compare local time only. The day of the week
    stays unspecified: meters compare octets, and a right weekday finds nothing on some.
    """
    restricting = encode(
        Tag.STRUCTURE,
        [
            encode(Tag.UINT16, CLOCK),
            encode(Tag.OCTET_STRING, CLOCK_LN),
            encode(Tag.INT8, 2),
            encode(Tag.UINT16, 0),
        ],
    )
    bounds = [encode(Tag.OCTET_STRING, encode_date_time(t, deviation_sign=deviation_sign)) for t in (start, end)]
    return b"\x01" + encode(Tag.STRUCTURE, [restricting, *bounds, encode(Tag.ARRAY, [])])


def by_entry(first: int, last: int = 0) -> bytes:
    """Selective access to the rows first..last of a profile (1 is the oldest, last 0: to the end); all columns."""
    numbers = [
        encode(Tag.UINT32, first),
        encode(Tag.UINT32, last),
        encode(Tag.UINT16, 1),
        encode(Tag.UINT16, 0),
    ]
    return b"\x02" + encode(Tag.STRUCTURE, numbers)


def raise_if_refused(apdu: bytes) -> None:
    """Raises ServiceError when the APDU is an exception-response or a confirmed-service-error."""
    if not apdu:
        raise MalformedApduError("empty APDU")
    if apdu[0] == EXCEPTION_RESPONSE:
        if len(apdu) < 3:
            raise MalformedApduError("exception-response is truncated")
        code = apdu[2]
        expected = int.from_bytes(apdu[3:7], "big") if code == 6 and len(apdu) >= 7 else None
        raise ServiceError(f"exception-response: {SERVICE_ERRORS.get(code, f'code {code}')}", code, expected)
    if apdu[0] == CONFIRMED_SERVICE_ERROR:
        if len(apdu) < 4:
            raise MalformedApduError("confirmed-service-error is truncated")
        raise ServiceError(f"confirmed-service-error: service {apdu[1]}, class {apdu[2]}, value {apdu[3]}")


def parse_get(apdu: bytes) -> tuple[Value, int] | Block | AccessError:
    """What a GET response to a single attribute says: (value, trailing octets), a block, or a refusal.

    Raises:
        MalformedApduError: not such a response.
    """
    if len(apdu) < 5 or apdu[0] != GET_RESPONSE:
        raise MalformedApduError("GET response expected")
    if apdu[1] == NORMAL:
        if apdu[3]:
            return AccessError(apdu[4])
        value, at = decode(apdu, 4)
        return value, len(apdu) - at
    return parse_block(apdu)


def parse_block(apdu: bytes) -> Block | AccessError:
    """The block in a GET response.

    Raises:
        MalformedApduError: not a block.
    """
    if len(apdu) < 10 or apdu[0] != GET_RESPONSE or apdu[1] != BLOCK:
        raise MalformedApduError("block of a GET response expected")
    if apdu[8]:
        return AccessError(apdu[9])
    data, _ = read_octets(apdu, 9)
    return Block(bool(apdu[3]), int.from_bytes(apdu[4:8], "big"), data)


def parse_list(data: bytes, at: int, expected: int) -> tuple[list[Value | DlmsError], int]:
    """Results of a GET with-list, in order: values or refusals; and the trailing octets.

    Args:
        data: response APDU from its third octet on, or the blocks put together.
        at: position of the count.
        expected: how many attributes were asked for.

    Raises:
        MalformedApduError: another count, or truncated.
    """
    count, at = read_length(data, at)
    if count != expected:
        raise MalformedApduError(f"{count} results for {expected} attributes")
    out: list[Value | DlmsError] = []
    for _ in range(count):
        if at + 2 > len(data):
            raise MalformedApduError("list of results is truncated")
        choice = data[at]
        if choice == 0:
            value, at = decode(data, at + 1)
            out.append(value)
        elif choice == 1:
            out.append(AccessError(data[at + 1]))
            at += 2
        else:
            raise MalformedApduError("result is neither data nor data-access-result")
    return out, len(data) - at


def parse_set(apdu: bytes) -> None:
    """Returns when the SET succeeded.

    Raises:
        AccessError: it did not.
        MalformedApduError: not a SET response.
    """
    if len(apdu) < 4 or apdu[0] != SET_RESPONSE or apdu[1] != NORMAL:
        raise MalformedApduError("SET response expected")
    if apdu[3]:
        raise AccessError(apdu[3])


def parse_set_blocks(apdu: bytes, number: int, last: bool) -> bool:
    """Whether the SET is over (it succeeded); False: the next block is expected.

    Raises:
        AccessError: the SET failed.
        MalformedApduError: not the answer to block `number`.
    """
    if len(apdu) < 4 or apdu[0] != SET_RESPONSE:
        raise MalformedApduError("SET response expected")
    if apdu[1] == 2 and not last:
        if int.from_bytes(apdu[3:7], "big") != number or len(apdu) < 7:
            raise MalformedApduError("the meter acknowledges another block of the SET")
        return False
    if apdu[1] not in (1, 3):
        raise MalformedApduError("SET response of another kind")
    if apdu[3]:
        raise AccessError(apdu[3])
    if not last:
        raise MalformedApduError("the meter ends a SET before its last block")
    return True


def parse_action_block(apdu: bytes) -> Block:
    """The block of a result in an ACTION response.

    Raises:
        MalformedApduError: not a block.
    """
    if len(apdu) < 9 or apdu[0] != ACTION_RESPONSE or apdu[1] != BLOCK:
        raise MalformedApduError("block of an ACTION response expected")
    data, _ = read_octets(apdu, 8)
    return Block(bool(apdu[3]), int.from_bytes(apdu[4:8], "big"), data)


def parse_action(apdu: bytes) -> tuple[Value, int]:
    """Returned value of a successful ACTION (None without one) and the trailing octets.

    Raises:
        ActionError: the meter refused.
        AccessError: the method ran but its return value is a data-access-result.
        MalformedApduError: not an ACTION response.
    """
    if len(apdu) < 4 or apdu[0] != ACTION_RESPONSE or apdu[1] != NORMAL:
        raise MalformedApduError("ACTION response expected")
    if apdu[3]:
        raise ActionError(apdu[3])
    if len(apdu) < 5 or not apdu[4]:
        return None, max(0, len(apdu) - 5)
    if len(apdu) < 7:
        raise MalformedApduError("ACTION response is truncated")
    if apdu[5]:
        if apdu[6]:
            raise AccessError(apdu[6])
        return None, 0
    value, at = decode(apdu, 6)
    return value, len(apdu) - at


def invoke_of(apdu: bytes) -> int:
    """Invoke id (0..15) of a GET, SET or ACTION response.

    Raises:
        MalformedApduError: too short to have one.
    """
    if len(apdu) < 3:
        raise MalformedApduError("response is truncated")
    return apdu[2] & 0x0F
