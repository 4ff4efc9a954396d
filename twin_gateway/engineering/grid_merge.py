"""Importing again into a grid file that people edited: entry by entry and field by field, by what was imported last.

An entry is recognised by its address, or by its mRID where it was given another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.flow import flow, scalar
from twin_gateway.engineering.memory import BOTH, BY_HAND, UNREADABLE, plain, read_section, unreadable
from twin_gateway.engineering.text_edit import EditError, FileText
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map

SECTION: Final = "grid"
_TABLES: Final = ("nodes", "equipment", "indicators", "measurements", "meters", "feeders")
_TOP: Final = ("grid_model", "grid", "place")
_ABSENT: Final = object()
_UNKNOWN: Final = object()
Entries = dict[str, dict[str, dict[str, Any]]]
"""Section -> key -> fields."""


@dataclass(slots=True)
class GridMerged:
    """What became of a merge.

    Attributes:
        text: the new text; None when an error of `problems` forbids it.
        added, changed: keys of entries that are new, or of which a field was changed.
        entries: what is to be remembered once the text is written.
    """

    text: str | None = None
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    entries: Entries = field(default_factory=dict)


def entries_of(text: str) -> Entries:
    """What a grid file that an import has written says, for the memory of it."""
    return _entries(FileText(text).root)


def _entries(root: Map) -> Entries:
    out: Entries = {"voltages": {"": plain(root.get("voltages") or {})}}
    for name in _TABLES:
        table = root.get(name)
        if isinstance(table, Map):
            out[name] = {key: plain(entry) for key, entry in table.items() if isinstance(entry, Map)}
    return out


def merge_grid(path: Path, text: str) -> GridMerged:
    """Merge the text of a grid file as an import makes it into an existing one; nothing is written.

    Args:
        path: the existing file; it must be a grid file without errors.
        text: the whole text that the import would write anew.
    """
    out = GridMerged()
    try:
        old = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        out.problems.append(Problem(str(path), 1, 1, "TG101", f"cannot be read: {error}", "look at its rights"))
        return out
    _, problems = read_grid([path])
    if any(problem.severity == "error" for problem in problems):
        what = "the file has errors, so nothing can be merged into it"
        hint = "correct it first, or write it anew with --mode overwrite"
        out.problems = [*problems, Problem(str(path), 1, 1, "TG736", what, hint)]
        return out
    try:
        last = {
            name: {key: dict(entry) for key, entry in entries.items()}
            for name, entries in read_section(path, SECTION).items()
        }
    except UNREADABLE as error:
        last = {}
        out.problems.append(unreadable(path, error))
    try:
        _Merge(path, FileText(old), FileText(text).root, last, out).run()
    except EditError as error:
        what = f"cannot put lines in here: {error}"
        out.problems.append(Problem(str(path), error.line, 1, "TG736", what, "then import again"))
    if out.text is not None and out.text != old:
        out.problems += (wrong := _wrong(path, out.text))
        out.text = None if wrong else out.text
    return out


def _wrong(path: Path, text: str) -> list[Problem]:
    """Errors of a text as if it stood in the file."""
    trial = path.with_name(f".{path.name}.import")
    try:
        trial.write_text(text, "utf-8")
        _, problems = read_grid([trial])
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        return [Problem(str(trial), 1, 1, "TG101", what, "look at the rights of the folder")]
    finally:
        trial.unlink(missing_ok=True)
    return [
        Problem(str(path), problem.line, problem.col, problem.code, problem.message, problem.hint)
        for problem in problems
        if problem.severity == "error"
    ]


class _Merge:
    def __init__(self, path: Path, file: FileText, new: Map, last: Entries, out: GridMerged) -> None:
        self.path = path
        self.file = file
        self.new = new
        self.last = last
        self.out = out
        self.changes: list[tuple[Map, str, Any]] = []
        self.additions: list[tuple[str, str]] = []

    def conflict(self, at: int, message: str, hint: str = "") -> None:
        line, col = self.file.source.where(at)
        self.out.problems.append(Problem(str(self.path), line, col, "TG736", message, hint, "warning"))

    def run(self) -> None:
        root = self.file.root
        for name in _TOP:
            if root.get(name) != self.new.get(name):
                what = f"{name} is {root.get(name)} in the file, {self.new.get(name)} in the import"
                hint = "import with the file's --grid and --area, or write it anew with --mode overwrite"
                self.out.problems.append(Problem(str(self.path), 1, 1, "TG736", what, hint))
                return
        if isinstance(volts := root.get("voltages"), Map):
            said = plain(self.new.get("voltages") or {})
            self.out.entries["voltages"] = {"": self.fields("voltages", "", volts, said)}
        for name in _TABLES:
            self.table(name, root.get(name) or Map(), self.new.get(name) or Map())
        self.file.change(self.changes)
        for name in _TABLES:
            lines = [line for section, line in self.additions if section == name]
            if lines:
                self.file.add_entries(name, lines)
        self.out.entries = {name: entries for name, entries in self.out.entries.items() if entries}
        self.out.text = self.file.whole
        self.out.changed = sorted(set(self.out.changed))

    def table(self, name: str, old: Map, new: Map) -> None:
        by_mrid = {entry["mrid"]: key for key, entry in old.items() if isinstance(entry, Map) and "mrid" in entry}
        last, remember = self.last.get(name, {}), self.out.entries.setdefault(name, {})
        found: set[str] = set()
        for key, entry in new.items():
            there = key if key in old else by_mrid.get(entry.get("mrid", _ABSENT), "")
            said = plain(entry)
            if there:
                found.add(there)
                if isinstance(old[there], Map):
                    remember[key] = self.fields(name, key, old[there], said)
            elif key in last:
                remember[key] = last[key]
                self.conflict(old.start if old else 0, f"'{key}' was taken out since the last import: it stays out")
            else:
                remember[key] = said
                self.additions.append((name, f"{scalar(key)}: {flow(said)}"))
                self.out.added.append(key)
        for key in last:
            if key in old and key not in found:
                remember[key] = last[key]
                self.conflict(
                    old.key_at(key), f"'{key}' is not in the import any more: kept", "take it out if it is gone"
                )

    def fields(self, section: str, key: str, there: Map, said: dict[str, Any]) -> dict[str, Any]:
        """One entry: the changes that are to be made; what is to be remembered of it."""
        last = self.last.get(section, {}).get(key)
        remember: dict[str, Any] = {}
        for name in dict.fromkeys((*said, *(last or ()))):
            ours = plain(there[name]) if name in there else _ABSENT
            theirs = said.get(name, _ABSENT)
            before = _UNKNOWN if last is None else last.get(name, _ABSENT)
            if theirs not in (ours, before):
                # Nothing is not the same as no field: of a switch without a command another one is guessed.
                mine = before is not _UNKNOWN and ours == before and theirs is not None
                row = f"{key or section}: {name} is {_shown(ours)} in the file, {_shown(theirs)} in the import"
                if not mine:
                    hint = "" if before in (_UNKNOWN, ours) else BOTH
                    self.conflict(there.key_at(name), f"{row}: the file's is kept", hint)
                    theirs = before
                elif self.change(there, name, None if theirs is _ABSENT else theirs, row):
                    self.out.changed.append(key or section)
                else:
                    theirs = before
            if theirs is not _ABSENT and theirs is not _UNKNOWN:
                remember[name] = theirs
        return remember

    def change(self, there: Map, name: str, value: Any, row: str) -> bool:
        """Note a change that is to be made; whether it can be."""
        try:
            self.file.possible(there, name, value)
        except EditError as error:
            self.conflict(there.key_at(name), f"{row}, and nobody has changed it by hand: {error}", BY_HAND)
            return False
        self.changes.append((there, name, value))
        return True


def _shown(value: Any) -> str:
    return "not there" if value is _ABSENT else flow(value)
