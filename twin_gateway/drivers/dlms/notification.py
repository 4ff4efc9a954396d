"""What a meter sends unasked: DataNotification and EventNotification, and which value belongs to which attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_gateway.drivers.dlms.axdr import Value, decode, read_octets
from twin_gateway.drivers.dlms.errors import MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.services import DATA_NOTIFICATION, EVENT_NOTIFICATION

MOST_COLUMNS = 256
_NUMBER = 0xFF_FFFF
_TO_HUNDREDTHS = 9


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification.

    Attributes:
        time: 12 octets, or none.
        body: its value.
        attribute: whose value it is (EventNotification); None for a DataNotification: see the push setup.
        trailing: octets after the value.
        number: of the long invoke id (DataNotification), which most meters count up; -1 without one.
    """

    time: bytes
    body: Value
    attribute: Attribute | None = None
    trailing: int = 0
    number: int = -1


def parse_notification(apdu: bytes) -> Notification:
    """The notification in a plain APDU.

    Raises:
        MalformedApduError: it is none, or truncated.
    """
    if not apdu:
        raise MalformedApduError("empty APDU")
    if apdu[0] == DATA_NOTIFICATION:
        # Tag, long invoke id and priority (4 octets), date-time as octets, body.
        if len(apdu) < 6:
            raise MalformedApduError("DataNotification is truncated")
        time, at = read_octets(apdu, 5)
        body, end = decode(apdu, at)
        number = int.from_bytes(apdu[1:5], "big") & _NUMBER
        return Notification(_time(time), body, None, len(apdu) - end, number)
    if apdu[0] == EVENT_NOTIFICATION:
        at, time = 2, b""
        if apdu[1:2] == b"\x01":
            time, at = read_octets(apdu, 2)
        if len(apdu) < at + 9:
            raise MalformedApduError("EventNotification is truncated")
        attribute = Attribute(int.from_bytes(apdu[at : at + 2], "big"), apdu[at + 2 : at + 8], apdu[at + 8])
        body, end = decode(apdu, at + 9)
        return Notification(_time(time), body, attribute, len(apdu) - end)
    raise MalformedApduError(f"APDU 0x{apdu[0]:02x} is no notification")


def _time(octets: bytes) -> bytes:
    if len(octets) not in (0, 12):
        raise MalformedApduError(f"a date-time has 12 octets, not {len(octets)}")
    return octets


def overtaken(this: Notification, last: Notification) -> bool:
    """Whether a notification was sent before another one that came first, over another connection or as a datagram.

    Its number and its time must both be older: meters set their clocks, and some do not count.
    """
    behind = (last.number - this.number) & _NUMBER
    counted = this.number >= 0 and last.number >= 0 and 0 < behind < _NUMBER // 2
    return counted and b"" != this.time[:_TO_HUNDREDTHS] < last.time[:_TO_HUNDREDTHS]


def columns_of_setup(push_object_list: Value) -> list[Attribute | None]:
    """Columns from attribute 2 of a push setup object; None for parts of an attribute, which no point takes.

    Raises:
        MalformedApduError: not a list of objects.
    """
    if not isinstance(push_object_list, list) or len(push_object_list) > MOST_COLUMNS:
        raise MalformedApduError("push_object_list is not an array of reasonable size")
    columns: list[Attribute | None] = []
    for item in push_object_list:
        match item:
            case [int(class_id), bytes(name), int(number), int(index), *_] if len(name) == 6:
                columns.append(Attribute(class_id, name, number) if index == 0 else None)
            case _:
                raise MalformedApduError("push_object_list holds something that is no object")
    return columns


def assigned(body: Value, columns: Sequence[Attribute | None]) -> dict[Attribute, Value]:
    """Values by attribute; an object pushed as a whole (attribute 0) gives each of its attributes.

    Raises:
        MalformedApduError: not one value for each column.
    """
    values = body if isinstance(body, list) else [body]
    if len(values) != len(columns):
        raise MalformedApduError(f"{len(values)} values were pushed, the push setup lists {len(columns)}")
    found: dict[Attribute, Value] = {}
    for attribute, value in zip(columns, values, strict=True):
        if attribute is None:
            continue
        if attribute.number == 0 and isinstance(value, list):
            for number, part in enumerate(value, 1):
                found[Attribute(attribute.class_id, attribute.logical_name, number)] = part
        else:
            found[attribute] = value
    return found
