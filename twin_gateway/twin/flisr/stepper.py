"""Carrying out a plan step by step: preconditions, command, observation, one retry; what failed and how (S6)."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from enum import StrEnum

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import Action as Move
from twin_gateway.twin.flisr.records import Condition, OnFail, Step
from twin_gateway.twin.flisr.states import Answer, Operate, SequenceTimes, StepRecord, StepState, View

_FINAL_GATES = frozenset({"tag", "role", "local", "mode", "stop", "journal", "audit"})
"""Gates whose refusal a retry does not change."""
WANTED = {Move.OPEN: Position.OPEN, Move.CLOSE: Position.CLOSED}


class Trouble(StrEnum):
    """How a step can end badly."""

    SWITCH = "switch"  # it does not move, or may not be moved: take another one
    ISLAND = "island"  # voltage where there should be none
    HOLD = "hold"  # stop and hold: people must look
    COMMS = "comms"  # communication is lost


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the plan cannot go on."""

    trouble: Trouble
    step: Step
    text: str


class Stepper:
    """Runs the steps of one plan.

    Args:
        key: unique for the plan and this execution; request ids are made from it.
        steps: in order.
        strict: automatic execution: what nobody measures is not taken as fulfilled.
        each: every step waits for a person's word.
    """

    def __init__(self, key: str, steps: Items[Step], times: SequenceTimes, *, strict: bool, each: bool) -> None:
        self.records = [StepRecord(step) for step in steps]
        self.index = 0
        self.each = each
        self.released = not each
        self._key = key
        self._times = times
        self._strict = strict
        self._since = 0.0
        self._begun = False
        self._not_before = 0.0
        self._held: dict[Condition, float] = {}
        self._settling: float | None = None
        self._confirmed = False

    @property
    def current(self) -> StepRecord | None:
        """The step that is on; None when all are done."""
        return self.records[self.index] if self.index < len(self.records) else None

    @property
    def moving(self) -> str:
        """Address of the switch that is under command at this moment; empty for none."""
        record = self.current
        under_way = record is not None and record.state in (StepState.SENT, StepState.VERIFYING)
        return record.step.address if record is not None and under_way else ""

    def tick(self, now: float, view: View) -> Operate | Failure | None:
        """What is to be done now: send a step, give up, or wait."""
        record = self.current
        if record is None:
            return None
        if not self._begun:
            self._begin(now)
        if record.state in (StepState.PENDING, StepState.WAITING):
            return self._before(record, now, view)
        if record.state is StepState.SENT:
            if record.sent is not None and now - record.sent > self._times.answer:
                return Failure(Trouble.HOLD, record.step, "the command desk did not answer")
            return None
        return self._verify(record, now, view)

    def answered(self, answer: Answer, now: float) -> Failure | None:
        """Take the desk's answer to the step that is on."""
        record = self.current
        if record is None or record.state is not StepState.SENT:
            return None
        record.text = answer.text
        self._confirmed = answer.good
        if answer.good or answer.unknown:
            # Confirmed or not known: what counts is what the grid shows.
            record.state, self._since = StepState.VERIFYING, now
            return None
        if answer.unreachable:
            record.state = StepState.FAILED
            return Failure(Trouble.COMMS, record.step, answer.text)
        if answer.gate in _FINAL_GATES:
            record.state = StepState.FAILED
            return Failure(Trouble.HOLD, record.step, answer.text)
        return self._retry(record, now, answer.text)

    # ---- the parts of a step --------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        self._begun, self._since, self._settling = True, now, None
        self._held.clear()

    def _before(self, record: StepRecord, now: float, view: View) -> Operate | Failure | None:
        step = record.step
        if _is_so(step, view):
            record.text = record.text or "was so already"
            self._finish(record, now)
            return None
        record.state = StepState.WAITING
        if not self.released:
            self._since = now
            return None
        failing = [condition for condition in step.preconditions if not self.holds(condition, now, view)]
        if not failing and now >= self._not_before:
            record.state, record.sent = StepState.SENT, now
            record.attempts += 1
            return Operate(f"{self._key}:{step.n}:{record.attempts}", step, record.attempts)
        if not failing:
            return None
        longest = max(condition.seconds for condition in failing)
        if now - self._since <= self._times.patience + longest:
            return None
        alive = _alive(failing, view)
        if alive:
            return self._give_up(record, Failure(Trouble.ISLAND, step, alive))
        text = "; ".join(_words(condition) for condition in failing)
        trouble = Trouble.SWITCH if step.on_fail is OnFail.REPLAN and _of_switch(failing) else Trouble.HOLD
        return self._give_up(record, Failure(trouble, step, f"not fulfilled: {text}"))

    def _verify(self, record: StepRecord, now: float, view: View) -> Failure | None:
        step = record.step
        if self._settling is not None:
            if now - self._settling >= self._times.settle:
                self._finish(record, now)
            return None
        missing = [condition for condition in step.expected if not self.holds(condition, now, view)]
        wanted = WANTED.get(step.action)
        position = view.position(step.address) if wanted is not None else Position.UNKNOWN
        told = any(each.kind == "position" and each.subject == step.address for each in missing)
        if wanted is not None and position is not wanted and not told:
            missing.append(Condition("position", step.address, wanted.name.lower()))
        if not missing:
            if step.action is Move.CLOSE:
                self._settling = now  # let the grid settle before the next one
            else:
                self._finish(record, now)
            return None
        if now - self._since <= step.timeout:
            return None
        text = "; ".join(_words(condition) for condition in missing)
        if wanted is not None and position is Position.UNKNOWN:
            trouble = Trouble.HOLD if view.reachable(step.address) else Trouble.COMMS
            return self._give_up(record, Failure(trouble, step, f"its position is not known after the command: {text}"))
        alive = _alive(missing, view)
        if alive and position is wanted:
            return self._give_up(record, Failure(Trouble.ISLAND, step, alive))
        if wanted is not None and position is wanted:
            return self._give_up(record, Failure(Trouble.HOLD, step, f"moved, but not seen: {text}"))
        if step.action is Move.CLOSE and self._confirmed:
            # Something has opened it again, a fault perhaps: to close it once more is no retry.
            return self._give_up(record, Failure(Trouble.HOLD, step, f"it was confirmed closed and is open: {text}"))
        return self._retry(record, now, f"not seen within {step.timeout:g} s: {text}")

    def _retry(self, record: StepRecord, now: float, text: str) -> Failure | None:
        if record.attempts < 2:
            record.state, record.text = StepState.PENDING, f"first attempt: {text}"
            self._begin(now)  # the person's word was for the step, not for one attempt: it stands
            self._not_before = now + self._times.retry_pause
            return None
        trouble = Trouble.SWITCH if record.step.on_fail is OnFail.REPLAN else Trouble.HOLD
        return self._give_up(record, Failure(trouble, record.step, text))

    def _give_up(self, record: StepRecord, failure: Failure) -> Failure:
        record.state, record.text = StepState.FAILED, failure.text
        return failure

    def _finish(self, record: StepRecord, now: float) -> None:
        record.state, record.done = StepState.DONE, now
        self.index += 1
        self._begun, self.released = False, not self.each

    # ---- conditions -----------------------------------------------------------------------------------------------

    def holds(self, condition: Condition, now: float, view: View) -> bool:
        """Whether a condition holds, and has held for as long as it asks."""
        if condition.kind == "no_trip":
            return True  # a trip ends the whole sequence as soon as it is seen, then and later: none has been
        if not self._true(condition, view):
            self._held.pop(condition, None)
            return False
        return now - self._held.setdefault(condition, now) >= condition.seconds - 1e-6

    def _true(self, condition: Condition, view: View) -> bool:
        subject = condition.subject
        kind = condition.kind
        if kind == "position":
            return view.position(subject).name.lower() == condition.value
        if kind == "position_good":
            return view.position(subject) is not Position.UNKNOWN
        if kind == "current_zero":
            return self._measured(view.current_zero(subject))
        if kind == "reclose_blocked":
            blocked = view.reclose_blocked(subject)
            return self._measured(blocked if condition.value != "unblocked" or blocked is None else not blocked)
        if kind == "dead":
            dead = view.dead(subject)
            # Where nobody measures the voltage, only the absence of generation proves that there is none.
            return dead if dead is not None else not view.infeed(subject)
        if kind == "live":
            return view.dead(subject) is not True
        if kind == "available":
            return not view.available(subject, opening=condition.value == "open")
        if kind == "not_tagged":
            return not view.tagged(subject)
        if kind == "not_earthed":
            return not view.earthed(subject)
        if kind in ("same_source", "synchronised"):  # a released synchrocheck proves either
            return view.same_source(subject) is True
        raise ValueError(f"a step asks for {kind}, which nobody knows how to see")

    def _measured(self, value: bool | None) -> bool:
        return not self._strict if value is None else value


def _is_so(step: Step, view: View) -> bool:
    """Whether what a step is to bring about is so already."""
    if step.action in WANTED:
        return view.position(step.address) is WANTED[step.action]
    return view.reclose_blocked(step.address) is (step.action is Move.BLOCK_RECLOSE)


def _words(condition: Condition) -> str:
    words = condition.kind.replace("_", " ")
    value = f" {condition.value}" if condition.value else ""
    seconds = f" for {condition.seconds:g} s" if condition.seconds else ""
    return f"{condition.subject} {words}{value}{seconds}"


def _alive(conditions: Items[Condition], view: View) -> str:
    """Where there is voltage although the sources are off: something else feeds an island. Empty for nowhere."""
    for condition in conditions:
        if condition.kind in ("dead", "current_zero") and view.dead(condition.subject) is False:
            return f"voltage at {condition.subject} although its sources are off"
    return ""


def _of_switch(conditions: Items[Condition]) -> bool:
    """Whether another switch may help: this one is not available, or its zone must not be energised."""
    return all(condition.kind in ("available", "not_tagged", "not_earthed") for condition in conditions)
