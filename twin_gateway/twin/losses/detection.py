"""Abnormal loss: statistical methods, each giving suspicions that name addresses and never people (spec 4.5).

What the methods cannot see: a bypass only at night, or any other that follows the clock and not the load, looks like
noise to the regression (on the European feeder it ranks the meter no better than chance); a constant load hooked to
the line before the meter has no pattern to correlate with and shows only in the balance of the region. Both raise the
non-technical loss, so that the region is found, not the meter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

SAMPLES_A_METER = 3
"""Samples that a regression needs for each meter."""
LEAST_FACTOR = 0.1
LEAST_KWH_DAY = 0.1
"""Suspicions of less are within what small meters' start-up currents and profiles of a few watts do."""
_SWEEPS = 400


class Method(StrEnum):
    """Ways of detection."""

    RATE_BAND = "rateBand"
    NTL = "nonTechnicalLoss"
    CUSUM = "cusum"
    REGRESSION = "regression"
    MEMBERSHIP = "membership"
    VOLTAGE = "voltageConsistency"
    PHASE_BALANCE = "phaseBalance"
    NEUTRAL = "neutralCurrent"
    METER_EVENT = "meterEvent"
    ZERO = "zeroEnergy"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something that may be wrong. It accuses nobody.

    Attributes:
        address: of the meter, or of the region when no meter stands out.
        region: key of the region.
        score: 0 to 1.
        start, end: evidence window, Unix seconds.
        kwh_per_day: energy in question.
        evidence: (name, value) of what was computed.
    """

    method: Method
    address: str
    region: str
    score: float
    start: float
    end: float
    kwh_per_day: float
    evidence: tuple[tuple[str, float], ...] = field(default=())

    def text(self) -> str:
        """A sentence; of addresses and numbers only."""
        return f"{self.method} suspicion at {self.address}: score {self.score:.2f}, {self.kwh_per_day:.1f} kWh/day"


# ---- a region as a whole --------------------------------------------------------------------------------------------


def rate_band(rates: Floats, low: float, high: float, *, of: int = 4, least: int = 3) -> Booleans:
    """Whether the loss rate was outside [low, high] in at least `least` of the last `of` windows, for each window."""
    with np.errstate(invalid="ignore"):
        outside = ((rates < low) | (rates > high)).astype(np.int64)
    running = np.concatenate([[0], np.cumsum(outside)])
    index = np.arange(1, len(rates) + 1)
    return np.asarray(running[index] - running[np.maximum(index - of, 0)] >= least)


def negative_loss(loss: Floats, uncertainty: Floats, *, k: float = 3.0) -> Booleans:
    """Losses below -k u: an error of data or mapping, for nobody feeds in unseen."""
    with np.errstate(invalid="ignore"):
        return np.asarray(loss < -k * uncertainty)


def ntl_test(non_technical: Floats, uncertainty: Floats, *, k: float = 3.0, days: int = 3) -> Booleans:
    """L_n > k u(L_n) on `days` days in a row, for each day."""
    with np.errstate(invalid="ignore"):
        over = (non_technical > k * uncertainty).astype(np.int64)
    running = np.concatenate([[0], np.cumsum(over)])
    index = np.arange(1, len(over) + 1)
    return np.asarray((index >= days) & (running[index] - running[np.maximum(index - days, 0)] == days))


def cusum(
    values: Floats, *, target: float, sigma: float, drift: float = 0.5, limit: float = 5.0
) -> tuple[Floats, Floats]:
    """(upper, lower) cumulative sums of daily loss rates in units of sigma; an alarm is above `limit`.

    Args:
        values: in order of time; NaN is skipped.
        target: mean of the undisturbed rate.
        sigma: its standard deviation, above 0.
        drift: in sigma; smaller shifts are let pass.
        limit: for the cut-off of the sums at twice its value, so that an alarm can end.
    """
    upper, lower = np.zeros(len(values)), np.zeros(len(values))
    up = down = 0.0
    for at, value in enumerate(values.tolist()):
        if np.isfinite(value):
            z = (value - target) / sigma
            up = min(max(0.0, up + z - drift), 2 * limit)
            down = min(max(0.0, down - z - drift), 2 * limit)
        upper[at], lower[at] = up, down
    return upper, lower


# ---- which meter ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Regression:
    """Factors a_i of L_n(t) = sum a_i E_i(t): true / recorded - 1 of each meter.

    Attributes:
        factor: a_i, shape (m,); low, high: bootstrapped 95 % interval, NaN when no factor is large enough.
        enough: there were at least three samples for each meter.
        suspected: a_i > 0.1 with its interval above 0.
    """

    factor: Floats
    low: Floats
    high: Floats
    enough: bool
    suspected: Booleans


def regression(
    residual: Floats,
    energy: Floats,
    *,
    blocks: int = 28,
    draws: int = 200,
    seed: int = 1,
    least: float = LEAST_FACTOR,
) -> Regression:
    """Which meters record too little: non-negative least squares with a block bootstrap.

    A constant and the square of the total energy stand beside the meters, so that a steady unmetered load and an
    error of the technical loss are not blamed on anybody.

    Args:
        residual: non-technical loss of each interval, Wh, shape (n,).
        energy: recorded energy of each meter, Wh, shape (n, m).
        blocks: pieces of the time that are drawn (longer than the memory of the loads).
        draws: bootstrap samples.
        seed: of the draws, so that a result can be repeated.
        least: smallest factor that is suspected.
    """
    good = np.isfinite(residual) & np.isfinite(energy).all(axis=1)
    y, meters = residual[good], energy[good]
    count, width = meters.shape
    nothing = np.zeros(width)
    if count < SAMPLES_A_METER * width or not width or count < 2 * blocks:
        return Regression(nothing, nothing, nothing, False, np.zeros(width, bool))
    total = meters.sum(axis=1)
    design = np.column_stack([meters, np.ones(count), total**2 / max(float(total.mean()), 1e-12)])
    scale = np.sqrt((design**2).mean(axis=0))
    live = scale > 1e-9
    scale = np.where(live, scale, 1.0)
    design /= scale
    edges = np.linspace(0, count, blocks + 1).astype(int)
    grams = np.stack([design[a:b].T @ design[a:b] for a, b in pairwise(edges.tolist())])
    sides = np.stack([design[a:b].T @ y[a:b] for a, b in pairwise(edges.tolist())])
    chosen = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(float)
    free = np.zeros(width + 2, bool)
    free[width:] = True
    whole = _least_squares(grams.sum(axis=0)[None], sides.sum(axis=0)[None], free, live)
    factor = whole[0, :width] / scale[:width]
    if not (factor > least).any():  # most regions: nobody to be sure or unsure about
        return Regression(factor, np.full(width, np.nan), np.full(width, np.nan), True, np.zeros(width, bool))
    gram, side = np.tensordot(chosen, grams, axes=1), chosen @ sides
    factors = _least_squares(gram, side, free, live, begin=whole[0])[:, :width] / scale[:width]
    low, high = np.percentile(factors, [2.5, 97.5], axis=0)
    return Regression(factor, low, high, True, (factor > least) & (low > 1e-3))


def _least_squares(
    gram: Floats, side: Floats, free: Booleans, live: Booleans, *, begin: Floats | None = None
) -> Floats:
    """Coordinate descent on many small problems at once: min x'Gx / 2 - s'x with x >= 0 where not free."""
    count, width = side.shape
    x = np.zeros((count, width)) if begin is None else np.tile(begin, (count, 1))
    diagonal = np.einsum("bii->bi", gram) + 1e-9
    slope = side - np.einsum("bij,bj->bi", gram, x)  # s - G x
    tolerance = 1e-7 * np.abs(side).max(initial=1e-300) / max(float(diagonal.mean()), 1e-300)
    for _ in range(_SWEEPS):
        largest = 0.0
        for at in np.nonzero(live)[0].tolist():
            new = x[:, at] + slope[:, at] / diagonal[:, at]
            if not free[at]:
                new = np.maximum(new, 0.0)
            step = new - x[:, at]
            move = float(np.abs(step).max())
            if move > 0:
                slope -= gram[:, at] * step[:, None]
                x[:, at] = new
                largest = max(largest, move)
        if largest < tolerance:
            break
    return x


def regression_suspicions(
    found: Regression, addresses: Sequence[str], energy: Floats, *, region: str, start: float, end: float
) -> list[Suspicion]:
    """Suspicions of a regression, the largest energy first; `energy` as given to `regression`."""
    days = max((end - start) / 86_400.0, 1e-9)
    result = []
    for at in np.nonzero(found.suspected)[0].tolist():
        kwh = float(found.factor[at] * np.nansum(energy[:, at]) / 1000.0 / days)
        if kwh < LEAST_KWH_DAY:
            continue
        evidence = (
            ("factor", float(found.factor[at])), ("low", float(found.low[at])), ("high", float(found.high[at]))
        )  # fmt: skip
        score = float(found.low[at] / found.factor[at])
        result.append(Suspicion(Method.REGRESSION, addresses[at], region, score, start, end, kwh, evidence))
    return sorted(result, key=lambda suspicion: -suspicion.kwh_per_day)


def membership_test(loss: Floats, other: Floats, energy: Floats) -> Floats:
    """How much better each meter of one area would fit into another, 0 to 1; shape (m,).

    Moving meter i adds its energy to the loss of its area and takes it from that of the other; only when both
    variances fall does it count, with the smaller of the relative falls.

    Args:
        loss: non-technical loss of the area of the meters, Wh, (n,).
        other: that of the other area.
        energy: of the meters, Wh, (n, m).
    """
    good = np.isfinite(loss) & np.isfinite(other) & np.isfinite(energy).all(axis=1)
    a, b, e = loss[good] - loss[good].mean(), other[good] - other[good].mean(), energy[good]
    e = e - e.mean(axis=0)
    var = (e**2).sum(axis=0)
    here, there = float((a**2).sum()), float((b**2).sum())
    fall_here = -(var + 2 * (a @ e)) / max(here, 1e-12)
    fall_there = -(var - 2 * (b @ e)) / max(there, 1e-12)
    return np.asarray(np.clip(np.minimum(fall_here, fall_there), 0.0, 1.0))


def voltage_consistency(residual: Floats, imbalance: Floats, path: Floats) -> Floats:
    """How well an unrecorded load at each meter explains the voltage drops that the records do not, 0 to 1; (m,).

    The residual drop of meter i moves with the missing power by the resistance that i shares with the place of the
    unrecorded load: the column of the path resistance that fits best is the place. Constant loads do not move and are
    not found.

    Args:
        residual: measured minus predicted voltage drop of the meters of one phase, V, (n, m).
        imbalance: power that the balance of the phase misses, W, (n,).
        path: shared resistance of meters i and k divided by the phase voltage, V per W, (m, m).
    """
    drops, power = np.diff(residual, axis=0), np.diff(imbalance)
    good = np.isfinite(power) & np.isfinite(drops).all(axis=1)
    drops, power = drops[good], power[good]
    energy = float(power @ power)
    if energy <= 0 or not len(power):
        return np.zeros(residual.shape[1])
    slope = drops.T @ power / energy
    cost = ((slope[:, None] - path) ** 2).sum(axis=0)
    whole = float((slope**2).sum())
    if whole <= 0:
        return np.zeros(len(cost))
    return np.asarray(np.clip(1.0 - cost / whole, 0.0, 1.0))


def phase_balance(supplied: Floats, metered: Floats, uncertainty: Floats, *, k: float = 3.0) -> Booleans:
    """Phases whose meters do not add up to what the transformer supplies, while the sum of the phases does.

    Wrong phases in the records move energy between phases, so that one misses what another has too much.

    Args:
        supplied: Wh of each phase at the boundary over the window, (3,).
        metered: sum of the meters on record for each phase, with technical loss, (3,).
        uncertainty: u of each difference, Wh, (3,).
        k: coverage factor.
    """
    return np.asarray(np.abs(supplied - metered) > k * uncertainty)


def neutral_current(currents: Floats) -> Floats:
    """Magnitude of the neutral current, A, of phase currents 120 degrees apart; shape (…, 3) to (…)."""
    a, b, c = currents[..., 0], currents[..., 1], currents[..., 2]
    return np.sqrt(np.maximum(a * a + b * b + c * c - a * b - b * c - c * a, 0.0))


def neutral_difference(currents: Floats, neutral: Floats, *, least: float = 2.0, part: float = 0.2) -> Booleans:
    """Whether the neutral current measured differs from the computed one by more than `part` of the largest phase.

    Args:
        currents: A of the phases, (n, 3).
        neutral: measured A, (n,).
        least: A below which a difference says nothing.
        part: of the largest phase current.
    """
    with np.errstate(invalid="ignore"):
        off = np.abs(neutral - neutral_current(currents))
        return np.asarray(off > np.maximum(least, part * currents.max(axis=-1)))


def zero_energy(energy: Floats, energised: Booleans, usual: Floats, length: float, *, hours: float = 24.0) -> Booleans:
    """Meters that record nothing for `hours` though voltage is there and they used to record; shape (m,).

    Args:
        energy: Wh of the latest intervals, (n, m).
        energised: voltage was there, (n, m).
        usual: mean Wh of an interval over the last 30 days, (m,).
        length: of an interval, s.
        hours: how long.
    """
    rows = round(hours * 3600.0 / length)
    if len(energy) < rows:
        return np.zeros(energy.shape[1], bool)
    with np.errstate(invalid="ignore"):
        nothing = (energy[-rows:] == 0).all(axis=0)
    return np.asarray(nothing & energised[-rows:].all(axis=0) & (usual > 0))


TAMPER_CODES: dict[int, str] = {
    40: "terminal cover removed",
    42: "strong DC field (magnet)",
    44: "meter cover removed",
    46: "association failures",
    49: "decryption failures",
    50: "replay attack",
    82: "missing voltage L1",
    83: "missing voltage L2",
    84: "missing voltage L3",
    85: "missing neutral",
    86: "phase asymmetry",
    87: "current reversal",
    88: "wrong phase sequence",
    91: "current without voltage",
}
"""Event codes of the fraud and power-quality logs as companion standards number them; meters of other makes need
their own table."""


def meter_events(
    events: Sequence[tuple[float, str, int]], region: str, codes: dict[int, str] | None = None
) -> list[Suspicion]:
    """Suspicions from event codes that meters logged: (Unix seconds, meter, code); other codes are no suspicion."""
    table = TAMPER_CODES if codes is None else codes
    return [
        Suspicion(Method.METER_EVENT, meter, region, 0.6, moment, moment, 0.0, (("code", float(code)),))
        for moment, meter, code in events
        if code in table
    ]
