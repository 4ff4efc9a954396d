"""Lines of a mapping file that are given other values, because the source that they were imported from has changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from twin_gateway.engineering.draft import PointDraft, Value
from twin_gateway.engineering.memory import WRITTEN
from twin_gateway.engineering.text_edit import EditError, FileText
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.read import Map


@dataclass(frozen=True, slots=True)
class Pair:
    """A point as the file has it and as the import has it.

    Attributes:
        device: of the file.
        key, line: at-key and line of the import.
    """

    device: MappedDevice
    ours: MappedPoint
    theirs: MappedPoint
    key: str
    line: PointDraft


@dataclass(slots=True)
class Change:
    """One field of one point or device.

    Attributes:
        what: address of the point, or name of the device.
        name: of the field.
        ours, theirs: what it meant, and what it is to mean.
        line: where it is written.
        remember: where `theirs` is kept once the line is changed, and `before` when it cannot be.
        why: why it could not be changed; empty when it was.
    """

    what: str
    name: str
    ours: Any
    theirs: Any
    line: int
    remember: dict[str, Any]
    before: Any
    why: str = ""


Fields = dict[str, Value]
Where = tuple[int, int]
"""Line and column."""


@dataclass(slots=True)
class _Line:
    """One line of points, or one device section, with what it is to say: None takes a field out."""

    of: Map
    count: int
    wanted: dict[str, list[tuple[Fields, Change]]] = field(default_factory=lambda: defaultdict(list))


class Revision:
    """Collects changes, and makes them in the text all at once.

    Attributes:
        overrides: by device and at-key, lines that go over those of a template, where the change does not belong.
    """

    def __init__(self, file: FileText) -> None:
        self.file = file
        self.overrides: dict[str, dict[str, list[PointDraft]]] = {}
        self._lines: dict[int, _Line] = {}
        self._changes: list[Change] = []
        self._written: dict[str, dict[Where, tuple[str, Any]]] = {}
        self._counts: dict[str, Counter[Where]] = {}

    def of_device(self, section: Map, change: Change, value: Value) -> None:
        """A field of a device section is to say something else."""
        self._changes.append(change)
        self._lines.setdefault(section.start, _Line(section, 1)).wanted[change.name].append(
            (
                {change.name: value},
                change,
            )
        )

    def of_point(self, pair: Pair, change: Change) -> None:
        """A field of a point is to say what the line of the import says, or to go when that says nothing."""
        same, key, line = pair.ours, pair.key, pair.line
        self._changes.append(change)
        fields = {name: line.fields.get(name) for name in WRITTEN.get(change.name, (change.name,))}
        found = self._line(pair)
        if isinstance(found, Map):
            shared = self._counts[pair.device.name][same.line, same.col]
            self._lines.setdefault(found.start, _Line(found, shared)).wanted[change.name].append((fields, change))
        elif found:
            change.why = found
        elif not _said(fields):
            change.why = "it is written in a template"
        else:
            over = self.overrides.setdefault(pair.device.name, {}).setdefault(key, [])
            mine = next((item for item in over if item.key == line.key), None)
            if mine is None:
                over.append(mine := PointDraft(line.key, {}))
            mine.fields |= _said(fields)

    def _line(self, pair: Pair) -> Map | str:
        """The line of a point at the device itself; else why it cannot be changed, empty where one can go over it."""
        point, key, name = pair.ours, pair.key, pair.line.key
        own, value = self._index(pair.device).get((point.line, point.col), ("", None))
        if isinstance(value, Map):
            return value
        if own:
            return f"'{own}' has several bindings"
        at = self.file.root["devices"][pair.device.name].get("at")
        places = at if isinstance(at, Map) else {}
        entry = places.get(key)
        points = entry.get("points") if isinstance(entry, Map) else None
        over = points.get(name) if isinstance(points, Map) else None
        if isinstance(over, Map):
            return over
        if entry is None or (isinstance(points, Map) and name in points):
            return "its line is not where the import has it"
        return ""

    def _index(self, device: MappedDevice) -> dict[Where, tuple[str, Any]]:
        """By line and column what is written for points at a device itself, with its key."""
        found = self._written.get(device.name)
        if found is None:
            section = self.file.root["devices"][device.name]
            at = section.get("at")
            found = self._written[device.name] = {}
            for entry in (section, *(at.values() if isinstance(at, Map) else ())):
                points = entry.get("points") if isinstance(entry, Map) else None
                if isinstance(points, Map):
                    for i, item in enumerate(points.items()):
                        found[self.file.source.where(points.marks[2 * i])] = item
            self._counts[device.name] = Counter((point.line, point.col) for point in device.points)
        return found

    def apply(self) -> list[Change]:
        """Change the text; all changes, with a reason at those that could not be made."""
        edits: list[tuple[Map, str, Value]] = []
        for line in self._lines.values():
            for wanted in line.wanted.values():
                fields = wanted[0][0]
                if len(wanted) != line.count or any(other != fields for other, _ in wanted):
                    why = "its line stands for other points too"
                else:
                    said = wanted[0][1].theirs
                    own = [edit for name, value in fields.items() for edit in _edits(line.of, name, value, said)]
                    why = self._impossible(own)
                    edits += [] if why else own
                for _, change in wanted:
                    change.why = why
        self.file.change(edits)
        return self._changes

    def _impossible(self, edits: list[tuple[Map, str, Value]]) -> str:
        try:
            for edit in edits:
                self.file.possible(*edit)
        except EditError as error:
            return str(error)
        return ""


def _said(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _edits(of: Map, name: str, value: Value, meant: Any) -> list[tuple[Map, str, Value]]:
    """What has to be put where: a control keeps what people have added to it, and loses what it is meant to lose."""
    there = of.get(name)
    if isinstance(there, Map) and isinstance(value, dict):
        wanted = {part: None for part in meant if part in there and meant[part] is None} | value
        return [(there, part, item) for part, item in wanted.items() if there.get(part) != item]
    if isinstance(there, Map) and isinstance(value, str) and name == "control":
        return [(there, "model", value)]
    return [] if value is None and name not in of else [(of, name, value)]
