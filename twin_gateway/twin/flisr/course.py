"""What a FLISR event is at a moment, and how it gets from one state to the next: the base of its sequence."""

from __future__ import annotations

from twin_gateway.twin.flisr.records import Location, Step
from twin_gateway.twin.flisr.states import (
    Action,
    MakePlan,
    Mode,
    Offer,
    Purpose,
    SequenceTimes,
    State,
    StepRecord,
    Tell,
    Trigger,
    Waiting,
)
from twin_gateway.twin.flisr.stepper import Stepper

SCHEME_ACTIVE, SCHEME_ENDED = 2, (3, 4)
"""Of a distributed scheme: it is at work, it is done or has failed."""


class Course:
    """State, plan and history of one event, and what it asks for.

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

    def _ask_plan(self, purpose: Purpose) -> None:
        self._planning = True
        self._actions.append(MakePlan(purpose, frozenset(self.blocked), frozenset(self.fault_zones)))

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
