"""What a changed mapping would do: points, devices and links, what depends on them, and what would break. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from twin_gateway.engineering.plan_twin import TwinInputs
from twin_gateway.grid.model import Grid
from twin_gateway.mapping.difference import DeviceChange, Difference, FieldChange, PointChange, difference
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.parts import has_targets, holding

Action = Literal["add", "change", "move", "remove"]
ACTIONS: Final[tuple[Action, ...]] = ("add", "change", "move", "remove")

_CLIENTS_SEE: Final = {
    "cdc": "the data class",
    "value_type": "the type of the value",
    "enumeration": "the enumeration",
    "display_unit": "the unit of the published value",
}
"""Fields that clients rely on."""


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """One binding of one address in a plan.

    Attributes:
        action: `change` also for a binding that comes or goes while the address stays.
        breaking: sentences for what would break for clients; empty for nothing.
    """

    change: PointChange
    action: Action
    breaking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """One device in a plan, with those of its points that differ."""

    change: DeviceChange
    points: tuple[PlannedPoint, ...]

    @property
    def action(self) -> Action:
        """What becomes of the device itself."""
        if self.change.old is None:
            return "add"
        return "remove" if self.change.new is None else "change"


@dataclass(slots=True)
class Plan:
    """A whole plan.

    Attributes:
        devices: in the order of the new files, then those that are gone.
        alarms: addresses whose alarm rule comes, goes, changes or watches something else.
        commands: addresses whose command comes, goes or changes.
        twin_inputs: what the twin uses a point for, by address; of points that come, change, move or go.
        names: other names of places that come, go or change.
        retired: tombstones that come, go or change.
        unknown: devices whose whole model is only known when they are connected: their further points are not compared.
    """

    devices: list[PlannedDevice] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    twin_inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[FieldChange, ...] = ()
    retired: tuple[FieldChange, ...] = ()
    unknown: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.devices or self.names or self.retired)

    def points(self) -> Iterator[PlannedPoint]:
        """Every point that differs."""
        return (point for device in self.devices for point in device.points)

    def counts(self) -> Counter[Action]:
        """Number of bindings by action."""
        return Counter(point.action for point in self.points())

    def reconnecting(self) -> list[str]:
        """Names of the links that are made anew."""
        return [device.change.name for device in self.devices if device.change.reconnects]

    def breaking(self) -> list[tuple[str, str]]:
        """(address, sentence) of everything that breaks."""
        return [(point.change.address, text) for point in self.points() for text in point.breaking]

    def summary(self) -> str:
        """One line: `Plan: 3 to add, 1 to change, 2 to move, 0 to remove; 1 link reconnects`."""
        counts, links = self.counts(), len(self.reconnecting())
        parts = ", ".join(f"{counts[action]} to {action}" for action in ACTIONS)
        new = sum(device.action == "add" for device in self.devices)
        gone = sum(device.action == "remove" for device in self.devices)
        more = f", {new} connect{'s' * (new == 1)} first" * bool(new) + f", {gone} end{'s' * (gone == 1)}" * bool(gone)
        return f"Plan: {parts}; {links} link{'s' * (links != 1)} reconnect{'s' * (links == 1)}{more}"


def make_plan(old: Mapping, new: Mapping, grid: Grid | None = None) -> Plan:
    """The plan that leads from one checked mapping to another.

    Args:
        old: before.
        new: after.
        grid: the grid model; its references to points are compared when it is given.
    """
    found = difference(old, new)
    plan = Plan(unknown=[device.name for device in new.devices if device.whole])
    if not found:
        return plan
    inputs = TwinInputs(grid)
    plan.names, plan.retired = found.aliases, found.retired
    stays = _Stays(found, old, new)
    for device in found.devices:
        points = []
        for change in device.points:
            action = _action(change, stays)
            points.append(PlannedPoint(change, action, tuple(_breaking(change, action, new, inputs))))
        plan.devices.append(PlannedDevice(device, tuple(points)))
    plan.alarms = sorted(_alarms(found, new))
    plan.commands = sorted({change.address for change in found.points() if _commanded(change)})
    both = {each for change in found.points() for each in (change.address, change.moved_from) if each is not None}
    plan.twin_inputs = {address: inputs.uses(address) for address in sorted(both) if address in inputs}
    return plan


class _Stays:
    """Which addresses are there before, or after, by another binding: then one of them comes or goes, not the point."""

    def __init__(self, found: Difference, old: Mapping, new: Mapping) -> None:
        gone = {change.address for change in found.points() if change.new is None}
        came = {change.address for change in found.points() if change.old is None}
        self.after = _those(new, gone) if gone else set()
        self.before = _those(old, came) if came else set()


def _those(mapping: Mapping, wanted: set[str]) -> set[str]:
    return {point.address for device in holding(mapping, wanted) for point in device.points if point.address in wanted}


def _action(change: PointChange, stays: _Stays) -> Action:
    if change.moved_from is not None:
        return "move"
    if change.old is None:
        return "change" if change.address in stays.before else "add"
    if change.new is None:
        return "change" if change.address in stays.after else "remove"
    return "change"


def _breaking(change: PointChange, action: Action, new: Mapping, inputs: TwinInputs) -> Iterator[str]:
    """Sentences for what clients, or the grid model, would miss."""
    gone = change.moved_from if action == "move" else change.address if action == "remove" else None
    if action == "remove" and not _is_retired(new, change.address):
        yield "removed without a tombstone: clients are not told why, and the address may be used again"
    if action == "move" and change.guessed:
        yield f"moved without 'was: {change.moved_from}': clients are not led to the new address"
    if gone is not None and gone in inputs:
        yield f"the grid model refers to '{gone}'"
    for item in change.fields:
        if item.field in _CLIENTS_SEE:
            yield f"{_CLIENTS_SEE[item.field]} changes from {item.old} to {item.new}"
        elif item.field == "control" and item.new is None:
            yield "it can no longer be commanded"


def _is_retired(mapping: Mapping, address: str) -> bool:
    while address and address not in mapping.retired:
        address = address.rpartition("/")[0]
    return bool(address)


def _alarms(found: Difference, new: Mapping) -> set[str]:
    touched: set[str] = set()
    lost: set[str] = set()
    for change in found.points():
        rules = [point.alarm for point in (change.old, change.new) if point is not None]
        whole = change.old is None or change.new is None or change.moved_from is not None
        if any(rule is not None for rule in rules) and (whole or any(_matters(item) for item in change.fields)):
            touched.add(change.address)
        if change.old is not None:
            lost.add(change.old.address)
    if lost:
        points = (point for device in new.devices if has_targets(device) for point in device.points)
        touched |= {p.address for p in points if p.alarm is not None and p.alarm.target in lost}
    return touched


def _matters(item: FieldChange) -> bool:
    """Whether an alarm rule sees the change of a field of its point."""
    return item.field not in ("display_name", "aliases", "share")


def _commanded(change: PointChange) -> bool:
    points = [point for point in (change.old, change.new) if point is not None and point.control is not None]
    if not points:
        return False
    whole = change.old is None or change.new is None or change.moved_from is not None
    return whole or any(item.field == "device" or item.field.split(".")[0] == "control" for item in change.fields)


# ---- as plain data


def as_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON can carry it."""
    counts = plan.counts()
    return {
        "changes": bool(plan),
        "summary": {
            **{action: counts[action] for action in ACTIONS},
            "links_reconnect": len(plan.reconnecting()),
            "breaking": len(plan.breaking()),
        },
        "devices": [_device_document(device) for device in plan.devices],
        "links_reconnect": plan.reconnecting(),
        "breaking": [{"address": address, "what": text} for address, text in plan.breaking()],
        "alarms": plan.alarms,
        "commands": plan.commands,
        "twin_inputs": list(plan.twin_inputs),
        "twin_uses": {address: list(uses) for address, uses in plan.twin_inputs.items()},
        "place_aliases": _fields_document(plan.names),
        "retired": _fields_document(plan.retired),
        "unknown_until_connected": plan.unknown,
    }


def _device_document(device: PlannedDevice) -> dict[str, Any]:
    return {
        "name": device.change.name,
        "action": device.action,
        "reconnects": device.change.reconnects,
        "fields": _fields_document(device.change.fields),
        "points": [_point_document(point) for point in device.points],
    }


def _point_document(point: PlannedPoint) -> dict[str, Any]:
    change = point.change
    where = change.new or change.old
    return {
        "address": change.address,
        "action": point.action,
        "device": change.device,
        "device_from": change.device_from or None,
        "moved_from": change.moved_from,
        "guessed": change.guessed,
        "fields": _fields_document(change.fields),
        "breaking": list(point.breaking),
        "file": where.file if where is not None else None,
        "line": where.line if where is not None else None,
    }


def _fields_document(fields: Iterable[FieldChange]) -> list[dict[str, Any]]:
    return [{"field": item.field, "old": item.old, "new": item.new} for item in fields]
