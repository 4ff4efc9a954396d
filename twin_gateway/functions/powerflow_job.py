"""One power flow and one state estimation, as they run in the compute process or beside it, and what they report."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.arrays import Floats, Indexes
from twin_gateway.grid.estimation import Estimation, EstimationSettings, estimate
from twin_gateway.grid.flow import PowerFlowResult
from twin_gateway.grid.model import GeneratorData, Grid, LoadData, Measurement, Position, Quantity
from twin_gateway.grid.powerflow import FlowModel


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the grid at one moment.

    Attributes:
        positions: of switches that are not in their normal position, by address.
        values: measured values by point, in SI units as published.
        scale: part of their nominal power that unmeasured loads are expected to draw.
        settings: of the estimation.
        estimate: estimate the state, too.
    """

    positions: Mapping[str, Position]
    values: Mapping[str, float]
    scale: float
    settings: EstimationSettings
    estimate: bool = True


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


class UnknownGridError(RuntimeError):
    """The process does not have the grid (any more): it has to be sent again."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    key: str
    model: FlowModel
    measurements: tuple[Measurement, ...]


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
        _loaded[key] = _Loaded(key, FlowModel(whole), tuple(whole.measurements.values()))
    loaded = _loaded.get(key)
    if loaded is None:
        raise UnknownGridError(key)
    return report(loaded.model, loaded.measurements, snapshot)


def report(model: FlowModel, measurements: tuple[Measurement, ...], snapshot: Snapshot) -> Report:
    """Power flow with the measured loads, and the estimated state.

    Raises:
        GridError: data of the grid make no sense.
    """
    loads = live_loads(model, measurements, snapshot.values)
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
        (*flow.notes, f"{len(loads)} of {_consumers(model)} loads and generators are measured"),
        _numbers(flow),
        found is not None and found.observable,
        islands,
        bad,
        unused,
        objective,
        state,
        flow.energised,
    )


def _consumers(model: FlowModel) -> int:
    return sum(isinstance(item.data, GeneratorData | LoadData) for item in model.arrays.injections)


def live_loads(
    model: FlowModel, measurements: tuple[Measurement, ...], values: Mapping[str, float]
) -> dict[str, complex]:
    """Measured power of loads and generators, W + j var, in the sense of `FlowModel.solve`.

    Reactive power that is not measured goes with the active power as in the nominal data.
    """
    numbers = model.arrays.injection_number
    found: dict[str, dict[Quantity, float]] = {}
    for measured in measurements:
        value = values.get(measured.point)
        whole = not measured.phase and measured.quantity in (Quantity.P, Quantity.Q)
        if value is not None and whole and measured.equipment in numbers:
            found.setdefault(measured.equipment, {})[measured.quantity] = value * measured.direction
    loads: dict[str, complex] = {}
    for address, parts in found.items():
        number = numbers[address]
        nominal = complex(model.arrays.drawn[number].sum())
        p = parts.get(Quantity.P, nominal.real)
        q = parts.get(Quantity.Q, nominal.imag * p / nominal.real if nominal.real else nominal.imag)
        sign = -1 if isinstance(model.arrays.injections[number].data, GeneratorData) else 1
        loads[address] = sign * complex(p, q)
    return loads


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
