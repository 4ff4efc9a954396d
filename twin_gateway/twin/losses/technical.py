"""Technical losses of a region, from interval loads: lines (3 I2R; low voltage by phase, with neutral), transformers.

Lines whose current is that of the same loads are one group, so that a feeder of a thousand sections with fifty loads
is about a hundred groups, and all intervals go through a few matrix products. Everything is per unit of 1 VA a phase
and the nominal phase voltage, so that transformers inside a region are groups like any other.

Interval means leave out how the load moves within the interval: the loss of restless loads is larger by the square of
their form factor (`form_factor`). A region with a loop, or one whose voltages collapse, has no result (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import CimClass, Equipment, Grid, LineData, Meter, Position, TransformerData
from twin_gateway.grid.sweep import radial_order
from twin_gateway.twin.losses.regions import PHASES, Region, Term

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

POWER_FACTOR = 0.95
TECHNICAL_UNCERTAINTY = 0.10
"""Relative standard uncertainty of a computed technical loss: line data, power factor, form factor."""
_COLLAPSE, _TOLERANCE, _ITERATIONS = 0.5, 1e-7, 30
_CHUNK = 1 << 18
_ROTATION = np.exp(-2j * np.pi / 3 * np.arange(3))


@dataclass(frozen=True, slots=True)
class LossModel:
    """Groups of lines of one radial region and the loads behind them.

    Attributes:
        terms: of the K loads: members, and boundary meters other than the infeed.
        source: the boundary term of the infeed.
        low, high: loads `low` to `high` (exclusive) flow through each of the G groups.
        z: positive-sequence impedance of each group, per unit; zn: (z0 - z1) / 3, what the neutral current sees.
        share: of each phase in the power of each load, shape (K, 3).
        no_load: W of the transformers.
    """

    terms: tuple[Term, ...]
    source: Term
    low: npt.NDArray[np.intp]
    high: npt.NDArray[np.intp]
    z: Complexes
    zn: Complexes
    share: Floats
    no_load: float

    @property
    def behind(self) -> Floats:
        """1 where load k flows through group g, shape (G, K)."""
        at = np.arange(len(self.terms))
        return ((at >= self.low[:, None]) & (at < self.high[:, None])).astype(np.float64)

    def path_resistance(self) -> Floats:
        """Resistance that loads i and k share on their way from the infeed, with the neutral, per unit; (K, K)."""
        behind = self.behind
        weighted = behind * (self.z.real + self.zn.real)[:, None]
        return np.asarray(behind.T @ weighted)


def loss_model(
    grid: Grid,
    region: Region,
    meters: Mapping[str, Meter],
    positions: Mapping[str, Position] | None = None,
    *,
    closed: Sequence[Equipment] | None = None,
) -> LossModel | None:
    """The loss model of a cell; None when it is no single tree behind one infeed, or has neither line nor transformer.

    A load that the infeed does not reach in this state makes it None, too: what it causes is not known.

    Lines without zero-sequence data are taken to have a neutral like their phases in low voltage.

    Args:
        grid: the model.
        region: a cell of it in the switching state.
        meters: of `meters_of`.
        positions: of the switches; those not named are in their normal position.
        closed: of `closed_switches`, when it is at hand for many regions.
    """
    if region.phase or region.cells != (region.key,) or not region.boundary or not region.equipment:
        return None
    closed = closed_switches(grid, positions) if closed is None else closed
    source = _source(grid, region, meters)
    names: dict[str, int] = {}

    def number(name: str) -> int:
        return names.setdefault(name, len(names))

    # A metered terminal of equipment inside the region is an end of its own, not the node outside.
    cut = {(meters[term.meter].equipment, meters[term.meter].terminal) for term in region.boundary}
    branches: list[tuple[int, int, complex, complex]] = []
    no_load = 0.0
    for item in (*closed, *(grid.equipment[address] for address in region.equipment)):
        ends = [
            number(f"{item.address}#{at}" if (item.address, at) in cut else node)
            for at, node in enumerate(item.nodes[:2], 1)
        ]
        z, zn = _impedance(grid, item)
        branches.append((ends[0], ends[1], z, zn))
        if isinstance(item.data, TransformerData):
            no_load += item.data.p0
    terms = [term for term in region.boundary if term is not source]
    places = [_end(grid, region, term, meters) for term in terms]
    terms += list(region.members)
    places += [grid.equipment[meters[term.meter].equipment].nodes[0] for term in region.members]
    start = number(_end(grid, region, source, meters))
    loads = np.array([number(place) for place in places], np.intp)
    begins, stops = [branch[0] for branch in branches], [branch[1] for branch in branches]
    order = radial_order(len(names), begins, stops, np.ones(len(branches), bool), start)
    if order.looped >= 0:
        return None
    position = np.full(len(names), -1, np.intp)
    position[order.node] = np.arange(len(order.node))
    at = position[loads]
    reached = np.nonzero(at >= 0)[0]
    if len(reached) < len(loads):  # fed from elsewhere, or over a switch that is open here
        return None
    reached = reached[np.argsort(at[reached], kind="stable")]
    sorted_at = at[reached]
    fed = np.nonzero(order.branch >= 0)[0]
    low, high = np.searchsorted(sorted_at, fed), np.searchsorted(sorted_at, order.end[fed])
    groups: dict[tuple[int, int], list[complex]] = {}
    for first, last, branch in zip(low.tolist(), high.tolist(), order.branch[fed].tolist(), strict=True):
        _, _, z, zn = branches[branch]
        if last > first and z != 0:
            total = groups.setdefault((first, last), [0j, 0j])
            total[0] += z
            total[1] += zn
    share = np.array([_phase_share(meters[terms[index].meter]) for index in reached.tolist()]).reshape(-1, 3)
    return LossModel(
        tuple(terms[index] for index in reached.tolist()),
        source,
        np.array([first for first, _ in groups], np.intp),
        np.array([last for _, last in groups], np.intp),
        np.array([z for z, _ in groups.values()], complex),
        np.array([zn for _, zn in groups.values()], complex),
        share,
        no_load,
    )


def closed_switches(grid: Grid, positions: Mapping[str, Position] | None = None) -> list[Equipment]:
    """Switches that conduct in a switching state; those of unknown position do, as in the regions."""
    state = {**grid.normal_positions(), **(positions or {})}
    return [
        item
        for item in grid.equipment.values()
        if item.is_switch and len(item.nodes) == 2 and state.get(item.address) in (Position.CLOSED, Position.UNKNOWN)
    ]


def _source(grid: Grid, region: Region, meters: Mapping[str, Meter]) -> Term:
    """The infeed: at the head of a feeder, else at the highest voltage, else the first one of a transformer."""
    heads = {feeder.head for feeder in grid.feeders.values()}

    def rank(term: Term) -> tuple[bool, float, bool]:
        meter = meters[term.meter]
        item = grid.equipment[meter.equipment]
        nominal = grid.nodes[item.nodes[meter.terminal - 1]].nominal
        outside = item.address not in region.equipment
        return meter.equipment in heads, nominal, outside and item.cim_class is CimClass.TRANSFORMER

    return max(region.boundary, key=rank)


def _end(grid: Grid, region: Region, term: Term, meters: Mapping[str, Meter]) -> str:
    """Where the current of a boundary term enters the region: a node, or the cut end of equipment inside."""
    meter = meters[term.meter]
    item = grid.equipment[meter.equipment]
    into = term.sign * meter.direction > 0  # the region is on the side of the equipment
    if into and (item.address in region.equipment or item.is_switch):
        return f"{item.address}#{meter.terminal}"
    return item.nodes[meter.terminal - 1]


def _impedance(grid: Grid, item: Equipment) -> tuple[complex, complex]:
    """(z, zn) per unit of 1 VA a phase: ohm x 3 / U2."""
    if isinstance(item.data, LineData):
        line, base = item.data, 3.0 / grid.nodes[item.nodes[0]].nominal ** 2
        z1 = complex(line.r, line.x)
        low_voltage = grid.nodes[item.nodes[0]].nominal < 1000.0
        if line.r0 is not None and line.x0 is not None:
            zn = (complex(line.r0, line.x0) - z1) / 3
        else:
            zn = z1 if low_voltage else 0j
        return z1 * base, zn * base
    if isinstance(item.data, TransformerData):
        data = item.data
        r = data.pk / data.s**2
        x = max((data.uk / data.s) ** 2 - r**2, 0.0) ** 0.5
        return complex(r, x) * 3, 0j
    return 0j, 0j


def _phase_share(meter: Meter) -> list[float]:
    phases = meter.phases.replace("N", "") or PHASES
    return [1.0 / len(phases) if phase in phases else 0.0 for phase in PHASES]


@dataclass(frozen=True, slots=True)
class TechnicalLoss:
    """Technical loss of n intervals, Wh; NaN where there is no solution.

    Attributes:
        lines: of lines and of the load part of transformers, by phase, shape (n, 3).
        no_load: of transformers, (n,).
        drop: voltage drop from the infeed to each load in its own phase (mean of its phases), per unit, shape (n, K).
    """

    lines: Floats
    no_load: Floats
    drop: Floats

    @property
    def total(self) -> Floats:
        """Wh, shape (n,)."""
        return np.asarray(self.lines.sum(axis=1) + self.no_load)


def technical_loss(
    model: LossModel,
    power: Floats,
    length: float,
    *,
    reactive: Floats | None = None,
    power_factor: float = POWER_FACTOR,
    form: float = 1.0,
    voltage: npt.ArrayLike = 1.0,
) -> TechnicalLoss:
    """Loss from a power flow on the interval loads (constant power, by phase).

    Args:
        model: of `loss_model`.
        power: W drawn by each load, mean over the interval, shape (n, K); NaN counts as nothing.
        length: of an interval, s.
        reactive: var likewise; None when only energies are known.
        power_factor: of the loads, inductive, then.
        form: form factor I_rms / I_avg within an interval; its square multiplies the loss of lines.
        voltage: at the infeed, part of the nominal one; one number or one for each interval.
    """
    hours = length / 3600.0
    count = len(power)
    lines, drops = np.zeros((count, 3)), np.zeros((count, len(model.terms)))
    rows = max(1, _CHUNK // max(1, 3 * len(model.terms)))
    tangent = np.sqrt(1.0 / power_factor**2 - 1.0)
    feeding = np.broadcast_to(np.asarray(voltage, np.float64), (count,))
    weights = np.divide(model.share, model.share.sum(axis=1, keepdims=True))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        load = np.nan_to_num(power[part]) * (1 + 1j * tangent)
        if reactive is not None:
            load = np.nan_to_num(power[part]) + 1j * np.nan_to_num(reactive[part])
        loss, drop = _flow(model, load[:, :, None] * model.share, feeding[part])
        lines[part] = loss * (form**2 * hours)
        drops[part] = (drop * weights).sum(axis=2)
    no_load = np.where(np.isnan(lines[:, 0]), np.nan, model.no_load * hours)
    return TechnicalLoss(lines, no_load, drops)


def _flow(model: LossModel, load: Complexes, feeding: Floats) -> tuple[Floats, Floats]:
    """(W lost by phase (n, 3), voltage drop (n, K, 3)) of loads in VA, shape (n, K, 3), at an infeed voltage (n,)."""
    behind = model.behind
    source = feeding[:, None, None] * _ROTATION
    voltage = np.broadcast_to(source, load.shape).copy()
    running = np.zeros((load.shape[0], load.shape[1] + 1, 3), complex)
    group = np.zeros((load.shape[0], len(model.z), 3), complex)
    moved = np.full(len(load), np.inf)
    for _ in range(_ITERATIONS):
        with np.errstate(invalid="ignore"):  # cases that have collapsed go on as NaN
            np.cumsum(np.conj(load / voltage), axis=1, out=running[:, 1:])
        group = running[:, model.high] - running[:, model.low]
        fall = model.z[:, None] * group + (model.zn * group.sum(axis=2))[:, :, None]
        new = source - np.einsum("gk,ngp->nkp", behind, fall, optimize=True)
        moved = np.abs(new - voltage).max(axis=(1, 2), initial=0.0)
        lost = ~(np.abs(new) >= _COLLAPSE).all(axis=(1, 2))
        voltage = np.where(lost[:, None, None], np.nan, new)
        if not (moved > _TOLERANCE).any():
            break
    neutral = group.sum(axis=2)
    own = (np.abs(group) ** 2 * model.z.real[:, None]).sum(axis=1)
    shared = (np.abs(neutral) ** 2 * model.zn.real).sum(axis=1) / 3
    loss = own + shared[:, None]
    # What has not settled is infeasible, never a number.
    loss[~(moved <= _TOLERANCE)] = np.nan
    return loss, np.abs(source) - np.abs(voltage)


def term_power(
    terms: Sequence[Term], columns: Mapping[tuple[str, str, bool], int], energy: Floats, length: float
) -> Floats:
    """W that each term draws from the region, shape (n, K), from energies by column (see `balance.Key`)."""
    result = np.zeros((len(energy), len(terms)))
    for at, term in enumerate(terms):
        sign = -term.sign if term.sign else 1
        for supplied in (False, True):
            column = columns.get((term.meter, "", supplied))
            if column is not None:
                result[:, at] += (-sign if supplied else sign) * term.weight * np.nan_to_num(energy[:, column])
    return result * (3600.0 / length)


# ---- transformers and fall-backs ------------------------------------------------------------------------------------


def transformer_loss(data: TransformerData, apparent: npt.ArrayLike, length: float) -> Floats:
    """P0 dt + Pk (S / Sn)2 dt, Wh, of a transformer at mean apparent powers in VA."""
    s = np.asarray(apparent, np.float64)
    return np.asarray((data.p0 + data.pk * (s / data.s) ** 2) * length / 3600.0)


def form_factor(current: npt.ArrayLike) -> float:
    """k_f = I_rms / I_avg of a series of currents (or powers at constant voltage); 1 when nothing flows."""
    values = np.abs(np.asarray(current, np.float64))
    mean = float(values.mean()) if values.size else 0.0
    return float(np.sqrt((values**2).mean()) / mean) if mean > 0 else 1.0


def equivalent_resistance(model: LossModel, nominal: float, weights: npt.ArrayLike) -> float:
    """R of one line at the infeed that loses as much as the region, ohm, when load k draws `weights[k]` of the total.

    Balanced: sum of the groups' r with the square of the share that flows through each.
    """
    share = np.asarray(weights, np.float64)
    share = share / share.sum()
    flows = model.behind @ share
    return float((model.z.real * flows**2).sum() * nominal**2 / 3.0)


def loss_from_average(
    energy: npt.ArrayLike,
    length: float,
    *,
    resistance: float,
    nominal: float,
    kf: float,
    power_factor: float = POWER_FACTOR,
) -> Floats:
    """Fall-back when only energies exist: 3 I_avg2 R k_f2 dt, Wh, with I_avg from the energy of the window (Wh)."""
    hours = length / 3600.0
    current = np.asarray(energy, np.float64) / (np.sqrt(3) * nominal * power_factor * hours)
    return np.asarray(3.0 * current**2 * resistance * kf**2 * hours)


def loss_factor(load_factor: npt.ArrayLike) -> Floats:
    """LsF = 0.3 LF + 0.7 LF2, the classical approximation: mean loss as part of the loss at peak load."""
    lf = np.asarray(load_factor, np.float64)
    return np.asarray(0.3 * lf + 0.7 * lf**2)
