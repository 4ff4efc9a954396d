"""The difference of two mappings: devices and points added, removed, moved, and changed field by field. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping as Fields
from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import PurePath
from typing import Any, Final

from pydantic import SecretBytes, SecretStr

from address_space import units
from address_space.point import PointProfile
from twin_gateway.mapping.alarm_rule import LIMITS, AlarmRule
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint

Value = Any
"""A number, text, true or false, None, or a list or dictionary of these: what JSON can carry."""
Key = tuple[str, str, int]
"""Address, role, rank: one binding."""

_SECRET: Final = "(secret)"  # noqa: S105 - what is told instead of one
_WHOLE: Final = "all at "


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, named as in a mapping file (`ioa`, `control.model`, `alarm.hi`); None: it is not there.

    Numbers are in the units of the format: deadband and limits published, durations in seconds. The value of a secret
    is never told.
    """

    field: str
    old: Value
    new: Value


@dataclass(frozen=True, slots=True)
class PointChange:
    """What becomes of one binding of one address.

    Attributes:
        device: the device that gives it afterwards; of a removed point the one that gave it.
        address: the address afterwards; of a removed point the one it had.
        old, new: None for a point that is added or removed.
        fields: what differs, when both are there; `device` when another device gives it now: its history stays.
        moved_from: the former address of a point that has moved, else None.
        guessed: no `was:` says that it moved; the same protocol point of the same device has another address now.
        device_from: the device that gave it before; empty for an added point.
    """

    device: str
    address: str
    old: MappedPoint | None
    new: MappedPoint | None
    fields: tuple[FieldChange, ...] = ()
    moved_from: str | None = None
    guessed: bool = False
    device_from: str = ""


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What becomes of one device.

    Attributes:
        old, new: None for a device that is added or removed.
        fields: what differs in its section; a whole model is `all at` with its place.
        reconnects: the device is there before and after, and its section differs so that its link is made anew.
            Points come, go and change without that.
        points: those that it gives afterwards and that differ, then those that nobody gives any more.
    """

    name: str
    old: MappedDevice | None
    new: MappedDevice | None
    fields: tuple[FieldChange, ...]
    reconnects: bool
    points: tuple[PointChange, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Only what differs.

    Attributes:
        devices: in their new order, then those that are gone.
        aliases: other names of places; the field is the alias, its values the places. The `was:` of a move that the
            points show is left out.
        retired: tombstones; the field is the address, its values say day, reason and successor.
    """

    devices: tuple[DeviceChange, ...] = ()
    aliases: tuple[FieldChange, ...] = ()
    retired: tuple[FieldChange, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.devices or self.aliases or self.retired)

    def points(self) -> Iterable[PointChange]:
        """Every point that differs."""
        return (point for device in self.devices for point in device.points)


def difference(old: Mapping, new: Mapping) -> Difference:
    """What must be done to come from one checked mapping to another.

    A point is known again by its address (and role), whatever device gives it; else by its `was:`, or that of its
    place; else, marked as a guess, by its protocol point when that alone is gone at the same device.
    """
    before_of = {device.name: device for device in old.devices}
    # Devices whose packed points are the same octet for octet are not even unpacked.
    same = {device.name for device in new.devices if _same_points(before_of.get(device.name), device)}
    gone = {
        _key(point): (device, point) for device in old.devices if device.name not in same for point in device.points
    }
    compare = _Comparison()
    found: dict[str, list[PointChange]] = {}
    unknown: list[tuple[MappedDevice, MappedPoint]] = []
    lost: set[str] = set()
    """Devices that gave a point which another device gives now."""
    for device in new.devices:
        changes = found[device.name] = []
        name = device.name
        for point in device.points if name not in same else ():
            before = gone.pop(_key(point), None)
            if before is None:
                unknown.append((device, point))
                continue
            source, former = before
            changed = compare.points(former, point)
            if source.name != name:
                changed = (FieldChange("device", source.name, name), *changed)
                lost.add(source.name)
            if changed:
                changes.append(PointChange(name, point.address, former, point, changed, None, False, source.name))
    moves = _Moves(old, new, gone)
    for device, point, before, guessed in moves.of(unknown):
        if before is None:
            found[device.name].append(PointChange(device.name, point.address, None, point))
            continue
        source, former = before
        changed = compare.points(former, point)
        if source.name != device.name:
            changed = (FieldChange("device", source.name, device.name), *changed)
            lost.add(source.name)
        found[device.name].append(
            PointChange(device.name, point.address, former, point, changed, former.address, guessed, source.name)
        )
    for source, former in gone.values():
        found.setdefault(source.name, []).append(
            PointChange(source.name, former.address, former, None, device_from=source.name)
        )
    devices = tuple(_devices(old, new, found, lost))
    moved = any(point.moved_from is not None for device in devices for point in device.points)
    aliases = _changes(dict(old.place_aliases), dict(new.place_aliases))
    shown = tuple(item for item in aliases if not (moved and item.old is None and item.field.startswith("was:")))
    return Difference(devices, shown, _changes(_stones(old), _stones(new)))


