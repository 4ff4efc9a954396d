"""Quality of what a meter answers: data-access results and clock status, by the rules of the specification (8.3)."""

from __future__ import annotations

from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.dlms.clock import MeterTime

_HARDWARE_FAULT = int(Quality.INVALID | Quality.FAILURE)
_UNAVAILABLE = int(Quality.QUESTIONABLE | Quality.OLD_DATA)
_CONFIGURATION = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
INVALID = int(Quality.INVALID)
"""A value that came but cannot be read as what the point needs."""

_OF_ACCESS_RESULT = {
    1: _HARDWARE_FAULT,
    2: _UNAVAILABLE,
    11: _UNAVAILABLE,
    3: _CONFIGURATION,
    4: _CONFIGURATION,
    9: _CONFIGURATION,
    12: _CONFIGURATION,
    13: _CONFIGURATION,
}
CONFIGURATION = _CONFIGURATION
"""The mapping does not fit the meter: wrong unit, wrong type."""


def of_access_result(code: int) -> int:
    """Quality word of a data-access-result other than success; codes without a rule are invalid."""
    return _OF_ACCESS_RESULT.get(code, INVALID)


def keeps_value(code: int) -> bool:
    """Whether the last value stays shown (temporarily unavailable) rather than being no value at all."""
    return _OF_ACCESS_RESULT.get(code) == _UNAVAILABLE


def of_time(time: MeterTime) -> int:
    """Quality word of a value that stands at a meter time: its validity and time flags."""
    word = 0
    if time.utc is None:
        word |= TimeFlag.INVALID
    if time.invalid:
        word |= Quality.QUESTIONABLE | TimeFlag.DOUBTFUL
    if time.doubtful:
        word |= TimeFlag.DOUBTFUL
    if time.status & 0x80:
        word |= TimeFlag.SUMMER
    return int(word)
