"""Power flow by phase of radial grids with one-, two- and three-phase parts: backward/forward sweep level by level.

Takes what power-grid-model cannot: laterals of fewer phases, full phase impedance matrices, taps by phase, loads
between phases. Loads keep constant power, current or impedance, whatever the voltage. How branches are modelled, and
what is approximated, says `twin_gateway.grid.phase_models`. Loops are refused: the grid must be radial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_gateway.grid.arrays import Booleans, Complexes, Floats, GridArrays, Indexes, Switching
from twin_gateway.grid.flow import PowerFlowResult, Solved, no_result, result_of
from twin_gateway.grid.model import GridError
from twin_gateway.grid.pgm_flow import BatchFlow
from twin_gateway.grid.phase_models import (
    delta_matrix,
    line_matrices,
    mask_of,
    source_matrices,
    transformer_matrices,
)
from twin_gateway.grid.sweep import COLLAPSE, radial_order

NAME = "three-phase sweep"
_CHUNK = 1 << 17
"""Values a batch works on at a time."""
_NO_PHASE = 1e-6
"""Part of the nominal voltage below which a phase counts as not there."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Positions of one depth and what they hang on: `begin` to `end`, and the groups that share a parent."""

    begin: int
    end: int
    parents: Indexes
    starts: Indexes
    parent_of: Indexes


@dataclass(frozen=True, slots=True)
class _Injections:
    """Loads, generators and shunts that are supplied, in the order of their positions.

    Attributes:
        rows: their numbers among all.
        groups: where those of each position begin.
        at: positions that have some.
        where: position of each.
        rated: V across each: of a delta line to line, otherwise phase to earth.
        delta: which are between phases.
        exponent: how their power goes with the voltage, 0, 1 or 2.
    """

    rows: Indexes
    groups: Indexes
    at: Indexes
    where: Indexes
    rated: Floats
    delta: Booleans
    exponent: Indexes


@dataclass(frozen=True, slots=True)
class _Matrices:
    """Matrices by position; see `PhaseModel`."""

    a: Complexes
    b: Complexes
    near: Complexes
    far: Complexes
    shunt: Complexes
    emf: Complexes


@dataclass(frozen=True, slots=True)
class PhaseModel:
    """A radial switching state made ready for the sweep; everything by position in the order of levels.

    Attributes:
        node: topological node of each position.
        branch: row among lines, transformers, switches of the feeding branch; -1 at a source.
        from_first: the feeding branch is fed from its first end.
        levels: positions by depth, without the sources' own.
        source: number of the source at each of the first positions.
        matrices: of the feeding branch `a` and `b`, shape (positions, 3, 3), of a source its impedance in `b`; S of it
            at its feeding (`near`) and its fed end (`far`); `shunt` the sum of those at the position; `emf` the V
            behind each source, shape (sources in use, 3).
        injections: what is drawn where.
    """

    node: Indexes
    branch: Indexes
    from_first: Booleans
    levels: tuple[_Level, ...]
    source: Indexes
    matrices: _Matrices
    injections: _Injections


def prepare(arrays: GridArrays, state: Switching) -> PhaseModel:
    """Order a switching state by levels and build its matrices.

    Raises:
        GridError: there is a loop, two sources meet, or data contradict each other.
    """
    ends = state.joined[np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])]
    series = np.concatenate([state.line, state.transformer, state.kept])
    source_nodes = state.joined[arrays.source_node]
    order = radial_order(len(state.nominal), ends[:, 0], ends[:, 1], series, source_nodes)
    if order.looped >= 0:
        address = arrays.branches[order.looped].address
        raise GridError(f"{address} closes a loop or joins two sources; by phase only radial grids can be computed")
    count = len(order.node)
    position = np.full(len(state.nominal), -1, np.intp)
    position[order.node] = np.arange(count)
    parent = np.full(count, -1, np.intp)
    fed = order.branch >= 0
    other = np.where(order.downward > 0, ends[order.branch, 0], ends[order.branch, 1])
    parent[fed] = position[other[fed]]
    depth = np.zeros(count, np.intp)
    for place in range(count):  # parents stand before their children
        if parent[place] >= 0:
            depth[place] = depth[parent[place]] + 1
    sequence = np.lexsort((parent, depth))
    place_of = np.empty(count, np.intp)
    place_of[sequence] = np.arange(count)
    node, branch = order.node[sequence], order.branch[sequence]
    parents = np.where(parent[sequence] >= 0, place_of[parent[sequence]], -1)
    from_first = order.downward[sequence] > 0
    levels = _levels(depth[sequence], parents)
    sources = _sources_in_order(source_nodes, node[: int((branch < 0).sum())])
    behind = state.nominal[node[: len(sources)]]
    emf = [source_matrices(arrays.sources[n], float(v)) for n, v in zip(sources, behind, strict=True)]
    matrices = _matrices(arrays, branch, from_first, parents, emf)
    return PhaseModel(node, branch, from_first, levels, sources, matrices, _injections(arrays, state, node))