def _same_points(old: MappedDevice | None, new: MappedDevice) -> bool:
    """Whether two devices are known to have the same points without looking at each."""
    return old is not None and new.packed is not None and new.packed.same(old.packed) and old.spec is new.spec


def _stones(mapping: Mapping) -> dict[str, Value]:
    """What each tombstone says, as one text."""
    return {
        item.address: f"{item.date}: {item.reason}" + f" (successor {item.successor})" * bool(item.successor)
        for item in mapping.retired.values()
    }


def _key(point: MappedPoint) -> Key:
    return point.address, point.role, point.rank


def _devices(
    old: Mapping, new: Mapping, found: Fields[str, list[PointChange]], lost: set[str]
) -> Iterable[DeviceChange]:
    before = {device.name: device for device in old.devices}
    for device in new.devices:
        was = before.pop(device.name, None)
        points = tuple(found.get(device.name, ()))
        fields = device_fields(was, device) if was is not None else ()
        if was is None or fields or points or device.name in lost:
            touched = any(_reaches_link(change.field) for change in fields)
            yield DeviceChange(device.name, was, device, fields, touched, points)
    for device in before.values():
        yield DeviceChange(device.name, device, None, (), False, tuple(found.get(device.name, ())))


def _reaches_link(name: str) -> bool:
    """Whether a field of a device section makes its link anew; points are changed while it works."""
    return name not in ("display_name", "place") and not name.startswith(_WHOLE)


