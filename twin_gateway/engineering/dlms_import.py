"""From what meters say of themselves to a draft of a mapping file: registers, profiles, logs, disconnectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from address_space import units
from address_space.address import function_name
from address_space.catalogue import quantity_of
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.discovery import MeterObject, description_of
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.engineering.dlms_import_places import generic_place, place_of
from twin_gateway.engineering.dlms_import_read import MeterContent
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, Value
from twin_gateway.engineering.live_import import Target, name_of
from twin_gateway.engineering.live_import import place_of as filled
from twin_gateway.engineering.live_import_file import Part, assembled
from twin_gateway.engineering.live_import_targets import refuse_doubles

_MOST_LOGS: Final = 16
_RECONNECT: Final = (1, 2)
"""Methods of a disconnector: disconnect, reconnect."""


def draft_meters(
    meters: Sequence[tuple[Target, MeterContent]],
    *,
    grid: str,
    place: str,
    at: str,
    name: str = "",
    every: bool = False,
) -> tuple[FileDraft, list[Part]]:
    """The file of several meters.

    Args:
        meters: each with what was read from it.
        grid: level 1 of the addresses.
        place: area and site of meters that do not say theirs; `{name}`, `{host}`, `{serial}` and `{device}` (logical
            device name) are filled in.
        at: at-key of their points, likewise.
        name: what devices are called that no mapping file names, likewise; by their hosts where it is empty.
        every: points at generic places for objects that have none.

    Raises:
        LiveImportError: a name in braces that a meter does not have, or two meters of one name.
    """
    for target, content in meters:
        if name and target.file is None:
            target.name = name_of("", filled(name, _names(target, content)))
    refuse_doubles(target for target, _ in meters)
    parts = [_meter(target, content, place, at, every=every) for target, content in meters]
    count = len(parts)
    own = "Scaler and unit behind a point are the meter's own and are read again at every connection."
    return assembled(grid, parts, f"Read from {count} meter{'s' if count > 1 else ''}. {own}"), parts


def _names(target: Target, content: MeterContent) -> dict[str, str]:
    host = target.config.host if isinstance(target.config, DlmsConfig) else ""
    return {"name": target.name, "host": host, "serial": content.serial, "device": content.name}


def _meter(target: Target, content: MeterContent, place: str, at: str, *, every: bool) -> Part:
    config, names = target.config, _names(target, content)
    out = Part(DeviceDraft(target.name, "dlms", dict(target.fields), target.place or filled(place, names)))
    said = [f"Logical device name {content.name}." if content.name else ""]
    said += [f"Serial number {content.serial}." if content.serial else "", *_profiles(content)]
    out.device.comment = " ".join(text for text in said if text)
    logs = _logs(content.objects)
    if logs and isinstance(config, DlmsConfig) and not config.logs:
        out.device.fields["logs"] = list[Value](logs)
    at_place = out.device.at_place(target.at or filled(at, names))
    captured = _captured(content)
    for item in sorted(content.objects, key=lambda item: (item.name, item.class_id)):
        why = _object(item, content, captured, at_place, every=every)
        if why is not None:
            unit = _unit(item, content)[1]
            what = ", ".join(text for text in (description_of(item).partition(",")[0], unit, why) if text)
            out.unplaced.append(f"{obis.text(item.name)} class {item.class_id}: {what}")
    return out


def _profiles(content: MeterContent) -> list[str]:
    """A sentence for each profile that is no log."""
    rows = []
    for name, columns in sorted(content.columns.items()):
        if name[2] == 99 and name[3] == 98:
            continue
        period = content.periods.get(name, 0)
        every = f"every {_duration(period)}" if period else "not filled by time"
        rows.append(f"Profile {obis.text(name)} {every}: {len(columns)} columns.")
    return rows


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _logs(objects: Iterable[MeterObject]) -> list[str]:
    logs = [item.name for item in objects if item.class_id == obis.PROFILE and tuple(item.name[:4]) == (0, 0, 99, 98)]
    return [obis.text(name) for name in sorted(logs)[:_MOST_LOGS]]


def _captured(content: MeterContent) -> Mapping[Attribute, str]:
    """The profile with an attribute's history: where it is in several, the one with the shortest period."""
    found: dict[Attribute, str] = {}
    order = sorted(content.columns, key=lambda name: (content.periods.get(name, 0) or float("inf"), name))
    for name in order:
        for attribute in content.columns[name]:
            found.setdefault(attribute, obis.text(name))
    return found


