"""Settings of FLISR: every time and limit of the specification with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds
from twin_gateway.twin.flisr.records import LocateSettings, PlanTimes, RestoreSettings
from twin_gateway.twin.flisr.states import SequenceTimes
from twin_gateway.twin.flisr.watch import WatchTimes

ModeName = Literal["off", "monitor", "advise", "confirm-step"]
Share = Annotated[float, Field(gt=0, lt=1)]


class FlisrSettings(BaseModel):
    """FLISR. Times take a unit (`5 s`); power in W, current in A, voltages per unit.

    Attributes:
        mode: of every feeder until somebody sets another one. `auto` is set by method only, by a supervisor.
        modes: of single feeders, by address of the bay.
        lockout, lockout_unknown: how long the breaker must stay open, reclosing known to be locked out, or not known.
        manual: a command, manual close or load shedding within this time explains an opening.
        trip_memory, standing: see `WatchTimes`.
        collect: wait for late indications; cellular ones need 30 to 60 s.
        poll: longest wait for the indicators' devices to say everything anew, after `collect`: what was only silent
            then has an answer.
        local: scheme time of local automatics, waited for before.
        handover: a distributed scheme that is active longer is taken over.
        confirm: how long an offered plan can be confirmed.
        patience, answer, retry_pause, settle, onto_fault: see `SequenceTimes`.
        breaker, load_break, command, current_zero, dead: times of steps, see `PlanTimes`.
        block: at most one automatic sequence per feeder in this time.
        clock_tolerance: indications older than the trip by more are of an earlier fault.
        clock_late: a passage that is told so long after its device time, by a device in reach, goes by its arrival.
        p_fn, p_fp, need, max_zones_auto: of the location.
        v_min, v_max, k_line, k_transformer, max_operations: constraints of the restoration.
        reach, pickup_load: protection must see a two-phase fault at the far end with so many times its pick-up, and the
            load must stay below this share of it.
        margin_measured, margin_allocated: added to loads.
        allow_parallel: two sources may be tied for the moment of a transfer.
        deadline: longest search for a restoration.
        load_mean, load_gap: the pre-fault load is the mean of so long a time, ending so long before the trip.
        load_sample: how often loads are sampled for that mean.
        current_zero_below: A, taken as no current.
        voltage_dead_below: per unit, taken as no voltage.
        operations_per_hour: a switch that has moved more often in the last hour is not used.
        sustained: interruptions longer than this count in SAIFI and SAIDI, shorter ones in MAIFI.
        four_eyes: `auto` is set by two persons.
        presence: `auto` needs an operator who said within this time to be there (`Presence`); None asks for nobody.
        tick: how often time-outs are looked at when nothing changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: ModeName = "advise"
    modes: Mapping[str, ModeName] = Field(default_factory=dict)
    lockout: Seconds = 2.0
    lockout_unknown: Seconds = 180.0
    manual: Seconds = 10.0
    trip_memory: Seconds = 60.0
    standing: Seconds = 10.0
    collect: Seconds = 5.0
    local: Annotated[float, Field(ge=0, le=600)] = 0.0
    poll: Seconds = 3.0
    handover: Seconds = 20.0
    confirm: Seconds = 120.0
    patience: Seconds = 15.0
    answer: Seconds = 60.0
    retry_pause: Seconds = 1.0
    settle: Seconds = 3.0
    onto_fault: Seconds = 10.0
    breaker: Seconds = 5.0
    load_break: Seconds = 30.0
    command: Seconds = 5.0
    current_zero: Seconds = 1.0
    dead: Seconds = 5.0
    block: Seconds = 900.0
    clock_tolerance: Seconds = 2.0
    clock_late: Seconds = 60.0
    p_fn: Share = 0.02
    p_fp: Share = 0.005
    need: Share = 0.95
    max_zones_auto: Annotated[int, Field(ge=1)] = 1
    v_min: float = 0.90
    v_max: float = 1.10
    k_line: float = 1.0
    k_transformer: float = 1.2
    max_operations: Annotated[int, Field(ge=1, le=30)] = 8
    reach: Annotated[float, Field(ge=1)] = 1.5
    pickup_load: Share = 0.8
    margin_measured: float = 0.10
    margin_allocated: float = 0.25
    allow_parallel: bool = False
    deadline: Seconds = 1.0
    load_mean: Seconds = 900.0
    load_gap: Seconds = 2.0
    load_sample: Seconds = 10.0
    current_zero_below: Annotated[float, Field(gt=0)] = 5.0
    voltage_dead_below: Share = 0.2
    operations_per_hour: Annotated[int, Field(ge=1)] = 12
    sustained: Seconds = 300.0
    four_eyes: bool = True
    presence: Seconds | None = None
    tick: Seconds = 0.2

    def watch_times(self) -> WatchTimes:
        """Times of the trigger."""
        return WatchTimes(self.lockout, self.lockout_unknown, self.manual, self.trip_memory, self.standing)

    def sequence_times(self) -> SequenceTimes:
        """Times of the sequence."""
        return SequenceTimes(
            collect=self.collect,
            local=self.local,
            handover=self.handover,
            confirm=self.confirm,
            patience=self.patience,
            answer=self.answer,
            retry_pause=self.retry_pause,
            settle=self.settle,
            onto_fault=self.onto_fault,
        )

    def plan_times(self) -> PlanTimes:
        """Times of the steps."""
        return PlanTimes(
            breaker=self.breaker,
            load_break=self.load_break,
            command=self.command,
            settle=self.settle,
            current_zero=self.current_zero,
            dead=self.dead,
            no_trip=self.onto_fault,
        )

    def locate_settings(self) -> LocateSettings:
        """Settings of the location."""
        return LocateSettings(
            p_fn=self.p_fn,
            p_fp=self.p_fp,
            need=self.need,
            clock_tolerance=self.clock_tolerance,
            max_zones_auto=self.max_zones_auto,
        )

    def restore_settings(self) -> RestoreSettings:
        """Constraints and effort of the restoration."""
        return RestoreSettings(
            v_min=self.v_min,
            v_max=self.v_max,
            k_line=self.k_line,
            k_transformer=self.k_transformer,
            max_operations=self.max_operations,
            reach=self.reach,
            pickup_load=self.pickup_load,
            margin_measured=self.margin_measured,
            margin_allocated=self.margin_allocated,
            allow_parallel=self.allow_parallel,
            deadline=self.deadline,
        )
