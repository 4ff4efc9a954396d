"""Sequence numbers of the reports of one block: what is missing between two of them."""

from __future__ import annotations

from dataclasses import dataclass

_LAST_NUMBERS = frozenset({0xFF, 0xFFFF, 0xFFFF_FFFF})
"""After one of these a device may begin again with 0: SqNum is INT8U of unbuffered and INT16U of buffered blocks."""
_HALF = 0x8000


@dataclass(slots=True)
class Numbering:
    """Expects SqNum and SubSqNum (61850-7-2, 17.2) of one block from its enabling on.

    Attributes:
        last: SqNum of the last report; None before the first.
        segment: SubSqNum of the last segment; None when the last report was whole.
        unfinished: further segments of the last report must come.
    """

    last: int | None = None
    segment: int | None = None
    unfinished: bool = False

    def missing(self, sequence: int, segment: int | None = None, *, more: bool = False) -> int:
        """How many reports or segments are missing before this one; at least 1 when the numbers do not fit.

        The first number is not judged: devices begin with 0, with 1 or where they were.
        """
        last, before, unfinished = self.last, self.segment, self.unfinished
        self.last, self.unfinished = sequence, more
        self.segment = (segment or 0) if more or segment else None
        if last is None:
            return segment or 0
        if unfinished and sequence == last:
            return max(0, (segment or 0) - (before or 0) - 1) if (segment or 0) > (before or 0) else 1
        cut = int(unfinished)  # the rest of the last report never came
        head = segment or 0
        if sequence == last:
            return cut + head  # a device without segment numbers repeats the number
        if sequence == 0 and last in _LAST_NUMBERS:
            return cut + head
        gap = sequence - last - 1
        return cut + head + (gap if 0 <= gap < _HALF else 1)
