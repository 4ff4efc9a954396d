"""The signed protocol of commissioning as Markdown and CSV, with a digest over its lines, and its verification."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is signed.

    Attributes:
        head: (name, text) pairs: place, gateway, revision, who signed when.
        lines: every point below the place.
    """

    head: Sequence[tuple[str, str]]
    lines: Sequence[ProtocolLine]

    def summary(self) -> list[tuple[str, int]]:
        """How many points have each state, the most frequent first."""
        return Counter(line.state for line in self.lines).most_common()


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


def as_markdown(protocol: Protocol) -> tuple[str, str]:
    """(text, digest): for people."""
    lines = ["# Commissioning protocol", "", "| | |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(text)} |" for name, text in protocol.head]
    lines += ["", "## Summary", "", "| state | points |", "|---|---|"]
    lines += [f"| {state} | {count} |" for state, count in protocol.summary()]
    lines += ["", "## Points", "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines += [f"| {' | '.join(map(_cell, line.cells()))} |" for line in protocol.lines]
    lines += [""]
    digest = digest_of(lines)
    return "\n".join([*lines, f"{_MARKDOWN_DIGEST}{digest}", ""]), digest


def as_csv(protocol: Protocol) -> tuple[str, str]:
    """(text, digest): for spreadsheets."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows((name, _plain(text)) for name, text in protocol.head)
    writer.writerows((f"points {state}", count) for state, count in protocol.summary())
    writer.writerow(_COLUMNS)
    writer.writerows(tuple(map(_plain, line.cells())) for line in protocol.lines)
    lines = stream.getvalue().split("\n")[:-1]
    digest = digest_of(lines)
    return "\n".join([*lines, f"{_CSV_DIGEST}{digest}", ""]), digest


def digest_of(lines: Sequence[str]) -> str:
    """SHA-256 (hex) over lines in UTF-8, each with a line feed."""
    return sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def verify(text: str) -> Verified:
    """Compare a file with the digest in its last line; how lines end and what blanks follow does not matter."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n ").split("\n")
    found = _DIGEST_LINE.fullmatch(lines[-1].strip())
    return Verified(found[1] if found else "", digest_of(lines[:-1]))


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
    return "".join(letter if letter.isprintable() else " " for letter in text)
