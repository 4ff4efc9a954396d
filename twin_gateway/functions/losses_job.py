"""Balances of all regions of a grid over a window: what the loss function lets its compute process do.

Every function here is a module-level one that takes and gives picklable records. The grid comes by its file, which
the process reads once.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from address_space.quality import Quality
from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.losses_inputs import LossInputs, read_inputs
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.losses_technical import technical_losses
from twin_gateway.grid.model import Grid, LoadData, Meter, Position, TransformerData
from twin_gateway.twin.losses.balance import (
    GOOD_COMPLETENESS,
    USABLE_COMPLETENESS,
    BalancePlan,
    Balances,
)
from twin_gateway.twin.losses.meter_data import MeterEvent
from twin_gateway.twin.losses.regions import Region, RegionKind, meters_of, regions, regions_over

Floats = npt.NDArray[np.float64]
UNKNOWN, OK, PROVISIONAL, INCOMPLETE, TOPOLOGY_CHANGED, INVALID = range(6)
"""LossStateKind."""


@dataclass(frozen=True, slots=True)
class LossJob:
    """What to balance.

    Attributes:
        store: file of the interval store.
        grid: file of the pickled grid, of `write_grid`.
        start, stop: Unix seconds, whole intervals.
        clocks: known clock errors of meters, s.
    """

    store: Path
    grid: Path
    start: float
    stop: float
    settings: LossSettings
    clocks: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class RegionSeries:
    """Results of one region over n intervals; energies in Wh, (n,).

    Attributes:
        technical: NaN where it cannot be computed.
        complete, estimated: shares 0 to 1.
        state: `LossStateKind` numbers, without `provisional` (that is a matter of the present time).
        quality: quality words.
    """

    key: str
    kind: RegionKind
    loss: Floats
    technical: Floats
    uncertainty: Floats
    imported: Floats
    exported: Floats
    consumed: Floats
    fed_in: Floats
    unmetered: Floats
    complete: Floats
    estimated: Floats
    state: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint32]
    least: float = 0.0

    @property
    def entering(self) -> Floats:
        """E_in, Wh."""
        return self.imported + self.fed_in

    @property
    def rate(self) -> Floats:
        """Percent of E_in; NaN below the least input."""
        entering = self.entering
        unknown = np.full(len(entering), np.nan)
        good = entering > max(self.least, 1e-9)
        return np.asarray(np.divide(100.0 * self.loss, entering, out=unknown, where=good))

    @property
    def non_technical(self) -> Floats:
        """L_n = L_s - L_t, Wh."""
        return self.loss - self.technical


@dataclass(slots=True)
class LossResult:
    """Results of a window.

    Attributes:
        ends: Unix seconds, (n,).
        last: last reading of each meter; silent: members of each region whose last reading is long ago.
    """

    ends: Floats
    length: float
    series: dict[str, RegionSeries]
    events: list[tuple[str, float, MeterEvent]]
    last: dict[str, float]
    members: dict[str, tuple[str, ...]]


def write_grid(grid: Grid, path: Path) -> None:
    """Put the grid where the compute process finds it."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(pickle.dumps(grid, protocol=pickle.HIGHEST_PROTOCOL))
    fresh.replace(path)


@lru_cache(maxsize=1)
def _grid(path: Path, changed: int) -> tuple[Grid, dict[str, Meter]]:
    # The file is our own, in the private directory of the service, and `changed` makes a new one be read.
    grid: Grid = pickle.loads(path.read_bytes())  # noqa: S301
    return grid, meters_of(grid)


def grid_of(path: Path) -> tuple[Grid, dict[str, Meter]]:
    """The grid of `write_grid` and its meters; read once and again when the file has changed."""
    return _grid(path, path.stat().st_mtime_ns)


@dataclass(slots=True)
class Segment:
    """Intervals of one switching state: rows `begin` to `end`, its regions, and the positions of the switches."""

    begin: int
    end: int
    regions: dict[str, Region]
    positions: dict[str, Position]


