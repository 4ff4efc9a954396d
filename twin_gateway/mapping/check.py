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
from typing import Any, Final

import yaml

from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.drivers.registry import fault_of, protocol, protocol_names
from twin_gateway.mapping.device import DeviceReader
from twin_gateway.mapping.expand import Expander
from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.life import check_life, read_retired
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.place import PlaceError, Places
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import BROKEN, MAX_PROBLEMS, Map, Source, TooManyProblemsError, read_file
from twin_gateway.mapping.template import Templates
from twin_gateway.mapping.unique import check_targets, check_unique

VERSION: Final = 1
_LAST: Final = sys.maxsize
_TOP_KEYS: Final = ("mapping", "grid", "place", "templates", "devices", "retired")
_SUFFIXES: Final = (".yaml", ".yml")
_NOT_MAPPINGS: Final = tuple(f"{name}{suffix}" for name in ("gateway", "grid", "plates") for suffix in _SUFFIXES)
"""Configuration, grid model and nameplates have formats of their own."""


def check(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str] | None = None,
    secrets_required: bool = True,
    beside: Mapping[Path, Path] | None = None,
) -> tuple[Mapped | None, list[Problem]]:
    """Check mapping files and folders of them together.

    Args:
        paths: files, or folders whose `.yaml` files are all taken (but `gateway.yaml`, `grid.yaml` and `plates.yaml`).
        environ: where `${NAME}` is looked up; the process environment unless given.
        secrets_required: whether a missing secret is an error (as it is for running) or only a warning.
        beside: for files that are copies, the directory of the original: what they name may be left there.

    Returns:
        The mapping, None when there is any error; and all problems, sorted by file and line.
    """
    with _without_collector():
        problems: list[Problem] = []
        sources = [read_file(path) for path in find_files(paths, problems)]
        for source in sources:
            source.beside = beside.get(source.path) if beside is not None else None
        templates, places = Templates(), Places()
        expander = Expander(templates, places)
        templates.complete = all(source.root is not None for source in sources) and not problems
        for source in sources:
            with suppress(TooManyProblemsError):
                _top(source, templates)
        with suppress(TooManyProblemsError):
            templates.close()
        if any(source.given_up for source in sources):
            templates.complete = False
        env = os.environ if environ is None else environ
        for source in sources:
            with suppress(TooManyProblemsError):
                _Devices(source, expander, DeviceReader(source, env, secrets_required=secrets_required)).read()
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
    for source in sources:
        problems.extend(source.problems)
        if source.given_up:
            problems.append(Problem(source.name, _LAST, 1, "TG112", "so many errors that the rest is left out"))
        elif source.warnings > MAX_PROBLEMS:
            what = f"{source.warnings - MAX_PROBLEMS} more warnings left out"
            problems.append(Problem(source.name, _LAST, 1, "TG112", what, severity="warning"))
    # Lines with braces and templates would say the same thing once for every point.
    problems = sorted(set(problems))
    problems = [replace(problem, line=1) if problem.line == _LAST else problem for problem in problems]
    return (None if any(p.severity == "error" for p in problems) else mapping), problems


def run_check(paths: Sequence[Path], *, as_json: bool = False, environ: Mapping[str, str] | None = None) -> int:
    """Check files and print what was found: one line a problem, or one JSON object. Returns the exit code (1: errors).

    Secrets that are not set here are warnings: files are often checked where the gateway does not run. A folder with a
    `gateway.yaml` is checked together with everything else that this gateway reads.
    """
    mapping, problems = check(as_configured(paths), environ=environ, secrets_required=False)
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
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.suffix in _SUFFIXES
            and file.name not in _NOT_MAPPINGS
            and not file.name.startswith(".")
            and not file.is_dir()
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


def _top(source: Source, templates: Templates) -> None:
    """The keys of the file itself, and its templates."""
    root = source.root
    if root is None:
        return
    for key in root:
        if key not in _TOP_KEYS:
            source.report(
                root.key_at(key), "TG201", f"no field '{key}' in a mapping file", did_you_mean(key, _TOP_KEYS)
            )
    version = root.get("mapping")
    if version is None:
        source.report(root.start, "TG202", "'mapping: 1' is missing", "the version of the format, on top of the file")
    elif version is not BROKEN and (type(version) is not int or version != VERSION):
        source.report(
            root.value_at("mapping"), "TG205", f"version {VERSION} of the format expected, not {kind_of(version)}"
        )
    if root.get("templates") is not None:
        templates.add(source, root["templates"], root.value_at("templates"))
    if not any(key in root for key in ("templates", "devices", "retired")):
        hint = "a mapping file holds devices, templates, tombstones under 'retired', or several of these"
        source.report(root.start, "TG202", "'devices' is missing", hint)


