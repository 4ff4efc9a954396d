"""A switching configuration as a forest rooted at the sources, with its power flow.

Nodes stand in depth-first order, so that a subtree is a slice: sums over subtrees and along paths are cumulative sums
and the backward-forward sweep (Shirmohammadi et al., IEEE Trans. Power Systems 3 (1988) 753) needs no loop over nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.flisr.case import Case, Complexes, Flags, Floats, Ints
from twin_gateway.twin.flisr.kernels import Walk, compiled_walk

TOLERANCE = 1e-9
"""Per unit, change of any voltage in the last sweep."""
MAX_SWEEPS = 40
COLLAPSED = 0.3
"""Per unit; below it a sweep is taken as not converging."""
VOLTAGE_WEIGHT = 20.0
"""A violation of 0.05 pu counts as much as an overload of 100 %."""
SLACK = 1e-7
"""Numerical slack of limits, per unit."""


@dataclass(slots=True)
class Forest:
    """A configuration with its solved power flow; arrays without a remark are in depth-first order of the live nodes.

    Attributes:
        closed: m, which edges are closed.
        order: node at each place.
        place: n, place of each node; -1 when it is dead.
        parent: place of the parent; -1 for roots.
        last: one past the end of the subtree.
        edge: edge to the parent; -1 for roots.
        looped: a live cycle, or two sources tied: not radial.
        converged: the power flow converged; otherwise voltages are of a linear estimate and only steer the search.
        voltage, magnitude: per unit.
        current: through the edge to the parent, towards the node.
        margin: magnitude - floor.
        loading: share of the limit of the edge to the parent.
        violation: 0 when every constraint holds.
        barred: live nodes that must be dead.
        lost: nodes that were live and are dead now.
        unserved: value of the dead nodes.
        customers: without supply.
        operations: cost against the case's own positions.
        loss: per unit.
    """

    closed: Flags
    order: Ints
    place: Ints
    parent: Ints
    last: Ints
    edge: Ints
    looped: bool
    converged: bool
    voltage: Complexes
    magnitude: Floats
    current: Complexes
    margin: Floats
    loading: Floats
    violation: float
    barred: int
    lost: int
    unserved: float
    customers: int
    operations: int
    loss: float

    @property
    def feasible(self) -> bool:
        """All constraints hold and the power flow converged."""
        return self.converged and not self.looped and self.lost == 0 and self.violation <= 0.0

    @property
    def v_min(self) -> float:
        """Lowest voltage, NaN when nothing is live."""
        return float(self.magnitude.min()) if len(self.magnitude) else float("nan")


def walk(case: Case, closed: Flags) -> tuple[list[int], list[int], list[int], list[int], bool]:
    """Depth-first order of the live nodes.

    Returns:
        node, place of the parent, edge to the parent, end of the subtree (all by place), and whether there is a live
        cycle.
    """
    adjacency, shut = case.adjacency, closed.tolist()
    seen = [False] * case.n
    order: list[int] = []
    parent: list[int] = []
    edge: list[int] = []
    looped = False
    roots = case.roots.tolist()
    for root in roots:
        seen[root] = True
    for root in roots:
        stack = [(root, -1, -1)]
        while stack:
            node, above, via = stack.pop()
            here = len(order)
            order.append(node)
            parent.append(above)
            edge.append(via)
            for other, k in adjacency[node]:
                if shut[k] and k != via:
                    if seen[other]:
                        looped = True
                    else:
                        seen[other] = True
                        stack.append((other, here, k))
    count = len(order)
    size = [1] * count
    for here in range(count - 1, 0, -1):
        above = parent[here]
        if above >= 0:
            size[above] += size[here]
    return order, parent, edge, [here + size[here] for here in range(count)], looped


def _arrays(found: tuple[list[int], list[int], list[int], list[int], bool]) -> Walk:
    order, parent, edge, last, looped = found
    return (
        np.array(order, np.int64),
        np.array(parent, np.int64),
        np.array(edge, np.int64),
        np.array(last, np.int64),
        looped,
    )


def solve(case: Case, closed: Flags, tolerance: float = TOLERANCE) -> Forest:
    """The forest of a configuration and its power flow; constant power, flat start."""
    return solve_all(case, [closed], tolerance)[0]


def solve_all(case: Case, configurations: Sequence[Flags], tolerance: float = TOLERANCE) -> list[Forest]:
    """As `solve` for several configurations, whose forests stand one after the other in one sweep."""
    walks = [compiled_walk(case, closed) or _arrays(walk(case, closed)) for closed in configurations]
    loops = [item[4] for item in walks]
    cuts = [0, *itertools.accumulate(len(item[0]) for item in walks)]
    order, parent, edge = (np.concatenate([item[i] for item in walks]) for i in range(3))
    last = np.concatenate([item[3] + start for item, start in zip(walks, cuts[:-1], strict=True)])
    rooted = edge < 0
    impedance = case.impedance_above[edge]
    limit = case.limit_above[edge]
    held = case.root_of[order[rooted]]
    source = np.repeat(case.root_voltage[held], np.diff(np.append(np.flatnonzero(rooted), len(order))))
    shunt = np.asarray(1j * case.shunt[order], np.complex128) if case.has_shunts else None
    paths = Paths(last)
    starts = np.array(cuts[:-1], np.int64)
    voltage, current, good = sweep(
        np.conj(case.load[order]),
        shunt,
        source,
        impedance,
        last,
        paths=paths,
        cuts=np.append(starts, len(order)),
        tolerance=tolerance,
    )
    magnitude = np.abs(voltage)
    margin = magnitude - case.floor[order]
    loading = np.abs(current) / limit
    count = len(configurations)
    if len(order):
        low = np.maximum(
            -np.minimum.reduceat(margin, starts), np.maximum.reduceat(magnitude - case.ceiling[order], starts)
        )
        over = np.maximum.reduceat(loading, starts) - 1.0
        losses = np.add.reduceat(impedance.real * (current.real**2 + current.imag**2), starts)
        barred = np.add.reduceat(case.barred[order].astype(np.int64), starts)
    else:
        low, over, losses, barred = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
    violation = (
        np.where(low > SLACK, VOLTAGE_WEIGHT * low, 0.0) + np.where(over > SLACK, over, 0.0) + 10.0 * barred + ~good
    )
    place = np.full((count, case.n), -1, np.int64)
    row = np.repeat(np.arange(count), np.diff(cuts))
    place[row, order] = np.arange(len(order)) - starts[row]
    dead = place < 0
    unserved = dead @ case.value
    customers = dead @ case.customers
    lost = np.count_nonzero(dead & case.keep, 1)
    changed = np.array(configurations) != case.closed
    operations = changed @ case.cost
    depth = paths(impedance) if case.reach else None
    found = []
    for i, closed in enumerate(configurations):
        span = slice(cuts[i], cuts[i + 1])
        extra = 0.0
        if depth is not None:
            extra = _beyond_reach(case, order[span], edge[span], last[span] - cuts[i], depth[span])
        found.append(
            Forest(
                closed=closed,
                order=order[span],
                place=place[i],
                parent=parent[span],
                last=last[span] - cuts[i] if i else last[span],
                edge=edge[span],
                looped=loops[i],
                converged=bool(good[i]),
                voltage=voltage[span],
                magnitude=magnitude[span],
                current=current[span],
                margin=margin[span],
                loading=loading[span],
                violation=float(violation[i]) + extra,
                barred=int(barred[i]),
                lost=int(lost[i]),
                unserved=float(unserved[i]),
                customers=int(customers[i]),
                operations=int(operations[i]),
                loss=float(losses[i]),
            )
        )
    return found


class Paths:
    """Sums along the paths to the roots of a forest in depth-first order."""

    def __init__(self, last: Ints) -> None:
        """Take the ends of the subtrees."""
        self._leaving = np.argsort(last, kind="stable")
        self._left = np.searchsorted(last[self._leaving], np.arange(len(last)), "right")
        self._sums = np.zeros(len(last) + 1, np.complex128)

    def __call__(self, values: Complexes) -> Complexes:
        """At each place, the sum of the values of the place and of all places above it."""
        np.cumsum(values[self._leaving], out=self._sums[1:])
        return np.cumsum(values) - self._sums[self._left]


def sweep(
    power: Complexes,
    shunt: Complexes | None,
    source: Floats,
    impedance: Complexes,
    last: Ints,
    *,
    paths: Paths,
    cuts: Ints,
    tolerance: float = TOLERANCE,
) -> tuple[Complexes, Complexes, Flags]:
    """Backward-forward sweep over the nodes of one or more configurations in depth-first order.

    Args:
        power: conjugate of the power drawn at each place.
        shunt: j times the susceptance at each place, or None.
        source: voltage of the root above each place.
        impedance: of the edge to the parent; 0 for roots.
        last: one past the end of each subtree.
        paths: of the same forest.
        cuts: first place of each configuration, and the number of places; none may be empty.
        tolerance: change of any voltage in the last sweep, per unit.

    Returns:
        voltages, currents of the edges to the parents, and which configurations converged. Where one did not, the
        result is that of constant currents at nominal voltage.
    """
    count, starts = len(power), cuts[:-1]
    good = np.ones(len(starts), bool)
    if not count:
        return np.zeros(0, complex), np.zeros(0, complex), good
    total = np.zeros(count + 1, np.complex128)
    linear: Flags | None = None  # places of configurations that have been given up
    voltage = source.astype(np.complex128)
    before = np.full(len(starts), np.inf)
    for step in range(MAX_SWEEPS + 1):
        drawn = power / voltage.conj()
        if shunt is not None:
            drawn += shunt * voltage
        if linear is not None:
            drawn = np.where(linear, power, drawn)
        drawn.cumsum(out=total[1:])
        current = total[last] - total[:-1]
        new = source - paths(impedance * current)
        change = np.abs(new - voltage)
        voltage = new
        if change.max() < tolerance:
            return voltage, current, good
        by_case = np.maximum.reduceat(change, starts)
        # a voltage that collapses is given up before its currents grow so large that they blur the sums of the others
        sunk = np.minimum.reduceat(np.abs(new), starts) < COLLAPSED
        stuck = ~(by_case < 1.5 * before) | (step >= MAX_SWEEPS - 2)
        lost = good & (sunk | (stuck & ~(by_case < tolerance)))
        if lost.any():
            good &= ~lost
            linear = np.repeat(~good, np.diff(cuts))
            voltage = np.where(linear, source, voltage)
            by_case = np.where(good, by_case, np.inf)
        before = by_case
    return voltage, current, good


def _beyond_reach(case: Case, order: Ints, edge: Ints, last: Ints, depth: Complexes) -> float:
    """How far the farthest node lies beyond the reach of its protection, as a share of that reach."""
    covered = np.full(len(order), np.inf)
    rooted = np.flatnonzero(edge < 0)
    above = np.repeat(case.root_impedance[case.root_of[order[rooted]]], np.diff(np.append(rooted, len(order))))
    # in depth-first order an inner protection comes after the outer one, and covers its own part alone
    for place in np.flatnonzero(np.isin(edge, list(case.reach))).tolist():
        covered[place : int(last[place])] = case.reach[int(edge[place])]
    distance = np.abs(above + depth)
    beyond = (distance > covered * (1 + 1e-9)) & (distance > case.z_before[order] * (1 + 1e-9))
    if not beyond.any():
        return 0.0
    return float((distance[beyond] / covered[beyond]).max() - 1.0)
