"""BER by offsets: reading tag and length without copying, and a guard against deep nesting.

The codec library copies every level and recurses; this is for the hot path and for what comes before the library.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import MmsProtocolError

MAX_DEPTH = 24
"""Levels of nesting of data that are decoded; 61850 needs about eight."""
MAX_PDU_DEPTH = 100
"""Levels of BER in a message that the codec library decodes recursively; a type description has four a structure."""
MAX_COPIED = 16 << 20
"""Octets that the codec library may copy for one message; it copies every level anew."""
MAX_ELEMENTS = 100_000
"""TLVs of one message; the library makes an object of each."""
_MAX_TAG = 5
"""Octets of a tag; longer ones only cost time."""

SESSION_DATA = b"\x01\x00\x01\x00"


def header(buffer: bytes, position: int, end: int) -> tuple[int, int, int]:
    """(tag, start, stop) of the content of the TLV at `position`; only one-octet tags.

    Raises:
        MmsProtocolError: when tag, length or content run over `end`.
    """
    if end - position < 2:
        raise MmsProtocolError(f"truncated TLV at {position}")
    tag = buffer[position]
    length = buffer[position + 1]
    start = position + 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= 4 or start + count > end:
            raise MmsProtocolError(f"bad BER length at {position}")
        length = int.from_bytes(buffer[start : start + count], "big")
        start += count
    stop = start + length
    if stop > end:
        raise MmsProtocolError(f"TLV at {position} runs over its end")
    return tag, start, stop


def mms_pdu(tsdu: bytes) -> tuple[int, int]:
    """(start, stop) of the MMS PDU inside session and presentation data.

    Raises:
        MmsProtocolError: when the envelope is another one.
    """
    if not tsdu.startswith(SESSION_DATA):
        raise MmsProtocolError(f"not a session data transfer: {tsdu[:4].hex()}")
    tag, position, end = header(tsdu, 4, len(tsdu))
    if tag != 0x61:
        raise MmsProtocolError(f"not presentation data: tag 0x{tag:02X}")
    tag, position, end = header(tsdu, position, end)
    if tag != 0x30:
        raise MmsProtocolError(f"not a presentation data list: tag 0x{tag:02X}")
    while position < end:
        tag, start, stop = header(tsdu, position, end)
        if tag == 0xA0:
            return start, stop
        position = stop
    raise MmsProtocolError("presentation data without an MMS PDU")


def fields(buffer: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """(tag, start, stop) of the content of each TLV in `buffer[start:end]`, one level; as `header`."""
    stop = len(buffer) if end is None else end
    while start < stop:
        tag, inner, start = header(buffer, start, stop)
        yield tag, inner, start


def check_depth(buffer: bytes, start: int, end: int, limit: int = MAX_PDU_DEPTH) -> None:
    """Walk all constructed TLVs of `buffer[start:end]` without recursion and without copying.

    Raises:
        MmsProtocolError: when a TLV runs over its parent, the nesting exceeds `limit`, or there is more in it than the
            codec library can decode within sound time and memory.
    """
    ends = [end]
    position = start
    copied = elements = 0
    while True:
        while position >= ends[-1]:
            ends.pop()
            if not ends:
                return
        tag = buffer[position]
        head = position
        if tag & 0x1F == 0x1F:  # high tag numbers: file services and such
            head += 1
            while head < end and buffer[head] & 0x80 and head - position < _MAX_TAG:
                head += 1
            if head - position >= _MAX_TAG:
                raise MmsProtocolError(f"tag of more than {_MAX_TAG} octets at {position}")
        inner = head + 2
        stop = inner + buffer[head + 1] if inner <= ends[-1] else end + 1
        if stop > ends[-1] or buffer[head + 1] & 0x80:  # a length of several octets, or one that is wrong
            _, inner, stop = header(buffer, head, ends[-1])
        elements += 1
        if tag & 0x20 and stop > inner:
            copied += stop - inner
            if len(ends) > limit:
                raise MmsProtocolError(f"BER nested deeper than {limit} levels")
            if copied > MAX_COPIED:
                raise MmsProtocolError(f"more than {MAX_COPIED} octets inside each other in one message")
            ends.append(stop)
            position = inner
        else:
            position = stop
        if elements > MAX_ELEMENTS:
            raise MmsProtocolError(f"more than {MAX_ELEMENTS} elements in one message")