class _Devices:
    """The devices of one file, handed to the expander."""

    def __init__(self, source: Source, expander: Expander, reader: DeviceReader) -> None:
        self.source = source
        self.root = source.root if source.root is not None else Map()
        self.expander = expander
        self.reader = reader
        self.grid: str | None = None
        self.place: str | None = None

    def read(self) -> None:
        """Go through the devices; raises TooManyProblemsError."""
        source, root = self.source, self.root
        devices = root.get("devices")
        if devices is None or devices is BROKEN:
            return
        if not isinstance(devices, Map):
            what = f"devices: a mapping of names expected, not {kind_of(devices)}"
            source.report(root.value_at("devices"), "TG203", what)
            return
        if "grid" not in root:
            source.report(root.start, "TG202", "'grid' is missing", "level 1 of every address in this file")
        self.grid = _text(source, root, "grid")
        self.place = _text(source, root, "place")
        for i, (name, body) in enumerate(devices.items()):
            if isinstance(body, Map):
                self.device(name, devices.marks[2 * i], body)
            elif body is not BROKEN:
                what = f"device '{name}' is a mapping, not {kind_of(body)}"
                source.report(devices.marks[2 * i + 1], "TG203", what)

    def device(self, name: str, at: int, body: Map) -> None:
        """One device section: name, protocol, place, configuration."""
        source, expander = self.source, self.expander
        first = expander.sections.get(name)
        if first is not None:
            hint = f"first in {first.device.file}:{first.device.line}"
            source.report(at, "TG602", f"a second device '{name}'", hint)
        try:
            expander.places.check_level(name, "device name")
        except PlaceError as error:
            source.report(at, error.code, str(error), "the name is a level of the addresses of its link")
        spec = self.protocol(name, at, body)
        if "place" not in body and "place" not in self.root:
            hint = "area/site, in the device or on top of the file"
            source.report(at, "TG202", f"'place' is missing for '{name}'", hint)
        if spec is None:
            return
        base = self.base(body)
        config = self.reader.config(name, body, spec)
        sound = config is not None and base is not None
        line, col = source.where(at)
        levels = base if base is not None else ("g", "_", "_")
        device = MappedDevice(name, spec, config or DeviceConfig(), "/".join(levels), source.name, line, col)
        device.files = {field: self.expander.digest(path) for field, path in self.reader.files.items()}
        if first is None:
            expander.add(device, source, at, body, levels, sound=sound)

    def protocol(self, name: str, at: int, body: Map) -> ProtocolSpec | None:
        """The declaration of the device's protocol; None when there is none (and reported)."""
        given: Any = body.get("protocol")
        if given is None:
            hint = f"one of {', '.join(protocol_names())}"
            self.source.report(at, "TG202", f"'protocol' is missing in '{name}'", hint)
        elif isinstance(given, str) and given in protocol_names():
            fault = fault_of(given)
            if not fault:
                return protocol(given)
            self.source.report(body.value_at("protocol"), "TG601", fault, "repair or remove the plug-in's package")
        elif given is not BROKEN:
            hint = did_you_mean(str(given), protocol_names()) or f"there are {', '.join(protocol_names())}"
            self.source.report(body.value_at("protocol"), "TG601", f"no protocol '{given}'", hint)
        return None

    def base(self, body: Map) -> tuple[str, ...] | None:
        """Levels 1-3 of a device; None when they are missing or wrong (and reported, once for the file)."""
        places, source, root = self.expander.places, self.source, self.root
        own = "place" in body
        place = _text(source, body, "place") if own else self.place
        if self.grid is None or place is None:
            return None
        try:
            places.check_level(self.grid, "grid")
        except PlaceError as error:
            source.report(root.value_at("grid"), error.code, str(error), error.hint)
            return None
        try:
            return places.base(self.grid, place)
        except PlaceError as error:
            where = body.value_at("place") if own else root.value_at("place")
            source.report(where, error.code, str(error), error.hint)
            return None


def _text(source: Source, holder: Map, key: str) -> str | None:
    """A text field of the file or a device; None when it is missing or no text."""
    value = holder.get(key)
    if value is None or value is BROKEN:
        if key in holder and value is None:
            source.report(holder.value_at(key), "TG203", f"{key}: text expected, not nothing")
        return None
    if isinstance(value, bool | Map | list):
        source.report(holder.value_at(key), "TG203", f"{key}: text expected, not {kind_of(value)}")
        return None
    return value if isinstance(value, str) else source.plain_text(holder.value_at(key), value)
