"""What all parts of the CIM reader share: objects by class and parent, terminals, voltages, phases, reports."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from twin_gateway.grid.cim_objects import CimObject, CimObjects
from twin_gateway.grid.cim_places import CimPlaces
from twin_gateway.grid.model import Grid

WANTED: Final = frozenset(
    {
        "ACLineSegment",
        "ACLineSegmentPhase",
        "BaseVoltage",
        "BatteryUnit",
        "Bay",
        "Breaker",
        "BusbarSection",
        "ConformLoad",
        "ConnectivityNode",
        "CurrentLimit",
        "Cut",
        "Disconnector",
        "EnergyConsumer",
        "EnergyConsumerPhase",
        "EnergySource",
        "FaultIndicator",
        "Feeder",
        "Fuse",
        "GroundDisconnector",
        "Jumper",
        "Line",
        "LinearShuntCompensator",
        "LinearShuntCompensatorPhase",
        "LoadBreakSwitch",
        "LoadResponseCharacteristic",
        "NoLoadTest",
        "NonConformLoad",
        "OperationalLimitSet",
        "OperationalLimitType",
        "PerLengthPhaseImpedance",
        "PerLengthSequenceImpedance",
        "PhaseImpedanceData",
        "PhotovoltaicUnit",
        "PowerElectronicsConnection",
        "PowerElectronicsConnectionPhase",
        "PowerTransformer",
        "PowerTransformerEnd",
        "RatioTapChanger",
        "Recloser",
        "Sectionaliser",
        "ShortCircuitTest",
        "SubGeographicalRegion",
        "Substation",
        "Switch",
        "SwitchPhase",
        "Terminal",
        "TransformerCoreAdmittance",
        "TransformerEndInfo",
        "TransformerMeshImpedance",
        "TransformerTank",
        "TransformerTankEnd",
        "TransformerTankInfo",
        "VoltageLevel",
    }
)
"""Classes that are kept while reading."""
_CONTAINERS: Final = ("Equipment.EquipmentContainer", "ConnectivityNode.ConnectivityNodeContainer")
_LEAST_VOLTS: Final = 40.0
_ALONG: Final = ("ACLineSegment", "Breaker", "LoadBreakSwitch", "Disconnector", "Fuse", "Recloser", "Jumper", "Switch")


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal: its number from 1, and the identities of its equipment and node."""

    id: str
    equipment: str
    number: int
    node: str


