"""Reading a grid model from CIM RDF/XML (CDPSM, CIM100): what has a place in the model is taken, the rest is counted.

Units of CIM are SI: lengths in m, impedances in ohm or ohm/m, powers in W. Transformer tests are in kW and percent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twin_gateway.grid.check import parts
from twin_gateway.grid.cim_frame import WANTED, Frame, Terminal
from twin_gateway.grid.cim_lines import line_data, operational_limits
from twin_gateway.grid.cim_objects import MAX_BYTES, CimObject, CimObjects
from twin_gateway.grid.cim_transformers import find_split_phases, read_transformers
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    EquipmentData,
    FaultIndicator,
    Feeder,
    GeneratorData,
    Grid,
    LoadData,
    ShuntData,
    SourceData,
    SwitchRating,
    terminals_of,
)
from twin_gateway.grid.records import pairs_of
from twin_gateway.mapping.problem import Problem

_CLASSES: Final = {
    "Breaker": CimClass.BREAKER,
    "Recloser": CimClass.RECLOSER,
    "LoadBreakSwitch": CimClass.LOAD_BREAK_SWITCH,
    "Sectionaliser": CimClass.LOAD_BREAK_SWITCH,
    "Disconnector": CimClass.DISCONNECTOR,
    "Switch": CimClass.DISCONNECTOR,
    "Cut": CimClass.JUMPER,
    "Jumper": CimClass.JUMPER,
    "GroundDisconnector": CimClass.GROUND_DISCONNECTOR,
    "Fuse": CimClass.FUSE,
    "ACLineSegment": CimClass.LINE,
    "BusbarSection": CimClass.BUSBAR,
    "LinearShuntCompensator": CimClass.SHUNT,
    "EnergyConsumer": CimClass.LOAD,
    "ConformLoad": CimClass.LOAD,
    "NonConformLoad": CimClass.LOAD,
    "EnergySource": CimClass.SOURCE,
    "PowerElectronicsConnection": CimClass.GENERATOR,
}
_TAKEN_AS: Final = {"Sectionaliser": "LoadBreakSwitch", "Switch": "Disconnector", "Cut": "Jumper"}
_DRIVEN: Final = (CimClass.BREAKER, CimClass.RECLOSER, CimClass.LOAD_BREAK_SWITCH, CimClass.DISCONNECTOR)
_DELTA_PAIR: Final = {"A": "AB", "B": "BC", "C": "AC"}


@dataclass(slots=True)
class CimReading:
    """What was read.

    Attributes:
        grid: None when there is any error.
        problems: sorted by file and line; what was left out or simplified is among them as warnings.
        taken: number of objects of each class that became part of the grid or of a record in it.
        left: number of objects of each class that did not.
    """

    grid: Grid | None
    problems: list[Problem] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


def read_cim(paths: Sequence[Path], *, grid: str, area: str = "", max_bytes: int = MAX_BYTES) -> CimReading:
    """Read the files of one model (or of its profiles) together.

    Args:
        paths: RDF/XML files.
        grid: level 1 of all addresses.
        area: level 2; the name of the SubGeographicalRegion unless given.
        max_bytes: limit for one file.
    """
    objects = CimObjects(WANTED)
    readable = [objects.read(path, max_bytes=max_bytes) for path in paths]
    out = Grid()
    frame = Frame(objects, grid, area, out)
    if all(readable) and paths:
        _Assembly(frame).run()
    left = objects.counts - frame.taken
    if left and all(readable):
        what = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        objects.report(str(paths[0]), 0, "TG726", f"left out: {what}", warning=True)
    problems = sorted(set(objects.problems))
    failed = not paths or any(problem.severity == "error" for problem in problems)
    return CimReading(None if failed else out, problems, frame.taken, left)


class _Assembly:
    """Turns objects into records."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.grid = frame.grid

    def run(self) -> None:
        frame = self.frame
        frame.spread_voltages()
        find_split_phases(frame)
        self._nodes()
        for kind, cim_class in _CLASSES.items():
            for item in frame.of(kind):
                self._announce(item, cim_class)
        transformers = read_transformers(frame)
        limits = operational_limits(frame)
        for kind, cim_class in _CLASSES.items():
            if kind in _TAKEN_AS and frame.of(kind):
                frame.simplified(frame.of(kind)[0], f"{kind} is taken as {_TAKEN_AS[kind]}")
            for item in frame.of(kind):
                self._equipment(item, cim_class, limits)
        for equipment in transformers:
            self.grid.equipment[equipment.address] = equipment
        self._indicators()
        self._feeders()
        self._unfed()

    def _nodes(self) -> None:
        frame = self.frame
        usable: list[tuple[CimObject, float]] = []
        for item in frame.of("ConnectivityNode"):
            volts = frame.volts.get(item.id)
            if item.id not in frame.connected:
                frame.objects.report(
                    item.file, item.line, "TG725", f"nothing is connected to {item.name}", warning=True
                )
            elif volts is None:
                frame.error(item, "no equipment at it says its voltage")
            else:
                usable.append((item, volts))
                frame.places.announce(frame.container(item), frame.base(item.id), item)
        for item, volts in usable:
            address = frame.places.address(item, frame.container(item), frame.base(item.id))
            self.grid.nodes[address] = ConnectivityNode(address, volts, item.name, item.id)
            frame.node_address[item.id] = address
            frame.take(item)

    def _announce(self, item: CimObject, cim_class: CimClass) -> None:
        frame = self.frame
        terminals = frame.terminals.get(item.id, [])
        if len(terminals) not in terminals_of(cim_class):
            frame.error(item, f"has {len(terminals)} terminals in the file")
            return
        missing = next((t for t in terminals if t.node not in frame.node_address), None)
        if missing is not None:
            frame.error(item, f"terminal {missing.number} is at no connectivity node of the file that can be used")
            return
        letters = ""
        if cim_class is CimClass.GENERATOR:
            unit = frame.objects.objects.get(item.values.get("PowerElectronicsConnection.PowerElectronicsUnit", ""))
            letters = "GB" if unit is not None and unit.kind == "BatteryUnit" else "GP"
        frame.places.announce(frame.container(item), frame.base(terminals[0].node), item, letters)
        frame.usable.add(item.id)

    def _equipment(self, item: CimObject, cim_class: CimClass, limits: dict[str, tuple[float, float | None]]) -> None:
        frame = self.frame
        if item.id not in frame.usable:
            return
        terminals = frame.terminals[item.id]
        nodes = tuple(frame.node_address[terminal.node] for terminal in terminals)
        if len(set(nodes)) < len(nodes):
            frame.error(item, f"both terminals are at {nodes[0]}")
            return
        address = frame.places.address(item, frame.container(item), frame.base(terminals[0].node))
        phases, data = self._data(item, cim_class, address, terminals, limits.get(item.id))
        if phases is None:
            return
        self.grid.equipment[address] = Equipment(address, cim_class, nodes, data, phases, item.name, item.id)
        frame.equipment_address[item.id] = address
        frame.take(item)
        frame.taken["Terminal"] += len(terminals)

    def _data(
        self,
        item: CimObject,
        cim_class: CimClass,
        address: str,
        terminals: list[Terminal],
        limit: tuple[float, float | None] | None,
    ) -> tuple[str | None, EquipmentData]:
        frame = self.frame
        if cim_class is CimClass.LINE:
            return line_data(frame, item, terminals, limit)
        if cim_class is CimClass.BUSBAR:
            return "ABC", None
        if cim_class is CimClass.LOAD:
            return _load(frame, item, terminals)
        if cim_class is CimClass.SOURCE:
            return "ABC", _source(frame, item, terminals)
        if cim_class is CimClass.SHUNT:
            return _shunt(frame, item, terminals)
        if cim_class is CimClass.GENERATOR:
            return _generator(frame, item, terminals)
        return _switch(frame, item, cim_class, address, terminals)

    def _indicators(self) -> None:
        frame = self.frame
        for item in frame.of("FaultIndicator"):
            terminal = frame.terminal.get(item.values.get("AuxiliaryEquipment.Terminal", ""))
            equipment = frame.address_of(terminal.equipment) if terminal is not None else ""
            if terminal is None or not equipment:
                frame.error(item, "its terminal is not in the file")
                continue
            address = f"{equipment}/SFPI{terminal.number}/FltInd"
            if address in self.grid.indicators:
                frame.error(item, f"a second fault indicator at {equipment}, terminal {terminal.number}")
                continue
            self.grid.indicators[address] = FaultIndicator(address, equipment, terminal.number)
            frame.take(item)

    def _feeders(self) -> None:
        frame = self.frame
        for item in frame.of("Feeder"):
            frame.take(item)
            head = frame.terminal.get(item.values.get("Feeder.NormalHeadTerminal", ""))
            address = frame.address_of(head.equipment) if head is not None else ""
            equipment = self.grid.equipment.get(address)
            if equipment is None or not equipment.is_switch:
                frame.simplified(item, "names no switch as its NormalHeadTerminal: there is no feeder in the model")
                continue
            bay = "/".join(address.split("/")[:5])
            place = frame.places.site(item.id) if bay.endswith("/_") else bay
            self.grid.feeders[place] = Feeder(place, address)

    def _unfed(self) -> None:
        sources = {node for item in self.grid.of(CimClass.SOURCE) for node in item.nodes}
        for part in parts(self.grid):
            if not part & sources:
                example = min(part)
                node = self.frame.objects.objects[self.grid.nodes[example].mrid]
                text = f"{len(part)} connectivity nodes ({example}) can be fed by no source, whatever the switches"
                self.frame.objects.report(node.file, node.line, "TG707", text, warning=True)


