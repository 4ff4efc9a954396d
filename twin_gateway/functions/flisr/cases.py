"""The fault events that are on: each a sequence with its snapshot; what they ask for is done here."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from address_space.ports import Caller, Outcome
from twin_gateway.drivers.contract import LinkService
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.flisr.desk_work import DeskWork, Order
from twin_gateway.functions.flisr.engine import Engine, Snapshot
from twin_gateway.functions.flisr.interruptions import Outage, Reliability, SupplyLog, reliability
from twin_gateway.functions.flisr.journal import EventEntry, FlisrJournal
from twin_gateway.functions.flisr.loads import LoadMemory
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.points import FlisrPoints
from twin_gateway.functions.flisr.remember import event_body, location_of, snapshot_of, step_record, trigger_of
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.flisr.steady_clock import SteadyClock
from twin_gateway.functions.flisr.view import FeederView
from twin_gateway.functions.slices import each
from twin_gateway.grid.model import LoadData, Position
from twin_gateway.grid.zones import Flags
from twin_gateway.twin.flisr.records import Indication, LoadEstimate
from twin_gateway.twin.flisr.sequence import Sequence
from twin_gateway.twin.flisr.states import (
    ENDED_WELL,
    Action,
    Answer,
    Cause,
    Locate,
    MakePlan,
    Mode,
    Offer,
    Operate,
    Purpose,
    PutTags,
    ResetIndicators,
    State,
    Tell,
    Trigger,
    Waiting,
)

log = logging.getLogger(__name__)


class PolledLink(Protocol):
    """What FLISR needs of a link: that it has its device say everything anew."""

    async def serve(self, service: LinkService) -> Outcome:
        """Run a service and await the device's answer."""
        ...


_MODES = {"off": Mode.OFF, "monitor": Mode.MONITOR, "advise": Mode.ADVISE, "confirm-step": Mode.CONFIRM_STEP}
YEAR_S = 365 * 86_400.0
EVENTS_KNOWN = 10_000
_Mark = tuple[State, str, int, bool]
"""State, plan, mode of an event, and whether its location is known: the journal is written when one changes."""


@dataclass(slots=True)
class Case:
    """One event.

    Attributes:
        authority: on whose word commands leave: who confirmed, or who made the feeder automatic.
        saved: what is on disk.
    """

    sequence: Sequence
    snapshot: Snapshot
    view: FeederView
    authority: Caller
    interruption: SupplyLog = field(default_factory=SupplyLog)
    saved: _Mark | None = None


