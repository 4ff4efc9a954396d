"""The column map of a point list: which column holds what, own words for values, what all rows have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Seq, Source, read_file

FIELDS: Final[dict[str, str]] = {
    "address": "the whole address, or its part below grid and place",
    "area": "level 2 of the address",
    "site": "level 3 of the address",
    "level": "level 4, the voltage level",
    "bay": "level 5, the bay",
    "equipment": "level 6, the equipment",
    "point": "function and data object, XCBR1/Pos",
    "function": "the function alone, XCBR1",
    "data": "the data object alone, Pos or A/phsA",
    "device": "name of the device",
    "host": "where the device is",
    "protocol": "rows of another protocol than iec104 are left out",
    "role": "rows of one of several bindings are refused",
    "ioa": "information object address",
    "common_address": "common address of the row",
    "type": "ASDU type by name or number",
    "nominal": "what the normalised value 1.0 stands for",
    "bit": "one bit of an object",
    "read": "read by command this often",
    "unit": "unit that the device delivers",
    "display_unit": "unit that is published",
    "scale": "factor",
    "offset": "summand",
    "raw_low": "lowest value of the device, with raw_high, low and high in place of scale and offset",
    "raw_high": "highest value of the device",
    "low": "what raw_low means",
    "high": "what raw_high means",
    "deadband": "smallest change that is published",
    "stale_after": "age after which a value counts as old",
    "invert": "yes where the contact says the opposite",
    "share": "yes where the object feeds other addresses too",
    "name": "readable name; name.de, name.en for languages",
    "aliases": "further names, scheme:value, several with blanks between",
    "states": "texts of the states, 0=off/1=on",
    "comment": "goes behind the line",
    "control_ioa": "object address of the command",
    "control_type": "ASDU type of the command",
    "control_model": "direct-normal or sbo-normal",
    "control_common_address": "common address of the command",
    "control_qu": "pulse class of the command",
    "control_qualifier": "QL of a set-point, QPM or QPA of a parameter",
    "control_termination": "yes where the answer waits until the device has terminated the command",
    "control_feedback": "no where no position tells that the command was carried out",
    "control_nominal": "what the normalised set-point 1.0 stands for",
    "control_absent": "gates that this device does not have, Loc CILO Pos",
}
"""What a column may hold, with one line of help."""
LOCALE: Final = re.compile(r"name\.[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""Field of a name in a language."""
_TOP: Final = ("list", "grid", "place", "device", "devices", "sheet", "columns")
_SHEET: Final = ("separator", "encoding", "decimal", "header")
_COLUMN: Final = ("column", "value", "values", "fill", "order")
_NEEDED: Final = ("ioa", "type")


@dataclass(frozen=True, slots=True)
class Column:
    """Where one field comes from.

    Attributes:
        header: name of the column, or its number from 1; empty for a fixed value.
        value: fixed value, or what stands for an empty cell.
        values: own words of the list -> what they mean; None leaves the row out.
        fill: an empty cell means what stands above it, as in merged cells.
        low_first: octets of an address are written the lowest first.
        line, col: where the map says so; 0 for the command line.
    """

    header: str | int = ""
    value: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    fill: bool = False
    low_first: bool = False
    line: int = 0
    col: int = 0


@dataclass(slots=True)
class ColumnMap:
    """What to make of a list.

    Attributes:
        file: as the user gave it; `--map` for the command line.
        columns: field -> where it comes from.
        devices: device name -> fields of its section.
        decimal: `.` or `,`; empty when the cells say.
        header: rows of the header, from 1, first and last; (0, 0) to look for them.
    """

    file: str = "--map"
    grid: str = ""
    place: str = ""
    device: str = ""
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    separator: str = ""
    encoding: str = ""
    decimal: str = ""
    header: tuple[int, int] = (0, 0)
    columns: dict[str, Column] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def report(self, message: str, hint: str = "", line: int = 0, col: int = 0) -> None:
        """Add an error of the map itself."""
        self.problems.append(Problem(self.file, line or 1, col or 1, "TG802", message, hint))


def map_of_text(text: str) -> ColumnMap:
    """The map of `ioa=IOA,type=Typ,bay=Feld`; a number is a column counted from 1."""
    out = ColumnMap()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if not equals or not header:
            out.report(f"'{part}' is not of the form field=column", "as in ioa=IOA,type=Typ")
        elif not _known(name):
            out.report(f"no field '{name}'", did_you_mean(name, FIELDS) or "see docs/point-lists.md")
        elif name in out.columns:
            out.report(f"'{name}' is given twice")
        else:
            out.columns[name] = Column(int(header) if header.isdigit() else header)
    _complete(out)
    return out


def default_map() -> ColumnMap:
    """The map of a list whose columns are called like the fields, as `export csv` writes them."""
    return ColumnMap("(columns by name)", decimal=".", columns={name: Column(name) for name in FIELDS})


def read_map(path: Path) -> ColumnMap:
    """The map of a YAML file; what is wrong with it is among its problems."""
    source = read_file(path, begins="a column map begins with 'list: 1'")
    out = ColumnMap(source.name)
    root = source.root
    if root is not None:
        _read(source, root, out)
        if not source.errors:
            _complete(out)
    out.problems = [*source.problems, *out.problems]
    return out


