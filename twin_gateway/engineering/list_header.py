"""Finding the header of a point list: titles above it, merged cells in two rows, names that occur twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twin_gateway.engineering.column_map import LOCALE, Column, ColumnMap
from twin_gateway.engineering.sheet import Cell, Sheet
from twin_gateway.mapping.problem import did_you_mean

_LOOKED_AT: Final = 50
_MOST_ROWS: Final = 3


def find_columns(sheet: Sheet, columns: ColumnMap, *, every: bool = True) -> tuple[dict[str, int], int]:
    """Field -> index of its column, and the number of rows down to the end of the header.

    Args:
        sheet: the table; what is wrong is reported there.
        columns: the map.
        every: every column of the map must be there; otherwise those that are not are left alone.
    """
    wanted = {name: column for name, column in columns.columns.items() if column.header != ""}
    first, last = columns.header if columns.header[0] else _look(sheet, wanted)
    if not every and 0 < last <= len(sheet.rows):
        # Columns by their own names: there may be names in any language.
        spoken = {cell.text: Column(cell.text) for cell in sheet.rows[last - 1] if LOCALE.fullmatch(cell.text)}
        columns.columns |= spoken
        wanted |= spoken
    if last > len(sheet.rows):
        columns.report(f"the list has {len(sheet.rows)} rows, so row {last} is no header")
        return {}, last
    names = _names(sheet.rows[first - 1 : last]) if first else []
    found: dict[str, int] = {}
    for name in wanted:
        place = _place(columns, names, name, every=every)
        if place is not None:
            found[name] = place
    return found, last


def _look(sheet: Sheet, wanted: dict[str, Column]) -> tuple[int, int]:
    """The rows, from 1, in which most of the wanted names stand; (0, 0) when columns go by number alone."""
    if all(isinstance(column.header, int) for column in wanted.values()):
        return 0, 0
    best, most = (1, 1), 0
    for height in range(1, _MOST_ROWS + 1):
        for top in range(min(_LOOKED_AT, len(sheet.rows) - height + 1)):
            rows = sheet.rows[top : top + height]
            if not any(cell.text for cell in rows[0]):
                continue
            known = {name for column in _names(rows) for name in column}
            count = sum(folded(str(column.header).partition("#")[0]) in known for column in wanted.values())
            if count > most:
                best, most = (top + 1, top + height), count
    return best


def _names(rows: Sequence[Sequence[Cell]]) -> list[tuple[str, ...]]:
    """The names of each column: the last row's, that of any row above it, and `group/name` of several rows.

    An empty cell of an upper row belongs to the merged cell on its left.
    """
    width = max(map(len, rows), default=0)
    filled: list[list[str]] = []
    for i, row in enumerate(rows):
        texts = [folded(cell.text) for cell in row] + [""] * (width - len(row))
        if i < len(rows) - 1:
            for k in range(1, width):
                texts[k] = texts[k] or texts[k - 1]
        filled.append(texts)
    out: list[tuple[str, ...]] = []
    for k in range(width):
        parts = [texts[k] for texts in filled if texts[k]]
        own = [parts[-1], "/".join(parts)] if parts else []
        out.append(tuple(dict.fromkeys(own)))
    return out


def _place(columns: ColumnMap, names: list[tuple[str, ...]], field: str, *, every: bool) -> int | None:
    """Index of the column of a field; None when it is not there or not clear (and reported)."""
    column = columns.columns[field]
    header = column.header
    if isinstance(header, int):
        if header < 1:
            columns.report(f"{field}: columns count from 1", line=column.line, col=column.col)
            return None
        return header - 1
    name, hash_sign, number = header.rpartition("#")
    nth = int(number) if hash_sign and number.isdigit() else 0
    text = folded(name) if nth else folded(header)
    places = [k for k, own in enumerate(names) if text in own]
    if not nth and not places and folded(header) != text:
        places = [k for k, own in enumerate(names) if folded(header) in own]
    if nth:
        if nth <= len(places):
            return places[nth - 1]
        columns.report(f"{field}: there is no {nth}. column '{name}'", line=column.line, col=column.col)
        return None
    if len(places) == 1:
        return places[0]
    if places:
        where = ", ".join(str(k + 1) for k in places)
        groups = sorted({own[-1] for k in places for own in [names[k]] if own[-1] != text})
        hint = f"write '{header}#1' or '{header}#2'" + (f", or '{groups[0]}'" if groups else "")
        columns.report(f"{field}: the columns {where} are all called '{header}'", hint, column.line, column.col)
        return None
    if every:
        known = {own[0] for own in names if own}
        hint = did_you_mean(text, known) or f"the header has {', '.join(sorted(known))[:200] or 'no names'}"
        columns.report(f"{field}: no column '{header}' in the list", hint, column.line, column.col)
    return None


def folded(text: str) -> str:
    """A name as it is compared: blanks and case do not matter."""
    return " ".join(text.split()).casefold()
