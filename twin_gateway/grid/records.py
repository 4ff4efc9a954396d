"""Fields of each class of equipment in a grid file, and how they become the records of the grid model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twin_gateway.grid import fields as f
from twin_gateway.grid.fields import PerLength, Reader
from twin_gateway.grid.model import (
    SWITCHES,
    CimClass,
    EquipmentData,
    GeneratorData,
    LineData,
    LoadData,
    ShuntData,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.mapping.field_error import FieldError, bool_value

Values = Mapping[str, Any]
ADDRESS: Final = "address"
"""Stands in a field table for an address of a data object, which only the reader of the file can complete."""

_WEIGHTS: Final = {"normal": 1.0, "critical": 5.0, "hospital": 10.0}
_CLOCKED: Final = r"(?P<group>[DYZdyzNn]{2,4})(?P<clock>1[01]|[0-9])?"


@dataclass(frozen=True, slots=True)
class Record:
    """What one class of equipment holds.

    Attributes:
        fields: name -> reader, or `ADDRESS`.
        required: names without which the record makes no sense.
        build: makes the record of the values read and the phases of the equipment; raises `FieldError`.
    """

    fields: Mapping[str, Reader | str]
    required: tuple[str, ...]
    build: Callable[[Values, str], EquipmentData]


def _read_weight(value: Any) -> float:
    if type(value) is str:
        return _WEIGHTS[f.choice(*_WEIGHTS)(value)]
    return float(f.number(0.0, 1e6)(value))


_weight = f.Shaped(_read_weight, {"anyOf": [{"enum": list(_WEIGHTS)}, {"type": "number", "minimum": 0}]})


def _read_connection(value: Any) -> tuple[str, int | None]:
    match = re.fullmatch(_CLOCKED, f.text(value))
    if match is None or not _is_group(match["group"]):
        raise FieldError("TG207", f"'{value}' is no vector group", "as in Dyn, Yyn, Dyn11")
    return match["group"], int(match["clock"]) if match["clock"] else None


def _is_group(group: str) -> bool:
    high = group.rstrip("dyzn") if group[0].isupper() else ""
    low = group[len(high) :]
    return high in ("D", "Y", "YN", "Z", "ZN") and low in ("d", "y", "yn", "z", "zn")


_connection = f.Shaped(
    _read_connection, {"type": "string", "description": "vector group, as in Dyn, or with its clock, as in Dyn11"}
)
_LENGTH = f.measure("length", "1.2 km", 0.0)
_CURRENT = f.measure("current", "300 A", above=0)
_POWER = f.measure("active power", "100 kW")
_REACTIVE = f.measure("reactive power", "60 kvar")
_APPARENT = f.measure("apparent power", "400 kVA", above=0)
_OHM = f.measure("resistance", "0.0922 ohm", 0.0, per_length=True)
_TOTAL_OHM = f.measure("resistance", "0.5 ohm", 0.0)
_VOLTAGE = f.measure("voltage", "12.66 kV", above=0)
_RATIO = f.number(0.5, 2.0)


def _switch(cim_class: CimClass) -> Record:
    drive = cim_class in (
        CimClass.BREAKER,
        CimClass.RECLOSER,
        CimClass.LOAD_BREAK_SWITCH,
        CimClass.DISCONNECTOR,
    )
    breaks = cim_class in (CimClass.BREAKER, CimClass.RECLOSER, CimClass.LOAD_BREAK_SWITCH)
    makes = breaks or cim_class is CimClass.GROUND_DISCONNECTOR

    def build(values: Values, phases: str) -> SwitchRating:
        return SwitchRating(
            normal_open=values.get("normal", "open" if cim_class is CimClass.GROUND_DISCONNECTOR else "closed")
            == "open",
            remote=values.get("remote", drive),
            load_break=values.get("load_break", breaks),
            fault_make=values.get("fault_make", makes),
            i_max=values.get("i_max"),
            position=values["position"],
            command=values["command"],
        )

    table: dict[str, Reader | str] = {
        "normal": f.choice("open", "closed"),
        "remote": bool_value,
        "load_break": bool_value,
        "fault_make": bool_value,
        "i_max": _CURRENT,
        "position": ADDRESS,
        "command": ADDRESS,
    }
    return Record(table, (), build)


def _line(values: Values, phases: str) -> LineData:
    length = values.get("length", 0.0)
    values = {name: _total(name, value, length) for name, value in values.items()}
    impedance: tuple[complex, ...] = values.get("impedance", ())
    susceptance: tuple[complex, ...] = values.get("susceptance", ())
    conductors = sum(letter in "ABC" for letter in phases)
    for name, parts in (("impedance", impedance), ("susceptance", susceptance)):
        if parts and len(parts) != conductors**2:
            raise FieldError("TG711", f"the {name} has {math.isqrt(len(parts))} rows, the line {conductors} phases")
    if not impedance and ("r" not in values or "x" not in values):
        raise FieldError("TG202", "a line needs r and x, or the matrix of its impedance", "r: 0.0922 ohm")
    r, x = positive_sequence(impedance)
    if impedance and any(z.real < 0 for z in impedance[:: conductors + 1]):
        raise FieldError("TG206", "a resistance on the diagonal is negative")
    return LineData(
        r=values.get("r", r),
        x=values.get("x", x),
        r0=values.get("r0"),
        x0=values.get("x0"),
        b=values.get("b", positive_sequence(susceptance)[0]),
        length=length,
        i_max=values.get("i_max"),
        i_emergency=values.get("i_emergency"),
        phase_impedance=impedance,
        phase_susceptance=tuple(part.real for part in susceptance),
    )


def positive_sequence(parts: tuple[complex, ...]) -> tuple[float, float]:
    """Self minus mutual part of a phase matrix (mean of both): positive sequence of a transposed line."""
    size = math.isqrt(len(parts))
    if not size:
        return 0.0, 0.0
    own = sum(parts[:: size + 1]) / size
    mutual = (sum(parts) - size * own) / (size * (size - 1)) if size > 1 else 0.0
    value = own - mutual
    return value.real, value.imag


def _total(name: str, value: Any, length: float) -> Any:
    if not isinstance(value, PerLength):
        return value
    if length <= 0:
        raise FieldError("TG709", f"{name} is given per length, but the line has no length", "length: 1.2 km")
    return value.total(length)


def _transformer(values: Values, phases: str) -> TransformerData:
    group, clock = values.get("connection", ("Dyn", None))
    if "clock" in values and clock is not None and values["clock"] != clock:
        raise FieldError("TG206", f"the clock {values['clock']} is not that of the connection", "give it once")
    given = values.get("clock", clock)
    hours = given if given is not None else (11 if group[0] == "D" and group[-1] != "d" else 0)
    taps = values.get("tap", 1.0)
    s, pk, uk = values["s"], values.get("pk", 0.0), values["uk"]
    if pk / s > uk:
        raise FieldError("TG206", f"load losses of {pk:g} W are more than uk allows ({uk * s:g} W)")
    each = _each_phase(taps, phases, "tap") if isinstance(taps, dict) else ()
    return TransformerData(
        u1=values["u1"],
        u2=values["u2"],
        s=s,
        uk=uk,
        pk=pk,
        p0=values.get("p0", 0.0),
        i0=values.get("i0", 0.0),
        connection=group,
        clock=hours,
        tap=sum(each) / len(each) if each else taps,
        phase_taps=each,
        grounding=complex(values.get("rn", 0.0), values.get("xn", 0.0)),
    )


def pairs_of(phases: str) -> tuple[str, ...]:
    """Pairs of phases that equipment in delta is connected between: AB, BC, CA, as far as the phases go."""
    return tuple(pair for pair in ("AB", "BC", "CA") if set(pair) <= set(phases))


def _each_phase(value: dict[str, float], phases: str, name: str, delta: bool = False) -> tuple[float, ...]:
    order = pairs_of(phases) if delta else tuple(letter for letter in phases if letter != "N")
    unknown = [key for key in value if key not in order]
    if unknown:
        hint = f"here: {', '.join(order)}" if order else ""
        raise FieldError("TG711", f"{name} of {unknown[0]}, which the equipment does not have", hint)
    if name == "tap" and len(value) != len(order):
        raise FieldError("TG711", f"{name} is missing for {next(key for key in order if key not in value)}")
    return tuple(value.get(key, 0.0) for key in order)


def _load(values: Values, phases: str) -> LoadData:
    delta = values.get("delta", False)
    each: dict[str, tuple[float, ...]] = {}
    total: dict[str, float] = {}
    for name in ("p", "q"):
        value = values.get(name, 0.0)
        each[name] = _each_phase(value, phases, name, delta) if isinstance(value, dict) else ()
        total[name] = sum(each[name]) if each[name] else value
    for name, other in (("p", "q"), ("q", "p")):
        if each[other] and not each[name]:
            if total[name]:
                raise FieldError("TG711", f"{other} is given by phase and {name} is not")
            each[name] = (0.0,) * len(each[other])
    return LoadData(
        p=total["p"],
        q=total["q"],
        customers=values.get("customers", 0),
        weight=values.get("weight", 1.0),
        rating=values.get("rating", 0.0),
        delta=delta,
        model=values.get("model", "power"),
        p_phases=each["p"],
        q_phases=each["q"],
    )


def _source(values: Values, phases: str) -> SourceData:
    return SourceData(
        voltage=values.get("voltage", 1.0),
        s_short=values.get("s_short"),
        angle=values.get("angle", 0.0),
        r=values.get("r"),
        x=values.get("x"),
        r0=values.get("r0"),
        x0=values.get("x0"),
    )


def _generator(values: Values, phases: str) -> GeneratorData:
    p, q = values.get("p", 0.0), values.get("q", 0.0)
    return GeneratorData(p=p, q=q, rating=values.get("rating", math.hypot(p, q)))


def _shunt(values: Values, phases: str) -> ShuntData:
    return ShuntData(q=values["q"], delta=values.get("delta", False))


_LINE_FIELDS: dict[str, Reader | str] = {
    "r": _OHM,
    "x": f.measure("resistance", "0.047 ohm", per_length=True),
    "r0": _OHM,
    "x0": f.measure("resistance", "0.2 ohm", per_length=True),
    "b": f.measure("susceptance", "80 uS/km", 0.0, per_length=True),
    "impedance": f.matrix("resistance", "{unit: ohm/km, rows: [[0.2+0.6j, 0.1+0.3j], [0.1+0.3j, 0.2+0.6j]]}"),
    "susceptance": f.matrix("susceptance", "{unit: uS/km, rows: [[3.5, -1.1], [-1.1, 3.4]]}"),
    "i_max": _CURRENT,
    "i_emergency": _CURRENT,
}

RECORDS: Final[Mapping[CimClass, Record]] = {
    **{cim_class: _switch(cim_class) for cim_class in SWITCHES},
    CimClass.LINE: Record(
        {**_LINE_FIELDS, "length": f.Shaped(lambda value: _LENGTH(value) / 1000.0, _LENGTH.schema)}, (), _line
    ),
    CimClass.BUSBAR: Record({}, (), lambda values, phases: None),
    CimClass.TRANSFORMER: Record(
        {
            "u1": _VOLTAGE,
            "u2": _VOLTAGE,
            "s": _APPARENT,
            "uk": f.fraction("4 %"),
            "pk": f.measure("active power", "4.6 kW", 0.0),
            "p0": f.measure("active power", "610 W", 0.0),
            "i0": f.fraction("0.5 %"),
            "connection": _connection,
            "clock": f.whole(0, 11),
            "tap": f.by_phase(_RATIO),
            "rn": _TOTAL_OHM,
            "xn": f.measure("resistance", "120 ohm"),
        },
        ("u1", "u2", "s", "uk"),
        _transformer,
    ),
    CimClass.LOAD: Record(
        {
            "p": f.by_phase(_POWER),
            "q": f.by_phase(_REACTIVE),
            "customers": f.whole(0, 10_000_000),
            "weight": _weight,
            "rating": _APPARENT,
            "delta": bool_value,
            "model": f.choice("power", "current", "impedance"),
        },
        (),
        _load,
    ),
    CimClass.SOURCE: Record(
        {
            "voltage": f.number(0.5, 1.5),
            "s_short": _APPARENT,
            "angle": f.number(-360.0, 360.0),
            "r": _TOTAL_OHM,
            "x": _TOTAL_OHM,
            "r0": _TOTAL_OHM,
            "x0": _TOTAL_OHM,
        },
        (),
        _source,
    ),
    CimClass.GENERATOR: Record({"p": _POWER, "q": _REACTIVE, "rating": _APPARENT}, (), _generator),
    CimClass.SHUNT: Record({"q": _REACTIVE, "delta": bool_value}, ("q",), _shunt),
}
"""The record of every class."""
COMMON: Final = ("class", "node", "nodes", "type", "phases", "name", "mrid")
"""Fields of every piece of equipment."""
