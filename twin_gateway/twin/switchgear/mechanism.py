"""Times of the mechanism: baseline, deviation, trend, compensation for cold (spec 6.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.switchgear.robust import Trend, theil_sen

BASELINE_OPERATIONS = 20
TREND_OPERATIONS = 50
WARN, ALARM = 0.15, 0.30
COLD_C = -5.0
COLD_PERCENT_PER_K = 0.3
TIMED_UNCERTAINTY_S = 0.005
"""Of a time that the gateway takes between the device's own time stamps of command and position."""


def baseline(times: Sequence[float], factory: float | None = None) -> float | None:
    """Seconds that count as normal: the factory's value, else the median of the first 20; None before there are 20."""
    if factory is not None:
        return factory
    if len(times) < BASELINE_OPERATIONS:
        return None
    return float(np.median(np.asarray(times[:BASELINE_OPERATIONS])))


def compensated(time_s: float, temperature: float | None, percent_per_k: float = COLD_PERCENT_PER_K) -> float:
    """The time at normal temperature: below -5 degC cold oil and grease slow a drive by `percent_per_k` each kelvin."""
    if temperature is None or temperature >= COLD_C:
        return time_s
    return time_s / (1.0 + percent_per_k / 100.0 * (COLD_C - temperature))


def deviation(time_s: float, base: float) -> float:
    """(t - base) / base."""
    return (time_s - base) / base


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one kind of time.

    Attributes:
        deviation: of the last operation, as a fraction; None without a baseline.
        stage: 0 fine, 1 from 15 percent, 2 from 30 percent, beyond the uncertainty of the measurement.
        trend: over the last 50 operations, seconds an operation; None with fewer than two.
        operations_to_alarm: until the trend reaches the alarm limit; None when it does not.
    """

    deviation: float | None
    stage: int
    trend: Trend | None
    operations_to_alarm: int | None


def judge(
    times: Sequence[float],
    base: float | None,
    *,
    uncertainty: float = 0.0,
    warn: float = WARN,
    alarm: float = ALARM,
) -> Verdict:
    """Judge the times (seconds, compensated, oldest first) of one kind of operation.

    A deviation from the baseline (s) counts only as far as it exceeds the uncertainty (s); the limits are fractions.
    """
    last = np.asarray(times[-TREND_OPERATIONS:], float)
    trend = theil_sen(np.arange(len(last), dtype=float), last)
    if base is None or not len(last):
        return Verdict(None, 0, trend, None)
    off = deviation(float(last[-1]), base)
    sure = max(0.0, abs(off) * base - uncertainty) / base + 1e-9  # a limit that is met just so is met
    stage = 2 if sure >= alarm else 1 if sure >= warn else 0
    left = None
    if trend is not None and trend.significant and trend.slope > 0:
        left = max(0, int((base * (1.0 + alarm) - trend.level) / trend.slope))
    return Verdict(off, stage, trend, left)
