"""What a power flow or a state estimation says of a grid, by address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from twin_gateway.grid.arrays import Booleans, Complexes, Floats, GridArrays, Indexes, Switching
from twin_gateway.grid.sweep import radial_order, subtotals


@dataclass(frozen=True, slots=True)
class Solved:
    """What an engine delivers, by phase: the last axis is A, B, C.

    Attributes:
        voltage: V from phase to earth of each topological node, shape (topological nodes, 3); NaN where there is no
            such phase, 0 where nothing is energised.
        first, second: VA into each line, then each transformer, at its first and second end, shape (branches, 3).
        injection: VA drawn by each load, generator and shunt.
        source: VA delivered by each source.
    """

    voltage: Complexes
    first: Complexes
    second: Complexes
    injection: Complexes
    source: Complexes


@dataclass(frozen=True, slots=True)
class BranchFlow:
    """Of one line, transformer or switch.

    Attributes:
        p_from, q_from, p_to, q_to: W and var into it at its first and second terminal, sum of the phases.
        current: A, the highest of phases and ends.
        loss, loss_var: W and var that stay in it.
        loading: part of its limit (current, of a transformer apparent power); NaN when it has none.
    """

    p_from: float
    q_from: float
    p_to: float
    q_to: float
    current: float
    loss: float
    loss_var: float
    loading: float


@dataclass(frozen=True)
class PowerFlowResult:
    """State of a whole grid. Without a solution `feasible` is False, `reason` says why, and numbers are NaN.

    Attributes:
        engine: what computed it.
        feasible: there is a solution.
        reason: why not; empty when there is.
        notes: approximations and assumptions that went into it.
        nodes: addresses; `node_number` the place of each.
        nominal: line-to-line voltage of each node, V.
        energised: of each node.
        phase_voltage: V from phase to earth, complex, shape (nodes, 3); NaN for phases that are not there.
        branches: addresses of lines, transformers, switches; `branch_number` the place of each.
        power_from, power_to: VA into each branch at its terminals by phase, shape (branches, 3). NaN in switches of a
            loop of switches, where the flow cannot be told.
        current_from, current_to: A likewise.
        loading: of each branch, part of its limit; NaN where there is none.
        injections: addresses of loads, generators and shunts; `drawn` is VA by phase, shape (injections, 3).
        sources: addresses; `delivered` likewise.
        series: how many of the branches, from the first, are lines and transformers: those that have losses.
        unknown: switches whose position nobody knows.
    """

    engine: str
    feasible: bool
    reason: str
    notes: tuple[str, ...]
    nodes: tuple[str, ...]
    node_number: Mapping[str, int] = field(repr=False)
    nominal: Floats = field(repr=False)
    energised: Booleans = field(repr=False)
    phase_voltage: Complexes = field(repr=False)
    branches: tuple[str, ...] = field(repr=False)
    branch_number: Mapping[str, int] = field(repr=False)
    power_from: Complexes = field(repr=False)
    power_to: Complexes = field(repr=False)
    current_from: Floats = field(repr=False)
    current_to: Floats = field(repr=False)
    loading: Floats = field(repr=False)
    injections: tuple[str, ...] = field(repr=False)
    injection_number: Mapping[str, int] = field(repr=False)
    drawn: Complexes = field(repr=False)
    sources: tuple[str, ...] = field(repr=False)
    delivered: Complexes = field(repr=False)
    series: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def voltage(self) -> Floats:
        """Per unit of the nominal voltage, mean of the phases that are there; 0 where dead, shape (nodes,)."""
        magnitude = np.abs(self.phase_voltage)
        there = np.isfinite(magnitude)
        count = there.sum(1)
        total = np.where(there, magnitude, 0.0).sum(1)
        mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return np.asarray(mean * np.sqrt(3) / self.nominal)

    @property
    def loss(self) -> Complexes:
        """W + j var that stay in each line and transformer, shape (series,)."""
        return np.asarray((self.power_from + self.power_to)[: self.series].sum(1))

    @property
    def total_loss(self) -> complex:
        """W + j var of all lines and transformers."""
        return complex(self.loss.sum())

    @property
    def supplied(self) -> complex:
        """W + j var that the sources deliver."""
        return complex(self.delivered.sum())

    @property
    def lowest(self) -> tuple[float, str]:
        """Lowest voltage of the energised nodes, per unit, and its node; (NaN, "") when there is none.

        Of nodes with fewer or more phases, the phases that are there count one by one.
        """
        magnitude = np.abs(self.phase_voltage) * (np.sqrt(3) / self.nominal)[:, None]
        magnitude = np.where(self.energised[:, None] & np.isfinite(magnitude), magnitude, np.inf)
        lowest = magnitude.min(1) if len(self.nodes) else np.empty(0)
        if not self.feasible or not np.isfinite(lowest).any():
            return float("nan"), ""
        where = int(lowest.argmin())
        return float(lowest[where]), self.nodes[where]

    @property
    def highest_loading(self) -> tuple[float, str]:
        """Highest loading (part of the limit) and its branch; (NaN, "") when no branch has a limit."""
        if not np.isfinite(self.loading).any():
            return float("nan"), ""
        where = int(np.nanargmax(self.loading))
        return float(self.loading[where]), self.branches[where]

    @property
    def dead(self) -> tuple[str, ...]:
        """Addresses of nodes that no source feeds."""
        return tuple(self.nodes[index] for index in np.nonzero(~self.energised)[0])

    def v(self, node: str) -> float:
        """Voltage of a node, per unit."""
        return float(self.voltage[self.node_number[node]])

    def of(self, branch: str) -> BranchFlow:
        """Flow of a line, transformer or switch.

        Raises:
            KeyError: no branch has this address.
        """
        index = self.branch_number[branch]
        begin, end = self.power_from[index].sum(), self.power_to[index].sum()
        loss = begin + end
        return BranchFlow(
            float(begin.real),
            float(begin.imag),
            float(end.real),
            float(end.imag),
            float(max(self.current_from[index].max(), self.current_to[index].max())),
            float(loss.real),
            float(loss.imag),
            float(self.loading[index]),
        )

    def load(self, address: str) -> complex:
        """W + j var that a load or shunt draws; of a generator minus what it delivers."""
        return complex(self.drawn[self.injection_number[address]].sum())


def result_of(
    arrays: GridArrays,
    state: Switching,
    solved: Solved,
    engine: str,
    notes: tuple[str, ...] = (),
    *,
    kept: tuple[Booleans, Complexes, Complexes] | None = None,
    also: tuple[Indexes, Complexes] | None = None,
) -> PowerFlowResult:
    """Give back to every node, switch and terminal what an engine computed on topological nodes.

    Args:
        arrays: of the grid.
        state: switching state that was computed.
        solved: by the engine.
        engine: its name.
        notes: its approximations.
        kept: switches that were branches of the computation, and the VA into their ends, shape (switches, 3).
        also: node numbers where something else is drawn, and the VA by phase of each.
    """
    voltage = solved.voltage[state.joined]
    at_switch = _through_switches(arrays, state, solved, kept, also)
    power_from = np.concatenate([solved.first, at_switch])
    power_to = np.concatenate([solved.second, -at_switch])
    if kept is not None:
        power_from[len(solved.first) :][kept[0]] = kept[1][kept[0]]
        power_to[len(solved.second) :][kept[0]] = kept[2][kept[0]]
    ends = np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])
    current_from, current_to = _current(power_from, voltage[ends[:, 0]]), _current(power_to, voltage[ends[:, 1]])
    branches = arrays.branches
    highest = np.maximum(current_from, current_to).max(1) if len(branches) else np.empty(0)
    return PowerFlowResult(
        engine,
        True,
        "",
        notes,
        arrays.node,
        arrays.number,
        arrays.nominal,
        state.energised[state.joined],
        voltage,
        tuple(item.address for item in branches),
        {item.address: index for index, item in enumerate(branches)},
        power_from,
        power_to,
        current_from,
        current_to,
        _loading(arrays, highest, power_from, power_to),
        tuple(item.address for item in arrays.injections),
        arrays.injection_number,
        solved.injection,
        tuple(item.address for item in arrays.sources),
        solved.source,
        len(solved.first),
        state.unknown,
    )


def no_result(arrays: GridArrays, state: Switching, engine: str, reason: str) -> PowerFlowResult:
    """The result of a computation that has none: everything NaN, and the reason."""
    series = len(arrays.lines) + len(arrays.transformers)
    empty = Solved(
        np.full((len(state.nominal), 3), np.nan, complex),
        np.full((series, 3), np.nan, complex),
        np.full((series, 3), np.nan, complex),
        np.full((len(arrays.injections), 3), np.nan, complex),
        np.full((len(arrays.sources), 3), np.nan, complex),
    )
    result = result_of(arrays, state, empty, engine)
    return replace(result, feasible=False, reason=reason)


def _through_switches(
    arrays: GridArrays,
    state: Switching,
    solved: Solved,
    kept: tuple[Booleans, Complexes, Complexes] | None,
    also: tuple[Indexes, Complexes] | None,
) -> Complexes:
    """VA by phase through every switch from its first end to its second: what is drawn beyond it."""
    lines = len(arrays.lines)
    drawn = np.zeros((len(arrays.node), 3), complex)
    for ends, begin, end in (
        (arrays.line_ends, solved.first[:lines], solved.second[:lines]),
        (arrays.transformer_ends, solved.first[lines:], solved.second[lines:]),
    ):
        np.add.at(drawn, ends[:, 0], begin)
        np.add.at(drawn, ends[:, 1], end)
    np.add.at(drawn, arrays.injection_node, solved.injection)
    np.add.at(drawn, arrays.source_node, -solved.source)
    if also is not None:
        np.add.at(drawn, also[0], also[1])
    closed = state.closed.copy()
    if kept is not None:
        ends = arrays.switch_ends[kept[0]]
        np.add.at(drawn, ends[:, 0], kept[1][kept[0]])
        np.add.at(drawn, ends[:, 1], kept[2][kept[0]])
        closed &= ~kept[0]
    through = np.zeros((len(closed), 3), complex)
    if not closed.any():
        return through
    # Lines without impedance join nodes as switches do; they stand after the switches.
    ends = np.concatenate([arrays.switch_ends, arrays.line_ends[arrays.bare]])
    joins = np.concatenate([closed, np.ones(len(ends) - len(closed), bool)])
    used = np.unique(ends[joins])
    firsts = used[np.unique(state.joined[used], return_index=True)[1]]
    order = radial_order(len(arrays.node), ends[:, 0], ends[:, 1], joins, firsts)
    for phase in range(3):
        through[:, phase] = subtotals(order, drawn[:, phase])[: len(closed)]
    # A cluster of n nodes has n - 1 switches where it has no loop.
    members = np.bincount(state.joined[used], minlength=len(state.nominal))
    edges = np.bincount(state.joined[ends[joins][:, 0]], minlength=len(state.nominal))
    looped = (edges >= members)[state.joined[arrays.switch_ends[:, 0]]]
    through[closed & looped] = np.nan
    return through


def _current(power: Complexes, voltage: Complexes) -> Floats:
    size = np.abs(voltage)
    there = np.isfinite(size) & (size > 0)
    nothing = np.where(np.isnan(power), np.nan, 0.0)
    return np.asarray(np.divide(np.abs(power), size, out=nothing, where=there))


def _loading(arrays: GridArrays, current: Floats, power_from: Complexes, power_to: Complexes) -> Floats:
    used = current.copy()
    lines, series = len(arrays.lines), len(arrays.lines) + len(arrays.transformers)
    through = np.maximum(np.abs(power_from.sum(1)), np.abs(power_to.sum(1)))
    used[lines:series] = through[lines:series]
    return np.asarray(used / arrays.limit)
