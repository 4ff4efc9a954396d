"""The signed protocol of commissioning as Markdown and CSV, with a digest over its lines, and its verification."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_COLUMNS: Final = (
    "address",
    "name",
    "type",
    "value",
    "unit",
    "quality",
    "device time",
    "seen at",
    "result",
    "state",
    "remark",
    "command",
    "approved by",
    "by",
    "when",
    "binding",
)
_MARKDOWN_DIGEST: Final = "SHA-256 of the lines above: "
_CSV_DIGEST: Final = "sha256,"
_DIGEST_LINE = re.compile(rf"(?:{_MARKDOWN_DIGEST}|{_CSV_DIGEST})([0-9a-f]{{64}})")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class ProtocolLine:
    """One point of a protocol, every field as text in the order of the columns."""

    address: str
    name: str
    type: str
    value: str
    unit: str
    quality: str
    device_time: str
    received: str
    result: str
    state: str
    remark: str
    command: str
    approved: str
    user: str
    time: str
    binding: str

    def cells(self) -> tuple[str, ...]:
        """The fields in order."""
        return tuple(getattr(self, name) for name in self.__slots__)


class Protocol:
    """What is signed: lines come a page after the other and are kept as text, so that a large place takes little.

    Attributes:
        states: how many points have each state.
    """

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self._markdown: list[str] = []
        self._csv: list[str] = []

    def add(self, lines: Iterable[ProtocolLine]) -> None:
        """Take further points."""
        rows = [(line.state, line.cells()) for line in lines]
        self.states.update(state for state, _ in rows)
        self._markdown.append("".join(f"| {' | '.join(map(_cell, cells))} |\n" for _, cells in rows))
        self._csv.append(_csv(tuple(map(_plain, cells)) for _, cells in rows))

    def as_markdown(self, head: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """(text, digest): for people; `head` are (name, text) pairs: place, gateway, revision, who signed when."""
        lines = ["# Commissioning protocol", "", "| | |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(text)} |" for name, text in head]
        lines += ["", "## Summary", "", "| state | points |", "|---|---|"]
        lines += [f"| {state} | {count} |" for state, count in self.states.most_common()]
        lines += ["", "## Points", "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}", ""]
        text = "".join(["\n".join(lines), *self._markdown, "\n"])
        digest = _digest_of(text)
        return f"{text}{_MARKDOWN_DIGEST}{digest}\n", digest

    def as_csv(self, head: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """(text, digest): the same for spreadsheets."""
        before = [(name, _plain(text)) for name, text in head]
        before += [(f"points {state}", str(count)) for state, count in self.states.most_common()]
        text = "".join([_csv([*before, _COLUMNS]), *self._csv])
        digest = _digest_of(text)
        return f"{text}{_CSV_DIGEST}{digest}\n", digest


@dataclass(frozen=True, slots=True)
class Verified:
    """What a file says of itself.

    Attributes:
        stated: the digest that stands in it; empty when there is none.
        computed: that of its lines.
    """

    stated: str
    computed: str

    @property
    def unchanged(self) -> bool:
        """Whether its lines are those of the digest."""
        return bool(self.stated) and self.stated == self.computed


def verify(text: str) -> Verified:
    """Compare a file with the digest in its last line; how lines end and what blanks follow does not matter."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n ").split("\n")
    found = _DIGEST_LINE.fullmatch(lines[-1].strip())
    return Verified(found[1] if found else "", _digest_of("".join(f"{line}\n" for line in lines[:-1])))


def _digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _csv(rows: Iterable[Iterable[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _plain(text: str) -> str:
    """A text that is one line and that no spreadsheet takes for a formula."""
    flat = _one_line(text)
    return f"'{flat}" if flat.startswith(_FORMULA) and not _is_number(flat) else flat


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)
