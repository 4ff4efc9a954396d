"""Reading a table that a spreadsheet program wrote: encoding, separator, quotes, and the place of every cell."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import MAX_PROBLEMS

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_ROWS: Final = 1_000_000
MAX_COLUMNS: Final = 512
MAX_CELL: Final = 4096
SEPARATORS: Final = (";", "\t", ",", "|")
_SAMPLE: Final = 65_536
_BREAK: Final = re.compile("\r\n|[\n\r]")
_SPACES: Final = re.compile(r"[\s\u00a0\u2007\u202f]+")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*+)"[ \t]*')


class Cell(NamedTuple):
    """One cell: its text without spaces around it, and the offset where it stands in the text of the file."""

    text: str
    at: int


@dataclass(slots=True)
class Sheet:
    """A table as read.

    Attributes:
        name: the file as the user gave it.
        text: its whole text.
        encoding: how it was encoded.
        separator: what stands between cells.
        rows: all rows, empty ones too.
        problems: what is wrong, at most `MAX_PROBLEMS`.
        reports: how many there were.
    """

    name: str
    text: str = ""
    encoding: str = "utf-8"
    separator: str = ""
    rows: list[list[Cell]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    reports: int = 0
    _lines: list[int] | None = None

    def where(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of an offset."""
        if self._lines is None:
            self._lines = [0, *(match.end() for match in _BREAK.finditer(self.text))]
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def report(self, offset: int, code: str, message: str, hint: str = "", *, warning: bool = False) -> None:
        """Add a problem at an offset; beyond the limit it is only counted."""
        self.reports += 1
        if self.reports > MAX_PROBLEMS:
            return
        line, col = self.where(offset)
        self.problems.append(
            Problem(self.name, line, col, code, message, hint, "warning" if warning else "error"),
        )


def read_sheet(path: Path, *, separator: str = "", encoding: str = "", max_bytes: int = MAX_BYTES) -> Sheet:
    """Read a file; never raises for what is in it.

    Args:
        path: the file.
        separator: what stands between cells; found out unless given (`sep=;` on the first line counts too).
        encoding: a name Python knows; by the byte order mark, else UTF-8, else Windows-1252 unless given.
        max_bytes: a larger file is not read.
    """
    sheet = Sheet(str(path))

    def fail(message: str, hint: str = "", line: int = 1) -> Sheet:
        sheet.problems.append(Problem(sheet.name, line, 1, "TG801", message, hint))
        return sheet

    try:
        if not path.is_file():
            return fail("no such file" if not path.exists() else "not an ordinary file")
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1) if path.stat().st_size <= max_bytes else b"\n" * (max_bytes + 1)
    except OSError as error:
        return fail(f"cannot be read: {error.strerror or error}")
    if len(data) > max_bytes:
        return fail(f"larger than {max_bytes / 1048576:g} MiB", "one list a station")
    if data[:4] == b"PK\x03\x04" or data[:4] == b"\xd0\xcf\x11\xe0":
        return fail("this is a workbook, not a text file", "save the sheet as 'CSV UTF-8' and import that")
    try:
        sheet.text, sheet.encoding = _decode(data, encoding)
    except LookupError:
        return fail(f"no encoding '{encoding}' is known", "as in utf-8, cp1252, cp1250, utf-16")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"the text is not {encoding or 'UTF-16'} (octet 0x{data[error.start]:02X})"
        return fail(what, "save it as 'CSV UTF-8', or say encoding under 'sheet' in the column map", line)
    nul = sheet.text.find("\0")
    if nul >= 0:
        return fail("the file is binary, not text", "save the sheet as 'CSV UTF-8'", sheet.where(nul)[0])
    _split(sheet, separator)
    if not sheet.problems and not any(cell.text for row in sheet.rows for cell in row):
        return fail("the file holds nothing")
    return sheet


def _decode(data: bytes, encoding: str) -> tuple[str, str]:
    if encoding:
        return data.decode(encoding).removeprefix("\ufeff"), encoding
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name), name
    head = data[:200]
    if len(head) >= 4 and head.count(0) >= len(head) // 3:
        # UTF-16 without its mark: every other octet of Western text is zero.
        name = "utf-16-le" if head[1] == 0 else "utf-16-be"
        return data.decode(name), name
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), "cp1252"


def _guess(text: str) -> str:
    """The separator that most lines at the beginning have, and the same number of times."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in _BREAK.split(text[:_SAMPLE])[:50] if line.strip()]
    best, most = ";", 0
    for candidate in SEPARATORS:
        counts = [line.count(candidate) for line in lines]
        usual = max(set(counts), key=lambda count: (counts.count(count) * (count > 0), count), default=0)
        weight = counts.count(usual) * usual
        if weight > most:
            best, most = candidate, weight
    return best


def _split(sheet: Sheet, separator: str) -> None:
    text, at, end = sheet.text, 0, len(sheet.text)
    told = re.match(r'"?sep=(.)"?(?:\r\n|[\n\r])', text)
    if told is not None:
        at = told.end()
    sheet.separator = separator or (told[1] if told is not None else _guess(text))
    plain = re.compile(f"[^{re.escape(sheet.separator)}\r\n]*+")
    row: list[Cell] = []
    rows = sheet.rows
    while at < end or row:
        start = at
        while at < end and text[at] in " \u00a0":
            at += 1
        quoted = _QUOTED.match(text, at) if at < end and text[at] == '"' else None
        if quoted is not None and (quoted.end() == end or text[quoted.end()] in f"{sheet.separator}\r\n"):
            value, at = quoted[1].replace('""', '"'), quoted.end()
        elif quoted is None and at < end and text[at] == '"' and not _closed(text, at, sheet.separator):
            sheet.report(at, "TG801", "a quotation mark is opened here and never closed", "close it, or double it")
            return
        else:
            match = plain.match(text, at)
            value, at = (match[0], match.end()) if match is not None else ("", at)
        if len(value) > MAX_CELL:
            sheet.report(start, "TG801", f"a cell of more than {MAX_CELL} characters", "is a quotation mark missing?")
            return
        row.append(Cell(_SPACES.sub(" ", value).strip(), start))
        if len(row) > MAX_COLUMNS:
            sheet.report(start, "TG801", f"more than {MAX_COLUMNS} columns", "delete those that hold nothing")
            return
        if at < end and text[at] == sheet.separator:
            at += 1
            if at < end:
                continue
            row.append(Cell("", at))
        elif at < end:
            at += 2 if text.startswith("\r\n", at) else 1
        rows.append(row)
        row = []
        if len(rows) > MAX_ROWS:
            sheet.report(start, "TG801", f"more than {MAX_ROWS} rows", "one list a station")
            return


def _closed(text: str, at: int, separator: str) -> bool:
    """Whether a quotation mark that closes nothing is only a character of a plain cell (`"A" side`)."""
    line = _BREAK.search(text, at)
    return text.find('"', at + 1, line.start() if line is not None else len(text)) >= 0
