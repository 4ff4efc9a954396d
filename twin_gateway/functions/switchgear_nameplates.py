"""Nameplates of switchgear: a YAML file, every problem with its line and column as in the mapping check.

```yaml
switchgear: 1
grid: dso1
place: north                           # goes before every key
types:
  vacuum-630: {medium: vacuum, rated_current: 630 A, breaking_current: 20 kA, operations: 10000,
               breaking_operations: 100, opening_time: 45 ms}
equipment:
  PS01/MV1/F01/QA1: {type: vacuum-630, gas: sf6, fill: 140 kPa, alarm: 130 kPa, block: 120 kPa}
```
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from address_space.address import AddressError, Kind, parse
from twin_gateway.grid.fields import Reader, measure, number, whole
from twin_gateway.grid.fields import text as text_value
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Seq, Source, TooManyProblemsError, read_file
from twin_gateway.twin.switchgear.gas import GASES, Gas, GasLimits
from twin_gateway.twin.switchgear.nameplate import GasData, Nameplate
from twin_gateway.twin.switchgear.wear import EXPONENTS, POLES, WearData

VERSION: Final = 1
_TOP: Final = ("switchgear", "grid", "place", "types", "equipment")
_BEGINS: Final = "a file of nameplates begins with 'switchgear: 1'"
MOST_CURVE_POINTS: Final = 10


def _word(*known: str) -> Reader:
    def read(value: Any) -> str:
        if value not in known:
            raise FieldError(
                "TG204", f"{kind_of(value)} is not known", did_you_mean(str(value), known) or " | ".join(known)
            )
        return str(value)

    return read


def _curve(value: Any) -> tuple[tuple[float, float], ...]:
    current = measure("current", "20 kA", above=0.0)
    count = number(above=0.0)
    hint = "as in [[630 A, 10000], [20 kA, 100]], ascending in current"
    if not isinstance(value, Seq) or not 1 <= len(value) <= MOST_CURVE_POINTS:
        raise FieldError("TG203", f"a list of one to {MOST_CURVE_POINTS} pairs expected, not {kind_of(value)}", hint)
    points = []
    for pair in value:
        if not isinstance(pair, Seq) or len(pair) != 2:
            raise FieldError("TG203", f"a pair of current and operations expected, not {kind_of(pair)}", hint)
        points.append((current(pair[0]), count(pair[1])))
    if any(second[0] <= first[0] or second[1] > first[1] for first, second in itertools.pairwise(points)):
        raise FieldError("TG206", "currents must ascend and permitted operations must not", hint)
    return tuple(points)


def _gas(value: Any) -> Gas:
    if isinstance(value, Map):
        constant, coefficients = value.get("constant"), value.get("coefficients", (0.0, 0.0, 0.0, 0.0))
        listed = isinstance(coefficients, Seq | tuple) and len(coefficients) == 4
        unknown = set(value) - {"constant", "coefficients"}
        if not listed or unknown:
            raise FieldError("TG203", "a gas is {constant: J/(kg K), coefficients: [c0, c1, c2, c3]}")
        read = number()
        terms = [read(term) for term in coefficients]
        return Gas("described", number(above=0.0)(constant), (terms[0], terms[1], terms[2], terms[3]))
    return GASES[_word(*GASES)(value)]


def _poles(value: Any) -> dict[str, float]:
    percent = number(0.0, 1000.0)
    if isinstance(value, Map):
        if set(value) - set(POLES):
            raise FieldError("TG201", f"poles are {', '.join(POLES)}")
        return {pole: percent(one) for pole, one in value.items()}
    everywhere: float = percent(value)
    return dict.fromkeys(POLES, everywhere)


def _address(value: Any) -> str:
    return text_value(value)


_TIME = measure("time", "45 ms", above=0.0)
_PRESSURE = measure("pressure", "140 kPa", above=0.0)
_COUNT = number(above=0.0)
FIELDS: Final[Mapping[str, Reader]] = {
    "medium": _word(*EXPONENTS),
    "rated_current": measure("current", "630 A", above=0.0),
    "breaking_current": measure("current", "20 kA", above=0.0),
    "operations": _COUNT,
    "breaking_operations": _COUNT,
    "exponent": number(1.0, 3.0),
    "curve": _curve,
    "opening_time": _TIME,
    "closing_time": _TIME,
    "motor_time": _TIME,
    "coil_current": measure("current", "3 A", above=0.0),
    "gas": _gas,
    "pressure": _word("absolute", "gauge"),
    "altitude": measure("length", "450 m", -500.0, 6000.0),
    "fill": _PRESSURE,
    "alarm": _PRESSURE,
    "block": _PRESSURE,
    "discharge_limit": number(),
    "temperature_warn": measure("temperature", "90 degC", -50.0, 250.0),
    "temperature_alarm": measure("temperature", "105 degC", -50.0, 250.0),
    "ambient": _address,
    "wear": _poles,
    "operations_at_maintenance": whole(0, 1_000_000),
}
"""Every field of a type or an equipment."""
_OWN: Final = (
    *("rated_current", "operations", "opening_time", "closing_time", "motor_time", "coil_current"),
    *("discharge_limit", "temperature_warn", "temperature_alarm", "operations_at_maintenance"),
)


def read_nameplates(path: Path) -> tuple[dict[str, Nameplate], list[Problem]]:
    """Nameplates by address of the equipment, and all problems; with an error the nameplates are empty."""
    source = read_file(path)
    found: dict[str, Nameplate] = {}
    if source.root is not None:
        try:
            found = _File(source, source.root).read()
        except TooManyProblemsError:
            source.given_up = True
    problems = sorted(source.problems)
    return ({} if source.errors else found), problems


class _File:
    """One file of nameplates."""

    def __init__(self, source: Source, root: Map) -> None:
        self.source, self.root = source, root
        self.prefix = ""

    def read(self) -> dict[str, Nameplate]:
        root, report = self.root, self.source.report
        for key in root:
            if key not in _TOP:
                report(root.key_at(key), "TG201", f"unknown key '{key}'", did_you_mean(key, _TOP) or ", ".join(_TOP))
        if root.get("switchgear") != VERSION:
            code = "TG205" if "switchgear" in root else "TG202"
            report(root.value_at("switchgear"), code, "the version of the format of nameplates is 1", _BEGINS)
            return {}
        if not isinstance(root.get("grid"), str):
            report(root.value_at("grid"), "TG202", "the key 'grid' is missing", "level 1 of every address")
            return {}
        self.prefix = "/".join(str(part) for part in (root["grid"], root.get("place")) if part is not None)
        types = {key: self._fields(value, at, {}) for key, _, value, at in self._section("types")}
        found: dict[str, Nameplate] = {}
        for key, key_at, value, at in self._section("equipment"):
            address = self._place(key, key_at)
            fields = self._fields(value, at, types)
            made = self._nameplate(fields, at)
            if address and made is not None:
                found[address] = made
        return found

    def _section(self, name: str) -> list[tuple[str, int, Map, int]]:
        value = self.root.get(name)
        if value is None or value is BROKEN:
            return []
        if not isinstance(value, Map):
            self.source.report(self.root.value_at(name), "TG203", f"a mapping expected, not {kind_of(value)}")
            return []
        entries = []
        for i, (key, item) in enumerate(value.items()):
            if isinstance(item, Map):
                entries.append((key, value.marks[2 * i], item, value.marks[2 * i + 1]))
            elif item is not BROKEN:
                text = f"a mapping of fields expected, not {kind_of(item)}"
                self.source.report(value.marks[2 * i + 1], "TG203", text)
        return entries

    def _place(self, key: str, at: int) -> str:
        text = key if key.split("/", maxsplit=1)[0] == self.root["grid"] else f"{self.prefix}/{key}"
        try:
            address = parse(text)
        except AddressError as error:
            self.source.report(at, "TG401", str(error))
            return ""
        if address.kind is not Kind.EQUIPMENT:
            self.source.report(at, "TG402", f"{text} is a {address.kind}, not an equipment", "as in PS01/MV1/F01/QA1")
            return ""
        return address.text

    def _fields(self, entry: Map, at: int, types: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        name = entry.get("type")
        if name is not None:
            if name in types:
                fields.update(types[name])
            else:
                hint = did_you_mean(str(name), types)
                self.source.report(entry.value_at("type"), "TG204", f"there is no type {kind_of(name)}", hint)
        for key, value in entry.items():
            if key == "type" or value is BROKEN:
                continue
            reader = FIELDS.get(key)
            if reader is None:
                hint = did_you_mean(key, FIELDS) or ", ".join(FIELDS)
                self.source.report(entry.key_at(key), "TG201", f"unknown field '{key}'", hint)
                continue
            try:
                fields[key] = reader(value)
            except FieldError as error:
                self.source.report(entry.value_at(key), error.code, f"{key}: {error}", error.hint)
        return fields

    def _nameplate(self, fields: Mapping[str, Any], at: int) -> Nameplate | None:
        before = self.source.errors
        wear, gas = self._wear(fields, at), self._gas(fields, at)
        ambient = fields.get("ambient", "")
        if ambient and ambient.split("/")[0] != self.root["grid"]:
            ambient = f"{self.prefix}/{ambient}"
        if self.source.errors > before:
            return None
        more = {name: fields[name] for name in _OWN if name in fields}
        return Nameplate(wear=wear, wear_start=fields.get("wear", {}), gas=gas, ambient=ambient, **more)

    def _wear(self, fields: Mapping[str, Any], at: int) -> WearData | None:
        needed = ("rated_current", "breaking_current", "operations", "breaking_operations")
        if "breaking_operations" not in fields and "curve" not in fields:
            return None
        missing = [name for name in needed if name not in fields]
        if "curve" in fields:
            missing = [name for name in missing if name in {"rated_current", "operations"}]
        if missing:
            self.source.report(at, "TG202", f"contact wear needs {' and '.join(missing)} too")
            return None
        curve = fields.get("curve", ())
        last = curve[-1] if curve else (0.0, 0.0)
        return WearData(
            fields["rated_current"],
            fields.get("breaking_current", last[0]),
            fields["operations"],
            fields.get("breaking_operations", last[1]),
            fields.get("exponent", EXPONENTS[fields.get("medium", "vacuum")]),
            curve,
        )

    def _gas(self, fields: Mapping[str, Any], at: int) -> GasData | None:
        stages = [fields.get(name) for name in ("fill", "alarm", "block")]
        if "gas" not in fields:
            if any(stage is not None for stage in stages):
                self.source.report(at, "TG202", "stages of a gas without 'gas'", " | ".join(GASES))
            return None
        limits = None
        if any(stage is not None for stage in stages):
            fill, alarm, block = stages
            if fill is None or alarm is None or block is None:
                self.source.report(at, "TG202", "fill, alarm and block belong together", "absolute, at 20 degC")
                return None
            if not fill > alarm > block:
                self.source.report(at, "TG206", "fill must be more than alarm, and alarm more than block")
                return None
            limits = GasLimits(fill, alarm, block)
        gauge = fields.get("pressure") == "gauge"
        return GasData(fields["gas"], limits, gauge, fields.get("altitude", 0.0))
