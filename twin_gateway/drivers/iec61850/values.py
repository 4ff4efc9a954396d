"""Columns of MMS values: gather octets by offsets and convert them with numpy; quality and time of 61850 to ours."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from address_space.clock import TICKS_PER_SECOND, UNIX_EPOCH_TICKS
from address_space.quality import FROM_61850, TimeFlag

Octets = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

BOOLEAN: Final = 0x83
BIT_STRING: Final = 0x84
INTEGER: Final = 0x85
UNSIGNED: Final = 0x86
FLOAT: Final = 0x87
OCTETS: Final = 0x89
VISIBLE: Final = 0x8A
BINARY_TIME: Final = 0x8C
MMS_STRING: Final = 0x8F
UTC_TIME: Final = 0x91
ACCESS_ERROR: Final = 0x80

TEXT_TAGS = frozenset((VISIBLE, MMS_STRING, OCTETS))
FLOAT32_WIDTH = 0x08
FLOAT64_WIDTH = 0x0B


def _time_flags(octet: int) -> int:
    flags = 0
    if octet & 0x80:
        flags |= TimeFlag.LEAP_KNOWN
    if octet & 0x40:
        flags |= TimeFlag.INVALID
    if octet & 0x20:
        flags |= TimeFlag.NOT_SYNCHRONISED
    return int(flags)


TIME_FLAGS: npt.NDArray[np.uint32] = np.array([_time_flags(octet) for octet in range(256)], np.uint32)
"""Time flags of each TimeQuality octet: leap seconds known, clock failure (the time is invalid), not synchronised."""


def places(starts: Offsets, length: int) -> Offsets:
    """Offsets of `length` octets from each start, as rows of a matrix; worked out once for all messages of a shape."""
    found: Offsets = starts[:, None] + np.arange(length)
    return found


def readable(tag: int, length: int, first: int) -> bool:
    """Whether `numbers` can read values of this tag and length; `first` is the first octet of the content."""
    if tag == FLOAT:
        return (length, first) in {(5, FLOAT32_WIDTH), (9, FLOAT64_WIDTH)}
    if tag == BOOLEAN:
        return length == 1
    if tag == BIT_STRING:
        return 2 <= length <= 5 and first <= 7
    if tag == INTEGER:
        return 1 <= length <= 8
    if tag == UNSIGNED:
        return 1 <= length <= 8 or (length == 9 and first == 0)
    return False


def numbers(tag: int, octets: Octets, where: Offsets) -> npt.NDArray[np.float64]:
    """The numbers at `where` (see `places`), all of one tag and length (see `readable`).

    Bit strings are integers whose first bit is the most significant: a double point gives 0 intermediate, 1 off, 2 on,
    3 bad.
    """
    raw, length = octets[where], where.shape[1]
    if tag == FLOAT:
        width = ">f4" if length == 5 else ">f8"
        floats: npt.NDArray[np.float64] = np.ascontiguousarray(raw[:, 1:]).view(width)[:, 0].astype(np.float64)
        return floats
    if tag == BOOLEAN:
        states: npt.NDArray[np.float64] = (raw[:, 0] != 0).astype(np.float64)
        return states
    if tag == BIT_STRING:
        bits = np.zeros(len(raw), np.int64)
        for column in range(1, length):
            bits = bits << 8 | raw[:, column]
        return (bits >> raw[:, 0]).astype(np.float64)
    if tag == UNSIGNED:
        whole = np.zeros(len(raw), np.uint64)
        for column in range(length):
            whole = whole << np.uint64(8) | raw[:, column]
        return whole.astype(np.float64)
    signed = raw[:, 0].astype(np.int8).astype(np.int64)
    for column in range(1, length):
        signed = signed << 8 | raw[:, column]
    return signed.astype(np.float64)


def text(tag: int, content: bytes) -> str:
    """A text value; octet strings are shown in hexadecimal."""
    if tag == OCTETS:
        return content.hex()
    return content.decode("utf-8" if tag == MMS_STRING else "latin-1", "replace")


def quality_places(starts: Offsets, short: npt.NDArray[np.bool_]) -> tuple[Offsets, npt.NDArray[np.int64]]:
    """Offsets of the two octets of the quality bit strings at `starts`, and which bits of them count, for `qualities`.

    `short` ones have no second octet; the missing bits are 0.
    """
    second = np.where(short, starts + 1, starts + 2)
    return np.stack((starts + 1, second), axis=1), np.where(short, 0xFF00, 0xFFF8)


def qualities(octets: Octets, where: Offsets, bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Quality words of the bit strings at `where`."""
    words: npt.NDArray[np.uint32] = FROM_61850[(octets[where].view(">u2")[:, 0] & bits) >> 3]
    return words


def times(octets: Octets, where: Offsets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """(FILETIME ticks, time flags) of the UtcTimes at `where`: 4 octets of seconds, 3 of fraction, 1 of quality.

    A clock that was never set (0 seconds) gives 0 ticks, which means no time at all.
    """
    whole = octets[where].view(">i8")[:, 0].astype(np.int64)
    seconds, fraction = whole >> 32 & 0xFFFF_FFFF, whole >> 8 & 0xFF_FFFF
    ticks = seconds * TICKS_PER_SECOND + (fraction * TICKS_PER_SECOND + (1 << 23) >> 24) + UNIX_EPOCH_TICKS
    ticks[seconds == 0] = 0
    return ticks, TIME_FLAGS[octets[where[:, 7]]]


def entry_ticks(content: bytes) -> int:
    """FILETIME ticks of a TimeOfEntry (binary time: milliseconds of the day, days since 1984); 0 when there is none."""
    if len(content) != 6:
        return 0
    days = int.from_bytes(content[4:], "big")
    milliseconds = int.from_bytes(content[:4], "big")
    if days == 0 or milliseconds >= 86_400_000:
        return 0
    return UNIX_EPOCH_TICKS + (441_763_200 + days * 86_400) * TICKS_PER_SECOND + milliseconds * 10_000