def _levels(depth: Indexes, parents: Indexes) -> tuple[_Level, ...]:
    levels = []
    for deep in range(1, int(depth.max()) + 1 if len(depth) else 0):
        begin, end = np.searchsorted(depth, [deep, deep + 1])
        unique, starts = np.unique(parents[begin:end], return_index=True)
        levels.append(_Level(int(begin), int(end), unique, starts, parents[begin:end]))
    return tuple(levels)


def _sources_in_order(source_nodes: Indexes, roots: Indexes) -> Indexes:
    return np.array([int(np.nonzero(source_nodes == root)[0][0]) for root in roots], np.intp)


def _matrices(
    arrays: GridArrays,
    branch: Indexes,
    from_first: Booleans,
    parents: Indexes,
    sources: list[tuple[Complexes, Complexes]],
) -> _Matrices:
    count, lines, transformers = len(branch), len(arrays.lines), len(arrays.transformers)
    a, b, near, far = (np.zeros((count, 3, 3), complex) for _ in range(4))
    for place, row in enumerate(branch.tolist()):
        if row < 0:
            a[place], b[place] = np.eye(3), sources[place][1]
        elif row < lines:
            item = arrays.lines[row]
            b[place], near[place] = line_matrices(item)
            a[place], far[place] = mask_of(item), near[place]
        elif row < lines + transformers:
            forward = bool(from_first[place])
            a[place], b[place], no_load = transformer_matrices(arrays.transformers[row - lines], reverse=not forward)
            (near if forward else far)[place] = no_load
        else:
            a[place] = mask_of(arrays.switches[row - lines - transformers])
    shunt = far.copy()
    np.add.at(shunt, parents[parents >= 0], near[parents >= 0])
    emf = np.array([voltage for voltage, _ in sources], complex).reshape(-1, 3)
    return _Matrices(a, b, near, far, shunt, emf)


def _injections(arrays: GridArrays, state: Switching, node: Indexes) -> _Injections:
    place_of = np.full(len(state.nominal), -1, np.intp)
    place_of[node] = np.arange(len(node))
    places = place_of[state.joined[arrays.injection_node]]
    rows = np.argsort(places, kind="stable")
    rows = rows[places[rows] >= 0]
    at, groups = np.unique(places[rows], return_index=True)
    delta = arrays.delta[rows]
    nominal = arrays.nominal[arrays.injection_node[rows]]
    rated = np.where(delta, nominal, nominal / np.sqrt(3))
    return _Injections(rows, groups, at, places[rows], rated, delta, arrays.exponent[rows])


