"""ASDUs of file transfer (types 120 to 126 of IEC 60870-5-101/104): strict decoding and encoding, without I/O."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from twin_gateway.drivers.iec104.times import Stamp, decode_cp56
from twin_gateway.drivers.iec104.types import MAX_ADDRESS, AsduError, Cause

LONGEST_SEGMENT = 236
"""Octets of data that fit into one segment: 249 of an ASDU less 13 of its head."""
LONGEST_FILE = 0xFF_FFFF
"""What three octets can say of a length."""


class FileType(IntEnum):
    """Types of file transfer."""

    FILE_READY = 120
    SECTION_READY = 121
    CALL = 122
    LAST = 123
    ACKNOWLEDGE = 124
    SEGMENT = 125
    DIRECTORY = 126


FILE_TYPES = frozenset(FileType)
"""Their numbers."""
NAMES: dict[int, str] = {
    FileType.FILE_READY: "F_FR_NA_1",
    FileType.SECTION_READY: "F_SR_NA_1",
    FileType.CALL: "F_SC_NA_1",
    FileType.LAST: "F_LS_NA_1",
    FileType.ACKNOWLEDGE: "F_AF_NA_1",
    FileType.SEGMENT: "F_SG_NA_1",
    FileType.DIRECTORY: "F_DR_TA_1",
}
"""The standard's names of the types."""


class Call(IntEnum):
    """Select and call qualifier (SCQ), lower four bits."""

    DIRECTORY = 0
    SELECT_FILE = 1
    FILE = 2
    DEACTIVATE_FILE = 3
    DELETE_FILE = 4
    SELECT_SECTION = 5
    SECTION = 6
    DEACTIVATE_SECTION = 7


class Last(IntEnum):
    """Last section or segment qualifier (LSQ)."""

    FILE = 1
    FILE_DEACTIVATED = 2
    SECTION = 3
    SECTION_DEACTIVATED = 4


class Verdict(IntEnum):
    """Acknowledge file or section qualifier (AFQ), lower four bits."""

    FILE_TAKEN = 1
    FILE_REFUSED = 2
    SECTION_TAKEN = 3
    SECTION_REFUSED = 4


CHECKSUM_FAILED = 2
"""Upper four bits of AFQ and SCQ: the checksum was wrong."""
_NEGATIVE = 0x80


class FileMessage(NamedTuple):
    """One ASDU of file transfer but the directory.

    Attributes:
        type: a `FileType`.
        address: information object address of the file.
        name: NOF, kind of the file (1 transparent, 2 disturbance record, 3 sequence of events, 4 recorded values).
        section: NOS, number of the section, from 1; 0 where the type has none.
        length: LOF of a file or section that is ready.
        qualifier: FRQ, SRQ, SCQ, LSQ or AFQ, the whole octet.
        checksum: CHS of a last segment or section.
        data: octets of a segment.
        negative, cause: of the cause of transmission.
    """

    type: int
    common_address: int
    address: int
    name: int = 1
    section: int = 0
    length: int = 0
    qualifier: int = 0
    checksum: int = 0
    data: bytes = b""
    cause: int = Cause.FILE
    negative: bool = False
    originator: int = 0

    @property
    def ready(self) -> bool:
        """Of a file or section that was asked for: it may be called."""
        return not self.qualifier & _NEGATIVE and not self.negative


class Entry(NamedTuple):
    """One line of a directory.

    Attributes:
        address: information object address of the file.
        name: NOF, kind of the file.
        length: octets of the file.
        folder: a directory of its own, no file.
        last: the last of its directory.
        active: the station transfers it just now.
        time: when it was made, in the station's clock.
    """

    address: int
    name: int
    length: int
    folder: bool
    last: bool
    active: bool
    time: Stamp


class Directory(NamedTuple):
    """One ASDU of a directory (F_DR_TA_1)."""

    common_address: int
    entries: tuple[Entry, ...]
    cause: int = Cause.REQUEST
    negative: bool = False


_HEAD = struct.Struct("<BBBBH")
# what follows the object address, in order: name of file, then what the type has
_BODY = {
    FileType.FILE_READY: struct.Struct("<H3sB"),
    FileType.SECTION_READY: struct.Struct("<HB3sB"),
    FileType.CALL: struct.Struct("<HBB"),
    FileType.LAST: struct.Struct("<HBBB"),
    FileType.ACKNOWLEDGE: struct.Struct("<HBB"),
    FileType.SEGMENT: struct.Struct("<HBB"),
}
_LINE = struct.Struct("<H3sB")
_LINE_OCTETS = 13
_LAST, _FOLDER, _ACTIVE = 0x20, 0x40, 0x80


