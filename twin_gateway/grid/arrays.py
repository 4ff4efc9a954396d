"""A grid model as arrays: numbered nodes and equipment, and its topological nodes in one switching state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    GeneratorData,
    Grid,
    GridError,
    LineData,
    LoadData,
    Position,
    ShuntData,
    SourceData,
    SwitchRating,
    TransformerData,
)

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
Indexes = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

PHASES = "ABC"
EXPONENT: Mapping[str, int] = {"power": 0, "current": 1, "impedance": 2}
"""How the power of a load goes with the voltage."""


@dataclass(frozen=True, slots=True)
class GridArrays:
    """Equipment in groups, each with the numbers of its nodes. Made once for a grid.

    Attributes:
        node: address of each node.
        nominal: line-to-line voltage of each, V.
        number: node number by address.
        switches, lines, transformers: equipment with two ends (of transformers the first two).
        switch_ends, line_ends, transformer_ends: node numbers, shape (…, 2).
        bare: which lines have no impedance.
        normally_closed: of each switch.
        earthing: ground disconnectors, with `earthing_node`.
        injections: loads, generators and shunts.
        sources: energy sources.
        injection_node, source_node: node number of each.
        drawn: nominal W + j var drawn by each injection and phase, shape (injections, 3); of a delta by A-B, B-C, C-A.
        delta: which injections are connected between phases.
        exponent: how the power of each goes with the voltage: 0 constant, 1 constant current, 2 constant impedance.
        branches: lines, then transformers, then switches: the order of all branch results.
        three_phase: which branches have all three phases.
        limit: of each branch, A, of transformers VA; NaN where it has none.
        three_winding: addresses of transformers whose third winding is left out.
    """

    node: tuple[str, ...]
    nominal: Floats
    number: Mapping[str, int]
    switches: tuple[Equipment, ...]
    switch_ends: Indexes
    lines: tuple[Equipment, ...]
    line_ends: Indexes
    transformers: tuple[Equipment, ...]
    transformer_ends: Indexes
    bare: Booleans
    normally_closed: Booleans
    earthing: tuple[Equipment, ...]
    earthing_node: Indexes
    injections: tuple[Equipment, ...]
    injection_node: Indexes
    injection_number: Mapping[str, int]
    drawn: Complexes
    delta: Booleans
    exponent: Indexes
    sources: tuple[Equipment, ...]
    source_node: Indexes
    branches: tuple[Equipment, ...]
    three_phase: Booleans
    limit: Floats
    three_winding: tuple[str, ...]


def arrays_of(grid: Grid) -> GridArrays:
    """Number the nodes and equipment of a grid.

    Raises:
        GridError: equipment without the data that a computation needs.
    """
    node = tuple(grid.nodes)
    number = {address: index for index, address in enumerate(node)}
    switches = tuple(item for item, _ in grid.switches() if len(item.nodes) == 2)
    earthing = tuple(item for item in grid.of(CimClass.GROUND_DISCONNECTOR) if len(item.nodes) == 1)
    lines, transformers = tuple(grid.of(CimClass.LINE)), tuple(grid.of(CimClass.TRANSFORMER))
    injections = tuple(grid.of(CimClass.LOAD, CimClass.GENERATOR, CimClass.SHUNT))
    sources = tuple(grid.of(CimClass.SOURCE))
    for items, kind in ((lines, LineData), (transformers, TransformerData), (sources, SourceData)):
        for item in items:
            if not isinstance(item.data, kind):
                raise GridError(f"{item.address}: a {item.cim_class} needs its electrical data")
    branches = (*lines, *transformers, *switches)
    return GridArrays(
        node,
        np.array([grid.nodes[address].nominal for address in node], float),
        number,
        switches,
        _ends(switches, number),
        lines,
        _ends(lines, number),
        transformers,
        _ends(transformers, number),
        np.array([_without_impedance(item) for item in lines], bool),
        np.array([_normally_closed(item) for item in switches], bool),
        earthing,
        _first(earthing, number),
        injections,
        _first(injections, number),
        {item.address: index for index, item in enumerate(injections)},
        np.array([nominal_power(item) for item in injections], complex).reshape(-1, 3),
        np.array([isinstance(i.data, LoadData | ShuntData) and i.data.delta for i in injections], bool),
        np.array([_exponent(item) for item in injections], np.intp),
        sources,
        _first(sources, number),
        branches,
        np.array([len(set(phase_numbers(item.phases))) == 3 for item in branches], bool),
        np.array([limit_of(item) for item in branches], float),
        tuple(item.address for item in transformers if len(item.nodes) > 2),
    )


def limit_of(item: Equipment) -> float:
    """Limit of a branch: A, of a transformer VA; NaN when it has none."""
    data = item.data
    if isinstance(data, TransformerData):
        # a bank of fewer units has the data of the bank of three
        return data.s * len(set(phase_numbers(item.phases))) / 3 or float("nan")
    if isinstance(data, LineData | SwitchRating) and data.i_max:
        return data.i_max
    return float("nan")


def phase_numbers(phases: str) -> list[int]:
    """Numbers 0, 1, 2 of the letters among `ABC`, in the order they are written; all when there are none."""
    return [PHASES.index(letter) for letter in phases if letter in PHASES] or [0, 1, 2]


def pair_numbers(phases: str) -> list[int]:
    """Which of the pairs A-B, B-C, C-A a delta of some phases has."""
    present = phase_numbers(phases)
    if len(present) == 3:
        return [0, 1, 2]
    if len(present) == 2:
        return [{(0, 1): 0, (1, 2): 1, (0, 2): 2}[min(present), max(present)]]
    raise GridError(f"a delta needs two phases, not {phases!r}")


def spread(item: Equipment, power: complex) -> Complexes:
    """Power of a consumer by phase (of a delta by pair), in the proportion of its nominal data; shape (3,)."""
    nominal = nominal_power(item)
    total = nominal.sum()
    if total.real and total.imag:
        return np.asarray(nominal.real * (power.real / total.real) + 1j * nominal.imag * (power.imag / total.imag))
    share = _places(item)
    return np.asarray(power * share / share.sum())


def nominal_power(item: Equipment) -> Complexes:
    """W + j var that a load, generator or shunt draws by phase, of a delta by pair A-B, B-C, C-A; shape (3,)."""
    data = item.data
    share = _places(item)
    count = share.sum()
    if isinstance(data, LoadData):
        power = np.zeros(3, complex)
        parts = data.p_phases or data.q_phases
        if not parts:
            return np.asarray((data.p + 1j * data.q) * share / count)
        where = pair_numbers(item.phases) if data.delta else phase_numbers(item.phases)
        if len(where) != len(parts):
            raise GridError(f"{item.address}: {len(parts)} shares of power but {len(where)} phases")
        power[where] = np.array(data.p_phases or [data.p / count] * len(where)) + 1j * np.array(
            data.q_phases or [data.q / count] * len(where)
        )
        return power
    if isinstance(data, GeneratorData):
        return np.asarray(-(data.p + 1j * data.q) * share / count)
    if isinstance(data, ShuntData):
        return np.asarray(-1j * data.q * share / count)
    raise GridError(f"{item.address}: a {item.cim_class} needs its electrical data")


def _places(item: Equipment) -> Floats:
    """1 for each phase or pair that the equipment is connected to."""
    delta = isinstance(item.data, LoadData | ShuntData) and item.data.delta
    share = np.zeros(3)
    share[pair_numbers(item.phases) if delta else phase_numbers(item.phases)] = 1.0
    return share


def _exponent(item: Equipment) -> int:
    if isinstance(item.data, ShuntData):
        return 2
    if isinstance(item.data, LoadData):
        if item.data.model not in EXPONENT:
            raise GridError(f"{item.address}: a load of constant {item.data.model!r} is not known")
        return EXPONENT[item.data.model]
    return 0


def _ends(items: tuple[Equipment, ...], number: Mapping[str, int]) -> Indexes:
    pairs = [(number[item.nodes[0]], number[item.nodes[1]]) for item in items]
    return np.array(pairs, np.intp).reshape(-1, 2)


def _first(items: tuple[Equipment, ...], number: Mapping[str, int]) -> Indexes:
    return np.array([number[item.nodes[0]] for item in items], np.intp)


def components(count: int, first: Indexes, second: Indexes) -> Indexes:
    """Connected components of a graph: for each node 0 … count - 1 the lowest number that it is connected with."""
    label = np.arange(count)
    if not len(first):
        return label
    while True:
        low = np.minimum(label[first], label[second])
        np.minimum.at(label, label[first], low)
        np.minimum.at(label, label[second], low)
        while True:
            shorter = label[label]
            if np.array_equal(shorter, label):
                break
            label = shorter
        if np.array_equal(label[first], label[second]):
            return label


@dataclass(frozen=True, slots=True)
class Switching:
    """The grid in one switching state: nodes joined by closed switches (and lines without impedance) are one.

    Attributes:
        closed: of each switch.
        unknown: addresses of switches whose position nobody knows; taken as `open` unless told otherwise.
        joined: topological node of each node.
        nominal: line-to-line voltage of each topological node, V.
        line: lines that are branches between topological nodes: neither shorted by switches nor without impedance.
        transformer: transformers likewise.
        island: of each topological node, the lowest number of what it hangs together with.
        energised: of each topological node.
        kept: closed switches that are branches of their own.
    """

    closed: Booleans
    unknown: tuple[str, ...]
    joined: Indexes
    nominal: Floats
    line: Booleans
    transformer: Booleans
    island: Indexes
    energised: Booleans
    kept: Booleans


def switching(
    arrays: GridArrays,
    positions: Mapping[str, Position] | None = None,
    *,
    unknown: Position = Position.OPEN,
    kept: Booleans | None = None,
) -> Switching:
    """Topological nodes of a switching state.

    Args:
        arrays: of the grid.
        positions: by address of the switch; the normal position where it is not in.
        unknown: what a switch of unknown position is taken as.
        kept: switches that stay branches although closed, so that a measurement in them keeps its place.
    """
    places = positions or {}
    closed = arrays.normally_closed.copy()
    not_known = []
    for index, item in enumerate(arrays.switches):
        place = places.get(item.address)
        if place is None:
            continue
        if place == Position.UNKNOWN:
            not_known.append(item.address)
            place = unknown
        closed[index] = place == Position.CLOSED
    bare = arrays.bare
    own = np.zeros_like(closed) if kept is None else closed & kept
    merge = closed & ~own
    ends = np.concatenate([arrays.switch_ends[merge], arrays.line_ends[bare]])
    roots = components(len(arrays.node), ends[:, 0], ends[:, 1])
    unique, joined = np.unique(roots, return_inverse=True)
    line_ends, transformer_ends = joined[arrays.line_ends], joined[arrays.transformer_ends]
    line = (line_ends[:, 0] != line_ends[:, 1]) & ~bare
    transformer = transformer_ends[:, 0] != transformer_ends[:, 1]
    links = joined[arrays.switch_ends[own]]
    edges = np.concatenate([line_ends[line], transformer_ends[transformer], links])
    island = components(len(unique), edges[:, 0], edges[:, 1])
    live = np.zeros(len(unique), bool)
    live[island[joined[arrays.source_node]]] = True
    return Switching(
        closed, tuple(not_known), joined, arrays.nominal[unique], line, transformer, island, live[island], own
    )


def _normally_closed(item: Equipment) -> bool:
    return not (isinstance(item.data, SwitchRating) and item.data.normal_open)


def _without_impedance(item: Equipment) -> bool:
    data = item.data
    return isinstance(data, LineData) and not (data.r or data.x or any(data.phase_impedance))


def earthed_and_live(arrays: GridArrays, state: Switching, positions: Mapping[str, Position] | None) -> str:
    """Address of a ground disconnector that is closed on an energised node; empty when there is none."""
    places = positions or {}
    for item, node in zip(arrays.earthing, arrays.earthing_node, strict=True):
        normal = Position.CLOSED if _normally_closed(item) else Position.OPEN
        if places.get(item.address, normal) == Position.CLOSED and state.energised[state.joined[node]]:
            return item.address
    return ""
