"""Low-voltage areas by phase: from the voltage above the transformer to every customer and back. Pure.

Each area is a tree behind one transformer, four wires, phases without mutual coupling: the drop of a phase follows from
the current of that phase alone, as in a symmetrical cable with a strong neutral.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import CimClass, Equipment, Grid, GridError, LineData, TransformerData
from twin_gateway.simulate.feeder.circuit import LOW_VOLTAGE

_ROUNDS = 6
_TURN = np.exp(-2j * np.pi / 3.0 * np.arange(3))

Floats = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


def low_nodes(grid: Grid) -> frozenset[str]:
    """Nodes of low voltage."""
    return frozenset(name for name, node in grid.nodes.items() if node.nominal <= LOW_VOLTAGE)


class Area:
    """Everything behind one distribution transformer.

    Args:
        grid: the grid model.
        transformer: whose second terminal feeds the area.

    Raises:
        GridError: the area has a ring or a second transformer.

    Attributes:
        transformer: as given.
        nodes: addresses in the order of the rows, the busbar first.
        voltage: phase to neutral by node and phase, V; 0 where nothing feeds.
        power: W + j var that the transformer takes at its upper side.
        bus_power: the same by phase at its lower side.
        current: A of the phases at its lower side.
    """

    def __init__(self, grid: Grid, transformer: Equipment) -> None:
        if not isinstance(transformer.data, TransformerData):
            raise GridError(f"{transformer.address} has no data of a transformer")
        self.transformer = transformer
        self._data = transformer.data
        low = low_nodes(grid)
        self._branches = [
            item
            for item in grid.equipment.values()
            if len(item.nodes) == 2 and low.issuperset(item.nodes) and item.cim_class is not CimClass.TRANSFORMER
        ]
        self.nodes = self._reach(None)
        known = frozenset(self.nodes)
        self._branches = [item for item in self._branches if known.issuperset(item.nodes)]
        others = [
            item.address
            for item in grid.of(CimClass.TRANSFORMER)
            if item.address != transformer.address and known.intersection(item.nodes)
        ]
        if others:
            raise GridError(f"{others[0]} feeds the same low-voltage area as {transformer.address}")
        self.rows = {node: row for row, node in enumerate(self.nodes)}
        self.switches = [item.address for item in self._branches if item.is_switch]
        resistance = self._data.pk / self._data.s
        reactance = math.sqrt(max(self._data.uk**2 - resistance**2, 0.0))
        self._series = complex(resistance, reactance) * self._data.u2**2 / self._data.s
        self._key: object = None
        self._shared = np.zeros((len(self.nodes), len(self.nodes)), complex)
        self._alive = np.zeros(len(self.nodes), bool)
        self.voltage: Floats = np.zeros((len(self.nodes), 3))
        self.power = 0j
        self.bus_power: Complex = np.zeros(3, complex)
        self.current: Floats = np.zeros(3)
        self._topology(frozenset(self.switches))

    def _reach(self, closed: Collection[str] | None) -> list[str]:
        """Nodes from the busbar outwards; None takes every switch as closed."""
        found = [self.transformer.nodes[1]]
        for node in found:
            for item in self._branches:
                if item.is_switch and closed is not None and item.address not in closed:
                    continue
                if node in item.nodes:
                    other = item.nodes[1 - item.nodes.index(node)]
                    if other not in found:
                        found.append(other)
        return found

    def _topology(self, closed: frozenset[str]) -> None:
        """The impedance that each pair of nodes shares on its way to the busbar."""
        if closed == self._key:
            return
        self._key = closed
        reached = self._reach(closed)
        self._alive = np.isin(self.nodes, reached)
        paths = np.zeros((len(self.nodes), len(self._branches)), bool)
        order, seen, used = [reached[0]], {reached[0]}, 0
        for node in order:
            for number, item in enumerate(self._branches):
                if node not in item.nodes or (item.is_switch and item.address not in closed):
                    continue
                other = item.nodes[1 - item.nodes.index(node)]
                if other in seen:
                    continue
                seen.add(other)
                order.append(other)
                used += 1
                paths[self.rows[other]] = paths[self.rows[node]]
                paths[self.rows[other], number] = True
        active = [item for item in self._branches if not item.is_switch or item.address in closed]
        inside = [item for item in active if seen.issuperset(item.nodes)]
        if used != len(inside):
            raise GridError(f"the low-voltage area of {self.transformer.address} has a ring")
        series = np.array(
            [complex(item.data.r, item.data.x) if isinstance(item.data, LineData) else 1e-5 for item in self._branches]
        )
        self._shared = (paths * series) @ paths.T

    def solve(self, above: float, drawn: Complex, closed: frozenset[str]) -> None:
        """Voltages for what is drawn.

        Args:
            above: voltage at the upper side, per unit of the transformer's rated one; 0 is an outage.
            drawn: W + j var by node and phase.
            closed: addresses of closed switches.
        """
        self._topology(closed.intersection(self.switches))
        if above < 1e-3:
            self.voltage = np.zeros_like(self.voltage)
            self.power, self.bus_power, self.current = 0j, np.zeros(3, complex), np.zeros(3)
            return
        open_circuit = above / self._data.tap * self._data.u2 / math.sqrt(3.0) * _TURN
        drawn = drawn * self._alive[:, None]
        volts = np.tile(open_circuit, (len(self.nodes), 1))
        current = np.zeros_like(volts)
        for _ in range(_ROUNDS):
            size = np.abs(volts)
            weak = np.minimum(size / (0.7 * np.abs(open_circuit)), 1.0) ** 2
            current = np.conj(drawn * weak / np.where(size > 1.0, volts, 1.0))
            volts = open_circuit - self._series * current.sum(axis=0) - self._shared @ current
        total = current.sum(axis=0)
        bus = open_circuit - self._series * total
        self.voltage = np.abs(volts) * self._alive[:, None]
        self.bus_power = bus * np.conj(total)
        self.current = np.abs(total)
        iron = complex(self._data.p0, self._data.i0 * self._data.s) * above**2
        self.power = complex((open_circuit * np.conj(total)).sum()) + iron


def areas_of(grid: Grid) -> list[Area]:
    """The low-voltage areas of a grid.

    Raises:
        GridError: one has a ring or two transformers.
    """
    low = low_nodes(grid)
    return [
        Area(grid, item) for item in grid.of(CimClass.TRANSFORMER) if item.nodes[1] in low and item.nodes[0] not in low
    ]
