"""Texts with a unit in mapping files: `20 kW`, `15 min`, `1.5 s`."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from address_space import units

_NUMBER_WITH_UNIT = re.compile(
    r"([-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?)\s*(\S.*)?\Z"
)
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class QuantityError(ValueError):
    """The text is no number with a unit; the message says why."""


@lru_cache(maxsize=4096)
def quantity(text: str) -> tuple[float, units.Unit | None]:
    """Number and unit of a text; the unit is None when the text has none.

    Raises:
        QuantityError: when the number cannot be read.
        units.UnitError: when the unit is not known.
    """
    match = _NUMBER_WITH_UNIT.match(text.strip())
    if match is None:
        raise QuantityError(f"'{text}' is not a number with a unit, as in '5 kW'")
    value = float(match[1])
    if not math.isfinite(value):
        raise QuantityError(f"'{text}' is beyond all measure")
    return value, units.unit(match[2].strip()) if match[2] else None


@lru_cache(maxsize=4096)
def duration(text: str) -> float:
    """Seconds of a duration text: a positive number and one of ms, s, min, h, d.

    Raises:
        QuantityError: when it cannot be read, has no unit, or is not positive.
    """
    match = _NUMBER_WITH_UNIT.match(text.strip())
    if match is None or not match[2] or match[2].strip() not in _SECONDS:
        raise QuantityError(f"'{text}' is not a duration: a number and one of ms, s, min, h, d, as in '15 min'")
    seconds = float(match[1]) * _SECONDS[match[2].strip()]
    if not 0 < seconds < 1e10:
        raise QuantityError(f"the duration '{text}' must be more than nothing and less than three centuries")
    return seconds
