"""One power flow and one state estimation, as they run in the compute process or beside it, and what they report."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.powerflow_loads import LiveLoads, LoadInputs
from twin_gateway.grid.arrays import Floats, Indexes
from twin_gateway.grid.estimation import Estimation, EstimationSettings, estimate
from twin_gateway.grid.flow import PowerFlowResult
from twin_gateway.grid.model import GeneratorData, Grid, LoadData, Measurement, Position
from twin_gateway.grid.powerflow import FlowModel


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the grid at one moment.

    Attributes:
        positions: of switches that are not in their normal position, by address.
        values: measured values by point, in SI units as published.
        meters: W + j var into the equipment by meter (imaginary part NaN where not known); age: s of the oldest.
        scale: part of their nominal power that unmeasured loads are expected to draw.
        settings: of the estimation.
        estimate: estimate the state, too.
    """

    positions: Mapping[str, Position]
    values: Mapping[str, float]
    scale: float
    settings: EstimationSettings
    estimate: bool = True
    meters: Mapping[str, complex] = field(default_factory=dict)
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class StateNumbers:
    """A state in columns, in the order of `GridArrays`; NaN where it is not known, 0 where nothing is energised.

    Attributes:
        voltage: of each node, per unit, mean of its phases; `lowest` is the lowest of them.
        power: VA into each branch at its first terminal.
        current: of each branch, A, mean of its phases.
        loss: VA that stay in each line and transformer.
        loading: of each branch, part of its limit; NaN where it has none.
        drawn: VA drawn by each load, generator and shunt.
        delivered: VA delivered by each source.
    """

    voltage: Floats
    lowest: Floats
    power: npt.NDArray[np.complex128]
    current: Floats
    loss: npt.NDArray[np.complex128]
    loading: Floats
    drawn: npt.NDArray[np.complex128]
    delivered: npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a snapshot.

    Attributes:
        feasible, reason, engine, notes: of the power flow.
        flow: its numbers.
        observable: every fed part has been estimated.
        islands: node, whether observable, what is missing, of each fed part.
        bad: points, measured, estimated and normalised residual of each bad value.
        unused: why a point says nothing, by point.
        objective: sum of squared residuals.
        state: its numbers; None when no part could be estimated.
        energised: of each node.
        loads: how many loads and generators are measured or metered, allocated, and as in the grid model.
    """

    feasible: bool
    reason: str
    engine: str
    notes: tuple[str, ...]
    flow: StateNumbers
    observable: bool
    islands: tuple[tuple[str, bool, str], ...]
    bad: tuple[tuple[tuple[str, ...], float, float, float], ...]
    unused: Mapping[str, str]
    objective: float
    state: StateNumbers | None
    energised: npt.NDArray[np.bool_]
    loads: tuple[int, int, int] = (0, 0, 0)


class UnknownGridError(RuntimeError):
    """The process does not have the grid (any more): it has to be sent again."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    key: str
    model: FlowModel
    measurements: tuple[Measurement, ...]
    inputs: LoadInputs


_loaded: dict[str, _Loaded] = {}
_MOST_LOADED = 2


def compute(key: str, grid: bytes | None, snapshot: Snapshot) -> Report:
    """Compute in a process that keeps the grid, so that it is sent once.

    Args:
        key: of the grid.
        grid: pickled `Grid`; None when the process should have it.
        snapshot: of the moment.

    Raises:
        UnknownGridError: the process does not have it.
        GridError: data of the grid make no sense.
    """
    if grid is not None:
        while len(_loaded) >= _MOST_LOADED:
            _loaded.pop(next(iter(_loaded)))
        whole: Grid = pickle.loads(grid)  # noqa: S301 - our own, from the process that started this one
        model = FlowModel(whole)
        _loaded[key] = _Loaded(key, model, tuple(whole.measurements.values()), LoadInputs(whole, model))
    loaded = _loaded.get(key)
    if loaded is None:
        raise UnknownGridError(key)
    return report(loaded.model, loaded.measurements, loaded.inputs, snapshot)


def report(model: FlowModel, measurements: tuple[Measurement, ...], inputs: LoadInputs, snapshot: Snapshot) -> Report:
    """Power flow with the measured loads, and the estimated state.

    Raises:
        GridError: data of the grid make no sense.
    """
    live = inputs.powers(snapshot.values, snapshot.meters, snapshot.positions)
    loads = live.powers
    flow = model.solve(snapshot.positions, loads, scale=snapshot.scale)
    found: Estimation | None = None
    if snapshot.estimate:
        found = estimate(
            model,
            measurements,
            snapshot.values,
            snapshot.positions,
            loads,
            scale=snapshot.scale,
            settings=snapshot.settings,
        )
    islands: tuple[tuple[str, bool, str], ...] = ()
    bad: tuple[tuple[tuple[str, ...], float, float, float], ...] = ()
    unused: dict[str, str] = {}
    objective, state = float("nan"), None
    if found is not None:
        islands = tuple((island.node, island.observable, island.missing) for island in found.islands)
        bad = tuple((value.points, value.measured, value.estimated, value.residual) for value in found.bad)
        unused, objective = dict(found.unused), found.objective
        state = _numbers(found.state) if found.state.feasible else None
    return Report(
        flow.feasible,
        flow.reason,
        flow.engine,
        (*flow.notes, _told(live, _consumers(model), snapshot.age)),
        _numbers(flow),
        found is not None and found.observable,
        islands,
        bad,
        unused,
        objective,
        state,
        flow.energised,
        (live.measured + live.metered, live.allocated, _consumers(model) - len(loads)),
    )


def _consumers(model: FlowModel) -> int:
    return sum(isinstance(item.data, GeneratorData | LoadData) for item in model.arrays.injections)


def _told(live: LiveLoads, count: int, age: float) -> str:
    text = f"{live.measured + live.metered} of {count} loads and generators are measured"
    if live.metered:
        text += f", {live.metered} of them by meters (the oldest value is {age:.0f} s old)"
    return text + (f", {live.allocated} allocated from measured transformers" if live.allocated else "")


def _numbers(result: PowerFlowResult) -> StateNumbers:
    count = np.maximum((np.abs(result.power_from) > 0).sum(1), 1)
    lowest = np.abs(result.phase_voltage) * (np.sqrt(3) / result.nominal)[:, None]
    return StateNumbers(
        result.voltage,
        np.where(np.isnan(lowest), np.inf, lowest).min(1),
        result.power_from.sum(1),
        result.current_from.sum(1) / count,
        result.loss,
        result.loading,
        result.drawn.sum(1),
        result.delivered.sum(1),
    )


def merged(report_: Report) -> StateNumbers:
    """The estimated state where there is one, elsewhere that of the power flow."""
    flow, state = report_.flow, report_.state
    if state is None:
        return flow
    pairs = [
        np.where(np.isnan(getattr(state, name)), getattr(flow, name), getattr(state, name))
        for name in ("voltage", "lowest", "power", "current", "loss", "loading", "drawn", "delivered")
    ]
    return StateNumbers(*pairs)


def areas_of(addresses: tuple[str, ...]) -> tuple[tuple[str, ...], Indexes]:
    """Areas (levels 1 and 2) of addresses, and the number of the area of each."""
    names = ["/".join(address.split("/", 2)[:2]) for address in addresses]
    known = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return tuple(known), np.array([known[name] for name in names], np.intp)
