"""Quality octets of IEC 60870-5-104 to the unified quality word, as one table a family of types."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from address_space.quality import FROM_QDS, Quality, TimeFlag
from twin_gateway.drivers.iec104.times import TagFlag
from twin_gateway.drivers.iec104.types import Family

Table = npt.NDArray[np.uint32]
_OCTETS = np.arange(256)


def _counter(octet: int) -> int:
    """A binary counter reading has its own flags: CY 0x20, CA 0x40, IV 0x80, above the sequence number."""
    return int(
        (Quality.INVALID if octet & 0x80 else 0)
        | (Quality.ADJUSTED if octet & 0x40 else 0)
        | (Quality.CARRY if octet & 0x20 else 0)
    )


def _protection(octet: int) -> int:
    """EI 0x08 says that the elapsed time is not to be trusted; the moment itself is."""
    return int(FROM_QDS[octet & 0xF0]) | (TimeFlag.DOUBTFUL if octet & 0x08 else 0)


_STATE: Table = FROM_QDS[_OCTETS & 0xF0]
_MEASURED: Table = FROM_QDS[_OCTETS & 0xF1]
_NONE: Table = np.zeros(256, np.uint32)
_PROTECTION: Table = np.array([_protection(octet) for octet in range(256)], np.uint32)

QUALITY: dict[Family, Table] = {
    Family.SINGLE: _STATE,
    Family.DOUBLE: _STATE,
    Family.STEP: _MEASURED,
    Family.BITSTRING: _MEASURED,
    Family.NORMALISED: _MEASURED,
    Family.SCALED: _MEASURED,
    Family.FLOAT: _MEASURED,
    Family.COUNTER: np.array([_counter(octet) for octet in range(256)], np.uint32),
    Family.PROTECTION: _PROTECTION,
    Family.PROTECTION_START: _PROTECTION,
    Family.PROTECTION_OUTPUT: _PROTECTION,
    Family.PACKED_SINGLE: _MEASURED,
    Family.NORMALISED_BARE: _NONE,
}
"""For each family of monitor types: the quality word of every octet that carries its quality, value bits and all."""


def _time(flags: int) -> int:
    return int(
        (TimeFlag.INVALID if flags & TagFlag.INVALID else 0)
        | (TimeFlag.SUMMER if flags & TagFlag.SUMMER else 0)
        | (TimeFlag.SUBSTITUTED if flags & TagFlag.SUBSTITUTED else 0)
    )


TIME: Table = np.array([_time(flags) for flags in range(8)], np.uint32)
"""The time flags of the quality word for each combination of `TagFlag`."""
