"""Low-voltage areas that answer as real ones do: exact unbalanced flows, and meters with all their faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.data import AreaData

F64 = NDArray[np.float64]
C64 = NDArray[np.complex64]
Ints = NDArray[np.int64]
NOMINAL = 230.0
_ROTATION = np.exp(-2j * np.pi / 3 * np.arange(3))
_TRANSFORMER_Z = 0.0035 + 0.0105j
"""ohm, a 400 V winding of about 600 kVA."""

Loads = Callable[[np.random.Generator, int, int], F64]
"""(rng, customers, days) -> W per customer and sample, single-phase."""


@dataclass(frozen=True)
class LvFeeder:
    """A radial low-voltage feeder as its customers see it.

    Attributes:
        phase: of every customer, 0 to 2.
        z1, z0: positive and zero sequence impedance of the path that customers i and j share, ohm, shape (n, n).
    """

    phase: Ints
    z1: NDArray[np.complex128]
    z0: NDArray[np.complex128]


def feeder_of(
    parent: Sequence[int], z1: Sequence[complex], z0: Sequence[complex], buses: Sequence[int], phase: Sequence[int]
) -> LvFeeder:
    """A feeder from a tree: bus b hangs on bus `parent[b]` by impedances `z1[b]`, `z0[b]`; bus 0 is the busbar."""
    paths = np.zeros((len(buses), len(parent)))
    for row, bus in enumerate(buses):
        at = bus
        while at:
            paths[row, at] = 1.0
            at = parent[at]
    return LvFeeder(np.asarray(phase, np.int64), (paths * np.asarray(z1)) @ paths.T, (paths * np.asarray(z0)) @ paths.T)


def synthetic_feeder(rng: np.random.Generator, customers: int) -> LvFeeder:
    """Three cables from the busbar, with side branches and a service cable to every customer."""
    parent, z1, z0 = [0], [0j], [0j]

    def bus(up: int, metres: float, r1: float, x1: float, r0: float) -> int:
        parent.append(up)
        z1.append((r1 + 1j * x1) * metres / 1000)
        z0.append((r0 + 1j * x1 * 1.15) * metres / 1000)
        return len(parent) - 1

    joints: list[int] = []
    for _ in range(3):
        at = 0
        for _ in range(max(2, customers // 9)):
            at = bus(at, rng.uniform(12, 35), 0.208, 0.07, 0.72)
            joints.append(at)
            if rng.random() < 0.25:
                joints.append(bus(at, rng.uniform(15, 50), 0.446, 0.071, 1.5))
    ends = [bus(int(rng.choice(joints)), rng.uniform(6, 20), 1.15, 0.088, 2.4) for _ in range(customers)]
    return feeder_of(parent, z1, z0, ends, rng.permutation(np.arange(customers) % 3).tolist())


def synthetic_loads(minutes: int) -> Loads:
    """Households: a base load, a refrigerator, and appliances that are switched on with the habits of the day."""

    def make(rng: np.random.Generator, customers: int, days: int) -> F64:
        length = 1440 // minutes
        hours = np.arange(1440) / 60
        habit = 0.25 + np.exp(-(((hours - 7.5) / 1.6) ** 2)) + 1.8 * np.exp(-(((hours - 19) / 2.6) ** 2))
        habit /= habit.sum()
        power = np.zeros((customers, days * length + 1))
        for row in range(customers):
            count = rng.poisson(rng.uniform(9, 26) * days)
            day = rng.integers(0, days, count)
            start = day * length + rng.choice(1440, count, p=habit) // minutes
            stop = np.minimum(start + np.ceil(rng.lognormal(2.9, 0.9, count) / minutes).astype(int), days * length)
            watts = rng.choice([60.0, 150.0, 400.0, 900.0, 2000.0, 2800.0], count, p=[0.3, 0.2, 0.2, 0.12, 0.12, 0.06])
            watts *= rng.uniform(0.8, 1.2, count)
            np.add.at(power[row], start, watts)
            np.add.at(power[row], stop, -watts)
        power = np.cumsum(power, axis=1)[:, :-1]
        cycle = rng.uniform(40, 80, customers)[:, None]
        moment = np.arange(days * length) * minutes
        fridge = (moment / cycle + rng.uniform(0, 1, customers)[:, None]) % 1 < 0.35
        return np.asarray(power + rng.uniform(40, 130, customers)[:, None] + 90 * fridge)

    return make


@dataclass(frozen=True)
class Case:
    """What a case of identification is made of.

    Attributes:
        areas, customers: number of measured transformers, and single-phase customers of each.
        days: length; `step_min`: interval of the meters, `sample_min`: of the simulation.
        volt_class: of meters and transformer monitor, percent: a gain error and white noise, each of a third of it.
        power_class: of the meters, percent, the same way; the transformer monitor's is `monitor_class`.
        missing: share of customers whose meters deliver nothing (their load is there all the same).
        gaps: share of the intervals that the others lose.
        skew_s: standard deviation of the clocks of meters and monitors, seconds.
        pv: share of customers with a photovoltaic plant.
        three_phase: share of customers that have three phases.
        swapped: share of meters whose serial number stands at another customer's.
        wrong: share of records that are wrong.
        outside: meters that hang on a transformer that nobody measures.
        split_power: three-phase meters tell their power by phase.
        monitor_voltage: the transformer monitors tell voltages.
    """

    areas: int = 5
    customers: int = 55
    days: int = 14
    step_min: int = 15
    sample_min: int = 5
    volt_class: float = 0.5
    power_class: float = 1.0
    monitor_class: float = 0.5
    missing: float = 0.1
    gaps: float = 0.03
    skew_s: float = 30.0
    pv: float = 0.2
    three_phase: float = 0.1
    swapped: float = 0.01
    wrong: float = 0.05
    outside: int = 14
    split_power: bool = True
    monitor_voltage: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Truth:
    """What is so, per meter of the data.

    Attributes:
        transformer: index, -1 for one that is not in the data.
        phases: letters in the order of the meter's terminals.
        recorded_transformer, recorded_phases: the records, some of them wrong.
        path: real part of the shared path impedance of the channels, phase self, ohm (0 between areas).
    """

    transformer: Ints
    phases: tuple[str, ...]
    recorded_transformer: Ints
    recorded_phases: tuple[str, ...]
    path: F64


def simulate(
    case: Case, feeder: Callable[[np.random.Generator, int], LvFeeder] = synthetic_feeder, loads: Loads | None = None
) -> tuple[AreaData, Truth]:
    """The data that meters and transformer monitors deliver, and the truth behind them."""
    rng = np.random.default_rng(case.seed)
    loads = loads or synthetic_loads(case.sample_min)
    samples = case.days * 1440 // case.sample_min
    medium = _medium_voltage(rng, samples)
    sun = _sun(rng, case)
    parts = [
        _area(rng, case, feeder=feeder(rng, case.customers), loads=loads, medium=medium, sun=sun)
        for _ in range(case.areas + (case.outside > 0))
    ]
    return _measure(rng, case, parts)


@dataclass
class _Area:
    """One simulated area: channels (rows) by samples."""

    meter: Ints
    terminal: Ints
    phase: Ints
    v: F64
    p: F64
    vt: F64
    pt: F64
    path: F64


def _medium_voltage(rng: np.random.Generator, samples: int) -> F64:
    """Phase voltages that all transformers share, V on the low side: a slow walk, tap steps, unbalance."""
    walk = np.cumsum(rng.normal(0, 1, samples))
    walk = walk - np.linspace(0, walk[-1], samples)
    slow = 1.6 * walk / max(walk.std(), 1e-9)
    steps = np.cumsum(rng.choice([0.0, 2.3, -2.3], samples, p=[0.997, 0.0015, 0.0015]))
    steps -= np.round((steps + 1.15) / 4.6) * 4.6
    unbalance = np.cumsum(rng.normal(0, 0.03, (3, samples)), axis=1)
    unbalance -= unbalance.mean(0)
    unbalance = 0.5 * unbalance / max(unbalance.std(), 1e-9)
    return np.asarray(NOMINAL * 1.025 + slow + steps + rng.normal(0, 0.25, samples) + unbalance)


def _sun(rng: np.random.Generator, case: Case) -> F64:
    """Share of its peak that a plant yields: clear days and broken clouds."""
    length = 1440 // case.sample_min
    hour = (np.arange(length) + 0.5) * case.sample_min / 60
    clear = np.clip(np.cos((hour - 13) / 7 * np.pi / 2), 0, None) ** 1.3 * (abs(hour - 13) < 7)
    days = []
    for _ in range(case.days):
        cover = rng.choice([0.05, 0.4, 0.8], p=[0.3, 0.4, 0.3])
        cloud = np.repeat(rng.random(length // 4 + 1), 4)[:length] < cover
        days.append(clear * np.where(cloud, rng.uniform(0.15, 0.5), 1.0) * rng.uniform(0.85, 1.0))
    return np.concatenate(days)


def _area(rng: np.random.Generator, case: Case, *, feeder: LvFeeder, loads: Loads, medium: F64, sun: F64) -> _Area:
    customers = case.customers
    power = loads(rng, customers, case.days)
    plants = rng.random(customers) < case.pv
    for row in np.flatnonzero(plants):
        power[row] -= rng.uniform(2000, 5000) * sun * np.clip(rng.normal(1, 0.05, sun.shape), 0, 1.1)
    three = rng.random(customers) < case.three_phase
    width = np.where(three, 3, 1)
    meter = np.repeat(np.arange(customers), width)
    terminal = np.concatenate([np.arange(count) for count in width])
    phase = (feeder.phase[meter] + terminal) % 3
    reversed_ = rng.random(customers) < 0.2
    phase = np.where(reversed_[meter] & (terminal > 0), (feeder.phase[meter] - terminal) % 3, phase)
    parts = power[meter].copy()
    for row in np.flatnonzero(three):
        at = np.flatnonzero(meter == row)
        other = loads(rng, 2, case.days)
        parts[at[1]], parts[at[2]] = other[0], other[1]
    p = parts
    tangent = np.tan(np.arccos(rng.uniform(0.9, 1.0, len(meter))))
    apparent = (p + 1j * np.abs(p) * tangent[:, None]).astype(np.complex64)
    same = phase[:, None] == phase[None, :]
    z1, z0 = feeder.z1[np.ix_(meter, meter)], feeder.z0[np.ix_(meter, meter)]
    impedance = np.where(same, (2 * z1 + z0) / 3 + _TRANSFORMER_Z, (z0 - z1) / 3).astype(np.complex64)
    source = (medium + rng.normal(0, 0.07, medium.shape[1])).astype(np.complex64) * _ROTATION[:, None]
    source = source.astype(np.complex64)
    behind = source[phase]
    volts = behind.copy()
    for _ in range(4):
        volts = behind - impedance @ np.conj(apparent / volts)
    current = np.conj(apparent / volts)
    onto = (phase[None, :] == np.arange(3)[:, None]).astype(np.complex64)
    total = onto @ current
    busbar = source - np.complex64(_TRANSFORMER_Z) * total
    into = (busbar * np.conj(total)).real
    path = np.where(same, ((2 * z1 + z0) / 3).real, 0.0)
    return _Area(
        meter, terminal, phase, np.abs(volts).astype(float), p, np.abs(busbar).astype(float), into.astype(float), path
    )


def _intervals(series: F64, offset: F64, case: Case) -> F64:
    """Means over the intervals of clocks that are off by `offset` seconds (rows)."""
    samples = series.shape[1]
    total = np.concatenate([np.zeros((len(series), 1)), np.cumsum(series, axis=1)], axis=1)
    count = samples * case.sample_min // case.step_min
    edges = np.arange(count + 1) * (case.step_min / case.sample_min)
    out = np.empty((len(series), count))
    for row in range(len(series)):
        at = np.clip(edges + offset[row] / 60 / case.sample_min, 0, samples)
        out[row] = np.diff(np.interp(at, np.arange(samples + 1), total[row]))
    return out * (case.sample_min / case.step_min)


def _with_errors(rng: np.random.Generator, series: F64, percent: float) -> F64:
    sigma = percent / 300
    return np.asarray(series * (1 + rng.normal(0, sigma, (len(series), 1))) * (1 + rng.normal(0, sigma, series.shape)))


def _measure(rng: np.random.Generator, case: Case, parts: Sequence[_Area]) -> tuple[AreaData, Truth]:
    meter = np.concatenate([part.meter + area * case.customers for area, part in enumerate(parts)])
    terminal = np.concatenate([part.terminal for part in parts])
    phase = np.concatenate([part.phase for part in parts])
    customers = case.customers * len(parts)
    keep = rng.random(customers) >= case.missing
    last = case.customers * case.areas
    if case.outside:
        keep[last:] = False
        keep[last + rng.permutation(case.customers)[: case.outside]] = True
    clock = rng.normal(0, case.skew_s, customers)
    v = _intervals(np.concatenate([part.v for part in parts]), clock[meter], case)
    p = _intervals(np.concatenate([part.p for part in parts]), clock[meter], case)
    v = np.round(_with_errors(rng, v, case.volt_class), 1)
    p = np.round(_with_errors(rng, p, case.power_class) / 4) * 4
    lost = rng.random((customers, v.shape[1] // 4 + 1)) < case.gaps
    lost = np.repeat(lost, 4, axis=1)[:, : v.shape[1]][meter]
    v[lost], p[lost] = np.nan, np.nan
    measured = parts[: case.areas]
    monitors = np.repeat(rng.normal(0, case.skew_s, len(measured)), 3)
    vt = _intervals(np.concatenate([part.vt for part in measured]), monitors, case)
    pt = _intervals(np.concatenate([part.pt for part in measured]), monitors, case)
    vt = np.round(_with_errors(rng, vt, case.volt_class), 1)
    if not case.monitor_voltage:
        vt[:] = np.nan
    pt = np.round(_with_errors(rng, pt, case.monitor_class) / 4) * 4
    if not case.split_power:
        p = p.copy()
        for which in np.flatnonzero(np.bincount(meter, minlength=customers) == 3):
            at = np.flatnonzero(meter == which)
            p[at[0]], p[at[1:]] = p[at].sum(0), np.nan

    area_of = np.where(np.arange(customers) < last, np.arange(customers) // case.customers, -1)
    letters = np.array([""] * customers, dtype="<U3")
    for row in range(len(meter)):
        letters[meter[row]] += "ABC"[phase[row]]
    records_area, records_phase = area_of.copy(), letters.copy()
    inside = np.flatnonzero(keep & (area_of >= 0))
    for which in inside[rng.random(len(inside)) < case.wrong]:
        if rng.random() < 0.5 and case.areas > 1:
            records_area[which] = (records_area[which] + rng.integers(1, case.areas)) % case.areas
        elif len(letters[which]) == 1:
            records_phase[which] = "ABC"[("ABC".index(letters[which]) + int(rng.integers(1, 3))) % 3]
        else:
            records_phase[which] = "A"
    records_area[keep & (area_of < 0)] = rng.integers(0, case.areas)
    single = inside[[len(letters[which]) == 1 for which in inside]]
    pairs = rng.permutation(single)[: 2 * max(0, round(case.swapped * len(inside) / 2))].reshape(-1, 2)
    for left, right in pairs:  # what stands on record at one is what is so at the other
        records_area[[left, right]] = records_area[[right, left]]
        records_phase[[left, right]] = records_phase[[right, left]]

    kept = np.flatnonzero(keep)
    rows = keep[meter]
    index = np.full(customers, -1)
    index[kept] = np.arange(len(kept))
    path = np.zeros((len(meter), len(meter)))
    first = 0
    for part in parts:
        here = slice(first, first + len(part.meter))
        path[here, here] = part.path
        first += len(part.meter)
    data = AreaData(
        start=0.0,
        step=case.step_min * 60.0,
        meters=tuple(f"dso1/north/SP{which:06d}/LV1/_/M1" for which in kept),
        transformers=tuple(f"dso1/north/TS{area:02d}/MV1/T01/TA1" for area in range(case.areas)),
        channel_meter=index[meter[rows]],
        channel_terminal=terminal[rows],
        v=v[rows],
        p=p[rows],
        vt=vt.reshape(case.areas, 3, -1),
        pt=pt.reshape(case.areas, 3, -1),
        power_split=case.split_power | (np.bincount(index[meter[rows]]) == 1),
    )
    truth = Truth(
        area_of[kept],
        tuple(str(letters[which]) for which in kept),
        records_area[kept],
        tuple(str(records_phase[which]) for which in kept),
        path[np.ix_(rows, rows)],
    )
    return data, truth
