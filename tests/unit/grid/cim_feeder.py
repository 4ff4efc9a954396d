"""A feeder in CIM RDF/XML, piece by piece."""

from __future__ import annotations

from pathlib import Path

from twin_gateway.grid.cim import CimReading, read_cim
from twin_gateway.grid.model import (
    Grid,
)


def obj(kind: str, identity: str, **values: str) -> str:
    """One object; keys `Class__property`, values that begin with `#` are references."""
    rows = [f"  <cim:IdentifiedObject.name>{values.pop('name', identity)}</cim:IdentifiedObject.name>\n"]
    for key, value in values.items():
        tag = f"cim:{key.replace('__', '.')}"
        rows.append(f'  <{tag} rdf:resource="{value}"/>\n' if value.startswith("#") else f"  <{tag}>{value}</{tag}>\n")
    return f'<cim:{kind} rdf:about="#_{identity}">\n{"".join(rows)}</cim:{kind}>\n'


def terminal(equipment: str, node: str, number: int = 1) -> str:
    return obj(
        "Terminal",
        f"{equipment}T{number}",
        Terminal__ConductingEquipment=f"#_{equipment}",
        Terminal__ConnectivityNode=f"#_{node}",
        ACDCTerminal__sequenceNumber=str(number),
    )


def node(name: str) -> str:
    return obj("ConnectivityNode", name, ConnectivityNode__ConnectivityNodeContainer="#_feeder")


def equipment(kind: str, name: str, nodes: tuple[str, ...], volts: str = "mv", **values: str) -> str:
    own = obj(
        kind,
        name,
        Equipment__EquipmentContainer="#_feeder",
        **({"ConductingEquipment__BaseVoltage": f"#_{volts}"} if volts else {}),
        **values,
    )
    return own + "".join(terminal(name, at, number) for number, at in enumerate(nodes, 1))


LINE = equipment(
    "ACLineSegment", "l1", ("b", "c"), ACLineSegment__PerLengthImpedance="#_z2", Conductor__length="500"
) + "".join(
    obj(
        "ACLineSegmentPhase",
        f"l1{phase}",
        ACLineSegmentPhase__phase=f"#SinglePhaseKind.{phase}",
        ACLineSegmentPhase__sequenceNumber=str(number),
        ACLineSegmentPhase__ACLineSegment="#_l1",
    )
    for number, phase in ((1, "C"), (2, "B"))
)
MATRIX = obj("PerLengthPhaseImpedance", "z2", PerLengthPhaseImpedance__conductorCount="2") + "".join(
    obj(
        "PhaseImpedanceData",
        f"z2{row}{column}",
        PhaseImpedanceData__PhaseImpedance="#_z2",
        PhaseImpedanceData__row=str(row),
        PhaseImpedanceData__column=str(column),
        PhaseImpedanceData__r=r,
        PhaseImpedanceData__x=x,
        PhaseImpedanceData__b=b,
    )
    for row, column, r, x, b in (
        (1, 1, "0.0003", "0.0007", "4e-9"),
        (2, 1, "0.0001", "0.0002", "-1e-9"),
        (2, 2, "0.0004", "0.0008", "4e-9"),
    )
)
FRAME = (
    obj("SubGeographicalRegion", "west")
    + obj("Substation", "ps", Substation__Region="#_west")
    + obj("Feeder", "feeder", name="F1", Feeder__NormalEnergizingSubstation="#_ps")
    + obj("BaseVoltage", "mv", BaseVoltage__nominalVoltage="4160")
    + obj("BaseVoltage", "lv", BaseVoltage__nominalVoltage="480")
)
LOAD = equipment(
    "EnergyConsumer",
    "d1",
    ("c",),
    EnergyConsumer__p="230000",
    EnergyConsumer__q="132000",
    EnergyConsumer__customerCount="3",
    EnergyConsumer__phaseConnection="#PhaseShuntConnectionKind.D",
    EnergyConsumer__LoadResponse="#_constZ",
) + obj(
    "EnergyConsumerPhase",
    "d1B",
    EnergyConsumerPhase__phase="#SinglePhaseKind.B",
    EnergyConsumerPhase__p="230000",
    EnergyConsumerPhase__q="132000",
    EnergyConsumerPhase__EnergyConsumer="#_d1",
)
RESPONSE = obj(
    "LoadResponseCharacteristic",
    "constZ",
    LoadResponseCharacteristic__exponentModel="false",
    LoadResponseCharacteristic__pConstantImpedance="100",
    LoadResponseCharacteristic__qConstantImpedance="100",
)
BODY = (
    FRAME
    + node("a")
    + node("b")
    + node("c")
    + equipment("EnergySource", "s1", ("a",), EnergySource__voltageMagnitude="4243.2", EnergySource__voltageAngle="0.5")
    + equipment("Breaker", "QA1", ("a", "b"), Switch__ratedCurrent="400", Switch__normalOpen="false")
    + LINE
    + MATRIX
    + LOAD
    + RESPONSE
    + obj("Location", "somewhere")
)


def xml(body: str) -> str:
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    spaces = 'xmlns:cim="http://iec.ch/TC57/CIM100#" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    return f"{head}<rdf:RDF {spaces}>\n{body}</rdf:RDF>\n"


def read(tmp_path: Path, body: str, *, whole: str = "") -> CimReading:
    path = tmp_path / "grid.xml"
    path.write_text(whole or xml(body), "utf-8")
    return read_cim([path], grid="ieee")


def grid_of(tmp_path: Path, body: str) -> Grid:
    reading = read(tmp_path, body)
    assert reading.grid is not None, reading.problems
    return reading.grid
