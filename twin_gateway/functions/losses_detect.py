"""Looking for abnormal losses: hourly and daily windows of all regions, and the meters that may cause them.

Runs in the compute process. What may be decided from a region whose data are incomplete, whose topology changed or
depends on unknown positions is nothing: such regions are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.losses_detect_phases import by_voltage, neutral_suspicions, phase_key, unbalanced_phases
from twin_gateway.functions.losses_inputs import DAY_S, LossInputs, read_inputs
from twin_gateway.functions.losses_job import (
    LossJob,
    Segment,
    grid_of,
    plan_of,
    rated_energy,
    register_of,
    segments,
    unmetered_energy,
)
from twin_gateway.functions.losses_technical import TechnicalLosses, technical_losses
from twin_gateway.grid.model import Grid, Meter
from twin_gateway.twin.losses import detection
from twin_gateway.twin.losses.balance import USABLE_COMPLETENESS, BalancePlan
from twin_gateway.twin.losses.detection import Method, Suspicion
from twin_gateway.twin.losses.meter_data import Flag
from twin_gateway.twin.losses.regions import Region, RegionKind

Floats = npt.NDArray[np.float64]
_VOLTAGES = (*(f"MMXU1/PhV/phs{phase}" for phase in "ABC"), "MMXN1/Vol")
_LIVE_V = 100.0


@dataclass(slots=True)
class Windows:
    """Longer windows of one region, each (k,).

    Attributes:
        starts: Unix seconds.
        rate: percent of what enters; NaN below the least input.
        loss, ntl: L_s and L_n, Wh; uncertainty, ntl_uncertainty: of them.
        complete: metered share, 0 to 1.
        usable: complete enough, and the region was the same all the time, so that decisions may rest on it.
    """

    kind: RegionKind
    starts: Floats
    rate: Floats
    loss: Floats
    ntl: Floats
    uncertainty: Floats
    ntl_uncertainty: Floats
    complete: Floats
    usable: npt.NDArray[np.bool_]


@dataclass(slots=True)
class Detections:
    """What was found.

    Attributes:
        windows: by region.
        suspicions: largest energy first.
        residuals: (consumers' meters, non-technical loss of each interval in Wh) of the regions that could be judged,
            for `suspect_meters`.
    """

    windows: dict[str, Windows] = field(default_factory=dict)
    suspicions: list[Suspicion] = field(default_factory=list)
    residuals: dict[str, tuple[tuple[str, ...], Floats]] = field(default_factory=dict)


def _whole(
    job: LossJob, reader: IntervalReader, model: tuple[Grid, dict[str, Meter]]
) -> tuple[LossInputs, Segment, BalancePlan, TechnicalLosses, frozenset[str]]:
    """Inputs of a window, balanced in the state of its end; keys of the regions that were another before."""
    grid, meters = model
    inputs = read_inputs(reader, meters, job.start, job.stop, job.settings)
    parts = segments(reader, grid, meters, inputs.ends, job.settings)
    last = Segment(0, len(inputs.ends), parts[-1].regions, parts[-1].positions)
    plan = plan_of(last.regions, meters, inputs, job)
    unsteady = frozenset(
        key
        for key, region in last.regions.items()
        for part in parts
        if (other := part.regions.get(key)) is None
        or other.changed
        or other.uncertain
        or other.shape() != region.shape()
    )
    rows = slice(0, len(inputs.ends))
    technical = technical_losses(job.settings, model, last.positions, inputs, plan, rows=rows, reader=reader)
    return inputs, last, plan, technical, unsteady


def window_losses(job: LossJob, length: float) -> Detections:
    """Balances of windows of `length` s (hours, days) of all regions; the job's window holds a whole number of them."""
    with closing(IntervalReader(job.store)) as reader:
        model = grid_of(job.grid)
        inputs, _, plan, technical, unsteady = _whole(job, reader, model)
    windows = _windows(job, model[0], length, inputs=inputs, plan=plan, technical=technical.loss, unsteady=unsteady)
    return Detections(windows)


def _windows(
    job: LossJob,
    grid: Grid,
    length: float,
    *,
    inputs: LossInputs,
    plan: BalancePlan,
    technical: Mapping[str, Floats],
    unsteady: frozenset[str],
) -> dict[str, Windows]:
    rows = round(length / inputs.length)
    count = len(inputs.ends) // rows

    def added(values: npt.NDArray[np.generic]) -> Floats:
        return np.asarray(np.asarray(values[: count * rows], float).reshape(count, rows, -1).sum(axis=1))

    doubtful = np.uint8(Flag.ESTIMATED | Flag.MISSING)
    energy = np.where(np.isnan(inputs.energy), 0.0, inputs.energy)
    holes = added(np.isnan(inputs.energy)) > 0
    unmetered = unmetered_energy(job.settings, plan.regions, inputs.ends, inputs.length)
    flags = np.where(added(inputs.flags & doubtful != 0) > 0, np.uint8(Flag.ESTIMATED), np.uint8(0))
    total = added(energy)
    total[holes] = np.nan
    balances = plan.balance(
        total,
        length,
        flags=flags.astype(np.uint8),
        unmetered=None if unmetered is None else added(unmetered),
        weight=inputs.usual,
    )
    starts = inputs.ends[0] - inputs.length + np.arange(count) * length
    found = {}
    for at, region in enumerate(plan.regions):
        tec = added(technical[region.key])[:, 0] if region.key in technical else np.full(count, np.nan)
        u = balances.uncertainty[:, at]
        loss, complete = balances.loss[:, at], balances.complete[:, at]
        least = rated_energy(grid, region, length) * job.settings.least_input
        rate = balances.rate(np.full(len(plan.regions), least))[:, at]
        usable = (complete >= USABLE_COMPLETENESS) & (region.key not in unsteady) & ~region.uncertain
        found[region.key] = Windows(
            region.kind,
            starts,
            rate,
            loss,
            loss - tec,
            u,
            np.hypot(u, job.settings.technical_uncertainty * tec),
            complete,
            np.asarray(usable, bool),
        )
    return found


def find_suspicions(job: LossJob) -> Detections:
    """Daily windows of the job's window, and the quick methods that look for meters (see `suspect_meters`)."""
    with closing(IntervalReader(job.store)) as reader:
        model = grid_of(job.grid)
        inputs, state, plan, found, unsteady = _whole(job, reader, model)
        technical = found.loss
        days = _windows(job, model[0], DAY_S, inputs=inputs, plan=plan, technical=technical, unsteady=unsteady)
        suspicions: list[Suspicion] = []
        residuals: dict[str, Floats] = {}
        for at, region in enumerate(plan.regions):
            window = days[region.key]
            steady = region.key not in unsteady and not region.uncertain and region.cells == (region.key,)
            if not steady or not region.members or region.key not in technical:
                continue
            if np.nanmean(window.complete) < USABLE_COMPLETENESS:
                continue
            loss = _loss(plan, inputs, at) - technical[region.key]
            residuals[region.key] = loss
            suspicions += _silent(job, region, inputs, reader)
            suspicions += neutral_suspicions(job, region, reader)
            if region.kind is RegionKind.LV_AREA:
                suspicions += _by_phase(job, region, inputs, reader, (model, state, plan, technical, days))
        suspicions += _memberships(job, state.regions, residuals, inputs)
    suspicions.sort(key=lambda suspicion: -suspicion.kwh_per_day)
    members = {key: tuple(_consumption(state.regions[key], inputs)[0]) for key in residuals}
    return Detections(days, suspicions, {key: (members[key], loss) for key, loss in residuals.items()})


def suspect_meters(job: LossJob, key: str, members: tuple[str, ...], residual: Floats) -> list[Suspicion]:
    """Meters of one region that may record too little, by regression: seconds of work for a hundred meters.

    Args:
        job: as of `find_suspicions`.
        key: of the region.
        members: its consumers' meters.
        residual: non-technical loss of each interval, Wh.
    """
    with closing(IntervalReader(job.store)) as reader:
        _, meters = grid_of(job.grid)
        inputs = read_inputs(reader, {meter: meters[meter] for meter in members}, job.start, job.stop, job.settings)
    addresses = [meter for meter in members if (meter, "", False) in inputs.columns]
    energy = inputs.energy[:, [inputs.columns[meter, "", False] for meter in addresses]]
    found = detection.regression(residual, energy)
    return detection.regression_suspicions(found, addresses, energy, region=key, start=job.start, end=job.stop)


def _by_phase(
    job: LossJob,
    region: Region,
    inputs: LossInputs,
    reader: IntervalReader,
    whole: tuple[tuple[Grid, dict[str, Meter]], Segment, BalancePlan, Mapping[str, Floats], Mapping[str, Windows]],
) -> list[Suspicion]:
    """What the phases of a low-voltage area say, where its boundary is metered by phase."""
    model, state, plan, technical, days = whole
    sums: dict[str, tuple[float, float]] = {}
    residuals: dict[str, Floats] = {}
    for at, part in enumerate(plan.regions):
        if part.kind is RegionKind.PHASE and part.cells == (region.key,) and part.key in technical:
            window = days[part.key]
            # Errors of meters are the same every day: uncertainties add up.
            sums[part.key] = (float(np.nansum(window.ntl)), float(np.nansum(window.ntl_uncertainty)))
            if np.isfinite(window.ntl).any():
                residuals[part.key] = _loss(plan, inputs, at) - technical[part.key]
    k = job.settings.coverage
    over = [at for at in range(3) if phase_key(region, at) in residuals]
    over = [at for at in over if sums[phase_key(region, at)][0] > k * sums[phase_key(region, at)][1]]
    return unbalanced_phases(job, region, sums if len(residuals) == 3 else {}) + by_voltage(
        job, region, inputs, reader, model=model, positions=state.positions, residuals=residuals, suspected=over
    )


def _loss(plan: BalancePlan, inputs: LossInputs, at: int) -> Floats:
    """L_s of one region, (n,); NaN where one of its meters is missing or estimated."""
    columns = [column for _, _, column in plan.columns_of(at)]
    result = plan.balance(np.nan_to_num(inputs.energy), inputs.length).loss[:, at]
    bad = (inputs.flags[:, columns] & np.uint8(Flag.ESTIMATED | Flag.MISSING) != 0).any(axis=1)
    return np.where(bad, np.nan, result)


def _consumption(region: Region, inputs: LossInputs) -> tuple[list[str], Floats]:
    """Members with a consumption of their own and their energies, (n, m)."""
    pairs = [
        (t.meter, inputs.columns[t.meter, "", False]) for t in region.members if (t.meter, "", False) in inputs.columns
    ]
    return [meter for meter, _ in pairs], inputs.energy[:, [column for _, column in pairs]]


def _silent(job: LossJob, region: Region, inputs: LossInputs, reader: IntervalReader) -> list[Suspicion]:
    """Meters that record nothing for a day while voltage is there."""
    addresses, energy = _consumption(region, inputs)
    if not addresses:
        return []
    columns = [inputs.columns[meter, "", False] for meter in addresses]
    usual = inputs.usual[columns]
    rows = round(DAY_S / inputs.length)
    quiet = [
        at for at in range(len(addresses)) if usual[at] > 0 and not np.nan_to_num(energy[-rows:, at], nan=1.0).any()
    ]
    if not quiet or len(energy) < rows:
        return []
    names = [f"{addresses[at]}/{name}" for at in quiet for name in _VOLTAGES]
    volts = reader.read(names, float(inputs.ends[0]), float(inputs.ends[-1]))
    live = np.asarray((volts.valid & (volts.values > _LIVE_V)).reshape(len(inputs.ends), len(quiet), -1).any(axis=2))
    dead = detection.zero_energy(energy[:, quiet], live, usual[quiet], inputs.length)
    kwh = usual * DAY_S / inputs.length / 1000.0
    return [
        Suspicion(Method.ZERO, addresses[at], region.key, 0.9, job.stop - DAY_S, job.stop, float(kwh[at]))
        for at, suspected in zip(quiet, dead.tolist(), strict=True)
        if suspected
    ]


def _memberships(
    job: LossJob, found: Mapping[str, Region], residuals: Mapping[str, Floats], inputs: LossInputs
) -> list[Suspicion]:
    """Meters that fit better into another low-voltage area: only where one misses what the other has too much."""
    areas = [key for key in residuals if found[key].kind is RegionKind.LV_AREA]
    mean = {key: float(np.nanmean(residuals[key])) for key in areas if np.isfinite(residuals[key]).any()}
    result = []
    for here, surplus in mean.items():
        if surplus >= 0:
            continue
        addresses, energy = _consumption(found[here], inputs)
        best: dict[int, tuple[float, str]] = {}
        for there, missing in mean.items():
            if missing <= 0:
                continue
            scores = detection.membership_test(residuals[here], residuals[there], energy)
            for at in np.nonzero(scores > 0.3)[0].tolist():
                best[at] = max(best.get(at, (0.0, "")), (float(scores[at]), there))
        days = (job.stop - job.start) / DAY_S
        result += [
            Suspicion(
                Method.MEMBERSHIP,
                addresses[at],
                there,
                score,
                job.start,
                job.stop,
                float(np.nansum(energy[:, at]) / 1000.0 / days),
            )
            for at, (score, there) in best.items()
        ]
    return result


@dataclass(slots=True)
class Explanation:
    """All terms of the balance of one region and interval, as parallel lists.

    Attributes:
        sides: `import`, `export`, `consumption`, `feedIn`, `unmetered`, `technical` of each term.
        energies: Wh; NaN where missing. uncertainties: Wh.
        words: quality words; estimated: whether the energy is an estimate.
        reactive: number of loads by `Basis` of the reactive power that the technical loss rests on.
    """

    addresses: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    uncertainties: list[float] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    estimated: list[bool] = field(default_factory=list)
    loss: float = float("nan")
    reactive: tuple[int, ...] = ()

    def add(self, address: str, side: str, energy: float, uncertainty: float, *, word: int, estimated: bool) -> None:
        """One more term."""
        self.addresses.append(address)
        self.sides.append(side)
        self.energies.append(energy)
        self.uncertainties.append(uncertainty)
        self.words.append(word)
        self.estimated.append(estimated)


def explain(job: LossJob, key: str) -> Explanation | None:
    """The terms of a region in the one interval of the job; None when there is no such region then."""
    with closing(IntervalReader(job.store)) as reader:
        model = grid_of(job.grid)
        inputs, _, plan, technical, _ = _whole(job, reader, model)
    at = next((index for index, region in enumerate(plan.regions) if region.key == key), None)
    if at is None:
        return None
    result = Explanation()
    spread = np.sqrt(plan.variance(inputs.length))
    for term, supplied, column in plan.columns_of(at):
        energy = float(inputs.energy[0, column]) * term.weight
        into = (term.sign > 0) != supplied if term.sign else supplied
        side = ("import" if into else "export") if term.sign else ("feedIn" if into else "consumption")
        result.add(
            term.meter,
            side,
            energy,
            abs(energy) * float(spread[column]),
            word=int(inputs.quality[0, register_of(inputs, column)]),
            estimated=bool(inputs.flags[0, column] & np.uint8(Flag.ESTIMATED)),
        )
    unmetered = unmetered_energy(job.settings, plan.regions, inputs.ends, inputs.length)
    if unmetered is not None and unmetered[0, at]:
        result.add(key, "unmetered", float(unmetered[0, at]), 0.0, word=0, estimated=True)
    if key in technical.loss:
        loss = float(technical.loss[key][0])
        result.reactive = tuple(technical.reactive[key][0].tolist()) if key in technical.reactive else ()
        result.add(key, "technical", loss, loss * job.settings.technical_uncertainty, word=0, estimated=True)
    balances = plan.balance(inputs.energy, inputs.length, unmetered=unmetered, weight=inputs.usual)
    result.loss = float(balances.loss[0, at])
    return result