class Cases:
    """All events, one at a time for each feeder."""

    def __init__(
        self,
        context: TwinContext,
        settings: FlisrSettings,
        eye: GridEye,
        *,
        engine: Engine,
        journal: FlisrJournal,
        loads: LoadMemory,
        work: DeskWork,
        clock: SteadyClock,
        links: Mapping[str, PolledLink],
    ) -> None:
        self._links = links
        self.eye = eye
        self.engine = engine
        self.changed = True
        self.ready = False
        """What was on before the start is known: nothing is let through, and nobody's word is taken, before."""
        self.inhibited = ""
        self.present_until = float("-inf")
        self._alarms = context.alarms
        self._place = context.place
        self._settings = settings
        self._journal = journal
        self._loads = loads
        self._work = work
        self._clock = clock
        self._tags = eye.tags
        self._cases: dict[str, Case] = {}
        self._known: dict[str, None] = {}
        self._modes: dict[str, tuple[Mode, Caller]] = {}
        self._auto_at: dict[str, tuple[str, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._regions: dict[str, frozenset[str]] = {}
        self._areas: dict[str, set[int]] = {}
        self._past: list[tuple[str, float, list[Outage]]] = []
        self._tags_seen = -1
        self._weights = self._customers()
        for feeder in self.feeders:  # while nobody waits
            self.region(feeder)

    # ---- what others ask ------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The present, s."""
        return self._clock.now()

    @property
    def feeders(self) -> Iterable[str]:
        """Addresses of all feeders."""
        return self.eye.network.heads

    def case(self, feeder: str) -> Case | None:
        """The event of a feeder that is on."""
        return self._cases.get(feeder)

    def by_plan(self, plan: str) -> Case | None:
        """The event whose offered plan has an id."""
        for case in self._cases.values():
            if case.sequence.offer is not None and case.sequence.offer.id == plan:
                return case
        return None

    def active(self) -> list[Sequence]:
        """Sequences of all events that are on."""
        return [case.sequence for case in self._cases.values()]

    def mode(self, feeder: str) -> Mode:
        """Mode of a feeder."""
        if feeder in self._modes:
            return self._modes[feeder][0]
        return _MODES[self._settings.modes.get(feeder, self._settings.mode)]

    async def set_mode(self, feeder: str, mode: Mode, caller: Caller) -> None:
        """Set the mode of a feeder, durably.

        An event that is on keeps the mode it has, but never stays automatic; `off` stops what is being carried out.
        """
        body = {"user": caller.user, "roles": sorted(caller.roles), "client": caller.client}
        await self._journal.put_mode(feeder, int(mode), body)
        self._modes[feeder] = (mode, caller)
        case = self._cases.get(feeder)
        if case is not None and mode is not Mode.AUTO and case.sequence.mode is Mode.AUTO:
            case.sequence.mode = max(mode, Mode.ADVISE)
        if case is not None and mode is Mode.OFF and case.sequence.under_way is not None:
            self._handle(case, case.sequence.stop(f"{caller.user}, who set the feeder off", self.now())[1])
        self.changed = True

    async def inhibit(self, reason: str) -> None:
        """Nothing runs by itself, for a reason; an empty one: it may again. Durable; the safe side takes effect first.

        Raises:
            OSError, sqlite3.Error: it could not be written.
        """
        self.inhibited = reason or self.inhibited
        await self._journal.put_word("inhibit", {"reason": reason})
        self.inhibited = reason

    async def present(self) -> None:
        """An operator is there, for the time set; durable.

        Raises:
            OSError, sqlite3.Error: it could not be written.
        """
        until = self.now() + (self._settings.presence or 0.0)
        await self._journal.put_word("presence", {"until": until})
        self.present_until = until

    def faulted(self) -> Mapping[str, str]:
        """Zones that must not be fed, and why: those of every event, until the return to normal is carried out.

        All zones, until the journal has been read: it may know of a fault anywhere.
        """
        if not self.ready:
            why = "FLISR has not read its journal yet: there may be a fault"
            return dict.fromkeys((zone.address for zone in self.eye.network.zones), why)
        found: dict[str, str] = {}
        for case in self._cases.values():
            sequence = case.sequence
            if sequence.state is State.RETURNING:  # that a return is planned is nobody's word that the repair is done
                continue
            for zone in self.fault_zones(sequence):
                found[zone] = f"fault of event {sequence.trigger.event}"
        return found

    @staticmethod
    def fault_zones(sequence: Sequence) -> set[str]:
        """Zones that an event takes as faulted."""
        located = () if sequence.location is None else sequence.location.candidates
        return {*located, *sequence.fault_zones}

    # ---- the course of events -------------------------------------------------------------------------------------

    def begin(self, trigger: Trigger, caller: Caller | None = None) -> Case | None:
        """Begin an event; None when the feeder is off, or the event is known already."""
        mode = self.mode(trigger.feeder)
        if mode is Mode.OFF or trigger.event in self._known:
            return None
        now = self.now()
        before = self._cases.get(trigger.feeder)
        if before is not None and before.sequence.trigger.cause is Cause.BUSBAR and trigger.cause is not Cause.OPERATOR:
            # What opens after the busbar has a fault is part of it: people look first, and end that event.
            return None
        self._remember(trigger.event)
        sequence = Sequence(trigger, mode, self._settings.sequence_times(), now)
        if before is not None:
            sequence.fault_zones |= self.fault_zones(before.sequence)
            self._handle(before, before.sequence.supersede(trigger.event, now))
            self._finish(before, now)
        if trigger.cause is Cause.BREAKER_FAILURE:
            # The zone of the failed breaker, which is both its sides, cannot be told from a faulted one.
            zones = self.eye.zones_of(self.eye.network.grid.feeders[trigger.feeder].head)
            sequence.fault_zones |= {self.eye.network.zones[zone].address for zone in zones}
        case = Case(
            sequence,
            self._snapshot(trigger, now),
            FeederView(self.eye, trigger.feeder, self.region, self.feeding, self.now),
            caller or self._authority(trigger.feeder),
        )
        self._begin_interruption(case)
        self._cases[trigger.feeder] = case
        self._handle(case, sequence.tick(now, case.view))
        return case

    def tick(self, now: float) -> None:
        """Let every event go on."""
        retagged = self._tags.version != self._tags_seen
        self._tags_seen = self._tags.version
        supplied = self.eye.supplied() if self._cases else set()
        for case in list(self._cases.values()):
            sequence = case.sequence
            self._handle(case, sequence.tick(now, case.view))
            if sequence.trigger.cause is Cause.EARTH_FAULT and not self._earth_fault_stands(sequence.trigger.feeder):
                self._handle(case, sequence.earth_fault_over(now))
            if retagged and sequence.state in (State.RESTORED, State.PARTIAL):
                self._look_for_work(case, now)
            if case.interruption.update(supplied, now):
                self.changed = True
            if sequence.state is State.IDLE:
                self._finish(case, now)

    def tripped(self, feeder: str, now: float) -> None:
        """A feeder has tripped, or opened without anybody's command."""
        for case in list(self._cases.values()):
            self._handle(case, case.sequence.tripped(feeder, now))

    def apply(self, case: Case, actions: Iterable[Action]) -> None:
        """Do what a sequence asked for after a person's word."""
        self._handle(case, actions)

    def _finish(self, case: Case, now: float) -> None:
        feeder = case.sequence.trigger.feeder
        if self._cases.get(feeder) is case:
            del self._cases[feeder]
        self._alarms.clear("F01", feeder)
        outages = case.interruption.outages(now)
        self._past.append((feeder, now, outages))
        body = {"outages": [[each.customers, each.minutes, each.load, each.saved] for each in outages]}
        event = case.sequence.trigger.event
        self.spawn(self._journal.put_interruption(event, feeder, now, body), "interruption")
        self._save(case)
        self.changed = True

    def _look_for_work(self, case: Case, now: float) -> None:
        """People's tags in the isolated part: the repair has begun."""
        zones = {self.eye.network.zone_index[zone] for zone in self.fault_zones(case.sequence)}
        if zones & self.eye.barred_zones():
            self._handle(case, case.sequence.begin_repair("tags of people stand in the fault section", now))

    def _earth_fault_stands(self, feeder: str) -> bool:
        readings = [self.eye.read(point) for point in self.eye.network.grid.feeders[feeder].start]
        return any(reading is not None and reading.usable and reading.value is True for reading in readings)

    # ---- actions --------------------------------------------------------------------------------------------------

    def _handle(self, case: Case, actions: Iterable[Action]) -> None:
        event, feeder = case.sequence.trigger.event, case.sequence.trigger.feeder
        for action in actions:
            if isinstance(action, Tell):
                address = action.address or feeder
                self._alarms.event(action.code, address, action.text, action.severity, correlation=event)
            elif isinstance(action, Waiting):
                if action.on:
                    self._alarms.raise_("F01", feeder, action.text, 800, correlation=event)
                else:
                    self._alarms.clear("F01", feeder)
            elif isinstance(action, Operate):
                self.spawn(self._operate(case, action), "step")
            elif isinstance(action, Locate):
                self.spawn(self._locate(case), "location")
            elif isinstance(action, MakePlan):
                self.spawn(self._plan(case, action), "plan")
            elif isinstance(action, PutTags):
                self.spawn(self._put_tags(case, action), "tags")
            elif isinstance(action, ResetIndicators):
                self.spawn(self._reset_indicators(case), "reset of indicators")
        if case.saved != self._mark(case):
            self._save(case)
            self.changed = True

    @staticmethod
    def _mark(case: Case) -> _Mark:
        sequence = case.sequence
        plan = sequence.offer.id if sequence.offer else ""
        return sequence.state, plan, int(sequence.mode), sequence.location is not None

    def _save(self, case: Case) -> None:
        case.saved = self._mark(case)
        self.spawn(self._journal.put_event(self._entry(case)), "journal")

    def _entry(self, case: Case) -> EventEntry:
        trigger = case.sequence.trigger
        region = self.region(trigger.feeder)
        body = event_body(case.sequence, case.snapshot, self.eye.network, region)
        return EventEntry(trigger.event, trigger.feeder, int(case.sequence.state), trigger.received, body)

    async def _operate(self, case: Case, action: Operate) -> None:
        sequence, step = case.sequence, action.step
        if action.request.endswith(":reopen") and self.eye.position(step.address) is Position.OPEN:
            answer = Answer(True, "it has opened by itself")
        else:
            try:
                await self._journal.put_event(self._entry(case))
            except Exception as error:
                log.exception("the journal of FLISR cannot be written; nothing is commanded")
                answer = Answer(False, f"the journal cannot be written ({error})", "journal")
            else:
                order = Order(
                    sequence.trigger.event, action, case.authority, self.now(), lambda: _wanted(sequence, action)
                )
                answer = await self._work.carry_out(order)
        self._handle(case, sequence.answered(action.request, answer, self.now()))

    async def _locate(self, case: Case) -> None:
        sequence, trigger = case.sequence, case.sequence.trigger
        await self._poll(trigger.feeder)
        indications: list[Indication] = []
        await each(indications.append, self.eye.indications())
        if not trigger.clock_good:
            # Without the time of the trip no other device's time says anything: everything goes by arrival.
            indications = [replace(each, time=None, clock_good=False) for each in indications]
        try:
            location = await self.engine.locate(case.snapshot, trigger.feeder, indications, trigger.time, trigger.fault)
        except Exception as error:
            log.exception("the location of %s failed", trigger.event)
            self._handle(case, sequence.located(None, f"the computation failed ({error})", self.now()))
            return
        text = f"{', '.join(location.candidates)} ({100 * location.probability:.1f} %)"
        if location.by_arrival:
            text += ", by the order of arrival: clocks are not good"
        self._handle(case, sequence.located(location, text, self.now()))

    async def _poll(self, feeder: str) -> None:
        """Have the indicators' devices say everything anew: only an answer after the trip is one."""
        region, names = self.region(feeder), set()
        for address, indicator in self.eye.network.grid.indicators.items():
            row = self.eye.row(address)
            if indicator.equipment in region and indicator.poll and row >= 0:
                names.add(self.eye.table.binding(row)[0])
        asked = [
            asyncio.ensure_future(self._links[name].serve(LinkService.INTERROGATE))
            for name in sorted(names)
            if name in self._links
        ]
        if not asked:
            return
        _, waiting = await asyncio.wait(asked, timeout=self._settings.poll)
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        for name, outcome in zip(sorted(names & self._links.keys()), outcomes, strict=True):
            if isinstance(outcome, BaseException) or not outcome.good:
                log.info("link %s gave no full answer for the location of a fault: %s", name, outcome)

    async def _plan(self, case: Case, ask: MakePlan) -> None:
        sequence = case.sequence
        try:
            offer, text = await self._offer(case, ask)
            if sequence.mode is Mode.AUTO and case.view.fingerprint(sequence.trigger.feeder) != offer.fingerprint:
                offer = replace(offer, auto_refusals=(*offer.auto_refusals, "the grid changed while it was planned"))
        except Exception as error:
            log.exception("the plan of %s failed", sequence.trigger.event)
            self._handle(case, sequence.planned(None, f"the computation failed ({error})", self.now()))
            return
        if sequence.mode is Mode.AUTO and not offer.auto_refusals:
            self._auto_at[sequence.trigger.feeder] = (sequence.trigger.event, self.now())
        self._handle(case, sequence.planned(offer, text, self.now()))

    async def _offer(self, case: Case, ask: MakePlan) -> tuple[Offer, str]:
        sequence, feeder = case.sequence, case.sequence.trigger.feeder
        name = f"P{uuid.uuid4().hex[:8]}"
        fingerprint = case.view.fingerprint(feeder)
        states = await asyncio.to_thread(self.eye.states, self.now())
        if ask.purpose is Purpose.RETURN:
            plan = await self.engine.back(states, case.snapshot.loads, self.region(feeder), self.barred(case))
            touched = [step.address for step in plan.steps]
            left = self._not_normal(feeder, touched)
            offer = Offer(name, plan, fingerprint, Purpose.RETURN, involved=self._involved(feeder, touched), left=left)
            return offer, f"{len(plan.steps)} steps back to normal"
        zones = self.fault_zones(sequence) | ask.fault_zones
        isolation, result, plan = await self.engine.plan(
            case.snapshot,
            feeder,
            states,
            sorted(zones),
            blocked=ask.blocked,
            barred=self.barred(case),
            now=self.now(),
            device="" if sequence.trigger.cause is Cause.BREAKER_FAILURE else None,
        )
        involved = self._involved(feeder, [step.address for step in plan.steps])
        refusals = tuple(self._auto_refusals(sequence.trigger)) if sequence.mode is Mode.AUTO else ()
        offer = Offer(name, plan, fingerprint, Purpose.FAULT, isolation, result, involved, refusals)
        share = f"{result.restored / 1e3:.0f} of {result.dead / 1e3:.0f} kW"
        return offer, f"{len(plan.steps)} steps, {share} restored ({result.method})"

    def _not_normal(self, feeder: str, touched: Iterable[str]) -> tuple[str, ...]:
        """Switches of a region that a plan does not bring to their normal positions."""
        normal, steps = self.eye.network.normal, set(touched)
        return tuple(
            switch
            for switch in sorted(self.region(feeder))
            if switch not in steps and self.eye.position(switch) is not normal[switch]
        )

    def barred(self, case: Case | None) -> set[str]:
        """Zones that must not become live: tagged, earthed, of other events."""
        network = self.eye.network
        zones = self.eye.barred_zones() | network.earthed(self.eye.positions())
        others = {
            zone for other in self._cases.values() if other is not case for zone in self.fault_zones(other.sequence)
        }
        return {network.zones[zone].address for zone in zones} | others

    def _auto_refusals(self, trigger: Trigger) -> list[str]:
        """Why a feeder may not run by itself now (spec 3.6)."""
        feeder = trigger.feeder
        region, item = self.region(feeder), self.eye.network.grid.feeders[feeder]
        found = []
        bad = self.eye.not_good(sorted(region))
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            found.append(f"not Good: {', '.join(bad[:3])}{more}")
        tagged = next((text for switch in sorted(region) if (text := self.eye.peoples_tag(switch))), "")
        if tagged:
            found.append(f"a tag stands in the area: {tagged}")
        if self.inhibited:
            found.append(f"inhibited: {self.inhibited}")
        if self._settings.presence is not None and self.now() > self.present_until:
            found.append("no operator has said to be there")
        event, last = self._auto_at.get(feeder, ("", float("-inf")))
        if event != trigger.event and self.now() - last < self._settings.block:
            found.append(f"an automatic sequence ran less than {self._settings.block:g} s ago")
        if item.reclosing != "none" and not self._work.controllable(item.reclose_block):
            found.append("reclosing cannot be blocked")
        return found

    async def _put_tags(self, case: Case, action: PutTags) -> None:
        event = case.sequence.trigger.event
        try:
            for switch in action.switches:
                await self._tags.set_by_flisr(switch, f"isolates the fault of event {event}", event)
        except Exception as error:
            log.exception("the FLISR tags of %s could not be set", event)
            self._handle(case, case.sequence.tagged(False, str(error), self.now()))
            return
        self._handle(case, case.sequence.tagged(True, "", self.now()))

    async def _reset_indicators(self, case: Case) -> None:
        """Best effort: an indicator that stays set is ignored next time by its age, and told here."""
        feeder, event = case.sequence.trigger.feeder, case.sequence.trigger.event
        region = self.region(feeder)
        for address, indicator in self.eye.network.grid.indicators.items():
            reading = self.eye.read(address)
            reset = f"{address.rpartition('/')[0]}/IndRs"
            if indicator.equipment not in region or reading is None or reading.value is not True:
                continue
            if not self._work.controllable(reset):
                continue
            outcome = await self._work.command(
                reset, True, case.authority, f"reset after event {event}", f"{event}:{address}:reset"
            )
            if not outcome.good:
                self._alarms.event("F01", address, f"Not reset: {outcome.text}", 400, correlation=event)

    # ---- before the fault -----------------------------------------------------------------------------------------

    def _snapshot(self, trigger: Trigger, now: float) -> Snapshot:
        head = self.eye.network.grid.feeders[trigger.feeder].head
        opened = self.eye.last_move(head)
        begun = trigger.received if trigger.cause in (Cause.TRIP, Cause.LOSS, Cause.BREAKER_FAILURE) else opened or now
        moment = min(begun, opened if opened is not None and opened <= now else begun)
        positions = self.eye.positions_at(moment - self._settings.load_gap, (head,))
        loads = self._loads.before(moment - self._settings.load_gap, self._settings.load_mean)
        return Snapshot(positions, loads, moment)

    def _customers(self) -> dict[int, int]:
        network = self.eye.network
        found = {}
        for number, zone in enumerate(network.zones):
            data = [network.grid.equipment[load].data for load in zone.loads]
            found[number] = sum(each.customers for each in data if isinstance(each, LoadData))
        return found

    def _begin_interruption(self, case: Case) -> None:
        network, before = self.eye.network, case.snapshot.positions
        was = self.eye.fed(self._closed(before))
        lost: dict[int, tuple[int, float]] = {}
        for number in was - self.eye.supplied():
            estimates = [case.snapshot.loads.get(load) for load in network.zones[number].loads]
            load = float(sum(each.p + each.der for each in estimates if each is not None))
            lost[number] = (self._weights[number], load)
        case.interruption.begin(lost, case.snapshot.time)

    def _closed(self, positions: Mapping[str, Position]) -> Flags:
        switches = self.eye.network.switches
        return np.array([positions.get(switch.address) is Position.CLOSED for switch in switches], bool)

    def _sections(self, positions: Mapping[str, Position]) -> list[int]:
        """Number of the section of each zone: what is joined by closed switches that are no heads of feeders."""
        closed = self._closed(positions)
        closed[list(self.eye.network.heads.values())] = False
        sections: list[int] = self.eye.islands(closed).tolist()
        return sections

    def _behind(self, feeder: str, sections: Items[int]) -> set[int]:
        """Sections behind the head of a feeder."""
        network = self.eye.network
        head = network.switches[network.heads[feeder]]
        return {sections[zone] for zone in head.zones if not network.trunk[zone]}

    def region(self, feeder: str) -> frozenset[str]:
        """Switches of a feeder and of its neighbours over at most two ties: what its plans look at."""
        found = self._regions.get(feeder)
        if found is None:
            network = self.eye.network
            if not self._areas:
                sections = self._sections(network.normal)
                members: dict[int, set[int]] = {}
                for zone, section in enumerate(sections):
                    members.setdefault(section, set()).add(zone)
                for each in network.heads:
                    self._areas[each] = {z for section in self._behind(each, sections) for z in members[section]}
            feeder_of = {zone: each for each, zones in self._areas.items() for zone in zones}
            near = {feeder}
            for _ in range(2):
                zones = {zone for each in near for zone in self._areas[each]}
                near |= {
                    feeder_of[beyond]
                    for zone in zones
                    for number in network.switches_at[zone]
                    if (beyond := network.switches[number].other(zone)) in feeder_of
                }
            zones = {zone for each in near for zone in self._areas[each]}
            found = frozenset(
                network.switches[number].address for zone in zones for number in network.switches_at[zone]
            )
            self._regions[feeder] = found
        return found

    def _involved(self, feeder: str, touched: Iterable[str]) -> frozenset[str]:
        """Feeders that switches of a plan border on, as things stand."""
        zones = {zone for switch in touched for zone in self.eye.zones_of(switch)}
        sections = self._sections(self.eye.positions())
        at = {sections[zone] for zone in zones}
        return frozenset({feeder, *(each for each in self.feeders if at & self._behind(each, sections))})

    def feeding(self, switch: str) -> frozenset[str]:
        """Feeders whose closed head feeds a switch, or whose head it is."""
        zones, positions = self.eye.zones_of(switch), self.eye.positions()
        grid, sections = self.eye.network.grid, self._sections(positions)
        at = {sections[zone] for zone in zones}
        return frozenset(
            feeder
            for feeder in self.feeders
            if (head := grid.feeders[feeder].head) == switch
            or (positions[head] is not Position.OPEN and at & self._behind(feeder, sections))
        )

    def transfers(self) -> frozenset[str]:
        """Switches whose closing is under command and has been found to close a loop of one proven source."""
        found = set()
        for case in self._cases.values():
            record = case.sequence.under_way
            if record is not None and any(each.kind == "same_source" for each in record.step.preconditions):
                found.add(record.step.address)
        return frozenset(found)

    def feeder_of(self, zone: int, positions: Mapping[str, Position]) -> str:
        """The feeder whose head feeds a zone; empty for none."""
        sections = self._sections(positions)
        return next((feeder for feeder in self.feeders if sections[zone] in self._behind(feeder, sections)), "")

    def loads_now(self) -> dict[str, LoadEstimate]:
        """Estimates of the loads up to this moment."""
        return self._loads.before(self.now(), self._settings.load_mean)

    def _authority(self, feeder: str) -> Caller:
        mode = self._modes.get(feeder)
        return mode[1] if mode is not None else Caller("", frozenset(), "flisr")

    # ---- memory ---------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """What was on when the gateway ended: whatever was in the middle is blocked and shows what had been done."""
        for feeder, (mode, body) in (await self._journal.modes()).items():
            who = Caller(body["user"], frozenset(body["roles"]), body["client"])
            self._modes[feeder] = (Mode(mode), who)
        now = self.now()
        words = await self._journal.words()
        self.inhibited = words.get("inhibit", {}).get("reason", "")
        # The clock of the machine may have been set since, and the setting changed.
        until = words.get("presence", {}).get("until", float("-inf"))
        self.present_until = min(until, now + (self._settings.presence or 0.0))
        self._past.clear()
        for feeder, body in await self._journal.interruptions(now - YEAR_S):
            self._past.append((feeder, now, [Outage(*row) for row in body["outages"]]))
        for entry in await self._journal.events():
            self._remember(entry.id)
            if entry.state == State.IDLE or entry.feeder not in self.eye.network.heads:
                continue
            await self._restore_event(entry, now)
        self.ready = True

    async def _restore_event(self, entry: EventEntry, now: float) -> None:
        sequence = Sequence(trigger_of(entry.body), Mode(entry.body["mode"]), self._settings.sequence_times(), now)
        sequence.location = location_of(entry.body)
        sequence.fault_zones = set(entry.body["fault_zones"])
        sequence.stamps = [(State(state), time, why) for state, time, why in entry.body["stamps"]]
        snapshot = snapshot_of(entry.body, self.eye.network, self._loads.before(0.0, 0.0))
        view = FeederView(self.eye, entry.feeder, self.region, self.feeding, self.now)
        case = Case(sequence, snapshot, view, self._authority(entry.feeder))
        self._cases[entry.feeder] = case
        self._begin_interruption(case)
        records = [step_record(step) for step in await self._journal.steps(entry.id)]
        if State(entry.state) in ENDED_WELL:
            sequence.history, sequence.state, sequence.reason = records, State(entry.state), "since before the restart"
            sequence.tick(now, view)
        else:
            self._handle(case, sequence.resume_blocked(records, now))

    def _remember(self, event: str) -> None:
        self._known[event] = None
        while len(self._known) > EVENTS_KNOWN:
            del self._known[next(iter(self._known))]

    # ---- results --------------------------------------------------------------------------------------------------

    def publish(self, points: FlisrPoints, quality: int) -> Iterator[str]:
        """Write the result points; yields after each feeder so that others may run."""
        self.changed = False
        now = self.now()
        total_out = total_back = 0
        everything: list[Outage] = []
        for feeder in self.feeders:
            case = self._cases.get(feeder)
            interruption = case.interruption if case is not None else SupplyLog()
            total_out += interruption.out
            total_back += interruption.restored
            sequence = case.sequence if case is not None else None
            points.write_feeder(feeder, self.mode(feeder), sequence, (interruption.out, interruption.restored), quality)
            outages = [each for past, _, found in self._past if past == feeder for each in found]
            outages += interruption.outages(now)
            everything += outages
            served = sum(self._weights[zone] for zone in self._areas_of(feeder))
            points.write_indices(feeder, self._indices(outages, served))
            yield feeder
        points.write_area(self.active(), (total_out, total_back), quality)
        points.write_indices("", self._indices(everything, sum(self._weights.values())))

    def _areas_of(self, feeder: str) -> set[int]:
        self.region(feeder)
        return self._areas[feeder]

    def _indices(self, outages: list[Outage], served: int) -> Reliability:
        return reliability(outages, served, self._settings.sustained / 60.0)

    # ---- tasks ----------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let something go on beside; a failure is told as an event."""
        task = asyncio.create_task(work, name=f"flisr {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self.tell_failure(task.exception(), task.get_name())

    def tell_failure(self, error: BaseException | None, what: str = "FLISR") -> None:
        """Something of FLISR itself has failed: an event, so that people know."""
        self._alarms.event("G02", self._place, f"{what} failed: {error}", 800)

    async def close(self) -> None:
        """End what goes on beside; commands that have left end in the desk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _wanted(sequence: Sequence, action: Operate) -> bool:
    """Whether a sequence still asks for a command that was written down meanwhile."""
    under_way = sequence.under_way
    return action.request.endswith(":reopen") or (under_way is not None and under_way.step is action.step)
