"""Power flow of radial grids of one voltage: positive-sequence backward/forward sweep on arrays, many cases at once.

Nodes stand in depth-first order, so that what lies behind a node is one range: branch currents are differences of one
running sum, and voltages are another. The cost does not depend on the depth of the feeder, and a whole batch of load
cases goes through the same few array operations.

The method is the backward/forward sweep of Shirmohammadi et al. (1988) with constant power, without its loop breaking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
Indexes = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

COLLAPSE = 0.5
"""Part of the source voltage below which a voltage counts as collapsed: below the nose of a two-bus system."""
_CHUNK = 1 << 16
"""Values a batch works on at a time, so that they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class RadialOrder:
    """What of a grid hangs on which source, by a depth-first walk. Positions count along the walk.

    Attributes:
        nodes, branches: how many the grid has.
        node: node at each position; only energised nodes have one.
        branch: branch that feeds each position; -1 for a source.
        downward: that branch counts from the source on (+1) or towards it (-1).
        root: position of the source of each position.
        end: first position that is no longer behind each position.
        entry, leave: slots of each position in the walk that also counts the ways back.
        looped: branch that closes a loop or joins two sources; -1 when there is none.
    """

    nodes: int
    branches: int
    node: Indexes
    branch: Indexes
    downward: Floats
    root: Indexes
    end: Indexes
    entry: Indexes
    leave: Indexes
    looped: int

    @property
    def energised(self) -> Booleans:
        """Which nodes hang on a source, shape (nodes,)."""
        result = np.zeros(self.nodes, bool)
        result[self.node] = True
        return result


def radial_order(
    nodes: int,
    from_node: npt.ArrayLike,
    to_node: npt.ArrayLike,
    closed: npt.ArrayLike,
    source: int | npt.ArrayLike,
) -> RadialOrder:
    """Walk a grid from its sources over closed branches.

    Args:
        nodes: number of nodes; they are 0 … nodes - 1.
        from_node: first node of each branch, shape (branches,).
        to_node: second node of each branch.
        closed: whether each branch conducts.
        source: node or nodes with given voltage.
    """
    begins = np.asarray(from_node, np.intp).tolist()
    ends = np.asarray(to_node, np.intp).tolist()
    neighbours: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for branch in np.nonzero(np.asarray(closed, bool))[0].tolist():
        neighbours[begins[branch]].append((ends[branch], branch))
        neighbours[ends[branch]].append((begins[branch], branch))
    position = [-1] * nodes
    node: list[int] = []
    feeding: list[int] = []
    root: list[int] = []
    end: list[int] = []
    entry: list[int] = []
    leave: list[int] = []
    slot, looped = 0, -1
    for start in np.atleast_1d(np.asarray(source, np.intp)).tolist():
        if position[start] >= 0:
            looped = feeding[position[start]] if looped < 0 else looped
            continue
        stack = [(start, -1)]
        while stack:
            here, branch = stack.pop()
            if here < 0:  # the way back over position -here - 1
                end[-here - 1] = len(node)
                leave[-here - 1] = slot
                slot += 1
                continue
            if position[here] >= 0:
                looped = branch
                continue
            place = position[here] = len(node)
            node.append(here)
            feeding.append(branch)
            root.append(place if branch < 0 else root[-1])
            end.append(0)
            leave.append(0)
            entry.append(slot)
            slot += 1
            stack.append((-place - 1, -1))
            stack.extend((there, way) for there, way in neighbours[here] if way != branch)
    fed = np.array(feeding, np.intp)
    towards = np.append(np.asarray(to_node, np.intp), -1)[fed]
    downward = np.where(towards == np.array(node, np.intp), 1.0, -1.0)
    return RadialOrder(
        nodes,
        len(begins),
        np.array(node, np.intp),
        fed,
        downward,
        np.array(root, np.intp),
        np.array(end, np.intp),
        np.array(entry, np.intp),
        np.array(leave, np.intp),
        looped,
    )


