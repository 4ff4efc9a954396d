"""GOOSE messages of IEC 61850-8-1: the Ethernet frame and the header of the PDU; the data set stays octets.

Nothing here recurses or copies more than the texts of a header; every length is checked against what holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import MmsProtocolError
from ..tlv import header

ETHERTYPE: Final = 0x88B8
MAX_FRAME = 1600
"""Octets of a frame that is read; Ethernet carries 1 518, with a VLAN tag 1 522."""
_PDU: Final = 0x61
_TEXT_OCTETS = 129
_BLOCK, _LIVE, _DATA_SET, _GO_ID, _TIME, _STATE, _SEQUENCE, _SIMULATION, _REVISION, _NEEDS, _ENTRIES, _DATA = range(12)
_MANDATORY = tuple(1 << field for field in (0, 1, 2, 4, 5, 6, 8, 10, 11))
_ALL = sum(_MANDATORY)
_SIMULATED = 0x8000


@dataclass(frozen=True, slots=True)
class Frame:
    """One Ethernet frame.

    Attributes:
        destination, source: MAC addresses, 6 octets.
        vlan: number of the VLAN; 0 for none.
        app_id: APPID.
        simulated: the S bit of the first reserved word (edition 2).
        start, stop: where the PDU lies in the frame.
    """

    destination: bytes
    source: bytes
    vlan: int
    app_id: int
    simulated: bool
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Message:
    """Header of one goosePdu.

    Attributes:
        control_block: gocbRef.
        live: timeAllowedtoLive, seconds.
        data_set: datSet.
        go_id: goID; gocbRef where it is left out, as the standard says.
        time: where the 8 octets of `t` lie.
        state, sequence: stNum and sqNum.
        simulated: the message or its frame is marked so.
        revision: confRev.
        needs_commissioning: ndsCom.
        entries: numDatSetEntries.
        start, stop: where the values of allData lie.
    """

    control_block: str
    live: float
    data_set: str
    go_id: str
    time: int
    state: int
    sequence: int
    simulated: bool
    revision: int
    needs_commissioning: bool
    entries: int
    start: int
    stop: int


def frame_of(octets: bytes) -> Frame:
    """The frame in `octets`.

    Raises:
        MmsProtocolError: it is no GOOSE frame, is cut off, or its length does not fit.
    """
    size = len(octets)
    if size > MAX_FRAME:
        raise MmsProtocolError(f"frame of {size} octets")
    at, vlan = 12, 0
    if octets[12:14] == b"\x81\x00":
        vlan = int.from_bytes(octets[14:16], "big") & 0x0FFF
        at = 16
    if size < at + 12:
        raise MmsProtocolError(f"frame of {size} octets")
    if int.from_bytes(octets[at : at + 2], "big") != ETHERTYPE:
        raise MmsProtocolError(f"EtherType 0x{octets[at : at + 2].hex().upper()} is not GOOSE")
    app_id = int.from_bytes(octets[at + 2 : at + 4], "big")
    length = int.from_bytes(octets[at + 4 : at + 6], "big")
    reserved = int.from_bytes(octets[at + 6 : at + 8], "big")
    stop = at + 2 + length
    if length < 10 or stop > size:
        raise MmsProtocolError(f"length {length} in a frame of {size} octets")
    return Frame(octets[:6], octets[6:12], vlan, app_id, bool(reserved & _SIMULATED), at + 10, stop)


def message_of(octets: bytes, frame: Frame) -> Message:
    """The message in a frame.

    Raises:
        MmsProtocolError: it is no goosePdu of 61850-8-1: a field is missing, twice, in another order or too long.
    """
    tag, position, end = header(octets, frame.start, frame.stop)
    if tag != _PDU:
        raise MmsProtocolError(f"not a goosePdu: tag 0x{tag:02X}")
    # What follows the PDU inside the frame's length is the security extension of IEC 62351-6, which is not checked.
    places: list[tuple[int, int]] = [(0, 0)] * 12
    present = 0
    while position < end:
        tag, start, stop = header(octets, position, end)
        position = stop
        field = tag & 0x1F
        if field > _DATA or tag != (0xAB if field == _DATA else 0x80 | field):
            raise MmsProtocolError(f"goosePdu has no field 0x{tag:02X}")
        if present >> field:
            raise MmsProtocolError(f"field {field} of a goosePdu out of order")
        present |= 1 << field
        places[field] = start, stop
    if present & _ALL != _ALL:
        missing = [mask.bit_length() - 1 for mask in _MANDATORY if not present & mask]
        raise MmsProtocolError(f"goosePdu without its fields {missing}")
    block = _text(octets, places[_BLOCK])
    live = _number(octets, places[_LIVE])
    start, stop = places[_TIME]
    if stop - start != 8 or not live or not block:
        raise MmsProtocolError("goosePdu with an empty reference, no time to live or a time that is none")
    return Message(
        block,
        live / 1000,
        _text(octets, places[_DATA_SET]),
        _text(octets, places[_GO_ID]) if present & 1 << _GO_ID else block,
        start,
        _number(octets, places[_STATE]),
        _number(octets, places[_SEQUENCE]),
        frame.simulated or _flag(octets, places[_SIMULATION]),
        _number(octets, places[_REVISION]),
        _flag(octets, places[_NEEDS]),
        _number(octets, places[_ENTRIES]),
        *places[_DATA],
    )


def _text(octets: bytes, place: tuple[int, int]) -> str:
    start, stop = place
    if stop - start > _TEXT_OCTETS:
        raise MmsProtocolError(f"text of {stop - start} octets in a goosePdu")
    return octets[start:stop].decode("latin-1")


def _number(octets: bytes, place: tuple[int, int]) -> int:
    start, stop = place
    if not 1 <= stop - start <= 5 or (stop - start == 5 and octets[start]):
        raise MmsProtocolError(f"number of {stop - start} octets in a goosePdu")
    return int.from_bytes(octets[start:stop], "big")


def _flag(octets: bytes, place: tuple[int, int]) -> bool:
    start, stop = place
    if stop - start > 1:
        raise MmsProtocolError(f"boolean of {stop - start} octets in a goosePdu")
    return any(octets[start:stop])