def _switch(
    frame: Frame, item: CimObject, cim_class: CimClass, address: str, terminals: list[Terminal]
) -> tuple[str, SwitchRating]:
    phases = frame.phases(item, "SwitchPhase", "SwitchPhase.Switch", "SwitchPhase.phaseSide1", terminals)
    normal = frame.flag(item, "Switch.normalOpen", cim_class is CimClass.GROUND_DISCONNECTOR)
    if frame.flag(item, "Switch.open", normal) != normal:
        frame.simplified(item, "its present position differs from the normal one, which is taken")
    rated = frame.number(item, "Switch.ratedCurrent", 0.0)
    breaks = cim_class in (CimClass.BREAKER, CimClass.RECLOSER, CimClass.LOAD_BREAK_SWITCH)
    seen = cim_class not in (CimClass.FUSE, CimClass.JUMPER)
    node = "XCBR1" if cim_class in (CimClass.BREAKER, CimClass.RECLOSER) else "XSWI1"
    remote = cim_class in _DRIVEN
    return phases, SwitchRating(
        normal_open=normal,
        remote=remote,
        load_break=breaks,
        fault_make=breaks or cim_class is CimClass.GROUND_DISCONNECTOR,
        i_max=rated or None,
        position=f"{address}/{node}/Pos" if seen else "",
        command=f"{address}/CSWI1/Pos" if remote else "",
    )


