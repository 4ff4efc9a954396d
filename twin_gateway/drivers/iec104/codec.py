"""ASDUs of IEC 60870-5-104 as values: strict decoding and encoding of one ASDU of any known type, without I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from twin_gateway.drivers.iec104.times import Stamp, decode_cp24, decode_cp56, encode_cp24, encode_cp56
from twin_gateway.drivers.iec104.types import MAX_ADDRESS, TYPES, AsduError, AsduType, Family, TimeTag

MAX_ASDU = 249
"""Octets of the longest ASDU (an APDU has at most 253 after its length octet, four of them control)."""


class Information(NamedTuple):
    """One information object.

    Attributes:
        address: the information object address.
        value: what the element says: points, positions, bit strings and commands as int, normalised values in [-1, 1).
        extra: its second part: transient flag of a step position, sequence number of a counter, change mask of packed
            points, elapsed time in ms of protection events, qualifier octet of commands and set-points.
        quality: the quality octet without value bits (of a counter: IV 0x80, CA 0x40, CY 0x20).
        time: the time tag; None when the type has none.
    """

    address: int
    value: int | float = 0
    extra: int = 0
    quality: int = 0
    time: Stamp | None = None


class Asdu(NamedTuple):
    """One application service data unit: identifier fields and information objects."""

    type: int
    cause: int
    common_address: int
    objects: tuple[Information, ...]
    negative: bool = False
    test: bool = False
    originator: int = 0
    sequence: bool = False

    @property
    def name(self) -> str:
        """The standard's name of the type."""
        return TYPES[self.type].name


_H = struct.Struct("<H")
_I = struct.Struct("<I")
_PACKED = struct.Struct("<HHB")
_SHORT = struct.Struct("<hB")
_LONG = struct.Struct("<iB")
_REAL = struct.Struct("<fB")
_BITS = struct.Struct("<IB")
Parts = tuple[int | float, int, int]


def _single(b: bytes, o: int) -> Parts:
    return b[o] & 0x01, 0, b[o] & 0xF0


def _double(b: bytes, o: int) -> Parts:
    return b[o] & 0x03, 0, b[o] & 0xF0


def _step(b: bytes, o: int) -> Parts:
    position = b[o] & 0x7F
    return position - 128 if position > 63 else position, b[o] >> 7, b[o + 1] & 0xF1


def _bits(b: bytes, o: int) -> Parts:
    value, quality = _BITS.unpack_from(b, o)
    return value, 0, quality & 0xF1


def _normalised(b: bytes, o: int) -> Parts:
    value, quality = _SHORT.unpack_from(b, o)
    return value / 32768, 0, quality & 0xF1


def _scaled(b: bytes, o: int) -> Parts:
    value, quality = _SHORT.unpack_from(b, o)
    return value, 0, quality & 0xF1


def _float(b: bytes, o: int) -> Parts:
    value, quality = _REAL.unpack_from(b, o)
    return value, 0, quality & 0xF1


def _counter(b: bytes, o: int) -> Parts:
    value, octet = _LONG.unpack_from(b, o)
    return value, octet & 0x1F, octet & 0xE0


def _protection(b: bytes, o: int) -> Parts:
    return b[o] & 0x03, _H.unpack_from(b, o + 1)[0], b[o] & 0xF8


def _protection_mask(b: bytes, o: int) -> Parts:
    return b[o] & 0x3F, _H.unpack_from(b, o + 2)[0], b[o + 1] & 0xF8


def _packed(b: bytes, o: int) -> Parts:
    states, changes, quality = _PACKED.unpack_from(b, o)
    return states, changes, quality & 0xF1


def _normalised_bare(b: bytes, o: int) -> Parts:
    return struct.unpack_from("<h", b, o)[0] / 32768, 0, 0


def _command(b: bytes, o: int) -> Parts:
    return b[o] & 0x03, b[o] & 0xFC, 0


def _setpoint_normalised(b: bytes, o: int) -> Parts:
    value, qualifier = _SHORT.unpack_from(b, o)
    return value / 32768, qualifier, 0


def _setpoint_int(b: bytes, o: int) -> Parts:
    value, qualifier = _SHORT.unpack_from(b, o)
    return value, qualifier, 0


