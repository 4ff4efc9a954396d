"""Importing again into a file that people edited: what is new is put in, what they wrote stays, conflicts are shown.

A point is recognised by where it comes from (device and protocol point), so that it may have been given another place,
scale, deadband or name. By the memory of the last import a value that has changed in the source, but not by hand, is
changed in its line; one that was changed by hand stays, and where both were, that is told. Without a memory no line
that is there is changed. A point that was commented out, dropped with null, or taken out since then stays out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.memory import (
    BOTH,
    BY_HAND,
    Memory,
    Remembered,
    fresh,
    meanings,
    plain,
    read_memory,
)
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.engineering.revise import Change, Pair, Revision
from twin_gateway.engineering.text_edit import EditError, FileText
from twin_gateway.mapping.check import check, find_files
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.pattern import PatternError, choices
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map

_LEFT_OUT: Final = re.compile(
    r"""\s*(?:\#\s*(?P<commented>"[^"]+"|[\w~/{},.-]+)\s*:\s*[\[{]|(?P<dropped>"[^"]+"|[\w~/{},.-]+)\s*:\s*(?:null|~)\s*(?:\#.*)?$)"""
)

_UNKNOWN: Final = object()


@dataclass(slots=True)
class Merged:
    """What became of a merge.

    Attributes:
        text: the new text; None when an error of `problems` forbids it.
        added: addresses that are new.
        changed: addresses and devices of which a line was changed, since the source had changed.
        problems: conflicts as warnings, and errors.
        memory: to be kept once the text is written.
    """

    text: str | None = None
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    memory: Memory = field(default_factory=dict)


def write_anew(path: Path, draft: FileDraft, *, templates: bool) -> Merged:
    """A draft as a whole new text, with the memory of it; nothing is written.

    Args:
        path: where it will stand.
        draft: without templates.
        templates: whether they are made of places that repeat.
    """
    if templates:
        make_templates(draft)
    text = emit(draft)
    mapping, problems = checked(path, text)
    if mapping is None:
        return Merged(problems=problems)
    return Merged(text, problems=problems, memory=fresh(mapping, draft))


