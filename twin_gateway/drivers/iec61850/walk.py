"""One pass over the octets of a list of access results: where every leaf lies, without decoding or copying."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import MmsProtocolError
from .tlv import MAX_DEPTH

MAX_LEAVES = 200_000
"""Leaves of one message; a report of a sound device has at most a few thousand."""


@dataclass(slots=True)
class Walk:
    """Leaves in their order.

    Attributes:
        tags: tag octet of each leaf.
        starts, stops: offsets of its content in the buffer.
        items: for each top-level result the number of its first leaf, and behind the last one the number of leaves.
        simple: for each top-level result whether it is a leaf itself, not a structure.
    """

    tags: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    simple: list[bool] = field(default_factory=list)


def walk(buffer: bytes, position: int, end: int) -> Walk:
    """Find the leaves of `buffer[position:end]`, a series of MMS Data values or access errors.

    Raises:
        MmsProtocolError: lengths that do not fit into each other, nesting too deep, too many leaves.
    """
    found = Walk()
    tags, starts, stops = found.tags, found.starts, found.stops
    items, simple = found.items, found.simple
    ends: list[int] = []
    limit = end
    try:
        while position < end:
            tag = buffer[position]
            stop = buffer[position + 1]
            start = position + 2
            if stop & 0x80:
                count = stop & 0x7F
                if not 0 < count <= 4 or start + count > limit:
                    raise MmsProtocolError(f"bad BER length at {position}")
                stop = int.from_bytes(buffer[start : start + count], "big")
                start += count
            stop += start
            if stop > limit:
                raise MmsProtocolError(f"value at {position} runs over its end")
            if tag & 0x1F == 0x1F:
                raise MmsProtocolError(f"no MMS data has tag 0x{tag:02X}")
            constructed = tag & 0x20
            if not ends:
                items.append(len(tags))
                simple.append(not constructed)
            if constructed:
                if len(ends) >= MAX_DEPTH:
                    raise MmsProtocolError(f"data nested deeper than {MAX_DEPTH} levels")
                ends.append(stop)
                limit = stop
                position = start
            else:
                tags.append(tag)
                starts.append(start)
                stops.append(stop)
                position = stop
            while ends and position == limit:
                ends.pop()
                limit = ends[-1] if ends else end
    except IndexError:
        raise MmsProtocolError("truncated data") from None
    if ends:
        raise MmsProtocolError("truncated structure")
    if len(tags) > MAX_LEAVES:
        raise MmsProtocolError(f"{len(tags)} leaves in one message")
    items.append(len(tags))
    return found
