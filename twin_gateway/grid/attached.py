"""What hangs on equipment in a grid file: fault indicators, measurements, meters and feeders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from address_space.address import Kind, parse
from twin_gateway.grid import fields as f
from twin_gateway.grid.check import Located
from twin_gateway.grid.fields import Reader
from twin_gateway.grid.gridfile import Field, GridFile
from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    FaultIndicator,
    Feeder,
    Grid,
    Measurement,
    Meter,
    MeterRole,
    Quantity,
)
from twin_gateway.mapping.field_error import FieldError, bool_value, kind_of
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import Map

Where = dict[str, Located]


@dataclass(frozen=True, slots=True)
class EquipmentOf:
    """Stands in a field table for the address of equipment of some classes, or of any."""

    classes: tuple[CimClass, ...] = ()


class Named(StrEnum):
    """Stands in a field table for an address that only the reader of the file can complete."""

    POINT = "point"  # a data object
    POINTS = "points"  # one or several
    POINT_OR_NONE = "point or none"
    FEEDER = "feeder"  # a bay or equipment


Table = Mapping[str, Reader | EquipmentOf | Named]
_TERMINAL = f.whole(1, 3)
_CLASS = f.number(0.0, 20.0)
_MANY: Final = 3000
_TOTALS: Final = {
    "TotW": Quantity.P,
    "TotVAr": Quantity.Q,
    "Watt": Quantity.P,
    "VolAmpr": Quantity.Q,
    "Amp": Quantity.I,
    "Vol": Quantity.V,
    "W": Quantity.P,
    "VAr": Quantity.Q,
    "A": Quantity.I,
    "PhV": Quantity.V,
    "PPV": Quantity.U,
    "AvAPhs": Quantity.I,
    "AvPhVPhs": Quantity.V,
    "AvPPVPhs": Quantity.U,
    "AvWPhs": Quantity.P,
    "AvVArPhs": Quantity.Q,
}
"""Data objects of measuring logical nodes (MMXU, MMXN) -> what they measure."""


def _read_direction(value: Any) -> int:
    if value in (1, -1) and type(value) is int:
        return int(value)
    raise FieldError("TG204", f"{kind_of(value)} is not 1 (into the equipment) or -1 (out of it)")


def _word_of(kind: type[Quantity] | type[MeterRole]) -> f.Shaped:
    word = f.choice(*(item.value for item in kind))
    return f.Shaped(lambda value: kind(word(value)), word.schema)


_DIRECTION = f.Shaped(_read_direction, {"enum": [1, -1], "description": "1 into the equipment, -1 out of it"})
INDICATOR: Final[Table] = {
    "at": EquipmentOf(),
    "terminal": _TERMINAL,
    "directional": bool_value,
    "poll": bool_value,
}
MEASUREMENT: Final[Table] = {
    "at": EquipmentOf(),
    "terminal": _TERMINAL,
    "direction": _DIRECTION,
    "accuracy": f.fraction("1 %"),
    "quantity": _word_of(Quantity),
    "phase": f.choice("A", "B", "C", "AB", "BC", "CA"),
}
METER: Final[Table] = {
    "at": EquipmentOf(),
    "role": _word_of(MeterRole),
    "terminal": _TERMINAL,
    "direction": _DIRECTION,
    "phases": f.phases,
    "class": _CLASS,
    "ct_class": _CLASS,
    "vt_class": _CLASS,
    "ratio": f.number(above=0.0),
    "digits": f.whole(0, 15),
    "rating": f.measure("active power", "40 kW", 0.0),
    "transformer": EquipmentOf((CimClass.TRANSFORMER,)),
    "lv_feeder": Named.FEEDER,
}
FEEDER: Final[Table] = {
    "head": EquipmentOf(
        (CimClass.BREAKER, CimClass.RECLOSER, CimClass.LOAD_BREAK_SWITCH, CimClass.DISCONNECTOR, CimClass.FUSE)
    ),
    "trip": Named.POINTS,
    "start": Named.POINTS,
    "reclosing": Named.POINT_OR_NONE,
    "reclose_block": Named.POINT,
    "breaker_failure": Named.POINTS,
    "busbar_trip": Named.POINTS,
    "load_shedding": Named.POINTS,
    "scheme": Named.POINT,
    "pickup": f.measure("current", "450 A", above=0),
    "neutral": f.choice("isolated", "compensated", "resistance", "solid"),
}
REQUIRED: Final = {"indicators": "at", "measurements": "at", "meters": "at", "feeders": "head"}
"""Section -> the field without which an entry makes no sense."""


def quantity_of(address: str) -> tuple[Quantity, str] | None:
    """Quantity and phase that a data object measures; None when it does not follow from the address.

    Raises:
        AddressError: when the address is malformed.
    """
    path = parse(address).path
    quantity = _TOTALS.get(path[0]) if path else None
    if quantity is None:
        return None
    phase = path[1] if len(path) > 1 else ""
    if phase and not (phase.startswith("phs") and set(phase[3:]) <= set("ABC")):
        return None
    return quantity, phase[3:]


def _equipment(file: GridFile, grid: Grid, known: Where | None, *classes: CimClass) -> Callable[[Any], str]:
    """A reader of addresses of equipment that is in the grid, or at least in `known` (None: anything may be)."""

    def read(value: Any) -> str:
        address = file.place(value)
        item = grid.equipment.get(address)
        if item is None and known is not None and address not in known:
            hint = did_you_mean(address, _like(address, grid.equipment))
            raise FieldError("TG704", f"no equipment {address} in the grid model", hint)
        if item is not None and classes and item.cim_class not in classes:
            raise FieldError("TG704", f"{address} is a {item.cim_class}, not a {' or '.join(classes)}")
        return address

    return read


def _readers(table: Table, file: GridFile, grid: Grid, known: Where | None) -> dict[str, Reader]:
    """The readers of a table for one file."""
    named: dict[Named, Reader] = {
        Named.POINT: file.point,
        Named.POINTS: f.several(file.point),
        Named.POINT_OR_NONE: lambda value: value if value == "none" else file.point(value),
        Named.FEEDER: lambda value: file.place(value, Kind.BAY, Kind.EQUIPMENT),
    }
    readers: dict[str, Reader] = {}
    for name, entry in table.items():
        if isinstance(entry, EquipmentOf):
            readers[name] = _equipment(file, grid, known, *entry.classes)
        else:
            readers[name] = named[entry] if isinstance(entry, Named) else entry
    return readers


def _like(address: str, known: Iterable[str]) -> list[str]:
    """Candidates for a hint: those of the same site, or all when they are few."""
    names = list(known)
    if len(names) <= _MANY:
        return names
    site = "/".join(address.split("/")[:3]) + "/"
    return [name for name in names if name.startswith(site)][:_MANY]


def _terminal(values: Mapping[str, Any], grid: Grid) -> None:
    item = grid.equipment.get(values.get("at", ""))
    if item is not None and values.get("terminal", 1) > len(item.nodes):
        raise FieldError("TG702", f"terminal {values['terminal']}: {item.address} has {len(item.nodes)}")


def _read(
    file: GridFile,
    entry: Map,
    at: int,
    readers: Mapping[str, Callable[[Any], Any]],
    *,
    required: tuple[str, ...],
    what: str,
) -> tuple[dict[str, Any], dict[str, Field]] | None:
    fields = file.fields(entry, readers, what)
    values = file.read(fields, readers)
    missing = [name for name in required if name not in fields]
    for name in missing:
        file.source.report(at, "TG202", f"{what} needs '{name}'")
    return None if values is None or missing else (values, fields)


def _taken(address: str, known: Mapping[str, object], what: str) -> None:
    if address in known:
        raise FieldError("TG703", f"{what} {address} occurs twice")


def read_indicators(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Fault passage indicators, by the data object that tells the passage."""
    readers = _readers(INDICATOR, file, grid, where if complete else None)
    for key, at, entry in file.entries("indicators"):
        with file.at(at):
            address = file.point(key)
            _taken(address, grid.indicators, "the indicator")
            found = _read(file, entry, at, readers, required=(REQUIRED["indicators"],), what="an indicator")
            if found is None:
                continue
            values, _ = found
            _terminal(values, grid)
            equipment = values.pop("at")
            grid.indicators[address] = FaultIndicator(address, equipment, **values)
            where[address] = Located(file.source, at, entry)


