"""One fault event from its trigger to the return to normal: a state machine, events in, actions out (spec 3.4 to 3.8).

It never looks at a clock and never waits: `tick` is called with the time and a view of the grid whenever something has
changed, and a few times a second. What takes time (location, plans, commands) is asked for by an action and comes back
through `located`, `planned`, `answered` and `tagged`.
"""

from __future__ import annotations

from dataclasses import dataclass

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import Action as Move
from twin_gateway.twin.flisr.records import Location, OnFail, Stage, Step
from twin_gateway.twin.flisr.states import (
    ENDED_WELL,
    EXECUTING,
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
    SequenceTimes,
    State,
    StepRecord,
    Tell,
    Trigger,
    View,
    Waiting,
)
from twin_gateway.twin.flisr.stepper import WANTED, Failure, Stepper, Trouble

_STAGE_STATE = {
    Stage.ISOLATE: State.ISOLATING,
    Stage.UPSTREAM: State.RESTORING,
    Stage.RESTORE: State.RESTORING,
    Stage.RETURN: State.RETURNING,
}
_SCHEME_ACTIVE, _SCHEME_ENDED = 2, (3, 4)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a person's word was taken, and why not."""

    ok: bool
    text: str


class Sequence:
    """The FLISR of one event.

    Attributes:
        state, reason: where it is, and why, in a sentence.
        location, offer: what has been computed.
        stamps: (state, time, reason) in order.
        history: steps of all plans that have been carried out or begun.
    """

    def __init__(self, trigger: Trigger, mode: Mode, times: SequenceTimes, now: float) -> None:
        self.trigger = trigger
        self.mode = mode
        self.times = times
        self.state = State.IDLE
        self.reason = ""
        self.location: Location | None = None
        self.offer: Offer | None = None
        self.stamps: list[tuple[State, float, str]] = []
        self.history: list[StepRecord] = []
        self.blocked: set[str] = set()
        self.fault_zones: set[str] = set()
        self.degraded = ""
        """Why an automatic feeder waits for a person."""
        self._stepper: Stepper | None = None
        self._carried: tuple[str, list[StepRecord]] = ("", [])
        """Id of the plan that was carried out last, and its steps."""
        self._stopped = ""
        """Who stopped it while something closed onto a fault was being opened again."""
        self._actions: list[Action] = []
        self._begin = now
        self._located_asked = False
        self._planning = False
        self._offered_at = 0.0
        self._expired = False
        self._replans = 0
        self._again = True
        """One more plan is made when something is closed onto a fault."""
        self._reopening: Step | None = None
        self._targets: dict[str, tuple[str, float, frozenset[str]]] = {}
        self._executions = 0
        self._tags_asked = False
        self._tags_put = False
        self._closed_since: float | None = None
        self._scheme_before: int | None = None
        self._tags_before: dict[str, str] | None = None
        self._enter(State.DETECTED, trigger.text, now)
        self._tell(f"{trigger.cause}: {trigger.text or trigger.feeder}", 800)

    @property
    def under_way(self) -> StepRecord | None:
        """The step that is being carried out; None while none is."""
        return self._stepper.current if self._stepper is not None else None

    @property
    def faulted(self) -> set[str]:
        """Zones that the event takes as faulted."""
        return {*(() if self.location is None else self.location.candidates), *self.fault_zones}

    # ---- what comes in --------------------------------------------------------------------------------------------

    def tick(self, now: float, view: View) -> list[Action]:
        """What is to be done now."""
        if self.state is State.DETECTED:
            self._collect(now, view)
        elif self.state is State.LOCATED:
            self._watch_head(now, view)
        elif self.state is State.WAIT_CONFIRM and self._stepper is None:
            self._watch_offer(now, view)
        elif self.state in EXECUTING or self._stepper is not None:
            self._execute(now, view)
        return self._take()

    def located(self, location: Location | None, text: str, now: float) -> list[Action]:
        """The location, or why there is none."""
        if self.state in (State.ABORTED, State.BLOCKED) and self.location is None:
            self.location = location  # stopped before it was known: what must not be fed is known all the same
            return []
        if self.state is not State.DETECTED:
            return []
        if location is None:
            self._block(f"no location: {text}", now)
            return self._take()
        self.location = location
        self._enter(State.LOCATED, text, now)
        self._tell(f"Located: {text}", 800)
        for address in location.implausible:
            self._actions.append(Tell(f"FpiImplausible({address}): it contradicts the others", 600, "F01", address))
        if self.mode is Mode.MONITOR or self.trigger.cause is Cause.EARTH_FAULT:
            return self._take()
        self._ask_plan(Purpose.FAULT)
        return self._take()

    def planned(self, offer: Offer | None, text: str, now: float) -> list[Action]:
        """A plan that had been asked for, or why there is none."""
        self._planning = False
        if self.state in (State.IDLE, State.ABORTED) or self.state in EXECUTING:
            return []
        if offer is None:
            self._block(f"no plan: {text}", now)
            return self._take()
        renewed = self.state is State.WAIT_CONFIRM
        if renewed and self._expired and self.offer is not None:
            self._tell(f"Plan {self.offer.id}, which had expired, is replaced by plan {offer.id}", 600)
        self.offer, self._offered_at, self._expired = offer, now, False
        self._enter(State.PLANNED, text, now)
        if not renewed:
            self._tell(f"Planned: {text}", 800)
        if not offer.plan.steps:
            self._nothing_to_do(offer, now)
            return self._take()
        refusals = self._auto_refusals(offer)
        if self.mode is Mode.AUTO and not refusals:
            self._start(offer, now)
            return self._take()
        self.degraded = "; ".join(refusals) if self.mode is Mode.AUTO else ""
        self._wait(f"plan {offer.id} waits for confirmation" + (f" ({self.degraded})" if self.degraded else ""), now)
        return self._take()

    def answered(self, request: str, answer: Answer, now: float) -> list[Action]:
        """The command desk's answer to an `Operate`."""
        if self._reopening is not None and request.endswith(":reopen"):
            self._reopened(answer, now)
        elif self._stepper is not None:
            failure = self._stepper.answered(answer, now)
            if failure is not None:
                self._failed(failure, now)
        return self._take()

    def tagged(self, ok: bool, text: str, now: float) -> list[Action]:
        """The FLISR tags stand, or could not be set."""
        if self.state is State.ISOLATED:
            if ok:
                self._tags_put = True
            else:
                self._block(f"the isolating switches could not be tagged: {text}", now)
        return self._take()

    def tripped(self, feeder: str, now: float) -> list[Action]:
        """A trip, or an opening nobody asked for, of some feeder, later than the one that began this event.

        Soon after a closing that the feeder feeds it means closed onto a fault, else a second fault.
        """
        active = self.state in EXECUTING or self._stepper is not None
        recent = {
            switch: zone
            for switch, (zone, sent, feeding) in self._targets.items()
            if feeder in feeding and now - sent <= self.times.onto_fault + self.times.settle
        }
        offer = self.offer
        if offer is None or feeder not in {*offer.involved, self.trigger.feeder}:
            return []
        if not active and not (self.state in ENDED_WELL and recent):
            return []
        if recent:
            switch = next(reversed(recent))
            self._closed_onto_fault(switch, recent[switch], now)
        else:
            self._abort(f"second fault: {feeder} tripped", now)
        return self._take()

    # ---- what people say ------------------------------------------------------------------------------------------

    def confirm(self, plan: str, inputs: str, now: float, view: View) -> tuple[Verdict, list[Action]]:
        """A person's confirmation of the offered plan; a stale one is refused and a new plan asked for."""
        offer = self.offer
        if self.state is not State.WAIT_CONFIRM or offer is None or self._stepper is not None:
            if self._stepper is not None and offer is not None and (offer.id, offer.plan.inputs) == (plan, inputs):
                return Verdict(True, "is confirmed already"), []
            return Verdict(False, "no plan waits for confirmation"), []
        if (plan, inputs) != (offer.id, offer.plan.inputs):
            return Verdict(False, f"this is not the offered plan; plan {offer.id} is"), []
        stale = ""
        if now - self._offered_at > self.times.confirm:
            stale = f"the offer is older than {self.times.confirm:g} s"
        elif view.fingerprint(self.trigger.feeder) != offer.fingerprint:
            stale = "what the plan was made from has changed"
        if stale:
            self._tell(f"Plan {offer.id} is not confirmed: {stale}; a new one is being made", 600)
            self._ask_plan(offer.purpose)
            return Verdict(False, f"{stale}; a new plan is being made"), self._take()
        self._start(offer, now)
        return Verdict(True, f"plan {offer.id} is carried out"), self._take()

    def release(self, plan: str, step: int, now: float) -> tuple[Verdict, list[Action]]:
        """A person's word for one step (mode confirm-step), by its number: said again it releases nothing.

        Step 0 is none: it is answered where a plan is carried out as a whole, and refused where steps wait for words.
        """
        stepper, (name, records) = self._stepper, self._carried
        if name != plan:
            return Verdict(False, "no such plan is being carried out; confirm it first"), []
        waiting = stepper.current if stepper is not None and not stepper.released else None
        if step == 0:
            if stepper is not None and not stepper.each:
                return Verdict(True, "the plan is carried out as a whole; nothing waits for a word"), []
            which = f": step {waiting.step.n} waits" if waiting is not None else "; none waits now"
            return Verdict(False, f"say the number of the step that is released{which}"), []
        record = next((each for each in records if each.step.n == step), None)
        if record is None:
            return Verdict(False, f"plan {plan} has no step {step}"), []
        if stepper is None or record is not waiting:
            under_way = stepper is not None and record is stepper.current
            if under_way or record.sent is not None or record.done is not None:
                said = f": {record.text}" if record.text else ""
                return Verdict(True, f"step {step} needs no word any more, it is {record.state}{said}"), []
            which = f"step {waiting.step.n} does" if waiting is not None else "none does"
            return Verdict(False, f"step {step} does not wait for a word, {which}"), []
        stepper.released = True
        self._enter(_STAGE_STATE[record.step.stage], f"step {record.step.n}", now)
        self._actions.append(Waiting(False))
        return Verdict(True, f"step {record.step.n}: {record.step.action} {record.step.address}"), self._take()

    def plan_anew(self, now: float) -> tuple[Verdict, list[Action]]:
        """A person asks for a (new) plan from the state of the grid as it is now; also after an abort or a block."""
        if self.state in EXECUTING or self._stepper is not None:
            return Verdict(False, "a plan is being carried out; stop it first"), []
        if self.location is None:
            return Verdict(False, "the fault has not been located"), []
        if self.trigger.cause is Cause.EARTH_FAULT:
            return Verdict(False, "a standing earth fault is located only"), []
        self._enter(State.LOCATED, "a new plan is asked for", now)
        self._by_hand()
        self._replans = 0
        self._ask_plan(Purpose.FAULT)
        return Verdict(True, "a new plan is being made"), self._take()

    def return_to_normal(self, now: float) -> tuple[Verdict, list[Action]]:
        """A person asks for the plan back to normal positions, after the repair."""
        if self.state in EXECUTING or self._stepper is not None:
            return Verdict(False, "a plan is being carried out; stop it first"), []
        self._enter(State.REPAIR, "return to normal is asked for", now)
        self._by_hand()
        self._ask_plan(Purpose.RETURN)
        return Verdict(True, "the plan back to normal is being made"), self._take()

    def stop(self, who: str, now: float) -> tuple[Verdict, list[Action]]:
        """Stop what goes on. Said again it changes nothing: the event, and the guard of its fault, stay until the end.

        Only a return that was asked for without any fault has nothing to guard: a second word ends it.
        """
        still = self.state in (State.ABORTED, State.BLOCKED, State.LOCATED, *ENDED_WELL)
        if not still or self._stepper is not None or self._planning:
            if self.state is State.DETECTED and not self._located_asked:
                self._located_asked = True
                self._actions.append(Locate())
            self._abort(f"stopped by {who}", now)
            return Verdict(True, self.reason), self._take()
        if self._reopening is not None:
            self._stopped = who
            return Verdict(True, f"{self._reopening.address} is opened again, then nothing more is done"), []
        if self.trigger.cause is Cause.RETURN and not self.fault_zones:
            self._enter(State.IDLE, f"ended by {who}", now)
            return Verdict(True, self.reason), self._take()
        return Verdict(True, f"nothing is under way ({self.reason}); the event stays until it is ended"), []

    def end(self, who: str, reason: str, now: float) -> tuple[Verdict, list[Action]]:
        """A person's word that the event is over, and with it the guard of its fault; not while something goes on."""
        if self.state in EXECUTING or self._stepper is not None or self._reopening is not None:
            return Verdict(False, "something is being carried out; stop it first"), []
        self._enter(State.IDLE, f"ended by {who}: {reason}", now)
        self._actions.append(Waiting(False))
        self._tell(f"Ended by {who}: {reason}", 800)
        return Verdict(True, self.reason), self._take()

    def supersede(self, event: str, now: float) -> list[Action]:
        """A later event of the same feeder takes over, with what is known of this one's fault."""
        self._stepper = None
        self._enter(State.IDLE, f"taken over by {event}", now)
        self._actions.append(Waiting(False))
        return self._take()

    def begin_repair(self, text: str, now: float) -> list[Action]:
        """People work at the fault: the event waits for their return."""
        if self.state in (State.RESTORED, State.PARTIAL):
            self._enter(State.REPAIR, text, now)
        return self._take()

    def resume_blocked(self, done: list[StepRecord], now: float) -> list[Action]:
        """After a restart of the gateway in the middle: blocked, with what had been done; never goes on by itself."""
        self.history = done
        self._block("restart of the gateway in the middle of a sequence", now, "restart")
        if self.location is None and self.trigger.cause is not Cause.BUSBAR:
            self._actions.append(Locate())
        return self._take()

    # ---- before the plan ------------------------------------------------------------------------------------------

    def _collect(self, now: float, view: View) -> None:
        if self._located_asked:
            return
        waited = now - self._begin
        scheme = view.scheme(self.trigger.feeder)
        if scheme == _SCHEME_ACTIVE and waited < self.times.handover:
            self.reason = "a distributed scheme is at work"
            return
        if self.trigger.cause is Cause.BUSBAR:
            self._block("busbar or transformer protection has operated: no restoration from this busbar", now)
            return
        self._scheme_before = scheme
        settled = scheme in _SCHEME_ENDED
        if waited >= self.times.local + (0.0 if settled else self.times.collect):
            self._located_asked = True
            self._actions.append(Locate())

    def _watch_head(self, now: float, view: View) -> None:
        """What is only watched is over when others have closed the breaker again (or the earth fault is off)."""
        if self._planning or self.trigger.cause is Cause.EARTH_FAULT:
            return
        if view.head_closed(self.trigger.feeder) is not True:
            self._closed_since = None
            return
        self._closed_since = now if self._closed_since is None else self._closed_since
        if now - self._closed_since >= self.times.over:
            self._enter(State.IDLE, "supply was restored by others", now)

    def earth_fault_over(self, now: float) -> list[Action]:
        """The standing earth fault is gone."""
        if self.trigger.cause is Cause.EARTH_FAULT and self.state in (State.DETECTED, State.LOCATED):
            self._enter(State.IDLE, "the earth fault is gone", now)
        return self._take()

    def _watch_offer(self, now: float, view: View) -> None:
        offer = self.offer
        if offer is None or self._planning:
            return
        if view.fingerprint(self.trigger.feeder) != offer.fingerprint:
            self._tell("The plan was made from what has changed; a new one is being made", 600)
            self._ask_plan(offer.purpose)
        elif not self._expired and now - self._offered_at > self.times.confirm:
            self._expired = True
            self.reason = f"the offer has expired after {self.times.confirm:g} s; confirming it makes a new one"
            self._tell(f"Plan {offer.id} has expired after {self.times.confirm:g} s", 600)

    def _ask_plan(self, purpose: Purpose) -> None:
        self._planning = True
        self._actions.append(MakePlan(purpose, frozenset(self.blocked), frozenset(self.fault_zones)))

    def _auto_refusals(self, offer: Offer) -> list[str]:
        """Why a plan may not run without a person, though the feeder is automatic."""
        refusals = list(offer.auto_refusals)
        if self.trigger.advise_only:
            refusals.append(f"a person must decide: {self.trigger.text}")
        if self.trigger.cause not in (Cause.TRIP, Cause.LOSS):
            refusals.append(f"the event began with: {self.trigger.cause}")
        if offer.purpose is Purpose.RETURN:
            refusals.append("the return to normal is always confirmed")
        if self.location is not None and not self.location.auto_ok:
            refusals.append(f"{len(self.location.candidates)} zones may be faulted")
        if not offer.plan.auto_ok:
            refusals.append("; ".join(offer.plan.warnings) or "the plan needs a person's judgement")
        return refusals

    def _nothing_to_do(self, offer: Offer, now: float) -> None:
        if offer.purpose is Purpose.RETURN:
            self._returned(offer, now)
        else:
            self._report(offer, now)

    def _returned(self, offer: Offer, now: float) -> None:
        self._actions.append(Waiting(False))
        if offer.left:
            text = "; ".join((f"not in its normal position: {', '.join(offer.left)}", *offer.plan.warnings))
            self._enter(State.REPAIR, text, now)
            self._tell(f"Not returned to normal: {text}", 600)
        else:
            self._enter(State.IDLE, "the grid is in its normal state", now)
            self._tell("Returned to normal", 400)

    # ---- execution ------------------------------------------------------------------------------------------------

    def _start(self, offer: Offer, now: float) -> None:
        self._executions += 1
        self._targets.clear()
        key = f"{self.trigger.event}:{offer.id}:{self._executions}"
        strict, each = self.mode is Mode.AUTO, self.mode is Mode.CONFIRM_STEP
        self._stepper = Stepper(key, offer.plan.steps, self.times, strict=strict, each=each)
        self.history += self._stepper.records
        self._carried = offer.id, self._stepper.records
        self._tags_asked = self._tags_put = False
        self._tags_before = None
        self._actions.append(Waiting(False))
        self._enter(_STAGE_STATE[offer.plan.steps[0].stage], f"plan {offer.id}", now)
        self._tell(f"Plan {offer.id} is carried out: {len(offer.plan.steps)} steps", 800)

    def _execute(self, now: float, view: View) -> None:
        stepper, offer = self._stepper, self.offer
        if stepper is None or offer is None or self._reopening is not None:
            return
        if self._abort_reasons(stepper, offer, now, view):
            return
        record = stepper.current
        if self._leaves_isolation(record, offer, now):
            return
        if record is None:
            self._stepper = None
            self._complete(offer, now)
            return
        if not stepper.released and self.state is not State.WAIT_CONFIRM:
            step = record.step
            self._wait(f"step {step.n} of plan {offer.id} waits: {step.action} {step.address}", now)
        if stepper.released:
            self._enter(_STAGE_STATE[record.step.stage], f"step {record.step.n}", now)
        target = view.target_zone(record.step.address) if record.step.action is Move.CLOSE else ""
        result = stepper.tick(now, view)
        if isinstance(result, Operate):
            if result.step.action is Move.CLOSE:
                switch = result.step.address
                self._targets[switch] = (target, now, view.feeding(switch))
            self._actions.append(result)
        elif isinstance(result, Failure):
            self._failed(result, now)

    def _leaves_isolation(self, record: StepRecord | None, offer: Offer, now: float) -> bool:
        """Between isolation and restoration the isolating switches get their tags; True while that goes on."""
        isolation = offer.isolation
        if offer.purpose is Purpose.RETURN or isolation is None or self._tags_put:
            return False
        if record is not None and record.step.stage is Stage.ISOLATE:
            return False
        if not self._tags_asked:
            self._tags_asked = True
            self._enter(State.ISOLATED, "the fault is isolated", now)
            self._tell("Isolated", 800)
            self._actions.append(PutTags(tuple(boundary.switch for boundary in isolation.boundaries)))
        return True

    def _complete(self, offer: Offer, now: float) -> None:
        if offer.purpose is Purpose.RETURN:
            self._returned(offer, now)
            return
        self._report(offer, now)

    def _report(self, offer: Offer, now: float) -> None:
        result = offer.result
        left = () if result is None else result.unrestored
        incomplete = offer.isolation is not None and not offer.isolation.complete
        if left or incomplete:
            self._enter(State.PARTIAL, f"{len(left)} healthy zones stay without supply", now)
        else:
            self._enter(State.RESTORED, "all healthy zones are supplied", now)
        self._actions += [Waiting(False), ResetIndicators()]
        self._tell(f"Done: {self.reason}", 800)

    def _abort_reasons(self, stepper: Stepper, offer: Offer, now: float, view: View) -> bool:
        """Whether something has happened that ends the execution at once."""
        feeder = self.trigger.feeder
        scheme = view.scheme(feeder)
        if scheme == _SCHEME_ACTIVE and self._scheme_before != _SCHEME_ACTIVE:
            self._abort("a distributed scheme has become active", now)
            return True
        moving = stepper.moving
        if self._tags_before is None:
            # The plan was made knowing the tags that stand now: what ends it is a further one.
            self._tags_before = {record.step.address: view.tag(record.step.address) for record in stepper.records}
        for record in stepper.records:
            step = record.step
            wanted = WANTED.get(step.action)
            if wanted is None:
                continue
            switch = step.address
            text = ""
            if not view.reachable(switch):
                self._hold(f"communication with {switch} is lost", now)
                return True
            if view.tag(switch) not in ("", self._tags_before[switch]):
                text = f"a tag was set: {view.tag(switch)}"
            elif view.local(switch):
                text = f"local control was taken at {switch}"
            elif switch != moving and view.position(switch) is Position.UNKNOWN:
                text = f"the position of {switch} is intermediate or bad"
            elif record.done is not None and switch != moving and view.position(switch) is not wanted:
                later = [other for other in stepper.records if other.step.address == switch and other.step.n > step.n]
                text = "" if any(other.sent is not None for other in later) else f"{switch} was moved by others"
            if text:
                self._abort(text, now)
                return True
        return False

    def _failed(self, failure: Failure, now: float) -> None:
        step = failure.step
        text = f"step {step.n}, {step.action} {step.address}: {failure.text}"
        if failure.trouble is Trouble.COMMS:
            self._hold(text, now)
        elif failure.trouble is Trouble.ISLAND:
            self._actions.append(Tell(f"Unintended island: {failure.text}", 950, "P09", step.address))
            self._block(text, now)
        elif failure.trouble is Trouble.SWITCH and step.on_fail is OnFail.REPLAN:
            self._replan(step.address, text, now)
        else:
            self._block(text, now)

    def _replan(self, switch: str, text: str, now: float) -> None:
        self.blocked.add(switch)
        self._stepper = None
        self._replans += 1
        if self._replans > self.times.max_replans:
            self._block(f"{text}; {self._replans} switches have failed", now)
            return
        self._tell(f"{text}; a plan without it is being made", 800)
        self._enter(State.LOCATED, f"without {switch}", now)
        self._ask_plan(self.offer.purpose if self.offer is not None else Purpose.FAULT)

    # ---- closed onto fault ----------------------------------------------------------------------------------------

    def _closed_onto_fault(self, switch: str, zone: str, now: float) -> None:
        self._actions.append(Tell(f"{switch} was closed onto a fault", 950, "S07", switch))
        self._stepper = None
        self._targets.clear()
        if zone:
            self.fault_zones.add(zone)
        self.blocked.add(switch)
        # From here on a person decides, and only once more.
        self._by_hand()
        step = Step(
            0, Stage.RESTORE, switch, Move.OPEN, (), (), 30.0, OnFail.STOP, "It was closed onto a fault: open it again"
        )
        self._reopening = step
        self.history.append(StepRecord(step, attempts=1, sent=now))
        self._enter(State.ABORTED, f"{switch} was closed onto a fault and is opened again", now)
        self._actions.append(Operate(f"{self.trigger.event}:{switch}:{now:.3f}:reopen", step, 1))

    def _reopened(self, answer: Answer, now: float) -> None:
        step, self._reopening = self._reopening, None
        assert step is not None  # noqa: S101 - its only caller has looked
        record = self.history[-1]
        record.text = answer.text
        if not answer.good:
            self._block(f"{step.address} was closed onto a fault and could not be opened again: {answer.text}", now)
            return
        record.done = now
        if self._stopped:
            self._enter(State.ABORTED, f"stopped by {self._stopped}; {step.address} was opened again", now)
        elif self._again:
            self._again = False
            self._enter(State.LOCATED, f"without {step.address}", now)
            self._ask_plan(Purpose.FAULT)
        else:
            self._block("closed onto a fault twice", now)

    # ---- ends -----------------------------------------------------------------------------------------------------

    def _by_hand(self) -> None:
        """A person decides for the rest of this event."""
        self.mode = self.mode if self.mode is Mode.CONFIRM_STEP else Mode.ADVISE

    def _abort(self, text: str, now: float) -> None:
        self._stepper = None
        self._enter(State.ABORTED, text, now)
        self._actions.append(Waiting(False))
        self._tell(f"Aborted: {text}", 900)

    def _hold(self, text: str, now: float) -> None:
        self._block(text, now)

    def _block(self, text: str, now: float, word: str = "") -> None:
        self._stepper = None
        self._enter(State.BLOCKED, f"{word}: {text}" if word else text, now)
        self._actions.append(Waiting(False))
        self._tell(f"Blocked: {text}", 900)

    def _wait(self, text: str, now: float) -> None:
        self._enter(State.WAIT_CONFIRM, text, now)
        self._actions.append(Waiting(True, text))

    def _enter(self, state: State, reason: str, now: float) -> None:
        if state is not self.state:
            self.stamps.append((state, now, reason))
        self.state, self.reason = state, reason

    def _tell(self, text: str, severity: int) -> None:
        self._actions.append(Tell(text, severity))

    def _take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
