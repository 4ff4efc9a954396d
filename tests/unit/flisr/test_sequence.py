"""The FLISR state machine in virtual time: modes, order, confirmation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.flisr.flisr_steps import ALL, executing, states
from unit.flisr.flisr_world import CLOSED, LOCATION, TRIGGER, Play, full_plan, offer

from twin_gateway.twin.flisr.records import Unrestored
from twin_gateway.twin.flisr.states import Cause, MakePlan, Mode, Offer, State

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
