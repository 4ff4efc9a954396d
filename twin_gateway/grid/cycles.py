"""Which vertices of a graph lie on a cycle: leaves are peeled off in whole fronts, what is left is searched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indexes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
_FEW = 24


def on_cycle(count: int, first: Indexes, second: Indexes) -> Flags:
    """Vertices 0 … count - 1 that some cycle goes through; parallel edges and edges to oneself are cycles.

    A radial grid is peeled away at once, so that the search for bridges only sees what is meshed.
    """
    found = np.zeros(count, bool)
    own = first == second
    found[first[own]] = True
    first, second = first[~own], second[~own]
    edges = _core(count, first, second)
    if len(edges):
        kept = edges[~_bridges(count, first[edges], second[edges])]
        found[first[kept]] = True
        found[second[kept]] = True
    return found


def _core(count: int, first: Indexes, second: Indexes) -> Indexes:
    """Numbers of the edges that are left when vertices with one edge are taken off again and again.

    Each vertex keeps the exclusive or of its edges' numbers: with one edge left, that is the edge.
    """
    numbers = np.arange(len(first))
    degree = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    mark = np.zeros(count, np.intp)
    np.bitwise_xor.at(mark, first, numbers)
    np.bitwise_xor.at(mark, second, numbers)
    sums = first + second
    left = np.ones(len(first), bool)
    front = np.flatnonzero(degree == 1)
    while len(front) > _FEW:
        edge, where = np.unique(mark[front], return_index=True)  # both ends of an edge may be leaves
        left[edge] = False
        leaf = front[where]
        other = sums[edge] - leaf
        degree[leaf] = 0
        np.subtract.at(degree, other, 1)
        np.bitwise_xor.at(mark, other, edge)
        front = np.unique(other[degree[other] == 1])
    stack = front.tolist()
    while stack:
        vertex = stack.pop()
        if degree[vertex] != 1:
            continue
        only = int(mark[vertex])
        left[only] = False
        beyond = int(sums[only]) - vertex
        degree[vertex] = 0
        degree[beyond] -= 1
        mark[beyond] ^= only
        if degree[beyond] == 1:
            stack.append(beyond)
    return np.flatnonzero(left)


def _bridges(count: int, first: Indexes, second: Indexes) -> Flags:
    """Edges without which the graph falls apart (Tarjan's low points, without recursion)."""
    near: dict[int, list[tuple[int, int]]] = {}
    for number, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        near.setdefault(a, []).append((b, number))
        near.setdefault(b, []).append((a, number))
    bridge = np.zeros(len(first), bool)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    for root, beside in near.items():
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack = [(root, -1, iter(beside))]
        while stack:
            vertex, came, ways = stack[-1]
            for other, number in ways:
                if number == came:
                    continue
                if other in order:
                    low[vertex] = min(low[vertex], order[other])
                    continue
                order[other] = low[other] = len(order)
                stack.append((other, number, iter(near[other])))
                break
            else:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    low[above] = min(low[above], low[vertex])
                    if low[vertex] > order[above]:
                        bridge[came] = True
    return bridge