def subtotals(order: RadialOrder, drawn: npt.ArrayLike) -> Complexes:
    """What flows through each branch, from its first end to its second, when nothing is lost on the way.

    Args:
        order: of the grid; in a loop one way is taken and the other left.
        drawn: complex, what each node draws, shape (nodes,).
    """
    running = np.concatenate([[0.0], np.cumsum(np.asarray(drawn, complex)[order.node])])
    behind = running[order.end] - running[:-1]
    result = np.zeros(order.branches, complex)
    fed = order.branch >= 0
    result[order.branch[fed]] = (behind * order.downward)[fed]
    return result


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Outcome of a sweep; leading axes are those of the load cases. What has not converged is not a number (NaN).

    Attributes:
        voltage: line to line, V, complex, shape (…, nodes); 0 where nothing is energised.
        current: A, complex, positive from the first to the second end of the branch, shape (…, branches).
        loss: W + j var of each branch, shape (…, branches).
        converged: of each load case, shape (…).
        energised: of each node.
        reason: why there is no result; empty when there is.
        iterations: most that a load case took.
    """

    voltage: Complexes
    current: Complexes
    loss: Complexes
    converged: Booleans
    energised: Booleans
    reason: str
    iterations: int

    @property
    def feasible(self) -> bool:
        """Whether every load case has a solution."""
        return bool(self.converged.all())

    @property
    def total_loss(self) -> Complexes:
        """W + j var, shape (…)."""
        return np.asarray(self.loss.sum(-1))

    @property
    def lowest_voltage(self) -> Floats:
        """Lowest voltage of an energised node, V, shape (…)."""
        return np.asarray(np.abs(self.voltage[..., self.energised]).min(-1))


def sweep(
    order: RadialOrder,
    r: npt.ArrayLike,
    x: npt.ArrayLike,
    p: npt.ArrayLike,
    q: npt.ArrayLike,
    *,
    v0: npt.ArrayLike,
    tolerance: float = 1e-9,
    iterations: int = 100,
) -> SweepResult:
    """Power flow of one or many load cases.

    Args:
        order: of the grid in its switching state.
        r: ohm of each branch, shape (branches,).
        x: ohm likewise.
        p: W drawn at each node, sum of three phases, shape (…, nodes); at dead nodes without effect.
        q: var likewise.
        v0: line-to-line voltage of the sources, V: one number, or one a node of which those of sources count.
        tolerance: largest change of a voltage in the last iteration, part of v0.
        iterations: after so many a load case counts as unsolvable.

    Returns:
        A loop, a collapsed or a diverging case is a result without numbers that says so.
    """
    load = np.asarray(p, float) + 1j * np.asarray(q, float)
    shape = load.shape[:-1]
    cases = load.reshape(-1, order.nodes)
    count = len(cases)
    if order.looped >= 0:
        return _nothing(order, shape, f"branch {order.looped} closes a loop or joins two sources")
    impedance = np.asarray(r, float) + 1j * np.asarray(x, float)
    if len(order.node) == 0:
        return _nothing(order, shape, "no source")
    root_voltage = np.broadcast_to(np.asarray(v0, complex), (order.nodes,))[order.node[order.root]] / np.sqrt(3)
    z = np.append(impedance, 0.0)[order.branch]
    limits = (tolerance, iterations)
    rows = max(1, _CHUNK // len(order.node))
    voltage = np.zeros((count, order.nodes), complex)
    current = np.zeros((count, order.branches), complex)
    converged = np.zeros(count, bool)
    most = 0
    fed = order.branch >= 0
    for begin in range(0, count, rows):
        part = slice(begin, begin + rows)
        v, i, good, used = _iterate(order, z, cases[part][:, order.node] / 3, root_voltage, limits)
        voltage[part, order.node] = v * np.sqrt(3)
        current[part, order.branch[fed]] = (i * order.downward)[:, fed]
        converged[part] = good
        most = max(most, used)
    loss = 3 * (current.real**2 + current.imag**2) * impedance
    voltage[~converged] = current[~converged] = loss[~converged] = np.nan
    bad = count - int(converged.sum())
    return SweepResult(
        voltage.reshape(*shape, order.nodes),
        current.reshape(*shape, order.branches),
        loss.reshape(*shape, order.branches),
        converged.reshape(shape),
        order.energised,
        f"{bad} of {count} load cases have no solution (voltage collapse)" if bad else "",
        most,
    )


def radial_flow(
    from_node: npt.ArrayLike,
    to_node: npt.ArrayLike,
    *,
    r: npt.ArrayLike,
    x: npt.ArrayLike,
    p: npt.ArrayLike,
    q: npt.ArrayLike,
    closed: npt.ArrayLike,
    source: int | npt.ArrayLike,
    v0: npt.ArrayLike,
) -> SweepResult:
    """`radial_order` and `sweep` in one, for a switching state that is looked at once; arguments as of those."""
    order = radial_order(np.asarray(p).shape[-1], from_node, to_node, closed, source)
    return sweep(order, r, x, p, q, v0=v0)


def _iterate(
    order: RadialOrder, z: Complexes, load: Complexes, root_voltage: Complexes, limits: tuple[float, int]
) -> tuple[Complexes, Complexes, Booleans, int]:
    """Phase voltages and currents of the feeding branches, both (cases, positions); who converged; iterations."""
    (tolerance, iterations), (cases, places) = limits, load.shape
    voltage = np.broadcast_to(root_voltage, (cases, places)).copy()
    current = np.zeros_like(voltage)
    converged = np.zeros(cases, bool)
    least, limit = COLLAPSE * np.abs(root_voltage), tolerance * np.abs(root_voltage)
    at_work = np.arange(cases)
    v, conjugate = voltage.copy(), np.conj(load)
    running = np.zeros((cases, places + 1), complex)
    walk = np.zeros((cases, 2 * places), complex)
    for iteration in range(1, iterations + 1):
        # conj(S / V) without the slow division of complex numbers
        np.cumsum(conjugate * v * (1.0 / (v.real**2 + v.imag**2)), axis=-1, out=running[:, 1:])
        i = np.take(running, order.end, axis=1) - running[:, :-1]
        drop = z * i
        walk[:, order.entry] = drop
        walk[:, order.leave] = -drop
        new = root_voltage - np.take(np.cumsum(walk, axis=-1), order.entry, axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            still = (np.abs(new - v) > limit).any(-1)
            lost = ~(np.abs(new) >= least).all(-1)
        v = new
        done = ~still & ~lost
        if done.any() or lost.any():
            voltage[at_work[done]], current[at_work[done]] = v[done], i[done]
            converged[at_work[done]] = True
            going = still & ~lost
            at_work, v, conjugate = at_work[going], v[going], conjugate[going]
            running, walk = running[going], walk[going]
            if not len(at_work):
                return voltage, current, converged, iteration
    return voltage, current, converged, iterations


def _nothing(order: RadialOrder, shape: tuple[int, ...], reason: str) -> SweepResult:
    return SweepResult(
        np.full((*shape, order.nodes), np.nan, complex),
        np.full((*shape, order.branches), np.nan, complex),
        np.full((*shape, order.branches), np.nan, complex),
        np.zeros(shape, bool),
        order.energised,
        reason,
        0,
    )
