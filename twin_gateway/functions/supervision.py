"""Supervision of devices and links at work: states, root causes, clocks, revisions, roll-up (spec 7)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from address_space import clock
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.following import Following
from twin_gateway.functions.rule_watch import RuleWatch, Watched
from twin_gateway.functions.slices import SLICE_S, Slices, in_slices
from twin_gateway.functions.supervision_checks import Checks
from twin_gateway.functions.supervision_clocks import ClockWatch
from twin_gateway.functions.supervision_devices import Device, DeviceIndex, SupervisedLink
from twin_gateway.functions.supervision_methods import SupervisionMethods
from twin_gateway.functions.supervision_outages import Outages
from twin_gateway.functions.supervision_results import SupervisionResults
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.functions.supervision_store import Maintenance, SupervisionStore
from twin_gateway.sqlite import opened
from twin_gateway.twin.rules import DeviceState, Rule
from twin_gateway.twin.supervision import clocks
from twin_gateway.twin.supervision.conditions import DEVICE_RULES
from twin_gateway.twin.supervision.revision import Approved
from twin_gateway.twin.supervision.rollup import Member
from twin_gateway.twin.supervision.state import Finding, resolve

TICK_S = 1.0
SHARE = 20.0
"""A pass over all devices takes at most one twentieth of the time."""
AT_ONCE = 200
PUBLISHED = 4
PAUSE_S = 0.02
_TRIES = 3
CERTIFICATES_S = 3600.0
_S = DeviceState
_OFF = 5
"""Of Beh (IEC 61850-7-4)."""


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
        self.outages = Outages(
            context,
            settings,
            self.index,
            links=self.links,
            gateway=gateway,
            mark=self.mark_of_place,
            monotonic=monotonic,
        )
        self._clocks, self._size = ClockWatch(self.index), 0
        self._dirty: set[int] = set()
        self._changed: tuple[Sequence[SupervisedLink], Mapping[str, str]] | None = None
        self._due = {"whole": 0.0, "save": monotonic() + settings.save_every, "certificates": 0.0}
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
            device.approved = (
                Approved(approved.configuration, approved.firmware, approved.serial)
                if approved is not None
                else Approved()
            )
            device.critical |= device.place in settings.critical
            device.clock.delay = settings.link_delays.get(device.link, settings.transport_delay)
            device.clock.hold = settings.delays.get("D02", clocks.BEHIND_S)
            warn, alarm = settings.clock_warn, settings.clock_alarm
            if device.meter:
                warn, alarm = settings.meter_clock_warn, settings.meter_clock_alarm
            device.clock.limits = clocks.ClockLimits(warn, alarm)

    # ---- contract -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Take up the points of all functions."""
        self._scan()

    @staticmethod
    def misses(_address: str) -> bool:
        """See `FollowsPoints`: none."""
        return False

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
                urgent=self.outages.links_changed,
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
        alarms, place = self.context.alarms, self.context.place
        kept = await opened(
            self.store, "Availability and maintenance", lambda text: alarms.event("G02", place, text, 600)
        )
        slices = Slices()
        for device in self.index.order:
            device.ledger.days.update(kept.days.get(device.place, {}))
            device.accepted.update(kept.accepted.get(device.place, {}))
            await slices.pause()
        self.maintenance.update(kept.maintenance)

    def _scan(self) -> None:
        """Take up points that were added (the first time: all)."""
        table = self.context.table
        if self._size == len(table):
            return
        known = len(self.index.order)
        self.index.scan()
        if len(self.index.order) > known:
            self._prepare()
            self.results.prepare()
            self.outages.find_parents()
            self.index.scan()  # the results that this added
        self._size = len(table)
        self._clocks.grow(self._size)
        self._watch.scan()

    def renew(self, links: Sequence[SupervisedLink], protocols: Mapping[str, str]) -> None:
        """Links or points have come or gone: with the next round the devices are those that there are then."""
        self._changed = (list(links), dict(protocols))
        for link in links:
            link.announces = False

    async def _follow_changes(self) -> None:
        """Take up what has changed, which is gathered in a thread."""
        changed = self._changed
        if changed is None:
            return
        fresh = await self._index_of(*changed)
        if self._changed is changed:
            self._changed = None
        self.links.clear()
        self.links.update((link.name, link) for link in changed[0])
        gone = self.index.adopt(fresh)
        over = {place for device in gone for place in (device.place, device.clock_at)}
        self.context.alarms.end(over, "It is removed from the mapping")
        self._prepare()
        self.outages.renew()
        self.results.renew(gone)
        self._size = 0
        self._scan()
        self._dirty = set(range(len(self.index.order)))
        for device in self.index.order:
            device.found = {row: watched for row, watched in device.found.items() if watched.holding}
            self._impose(device)
            if device.imposed:
                self.context.table.impose(self.index.process_rows(device), device.imposed)

    async def _index_of(self, links: Sequence[SupervisedLink], protocols: Mapping[str, str]) -> DeviceIndex:
        for _ in range(_TRIES):
            size = len(self.context.table)
            with contextlib.suppress(ValueError, IndexError):  # arrays that have grown while they were read
                fresh = await asyncio.to_thread(DeviceIndex, self.context.table, links, protocols)
                if len(self.context.table) == size:
                    return fresh
        return DeviceIndex(self.context.table, links, protocols)

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes."""
        if int(chunk.rows.max()) >= self._size:
            self._scan()
        self._watch.take(chunk)
        if chunk.texts is None and not chunk.timestamp_only:
            self._clocks.take(chunk)
            measured = self.index.measurand[chunk.rows]
            moving = measured >= 0
            if moving.any():
                self.index.movements.moved(np.unique(measured[moving]).astype(np.intp), clock.to_unix(chunk.received))

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
        self._impose(device)

    def _impose(self, device: Device) -> None:
        """Values of a device in test get quality `test`, of one that is off `outOfService` (spec 7.3, 8.2)."""
        flags = Quality.TEST if self._in_test(device) else 0
        if any(_is_off(rule, watched) for watched in device.found.values() for rule in watched.holding.values()):
            flags |= Quality.OUT_OF_SERVICE
        if flags == device.imposed:
            return
        device.imposed = int(flags)
        rows = self.index.process_rows(device)
        if len(rows):
            self.context.table.impose(rows, device.imposed)

    def remark(self, place: str) -> None:
        """Tell the alarms of a device or place again, after test mode or maintenance has changed."""
        for watched in self._watch.points.values():
            device = self.index.device_of(watched.row)
            if watched.address.startswith(f"{place}/") or (device is not None and device.place == place):
                self._watch.remark(watched)

    # ---- every second ---------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Bring states, alarms and results up to date: changed devices at once, all of them now and then."""
        await self._follow_changes()
        self._scan()
        self._watch.tick()
        await asyncio.sleep(0)
        await in_slices(self.checks.count_links())
        await asyncio.sleep(0)
        self.checks.find_frozen()
        await asyncio.sleep(0)
        changed = await self.outages.update()
        numbers = self.index.numbers
        self._dirty |= {numbers[place] for place in changed if place in numbers}
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
        start = slice_start = self._now()
        waited = 0.0
        done: list[Device] = []
        for number in numbers:
            device = order[number]
            self._supervise(number, device, self.outages.reasons.get(device.place, ""), now)
            done.append(device)
            if len(done) < PUBLISHED:
                continue
            self.results.publish_devices(done)
            done = []
            if self._now() - slice_start > SLICE_S:
                paused = self._now()
                await asyncio.sleep(0)
                slice_start = self._now()
                waited += slice_start - paused
        self.results.publish_devices(done)
        await self.results.publish_places()
        return self._now() - start - waited

    def _supervise(self, number: int, device: Device, reason: str, now: float) -> None:
        down = device.place in self.outages.down
        link = self.links.get(device.link)
        if down and device.state.state is not _S.UNREACHABLE:
            device.flapping.lost(self._now())
        flapping = device.flapping.check(self._now())
        findings = []
        if down:
            text = reason or self.outages.texts.get(device.place, "unreachable")
            findings.append(Finding(_S.UNREACHABLE, text))
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
        heard = link.counters["connects"] > 0 if own_link and link is not None else number in self.outages.heard
        connecting = link is not None and link.state is LinkState.CONNECTING and not link.counters["connects"]
        retired = device.place in self.settings.retired
        state = resolve(findings, heard=heard, connecting=connecting, retired=retired)
        if flapping:
            self.outages.tell_flapping(device)
        if state.state is not device.state.state or not device.changed:
            device.changed = clock.now()
        device.state = state
        device.ledger.account(state.state, now)
        device.member = Member(device.place, state.state, device.critical, device.ledger.availability())

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
        if now >= self._due["certificates"]:
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


def _is_off(rule: Rule, watched: Watched) -> bool:
    return rule.data == "Beh" and watched.value == _OFF