def decode_file(octets: bytes, this_year: int) -> FileMessage | Directory:
    """Decode one ASDU of file transfer.

    Raises:
        AsduError: it is none, or not well-formed. Nothing else is ever raised.
    """
    if len(octets) < 9 or octets[0] not in FILE_TYPES:
        raise AsduError(f"{octets[:1].hex() or 'nothing'} with {len(octets)} octets is no ASDU of file transfer")
    number, structure, cause, originator, common = _HEAD.unpack_from(octets)
    kind = FileType(number)
    address = int.from_bytes(octets[6:9], "little")
    negative, cause = bool(cause & 0x40), cause & 0x3F
    if kind is FileType.DIRECTORY:
        return Directory(common, _lines(octets, structure, address, this_year), cause, negative)
    if structure != 1:
        raise AsduError(f"{NAMES[kind]} must hold one object, not a structure {structure:#04x}")
    layout = _BODY[kind]
    rest = len(octets) - 9 - layout.size
    if rest < 0 or (rest and kind is not FileType.SEGMENT):
        raise AsduError(f"{NAMES[kind]} has not {len(octets)} octets")
    message = FileMessage(kind, common, address, cause=cause, negative=negative, originator=originator)
    fields = layout.unpack_from(octets, 9)
    match kind:
        case FileType.FILE_READY:
            return message._replace(name=fields[0], length=_length(fields[1]), qualifier=fields[2])
        case FileType.SECTION_READY:
            return message._replace(name=fields[0], section=fields[1], length=_length(fields[2]), qualifier=fields[3])
        case FileType.LAST:
            return message._replace(name=fields[0], section=fields[1], qualifier=fields[2], checksum=fields[3])
        case FileType.SEGMENT:
            if fields[2] != rest:
                raise AsduError(f"a segment announces {fields[2]} octets and has {rest}")
            return message._replace(name=fields[0], section=fields[1], data=octets[-rest:] if rest else b"")
    return message._replace(name=fields[0], section=fields[1], qualifier=fields[2])


def _length(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


def _lines(octets: bytes, structure: int, address: int, this_year: int) -> tuple[Entry, ...]:
    count = structure & 0x7F
    sequence = bool(structure & 0x80)
    step = _LINE_OCTETS if sequence else _LINE_OCTETS + 3
    expected = 9 + count * _LINE_OCTETS if sequence else 6 + count * step
    if len(octets) != expected or (sequence and address + count - 1 > MAX_ADDRESS):
        raise AsduError(f"a directory of {count} lines has not {len(octets)} octets")
    lines = []
    for index in range(count):
        at = (9 if sequence else 6) + index * step
        own = address + index if sequence else int.from_bytes(octets[at : at + 3], "little")
        at += 0 if sequence else 3
        name, length, status = _LINE.unpack_from(octets, at)
        stamp = decode_cp56(octets, at + _LINE.size, this_year)
        lines.append(
            Entry(
                own,
                name,
                _length(length),
                bool(status & _FOLDER),
                bool(status & _LAST),
                bool(status & _ACTIVE),
                stamp,
            )
        )
    return tuple(lines)


def encode_file(message: FileMessage) -> bytes:
    """Encode one ASDU of file transfer. Raises AsduError when a field does not fit."""
    kind = FileType(message.type)
    try:
        length = message.length.to_bytes(3, "little")
        body = {
            FileType.FILE_READY: (message.name, length, message.qualifier),
            FileType.SECTION_READY: (message.name, message.section, length, message.qualifier),
            FileType.CALL: (message.name, message.section, message.qualifier),
            FileType.LAST: (message.name, message.section, message.qualifier, message.checksum),
            FileType.ACKNOWLEDGE: (message.name, message.section, message.qualifier),
            FileType.SEGMENT: (message.name, message.section, len(message.data)),
        }[kind]
        if len(message.data) > LONGEST_SEGMENT:
            raise AsduError(f"a segment has at most {LONGEST_SEGMENT} octets")
        return (
            _HEAD.pack(
                kind,
                1,
                message.cause & 0x3F | (0x40 if message.negative else 0),
                message.originator,
                message.common_address,
            )
            + message.address.to_bytes(3, "little")
            + _BODY[kind].pack(*body)
            + message.data
        )
    except (struct.error, OverflowError, KeyError) as problem:
        raise AsduError(f"{NAMES[kind]} cannot be encoded: {problem}") from problem


def checksum(octets: bytes) -> int:
    """CHS: the sum of all octets of a section or file, modulo 256."""
    return sum(octets) & 0xFF
