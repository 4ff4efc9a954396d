"""Records of fault location, isolation and service restoration: what goes in and what comes out, by address.

The order of the computations, each a pure function over these records:

1. `zones.compile_network(grid)`: once for a grid model; a `Network` is large and stays where it was made.
2. `zones.switch_state(rating, inputs)`: for every switch whose points are known.
3. `locate.locate(network, before, device, indications, trip_time, ...)` -> `Location`.
4. `isolate.plan_isolation(network, states, zones, ...)` -> `Isolation`.
5. `problem.restoration_problems(network, states, isolation, loads, before=..., ...)`: yields small, picklable
   `RestorationProblem`s, first with the neighbour feeders, then with theirs; take the next while the answer is not
   `complete`.
6. `restore.plan_restoration(problem)` -> `RestorationResult`: the long part, for a process of its own, where
   `kernels.warm()` was called at the start; `restore.better` compares two answers, `restore.restore` does it all.
7. `plan.switching_plan(network, states, isolation, problem, result)` -> `Plan`, with the problem that was answered.
8. After repair `normal.return_to_normal(network, states, loads, ...)` -> `Plan`.

Positions by number of the switch (`before`, `now`) come from `Network.positions(states)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from twin_gateway.grid.model import Position


class Direction(StrEnum):
    """Which way an indicator saw the fault current: forward is from its terminal into the equipment."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UNKNOWN = "unknown"


class FaultKind(StrEnum):
    """Kind of fault, as far as protection tells it."""

    PHASE = "phase"
    EARTH = "earth"
    UNKNOWN = "unknown"


class LoadSource(StrEnum):
    """Where the estimate of a load comes from; it decides the margin (spec 3.5)."""

    MEASURED = "measured"
    ALLOCATED = "allocated"
    MISSING = "missing"


class Method(StrEnum):
    """How far the search went: `optimal` is proven, `budget` is the best plan found in the time allowed."""

    OPTIMAL = "optimal"
    BUDGET = "budget"


class Action(StrEnum):
    """What a step does. Block and unblock concern automatic reclosing."""

    OPEN = "open"
    CLOSE = "close"
    BLOCK_RECLOSE = "block-reclose"
    UNBLOCK_RECLOSE = "unblock-reclose"


class Stage(StrEnum):
    """Part of the sequence that a step belongs to."""

    ISOLATE = "isolate"
    UPSTREAM = "upstream"
    RESTORE = "restore"
    RETURN = "return"


LIMITS = "not within the limits of voltage, current or operations"
"""Why a zone stays dead that switches could reach,"""
LATE = "nothing was found before the deadline of the search"
"""and the same where the search had no time to look at all of them."""


class OnFail(StrEnum):
    """What to do when a step fails after its one retry."""

    REPLAN = "replan"  # block the switch, move the boundary outward or take another tie
    STOP = "stop"  # hold, alarm


# --- switches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SwitchInputs:
    """What is known of one switch. `None` means: no such point, by declaration.

    Attributes:
        position: reported position, Good or not.
        position_good: its quality is Good.
        comms_good: the device that is commanded answers.
        local, station_local: Loc, LocSta.
        blocked_open, blocked_close: BlkOpn, BlkCls.
        command_blocked: CmdBlk.
        release_open, release_close: CILO EnaOpn, EnaCls.
        drive_blocked: SOPM EnBlk, HyBlk.
        gas_blocked: SIMG InsBlk.
        health: EEHealth (1 Ok, 2 Warning, 3 Alarm).
        capability: CBOpCap (1 none, 2 O, 3 CO, 4 OCO, ...).
        operations_left: operations that it may still make in this hour.
        behaviour_on: Beh is `on`.
        test: its points carry the quality bit `test`.
        tagged: carries a safety tag (hot-line, lock-out, portable earth, FLISR).
        earth_known: the earthing position of the zones it joins is known.
    """

    position: Position
    position_good: bool = True
    comms_good: bool = True
    local: bool | None = None
    station_local: bool | None = None
    blocked_open: bool | None = None
    blocked_close: bool | None = None
    command_blocked: bool | None = None
    release_open: bool | None = None
    release_close: bool | None = None
    drive_blocked: bool | None = None
    gas_blocked: bool | None = None
    health: int | None = None
    capability: int | None = None
    operations_left: int | None = None
    behaviour_on: bool = True
    test: bool = False
    tagged: bool = False
    earth_known: bool = True


@dataclass(frozen=True, slots=True)
class SwitchState:
    """Position of a switch and what may be asked of it now.

    Attributes:
        position: UNKNOWN unless reported open or closed with Good quality.
        can_open, can_close: available for the operation (spec 3.3).
        auto_close: may also be closed without a person: as `can_close`, with the earthing position known.
        tagged: must not be operated at all, in any mode.
        reasons: why it is not available, in words of the data objects; empty when it is.
    """

    position: Position
    can_open: bool = True
    can_close: bool = True
    auto_close: bool = True
    tagged: bool = False
    reasons: tuple[str, ...] = ()


