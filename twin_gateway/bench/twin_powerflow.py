"""How long power flow and state estimation take: a feeder of 33 buses, and that feeder 303 times as 9 999 buses.

The feeder is one of our own with the shape of the usual 33-bus test feeder: a trunk of 18 buses and three laterals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from twin_gateway.grid.arrays import Complexes, Floats
from twin_gateway.grid.estimation import EstimationSettings, estimate
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LineData,
    LoadData,
    Measurement,
    Quantity,
    SourceData,
)
from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.grid.sweep import RadialOrder, radial_order, sweep

BUSES = 33
SIZES = (("33", 1, 20), ("1k", 31, 3), ("10k", 303, 1))
"""Name, feeders and runs of each size."""
QUICK_SIZES = (("33", 1, 2), ("1k", 2, 1), ("10k", 3, 1))
_PARENT = (*range(17), 1, 18, 19, 20, 2, 22, 23, 5, 25, 26, 27, 28, 29, 30, 31)
"""Bus that feeds each of the buses 1 to 32, from 0."""
_CASES, _QUICK_CASES = 2_000, 50
_MEASURED = 0.1
"""Part of the lines that are measured, beside every feeder's head and a tenth of the voltages."""
ResultT = TypeVar("ResultT")


def feeders(tiles: int) -> Grid:
    """Feeders side by side, each with a source of its own."""
    random = np.random.default_rng(33)
    grid = Grid()
    for tile in range(tiles):
        nodes = [f"bench/t{tile}/B{bus}/MV1/_/CN1" for bus in range(BUSES)]
        grid.add(ConnectivityNode(node, 12_660.0) for node in nodes)
        grid.add([Equipment(f"bench/t{tile}/B0/MV1/_/SRC1", CimClass.SOURCE, (nodes[0],), SourceData())])
        grid.add(
            Equipment(
                f"bench/t{tile}/L{bus}/MV1/_/WB1",
                CimClass.LINE,
                (nodes[parent], nodes[bus]),
                LineData(float(random.uniform(0.1, 0.8)), float(random.uniform(0.05, 0.6)), i_max=300.0),
            )
            for bus, parent in enumerate(_PARENT, 1)
        )
        grid.add(
            Equipment(
                f"bench/t{tile}/B{bus}/MV1/_/LD1",
                CimClass.LOAD,
                (nodes[bus],),
                LoadData(float(random.uniform(50e3, 150e3)), float(random.uniform(20e3, 80e3))),
            )
            for bus in range(1, BUSES)
        )
    return grid


def _measurements(grid: Grid, model: FlowModel) -> tuple[tuple[Measurement, ...], dict[str, float]]:
    """Values with noise of the usual classes at some places of the true state."""
    random = np.random.default_rng(7)
    true = model.solve(scale=0.8)
    records, values = [], {}
    for item in grid.of(CimClass.LINE):
        if not item.address.endswith("/L1/MV1/_/WB1") and random.random() > _MEASURED:
            continue
        flow = true.of(item.address)
        for quantity, value in ((Quantity.P, flow.p_from), (Quantity.Q, flow.q_from)):
            record = Measurement(f"{item.address}/MMXU1/{quantity}", quantity, item.address)
            records.append(record)
            values[record.point] = value * (1 + random.normal(0, 0.003))
    for item in (*grid.of(CimClass.SOURCE), *grid.of(CimClass.LOAD)):
        if item.cim_class == CimClass.LOAD and random.random() > _MEASURED:
            continue
        record = Measurement(f"{item.address}/MMXU1/U", Quantity.U, item.address, accuracy=0.005)
        records.append(record)
        values[record.point] = true.v(item.nodes[0]) * 12_660.0 * (1 + random.normal(0, 0.002))
    return tuple(records), values


def measure(quick: bool = False) -> dict[str, float]:
    """Milliseconds unless the name says otherwise, the best of some runs; sizes are in the names.

    Returns:
        `flow_*` power flow by address, from positions and loads on; `sweep_*` the sweep on arrays, of a known order;
        `order_*` finding that order; `batch_*_per_s` load cases a second; `state_*` an estimation with its search for
        bad values, `state_*_plain` without; `state_*_loss_error` of its losses, part of the true ones.
    """
    figures: dict[str, float] = {}
    for name, tiles, runs in QUICK_SIZES if quick else SIZES:
        grid = feeders(tiles)
        model = FlowModel(grid)
        figures |= _states(name, runs, grid, model)
        if name != "1k":
            figures |= _arrays(name, runs, model)
        if tiles == 1:
            figures |= _batches(name, model, _QUICK_CASES if quick else _CASES)
    return figures


def _states(name: str, runs: int, grid: Grid, model: FlowModel) -> dict[str, float]:
    flow, _ = _best(model.solve, runs)
    records, values = _measurements(grid, model)
    without = EstimationSettings(rounds=0)
    plain, _ = _best(lambda: estimate(model, records, values, settings=without), runs)
    whole, found = _best(lambda: estimate(model, records, values), runs)
    true = model.solve(scale=0.8).total_loss.real
    return {
        f"flow_{name}": flow,
        f"state_{name}_plain": plain,
        f"state_{name}": whole,
        f"state_{name}_loss_error": abs(found.state.total_loss.real / true - 1),
    }


def _arrays(name: str, runs: int, model: FlowModel) -> dict[str, float]:
    order, r, x, drawn = _ordered(model)
    state, arrays = model.state(), model.arrays
    ends, closed = state.joined[arrays.line_ends], np.ones(len(arrays.lines), bool)
    sources = state.joined[arrays.source_node]
    ordering, _ = _best(lambda: radial_order(len(state.nominal), ends[:, 0], ends[:, 1], closed, sources), runs)
    sweeping, _ = _best(lambda: sweep(order, r, x, drawn.real, drawn.imag, v0=12_660.0), runs)
    return {f"order_{name}": ordering, f"sweep_{name}": sweeping}


def _batches(name: str, model: FlowModel, count: int) -> dict[str, float]:
    order, r, x, drawn = _ordered(model)
    scale = np.random.default_rng(1).uniform(0.3, 1.2, (count, 1))
    swept, _ = _best(lambda: sweep(order, r, x, scale * drawn.real, scale * drawn.imag, v0=12_660.0), 3)
    cases = scale[:, :, None] * model.arrays.drawn
    solved, _ = _best(lambda: model.solve_many(cases), 3)
    return {f"batch_{name}_sweep_per_s": count / swept * 1e3, f"batch_{name}_per_s": count / solved * 1e3}


def _ordered(model: FlowModel) -> tuple[RadialOrder, Floats, Floats, Complexes]:
    """Order, ohm of the branches and VA drawn at the nodes, as the sweep wants them."""
    arrays, state = model.arrays, model.state()
    ends = state.joined[arrays.line_ends]
    order = radial_order(
        len(state.nominal), ends[:, 0], ends[:, 1], np.ones(len(ends), bool), state.joined[arrays.source_node]
    )
    drawn = np.zeros(len(state.nominal), complex)
    np.add.at(drawn, state.joined[arrays.injection_node], arrays.drawn.sum(1))
    z = np.array([complex(item.data.r, item.data.x) for item in arrays.lines if isinstance(item.data, LineData)])
    return order, z.real, z.imag, drawn


def _best(run: Callable[[], ResultT], runs: int) -> tuple[float, ResultT]:
    """Milliseconds of the fastest of some runs after the first, and the result."""
    result = run()
    fastest = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        result = run()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest * 1e3, result
