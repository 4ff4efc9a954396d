"""Partial discharge: daily levels against their own past, humidity, day and night (spec 6.2.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAY_S = 86_400.0
FACTOR = 3.0
MEDIAN_DAYS = 30
LIMIT_DAYS = 3


def daily_95(times: Floats, levels: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """(day numbers since 1970, 95th percentile of each) of samples at times in s; days without samples are left out.

    Levels must be in a unit that may be divided (C, W, counts); see `linear`.
    """
    days = np.floor(times / DAY_S).astype(np.int64)
    unique = np.unique(days)
    return unique, np.array([np.percentile(levels[days == day], 95) for day in unique])


def linear(decibel: Floats) -> Floats:
    """Amplitude ratio of levels in dB, so that a factor can be told: 10^(dB/20)."""
    return np.asarray(10.0 ** (np.asarray(decibel, float) / 20.0))


def event_rate(times: Floats, counts: Floats) -> float | None:
    """Discharge events an hour between the first and last of the counter readings; None without two of them."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    steps = np.diff(counts)
    return float(steps[steps > 0].sum() / (times[-1] - times[0]) * 3600.0)


@dataclass(frozen=True, slots=True)
class DischargeVerdict:
    """What is to be said of the levels.

    Attributes:
        ratio: last day over the median of the 30 days before it; None with fewer than five of those.
        warn: ratio above 3, or above the limit on three days in a row.
        over_limit_days: days in a row, up to the last, above the limit.
    """

    ratio: float | None
    warn: bool
    over_limit_days: int


def judge(days: npt.NDArray[np.int64], levels: Floats, limit: float | None = None) -> DischargeVerdict:
    """Judge daily levels (as of `daily_95`)."""
    if not len(levels):
        return DischargeVerdict(None, False, 0)
    before = levels[:-1][(days[:-1] >= days[-1] - MEDIAN_DAYS)]
    ratio = None
    if len(before) >= 5:
        median = float(np.median(before))
        ratio = float(levels[-1]) / median if median > 0 else None
    over = 0
    if limit is not None:
        for index in range(len(levels) - 1, -1, -1):
            if not levels[index] > limit or (over and days[index + 1] - days[index] != 1):
                break
            over += 1
    return DischargeVerdict(ratio, bool(ratio is not None and ratio > FACTOR) or over >= LIMIT_DAYS, over)


def with_humidity(levels: Floats, humidity: Floats) -> float | None:
    """Rank correlation (Spearman) of levels and humidity at the same times; None with fewer than ten pairs.

    High: discharge on surfaces, which drying cures. Low: inside the insulation.
    """
    if len(levels) < 10:
        return None
    first, second = _ranks(levels), _ranks(humidity)
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts).astype(float)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse])


def night_ratio(times: Floats, levels: Floats, utc_offset_s: float = 0.0) -> float | None:
    """Median level from 22 to 6 o'clock over that of the day; None when either has no samples."""
    hours = (times + utc_offset_s) % DAY_S / 3600.0
    night = (hours >= 22) | (hours < 6)
    if not night.any() or night.all():
        return None
    day = float(np.median(levels[~night]))
    return float(np.median(levels[night])) / day if day > 0 else None
