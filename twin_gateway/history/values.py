"""Values between the point table's bits and the history's columns: one DOUBLE, and a text where that does not do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType

EXACT = 1 << 53
"""Whole numbers beyond this are kept as digits as well: a DOUBLE does not hold them all."""

DATA_LOST = 0x809D_0000
"""BadDataLost (Part 11, 6.2): data are missing because collection was started, stopped or lost."""

TYPE_MISMATCH = 0x8074_0000
"""BadTypeMismatch: the point had another type then, and the one that it has now does not hold the value."""

_WHOLE = {
    ValueType.BOOLEAN: (0.0, 1.0),
    ValueType.INT32: (-(2.0**31), 2.0**31 - 1),
    ValueType.UINT32: (0.0, 2.0**32 - 1),
    ValueType.INT64: (-(2.0**63), 2.0**63),
}
"""Least and greatest value of the types of whole numbers."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one point in columns, in order.

    Attributes:
        value: float64, NaN where there is none; text: the texts of a text point and the digits of large whole numbers.
    """

    value: npt.NDArray[np.float64]
    text: npt.NDArray[np.object_]
    status: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]
    received: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)


def numbers_of(
    raw: npt.NDArray[np.uint64], types: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Value bits as DOUBLE, and where they are whole numbers that a DOUBLE does not hold."""
    wide = types == ValueType.INT64
    value = raw.view(np.float64)
    other = types != ValueType.DOUBLE
    if other.any():
        value = value.copy()
        value[other] = raw[other].astype(np.float64)
        for kind, column in (
            (ValueType.INT32, raw.astype(np.uint32).view(np.int32)),
            (ValueType.INT64, raw.view("i8")),
        ):
            which = types == kind
            value[which] = column[which]
        value[types == ValueType.STRING] = np.nan
    if wide.any():
        signed = raw.view(np.int64)
        wide &= (signed > EXACT) | (signed < -EXACT)
    return value, wide


def misfits(samples: Samples, value_type: int) -> npt.NDArray[np.bool_]:
    """Which samples that are not Bad have a value that the point's present type does not hold."""
    value = samples.value
    if value_type == ValueType.STRING:
        wrong = np.array([text is None for text in samples.text], np.bool_)
    elif value_type == ValueType.DOUBLE:
        wrong = np.isnan(value)
        wrong[wrong] = [text is not None for text in samples.text[wrong]]
    else:
        low, high = _WHOLE[ValueType(value_type)]
        wrong = ~((value >= low) & (value <= high) & (value == np.rint(value)))
    mismatch: npt.NDArray[np.bool_] = wrong & (samples.status < 0x8000_0000)
    return mismatch


def bits_of(samples: Samples, value_type: int) -> npt.NDArray[np.uint64]:
    """Value bits of samples as in the point table, by the type that the point has now; 0 where there is no value."""
    value = samples.value
    if value_type == ValueType.DOUBLE:
        return np.asarray(np.ascontiguousarray(value).view(np.uint64), np.uint64)
    if value_type == ValueType.STRING:
        return np.zeros(len(value), np.uint64)
    whole = np.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
    if value_type == ValueType.BOOLEAN:
        return np.asarray(whole != 0, np.uint64)
    whole = np.clip(whole, -(2.0**63), 2.0**63 - 1024)
    signed = whole.astype(np.int64)
    if value_type == ValueType.INT64:
        for place in np.nonzero(np.abs(whole) >= EXACT)[0]:
            if samples.text[place]:
                signed[place] = int(samples.text[place])
        return np.asarray(signed.view(np.uint64), np.uint64)
    bits: npt.NDArray[np.uint64] = signed.view(np.uint64) & np.uint64(0xFFFF_FFFF)
    return bits
