"""Durations as people write them: `20 s`, `15 min`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, Field

_DURATION = re.compile(r"\s*(\+?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?))\s*(ms|s|min|h|d)\s*\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@lru_cache(maxsize=4096)
def duration(text: str) -> float:
    """Seconds of a duration text: a positive number and one of ms, s, min, h, d.

    Raises:
        ValueError: when it cannot be read, has no unit, or is not positive.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a duration: a number and one of ms, s, min, h, d, as in '15 min'")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds < 1e10:
        raise ValueError(f"the duration '{text}' must be more than nothing and less than three centuries")
    return seconds


def _seconds(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=31 * 86_400)]
"""A duration in a configuration model: text with its unit, or plain seconds; at most 31 days."""
