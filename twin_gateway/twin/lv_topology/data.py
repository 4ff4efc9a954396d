"""The data of an identification: matrices of meter channels by intervals, and of transformer phases by intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class AreaData:
    """What meters and transformer monitors of an area told over a window of T intervals.

    A channel is one voltage terminal of a meter: one of a single-phase meter, three of a three-phase meter. Missing is
    NaN everywhere, so the mask of a matrix is `np.isfinite`.

    Attributes:
        start, step: Unix seconds of the first interval's begin, seconds of an interval.
        meters: addresses, length m.
        transformers: addresses of the measured transformers, length k.
        channel_meter, channel_terminal: index of the meter, 0 to 2; length c. Channels of a meter stand together.
        v: V, phase to neutral, shape (c, T).
        p: W, positive when the customer draws, shape (c, T). Of a meter that tells its power only as a sum, the sum
            stands at its first channel and the others are NaN.
        vt, pt: V and W (out of the transformer into the area) per busbar phase, shape (k, 3, T).
        power_split: whether a meter tells its power by phase, length m.
    """

    start: float
    step: float
    meters: tuple[str, ...]
    transformers: tuple[str, ...]
    channel_meter: Ints
    channel_terminal: Ints
    v: F64
    p: F64
    vt: F64
    pt: F64
    power_split: Bools

    def __post_init__(self) -> None:
        channels, intervals = self.v.shape
        if self.p.shape != (channels, intervals) or len(self.channel_meter) != channels:
            raise ValueError("the matrices of voltages and powers must have a row per channel")
        if self.vt.shape != (len(self.transformers), 3, intervals) or self.pt.shape != self.vt.shape:
            raise ValueError("transformers need three phases and as many intervals as the meters")
        if len(self.channel_terminal) != channels or len(self.power_split) != len(self.meters):
            raise ValueError("every channel needs a terminal, every meter its kind")

    @property
    def places(self) -> int:
        """Number of places that a channel may be at: three phases of every transformer."""
        return 3 * len(self.transformers)

    @property
    def intervals(self) -> int:
        """Number of intervals of the window."""
        return int(self.v.shape[1])

    def hour(self) -> F64:
        """Hour of the day (UTC) of the middle of each interval, shape (T,)."""
        seconds = self.start + (np.arange(self.intervals) + 0.5) * self.step
        return np.asarray(seconds % 86_400 / 3600)


def increments(series: F64) -> F64:
    """Changes from one interval to the next, shape (..., T - 1); NaN where one of the two is missing."""
    return np.diff(series, axis=-1)


def filled(series: F64) -> F64:
    """The series with its row means taken off and nothing (0) where it is missing.

    What is missing then counts as noise that is independent of what is there, which leaves regressions unbiased.
    """
    known = np.isfinite(series)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    mean = np.where(known, series, 0.0).sum(-1, keepdims=True) / count
    return np.where(known, series - mean, 0.0)


def plausible(series: F64, room: float, factor: float = 3.0) -> F64:
    """The series without what is out of all proportion: NaN where it is.

    One meter exchange or register error must decide nothing.

    Args:
        series: rows.
        room: distance from the median of a row that is always plausible, in its unit.
        factor: further values are plausible up to so many times the 99.5 % quantile of the distance.
    """
    away = np.abs(series - _quantile(series, 0.5))
    return np.where(away <= np.maximum(room, factor * _quantile(away, 0.995)), series, np.nan)


PLAUSIBLE_V, PLAUSIBLE_W = 25.0, 15_000.0
"""Distances from a meter's own median that a voltage and a household's power may always have."""


def _quantile(series: F64, share: float) -> F64:
    """Quantile of what is known of each row, shape (..., 1); 0 for a row of which nothing is."""
    ordered = np.sort(series, axis=-1)  # NaN last
    known = np.isfinite(series).sum(-1, keepdims=True)
    at = np.rint(np.maximum(known - 1, 0) * share).astype(np.int64)
    return np.where(known > 0, np.take_along_axis(ordered, at, axis=-1), 0.0)


def smoothed_off(series: F64, width: int) -> F64:
    """The series less its moving mean over about `width` intervals; NaN where it is missing.

    Takes away what the day does to all customers alike, and keeps more of a noisy signal than increments do.
    """
    known = np.isfinite(series)
    zero = [(0, 0)] * (series.ndim - 1) + [(1, 0)]
    total = np.cumsum(np.pad(np.where(known, series, 0.0), zero), axis=-1)
    count = np.cumsum(np.pad(known.astype(np.float64), zero), axis=-1)
    at = np.arange(series.shape[-1])
    low, high = np.maximum(at - width // 2, 0), np.minimum(at + width // 2 + 1, len(at))
    mean = (total[..., high] - total[..., low]) / np.maximum(count[..., high] - count[..., low], 1)
    return np.where(known, series - mean, np.nan)


def without(series: F64, mode: F64) -> F64:
    """Rows (mean 0) less their regression on one or more common modes (rows of `mode`, shape (j, T))."""
    gram = mode @ mode.T
    gram += np.eye(len(gram)) * 1e-9 * max(float(np.trace(gram)), 1e-12)
    return np.asarray(series - np.linalg.solve(gram, mode @ series.T).T @ mode)


def effective_length(left: F64, right: F64) -> float:
    """Number of independent intervals in a correlation of rows of both: Bartlett's formula with lag-1 memory."""

    def memory(rows: F64) -> float:
        power = float(np.sum(rows * rows))
        following = float(np.sum(rows[..., 1:] * rows[..., :-1]))
        return following / power if power > 0 else 0.0

    shared = float(np.clip(memory(left) * memory(right), -0.9, 0.98))
    return float(left.shape[-1] * (1 - shared) / (1 + shared))