def _load(frame: Frame, item: CimObject, terminals: list[Terminal]) -> tuple[str, LoadData]:
    delta = item.values.get("EnergyConsumer.phaseConnection", "").endswith(".D")
    rows = frame.children("EnergyConsumerPhase", "EnergyConsumerPhase.EnergyConsumer", item)
    share: dict[str, complex] = {}
    for row in rows:
        letter = frame.letter(row.values.get("EnergyConsumerPhase.phase", ""), terminals[0].node)
        power = complex(
            frame.number(row, "EnergyConsumerPhase.p", 0.0), frame.number(row, "EnergyConsumerPhase.q", 0.0)
        )
        share[letter] = share.get(letter, 0j) + power
        frame.take(row)
    p, q = frame.number(item, "EnergyConsumer.p", 0.0), frame.number(item, "EnergyConsumer.q", 0.0)
    phases, keys = "ABC", tuple(sorted(share))
    if keys and delta:
        # One phase of a delta stands for the pair that begins with it: A for AB.
        pairs = {_DELTA_PAIR[key]: share[key] for key in keys if key in _DELTA_PAIR}
        phases = "".join(sorted(set("".join(pairs))))
        order = pairs_of(phases)
        share = {pair: pairs.get("AC" if pair == "CA" else pair, 0j) for pair in order}
        keys = order
    elif keys:
        phases = "".join(keys)
    total = sum(share.values())
    if keys and abs(total - complex(p, q)) > 1e-3 * max(1.0, abs(total)):
        frame.simplified(item, "its p and q are not the sum of its phases, which is taken")
    customers = int(frame.number(item, "EnergyConsumer.customerCount", 0.0))
    return phases, LoadData(
        p=total.real if keys else p,
        q=total.imag if keys else q,
        customers=customers,
        delta=delta,
        model=_model(frame, item),
        p_phases=tuple(share[key].real for key in keys),
        q_phases=tuple(share[key].imag for key in keys),
    )


