"""Templates for places that repeat: where several hold the same points, the points are said once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from twin_gateway.engineering.draft import FileDraft, PlaceDraft, PointDraft, TemplateDraft, Value, natural
from twin_gateway.engineering.flow import flow

FEWEST_POINTS: Final = 3
FEWEST_PLACES: Final = 2


def make_templates(draft: FileDraft, taken: Sequence[str] = ()) -> None:
    """Replace the points of places that repeat by templates, in place.

    Logical devices become the parameter `ld`, information object addresses count from the parameter `ioa`.

    Args:
        draft: the file.
        taken: names of templates that other files have.
    """
    alike: dict[tuple[str, str], list[tuple[PlaceDraft, dict[str, Value], list[PointDraft]]]] = {}
    for device in draft.devices:
        for place in device.at:
            if place.use or len(place.points) < FEWEST_POINTS or any(not _safe(p) for p in place.points):
                continue
            arguments, points = _abstract(device.protocol, place.points)
            shape = "\n".join(f"{point.key}: {flow(point.fields)} # {point.comment}" for point in points)
            alike.setdefault((device.protocol, shape), []).append((place, arguments, points))
    names = {*taken, *(template.name for template in draft.templates)}
    groups = [(key, uses) for key, uses in alike.items() if len(uses) >= FEWEST_PLACES]
    for (protocol, _), uses in sorted(groups, key=lambda group: natural(group[1][0][0].key)):
        name = _name([place.key for place, _, _ in uses], protocol, names)
        names.add(name)
        varying = [
            key for key in uses[0][1] if key == "ioa" or len({str(arguments[key]) for _, arguments, _ in uses}) > 1
        ]
        fixed = {key: value for key, value in uses[0][1].items() if key not in varying}
        points = [_filled(point, fixed) for point in uses[0][2]]
        kinds = {key: "int" if key == "ioa" else "text" for key in varying}
        comment = f"The same in {len(uses)} places, first {uses[0][0].key or 'the site'}."
        draft.templates.append(TemplateDraft(name, protocol, kinds, points, comment))
        for place, arguments, _ in uses:
            place.use, place.points = name, []
            place.arguments = {key: arguments[key] for key in varying}


def _safe(point: PointDraft) -> bool:
    """Whether nothing in the line would be taken for a parameter."""
    return "{" not in point.key and not _braced(point.fields)


def _braced(value: Value) -> bool:
    if isinstance(value, dict):
        return any(_braced(item) for item in value.values())
    if isinstance(value, list):
        return any(_braced(item) for item in value)
    return isinstance(value, str) and "{" in value


def _abstract(protocol: str, points: Sequence[PointDraft]) -> tuple[dict[str, Value], list[PointDraft]]:
    """The arguments of one place, and its points with parameters in their stead."""
    if protocol == "iec61850":
        devices = {str(point.fields.get("ref", "")).partition("/")[0] for point in points}
        if len(devices) == 1:
            ld = devices.pop()
            return {"ld": ld}, [_with(point, "ref", lambda ref: "{ld}" + str(ref)[len(ld) :]) for point in points]
    if protocol == "iec104":
        numbers = [point.fields["ioa"] for point in points if isinstance(point.fields.get("ioa"), int)]
        if len(numbers) == len(points):
            least = min(number for number in numbers if isinstance(number, int))
            return {"ioa": least}, [_counted(point, least) for point in points]
    return {}, list(points)


def _counted(point: PointDraft, least: int) -> PointDraft:
    counted = _with(point, "ioa", lambda ioa: _sum(ioa, least))
    control = counted.fields.get("control")
    if isinstance(control, dict) and isinstance(control.get("ioa"), int):
        counted.fields["control"] = {**control, "ioa": _sum(control["ioa"], least)}
    return counted


def _sum(ioa: Value, least: int) -> str:
    difference = int(ioa) - least if isinstance(ioa, int) else 0
    return f"{{ioa{difference:+d}}}" if difference else "{ioa}"


def _with(point: PointDraft, name: str, change: Callable[[Value], Value]) -> PointDraft:
    fields = {key: change(value) if key == name else value for key, value in point.fields.items()}
    return PointDraft(point.key, fields, point.comment)


def _filled(point: PointDraft, fixed: dict[str, Value]) -> PointDraft:
    """The line with a parameter that is the same everywhere written out again."""
    if "ld" not in fixed:
        return point
    return _with(point, "ref", lambda ref: str(ref).replace("{ld}", str(fixed["ld"]), 1))


def _name(keys: Sequence[str], protocol: str, taken: set[str]) -> str:
    """A name from what the places have in common: `f-iec61850` for F05 and F06, `ied1-iec104` for IED1 of two bays."""
    last = {key.rpartition("/")[2] for key in keys}
    stem = last.pop() if len(last) == 1 else ""
    if not stem:
        letters = {re.sub(r"\d+\Z", "", key.rpartition("/")[2]) for key in keys}
        stem = letters.pop() if len(letters) == 1 else "bay"
    stem = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "place"
    base = name = f"{stem}-{protocol.removeprefix('iec')}"
    count = 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name
