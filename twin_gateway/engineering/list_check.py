"""The check of points from a list by the rules of mapping files, each problem put back to the cell it comes from."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.draft import at_key
from twin_gateway.engineering.point_list import Row
from twin_gateway.engineering.sheet import Cell, Sheet
from twin_gateway.mapping.check import check
from twin_gateway.mapping.problem import Problem

_FIELD: Final = re.compile(r'"([a-z_]+)": ')
_PLACES: Final = ("address", "point", "function", "data", "equipment", "bay", "level")
_NAMES: Final = {"display_name": "name"}
_OF_CODE: Final = {"TG506": "ioa", "TG507": "control_ioa", "TG508": "control_ioa"}
"""Cells of problems that stand at the whole line."""


@dataclass(slots=True)
class _Text:
    """The mapping text with the row each line is made of."""

    lines: list[str] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    devices: dict[int, str] = field(default_factory=dict)

    def add(self, line: str, row: Row | None = None, device: str = "") -> None:
        self.lines.append(line)
        if row is not None:
            self.rows[len(self.lines)] = row
        if device:
            self.devices[len(self.lines)] = device


def check_rows(
    sheet: Sheet, grid: str, rows: Mapping[str, list[Row]], sections: Mapping[str, Mapping[str, Any]]
) -> tuple[set[int], list[Problem]]:
    """Check points before they are written.

    Args:
        sheet: where the rows are from.
        grid: level 1.
        rows: device -> its rows, all at one area and site.
        sections: device -> fields of its section.

    Returns:
        The offsets of the rows with an error, and all problems.
    """
    text = _Text(["mapping: 1", f"grid: {json.dumps(grid)}", "devices:"])
    for name, own in rows.items():
        _device(text, name, own, sections.get(name, {}))
    with tempfile.TemporaryDirectory(prefix="twin-gateway-") as folder:
        path = Path(folder) / "list.yaml"
        path.write_text("\n".join(text.lines) + "\n", "utf-8")
        _, found = check([path], secrets_required=False)
    faulty: set[int] = set()
    problems: list[Problem] = []
    for problem in found:
        row = text.rows.get(problem.line)
        hint = _named(problem.hint, str(path), sheet, text)
        if row is None:
            name = text.devices.get(problem.line, "")
            where = f"device '{name}': {problem.message}" if name else problem.message
            if name:
                hint = f"{hint}; " * bool(hint) + f"say it under 'devices: {{{name}: …}}' in the column map"
            problems.append(replace(problem, file=sheet.name, line=1, col=1, message=where, hint=hint))
            continue
        if problem.severity == "error":
            faulty.add(row.at)
        line, col = sheet.where(_cell(row, text.lines[problem.line - 1], problem).at)
        problems.append(replace(problem, file=sheet.name, line=line, col=col, hint=hint))
    return faulty, problems


def by_device(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by device, in the order of their first row."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.device, []).append(row)
    return found


def _device(text: _Text, name: str, rows: list[Row], section: Mapping[str, Any]) -> None:
    text.add(f"  {json.dumps(name)}:", device=name)
    text.add("    protocol: iec104", device=name)
    text.add(f"    place: {json.dumps('/'.join(rows[0].levels[:2]))}", rows[0])
    for key, value in section.items():
        text.add(f"    {json.dumps(key)}: {json.dumps(value)}", device=name)
    places: dict[str, list[tuple[str, Row]]] = {}
    for row in rows:
        place, before = at_key(*row.levels[2:])
        places.setdefault(place, []).append((before + row.key, row))
    own = places.pop("", [])
    if own:
        _points(text, own, 4)
    if places:
        text.add("    at:", device=name)
    for place, inside in places.items():
        text.add(f"      {json.dumps(place)}:", inside[0][1])
        _points(text, inside, 8)


def _points(text: _Text, points: list[tuple[str, Row]], indent: int) -> None:
    text.add(f"{' ' * indent}points:", points[0][1])
    for key, row in points:
        text.add(f"{' ' * indent}  {json.dumps(key)}: {json.dumps(row.fields)}", row)


def _cell(row: Row, line: str, problem: Problem) -> Cell:
    """The cell that a column of the line was made of: the nearest field name in front of it."""
    if _OF_CODE.get(problem.code) in row.cells:
        return row.cells[_OF_CODE[problem.code]]
    body = line.find(": {")
    place = next((row.cells[name] for name in _PLACES if row.cells.get(name, Cell("", 0)).text), Cell("", row.at))
    if body < 0 or problem.col <= body:
        return place
    named = problem.message.partition(":")[0].replace("control.", "control_")
    name, inside = "", False
    for match in _FIELD.finditer(line, body):
        if match.start() + 1 > problem.col:
            break
        name = match[1]
        inside = inside or name == "control"
    if name in row.fields and name != "control":
        inside = False
    name = f"control_{name}" if inside and name != "control" else name
    for wanted in (named, name, _NAMES.get(name, ""), f"{name}_ioa"):
        if wanted in row.cells:
            return row.cells[wanted]
    return place


def _named(hint: str, path: str, sheet: Sheet, text: _Text) -> str:
    """A hint that names a line of the checked text names the line of the list instead."""

    def line(match: re.Match[str]) -> str:
        row = text.rows.get(int(match[1]))
        return f"{sheet.name}:{sheet.where(row.at)[0] if row is not None else 1}"

    return re.sub(re.escape(path) + r":(\d+)", line, hint)
