"""The fault events that are on: each a sequence with its snapshot; what they ask for is done here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from address_space.ports import Caller
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.flisr.beside import Beside
from twin_gateway.functions.flisr.case import Case
from twin_gateway.functions.flisr.desk_work import DeskWork, Order
from twin_gateway.functions.flisr.engine import Engine, Snapshot
from twin_gateway.functions.flisr.interruptions import Outage, SupplyLog
from twin_gateway.functions.flisr.journal import EventEntry, FlisrJournal
from twin_gateway.functions.flisr.leave import Leave
from twin_gateway.functions.flisr.loads import LoadMemory
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.offers import Offers, PolledLink
from twin_gateway.functions.flisr.outage_book import OutageBook
from twin_gateway.functions.flisr.points import FlisrPoints
from twin_gateway.functions.flisr.regions import Regions
from twin_gateway.functions.flisr.remember import event_body, location_of, snapshot_of, step_record, trigger_of
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.flisr.steady_clock import SteadyClock
from twin_gateway.functions.flisr.view import FeederView
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import LoadEstimate
from twin_gateway.twin.flisr.sequence import Sequence
from twin_gateway.twin.flisr.states import (
    ENDED_WELL,
    Action,
    Answer,
    Cause,
    Locate,
    MakePlan,
    Mode,
    Operate,
    PutTags,
    ResetIndicators,
    State,
    Tell,
    Trigger,
    Waiting,
)

log = logging.getLogger(__name__)


_MODES = {"off": Mode.OFF, "monitor": Mode.MONITOR, "advise": Mode.ADVISE, "confirm-step": Mode.CONFIRM_STEP}
YEAR_S = 365 * 86_400.0
EVENTS_KNOWN = 10_000


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
        self.eye = eye
        self.engine = engine
        self.changed = True
        self.ready = False
        """What was on before the start is known: nothing is let through, and nobody's word is taken, before."""
        self._alarms = context.alarms
        self._settings = settings
        self._journal = journal
        self._loads = loads
        self._work = work
        self._clock = clock
        self._tags = eye.tags
        self._cases: dict[str, Case] = {}
        self._known: dict[str, None] = {}
        self._modes: dict[str, tuple[Mode, Caller]] = {}
        self._tags_seen = -1
        self.regions = Regions(eye)
        self.beside = Beside(context.alarms, context.place)
        self.leave = Leave(settings, eye, regions=self.regions, journal=journal, work=work, now=self.now)
        self.offers = Offers(
            eye,
            engine,
            regions=self.regions,
            leave=self.leave,
            links=links,
            poll=settings.poll,
            barred=self.barred,
            now=self.now,
        )
        self._outages = OutageBook(eye, self.regions, settings.sustained)

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
        case = self._cases.get(feeder)
        if case is not None and mode is Mode.OFF and case.sequence.under_way is not None:
            # At once: it is the safe side, whatever comes of the writing.
            self._handle(case, case.sequence.stop(f"{caller.user}, who set the feeder off", self.now())[1])
        body = {"user": caller.user, "roles": sorted(caller.roles), "client": caller.client}
        await self._journal.put_mode(feeder, int(mode), body)
        self._modes[feeder] = (mode, caller)
        case = self._cases.get(feeder)
        if case is not None and mode is not Mode.AUTO and case.sequence.mode is Mode.AUTO:
            case.sequence.mode = max(mode, Mode.ADVISE)
        self.changed = True

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
            for zone in case.sequence.faulted:
                found[zone] = f"fault of event {sequence.trigger.event}"
        return found

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
            sequence.fault_zones |= before.sequence.faulted
            self._handle(before, before.sequence.supersede(trigger.event, now))
            self._finish(before, now)
        if trigger.cause is Cause.BREAKER_FAILURE:
            # The zone of the failed breaker, which is both its sides, cannot be told from a faulted one.
            zones = self.eye.zones_of(self.eye.network.grid.feeders[trigger.feeder].head)
            sequence.fault_zones |= {self.eye.network.zones[zone].address for zone in zones}
        case = Case(
            sequence,
            self._snapshot(trigger, now),
            FeederView(self.eye, trigger.feeder, self.regions.region, self.regions.feeding, self.now),
            caller or self._authority(trigger.feeder),
        )
        self._outages.begin(case)
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
        outages = self._outages.end(case, now)
        body = {"outages": [[each.customers, each.minutes, each.load, each.saved] for each in outages]}
        event = case.sequence.trigger.event
        self.beside.spawn(self._journal.put_interruption(event, feeder, now, body), "interruption")
        self._save(case)
        self.changed = True

    def _look_for_work(self, case: Case, now: float) -> None:
        """People's tags in the isolated part: the repair has begun."""
        zones = {self.eye.network.zone_index[zone] for zone in case.sequence.faulted}
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
                self.beside.spawn(self._operate(case, action), "step")
            elif isinstance(action, Locate):
                self.beside.spawn(self._locate(case), "location")
            elif isinstance(action, MakePlan):
                self.beside.spawn(self._plan(case, action), "plan")
            elif isinstance(action, PutTags):
                self.beside.spawn(self._put_tags(case, action), "tags")
            elif isinstance(action, ResetIndicators):
                self.beside.spawn(self._reset_indicators(case), "reset of indicators")
        if case.saved != case.mark():
            self._save(case)
            self.changed = True

    def _save(self, case: Case) -> None:
        case.saved = case.mark()
        self.beside.spawn(self._journal.put_event(self._entry(case)), "journal")

    def _entry(self, case: Case) -> EventEntry:
        trigger = case.sequence.trigger
        region = self.regions.region(trigger.feeder)
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
        indications = await self.offers.indications(trigger)
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

    async def _plan(self, case: Case, ask: MakePlan) -> None:
        sequence = case.sequence
        try:
            offer, text = await self.offers.make(case, ask)
            if sequence.mode is Mode.AUTO and case.view.fingerprint(sequence.trigger.feeder) != offer.fingerprint:
                offer = replace(offer, auto_refusals=(*offer.auto_refusals, "the grid changed while it was planned"))
        except Exception as error:
            log.exception("the plan of %s failed", sequence.trigger.event)
            self._handle(case, sequence.planned(None, f"the computation failed ({error})", self.now()))
            return
        if sequence.mode is Mode.AUTO and not offer.auto_refusals:
            self.leave.taken(sequence.trigger)
        self._handle(case, sequence.planned(offer, text, self.now()))

    def barred(self, case: Case | None) -> set[str]:
        """Zones that must not become live: tagged, earthed, of other events."""
        network = self.eye.network
        zones = self.eye.barred_zones() | network.earthed(self.eye.positions())
        others = {zone for other in self._cases.values() if other is not case for zone in other.sequence.faulted}
        return {network.zones[zone].address for zone in zones} | others

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
        region = self.regions.region(feeder)
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

    def transfers(self) -> frozenset[str]:
        """Switches whose closing is under command and has been found to close a loop of one proven source."""
        found = set()
        for case in self._cases.values():
            record = case.sequence.under_way
            if record is not None and any(each.kind == "same_source" for each in record.step.preconditions):
                found.add(record.step.address)
        return frozenset(found)

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
        await self.leave.restore()
        self._outages.restore(await self._journal.interruptions(now - YEAR_S))
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
        view = FeederView(self.eye, entry.feeder, self.regions.region, self.regions.feeding, self.now)
        case = Case(sequence, snapshot, view, self._authority(entry.feeder))
        self._cases[entry.feeder] = case
        self._outages.begin(case)
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
            outages, indices = self._outages.of_feeder(feeder, case, now)
            everything += outages
            points.write_indices(feeder, indices)
            yield feeder
        points.write_area(self.active(), (total_out, total_back), quality)
        points.write_indices("", self._outages.of_area(everything))


def _wanted(sequence: Sequence, action: Operate) -> bool:
    """Whether a sequence still asks for a command that was written down meanwhile."""
    under_way = sequence.under_way
    return action.request.endswith(":reopen") or (under_way is not None and under_way.step is action.step)
