"""A case with fewer nodes and edges for the search: what cannot be switched or changes nothing is put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.flisr.case import Case, Flags
from twin_gateway.twin.flisr.forest import Forest


@dataclass(slots=True)
class Reduced:
    """A smaller case and the way back.

    Attributes:
        case: to be searched.
        whole: what it was made of.
        parts: of each edge of `case`, the edges of `whole` in series.
    """

    case: Case
    whole: Case
    parts: list[list[int]]

    def expand(self, closed: Flags) -> Flags:
        """The same configuration in the whole case."""
        result = self.whole.closed.copy()
        for edge in np.flatnonzero(closed != self.case.closed).tolist():
            if closed[edge]:
                result[self.parts[edge]] = True
            else:
                result[self.opener(edge)] = False
        return result

    def opener(self, edge: int) -> int:
        """The edge of the whole case that opens an edge of the case: the first by rank among those that can."""
        whole = self.whole
        able = [part for part in self.parts[edge] if whole.can_open[part] and whole.closed[part]]
        return min(able, key=lambda part: int(whole.rank[part]))


def reduce(case: Case, reference: Forest) -> Reduced:
    """Join edges in series, cut off dead ends without load, and lump parts that no operation can change.

    Args:
        case: with its final limits.
        reference: a solved configuration (before the fault, or the case's own); lumped parts draw what they drew there
            with their losses, and the lowest voltage that their nodes permit becomes the floor of the node they hang
            from.
    """
    graph = _Graph(case)
    graph.drop_unusable()
    graph.lump(reference)
    graph.join_series()
    return graph.result()


class _Graph:
    """The case while it shrinks: edges as records, nodes by their old numbers."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.alive = [True] * case.n
        self.ends: list[tuple[int, int]] = list(zip(case.start.tolist(), case.end.tolist(), strict=True))
        self.impedance: list[complex] = case.impedance.tolist()
        self.limit: list[float] = case.limit.tolist()
        self.parts: list[list[int]] = [[edge] for edge in range(case.m)]
        self.closed: list[bool] = case.closed.tolist()
        self.can_open: list[bool] = (case.can_open & case.closed).tolist()
        self.can_close: list[bool] = (case.can_close & ~case.closed).tolist()
        self.cost: list[int] = case.cost.tolist()
        self.rank: list[int] = case.rank.tolist()
        self.used = [True] * case.m
        self.at: list[list[int]] = [[] for _ in range(case.n)]
        for edge, (a, b) in enumerate(self.ends):
            self.at[a].append(edge)
            self.at[b].append(edge)
        self.load = case.load.copy()
        self.value = case.value.copy()
        self.customers = case.customers.copy()
        self.floor = case.floor.copy()
        self.shunt = case.shunt.copy()
        self.keep = case.keep.copy()
        fixed = case.barred.copy()
        fixed[case.roots] = True
        self.fixed: list[bool] = fixed.tolist()
        self.empty: list[bool] = (
            (case.load == 0) & (case.shunt == 0) & (case.value == 0) & (case.customers == 0) & ~fixed
        ).tolist()

    def other(self, edge: int, node: int) -> int:
        a, b = self.ends[edge]
        return b if a == node else a

    def remove(self, edge: int) -> None:
        self.used[edge] = False
        for node in set(self.ends[edge]):
            self.at[node].remove(edge)

    def drop_unusable(self) -> None:
        """Edges that are open and cannot be closed, and loops of one node."""
        for edge, (a, b) in enumerate(self.ends):
            if (not self.closed[edge] and not self.can_close[edge]) or a == b:
                self.remove(edge)

    def lump(self, reference: Forest) -> None:
        """Put hanging parts that no operation can change into the node they hang from, leaf by leaf."""
        case = self.case
        place = reference.place.tolist()
        parent, edge_of = reference.parent.tolist(), reference.edge.tolist()
        order = reference.order.tolist()
        magnitude = reference.magnitude.tolist()
        losses = (np.abs(reference.current) ** 2 * case.impedance_above[reference.edge]).tolist()
        stack = [node for node in range(case.n) if len(self.at[node]) == 1]
        while stack:
            node = stack.pop()
            if len(self.at[node]) != 1 or self.fixed[node] or not self.alive[node]:
                continue
            edge = self.at[node][0]
            rigid = self.closed[edge] and not self.can_open[edge] and edge not in case.reach
            above = self.other(edge, node)
            if not rigid:
                # a switch that only switches nothing is of no use
                if self.empty[node] and edge not in case.reach:
                    self.remove(edge)
                    self.alive[node] = False
                    stack.append(above)
                continue
            here = place[node]
            if not self.empty[node]:
                if here < 0 or edge_of[here] != edge or order[parent[here]] != above:
                    continue
                drop = magnitude[parent[here]] - magnitude[here]
                floor = float(self.floor[node])
                # the same power at a lower voltage drops more
                needed = floor + drop * magnitude[parent[here]] / max(floor + drop, 0.5)
                self.floor[above] = max(float(self.floor[above]), min(needed, magnitude[parent[here]]))
                self.load[above] += self.load[node] + losses[here]
                self.shunt[above] += self.shunt[node]
                self.value[above] += self.value[node]
                self.customers[above] += self.customers[node]
                self.keep[above] |= self.keep[node]
                self.empty[above] = False
            self.remove(edge)
            self.alive[node] = False
            stack.append(above)

    def join_series(self) -> None:
        """Two edges at a node without load become one."""
        reach = self.case.reach
        for node in range(self.case.n):
            if not self.alive[node] or not self.empty[node] or len(self.at[node]) != 2:
                continue
            first, second = self.at[node]
            a, b = self.other(first, node), self.other(second, node)
            if a == b or first in reach or second in reach:
                continue
            self.remove(first)
            self.remove(second)
            self.alive[node] = False
            self.ends.append((a, b))
            self.impedance.append(self.impedance[first] + self.impedance[second])
            self.limit.append(min(self.limit[first], self.limit[second]))
            self.parts.append(self.parts[first] + self.parts[second])
            closed = self.closed[first] and self.closed[second]
            self.closed.append(closed)
            self.can_open.append(closed and (self.can_open[first] or self.can_open[second]))
            shut = [edge for edge in (first, second) if not self.closed[edge]]
            self.can_close.append(bool(shut) and all(self.can_close[edge] for edge in shut))
            able = [edge for edge in (first, second) if self.can_open[edge]] if closed else shut
            if closed:
                best = min(able, key=lambda edge: self.rank[edge], default=first)
                self.cost.append(self.cost[best])
                self.rank.append(self.rank[best])
            else:
                self.cost.append(sum(self.cost[edge] for edge in shut))
                self.rank.append(min(self.rank[edge] for edge in shut))
            self.used.append(True)
            edge = len(self.ends) - 1
            self.at[a].append(edge)
            self.at[b].append(edge)

    def result(self) -> Reduced:
        """The smaller case."""
        case = self.case
        # a node with load that nothing reaches any more still counts as unserved
        nodes = [
            node
            for node in range(case.n)
            if self.alive[node] and (self.at[node] or self.fixed[node] or not self.empty[node])
        ]
        edges = [edge for edge, used in enumerate(self.used) if used]
        number = np.full(case.n, -1, np.int64)
        number[nodes] = np.arange(len(nodes))
        ends = np.array([self.ends[edge] for edge in edges], np.int64).reshape(-1, 2)
        # edges of a node that was joined were removed, so both ends are nodes of the result
        closed = np.array([self.closed[edge] for edge in edges], bool)
        can_open = np.array([self.can_open[edge] for edge in edges], bool)
        can_close = np.array([self.can_close[edge] for edge in edges], bool)
        smaller = Case(
            load=self.load[nodes],
            shunt=self.shunt[nodes],
            value=self.value[nodes],
            customers=self.customers[nodes],
            floor=self.floor[nodes],
            ceiling=case.ceiling[nodes],
            barred=case.barred[nodes],
            keep=self.keep[nodes],
            roots=number[case.roots],
            root_voltage=case.root_voltage,
            root_impedance=case.root_impedance,
            start=number[ends[:, 0]],
            end=number[ends[:, 1]],
            impedance=np.array([self.impedance[edge] for edge in edges], complex),
            limit=np.array([self.limit[edge] for edge in edges], float),
            closed=closed,
            # an edge that was opened may be closed again, and the other way round
            can_open=can_open | (can_close & ~closed),
            can_close=can_close | (can_open & closed),
            cost=np.array([self.cost[edge] for edge in edges], np.int64),
            rank=np.array([self.rank[edge] for edge in edges], np.int64),
            z_before=case.z_before[nodes],
            reach={i: case.reach[edge] for i, edge in enumerate(edges) if edge in case.reach},
            max_operations=case.max_operations,
        )
        return Reduced(smaller, case, [self.parts[edge] for edge in edges])