# --- location ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Indication:
    """The answer of one fault passage indicator; times are seconds of one clock (UTC), device or receiving.

    Attributes:
        address: of its data object, as in `Grid.indicators`.
        passed: it has seen fault current; None when it is missing, invalid or its link is down.
        direction: for directional indicators.
        time: when it says that it changed; None without device time.
        received: when the value was received.
        answered: when it last answered at all (poll or report); None when never.
        clock_good: its device time may be trusted.
    """

    address: str
    passed: bool | None
    direction: Direction = Direction.UNKNOWN
    time: float | None = None
    received: float | None = None
    answered: float | None = None
    clock_good: bool = True


@dataclass(frozen=True, slots=True)
class LocateSettings:
    """Settings of the location.

    Attributes:
        p_fn: probability that an indicator that carried fault current says nothing.
        p_fp: probability that one that did not says passage.
        need: posterior that the candidate set must reach; keep it below 1 - p_fn.
        clock_tolerance: s; indications older than the trip by more than this are of an earlier fault.
        max_zones_auto: more candidate zones than this forbid automatic execution.
        implausible: an indication is reported as implausible when the probability, given all the indications, that it
            is wrong is above this.
    """

    p_fn: float = 0.02
    p_fp: float = 0.005
    need: float = 0.95
    clock_tolerance: float = 2.0
    max_zones_auto: int = 1
    implausible: float = 0.5


@dataclass(frozen=True, slots=True)
class Location:
    """Where the fault is.

    Attributes:
        posterior: zone address -> probability, of every zone of the tripped area, highest first.
        candidates: zones to isolate, joined to each other, sorted by address.
        probability: sum of the candidates' posteriors.
        implausible: indicators that contradict the rest (event FpiImplausible).
        ignored: indicator address -> why it gave no term.
        by_arrival: at least one indication was ordered by its time of receipt for want of a good clock.
        auto_ok: few enough candidate zones for automatic execution.
    """

    posterior: Mapping[str, float]
    candidates: tuple[str, ...]
    probability: float
    implausible: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    by_arrival: bool = False
    auto_ok: bool = True


