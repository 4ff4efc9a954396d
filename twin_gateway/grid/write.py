"""Writing a grid model as the YAML that `read_grid` reads: for grids that come from CIM or are generated."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal

from twin_gateway.grid.attached import quantity_of
from twin_gateway.grid.model import (
    Equipment,
    Feeder,
    GeneratorData,
    Grid,
    GridError,
    LineData,
    LoadData,
    Measurement,
    Meter,
    ShuntData,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.grid.records import pairs_of

Fields = dict[str, str]


def write_grid(grid: Grid) -> str:
    """The text of a grid file; reading it gives an equal grid.

    Raises:
        GridError: the addresses do not begin with one grid.
    """
    addresses = [*grid.nodes, *grid.equipment, *grid.indicators, *grid.measurements, *grid.meters, *grid.feeders]
    tops = {address.split("/", 1)[0] for address in addresses}
    if len(tops) != 1:
        raise GridError("a grid file holds the addresses of one grid" if tops else "the grid model is empty")
    top = tops.pop()
    areas = {address.split("/")[1] for address in addresses}
    place = f"{top}/{areas.pop()}" if len(areas) == 1 else top
    voltages = _voltages(grid)
    lines = ["grid_model: 1", f"grid: {top}"]
    if place != top:
        lines.append(f"place: {place.split('/')[1]}")
    lines.append(f"voltages: {_flow({level: _unit(volts, 'V') for level, volts in voltages.items()})}")
    writer = _Writer(grid, place, voltages)
    for name, rows in writer.sections():
        entries = [f"  {writer.short(key)}: {_flow(fields)}" for key, fields in rows]
        if entries:
            lines += [f"{name}:", *entries]
    return "\n".join(lines) + "\n"


def _voltages(grid: Grid) -> dict[str, float]:
    """The voltage that most nodes of a voltage level have."""
    counts: dict[str, Counter[float]] = {}
    for node in grid.nodes.values():
        counts.setdefault(node.address.split("/")[3], Counter())[node.nominal] += 1
    return {level: count.most_common(1)[0][0] for level, count in counts.items()}


class _Writer:
    def __init__(self, grid: Grid, place: str, voltages: Mapping[str, float]) -> None:
        self.grid = grid
        self.place = place + "/"
        self.voltages = voltages

    def short(self, address: str) -> str:
        """The address without what goes before every key."""
        return address.removeprefix(self.place)

    def many(self, addresses: tuple[str, ...]) -> str:
        return "[" + ", ".join(self.short(address) for address in addresses) + "]"

    def sections(self) -> Iterator[tuple[str, list[tuple[str, Fields]]]]:
        """Sections with their entries."""
        grid = self.grid
        used = {node for item in grid.equipment.values() for node in item.nodes}
        nodes: list[tuple[str, Fields]] = []
        for node in grid.nodes.values():
            fields = _named(node.name, node.mrid)
            if node.nominal != self.voltages[node.address.split("/")[3]]:
                fields["nominal"] = _unit(node.nominal, "V")
            if fields or node.address not in used:
                nodes.append((node.address, fields))
        yield "nodes", nodes
        yield "equipment", [(item.address, self.equipment(item)) for item in grid.equipment.values()]
        indicators: list[tuple[str, Fields]] = []
        for indicator in grid.indicators.values():
            fields = {"at": self.short(indicator.equipment), "terminal": str(indicator.terminal)}
            _put(fields, "directional", indicator.directional, False)
            _put(fields, "poll", indicator.poll, True)
            indicators.append((indicator.address, fields))
        yield "indicators", indicators
        yield "measurements", [(item.point, self.measurement(item)) for item in grid.measurements.values()]
        yield "meters", [(item.address, self.meter(item)) for item in grid.meters.values()]
        yield "feeders", [(item.address, self.feeder(item)) for item in grid.feeders.values()]

    def equipment(self, item: Equipment) -> Fields:
        one = len(item.nodes) == 1
        fields = {"class": str(item.cim_class), "node" if one else "nodes": self.many(item.nodes)}
        if one:
            fields["node"] = self.short(item.nodes[0])
        _put(fields, "phases", item.phases, "ABC")
        fields |= _named(item.name, item.mrid)
        data = item.data if item.data is not None or not item.is_switch else SwitchRating()
        if isinstance(data, SwitchRating):
            self.switch(fields, data)
        elif isinstance(data, LineData):
            _line(fields, data)
        elif isinstance(data, TransformerData):
            _transformer(fields, data, item.phases)
        elif isinstance(data, LoadData):
            _load(fields, data, item.phases)
        elif isinstance(data, SourceData):
            _source(fields, data)
        elif isinstance(data, GeneratorData):
            fields |= {"p": _unit(data.p, "W"), "q": _unit(data.q, "var")}
            if data.rating:
                fields["rating"] = _unit(data.rating, "VA")
        elif isinstance(data, ShuntData):
            fields["q"] = _unit(data.q, "var")
            _put(fields, "delta", data.delta, False)
        return fields

    def switch(self, fields: Fields, data: SwitchRating) -> None:
        fields["normal"] = "open" if data.normal_open else "closed"
        for name in ("remote", "load_break", "fault_make"):
            fields[name] = _word(getattr(data, name))
        if data.i_max is not None:
            fields["i_max"] = _unit(data.i_max, "A")
        fields["position"] = self.short(data.position) if data.position else "null"
        fields["command"] = self.short(data.command) if data.command else "null"

    def measurement(self, item: Measurement) -> Fields:
        fields = {"at": self.short(item.equipment), "terminal": str(item.terminal), "direction": str(item.direction)}
        if quantity_of(item.point) != (item.quantity, item.phase):
            fields["quantity"] = str(item.quantity)
            if item.phase:
                fields["phase"] = item.phase
        if item.accuracy != Measurement.__dataclass_fields__["accuracy"].default:
            fields["accuracy"] = _percent(item.accuracy)
        return fields

    def meter(self, item: Meter) -> Fields:
        fields = {"at": self.short(item.equipment), "phases": item.phases, "class": _number(item.accuracy_class)}
        for name in ("role", "terminal", "direction", "ct_class", "vt_class", "ratio", "digits"):
            value = getattr(item, name)
            _put(fields, name, value, Meter.__dataclass_fields__[name].default)
        if item.rating:
            fields["rating"] = _unit(item.rating, "W")
        for name in ("transformer", "lv_feeder"):
            if getattr(item, name):
                fields[name] = self.short(getattr(item, name))
        return fields

    def feeder(self, item: Feeder) -> Fields:
        fields = {"head": self.short(item.head)}
        for name in ("trip", "start", "breaker_failure", "busbar_trip", "load_shedding"):
            if getattr(item, name):
                fields[name] = self.many(getattr(item, name))
        for name in ("reclosing", "reclose_block", "scheme", "neutral"):
            value: str = getattr(item, name)
            if value:
                fields[name] = self.short(value)
        if item.pickup is not None:
            fields["pickup"] = _unit(item.pickup, "A")
        return fields


def _named(name: str, mrid: str) -> Fields:
    fields: Fields = {}
    if name:
        fields["name"] = json.dumps(name, ensure_ascii=False)
    if mrid:
        fields["mrid"] = json.dumps(mrid)
    return fields


def _line(fields: Fields, data: LineData) -> None:
    if data.length:
        fields["length"] = _unit(data.length, "km")
    for name, unit in (("r", "ohm"), ("x", "ohm"), ("r0", "ohm"), ("x0", "ohm"), ("b", "S")):
        value = getattr(data, name)
        if value is not None and (value or name != "b"):
            fields[name] = _unit(value, unit)
    for name in ("i_max", "i_emergency"):
        if getattr(data, name) is not None:
            fields[name] = _unit(getattr(data, name), "A")
    if data.phase_impedance:
        fields["impedance"] = _matrix(data.phase_impedance, "ohm")
    if data.phase_susceptance:
        fields["susceptance"] = _matrix(data.phase_susceptance, "S")


def _matrix(parts: tuple[complex, ...] | tuple[float, ...], unit: str) -> str:
    size = math.isqrt(len(parts))
    texts = [f'"{_number(part.real)}{part.imag:+}j"' if isinstance(part, complex) else _number(part) for part in parts]
    rows = ["[" + ", ".join(texts[i : i + size]) + "]" for i in range(0, len(texts), size)]
    return f"{{unit: {unit}, rows: [{', '.join(rows)}]}}"


def _transformer(fields: Fields, data: TransformerData, phases: str) -> None:
    fields |= {"u1": _unit(data.u1, "V"), "u2": _unit(data.u2, "V"), "s": _unit(data.s, "VA")}
    fields |= {"uk": _percent(data.uk), "pk": _unit(data.pk, "W"), "p0": _unit(data.p0, "W"), "i0": _percent(data.i0)}
    fields |= {"connection": data.connection, "clock": str(data.clock)}
    if data.phase_taps:
        letters = [letter for letter in phases if letter != "N"]
        fields["tap"] = _flow({a: _number(tap) for a, tap in zip(letters, data.phase_taps, strict=True)})
    else:
        _put(fields, "tap", data.tap, 1.0)
    if data.grounding:
        fields |= {"rn": _unit(data.grounding.real, "ohm"), "xn": _unit(data.grounding.imag, "ohm")}


def _load(fields: Fields, data: LoadData, phases: str) -> None:
    keys = pairs_of(phases) if data.delta else tuple(letter for letter in phases if letter != "N")
    for name, unit, total, each in (("p", "W", data.p, data.p_phases), ("q", "var", data.q, data.q_phases)):
        if each:
            fields[name] = _flow({key: _unit(value, unit) for key, value in zip(keys, each, strict=True)})
        else:
            fields[name] = _unit(total, unit)
    for key, default in (("customers", 0), ("weight", 1.0), ("delta", False), ("model", "power")):
        _put(fields, key, getattr(data, key), default)
    if data.rating:
        fields["rating"] = _unit(data.rating, "VA")


def _source(fields: Fields, data: SourceData) -> None:
    fields["voltage"] = _number(data.voltage)
    if data.s_short is not None:
        fields["s_short"] = _unit(data.s_short, "VA")
    _put(fields, "angle", data.angle, 0.0)
    for name in ("r", "x", "r0", "x0"):
        if getattr(data, name) is not None:
            fields[name] = _unit(getattr(data, name), "ohm")


def _put(fields: Fields, name: str, value: object, default: object) -> None:
    if value != default:
        fields[name] = _word(value) if not isinstance(value, float) else _number(value)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _unit(value: float, unit: str) -> str:
    """A number with its unit, in kilo where that loses nothing."""
    if unit in ("V", "W", "var", "VA") and abs(value) >= 1000 and value / 1000 * 1000 == value:
        kilo = repr(value / 1000)
        if len(kilo) <= len(repr(float(value))):
            return f"{_number(value / 1000)} k{unit}"
    return f"{_number(value)} {unit}"


def _percent(value: float) -> str:
    """A fraction as a percentage that reads back as the same fraction."""
    percent = Decimal(repr(float(value))).scaleb(2).normalize()
    return f"{percent:f} %" if percent.adjusted() > -7 else f"{percent:e} %"


def _flow(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"
