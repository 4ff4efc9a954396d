"""Carrying out the plan of an event: its steps, what ends them at once, and what is closed onto a fault (spec 3.6)."""

from __future__ import annotations

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.course import SCHEME_ACTIVE, Course
from twin_gateway.twin.flisr.records import Action as Move
from twin_gateway.twin.flisr.records import OnFail, Stage, Step
from twin_gateway.twin.flisr.states import (
    Answer,
    Mode,
    Offer,
    Operate,
    Purpose,
    PutTags,
    ResetIndicators,
    State,
    StepRecord,
    Tell,
    View,
    Waiting,
)
from twin_gateway.twin.flisr.stepper import WANTED, Failure, Stepper, Trouble

STAGE_STATE = {
    Stage.ISOLATE: State.ISOLATING,
    Stage.UPSTREAM: State.RESTORING,
    Stage.RESTORE: State.RESTORING,
    Stage.RETURN: State.RETURNING,
}
"""State of an event while steps of a stage are carried out."""


class Execution(Course):
    """An event whose plan can be carried out."""

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
        self._enter(STAGE_STATE[offer.plan.steps[0].stage], f"plan {offer.id}", now)
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
            self._enter(STAGE_STATE[record.step.stage], f"step {record.step.n}", now)
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
        if scheme == SCHEME_ACTIVE and self._scheme_before != SCHEME_ACTIVE:
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

    def _returned(self, offer: Offer, now: float) -> None:
        self._actions.append(Waiting(False))
        if offer.left:
            text = "; ".join((f"not in its normal position: {', '.join(offer.left)}", *offer.plan.warnings))
            self._enter(State.REPAIR, text, now)
            self._tell(f"Not returned to normal: {text}", 600)
        else:
            self._enter(State.IDLE, "the grid is in its normal state", now)
            self._tell("Returned to normal", 400)

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
