"""Values of commands: from what clients write to one form, and on to the device's own terms."""

from __future__ import annotations

import math
from typing import Final

from address_space import units
from address_space.point import PointProfile

OPEN: Final = 1
CLOSED: Final = 2
AUTOMATIC: Final = 6
"""Originator category of commands that no person gives one by one (automatic remote)."""
_ROUNDING = 1e-9
_WHOLE = frozenset({"INC", "ENC", "ISC", "BSC"})


def command_value(cdc: str, value: object) -> int | float | bool | None:
    """One form for every client: double points 1 (off, open) or 2 (on, closed), single points bool, others numbers.

    Python takes True for 1, a double point takes 1 for off: so the two are told apart here, once.

    Raises:
        ValueError: when the value does not suit the class.
    """
    if value is None:
        return None
    if cdc == "DPC":
        if isinstance(value, bool):
            return CLOSED if value else OPEN
        if value not in (OPEN, CLOSED):
            raise ValueError("a double point takes true (close), false (open), 2 (on) or 1 (off)")
        return OPEN if value == OPEN else CLOSED
    if cdc == "SPC":
        if value not in (0, 1):
            raise ValueError("a single point takes true or false")
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{cdc} takes a finite number")
    if cdc in _WHOLE and value != int(value):
        raise ValueError(f"{cdc} takes a whole number")
    return value


def device_value(cdc: str, profile: PointProfile, value: int | float | bool | None) -> int | float | bool | None:
    """A value of `command_value` in the device's own terms: inversion, bias and gain of the mapping undone.

    Raises:
        ValueError: the device cannot be told this value: it is between two of its steps, or beyond all numbers.
    """
    if value is None:
        return None
    if cdc == "DPC":
        return OPEN + CLOSED - value if profile.invert else value
    if cdc == "SPC":
        return bool(value) != profile.invert
    numerator, denominator = units.as_fraction(profile.gain)
    number = (value - profile.bias) * denominator / numerator
    if not math.isfinite(number):
        raise ValueError(f"{value:g} is too large for the device")
    if cdc not in _WHOLE:
        return number
    step = round(number)
    if abs(number - step) > _ROUNDING * max(1.0, abs(number)):
        raise ValueError(f"{value:g} lies between two steps of the device")
    return step
