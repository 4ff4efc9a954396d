"""Importing again into a file that people edited: what is new is put in, what they wrote stays, conflicts are shown.

The lines that are there are never changed. A point is recognised by where it comes from (device and protocol point), so
that it may have been given another place, scale, deadband or name. A point that was commented out, or dropped with
null, stays out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.text_edit import EditError, FileText
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import MappedDevice, MappedPoint, Mapping
from twin_gateway.mapping.pattern import PatternError, choices
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map

_LEFT_OUT: Final = re.compile(
    r"""\s*(?:\#\s*(?P<commented>"[^"]+"|[\w~/{},.-]+)\s*:\s*[\[{]|(?P<dropped>"[^"]+"|[\w~/{},.-]+)\s*:\s*(?:null|~)\s*(?:\#.*)?$)"""
)


@dataclass(slots=True)
class Merged:
    """What became of a merge.

    Attributes:
        text: the new text; None when an error of `problems` forbids it.
        added: addresses that are new.
        problems: conflicts as warnings, and errors.
    """

    text: str | None = None
    added: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def merge(path: Path, draft: FileDraft) -> Merged:
    """Merge a draft into an existing file; nothing is written.

    Args:
        path: the existing file; it must pass the check, alone or with the other files of its folder.
        draft: what the import found, without templates; paths in it are relative to the file's folder.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        return Merged(problems=[Problem(str(path), 0, 0, "TG101", f"cannot be read: {error}")])
    old, problems = check([path], secrets_required=False)
    if old is None:
        old, _ = check([path.parent], secrets_required=False)
    if old is None:
        wrong = [problem for problem in problems if problem.severity == "error"]
        hint = "correct the file first, or write it anew with --mode overwrite"
        what = "the file does not pass the check, so nothing can be merged into it"
        return Merged(problems=[*wrong, Problem(str(path), 1, 1, "TG736", what, hint)])
    new, problems = checked(path, emit(draft))
    if new is None:
        return Merged(problems=problems)
    try:
        return _Merge(path, text, old, new, draft).run()
    except EditError as error:
        hint = "then import again"
        return Merged(problems=[Problem(str(path), error.line, 1, "TG736", f"cannot put lines in here: {error}", hint)])


def checked(path: Path, text: str) -> tuple[Mapping | None, list[Problem]]:
    """The check of a text as if it stood in a file, alone or, where it needs them, with the others of its folder."""
    trial = path.with_name(f".{path.name}.import")
    try:
        trial.write_text(text, "utf-8")
        mapping, problems = check([trial], secrets_required=False)
        if mapping is None and path.exists():
            others = [other for other in sorted(path.parent.glob("*.yaml")) if other != path]
            mapping, more = check([*others, trial], secrets_required=False)
            problems = [problem for problem in more if problem.file == str(trial)] if mapping is None else []
    except OSError as error:
        return None, [Problem(str(trial), 0, 0, "TG101", f"cannot be written: {error.strerror or error}")]
    finally:
        trial.unlink(missing_ok=True)
    return mapping, [replace(problem, file=str(path)) for problem in problems]


class _Merge:
    def __init__(self, path: Path, text: str, old: Mapping, new: Mapping, draft: FileDraft) -> None:
        self.path = path
        self.file = FileText(text)
        self.draft = draft
        self.old = [device for device in old.devices if device.file == str(path)]
        self.new = {device.name: device for device in new.devices}
        self.everywhere = {point.address: (device, point) for device, point in old.points()}
        self.out = Merged()
        self.places = Places()

    def conflict(self, line: int, message: str, hint: str = "") -> None:
        self.out.problems.append(Problem(str(self.path), line, 1, "TG736", message, hint, "warning"))

    def run(self) -> Merged:
        root = self.file.root
        if root.get("grid") not in (None, self.draft.grid):
            what = f"the file is of grid '{root['grid']}', the import of '{self.draft.grid}'"
            self.out.problems.append(Problem(str(self.path), 1, 1, "TG736", what, "import with the file's --grid"))
            return self.out
        for device in self.draft.devices:
            mine = self.new[device.name]
            there = self._same(mine)
            if there is None:
                self._add_device(device, mine)
            else:
                self._into(there, device, mine)
        self.out.problems.sort()
        self.out.text = self.file.text
        return self.out

    def _same(self, mine: MappedDevice) -> MappedDevice | None:
        """The device of the file that is the same one, even under another name or at another host."""
        alike = [device for device in self.old if device.protocol == mine.protocol]
        for identity in (_ied, lambda device: device.name, _endpoint):
            for device in alike:
                if identity(mine) and identity(device) == identity(mine):
                    return device
        return None

    def _add_device(self, device: DeviceDraft, mine: MappedDevice) -> None:
        if any(other.name == device.name for other in self.old):
            self.conflict(1, f"the name '{device.name}' is taken by another device: the import's is left out")
            return
        for point in mine.points:
            if point.address in self.everywhere:
                self._taken(point)
        free = {point.address for point in mine.points} - set(self.everywhere)
        place = device.place or self.draft.place
        kept = DeviceDraft(device.name, device.protocol, device.fields, "", comment=device.comment)
        kept.place = "" if self.file.root.get("place") == place else place
        for at in device.at:
            points = [point for point in at.points if self._address(place, at.key, point.key) in free]
            if points:
                kept.at.append(PlaceDraft(at.key, points, fields=at.fields, comment=at.comment))
        if kept.at:
            self.file.add_device(kept)
            self.out.added += sorted(free)

    def _into(self, there: MappedDevice, device: DeviceDraft, mine: MappedDevice) -> None:
        self._fields(there, device, mine)
        by_source: defaultdict[Any, list[MappedPoint]] = defaultdict(list)
        for point in there.points:
            by_source[point.source].append(point)
        by_address = {point.address: point for point in mine.points}
        left_out = self._left_out(there.name)
        place = device.place or self.draft.place
        same_place = there.place == mine.place
        for at in device.at:
            fresh: list[PointDraft] = []
            for line in at.points:
                address = self._address(place, at.key, line.key)
                point = by_address[address]
                known = by_source.get(point.source)
                if known:
                    self._compare(known, point)
                elif line.key in left_out.get(at.key, ()) or not same_place:
                    continue
                elif address in self.everywhere:
                    self._taken(point)
                else:
                    fresh.append(line)
                    self.out.added.append(address)
            if fresh:
                self.file.add_points(there.name, PlaceDraft(at.key, fresh, comment=at.comment), fresh)
        if not same_place:
            what = f"'{there.name}' is at {there.place} in the file, at {mine.place} in the import"
            self.conflict(there.line, f"{what}: no point is added", "move it, or import with the file's --place")
        self._gone(there, mine)

    def _fields(self, there: MappedDevice, device: DeviceDraft, mine: MappedDevice) -> None:
        """Fields of the device section that the import says otherwise."""
        for name in device.fields:
            ours, theirs = getattr(there.config, name, None), getattr(mine.config, name, None)
            if name == "scl" and ours and theirs and Path(str(ours)).resolve() == Path(str(theirs)).resolve():
                continue
            if ours != theirs:
                what = f"{there.name}: {name} is {_shown(ours)} in the file, {_shown(theirs)} in the import"
                self.conflict(there.line, f"{what}: the file's is kept")

    def _compare(self, known: list[MappedPoint], point: MappedPoint) -> None:
        """A point that the file has: where it differs in what only the device can know, or stands elsewhere."""
        same = next((item for item in known if item.address == point.address), known[0])
        for what, ours, theirs in (
            ("the address", same.address, point.address),
            ("control", same.control, point.control),
            ("type", same.fields.get("type"), point.fields.get("type")),
        ):
            if isinstance(ours, dict) and isinstance(theirs, dict):
                ours = {name: ours.get(name) for name in theirs}
            if ours != theirs:
                row = f"{same.address}: {what} is {_shown(ours)} in the file, {_shown(theirs)} in the import"
                self.conflict(same.line, f"{row}: the file's is kept")

    def _taken(self, point: MappedPoint) -> None:
        device, there = self.everywhere[point.address]
        source = f"{device.name} ({device.spec.alias(device.name, device.config, there.source)})"
        line = there.line if there.file == str(self.path) else 1
        what = f"{point.address} comes from {source}: the import's binding is left out"
        self.conflict(line, what, "write both as a list of bindings if that is meant")

    def _gone(self, there: MappedDevice, mine: MappedDevice) -> None:
        sources = {point.source for point in mine.points}
        gone = [point for point in there.points if point.source not in sources]
        if gone:
            count, first = len(gone), gone[0]
            what = f"{count} points of '{there.name}' are" if count > 1 else f"a point of '{there.name}' is"
            self.conflict(first.line, f"{what} not in the import, first {first.address}: kept")

    def _address(self, place: str, at: str, key: str) -> str:
        levels = self.places.base(self.draft.grid, place)
        return self.places.complete(self.places.at(levels, at) if at else levels, key)[0]

    def _left_out(self, device: str) -> dict[str, set[str]]:
        """By at-key the point keys that are commented out or dropped with null."""
        section = self.file.root["devices"][device]
        at = section.get("at")
        if not isinstance(at, Map):
            return {}
        lines = self.file.text.split("\n")
        starts = [(self.file.line_of(at.marks[2 * i]), key) for i, key in enumerate(at)]
        after = [self.file.line_of(mark) for mark in self.file.root["devices"].marks[::2]]
        end = min((line for line in after if line > starts[-1][0]), default=len(lines)) if starts else 0
        out: defaultdict[str, set[str]] = defaultdict(set)
        for (start, key), stop in zip(starts, [*(line for line, _ in starts[1:]), end], strict=True):
            for row in lines[start:stop]:
                found = _LEFT_OUT.match(row)
                if found is not None:
                    out[key].update(_keys((found["commented"] or found["dropped"]).strip('"')))
        return out


def _keys(text: str) -> list[str]:
    try:
        return list(choices(text) or [text])
    except PatternError:
        return [text]


def _ied(device: MappedDevice) -> object:
    return getattr(device.config, "ied", None) and (getattr(device.config, "ied", None), device.protocol)


def _endpoint(device: MappedDevice) -> object:
    config = device.config
    where = [getattr(config, name, None) for name in ("host", "uri", "endpoint")]
    # Behind one concentrator stand many meters.
    more = ("port", "common_address", "logical_device", "hdlc")
    return (*where, *(getattr(config, name, None) for name in more)) if any(where) else None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {item}" for name, item in value.items()) + "}"
    return "nothing" if value is None else str(value)
