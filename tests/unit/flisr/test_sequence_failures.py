"""The FLISR state machine in virtual time: switches that do not obey, and what ends an execution."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.flisr.flisr_steps import ALL, codes, executing
from unit.flisr.flisr_world import CLOSED, OPEN, TRIGGER, UNKNOWN, Play, World, full_plan, offer

from twin_gateway.twin.flisr.states import Answer, Cause, MakePlan, Mode, Offer, State

# ---- switches that do not obey ---------------------------------------------------------------------------------------


def replanned(ask: MakePlan, n: int) -> Offer:
    """Without the tie that failed there is another one."""
    return offer(f"p{n}", ask, full_plan("T2" if "T" in ask.blocked else "T"))


def test_a_switch_that_does_not_close_is_tried_once_more_and_then_another_tie_is_taken() -> None:
    world = World(stuck={"T"})
    world.positions["T2"] = OPEN
    play = Play(world=world, plan=replanned).run(200)
    assert play.sent == [*ALL, "close T", "close T2"]
    assert play.asked[1].blocked == {"T"}
    assert play.sequence.state is State.RESTORED


def test_a_switch_that_does_not_open_is_tried_once_more_and_then_the_boundary_moves() -> None:
    play = Play(world=World(stuck={"B"}))
    play.run(120, lambda: len(play.asked) == 2)
    assert play.sent == [*ALL[:2], "open B", "open B"]
    assert play.asked[1].blocked == {"B"}


def test_in_advise_the_plan_after_a_failed_switch_is_confirmed_anew() -> None:
    world = World(stuck={"T"})
    world.positions["T2"] = OPEN
    play = executing(Play(Mode.ADVISE, world, plan=replanned)).run(120)
    assert (play.sequence.state, play.sent[-1]) == (State.WAIT_CONFIRM, "close T")


def test_after_three_failed_switches_it_stops() -> None:
    world = World(stuck={"A"})
    play = Play(world=world).run(600)
    assert play.sequence.state is State.BLOCKED
    assert len(play.asked) == 4


def test_a_refusal_is_retried_once_one_for_tag_or_role_is_not() -> None:
    refused = Play(world=World(answers={"A": Answer(False, "interlocked", "device")}))
    refused.run(40, lambda: len(refused.asked) == 2)
    assert refused.sent == [*ALL[:2], "open A"]
    tagged = Play(world=World(answers={"A": Answer(False, "hot-line", "tag")})).run(40)
    assert (tagged.sent, tagged.sequence.state) == (ALL[:2], State.BLOCKED)


def test_an_unknown_outcome_counts_by_what_the_grid_shows() -> None:
    play = Play()
    play.world.travel = 0.5
    play.world.answers["A"] = Answer(False, "no answer", "device", unknown=True)
    assert play.run(60).sent == ALL


def test_a_switch_that_was_confirmed_closed_and_is_open_again_is_not_closed_once_more() -> None:
    play = Play(world=World(stuck={"T"}, answers={"T": Answer(True)}))
    play.run(120)
    assert play.sent.count("close T") == 1
    assert play.sequence.state is State.BLOCKED


# ---- aborts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["position", "local", "tag", "moved"])
def test_it_aborts_at_once_when_the_grid_is_no_longer_as_planned(what: str) -> None:
    play = executing(Play(Mode.ADVISE))
    if what == "position":
        play.world.positions["T"] = UNKNOWN
    elif what == "local":
        play.world.locals.add("T")
    elif what == "tag":
        play.world.tags["T"] = "lock-out of anna"
    else:
        play.world.positions["A"] = CLOSED
    count = len(play.sent)
    play.run(60)
    assert (play.sequence.state, len(play.sent)) == (State.ABORTED, count)
    assert "A" in play.sequence.reason or "T" in play.sequence.reason or "anna" in play.sequence.reason


def test_a_tag_that_stood_when_the_plan_was_made_does_not_end_it() -> None:
    world = World(tags={"A": "hot-line of anna beside it"})
    assert Play(world=world).run(60).sequence.state is State.RESTORED


def test_stop_ends_the_execution_and_a_second_stop_changes_nothing_until_somebody_ends_the_event() -> None:
    play = executing(Play(Mode.ADVISE))
    play.take(play.sequence.stop("anna", play.now)[1])
    count = len(play.sent)
    assert play.run(60).sequence.state is State.ABORTED
    assert len(play.sent) == count
    stamps = list(play.sequence.stamps)
    verdict, actions = play.sequence.stop("anna", play.now)
    assert (verdict.ok, actions, play.sequence.stamps) == (True, [], stamps)
    verdict, actions = play.sequence.end("sofia", "a false alarm", play.now)
    play.take(actions)
    assert (verdict.ok, play.sequence.state) == (True, State.IDLE)


def test_an_event_is_not_ended_while_something_is_carried_out() -> None:
    play = executing(Play(Mode.ADVISE))
    verdict, actions = play.sequence.end("sofia", "enough", play.now)
    assert (verdict.ok, actions) == (False, [])
    assert play.run(60).sequence.state is State.RESTORED


def test_what_is_stopped_before_the_location_is_located_all_the_same_and_goes_no_further() -> None:
    play = Play(Mode.AUTO).run(2)
    play.take(play.sequence.stop("anna", play.now)[1])
    play.run(60)
    assert (play.sequence.state, play.sent, play.asked) == (State.ABORTED, [], [])
    assert play.sequence.location is not None


def test_stop_while_a_switch_closed_onto_a_fault_is_opened_again_lets_it_open_and_plans_nothing() -> None:
    play = Play(Mode.ADVISE).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    play.run(60, lambda: play.world.positions["T"] is CLOSED)
    play.take(play.sequence.tripped("F2", play.now))
    refused = [play.sequence.plan_anew(play.now)[0], play.sequence.return_to_normal(play.now)[0]]
    assert [verdict.ok for verdict in refused] == [False, False]
    play.take(play.sequence.stop("anna", play.now)[1])
    asked = len(play.asked)
    play.run(30)
    assert play.sent[-1] == "open T"
    assert (play.sequence.state, len(play.asked)) == (State.ABORTED, asked)


def test_a_second_stop_ends_a_return_that_has_no_fault_behind_it() -> None:
    play = Play(Mode.ADVISE, trigger=replace(TRIGGER, cause=Cause.RETURN))
    play.take(play.sequence.return_to_normal(play.now)[1])
    play.run(1)
    play.take(play.sequence.stop("anna", play.now)[1])
    assert play.sequence.state is State.ABORTED
    play.take(play.sequence.stop("anna", play.now)[1])
    assert play.sequence.state is State.IDLE


def test_an_offer_that_has_expired_and_the_one_that_replaces_it_are_told() -> None:
    play = Play(Mode.ADVISE).run(140)
    assert [tell.text for tell in play.told if "expired" in tell.text] == ["Plan p1 has expired after 120 s"]
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    play.run(1)
    texts = [tell.text for tell in play.told]
    assert "Plan p1 is not confirmed: the offer is older than 120 s; a new one is being made" in texts
    assert texts[-1] == "Plan p1, which had expired, is replaced by plan p2"


def test_why_a_step_failed_names_the_position_once() -> None:
    play = Play(Mode.ADVISE, world=World(stuck={"A"})).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    play.run(120, lambda: any(record.state == "failed" for record in play.sequence.history))
    (failed,) = [record for record in play.sequence.history if record.state == "failed"]
    assert failed.text.count("A position open") == 1


def test_lost_communication_holds_and_nothing_goes_on_blindly_when_it_is_back() -> None:
    play = executing(Play(Mode.ADVISE))
    play.world.unreachable.add("T")
    play.run(5)
    count = len(play.sent)
    play.world.unreachable.clear()
    play.run(60)
    assert (play.sequence.state, len(play.sent)) == (State.BLOCKED, count)
    assert "communication with T" in play.sequence.reason
    verdict, actions = play.sequence.plan_anew(play.now)
    play.take(actions)
    assert verdict.ok
    assert play.run(5).sequence.state is State.WAIT_CONFIRM


def test_a_trip_of_an_involved_feeder_is_a_second_fault_and_one_elsewhere_is_not() -> None:
    play = executing(Play(Mode.ADVISE))
    play.take(play.sequence.tripped("F9", play.now))
    assert play.sequence.state is State.ISOLATING
    play.take(play.sequence.tripped("F2", play.now))
    assert play.sequence.state is State.ABORTED
    assert "second fault" in play.sequence.reason


def test_closed_onto_a_fault_the_tie_is_opened_again_blocked_and_a_person_decides_on_one_further_plan() -> None:
    play = Play(plan=replanned)
    play.world.positions["T2"] = OPEN
    play.run(60, lambda: "close T" in play.sent).run(2)
    play.take(play.sequence.tripped("F2", play.now))
    play.run(10)
    assert play.sent[-1] == "open T"
    assert codes(play) == ["S07"]
    assert (play.asked[-1].blocked, play.asked[-1].fault_zones) == ({"T"}, {"z3"})
    assert (play.sequence.state, play.sequence.mode) == (State.WAIT_CONFIRM, Mode.ADVISE)
    play.take(play.sequence.confirm("p2", "hash-T2", play.now, play.world)[1])
    play.run(60, lambda: "close T2" in play.sent).run(2)
    play.take(play.sequence.tripped("F2", play.now))
    play.run(20)
    assert (play.sent[-1], play.sequence.state, len(play.asked)) == ("open T2", State.BLOCKED, 2)


def test_a_trip_ten_seconds_after_the_last_closing_still_is_closed_onto_fault() -> None:
    late = Play().run(90)
    late.take(late.sequence.tripped("F2", late.now))
    assert late.sequence.state is State.RESTORED  # long after: another event
    fresh = Play()
    fresh.run(60, lambda: fresh.sequence.state is State.RESTORED)
    fresh.take(fresh.sequence.tripped("F2", fresh.now))
    assert fresh.sequence.state is State.ABORTED
