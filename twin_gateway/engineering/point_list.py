"""From the rows of a 104 point list to points: where each belongs, and commands that stand in rows of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from address_space.address import AddressError, escape, function_name
from twin_gateway.drivers.iec104.config import COMMAND_NAMES
from twin_gateway.engineering.column_map import ColumnMap
from twin_gateway.engineering.list_fields import RowCells, fields_of, states_of
from twin_gateway.engineering.list_header import find_columns, folded
from twin_gateway.engineering.sheet import Cell, Sheet

_PLACES: Final = ("area", "site", "level", "bay", "equipment")
_LEVELS: Final = 6


@dataclass(slots=True)
class Row:
    """One row that names a datum.

    Attributes:
        at: offset of the row in the text of the list.
        levels: area, site, voltage level, bay, equipment, `_` where one does not apply.
        key: function and data object.
        fields: those of a point line.
        command: the row is itself a command of the datum.
        cells: field -> the cell that says it.
    """

    at: int
    device: str
    host: str
    levels: tuple[str, ...]
    key: str
    fields: dict[str, Any]
    comment: str = ""
    command: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address below the grid."""
        return "/".join((*self.levels, self.key))


@dataclass(slots=True)
class Reading:
    """What was made of a list: points, and how many rows are left out on purpose or for an error."""

    rows: list[Row] = field(default_factory=list)
    left_out: int = 0
    faulty: int = 0


def read_rows(sheet: Sheet, columns: ColumnMap, *, every: bool = True) -> Reading:
    """Make points of the rows; problems go to the sheet and the map, a row with one becomes no point.

    Args:
        sheet: the table.
        columns: what its columns are.
        every: each column of the map must be there.
    """
    places, top = find_columns(sheet, columns, every=every)
    out = Reading()
    if columns.problems:
        return out
    reader = _Reader(sheet, columns, places, [cell.text for cell in sheet.rows[top - 1]] if top else [])
    for cells in sheet.rows[top:]:
        row = reader.row(cells)
        if isinstance(row, Row):
            out.rows.append(row)
        elif row is None:
            out.faulty += 1
        else:
            out.left_out += row
    out.rows, lost = _with_commands(sheet, out.rows)
    out.faulty += lost
    return out


