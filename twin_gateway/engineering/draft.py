"""A mapping file that is still to be written: devices, places and point lines, before it is text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from address_space.address import function_name, is_terminal

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
"""What a field may hold: the scalars of YAML's core schema, lists and mappings of them."""

_DIGITS = re.compile(r"(\d+)")


@dataclass(slots=True)
class PointDraft:
    """One point line.

    Attributes:
        key: point key, with the equipment where the at-key ends above it: `QA1/XCBR1/Pos`.
        fields: in the order in which they are written.
        comment: one line; empty for none.
    """

    key: str
    fields: dict[str, Value]
    comment: str = ""


@dataclass(slots=True)
class PlaceDraft:
    """What is at one place of a device.

    Attributes:
        key: at-key, levels 4 to 6: `MV1/F05`; empty for points of the site itself.
        points: lines; over those of the template where one is used.
        use, arguments: template and what stands under `with`; `use` is empty without a template.
        fields: `all` and `aliases`.
    """

    key: str
    points: list[PointDraft] = field(default_factory=list)
    use: str = ""
    arguments: dict[str, Value] = field(default_factory=dict)
    fields: dict[str, Value] = field(default_factory=dict)
    comment: str = ""


@dataclass(slots=True)
class DeviceDraft:
    """One device.

    Attributes:
        name: also the name of its link.
        fields: device section without `protocol`, `place` and `at`, in the order in which they are written.
        place: area and site, `north/PS01`; empty when the file says it.
    """

    name: str
    protocol: str
    fields: dict[str, Value] = field(default_factory=dict)
    place: str = ""
    at: list[PlaceDraft] = field(default_factory=list)
    comment: str = ""

    def at_place(self, key: str) -> PlaceDraft:
        """The place of an at-key, made if there is none yet."""
        for place in self.at:
            if place.key == key:
                return place
        place = PlaceDraft(key)
        self.at.append(place)
        return place

    def points(self) -> Iterator[tuple[PlaceDraft, PointDraft]]:
        """Every point line with its place (templates in use are not looked into)."""
        for place in self.at:
            for point in place.points:
                yield place, point


@dataclass(slots=True)
class TemplateDraft:
    """A template: its points' fields may hold `{name}` of a parameter.

    Attributes:
        params: parameter -> `int`, `number` or `text`.
    """

    name: str
    protocol: str
    params: dict[str, str] = field(default_factory=dict)
    points: list[PointDraft] = field(default_factory=list)
    comment: str = ""


@dataclass(slots=True)
class FileDraft:
    """One mapping file.

    Attributes:
        grid: level 1 of every address.
        place: area and site of devices that say no other; may be empty.
        header: comment lines on top, without the `#`.
        schema: path of the JSON Schema from the file, for editors; empty for none.
    """

    grid: str
    place: str = ""
    header: list[str] = field(default_factory=list)
    schema: str = ""
    templates: list[TemplateDraft] = field(default_factory=list)
    devices: list[DeviceDraft] = field(default_factory=list)

    @property
    def point_lines(self) -> int:
        """Number of point lines of devices (those of templates not counted)."""
        return sum(len(place.points) for device in self.devices for place in device.at)


def at_key(vlevel: str, bay: str, equipment: str, *, apart: bool = False) -> tuple[str, str]:
    """At-key of levels 4 to 6 (`_` or empty where one does not apply), and what goes before the function in point keys.

    Primary equipment of a bay stands in the point key, as people write it; a name that could be read as a function,
    and equipment without a bay and voltage level, in the at-key; with `apart` (for secondary devices) always.
    """
    levels = [level or "_" for level in (vlevel, bay, equipment)]
    inside = not apart and levels[2] != "_" and levels[:2] != ["_", "_"]
    if inside and function_name(levels[2]) is None and not is_terminal(levels[2]):
        while levels[-2] == "_":
            del levels[-2]
        return "/".join(levels[:-1]), f"{levels[-1]}/"
    while levels and levels[-1] == "_":
        levels.pop()
    return "/".join(levels), ""


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key by which `F2` comes before `F10`."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(text) if part)


def sort(draft: FileDraft) -> None:
    """Bring devices, places and points into their natural order, so that the same input always gives the same file."""
    draft.devices.sort(key=lambda device: natural(device.name))
    for device in draft.devices:
        device.at.sort(key=lambda place: natural(place.key))
        for place in device.at:
            place.points.sort(key=lambda point: natural(point.key))
