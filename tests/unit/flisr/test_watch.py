"""The trigger: what begins an event, after how long, and what never does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from twin_gateway.grid.model import Feeder, Position
from twin_gateway.twin.flisr.records import FaultKind
from twin_gateway.twin.flisr.states import Cause, Trigger
from twin_gateway.twin.flisr.watch import FeederWatch, Known, Reading, WatchTimes

POS, TRIP, STATE, BLOCK = "F1/QA1/XCBR1/Pos", "F1/IED1/PTRC1/Tr", "F1/IED1/RREC1/AutoRecSt", "F1/QA1/GAPC1/SPCSO1"
START, EARTH, FAIL, BUSBAR, SHED = (
    "F1/IED1/PTOC1/Str", "F1/IED1/PSDE1/Str", "F1/IED1/RBRF1/OpEx", "B/IED1/PDIF1/Op", "F1/IED1/PTUF1/Op",
)  # fmt: skip
FEEDER = Feeder("F1", "F1/QA1", (TRIP,), (START, EARTH), STATE, BLOCK, (FAIL,), (BUSBAR,), (SHED,))


def reading(value: object, now: float, **more: object) -> Reading:
    made = Reading(value, True, True, now, now)  # type: ignore[arg-type]
    return replace(made, **more)  # type: ignore[arg-type]


@dataclass
class Bay:
    """A feeder bay in virtual time."""

    feeder: Feeder = FEEDER
    now: float = 1000.0
    values: dict[str, Reading] = field(default_factory=dict)
    current_lost: bool | None = True
    dead: bool | None = True
    times: WatchTimes = field(default_factory=WatchTimes)

    def __post_init__(self) -> None:
        self.watch = FeederWatch(self.feeder, POS, self.times)
        self.set(POS, 2)
        self.now += 100

    def set(self, point: str, value: object, *, commanded: bool = False, local: bool = False, **more: object) -> Bay:
        self.values[point] = reading(value, self.now, **more)
        if point in self.watch.points():
            self.watch.change(point, self.values[point], self.now, commanded=commanded, local=local)
        return self

    def run(self, seconds: float) -> list[tuple[float, Trigger]]:
        begun, found = self.now, []
        while self.now < begun + seconds:
            made = self.watch.tick(self.now, self.values.get, current_lost=self.current_lost, dead=self.dead)
            if made is not None:
                found.append((round(self.now - begun, 1), made))
            self.now = round(self.now + 0.1, 3)
        return found


def tripped(bay: Bay, state: int | None = 10) -> Bay:
    bay.set(START, True).set(TRIP, True)
    bay.now += 0.1
    bay.set(POS, 1).set(TRIP, False)
    if state is not None:
        bay.set(STATE, state)
    return bay


@pytest.mark.parametrize("state", [10, 11, 12])
def test_trip_and_open_breaker_with_reclosing_locked_out_trigger_after_two_seconds(state: int) -> None:
    ((after, trigger),) = tripped(Bay(), state).run(300)
    assert 1.9 <= after <= 2.2
    assert (trigger.cause, trigger.advise_only, trigger.fault) == (Cause.TRIP, False, FaultKind.PHASE)
    assert trigger.time == 1100.0


def test_while_it_recloses_there_is_no_event_and_none_when_it_succeeds() -> None:
    bay = tripped(Bay(), 2)
    assert bay.run(20) == []
    bay.set(POS, 2).set(STATE, 3)
    assert bay.run(200) == []


def test_an_event_begins_with_the_first_trip_of_its_reclosing_sequence_when_indicators_were_set() -> None:
    bay = tripped(Bay(), 2)
    for pause in (0.5, 10):
        bay.run(pause)
        bay.set(POS, 2).set(STATE, 7)
        bay.run(0.3)
        tripped(bay, 2)
    bay.set(STATE, 10)
    ((_, trigger),) = bay.run(10)
    assert trigger.time == 1100.0


@pytest.mark.parametrize("ended", ["successful", "ready", "by hand", "by others after the lockout", "long ago"])
def test_a_trip_after_the_end_of_a_sequence_begins_an_event_of_its_own(ended: str) -> None:
    bay = tripped(Bay(), 10 if "lockout" in ended else 2)
    bay.run(5 if "lockout" in ended else 1)
    bay.set(POS, 2, commanded=ended == "by hand").set(STATE, 7)
    if ended in ("successful", "ready"):
        bay.set(STATE, 3 if ended == "successful" else 1)
    bay.run(70 if ended == "long ago" else 15)
    assert bay.watch.last_trip is not None
    second = bay.now
    ((_, trigger),) = tripped(bay, 10).run(10)
    assert trigger.time == second


def test_a_trip_signal_that_is_only_told_again_is_no_new_trip_but_a_later_pulse_is() -> None:
    bay = Bay().set(TRIP, True)
    stamp = bay.now
    bay.now += 5
    bay.set(TRIP, True, time=stamp)
    assert bay.watch.last_trip == stamp
    bay.set(TRIP, True)
    assert bay.watch.last_trip == bay.now
    bay.now += 5
    bay.set(TRIP, True, clock_good=False)
    assert bay.watch.last_trip == bay.now - 5
    bay.set(TRIP, False).set(TRIP, True)
    assert bay.watch.last_trip == bay.now


@pytest.mark.parametrize("how", ["none", "blocked"])
def test_reclosing_that_is_absent_by_declaration_or_blocked_needs_no_state(how: str) -> None:
    bay = Bay(replace(FEEDER, reclosing="none") if how == "none" else FEEDER)
    if how == "blocked":
        bay.set(BLOCK, True)
    ((after, trigger),) = tripped(bay, None).run(300)
    assert (after < 3, trigger.advise_only) == (True, False)


@pytest.mark.parametrize("how", ["missing", "bad", "never ends"])
def test_where_the_state_of_reclosing_is_not_known_it_waits_three_minutes_and_only_advises(how: str) -> None:
    bay = Bay(replace(FEEDER, reclosing="") if how == "missing" else FEEDER)
    tripped(bay, 2 if how == "never ends" else None)
    if how == "bad":
        bay.set(STATE, 10, good=False)
    ((after, trigger),) = bay.run(300)
    assert (179 <= after <= 181, trigger.advise_only) == (True, True)


def test_an_opening_without_trip_or_command_triggers_only_with_current_and_voltage_gone() -> None:
    ((_, trigger),) = Bay().set(POS, 1).set(STATE, 12).run(30)
    assert trigger.cause is Cause.LOSS
    for lost, dead in ((None, True), (True, None), (False, True), (True, False)):
        assert Bay(current_lost=lost, dead=dead).set(POS, 1).set(STATE, 12).run(300) == []


def test_a_manual_opening_never_triggers() -> None:
    assert Bay().set(POS, 1, commanded=True).set(STATE, 12).run(300) == []
    assert Bay().set(POS, 1, local=True).set(STATE, 12).run(300) == []


def test_a_trip_within_ten_seconds_after_a_manual_close_never_triggers() -> None:
    for seconds, events in ((5.0, 0), (15.0, 1)):
        bay = Bay().set(POS, 1, commanded=True)
        bay.run(60)
        bay.set(POS, 2, commanded=True)
        bay.run(seconds)
        assert len(tripped(bay).run(30)) == events


@pytest.mark.parametrize("sign", [BUSBAR, FAIL])
def test_busbar_protection_and_a_failed_breaker_count_however_long_the_breaker_has_been_closed(sign: str) -> None:
    bay = Bay()
    bay.run(300)
    bay.set(sign, True)
    ((_, trigger),) = bay.run(5)
    assert trigger.advise_only
    bay.set(STATE, 1)
    assert bay.run(100) == []
    bay.set(sign, False).set(STATE, 1)
    bay.run(30)
    assert [trigger.cause for _, trigger in tripped(bay).run(10)] == [Cause.TRIP]


def test_load_shedding_never_triggers() -> None:
    assert tripped(Bay().set(SHED, True)).run(300) == []
    bay = tripped(Bay())
    bay.set(SHED, True)
    assert bay.run(300) == []


def test_an_earth_fault_that_stands_without_trip_is_told_once_and_again_only_when_it_had_gone() -> None:
    bay = Bay().set(EARTH, True)
    ((after, trigger),) = bay.run(60)
    assert (after >= 9.9, trigger.cause, trigger.fault) == (True, Cause.EARTH_FAULT, FaultKind.EARTH)
    bay.set(EARTH, False)
    bay.run(5)
    bay.set(EARTH, True)
    assert len(bay.run(60)) == 1


def test_breaker_failure_triggers_although_the_breaker_is_closed() -> None:
    ((_, trigger),) = Bay().set(TRIP, True).set(FAIL, True).run(5)
    assert (trigger.cause, trigger.advise_only) == (Cause.BREAKER_FAILURE, True)


def test_busbar_protection_is_its_own_cause() -> None:
    bay = Bay().set(BUSBAR, True)
    bay.set(POS, 1)
    ((_, trigger),) = bay.run(60)
    assert trigger.cause is Cause.BUSBAR


def test_one_fault_is_one_event_until_the_breaker_has_been_closed_again() -> None:
    bay = tripped(Bay())
    assert len(bay.run(300)) == 1
    bay.set(TRIP, True)
    assert bay.run(60) == []
    bay.set(POS, 2)
    bay.run(100)
    assert len(tripped(bay).run(60)) == 1


def test_the_same_trip_told_twice_has_the_same_event_id() -> None:
    first, second = tripped(Bay()).run(10)[0][1], tripped(Bay()).run(10)[0][1]
    assert first.event == second.event


def test_a_breaker_found_open_at_the_start_has_not_opened() -> None:
    watch = FeederWatch(FEEDER, POS, WatchTimes())
    watch.change(POS, reading(1, 0.0), 0.0)
    values = {STATE: reading(12, 0.0)}
    assert all(watch.tick(now, values.get, current_lost=True, dead=True) is None for now in (1.0, 5.0, 200.0))


def test_intermediate_and_bad_positions_are_no_openings() -> None:
    bay = Bay().set(STATE, 12).set(TRIP, True)
    assert bay.set(POS, 0).run(30) == []
    assert bay.set(POS, 1, good=False).run(300) == []


def test_a_trip_of_bad_quality_is_no_trip() -> None:
    bay = Bay(current_lost=None).set(TRIP, True, usable=False, good=False)
    assert bay.set(POS, 1).set(STATE, 10).run(300) == []


def test_without_a_good_clock_the_time_of_arrival_counts() -> None:
    bay = Bay()
    bay.set(TRIP, True, time=5.0, clock_good=False)
    bay.set(POS, 1).set(STATE, 10)
    ((_, trigger),) = bay.run(10)
    assert (trigger.time, trigger.clock_good) == (1100.0, False)


# ---- what is found at the start --------------------------------------------------------------------------------------


@dataclass
class Found(Bay):
    """A bay that is looked at for the first time at 1000 s, with what was known of its breaker before."""

    known: Known = field(default_factory=lambda: Known(Position.UNKNOWN, 990.0))

    def __post_init__(self) -> None:
        self.watch = FeederWatch(self.feeder, POS, WatchTimes())
        self.watch.remember(self.known)

    def stands(self, opened: float, **points: tuple[object, float]) -> Found:
        """Values with their device times; the open breaker last, as it is looked at."""
        names = {"trip": TRIP, "state": STATE}
        for name, (value, time) in points.items():
            self.values[names[name]] = reading(value, self.now, time=time)
        self.set(POS, 1, time=opened)
        return self


CLOSED_BEFORE, OPEN_BEFORE = Known(Position.CLOSED, 900.0), Known(Position.OPEN, 950.0)


@pytest.mark.parametrize("known", [Known(Position.UNKNOWN, 990.0), CLOSED_BEFORE])
@pytest.mark.parametrize("trip", [(True, 995.0), (False, 995.4)])
def test_a_trip_since_the_breaker_was_last_known_begins_an_event_that_a_person_decides(
    known: Known, trip: tuple[object, float]
) -> None:
    bay = Found(known=known).stands(995.1, trip=trip, state=(10, 995.5))
    ((_, trigger),) = bay.run(60)
    assert (trigger.cause, trigger.advise_only) == (Cause.TRIP, True)
    assert trigger.time == min(trip[1], 995.1)


def test_a_recloser_that_gave_up_since_then_begins_one_as_well_and_one_that_is_not_ready_does_not() -> None:
    ((_, trigger),) = Found(known=CLOSED_BEFORE).stands(995.1, state=(10, 996.0)).run(60)
    assert (trigger.cause, trigger.advise_only) == (Cause.TRIP, True)
    assert Found(known=CLOSED_BEFORE).stands(995.1, state=(12, 996.0)).run(300) == []


@pytest.mark.parametrize(
    ("known", "opened", "points"),
    [
        (Known(Position.UNKNOWN, 990.0), 500.0, {"trip": (True, 499.9), "state": (10, 502.0)}),
        (Known(Position.UNKNOWN, 990.0), 500.0, {"state": (12, 502.0)}),
        (OPEN_BEFORE, 940.0, {"trip": (True, 939.9), "state": (10, 942.0)}),
        (OPEN_BEFORE, 995.0, {"trip": (False, 995.0), "state": (10, 995.0)}),
        (CLOSED_BEFORE, 995.0, {"trip": (False, 850.0), "state": (12, 996.0)}),
        (CLOSED_BEFORE, 995.0, {"trip": (False, 910.0), "state": (1, 800.0)}),
        (CLOSED_BEFORE, 995.0, {"state": (10, 800.0)}),
    ],
    ids=["old trip", "old opening", "known open", "restarted device", "by hand", "another trip", "another lockout"],
)
def test_old_history_and_openings_by_hand_that_are_found_begin_nothing(
    known: Known, opened: float, points: dict[str, tuple[object, float]]
) -> None:
    assert Found(known=known).stands(opened, **points).run(400) == []


def test_a_commanded_opening_that_is_found_begins_nothing() -> None:
    bay = Found(known=CLOSED_BEFORE)
    bay.values[STATE] = reading(10, bay.now)
    bay.set(POS, 1, commanded=True)
    assert bay.run(300) == []


def test_after_what_was_found_the_next_fault_is_one_as_any_other() -> None:
    bay = Found().stands(500.0, trip=(True, 499.9), state=(10, 502.0))
    bay.run(100)
    bay.set(POS, 2).set(STATE, 1)
    bay.values[TRIP] = reading(False, bay.now)
    bay.run(100)
    ((_, trigger),) = tripped(bay).run(60)
    assert (trigger.cause, trigger.advise_only) == (Cause.TRIP, False)


def test_an_opening_is_kept_for_the_next_start_only_when_it_is_dealt_with() -> None:
    bay = Bay(times=WatchTimes(lockout=5.0))
    assert bay.watch.known(bay.now) == Known(Position.CLOSED, 1000.0)
    tripped(bay)
    bay.run(1)
    assert bay.watch.known(bay.now) is None
    assert len(bay.run(10)) == 1
    assert bay.watch.known(bay.now) == Known(Position.OPEN, 1100.1)


def test_an_opening_by_command_is_kept_at_once_and_one_that_begins_nothing_later() -> None:
    by_hand, unknown = Bay(), Bay(current_lost=None)
    by_hand.set(POS, 1, commanded=True)
    unknown.set(POS, 1)
    assert by_hand.watch.known(by_hand.now) == Known(Position.OPEN, 1100.0)
    assert unknown.watch.known(unknown.now) is None
    assert unknown.watch.known(unknown.now + 300.0) == Known(Position.OPEN, 1100.0)
