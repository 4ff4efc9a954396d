"""The fields of a point line from the cells of its row: each by the rules of its column, faults told at the cell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from twin_gateway.drivers.iec104.config import MAX_COMMON_ADDRESS
from twin_gateway.drivers.iec104.types import BY_NAME, MAX_ADDRESS
from twin_gateway.engineering.cells import CellError, asdu_type, number, object_address, plain
from twin_gateway.engineering.column_map import Column, ColumnMap
from twin_gateway.engineering.list_header import folded
from twin_gateway.engineering.sheet import Cell, Sheet

_YES: Final = frozenset(("1", "x", "y", "yes", "true", "ja", "j", "wahr", "oui", "ano", "да"))
_NO: Final = frozenset(("0", "-", "n", "no", "false", "nein", "falsch", "non", "ne", "нет"))
_ON: Final = frozenset(("on", "closed", "close", "ein", "geschlossen", "eingeschaltet", "вкл", "zap"))
_OFF: Final = frozenset(("off", "open", "opened", "aus", "offen", "ausgeschaltet", "откл", "выкл", "vyp"))
_STATE: Final = re.compile(r"([01])\s*[=:]\s*([^=:/;,|]+)")
_UNITS: Final = {
    "MVAr": "Mvar",
    "MVAR": "Mvar",
    "kVAr": "kvar",
    "kVAR": "kvar",
    "KVAR": "kvar",
    "VAr": "var",
    "VAR": "var",
    "°C": "Cel",
    "° C": "Cel",
    "℃": "Cel",
    "Ω": "ohm",
    "Ohm": "ohm",
}
"""How lists write units that the format writes otherwise."""
_COMMANDS: Final = {
    "M_SP": "C_SC_NA_1",
    "M_DP": "C_DC_NA_1",
    "M_ST": "C_RC_NA_1",
    "M_BO": "C_BO_NA_1",
    "M_ME_NA": "C_SE_NA_1",
    "M_ME_TA": "C_SE_NA_1",
    "M_ME_TD": "C_SE_NA_1",
    "M_ME_ND": "C_SE_NA_1",
    "M_ME_NB": "C_SE_NB_1",
    "M_ME_TB": "C_SE_NB_1",
    "M_ME_TE": "C_SE_NB_1",
    "M_ME": "C_SE_NC_1",
}
"""The command that goes with a monitored type where the list names only its address."""
NUMBERS: Final = ("scale", "offset", "nominal", "control_nominal", "raw_low", "raw_high", "low", "high")
_RANGE: Final = ("raw_low", "raw_high", "low", "high")


@dataclass(slots=True)
class RowCells:
    """What the cells of one row say.

    Attributes:
        texts: field -> text, own words of the list already replaced; only what is not empty.
        cells: field -> cell.
        places: field -> index of its column.
    """

    sheet: Sheet
    columns: ColumnMap
    places: dict[str, int]
    at: int
    texts: dict[str, str] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)

    def say(self, name: str, message: str, hint: str = "", code: str = "TG804") -> None:
        """Report what is wrong with a cell."""
        cell = self.cells.get(name)
        self.sheet.report(cell.at if cell is not None else self.at, code, f"{name}: {message}", hint)

    def read(self, name: str, read: Callable[[str], Any]) -> Any:
        """The meaning of a cell, None when it is empty or wrong (and reported)."""
        text = self.texts.get(name)
        if text is None:
            return None
        try:
            return read(text)
        except CellError as error:
            self.say(name, str(error), error.hint, "TG805" if error.spoiled else "TG804")
            return None

    def name(self, name: str) -> str:
        """A text; empty when there is none or it is spoiled (and reported)."""
        return self.read(name, plain) or ""

    def address(self, name: str, high: int) -> int | None:
        """An object or common address."""
        low_first = self.columns.columns.get(name, Column()).low_first
        found: int | None = self.read(name, lambda text: object_address(text, high=high, low_first=low_first))
        return found

    def number(self, name: str) -> int | float | None:
        """A number."""
        decimal = self.columns.decimal
        found = self.read(name, lambda text: number(text, decimal, doubtful=not decimal))
        return None if found is None else short(found)

    def whole(self, name: str) -> int | None:
        """A small whole number, also as spreadsheets write it (`3,0`)."""

        def read(text: str) -> int:
            if re.fullmatch(r"\d{1,6}([.,]0+)?", text) is None:
                raise CellError(f"'{text}' is no whole number")
            return int(re.split("[.,]", text)[0])

        found: int | None = self.read(name, read)
        return found

    def choice(self, name: str) -> bool | None:
        """Yes or no; None for an empty cell or one that says neither (and reported)."""
        word = self.name(name).casefold()
        if word and word not in _YES and word not in _NO:
            self.say(name, f"'{self.texts[name]}' is neither yes nor no")
        return True if word in _YES else False if word in _NO else None


def fields_of(row: RowCells) -> dict[str, Any]:
    """The fields of the point line, in the order in which they are written."""
    out: dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        if value is not None and value != "":
            out[name] = value

    put("ioa", row.address("ioa", MAX_ADDRESS))
    put("type", row.read("type", asdu_type))
    put("common_address", row.address("common_address", MAX_COMMON_ADDRESS))
    put("nominal", row.number("nominal"))
    put("bit", row.whole("bit"))
    put("read", row.name("read"))
    unit, shown = _unit(row.name("unit")), _unit(row.name("display_unit"))
    put("unit", unit)
    put("display_unit", shown)
    _scale(row, out)
    if "deadband" in row.texts:
        put("deadband", _deadband(row, shown or unit))
    put("stale_after", row.name("stale_after"))
    for name in ("invert", "share"):
        if row.choice(name):
            out[name] = True
    languages = {name.partition(".")[2]: row.name(name) for name in row.texts if name.startswith("name.")}
    if languages and "name" in row.texts:
        row.say("name", "a name without a language beside names with one")
    put("display_name", languages or row.name("name"))
    put("aliases", row.name("aliases").split() or None)
    _control(row, out)
    return out


def _deadband(row: RowCells, unit: str) -> str | int | float | None:
    def read(text: str) -> str | int | float:
        match = re.fullmatch(r"([-+\d., ]+?)\s*([^\d\s.,].*)?", text)
        if match is None:
            raise CellError(f"'{text}' is no number with a unit", "as in 5 kW")
        value = short(number(match[1], row.columns.decimal, doubtful=not row.columns.decimal))
        own = _unit(match[2] or "") or unit
        return f"{value} {own}" if own and own != "1" else value

    found: str | int | float | None = row.read("deadband", read)
    return found


def _scale(row: RowCells, out: dict[str, Any]) -> None:
    """Scale and offset, or both from two points of the characteristic."""
    scale, offset = row.number("scale"), row.number("offset")
    given = [name for name in _RANGE if name in row.texts]
    if given:
        ends = [row.number(name) for name in _RANGE]
        if len(given) < len(_RANGE) or scale is not None or offset is not None:
            row.say(given[0], "raw_low, raw_high, low and high are four together, in place of scale and offset")
            return
        raw_low, raw_high, low, high = (end if end is not None else math.nan for end in ends)
        if math.isnan(raw_low + raw_high + low + high):
            return
        if raw_high == raw_low or high == low:
            row.say("raw_high", "the range has no width")
            return
        slope = (high - low) / (raw_high - raw_low)
        scale, offset = _rounded(slope), _rounded(low - raw_low * slope)
    if scale is not None and scale != 1:
        out["scale"] = scale
    if offset:
        out["offset"] = offset


def _control(row: RowCells, out: dict[str, Any]) -> None:
    if "control_ioa" not in row.texts:
        stray = next((name for name in row.texts if name.startswith("control_") and name in row.places), "")
        if stray and stray != "control_model":
            row.say(stray, "no control_ioa beside it", "the object address of the command", "TG803")
        return
    control: dict[str, Any] = {"ioa": row.address("control_ioa", MAX_ADDRESS)}
    kind = row.read("control_type", asdu_type)
    if kind is None and "control_type" not in row.texts:
        kind = command_of(str(out.get("type", "")))
    fields = {
        "type": kind,
        "model": row.name("control_model"),
        "common_address": row.address("control_common_address", MAX_COMMON_ADDRESS),
        "qu": row.whole("control_qu"),
        "qualifier": row.whole("control_qualifier"),
        "termination": row.choice("control_termination"),
        "feedback": row.choice("control_feedback"),
        "nominal": row.number("control_nominal"),
        "absent": [gate for gate in re.split(r"[ ,;]+", row.name("control_absent")) if gate],
    }
    out["control"] = control | {
        name: value for name, value in fields.items() if value is not None and value not in ("", [])
    }


def states_of(row: RowCells, fields: dict[str, Any]) -> str:
    """The texts of the states as a comment; sets `invert` where the list says that 0 is on."""
    text = row.name("states")
    if not text:
        return ""
    told = {digit: word.strip() for digit, word in _STATE.findall(text)}
    parts = [part.strip() for part in re.split(r"[/|;]", text)]
    if not told and len(parts) == 2 and all(parts):
        told = dict(zip("01", parts, strict=True))
    low, high = folded(told.get("0", "")), folded(told.get("1", ""))
    if low in _ON and high in _OFF and "invert" not in row.texts:
        if str(fields.get("type", "")).startswith("M_SP"):
            fields["invert"] = True
        else:
            what = f"'{text}' says that 0 is {told['0']}, which {fields.get('type')} cannot be"
            row.say("states", what, "correct the list, or say invert")
    return ", ".join(f"{digit} {word}" for digit, word in told.items()) or text


def command_of(kind: str) -> str:
    """The command type that goes with a monitored type; empty when none does."""
    if kind not in BY_NAME:
        return ""
    return _COMMANDS.get(kind[:7], _COMMANDS.get(kind[:4], ""))


def short(value: float) -> int | float:
    """A number without a decimal point where it needs none."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value


def _unit(text: str) -> str:
    """The symbol of a unit as lists write it."""
    text = text.strip().strip("[]()")
    return _UNITS.get(text, text)


def _rounded(value: float) -> int | float:
    """Without the noise of a division."""
    near = float(f"{value:.12g}")
    return short(near if math.isclose(near, value, rel_tol=1e-11) else value)