class _Moves:
    """Finds the former addresses of points that are new. What is found is taken out of `gone`."""

    def __init__(self, old: Mapping, new: Mapping, gone: dict[Key, tuple[MappedDevice, MappedPoint]]) -> None:
        self._gone = gone
        self._places: dict[str, list[str]] = defaultdict(list)
        for alias, place in new.place_aliases:
            if alias.startswith("was:"):
                self._places[place].append(alias.removeprefix("was:"))

    def of(
        self, unknown: Iterable[tuple[MappedDevice, MappedPoint]]
    ) -> Iterable[tuple[MappedDevice, MappedPoint, tuple[MappedDevice, MappedPoint] | None, bool]]:
        """Device, point, where it was (None: nowhere), and whether that is a guess; the order is kept."""
        known = [(device, point, self._said(point)) for device, point in unknown]
        open_ = [(device, point) for device, point, before in known if before is None]
        guesses = self._guesses(open_) if open_ and self._gone else {}
        for device, point, before in known:
            if before is not None:
                yield device, point, before, False
            else:
                guess = guesses.get(id(point))
                yield device, point, guess, guess is not None

    def _said(self, point: MappedPoint) -> tuple[MappedDevice, MappedPoint] | None:
        """The point at an address that `was:` names."""
        for alias in point.aliases:
            if alias.startswith("was:"):
                found = self._gone.pop((alias[4:], point.role, point.rank), None)
                if found is not None:
                    return found
        if self._places:
            place, tail = point.address, ""
            while "/" in place:
                place, _, last = place.rpartition("/")
                tail = f"/{last}{tail}"
                for was in self._places.get(place, ()):
                    found = self._gone.pop((was + tail, point.role, point.rank), None)
                    if found is not None:
                        return found
        return None

    def _guesses(
        self, unknown: Iterable[tuple[MappedDevice, MappedPoint]]
    ) -> dict[int, tuple[MappedDevice, MappedPoint]]:
        """By id of the new point: a point that is gone, of the same device, protocol point, function and data object.

        Only where just one is gone and just one came; a protocol point that feeds several addresses is told apart by
        function and data object.
        """
        by_source: dict[Value, list[Key]] = defaultdict(list)
        for key, (device, point) in self._gone.items():
            by_source[_source(device, point)].append(key)
        came: dict[Value, list[MappedPoint]] = defaultdict(list)
        for device, point in unknown:
            source = _source(device, point)
            if source in by_source:
                came[source].append(point)
        out: dict[int, tuple[MappedDevice, MappedPoint]] = {}
        for source, points in came.items():
            keys = by_source[source]
            if len(points) == 1 and len(keys) == 1:
                out[id(points[0])] = self._gone.pop(keys[0])
                continue
            tails: dict[str, list[Key]] = defaultdict(list)
            for key in keys:
                tails[_tail(key[0])].append(key)
            own: dict[str, list[MappedPoint]] = defaultdict(list)
            for point in points:
                own[_tail(point.address)].append(point)
            for tail, mine in own.items():
                if len(mine) == 1 and len(tails[tail]) == 1:
                    out[id(mine[0])] = self._gone.pop(tails[tail][0])
        return out


def _source(device: MappedDevice, point: MappedPoint) -> tuple[str, str, int | str, str, int]:
    return device.name, device.protocol, point.source, point.role, point.rank


def _tail(address: str) -> str:
    """Function, data object and below: everything after the six levels of the place."""
    return address.split("/", 6)[-1]


class _Comparison:
    """Compares points; profiles are shared by many of them, so each pair is compared once."""

    def __init__(self) -> None:
        self._profiles: dict[tuple[int, int, str | None, str | None], tuple[FieldChange, ...]] = {}

    def points(self, old: MappedPoint, new: MappedPoint) -> tuple[FieldChange, ...]:
        """What differs between two bindings; nothing of where they are written."""
        key = (id(old.profile), id(new.profile), old.unit, new.unit)
        shared = self._profiles.get(key)
        if shared is None:
            shared = self._profiles[key] = _changes(_profile(old), _profile(new))
        if (
            old.fields == new.fields
            and old.control == new.control
            and old.names == new.names
            and (old.aliases == new.aliases or _aliases(old) == _aliases(new, old.address))
            and old.alarm == new.alarm
            and old.role == new.role
            and old.rank == new.rank
            and old.share == new.share
        ):
            return shared
        return (*_changes(old.fields, new.fields), *shared, *_changes(_rest(old), _rest(new, old.address)))


