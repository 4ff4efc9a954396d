"""Voltages and currents of the medium-voltage grid for live switch positions, with faults; rings are allowed. Pure.

One balanced circuit per phase, in per unit of 1 MVA. A topology is factorised once; then each change of load is a few
products with the inverse. Faults are superimposed (Thevenin), a good approximation while their current is much larger
than the load.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    Grid,
    LineData,
    ShuntData,
    SourceData,
    TransformerData,
)

BASE_VA = 1e6
LOW_VOLTAGE = 1000.0
"""V: nodes up to here belong to low-voltage areas, which are solved by phase elsewhere."""
_CONTACT_OHM = 1e-4
_IDEAL_OHM = 1e-4
_ARC_OHM = 0.3
_ROUNDS = 8
_STALL = 0.7
"""pu: below, a load of constant power behaves like an impedance, as motors that stall and electronics that give up."""

Complex = npt.NDArray[np.complex128]


class FaultKind(StrEnum):
    """Which phases a fault joins."""

    THREE_PHASE = "three-phase"
    PHASE_PHASE = "phase-phase"
    PHASE_EARTH = "phase-earth"


@dataclass(frozen=True, slots=True)
class CircuitFault:
    """A fault as the circuit takes it.

    Attributes:
        equipment: a line (in its middle) or any other equipment (at its first terminal).
        earth_current: A that flows into an earth fault; the treatment of the neutral says how much.
    """

    equipment: str
    kind: FaultKind = FaultKind.THREE_PHASE
    earth_current: float = 400.0


class FaultFlow(NamedTuple):
    """The current that a fault drives through a branch: A at its terminals, and the kind of the fault."""

    first: float
    second: float
    kind: FaultKind

    def at(self, terminal: int) -> float:
        """A at terminal 1 or 2."""
        return self.first if terminal == 1 else self.second


@dataclass(slots=True)
class State:
    """A solved circuit.

    Attributes:
        voltage: phase to neutral by node, V, balanced part; 0 where nothing feeds.
        phase_voltage: magnitudes of the phases A, B, C by node, V, only of nodes that a fault disturbs.
        current: A into the first and the second terminal of each line, transformer and switch.
        fault: the part of these that a fault drives; only of branches with some.
        energised: addresses of faults that are fed.
    """

    voltage: dict[str, complex] = field(default_factory=dict)
    phase_voltage: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    current: dict[str, tuple[complex, complex]] = field(default_factory=dict)
    fault: dict[str, FaultFlow] = field(default_factory=dict)
    energised: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Branch:
    """One two-terminal element in per unit; `ends` are rows of the solved circuit."""

    address: str
    nodes: tuple[str, str]
    admittance: complex
    ratio: float = 1.0
    charging: complex = 0j
    half: int = 0  # 1 and 2: the halves of a line with a fault in its middle


@dataclass(slots=True)
class _Solved:
    """What holds as long as no switch moves."""

    rows: dict[str, int]
    inverse: Complex
    fixed: Complex
    branches: list[_Branch]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    admittance: Complex
    charging: Complex
    ratio: npt.NDArray[np.float64]
    guess: Complex


class Circuit:
    """The conducting equipment above low voltage.

    Args:
        grid: the grid model.

    Attributes:
        nodes: addresses of its nodes.
        switches: addresses of its switches.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.nodes = [name for name, node in grid.nodes.items() if node.nominal > LOW_VOLTAGE]
        known = frozenset(self.nodes)
        self._of_circuit = [
            item for item in grid.equipment.values() if len(item.nodes) == 2 and known.issuperset(item.nodes)
        ]
        self.switches = [item.address for item in self._of_circuit if item.is_switch]
        self._sources = [item for item in grid.of(CimClass.SOURCE) if item.nodes[0] in known]
        self._shunts = [item for item in grid.of(CimClass.SHUNT) if item.nodes[0] in known]
        self._key: object = None
        self._solved: _Solved | None = None

    # -- topology ----------------------------------------------------------------------------------------------------

    def fed(self, closed: Collection[str], sources: Collection[str]) -> frozenset[str]:
        """Nodes joined to one of some source nodes by closed switches."""
        joined: dict[str, list[str]] = {}
        for item in self._of_circuit:
            if not item.is_switch or item.address in closed:
                one, other = item.nodes
                joined.setdefault(one, []).append(other)
                joined.setdefault(other, []).append(one)
        found, waiting = set(sources), list(sources)
        while waiting:
            for node in joined.get(waiting.pop(), ()):
                if node not in found:
                    found.add(node)
                    waiting.append(node)
        return frozenset(found)

    def source_nodes(self) -> list[str]:
        """Nodes of the sources."""
        return [item.nodes[0] for item in self._sources]

    def _factorise(self, closed: frozenset[str], sources: Mapping[str, complex], faulty: frozenset[str]) -> _Solved:
        live = self.fed(closed, sources.keys())
        branches: list[_Branch] = []
        for item in self._of_circuit:
            if live.issuperset(item.nodes) and (not item.is_switch or item.address in closed):
                branches += self._branches(item, item.address in faulty)
        rows: dict[str, int] = {}
        for node in (*sources, *(node for branch in branches for node in branch.nodes)):
            rows.setdefault(node, len(rows))
        size = len(rows)
        matrix: Complex = np.zeros((size, size), np.complex128)
        fixed: Complex = np.zeros(size, np.complex128)
        starts = np.array([rows[branch.nodes[0]] for branch in branches], np.int64)
        ends = np.array([rows[branch.nodes[1]] for branch in branches], np.int64)
        admittance = np.array([branch.admittance for branch in branches], complex)
        charging = np.array([branch.charging / 2.0 for branch in branches], complex)
        ratio = np.array([branch.ratio for branch in branches], float)
        np.add.at(matrix, (starts, starts), admittance / ratio**2 + charging)
        np.add.at(matrix, (ends, ends), admittance + charging)
        np.add.at(matrix, (starts, ends), -admittance / ratio)
        np.add.at(matrix, (ends, starts), -admittance / ratio)
        for node, behind in sources.items():
            matrix[rows[node], rows[node]] += behind
        for item in self._shunts:
            data, node = item.data, item.nodes[0]
            if isinstance(data, ShuntData) and node in rows:
                matrix[rows[node], rows[node]] += 1j * data.q / BASE_VA
        inverse: Complex = np.asarray(np.linalg.inv(matrix) if size else matrix, np.complex128)
        guess = np.ones(size, complex)
        return _Solved(rows, inverse, fixed, branches, starts, ends, admittance, charging, ratio, guess)

    def _base_ohm(self, node: str) -> float:
        return self.grid.nodes[node].nominal ** 2 / BASE_VA

    def _branches(self, item: Equipment, faulty: bool) -> list[_Branch]:
        one, other = item.nodes
        base, data = self._base_ohm(one), item.data
        if isinstance(data, LineData):
            series = complex(data.r, data.x) / base or 1e-9
            charging = 1j * data.b * base
            if faulty:
                middle = f"{item.address}#fault"
                return [
                    _Branch(item.address, (one, middle), 2.0 / series, charging=charging / 2.0, half=1),
                    _Branch(item.address, (middle, other), 2.0 / series, charging=charging / 2.0, half=2),
                ]
            return [_Branch(item.address, (one, other), 1.0 / series, charging=charging)]
        if isinstance(data, TransformerData):
            nominal_1, nominal_2 = (self.grid.nodes[node].nominal for node in (one, other))
            resistance = data.pk / data.s
            reactance = math.sqrt(max(data.uk**2 - resistance**2, 0.0))
            series = complex(resistance, reactance) * BASE_VA / data.s * (data.u2 / nominal_2) ** 2
            ratio = data.tap * (data.u1 / nominal_1) / (data.u2 / nominal_2)
            return [_Branch(item.address, (one, other), 1.0 / series, ratio=ratio)]
        return [_Branch(item.address, (one, other), base / _CONTACT_OHM)]

    # -- solution ----------------------------------------------------------------------------------------------------

    def solve(
        self,
        closed: frozenset[str],
        loads: Mapping[str, complex],
        *,
        dead_sources: Collection[str] = (),
        islands: Mapping[str, float] | None = None,
        faults: Sequence[CircuitFault] = (),
    ) -> State:
        """Voltages and currents.

        Args:
            closed: addresses of the closed switches.
            loads: power drawn by node, W + j var of all phases, negative when given; a dead node draws nothing.
            dead_sources: addresses of sources that have no voltage.
            islands: rated VA of generators that hold a voltage by themselves, by node.
            faults: that exist; those nobody feeds carry no current.
        """
        sources, volts = self._source_admittances(dead_sources, islands or {})
        faulty = frozenset(fault.equipment for fault in faults)
        key = (closed, tuple(sources.items()), faulty)
        if key != self._key or self._solved is None:
            self._solved, self._key = self._factorise(closed, sources, faulty), key
        solved = self._solved
        rows = solved.rows
        injected = solved.fixed.copy()
        for node, behind in sources.items():
            injected[rows[node]] += behind * volts[node]
        drawn = np.zeros(len(rows), complex)
        for node, power in loads.items():
            row = rows.get(node)
            if row is not None:
                drawn[row] += power / BASE_VA
        voltage = solved.guess
        for _ in range(_ROUNDS):
            before, size = voltage, np.abs(voltage)
            weak = np.minimum(size / _STALL, 1.0) ** 2
            voltage = solved.inverse @ (injected - np.conj(drawn * weak / np.where(size > 1e-6, voltage, 1.0)))
            if np.max(np.abs(voltage - before), initial=0.0) < 1e-9:
                break
        solved.guess = voltage
        return self._state(solved, voltage, faults)

    def _source_admittances(
        self, dead: Collection[str], islands: Mapping[str, float]
    ) -> tuple[dict[str, complex], dict[str, complex]]:
        behind: dict[str, complex] = {}
        volts: dict[str, complex] = {}
        for item in self._sources:
            data, node = item.data, item.nodes[0]
            if item.address in dead or not isinstance(data, SourceData):
                continue
            if data.r is not None and data.x is not None:
                series = complex(data.r, data.x) / self._base_ohm(node)
            elif data.s_short is not None:
                series = 1j * BASE_VA / data.s_short
            else:
                series = complex(_IDEAL_OHM / self._base_ohm(node))
            behind[node] = behind.get(node, 0j) + 1.0 / series
            volts[node] = data.voltage * np.exp(1j * math.radians(data.angle))
        for node, rating in islands.items():
            behind[node], volts[node] = -1j * rating / BASE_VA / 0.2, 1.0 + 0j
        return behind, volts

    def _state(self, solved: _Solved, voltage: Complex, faults: Sequence[CircuitFault]) -> State:
        change, kinds = self._fault_change(solved, voltage, faults)
        together = voltage + change.get(FaultKind.THREE_PHASE, np.zeros_like(voltage))
        state = State(energised=frozenset(kinds))
        nominal = {node: self.grid.nodes[node].nominal / math.sqrt(3.0) for node in self.nodes}
        for node, volts in nominal.items():
            row = solved.rows.get(node)
            state.voltage[node] = complex(together[row]) * volts if row is not None else 0j
        into = self._currents(solved, voltage)
        driven = {kind: self._currents(solved, part) for kind, part in change.items()}
        for i, branch in enumerate(solved.branches):
            amperes = (BASE_VA / 3.0 / nominal[self.grid.equipment[branch.address].nodes[side]] for side in (0, 1))
            base = tuple(amperes)
            self._put(state, branch, complex(into[0][i]) * base[0], complex(into[1][i]) * base[1])
            for kind, both in driven.items():
                sizes = abs(both[0][i]) * base[0], abs(both[1][i]) * base[1]
                if max(sizes) > 1.0:
                    self._put_fault(state, branch, sizes, kind)
        for kind, part in change.items():
            self._disturb(state, solved, nominal, kind, part)
        return state

    @staticmethod
    def _put(state: State, branch: _Branch, first: complex, second: complex) -> None:
        if branch.half:
            known = state.current.get(branch.address, (0j, 0j))
            state.current[branch.address] = (first, known[1]) if branch.half == 1 else (known[0], second)
        else:
            state.current[branch.address] = (first, second)

    @staticmethod
    def _put_fault(state: State, branch: _Branch, sizes: tuple[float, float], kind: FaultKind) -> None:
        known = state.fault.get(branch.address, FaultFlow(0.0, 0.0, kind))
        if branch.half == 1:
            sizes = sizes[0], known.second
        elif branch.half == 2:
            sizes = known.first, sizes[1]
        if sum(sizes) >= known.first + known.second:
            state.fault[branch.address] = FaultFlow(*sizes, kind)

    @staticmethod
    def _currents(solved: _Solved, voltage: Complex) -> tuple[Complex, Complex]:
        first, second = voltage[solved.starts] / solved.ratio, voltage[solved.ends]
        through = (first - second) * solved.admittance
        return (
            through / solved.ratio + solved.charging * voltage[solved.starts],
            -through + solved.charging * second,
        )

    def _fault_change(
        self, solved: _Solved, voltage: Complex, faults: Sequence[CircuitFault]
    ) -> tuple[dict[FaultKind, Complex], set[str]]:
        """Change of voltage by kind of fault, and the faults that are fed."""
        change: dict[FaultKind, Complex] = {}
        fed: set[str] = set()
        for fault in faults:
            item = self.grid.equipment[fault.equipment]
            node = f"{item.address}#fault" if isinstance(item.data, LineData) else item.nodes[0]
            row = solved.rows.get(node)
            if row is None:
                continue
            fed.add(fault.equipment)
            where = item.nodes[0]
            own = solved.inverse[row, row] + _ARC_OHM / self._base_ohm(where)
            current = voltage[row] / own
            if fault.kind is FaultKind.PHASE_EARTH:
                base = BASE_VA / math.sqrt(3.0) / self.grid.nodes[where].nominal
                limit = fault.earth_current / base
                current *= min(1.0, limit / abs(current))
            elif fault.kind is FaultKind.PHASE_PHASE:
                current *= math.sqrt(3.0) / 2.0
            part = change.setdefault(fault.kind, np.zeros_like(voltage))
            part -= solved.inverse[:, row] * current
        return change, fed

    @staticmethod
    def _disturb(state: State, solved: _Solved, nominal: Mapping[str, float], kind: FaultKind, part: Complex) -> None:
        """Magnitudes of the phases while a fault holds."""
        for node, volts in nominal.items():
            row = solved.rows.get(node)
            if row is None:
                continue
            whole = abs(state.voltage[node])
            drop = abs(complex(part[row])) * volts
            match kind:
                case FaultKind.THREE_PHASE:
                    phases = (whole, whole, whole)
                case FaultKind.PHASE_PHASE:
                    low = max(whole / 2.0, whole - drop)
                    phases = (whole, low, low)
                case FaultKind.PHASE_EARTH:
                    # The star point shifts: the faulty phase sinks, the others rise, between phases nothing changes.
                    phases = (0.15 * whole, 1.6 * whole, 1.6 * whole)
            state.phase_voltage[node] = phases