def merge(path: Path, draft: FileDraft) -> Merged:
    """Merge a draft into an existing file; nothing is written.

    Args:
        path: the existing file; it must pass the check, alone or with the other files of its folder.
        draft: what the import found, without templates; paths in it are relative to the file's folder.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        return Merged(problems=[Problem(str(path), 0, 0, "TG101", f"cannot be read: {error}")])
    old, problems = _check(path, path)
    if old is None:
        wrong = [problem for problem in problems if problem.severity == "error"]
        hint = "correct the file first, or write it anew with --mode overwrite"
        what = "the file does not pass the check, so nothing can be merged into it"
        return Merged(problems=[*wrong, Problem(str(path), 1, 1, "TG736", what, hint)])
    new, problems = checked(path, emit(draft))
    if new is None:
        return Merged(problems=problems)
    run = _Merge(path, text, old, new, draft)
    try:
        out = run.run()
    except EditError as error:
        hint = "then import again"
        return Merged(problems=[Problem(str(path), error.line, 1, "TG736", f"cannot put lines in here: {error}", hint)])
    if out.text is not None and out.text != text:
        mapping, problems = checked(path, out.text)
        out.problems += [problem for problem in problems if problem.severity == "error"]
        if mapping is None:
            out.text = None
        else:
            run.verify(mapping)
    return out


def checked(path: Path, text: str) -> tuple[Mapping | None, list[Problem]]:
    """The check of a text as if it stood in a file, alone or, where it needs them, with the others of its folder."""
    trial = path.with_name(f".{path.name}.import")
    try:
        trial.write_text(text, "utf-8")
        mapping, problems = _check(trial, path)
    except OSError as error:
        return None, [Problem(str(trial), 0, 0, "TG101", f"cannot be written: {error.strerror or error}")]
    finally:
        trial.unlink(missing_ok=True)
    there = str(trial)
    return mapping, [replace(problem, file=str(path)) if problem.file == there else problem for problem in problems]


def _check(file: Path, path: Path) -> tuple[Mapping | None, list[Problem]]:
    """The check of a file alone or, where it needs them, with the files that stand beside `path`."""
    mapping, problems = check([file], secrets_required=False)
    if mapping is None and path.exists() and (others := others_of(path)):
        mapping, found = check([*others, file], secrets_required=False)
        mine = [problem for problem in found if problem.file == str(file)]
        problems = found if mapping is None and not mine else mine
    return mapping, problems


def others_of(path: Path) -> list[Path]:
    """The mapping files of the folder that a file is in, without itself."""
    return [other for other in find_files([path.parent], []) if other.resolve() != path.resolve()]


class _Merge:
    def __init__(self, path: Path, text: str, old: Mapping, new: Mapping, draft: FileDraft) -> None:
        self.path = path
        self.file = FileText(text)
        self.draft = draft
        self.old = [device for device in old.devices if device.file == str(path)]
        self.new = {device.name: device for device in new.devices}
        self.everywhere = {point.address: (device, point) for device, point in old.points()}
        self.out = Merged()
        self.out.memory, self.out.problems = read_memory(path)
        self.places = Places()
        self.revision = Revision(self.file)
        self.applied: list[Change] = []
        self.additions: list[DeviceDraft | tuple[str, PlaceDraft]] = []

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
            if there is not None:
                self._into(there, device, mine)
            elif device.name in self.out.memory:
                what = f"'{device.name}' was taken out of the file since the last import: it stays out"
                self.conflict(1, what, "--mode overwrite writes it again")
            else:
                self._add_device(device, mine)
        self._revise()
        for addition in self.additions:
            if isinstance(addition, DeviceDraft):
                self.file.add_device(addition)
            else:
                name, at = addition
                self.file.add_points(name, at, at.points)
        self.out.problems.sort()
        self.out.text = self.file.whole
        return self.out

    def _revise(self) -> None:
        """Change the lines whose source has changed; what cannot be changed is told, and not remembered."""
        for change in self.revision.apply():
            if change.why:
                self._not_changed(change)
            else:
                change.remember[change.name] = _stated(change.theirs)
                self.applied.append(change)
        self.out.changed = sorted({change.what for change in self.applied})
        for device, at in self.revision.overrides.items():
            self.additions += [(device, PlaceDraft(key, points)) for key, points in at.items()]

    def _not_changed(self, change: Change) -> None:
        row = f"{change.what}: {change.name} is {_shown(change.ours)} in the file"
        row += f", {_shown(change.theirs)} in the import, and nobody has changed it by hand"
        self.conflict(change.line, f"{row}: {change.why}", BY_HAND)

    def verify(self, now: Mapping) -> None:
        """Look whether the text that was made says what was to be said; what it does not is told, and forgotten."""
        points = {point.address: point for _, point in now.points()}
        for change in self.applied:
            point = points.get(change.what)
            if point is None:
                continue  # a device
            said = meanings(point).get(change.name)
            if isinstance(said, dict) and isinstance(change.theirs, dict):
                said = {part: said.get(part) for part in change.theirs}
            if said != change.theirs:
                change.remember[change.name] = change.before
                change.ours, change.why = said, "a template says otherwise"
                self._not_changed(change)
        self.out.problems.sort()

    def _same(self, mine: MappedDevice) -> MappedDevice | None:
        """The device of the file that is the same one, even under another name or at another host."""
        alike = [device for device in self.old if device.protocol == mine.protocol]
        for identity in (_ied, _name):
            for device in alike:
                if identity(mine) and identity(device) == identity(mine):
                    return device
        others = [other for other in self.new.values() if other is not mine]
        for device in alike:
            claimed = any(_name(other) == _name(device) or _ied(other) == (_ied(device) or 0) for other in others)
            if not claimed and _endpoint(device) == _endpoint(mine):
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
            self.additions.append(kept)
            self.out.added += sorted(free)
            said = {str(point.source): meanings(point) for point in mine.points if point.address in free}
            self.out.memory[device.name] = Remembered(plain(device.fields), said)

    def _into(self, there: MappedDevice, device: DeviceDraft, mine: MappedDevice) -> None:
        known = self.out.memory.setdefault(device.name, Remembered())
        self._fields(there, device, mine, known)
        by_source: defaultdict[Any, list[MappedPoint]] = defaultdict(list)
        for point in there.points:
            by_source[point.source].append(point)
        by_address = {point.address: point for point in mine.points}
        left_out = self._left_out(there.name)
        place = device.place or self.draft.place
        same_place = there.place == mine.place
        gone_by_hand = 0
        for at in device.at:
            fresh: list[PointDraft] = []
            for line in at.points:
                address = self._address(place, at.key, line.key)
                point = by_address[address]
                source = str(point.source)
                if alike := by_source.get(point.source):
                    same = next((item for item in alike if item.address == point.address), alike[0])
                    pair = Pair(there, same, point, at.key, line)
                    known.points[source] = self._compare(pair, known.points.get(source))
                elif line.key in left_out.get(at.key, ()) or not same_place:
                    continue
                elif source in known.points:
                    gone_by_hand += 1
                elif address in self.everywhere:
                    self._taken(point)
                else:
                    fresh.append(line)
                    self.out.added.append(address)
                    known.points[source] = meanings(point)
            if fresh:
                self.additions.append((there.name, PlaceDraft(at.key, fresh, comment=at.comment)))
        if gone_by_hand:
            count = f"{gone_by_hand} points were" if gone_by_hand > 1 else "a point was"
            what = f"{count} taken out of '{there.name}' since the last import: the import's stay out"
            self.conflict(there.line, what, "--mode overwrite writes them again")
        if not same_place:
            what = f"'{there.name}' is at {there.place} in the file, at {mine.place} in the import"
            self.conflict(there.line, f"{what}: no point is added", "move it, or import with the file's --place")
        self._gone(there, mine, known)

    def _fields(self, there: MappedDevice, device: DeviceDraft, mine: MappedDevice, known: Remembered) -> None:
        """Fields of the device section that the import says otherwise."""
        section = self.file.root["devices"][there.name]
        before, known.fields = known.fields, {}
        for name in dict.fromkeys((*device.fields, *before)):
            value = device.fields.get(name)
            ours, theirs = getattr(there.config, name, None), getattr(mine.config, name, None)
            if name == "scl" and ours and theirs and Path(str(ours)).resolve() == Path(str(theirs)).resolve():
                ours = theirs
            said = plain(value)
            if ours == theirs or (name in before and before[name] == said):
                known.fields[name] = said
            elif name in before and name in section and plain(section[name]) == before[name]:
                known.fields[name] = before[name]
                change = Change(there.name, name, before[name], said, there.line, known.fields, before[name])
                self.revision.of_device(section, change, value)
            else:
                if name in before:
                    known.fields[name] = before[name]
                what = f"{there.name}: {name} is {_shown(ours)} in the file, {_shown(theirs)} in the import"
                self.conflict(there.line, f"{what}: the file's is kept", BOTH if name in before else "")

    def _compare(self, pair: Pair, before: dict[str, Any] | None) -> dict[str, Any]:
        """What has changed of a point since the last import, and who changed it; what is to be remembered of it."""
        same = pair.ours
        mine, imported, known = meanings(same), meanings(pair.theirs), before or {}
        remember: dict[str, Any] = {}
        for name in dict.fromkeys((*imported, *known)):
            said = theirs = imported.get(name)
            ours, last = mine.get(name), known.get(name) if known else _UNKNOWN
            if isinstance(ours, dict) and isinstance(theirs, dict):
                # A person may have said more of a control than an import has.
                of = theirs | last if isinstance(last, dict) else theirs
                ours, theirs = ({part: each.get(part) for part in of} for each in (ours, theirs))
                last = {part: last.get(part) for part in of} if isinstance(last, dict) else last
            if theirs in (ours, last):
                remember[name] = said
                continue
            if last is not _UNKNOWN:
                remember[name] = known.get(name)
                if ours == last and name != "address":
                    self.revision.of_point(
                        pair, Change(same.address, name, ours, theirs, same.line, remember, known.get(name))
                    )
                    continue
            elif name not in ("address", "control", "type"):
                remember[name] = said  # nobody knows whether it was changed by hand: taken as if it was
                continue
            label = "the address" if name == "address" else name
            row = f"{same.address}: {label} is {_shown(ours)} in the file, {_shown(theirs)} in the import"
            both = last is not _UNKNOWN and ours != last
            self.conflict(same.line, f"{row}: the file's is kept", BOTH if both else "")
            if name == "address" and known:
                return known  # the protocol point is another datum now: what else is said of it is of that one
        return remember

    def _taken(self, point: MappedPoint) -> None:
        device, there = self.everywhere[point.address]
        source = f"{device.name} ({device.spec.alias(device.name, device.config, there.source)})"
        line = there.line if there.file == str(self.path) else 1
        what = f"{point.address} comes from {source}: the import's binding is left out"
        self.conflict(line, what, "write both as a list of bindings if that is meant")

    def _gone(self, there: MappedDevice, mine: MappedDevice, known: Remembered) -> None:
        sources = {point.source for point in mine.points}
        gone = [point for point in there.points if point.source not in sources]
        left = {str(source) for source in (*sources, *(point.source for point in gone))}
        known.points = {source: said for source, said in known.points.items() if source in left}
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


def _name(device: MappedDevice) -> object:
    return device.name


def _endpoint(device: MappedDevice) -> object:
    config = device.config
    where = [getattr(config, name, None) for name in ("host", "uri", "endpoint")]
    # Behind one concentrator stand many meters.
    more = ("port", "common_address", "logical_device", "hdlc")
    return (*where, *(getattr(config, name, None) for name in more)) if any(where) else None


def _stated(value: Any) -> Any:
    """A control without the parts that it is to lose."""
    return {part: item for part, item in value.items() if item is not None} if isinstance(value, dict) else value


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {item}" for name, item in value.items()) + "}"
    if isinstance(value, list) and all(
        isinstance(item, list) and len(item) == len(("locale", "name")) for item in value
    ):
        return ", ".join(f"{locale}: {name}" if locale else str(name) for locale, name in value) or "nothing"
    return "nothing" if value is None else str(value)
