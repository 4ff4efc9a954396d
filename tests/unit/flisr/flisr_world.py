"""A small grid in virtual time for the FLISR state machine: switches that obey, or not; plans made by hand.

F1: H1 - z1 - A - z2 - B - z3 - T(tie, open) - F2's zone. Fault in z2 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import (
    Action,
    Boundary,
    Condition,
    Isolation,
    Location,
    Method,
    OnFail,
    Plan,
    RestorationResult,
    Stage,
    Step,
    Unrestored,
)
from twin_gateway.twin.flisr.sequence import Sequence
from twin_gateway.twin.flisr.states import Action as Deed
from twin_gateway.twin.flisr.states import (
    Answer,
    Cause,
    Locate,
    MakePlan,
    Mode,
    Offer,
    Operate,
    Purpose,
    PutTags,
    SequenceTimes,
    Tell,
    Trigger,
    Waiting,
)

OPEN, CLOSED, UNKNOWN = Position.OPEN, Position.CLOSED, Position.UNKNOWN


def step(n: int, stage: Stage, address: str, action: Action, *before: Condition, timeout: float = 30.0) -> Step:
    wanted = "open" if action is Action.OPEN else "closed"
    expected: tuple[Condition, ...] = (Condition("position", address, wanted),)
    if action is Action.BLOCK_RECLOSE:
        expected = (Condition("reclose_blocked", address),)
    return Step(n, stage, address, action, before, expected, timeout, OnFail.REPLAN, f"{action} {address}")


def full_plan(tie: str = "T") -> Plan:
    """Block reclosing, open A and B, close the head, close the tie."""
    zero = (Condition("current_zero", "A", seconds=1.0), Condition("reclose_blocked", "F1"))
    steps = (
        step(1, Stage.ISOLATE, "F1", Action.BLOCK_RECLOSE, timeout=5.0),
        step(2, Stage.ISOLATE, "A", Action.OPEN, *zero),
        step(3, Stage.ISOLATE, "B", Action.OPEN, Condition("current_zero", "B", seconds=1.0)),
        step(4, Stage.UPSTREAM, "H1", Action.CLOSE, Condition("dead", "H1", seconds=5.0), timeout=5.0),
        step(
            5, Stage.RESTORE, tie, Action.CLOSE, Condition("dead", tie, seconds=5.0), Condition("no_trip", "F1", "", 10)
        ),
    )
    return Plan(steps, f"hash-{tie}", ("z2",), ("z2",), Method.OPTIMAL, auto_ok=True)


ISOLATION = Isolation(("z2",), ("z2",), (Boundary("A", False, "source"), Boundary("B", False, "load")), "H1", True)
RETURN_PLAN = Plan(
    (step(1, Stage.RETURN, "T", Action.OPEN), step(2, Stage.RETURN, "A", Action.CLOSE)), "hash-return", auto_ok=True
)


def result(*unrestored: Unrestored) -> RestorationResult:
    return RestorationResult((), Method.OPTIMAL, 100.0, 100.0, 10, 10, unrestored, 0.95, 0.5, 1.0)


@dataclass
class World:
    """The grid as the sequence sees it, with everything that can go wrong."""

    positions: dict[str, Position] = field(default_factory=lambda: {"H1": OPEN, "A": CLOSED, "B": CLOSED, "T": OPEN})
    unreachable: set[str] = field(default_factory=set)
    locals: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    current: dict[str, bool | None] = field(default_factory=dict)
    voltage: dict[str, bool | None] = field(default_factory=dict)
    infeeds: set[str] = field(default_factory=set)
    blocked: bool | None = False
    schemes: int | None = None
    print_: str = "p1"
    stuck: set[str] = field(default_factory=set)
    answers: dict[str, Answer] = field(default_factory=dict)
    travel: float = 0.5

    def position(self, switch: str) -> Position:
        return self.positions[switch]

    def reachable(self, switch: str) -> bool:
        return switch not in self.unreachable

    def local(self, switch: str) -> bool:
        return switch in self.locals

    def tag(self, switch: str) -> str:
        return self.tags.get(switch, "")

    def tagged(self, switch: str) -> str:
        return self.tags.get(switch, "")

    def available(self, switch: str, *, opening: bool) -> str:
        return self.unavailable.get(switch, "")

    def current_zero(self, switch: str) -> bool | None:
        return self.current.get(switch, True)

    def dead(self, subject: str) -> bool | None:
        return self.voltage.get(subject, True)

    def infeed(self, subject: str) -> bool:
        return subject in self.infeeds

    def earthed(self, subject: str) -> str:
        return ""

    def reclose_blocked(self, feeder: str) -> bool | None:
        return self.blocked

    def same_source(self, switch: str) -> bool | None:
        return None

    def scheme(self, feeder: str) -> int | None:
        return self.schemes

    def head_closed(self, feeder: str) -> bool | None:
        return self.positions["H1"] is CLOSED

    def target_zone(self, switch: str) -> str:
        return {"H1": "z1", "T": "z3", "T2": "z3"}.get(switch, "")

    def feeding(self, switch: str) -> frozenset[str]:
        return frozenset({"F1" if switch == "H1" else "F2"})

    def fingerprint(self, feeder: str) -> str:
        return self.print_


TRIGGER = Trigger("e1", "F1", Cause.TRIP, 0.0, 0.0, text="H1 is locked out")
LOCATION = Location({"z2": 0.975, "z1": 0.01, "z3": 0.01}, ("z2",), 0.975)


@dataclass
class Play:
    """Runs one sequence against a world in steps of 0.1 s."""

    mode: Mode = Mode.AUTO
    world: World = field(default_factory=World)
    trigger: Trigger = TRIGGER
    times: SequenceTimes = field(default_factory=SequenceTimes)
    location: Location | None = LOCATION
    now: float = 0.0
    plan: Callable[[MakePlan, int], Offer | None] = lambda ask, n: offer(f"p{n}", ask)
    sent: list[str] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    asked: list[MakePlan] = field(default_factory=list)
    told: list[Tell] = field(default_factory=list)
    tagged: list[str] = field(default_factory=list)
    waiting: bool = False

    def __post_init__(self) -> None:
        self.sequence = Sequence(self.trigger, self.mode, self.times, self.now)
        self._later: list[tuple[float, Callable[[], list[Deed]]]] = []

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> Play:
        end = self.now + seconds
        while self.now < end and not until():
            self.take(self.sequence.tick(self.now, self.world))
            due = [item for item in self._later if item[0] <= self.now]
            self._later = [item for item in self._later if item[0] > self.now]
            for _, deed in due:
                self.take(deed())
            self.now = round(self.now + 0.1, 3)
        return self

    def take(self, actions: list[Deed]) -> None:
        for action in actions:
            if isinstance(action, Locate):
                self._soon(lambda: self.sequence.located(self.location, "z2", self.now))
            elif isinstance(action, MakePlan):
                self.asked.append(action)
                made = self.plan(action, len(self.asked))
                made = made and replace(made, fingerprint=self.world.print_)
                self._soon(lambda made=made: self.sequence.planned(made, "made", self.now))
            elif isinstance(action, Operate):
                self._operate(action)
            elif isinstance(action, PutTags):
                self.tagged += action.switches
                self._soon(lambda: self.sequence.tagged(True, "", self.now))
            elif isinstance(action, Tell):
                self.told.append(action)
            elif isinstance(action, Waiting):
                self.waiting = action.on

    def _operate(self, action: Operate) -> None:
        address = action.step.address
        self.sent.append(f"{action.step.action} {address}")
        self.sent_at.append(self.now)
        self.requests.append(action.request)
        world, given = self.world, self.world.answers.get(address)
        if given is not None and not given.good and not given.unknown:
            self._soon(lambda: self.sequence.answered(action.request, given, self.now))
            return

        def arrive() -> list[Deed]:
            if address in world.stuck:
                return self.sequence.answered(
                    action.request, given or Answer(False, "no feedback", "feedback", True), self.now
                )
            if action.step.action is Action.BLOCK_RECLOSE:
                world.blocked = True
            else:
                world.positions[address] = OPEN if action.step.action is Action.OPEN else CLOSED
            return self.sequence.answered(action.request, Answer(True), self.now)

        self._later.append((self.now + world.travel, arrive))

    def _soon(self, deed: Callable[[], list[Deed]]) -> None:
        self._later.append((self.now + 0.1, deed))


def offer(name: str, ask: MakePlan, plan: Plan | None = None, **more: object) -> Offer:
    if ask.purpose is Purpose.RETURN:
        return Offer(name, RETURN_PLAN, "p1", Purpose.RETURN, involved=frozenset({"F1"}))
    made = Offer(name, plan or full_plan(), "p1", Purpose.FAULT, ISOLATION, result(), frozenset({"F1", "F2"}))
    return replace(made, **more)  # type: ignore[arg-type]  # fields of the offer
