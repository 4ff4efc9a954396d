"""States, modes, triggers, offers and actions of a FLISR sequence; what it sees of the grid, as a protocol (spec 3.6).

Times are seconds (UTC), as the caller counts them: nothing here looks at a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import FaultKind, Isolation, Plan, RestorationResult, Step


class State(IntEnum):
    """States of a sequence; numbers of the enumeration FlisrStateKind."""

    IDLE = 0
    DETECTED = 1
    LOCATED = 2
    PLANNED = 3
    WAIT_CONFIRM = 4
    ISOLATING = 5
    ISOLATED = 6
    RESTORING = 7
    RESTORED = 8
    PARTIAL = 9
    REPAIR = 10
    RETURNING = 11
    ABORTED = 12
    BLOCKED = 13


EXECUTING = frozenset({State.ISOLATING, State.ISOLATED, State.RESTORING, State.RETURNING})
ENDED_WELL = frozenset({State.RESTORED, State.PARTIAL, State.REPAIR})


class Mode(IntEnum):
    """Modes of a feeder; numbers of the enumeration FlisrModeKind."""

    OFF = 0
    MONITOR = 1  # locate only
    ADVISE = 2  # one confirmation for the plan
    CONFIRM_STEP = 3
    AUTO = 4


class Cause(StrEnum):
    """What started a sequence."""

    TRIP = "trip"
    LOSS = "loss of supply"  # the breaker opened without command or trip, current and voltage are gone
    OPERATOR = "operator"
    EARTH_FAULT = "standing earth fault"
    BREAKER_FAILURE = "breaker failure"
    BUSBAR = "busbar protection"
    RETURN = "return to normal"


@dataclass(frozen=True, slots=True)
class Trigger:
    """The beginning of an event.

    Attributes:
        event: id of the event; the same trip gives the same id.
        time: of the trip, by the device's clock where that is good.
        received: when it was learnt.
        clock_good: `time` may be compared with other devices' times.
        advise_only: a person decides: the state of reclosing is not known, or nobody watched when it began.
        fault: kind of fault, as far as protection tells.
        text: a sentence.
    """

    event: str
    feeder: str
    cause: Cause
    time: float
    received: float
    clock_good: bool = True
    advise_only: bool = False
    fault: FaultKind = FaultKind.UNKNOWN
    text: str = ""


class Purpose(StrEnum):
    """What a plan is for."""

    FAULT = "fault"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as it is offered for confirmation.

    Attributes:
        id: of the plan.
        fingerprint: of everything that the plan looked at, when it was made.
        involved: addresses of feeders whose trip ends the execution.
        auto_refusals: why it may not run by itself, one sentence each; empty when it may.
        left: of a return, switches that are not in their normal position after it.
    """

    id: str
    plan: Plan
    fingerprint: str
    purpose: Purpose = Purpose.FAULT
    isolation: Isolation | None = None
    result: RestorationResult | None = None
    involved: frozenset[str] = frozenset()
    auto_refusals: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceTimes:
    """Times of a sequence, s (defaults of spec 3.4 to 3.7).

    Attributes:
        collect: wait for late indications.
        local: scheme time of local automatics (n reclosings and margin), before anything else.
        handover: a distributed scheme that is active longer is taken over.
        confirm: how long a plan can be confirmed.
        patience: wait for the preconditions of a step beyond what they ask for themselves.
        answer: longest wait for the answer of the command desk.
        retry_pause: before the one retry.
        settle: after a closing.
        onto_fault: a trip within this time after a closing means closed onto fault.
        over: the head breaker has been closed by others for so long: the event is over.
        max_replans: failed switches after which nothing more is planned by itself.
    """

    collect: float = 5.0
    local: float = 0.0
    handover: float = 20.0
    confirm: float = 120.0
    patience: float = 15.0
    answer: float = 60.0
    retry_pause: float = 1.0
    settle: float = 3.0
    onto_fault: float = 10.0
    over: float = 10.0
    max_replans: int = 3