def segments(
    reader: IntervalReader, grid: Grid, meters: Mapping[str, Meter], ends: Floats, settings: LossSettings
) -> list[Segment]:
    """The switching states of a window: one segment where nothing moved, single intervals where something did."""
    if not len(ends):
        return []
    start, length = float(ends[0]) - reader.length, reader.length
    history = reader.positions(start, float(ends[-1]))
    state = {switch: Position(position) for moment, switch, position in history if moment <= start}
    moves: dict[int, list[tuple[float, str, int]]] = {}
    known = dict(state)
    for moment, switch, position in history:
        if moment > start and known.get(switch) != position:
            moves.setdefault(int((moment - start) // length), []).append((moment, switch, position))
            known[switch] = Position(position)
    found: list[Segment] = []
    begin = 0
    for row in [*sorted(moves), len(ends)]:
        if row > begin:
            found.append(Segment(begin, row, regions(grid, state, meters), dict(state)))
        if row < len(ends):
            held = [(float(ends[row]) - length, switch, int(position)) for switch, position in state.items()]
            state.update({switch: Position(position) for _, switch, position in moves[row]})
            over = regions_over(
                grid,
                [*held, *moves[row]],
                float(ends[row]) - length,
                float(ends[row]),
                meters=meters,
                split=settings.split,
            )
            found.append(Segment(row, row + 1, over, dict(state)))
        begin = row + 1
    return found


def balance_window(job: LossJob) -> LossResult:
    """Balances of every region and interval of a window."""
    with closing(IntervalReader(job.store)) as reader:
        grid, meters = grid_of(job.grid)
        inputs = read_inputs(reader, meters, job.start, job.stop, job.settings)
        series: dict[str, RegionSeries] = {}
        members: dict[str, tuple[str, ...]] = {}
        for segment in segments(reader, grid, meters, inputs.ends, job.settings):
            _balance_segment(job, (grid, meters), inputs, segment, series, reader=reader)
            members.update({key: tuple(term.meter for term in r.members) for key, r in segment.regions.items()})
    return LossResult(inputs.ends, inputs.length, series, inputs.events, inputs.last, members)


def plan_of(found: Mapping[str, Region], meters: Mapping[str, Meter], inputs: LossInputs, job: LossJob) -> BalancePlan:
    """The balance plan of a switching state over the columns of the inputs."""
    clocks = {meter: abs(job.clocks.get(meter, job.settings.unknown_clock)) for meter, _, _ in inputs.columns}
    return BalancePlan(list(found.values()), meters, inputs.columns, sigma_clock=clocks)


def _balance_segment(
    job: LossJob,
    model: tuple[Grid, dict[str, Meter]],
    inputs: LossInputs,
    segment: Segment,
    series: dict[str, RegionSeries],
    *,
    reader: IntervalReader,
) -> None:
    grid, meters = model
    plan = plan_of(segment.regions, meters, inputs, job)
    rows = slice(segment.begin, segment.end)
    unmetered = unmetered_energy(job.settings, plan.regions, inputs.ends[rows], inputs.length)
    balances = plan.balance(
        inputs.energy[rows], inputs.length, flags=inputs.flags[rows], unmetered=unmetered, weight=inputs.usual
    )
    technical = technical_losses(job.settings, model, segment.positions, inputs, plan, rows=rows, reader=reader).loss
    quality = _qualities(plan, inputs, rows)
    for at, region in enumerate(plan.regions):
        whole = series.get(region.key)
        if whole is None:
            whole = series[region.key] = _empty(region, len(inputs.ends), rated_energy(grid, region, inputs.length))
            whole.least *= job.settings.least_input
        _put(whole, rows, balances, at, quality=quality[:, at])
        whole.technical[rows] = technical.get(region.key, np.full(segment.end - segment.begin, np.nan))


def _empty(region: Region, count: int, rated: float) -> RegionSeries:
    def column() -> Floats:
        return np.full(count, np.nan)

    return RegionSeries(
        region.key,
        region.kind,
        column(),
        column(),
        column(),
        column(),
        column(),
        column(),
        column(),
        column(),
        np.zeros(count),
        np.zeros(count),
        np.full(count, INVALID, np.int32),
        np.full(count, int(Quality.INVALID), np.uint32),
        rated,
    )


def _put(whole: RegionSeries, rows: slice, balances: Balances, at: int, *, quality: npt.NDArray[np.uint32]) -> None:
    region = balances.regions[at]
    whole.loss[rows], whole.uncertainty[rows] = balances.loss[:, at], balances.uncertainty[:, at]
    whole.imported[rows], whole.exported[rows] = balances.imported[:, at], balances.exported[:, at]
    whole.consumed[rows], whole.fed_in[rows] = balances.consumed[:, at], balances.fed_in[:, at]
    whole.unmetered[rows] = balances.unmetered[:, at]
    complete = balances.complete[:, at]
    whole.complete[rows], whole.estimated[rows] = complete, balances.estimated[:, at]
    state = np.where(complete < USABLE_COMPLETENESS, INCOMPLETE, TOPOLOGY_CHANGED if region.changed else OK)
    whole.state[rows] = np.where(np.isnan(balances.loss[:, at]), INVALID, state)
    words = quality | np.where(balances.estimated[:, at] > 0, np.uint32(Quality.ESTIMATED), np.uint32(0))
    partial = np.uint32(Quality.PARTIAL)
    uncertain = (complete < GOOD_COMPLETENESS) | region.uncertain | region.changed
    bad = (complete < USABLE_COMPLETENESS) | np.isnan(balances.loss[:, at])
    words = np.where(complete < GOOD_COMPLETENESS, words | partial, words)
    words = np.where(bad, words & ~np.uint32(3) | np.uint32(Quality.INVALID), words)
    questionable = uncertain & ~bad
    whole.quality[rows] = np.where(questionable, words | np.uint32(Quality.QUESTIONABLE), words)


def _qualities(plan: BalancePlan, inputs: LossInputs, rows: slice) -> npt.NDArray[np.uint32]:
    """Worst quality of the readings of each region, (n, regions); only marked columns are looked at."""
    words = inputs.quality[rows]
    result = np.zeros((len(words), len(plan.regions)), np.uint32)
    marked = np.asarray(words.any(axis=0))
    if marked.any():
        for at in range(len(plan.regions)):
            columns = [column for _, _, column in plan.columns_of(at) if marked[register_of(inputs, column)]]
            if columns:
                result[:, at] = np.bitwise_or.reduce(words[:, [register_of(inputs, c) for c in columns]], axis=1)
    return result


def register_of(inputs: LossInputs, column: int) -> int:
    """Column of the qualities: powers have one for both directions."""
    width = inputs.quality.shape[1]
    return column if column < width else column - (len(inputs.columns) - width)


def unmetered_energy(settings: LossSettings, found: tuple[Region, ...], ends: Floats, length: float) -> Floats | None:
    """E_u of each region, Wh, (n, regions); None when nothing unmetered is known."""
    if not settings.unmetered:
        return None
    hours = (((ends - length / 2) % 86_400.0) // 3600.0).astype(int)
    result = np.zeros((len(ends), len(found)))
    for at, region in enumerate(found):
        for load in region.unmetered:
            known = settings.unmetered.get(load)
            if known is not None:
                result[:, at] += known.power * np.asarray(known.hours)[hours] * length / 3600.0
    return result


def rated_energy(grid: Grid, region: Region, length: float) -> float:
    """Wh that can enter in an interval: what feeds a low-voltage area, else the transformers and loads inside."""
    inside = [grid.equipment[address] for address in region.equipment]
    if region.kind in (RegionKind.LV_AREA, RegionKind.PHASE):
        inside += [grid.equipment[grid.meters[t.meter].equipment] for t in region.boundary if t.meter in grid.meters]
    power = sum(item.data.s for item in inside if isinstance(item.data, TransformerData))
    if not power:
        loads = [grid.equipment[address].data for address in region.unmetered]
        power = sum(load.p for load in loads if isinstance(load, LoadData))
    return power / (3.0 if region.phase else 1.0) * length / 3600.0


def totals_of(series: RegionSeries) -> dict[str, float]:
    """Sums of a window; a window has no loss when one of its intervals has none."""
    entering, loss = float(series.entering.sum()), float(series.loss.sum())
    technical = float(series.technical.sum())
    # Errors of meters are the same in all intervals: uncertainties add up, and do not average out.
    uncertainty = float(series.uncertainty.sum())
    rated = series.least * len(series.loss)
    return {
        "losWh": loss,
        "losPct": 100.0 * loss / entering if entering > max(rated, 1e-9) else math.nan,
        "tecWh": technical,
        "ntlWh": loss - technical,
        "uncWh": uncertainty,
        "inWh": entering,
        "outWh": float(series.exported.sum()),
        "cnsWh": float(series.consumed.sum()),
        "derWh": float(series.fed_in.sum()),
        "unmWh": float(series.unmetered.sum()),
        "estPct": 100.0 * float(series.estimated.mean()),
        "cmpl": 100.0 * float(series.complete.mean()),
    }
