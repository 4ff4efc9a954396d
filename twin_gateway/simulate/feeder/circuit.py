"""Voltages and currents of the medium-voltage grid for live switch positions, with faults; rings are allowed. Pure.

One balanced circuit per phase, in per unit of 1 MVA; nodes joined by closed switches are one row. A topology is
factorised once; then each change of load is a few products with the inverse. Faults are superimposed (Thevenin), a good
approximation while their current is much larger than the load.
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
    GridError,
    LineData,
    ShuntData,
    SourceData,
    TransformerData,
)
from twin_gateway.simulate.feeder.contraction import Contraction, contract

BASE_VA = 1e6
LOW_VOLTAGE = 1000.0
"""V: nodes up to here belong to low-voltage areas, which are solved by phase elsewhere."""
_IDEAL_OHM = 1e-4
_ARC_OHM = 0.3
_ISLAND_PU = 0.2
"""Reactance behind which a generator holds the voltage of an island, of its own rating."""
_ROUNDS = 8
_STALL = 0.7
"""pu: below, a load of constant power behaves like an impedance, as motors that stall and electronics that give up."""

Complex = npt.NDArray[np.complex128]
Integers = npt.NDArray[np.int64]


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
    """One line or transformer, or half a line, in per unit."""

    address: str
    nodes: tuple[str, str]
    admittance: complex
    ratio: float = 1.0
    charging: complex = 0j
    half: int = 0  # 1 and 2: the halves of a line with a fault in its middle


@dataclass(slots=True)
class _Solved:
    """What holds as long as no switch moves; `starts` and `ends` are numbers of nodes, `first` and `second` rows."""

    contraction: Contraction
    inverse: Complex
    shunt: Complex
    branches: list[_Branch]
    starts: Integers
    ends: Integers
    first: Integers
    second: Integers
    admittance: Complex
    charging: Complex
    ratio: npt.NDArray[np.float64]
    amperes: npt.NDArray[np.float64]
    switch_amperes: npt.NDArray[np.float64]
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
        self._phase_volts = {node: grid.nodes[node].nominal / math.sqrt(3.0) for node in self.nodes}
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

    def _factorise(self, closed: frozenset[str], sources: Mapping[str, complex], faulty: frozenset[str]) -> _Solved:
        live = self.fed(closed, sources.keys())
        inside = [item for item in self._of_circuit if live.issuperset(item.nodes)]
        branches = [part for item in inside if not item.is_switch for part in self._parts(item, item.address in faulty)]
        switches = [item for item in inside if item.is_switch and item.address in closed]
        ends_of = [one.nodes for one in branches] + [item.nodes for item in switches]
        nodes = (*sources, *(node for both in ends_of for node in both))
        contraction = contract(nodes, switches)
        starts = np.array([contraction.index[one.nodes[0]] for one in branches], np.int64)
        ends = np.array([contraction.index[one.nodes[1]] for one in branches], np.int64)
        admittance = np.array([one.admittance for one in branches], np.complex128)
        charging = np.array([one.charging / 2.0 for one in branches], np.complex128)
        ratio = np.array([one.ratio for one in branches], np.float64)
        shunt = np.zeros(len(contraction.index), np.complex128)
        for item in self._shunts:
            number = contraction.index.get(item.nodes[0])
            if number is not None and isinstance(item.data, ShuntData):
                shunt[number] += 1j * item.data.q / BASE_VA
        first, second = contraction.rows[starts], contraction.rows[ends]
        matrix: Complex = np.zeros((contraction.count, contraction.count), np.complex128)
        np.add.at(matrix, (first, first), admittance / ratio**2 + charging)
        np.add.at(matrix, (second, second), admittance + charging)
        np.add.at(matrix, (first, second), -admittance / ratio)
        np.add.at(matrix, (second, first), -admittance / ratio)
        np.add.at(matrix, (contraction.rows, contraction.rows), shunt)
        for node, behind in sources.items():
            matrix[contraction.row(node), contraction.row(node)] += behind
        inverse = np.asarray(np.linalg.inv(matrix) if contraction.count else matrix, np.complex128)
        return _Solved(
            contraction,
            inverse,
            shunt,
            branches,
            starts,
            ends,
            first,
            second,
            admittance,
            charging,
            ratio,
            np.array(
                [[self._ampere(node) for node in self.grid.equipment[one.address].nodes] for one in branches]
            ).reshape(-1, 2),
            np.array([self._ampere(item.nodes[0]) for item in switches]),
            np.ones(contraction.count, np.complex128),
        )

    def _base_ohm(self, node: str) -> float:
        return self.grid.nodes[node].nominal ** 2 / BASE_VA

    def _ampere(self, node: str) -> float:
        """A of a current of 1 per unit."""
        return BASE_VA / 3.0 / self._phase_volts[node]

    def _amperes(self, branches: Sequence[_Branch]) -> npt.NDArray[np.float64]:
        """A of a current of 1 per unit at both ends of each branch."""
        ends = (self.grid.equipment[one.address].nodes for one in branches)
        return np.array([[self._ampere(node) for node in both] for both in ends], np.float64).reshape(-1, 2)

    def _parts(self, item: Equipment, faulty: bool) -> list[_Branch]:
        one, other = item.nodes
        base, data = self._base_ohm(one), item.data
        if isinstance(data, TransformerData):
            nominal_1, nominal_2 = (self.grid.nodes[node].nominal for node in (one, other))
            resistance = data.pk / data.s
            reactance = math.sqrt(max(data.uk**2 - resistance**2, 0.0))
            series = complex(resistance, reactance) * BASE_VA / data.s * (data.u2 / nominal_2) ** 2
            ratio = data.tap * (data.u1 / nominal_1) / (data.u2 / nominal_2)
            return [_Branch(item.address, (one, other), 1.0 / series, ratio=ratio)]
        if not isinstance(data, LineData):
            raise GridError(f"{item.address} is neither a switch nor a line nor a transformer")
        series = complex(data.r, data.x) / base or complex(_IDEAL_OHM / base)
        charging = 1j * data.b * base
        if not faulty:
            return [_Branch(item.address, (one, other), 1.0 / series, charging=charging)]
        middle = f"{item.address}#fault"
        return [
            _Branch(item.address, (one, middle), 2.0 / series, charging=charging / 2.0, half=1),
            _Branch(item.address, (middle, other), 2.0 / series, charging=charging / 2.0, half=2),
        ]

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
        rows, index = solved.contraction.rows, solved.contraction.index
        given = np.zeros(len(index), np.complex128)
        for node, behind in sources.items():
            given[index[node]] += behind * volts[node]
        drawn = np.zeros(len(index), np.complex128)
        for node, power in loads.items():
            number = index.get(node)
            if number is not None:
                drawn[number] += power / BASE_VA
        injected, taken = self._by_row(solved, given), self._by_row(solved, drawn)
        voltage = solved.guess
        for _ in range(_ROUNDS):
            before = voltage
            voltage = solved.inverse @ (injected - _load_current(taken, voltage))
            if np.max(np.abs(voltage - before), initial=0.0) < 1e-9:
                break
        solved.guess = voltage
        leaving = _load_current(drawn, voltage[rows]) - given
        behind_all = np.zeros(len(index), np.complex128)
        for node, behind in sources.items():
            behind_all[index[node]] += behind
        return self._state(solved, voltage, leaving, behind_all, faults)

    @staticmethod
    def _by_row(solved: _Solved, by_node: Complex) -> Complex:
        found = np.zeros(solved.contraction.count, np.complex128)
        np.add.at(found, solved.contraction.rows, by_node)
        return found

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
            behind[node], volts[node] = -1j * rating / BASE_VA / _ISLAND_PU, 1.0 + 0j
        return behind, volts

    def _state(
        self, solved: _Solved, voltage: Complex, leaving: Complex, behind: Complex, faults: Sequence[CircuitFault]
    ) -> State:
        change, into_fault, fed = self._fault_change(solved, voltage, faults)
        together = voltage + change.get(FaultKind.THREE_PHASE, np.zeros_like(voltage))
        state = State(energised=frozenset(fed))
        for node, volts in self._phase_volts.items():
            row = solved.contraction.row(node)
            state.voltage[node] = complex(together[row]) * volts if row >= 0 else 0j
        lines, switches = self._currents(solved, voltage, leaving, behind)
        for branch, (first, second) in zip(solved.branches, (lines * solved.amperes).tolist(), strict=True):
            self._put(state, branch, first, second)
        for address, current in zip(
            solved.contraction.switches, (switches * solved.switch_amperes).tolist(), strict=True
        ):
            state.current[address] = (current, -current)
        for kind, part in change.items():
            lines, switches = self._currents(solved, part, into_fault[kind], behind)
            for branch, (first, second) in zip(solved.branches, (np.abs(lines) * solved.amperes).tolist(), strict=True):
                _put_fault(state, branch.address, branch.half, (first, second), kind)
            sizes = (np.abs(switches) * solved.switch_amperes).tolist()
            for address, size in zip(solved.contraction.switches, sizes, strict=True):
                _put_fault(state, address, 0, (size, size), kind)
            self._disturb(state, solved, kind, part)
        return state

    @staticmethod
    def _put(state: State, branch: _Branch, first: complex, second: complex) -> None:
        if branch.half:
            known = state.current.get(branch.address, (0j, 0j))
            state.current[branch.address] = (first, known[1]) if branch.half == 1 else (known[0], second)
        else:
            state.current[branch.address] = (first, second)

    @staticmethod
    def _currents(solved: _Solved, voltage: Complex, leaving: Complex, behind: Complex) -> tuple[Complex, Complex]:
        """Currents into both terminals of the branches (rows x 2), and into the first of the switches, per unit."""
        first, second = voltage[solved.first] / solved.ratio, voltage[solved.second]
        through = (first - second) * solved.admittance
        into = np.stack(
            (
                through / solved.ratio + solved.charging * voltage[solved.first],
                -through + solved.charging * second,
            ),
            axis=1,
        )
        out = leaving + (behind + solved.shunt) * voltage[solved.contraction.rows]
        np.add.at(out, solved.starts, into[:, 0])
        np.add.at(out, solved.ends, into[:, 1])
        return into, solved.contraction.through(out)

    def _fault_change(
        self, solved: _Solved, voltage: Complex, faults: Sequence[CircuitFault]
    ) -> tuple[dict[FaultKind, Complex], dict[FaultKind, Complex], set[str]]:
        """Change of voltage by kind of fault, the current that leaves each node into the fault, and the faults fed."""
        change: dict[FaultKind, Complex] = {}
        into: dict[FaultKind, Complex] = {}
        fed: set[str] = set()
        for fault in faults:
            item = self.grid.equipment[fault.equipment]
            where = item.nodes[0]
            node = f"{item.address}#fault" if isinstance(item.data, LineData) else where
            row = solved.contraction.row(node)
            if row < 0:
                continue
            fed.add(fault.equipment)
            own = solved.inverse[row, row] + _ARC_OHM / self._base_ohm(where)
            current = complex(voltage[row] / own)
            if fault.kind is FaultKind.PHASE_EARTH:
                current *= min(1.0, fault.earth_current / self._ampere(where) / abs(current))
            elif fault.kind is FaultKind.PHASE_PHASE:
                current *= math.sqrt(3.0) / 2.0
            part = change.setdefault(fault.kind, np.zeros_like(voltage))
            part -= solved.inverse[:, row] * current
            leaving = into.setdefault(fault.kind, np.zeros(len(solved.contraction.index), np.complex128))
            leaving[solved.contraction.index[node]] += current
        return change, into, fed

    def _disturb(self, state: State, solved: _Solved, kind: FaultKind, part: Complex) -> None:
        """Magnitudes of the phases while a fault holds."""
        for node, volts in self._phase_volts.items():
            row = solved.contraction.row(node)
            if row < 0:
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


def _load_current(drawn: Complex, voltage: Complex) -> Complex:
    """Current that a power draws; at a weak voltage as an impedance would."""
    size = np.abs(voltage)
    weak = np.minimum(size / _STALL, 1.0) ** 2
    found: Complex = np.conj(drawn * weak / np.where(size > 1e-6, voltage, 1.0))
    return found


def _put_fault(state: State, address: str, half: int, sizes: tuple[float, float], kind: FaultKind) -> None:
    if max(sizes) <= 1.0:
        return
    known = state.fault.get(address, FaultFlow(0.0, 0.0, kind))
    if half == 1:
        sizes = sizes[0], known.second
    elif half == 2:
        sizes = known.first, sizes[1]
    if sum(sizes) >= known.first + known.second:
        state.fault[address] = FaultFlow(*sizes, kind)
