"""The depth-first walk compiled by numba, where the optional extra `fast` is installed and `warm` was called."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from twin_gateway.twin.flisr.case import Case, Flags, Ints

Walk: TypeAlias = tuple[Ints, Ints, Ints, Ints, bool]

_compiled: Callable[..., Any] | None = None


def warm() -> bool:
    """Load numba and compile, once in a process and before the first fault: it takes seconds the first time ever.

    Returns:
        whether the compiled walk is used from now on. Results are the same without it.
    """
    global _compiled  # noqa: PLW0603 - one compiled function per process, made on purpose by whoever can wait for it
    if _compiled is None:
        try:
            numba: ModuleType = importlib.import_module("numba")
        except ImportError:
            return False
        compiled = numba.njit(cache=True)(_walk)
        none = np.zeros(0, np.int64)
        compiled(np.zeros(2, np.int64), none, none, np.zeros(0, bool), np.zeros(1, np.int64))
        _compiled = compiled
    return True


def cool() -> None:
    """Go back to the walk that is not compiled."""
    global _compiled  # noqa: PLW0603 - see above
    _compiled = None


def compiled_walk(case: Case, closed: Flags) -> Walk | None:
    """As `forest.walk` in arrays, or None when there is no compiled walk."""
    if _compiled is None:
        return None
    first, neighbour, edge = case.links
    order, parent, via, last, looped = _compiled(first, neighbour, edge, closed, case.roots)
    return order, parent, via, last, bool(looped)


def _walk(first: Ints, neighbour: Ints, edge: Ints, closed: Flags, roots: Ints) -> Walk:
    """The walk in the part of Python that numba compiles; visits nodes in the order of `forest.walk`."""
    n = len(first) - 1
    seen = np.zeros(n, np.bool_)
    order = np.empty(n, np.int64)
    parent = np.empty(n, np.int64)
    via = np.empty(n, np.int64)
    stack_node = np.empty(n + 1, np.int64)
    stack_parent = np.empty(n + 1, np.int64)
    stack_edge = np.empty(n + 1, np.int64)
    looped = False
    count = 0
    for root in roots:
        seen[root] = True
    for root in roots:
        stack_node[0], stack_parent[0], stack_edge[0] = root, -1, -1
        top = 1
        while top > 0:
            top -= 1
            node, through = stack_node[top], stack_edge[top]
            here = count
            order[here] = node
            parent[here] = stack_parent[top]
            via[here] = through
            count += 1
            for at in range(first[node], first[node + 1]):
                k = edge[at]
                if closed[k] and k != through:
                    other = neighbour[at]
                    if seen[other]:
                        looped = True
                    else:
                        seen[other] = True
                        stack_node[top], stack_parent[top], stack_edge[top] = other, here, k
                        top += 1
    last = np.ones(count, np.int64)
    for here in range(count - 1, 0, -1):
        if parent[here] >= 0:
            last[parent[here]] += last[here]
    for here in range(count):
        last[here] += here
    return order[:count].copy(), parent[:count].copy(), via[:count].copy(), last, looped