def sweep_phases(
    model: PhaseModel, drawn: Complexes, *, tolerance: float = 1e-9, iterations: int = 200
) -> tuple[Complexes, Complexes, Complexes, Booleans]:
    """Sweep many load cases.

    Args:
        model: of the switching state.
        drawn: nominal VA of the supplied injections, shape (injections, 3, cases).
        tolerance: largest change of a voltage in the last iteration, part of the voltage without load.
        iterations: after so many a case counts as unsolvable.

    Returns:
        Voltages and currents out of the feeding branch, shape (positions, 3, cases), VA drawn by the injections, shape
        (injections, 3, cases), and which cases converged, shape (cases,).
    """
    a, b, emf = model.matrices.a, model.matrices.b, model.matrices.emf[:, :, None]
    back = a.swapaxes(-1, -2)
    places, cases, roots = len(model.node), drawn.shape[-1], len(emf)
    idle = np.zeros((places, 3, 1), complex)
    idle[:roots] = emf
    for level in model.levels:
        idle[level.begin : level.end] = a[level.begin : level.end] @ idle[level.parent_of]
    size = np.abs(idle)
    there = size > _NO_PHASE * size.max(1, keepdims=True)
    floor, limit = COLLAPSE * size, tolerance * size.max(1, keepdims=True)
    voltage = np.broadcast_to(idle, (places, 3, cases)).copy()
    current, power = np.zeros_like(voltage), np.zeros_like(drawn)
    converged, going = np.zeros(cases, bool), np.arange(cases)
    at = voltage
    for _ in range(iterations):
        flow, used = _draw(model.injections, at, drawn[:, :, going])
        flow += model.matrices.shunt @ at
        for level in reversed(model.levels):
            here = slice(level.begin, level.end)
            flow[level.parents] += np.add.reduceat(back[here] @ flow[here], level.starts, axis=0)
        drop = b @ flow
        new = np.empty_like(at)
        new[:roots] = emf - drop[:roots]
        for level in model.levels:
            here = slice(level.begin, level.end)
            new[here] = a[here] @ new[level.parent_of] - drop[here]
        with np.errstate(invalid="ignore", over="ignore"):
            still = (np.abs(new - at) > limit).any((0, 1))
            lost = ~((np.abs(new) >= floor) | ~there).all((0, 1))
        at, done = new, ~still & ~lost
        if done.any() or lost.any():
            ended = going[done]
            voltage[:, :, ended], current[:, :, ended], power[:, :, ended] = (
                at[..., done],
                flow[..., done],
                used[..., done],
            )
            converged[ended] = True
            more = still & ~lost
            going, at = going[more], at[..., more]
            if not len(going):
                break
    return voltage, current, power, converged


def _draw(injections: _Injections, voltage: Complexes, drawn: Complexes) -> tuple[Complexes, Complexes]:
    """Currents that injections draw at every position, and the VA of each by phase."""
    into = np.zeros_like(voltage)
    if not len(injections.rows):
        return into, np.zeros_like(drawn)
    phase = voltage[injections.where]
    delta, exponent = injections.delta[:, None, None], injections.exponent[:, None, None]
    across = np.where(delta, delta_matrix() @ phase, phase) if delta.any() else phase
    size = np.abs(across)
    part = size / injections.rated[:, None, None]
    power = drawn * np.where(exponent == 0, 1.0, np.where(exponent == 1, part, part**2)) if exponent.any() else drawn
    # conj(S / V); a phase that is not there draws nothing
    amps = np.conj(power) * across * np.divide(1.0, size**2, out=np.zeros_like(size), where=part > _NO_PHASE)
    if delta.any():
        amps = np.where(delta, delta_matrix().T @ amps, amps)
    into[injections.at] = np.add.reduceat(amps, injections.groups, axis=0)
    return into, phase * np.conj(amps)


def solve(arrays: GridArrays, state: Switching, drawn: Complexes) -> PowerFlowResult:
    """Power flow by phase of one load case.

    Args:
        arrays: of the grid.
        state: its topological nodes, with switches of fewer than three phases kept as branches.
        drawn: nominal VA drawn by each injection and phase, shape (injections, 3).

    Returns:
        A result without numbers and with its reason when the grid is not radial or voltages collapse.
    """
    try:
        model = prepare(arrays, state)
        if not len(model.node):
            return no_result(arrays, state, NAME, "no source is connected")
        _check_phases(arrays, model, drawn)
    except GridError as error:
        return no_result(arrays, state, NAME, str(error))
    voltage, current, power, converged = sweep_phases(model, drawn[model.injections.rows, :, None])
    if not converged[0]:
        return no_result(arrays, state, NAME, "no solution: a voltage collapses or the sweep does not converge")
    return _result(arrays, state, model, (voltage[..., 0], current[..., 0], power[..., 0]))


def _check_phases(arrays: GridArrays, model: PhaseModel, drawn: Complexes) -> None:
    present = np.zeros((len(model.node), 3), bool)
    present[: len(model.source)] = True
    for level in model.levels:
        here = slice(level.begin, level.end)
        # A branch leads a phase on when its matrix draws on a phase that is there.
        reaches = np.abs(model.matrices.a[here]) > 0
        present[here] = (reaches & present[level.parent_of][:, None, :]).any(-1)
    for row, place in zip(model.injections.rows.tolist(), model.injections.where.tolist(), strict=True):
        used = np.abs(drawn[row]) > 0
        if arrays.delta[row]:
            used = (used @ np.abs(delta_matrix())) > 0
        if (used & ~present[place]).any():
            raise GridError(f"{arrays.injections[row].address} is connected to a phase that its node does not have")


