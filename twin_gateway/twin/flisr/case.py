"""The case that is searched: a small grid as arrays, without addresses, in per unit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Complexes: TypeAlias = npt.NDArray[np.complex128]
Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(slots=False)
class Case:
    """Nodes 0..n-1 and edges 0..m-1 in per unit of one base power and of the nominal voltage of each node.

    An edge is whatever lies between two nodes: lines and switches in series. It conducts when it is closed.

    Attributes:
        load: n, complex power drawn.
        shunt: n, susceptance to earth (capacitive positive).
        value: n, what restoring the node is worth (W times weight).
        customers: n.
        floor, ceiling: n, limits of the voltage magnitude.
        barred: n, must never be live (faulted, tagged, earthed).
        keep: n, was live before the plan: must be live after it.
        roots: indices of the nodes that sources hold.
        root_voltage: of each root, per unit.
        root_impedance: of each root, the grid above; used for fault currents only.
        start, end: m, nodes of each edge.
        impedance: m, complex.
        limit: m, highest current; inf when unlimited.
        closed: m, before the plan.
        can_open, can_close: m, whether the plan may do so.
        cost: m, operations that changing the edge takes.
        rank: m, order among equals (by address).
        reach: edge -> highest impedance magnitude from the source that the protection at this edge still covers.
        z_before: n, impedance magnitude from the source before the plan (0 where not known): a node beyond the reach
            already may stay so, but not get farther.
        max_operations: bound on the sum of the costs.
    """

    load: Complexes
    shunt: Floats
    value: Floats
    customers: Ints
    floor: Floats
    ceiling: Floats
    barred: Flags
    keep: Flags
    roots: Ints
    root_voltage: Floats
    root_impedance: Complexes
    start: Ints
    end: Ints
    impedance: Complexes
    limit: Floats
    closed: Flags
    can_open: Flags
    can_close: Flags
    cost: Ints
    rank: Ints
    z_before: Floats
    reach: dict[int, float] = field(default_factory=dict)
    max_operations: int = 8

    def derive(self, **changes: Any) -> Case:
        """The same grid with other limits, loads or positions; what was worked out of its shape is kept."""
        other = replace(self, **changes)
        for name in ("adjacency", "links", "root_of", "impedance_above", "resistance"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.load)

    @property
    def m(self) -> int:
        """Number of edges."""
        return len(self.start)

    @cached_property
    def adjacency(self) -> list[list[tuple[int, int]]]:
        """Of each node its (neighbour, edge), in the order of the edges."""
        table: list[list[tuple[int, int]]] = [[] for _ in range(self.n)]
        for k, (a, b) in enumerate(zip(self.start.tolist(), self.end.tolist(), strict=True)):
            table[a].append((b, k))
            table[b].append((a, k))
        return table

    @cached_property
    def impedance_above(self) -> Complexes:
        """Impedances by edge to the parent: the last one, at -1, is that of a root: 0."""
        return np.append(self.impedance, 0.0)

    @cached_property
    def limit_above(self) -> Floats:
        """Limits by edge to the parent: the last one, at -1, is that of a root: none."""
        return np.append(self.limit, np.inf)

    @cached_property
    def resistance(self) -> Floats:
        """Real part of the impedances."""
        return np.ascontiguousarray(self.impedance.real)

    @cached_property
    def links(self) -> tuple[Ints, Ints, Ints]:
        """`adjacency` as arrays: where the links of each node begin, the neighbours, the edges."""
        node = np.concatenate([self.start, self.end])
        edge = np.concatenate([np.arange(self.m), np.arange(self.m)])
        # the order of `adjacency`: by node, then by edge
        order = np.lexsort((edge, node))
        first = np.searchsorted(node[order], np.arange(self.n + 1))
        return first.astype(np.int64), np.concatenate([self.end, self.start])[order], edge[order]

    @cached_property
    def root_of(self) -> Ints:
        """n, number of the root that a node is; -1 for the others."""
        table = np.full(self.n, -1, np.int64)
        table[self.roots] = np.arange(len(self.roots))
        return table

    @cached_property
    def has_shunts(self) -> bool:
        """Whether any node has a susceptance."""
        return bool(self.shunt.any())

    @cached_property
    def total(self) -> float:
        """Value of everything, at least a little."""
        return max(float(self.value.sum()), 1e-9)


def case_from_branches(
    loads: Complexes,
    start: Ints,
    end: Ints,
    impedance: Complexes,
    *,
    closed: Flags,
    roots: Ints,
    limit: Floats | None = None,
    v_min: float = 0.90,
    v_max: float = 1.10,
    max_operations: int = 8,
) -> Case:
    """A case where every branch can be switched by itself; value is the active power (per unit).

    `keep` and the do-no-harm limits are left open: `search.settle` fills them.
    """
    n, m = len(loads), len(start)
    return Case(
        load=np.asarray(loads, complex),
        shunt=np.zeros(n),
        value=np.asarray(loads, complex).real.copy(),
        customers=np.zeros(n, np.int64),
        floor=np.full(n, v_min),
        ceiling=np.full(n, v_max),
        barred=np.zeros(n, bool),
        keep=np.zeros(n, bool),
        roots=np.asarray(roots, np.int64),
        root_voltage=np.ones(len(roots)),
        root_impedance=np.zeros(len(roots), complex),
        start=np.asarray(start, np.int64),
        end=np.asarray(end, np.int64),
        impedance=np.asarray(impedance, complex),
        limit=np.full(m, np.inf) if limit is None else np.asarray(limit, float),
        closed=np.asarray(closed, bool),
        can_open=np.ones(m, bool),
        can_close=np.ones(m, bool),
        cost=np.ones(m, np.int64),
        rank=np.arange(m),
        z_before=np.zeros(n),
        max_operations=max_operations,
    )