def _setpoint_float(b: bytes, o: int) -> Parts:
    value, qualifier = _REAL.unpack_from(b, o)
    return value, qualifier, 0


def _word32(b: bytes, o: int) -> Parts:
    return _I.unpack_from(b, o)[0], 0, 0


def _octet(b: bytes, o: int) -> Parts:
    return b[o], 0, 0


def _word16(b: bytes, o: int) -> Parts:
    return _H.unpack_from(b, o)[0], 0, 0


def _empty(_b: bytes, _o: int) -> Parts:
    return 0, 0, 0


_DECODERS: dict[Family, Callable[[bytes, int], Parts]] = {
    Family.SINGLE: _single,
    Family.DOUBLE: _double,
    Family.STEP: _step,
    Family.BITSTRING: _bits,
    Family.NORMALISED: _normalised,
    Family.SCALED: _scaled,
    Family.FLOAT: _float,
    Family.COUNTER: _counter,
    Family.PROTECTION: _protection,
    Family.PROTECTION_START: _protection_mask,
    Family.PROTECTION_OUTPUT: _protection_mask,
    Family.PACKED_SINGLE: _packed,
    Family.NORMALISED_BARE: _normalised_bare,
    Family.COMMAND_OCTET: _command,
    Family.SETPOINT_NORMALISED: _setpoint_normalised,
    Family.SETPOINT_INT: _setpoint_int,
    Family.SETPOINT_FLOAT: _setpoint_float,
    Family.WORD32: _word32,
    Family.OCTET: _octet,
    Family.WORD16: _word16,
    Family.EMPTY: _empty,
}


def layout_of(type_number: int, qualifier: int) -> tuple[AsduType, int]:
    """The type and the exact length in octets of an ASDU with this type and variable structure qualifier.

    Raises AsduError when the type is unknown, there is no object, or the structure is not allowed for the type.
    """
    known = TYPES.get(type_number)
    if known is None:
        raise AsduError(f"unknown type {type_number}")
    count = qualifier & 0x7F
    if not count:
        raise AsduError(f"{known.name} without objects")
    if not known.monitor and qualifier != 1:
        raise AsduError(f"{known.name} must hold one object, not a structure {qualifier:#04x}")
    size = known.size
    return known, 9 + count * size if qualifier & 0x80 else 6 + count * (3 + size)


def decode(octets: bytes, this_year: int) -> Asdu:
    """Decode one ASDU (without its APCI).

    Args:
        octets: the whole ASDU; nothing may be missing or left over.
        this_year: two-digit years are put within 50 years of it.

    Raises:
        AsduError: for anything that is not a well-formed ASDU of a known type. Nothing else is ever raised.
    """
    if len(octets) < 6:
        raise AsduError(f"{len(octets)} octets are no ASDU")
    number, qualifier, cause, originator = octets[0], octets[1], octets[2], octets[3]
    known, length = layout_of(number, qualifier)
    if len(octets) != length:
        raise AsduError(f"{known.name} with structure {qualifier:#04x} has {length} octets, not {len(octets)}")
    count, sequence = qualifier & 0x7F, bool(qualifier & 0x80)
    decoder, tag_at, size, time = _DECODERS[known.family], known.family.octets, known.size, known.time
    objects: list[Information] = []
    offset = 6
    address = 0
    for index in range(count):
        if not sequence or not index:
            address = octets[offset] | octets[offset + 1] << 8 | octets[offset + 2] << 16
            offset += 3
        elif address == MAX_ADDRESS:
            raise AsduError(f"{known.name} sequence runs past the last address")
        else:
            address += 1
        value, extra, quality = decoder(octets, offset)
        stamp: Stamp | None = None
        if time is TimeTag.CP56:
            stamp = decode_cp56(octets, offset + tag_at, this_year)
        elif time is TimeTag.CP24:
            stamp = decode_cp24(octets, offset + tag_at)
        objects.append(Information(address, value, extra, quality, stamp))
        offset += size
    common = octets[4] | octets[5] << 8
    return Asdu(
        number, cause & 0x3F, common, tuple(objects), bool(cause & 0x40), bool(cause & 0x80), originator, sequence
    )


# ---------------------------------------------------------------------------------------------------------------
# Encoding


