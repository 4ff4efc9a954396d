"""Applying a changed mapping to a running gateway: what differs is changed, everything else goes on untouched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from address_space import clock
from address_space.address import AddressError
from address_space.alias import AddressBook, AliasError, Tombstone
from address_space.point import Point, Rows
from twin_gateway.commands.target import build_target
from twin_gateway.drivers.contract import BoundPoint, PointChange
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.functions.supervision import Supervision
from twin_gateway.mapping.difference import Difference, difference
from twin_gateway.mapping.model import MappedDevice, MappedPoint, Mapping
from twin_gateway.plant import aliases_of, describe, gives_value, is_commanded, points_at

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

log = logging.getLogger(__name__)
_BAY_LEVELS = 5
COMMAND_PATIENCE_S = 30.0
"""How long a change waits for the outcome of commands that are about what it changes."""
_TOGETHER = 64
"""Drivers that are told at once."""
_RULES = "/rules"


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
class _Plan:
    """What has to be done.

    Attributes:
        difference: between the mappings.
        before, after: what the table has and is to have at every address that differs.
        added: points that come, in order; what has another type now is among them.
        removed: addresses that go.
        changed: points that are something else at the same address.
        remade: devices whose association is made anew.
        stopped: names of links that do not work until that is done.
    """

    difference: Difference
    before: dict[str, Point] = field(default_factory=dict)
    after: dict[str, Point] = field(default_factory=dict)
    added: list[Point] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[Point] = field(default_factory=list)
    remade: list[MappedDevice] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)

    @property
    def new_devices(self) -> list[MappedDevice]:
        """Devices that come."""
        return [each.new for each in self.difference.devices if each.old is None and each.new is not None]

    @property
    def gone_devices(self) -> list[str]:
        """Devices that go."""
        return [each.name for each in self.difference.devices if each.new is None]


def _plan(old: Mapping, new: Mapping) -> _Plan:
    plan = _Plan(difference(old, new))
    touched: set[str] = set()
    for change in plan.difference.points():
        touched |= {point.address for point in (change.old, change.new) if point is not None}
    plan.before, plan.after = points_at(old, touched), points_at(new, touched)
    for address, point in plan.after.items():
        former = plan.before.get(address)
        if former is None:
            plan.added.append(point)
        elif not _same_kind(former, point):
            plan.added.append(point)
            plan.removed.append(address)
        elif former != point:
            plan.changed.append(point)
    plan.removed += [address for address in plan.before if address not in plan.after]
    for device in plan.difference.devices:
        if device.reconnects and device.new is not None:
            plan.remade.append(device.new)
    return plan


def _try_drivers(devices: Iterable[MappedDevice]) -> None:
    """Make a driver for each; what stands against it is raised. Loads stacks of protocols that are used first now."""
    for device in devices:
        bound = [point.bound(row) for row, point in enumerate(filter(gives_value, device.points))]
        create_driver(device.spec, device.name, device.config, bound)


def _same_kind(one: Point, other: Point) -> bool:
    """Whether the node stays what it is: type of the value, VariableType and common data class."""
    first, second = one.profile, other.profile
    return (first.value_type, first.kind, first.cdc) == (second.value_type, second.kind, second.cdc)


class Applier:
    """Applies one mapping after the other to a gateway; what is under way is finished first."""

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def apply(self, new: Mapping) -> Applied:
        """Change the running gateway to a checked mapping.

        All or nothing: whatever could stand against it is tried before anything is touched.

        Raises:
            ApplyError: it cannot be applied; nothing has changed.
        """
        if new.secrets_missing:
            raise ApplyError("a secret of the mapping was not found; the gateway goes on with the mapping it has")
        under_way = self._of.desk.under_way
        async with self._of.whole_models.changing:
            plan = await asyncio.to_thread(_plan, self._of.mapping, new)
            if not plan.difference:
                self._of.mapping = new
                return Applied()
            # Commands are sacred: nothing they are about is changed under them, and none leaves meanwhile.
            commanded, links = self._commanded(plan), {*plan.gone_devices, *(device.name for device in plan.remade)}
            with under_way.holding(commanded, links):
                waits = await under_way.over(commanded, links, COMMAND_PATIENCE_S)
                if waits:
                    text = f"a command to {waits[0]} has had no outcome for {COMMAND_PATIENCE_S:g} s; apply again then"
                    raise ApplyError(text)
                book = await self._tried(plan, new)
                return await self._carry_out(plan, new, book)

    def _commanded(self, plan: _Plan) -> set[str]:
        """Addresses that can be commanded, and that are changed."""
        touched = {point.address for change in plan.difference.points() for point in (change.old, change.new) if point}
        whole = {
            point.address
            for change in plan.difference.devices
            if change.old is not None and (change.new is None or change.new.whole != change.old.whole)
            for point in self._of.whole_models.added(change.name)
        }
        return {address for address in touched | whole if self._of.desk.controllable(address)}

    # ---- trying ---------------------------------------------------------------------------------------------------

    async def _tried(self, plan: _Plan, new: Mapping) -> AddressBook:
        gateway, table = self._of, self._of.table
        self._adopt_whole(plan)
        foreign = next((each.address for each in plan.added if self._taken(plan, each.address)), None)
        if foreign is not None:
            raise ApplyError(f"{foreign} is a point of the gateway itself already; give the new one another address")
        tree = table.tree.copy()
        nodes = table.node[self._rows([*plan.removed, *self._left_over(plan)])]
        try:
            await asyncio.to_thread(tree.trial, nodes, [point.address for point in plan.added])
            await asyncio.to_thread(_try_drivers, (*plan.new_devices, *plan.remade))
            return await asyncio.to_thread(gateway.make_book, new)
        except (AddressError, AliasError) as error:
            raise ApplyError(f"{error}") from error
        except Exception as error:  # of a driver, perhaps of a plug-in: whatever it raises is why it cannot be
            log.exception("a mapping cannot be applied")
            raise ApplyError(f"a driver cannot be made: {type(error).__name__}: {error}") from error

    def _adopt_whole(self, plan: _Plan) -> None:
        """Points of whole models that a line of the file names now are no new ones."""
        table = self._of.table
        for point in list(plan.added):
            row = table.find(point.address)
            if row < 0 or point.address in plan.before or not point.link or table.binding(row)[0] != point.link:
                continue
            former = Point(point.address, table.profile(row), point.link, table.binding(row)[1])
            plan.before[point.address] = former
            if _same_kind(former, point):
                plan.added.remove(point)
                plan.changed.append(point)
            else:
                plan.removed.append(point.address)

    def _taken(self, plan: _Plan, address: str) -> bool:
        row = self._of.table.find(address)
        return row >= 0 and address not in plan.before and self._of.table.binding(row)[0] not in plan.gone_devices

    def _left_over(self, plan: _Plan) -> list[str]:
        """Points of whole models of devices that go."""
        table = self._of.table
        rows = [row for name in plan.gone_devices for row in table.rows_of_link(name).tolist()]
        return [address for address in map(table.address, rows) if address not in plan.before]

    def _rows(self, addresses: Sequence[str]) -> Rows:
        tree = self._of.table.tree
        nodes = tree.find_many(addresses)
        rows = np.asarray(tree.row[nodes[nodes >= 0]], np.int32)
        return rows[rows >= 0]

    # ---- doing ----------------------------------------------------------------------------------------------------

    async def _carry_out(self, plan: _Plan, new: Mapping, book: AddressBook) -> Applied:
        links = {link.name: link for link in self._of.plant.links}
        plan.stopped.update(plan.gone_devices, (device.name for device in plan.remade))
        await asyncio.gather(*map(self.stop_link, plan.stopped))
        drops, takes = self._driver_changes(plan)
        for name in drops:
            links[name].sheds = True
        # Before the points become something else: what is under way for them would be taken for the new.
        await self._update(plan, links, {name: PointChange(removed=points) for name, points in drops.items()})
        try:
            made = self._commit(plan, new, book, links)
        except Exception:
            for name in plan.stopped:
                self.start_link(links[name])
            raise
        fresh = {link.name for link in made}
        find = self._of.table.find
        added = {
            name: PointChange(added=[point.bound(find(point.address)) for point in points])
            for name, points in takes.items()
            if name not in fresh
        }
        await self._update(plan, links, added)
        await self._renew_whole(plan, links)
        for device in plan.remade:
            link = links[device.name]
            link.driver = create_driver(device.spec, device.name, device.config, self._bound(device))
            describe(link, device)
            self.start_link(link)
        for link in made:
            self.start_link(link)
        await self._renew_rules(set(plan.before) | set(plan.after))
        return self._told(plan)

    def _driver_changes(self, plan: _Plan) -> tuple[dict[str, list[BoundPoint]], dict[str, list[MappedPoint]]]:
        """Points that drivers lose, and that they get, by device; what changes for the driver is among both.

        A point that stays what it is for the driver is asked for anew where a smaller deadband may show another value.
        """
        drops: dict[str, list[BoundPoint]] = defaultdict(list)
        takes: dict[str, list[MappedPoint]] = defaultdict(list)
        find, going = self._of.table.find, set(plan.removed)
        for change in plan.difference.points():
            old, new, same = change.old, change.new, False
            had = old.bound(find(old.address)) if old is not None and gives_value(old) else None
            if had is not None and new is not None and gives_value(new) and change.device == change.device_from:
                before, after = plan.before[had.address], plan.after.get(had.address)
                same = had.address not in going and new.bound(had.row) == had
                same = same and after is not None and not after.profile.deadband < before.profile.deadband
            if had is not None and not same:
                drops[change.device_from].append(had)
            if new is not None and gives_value(new) and not same:
                takes[change.device].append(new)
        return drops, takes

    async def _update(self, plan: _Plan, links: dict[str, LinkSupervisor], changes: dict[str, PointChange]) -> None:
        """Tell running drivers, side by side."""
        names = [name for name, change in changes.items() if (change.added or change.removed)]
        for start in range(0, len(names), _TOGETHER):
            some = [name for name in names[start : start + _TOGETHER] if name not in plan.stopped]
            await asyncio.gather(*(self._update_one(plan, links[name], changes[name]) for name in some))

    async def _update_one(self, plan: _Plan, link: LinkSupervisor, change: PointChange) -> None:
        """Tell a running driver; one that cannot do it is made anew, which is as good but interrupts its link."""
        try:
            await link.driver.update(change)
        except Exception:
            log.exception("link %s: its points cannot be changed while it works; it reconnects", link.name)
            under_way = self._of.desk.under_way
            with under_way.holding((), {link.name}):
                await under_way.over((), {link.name}, None)
                await self.stop_link(link.name)
            plan.stopped.add(link.name)
            plan.remade += [each.new for each in plan.difference.devices if each.name == link.name and each.new]

    def _commit(
        self, plan: _Plan, new: Mapping, book: AddressBook, links: dict[str, LinkSupervisor]
    ) -> list[LinkSupervisor]:
        """Change table, book, desk and links in one go: nothing else runs meanwhile. Returns the new links."""
        gateway, table, now = self._of, self._of.table, clock.now()
        gone = [address for address in plan.removed if address not in plan.after] + self._left_over(plan)
        table.change(self._rows([point.address for point in plan.changed]), plan.changed, now=now)
        table.retire(self._rows([*plan.removed, *gone]), now=now)
        table.add(plan.added)
        places = [links[name].address for name in plan.gone_devices]
        gateway.system.remove_links(plan.gone_devices)
        supervisions = [each for each in gateway.twin.functions if isinstance(each, Supervision)]
        for name in plan.gone_devices:
            for function in supervisions:
                function.outages.release(links[name].address)
            gateway.plant.links.remove(links.pop(name))
        made = [gateway.plant.maker.make(device, self._bound(device)) for device in plan.new_devices]
        gateway.take_links(made, plan.new_devices)
        links |= {link.name: link for link in made}
        self._retarget(plan, links, gone)
        gateway.alarms.end({*gone, *places}, "It is removed from the mapping")
        gateway.plant.aliases = aliases_of(new)
        gateway.book.adopt(book)
        moved = {each.moved_from: each.address for each in plan.difference.points() if each.moved_from}
        for address in gone:
            if address in new.retired:
                continue  # its tombstone says more
            with contextlib.suppress(AliasError):  # the mapping says itself who is the successor
                gateway.book.retire(Tombstone(address, now, "removed from the mapping", moved.get(address, "")))
        for point in plan.added:
            gateway.book.revive(point.address)
        gateway.mapping = new
        if made or plan.gone_devices or plan.added or plan.removed:
            for function in supervisions:
                function.renew(gateway.plant.links, gateway.protocols())
        return made

    def _bound(self, device: MappedDevice) -> list[BoundPoint]:
        """The points of a device as its driver takes them, those of whole models among them."""
        points = [point for point in device.points if gives_value(point)]
        rows = self._rows([point.address for point in points]).tolist()
        named = {point.address for point in points}
        whole = [point for point in self._of.whole_models.added(device.name) if point.address not in named]
        return [point.bound(row) for point, row in zip(points, rows, strict=True)] + whole

    def _retarget(self, plan: _Plan, links: dict[str, LinkSupervisor], gone: Sequence[str]) -> None:
        """Commands go where the mapping says, and their gates look at the points that there are now."""
        table, desk = self._of.table, self._of.desk
        changes = list(plan.difference.points())
        desk.remove(each.old.address for each in changes if each.old is not None and is_commanded(each.old))
        desk.remove(gone)
        desk.add(
            build_target(table, each.new.bound(table.find(each.new.address)), links[each.device], each.new.profile)
            for each in changes
            if each.new is not None and is_commanded(each.new)
        )
        touched = (*plan.before, *plan.after, *gone)
        desk.renew({"/".join(address.split("/")[:_BAY_LEVELS]) for address in touched})

    # ---- what runs ------------------------------------------------------------------------------------------------

    def start_link(self, link: LinkSupervisor) -> None:
        """Let a link connect."""
        self._tasks[link.name] = self._of.spawn(f"link {link.name}", link.run)

    async def stop_link(self, name: str) -> None:
        """End a link; its points lose communication."""
        await self._of.end(self._tasks.pop(name))

    def start_rules(self) -> None:
        """Judge the alarm rules of the mapping."""
        if self._of.rules is not None:
            self._tasks[_RULES] = self._of.spawn("alarm rules", self._of.rules.run)

    async def _renew_rules(self, touched: set[str]) -> None:
        """Judge by the rules that there are now, where any of them or a point of theirs has changed."""
        gateway, before = self._of, self._of.rules
        rules = gateway.make_rules()
        known = {} if before is None else before.rules
        present = {} if rules is None else rules.rules
        about = {address for each in (known, present) for address in each}
        about |= {rule.target for each in (known, present) for rule in each.values()}
        if not about & touched:
            return
        task = self._tasks.pop(_RULES, None)
        if task is not None:
            await gateway.end(task)
        for address, rule in known.items():
            if address not in present or present[address].code != rule.code:
                gateway.alarms.clear(rule.code, address, "The alarm rule is removed from the mapping")
        gateway.rules = rules
        self.start_rules()

    async def _renew_whole(self, plan: _Plan, links: dict[str, LinkSupervisor]) -> None:
        """Ask devices for whole models that are wanted now, and give up those that are not any more."""
        whole, table = self._of.whole_models, self._of.table
        waits, shed = False, list[BoundPoint]()
        for change in plan.difference.devices:
            if change.new is None:
                whole.forget(change.name)
                continue
            wanted = {(each.place, each.logical_device) for each in change.new.whole}
            had = {(each.place, each.logical_device) for each in change.old.whole} if change.old is not None else set()
            link, heads = links[change.name], tuple(f"{place}/" for place, _ in had - wanted)
            gone = [
                point
                for point in whole.added(change.name)
                if heads and point.address.startswith(heads) and point.address not in plan.after
            ]
            if gone:
                link.sheds = True
                await self._update(plan, links, {link.name: PointChange(removed=gone)})
                shed += gone
            if wanted:
                waits |= whole.watch(change.new, link)
        if shed:
            table.retire(np.array([point.row for point in shed], np.int32))
            self._of.desk.remove(point.address for point in shed)
            self._of.alarms.end({point.address for point in shed}, "It is removed from the mapping")
        if waits:
            self._of.watch_whole_models()

    def _told(self, plan: _Plan) -> Applied:
        new, gone = plan.new_devices, plan.gone_devices
        replaced = {point.address for point in plan.added} & set(plan.removed)
        restart = []
        if self._of.twin.functions and (plan.added or plan.removed):
            restart.append(
                "twin functions: those that look for their points when they start take part in what was added or "
                "removed from the next start on"
            )
        return Applied(
            tuple(device.name for device in new),
            tuple(gone),
            tuple(dict.fromkeys(device.name for device in plan.remade)),
            tuple(point.address for point in plan.added if point.address not in replaced),
            tuple(address for address in plan.removed if address not in replaced),
            tuple(sorted({*(point.address for point in plan.changed), *replaced})),
            tuple((each.moved_from, each.address) for each in plan.difference.points() if each.moved_from),
            tuple(restart),
        )
