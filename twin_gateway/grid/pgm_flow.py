"""Power flow by power-grid-model: one load case in a grid that may be meshed, or many load cases of one state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from power_grid_model import CalculationMethod, ComponentType, DatasetType, PowerGridModel, initialize_array
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]  # exported, but not in so many words

from twin_gateway.grid.arrays import Booleans, Complexes, Floats, GridArrays, Switching
from twin_gateway.grid.flow import PowerFlowResult, Solved, no_result, result_of
from twin_gateway.grid.model import GridError
from twin_gateway.grid.pgm import FREQUENCY, PgmExport, export, injection_ids, load_powers, source_ids

_TURN = np.exp(-2j * np.pi / 3 * np.arange(3))
"""Angles of the phases A, B, C of a balanced state."""


def solve(
    arrays: GridArrays,
    state: Switching,
    drawn: Complexes,
    *,
    symmetric: bool = True,
    tolerance: float = 1e-10,
    iterations: int = 50,
) -> PowerFlowResult:
    """Power flow by Newton's method, and where that fails by iterative current; meshed grids are welcome.

    Args:
        arrays: of the grid.
        state: its topological nodes.
        drawn: VA drawn by each injection and phase, shape (injections, 3).
        symmetric: balanced, or by phase.
        tolerance: of the voltages, per unit.
        iterations: at most so many.

    Returns:
        A result without numbers and with its reason when neither method converges or nothing is energised.
    """
    name = f"power-grid-model, {'balanced' if symmetric else 'by phase'}"
    if not state.energised.any():
        return no_result(arrays, state, name, "no source is connected")
    model = export(arrays, state, drawn, symmetric=symmetric)
    reason = ""
    try:
        engine = PowerGridModel(model.data, system_frequency=FREQUENCY)
        for method in (CalculationMethod.newton_raphson, CalculationMethod.iterative_current):
            try:
                output = engine.calculate_power_flow(
                    symmetric=symmetric,
                    error_tolerance=tolerance,
                    max_iterations=iterations,
                    calculation_method=method,
                )
                break
            except PowerGridError as error:
                reason = first_line(error)
        else:
            return no_result(arrays, state, name, f"no solution: {reason}")
    except PowerGridError as error:
        return no_result(arrays, state, name, f"the engine refuses the grid: {first_line(error)}")
    solved = solved_of(arrays, state, model, output)
    if not np.isfinite(solved.voltage[state.energised]).all():
        return no_result(arrays, state, name, "no solution: a voltage is not a number")
    return result_of(arrays, state, solved, name, model.notes)


def solved_of(arrays: GridArrays, state: Switching, model: PgmExport, output: Mapping[Any, npt.NDArray[Any]]) -> Solved:
    """Output of the engine as phase quantities of all equipment."""
    voltage = np.zeros((len(state.nominal), 3), complex)
    node = output[ComponentType.node]
    size = len(node)
    if model.symmetric:
        voltage[node["id"]] = (node["u"] / np.sqrt(3) * np.exp(1j * node["u_angle"]))[:, None] * _TURN
    elif size:
        voltage[node["id"]] = node["u"] * np.exp(1j * node["u_angle"])
    first = np.zeros((len(arrays.lines) + len(arrays.transformers), 3), complex)
    second = np.zeros_like(first)
    for kind, rows in (
        (ComponentType.line, model.lines),
        (ComponentType.transformer, len(arrays.lines) + model.transformers),
    ):
        if len(rows):
            # kept switches stand after the lines
            first[rows], second[rows] = branch_powers(output[kind][: len(rows)], symmetric=model.symmetric)
    injection = np.zeros((len(arrays.injections), 3), complex)
    source = np.zeros((len(arrays.sources), 3), complex)
    kind = ComponentType.sym_load if model.symmetric else ComponentType.asym_load
    if len(model.injections):
        drawn = by_phase(output[kind], "p", "q", symmetric=model.symmetric)
        injection[model.injections] = drawn[: len(model.injections)]
    fed = output[ComponentType.source]
    source[fed["id"] - source_ids(0)] = by_phase(fed, "p", "q", symmetric=model.symmetric)
    return Solved(voltage, first, second, injection, source)


def branch_powers(output: npt.NDArray[Any], *, symmetric: bool) -> tuple[Complexes, Complexes]:
    """VA by phase into both ends of branches."""
    begin = by_phase(output, "p_from", "q_from", symmetric=symmetric)
    return begin, by_phase(output, "p_to", "q_to", symmetric=symmetric)


def by_phase(output: npt.NDArray[Any], p: str, q: str, *, symmetric: bool) -> Complexes:
    """VA by phase, shape (…, 3), of a pair of fields."""
    power = output[p] + 1j * output[q]
    return np.repeat(power[..., None] / 3, 3, axis=-1) if symmetric else np.asarray(power)


@dataclass(frozen=True, slots=True)
class BatchFlow:
    """Power flow of many load cases; NaN where one has not converged.

    Attributes:
        loss: W of all lines and transformers, shape (cases,).
        branch_loss: W of each line, then each transformer, shape (cases, branches).
        lowest: lowest voltage, per unit, shape (cases,).
        voltage: per unit of each node (of the mean of its phases), shape (cases, nodes); 0 where dead.
        converged: shape (cases,).
    """

    loss: Floats
    branch_loss: Floats
    lowest: Floats
    voltage: Floats
    converged: Booleans


def solve_batch(
    arrays: GridArrays,
    state: Switching,
    drawn: Complexes,
    *,
    symmetric: bool = True,
    tolerance: float = 1e-8,
    threads: int = 1,
) -> BatchFlow:
    """Power flow of many load cases in one switching state (iterative current: fastest for those).

    Args:
        arrays: of the grid.
        state: its topological nodes.
        drawn: VA drawn by each injection and phase, shape (cases, injections, 3).
        symmetric: balanced, or by phase.
        tolerance: of the voltages, per unit.
        threads: of the engine; 1 runs in the calling thread, 0 on all cores.

    Raises:
        GridError: the engine refuses the grid.
    """
    model = export(arrays, state, drawn[0], symmetric=symmetric)
    kind = ComponentType.sym_load if symmetric else ComponentType.asym_load
    cases = len(drawn)
    update = initialize_array(DatasetType.update, kind, (cases, len(model.injections)))
    update["id"] = injection_ids(model)
    update["p_specified"], update["q_specified"] = load_powers(drawn[:, model.injections], symmetric=symmetric)
    try:
        engine = PowerGridModel(model.data, system_frequency=FREQUENCY)
        output = engine.calculate_power_flow(
            symmetric=symmetric,
            error_tolerance=tolerance,
            max_iterations=100,
            calculation_method=CalculationMethod.iterative_current,
            update_data={kind: update},
            threading=-1 if threads == 1 else threads,
            continue_on_batch_error=True,
            output_component_types={
                ComponentType.node: ["id", "u_pu"],
                ComponentType.line: ["p_from", "p_to"],
                ComponentType.transformer: ["p_from", "p_to"],
            },
        )
    except PowerGridError as error:
        raise GridError(f"power-grid-model refuses the grid: {first_line(error)}") from error
    converged = np.ones(cases, bool)
    failed = engine.batch_error
    if failed is not None:
        converged[failed.failed_scenarios] = False
    loss = np.zeros((cases, len(arrays.lines) + len(arrays.transformers)))
    for component, rows in (
        (ComponentType.line, model.lines),
        (ComponentType.transformer, len(arrays.lines) + model.transformers),
    ):
        if len(rows):
            both = output[component]["p_from"] + output[component]["p_to"]
            loss[:, rows] = both if symmetric else both.sum(-1)
    voltage = np.zeros((cases, len(state.nominal)))
    measured = output[ComponentType.node]["u_pu"]
    energised = np.nonzero(state.energised)[0]
    voltage[:, energised] = measured if symmetric else measured.mean(-1)
    lowest = (measured if symmetric else measured.min(-1)).min(1)
    for values in (loss, voltage, lowest):
        values[~converged] = np.nan
    return BatchFlow(loss.sum(1), loss, lowest, voltage[:, state.joined], converged)


def first_line(error: Exception) -> str:
    """What the engine says, without its advice to validate."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
