"""Texts with a unit in mapping files: `20 kW`, `15 min`, `1.5 s`."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from address_space import units

_NUMBER_WITH_UNIT = re.compile(
    r"([-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?)\s*(\S.*)?\Z"
)


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
