"""One SCL file to one mapping file: read, drafted, checked, and written in one of three modes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from twin_gateway.drivers.iec61850.scl_xml import SclFormatError
from twin_gateway.engineering.memory import Memory
from twin_gateway.engineering.merge import merge, write_anew
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.scl_file import problem_of, read_scl_file
from twin_gateway.engineering.scl_import import import_scl
from twin_gateway.mapping.problem import Problem


@dataclass(slots=True)
class Outcome:
    """What became of one SCL file.

    Attributes:
        target: the mapping file; None for standard output.
        text: what is to be written; None when there is an error.
        points: point lines found in the SCL file.
        added: addresses that a merge added; None where nothing was merged.
        changed: addresses and devices whose lines a merge changed.
        memory: to be kept once the text is written.
    """

    source: Path
    target: Path | None
    text: str | None = None
    points: int = 0
    added: list[str] | None = None
    changed: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(problem.severity == "error" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Request:
    """How files are imported; `into` is the folder of the mapping files, None for standard output."""

    grid: str
    place: str
    into: Path | None = None
    mode: Mode = Mode.CREATE
    every: bool = False
    templates: bool = True


def run_import(source: Path, request: Request) -> Outcome:
    """Import one file; what is to be written has passed the check."""
    folder = request.into if request.into is not None else Path()
    target = request.into / f"{source.stem}.yaml" if request.into is not None else None
    out = Outcome(source, target)
    if target is not None and target.exists() and request.mode is Mode.CREATE:
        hint = "--mode merge puts in what is new, --mode overwrite writes it anew"
        out.problems.append(Problem(str(target), 1, 1, "TG736", "the mapping file is there already", hint))
        return out
    try:
        file = read_scl_file(source)
    except SclFormatError as error:
        out.problems.append(problem_of(source, error))
        return out
    scl = os.path.relpath(source.resolve(), folder.resolve())
    draft = (
        None if file.failed else import_scl(file, grid=request.grid, place=request.place, scl=scl, every=request.every)
    )
    out.problems = sorted(file.problems)
    if draft is None:
        return out
    out.points = draft.point_lines
    draft.schema = _schema(folder)
    if target is not None and target.exists() and request.mode is Mode.MERGE:
        merged = merge(target, draft)
        out.added, out.changed = merged.added, merged.changed
    else:
        path = target if target is not None else folder / f"{source.stem}.yaml"
        merged = write_anew(path, draft, templates=request.templates)
    out.text, out.memory = merged.text, merged.memory
    out.problems += merged.problems
    return out


def _schema(folder: Path) -> str:
    """Where the JSON Schema of mapping files lies, seen from a folder; empty when it is not near."""
    for above in ("", "../"):
        if (folder / f"{above}mapping.schema.json").is_file():
            return f"{above}mapping.schema.json"
    return ""
