"""The check of a set of mapping files: every problem of every file in one go, and the mapping when there is none."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from twin_gateway.mapping.cache import ResultCache, own_folder
from twin_gateway.mapping.device import DeviceReader
from twin_gateway.mapping.expand import Expander
from twin_gateway.mapping.life import check_life, read_retired
from twin_gateway.mapping.many_files import KEPT, WORTH, Progress, check_many
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.one_file import UnforeseenError
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.progress import shown_progress
from twin_gateway.mapping.read import MAX_PROBLEMS, Source, TooManyProblemsError, read_file
from twin_gateway.mapping.sections import DeviceSections, top
from twin_gateway.mapping.seen import look
from twin_gateway.mapping.template import Templates
from twin_gateway.mapping.unique import check_targets, check_unique
from twin_gateway.mapping.workers import cores

_LAST: Final = sys.maxsize
_SUFFIXES: Final = (".yaml", ".yml")
_NOT_MAPPINGS: Final = tuple(f"{name}{suffix}" for name in ("gateway", "grid", "plates") for suffix in _SUFFIXES)
"""Configuration, grid model and nameplates have formats of their own."""


def check(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str] | None = None,
    secrets_required: bool = True,
    beside: Mapping[Path, Path] | None = None,
    processes: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    digests: dict[Path, str] | None = None,
) -> tuple[Mapped | None, list[Problem]]:
    """Check mapping files and folders of them together.

    Large sets are resolved file by file in further processes, which hand back packed columns: the devices of the
    mapping unpack their points when somebody asks for them. With `processes` 1 nothing is started. Whoever must not be
    held up (an event loop) calls it in a thread with 2 or more: little is left to this process then.

    Args:
        paths: files, or folders whose `.yaml` files are all taken (but `gateway.yaml`, `grid.yaml` and `plates.yaml`).
        environ: where `${NAME}` is looked up; the process environment unless given.
        secrets_required: whether a missing secret is an error (as it is for running) or only a warning.
        beside: for files that are copies, the directory of the original: what they name may be left there.
        processes: how many may work side by side; one a core, at most eight, unless given.
        cache: folder that keeps what unchanged files of large sets come to; see `cache.ResultCache`.
        progress: told after each file how many of how many are done, where that takes long.
        digests: takes the SHA-256 (hex) of every file that was read, also when there are errors.

    Returns:
        The mapping, None when there is any error; and all problems, sorted by file and line.
    """
    env = os.environ if environ is None else environ
    with _without_collector():
        problems: list[Problem] = []
        files = find_files(paths, problems)
        count = cores() if processes is None else processes
        found = None
        if cache is not None or (count > 1 and len(files) > 1):
            seen = look(files, beside)
            points = sum(item.points for item in seen)
            if points >= (KEPT if cache is not None else WORTH):
                with suppress(UnforeseenError):
                    found = check_many(
                        seen, env, secrets_required=secrets_required, whole=not problems, processes=count,
                        cache=ResultCache(cache) if cache is not None else None, progress=progress,
                    )  # fmt: skip
        if found is None:
            sources = [read_file(path) for path in files]
            for source in sources:
                source.beside = beside.get(source.path) if beside is not None else None
            found = _check_through(sources, env, secrets_required=secrets_required, whole=not problems), sources
    mapping, sources = found
    if digests is not None:
        digests.update((source.path, source.digest) for source in sources if source.digest)
    problems = _told(sources, problems)
    return (None if any(p.severity == "error" for p in problems) else mapping), problems


def _check_through(
    sources: Sequence[Source], environ: Mapping[str, str], *, secrets_required: bool, whole: bool
) -> Mapped:
    """Go through the files one after the other; what is wrong is in the sources afterwards."""
    templates, places = Templates(), Places()
    expander = Expander(templates, places)
    templates.complete = whole and all(source.root is not None for source in sources)
    for source in sources:
        with suppress(TooManyProblemsError):
            top(source, templates)
    with suppress(TooManyProblemsError):
        templates.close()
    if any(source.given_up for source in sources):
        templates.complete = False
    for source in sources:
        with suppress(TooManyProblemsError):
            DeviceSections(source, expander, DeviceReader(source, environ, secrets_required=secrets_required)).read()
    mapping = expander.run()
    mapping.files = {source.path: source.digest for source in sources}
    for source in sources:
        with suppress(TooManyProblemsError):
            read_retired(source, mapping)
    named = {source.name: source for source in sources}
    check_unique(mapping, lambda problem: _add(named[problem.file], problem))
    check_life(mapping, lambda problem: _add(named[problem.file], problem))
    if templates.complete and not any(source.errors for source in sources):
        check_targets(mapping, lambda problem: _add(named[problem.file], problem))
    mapping.secrets_missing = any(p.code == "TG604" for source in sources for p in source.problems)
    return mapping


def _told(sources: Sequence[Source], problems: list[Problem]) -> list[Problem]:
    """All problems as people read them: sorted, each once, with what was left out."""
    for source in sources:
        problems.extend(source.problems)
        if source.given_up:
            problems.append(Problem(source.name, _LAST, 1, "TG112", "so many errors that the rest is left out"))
        elif source.warnings > MAX_PROBLEMS:
            what = f"{source.warnings - MAX_PROBLEMS} more warnings left out"
            problems.append(Problem(source.name, _LAST, 1, "TG112", what, severity="warning"))
    # Lines with braces and templates would say the same thing once for every point.
    problems = sorted(set(problems))
    return [replace(problem, line=1) if problem.line == _LAST else problem for problem in problems]


def run_check(paths: Sequence[Path], *, as_json: bool = False, environ: Mapping[str, str] | None = None) -> int:
    """Check files and print what was found: one line a problem, or one JSON object. Returns the exit code (1: errors).

    Secrets that are not set here are warnings: files are often checked where the gateway does not run. A folder with a
    `gateway.yaml` is checked together with everything else that this gateway reads.
    """
    mapping, problems = check_shown(as_configured(paths), environ=environ)
    errors = sum(problem.severity == "error" for problem in problems)
    points = mapping.point_count if mapping is not None else 0
    devices = len(mapping.devices) if mapping is not None else 0
    out = sys.stdout
    if as_json:
        document = {
            "ok": errors == 0,
            "errors": errors,
            "warnings": len(problems) - errors,
            "devices": devices,
            "points": points,
            "problems": [problem.as_json() for problem in problems],
        }
        out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return 1 if errors else 0
    for problem in problems:
        out.write(f"{problem}\n")
    if errors:
        out.write(f"{errors} error{'s' if errors != 1 else ''}\n")
        return 1
    whole = sum(len(device.whole) for device in mapping.devices) if mapping is not None else 0
    more = f", and {whole} whole model{'s' if whole != 1 else ''}" if whole else ""
    out.write(f"ok: {devices} devices, {points} points{more}\n")
    return 0


def check_shown(
    paths: Sequence[Path], *, environ: Mapping[str, str] | None = None
) -> tuple[Mapped | None, list[Problem]]:
    """`check` for people at a terminal: with their cache and a bar, and without the secrets of the gateway."""
    with shown_progress("checked") as progress:
        return check(paths, environ=environ, secrets_required=False, cache=own_folder(), progress=progress)


def as_configured(paths: Sequence[Path]) -> list[Path]:
    """The paths, and for a folder with a `gateway.yaml` what that gateway reads besides, as shared templates."""
    found = list(paths)
    for path in paths:
        try:
            config = yaml.safe_load((path / "gateway.yaml").read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            # No folder, no configuration, or a broken one: that is told where the gateway starts.
            continue
        named = config.get("mappings") if isinstance(config, dict) else None
        if isinstance(named, list):
            found += [Path(os.path.normpath(path / name)) for name in named if isinstance(name, str)]
    return found


def find_files(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    """The files of some paths, folders walked in order of name, each file once. A folder without any is a problem.

    Hidden files are left out: editors make some beside the one that is edited.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            found.setdefault(path.absolute(), path)
            continue
        # A folder below may go while we look: its files are left out then.
        inside = sorted(
            Path(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if name.endswith(_SUFFIXES) and name not in _NOT_MAPPINGS and not name.startswith(".")
        )
        if not inside:
            problems.append(Problem(str(path), 1, 1, "TG101", "no .yaml file in this directory"))
        for file in inside:
            found.setdefault(file.absolute(), file)
    return list(found.values())


def _add(source: Source, problem: Problem) -> None:
    with suppress(TooManyProblemsError):
        source.add(problem)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Hold the cyclic collector still: a check makes millions of objects and hardly any cycle."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