@dataclass(slots=True)
class Frame:
    """Lookups over the objects, and the grid that is being made.

    Attributes:
        volts: nominal line-to-line voltage of each connectivity node, V.
        node_address: address of each connectivity node that is in the grid.
        connected: connectivity nodes that terminals are at.
        usable: equipment that has been announced to `places`.
        equipment_address: address of equipment in the grid, by its identity.
        taken: objects that became part of the grid, by class.
        split: connectivity node on the secondary of a centre-tapped transformer -> the phase that it hangs on.
    """

    objects: CimObjects
    grid_name: str
    area: str
    grid: Grid
    places: CimPlaces = field(init=False)
    volts: dict[str, float] = field(default_factory=dict)
    node_address: dict[str, str] = field(default_factory=dict)
    equipment_address: dict[str, str] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    usable: set[str] = field(default_factory=set)
    taken: Counter[str] = field(default_factory=Counter)
    split: dict[str, str] = field(default_factory=dict)
    terminals: dict[str, list[Terminal]] = field(default_factory=dict)
    terminal: dict[str, Terminal] = field(default_factory=dict)
    _kinds: dict[str, list[CimObject]] = field(default_factory=dict)
    _children: dict[tuple[str, str], dict[str, list[CimObject]]] = field(default_factory=dict)
    _counted: set[str] = field(default_factory=set)
    _base: dict[str, float] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)
    _near: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = CimPlaces(self.objects, self.grid_name, self.area)
        for item in self.objects.objects.values():
            self._kinds.setdefault(item.kind, []).append(item)
        for item in self.of("Terminal"):
            equipment, node = item.values.get("Terminal.ConductingEquipment", ""), self._node(item)
            number = int(self.number(item, "ACDCTerminal.sequenceNumber", 1.0))
            found = Terminal(item.id, equipment, number, node)
            self.terminal[item.id] = found
            self.terminals.setdefault(equipment, []).append(found)
            self.connected.add(node)
        for several in self.terminals.values():
            several.sort(key=lambda terminal: terminal.number)

    @staticmethod
    def _node(item: CimObject) -> str:
        return item.values.get("Terminal.ConnectivityNode", "")

    def of(self, kind: str) -> list[CimObject]:
        """Objects of a class."""
        return self._kinds.get(kind, [])

    def children(self, kind: str, key: str, parent: CimObject) -> list[CimObject]:
        """Objects of a class whose property refers to a parent."""
        index = self._children.get((kind, key))
        if index is None:
            index = self._children[kind, key] = {}
            for item in self.of(kind):
                index.setdefault(item.values.get(key, ""), []).append(item)
        return index.get(parent.id, [])

    def container(self, item: CimObject) -> str:
        """Identity of the container of equipment or a node; empty when it has none."""
        return next((item.values[key] for key in _CONTAINERS if key in item.values), "")

    def address_of(self, equipment: str) -> str:
        """Address of equipment in the grid by its identity; empty when it is not in."""
        return self.equipment_address.get(equipment, "")

    def take(self, item: CimObject) -> None:
        """Count an object as part of the grid, once."""
        if item.id not in self._counted:
            self._counted.add(item.id)
            self.taken[item.kind] += 1

    def error(self, item: CimObject, message: str) -> None:
        """Report an object that cannot be used."""
        self.objects.report(item.file, item.line, "TG725", f"{item.kind} '{item.name or item.id}' {message}")

    def simplified(self, item: CimObject, message: str) -> None:
        """Report that an object is taken in a simplified form; the same of one object once."""
        if (item.id, message) not in self._told:
            self._told.add((item.id, message))
            text = f"{item.kind} '{item.name or item.id}': {message}"
            self.objects.report(item.file, item.line, "TG727", text, warning=True)

    def number(self, item: CimObject, key: str, default: float) -> float:
        """A finite number, the default where the object has none; what is no number is reported."""
        text = item.values.get(key)
        if text is None or not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or abs(value) > 1e15:
            self.error(item, f"{key} is '{text[:40]}', not a usable number")
            return default
        return value

    @staticmethod
    def flag(item: CimObject, key: str, default: bool) -> bool:
        """A truth value, the default where the object has none."""
        text = item.values.get(key, "").lower()
        return text == "true" if text in ("true", "false") else default

    # ---- phases ---------------------------------------------------------------------------------------------------

    def letter(self, literal: str, node: str) -> str:
        """Phase of a `SinglePhaseKind.A`; s1 and s2 are the phase that the transformer before them hangs on."""
        name = literal.rpartition(".")[2]
        if name in ("s1", "s2", "s12", "s12N"):
            return self.split.get(node, "A")
        return name if name in ("A", "B", "C", "N") else "A"

    def phases(self, item: CimObject, kind: str, parent: str, key: str, terminals: Iterable[Terminal]) -> str:
        """Phases of equipment by its phase objects, `ABC` without any."""
        rows = self.children(kind, parent, item)
        node = next(iter(terminals)).node
        letters = {self.letter(row.values.get(key, ""), node) for row in rows}
        for row in rows:
            self.take(row)
        return "".join(letter for letter in "ABCN" if letter in letters) or "ABC"

    # ---- voltages -------------------------------------------------------------------------------------------------

    def base(self, node: str) -> float:
        """Voltage by which the voltage level of a node is named (its BaseVoltage), V."""
        return self._base.get(node, self.volts.get(node, 0.0))

    def base_voltage(self, item: CimObject, *keys: str) -> float | None:
        """Nominal voltage of the BaseVoltage that an object refers to; None when there is none."""
        for key in keys:
            found = self.objects.objects.get(item.values.get(key, ""))
            if found is not None and found.kind == "BaseVoltage":
                self.take(found)
                volts = self.number(found, "BaseVoltage.nominalVoltage", 0.0)
                if volts < _LEAST_VOLTS:
                    self.error(found, f"has {volts:g} V: this profile is in V, not kV")
                    return None
                return volts
        level = self.objects.objects.get(self.container(item))
        if level is not None and level.kind == "Bay":
            level = self.objects.objects.get(level.values.get("Bay.VoltageLevel", ""))
        if level is not None and level.kind == "VoltageLevel":
            return self.base_voltage(level, "VoltageLevel.BaseVoltage")
        return None

    def spread_voltages(self) -> None:
        """The voltage of every node: that of the equipment at it, carried on through lines and switches."""
        for identity, terminals in self.terminals.items():
            item = self.objects.objects.get(identity)
            if item is None or item.kind == "PowerTransformer":
                continue
            volts = self.base_voltage(item, "ConductingEquipment.BaseVoltage")
            if volts is not None:
                for terminal in terminals:
                    self.volts.setdefault(terminal.node, volts)
        for kind in ("PowerTransformerEnd", "TransformerTankEnd"):
            for item in self.of(kind):
                found = self.terminal.get(item.values.get("TransformerEnd.Terminal", ""))
                volts = self.base_voltage(item, "TransformerEnd.BaseVoltage")
                if found is not None and volts is not None:
                    self.volts.setdefault(found.node, volts)
        for item in self.of("ConnectivityNode"):
            if item.id not in self.volts and (volts := self.base_voltage(item)) is not None:
                self.volts[item.id] = volts
        queue = deque(self.volts)
        while queue:
            node = queue.popleft()
            for other in self.beside(node):
                if other not in self.volts:
                    self.volts[other] = self.volts[node]
                    queue.append(other)
        self._base = dict(self.volts)

    def beside(self, node: str) -> list[str]:
        """Nodes that lines and switches join with a node."""
        if not self._near:
            for identity, terminals in self.terminals.items():
                item = self.objects.objects.get(identity)
                if item is not None and item.kind in _ALONG and len(terminals) == 2:
                    first, second = terminals[0].node, terminals[1].node
                    self._near.setdefault(first, []).append(second)
                    self._near.setdefault(second, []).append(first)
        return self._near.get(node, [])
