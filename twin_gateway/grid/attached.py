"""What hangs on equipment in a grid file: fault indicators, measurements, meters and feeders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from address_space.address import Kind, parse
from twin_gateway.grid import fields as f
from twin_gateway.grid.check import Located
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
    readers = {
        "at": _equipment(file, grid, where if complete else None),
        "terminal": _TERMINAL,
        "directional": bool_value,
        "poll": bool_value,
    }
    for key, at, entry in file.entries("indicators"):
        with file.at(at):
            address = file.point(key)
            _taken(address, grid.indicators, "the indicator")
            found = _read(file, entry, at, readers, required=("at",), what="an indicator")
            if found is None:
                continue
            values, _ = found
            _terminal(values, grid)
            equipment = values.pop("at")
            grid.indicators[address] = FaultIndicator(address, equipment, **values)
            where[address] = Located(file.source, at, entry)


def read_measurements(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Measured points and the terminals that they measure at."""
    readers = {
        "at": _equipment(file, grid, where if complete else None),
        "terminal": _TERMINAL,
        "direction": _direction,
        "accuracy": f.fraction("1 %"),
        "quantity": lambda value: Quantity(f.choice(*(item.value for item in Quantity))(value)),
        "phase": f.choice("A", "B", "C", "AB", "BC", "CA"),
    }
    for key, at, entry in file.entries("measurements"):
        with file.at(at):
            address = file.point(key)
            _taken(address, grid.measurements, "the measured point")
            found = _read(file, entry, at, readers, required=("at",), what="a measurement")
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


def _direction(value: Any) -> int:
    if value in (1, -1) and type(value) is int:
        return int(value)
    raise FieldError("TG204", f"{kind_of(value)} is not 1 (into the equipment) or -1 (out of it)")


def read_meters(file: GridFile, grid: Grid, where: Where, complete: bool) -> None:
    """Energy meters and the record of where they are connected."""
    readers = {
        "at": _equipment(file, grid, where if complete else None),
        "role": lambda value: MeterRole(f.choice(*(item.value for item in MeterRole))(value)),
        "terminal": _TERMINAL,
        "direction": _direction,
        "phases": f.phases,
        "class": _CLASS,
        "ct_class": _CLASS,
        "vt_class": _CLASS,
        "ratio": f.number(above=0.0),
        "digits": f.whole(0, 15),
        "rating": f.measure("active power", "40 kW", 0.0),
        "transformer": _equipment(file, grid, where if complete else None, CimClass.TRANSFORMER),
        "lv_feeder": lambda value: file.place(value, Kind.BAY, Kind.EQUIPMENT),
    }
    for key, at, entry in file.entries("meters"):
        with file.at(at):
            address = file.place(key)
            _taken(address, grid.meters, "the meter")
            if address in grid.equipment or address in grid.nodes:
                raise FieldError("TG703", f"{address} is the address of equipment or a node too")
            found = _read(file, entry, at, readers, required=("at",), what="a meter")
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
    points = f.several(file.point)
    readers: dict[str, Callable[[Any], Any]] = {
        "head": _equipment(file, grid, where if complete else None, *(CimClass(name) for name in _HEADS)),
        "trip": points,
        "start": points,
        "reclosing": lambda value: value if value == "none" else file.point(value),
        "reclose_block": file.point,
        "breaker_failure": points,
        "busbar_trip": points,
        "load_shedding": points,
        "scheme": file.point,
        "pickup": f.measure("current", "450 A", above=0),
        "neutral": f.choice("isolated", "compensated", "resistance", "solid"),
    }
    for key, at, entry in file.entries("feeders"):
        with file.at(at):
            address = file.place(key, Kind.BAY, Kind.SITE, Kind.VLEVEL)
            _taken(address, grid.feeders, "the feeder")
            found = _read(file, entry, at, readers, required=("head",), what="a feeder")
            if found is None:
                continue
            values, fields = found
            for other in grid.feeders.values():
                if other.head == values["head"]:
                    with file.at(fields["head"][2]):
                        raise FieldError("TG703", f"{other.head} is the head of {other.address} already")
            grid.feeders[address] = Feeder(address, **values)
            where[address] = Located(file.source, at, entry)


_HEADS: Final = ("Breaker", "Recloser", "LoadBreakSwitch", "Disconnector", "Fuse")
READERS: Final = (read_indicators, read_measurements, read_meters, read_feeders)
"""All readers, in the order in which they depend on each other."""
