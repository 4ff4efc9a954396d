"""What people say to an event: confirm, release a step, plan anew, return, stop, end; each word is taken or refused."""

from __future__ import annotations

from dataclasses import dataclass

from twin_gateway.twin.flisr.execution import STAGE_STATE, Execution
from twin_gateway.twin.flisr.states import (
    ENDED_WELL,
    EXECUTING,
    Action,
    Cause,
    Locate,
    Purpose,
    State,
    View,
    Waiting,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a person's word was taken, and why not."""

    ok: bool
    text: str


class Words(Execution):
    """An event that people can speak to."""

    @property
    def _busy(self) -> bool:
        """Steps are carried out, or what was closed onto a fault is being opened again."""
        return self.state in EXECUTING or self._stepper is not None or self._reopening is not None

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
        self._enter(STAGE_STATE[record.step.stage], f"step {record.step.n}", now)
        self._actions.append(Waiting(False))
        return Verdict(True, f"step {record.step.n}: {record.step.action} {record.step.address}"), self._take()

    def plan_anew(self, now: float) -> tuple[Verdict, list[Action]]:
        """A person asks for a (new) plan from the state of the grid as it is now; also after an abort or a block."""
        if self._busy:
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
        if self._busy:
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
        if self._busy:
            return Verdict(False, "something is being carried out; stop it first"), []
        self._enter(State.IDLE, f"ended by {who}: {reason}", now)
        self._actions.append(Waiting(False))
        self._tell(f"Ended by {who}: {reason}", 800)
        return Verdict(True, self.reason), self._take()
