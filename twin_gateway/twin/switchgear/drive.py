"""The drive: motor running time, motor starts, motor current (spec 6.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twin_gateway.twin.switchgear.robust import Trend, theil_sen

WARN_RATIO, ALARM_RATIO = 1.3, 1.6
STARTS_PER_DAY = 20
DAY_S = 86_400.0


def motor_stage(time_s: float, base_s: float | None) -> int:
    """0 fine, 1 above 1.3 times the baseline, 2 above 1.6 times; 0 without a baseline."""
    if base_s is None or base_s <= 0:
        return 0
    ratio = time_s / base_s
    return 2 if ratio > ALARM_RATIO else 1 if ratio > WARN_RATIO else 0


def starts_in_a_day(starts: Sequence[float], now: float) -> int:
    """Motor starts (times in s) within the 24 hours before now."""
    return sum(1 for start in starts if now - DAY_S < start <= now)


def too_many_starts(count: int, limit: int = STARTS_PER_DAY) -> bool:
    """More starts a day than a tight hydraulic or gas system needs: it leaks."""
    return count > limit


def current_trend(peaks: Sequence[float]) -> Trend | None:
    """Trend of the peak motor current over the runs, A a run; None with fewer than two."""
    values = np.asarray(peaks, float)
    return theil_sen(np.arange(len(values), dtype=float), values)