def normalised_raw(value: float) -> int:
    """The 16-bit form of a normalised value. Raises AsduError outside [-1, 1)."""
    raw = round(value * 32768) if -2 < value < 2 else 99_999
    if raw == 32768:  # 1.0 itself is one step beyond the range; the nearest value is meant
        raw = 32767
    if not -32768 <= raw <= 32767:
        raise AsduError(f"{value} is not within -1 and 1")
    return raw


def _element(family: Family, value: float, extra: int, quality: int) -> bytes:
    match family:
        case Family.SINGLE:
            return bytes((int(value) & 0x01 | quality & 0xF0,))
        case Family.DOUBLE:
            return bytes((int(value) & 0x03 | quality & 0xF0,))
        case Family.STEP:
            if not -64 <= value <= 63:
                raise AsduError(f"step position {value} is not within -64 and 63")
            return bytes((int(value) & 0x7F | (0x80 if extra else 0), quality))
        case Family.BITSTRING:
            return _BITS.pack(int(value), quality)
        case Family.NORMALISED:
            return _SHORT.pack(normalised_raw(value), quality)
        case Family.SCALED:
            return _SHORT.pack(round(value), quality)
        case Family.FLOAT:
            return _REAL.pack(value, quality)
        case Family.COUNTER:
            return _LONG.pack(int(value), extra & 0x1F | quality & 0xE0)
        case Family.PROTECTION:
            return bytes((int(value) & 0x03 | quality & 0xF8,)) + _H.pack(extra)
        case Family.PROTECTION_START | Family.PROTECTION_OUTPUT:
            return bytes((int(value) & 0x3F, quality & 0xF8)) + _H.pack(extra)
        case Family.PACKED_SINGLE:
            return _PACKED.pack(int(value), extra, quality)
        case Family.NORMALISED_BARE:
            return struct.pack("<h", normalised_raw(value))
        case Family.COMMAND_OCTET:
            return bytes((int(value) & 0x03 | extra & 0xFC,))
        case Family.SETPOINT_NORMALISED:
            return _SHORT.pack(normalised_raw(value), extra)
        case Family.SETPOINT_INT:
            return _SHORT.pack(round(value), extra)
        case Family.SETPOINT_FLOAT:
            return _REAL.pack(value, extra)
        case Family.WORD32:
            return _I.pack(int(value))
        case Family.OCTET:
            return bytes((int(value),))
        case Family.WORD16:
            return _H.pack(int(value))
        case Family.EMPTY:
            return b""


def _tag(known: AsduType, stamp: Stamp | None) -> bytes:
    if known.time is TimeTag.NONE:
        return b""
    if stamp is None:
        raise AsduError(f"{known.name} needs a time tag")
    encoded = encode_cp56 if known.time is TimeTag.CP56 else encode_cp24
    return encoded(stamp.ms, stamp.flags)


def encode(asdu: Asdu) -> bytes:
    """Encode one ASDU. Raises AsduError when a field does not fit, the type is unknown or the result is too long."""
    known, length = layout_of(asdu.type, len(asdu.objects) & 0x7F | (0x80 if asdu.sequence else 0))
    if len(asdu.objects) > 127 or length > MAX_ASDU:
        raise AsduError(f"{len(asdu.objects)} objects of {known.name} do not fit into one ASDU")
    cause = asdu.cause & 0x3F | (0x40 if asdu.negative else 0) | (0x80 if asdu.test else 0)
    try:
        parts = [
            bytes((asdu.type, len(asdu.objects) | (0x80 if asdu.sequence else 0), cause, asdu.originator)),
            _H.pack(asdu.common_address),
        ]
        first = asdu.objects[0].address
        for index, item in enumerate(asdu.objects):
            if not asdu.sequence or not index:
                parts.append(item.address.to_bytes(3, "little"))
            elif item.address != first + index or item.address > MAX_ADDRESS:
                raise AsduError(f"address {item.address} does not follow in the sequence from {first}")
            parts.append(_element(known.family, item.value, item.extra, item.quality))
            parts.append(_tag(known, item.time))
    except (struct.error, OverflowError, ValueError, OSError) as problem:
        raise AsduError(f"{known.name} cannot be encoded: {problem}") from problem
    return b"".join(parts)
