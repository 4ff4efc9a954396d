"""The file that an import from live devices writes: checked, alone and with its folder, in one of three modes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, sort
from twin_gateway.engineering.live_import import LiveImportError
from twin_gateway.engineering.memory import Memory
from twin_gateway.engineering.merge import checked, merge, others_of, write_anew
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.mapping.check import check
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map, read_file

_MOST_LISTED: Final = 200
"""Values without a point that one file lists; of more it is told how many."""
_MOST_NAMED: Final = 4


def listed(unplaced: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Comment lines of what has no point, once for all devices that have the same of it.

    Args:
        unplaced: name of each device, with its lines.
    """
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, lines in unplaced:
        alike[tuple(lines)].append(name)
    rows: list[str] = []
    for lines, names in alike.items():
        if not lines:
            continue
        said = ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if names[_MOST_NAMED:] else "")
        rows += ["", f"Without a point, {said}:"]
        room = max(_MOST_LISTED - len(rows), 0)
        rows += [f"- {line}" for line in lines[:room]]
        if lines[room:]:
            rows.append(f"- and {len(lines) - room} more")
    return rows


@dataclass(slots=True)
class Part:
    """One device's part of the file.

    Attributes:
        device: its section; one without places is left out.
        unplaced: a line for each of its values that has no point, with the reason where there is one.
    """

    device: DeviceDraft
    unplaced: list[str] = field(default_factory=list)


def assembled(grid: str, parts: Sequence[Part], read_from: str) -> FileDraft:
    """The file of several devices: a place that all have in common once, and what has no point in its header."""
    draft = FileDraft(grid)
    draft.devices = [part.device for part in parts if part.device.at]
    places = {device.place for device in draft.devices}
    if len(places) == 1:
        draft.place = places.pop()
        for device in draft.devices:
            device.place = ""
    draft.header = [read_from, *listed((part.device.name, part.unplaced) for part in parts)]
    return draft


@dataclass(slots=True)
class Written:
    """What became of an import.

    Attributes:
        target: the mapping file; None for standard output.
        text: what is to be written; None when there is an error.
        points: point lines found.
        added: addresses that a merge added; None where nothing was merged.
        changed: addresses and devices whose lines a merge changed, since the devices say otherwise now.
        memory: to be kept once the text is written.
        problems: of the check and the merge.
    """

    target: Path | None
    text: str | None = None
    points: int = 0
    added: list[str] | None = None
    changed: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def target_of(into: Path | None, stem: str, suffix: str = ".yaml") -> Path | None:
    """The file to write: `into` itself where it is named like one, else a file in that folder.

    Raises:
        LiveImportError: there is no such folder.
    """
    if into is None:
        return None
    named = into.suffix == suffix and not into.is_dir()
    folder = into.parent if named else into
    if not folder.is_dir():
        raise LiveImportError(f"there is no folder {folder}", "make it first")
    return into if named else into / f"{stem}{suffix}"


def refuse_existing(target: Path | None, mode: Mode) -> None:
    """Say at once, before a device is asked, that nothing could be written.

    Raises:
        LiveImportError: the file is there and the mode leaves it alone.
    """
    if target is not None and target.exists() and mode is Mode.CREATE:
        hint = "--mode merge puts in what is new, --mode overwrite writes it anew"
        raise LiveImportError(f"{target} is there already", hint)


def settle(draft: FileDraft, target: Path | None, mode: Mode, *, templates: bool) -> Written:
    """The text of the mapping file, sorted; what is to be written has passed the check. Nothing is written yet.

    Raises:
        LiveImportError: the file has been made while devices were asked, and the mode leaves it alone.
    """
    refuse_existing(target, mode)
    sort(draft)
    out = Written(target, points=draft.point_lines)
    folder = target.parent if target is not None else Path()
    for above in ("", "../"):
        if (folder / f"{above}mapping.schema.json").is_file():
            draft.schema = f"{above}mapping.schema.json"
            break
    others = others_of(target) if target is not None else []
    where = target if target is not None else folder / "import.yaml"
    if target is not None and target.exists() and mode is Mode.MERGE:
        merged = merge(target, draft)
        out.added, out.changed = merged.added, merged.changed
        problems = checked(where, merged.text)[1] if merged.text is not None else []
    else:
        if templates:
            make_templates(draft, _templates_of(others))
        merged, problems = write_anew(where, draft, templates=False), []
    out.text, out.memory = merged.text, merged.memory
    out.problems += merged.problems
    if out.text is not None:
        if others and not any(problem.severity == "error" for problem in problems):
            problems += _against(others, where, out.text)
        out.problems += problems
        if any(problem.severity == "error" for problem in problems):
            out.text = None
    return out


def _templates_of(files: Iterable[Path]) -> list[str]:
    """Names that templates of other files have; a name is given once."""
    names: list[str] = []
    for path in files:
        root = read_file(path).root
        templates = root.get("templates") if root is not None else None
        names += templates if isinstance(templates, Map) else ()
    return names


def _against(others: Sequence[Path], target: Path, text: str) -> list[Problem]:
    """Errors that the new text has only together with the other files: names and addresses that are taken."""
    trial = target.with_name(f".{target.name}.import")
    try:
        trial.write_text(text, "utf-8")
        _, problems = check([*others, trial], secrets_required=False)
    except OSError as error:
        return [Problem(str(target), 0, 0, "TG101", f"cannot be written: {error.strerror or error}")]
    finally:
        trial.unlink(missing_ok=True)
    said = [problem for problem in problems if problem.severity == "error"]
    mine = [replace(problem, file=str(target)) for problem in said if problem.file == str(trial)]
    # Where the trial is read first, what it has twice is told of the other file.
    more = [problem for problem in said if str(trial) in problem.hint]
    return mine + [replace(problem, hint=problem.hint.replace(str(trial), str(target))) for problem in more]
