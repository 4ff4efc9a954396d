"""Nodes joined by closed switches as one: rows of a smaller circuit, and the switches' currents from its nodes. Pure.

A closed switch has no impedance. Its current follows from what leaves the nodes behind it (Kirchhoff); where switches
are parallel, the ones found first carry everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import Equipment

Complex = npt.NDArray[np.complex128]
Integers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Contraction:
    """A set of nodes and closed switches between them.

    Attributes:
        index: number of each node.
        rows: row of the contracted circuit of each node, by number.
        count: number of rows.
        switches: addresses of the switches.
    """

    index: dict[str, int]
    rows: Integers
    count: int
    switches: list[str] = field(default_factory=list)
    _behind: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    _starts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    _sign: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _carrying: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    def row(self, node: str) -> int:
        """Row of a node; -1 when it is not in the circuit."""
        number = self.index.get(node)
        return -1 if number is None else int(self.rows[number])

    def through(self, leaving: Complex) -> Complex:
        """Currents into the first terminal of the switches, in their order.

        Args:
            leaving: current that leaves each node into anything but switches, by number of the node.
        """
        found = np.zeros(len(self.switches), np.complex128)
        if len(self._starts):
            found[self._carrying] = np.add.reduceat(leaving[self._behind], self._starts) * self._sign
        return found


def contract(nodes: Iterable[str], switches: Sequence[Equipment]) -> Contraction:
    """Contract closed switches.

    Args:
        nodes: all nodes of the circuit.
        switches: those that are closed, with both nodes in the circuit.
    """
    index = {node: number for number, node in enumerate(dict.fromkeys(nodes))}
    joined: dict[str, list[tuple[str, int]]] = {}
    for number, item in enumerate(switches):
        one, other = item.nodes
        joined.setdefault(one, []).append((other, number))
        joined.setdefault(other, []).append((one, number))
    rows = np.full(len(index), -1, np.int64)
    count = 0
    behind: list[list[int]] = []
    signs: list[float] = []
    carrying: list[int] = []
    for root in index:
        if rows[index[root]] >= 0:
            continue
        order, parent = [root], {root: ("", -1)}
        for node in order:
            rows[index[node]] = count
            for other, number in joined.get(node, ()):
                if other not in parent:
                    parent[other] = (node, number)
                    order.append(other)
        count += 1
        beneath: dict[str, list[int]] = {node: [index[node]] for node in order}
        for node in reversed(order[1:]):
            above, number = parent[node]
            beneath[above] += beneath[node]
            behind.append(beneath[node])
            signs.append(1.0 if switches[number].nodes[1] == node else -1.0)
            carrying.append(number)
    sizes = [len(part) for part in behind]
    return Contraction(
        index,
        rows,
        count,
        [item.address for item in switches],
        np.array([number for part in behind for number in part], np.int64),
        np.cumsum([0, *sizes[:-1]], dtype=np.int64) if sizes else np.zeros(0, np.int64),
        np.array(signs),
        np.array(carrying, np.int64),
    )