# --- isolation --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Boundary:
    """One switch that bounds the isolated part.

    Attributes:
        switch: address of the equipment.
        open_now: it is open already and needs only a tag.
        side: `source` or `load`.
        backfed: voltage may come from beyond it (tie or distributed generation): opened before the others.
        moved_from: the switch that should have bounded but was not available; empty when none.
    """

    switch: str
    open_now: bool
    side: str
    backfed: bool = False
    moved_from: str = ""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How the fault is isolated.

    Attributes:
        fault_zones: zones taken as faulted, by address.
        isolated_zones: they and the healthy zones lost because a boundary had to move.
        boundaries: in the order of opening.
        trip_device: breaker that cleared the fault; empty when none is to be reclosed.
        reclose_upstream: the trip device feeds only healthy zones once the boundaries are open.
        complete: every way into the fault has an open or openable switch.
        problems: why it is not complete, in a sentence each.
    """

    fault_zones: tuple[str, ...]
    isolated_zones: tuple[str, ...]
    boundaries: tuple[Boundary, ...]
    trip_device: str = ""
    reclose_upstream: bool = False
    complete: bool = True
    problems: tuple[str, ...] = ()

    @property
    def opens(self) -> tuple[str, ...]:
        """Switches to open, in order."""
        return tuple(item.switch for item in self.boundaries if not item.open_now)


# --- restoration ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadEstimate:
    """The pre-fault load of one consumer (or of the load behind one transformer).

    Attributes:
        p, q: W and var, mean of the last 15 minutes that end 2 s before the trip.
        der: W of distributed generation behind the same measurement, added back: native load = net + der.
        source: where it comes from.
    """

    p: float
    q: float
    der: float = 0.0
    source: LoadSource = LoadSource.MEASURED


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """Constraints and effort of the restoration (defaults of spec 3.5).

    Attributes:
        v_min, v_max: per unit of the nominal voltage.
        k_line: factor on the ampacity of lines and switches.
        k_transformer: factor on the rated power of transformers (for 2 h).
        max_operations: most switching operations after isolation.
        margin_measured, margin_allocated: added to loads.
        missing_factor: share of the transformer rating taken where no estimate exists.
        cold_load: (outage from s, factor) in rising order.
        reach: least ratio of the two-phase fault current at the far end to the pick-up of the protection.
        pickup_load: highest ratio of the load to the pick-up.
        allow_parallel: two sources may be tied for the moment of a transfer (only for RSYN-released switches).
        deadline: s, the search answers by then with the best plan found.
        hops: neighbour feeders that are looked at, in ties from the dead area.
        exact_limit: combinations of switches up to which all of them are tried.
        node_budget: most configurations that the beam search looks at; the same on every machine.
        weighted: False ranks plain kW.
    """

    v_min: float = 0.90
    v_max: float = 1.10
    k_line: float = 1.0
    k_transformer: float = 1.2
    max_operations: int = 8
    margin_measured: float = 0.10
    margin_allocated: float = 0.25
    missing_factor: float = 0.5
    cold_load: tuple[tuple[float, float], ...] = ((0.0, 1.0), (600.0, 1.3), (3600.0, 1.8))
    reach: float = 1.5
    pickup_load: float = 0.8
    allow_parallel: bool = False
    deadline: float = 1.0
    hops: int = 2
    exact_limit: int = 600
    node_budget: int = 60_000
    weighted: bool = True


@dataclass(frozen=True, slots=True)
class Switching:
    """One switching operation of a plan, in order."""

    switch: str
    close: bool


@dataclass(frozen=True, slots=True)
class Unrestored:
    """A zone that stays dead, and why."""

    zone: str
    p: float
    customers: int
    reason: str


@dataclass(frozen=True, slots=True)
class RestorationResult:
    """The best restoration found; without operations it is the plan to do nothing.

    Attributes:
        operations: opens before closes, closes outward from the live side.
        method: proven best or best within the budget.
        dead, restored: W of pre-fault load (without margins) dead after isolation and upstream restoration, and of it
            restored.
        dead_customers, restored_customers: likewise.
        unrestored: zones that stay dead.
        v_min: lowest voltage of the new grid per unit; NaN when nothing is live.
        i_max: highest loading of the new grid, share of its limit.
        loss: W in the part of the grid looked at, with the margins on the loads.
        value: W times weight restored.
        upstream: the trip device is closed again as part of the plan.
        momentary_customers: supplied customers that are without voltage while the plan runs (a load moved to another
            feeder).
        warnings: constraints that could not be checked for want of data, one sentence each.
        auto_ok: nothing forbids automatic execution (no warnings, no load without estimate, no switch with unknown
            earth).
        evaluated: configurations checked by power flow.
        elapsed: s.
    """

    operations: tuple[Switching, ...]
    method: Method
    dead: float
    restored: float
    dead_customers: int
    restored_customers: int
    unrestored: tuple[Unrestored, ...]
    v_min: float
    i_max: float
    loss: float
    value: float = 0.0
    upstream: bool = False
    momentary_customers: int = 0
    warnings: tuple[str, ...] = ()
    auto_ok: bool = True
    evaluated: int = 0
    elapsed: float = 0.0

    @property
    def complete(self) -> bool:
        """Nothing more could be restored with more of the grid in view."""
        return self.method is Method.OPTIMAL or not any(item.reason in (LIMITS, LATE) for item in self.unrestored)


# --- plan -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """Something to be seen true before or after a step.

    Attributes:
        kind: `position` (of the switch, to be `value`), `position_good`, `current_zero` (at the switch, for `seconds`),
            `reclose_blocked` (of the feeder), `dead` (at the switch's zone that is to be energised, for `seconds`),
            `live`, `available`, `not_tagged`, `not_earthed` (zone),
            `same_source` (both sides of the switch), `synchronised` (RSYN.Rel at it),
            `no_trip` (feeder, for `seconds`).
        subject: address of the switch, zone or feeder that it is about.
        value: `open`, `closed` or empty.
        seconds: how long it must have been so.
    """

    kind: str
    subject: str
    value: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        n: from 1.
        stage: which part of the sequence.
        address: equipment to switch, or the feeder whose reclosing is blocked.
        action: what to do with it.
        preconditions: all to be true just before.
        expected: all to be seen within `timeout`.
        timeout: s.
        on_fail: what then.
        reason: one sentence for the operator.
    """

    n: int
    stage: Stage
    address: str
    action: Action
    preconditions: tuple[Condition, ...]
    expected: tuple[Condition, ...]
    timeout: float
    on_fail: OnFail
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered switching plan.

    Attributes:
        steps: in the order of execution.
        inputs: hash of everything the plan was computed from (hex); a plan whose inputs changed must not be confirmed.
        fault_zones, isolated_zones: by address.
        method: of the restoration.
        auto_ok: nothing in the computation forbids automatic execution.
        warnings: sentences for the operator.
    """

    steps: tuple[Step, ...]
    inputs: str
    fault_zones: tuple[str, ...] = ()
    isolated_zones: tuple[str, ...] = ()
    method: Method = Method.BUDGET
    auto_ok: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanTimes:
    """Timing of steps, s (defaults of spec 3.6)."""

    breaker: float = 5.0
    load_break: float = 30.0
    command: float = 5.0
    settle: float = 3.0
    current_zero: float = 1.0
    dead: float = 5.0
    no_trip: float = 10.0
