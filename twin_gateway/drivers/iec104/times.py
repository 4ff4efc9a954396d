"""Binary times of IEC 60870-5-101/104: CP56Time2a and CP24Time2a, single and as columns, to and from UTC."""

from __future__ import annotations

import calendar
import struct
import time as clock
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

_HOUR = 3_600_000
_QUARTER = 900_000
_AHEAD = 300_000  # how far a CP24 may lie ahead of its reception: a fast clock; anything more is the hour before


class TagFlag(IntFlag):
    """Flags of a time tag as sent."""

    INVALID = 1
    """IV, or fields that are no time."""
    SUMMER = 2
    """SU: the clock showed summer time (only means something when the device runs local time)."""
    SUBSTITUTED = 4
    """GEN/RES1: the time was put in by a station on the way."""


NO_FLAGS = TagFlag(0)


class Stamp(NamedTuple):
    """A time tag: `ms` is the wall clock in ms since 1970 (CP56) or within the hour (CP24), None when it is no time."""

    ms: int | None
    flags: TagFlag
    octets: int


class Zone:
    """Time zone in which a device keeps its clock: `UTC` or an IANA name. Raises ValueError for unknown names.

    The summer flag only chooses between the two readings of the repeated hour; everything else follows the zone's own
    rules. A device that keeps standard time all year is described by a fixed zone such as `Etc/GMT-1`.

    Args:
        summer_bit: False for devices that use the flag otherwise: it is neither looked at nor set, and the repeated
            hour is taken as its first reading.
    """

    def __init__(self, name: str = "UTC", *, summer_bit: bool = True) -> None:
        self.name, self._summer_bit = name, summer_bit
        self.utc = name.upper() in {"UTC", "ETC/UTC", "ZULU"}
        try:
            self._zone = ZoneInfo("UTC" if self.utc else name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
            raise ValueError(f"unknown time zone {name!r}") from problem
        self._offsets: dict[tuple[int, bool], int] = {}

    def _offset(self, quarter: int, summer: bool) -> int:
        """Offset from UTC in ms of a wall clock given in quarter hours since 1970."""
        key = (quarter, summer)
        known = self._offsets.get(key)
        if known is None:
            wall = datetime(1970, 1, 1) + timedelta(milliseconds=quarter * _QUARTER)  # noqa: DTZ001 - a wall clock
            early = wall.replace(tzinfo=self._zone, fold=0)
            late = early.replace(fold=1)
            chosen = early
            # fold=0 of the repeated hour is summer time wherever clocks go back from summer to standard time
            ambiguous = self._summer_bit and early.utcoffset() != late.utcoffset()
            if ambiguous and bool(early.dst()) != summer and bool(late.dst()) == summer:
                chosen = late
            known = round((chosen.utcoffset() or timedelta()).total_seconds() * 1000)
            if len(self._offsets) > 4096:
                self._offsets.clear()
            self._offsets[key] = known
        return known

    def to_utc(self, wall_ms: int, *, summer: bool = False) -> int:
        """UTC in ms since 1970 of a wall clock in ms since 1970."""
        return wall_ms if self.utc else wall_ms - self._offset(wall_ms // _QUARTER, summer)

    def column_to_utc(self, wall_ms: npt.NDArray[np.int64], summer: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """UTC in ms of a column of wall clocks, shape kept."""
        if self.utc or not wall_ms.size:
            return wall_ms
        keys = (wall_ms // _QUARTER << 1) | summer
        unique, inverse = np.unique(keys, return_inverse=True)
        offsets = np.array([self._offset(int(key) >> 1, bool(key & 1)) for key in unique], np.int64)
        return wall_ms - offsets[inverse].reshape(wall_ms.shape)

    def from_utc(self, utc_ms: int) -> tuple[int, bool]:
        """Wall clock in ms since 1970 and whether the summer flag belongs to it, of a UTC time in ms."""
        if self.utc:
            return utc_ms, False
        moment = datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(self._zone)
        offset = round((moment.utcoffset() or timedelta()).total_seconds() * 1000)
        return utc_ms + offset, self._summer_bit and bool(moment.dst())


def year_of(two_digits: int, this_year: int) -> int:
    """The year with these last two digits that lies within 50 years of `this_year`."""
    return this_year + (two_digits - this_year % 100 + 50) % 100 - 50


def decode_cp56(octets: bytes, offset: int, this_year: int) -> Stamp:
    """Decode 7 octets of CP56Time2a at `offset`; fields that are no time give `ms` None and the invalid flag."""
    ms, minute, hour, day, month, year = struct.unpack_from("<HBBBBB", octets, offset)
    flags = TagFlag(
        (TagFlag.INVALID if minute & 0x80 else 0)
        | (TagFlag.SUBSTITUTED if minute & 0x40 else 0)
        | (TagFlag.SUMMER if hour & 0x80 else 0)
    )
    minute, hour, day, month, year = minute & 0x3F, hour & 0x1F, day & 0x1F, month & 0x0F, year & 0x7F
    if ms > 59_999 or minute > 59 or hour > 23 or not 1 <= month <= 12 or year > 99:
        return Stamp(None, flags | TagFlag.INVALID, 7)
    full = year_of(year, this_year)
    if not 1 <= day <= calendar.monthrange(full, month)[1]:
        return Stamp(None, flags | TagFlag.INVALID, 7)
    seconds = calendar.timegm((full, month, day, hour, minute, 0))
    return Stamp(seconds * 1000 + ms, flags, 7)


def decode_cp24(octets: bytes, offset: int) -> Stamp:
    """Decode 3 octets of CP24Time2a at `offset`: `ms` counts within the hour."""
    ms, minute = struct.unpack_from("<HB", octets, offset)
    flags = TagFlag((TagFlag.INVALID if minute & 0x80 else 0) | (TagFlag.SUBSTITUTED if minute & 0x40 else 0))
    minute &= 0x3F
    if ms > 59_999 or minute > 59:
        return Stamp(None, flags | TagFlag.INVALID, 3)
    return Stamp(minute * 60_000 + ms, flags, 3)


def encode_cp56(wall_ms: int | None, flags: TagFlag = NO_FLAGS) -> bytes:
    """CP56Time2a of a wall clock in ms since 1970 (any year; two digits are sent).

    No time (None) is sent as day 0 of no month, invalid: nobody can take it for one.
    """
    if wall_ms is None:
        substituted, summer = flags & TagFlag.SUBSTITUTED, flags & TagFlag.SUMMER
        return bytes((0, 0, 0x80 | (0x40 if substituted else 0), 0x80 if summer else 0, 0, 0, 0))
    seconds, ms = divmod(wall_ms, 1000)
    at = clock.gmtime(seconds)
    return struct.pack(
        "<HBBBBB",
        at.tm_sec * 1000 + ms,
        at.tm_min | (0x80 if flags & TagFlag.INVALID else 0) | (0x40 if flags & TagFlag.SUBSTITUTED else 0),
        at.tm_hour | (0x80 if flags & TagFlag.SUMMER else 0),
        at.tm_mday | (at.tm_wday + 1) << 5,
        at.tm_mon,
        at.tm_year % 100,
    )


def encode_cp24(hour_ms: int | None, flags: TagFlag = NO_FLAGS) -> bytes:
    """CP24Time2a of a time within the hour, in ms; no time (None) is sent as milliseconds that cannot be, invalid."""
    if hour_ms is None:
        return struct.pack("<HB", 0xFFFF, 0x80 | (0x40 if flags & TagFlag.SUBSTITUTED else 0))
    minute, ms = divmod(hour_ms % _HOUR, 60_000)
    minute |= (0x80 if flags & TagFlag.INVALID else 0) | (0x40 if flags & TagFlag.SUBSTITUTED else 0)
    return struct.pack("<HB", ms, minute)


# ---------------------------------------------------------------------------------------------------------------
# Columns

CP56_FIELDS = [("t_ms", "<u2"), ("t_min", "u1"), ("t_hour", "u1"), ("t_day", "u1"), ("t_mon", "u1"), ("t_year", "u1")]
"""Structured dtype fields of a CP56Time2a."""
CP24_FIELDS = [("t_ms", "<u2"), ("t_min", "u1")]
"""Structured dtype fields of a CP24Time2a."""
# Columns keep their 8 bits only with constants of 8 bits: an IntFlag counts as a 64-bit integer.
_INVALID, _SUMMER, _SUBSTITUTED = np.uint8(TagFlag.INVALID), np.uint8(TagFlag.SUMMER), np.uint8(TagFlag.SUBSTITUTED)
NO_TIME = np.iinfo(np.int64).min
"""In a column of times: the tag is no time."""


@lru_cache(maxsize=4)
def _calendar(this_year: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """For (two-digit year << 4 | month): ms since 1970 of day 0 of the month, and its days (0: no month)."""
    starts = np.zeros(128 * 16, np.int64)
    days = np.zeros(128 * 16, np.uint8)
    for two_digits in range(100):
        year = year_of(two_digits, this_year)
        for month in range(1, 13):
            index = two_digits << 4 | month
            starts[index] = (calendar.timegm((year, month, 1, 0, 0, 0)) - 86_400) * 1000
            days[index] = calendar.monthrange(year, month)[1]
    return starts, days


def _octets(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return column.astype(np.uint8, copy=False)


def column_cp56(
    tags: npt.NDArray[np.void], this_year: int, zone: Zone
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """UTC in ms (`NO_TIME` where the fields are none) and `TagFlag` octets of a column with `CP56_FIELDS`."""
    starts, days = _calendar(this_year)
    times: npt.NDArray[np.int64]
    minute, hour = tags["t_min"], tags["t_hour"]
    month = (tags["t_year"] & 0x7F).astype(np.intp) << 4 | (tags["t_mon"] & 0x0F)
    day = tags["t_day"] & 0x1F
    clean_minute, clean_hour, ms = minute & 0x3F, hour & 0x1F, tags["t_ms"]
    times = (
        starts[month] + day * np.int64(86_400_000) + clean_hour * np.int64(_HOUR) + clean_minute * np.int64(60_000) + ms
    )
    flags = _octets(minute >> 7 | (hour >> 6 & _SUMMER) | (minute >> 4 & _SUBSTITUTED))
    # day - 1 wraps to 255 for day 0, so one comparison rejects day 0, long days and months that are none
    wrong = (day - np.uint8(1) >= days[month]) | (clean_hour > 23) | (clean_minute > 59) | (ms > 59_999)
    if not zone.utc:
        times = zone.column_to_utc(times, (flags & _SUMMER) != 0)
    if wrong.any():
        times[wrong] = NO_TIME
        flags[wrong] |= _INVALID
    return times, flags


def column_cp24(
    tags: npt.NDArray[np.void], received_ms: int, zone: Zone
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Like `column_cp56` for `CP24_FIELDS`, completed from the time of reception (UTC, ms)."""
    times: npt.NDArray[np.int64]
    minute, ms = tags["t_min"], tags["t_ms"]
    clean = minute & 0x3F
    offset = zone.from_utc(received_ms)[0] - received_ms
    limit = received_ms + offset + _AHEAD
    within = clean * np.int64(60_000) + ms
    times = limit - (limit - within) % _HOUR - offset
    flags = _octets(minute >> 7 | (minute >> 4 & _SUBSTITUTED))
    wrong = (clean > 59) | (ms > 59_999)
    if wrong.any():
        times[wrong] = NO_TIME
        flags[wrong] |= _INVALID
    return times, flags
