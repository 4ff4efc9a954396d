"""From the sections of devices to mapped points: places, templates, overrides, whole models, several bindings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.drivers.registry import protocol
from twin_gateway.mapping.bind import Binder, Shared
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.fields import alias_list
from twin_gateway.mapping.former import FormerText, former_list, same_depth
from twin_gateway.mapping.life import add_former_aliases
from twin_gateway.mapping.lines import Drop, Line, LineReader, Several
from twin_gateway.mapping.model import Former, MappedDevice, Mapping, WholeModel
from twin_gateway.mapping.pattern import PatternError, choices
from twin_gateway.mapping.place import PlaceError, Places
from twin_gateway.mapping.point import MappedPoint, Role
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Source, TooManyProblemsError, file_sha256
from twin_gateway.mapping.template import Template, Templates, put
from twin_gateway.mapping.whole import apply_scl

_ENTRY_KEYS: Final = ("use", "with", "points", "all", "aliases", "was")
MAX_POINTS: Final = 2_000_000
"""Most points of one check: braces in templates multiply quickly."""


@dataclass(slots=True)
class Section:
    """A device as written, beside what was made of it."""

    device: MappedDevice
    source: Source
    at: int
    body: Map
    base: tuple[str, ...]
    binder: Binder


class Expander:
    """Expands all devices of one check into `mapping`."""

    def __init__(self, templates: Templates, places: Places) -> None:
        self.templates = templates
        self.places = places
        self.profiles: dict[Any, Shared] = {}
        self.sections: dict[str, Section] = {}
        """By name of the device; whoever expands some files only puts those of the others in."""
        self.own: list[Section] = []
        self.asked = False
        """Whether a line has named a device that is not among the sections."""
        self.mapping = Mapping()
        self.left = MAX_POINTS
        self._digests: dict[Path, str] = {}
        self.groups = 0

    def add(
        self, device: MappedDevice, source: Source, at: int, body: Map, base: tuple[str, ...], *, sound: bool
    ) -> None:
        """Take a device; its points are expanded by `run`, when all devices of all files are known."""
        binder = Binder(device, self.places, self.profiles, sound=sound)
        section = self.sections[device.name] = Section(device, source, at, body, base, binder)
        self.own.append(section)
        self.mapping.devices.append(device)

    def digest(self, path: Path) -> str:
        """SHA-256 of a file that devices name, read once for all of them; empty when it cannot be read."""
        if path not in self._digests:
            self._digests[path] = file_sha256(path)
        return self._digests[path]

    def run(self) -> Mapping:
        """Expand every device, then try the templates that nobody uses."""
        self.expand()
        for section in self.own:
            self.mapping.former += section.binder.former
        add_former_aliases(self.mapping)
        self.try_unused()
        return self.mapping

    def expand(self) -> None:
        """Expand every device that was taken by `add`."""
        for section in self.own:
            if not section.source.given_up:
                with suppress(TooManyProblemsError):
                    self._device(section)
        for section in self.own:
            if section.binder.sound and not section.source.given_up:
                with suppress(TooManyProblemsError):
                    apply_scl(section.device, self.places, self.profiles, section.source.add)

    def try_unused(self) -> None:
        """Check the points of the templates that nobody has used."""
        with suppress(TooManyProblemsError):
            for template, lines in self.templates.trials():
                self._try(template, lines.values())

    def _device(self, section: Section) -> None:
        source, body = section.source, section.body
        at = body.get("at")
        found = any(key in body for key in ("points", "use", "all"))
        if found:
            self._entry(section, section.base, body, section.at)
        if at is None:
            if not found:
                name = section.device.name
                source.report(section.at, "TG606", f"device '{name}' has no points", "say where it is with 'at:'")
            return
        if not isinstance(at, Map):
            if at is not BROKEN:
                source.report(body.value_at("at"), "TG203", f"at: a mapping of places expected, not {kind_of(at)}")
            return
        for i, (key, value) in enumerate(at.items()):
            self._at(section, key, at.marks[2 * i], value, at.marks[2 * i + 1])

    def _at(self, section: Section, key: str, at: int, value: Any, value_at: int) -> None:
        source = section.source
        try:
            names = choices(key) or [key]
            places = [self.places.at(section.base, name) for name in names]
        except (PatternError, PlaceError) as error:
            source.report(at, error.code, str(error), error.hint)
            return
        if value is None or value is BROKEN:
            return
        if not isinstance(value, Map):
            source.report(value_at, "TG203", f"'{key}' holds use, with or points, not {kind_of(value)}")
            return
        for name in value:
            if name not in _ENTRY_KEYS:
                hint = did_you_mean(name, _ENTRY_KEYS) or ("points stand under 'points:'" if "/" in name else "")
                source.report(value.key_at(name), "TG201", f"no field '{name}' at a place", hint)
        self._was(section, places, value)
        for levels in places:
            self._aliases(section, levels, value)
            self._entry(section, levels, value, at)

    def _aliases(self, section: Section, levels: tuple[str, ...], value: Map) -> None:
        given = value.get("aliases")
        if given is None or given is BROKEN:
            return
        try:
            aliases = alias_list(given)
        except FieldError as error:
            section.source.report(value.value_at("aliases"), error.code, f"aliases: {error}", error.hint)
            return
        place = "/".join(levels)
        self.mapping.place_aliases.extend((alias, place) for alias in aliases)

    def _was(self, section: Section, places: list[tuple[str, ...]], value: Map) -> None:
        """The former addresses of one place; braces in its key count as many as those in the address."""
        given = value.get("was")
        if given is None or given is BROKEN:
            return
        source, at = section.source, value.value_at("was")
        try:
            for item in _spread(given, len(places)):
                for levels, one in zip(places, item, strict=True):
                    self._former(levels, former_list(one), (source.name, *source.where(at)))
        except (FieldError, PatternError, PlaceError) as error:
            source.report(at, error.code, f"was: {error}", error.hint)

    def _former(self, levels: tuple[str, ...], items: Iterable[FormerText], where: tuple[str, int, int]) -> None:
        for item in items:
            address = self.places.function(levels, item.function) if item.function else "/".join(levels)
            same_depth(item.address, address)
            self.mapping.former.append(Former(item.address, address, item.until, *where))
            if not item.over:
                self.mapping.place_aliases.append((f"was:{item.address}", address))

    def _entry(self, section: Section, levels: tuple[str, ...], body: Map, at: int) -> None:
        """The points of one place, or of the device section itself."""
        source = section.source
        self._whole(section, levels, body)
        points = body.get("points")
        if points is not None and not isinstance(points, Map):
            if points is not BROKEN:
                source.report(body.value_at("points"), "TG203", f"points: a mapping expected, not {kind_of(points)}")
            points = None
        lines: Iterator[Line | Drop | Several] = LineReader(source, {}).read(points) if points is not None else iter(())
        use = body.get("use")
        if use is None:
            if "with" in body:
                source.report(body.key_at("with"), "TG201", "'with' needs a 'use'")
            self._lines(section, levels, self._no_drops(lines), at)
            return
        out: dict[str, Line | Several] = {}
        arguments = None
        template = self._template(section, body, use)
        if template is not None:
            where = body.value_at("with" if "with" in body else "use")
            arguments = self.templates.arguments(template, body.get("with"), source, where)
        if template is not None and arguments is not None:
            row, _ = source.where(at)
            used = f"used in {source.name}:{row}"
            for key, line in self.templates.lines(template, arguments).items():
                if isinstance(line, Several):
                    items = [_in_use(item, source, at, used) for item in line.items]
                    out[key] = Several(key, source, at, items)
                else:
                    out[key] = _in_use(line, source, at, used)
            if points is not None:
                lines = LineReader(source, arguments).read(points)
            put(out, lines)
        else:
            # What the template would have given is not known (fields, parameters, points to drop); the rest is checked.
            with source.without("TG202", "TG307", "TG310"):
                self._lines(section, levels, self._no_drops(lines), at)
            return
        self._lines(section, levels, out.values(), at)

    def _template(self, section: Section, body: Map, use: Any) -> Template | None:
        source, at = section.source, body.value_at("use")
        if not isinstance(use, str):
            if use is not BROKEN:
                source.report(at, "TG203", f"use: the name of a template expected, not {kind_of(use)}")
            return None
        template = self.templates.find(source, at, use)
        if template is None or not template.sound:
            return None
        if template.protocol != section.device.protocol:
            what = f"template '{use}' is for {template.protocol}, '{section.device.name}' is {section.device.protocol}"
            source.report(at, "TG306", what)
            return None
        return template

    def _whole(self, section: Section, levels: tuple[str, ...], body: Map) -> None:
        name = body.get("all")
        if name is None or name is BROKEN:
            return
        source, device = section.source, section.device
        line, col = source.where(body.value_at("all"))
        if "ref" not in section.binder.table.required:
            what = f"{device.protocol} devices have no model to take whole"
            source.report(body.key_at("all"), "TG201", f"all: {what}", "name the points")
        elif not isinstance(name, str):
            what = f"all: the name of a logical device expected, not {kind_of(name)}"
            source.report(body.value_at("all"), "TG203", what)
        else:
            place = "/".join((*levels, *("_",) * (6 - len(levels))))
            device.whole.append(WholeModel(place, name, source.name, line, col))

    @staticmethod
    def _no_drops(lines: Iterator[Line | Drop | Several]) -> Iterator[Line | Several]:
        for line in lines:
            if isinstance(line, Drop):
                line.source.report(
                    line.at, "TG310", f"no point '{line.key}' to drop here", "null drops a point of a template"
                )
            else:
                yield line

    def _lines(self, section: Section, levels: tuple[str, ...], lines: Iterable[Line | Several], at: int) -> None:
        binder, points, source = section.binder, section.device.points, section.source
        for line in lines:
            if self.left <= 0:
                source.report(at, "TG309", f"more than {MAX_POINTS} points in all files")
                return
            self.left -= 1
            if isinstance(line, Several):
                self._several(section, levels, line.items)
                continue
            if "role" in line.fields or "device" in line.fields:
                self._several(section, levels, [line])
                continue
            point = binder.bind(levels, line)
            if point is not None:
                points.append(point)

    def _several(self, section: Section, levels: tuple[str, ...], items: list[Line]) -> None:
        """The bindings of one address, on this device or on others."""
        seen: dict[str, int] = {}
        commanded = 0
        bound: list[tuple[MappedDevice, MappedPoint]] = []
        for index, line in enumerate(items):
            given = line.fields.get("role")
            role: Role = given if given in ("read", "command", "backup", "verify") else "backup" if index else "read"
            target = self._target(section, line)
            seen[role] = seen.get(role, 0) + 1
            has_control = line.fields.get("control") is not None
            fault = _role_fault(role, seen, commanded, has_control=has_control)
            commanded += has_control
            if fault:
                source, where = line.locate("role")
                source.report(where, "TG510", fault)
                continue
            worse = seen[role] if role == "backup" else 0
            point = target.binder.bind(levels, line, role, worse) if target is not None else None
            if point is not None and target is not None:
                bound.append((target.device, point))
        if "backup" in seen and "read" not in seen:
            items[0].source.report(items[0].at, "TG510", "a backup needs a binding with the role read beside it")
        self.groups += 1
        if commanded:
            # Commands may go to another device than the one that gives the value.
            for _, point in bound:
                point.profile = replace(point.profile, controllable=True)
        for device, point in bound:
            point.group = self.groups
            device.points.append(point)

    def _target(self, section: Section, line: Line) -> Section | None:
        name = line.fields.get("device")
        if name is None:
            return section
        source, at = line.locate("device")
        if not isinstance(name, str):
            name = source.plain_text(at, name)
        found = self.sections.get(name)
        self.asked = self.asked or found is None
        if found is None and self.templates.complete:
            source.report(at, "TG608", f"no device '{name}' in these files", did_you_mean(name, self.sections))
        return found

    def _try(self, template: Template, lines: Iterable[Line | Several]) -> None:
        """Check the points of a template that nobody uses, below an example place."""
        device = example_device(template)
        binder = Binder(device, self.places, self.profiles, sound=False)
        for line in chain.from_iterable(x.items if isinstance(x, Several) else (x,) for x in lines):
            full = line.key.count("/") > 4
            binder.bind(("g", "a", "s") if full else ("g", "a", "s", "v", "b"), line)


def _spread(given: Any, count: int) -> Iterator[list[Any]]:
    """The items of a `was:` at `count` places, each with its braces spread.

    Raises:
        PatternError: when the braces count differently.
    """
    for item in given if isinstance(given, list) else [given]:
        text = item.get("address") if isinstance(item, dict) else item
        texts: list[Any] = (choices(text) or [text]) if isinstance(text, str) else [text] * count
        if len(texts) != count:
            raise PatternError("TG308", f"{count} places but {len(texts)} former addresses in '{text}'")
        yield [{**item, "address": one} if isinstance(item, dict) else one for one in texts]


def _in_use(line: Line, source: Source, at: int, used: str) -> Line:
    """A line of a template as it stands for the place that uses it."""
    return Line(line.key, source, at, line.fields, line.layers, used)


def example_device(template: Template) -> MappedDevice:
    """A device without connection, to check a template with."""
    return MappedDevice("", protocol(template.protocol), DeviceConfig(), "", template.source.name, 0, 0)


def _role_fault(role: Role, seen: dict[str, int], commanded: int, *, has_control: bool) -> str:
    """What is wrong with one more binding of an address; empty when nothing is."""
    if role in ("read", "command") and seen[role] > 1:
        return f"a second binding with the role {role}"
    if has_control and role in ("backup", "verify"):
        return f"a binding with the role {role} cannot command"
    if has_control and commanded:
        return "a second binding with control: commands go one way"
    if role == "command" and not has_control:
        return "a binding with the role command needs a control"
    return ""
