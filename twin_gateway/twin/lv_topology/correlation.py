"""Voltage correlation: a meter's voltage moves with its busbar phase, and falls when that phase is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.data import (
    PLAUSIBLE_V,
    PLAUSIBLE_W,
    AreaData,
    effective_length,
    filled,
    plausible,
    smoothed_off,
    without,
)
from twin_gateway.twin.lv_topology.votes import Vote, correlation_odds, silent

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
WINDOW_S = 6 * 3600.0
"""Slower changes are those of the day, which all customers share."""
_ENOUGH = 24
"""Intervals that a correlation needs at least."""


@dataclass(frozen=True)
class Voltages:
    """Voltages ready for correlation: rows of mean 0, gaps 0, the common mode of the medium-voltage grid removed.

    Attributes:
        channels: shape (c, T); told: which rows hold anything.
        common: the common modes, shape (1 to 3, T).
    """

    channels: F64
    told: Bools
    common: F64


@dataclass(frozen=True)
class Courses:
    """The series of a window without the course of the day; made once, used by every method.

    Attributes:
        volts, watts: of the channels, shape (c, T), mean 0, gaps 0.
        habits: the mean courses of those who feed in and of those who only draw, shape (0 to 2, T).
    """

    volts: F64
    watts: F64
    habits: F64


def courses(data: AreaData) -> Courses:
    """The courses of the channels of a window.

    Customers of other transformers have the same habits and the same sun, so the mean courses of both kinds of
    customers must not count as kinship.
    """
    width = _width(data)
    watts = filled(smoothed_off(plausible(data.p, PLAUSIBLE_W), width))
    plants = feeding_in(data)
    habits = [
        watts[group].mean(0, keepdims=True)
        for group in (plants, ~plants)
        if np.isfinite(data.p[group]).any(1).sum() >= 4
    ]
    return Courses(
        filled(smoothed_off(plausible(data.v, PLAUSIBLE_V), width)),
        watts,
        np.concatenate(habits) if habits else np.zeros((0, data.intervals)),
    )


def prepared(course: Courses, use: Bools | None = None) -> Voltages:
    """Voltages of the meters over the intervals `use` (default all).

    The single common mode (tap changer, medium voltage) is the mean of all meters, and regressed out of each together
    with the habits: what is left is the drop in the transformer and the low-voltage grid.
    """
    rows, habits = course.volts, course.habits
    if use is not None and not use.all():
        rows, habits = rows[:, use], habits[:, use]
    told = (rows != 0).sum(1) >= _ENOUGH
    common = rows[told].mean(0, keepdims=True) if told.any() else np.zeros((1, rows.shape[1]))
    common = np.concatenate([common, habits])
    return Voltages(without(rows, common), told, common)


def _width(data: AreaData) -> int:
    return max(3, round(WINDOW_S / data.step))


def quiet_intervals(data: AreaData, share: float = 0.02) -> Bools:
    """Intervals in which hardly anybody feeds in (a power band; the nights, where nobody tells a power).

    Plants of a district see one sun and make profiles alike; what they share tells nothing about who is where.
    """
    known = np.where(np.isfinite(data.p), data.p, 0.0)
    total = np.abs(known).sum(0)
    if not total.any():
        hour = data.hour()
        return np.asarray((hour < 5) | (hour >= 21))
    return np.asarray(np.clip(-known, 0, None).sum(0) <= share * total)


def feeding_in(data: AreaData, watts: float = 300.0) -> Bools:
    """Channels that feed in more than `watts` in at least a fiftieth of the intervals."""
    return np.asarray((data.p < -watts).sum(1) >= 0.02 * np.maximum(np.isfinite(data.p).sum(1), 50))


def sunny(data: AreaData) -> bool:
    """Whether enough is fed in for the segments to matter."""
    known = np.where(np.isfinite(data.p), data.p, 0.0)
    return bool(np.clip(-known, 0, None).sum() > 0.01 * max(np.abs(known).sum(), 1e-9))


def segments(data: AreaData) -> tuple[Bools, ...]:
    """The intervals in groups that are correlated apart: without feed-in and with it; one group where there is none."""
    everything = np.ones(data.intervals, bool)
    if not sunny(data):
        return (everything,)
    quiet = quiet_intervals(data)
    return tuple(group for group in (quiet, ~quiet) if group.sum() >= 2 * _ENOUGH)


def busbar_voltage(data: AreaData, course: Courses | None = None) -> Vote:
    """Voltage of a meter against the voltages of the busbar phases, segment by segment."""
    odds = silent(len(data.v), data.places)
    reference_all = _references(data, data.vt, PLAUSIBLE_V)
    if reference_all is None:
        return Vote("voltage", odds)
    course = course or courses(data)
    for use in segments(data):
        volts = prepared(course, use)
        reference = without(reference_all[:, use], volts.common)
        told = np.abs(reference).sum(1) > 0
        score, length = _marginal(volts.channels, reference)
        odds += np.where(told & volts.told[:, None], correlation_odds(score, length), 0.0)
    return Vote("voltage", odds)


def phase_power(data: AreaData, course: Courses | None = None) -> Vote:
    """Voltage of a meter against the power of the transformer phases: it falls when its own phase is loaded."""
    odds = silent(len(data.v), data.places)
    reference_all = _references(data, data.pt, PLAUSIBLE_W)
    if reference_all is None:
        return Vote("drop", odds)
    course = course or courses(data)
    for use in segments(data):
        volts = prepared(course, use)
        reference = -without(reference_all[:, use], volts.common)
        told = np.abs(reference).sum(1) > 0
        score, length = _partial(volts.channels, reference)
        odds += np.where(told & volts.told[:, None], correlation_odds(score, length), 0.0)
    return Vote("drop", odds)


def _references(data: AreaData, series: F64, room: float) -> F64 | None:
    rows = series.reshape(-1, data.intervals)
    if (np.isfinite(rows).sum(1) >= _ENOUGH).sum() == 0:
        return None
    return filled(smoothed_off(plausible(rows, room), _width(data)))


def _marginal(rows: F64, reference: F64) -> tuple[F64, float]:
    norm = np.sqrt(np.outer((rows**2).sum(1), (reference**2).sum(1)))
    rho = np.clip(rows @ reference.T / np.maximum(norm, 1e-9), -0.999, 0.999)
    length = effective_length(rows, reference)
    return np.asarray(np.arctanh(rho) * np.sqrt(length)), length


def _partial(rows: F64, reference: F64) -> tuple[F64, float]:
    """Scores of each reference given all others (Student's t of a joint regression)."""
    gram = reference @ reference.T
    gram += np.eye(len(gram)) * (1e-6 * np.trace(gram) / len(gram) + 1e-12)
    inverse = np.linalg.inv(gram)
    product = rows @ reference.T
    slope = product @ inverse
    rest = np.maximum((rows**2).sum(1) - (slope * product).sum(1), 1e-9)
    length = effective_length(rows, reference)
    return np.asarray(slope / np.sqrt(np.outer(rest / length, np.diag(inverse)))), length
