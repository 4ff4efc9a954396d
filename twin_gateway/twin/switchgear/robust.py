"""Robust trends: Theil-Sen slope and the Mann-Kendall test of its significance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MOST_POINTS = 400
"""More points than this are thinned by medians of blocks, so that a trend costs at most 80 000 pairs."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through noisy points.

    Attributes:
        slope: median of the slopes of all pairs (Theil 1950, Sen 1968), unit of y per unit of x.
        level: value of the line at the last x (median residual as offset).
        z: standard normal deviate of the Mann-Kendall test; 0 when there are too few points to tell.
        count: points used.
    """

    slope: float
    level: float
    z: float
    count: int

    @property
    def significant(self) -> bool:
        """Whether the trend is real at the one-percent level (two-sided)."""
        return abs(self.z) > 2.576


def thin(x: Floats, y: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most `most` points: the medians of blocks of equal length, in order of x."""
    count = len(x)
    if count <= most:
        return x, y
    blocks = np.array_split(np.arange(count), most)
    return np.array([np.median(x[b]) for b in blocks]), np.array([np.median(y[b]) for b in blocks])


def theil_sen(x: Floats, y: Floats) -> Trend | None:
    """Trend of y over x (both of shape (n,), x ascending); None with fewer than two different x."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = thin(x[good], y[good])
    count = len(x)
    if count < 2:
        return None
    first, second = np.triu_indices(count, 1)
    run, rise = x[second] - x[first], y[second] - y[first]
    apart = run != 0
    if not apart.any():
        return None
    slope = float(np.median(rise[apart] / run[apart]))
    level = float(np.median(y - slope * x) + slope * x[-1])
    return Trend(slope, level, _mann_kendall(y, rise * np.sign(run)), count)


def _mann_kendall(y: Floats, rise: Floats) -> float:
    """Normal deviate of Kendall's S with the correction for ties and for continuity."""
    count = len(y)
    if count < 4:
        return 0.0
    score = float(np.sign(rise).sum())
    _, ties = np.unique(y, return_counts=True)
    tied = float((ties * (ties - 1) * (2 * ties + 5)).sum())
    variance = (count * (count - 1) * (2 * count + 5) - tied) / 18.0
    if variance <= 0 or score == 0:
        return 0.0
    return (score - math.copysign(1.0, score)) / math.sqrt(variance)