def _model(frame: Frame, item: CimObject) -> str:
    """What stays constant, by the response of the active power; mixtures are taken by their largest part."""
    response = frame.objects.objects.get(item.values.get("EnergyConsumer.LoadResponse", ""))
    if response is None:
        return "power"
    frame.take(response)
    get = "LoadResponseCharacteristic."
    if frame.flag(response, f"{get}exponentModel", False):
        exponents = [frame.number(response, f"{get}{kind}VoltageExponent", 0.0) for kind in "pq"]
        if any(exponent not in (0.0, 1.0, 2.0) for exponent in exponents) or exponents[0] != exponents[1]:
            frame.simplified(item, f"its response '{response.name}' is taken by the exponent of the active power")
        return ("power", "current", "impedance")[min(2, max(0, round(exponents[0])))]
    parts_of = {
        kind: [frame.number(response, f"{get}{kind}Constant{what}", 0.0) for what in ("Power", "Current", "Impedance")]
        for kind in "pq"
    }
    if parts_of["p"] != parts_of["q"] or sum(part > 0 for part in parts_of["p"]) > 1:
        frame.simplified(item, f"its response '{response.name}' is taken by the largest part of the active power")
    return ("power", "current", "impedance")[parts_of["p"].index(max(parts_of["p"]))]


def _source(frame: Frame, item: CimObject, terminals: list[Terminal]) -> SourceData:
    nominal = frame.volts[terminals[0].node]
    magnitude = frame.number(item, "EnergySource.voltageMagnitude", nominal)
    if not 0.5 <= magnitude / nominal <= 1.5:
        frame.error(item, f"has {magnitude:g} V where the nominal voltage is {nominal:g} V")
    impedance = {
        name: frame.number(item, f"EnergySource.{name}", 0.0) if f"EnergySource.{name}" in item.values else None
        for name in ("r", "x", "r0", "x0")
    }
    return SourceData(
        voltage=magnitude / nominal,
        angle=math.degrees(frame.number(item, "EnergySource.voltageAngle", 0.0)),
        **impedance,
    )


def _shunt(frame: Frame, item: CimObject, terminals: list[Terminal]) -> tuple[str, ShuntData]:
    delta = item.values.get("ShuntCompensator.phaseConnection", "").endswith(".D")
    nominal = frame.volts[terminals[0].node]
    rows = frame.children("LinearShuntCompensatorPhase", "ShuntCompensatorPhase.ShuntCompensator", item)
    letters = ""
    q = 0.0
    for row in rows:
        letters += frame.letter(row.values.get("ShuntCompensatorPhase.phase", ""), terminals[0].node)
        sections = frame.number(row, "ShuntCompensatorPhase.sections", 1.0)
        q += frame.number(row, "LinearShuntCompensatorPhase.bPerSection", 0.0) * sections * nominal**2 / 3.0
        frame.take(row)
    if not rows:
        sections = frame.number(
            item, "ShuntCompensator.sections", frame.number(item, "ShuntCompensator.normalSections", 1.0)
        )
        q = frame.number(item, "LinearShuntCompensator.bPerSection", 0.0) * sections * nominal**2
    if delta and rows:
        frame.simplified(item, "a capacitor by phase in delta is taken as connected in star")
        delta = False
    return "".join(sorted(set(letters))) or "ABC", ShuntData(q, delta)


def _generator(frame: Frame, item: CimObject, terminals: list[Terminal]) -> tuple[str, GeneratorData]:
    rows = frame.children(
        "PowerElectronicsConnectionPhase", "PowerElectronicsConnectionPhase.PowerElectronicsConnection", item
    )
    letters = {
        frame.letter(row.values.get("PowerElectronicsConnectionPhase.phase", ""), terminals[0].node) for row in rows
    }
    for row in rows:
        frame.take(row)
    unit = frame.objects.objects.get(item.values.get("PowerElectronicsConnection.PowerElectronicsUnit", ""))
    if unit is not None:
        frame.take(unit)
    p = frame.number(item, "PowerElectronicsConnection.p", 0.0)
    q = frame.number(item, "PowerElectronicsConnection.q", 0.0)
    rating = frame.number(item, "PowerElectronicsConnection.ratedS", math.hypot(p, q))
    return "".join(sorted(letters)) or "ABC", GeneratorData(p, q, rating)
