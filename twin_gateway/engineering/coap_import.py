"""From what CoAP devices offer to a draft of a mapping file: objects, SenML records, JSON members, plain resources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from twin_gateway.drivers.coap import objects
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.units import FROM_SENML
from twin_gateway.engineering.coap_import_places import OBJECTS, keys_for, place_by_unit, place_by_words
from twin_gateway.engineering.coap_import_read import DeviceContent, Offered
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PointDraft, Value
from twin_gateway.engineering.live_import import LiveImportError, Target, free_name, name_of
from twin_gateway.engineering.live_import import place_of as filled
from twin_gateway.engineering.live_import_file import Part, assembled

_LONGEST: Final = 120
"""Characters of a device's own text that a comment keeps."""


def endpoints_of(
    directory: Target, contents: Sequence[DeviceContent], taken: set[str], *, registered: bool
) -> list[Target]:
    """A device for each endpoint of a directory.

    Args:
        directory: the directory itself.
        contents: of read_directory.
        taken: names that devices have already; those given here are added.
        registered: sections say `endpoint:`, as the devices register at our own directory; else `uri:`.

    Raises:
        LiveImportError: an endpoint whose address the directory does not tell.
    """
    out = []
    for content in contents:
        if not registered and urlsplit(content.base).scheme not in {"coap", "coap+tcp", "coaps"}:
            what = f"{directory.said}: the directory tells no address of {content.endpoint}"
            raise LiveImportError(what, "with --registered devices are known by their names")
        fields: dict[str, Value] = {"endpoint": content.endpoint} if registered else {"uri": content.base.rstrip("/")}
        target = Target(free_name(name_of("", content.endpoint), taken), content.endpoint, fields)
        taken.add(target.name)
        target.config = directory.config
        out.append(target)
    return out


def draft_sensors(
    sensors: Sequence[tuple[Target, DeviceContent]],
    *,
    grid: str,
    place: str,
    at: str,
    every: bool = False,
) -> tuple[FileDraft, list[Part]]:
    """The file of several devices.

    Args:
        sensors: each with what was read from it.
        grid: level 1 of the addresses.
        place: area and site of devices that do not say theirs; `{name}`, `{host}` and `{endpoint}` are filled in.
        at: at-key of their points, likewise.
        every: points at generic places for values that have no known one.

    Raises:
        LiveImportError: a name in braces that a device does not have.
    """
    parts = [_sensor(target, content, place, at, every=every) for target, content in sensors]
    count = len(parts)
    return assembled(grid, parts, f"Read from {count} CoAP device{'s' if count > 1 else ''}."), parts


def _sensor(target: Target, content: DeviceContent, place: str, at: str, *, every: bool) -> Part:
    config = target.config
    host = (urlsplit(config.uri).hostname or "") if isinstance(config, CoapConfig) and not content.base else ""
    names = {
        "name": target.name,
        "host": host or urlsplit(content.base).hostname or "",
        "endpoint": content.endpoint or target.name,
    }
    out = Part(DeviceDraft(target.name, "coap", dict(target.fields), target.place or filled(place, names)))
    said = [
        f"Endpoint {content.endpoint}." if content.endpoint else "",
        f"Type {content.kind}." if content.kind else "",
    ]
    said.append("" if content.asked else "By its links alone: the device itself was not asked.")
    out.device.comment = " ".join(text for text in said if text)
    points: dict[str, PointDraft] = {}
    for one in sorted(content.offered, key=lambda one: (one.numbers or (1 << 20,), one.path, one.name)):
        made = list(_points(one, points, every=every))
        points.update((point.key, point) for point in made)
        if not made:
            out.unplaced.append(_line(one))
    if points:
        out.device.at_place(target.at or filled(at, names)).points = list(points.values())
    return out


def _line(one: Offered) -> str:
    name = f"#{one.name[:_LONGEST]}" if one.name else ""
    what = "/" + "/".join(map(str, one.numbers)) if one.numbers else one.path + name
    more = [f"rt={one.words[:_LONGEST]}" if one.words else "", one.kind, one.unit, one.remark]
    return f"{what}: {', '.join(text for text in more if text) or 'not known'}"


def _points(one: Offered, taken: dict[str, PointDraft], *, every: bool) -> Iterator[PointDraft]:
    if one.numbers:
        yield from _of_object(one, taken, every=every)
        return
    read = one.kind in {"number", "boolean"}
    if one.remark or not (read or (not one.kind and place_by_words(one.words)[0])):
        return
    key, assumed, comment = place_by_unit(one.unit), "", one.unit
    if not key and one.kind != "boolean":
        key, assumed = place_by_words(f"{one.words} {one.name}")
        key = "" if one.unit and one.unit not in FROM_SENML else key
    if not key and every and one.kind:
        key = "GGIO1/Ind1" if one.kind == "boolean" else "GGIO1/AnIn1"
    if not key:
        return
    fields = dict(one.fields)
    if assumed and not one.unit:
        fields["unit"] = assumed
        comment = "unit assumed: the device says none" if one.kind else "unit assumed: the device was not asked"
    free = next((name for name in keys_for(key, one.path, one.name) if name not in taken), "")
    if free:
        yield PointDraft(free, fields, comment)


def _assumed(one: Offered, key: str) -> tuple[dict[str, Value], str]:
    """Unit and remark of a resource of an object that is read by itself, where nobody tells the unit."""
    if one.unit or "path" not in one.fields or one.kind != "number":
        return {}, one.unit
    try:
        fixed = objects.about(one.numbers).unit
    except objects.ObjectError:
        fixed = None
    unit = FROM_SENML[fixed][0] if fixed in FROM_SENML else {"STMP": "Cel", "MMET": "%"}.get(key[:4], "")
    said = "" if fixed in FROM_SENML else "unit assumed: the device says none"
    return ({"unit": unit}, said) if unit and unit != "1" else ({}, "")


def _of_object(one: Offered, taken: dict[str, PointDraft], *, every: bool) -> Iterator[PointDraft]:
    object_id, instance, resource = one.numbers[:3]
    known = OBJECTS.get((object_id, resource), ())
    if len(one.numbers) > 3 and one.numbers[3] > 0:
        known = ()
    for place in known:
        key = place.key.replace("{n}", str(instance + 1))
        if key in taken or (object_id < 10 and instance):
            continue
        measured = not place.fields.keys() & {"below", "control"}
        unit, comment = _assumed(one, key) if measured else ({}, "")
        # The type is of resources of an object; one that is read by itself says what it is in its payload.
        own = {name: value for name, value in place.fields.items() if name != "type" or "object" in one.fields}
        yield PointDraft(key, {**one.fields, **unit, **own}, comment)
    if known or not every or resource == objects.UNITS or one.kind == "text":
        return
    try:
        kind = objects.about(one.numbers).kind
    except objects.ObjectError:
        return
    data = {"boolean": "Ind1", "integer": "AnIn1", "float": "AnIn1"}.get(kind)
    key = f"O{object_id}_{resource}GGIO{instance + 1}/{data}"
    if data is not None and key not in taken:
        yield PointDraft(key, dict(one.fields), one.unit)