class _Reader:
    """Goes down the rows; remembers what stands above an empty cell."""

    def __init__(self, sheet: Sheet, columns: ColumnMap, places: dict[str, int], header: list[str]) -> None:
        self.sheet = sheet
        self.columns = columns
        self.places = places
        self.header = header
        self.above: dict[str, Cell] = {}
        self.mapped = {n: c for n, c in columns.columns.items() if c.header == "" or n in places}

    def row(self, cells: list[Cell]) -> Row | int | None:
        """The point of a row; how many rows to count as left out (0 for an empty one); None for one with an error."""
        filled = [cell for cell in cells if cell.text]
        if not filled or [cell.text for cell in cells] == self.header:
            return 0
        row, skipped = self._cells(cells)
        own = any(row.cells[name].text for name in self.places if name not in self.above or name == "ioa")
        # A heading is one cell that was merged over the whole width.
        if skipped or not own or (len(filled) == 1 and len(cells) > 1 and "ioa" not in row.texts):
            return 1
        protocol = row.texts.get("protocol", "iec104")
        if protocol not in ("iec104", "104"):
            self.sheet.report(row.at, "TG806", f"left out: a point of {protocol}, not of iec104", warning=True)
            return 1
        before = self.sheet.reports
        point = self._point(row)
        return point if self.sheet.reports == before else None

    def _cells(self, cells: list[Cell]) -> tuple[RowCells, bool]:
        """The cells by field; True when a word of the list says that the row is left out."""
        row = RowCells(self.sheet, self.columns, self.places, cells[0].at)
        skipped = False
        for name, column in self.mapped.items():
            place = self.places.get(name)
            cell = cells[place] if place is not None and place < len(cells) else Cell("", row.at)
            if column.fill:
                cell = cell if cell.text else self.above.get(name, cell)
                self.above[name] = cell
            text: str | None = cell.text
            if column.values:
                text = column.values.get(folded(cell.text), text)
            skipped = skipped or text is None
            row.cells[name] = cell
            if text or column.value:
                row.texts[name] = text or column.value
        return row, skipped

    def _point(self, row: RowCells) -> Row:
        if row.texts.get("role", "read") != "read":
            what = f"'{row.texts['role']}': one of several bindings of an address is no line of a list"
            row.say("role", what, "write it into the mapping file by hand")
        for name in ("ioa", "type"):
            if name not in row.texts:
                row.say(name, "the cell is empty", "fill it in, or leave such rows out by a word in 'values'", "TG803")
        levels, key = self._where(row)
        fields = fields_of(row)
        comment = " - ".join(filter(None, (row.name("comment"), states_of(row, fields))))
        device = row.name("device") or self.columns.device
        if not device:
            row.say("device", "no device", "say --device, or a column for it", "TG803")
        command = fields.get("type") in COMMAND_NAMES
        return Row(row.at, device, row.name("host"), levels, key, fields, comment, command, row.cells)

    def _where(self, row: RowCells) -> tuple[tuple[str, ...], str]:
        """Levels 2 to 6 and the key behind them."""
        area, _, site = self.columns.place.partition("/")
        levels = {"area": area or "_", "site": site or "_"}
        if "address" in row.texts:
            return self._split(row, row.name("address"), levels)
        for name in _PLACES:
            text = row.name(name)
            if text:
                try:
                    levels[name] = "_" if text == "_" else escape(text)
                except AddressError as error:
                    row.say(name, str(error))
        function, data = row.name("function"), row.name("data")
        key = row.name("point") or (f"{function}/{data}" if function and data else "")
        if not key:
            name = next((name for name in ("point", "function", "data") if name in row.cells), "point")
            what = "the row does not say which datum it is"
            row.say(name, what, "function and data object, as in XCBR1/Pos", "TG803")
        return tuple(levels.get(name, "_") for name in _PLACES), key.strip("/").replace(".", "/")

    def _split(self, row: RowCells, text: str, levels: dict[str, str]) -> tuple[tuple[str, ...], str]:
        """An address in full, or below grid and place, taken apart at its function."""
        segments = text.strip("/").split("/")
        shaped = [i for i, segment in enumerate(segments) if function_name(segment) is not None]
        at = _LEVELS if _LEVELS in shaped else shaped[0] if shaped else -1
        place, key = segments[:at], "/".join(segments[at:])
        if at == _LEVELS:
            self.columns.grid = self.columns.grid or place[0]
            if place[0] != self.columns.grid:
                row.say("address", f"'{text}' begins with '{place[0]}', but the grid is '{self.columns.grid}'")
            return tuple(place[1:]), key
        if at < 0:
            row.say("address", f"'{text}' has no function", "as in MV1/F05/QA1/XCBR1/Pos")
        elif at > 3:
            what = f"'{text}' has {at} levels before the function"
            row.say("address", what, "all six, or at most three below grid and place")
        # Up to three levels below grid and place, in their order: voltage level, bay, equipment.
        return (levels["area"], levels["site"], *(*place, "_", "_", "_")[:3]), key


def _with_commands(sheet: Sheet, rows: list[Row]) -> tuple[list[Row], int]:
    """The points, commands in rows of their own put into them, and how many rows are lost for an error.

    An address that occurs twice is one.
    """
    points: dict[str, Row] = {}
    lost = 0
    for row in rows:
        if not row.command and points.setdefault(row.address, row) is not row:
            name = next((name for name in ("address", "point", "data") if name in row.cells), "ioa")
            line, _ = sheet.where(points[row.address].at)
            what = f"'{row.address}' is already in line {line}"
            sheet.report(row.cells[name].at, "TG406", what, "one line a datum")
            lost += 1
    for row in rows:
        if row.command and (fault := _give_command(sheet, row, points.get(row.address))):
            hint = "a row with a type M_… of the same address, or a column control_ioa"
            sheet.report(row.cells["type"].at, "TG807", fault, hint)
            lost += 1
    return list(points.values()), lost


def _give_command(sheet: Sheet, row: Row, point: Row | None) -> str:
    """Make a row the command of a point; what is wrong when it cannot be."""
    if point is None:
        return f"{row.fields['type']} is a command, and no other row has '{row.address}' for the value that it changes"
    if "control" in point.fields:
        line, _ = sheet.where(point.at)
        return f"'{row.address}' of line {line} has a command already"
    names = ("ioa", "type", "common_address", "nominal")
    point.fields["control"] = {name: row.fields[name] for name in names if name in row.fields}
    point.cells |= {"control_ioa": row.cells["ioa"], "control_type": row.cells["type"]}
    return ""
