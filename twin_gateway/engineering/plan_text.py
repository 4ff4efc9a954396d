"""A plan as text for people: one line a device, one a point, what breaks below it, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from twin_gateway.affected import INTERRUPTED, Affected
from twin_gateway.engineering.plan import Action, Plan, PlannedDevice, PlannedPoint
from twin_gateway.mapping.difference import FieldChange
from twin_gateway.mapping.point import MappedPoint

_SIGNS: Final[dict[Action, tuple[str, str]]] = {
    "add": ("+", "green"),
    "change": ("~", "yellow"),
    "move": (">", "cyan"),
    "remove": ("-", "red"),
}
FEW: Final = 20
"""So many points of one device and action are listed, unless all are asked for."""
_MOST_FIELDS: Final = 8
_FEW_USES: Final = 3
_ITEMS: Final = {
    "removed": "removed",
    "moved": "moved",
    "retyped": "of another type",
    "changed": "changed",
    INTERRUPTED: "without communication while links reconnect",
}
_LONGEST: Final = 80
_IN_UNITS: Final = frozenset(
    ("deadband", "alarm.hihi", "alarm.hi", "alarm.lo", "alarm.lolo", "alarm.hysteresis", "alarm.tolerance")
)
_IN_SECONDS: Final = frozenset(("stale_after", "alarm.delay"))


def as_lines(plan: Plan, affected: Affected | None = None, *, detailed: bool = False) -> Iterator[Text]:
    """The lines of a plan; with `detailed` every point, otherwise at most 20 of a device and kind of change.

    Args:
        plan: what would change.
        affected: who would notice; None where no running gateway was asked, which is said.
        detailed: list everything.
    """
    if not plan:
        yield Text("No changes: the files say the same.")
        return
    for device in plan.devices:
        yield _device(device)
        listed: dict[Action, int] = {}
        for point in device.points:
            listed[point.action] = listed.get(point.action, 0) + 1
            if detailed or listed[point.action] <= FEW or point.breaking:
                yield from _point(point)
        for action, count in listed.items():
            left = sum(p.action == action and not p.breaking for p in _beyond(device, action))
            if left and not detailed:
                sign, colour = _SIGNS[action]
                yield Text.assemble("    ", (sign, colour), f" … and {left} more of {count} (--detailed lists them)")
    for item in plan.names:
        yield _name("alias", item)
    for item in plan.retired:
        yield _name("tombstone", item)
    yield Text()
    yield from _list("Alarms touched", plan.alarms, detailed=detailed)
    yield from _list("Commands touched", plan.commands, detailed=detailed)
    inputs = [f"{address}{_uses(uses, detailed=detailed)}" for address, uses in plan.twin_inputs.items()]
    yield from _list("Twin inputs touched", inputs, detailed=detailed)
    yield from _affected(affected, detailed=detailed)
    if plan.unknown:
        what = "Only known when connected, and not compared: the further points of "
        yield Text(what + ", ".join(plan.unknown))
    breaking = len(plan.breaking())
    if breaking:
        yield Text(f"{breaking} breaking change{'s' * (breaking != 1)}, marked with !", style="bold red")
    yield Text(plan.summary(), style="bold")


def _uses(uses: Sequence[str], *, detailed: bool) -> str:
    shown = uses if detailed else uses[:_FEW_USES]
    more = f" and {len(uses) - len(shown)} more" if len(shown) < len(uses) else ""
    return f": {', '.join(shown)}{more}" if uses else ""


def _affected(affected: Affected | None, *, detailed: bool) -> Iterator[Text]:
    if affected is None:
        yield Text("Clients and active alarms are not among this: `plan --running` asks the gateway for them")
        return
    yield from _list("Clients that would notice", [_session(each) for each in affected.sessions], detailed=detailed)
    if not affected.sessions:
        yield Text("No OPC UA client watches any of this")
    conditions = [_condition(each) for each in affected.conditions]
    yield from _list("Alarms that hold there now", conditions, detailed=detailed)
    if len(conditions) < affected.conditions_in_all:
        yield Text(f"    of {affected.conditions_in_all} in all")


def _session(session: dict[str, Any]) -> str:
    items, user = session["items"], session["user"] or "anonymous"
    parts = [f"{items[kind]} {_ITEMS[kind]}" for kind in _ITEMS if items.get(kind)]
    return f"{session['name']} ({user}, {session['host']}): monitored items {', '.join(parts)}"


def _condition(condition: dict[str, Any]) -> str:
    states = ("active" if condition["active"] else "gone", "acknowledged" if condition["acked"] else "not acknowledged")
    return f"{condition['address']} {condition['code']} ({', '.join(states)}): {condition['text']}"


def _name(what: str, item: FieldChange) -> Text:
    sign, colour = _SIGNS["add" if item.old is None else "remove" if item.new is None else "change"]
    values = " -> ".join(str(value) for value in (item.old, item.new) if value is not None)
    return Text.assemble((f"{sign} {what} {item.field}", f"bold {colour}"), f"  {values}")


def _beyond(device: PlannedDevice, action: Action) -> Sequence[PlannedPoint]:
    return [point for point in device.points if point.action == action][FEW:]


def _device(device: PlannedDevice) -> Text:
    sign, colour = _SIGNS[device.action]
    change = device.change
    section = change.new or change.old
    line = Text(f"{sign} device {change.name}", style=f"bold {colour}")
    line.append(f" ({section.protocol})" if section is not None else "", "not bold default")
    if change.reconnects:
        line.append(", reconnects", "magenta")
    if change.fields:
        line.append(f": {_fields(change.fields, None)}")
    return line


def _point(point: PlannedPoint) -> Iterator[Text]:
    sign, colour = _SIGNS[point.action]
    change = point.change
    line = Text.assemble("    ", (sign, colour), " ")
    if change.moved_from is not None:
        line.append(f"{change.moved_from} -> ")
    line.append(change.address)
    if change.guessed:
        line.append(" (a guess: the same protocol point)", "italic")
    if change.fields:
        line.append(f"  {_fields(change.fields, change.new)}")
    elif point.action == "change" and (change.old is None or change.new is None):
        one = change.new or change.old
        what = "comes" if change.old is None else "goes"
        line.append(f"  the binding with the role {one.role if one else ''} of {change.device} {what}")
    yield line
    for text in point.breaking:
        yield Text(f"      ! {text}", style="bold red")


def _fields(fields: Sequence[FieldChange], point: MappedPoint | None) -> str:
    parts = [f"{item.field}: {_value(item, item.old, point)} -> {_value(item, item.new, point)}" for item in fields]
    more = f", … {len(parts) - _MOST_FIELDS} more" if len(parts) > _MOST_FIELDS else ""
    return ", ".join(parts[:_MOST_FIELDS]) + more


def _value(item: FieldChange, value: Any, point: MappedPoint | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        unit = point.profile.unit if point is not None else None
        text = f"{value:.12g}"
        if item.field in _IN_UNITS and unit is not None and unit.symbol != "1":
            return f"{text} {unit.symbol}"
        return f"{text} s" if item.field in _IN_SECONDS else text
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _list(title: str, addresses: Sequence[str], *, detailed: bool) -> Iterable[Text]:
    if not addresses:
        return
    yield Text(f"{title}: {len(addresses)}")
    shown = addresses if detailed else addresses[:FEW]
    yield from (Text(f"    {address}") for address in shown)
    if len(shown) < len(addresses):
        yield Text(f"    … and {len(addresses) - len(shown)} more (--detailed lists them)")
