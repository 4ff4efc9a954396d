"""LwM2M and IPSO objects: paths such as `3303/0/5700`, what kind of value a resource is, and its unit."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from enum import StrEnum

from .senml import Scalar
from .tlv import Path

PATTERN = r"/?\d{1,5}/\d{1,5}/\d{1,5}(/\d{1,5})?"
"""What `object:` may say: object, instance, resource and, where a resource has several, its instance."""
UNITS = 5701
"""Resource of an IPSO object that tells the unit of its values."""


class Kind(StrEnum):
    """Data types of LwM2M resources (OMA-TS-LightweightM2M_Core, appendix C)."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TIME = "time"
    OPAQUE = "opaque"


class ObjectError(ValueError):
    """A value does not have the form of its kind; the message says why."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a resource: its kind and its unit (SenML symbol) where the object fixes one."""

    kind: Kind
    unit: str | None = None


_FLOAT = About(Kind.FLOAT)
_BASIC = {
    5500: About(Kind.BOOLEAN), 5501: About(Kind.INTEGER), 5502: About(Kind.BOOLEAN), 5503: About(Kind.INTEGER),
    5504: About(Kind.INTEGER), 5518: About(Kind.TIME), 5601: _FLOAT, 5602: _FLOAT, 5603: _FLOAT, 5604: _FLOAT,
    5650: _FLOAT, 5651: _FLOAT, 5700: _FLOAT, 5701: About(Kind.STRING), 5750: About(Kind.STRING),
    5800: About(Kind.FLOAT, "W"), 5801: About(Kind.FLOAT, "W"), 5802: About(Kind.FLOAT, "W"),
    5803: About(Kind.FLOAT, "W"), 5804: About(Kind.FLOAT, "W"), 5805: About(Kind.FLOAT, "Wh"),
    5810: About(Kind.FLOAT, "var"), 5811: About(Kind.FLOAT, "var"), 5812: About(Kind.FLOAT, "var"),
    5813: About(Kind.FLOAT, "var"), 5814: About(Kind.FLOAT, "var"), 5815: About(Kind.FLOAT, "varh"),
    5820: About(Kind.FLOAT), 5821: _FLOAT, 5850: About(Kind.BOOLEAN), 5851: About(Kind.INTEGER, "/100"),
    5852: About(Kind.INTEGER, "s"), 5853: About(Kind.STRING), 6042: About(Kind.INTEGER), 6049: _FLOAT,
    6050: _FLOAT, 6051: _FLOAT, 6052: _FLOAT, 6053: _FLOAT, 6054: _FLOAT, 6055: _FLOAT,
}  # fmt: skip
"""Resources that mean the same in every IPSO object."""

_OWN = {
    # Device (3) and connectivity monitoring (4): battery, supply, radio.
    (3, 0): About(Kind.STRING), (3, 1): About(Kind.STRING), (3, 2): About(Kind.STRING), (3, 3): About(Kind.STRING),
    (3, 6): About(Kind.INTEGER), (3, 7): About(Kind.INTEGER, "mV"), (3, 8): About(Kind.INTEGER, "mA"),
    (3, 9): About(Kind.INTEGER, "/100"), (3, 10): About(Kind.INTEGER), (3, 11): About(Kind.INTEGER),
    (3, 13): About(Kind.TIME), (3, 14): About(Kind.STRING), (3, 15): About(Kind.STRING), (3, 16): About(Kind.STRING),
    (3, 17): About(Kind.STRING), (3, 18): About(Kind.STRING), (3, 19): About(Kind.STRING), (3, 20): About(Kind.INTEGER),
    (3, 21): About(Kind.INTEGER),
    (4, 0): About(Kind.INTEGER), (4, 1): About(Kind.INTEGER), (4, 2): About(Kind.INTEGER), (4, 3): About(Kind.INTEGER),
    (4, 4): About(Kind.STRING), (4, 5): About(Kind.STRING), (4, 6): About(Kind.INTEGER, "/100"),
    (4, 7): About(Kind.STRING), (4, 8): About(Kind.INTEGER), (4, 9): About(Kind.INTEGER), (4, 10): About(Kind.INTEGER),
    (4, 11): About(Kind.INTEGER, "dB"),
    # Electrical objects, where the registry of IPSO names the usual unit.
    (3316, 5700): About(Kind.FLOAT, "V"), (3317, 5700): About(Kind.FLOAT, "A"), (3318, 5700): About(Kind.FLOAT, "Hz"),
    (3328, 5700): About(Kind.FLOAT, "W"), (3331, 5805): About(Kind.FLOAT, "Wh"),
}  # fmt: skip