def read_measurements(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Measured points and the terminals that they measure at."""
    readers = _readers(MEASUREMENT, file, grid, where if complete else None)
    for key, at, entry in file.entries("measurements"):
        with file.at(at):
            address = file.point(key)
            _taken(address, grid.measurements, "the measured point")
            found = _read(file, entry, at, readers, required=(REQUIRED["measurements"],), what="a measurement")
            if found is None:
                continue
            values, _ = found
            _terminal(values, grid)
            told = quantity_of(address)
            if told is None and "quantity" not in values:
                hint = "quantity: P, Q, I, V or U"
                raise FieldError("TG710", f"what {address} measures does not follow from its name", hint)
            quantity, phase = told or (values["quantity"], "")
            equipment = values.pop("at")
            values = {"quantity": quantity, "phase": phase, **values}
            grid.measurements[address] = Measurement(point=address, equipment=equipment, **values)
            where[address] = Located(file.source, at, entry)


def read_meters(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Energy meters and the record of where they are connected."""
    readers = _readers(METER, file, grid, where if complete else None)
    for key, at, entry in file.entries("meters"):
        with file.at(at):
            address = file.place(key)
            _taken(address, grid.meters, "the meter")
            if address in grid.equipment or address in grid.nodes:
                raise FieldError("TG703", f"{address} is the address of equipment or a node too")
            found = _read(file, entry, at, readers, required=(REQUIRED["meters"],), what="a meter")
            if found is None:
                continue
            values, fields = found
            _terminal(values, grid)
            item = grid.equipment.get(values["at"])
            if item is not None and "phases" in values and not set(values["phases"]) <= {*item.phases, "N"}:
                with file.at(fields["phases"][2]):
                    raise FieldError("TG711", f"{item.address} has the phases {item.phases}")
            values.setdefault("phases", _conductors(item))
            equipment, accuracy = values.pop("at"), values.pop("class", 1.0)
            grid.meters[address] = Meter(address, equipment, accuracy_class=accuracy, **values)
            where[address] = Located(file.source, at, entry)


def _conductors(item: Equipment | None) -> str:
    return item.phases.replace("N", "") if item is not None else "ABC"


def read_feeders(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Feeders: the bay that each starts from, and the points of its protection."""
    readers = _readers(FEEDER, file, grid, where if complete else None)
    for key, at, entry in file.entries("feeders"):
        with file.at(at):
            address = file.place(key, Kind.BAY, Kind.SITE, Kind.VLEVEL)
            _taken(address, grid.feeders, "the feeder")
            found = _read(file, entry, at, readers, required=(REQUIRED["feeders"],), what="a feeder")
            if found is None:
                continue
            values, fields = found
            for other in grid.feeders.values():
                if other.head == values["head"]:
                    with file.at(fields["head"][2]):
                        raise FieldError("TG703", f"{other.head} is the head of {other.address} already")
            grid.feeders[address] = Feeder(address, **values)
            where[address] = Located(file.source, at, entry)


READERS: Final = (read_indicators, read_measurements, read_meters, read_feeders)
"""All readers, in the order in which they depend on each other."""
