"""What one mapping file comes to, by itself: its devices with packed points, and what it has to report.

Files are resolved one by one, in any order and in several processes; `many_files` puts the results together so that
nobody can tell. What a file cannot know by itself (devices of other files) is only noticed here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.mapping.device import MAPPING_KEYS, DeviceReader
from twin_gateway.mapping.expand import MAX_POINTS, Expander
from twin_gateway.mapping.life import read_retired
from twin_gateway.mapping.model import Former, Retired, WholeModel
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.packed import Packed, PackingError, pack
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import BROKEN, Map, Source, TooManyProblemsError, read_file
from twin_gateway.mapping.sections import DeviceSections, top
from twin_gateway.mapping.template import Templates
from twin_gateway.mapping.unique import check_unique


class UnforeseenError(Exception):
    """A file is not what it was taken for: it must be looked at together with all others."""


@dataclass(slots=True)
class FileDevice:
    """One device of a file: as `MappedDevice`, with the protocol by name."""

    name: str
    protocol: str
    config: DeviceConfig
    place: str
    line: int
    col: int
    sound: bool
    files: dict[str, str]
    whole: list[WholeModel]
    section: Map
    """What the file says for the driver: not yet resolved, so without any secret."""
    packed: Packed | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One problem, the file that it is in, and what tells it from others there; None: nothing does."""

    file: str
    key: tuple[int, str] | None
    problem: Problem


@dataclass(slots=True)
class FileResult:
    """What one file comes to.

    Attributes:
        digest: SHA-256 (hex) of the octets read; empty when it could not be read.
        readable: it could be read, and was not given up at once.
        asked: a line names a device that the file does not have.
        distinct: nothing in the file occurs twice that must be unique.
        given_up, warnings: as of `Source`, for the file itself.
        reports: problems in this file and in those of the templates, in order.
        devices: in their order; `names` also of those that came to nothing.
        place_aliases, retired: as of `Mapping`.
        former_places: of the places; `former` of the points, by device.
        used: templates in use.
        groups: how many lists of bindings.
        points: bindings read, whatever became of them.
    """

    digest: str
    readable: bool
    asked: bool = False
    distinct: bool = True
    given_up: bool = False
    warnings: int = 0
    reports: list[Report] = field(default_factory=list)
    devices: list[FileDevice] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    place_aliases: list[tuple[str, str]] = field(default_factory=list)
    former_places: list[Former] = field(default_factory=list)
    former: dict[str, list[Former]] = field(default_factory=dict)
    retired: dict[str, Retired] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    groups: int = 0
    points: int = 0


@dataclass(frozen=True, slots=True)
class Around:
    """What all files of a check have in common.

    Attributes:
        templates: all of them, closed.
        sources: the files that hold templates, by name, without their devices.
    """

    templates: Templates
    sources: dict[str, Source]
    environ: Mapping[str, str]
    secrets_required: bool


class Resolver:
    """Resolves files one after the other in this process.

    Args:
        around: an `Around`, pickled: every file begins with what the templates were before any was in use.
    """

    def __init__(self, around: bytes) -> None:
        self._around: Around = pickle.loads(around)  # noqa: S301 - from our own process, by a pipe or not at all
        self._places = Places()
        self._profiles: dict[Any, Any] = {}
        sources = self._around.sources.values()
        self._before = {
            source.name: (dict(source.reported), list(source.problems), source.errors, source.warnings, source.given_up)
            for source in sources
        }

    def _reset(self) -> None:
        for name, source in self._around.sources.items():
            reported, problems, source.errors, source.warnings, source.given_up = self._before[name]
            source.reported, source.problems, source.root = dict(reported), list(problems), None
        for template in self._around.templates.by_name.values():
            template.used = False

    def resolve(self, path: Path, name: str, beside: Path | None) -> FileResult:
        """What a file comes to; `name` and `beside` as of `Source`.

        Raises:
            UnforeseenError: it must be looked at together with the others.
        """
        self._reset()
        around = self._around
        source = read_file(path, name)
        source.beside = beside
        known = around.sources.get(name)
        if known is None:
            with suppress(TooManyProblemsError):
                none = Templates()
                top(source, none)
                if source.root is not None and source.root.get("templates") is not None:
                    raise UnforeseenError(name)
        else:
            # What is wrong with its text has been reported; templates and devices are of one file again.
            if known.digest != source.digest:
                raise UnforeseenError(name)
            known.root, source = source.root, known
        readable = source.root is not None and not source.given_up
        expander = Expander(around.templates, self._places)
        expander.profiles = self._profiles
        reader = DeviceReader(source, around.environ, secrets_required=around.secrets_required)
        sections = DeviceSections(source, expander, reader)
        with suppress(TooManyProblemsError):
            sections.read()
        expander.expand()
        with suppress(TooManyProblemsError):
            read_retired(source, expander.mapping)
        for other in around.sources.values():
            if other.given_up != self._before[other.name][-1]:
                raise UnforeseenError(other.name)
        try:
            result = self._result(source, expander, readable=readable)
        except PackingError as error:
            raise UnforeseenError(f"{name}: {error}") from error
        result.names = sections.names
        return result

    def _result(self, source: Source, expander: Expander, *, readable: bool) -> FileResult:
        mapping = expander.mapping
        result = FileResult(source.digest, readable, expander.asked)
        result.given_up, result.warnings = source.given_up, source.warnings
        for one in {source.name: source, **self._around.sources}.values():
            known = len(self._before[one.name][1]) if one.name in self._before else 0
            keys = {id(problem): key for key, problem in one.reported.items()}
            result.reports += [Report(one.name, keys.get(id(p)), p) for p in one.problems[known:]]
        result.place_aliases, result.former_places = mapping.place_aliases, mapping.former
        result.retired, result.groups = mapping.retired, expander.groups
        result.used = [name for name, template in self._around.templates.by_name.items() if template.used]
        result.points = MAX_POINTS - expander.left
        result.distinct = is_distinct(mapping)
        for section in expander.own:
            device = section.device
            if section.binder.former:
                result.former[device.name] = section.binder.former
            result.devices.append(
                FileDevice(
                    device.name,
                    device.protocol,
                    device.config,
                    device.place,
                    device.line,
                    device.col,
                    section.binder.sound,
                    device.files,
                    device.whole,
                    driver_part(section.body),
                    pack(device.points, source.name),
                )
            )
        return result


def driver_part(section: Map) -> Map:
    """What a device section says for the driver, with the places of all of it."""
    out = Map()
    out.start, out.marks = section.start, []
    for i, (key, value) in enumerate(section.items()):
        if key not in MAPPING_KEYS and value is not BROKEN:
            out[key] = value
            out.marks += section.marks[2 * i : 2 * i + 2]
    return out


def is_distinct(mapping: Mapped) -> bool:
    """Whether nothing occurs twice in a mapping that must be unique in it."""
    if all(_is_plain(device.points) for device in mapping.devices):
        addresses = [point.address for _, point in mapping.points()]
        if len(set(addresses)) == len(addresses):
            # Containers and aliases are compared over all files.
            return True
    found: list[Problem] = []
    check_unique(mapping, found.append)
    return not found


def _is_plain(points: list[MappedPoint]) -> bool:
    """Whether no point is commanded and every protocol point feeds one address."""
    return len({point.source for point in points}) == len(points) and all(point.control is None for point in points)


def moved_until(result: FileResult) -> list[date]:
    """Last days of former addresses: what a file comes to changes after them."""
    all_ = [*result.former_places, *(item for items in result.former.values() for item in items)]
    return [item.until for item in all_ if item.until is not None]
