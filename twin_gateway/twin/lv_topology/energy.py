"""Energy conservation: what a transformer phase delivers is the sum of what its customers draw (spec 5.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.correlation import feeding_in
from twin_gateway.twin.lv_topology.data import PLAUSIBLE_W, AreaData, filled, increments, plausible
from twin_gateway.twin.lv_topology.votes import Vote, silent

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
SWEEPS = 24
_LONGEST_LAG = 2


@dataclass(frozen=True)
class EnergyResult:
    """What the energies say.

    Attributes:
        vote: log-odds per channel and place.
        share: expected share of each channel at each place, shape (channels, places).
        lag: intervals by which a channel's profile is late against the transformers' (wrong clock or labelling).
        unexplained: W, root mean square of the increments of each place that no meter explains.
    """

    vote: Vote
    share: F64
    lag: Ints
    unexplained: F64


def energy_balance(data: AreaData) -> EnergyResult:
    """Assign every channel to the place whose energy it helps to explain.

    Increments of interval means are used: what does not change between neighbouring intervals (iron losses,
    standing unmetered load, offsets) drops out, changes of unmetered load and current-dependent losses are the noise
    whose size is estimated per place. The assignment is whole (a channel is at one place or none), found by a mean
    field annealed from the fractional solution, which needs fewer intervals than meters.
    """
    channels, places = len(data.p), data.places
    target = filled(increments(plausible(data.pt, PLAUSIBLE_W).reshape(places, data.intervals)))
    metered = np.abs(target).sum(1) > 0
    rows = filled(increments(plausible(data.p, PLAUSIBLE_W)))
    told = np.abs(rows).sum(1) > 0
    if not metered.any() or not told.any() or rows.shape[1] < 8:
        nothing = silent(channels, places)
        return EnergyResult(Vote("energy", nothing), nothing, np.zeros(channels, np.int64), np.zeros(places))
    lag = lags(rows, target)
    for row in np.flatnonzero(lag):
        rows[row] = _shifted(rows[row], int(lag[row]))
    sun = _sun(data, rows)
    if sun is not None:
        rows, target = _less(rows, sun), _less(target, sun)
    sums = ~data.power_split[data.channel_meter]
    odds, share, noise = _mean_field(rows, target, sums & told, metered)
    odds[~told] = 0.0
    odds[:, ~metered] = 0.0
    return EnergyResult(Vote("energy", odds), share, lag, np.sqrt(noise))


def turned(data: AreaData) -> NDArray[np.bool_]:
    """Transformers whose measured power falls when the meters of the area draw more: counted the other way round.

    Shape (k,). Transformers that tell no power, or too little to say, are not turned.
    """
    everybody = filled(increments(plausible(data.p, PLAUSIBLE_W))).sum(0)
    own = filled(increments(plausible(data.pt, PLAUSIBLE_W))).sum(1)
    norm = np.sqrt((own**2).sum(1) * (everybody**2).sum())
    rho = np.where(norm > 0, own @ everybody / np.maximum(norm, 1e-9), 0.0)
    return np.asarray(rho * np.sqrt(own.shape[1]) < -4.0)


def lags(rows: F64, target: F64) -> Ints:
    """Whole intervals by which a profile is late (positive) or early, from its correlation with all places.

    Zero unless another shift explains clearly more: clocks that are seconds off stay where they are.
    """
    strength = np.sqrt((rows**2).sum(1))[:, None] * np.sqrt((target**2).sum(1))[None, :]
    best = np.full(len(rows), -1.0)
    chosen = np.zeros(len(rows), np.int64)
    length = rows.shape[1]
    for shift in sorted(range(-_LONGEST_LAG, _LONGEST_LAG + 1), key=abs):
        moved = target[:, max(0, -shift) : length - max(0, shift)]
        own = rows[:, max(0, shift) : length - max(0, -shift)]
        score = (own @ moved.T / np.maximum(strength, 1e-9)).max(1)
        score = np.sign(score) * score**2 * length
        better = score > (best + 16.0 if shift else best)
        best, chosen = np.where(better, score, best), np.where(better, shift, chosen)
    return chosen


def _shifted(row: F64, lag: int) -> F64:
    out = np.zeros_like(row)
    if lag > 0:
        out[:-lag] = row[lag:]
    else:
        out[-lag:] = row[:lag]
    return out


def _sun(data: AreaData, rows: F64) -> F64 | None:
    """The common course of metered feed-in, of length 1; unmetered plants follow it too, so it speaks for nobody."""
    plants = feeding_in(data)
    if plants.sum() < 2:
        return None
    course = rows[plants].mean(0)
    norm = float(np.linalg.norm(course))
    return course / norm if norm > 0 else None


def _less(rows: F64, course: F64) -> F64:
    return np.asarray(rows - np.outer(rows @ course, course))


def nonnegative(gram: F64, product: F64, *, ceiling: float = 1.0, rounds: int = 200) -> F64:
    """Regression with every coefficient between 0 and `ceiling`: accelerated projected gradient (Beck, Teboulle 2009).

    Args:
        gram: X Xᵀ, shape (c, c).
        product: X Yᵀ, shape (c, k).
        ceiling: most of a coefficient.
        rounds: most iterations.

    Returns:
        Coefficients, shape (c, k).
    """
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    normal = gram / np.outer(scale, scale)
    aim = product / scale[:, None]
    top = scale[:, None] * ceiling
    step = 1.0 / max(_largest(normal), 1e-9)
    x = np.zeros_like(product)
    momentum, t = x, 1.0
    for _ in range(rounds):
        new = np.clip(momentum - step * (normal @ momentum - aim), 0.0, top)
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        momentum = new + (t - 1) / t_new * (new - x)
        change = float(np.abs(new - x).max())
        x, t = new, t_new
        if change < 1e-6 * float(top.max()):
            break
    return np.asarray(x / scale[:, None])


def _largest(matrix: F64) -> float:
    """An upper bound of the largest eigenvalue: power iterations, and a little on top."""
    vector = np.ones(len(matrix)) / np.sqrt(len(matrix))
    value = 1.0
    for _ in range(30):
        vector = matrix @ vector
        value = float(np.linalg.norm(vector))
        if value == 0.0:
            return 1.0
        vector /= value
    return 1.05 * value


def _mean_field(rows: F64, target: F64, sums: NDArray[np.bool_], metered: NDArray[np.bool_]) -> tuple[F64, F64, F64]:
    """Log-odds, expected shares and noise variances (W² per interval) of whole assignments.

    Coordinate ascent on the mean-field bound of: target_g = sum of the rows at g + noise of variance s_g, every row
    at one place or none. The temperature starts high, so that all rows settle together.
    """
    gram, product = rows @ rows.T, rows @ target.T
    own = np.diag(gram).copy()
    power = (target**2).sum(1)
    length = rows.shape[1]
    channels, places = product.shape
    share = nonnegative(gram, product, rounds=40)  # only to begin with
    share /= np.maximum(share.sum(1, keepdims=True), 1.0)
    share[:, ~metered] = 0.0
    explained = gram @ share
    odds = np.zeros((channels, places))
    noise = np.ones(places)
    for sweep in range(SWEEPS):
        heat = max(1.0, 12.0 * 0.6**sweep)
        rest = power - 2 * (product * share).sum(0) + (share * explained).sum(0)
        rest += ((share - share**2) * own[:, None]).sum(0)
        noise = np.maximum(rest, 1e-3 * power) / length + 1e-6
        moved = 0.0
        for row in range(channels):
            toward = product[row] - explained[row] + own[row] * share[row]
            if sums[row]:
                gain, new = _three_phase(toward, own[row], noise, heat, metered)
            else:
                gain = np.where(metered, (toward - 0.5 * own[row]) / noise, -np.inf)
                new = np.exp((gain - max(gain.max(), 0.0)) / heat)
                new /= new.sum() + np.exp(-max(gain.max(), 0.0) / heat)
            change = new - share[row]
            size = float(np.abs(change).max())
            if size > 1e-6:
                explained += np.outer(gram[:, row], change)
                share[row] = new
                moved = max(moved, size)
            odds[row] = np.where(metered, gain, 0.0)
        if heat == 1.0 and moved < 1e-3:
            break
    return odds, share, noise


def _three_phase(toward: F64, own: float, noise: F64, heat: float, metered: NDArray[np.bool_]) -> tuple[F64, F64]:
    """A meter that tells only the sum of its phases: its split over a transformer's phases is fitted.

    Returns:
        Log-odds (alike for the phases of a transformer, less the price of two fitted shares), and shares.
    """
    split = np.clip(toward / max(own, 1e-9), 0.0, 1.0).reshape(-1, 3)
    split = split / np.maximum(split.sum(1, keepdims=True), 1.0)
    flat = split.reshape(-1)
    gain = ((flat * toward - 0.5 * flat**2 * own) / noise).reshape(-1, 3).sum(1)
    gain -= 0.5 * np.maximum(0.0, 1 - split.sum(1)) ** 2 * own / noise.reshape(-1, 3).mean(1)
    gain = np.where(metered.reshape(-1, 3).all(1), gain - 3.0, -np.inf)
    weight = np.exp((gain - max(gain.max(), 0.0)) / heat)
    weight /= weight.sum() + np.exp(-max(gain.max(), 0.0) / heat)
    return np.repeat(gain, 3), (split * weight[:, None]).reshape(-1)
