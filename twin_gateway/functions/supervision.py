"""Supervision of devices and links at work: states, root causes, clocks, revisions, roll-up (spec 7)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from address_space import clock
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.following import Following
from twin_gateway.functions.rule_watch import RuleWatch, Watched
from twin_gateway.functions.slices import Slices, in_slices
from twin_gateway.functions.supervision_checks import Checks
from twin_gateway.functions.supervision_devices import Device, DeviceIndex, SupervisedLink
from twin_gateway.functions.supervision_methods import SupervisionMethods
from twin_gateway.functions.supervision_results import SupervisionResults
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.functions.supervision_store import Maintenance, SupervisionStore
from twin_gateway.twin.rules import DeviceState
from twin_gateway.twin.supervision import clocks
from twin_gateway.twin.supervision.conditions import DEVICE_RULES
from twin_gateway.twin.supervision.revision import Approved
from twin_gateway.twin.supervision.rollup import Member
from twin_gateway.twin.supervision.roots import RootCauses
from twin_gateway.twin.supervision.state import Finding, resolve

TICK_S = 1.0
SLICE_S = 0.005
SHARE = 20.0
"""A pass over all devices takes at most one twentieth of the time."""
AT_ONCE = 500
PUBLISHED = 8
PAUSE_S = 0.02
LOOK_S = 0.1
"""Links are looked at so often."""
CERTIFICATES_S = 3600.0
FROZEN_S = 10.0
_S, _UP = DeviceState, LinkState.UP
_NO_DEVICE_TIME = int(TimeFlag.RECEIVED | TimeFlag.INVALID | TimeFlag.SUBSTITUTED | TimeFlag.FUTURE)
_STALE = int(Quality.COMM_LOST | Quality.NOT_INITIALISED | Quality.INVALID | Quality.OLD_DATA | Quality.SUBSTITUTED)
_AHEAD_S = 2.0


class Supervision:
    """The twin function of spec 7; see `TwinFunction` for the contract.

    Args:
        context: see `TwinContext`.
        settings: see `SupervisionSettings`.
        links: the links of the mapping.
        protocols: protocol of each link by name (`iec104`).
        gateway: place of the gateway itself, the parent of all links.
        commands: (commands sent, commands that failed) since the start.
        monotonic, wall: clocks, s.
    """

    name = "supervision"

    def __init__(
        self,
        context: TwinContext,
        settings: SupervisionSettings,
        links: Sequence[SupervisedLink],
        protocols: Mapping[str, str],
        *,
        gateway: str = "",
        commands: Callable[[], tuple[int, int]] = lambda: (0, 0),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.context, self.settings, self.gateway = context, settings, gateway
        self.links = {link.name: link for link in links}
        self._current = [link for link in self.links.values() if link.address not in settings.retired]
        self.index = DeviceIndex(context.table, links, protocols)
        self.store = SupervisionStore(context.data_directory)
        self.maintenance: dict[str, Maintenance] = {}
        self._now, self._wall = monotonic, wall
        self._watch = RuleWatch(
            context.table,
            context.alarms,
            DEVICE_RULES.with_times(settings.delays, settings.counter_hold),
            accept=lambda address: "/_sys/" not in address,
            mark=self.mark,
            on_change=self._found,
            monotonic=monotonic,
        )
        self._roots = RootCauses(grace_s=settings.child_grace)
        self._roots.parents.update(self._parents())
        self._started = monotonic()
        self._fresh = np.zeros(0, bool)
        self._last_source = np.zeros(0, np.int64)
        self._alarmed: set[str] = set()
        self._down: set[str] = set()
        self._texts: dict[str, str] = {}
        self._dirty: set[int] = set()
        self._reasons: dict[str, str] = {}
        self._due = {"whole": 0.0, "save": monotonic() + settings.save_every, "certificates": 0.0, "links": 0.0}
        self._heard: frozenset[int] = frozenset()
        self._prepare()
        self.checks = Checks(
            context,
            settings,
            self.index,
            self.store,
            links=self.links,
            mark=self.mark_of_place,
            gateway=gateway,
            monotonic=monotonic,
            wall=wall,
        )
        self.results = SupervisionResults(
            context, self.index, links=self.links, commands=commands, monotonic=monotonic, wall=wall
        )
        self._methods = SupervisionMethods(self)
        self._scan()  # all of it, while nobody waits

    # ---- making ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Give every device what the settings say of it."""
        settings = self.settings
        for device in self.index.order:
            approved = settings.approved.get(device.place) or settings.approved.get(device.link)
            if approved is not None:
                device.approved = Approved(approved.configuration, approved.firmware, approved.serial)
            device.critical |= device.place in settings.critical
            device.clock.delay = settings.link_delays.get(device.link, settings.transport_delay)
            device.clock.hold = settings.delays.get("D02", clocks.BEHIND_S)
            warn, alarm = settings.clock_warn, settings.clock_alarm
            if device.meter:
                warn, alarm = settings.meter_clock_warn, settings.meter_clock_alarm
            device.clock.limits = clocks.ClockLimits(warn, alarm)

    def _parents(self) -> dict[str, str]:
        """Node -> parent: devices hang from their link, links from the gateway; the settings put more in between."""
        address = {name: link.address for name, link in self.links.items()}
        parents = dict.fromkeys(address.values(), self.gateway) if self.gateway else {}
        for device in self.index.order:
            if device.place != address.get(device.link):
                parents[device.place] = address[device.link]
        for child, parent in self.settings.parents.items():
            parents[address.get(child, child)] = address.get(parent, parent)
        return parents

    # ---- contract -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Take up the points of all functions."""
        self._scan()

    def specs(self) -> Sequence[MethodSpec]:
        """Methods of the supervision, all at `twSUPV1` of the area."""
        return self._methods.specs()

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run one of them."""
        return await self._methods.call(name, arguments, caller)

    async def run(self) -> None:
        """Supervise until cancelled."""
        changes = Following(self.context.table, "supervision", monotonic=self._now)
        try:
            await self._open()
            for link in self.links.values():
                link.announces = False
            self._scan()
            await in_slices(self._watch.renew_all())
            await changes.run(
                self.take,
                self._watch.renew_all,
                self._every_second,
                every=TICK_S,
                rest=PAUSE_S,
                at_once=AT_ONCE,
                urgent=self._links_changed,
            )
        finally:
            changes.close()
            for link in self.links.values():
                link.announces = True
            with contextlib.suppress(sqlite3.Error):
                await self._save()
            await self.store.close()

    # ---- what comes in --------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        kept, slices = await self.store.open(), Slices()
        for device in self.index.order:
            device.ledger.days.update(kept.days.get(device.place, {}))
            device.accepted.update(kept.accepted.get(device.place, {}))
            await slices.pause()
        self.maintenance.update(kept.maintenance)

    def _scan(self) -> None:
        """Take up points that were added (the first time: all)."""
        table = self.context.table
        if len(self._fresh) == len(table):
            return
        known = len(self.index.order)
        self.index.scan()
        if len(self.index.order) > known:
            self._prepare()
            self.results.prepare()
            self._roots.parents.update(self._parents())
            self.index.scan()  # the results that this added
        more = len(table) - len(self._fresh)
        self._fresh = np.concatenate([self._fresh, np.zeros(more, bool)])
        self._last_source = np.concatenate([self._last_source, np.zeros(more, np.int64)])
        self._watch.scan()

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes."""
        if int(chunk.rows.max()) >= len(self._fresh):
            self._scan()
        self._watch.take(chunk)
        if chunk.texts is None and not chunk.timestamp_only:
            self._watch_clocks(chunk)
            measured = self.index.measurand[chunk.rows]
            moving = measured >= 0
            if moving.any():
                self.index.movements.moved(np.unique(measured[moving]).astype(np.intp), clock.to_unix(chunk.received))

    def _watch_clocks(self, chunk: Chunk) -> None:
        rows = chunk.rows
        links = self.index.link_of_row[rows]
        usable = (links >= 0) & (chunk.quality & np.uint32(_STALE) == 0)
        # A value that was good before and has a newer time now is fresh; what an interrogation brings is not.
        known = usable & self._fresh[rows] & (chunk.source_time > self._last_source[rows])
        ahead = known & (chunk.quality & np.uint32(TimeFlag.FUTURE) != 0)
        timed = known & (chunk.quality & np.uint32(_NO_DEVICE_TIME) == 0)
        self._fresh[rows] = usable
        self._last_source[rows] = chunk.source_time
        received = clock.to_unix(chunk.received)
        for number in np.unique(links[timed | ahead]).tolist():
            mine = links == number
            if (mine & ahead).any():
                self._clock(number).add(received + _AHEAD_S, received)
                continue
            # Of the samples that came together the youngest was under way the shortest.
            newest = int(chunk.source_time[mine & timed].max())
            self._clock(number).add(clock.to_unix(newest), received)

    def _clock(self, number: int) -> clocks.ClockOffset:
        return self.index.order[number].clock

    def mark(self, watched: Watched) -> str:
        """`suppressed` under maintenance, `test` for test values and devices in test, else empty."""
        if self.maintained(watched.address):
            return "suppressed"
        if watched.quality & Quality.TEST:
            return "test"
        device = self.index.device_of(watched.row)
        return "test" if device is not None and self._in_test(device) else ""

    def mark_of_place(self, place: str) -> str:
        """The same for an alarm about a place."""
        if self.maintained(place):
            return "suppressed"
        device = self.index.devices.get(place)
        return "test" if device is not None and self._in_test(device) else ""

    def maintained(self, address: str) -> bool:
        """Whether someone has taken an address, or a place above it, into maintenance."""
        return any(address == place or address.startswith(f"{place}/") for place in self.maintenance)

    @staticmethod
    def _in_test(device: Device) -> bool:
        return any(rule.state is _S.TEST for watched in device.found.values() for rule in watched.holding.values())

    def _found(self, watched: Watched) -> None:
        device = self.index.device_of(watched.row)
        if device is None:
            return
        self._dirty.add(self.index.numbers[device.place])
        before = self._in_test(device)
        if watched.holding:
            device.found[watched.row] = watched
        else:
            device.found.pop(watched.row, None)
        if self._in_test(device) != before:
            self.remark(device.place)

    def remark(self, place: str) -> None:
        """Tell the alarms of a device or place again, after test mode or maintenance has changed."""
        for watched in self._watch.points.values():
            device = self.index.device_of(watched.row)
            if watched.address.startswith(f"{place}/") or (device is not None and device.place == place):
                self._watch.remark(watched)

    # ---- every second ---------------------------------------------------------------------------------------------

    def _links_changed(self) -> bool:
        now = self._now()
        if now < self._due["links"]:
            return False
        self._due["links"] = now + LOOK_S
        settled, down = self._is_settled(), self._down
        return any(
            (link.state is not _UP and (settled or link.counters["connects"] > 0)) != (link.address in down)
            for link in self._current
        )

    async def tick(self) -> None:
        """Bring states, alarms and results up to date: changed devices at once, all of them now and then."""
        self._scan()
        self._watch.tick()
        await in_slices(self.checks.count_links())
        self.checks.find_frozen()
        await asyncio.sleep(0)
        down = await self._find_down()
        await asyncio.sleep(0)
        outage = self._roots.evaluate(down, self._now())
        reasons = {node: f"unreachable because of {root}" for node, root in outage.suppressed.items()}
        reasons |= dict.fromkeys(outage.waiting, "not back yet after the recovery of what it hangs from")
        await asyncio.sleep(0)
        await in_slices(self._tell_roots(outage.roots))
        numbers = self.index.numbers
        changed = (down ^ self._down) | {node for node in reasons if self._reasons.get(node) != reasons[node]}
        self._dirty |= {numbers[place] for place in changed if place in numbers}
        self._down, self._reasons = down, reasons
        began = self._now()
        whole = began >= self._due["whole"]
        due = range(len(self.index.order)) if whole else sorted(self._dirty)
        self._dirty = set()
        await asyncio.sleep(0)
        spent = await self._supervise_all(due)
        if whole:
            self._due["whole"] = began + max(TICK_S, SHARE * spent)

    async def _supervise_all(self, numbers: Iterable[int]) -> float:
        """Supervise devices and publish them; gives way to others every few milliseconds. Returns the time spent."""
        order, now = self.index.order, self._wall()
        start = slice_start = time.perf_counter()
        waited = 0.0
        done: list[Device] = []
        for number in numbers:
            device = order[number]
            self._supervise(number, device, self._reasons.get(device.place, ""), now)
            done.append(device)
            if len(done) < PUBLISHED:
                continue
            self.results.publish_devices(done)
            done = []
            if time.perf_counter() - slice_start > SLICE_S:
                paused = time.perf_counter()
                await asyncio.sleep(0)
                slice_start = time.perf_counter()
                waited += slice_start - paused
        self.results.publish_devices(done)
        await self.results.publish_places()
        return time.perf_counter() - start - waited

    async def _find_down(self) -> set[str]:
        index, retired = self.index, self.settings.retired
        links, settled = self._current, self._is_settled()
        down = {link.address for link in links if link.state is not _UP and (settled or link.counters["connects"] > 0)}
        if self.gateway and len(links) > 2 and len(down) == len(links):
            down.add(self.gateway)
        await asyncio.sleep(0)
        heard, lost = self._reach()
        self._heard = frozenset(np.nonzero(heard)[0].tolist())
        behind = np.array([link.address in down for link in self.links.values()] + [False])[index.link_of_device]
        gone = behind | ((heard > 0) & (lost == heard))
        gone[: len(self.links)] = False
        down |= {index.order[number].place for number in np.nonzero(gone)[0].tolist()}
        down |= {
            device.place
            for device in index.telling()
            if any(rule.state is _S.UNREACHABLE for w in device.found.values() for rule in w.holding.values())
        }
        return down.difference(retired)

    def _is_settled(self) -> bool:
        """Before a link has been up for the first time it is given time to come up."""
        return self._now() - self._started > self.settings.settle

    def _reach(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(points heard of at any time, of these lost now) of each device."""
        rows, count = self.index.owned, len(self.index.order)
        owner, quality = self.index.owner[rows], self.context.table.quality[rows]
        mine = quality & np.uint32(Quality.NOT_INITIALISED) == 0
        lost = mine & (quality & np.uint32(Quality.COMM_LOST) != 0)
        return np.bincount(owner[mine], minlength=count), np.bincount(owner[lost], minlength=count)

    def _tell_roots(self, roots: Mapping[str, int]) -> Iterator[None]:
        alarms = self.context.alarms
        links = {link.address: link for link in self.links.values()}
        for node, children in roots.items():
            yield
            if node == self.gateway:
                text = f"The gateway reaches none of its {children} links and devices"
            elif node in links:
                text = f"Link {links[node].name} is down: {links[node].reason or 'no connection'}"
                if children:
                    behind = "1 device behind it is" if children == 1 else f"{children} devices behind it are"
                    text += f"; {behind} unreachable"
            elif any("D01" in watched.holding for watched in self.index.devices[node].found.values()):
                continue  # the device's own channel tells
            else:
                text = "Device is unreachable"
            flapping = node in links and (links[node].flapping or self.index.devices[node].flapping.active)
            if not flapping:
                self._texts[node] = text
                marked = self.mark_of_place(node)
                alarms.raise_("D01", node, text, 700, marked=marked, details=(("children", str(children)),))
                self._alarmed.add(node)
        for node in [node for node in self._alarmed if node not in roots]:
            yield
            device = self.index.devices.get(node)
            if device is not None and device.flapping.check(self._now()):
                continue
            name = f"Link {links[node].name} is up" if node in links else "Reachable again"
            alarms.clear("D01", node, name)
            self._alarmed.discard(node)

    def _supervise(self, number: int, device: Device, reason: str, now: float) -> None:
        down = device.place in self._down
        link = self.links.get(device.link)
        if down and device.state.state is not _S.UNREACHABLE:
            device.flapping.lost(self._now())
        flapping = device.flapping.check(self._now())
        findings = [Finding(_S.UNREACHABLE, reason or self._texts.get(device.place, "unreachable"))] if down else []
        for watched in device.found.values():
            findings += [
                Finding(rule.state, rule.text or rule.code)
                for rule in watched.holding.values()
                if rule.state not in (_S.OK, _S.UNREACHABLE)
            ]
        if flapping and not down:
            findings.append(Finding(_S.DEGRADED, "flapping"))
        findings += self.checks.clock(device, link)
        findings += self.checks.revisions(device)
        if device.frozen:
            findings.append(Finding(_S.DEGRADED, f"{device.frozen} measurands stand still"))
        own_link = link is not None and device.place == link.address
        heard = link.counters["connects"] > 0 if own_link and link is not None else number in self._heard
        connecting = link is not None and link.state is LinkState.CONNECTING and not link.counters["connects"]
        retired = device.place in self.settings.retired
        state = resolve(findings, heard=heard, connecting=connecting, retired=retired)
        self._tell_flapping(device, flapping)
        if state.state is not device.state.state or not device.changed:
            device.changed = clock.now()
        device.state = state
        device.ledger.account(state.state, now)
        device.member = Member(device.place, state.state, device.critical, device.ledger.availability())

    def _tell_flapping(self, device: Device, flapping: bool) -> None:
        # One alarm for all the losses, which `_tell_roots` clears when ten minutes have been quiet.
        if flapping and self._roots.parents.get(device.place, "") not in self._down:
            self.context.alarms.raise_("D01", device.place, "Degraded (flapping): lost more than five times", 700)
            self._alarmed.add(device.place)

    async def _every_second(self) -> None:
        await self.tick()
        await asyncio.sleep(0)
        await self._keep()

    async def _keep(self) -> None:
        now = self._now()
        if now >= self._due["save"]:
            self._due["save"] = now + self.settings.save_every
            try:
                await self._save()
            except sqlite3.Error as error:
                self.context.alarms.event("G02", self.gateway, f"Availability cannot be kept: {error}", 600)
        if self.settings.certificates and now >= self._due["certificates"]:
            self._due["certificates"] = now + CERTIFICATES_S
            await self.checks.certificates()

    async def _save(self) -> None:
        now = self._wall()
        slices = Slices()
        for device in self.index.order:
            device.ledger.account(device.state.state, now)
            await slices.pause()
        ledgers = {device.place: device.ledger for device in self.index.order}
        await self.store.save(ledgers, int(now // 86_400))


def make_supervision(
    context: TwinContext,
    settings: SupervisionSettings,
    links: Sequence[SupervisedLink],
    protocols: Mapping[str, str],
    *,
    gateway: str = "",
    commands: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> Supervision:
    """The supervision of all devices of a gateway; arguments as of `Supervision`."""
    return Supervision(context, settings, links, protocols, gateway=gateway, commands=commands)
