"""Templates: collected from all files of a check, with typed parameters, built on each other, and filled in where used.

A template may stand in any file of the set, also in one that holds nothing else; its name is unique over the set.
So a folder of common templates is shared by naming it beside the station files: `twin-gateway check mappings/templates
mappings/north`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twin_gateway.drivers.registry import fault_of, protocol_names
from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.lines import Drop, Line, LineReader, Several, merged
from twin_gateway.mapping.pattern import Scalar, fill
from twin_gateway.mapping.problem import did_you_mean, nearest
from twin_gateway.mapping.read import BROKEN, Map, Source

_KEYS: Final = ("protocol", "params", "use", "with", "points")
_TYPES: Final = ("int", "number", "text")
_EXAMPLES: Final[dict[str, Scalar]] = {"int": 1, "number": 1.0, "text": "A1"}
MAX_CHAIN: Final = 16


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a template; `default` None means it must be given."""

    type: str
    default: Scalar | None = None


@dataclass(slots=True)
class Template:
    """One template as written. `sound` is False when it is not fit to be used (and that was reported)."""

    name: str
    source: Source
    at: int
    section: Map
    protocol: str
    params: dict[str, Parameter] = field(default_factory=dict)
    base: str | None = None
    sound: bool = True
    used: bool = False


class Templates:
    """All templates of the files of one check."""

    def __init__(self) -> None:
        self.by_name: dict[str, Template] = {}
        self._circles: set[str] = set()
        self.complete = True
        """False when a file could not be read: then an unknown template is nobody's fault that we could name."""

    def add(self, source: Source, section: Any, at: int) -> None:
        """Take the `templates:` of a file."""
        if not isinstance(section, Map):
            if section is not BROKEN:
                source.report(at, "TG203", f"templates: a mapping of names expected, not {kind_of(section)}")
            return
        for i, (name, value) in enumerate(section.items()):
            self._add_one(source, name, section.marks[2 * i], value, section.marks[2 * i + 1])

    def _add_one(self, source: Source, name: str, at: int, value: Any, value_at: int) -> None:
        if not isinstance(value, Map):
            self.complete = False
            if value is not BROKEN:
                source.report(value_at, "TG203", f"template '{name}' is a mapping, not {kind_of(value)}")
            return
        for key in value:
            if key not in _KEYS:
                source.report(value.key_at(key), "TG201", f"no field '{key}' in a template", did_you_mean(key, _KEYS))
        protocol = value.get("protocol")
        template = Template(name, source, at, value, protocol if isinstance(protocol, str) else "")
        if protocol is None:
            source.report(at, "TG202", f"'protocol' is missing in template '{name}'")
            template.sound = False
        elif protocol not in protocol_names():
            self._no_protocol(source, value, protocol)
            template.sound = False
        elif fault_of(protocol):
            source.report(
                value.value_at("protocol"), "TG601", fault_of(protocol), "repair or remove the plug-in's package"
            )
            template.sound = False
        if value.get("params") is not None:
            self._params(source, value["params"], value.value_at("params"), template)
        base = value.get("use")
        if base is not None:
            if isinstance(base, str):
                template.base = base
            elif base is not BROKEN:
                source.report(
                    value.value_at("use"), "TG203", f"use: the name of a template expected, not {kind_of(base)}"
                )
        elif not isinstance(value.get("points"), Map) and value.get("points") is not BROKEN:
            source.report(at, "TG202", f"'points' is missing in template '{name}'")
            template.sound = False
        first = self.by_name.get(name)
        if first is not None:
            line, _ = first.source.where(first.at)
            source.report(at, "TG311", f"a second template '{name}'", f"first in {first.source.name}:{line}")
            return
        self.by_name[name] = template

    @staticmethod
    def _no_protocol(source: Source, section: Map, protocol: Any) -> None:
        if protocol is not BROKEN:
            hint = did_you_mean(str(protocol), protocol_names()) or f"there are {', '.join(protocol_names())}"
            source.report(section.value_at("protocol"), "TG601", f"no protocol '{protocol}'", hint)

    @staticmethod
    def _params(source: Source, params: Any, at: int, template: Template) -> None:
        if not isinstance(params, Map):
            if params is not BROKEN:
                source.report(at, "TG203", f"params: a mapping of names to types expected, not {kind_of(params)}")
            template.sound = False
            return
        for i, (name, given) in enumerate(params.items()):
            where = params.marks[2 * i + 1]
            kind, default = (given.get("type"), given.get("default")) if isinstance(given, Map) else (given, None)
            if not name.isidentifier() or not name.isascii():
                source.report(
                    params.marks[2 * i], "TG207", f"'{name}' cannot be a parameter: letters, digits and _ only"
                )
                template.sound = False
            elif kind not in _TYPES:
                what = f"the type of parameter '{name}' is one of {', '.join(_TYPES)}, not {kind_of(kind)}"
                source.report(where, "TG204", what, did_you_mean(str(kind), _TYPES))
                template.sound = False
            elif default is not None and not _fits(default, kind):
                source.report(where, "TG304", f"the default of '{name}' is {kind_of(default)}, not of type {kind}")
                template.sound = False
            else:
                template.params[name] = Parameter(kind, default)

    def close(self) -> None:
        """After the last file: templates that use unknown ones, each other in a circle, or another protocol."""
        for template in self.by_name.values():
            if template.base is None:
                continue
            at = template.section.value_at("use")
            base = self.find(template.source, at, template.base)
            if base is None:
                template.sound = False
            elif base.protocol and template.protocol and base.protocol != template.protocol:
                what = f"template '{base.name}' is for {base.protocol}, '{template.name}' for {template.protocol}"
                template.source.report(at, "TG306", what)
                template.sound = False
        for template in self.by_name.values():
            self._circle(template)
        changed = True
        while changed:
            changed = False
            for template in self.by_name.values():
                below = self.by_name.get(template.base) if template.base else None
                if template.sound and below is not None and not below.sound:
                    template.sound, changed = False, True

    def _circle(self, template: Template) -> None:
        chain, current = [template.name], template.base
        while current is not None and current in self.by_name:
            if current == template.name:
                if self._circles & {*chain}:
                    template.sound = False
                    return
                self._circles.update(chain)
                path = " -> ".join((*chain, current))
                at = template.section.value_at("use")
                template.source.report(at, "TG305", f"templates use each other in a circle: {path}")
                template.sound = False
                return
            if current in chain or len(chain) > MAX_CHAIN:
                if len(chain) > MAX_CHAIN and template.sound:
                    what = f"more than {MAX_CHAIN} templates build on each other"
                    template.source.report(template.section.value_at("use"), "TG305", what)
                template.sound = False
                return
            chain.append(current)
            current = self.by_name[current].base

    def find(self, source: Source, at: int, name: str) -> Template | None:
        """The template of a name; None when there is none (and reported)."""
        found = self.by_name.get(name)
        if found is None and self.complete:
            hint = did_you_mean(name, self.by_name)
            source.report(at, "TG301", f"no template '{name}' in these files", hint)
        elif found is not None:
            found.used = True
        return found

    def arguments(self, template: Template, given: Any, source: Source, at: int) -> dict[str, Scalar] | None:
        """The arguments of one use, defaults filled in; None when something is wrong with them (and reported).

        `given` is the `with` section, `at` the place of the use.
        """
        if given is None:
            given = Map()
            given.start, given.marks = at, []
        if not isinstance(given, Map):
            if given is not BROKEN:
                source.report(at, "TG203", f"with: a mapping of parameters expected, not {kind_of(given)}")
            return None
        good = True
        out: dict[str, Scalar] = {}
        meant: set[str | None] = set()
        for i, (name, value) in enumerate(given.items()):
            parameter = template.params.get(name)
            where = given.marks[2 * i + 1]
            if parameter is None:
                meant.add(nearest(name, template.params))
                hint = did_you_mean(name, template.params) or _list("its parameters are", template.params)
                source.report(
                    given.marks[2 * i], "TG302", f"template '{template.name}' has no parameter '{name}'", hint
                )
                good = False
            elif value is BROKEN:
                good = False
            elif not _fits(value, parameter.type):
                what = f"parameter '{name}' is of type {parameter.type}, not {kind_of(value)}"
                source.report(where, "TG304", what)
                good = False
            else:
                out[name] = value
        for name, parameter in template.params.items():
            if name in given or name in meant:
                continue
            if parameter.default is None:
                source.report(at, "TG303", f"template '{template.name}' needs the parameter '{name}'")
                good = False
            else:
                out[name] = parameter.default
        return out if good else None

    def lines(
        self, template: Template, arguments: Mapping[str, Scalar], *, trial: bool = False
    ) -> dict[str, Line | Several]:
        """The points of a template with its parameters filled, by key."""
        out: dict[str, Line | Several] = {}
        base = self.by_name.get(template.base) if template.base is not None else None
        if base is not None and base.sound:
            at = template.section.value_at("use")
            given = template.section.get("with")
            filled = (
                fill(given, arguments, LineReader(template.source, arguments).failed, at)
                if isinstance(given, Map)
                else given
            )
            if (inner := self.arguments(base, filled, template.source, at)) is not None:
                out = self.lines(base, inner, trial=trial)
        points = template.section.get("points")
        if isinstance(points, Map):
            put(out, LineReader(template.source, arguments, trial=trial).read(points))
        return out

    def trials(self) -> Iterator[tuple[Template, dict[str, Line | Several]]]:
        """Every sound template that no device uses, filled with example arguments to be checked all the same."""
        for template in self.by_name.values():
            if template.sound and not template.used:
                examples = {
                    name: parameter.default if parameter.default is not None else _EXAMPLES[parameter.type]
                    for name, parameter in template.params.items()
                }
                yield template, self.lines(template, examples, trial=True)


def put(out: dict[str, Line | Several], lines: Iterator[Line | Drop | Several]) -> None:
    """Put lines over those already there: a mapping merges field by field, null drops, a list replaces."""
    fresh: set[str] = set()
    for line in lines:
        below = out.get(line.key)
        if line.key in fresh:
            line.source.report(line.at, "TG406", f"'{line.key}' stands here twice")
            continue
        fresh.add(line.key)
        if isinstance(line, Drop):
            if below is None:
                hint = did_you_mean(line.key, out)
                line.source.report(line.at, "TG310", f"no point '{line.key}' to drop here", hint)
            else:
                del out[line.key]
        elif isinstance(line, Line) and isinstance(below, Line):
            out[line.key] = merged(below, line)
        elif isinstance(line, Line) and isinstance(below, Several):
            what = f"'{line.key}' has several bindings in the template"
            line.source.report(line.at, "TG510", what, "write the whole list again")
        else:
            out[line.key] = line


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int)
    if kind == "number":
        return isinstance(value, int | float)
    return isinstance(value, str) and len(value) <= 200


def _list(lead: str, names: Mapping[str, object]) -> str:
    return f"{lead} {', '.join(names)}" if names else ""
