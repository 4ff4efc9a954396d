"""Steady state of a small medium-voltage network: nodes, branches with switches, constant-power loads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_CONTACT_OHM = 1e-3
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Branch:
    """A cable, a transformer or a row of switches between two nodes.

    Attributes:
        name: of the branch.
        start, end: names of its nodes.
        impedance: ohm at the voltage of the network; 0 for switches alone.
        switches: all must be closed for current to flow.
    """

    name: str
    start: str
    end: str
    impedance: complex = 0j
    switches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows into a branch at its start, three-phase values.

    Attributes:
        power: complex power, W + j var.
        current: A.
    """

    power: complex = 0j
    current: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """A solved network.

    Attributes:
        voltage: phase to neutral by node, V; 0 where nothing feeds.
        flows: by branch.
    """

    voltage: Mapping[str, complex]
    flows: Mapping[str, Flow]


class Network:
    """Branches around one source node."""

    def __init__(self, source: str, branches: Sequence[Branch]) -> None:
        self.source = source
        self.branches = tuple(branches)
        self.nodes = tuple(dict.fromkeys(node for branch in branches for node in (branch.start, branch.end)))

    def live(self, closed: Callable[[str], bool]) -> frozenset[str]:
        """Nodes that the source feeds through closed switches."""
        found, waiting = {self.source}, [self.source]
        joined = [branch for branch in self.branches if all(map(closed, branch.switches))]
        while waiting:
            node = waiting.pop()
            for branch in joined:
                for one, other in ((branch.start, branch.end), (branch.end, branch.start)):
                    if one == node and other not in found:
                        found.add(other)
                        waiting.append(other)
        return frozenset(found)

    def solve(self, volts: float, closed: Callable[[str], bool], loads: Mapping[str, complex]) -> State:
        """Voltages and flows; rings are allowed.

        Args:
            volts: phase to neutral at the source.
            closed: whether a switch is closed.
            loads: three-phase power drawn by node, W + j var; at a dead node it draws nothing.
        """
        fed = self.live(closed)
        nodes = [node for node in self.nodes if node in fed and node != self.source]
        index = {node: i for i, node in enumerate(nodes)}
        admittance = np.zeros((len(nodes), len(nodes)), dtype=complex)
        injected = np.zeros(len(nodes), dtype=complex)
        active = [branch for branch in self.branches if branch.start in fed and all(map(closed, branch.switches))]
        for branch in active:
            y = 1.0 / (branch.impedance or _CONTACT_OHM)
            ends = [index.get(node, -1) for node in (branch.start, branch.end)]
            for own, other in (ends, ends[::-1]):
                if own < 0:
                    continue
                admittance[own, own] += y
                if other < 0:
                    injected[own] += y * volts
                else:
                    admittance[own, other] -= y
        inverse = np.linalg.inv(admittance) if nodes else admittance
        drawn = np.array([loads.get(node, 0j) / 3.0 for node in nodes], dtype=complex)
        voltage = np.full(len(nodes), complex(volts))
        for _ in range(_ROUNDS):
            # A load draws the current that gives its power at the voltage of the round before.
            voltage = inverse @ (injected - np.conj(drawn / voltage))
        found = {node: complex(voltage[i]) for node, i in index.items()} | {self.source: complex(volts)}
        return State({node: found.get(node, 0j) for node in self.nodes}, self._flows(found, active))

    def _flows(self, voltage: Mapping[str, complex], active: Sequence[Branch]) -> dict[str, Flow]:
        flows = {branch.name: Flow() for branch in self.branches}
        for branch in active:
            start, end = voltage[branch.start], voltage[branch.end]
            current = (start - end) / (branch.impedance or _CONTACT_OHM)
            flows[branch.name] = Flow(3.0 * start * current.conjugate(), abs(current))
        return flows
