"""The FLISR state machine in virtual time: modes, order, confirmation, and what goes wrong on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.flisr.flisr_world import CLOSED, LOCATION, OPEN, TRIGGER, UNKNOWN, Play, World, full_plan, offer

from twin_gateway.twin.flisr.records import Unrestored
from twin_gateway.twin.flisr.states import Answer, Cause, MakePlan, Mode, Offer, Purpose, State

ALL = ["block-reclose F1", "open A", "open B", "close H1", "close T"]


def states(play: Play) -> list[State]:
    return [state for state, _, _ in play.sequence.stamps]


def codes(play: Play) -> list[str]:
    return [tell.code for tell in play.told if tell.code != "F01"]


def executing(play: Play) -> Play:
    """A confirmed plan whose first opening is done."""
    play.run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    return play.run(30, lambda: "open B" in play.sent)


# ---- the good case ---------------------------------------------------------------------------------------------------


def test_auto_goes_through_all_states_to_restored_within_a_minute_of_lockout() -> None:
    play = Play().run(60)
    assert play.sent == ALL
    assert states(play) == [
        State.DETECTED, State.LOCATED, State.PLANNED, State.ISOLATING, State.ISOLATED, State.RESTORING, State.RESTORED,
    ]  # fmt: skip
    assert play.sequence.stamps[-1][1] < 60
    assert play.tagged == ["A", "B"]
    assert len(set(play.requests)) == len(play.requests)


def test_no_load_break_switch_opens_before_reclosing_is_blocked_and_current_was_zero_for_a_second() -> None:
    play = Play()
    play.world.current["A"] = False
    play.run(12)
    assert play.sent == ["block-reclose F1"]
    play.world.current["A"] = True
    begun = play.now
    play.run(20)
    assert play.sent[1] == "open A"
    assert play.sent_at[1] - begun >= 0.9


def test_closings_wait_until_the_side_they_energise_has_been_dead_for_five_seconds() -> None:
    play = Play()
    play.world.voltage["T"] = False
    play.run(25, lambda: "close H1" in play.sent)
    play.run(4)
    play.world.voltage["T"] = True
    begun = play.now
    play.run(20)
    assert play.sent[-1] == "close T"
    assert play.sent_at[-1] - begun >= 4.9


def test_monitor_locates_and_plans_nothing() -> None:
    play = Play(Mode.MONITOR).run(60)
    assert (play.sequence.state, play.asked, play.sent) == (State.LOCATED, [], [])


def test_what_is_only_watched_is_over_when_others_have_restored_supply() -> None:
    play = Play(Mode.MONITOR).run(20)
    play.world.positions["H1"] = CLOSED
    assert play.run(15).sequence.state is State.IDLE


def test_advise_waits_for_one_confirmation_and_raises_the_alarm_waiting() -> None:
    play = Play(Mode.ADVISE).run(30)
    assert (play.sequence.state, play.sent, play.waiting) == (State.WAIT_CONFIRM, [], True)
    verdict, actions = play.sequence.confirm("p1", "hash-T", play.now, play.world)
    play.take(actions)
    play.run(60)
    assert verdict.ok
    assert (play.sent, play.sequence.state, play.waiting) == (ALL, State.RESTORED, False)


def test_confirm_step_waits_before_every_step() -> None:
    play = Play(Mode.CONFIRM_STEP).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    for number in range(1, 6):
        play.run(30)
        assert (len(play.sent), play.sequence.state) == (number - 1, State.WAIT_CONFIRM)
        verdict, actions = play.sequence.release("p1", number, play.now)
        assert verdict.ok
        play.take(actions)
    assert play.run(30).sequence.state is State.RESTORED


def test_a_word_that_is_repeated_releases_its_own_step_only_and_answers_how_that_is() -> None:
    play = Play(Mode.CONFIRM_STEP).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    play.run(2)
    said = [play.sequence.release("p1", 1, play.now)]
    play.take(said[0][1])
    said.append(play.sequence.release("p1", 1, play.now))
    play.run(30, lambda: play.sequence.history[0].done is not None)
    said.append(play.sequence.release("p1", 1, play.now))  # before the next step has begun to wait
    play.run(30)
    said.append(play.sequence.release("p1", 1, play.now))
    assert [(verdict.ok, actions == []) for verdict, actions in said] == [(True, False)] + [(True, True)] * 3
    assert "done" in said[-1][0].text
    assert play.run(30).sent == ALL[:1]


def test_a_word_between_two_steps_is_kept_and_one_for_a_later_step_is_refused() -> None:
    play = Play(Mode.CONFIRM_STEP).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    play.run(2)
    play.take(play.sequence.release("p1", 1, play.now)[1])
    play.run(30, lambda: play.sequence.history[0].done is not None)
    assert not play.sequence.release("p1", 3, play.now)[0].ok
    play.take(play.sequence.release("p1", 2, play.now)[1])
    assert play.run(30).sent == ALL[:2]


def test_a_word_for_no_step_is_answered_only_where_the_plan_runs_as_a_whole() -> None:
    single, whole = Play(Mode.CONFIRM_STEP).run(20), Play(Mode.ADVISE).run(20)
    answers = []
    for play in (single, whole):
        answers.append(play.sequence.release("p1", 0, play.now)[0].ok)
        play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
        play.run(0.2)
        answers.append(play.sequence.release("p1", 0, play.now)[0].ok)
    assert answers == [False, False, False, True]
    assert "step 1 waits" in single.sequence.release("p1", 0, single.now)[0].text
    assert not single.sequence.release("p1", 9, single.now)[0].ok
    assert single.run(30).sent == []


def test_the_last_step_answers_after_the_plan_is_over_and_one_that_was_stopped_does_not_leave() -> None:
    play = Play(Mode.CONFIRM_STEP).run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    for number in range(1, 6):
        play.run(30)
        play.take(play.sequence.release("p1", number, play.now)[1])
    play.run(30)
    verdict, actions = play.sequence.release("p1", 5, play.now)
    assert (play.sequence.state, verdict.ok, actions) == (State.RESTORED, True, [])
    other = Play(Mode.CONFIRM_STEP).run(20)
    other.take(other.sequence.confirm("p1", "hash-T", other.now, other.world)[1])
    other.run(2)
    other.take(other.sequence.stop("anna", other.now)[1])
    verdict, actions = other.sequence.release("p1", 1, other.now)
    assert (verdict.ok, actions, other.run(20).sent) == (False, [], [])


def test_zones_that_stay_dead_make_it_partial() -> None:
    def plan(ask: MakePlan, n: int) -> Offer:
        made = offer(f"p{n}", ask)
        assert made.result is not None
        return replace(made, result=replace(made.result, unrestored=(Unrestored("z3", 1.0, 1, "overload"),)))

    assert Play(plan=plan).run(60).sequence.state is State.PARTIAL


@pytest.mark.parametrize(
    "trigger",
    [
        replace(TRIGGER, advise_only=True),
        replace(TRIGGER, cause=Cause.OPERATOR),
        replace(TRIGGER, cause=Cause.BREAKER_FAILURE),
    ],
)
def test_auto_degrades_to_advise_when_the_trigger_leaves_doubt(trigger: object) -> None:
    play = Play(trigger=trigger).run(30)  # type: ignore[arg-type]
    assert (play.sequence.state, play.sent) == (State.WAIT_CONFIRM, [])
    assert play.sequence.degraded


def test_auto_degrades_to_advise_when_more_zones_may_be_faulted_or_data_is_not_good() -> None:
    several = Play(location=replace(LOCATION, candidates=("z2", "z3"), auto_ok=False)).run(30)
    doubtful = Play(plan=lambda ask, n: offer(f"p{n}", ask, auto_refusals=("X/Pos is not Good",))).run(30)
    weak = Play(plan=lambda ask, n: offer(f"p{n}", ask, replace(full_plan(), auto_ok=False, warnings=("no pickup",))))
    for play in (several, doubtful, weak.run(30)):
        assert (play.sequence.state, play.sent) == (State.WAIT_CONFIRM, [])
    assert "X/Pos" in doubtful.sequence.degraded


def test_auto_takes_nothing_that_nobody_measures_for_granted() -> None:
    play = Play()
    play.world.current["A"] = None
    play.run(60)
    assert (play.sent, play.sequence.state) == (["block-reclose F1"], State.BLOCKED)


# ---- confirmation ----------------------------------------------------------------------------------------------------


def test_a_plan_whose_inputs_changed_while_waiting_is_refused_and_a_new_one_is_offered() -> None:
    play = Play(Mode.ADVISE).run(20)
    play.world.print_ = "p2"
    verdict, actions = play.sequence.confirm("p1", "hash-T", play.now, play.world)
    play.take(actions)
    assert not verdict.ok
    play.run(5)
    assert play.sequence.state is State.WAIT_CONFIRM
    assert play.sequence.offer is not None
    assert play.sequence.offer.id == "p2"
    assert play.sent == []
    assert play.sequence.confirm("p2", "hash-T", play.now, play.world)[0].ok


def test_a_confirmation_after_120_s_is_refused_and_a_new_plan_is_offered() -> None:
    play = Play(Mode.ADVISE).run(20)
    offered = play.now
    play.run(125)
    verdict, actions = play.sequence.confirm("p1", "hash-T", play.now, play.world)
    play.take(actions)
    assert (verdict.ok, play.now - offered > 120) == (False, True)
    play.run(2)
    assert play.sequence.offer is not None
    assert play.sequence.offer.id == "p2"


@pytest.mark.parametrize(("plan", "inputs"), [("p9", "hash-T"), ("p1", "hash-X")])
def test_another_plan_or_another_hash_is_not_confirmed(plan: str, inputs: str) -> None:
    play = Play(Mode.ADVISE).run(20)
    assert not play.sequence.confirm(plan, inputs, play.now, play.world)[0].ok
    assert play.run(20).sent == []


def test_a_second_confirmation_changes_nothing() -> None:
    play = executing(Play(Mode.ADVISE))
    assert play.sequence.confirm("p1", "hash-T", play.now, play.world)[0].ok
    assert play.run(60).sent == ALL


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
