"""The TLV form of LwM2M (OMA-TS-LightweightM2M_Core 7.4.3, content format 11542): resources by path, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

TLV = 11542
"""Content format `application/vnd.oma.lwm2m+tlv`."""
MAX_ENTRIES = 1_000
"""Most entries of one payload, those that only hold others included."""

_INSTANCE, _RESOURCE_INSTANCE, _MULTIPLE, _RESOURCE = range(4)
_INSIDE = {_INSTANCE: frozenset({_MULTIPLE, _RESOURCE}), _MULTIPLE: frozenset({_RESOURCE_INSTANCE})}
_DEPTH = {_INSTANCE: 1, _RESOURCE: 2, _MULTIPLE: 2, _RESOURCE_INSTANCE: 3}
_TOP = frozenset(_DEPTH)

Path = tuple[int, ...]
"""Object, instance, resource, resource instance: as many of them as are said."""


class TlvError(ValueError):
    """The octets are no LwM2M TLV; the message says where."""


def decode(payload: bytes, asked: Path) -> dict[Path, bytes]:
    """Values by their full path.

    Nesting ends by itself: an object instance holds resources, a resource with instances holds these, and nothing
    holds anything else.

    Args:
        payload: octets; how many may come is the caller's limit.
        asked: path of the request, which the identifiers of the payload are relative to.

    Raises:
        TlvError: the octets end too early, an entry is where it may not be, or there are more than `MAX_ENTRIES`.
    """
    if not asked:
        raise TlvError("the request names no object")
    found: dict[Path, bytes] = {}
    entries = 0
    # (octets from, to, path so far, kinds allowed)
    waiting = [(0, len(payload), asked, _TOP)]
    while waiting:
        at, end, place, allowed = waiting.pop()
        for kind, number, start, stop in _entries(payload, at, end):
            entries += 1
            if entries > MAX_ENTRIES:
                raise TlvError(f"more than {MAX_ENTRIES} entries")
            if kind not in allowed or len(place) < _DEPTH[kind]:
                raise TlvError(f"octet {start}: an entry that may not stand here")
            path = (*place[: _DEPTH[kind]], number)
            if kind in _INSIDE:
                waiting.append((start, stop, path, _INSIDE[kind]))
            else:
                found[path] = payload[start:stop]
    return found


def _entries(payload: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(kind, identifier, first octet, octet behind the last) of each entry."""
    while at < end:
        head = payload[at]
        wide = 2 if head & 0x20 else 1
        sized = head >> 3 & 3
        body = at + 1 + wide + sized
        if body > end:
            raise TlvError(f"octet {at}: an entry that is cut off")
        number = int.from_bytes(payload[at + 1 : at + 1 + wide], "big")
        length = int.from_bytes(payload[at + 1 + wide : body], "big") if sized else head & 7
        if body + length > end:
            raise TlvError(f"octet {at}: an entry of {length} octets where {end - body} are left")
        yield head >> 6, number, body, body + length
        at = body + length


def encode(path: Path, value: bytes) -> bytes:
    """One resource, or one instance of a resource that has several, as TLV to write."""
    if len(path) == 4:
        return _entry(_MULTIPLE, path[2], _entry(_RESOURCE_INSTANCE, path[3], value))
    if len(path) != 3:
        raise TlvError("only a resource is written: object/instance/resource")
    return _entry(_RESOURCE, path[2], value)


def _entry(kind: int, number: int, value: bytes) -> bytes:
    wide = number > 0xFF
    head = kind << 6 | wide << 5
    identifier = number.to_bytes(2 if wide else 1, "big")
    if len(value) < 8:
        return bytes((head | len(value),)) + identifier + value
    sized = (len(value).bit_length() + 7) // 8
    return bytes((head | sized << 3,)) + identifier + len(value).to_bytes(sized, "big") + value