# Resource 5701 speaks UCUM in older devices and SenML in newer ones; these are the ones that differ.
_UCUM = {
    "degC": "Cel", "\N{DEGREE SIGN}C": "Cel", "C": "Cel", "Celsius": "Cel", "%": "/100", "% RH": "%RH", "RH": "%RH",
    "VAR": "var", "Var": "var", "VAr": "var", "kVAr": "kvar", "W.h": "Wh", "kW.h": "kWh", "var.h": "varh",
    "Ohm": "Ohm", "[ppm]": "ppm", "hz": "Hz", "Volt": "V", "Ampere": "A", "Watt": "W", "1": "/",
}  # fmt: skip


def parse(text: str) -> Path:
    """`3303/0/5700` as numbers.

    Raises:
        ObjectError: the text is no path of a resource.
    """
    if re.fullmatch(PATTERN, text, re.ASCII) is None:
        raise ObjectError(f"{text!r} is no resource: object/instance/resource, such as 3303/0/5700")
    path = tuple(int(step) for step in text.strip("/").split("/"))
    if max(path) > 0xFFFF:
        raise ObjectError(f"{text!r}: identifiers go up to 65535")
    return path


def instance_path(path: Path) -> str:
    """Path of the object instance that is asked for: it answers with its value and its unit at once."""
    return f"/{path[0]}/{path[1]}"


def numbers_of(path: str) -> Path:
    """The leading object path of a resource's path; empty when it is none: `/3303/0` is (3303, 0)."""
    steps = path.partition("?")[0].strip("/").split("/")
    numbers: list[int] = []
    for step in steps[:4]:
        if not (step.isascii() and step.isdigit() and len(step) <= 5):
            return ()
        numbers.append(int(step))
    return tuple(numbers) if len(steps) <= 4 else ()


def about(path: Path, kind: str | None = None) -> About:
    """Kind and unit of a resource; `kind` of the mapping wins.

    Raises:
        ObjectError: the resource is not known here and the mapping does not say what it is.
    """
    known = _OWN.get((path[0], path[2])) or (_BASIC.get(path[2]) if path[0] > 9 else None)
    if kind is not None:
        return About(Kind(kind), known.unit if known is not None else None)
    if known is None:
        raise ObjectError(f"what resource {path[2]} of object {path[0]} holds is not known here: say its 'type'")
    return known


def unit_of(text: str) -> str | None:
    """SenML symbol of what resource 5701 says; None for an empty text."""
    text = text.strip()
    return _UCUM.get(text, text) or None


def value_of(octets: bytes, kind: Kind) -> Scalar:
    """The value in the octets of a TLV entry or of an opaque body.

    Raises:
        ObjectError: the octets do not fit the kind.
    """
    if kind is Kind.OPAQUE:
        return octets
    if kind is Kind.STRING:
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ObjectError("a text that is not UTF-8") from error
    if kind is Kind.BOOLEAN:
        if octets not in (b"\0", b"\1"):
            raise ObjectError("a boolean that is neither 0 nor 1")
        return octets == b"\1"
    if kind is Kind.FLOAT:
        if len(octets) not in (4, 8):
            raise ObjectError(f"a float of {len(octets)} octets")
        number = float(struct.unpack(">f" if len(octets) == 4 else ">d", octets)[0])
        if not math.isfinite(number):
            raise ObjectError("the number is not finite")
        return number
    if len(octets) not in (1, 2, 4, 8):
        raise ObjectError(f"an integer of {len(octets)} octets")
    return int.from_bytes(octets, "big", signed=True)


def octets_of(value: Scalar, kind: Kind) -> bytes:
    """A value as the octets of a TLV entry.

    Raises:
        ObjectError: the value does not fit the kind.
    """
    if kind is Kind.BOOLEAN:
        return b"\1" if value else b"\0"
    if kind is Kind.FLOAT and isinstance(value, int | float):
        return struct.pack(">d", value)
    if kind in (Kind.INTEGER, Kind.TIME) and isinstance(value, int | float) and float(value).is_integer():
        whole = int(value)
        for size in (1, 2, 4, 8):
            if -(1 << 8 * size - 1) <= whole < 1 << 8 * size - 1:
                return whole.to_bytes(size, "big", signed=True)
    if kind is Kind.STRING:
        return str(value).encode()
    raise ObjectError(f"{value!r} is no {kind}")
