"""The grid as it stands: positions, loads and faults, and the voltages and currents that follow from them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import CimClass, GeneratorData, Grid, Position
from twin_gateway.simulate.feeder.circuit import Circuit, CircuitFault, FaultKind, State
from twin_gateway.simulate.feeder.field_settings import Fault
from twin_gateway.simulate.feeder.loads import Loads
from twin_gateway.simulate.feeder.low_voltage import areas_of

Floats = npt.NDArray[np.float64]
_EARTH_CURRENT = {"isolated": 12.0, "compensated": 12.0, "resistance": 400.0, "solid": 2000.0}
_LIVE_PU = 0.2
_SHARE: Mapping[FaultKind, Floats] = {
    FaultKind.THREE_PHASE: np.ones(3),
    FaultKind.PHASE_PHASE: np.array([0.0, 1.0, 1.0]),
    FaultKind.PHASE_EARTH: np.array([1.0, 0.0, 0.0]),
}
_PHASES: Floats = np.array([1.004, 0.999, 0.997])
"""Phases are never quite alike."""


class LiveGrid:
    """What determines the electrical state, and that state once it is solved.

    Args:
        grid: the grid model.
        loads: what is drawn.

    Raises:
        GridError: a low-voltage area has a ring or two transformers.

    Attributes:
        positions: of every switch by address of the equipment.
        faults: by address of the equipment.
        islanding: generators that keep their part of the grid alive without a source.
        dead_sources: sources without voltage.
        state: the solved circuit.
    """

    def __init__(self, grid: Grid, loads: Loads) -> None:
        self.grid, self.loads = grid, loads
        self.circuit = Circuit(grid)
        self.areas = areas_of(grid)
        self.positions: dict[str, Position] = grid.normal_positions()
        self.faults: dict[str, Fault] = {}
        self.islanding: set[str] = set()
        self.dead_sources: set[str] = set()
        self.state = State()
        self._behind = {area.transformer.address: area for area in self.areas}
        self._where = {node: (area, row) for area in self.areas for node, row in area.rows.items()}
        self._earths = [item.address for item in grid.of(CimClass.GROUND_DISCONNECTOR)]
        self._low_switches = frozenset(switch for area in self.areas for switch in area.switches)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def phase_voltages(self, node: str) -> Floats:
        """Phase to neutral of A, B, C, V."""
        found = self._where.get(node)
        if found is not None:
            area, row = found
            volts: Floats = area.voltage[row]
            return volts
        disturbed = self.state.phase_voltage.get(node)
        if disturbed is not None:
            return np.array(disturbed)
        return abs(self.state.voltage.get(node, 0j)) * _PHASES

    def phase_currents(self, equipment: str, terminal: int) -> Floats:
        """A of the phases A, B, C at a terminal of a medium-voltage branch or of an area's transformer, with faults."""
        area = self._behind.get(equipment)
        if area is not None:
            if terminal == 2:
                return area.current
            volts = self.phase_voltages(area.transformer.nodes[0])
            return np.where(volts > 1.0, abs(area.power) / 3.0 / np.maximum(volts, 1.0), 0.0)
        both = self.state.current.get(equipment, (0j, 0j))
        found: Floats = abs(both[terminal - 1]) * _PHASES
        fault = self.state.fault.get(equipment)
        if fault is None:
            return found
        return found + fault.at(terminal) * _SHARE[fault.kind]

    def power(self, equipment: str, terminal: int) -> complex:
        """W + j var of all phases into a terminal of a medium-voltage branch or of an area's transformer."""
        area = self._behind.get(equipment)
        if area is not None:
            return complex(-area.bus_power.sum()) if terminal == 2 else area.power
        current = self.state.current.get(equipment)
        if current is None:
            return 0j
        node = self.grid.equipment[equipment].nodes[terminal - 1]
        return 3.0 * self.state.voltage.get(node, 0j) * current[terminal - 1].conjugate()

    def is_live(self, node: str) -> bool:
        """Whether a node has voltage."""
        known = self.grid.nodes.get(node)
        return known is not None and bool(self.phase_voltages(node).max() > _LIVE_PU * known.nominal / math.sqrt(3.0))

    # -- solving -----------------------------------------------------------------------------------------------------

    def solve(self) -> None:
        """Currents and voltages for the switches, loads, sources and faults as they are."""
        closed = frozenset(name for name, position in self.positions.items() if position is Position.CLOSED)
        drawn: dict[str, complex] = {}
        for row, member in enumerate(self.loads.members):
            if member.node not in self._where:
                power = complex(self.loads.power[row].sum()) * self.loads.factor[row]
                drawn[member.node] = drawn.get(member.node, 0j) + power
        for area in self.areas:
            node = area.transformer.nodes[0]
            drawn[node] = drawn.get(node, 0j) + area.power
        circuit_closed = closed.intersection(self.circuit.switches)
        faults = [CircuitFault(one.equipment, one.kind, self._earth_current()) for one in self.faults.values()]
        # An earthing switch that is closed is a short circuit of all phases for who closes onto it.
        faults += [CircuitFault(name) for name in self._earths if self.positions[name] is Position.CLOSED]
        self.state = self.circuit.solve(
            circuit_closed,
            drawn,
            dead_sources=self.dead_sources,
            islands=self._islands(circuit_closed),
            faults=faults,
        )
        for area in self.areas:
            upper, _ = area.transformer.nodes
            data = self.grid.nodes[upper]
            volts = self.phase_voltages(upper).mean() * math.sqrt(3.0) / data.nominal
            rated = getattr(area.transformer.data, "u1", data.nominal)
            inside = np.zeros((len(area.nodes), 3), complex)
            for row, member in enumerate(self.loads.members):
                place = area.rows.get(member.node)
                if place is not None:
                    inside[place] += self.loads.power[row] * self.loads.factor[row]
            area.solve(float(volts) * data.nominal / rated, inside, closed.intersection(self._low_switches))

    def _earth_current(self) -> float:
        neutral = next((feeder.neutral for feeder in self.grid.feeders.values() if feeder.neutral), "")
        return _EARTH_CURRENT.get(neutral, 400.0)

    def _islands(self, closed: frozenset[str]) -> Mapping[str, float]:
        if not self.islanding:
            return {}
        alive = [item.nodes[0] for item in self.grid.of(CimClass.SOURCE) if item.address not in self.dead_sources]
        fed = self.circuit.fed(closed, alive)
        found: dict[str, float] = {}
        for name in self.islanding:
            item = self.grid.equipment[name]
            if item.nodes[0] not in fed and isinstance(item.data, GeneratorData):
                found[item.nodes[0]] = max(item.data.rating, 1e3)
        return found
