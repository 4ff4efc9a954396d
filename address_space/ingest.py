"""A batch on its way into the table: source times, scale and unit, value bits; pure functions on columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.ma  # the first `unique` of a process imports it (20 ms): not while the event loop runs
import numpy.typing as npt

from address_space import clock, units
from address_space.catalogue import ValueType
from address_space.point import Floats, PointProfile, Raw, Rows, TextSample, Ticks, Words
from address_space.quality import Quality, TimeFlag

MAX_AHEAD_TICKS = 2 * clock.TICKS_PER_SECOND
"""A source time further ahead than this is not believed."""

EARLIEST_TICKS = clock.from_unix(315_532_800)
"""Times before 1980 come from clocks that were never set and count from an epoch: they are no times."""

_NO_TIME = np.uint32(TimeFlag.INVALID)
_DTYPES: dict[int, type[np.generic]] = {
    ValueType.BOOLEAN: np.uint8,
    ValueType.INT32: np.int32,
    ValueType.UINT32: np.uint32,
    ValueType.INT64: np.int64,
    ValueType.DOUBLE: np.float64,
}
_LIMITS = {
    ValueType.BOOLEAN: (0.0, 1.0),
    ValueType.INT32: (-2147483648.0, 2147483647.0),
    ValueType.UINT32: (0.0, 4294967295.0),
    ValueType.INT64: (-9223372036854774784.0, 9223372036854774784.0),
}


class Scaling:
    """Gain, bias, inversion, deadband and staleness of all profiles, as columns by profile number."""

    def __init__(self, profiles: Sequence[PointProfile]) -> None:
        self.gain = np.array([profile.gain for profile in profiles])
        fractions = np.array([units.as_fraction(profile.gain) for profile in profiles]).reshape(-1, 2)
        self._numerator, self._denominator = np.ascontiguousarray(fractions.T)
        self._divides = bool((self._denominator != 1).any())
        self.bias = np.array([profile.bias for profile in profiles])
        self.invert = np.array([profile.invert for profile in profiles], bool)
        self.deadband = np.array([profile.deadband for profile in profiles])
        self.stale_ticks = np.array(
            [int(profile.stale_after * clock.TICKS_PER_SECOND) for profile in profiles], np.int64
        )
        self.active = bool((self.gain != 1).any() or self.bias.any() or self.invert.any())
        self.has_deadband = bool(self.deadband.any())
        self.has_stale = bool(self.stale_ticks.any())

    def apply(self, profile: npt.NDArray[np.uint32], types: npt.NDArray[np.uint8], values: Floats) -> Floats:
        """Published values of delivered ones."""
        values = values * self._numerator[profile]
        if self._divides:
            values /= self._denominator[profile]
        values += self.bias[profile]
        invert = self.invert[profile]
        if invert.any():
            boolean = invert & (types == ValueType.BOOLEAN)
            values[boolean] = 1.0 - values[boolean]
            # Double points: 1 off and 2 on change places, 0 intermediate and 3 bad stay.
            double = invert & (types == ValueType.INT32) & ((values == 1) | (values == 2))
            values[double] = 3.0 - values[double]
        return values

    def undo(self, profile: npt.NDArray[np.uint32], values: Floats) -> Floats:
        """Delivered values of published ones, before inversion; the gains must have an inverse."""
        delivered: Floats = (values - self.bias[profile]) * self._denominator[profile] / self._numerator[profile]
        return delivered


def resolve_time(source_time: Ticks, quality: Words, received: int) -> tuple[Ticks, Words, int]:
    """Source times to publish, quality words with the time flags, and how many times were replaced.

    The device's time is kept however old it is, also when it is merely not synchronised. Only a missing (or
    never set), invalid or future time becomes the receive time, and says so.
    """
    missing = (source_time < EARLIEST_TICKS) | (quality & _NO_TIME != 0)
    ahead = source_time > received + MAX_AHEAD_TICKS
    replace = missing | ahead
    count = int(np.count_nonzero(replace))
    if not count:
        return source_time, quality, 0
    times = np.where(replace, received, source_time)
    words = quality | np.where(replace, np.uint32(TimeFlag.RECEIVED), np.uint32(0))
    words |= np.where(ahead & ~missing, np.uint32(TimeFlag.FUTURE), np.uint32(0))
    return times, words, count


def raw_of(values: Floats, types: npt.NDArray[np.uint8], quality: Words) -> tuple[Raw, Words, int]:
    """Value bits for the types of the rows, quality words, and how many values were no usable number.

    NaN, infinities and numbers outside the type's range become invalid; integers keep the nearest possible value.
    """
    first = int(types[0])
    if (types == first).all():
        return _raw_of_type(values, first, quality)
    raw = np.empty(len(values), np.uint64)
    words, bad = quality.copy(), 0
    for kind in np.unique(types):
        mask = types == kind
        raw[mask], words[mask], more = _raw_of_type(values[mask], int(kind), quality[mask])
        bad += more
    return raw, words, bad


def _raw_of_type(values: Floats, kind: int, quality: Words) -> tuple[Raw, Words, int]:
    finite = np.isfinite(values)
    if kind == ValueType.DOUBLE:
        if finite.all():
            return np.ascontiguousarray(values).view(np.uint64), quality, 0
        return np.ascontiguousarray(values).view(np.uint64), _invalid(quality, ~finite), int((~finite).sum())
    low, high = _LIMITS[ValueType(kind)]
    usable = finite & (values >= low) & (values <= high)
    bad = 0
    if not usable.all():
        quality = _invalid(quality, ~usable)
        bad = int((~usable).sum())
        values = np.clip(np.nan_to_num(values, nan=0.0), low, high)
    if kind in (ValueType.INT32, ValueType.INT64):
        return (
            values.astype(np.int64).astype(_DTYPES[kind]).astype(np.int64).view(np.uint64) & _MASKS[kind],
            quality,
            bad,
        )
    return values.astype(np.uint64), quality, bad


_MASKS: dict[int, np.uint64] = {
    ValueType.INT32: np.uint64(0xFFFF_FFFF),
    ValueType.INT64: np.uint64(0xFFFF_FFFF_FFFF_FFFF),
}


def _invalid(quality: Words, where: npt.NDArray[np.bool_]) -> Words:
    words = quality.copy()
    words[where] = words[where] & ~np.uint32(Quality.QUESTIONABLE) | np.uint32(Quality.INVALID)
    return words


def values_of(raw: Raw, kind: ValueType) -> list[bool | int | float]:
    """Python values of value bits of one type."""
    if kind is ValueType.BOOLEAN:
        return [bool(value) for value in raw]
    dtype = np.dtype(_DTYPES[kind])
    column = np.ascontiguousarray(raw).view(dtype)[:: 8 // dtype.itemsize]
    return list(column.tolist())


def well_formed(samples: Sequence[TextSample]) -> Sequence[TextSample]:
    """Texts that UTF-8 can carry: half a surrogate pair, as a device's JSON may have it, becomes U+FFFD."""
    return [
        sample
        if sample.text.isascii()
        else replace(sample, text=sample.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        for sample in samples
    ]


def repeated(rows: Rows) -> npt.NDArray[np.intp] | None:
    """A stable sort order of the rows when one occurs more than once; None when all differ."""
    if len(rows) < 2:
        return None
    steps = np.diff(rows)
    if (steps > 0).all():
        return None
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    return order if (ordered[1:] == ordered[:-1]).any() else None


def occurrences(rows: Rows) -> Iterable[npt.NDArray[np.intp]]:
    """Positions of the first occurrence of every row, then of the second, …; each part has every row at most once."""
    order = repeated(rows)
    if order is None:
        yield np.arange(len(rows))
        return
    ordered = rows[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
    rank = np.empty(len(rows), np.intp)
    rank[order] = np.arange(len(rows)) - begin
    for number in range(int(rank.max()) + 1):
        yield np.nonzero(rank == number)[0]
