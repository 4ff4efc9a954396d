"""What has to be done to come from one mapping to another on a running gateway, and what was done."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from address_space.point import Point, Rows
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.mapping.difference import Difference, difference
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.plant import is_commanded, points_at


class ApplyError(Exception):
    """A mapping is not applied and nothing has changed; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done.

    Attributes:
        devices_added, devices_removed: names.
        reconnected: devices whose association was made anew, because their section changed.
        points_added, points_removed, points_changed: addresses. What has another type now is among the changed; its
            subscribers are told that its node is gone, and subscribe again.
        moved: (former address, address) of points that moved; both are among the removed and added.
        restart: sentences on what takes part only after the next start of the gateway.
    """

    devices_added: tuple[str, ...] = ()
    devices_removed: tuple[str, ...] = ()
    reconnected: tuple[str, ...] = ()
    points_added: tuple[str, ...] = ()
    points_removed: tuple[str, ...] = ()
    points_changed: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    restart: tuple[str, ...] = ()


@dataclass(slots=True)
class ApplyPlan:
    """What has to be done.

    Attributes:
        difference: between the mappings.
        before, after: what the table has and is to have at every address that differs.
        added: points that come, in order; what has another type now is among them.
        removed: addresses that go.
        changed: points that are something else at the same address.
        remade: devices whose association is made anew.
        stopped: names of links that do not work until that is done.
        gone: addresses that nothing is at any more.
        commanded: addresses with a command, among what differs.
        bays: places whose gates may look at other points.
        retired, changes: rows that go, and rows of `changed`.
        drops: what drivers lose, by device; what changes for the driver is among it.
        takes: what they get; with `rows`, by address, of what is there and has come.
    """

    difference: Difference
    before: dict[str, Point] = field(default_factory=dict)
    after: dict[str, Point] = field(default_factory=dict)
    added: list[Point] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[Point] = field(default_factory=list)
    remade: list[MappedDevice] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)
    commanded: set[str] = field(default_factory=set)
    bays: set[str] = field(default_factory=set)
    retired: Rows = field(default_factory=lambda: np.empty(0, np.int32))
    changes: Rows = field(default_factory=lambda: np.empty(0, np.int32))
    drops: dict[str, list[BoundPoint]] = field(default_factory=dict)
    takes: dict[str, list[MappedPoint]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def new_devices(self) -> list[MappedDevice]:
        """Devices that come."""
        return [each.new for each in self.difference.devices if each.old is None and each.new is not None]

    @property
    def gone_devices(self) -> list[str]:
        """Devices that go."""
        return [each.name for each in self.difference.devices if each.new is None]


def plan_of(old: Mapping, new: Mapping) -> ApplyPlan:
    """What has to be done to come from one checked mapping to another."""
    plan = ApplyPlan(difference(old, new))
    touched: set[str] = set()
    for change in plan.difference.points():
        both = [point for point in (change.old, change.new) if point is not None]
        touched |= {point.address for point in both}
        plan.commanded |= {point.address for point in both if is_commanded(point)}
    plan.before, plan.after = points_at(old, touched), points_at(new, touched)
    for address, point in plan.after.items():
        former = plan.before.get(address)
        if former is None:
            plan.added.append(point)
        elif not former.profile.same_node(point.profile):
            plan.added.append(point)
            plan.removed.append(address)
        elif former != point:
            plan.changed.append(point)
    plan.removed += [address for address in plan.before if address not in plan.after]
    for device in plan.difference.devices:
        if device.reconnects and device.new is not None:
            plan.remade.append(device.new)
    return plan
