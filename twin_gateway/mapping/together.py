"""Results of single files put together to one mapping, as if all files had been gone through one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from twin_gateway.drivers.registry import protocol
from twin_gateway.mapping.bind import Binder
from twin_gateway.mapping.device import DeviceReader
from twin_gateway.mapping.expand import MAX_POINTS, Expander, Section
from twin_gateway.mapping.life import read_retired
from twin_gateway.mapping.model import Former, MappedDevice
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.one_file import FileDevice, FileResult, UnforeseenError, is_distinct
from twin_gateway.mapping.parts import Parts
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import MAX_PROBLEMS, Map, Source, TooManyProblemsError, read_file
from twin_gateway.mapping.sections import DeviceSections, top
from twin_gateway.mapping.template import Templates

_NEED_ALL: Final = frozenset(("TG301", "TG608"))
"""Problems that are only told when every file could be read."""


@dataclass(slots=True)
class Together:
    """One putting together.

    Attributes:
        sources: all files in order; those of `shared` with what has been reported of them.
        results: what each comes to.
        templates: all templates, with the sources of the files that hold them.
        shared: names of the files that hold templates.
    """

    sources: list[Source]
    results: Sequence[FileResult]
    templates: Templates
    shared: frozenset[str]
    environ: Mapping[str, str]
    secrets_required: bool
    out: Mapped = field(default_factory=Mapped)
    _places: Places = field(default_factory=Places)
    _profiles: dict[Any, Any] = field(default_factory=dict)
    _first: dict[str, tuple[int, FileDevice]] = field(default_factory=dict)
    _devices: dict[str, MappedDevice] = field(default_factory=dict)
    _guests: dict[str, list[tuple[int, list[MappedPoint]]]] = field(default_factory=lambda: defaultdict(list))
    _former: dict[str, list[Former]] = field(default_factory=lambda: defaultdict(list))
    _shapes: dict[str, Any] = field(default_factory=dict)
    _distinct: bool = True
    _groups: int = 0

    def mapping(self) -> Mapped:
        """The mapping; problems go into the sources.

        Raises:
            UnforeseenError: the files must be gone through together.
        """
        out = self.out
        if sum(result.points for result in self.results) > MAX_POINTS:
            raise UnforeseenError("more points than there may be")
        again = self._again()
        for index, (source, result) in enumerate(zip(self.sources, self.results, strict=True)):
            if index in again:
                self._resolve(index, source)
            else:
                self._take(index, source, result)
        self._put_guests()
        out.devices = list(self._devices.values())
        for name in self._devices:
            out.former += self._former[name]
        Parts(out).add_former_aliases()
        expander = Expander(self.templates, self._places)
        expander.try_unused()
        if any(source.given_up for source in self.sources if source.name in self.shared):
            raise UnforeseenError("so many problems that it depends on their order which are told")
        out.files = {source.path: source.digest for source in self.sources}
        named = {source.name: source for source in self.sources}

        def report(problem: Problem) -> None:
            with suppress(TooManyProblemsError):
                named[problem.file].add(problem)

        parts = Parts(out)
        parts.check_unique(report, distinct=self._distinct)
        parts.check_life(report)
        if self.templates.complete and not any(source.errors for source in self.sources):
            parts.check_targets(report)
        out.secrets_missing = any(p.code == "TG604" for source in self.sources for p in source.problems)
        return out

    def _again(self) -> set[int]:
        """Files that are to be resolved again, with the others known."""
        again: set[int] = set()
        retired: set[str] = set()
        told = {problem.code for source in self.sources for problem in source.problems}
        complete = self.templates.complete and all(result.readable for result in self.results)
        if self.templates.complete and not complete:
            if not told.isdisjoint(_NEED_ALL):
                raise UnforeseenError("a template that could be in a file that could not be read")
            self.templates.complete = False
        for index, result in enumerate(self.results):
            codes = {report.problem.code for report in result.reports}
            if result.asked or not (complete or codes.isdisjoint(_NEED_ALL)) or not retired.isdisjoint(result.retired):
                again.add(index)
            retired.update(result.retired)
            if not self._first.keys().isdisjoint(result.names):
                again.add(index)
            for device in result.devices:
                self._first.setdefault(device.name, (index, device))
        return again

    def _take(self, index: int, source: Source, result: FileResult) -> None:
        """What a file came to by itself."""
        out = self.out
        self._report(source, result)
        source.digest = result.digest
        for name in result.used:
            self.templates.by_name[name].used = True
        self._distinct = self._distinct and result.distinct
        out.place_aliases += result.place_aliases
        out.former += result.former_places
        out.retired.update(result.retired)
        for name, items in result.former.items():
            self._former[name] += items
        for device in result.devices:
            made = self._made(device, source.name)
            made.whole, made.files = device.whole, device.files
            if device.packed is not None:
                device.packed.first_group, device.packed.shapes = self._groups, self._shapes
                made.packed = device.packed
            self._devices[device.name] = made
        self._groups += result.groups

    def _report(self, source: Source, result: FileResult) -> None:
        sources = {one.name: one for one in self.sources if one.name in self.shared} if result.reports else {}
        for item in result.reports:
            to = sources.get(item.file, source)
            if item.key is not None:
                if item.key in to.reported:
                    continue
                to.reported[item.key] = item.problem
            try:
                to.add(item.problem)
            except TooManyProblemsError as error:
                raise UnforeseenError("so many problems that it depends on their order which are told") from error
        if source.name not in self.shared:
            source.given_up, source.warnings = result.given_up, result.warnings
        elif result.given_up or source.warnings > MAX_PROBLEMS:
            raise UnforeseenError("so many problems that it depends on their order which are told")

    @staticmethod
    def _made(device: FileDevice, file: str) -> MappedDevice:
        spec = protocol(device.protocol)
        return MappedDevice(device.name, spec, device.config, device.place, file, device.line, device.col)

    def _resolve(self, index: int, source: Source) -> None:
        """Go through one file with all others known."""
        out = self.out
        fresh = read_file(source.path, source.name)
        if fresh.digest != self.results[index].digest:
            raise UnforeseenError(source.name)
        fresh.beside = source.beside
        if source.name in self.shared:
            source.root = fresh.root
        else:
            self.sources[index] = source = fresh
            with suppress(TooManyProblemsError):
                top(source, Templates())
        source.digest = fresh.digest
        expander = Expander(self.templates, self._places)
        expander.profiles, expander.groups, expander.mapping.retired = self._profiles, self._groups, out.retired
        guests = {
            name: Section(guest, source, 0, Map(), (), Binder(guest, self._places, self._profiles, sound=device.sound))
            for name, (at, device) in self._first.items()
            if at != index
            for guest in (self._made(device, self.sources[at].name),)
        }
        expander.sections.update({name: guests[name] for name in guests if self._first[name][0] < index})
        with suppress(TooManyProblemsError):
            reader = DeviceReader(source, self.environ, secrets_required=self.secrets_required)
            DeviceSections(source, expander, reader).read()
        for name, section in guests.items():
            expander.sections.setdefault(name, section)
        expander.expand()
        with suppress(TooManyProblemsError):
            read_retired(source, expander.mapping)
        out.place_aliases += expander.mapping.place_aliases
        out.former += expander.mapping.former
        self._groups = expander.groups
        for section in expander.own:
            self._devices[section.device.name] = section.device
            self._former[section.device.name] += section.binder.former
        self._distinct = self._distinct and is_distinct(Mapped([section.device for section in expander.own]))
        for name, section in guests.items():
            self._former[name] += section.binder.former
            if section.device.points:
                if getattr(section.device.config, "scl", None) is not None:
                    raise UnforeseenError(f"points of {source.name} for a device with an SCL file elsewhere")
                self._guests[name].append((index, section.device.points))
        if source.name in self.shared:
            source.root = None

    def _put_guests(self) -> None:
        """Points that other files have given to a device, in the order of the files."""
        for name, parts in self._guests.items():
            own = self._first[name][0]
            device = self._devices[name]
            before = [point for index, points in parts if index < own for point in points]
            after = [point for index, points in parts if index > own for point in points]
            device.points = [*before, *device.points, *after]
            self._distinct = self._distinct and is_distinct(Mapped([device]))
