"""A 104 point list becomes the draft of a mapping file: read, checked row by row, grouped by device and place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twin_gateway.engineering.column_map import ColumnMap
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, at_key, sort
from twin_gateway.engineering.list_check import by_device, check_rows
from twin_gateway.engineering.point_list import Row, read_rows
from twin_gateway.engineering.sheet import Sheet, read_sheet
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import MAX_PROBLEMS


@dataclass(slots=True)
class ListImport:
    """What was made of a list.

    Attributes:
        draft: the points without an error; None when there is none at all.
        problems: sorted by line and column.
        points, left_out, faulty: rows that became points (or commands of points), rows left out, rows with an error.
    """

    draft: FileDraft | None = None
    problems: list[Problem] = field(default_factory=list)
    points: int = 0
    left_out: int = 0
    faulty: int = 0

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(problem.severity == "error" for problem in self.problems)


def import_list(path: Path, columns: ColumnMap, *, every: bool = True) -> ListImport:
    """Make a draft of a list; every problem of every row is told.

    Args:
        path: the list.
        columns: what its columns are; `grid`, `place`, `device` and `devices` for what the list does not say.
        every: each column of the map must be there (not so for the map by names).
    """
    out = ListImport()
    if not columns.problems:
        sheet = read_sheet(path, separator=columns.separator, encoding=columns.encoding)
        _import(sheet, columns, out, every=every)
        out.problems += sheet.problems
        if sheet.reports > MAX_PROBLEMS:
            what = f"{sheet.reports - MAX_PROBLEMS} more problems are left out"
            out.problems.append(Problem(sheet.name, 1, 1, "TG112", what))
    out.problems = sorted({*out.problems, *columns.problems}, key=lambda p: (p.file != columns.file, p.line, p.col))
    return out


def _import(sheet: Sheet, columns: ColumnMap, out: ListImport, *, every: bool) -> None:
    if sheet.problems:
        return
    reading = read_rows(sheet, columns, every=every)
    out.left_out, out.faulty = reading.left_out, reading.faulty
    if columns.problems:
        return
    if not columns.grid:
        columns.report("level 1 of the addresses is not known", "say --grid, or 'grid:' in the column map")
        return
    rows = _one_place(sheet, reading.rows)
    out.faulty += len(reading.rows) - len(rows)
    devices = by_device(rows)
    sections = {name: _section(sheet, name, own, columns) for name, own in devices.items()}
    for name in columns.devices:
        if name not in devices and not out.faulty:
            columns.report(f"no row is of the device '{name}' that the map describes")
    faulty, problems = check_rows(sheet, columns.grid, devices, sections)
    out.problems += problems
    out.faulty += len(faulty)
    good = by_device(row for row in rows if row.at not in faulty)
    out.points = sum(map(len, good.values()))
    if not good:
        if not out.errors and not any(problem.severity == "error" for problem in sheet.problems):
            sheet.report(0, "TG801", "no row of the list is a point", "is the header where the column map says?")
        return
    out.draft = _draft(columns, good, sections)


def _one_place(sheet: Sheet, rows: list[Row]) -> list[Row]:
    """The rows that are at the area and site of the first row of their device; the others are errors."""
    first: dict[str, Row] = {}
    out: list[Row] = []
    for row in rows:
        own = first.setdefault(row.device, row)
        if row.levels[:2] == own.levels[:2]:
            out.append(row)
            continue
        line, _ = sheet.where(own.at)
        name = next((name for name in ("site", "area", "address", "device") if name in row.cells), "ioa")
        what = f"the point is at {'/'.join(row.levels[:2])}, but '{row.device}' is at {'/'.join(own.levels[:2])}"
        hint = f"by line {line}; a device has one site: give the points of another one a device of their own"
        sheet.report(row.cells[name].at, "TG804", what, hint)
    return out


def _section(sheet: Sheet, name: str, rows: list[Row], columns: ColumnMap) -> Mapping[str, Any]:
    """The device section: what the map says, and host and common addresses from the rows."""
    section = dict(columns.devices.get(name, {}))
    hosts = {row.host: row for row in reversed(rows) if row.host}
    if len(hosts) > 1:
        row = next(iter(hosts.values()))
        sheet.report(
            row.cells["host"].at, "TG804", f"host: '{name}' has {len(hosts)} hosts: {', '.join(sorted(hosts))}"
        )
    if hosts and "host" not in section:
        section = {"host": min(hosts), **section}
    common = sorted({row.fields["common_address"] for row in rows if "common_address" in row.fields})
    if common and "common_address" not in section:
        section["common_address"] = common[0] if len(common) == 1 else common
    given = section.get("common_address", 1)
    usual = given[0] if isinstance(given, list) and given else given
    for row in rows:
        # What all points of the device have in common is said once.
        if row.fields.get("common_address") == usual:
            del row.fields["common_address"]
        control = row.fields.get("control", {})
        if control.get("common_address") == row.fields.get("common_address", usual):
            control.pop("common_address")
    return section


def _draft(
    columns: ColumnMap, devices: Mapping[str, list[Row]], sections: Mapping[str, Mapping[str, Any]]
) -> FileDraft:
    places = {"/".join(rows[0].levels[:2]) for rows in devices.values()}
    common = places.pop() if len(places) == 1 else ""
    draft = FileDraft(columns.grid, common)
    for name, rows in devices.items():
        device = DeviceDraft(name, "iec104", dict(sections[name]))
        if not common:
            device.place = "/".join(rows[0].levels[:2])
        found: dict[str, PlaceDraft] = {}
        for row in rows:
            key, before = at_key(*row.levels[2:])
            place = found.setdefault(key, PlaceDraft(key))
            place.points.append(PointDraft(before + row.key, row.fields, row.comment))
        device.at = list(found.values())
        draft.devices.append(device)
    sort(draft)
    return draft
