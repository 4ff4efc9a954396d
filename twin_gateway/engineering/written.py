"""Where a point is written: its line at the device, and the lines of the templates that it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.pattern import PatternError, choices
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.read import Map, Source

_PARAMETER = re.compile(r"\{[^{},.]*\}")


@dataclass(frozen=True, slots=True)
class Written:
    """One line of one file; `template` is empty for a line at the device itself."""

    file: str
    line: int
    template: str = ""


def written(device: MappedDevice, point: MappedPoint, sources: Mapping[str, Source]) -> list[Written]:
    """The lines that a point comes from, the nearest first: at the device, then down the templates used there."""
    found = [Written(point.file, point.line)]
    source = sources.get(device.file)
    devices = source.root.get("devices") if source is not None and source.root is not None else None
    section = devices.get(device.name) if isinstance(devices, Map) else None
    if not isinstance(section, Map):
        return found
    for entry in _entries(section, device.place, point.address):
        for name in _chain(entry.get("use"), sources):
            at, template = _template(name, sources) or (None, Map())
            points = template.get("points")
            if at is None or not isinstance(points, Map):
                continue
            for i, key in enumerate(points):
                if _is_tail(key, point.address):
                    found.append(Written(at.name, at.where(points.marks[2 * i])[0], name))
    return found


def _entries(section: Map, place: str, address: str) -> Iterator[Map]:
    """The device itself and its places, as far as the address lies there."""
    yield section
    places = section.get("at")
    if isinstance(places, Map):
        here = _plain(address)
        for key, entry in places.items():
            if isinstance(entry, Map) and (here + "/").startswith(_plain(f"{place}/{key}") + "/"):
                yield entry


def _plain(address: str) -> str:
    return "/".join(level for level in address.split("/") if level != "_")


def _chain(name: object, sources: Mapping[str, Source]) -> Iterator[str]:
    seen: set[str] = set()
    while isinstance(name, str) and name not in seen:
        seen.add(name)
        yield name
        found = _template(name, sources)
        name = found[1].get("use") if found is not None else None


def _template(name: str, sources: Mapping[str, Source]) -> tuple[Source, Map] | None:
    for source in sources.values():
        templates = source.root.get("templates") if source.root is not None else None
        if isinstance(templates, Map) and isinstance(templates.get(name), Map):
            return source, templates[name]
    return None


def _is_tail(key: str, address: str) -> bool:
    """Whether a point key, braces and parameters in it, may have become the end of an address."""
    # Where a parameter stands, any text of one level may have come of it.
    marked = _PARAMETER.sub("\0", key)
    try:
        names = choices(marked) or [marked]
    except PatternError:
        return False
    here = "/" + _plain(address)
    patterns = ("[^/]+".join(map(re.escape, name.split("\0"))) for name in names)
    return any(re.search(f"/{pattern}$", here) for pattern in patterns)
