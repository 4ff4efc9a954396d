"""What a plan touches at a gateway at work, for asking it who would notice. Pure."""

from __future__ import annotations

from twin_gateway.affected import KINDS, Touched
from twin_gateway.engineering.plan import Plan
from twin_gateway.mapping.difference import PointChange


def touched_by(plan: Plan) -> Touched:
    """What a running gateway has of what the plan touches."""
    points: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for planned in plan.points():
        change = planned.change
        match planned.action:
            case "remove":
                points["removed"].append(change.address)
            case "move" if change.moved_from is not None:
                points["moved"].append(change.moved_from)
            case "change":
                points["retyped" if _retyped(change) else "changed"].append(change.address)
    gone = [device.change.name for device in plan.devices if device.action == "remove"]
    return Touched(points, plan.alarms, gone, [name for name in plan.reconnecting() if name not in gone])


def _retyped(change: PointChange) -> bool:
    """Whether its node becomes another one."""
    old, new = change.old, change.new
    return old is not None and new is not None and not old.profile.same_node(new.profile)
