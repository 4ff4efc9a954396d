"""The FLISR state machine in virtual time: generation, other schemes, a restart, the return to normal."""

from __future__ import annotations

from dataclasses import replace

from unit.flisr.flisr_steps import codes, executing, states
from unit.flisr.flisr_world import LOCATION, OPEN, TRIGGER, Play

from twin_gateway.twin.flisr.states import Cause, Mode, Purpose, State

# ---- generation, schemes, busbar -------------------------------------------------------------------------------------


def test_where_generation_keeps_the_section_alive_nothing_is_closed_and_the_island_is_an_alarm() -> None:
    play = Play()
    play.world.voltage["H1"] = False
    play.run(90)
    assert "close H1" not in play.sent
    assert (play.sequence.state, codes(play)) == (State.BLOCKED, ["P09"])


def test_without_voltage_measurement_generation_behind_the_switch_forbids_closing() -> None:
    play = Play(Mode.ADVISE)
    play.world.voltage["T"] = None
    play.world.infeeds.add("T")
    executing(play).run(90)
    assert "close T" not in play.sent
    assert play.sequence.state is State.BLOCKED


def test_a_distributed_scheme_at_work_is_not_disturbed_and_taken_over_when_done() -> None:
    play = Play()
    play.world.schemes = 2
    play.run(15)
    assert (play.sequence.state, play.sequence.location) == (State.DETECTED, None)
    play.world.schemes, play.world.positions["A"], play.world.positions["B"] = 3, OPEN, OPEN
    play.run(60)
    assert play.sent == ["block-reclose F1", "close H1", "close T"]
    assert play.sequence.state is State.RESTORED


def test_a_distributed_scheme_that_hangs_is_taken_over_after_the_handover_time() -> None:
    play = Play()
    play.world.schemes = 2
    play.run(19.5)
    assert play.sequence.location is None
    play.run(60)
    assert play.sequence.state is State.RESTORED


def test_a_scheme_that_becomes_active_ends_the_execution() -> None:
    play = executing(Play(Mode.ADVISE))
    play.world.schemes = 2
    assert play.run(1).sequence.state is State.ABORTED


def test_after_busbar_protection_there_is_no_restoration() -> None:
    play = Play(trigger=replace(TRIGGER, cause=Cause.BUSBAR)).run(60)
    assert (play.sequence.state, play.sent, play.asked) == (State.BLOCKED, [], [])


def test_a_standing_earth_fault_is_located_and_nothing_is_switched() -> None:
    play = Play(trigger=replace(TRIGGER, cause=Cause.EARTH_FAULT)).run(60)
    assert (play.sequence.state, play.asked) == (State.LOCATED, [])
    assert not play.sequence.plan_anew(play.now)[0].ok
    play.sequence.earth_fault_over(play.now)
    assert play.sequence.state is State.IDLE


def test_contradictory_indicators_are_told() -> None:
    play = Play(location=replace(LOCATION, implausible=("f1",))).run(20)
    assert [tell.address for tell in play.told if "FpiImplausible" in tell.text] == ["f1"]


def test_without_a_location_it_says_so_and_stops() -> None:
    assert Play(location=None).run(20).sequence.state is State.BLOCKED


# ---- restart and return ----------------------------------------------------------------------------------------------


def test_after_a_restart_it_is_blocked_shows_what_was_done_and_never_goes_on_by_itself() -> None:
    before = executing(Play(Mode.ADVISE))
    after = Play(Mode.AUTO)
    after.sequence.location = LOCATION
    after.take(after.sequence.resume_blocked(before.sequence.history, after.now))
    after.run(120)
    assert (after.sequence.state, after.sent) == (State.BLOCKED, [])
    assert after.sequence.reason.startswith("restart")
    assert [record.step.address for record in after.sequence.history if record.done is not None] == ["F1", "A"]
    after.take(after.sequence.plan_anew(after.now)[1])
    assert after.run(10).sequence.state is State.WAIT_CONFIRM


def test_return_to_normal_is_planned_confirmed_and_carried_out() -> None:
    play = Play().run(60)
    play.take(play.sequence.return_to_normal(play.now)[1])
    play.run(10)
    assert (play.asked[-1].purpose, play.sequence.state) == (Purpose.RETURN, State.WAIT_CONFIRM)
    play.take(play.sequence.confirm("p2", "hash-return", play.now, play.world)[1])
    play.run(30)
    assert play.sent[-2:] == ["open T", "close A"]
    assert states(play)[-2:] == [State.RETURNING, State.IDLE]


def test_work_at_the_fault_is_the_state_repair() -> None:
    play = Play().run(60)
    play.sequence.begin_repair("hot-line tag of anna", play.now)
    assert play.sequence.state is State.REPAIR


def test_a_restart_before_the_location_locates_and_stays_blocked() -> None:
    play = Play(Mode.AUTO)
    play.take(play.sequence.resume_blocked([], play.now))
    play.run(20)
    assert (play.sequence.state, play.sent, play.asked) == (State.BLOCKED, [], [])
    assert play.sequence.faulted == {"z2"}