def _result(
    arrays: GridArrays, state: Switching, model: PhaseModel, solution: tuple[Complexes, Complexes, Complexes]
) -> PowerFlowResult:
    voltage, current, power = solution
    lines, transformers = len(arrays.lines), len(arrays.transformers)
    series = lines + transformers
    first = np.zeros((series + len(arrays.switches), 3), complex)
    second = np.zeros_like(first)
    at_nodes = np.zeros((len(state.nominal), 3), complex)
    there = np.abs(voltage) > _NO_PHASE * np.abs(voltage).max(1, keepdims=True)
    at_nodes[model.node] = np.where(there, voltage, np.nan)
    begin, end = (power[..., 0] for power in _ends_power(model, voltage[..., None], current[..., None]))
    fed = model.branch >= 0
    forward = model.from_first[:, None]
    first[model.branch[fed]] = np.where(forward, begin, end)[fed]
    second[model.branch[fed]] = np.where(forward, end, begin)[fed]
    injection = np.zeros((len(arrays.injections), 3), complex)
    injection[model.injections.rows] = power
    source = np.zeros((len(arrays.sources), 3), complex)
    roots = len(model.source)
    source[model.source] = voltage[:roots] * np.conj(current[:roots])
    solved = Solved(at_nodes, first[:series], second[:series], injection, source)
    notes = [f"the third winding of {address} is left out" for address in arrays.three_winding]
    return result_of(arrays, state, solved, NAME, tuple(notes), kept=(state.kept, first[series:], second[series:]))


def _ends_power(model: PhaseModel, voltage: Complexes, current: Complexes) -> tuple[Complexes, Complexes]:
    """VA into every feeding branch at its feeding and its fed end, shape (positions, 3, cases)."""
    a, near, far = model.matrices.a, model.matrices.near, model.matrices.far
    begin = np.zeros_like(voltage)
    roots = len(model.source)
    parents = np.concatenate([np.zeros(roots, np.intp), *(level.parent_of for level in model.levels)])
    above = voltage[parents[roots:]]
    begin[roots:] = above * np.conj(a.swapaxes(-1, -2)[roots:] @ current[roots:] + near[roots:] @ above)
    # What flows out at the fed end includes the charging there, which is part of the branch.
    end = -voltage * np.conj(current - far @ voltage)
    end[:roots] = 0.0
    return begin, end


def solve_batch(arrays: GridArrays, state: Switching, drawn: Complexes) -> BatchFlow:
    """Losses and voltages of many load cases; arguments and errors as of `twin_gateway.grid.pgm_flow.solve_batch`."""
    model = prepare(arrays, state)
    rows, cases = model.injections.rows, len(drawn)
    loss = np.zeros((cases, len(arrays.lines) + len(arrays.transformers)))
    per_unit = np.zeros((cases, len(state.nominal)))
    lowest, converged = np.full(cases, np.nan), np.zeros(cases, bool)
    size = max(1, _CHUNK // max(1, 3 * len(model.node)))
    fed = (model.branch >= 0) & (model.branch < loss.shape[1])
    scale = (np.sqrt(3) / state.nominal[model.node])[:, None, None]
    for begin in range(0, cases, size):
        part = slice(begin, begin + size)
        voltage, current, _, converged[part] = sweep_phases(model, np.moveaxis(drawn[part][:, rows], 0, -1))
        first, second = _ends_power(model, voltage, current)
        loss[part, model.branch[fed]] = (first + second).sum(1).real[fed].T
        magnitude = np.abs(voltage) * scale
        there = magnitude > _NO_PHASE
        per_unit[part, model.node] = (magnitude.sum(1) / np.maximum(there.sum(1), 1)).T
        lowest[part] = np.where(there, magnitude, np.inf).min((0, 1))
    for values in (loss, per_unit, lowest):
        values[~converged] = np.nan
    return BatchFlow(loss.sum(1), loss, lowest, per_unit[:, state.joined], converged)