def _read(source: Source, root: Map, out: ColumnMap) -> None:
    for key in root:
        if key not in _TOP:
            source.report(root.key_at(key), "TG802", f"no field '{key}' in a column map", did_you_mean(key, _TOP))
    if root.get("list") != 1:
        source.report(root.start, "TG802", "'list: 1' is missing", "the version of the column map, on top of the file")
    for name in ("grid", "place", "device"):
        setattr(out, name, _text(source, root, name))
    devices = root.get("devices")
    if isinstance(devices, Map):
        for name, section in devices.items():
            if isinstance(section, Map):
                out.devices[name] = _data(section)
            else:
                source.report(devices.value_at(name), "TG802", f"device '{name}': a mapping of its fields expected")
    elif devices is not None:
        source.report(root.value_at("devices"), "TG802", "devices: a mapping of names expected")
    sheet = root.get("sheet")
    if isinstance(sheet, Map):
        _sheet(source, sheet, out)
    elif sheet is not None:
        source.report(root.value_at("sheet"), "TG802", f"sheet: {', '.join(_SHEET)} expected, not {kind_of(sheet)}")
    columns = root.get("columns")
    if not isinstance(columns, Map):
        source.report(root.start, "TG802", "'columns' is missing", "as in columns: {ioa: IOA, type: Typ}")
        return
    for name, given in columns.items():
        if not _known(name):
            source.report(columns.key_at(name), "TG802", f"no field '{name}' of a point", did_you_mean(name, FIELDS))
        elif (column := _column(source, columns.value_at(name), name, given)) is not None:
            out.columns[name] = column


def _column(source: Source, at: int, name: str, given: Any) -> Column | None:
    line, col = source.where(at)
    if isinstance(given, str | int) and not isinstance(given, bool):
        return Column(given, line=line, col=col)
    if not isinstance(given, Map):
        if given is not BROKEN:
            source.report(at, "TG802", f"{name}: the name of a column expected, not {kind_of(given)}")
        return None
    for key in given:
        if key not in _COLUMN:
            source.report(given.key_at(key), "TG802", f"{name}: no field '{key}'", did_you_mean(key, _COLUMN))
    header = given.get("column", "")
    if isinstance(header, bool) or not isinstance(header, str | int):
        source.report(given.value_at("column"), "TG802", f"{name}: the name or number of a column expected")
        return None
    if header == "" and "value" not in given:
        source.report(at, "TG802", f"{name}: 'column' is missing", "or 'value' for what all rows have in common")
        return None
    values = given.get("values")
    words: dict[str, str | None] = {}
    if isinstance(values, Map):
        for word, meaning in values.items():
            if isinstance(meaning, Map | Seq | bool) or meaning is BROKEN:
                source.report(values.value_at(word), "TG802", f"{name}: '{word}' means one text, or null")
            else:
                written = None if meaning is None else _written(source, values.value_at(word), meaning)
                words[_folded(word)] = written
    elif values is not None:
        source.report(given.value_at("values"), "TG802", f"{name}: values: words and what they mean expected")
    fill, order = given.get("fill", ""), given.get("order", "")
    if fill not in ("", "down"):
        source.report(given.value_at("fill"), "TG802", f"{name}: fill: 'down' is all there is")
    if order not in ("", "low-first", "high-first"):
        source.report(given.value_at("order"), "TG802", f"{name}: order: low-first or high-first")
    value = _text(source, given, "value")
    return Column(header, value, words, fill == "down", order == "low-first", line, col)


def _sheet(source: Source, sheet: Map, out: ColumnMap) -> None:
    for key in sheet:
        if key not in _SHEET:
            source.report(sheet.key_at(key), "TG802", f"sheet: no field '{key}'", did_you_mean(key, _SHEET))
    separator = _text(source, sheet, "separator")
    out.separator = {"tab": "\t", "\\t": "\t"}.get(separator, separator)
    if len(out.separator) > 1 or out.separator in ('"', "\n", "\r"):
        source.report(sheet.value_at("separator"), "TG802", "sheet: the separator is one character, or 'tab'")
        out.separator = ""
    out.encoding = _text(source, sheet, "encoding")
    out.decimal = _text(source, sheet, "decimal")
    if out.decimal not in ("", ".", ","):
        source.report(sheet.value_at("decimal"), "TG802", "sheet: decimal is '.' or ','")
        out.decimal = ""
    header = sheet.get("header")
    match = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", str(header)) if isinstance(header, int | str) else None
    if match is not None:
        out.header = (int(match[1]), int(match[2] or match[1]))
    if header is not None and (match is None or not 1 <= out.header[0] <= out.header[1] <= out.header[0] + 4):
        source.report(sheet.value_at("header"), "TG802", "sheet: header is a row, as in 3, or some, as in 3..4")
        out.header = (0, 0)


def _complete(out: ColumnMap) -> None:
    """Fields without which no row can become a point."""
    if out.problems:
        return
    for name in _NEEDED:
        if name not in out.columns:
            out.report(f"no column for '{name}'", f"{FIELDS[name]}; as in {name}=COLUMN")
    names = out.columns.keys()
    if not ({"address", "point"} & names or {"function", "data"} <= names):
        out.report("no column says which datum a row is", "one for address, for point, or for function and data each")


def _known(name: str) -> bool:
    return name in FIELDS or LOCALE.fullmatch(name) is not None


def _folded(word: str) -> str:
    return " ".join(word.split()).casefold()


def _written(source: Source, at: int, value: object) -> str:
    return value if isinstance(value, str) else source.plain_text(at, value)


def _text(source: Source, holder: Map, key: str) -> str:
    value = holder.get(key)
    if value is None or value is BROKEN:
        return ""
    if isinstance(value, bool | Map | Seq):
        source.report(holder.value_at(key), "TG802", f"{key}: text expected, not {kind_of(value)}")
        return ""
    return _written(source, holder.value_at(key), value)


def _data(value: Any) -> Any:
    """Plain dictionaries and lists of what was read."""
    if isinstance(value, Map):
        return {key: _data(item) for key, item in value.items() if item is not BROKEN}
    if isinstance(value, Seq):
        return [_data(item) for item in value if item is not BROKEN]
    return value
