"""Values of MMS as texts for people: settings, entries of logs, attributes of control blocks."""

from __future__ import annotations

from collections.abc import Iterator

from open61850.data import (
    ArrayData,
    BitStringData,
    BoolData,
    FloatData,
    IECData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
)

from address_space import clock

from .errors import DataAccessError

MAX_TEXT = 300
"""Characters that are shown of one value."""
_MAX_DIGITS = 400
_NEVER = 1970


def shown(value: IECData | DataAccessError) -> str:
    """One leaf as a text; a refused one says so."""
    if isinstance(value, DataAccessError):
        return f"({value})"
    if isinstance(value, BoolData):
        return "true" if value.value else "false"
    if isinstance(value, IntData | UIntData):
        return str(value.value) if value.value.bit_length() < _MAX_DIGITS else "(a number without bounds)"
    if isinstance(value, FloatData):
        return f"{value.value:.9g}"
    if isinstance(value, BitStringData):
        bits = "".join(f"{octet:08b}" for octet in value.value[:MAX_TEXT])
        return bits[: len(bits) - value.unused_bits][:MAX_TEXT] if 0 <= value.unused_bits <= 7 else "(no bits)"
    if isinstance(value, TimestampData):
        return clock.iso(clock.from_datetime(value.value)) if value.value.year > _NEVER else "never"
    if isinstance(value, OctetStringData):
        return value.value[:MAX_TEXT].hex()
    inner = getattr(value, "value", "")
    return inner.hex()[:MAX_TEXT] if isinstance(inner, bytes) else str(inner)[:MAX_TEXT]


def flattened(value: IECData | DataAccessError) -> Iterator[IECData | DataAccessError]:
    """The leaves of a value in the order of its octets."""
    stack: list[IECData | DataAccessError] = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, StructureData):
            stack.extend(reversed(here.members))
        elif isinstance(here, ArrayData):
            stack.extend(reversed(here.elements))
        else:
            yield here
