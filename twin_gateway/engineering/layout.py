"""A YAML text as a tree that keeps what a reader throws away: comments, blank lines, and how scalars are written."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\n]*", re.MULTILINE)


class LayoutError(ValueError):
    """The text has a form that is not laid out; `offset` is where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(slots=True)
class Scalar:
    """A scalar with its quotes, as it stands in the file; `raw` is empty for a value that is not written."""

    start: int
    end: int
    raw: str


@dataclass(slots=True)
class Entry:
    """One key with its value, or one item of a list (then `key` is empty).

    Attributes:
        key: the key with its quotes.
        name: the key without them.
        start, indent: where the key begins (for an item its value), and in which column.
        before: own-line comments above it, an empty text for a blank line.
        header: comment behind the colon of a value that begins on a line below, and the column where it began.
        between: own-line comments between the key and such a value.
        gap: spaces between the colon and a value on the same line; 0 when it begins on a line below.
        comment: comment behind the value, and the column where it began.
    """

    key: str
    name: str
    value: Node
    start: int
    indent: int = 0
    before: list[str] = field(default_factory=list)
    header: str = ""
    header_column: int = 0
    between: list[str] = field(default_factory=list)
    gap: int = 1
    comment: str = ""
    column: int = 0


@dataclass(slots=True)
class Branch:
    """A mapping or list, in { } or [ ] where `flow` is set; `raw` is the text of a flow that holds comments.

    Attributes:
        column: where its keys or dashes stand; of no meaning in a flow.
        tail: own-line comments below the last entry that are indented as it is.
    """

    start: int
    end: int
    mapping: bool
    flow: bool
    column: int
    entries: list[Entry] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    raw: str = ""


Node = Scalar | Branch


@dataclass(slots=True)
class Document:
    """A file: its content, the lines below that belong to none of it, and the texts of all its comments, sorted."""

    root: Branch
    tail: list[str]
    comments: list[str]


def read_layout(text: str) -> Document:
    """The layout of a text that is known to be one YAML document without anchors, aliases and tags.

    Raises:
        LayoutError: a form that is not laid out: block text, a key that is none, a document in braces or with marks.
    """
    return _Layout(text).document()


class _Layout:
    """Two passes: the nodes from the parser's events, then comments and blank lines to the entries they stand at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self.events: Iterator[Any] = iter(loader.get_event, None)
        self.own: dict[int, tuple[int, str]] = {}
        self.behind: dict[int, tuple[int, str]] = {}
        self.scalars: list[tuple[int, int]] = []
        self.comments: list[int] = []
        self.texts: list[str] = []
        self.cursor = 0

    def document(self) -> Document:
        next(self.events)
        opening = next(self.events)
        root = self.node(next(self.events))
        if not isinstance(root, Branch) or not root.mapping or root.flow:
            raise LayoutError("a mapping file is laid out with one key a line, not in braces", opening.start_mark.index)
        if opening.explicit or next(self.events).explicit:
            raise LayoutError("document marks (--- and ...) are not laid out: leave them away", 0)
        self.note_comments()
        self.place(root)
        tail = [text for _, text in self.between(self.cursor, len(self.starts))]
        return Document(root, tail, sorted(self.texts))

    def line(self, offset: int) -> int:
        """Number of the line of an offset, from 0."""
        return bisect_right(self.starts, offset) - 1

    def node(self, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if type(event) is events.ScalarEvent:
            if event.style in ("|", ">"):
                raise LayoutError("text in block form (| or >) is not laid out: write it on one line", start)
            self.scalars.append((start, end))
            return Scalar(start, end, self.text[start:end])
        mapping = type(event) is events.MappingStartEvent
        out = Branch(start, end, mapping, bool(event.flow_style), event.start_mark.column)
        closing = events.MappingEndEvent if mapping else events.SequenceEndEvent
        inner: Any = next(self.events)
        while type(inner) is not closing:
            at, key, name = inner.start_mark.index, "", ""
            if mapping:
                found = self.node(inner)
                key, name = self.text[found.start : found.end], getattr(inner, "value", "")
                if not isinstance(found, Scalar) or "\n" in key:
                    raise LayoutError("a key is plain text on one line", at)
                inner = next(self.events)
            value = self.node(inner)
            out.entries.append(Entry(key, name, value, at, at - self.starts[self.line(at)]))
            out.end = value.end
            inner = next(self.events)
        if out.flow:
            closed: Any = inner
            out.end = closed.end_mark.index
        return out

    def note_comments(self) -> None:
        """Comments and blank lines, by the number of their line; what looks like one inside a scalar is none."""
        begins = [start for start, _ in self.scalars]
        at = 0
        while (match := _COMMENT.search(self.text, at)) is not None:
            at = match.start()
            near = bisect_right(begins, at) - 1
            if near >= 0 and at < self.scalars[near][1]:
                at = self.scalars[near][1]
                continue
            line = self.line(at)
            column = at - self.starts[line]
            owned = not self.text[self.starts[line] : at].strip()
            (self.own if owned else self.behind)[line] = (column, match.group().rstrip())
            self.comments.append(at)
            self.texts.append(match.group().rstrip())
            at = match.end()
        for line, start in enumerate(self.starts):
            end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
            if not self.text[start:end].strip():
                self.own[line] = (-1, "")

    def between(self, first: int, last: int) -> list[tuple[int, str]]:
        """Own-line comments and blank lines of some lines."""
        return [self.own[line] for line in range(first, last) if line in self.own]

    def place(self, branch: Branch) -> None:
        """Give each entry of a block the comments that stand at it, and the block those below its last entry."""
        for entry in branch.entries:
            value, line = entry.value, self.line(entry.start)
            entry.before = [text for _, text in self.between(self.cursor, line)]
            self.cursor = max(self.cursor, line + 1)
            if isinstance(value, Branch) and not value.flow:
                if self.line(value.start) > line or entry.key:
                    entry.header_column, entry.header = self.behind.get(line, (0, ""))
                self.place(value)
            else:
                self.inline(entry, line)
        last = self.cursor
        for at in range(self.cursor, len(self.starts)):
            if at not in self.own:
                break
            column, text = self.own[at]
            if text and column < branch.column:
                break
            last = at + 1 if text else last
        branch.tail = [text for _, text in self.between(self.cursor, last)]
        self.cursor = last

    def inline(self, entry: Entry, line: int) -> None:
        """A scalar or a flow: what stands before, inside and behind it."""
        value = entry.value
        written = value.end > value.start
        begins, ends = (self.line(value.start), self.line(value.end)) if written else (line, line)
        if begins > line:
            entry.header_column, entry.header = self.behind.get(line, (0, ""))
            entry.between = [text for _, text in self.between(line + 1, begins) if text]
            entry.gap = 0
        elif entry.key and written:
            colon = self.text.index(":", entry.start + len(entry.key))
            entry.gap = max(1, value.start - colon - 1)
        first = bisect_right(self.comments, value.start)
        if isinstance(value, Branch) and first < len(self.comments) and self.comments[first] < value.end:
            value.raw = self.text[value.start : value.end]
        entry.column, entry.comment = self.behind.get(ends, (0, ""))
        self.cursor = max(self.cursor, ends + 1)
