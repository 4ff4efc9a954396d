"""Fast path: many monitor ASDUs at once to columns of values, quality words and times, in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from address_space.quality import Quality
from twin_gateway.drivers.iec104.codec import layout_of
from twin_gateway.drivers.iec104.quality import QUALITY, TIME
from twin_gateway.drivers.iec104.times import CP24_FIELDS, CP56_FIELDS, NO_TIME, Zone, column_cp24, column_cp56
from twin_gateway.drivers.iec104.types import MAX_ADDRESS, AsduError, AsduType, Family, TimeTag


class Columns(NamedTuple):
    """One row an information object, in order of arrival.

    Attributes:
        cause: the whole octet of the cause of transmission (0x80 test, 0x40 negative).
        value: float64, which holds the values of every type exactly.
        extra: as in `codec.Information`.
        quality: the unified quality word with the flags of the time tag.
        time: UTC in ms, `times.NO_TIME` where there is no tag or the tag is no time.
    """

    type: npt.NDArray[np.uint8]
    cause: npt.NDArray[np.uint8]
    common_address: npt.NDArray[np.uint16]
    address: npt.NDArray[np.uint32]
    value: npt.NDArray[np.float64]
    extra: npt.NDArray[np.uint32]
    quality: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.value)


_ELEMENTS: dict[Family, list[tuple[str, str]]] = {
    Family.SINGLE: [("q", "u1")],
    Family.DOUBLE: [("q", "u1")],
    Family.STEP: [("v", "u1"), ("q", "u1")],
    Family.BITSTRING: [("v", "<u4"), ("q", "u1")],
    Family.NORMALISED: [("v", "<i2"), ("q", "u1")],
    Family.SCALED: [("v", "<i2"), ("q", "u1")],
    Family.FLOAT: [("v", "<f4"), ("q", "u1")],
    Family.COUNTER: [("v", "<i4"), ("q", "u1")],
    Family.PROTECTION: [("q", "u1"), ("x", "<u2")],
    Family.PROTECTION_START: [("v", "u1"), ("q", "u1"), ("x", "<u2")],
    Family.PROTECTION_OUTPUT: [("v", "u1"), ("q", "u1"), ("x", "<u2")],
    Family.PACKED_SINGLE: [("v", "<u2"), ("x", "<u2"), ("q", "u1")],
    Family.NORMALISED_BARE: [("v", "<i2")],
}
_VALUE_BITS = {Family.SINGLE: 0x01, Family.DOUBLE: 0x03, Family.PROTECTION: 0x03}
_HEADER = [("type", "u1"), ("structure", "u1"), ("cause", "u1"), ("originator", "u1"), ("common", "<u2")]
_TIME_FIELDS = {TimeTag.NONE: [], TimeTag.CP24: CP24_FIELDS, TimeTag.CP56: CP56_FIELDS}


class _Layout:
    """Everything fixed about ASDUs of one type and variable structure qualifier."""

    __slots__ = ("count", "dtype", "known", "length", "quality", "sequence")

    def __init__(self, known: AsduType, qualifier: int, length: int) -> None:
        self.known, self.length = known, length
        self.count, self.sequence = qualifier & 0x7F, bool(qualifier & 0x80)
        element = _ELEMENTS[known.family] + _TIME_FIELDS[known.time]
        address = [("low", "<u2"), ("high", "u1")]
        if self.sequence:
            fields = [*_HEADER, *address, ("objects", element, (self.count,))]
        else:
            fields = [*_HEADER, ("objects", address + element, (self.count,))]
        self.dtype = np.dtype(fields)
        self.quality = QUALITY[known.family]


_LAYOUTS: dict[bytes, _Layout | None] = {}


def _layout(head: bytes) -> _Layout | None:
    """The layout for the first two octets of an ASDU, None when they are not those of a monitor type."""
    if head in _LAYOUTS:
        return _LAYOUTS[head]
    found: _Layout | None = None
    if len(head) == 2:
        try:
            known, length = layout_of(head[0], head[1])
        except AsduError:
            found = None
        else:
            found = _Layout(known, head[1], length) if known.monitor else None
    _LAYOUTS[head] = found  # at most 65 536 + 257 keys exist
    return found


def decode_columns(
    asdus: Sequence[bytes], *, received_ms: int, this_year: int, zone: Zone
) -> tuple[Columns | None, int]:
    """Decode monitor ASDUs (types 1 to 40) into one set of columns.

    Args:
        asdus: ASDUs without their APCI, in order of arrival.
        received_ms: time of reception in ms UTC, which completes CP24 tags.
        this_year: two-digit years are put within 50 years of it.
        zone: the zone of the device's clock.

    Returns:
        The columns (None when nothing was decodable) and the number of ASDUs that were not well-formed monitor ASDUs.
    """
    alike = _alike(asdus)
    if alike is not None:
        part, kept = _decode_group(*alike, received_ms, this_year, zone)
        return part if len(part) else None, 0 if kept is None else len(asdus) - int(kept.sum())
    groups: dict[bytes, list[bytes]] = {}
    places: dict[bytes, list[int]] = {}
    errors = 0
    for place, asdu in enumerate(asdus):
        head = asdu[:2]
        group = groups.get(head)
        if group is None:
            layout = _layout(head)
            if layout is None or len(asdu) != layout.length:
                errors += 1
                continue
            groups[head], places[head] = [asdu], [place]
        elif len(asdu) != len(group[0]):
            errors += 1
        else:
            group.append(asdu)
            places[head].append(place)
    parts: list[Columns] = []
    orders: list[npt.NDArray[np.intp]] = []
    for head, group in groups.items():
        layout = _LAYOUTS[head]
        if layout is None:  # pragma: no cover - a group is only opened with a layout
            continue
        part, kept = _decode_group(layout, b"".join(group), received_ms, this_year, zone)
        where = np.array(places[head], np.intp)
        if kept is not None:
            errors += len(group) - int(kept.sum())
            where = where[kept]
        if len(part):
            parts.append(part)
            orders.append(np.repeat(where, layout.count))
    if not parts:
        return None, errors
    if len(parts) == 1:
        return parts[0], errors
    order = np.argsort(np.concatenate(orders), kind="stable")
    return Columns(*(np.concatenate(column)[order] for column in zip(*parts, strict=True))), errors


def _alike(asdus: Sequence[bytes]) -> tuple[_Layout, bytes] | None:
    """The layout that all ASDUs have in common, and all their octets; None when they differ or are not well-formed."""
    length = len(asdus[0]) if asdus else 0
    layout = _layout(asdus[0][:2]) if length else None
    if layout is None or length != layout.length or set(map(len, asdus)) != {length}:
        return None
    octets, count = b"".join(asdus), len(asdus)
    alike = octets[::length] == octets[:1] * count and octets[1::length] == octets[1:2] * count
    return (layout, octets) if alike else None


def _decode_group(
    layout: _Layout, octets: bytes, received_ms: int, this_year: int, zone: Zone
) -> tuple[Columns, npt.NDArray[np.bool_] | None]:
    """Columns of ASDUs of one layout, joined, and which were kept when some had to be refused."""
    rows = np.frombuffer(octets, layout.dtype)
    kept: npt.NDArray[np.bool_] | None = None
    source = rows if layout.sequence else rows["objects"]
    address = source["low"] | source["high"].astype(np.uint32) << 16
    if layout.sequence:
        if int(address.max()) + layout.count - 1 > MAX_ADDRESS:
            kept = address + np.uint32(layout.count - 1) <= MAX_ADDRESS
            rows, address = rows[kept], address[kept]
        address = address[:, None] + np.arange(layout.count, dtype=np.uint32)
    address = address.ravel()
    objects = rows["objects"].ravel()
    count, total = layout.count, len(objects)
    value, extra, quality = _element_columns(layout, objects)
    if layout.known.time is TimeTag.NONE:
        time = np.full(total, NO_TIME, np.int64)
    else:
        if layout.known.time is TimeTag.CP56:
            time, flags = column_cp56(objects, this_year, zone)
        else:
            time, flags = column_cp24(objects, received_ms, zone)
        if flags.any():
            quality = quality | TIME[flags]
    cause, common = rows["cause"], rows["common"]
    if count > 1:
        cause, common = np.repeat(cause, count), np.repeat(common, count)
    if (cause & 0x80).any():
        quality = quality | np.where(cause & 0x80, np.uint32(Quality.TEST), np.uint32(0))
    number = np.full(total, layout.known.number, np.uint8)
    return Columns(number, cause, common, address, value, extra, quality, time), kept


def _element_columns(
    layout: _Layout, objects: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Value, extra and quality word of a flat structured column of elements."""
    family = layout.known.family
    octets = objects["q"] if family is not Family.NORMALISED_BARE else None
    quality = np.zeros(len(objects), np.uint32) if octets is None else layout.quality[octets]
    extra = np.zeros(len(objects), np.uint32)
    bits = _VALUE_BITS.get(family)
    if bits is not None and octets is not None:
        value = (octets & bits).astype(np.float64)
        if family is Family.PROTECTION:
            extra = objects["x"].astype(np.uint32)
        return value, extra, quality
    raw = objects["v"]
    match family:
        case Family.STEP:
            # 7-bit two's complement: shift the sign bit up to bit 7 and back down arithmetically
            value = ((raw << 1).view(np.int8) >> 1).astype(np.float64)
            extra = (raw >> 7).astype(np.uint32)
            quality = quality | extra * np.uint32(Quality.TRANSIENT)
        case Family.FLOAT:
            with np.errstate(invalid="ignore"):  # a signalling NaN from the device is data, not our arithmetic
                value = raw.astype(np.float64)
        case Family.NORMALISED | Family.NORMALISED_BARE:
            value = raw / 32768.0
        case Family.COUNTER:
            value = raw.astype(np.float64)
            extra = (octets & 0x1F).astype(np.uint32) if octets is not None else extra
        case Family.PROTECTION_START | Family.PROTECTION_OUTPUT:
            value = (raw & 0x3F).astype(np.float64)
            extra = objects["x"].astype(np.uint32)
        case Family.PACKED_SINGLE:
            value = raw.astype(np.float64)
            extra = objects["x"].astype(np.uint32)
        case _:
            value = raw.astype(np.float64)
    return value, extra, quality
