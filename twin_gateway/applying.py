"""Applying a changed mapping to a running gateway: what differs is changed, everything else goes on untouched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from collections.abc import Mapping as Fields
from typing import TYPE_CHECKING

import numpy as np

from address_space import clock
from address_space.address import AddressError
from address_space.alias import AddressBook, AliasError
from address_space.edits import Trial
from twin_gateway.apply_plan import Applied, ApplyError, ApplyPlan, plan_of
from twin_gateway.apply_trial import bury, try_points
from twin_gateway.commands.target import build_target
from twin_gateway.drivers.contract import BoundPoint, PointChange
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.functions.contract import FollowsPoints
from twin_gateway.gateway_parts import supervisions
from twin_gateway.mapping.alarm_rule import AlarmRule
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.plant import describe, gives_value, is_commanded, rules_of

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

log = logging.getLogger(__name__)
COMMAND_PATIENCE_S = 30.0
"""How long a change waits for the outcome of commands that are about what it changes."""
MOST_RETIRED = 2_000_000
"""Places of removed points that are kept at most, until the next start; each takes about 300 octets."""
MANY_RETIRED = 200_000
"""More of them are told."""
_TOGETHER = 64
"""Drivers that are told at once."""
__all__ = ["Applied", "Applier", "ApplyError"]
_RULES = "/rules"


def _try_drivers(devices: Iterable[MappedDevice]) -> None:
    """Make a driver for each; what stands against it is raised. Loads stacks of protocols that are used first now."""
    for device in devices:
        bound = [point.bound(row) for row, point in enumerate(filter(gives_value, device.points))]
        create_driver(device.spec, device.name, device.config, bound)


class Applier:
    """Applies one mapping after the other to a gateway; what is under way is finished first."""

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def close(self) -> None:
        """Begin no more changes; what is being carried out goes on."""
        self._closed = True

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
            plan = await asyncio.to_thread(plan_of, self._of.mapping, new)
            if not plan.difference:
                self._of.mapping = new
                return Applied()
            # Commands are sacred: nothing they are about is changed under them, and none leaves meanwhile.
            commanded = plan.commanded | self._commanded_else(plan)
            links = {*plan.gone_devices, *(device.name for device in plan.remade)}
            with under_way.holding(commanded, links):
                waits = await under_way.over(commanded, links, COMMAND_PATIENCE_S)
                if waits:
                    text = f"a command to {waits[0]} has had no outcome for {COMMAND_PATIENCE_S:g} s; apply again then"
                    raise ApplyError(text)
                if self._of.table.retired + len(plan.removed) > MOST_RETIRED:
                    text = f"{self._of.table.retired} points have been removed at work, and no more places can be kept"
                    raise ApplyError(f"{text}; start the gateway anew")
                trial = self._of.table.trial()
                book = await self._tried(plan, new, trial)
                if self._closed:
                    raise ApplyError("the gateway stops")
                return await self._carry_out(plan, new, book, trial)

    def _commanded_else(self, plan: ApplyPlan) -> set[str]:
        """Points that change and are commanded by a line that does not, and those of whole models that may go."""
        whole = {
            point.address
            for change in plan.difference.devices
            if change.old is not None and (change.new is None or change.new.whole != change.old.whole)
            for point in self._of.whole_models.added(change.name)
        }
        return set(filter(self._of.desk.controllable, whole | plan.before.keys()))

    async def _tried(self, plan: ApplyPlan, new: Mapping, trial: Trial) -> AddressBook:
        gateway = self._of
        try:
            await asyncio.to_thread(try_points, plan, gateway.table, trial)
            await asyncio.to_thread(_try_drivers, (*plan.new_devices, *plan.remade))
            book = await asyncio.to_thread(gateway.make_book, new)
            await asyncio.to_thread(bury, plan, book, gateway.book, new.retired, clock.now())
            return book
        except (AddressError, AliasError) as error:
            raise ApplyError(f"{error}") from error
        except ApplyError:
            raise
        except Exception as error:  # of a driver, perhaps of a plug-in: whatever it raises is why it cannot be
            log.exception("a mapping cannot be applied")
            raise ApplyError(f"a driver cannot be made: {type(error).__name__}: {error}") from error

    # ---- doing ----------------------------------------------------------------------------------------------------

    async def _carry_out(self, plan: ApplyPlan, new: Mapping, book: AddressBook, trial: Trial) -> Applied:
        links = {link.name: link for link in self._of.plant.links}
        await self._stop(plan, links)
        for name in plan.drops:
            links[name].sheds = True
        # Before the points become something else: what is under way for them would be taken for the new.
        await self._update(plan, links, {name: PointChange(removed=points) for name, points in plan.drops.items()})
        try:
            made = self._commit(plan, new, book, trial)
        except Exception:
            for name in plan.stopped:
                self.start_link(links[name])
            await self._update(plan, links, {name: PointChange(added=points) for name, points in plan.drops.items()})
            raise
        faults = list[str]()  # the new mapping runs: what fails from now on is told, and the rest is done all the same
        self._follow(plan, links, made, faults)
        with _told_of("points of links that go on", faults):
            await self._update(plan, links, await asyncio.to_thread(_added, plan, {link.name for link in made}))
        with _told_of("whole models of devices", faults):
            await self._renew_whole(plan, links)
        for device in plan.remade:
            with _told_of(f"link {device.name}", faults):
                link = links[device.name]
                link.driver = create_driver(device.spec, device.name, device.config, self._bound(device, {}))
                describe(link, device)
                self.start_link(link)
        for link in made:
            self.start_link(link)
        with _told_of("alarm rules", faults):
            await self._renew_rules(plan)
        sentences = await asyncio.to_thread(self._sentences, plan)
        return await asyncio.to_thread(_told, plan, faults + sentences)

    def _sentences(self, plan: ApplyPlan) -> list[str]:
        """What takes part only after the next start."""
        found, retired = [], self._of.table.retired
        came = {*(point.address for point in plan.added), *plan.removed}
        late = [
            each.name
            for each in self._of.twin.functions
            if came and (not isinstance(each, FollowsPoints) or any(map(each.misses, came)))
        ]
        if late:
            verb = "has" if len(late) == 1 else "have"
            names = ", ".join(late)
            found.append(f"twin functions: {names} {verb} what was added or removed from the next start on")
        if retired > MANY_RETIRED:
            found.append(f"memory: the places of {retired} removed points are kept until the next start")
        return found

    async def _update(self, plan: ApplyPlan, links: dict[str, LinkSupervisor], changes: dict[str, PointChange]) -> None:
        """Tell running drivers, side by side."""
        names = [name for name, change in changes.items() if (change.added or change.removed)]
        for start in range(0, len(names), _TOGETHER):
            some = [name for name in names[start : start + _TOGETHER] if name not in plan.stopped]
            await asyncio.gather(*(self._update_one(plan, links[name], changes[name]) for name in some))

    async def _update_one(self, plan: ApplyPlan, link: LinkSupervisor, change: PointChange) -> None:
        """Tell a running driver; one that cannot do it is made anew, which is as good but interrupts its link."""
        try:
            await link.update(change)
        except Exception:
            log.exception("link %s: its points cannot be changed while it works; it reconnects", link.name)
            under_way = self._of.desk.under_way
            with under_way.holding((), {link.name}):
                await under_way.over((), {link.name}, None)
                if not await self.stop_link(link.name):
                    return
            plan.stopped.add(link.name)
            plan.remade += [each.new for each in plan.difference.devices if each.name == link.name and each.new]

    async def _stop(self, plan: ApplyPlan, links: dict[str, LinkSupervisor]) -> None:
        """End the links that go and those that are made anew; all of them, or none.

        Raises:
            ApplyError: one of them does not end; the others work again.
        """
        names = [*plan.gone_devices, *(device.name for device in plan.remade)]
        ended = await asyncio.gather(*map(self.stop_link, names))
        if all(ended):
            plan.stopped.update(names)
            return
        for name, has_ended in zip(names, ended, strict=True):
            if has_ended:
                self.start_link(links[name])
        raise ApplyError(f"link {names[ended.index(False)]} does not end; apply again, or start the gateway anew")

    def _commit(self, plan: ApplyPlan, new: Mapping, book: AddressBook, trial: Trial) -> list[LinkSupervisor]:
        """Change table, book and mapping in one go; the new links. What it raises it raises before anything changes."""
        gateway, table, now = self._of, self._of.table, clock.now()
        plan.rows.update((point.address, row) for row, point in enumerate(plan.added, len(table)))
        for device in plan.new_devices:
            table.link_number(device.name)
        made = [gateway.plant.maker.make(device, self._bound(device, plan.rows)) for device in plan.new_devices]
        table.exchange(plan.retired, plan.added, trial, now=now)
        table.change(plan.changes, plan.changed, now=now)
        gateway.book.adopt(book)
        gateway.mapping = new
        return made

    def _follow(
        self, plan: ApplyPlan, links: dict[str, LinkSupervisor], made: Sequence[LinkSupervisor], faults: list[str]
    ) -> None:
        """Let links, desk and alarms be those of the new mapping, before anything else runs."""
        gateway = self._of
        gone = [links.pop(name) for name in plan.gone_devices]
        for link in gone:
            gateway.plant.links.remove(link)
        links |= {link.name: link for link in made}
        with _told_of("commands", faults):
            self._retarget(plan, links)
        with _told_of("points of links", faults):
            gateway.system.remove_links(plan.gone_devices)
            gateway.take_links(made, plan.new_devices)
        with _told_of("alarms of what is removed", faults):
            gateway.alarms.end({*plan.gone, *(link.address for link in gone)}, "It is removed from the mapping")
        with _told_of("supervision of devices", faults):
            for function in supervisions(gateway):
                for link in gone:
                    function.outages.release(link.address)
                if made or gone or plan.added or plan.removed:
                    function.renew(gateway.plant.links, gateway.protocols())

    def _bound(self, device: MappedDevice, coming: Fields[str, int]) -> list[BoundPoint]:
        """The points of a device as its driver takes them, those of whole models among them.

        Args:
            device: which it is.
            coming: rows that points are about to have, by address.
        """
        points = [point for point in device.points if gives_value(point)]
        tree = self._of.table.tree
        rows = tree.row[tree.find_many([point.address for point in points])].tolist()
        named = {point.address for point in points}
        whole = [point for point in self._of.whole_models.added(device.name) if point.address not in named]
        return [point.bound(coming.get(point.address, row)) for point, row in zip(points, rows, strict=True)] + whole

    def _retarget(self, plan: ApplyPlan, links: dict[str, LinkSupervisor]) -> None:
        """Commands go where the mapping says, and their gates look at the points that there are now."""
        table, desk = self._of.table, self._of.desk
        desk.remove(plan.commanded)
        desk.remove(plan.gone)
        desk.add(
            build_target(table, each.new.bound(table.find(each.new.address)), links[each.device], each.new.profile)
            for each in plan.difference.points()
            if each.new is not None and is_commanded(each.new)
        )
        desk.renew(plan.bays)

    # ---- what runs ------------------------------------------------------------------------------------------------

    def start_link(self, link: LinkSupervisor) -> None:
        """Let a link connect."""
        self._tasks[link.name] = self._of.spawn(f"link {link.name}", link.run)

    async def stop_link(self, name: str) -> bool:
        """End a link; its points lose communication. Whether it has ended; one that could not follow has before."""
        task = self._tasks.get(name)
        if task is not None and not await self._of.end(task):
            return False
        self._tasks.pop(name, None)
        return True

    def start_rules(self) -> None:
        """Judge the alarm rules of the mapping."""
        if self._of.rules is not None:
            self._tasks[_RULES] = self._of.spawn("alarm rules", self._of.rules.run)

    async def _renew_rules(self, plan: ApplyPlan) -> None:
        """Judge by the rules that there are now, where any of them or a point of theirs has changed."""
        gateway, before = self._of, self._of.rules
        known = {} if before is None else before.rules
        present = await asyncio.to_thread(rules_of, gateway.mapping)
        if not await asyncio.to_thread(_concerns, plan, known, present):
            return
        rules = gateway.make_rules()
        task = self._tasks.pop(_RULES, None)
        if task is not None:
            await gateway.end(task)
        for address, rule in known.items():
            if address not in present or present[address].code != rule.code:
                gateway.alarms.clear(rule.code, address, "The alarm rule is removed from the mapping")
        gateway.rules = rules
        self.start_rules()

    async def _renew_whole(self, plan: ApplyPlan, links: dict[str, LinkSupervisor]) -> None:
        """Ask devices for whole models that are wanted now, and give up those that are not any more."""
        whole, table = self._of.whole_models, self._of.table
        waits, shed = False, list[BoundPoint]()
        for change in plan.difference.devices:
            if change.new is None:
                whole.forget(change.name)
                continue
            waits |= whole.watch(change.new, links[change.name])
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
        if shed:
            table.retire(np.array([point.row for point in shed], np.int32))
            self._of.desk.remove(point.address for point in shed)
            self._of.alarms.end({point.address for point in shed}, "It is removed from the mapping")
        if waits:
            self._of.watch_whole_models()


@contextlib.contextmanager
def _told_of(what: str, faults: list[str]) -> Iterator[None]:
    """A part of a change that cannot be taken back any more: that it fails is logged, and is a sentence."""
    try:
        yield
    except Exception as error:
        log.exception("%s cannot follow the changed mapping", what)
        faults.append(f"{what} cannot follow the changed mapping ({type(error).__name__}: {error})")


def _added(plan: ApplyPlan, fresh: Container[str]) -> dict[str, PointChange]:
    """What the drivers get, but for those that are made with it."""
    return {
        name: PointChange(added=[point.bound(plan.rows[point.address]) for point in points])
        for name, points in plan.takes.items()
        if name not in fresh and name not in plan.stopped
    }


def _concerns(plan: ApplyPlan, *rules: Fields[str, AlarmRule]) -> bool:
    """Whether the plan touches an alarm rule, or a point of one."""
    about = {address for each in rules for address in each}
    about |= {rule.target for each in rules for rule in each.values()}
    return not about.isdisjoint(plan.before.keys() | plan.after.keys())


def _told(plan: ApplyPlan, restart: Sequence[str]) -> Applied:
    new, gone = plan.new_devices, plan.gone_devices
    replaced = {point.address for point in plan.added} & set(plan.removed)
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