class View(Protocol):
    """What a sequence sees of the grid at one moment. None always means: nobody measures it."""

    def position(self, switch: str) -> Position:
        """Good positions only; anything else is unknown."""
        ...

    def reachable(self, switch: str) -> bool:
        """Communication with the device that has the switch is up."""
        ...

    def local(self, switch: str) -> bool:
        """Local control is taken."""
        ...

    def tag(self, switch: str) -> str:
        """A safety tag of people on the switch or on a zone beside it; FLISR's own do not count. Empty for none."""
        ...

    def tagged(self, switch: str) -> str:
        """A tag of any kind on the switch itself; empty for none."""
        ...

    def available(self, switch: str, *, opening: bool) -> str:
        """Why the switch cannot be operated now; empty when it can."""
        ...

    def current_zero(self, switch: str) -> bool | None:
        """No current flows through it."""
        ...

    def dead(self, subject: str) -> bool | None:
        """No voltage at a zone, or at the side of a switch that closing it would energise."""
        ...

    def infeed(self, subject: str) -> bool:
        """Generation that is not known to be disconnected may keep that side alive."""
        ...

    def earthed(self, subject: str) -> str:
        """An earth on a zone (or the zones beside a switch), or one that is not known to be open; empty for none."""
        ...

    def reclose_blocked(self, feeder: str) -> bool | None:
        """Automatic reclosing is confirmed blocked."""
        ...

    def same_source(self, switch: str) -> bool | None:
        """Both sides of a switch are proven to be of one source, or synchronised."""
        ...

    def scheme(self, feeder: str) -> int | None:
        """State of the distributed scheme: 0 off, 1 armed, 2 active, 3 done, 4 failed."""
        ...

    def head_closed(self, feeder: str) -> bool | None:
        """Position of the breaker at the head; None when not known."""
        ...

    def target_zone(self, switch: str) -> str:
        """The zone that closing the switch would energise; empty when that cannot be told."""
        ...

    def feeding(self, switch: str) -> frozenset[str]:
        """Feeders that would trip if the switch were closed onto a fault: those that feed it."""
        ...

    def fingerprint(self, feeder: str) -> str:
        """Hash of what plans look at: positions, qualities, availability, tags, indications."""
        ...


# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Locate:
    """Compute the location."""


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Compute a plan from the state of the grid as it is now.

    Attributes:
        blocked: switches that failed and must not be used.
        fault_zones: zones to be taken as faulted beside the located ones.
    """

    purpose: Purpose
    blocked: frozenset[str] = frozenset()
    fault_zones: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Operate:
    """Carry out one step; to be journalled before it is sent. `request` makes sure that nothing operates twice."""

    request: str
    step: Step
    attempt: int


@dataclass(frozen=True, slots=True)
class PutTags:
    """Leave persistent FLISR tags at the isolating switches."""

    switches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResetIndicators:
    """Reset the fault passage indicators of the feeder."""


@dataclass(frozen=True, slots=True)
class Tell:
    """An event `code` about the feeder or `address`."""

    text: str
    severity: int
    code: str = "F01"
    address: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody is waited for (the alarm `waiting`), or no longer."""

    on: bool
    text: str = ""


Action = Locate | MakePlan | Operate | PutTags | ResetIndicators | Tell | Waiting


@dataclass(frozen=True, slots=True)
class Answer:
    """The command desk's answer to an `Operate`.

    Attributes:
        good: confirmed, and the position followed.
        unknown: it left the gateway and its outcome is not known.
        gate: that refused.
    """

    good: bool
    text: str = ""
    gate: str = ""
    unknown: bool = False
    unreachable: bool = False


class StepState(StrEnum):
    """How far a step is."""

    PENDING = "pending"
    WAITING = "waiting"  # for its preconditions, or for a person's word
    SENT = "sent"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class StepRecord:
    """A step and what became of it; times are None until it is so far."""

    step: Step
    state: StepState = StepState.PENDING
    attempts: int = 0
    sent: float | None = None
    done: float | None = None
    text: str = ""
