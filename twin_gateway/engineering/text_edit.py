"""Putting lines into the text of a mapping file without touching any that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_gateway.engineering.draft import DeviceDraft, PlaceDraft, PointDraft, Value
from twin_gateway.engineering.emit import device_lines, place_lines, point_lines
from twin_gateway.engineering.flow import flow, scalar
from twin_gateway.mapping.read import BROKEN, Map, Source, read_bytes


class EditError(ValueError):
    """The text is laid out so that lines cannot be put in; `line` says where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class FileText:
    """The text of one mapping file, and what it says.

    Raises:
        EditError: the text cannot be read.
    """

    def __init__(self, text: str) -> None:
        self._line_end = "\r\n" if "\r\n" in text else "\n"
        self.read(text.replace("\r\n", "\n"))

    @property
    def whole(self) -> str:
        """The text as the file has it: with its line ends."""
        return self.text.replace("\n", self._line_end)

    def read(self, text: str) -> None:
        """Take a new text."""
        source = read_bytes(text.encode(), Source("", Path()))
        if source.root is None or any(problem.severity == "error" for problem in source.problems):
            problem = source.problems[0]
            raise EditError(problem.line, problem.message)
        self.text, self.source, self.root = source.text, source, source.root

    def line_of(self, offset: int) -> int:
        """Line number, from 0, of an offset."""
        return self.source.where(offset)[0] - 1

    def add_device(self, device: DeviceDraft) -> None:
        """Put a device behind the last one."""
        devices = self.root.get("devices")
        if not isinstance(devices, Map) or not devices:
            self.read(self.text.rstrip("\n") + "\n\ndevices:\n" + "\n".join(device_lines(device)) + "\n")
            return
        if self._is_flow(devices):
            raise EditError(self.line_of(devices.start) + 1, "'devices' is written on one line in braces: open it up")
        indent = self._indent(devices)
        self._insert(self._end(devices), ["", *device_lines(device, indent)])

    def add_points(self, device: str, place: PlaceDraft, points: Sequence[PointDraft]) -> None:
        """Put points behind those that a place of a device has; the place is made where there is none."""
        path: tuple[str, ...] = ("devices", device)
        section = self._opened(path)
        if not place.key:
            self._points(path, points)
            return
        path = (*path, "at")
        if not isinstance(section.get("at"), Map):
            indent = self._indent(section)
            self._insert(self._end(section), [f"{' ' * indent}at:", *place_lines(place, indent + 2)])
            return
        at = self._opened(path)
        if place.key not in at:
            self._insert(self._end(at), place_lines(place, self._indent(at)))
            return
        self._opened((*path, place.key))
        self._points((*path, place.key), points)

    def add_entries(self, section: str, lines: Sequence[str]) -> None:
        """Put lines behind the last entry of a section of the top level, made where there is none."""
        entries = self.root.get(section)
        if not isinstance(entries, Map) or not entries:
            self.read(self.text.rstrip("\n") + f"\n{section}:\n" + "\n".join(f"  {line}" for line in lines) + "\n")
            return
        if self._is_flow(entries):
            raise EditError(self.line_of(entries.start) + 1, f"'{section}' is written in braces: open it up")
        indent = " " * self._indent(entries)
        self._insert(self._end(entries), [indent + line for line in lines])

    def change(self, changes: Sequence[tuple[Map, str, Value]]) -> None:
        """Give fields of mappings other values, each in its place; what else stands in the text stays as it is.

        Args:
            changes: (mapping of `root`, name of a field, new value; None takes the field out).

        Raises:
            EditError: a mapping is written so that the field cannot be put in or taken out; nothing is changed then.
        """
        wanted: dict[int, tuple[Map, dict[str, Value]]] = {}
        for of, name, value in changes:
            wanted.setdefault(of.start, (of, {}))[1][name] = value
        edits: list[tuple[int, int, str]] = []
        rebuilt = 0
        for start, (of, fields) in sorted(wanted.items()):
            if start < rebuilt:
                continue  # inside a mapping that is written anew
            if None in fields.values():
                self.possible(of, "", None)
                rebuilt = _closing(self.text, start)
                edits.append((start, rebuilt, self._rebuilt(of, wanted)))
            else:
                edits += [self._edit(of, name, value) for name, value in fields.items()]
        if not edits:
            return
        parts: list[str] = []
        behind = 0
        for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
            parts += (self.text[behind:start], new)
            behind = end
        self.read("".join((*parts, self.text[behind:])))

    def possible(self, of: Map, name: str, value: Value) -> None:
        """Look whether a field can be given another value.

        Raises:
            EditError: see `change`.
        """
        line = self.line_of(of.key_at(name) if name in of else of.start) + 1
        if name in of and value is not None:
            if not self._is_whole(of, name):
                raise EditError(line, f"'{name}' stands on several lines, or on none")
            return
        if not self._is_flow(of):
            raise EditError(line, f"'{name}' cannot be put in or taken out where one field stands on a line")
        if value is None and re.search(r"\s#", self.text[of.start : _closing(self.text, of.start)]):
            raise EditError(line, f"'{name}' cannot be taken out between comments")

    def _edit(self, of: Map, name: str, value: Value) -> tuple[int, int, str]:
        """Where in the text what has to stand."""
        self.possible(of, name, value)
        if name in of:
            start = of.value_at(name)
            return start, self._value_end(start, inside=self._is_flow(of)), flow(value)
        end = _closing(self.text, of.start) - 1
        last = self._value_end(of.marks[-1], inside=True) if of else end
        between = ", " if of and not self.text[last:end].lstrip().startswith(",") else ""
        return end, end, f"{between}{scalar(name)}: {flow(value)}"

    def _is_whole(self, of: Map, name: str) -> bool:
        """Whether what would be taken for the text of a value says the value."""
        start, inside = of.value_at(name), self._is_flow(of)
        written = self.text[start : self._value_end(start, inside=inside)]
        try:
            said = FileText(f"{{v: {written}}}" if inside else f"v: {written}\n").root
        except EditError:
            return False
        return bool(written) and _plain(said.get("v")) == _plain(of[name])

    def _rebuilt(self, of: Map, wanted: dict[int, tuple[Map, dict[str, Value]]]) -> str:
        """A mapping in braces on one line: what stays as it is written, what changes, and what is new."""
        fields = dict(wanted[of.start][1]) if of.start in wanted else {}
        parts: list[str] = []
        for i, (name, value) in enumerate(of.items()):
            key, start = of.marks[2 * i], of.marks[2 * i + 1]
            if name in fields:
                new = fields.pop(name)
                if new is not None:
                    parts.append(self.text[key:start] + flow(new))
            elif isinstance(value, Map) and value.start in wanted:
                parts.append(self.text[key:start] + self._rebuilt(value, wanted))
            else:
                parts.append(self.text[key : self._value_end(start, inside=True)])
        parts += [f"{scalar(name)}: {flow(value)}" for name, value in fields.items() if value is not None]
        return "{" + ", ".join(parts) + "}"

    def _value_end(self, start: int, *, inside: bool) -> int:
        """Offset behind a value; `inside`: of a mapping in braces, else on one line."""
        text = self.text
        if text[start] in "{[":
            return _closing(text, start)
        quoted = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL).match(text, start)
        if quoted is not None:
            return quoted.end()
        stop = r"[,\]}]|\s#" if inside else r"\n|\s#"
        found = re.compile(stop).search(text, start)
        end = found.start() if found is not None else len(text)
        return start + len(text[start:end].rstrip())

    def _points(self, path: tuple[str, ...], points: Sequence[PointDraft]) -> None:
        entry = self._walk(path)
        indent = self._indent(entry)
        if "points" not in entry:
            self._insert(self._end(entry), [f"{' ' * indent}points:", *point_lines(points, indent + 2)])
            return
        inner = self._opened((*path, "points"))
        self._insert(self._end(inner), point_lines(points, self._indent(inner)))

    def _walk(self, path: tuple[str, ...]) -> Map:
        found: Any = self.root
        for step in path:
            found = found[step]
        return found  # type: ignore[no-any-return]  # the caller knows that it is a mapping

    def _opened(self, path: tuple[str, ...]) -> Map:
        """The mapping at a path in block style: opened up first where it is written in braces."""
        *above, key = path
        parent = self._walk(tuple(above))
        inner = parent[key]
        if not isinstance(inner, Map) or not inner:
            raise EditError(self.line_of(parent.key_at(key)) + 1, f"'{key}' holds nothing: take it out")
        if not self._is_flow(inner):
            return inner
        end = _closing(self.text, inner.start)
        written = self.text[inner.start : end]
        rest = self.text[end:].split("\n", 1)[0]
        remark = rest.strip()
        if re.search(r"(^|\s)#", written) or (remark and not remark.startswith("#")):
            raise EditError(self.line_of(inner.start) + 1, f"'{key}' is written in braces: write one field a line")
        indent = self._column(parent.key_at(key)) + 2
        rows = "".join(f"\n{' ' * indent}{scalar(name)}: {flow(_plain(value))}" for name, value in inner.items())
        before = self.text[: inner.start].rstrip(" \n")
        self.read(f"{before}{f'  {remark}' if remark else ''}{rows}{self.text[end + len(rest) :]}")
        return self._walk(path)

    def _is_flow(self, of: Map) -> bool:
        return self.text[of.start : of.start + 1] == "{"

    def _indent(self, of: Map) -> int:
        return self._column(of.marks[0])

    def _column(self, offset: int) -> int:
        return self.source.where(offset)[1] - 1

    def _end(self, of: Map) -> int:
        """Number of the line behind the last one of a block mapping, comments at its depth included."""
        lines = self.text.split("\n")
        indent = self._indent(of)
        last = here = self.line_of(of.marks[-2])
        while here + 1 < len(lines):
            here += 1
            row = lines[here]
            depth = len(row) - len(row.lstrip(" "))
            if not row.strip():
                continue
            if row.lstrip().startswith("#"):
                if depth >= indent and here == last + 1:
                    last = here
                continue
            if depth <= indent:
                break
            last = here
        return last + 1

    def _insert(self, at: int, new: Sequence[str]) -> None:
        lines = self.text.split("\n")
        lines[at:at] = new
        text = "\n".join(lines)
        self.read(text if text.endswith("\n") else text + "\n")


def _plain(value: Any) -> Value:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if value is BROKEN else value


def _closing(text: str, start: int) -> int:
    """Offset behind the brace that closes the one at an offset."""
    depth, here, quote = 0, start, ""
    while here < len(text):
        char = text[here]
        if quote:
            if char == "\\" and quote == '"':
                here += 1
            elif char == quote:
                quote = ""
        elif char in "\"'" and text[here - 1] in " ,[{:":
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return here + 1
        here += 1
    return len(text)
