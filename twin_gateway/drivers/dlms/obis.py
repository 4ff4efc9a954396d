"""OBIS codes: text to six octets and back, and which interface class stands behind a code."""

from __future__ import annotations

import re
from dataclasses import dataclass

DATA, REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER = 1, 3, 4, 5
PROFILE, CLOCK, ASSOCIATION, PUSH_SETUP, DISCONNECT = 7, 8, 15, 40, 70

WITH_UNIT = frozenset({REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER})
"""Classes whose values have a scaler and a unit."""

ASSOCIATION_LN = bytes((0, 0, 40, 0, 0, 255))
"""Logical name of the current association."""
CLOCK_LN = bytes((0, 0, 1, 0, 0, 255))
"""Logical name of the meter's clock."""

_REDUCED = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*](\d{1,3}))?\Z")
_DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?\Z")


def parse(text: str) -> bytes:
    """Six octets from `1-0:1.8.0`, `1-0:1.8.0.255`, `1-0:1.8.0*255` or `1.0.1.8.0.255`; F is 255 unless written.

    Raises:
        ValueError: not an OBIS code; the text says what is expected.
    """
    match = _REDUCED.match(text) or _DOTTED.match(text)
    groups = [int(g) for g in match.groups("255")] if match else []
    if not groups or max(groups) > 255:
        raise ValueError(f"{text!r} is not an OBIS code such as 1-0:1.8.0 or 1-0:1.8.0.255")
    return bytes(groups)


def text(octets: bytes) -> str:
    """`1-0:1.8.0` from six octets; the group F is written when it is not 255."""
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == 255 else f".{f}")


def dotted(octets: bytes) -> str:
    """`1.0.1.8.0.255`, the form used in aliases."""
    return ".".join(map(str, octets))


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one COSEM object: class, logical name (six octets) and attribute number."""

    class_id: int
    logical_name: bytes
    number: int = 2

    def __str__(self) -> str:
        return f"{self.class_id}/{text(self.logical_name)}/{self.number}"


def attribute(text: str) -> Attribute:
    """An attribute from `class/OBIS code/number`, as str() writes it.

    Raises:
        ValueError: it is none.
    """
    class_id, _, rest = text.partition("/")
    code, _, number = rest.rpartition("/")
    if not class_id.isdigit() or not number.isdigit() or not 0 < int(class_id) <= 0xFFFF or int(number) > 127:
        raise ValueError(f"{text!r} is no attribute such as 3/1-0:1.8.0/2")
    return Attribute(int(class_id), parse(code), int(number))


def default_class(code: bytes) -> int:
    """Interface class that normally stands behind an OBIS code; a mapping may say otherwise.

    Electricity and other media (A > 0): profiles under C=99, ratios and identifiers are data, maxima are
    extended registers, running averages (D = 4) demand registers, everything else is a register.
    Abstract objects (A = 0): clock, disconnector, profiles and logs, hours and counters are what the
    standard says; what is left is data.
    """
    a, _, c, d, e, _ = code
    if a:
        if c == 99:
            return PROFILE
        if c in (0, 96):
            # 0.2-0.4: identifiers and ratios; 96: service entries. All of class data.
            return DATA
        if d in (6, 16, 26):  # maxima, with the time they were captured
            return EXTENDED_REGISTER
        if d == 4:
            return DEMAND_REGISTER
        return REGISTER
    if (c, d) == (1, 0):
        return CLOCK
    if (c, d, e) == (96, 3, 10):
        return DISCONNECT
    if c in (98, 99):
        return PROFILE
    if c == 40:
        return ASSOCIATION
    if c == 96 and d in (8, 9):
        # Operating time and ambient temperature carry a unit.
        return REGISTER
    return DATA