def _changes(old: Fields[str, Value], new: Fields[str, Value]) -> tuple[FieldChange, ...]:
    """What differs between two sets of fields, in the order of the new one; a field that is not there is None."""
    if old == new:
        return ()
    names = dict.fromkeys((*new, *old))
    return tuple(FieldChange(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def _profile(point: MappedPoint) -> dict[str, Value]:
    """What the profile of a point says, taken apart into the fields of the format."""
    profile = point.profile
    scale, offset = _scaling(profile, point.quantity, point.unit)
    return {
        "cdc": profile.cdc,
        "value_type": profile.value_type.name,
        "enumeration": profile.enumeration,
        "unit": point.unit,
        "scale": scale,
        "offset": offset,
        "deadband": profile.deadband,
        "stale_after": profile.stale_after,
        "invert": profile.invert,
        "display_unit": profile.unit.symbol if profile.unit is not None else None,
    }


def _scaling(profile: PointProfile, quantity: str | None, unit: str | None) -> tuple[float, float]:
    """Scale and offset as written: the profile's gain and bias without the conversion of units."""
    arriving = units.unit(unit) if unit is not None else units.canonical(quantity) if quantity is not None else None
    if arriving is None or profile.unit is None:
        return profile.gain, profile.bias
    by, plus = units.conversion(arriving, profile.unit)
    return _rounded(profile.gain / by), _rounded((profile.bias - plus) / by)


def _rounded(number: float) -> float:
    """Without the last digits, which only come from multiplying and dividing."""
    return float(f"{number:.12g}")


def _aliases(point: MappedPoint, former: str = "") -> list[str] | None:
    """The aliases in order; that of a move just made is told by the move."""
    return sorted(alias for alias in point.aliases if alias != f"was:{former}") or None


def _rest(point: MappedPoint, former: str = "") -> dict[str, Value]:
    names = dict(point.names)
    out: dict[str, Value] = {
        "role": point.role,
        "rank": point.rank,
        "share": point.share,
        "display_name": names.get("", names or None) if len(names) < 2 else names,
        "aliases": _aliases(point, former),
    }
    if point.control is not None:
        out["control"] = True
        out |= {f"control.{name}": _plain(value) for name, value in point.control.items()}
    if point.alarm is not None:
        out["alarm"] = True
        out |= {f"alarm.{name}": value for name, value in _alarm(point.alarm).items()}
    return out


def _alarm(rule: AlarmRule) -> dict[str, Value]:
    out = {item.name: _plain(getattr(rule, item.name)) for item in fields_of(rule) if item.name != "limits"}
    out |= dict(zip(LIMITS, rule.limits or (None,) * len(LIMITS), strict=True))
    return out


def device_fields(old: MappedDevice, new: MappedDevice) -> tuple[FieldChange, ...]:
    """What differs between the sections of two devices, their points left out."""
    changes = _changes(_section(old), _section(new))
    if old.protocol == new.protocol and old.config is not new.config:
        differ = {change.field for change in changes}
        secrets = sorted(new.spec.secret_fields)
        changes += tuple(
            FieldChange(name, _SECRET, _SECRET)
            for name in secrets
            if name not in differ and _reveal(_inside(old.config, name)) != _reveal(_inside(new.config, name))
        )
    return changes


def _section(device: MappedDevice) -> dict[str, Value]:
    """The fields of a device section, nested ones with dots; files by name and content; secrets only as present."""
    out: dict[str, Value] = {"protocol": device.protocol, "place": device.place}
    secrets, files = device.spec.secret_fields, device.files

    def walk(value: Value, path: str) -> None:
        if path in secrets or isinstance(value, SecretStr | SecretBytes):
            out[path] = None if value is None else _SECRET
        elif path in files:
            out[path] = f"{PurePath(str(value)).name} (sha256 {files[path][:12]})"
        elif hasattr(type(value), "model_fields"):
            for name in type(value).model_fields:
                walk(getattr(value, name), f"{path}.{name}" if path else name)
        else:
            out[path] = _plain(value)

    walk(device.config, "")
    for request in device.whole:
        out[f"{_WHOLE}{request.place}"] = request.logical_device
    return out


def _inside(config: Value, path: str) -> Value:
    """The value at a dotted path; None when something on the way is not there."""
    for name in path.split("."):
        config = getattr(config, name, None)
    return config


def _reveal(value: Value) -> Value:
    return value.get_secret_value() if isinstance(value, SecretStr | SecretBytes) else value


def _plain(value: Value) -> Value:
    """A value as JSON can carry it."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if hasattr(type(value), "model_fields"):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_plain(item) for item in items]
    if isinstance(value, SecretStr | SecretBytes):
        return _SECRET
    if isinstance(value, bool | int | float):
        return value
    return str(value)