def _object(
    item: MeterObject, content: MeterContent, captured: Mapping[Attribute, str], at: PlaceDraft, *, every: bool
) -> str | None:
    """Put the points of an object to its place; None when it has got one, else why not (often empty)."""
    if item.class_id == obis.CLOCK:
        return "watched by the link itself, without a point"
    if item.class_id == obis.PROFILE:
        listed = item.name[2] == 99 and item.name[3] == 98
        return "events, by 'logs'" if listed else "history of its registers, by 'profile'"
    number = 3 if item.class_id == obis.DISCONNECT else 2
    taken = {point.key for point in at.points}
    key, why = place_of(item), ""
    if key and not item.readable(number):
        return "this client may not read it"
    if key and (problem := _quantity_problem(key, item, content)):
        key, why = "", problem
    if key in taken:
        key, why = "", f"{key} is there already"
    if not key and every and not (key := _generic(item, content)):
        return why or "no value that a point takes"
    if not key or key in taken:
        return why
    fields: dict[str, Value] = {"obis": obis.text(item.name)}
    if obis.default_class(item.name) != item.class_id:
        fields["class"] = item.class_id
    if profile := captured.get(Attribute(item.class_id, item.name, number)):
        fields["profile"] = profile
    comment, unit = _unit(item, content)
    if item.class_id == obis.DISCONNECT:
        _disconnector(item, key, fields, at)
        return None
    if unit and _is_generic(key):
        fields["unit"] = unit
    at.points.append(PointDraft(key, fields, comment))
    return None


def _disconnector(item: MeterObject, key: str, fields: dict[str, Value], at: PlaceDraft) -> None:
    """Position, and command where this client may call the methods."""
    switch = key.replace("CSWI", "XSWI")
    if item.methods and not all(item.methods.get(method) for method in _RECONNECT):
        at.points.append(PointDraft(switch, fields, "this client may not operate it"))
        return
    at.points.append(PointDraft(key, {**fields, "control": "disconnect"}))
    at.points.append(PointDraft(switch, {**fields, "share": True}))


def _generic(item: MeterObject, content: MeterContent) -> str:
    """A place for anything that has a number; empty where there is none."""
    if item.class_id in obis.WITH_UNIT and item.readable(2):
        return generic_place(item, "AnIn1")
    value = content.values.get(item.name) if item.class_id == obis.DATA else None
    if isinstance(value, bool):
        return generic_place(item, "Ind1")
    if isinstance(value, int):
        return generic_place(item, "IntIn1")
    return generic_place(item, "AnIn1") if isinstance(value, float) else ""


def _is_generic(key: str) -> bool:
    function = function_name(key.partition("/")[0])
    return function is not None and function.ln_class == "GGIO"


def _unit(item: MeterObject, content: MeterContent) -> tuple[str, str]:
    """What one raw count is, as a remark (`0.1 V`), and the unit's symbol; empty where there is none."""
    found = content.scalers.get((item.class_id, item.name))
    if found is None:
        return "", ""
    scaler, code = found
    symbol = units.FROM_DLMS.get(code, "")
    step = f"{10.0**scaler:.15g}"
    if not symbol or symbol == "1":
        return (step if scaler else ""), ""
    return (f"{step} {symbol}" if scaler else symbol), symbol


def _quantity_problem(key: str, item: MeterObject, content: MeterContent) -> str:
    """Why a register does not measure what its place is for; empty when it does."""
    found = content.scalers.get((item.class_id, item.name))
    function = function_name(key.partition("/")[0])
    if item.class_id not in obis.WITH_UNIT or function is None:
        return ""
    wanted = quantity_of(function.ln_class, key.split("/")[1])
    symbol = units.FROM_DLMS.get(found[1], "") if found is not None else ""
    if wanted in (None, "ratio", "percent") or (symbol and units.unit(symbol).quantity == wanted):
        return ""
    what = f"its unit is {symbol}" if symbol else "the meter gives no unit"
    return f"{what}: not {wanted}"
