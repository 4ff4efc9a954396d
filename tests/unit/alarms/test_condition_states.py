"""The states of a condition as OPC 10000-9 has them: acknowledging, shelving, suppressing, enabling, EventIds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from address_space import clock
from address_space.conditions import Condition
from address_space.ports import ConditionVerb as Verb
from address_space.quality import StatusCode
from twin_gateway.alarms import machine
from twin_gateway.alarms.machine import MAX_SHELVING_S, ONE_SHOT, TIMED, UNSHELVED, Change, Demands, Finding

NOW = clock.from_unix(1_790_000_000)
BOTH, ACKNOWLEDGE, NOTHING = Demands(True, True), Demands(True, False), Demands(False, False)
LOW = Finding("Gas is low", 650, value=129e3)
OVER = Finding("Gas is well", 650)


def fresh(**changes: object) -> Condition:
    given = {"active": False, "event_id": b"", "severity": 650} | changes
    return Condition("dso1/n/PS1/V/F/Q", "C04", "ExclusiveLimitAlarmType", "Process", "Gas", **given)  # type: ignore[arg-type]  # members of a condition


def up(condition: Condition, demands: Demands = BOTH, finding: Finding = LOW, **more: bool) -> Condition:
    after = machine.raised(condition, finding, demands, NOW, **more)
    assert after is not None
    return after


def down(condition: Condition) -> Condition:
    after = machine.cleared(condition, OVER, NOW)
    assert after is not None
    return after


def act(condition: Condition, verb: Verb, demands: Demands = BOTH, **more: object) -> Condition:
    done = machine.acted(condition, verb, demands, NOW, user="olga", **more)  # type: ignore[arg-type]  # as of acted
    assert done is not None
    return done[0]


def seen(condition: Condition) -> tuple[bool, bool, bool, bool]:
    return condition.active, condition.acked, condition.confirmed, condition.retain


def test_the_walk_of_annex_b_that_is_acknowledged_while_active_and_confirmed_when_over() -> None:
    steps: list[Callable[[Condition], Condition]] = [
        up,
        lambda each: act(each, Verb.ACKNOWLEDGE),
        down,
        lambda each: act(each, Verb.CONFIRM),
        up,
        down,
        lambda each: act(each, Verb.ACKNOWLEDGE),
        lambda each: act(each, Verb.CONFIRM),
    ]
    walk = list(accumulate(steps, lambda condition, step: step(condition), initial=fresh()))
    assert [seen(each) for each in walk] == [
        (False, True, True, False),
        (True, False, True, True),
        (True, True, False, True),
        (False, True, False, True),
        (False, True, True, False),
        (True, False, True, True),
        (False, False, True, True),
        (False, True, False, True),
        (False, True, True, False),
    ]


def test_without_confirmation_an_acknowledged_alarm_that_is_over_is_of_no_interest() -> None:
    assert seen(down(act(up(fresh(), ACKNOWLEDGE), Verb.ACKNOWLEDGE, ACKNOWLEDGE))) == (False, True, True, False)


def test_what_asks_for_no_acknowledgement_is_acknowledged_from_the_start() -> None:
    assert seen(up(fresh(), NOTHING)) == (True, True, True, True)


# ---- refusals, every verb against every state ------------------------------------------------------------------------

STATES: dict[str, Callable[[], Condition]] = {
    "new": lambda: up(fresh()),
    "acked": lambda: act(up(fresh()), Verb.ACKNOWLEDGE),
    "confirmed": lambda: act(act(up(fresh()), Verb.ACKNOWLEDGE), Verb.CONFIRM),
    "over": lambda: down(up(fresh())),
    "timed": lambda: act(up(fresh()), Verb.SHELVE, duration=60.0),
    "once": lambda: act(up(fresh()), Verb.SHELVE_ONCE),
    "suppressed": lambda: act(up(fresh()), Verb.SUPPRESS),
    "disabled": lambda: act(up(fresh()), Verb.DISABLE),
}
REFUSED: dict[tuple[str, Verb], int] = {
    ("acked", Verb.ACKNOWLEDGE): StatusCode.BadConditionBranchAlreadyAcked,
    ("confirmed", Verb.ACKNOWLEDGE): StatusCode.BadConditionBranchAlreadyAcked,
    **{
        (state, Verb.CONFIRM): StatusCode.BadConditionBranchAlreadyConfirmed
        for state in ("new", "over", "confirmed", "timed", "once", "suppressed")
    },
    ("timed", Verb.SHELVE): StatusCode.BadConditionAlreadyShelved,
    ("once", Verb.SHELVE_ONCE): StatusCode.BadConditionAlreadyShelved,
    **{
        (state, Verb.UNSHELVE): StatusCode.BadConditionNotShelved
        for state in ("new", "acked", "confirmed", "over", "suppressed")
    },
    **{
        (state, Verb.ENABLE): StatusCode.BadConditionAlreadyEnabled
        for state in ("new", "acked", "confirmed", "over", "timed", "once", "suppressed")
    },
    **{("disabled", verb): StatusCode.BadConditionDisabled for verb in Verb if verb is not Verb.ENABLE},
    ("disabled", Verb.DISABLE): StatusCode.BadConditionAlreadyDisabled,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", Verb)
def test_each_method_answers_in_each_state_as_part_9_says(state: str, verb: Verb) -> None:
    condition = STATES[state]()
    assert machine.refusal(condition, verb, condition.event_id, 60.0) == REFUSED.get((state, verb), 0)


@pytest.mark.parametrize("duration", [0.0, -1.0, MAX_SHELVING_S + 1, float("nan"), float("inf")])
def test_a_shelving_time_of_nothing_or_of_more_than_a_day_is_out_of_range(duration: float) -> None:
    assert machine.refusal(up(fresh()), Verb.SHELVE, None, duration) == StatusCode.BadShelvingTimeOutOfRange


@pytest.mark.parametrize("verb", [Verb.ACKNOWLEDGE, Verb.CONFIRM, Verb.COMMENT])
def test_an_event_id_that_nobody_knows_is_refused(verb: Verb) -> None:
    for stranger in (b"", b"\0" * 16, None):
        assert machine.refusal(up(fresh()), verb, stranger, 0.0) == StatusCode.BadEventIdUnknown


# ---- EventIds --------------------------------------------------------------------------------------------------------


def test_every_change_has_an_event_id_of_sixteen_octets_of_its_own() -> None:
    condition = up(fresh())
    ids = [condition.event_id]
    for verb in (
        Verb.COMMENT,
        Verb.SHELVE_ONCE,
        Verb.UNSHELVE,
        Verb.ACKNOWLEDGE,
        Verb.CONFIRM,
        Verb.DISABLE,
        Verb.ENABLE,
    ):
        condition = act(condition, verb)
        ids.append(condition.event_id)
    assert len(set(ids)) == len(ids)
    assert {len(each) for each in ids} == {16}


def test_an_earlier_event_id_is_still_good_for_acknowledging() -> None:
    raised = up(fresh())
    later = down(act(raised, Verb.COMMENT, comment="on my way"))
    assert machine.refusal(later, Verb.ACKNOWLEDGE, raised.event_id, 0.0) == 0


def test_nobody_acknowledges_what_he_has_not_seen() -> None:
    first = up(fresh())
    second = up(down(first))
    worse = up(second, finding=Finding("Blocked", 900))
    assert machine.refusal(second, Verb.ACKNOWLEDGE, first.event_id, 0.0) == StatusCode.BadEventIdUnknown
    assert machine.refusal(worse, Verb.ACKNOWLEDGE, second.event_id, 0.0) == StatusCode.BadEventIdUnknown
    assert machine.refusal(worse, Verb.ACKNOWLEDGE, worse.event_id, 0.0) == 0


# ---- worse and better ------------------------------------------------------------------------------------------------


def test_a_worse_severity_or_limit_asks_for_acknowledgement_anew_a_better_one_does_not() -> None:
    high = act(up(fresh(), finding=Finding("high", 600, "High")), Verb.ACKNOWLEDGE)
    for finding, acked in (
        (Finding("more", 700, "High"), False),
        (Finding("higher", 600, "HighHigh"), False),
        (Finding("low", 600, "Low"), False),
        (Finding("less", 500, "High"), True),
    ):
        assert up(high, finding=finding).acked is acked
    highest = act(up(fresh(), finding=Finding("highest", 600, "HighHigh")), Verb.ACKNOWLEDGE)
    assert up(highest, finding=Finding("high", 600, "High")).acked


def test_the_last_severity_is_that_before_the_change() -> None:
    worse = up(up(fresh()), finding=Finding("Blocked", 900))
    assert (worse.last_severity, worse.severity, worse.severity_time) == (650, 900, NOW)


def test_what_says_nothing_new_changes_nothing() -> None:
    assert machine.raised(up(fresh()), LOW, BOTH, NOW) is None
    assert machine.cleared(fresh(), OVER, NOW) is None


# ---- shelving, suppression, enabling ---------------------------------------------------------------------------------


def test_shelving_ends_at_the_time_that_was_asked_for() -> None:
    shelved = act(up(fresh()), Verb.SHELVE, duration=90.0)
    assert (shelved.shelving, shelved.shelved_until) == (TIMED, NOW + 90 * clock.TICKS_PER_SECOND)


def test_shelving_for_once_ends_after_a_day_at_the_latest() -> None:
    shelved = act(up(fresh()), Verb.SHELVE_ONCE)
    assert (shelved.shelving, shelved.shelved_until) == (ONE_SHOT, NOW + 86_400 * clock.TICKS_PER_SECOND)


def test_a_timed_shelving_becomes_one_for_once_and_back() -> None:
    once = act(act(up(fresh()), Verb.SHELVE, duration=60.0), Verb.SHELVE_ONCE)
    assert once.shelving == ONE_SHOT
    assert act(once, Verb.SHELVE, duration=60.0).shelving == TIMED
    over = machine.unshelved(once, NOW)
    assert over is not None and (over.shelving, over.shelved_until) == (UNSHELVED, 0)


def test_what_its_source_suppresses_asks_for_acknowledgement_when_it_no_longer_does() -> None:
    suppressed = up(fresh(), suppressed=True)
    assert (suppressed.suppressed, suppressed.acked) == (True, True)
    assert not up(suppressed, suppressed=False).acked


def test_what_became_active_while_a_person_had_it_suppressed_or_disabled_asks_afterwards() -> None:
    for off, on in ((Verb.SUPPRESS, Verb.UNSUPPRESS), (Verb.DISABLE, Verb.ENABLE)):
        condition = up(act(down(up(fresh())), off))
        assert not act(condition, on).acked


def test_what_was_acknowledged_before_it_was_disabled_stays_so() -> None:
    condition = act(up(fresh(active_time=NOW - 10)), Verb.ACKNOWLEDGE)
    earlier = machine.acted(condition, Verb.DISABLE, BOTH, NOW + 10, user="eve")
    assert earlier is not None
    assert act(earlier[0], Verb.ENABLE).acked


def test_a_disabled_condition_is_of_no_interest() -> None:
    assert not act(up(fresh()), Verb.DISABLE).retain


def test_a_comment_keeps_who_wrote_it_and_none_leaves_it_as_it_is() -> None:
    commented = act(up(fresh()), Verb.COMMENT, comment="on my way")
    assert (commented.comment, commented.comment_user, commented.comment_time) == ("on my way", "olga", NOW)
    assert act(commented, Verb.ACKNOWLEDGE).comment == "on my way"
    assert act(commented, Verb.ACKNOWLEDGE, comment="").comment == ""


# ---- whatever happens ------------------------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("raise"), st.sampled_from([600, 700]), st.sampled_from(["High", "HighHigh", "Low"])),
        st.tuples(st.just("clear")),
        st.tuples(st.just("act"), st.sampled_from(list(Verb))),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS, st.sampled_from([BOTH, ACKNOWLEDGE, NOTHING]))
def test_no_sequence_of_changes_leads_to_a_state_that_part_9_does_not_have(
    steps: list[tuple[object, ...]], demands: Demands
) -> None:
    condition, now = fresh(), NOW
    for step in steps:
        before, now = condition, now + 1
        after: Condition | None = None
        if step[0] == "raise":
            after = machine.raised(condition, Finding("x", int(str(step[1])), str(step[2])), demands, now)
        elif step[0] == "clear":
            after = machine.cleared(condition, OVER, now)
        else:
            verb = Verb(str(step[1]))
            if machine.refusal(condition, verb, condition.event_id, 60.0) == 0:
                done = machine.acted(condition, verb, demands, now, user="olga", duration=60.0)
                after = done[0] if done is not None else None
        condition = after or condition
        if after is not None:
            assert after.event_id not in (before.event_id, *before.earlier)
        assert condition.acked or condition.confirmed, "what is not acknowledged waits for no confirmation"
        assert condition.confirmed or demands.confirm
        assert condition.acked or demands.acknowledge
        assert (condition.shelving == UNSHELVED) == (condition.shelved_until == 0)
        assert len(condition.earlier) <= machine.EVENT_IDS_KEPT
        assert condition.limit == "" or condition.active


def test_every_verb_is_told_by_a_state_of_its_own() -> None:
    told = {}
    for verb in Verb:
        for make in STATES.values():
            condition = make()
            if machine.refusal(condition, verb, condition.event_id, 60.0) == 0:
                done = machine.acted(condition, verb, BOTH, NOW, user="olga", duration=60.0)
                if done is not None:
                    told[verb] = done[1]
    assert told == {
        Verb.ENABLE: Change.ENABLED,
        Verb.DISABLE: Change.DISABLED,
        Verb.ACKNOWLEDGE: Change.ACKNOWLEDGED,
        Verb.CONFIRM: Change.CONFIRMED,
        Verb.COMMENT: Change.COMMENTED,
        Verb.SHELVE: Change.SHELVED,
        Verb.SHELVE_ONCE: Change.SHELVED,
        Verb.UNSHELVE: Change.UNSHELVED,
        Verb.SUPPRESS: Change.SUPPRESSED,
        Verb.UNSUPPRESS: Change.UNSUPPRESSED,
    }


LATER = NOW + clock.TICKS_PER_SECOND


def test_maintenance_that_begins_while_it_is_disabled_stands_when_it_is_enabled() -> None:
    disabled = act(up(fresh()), Verb.DISABLE)
    enabled = act(up(disabled, suppressed=True), Verb.ENABLE)
    assert (enabled.enabled, enabled.suppressed, enabled.active) == (True, True, True)


def test_what_is_suppressed_asks_for_no_acknowledgement_when_it_is_enabled() -> None:
    disabled = act(up(fresh(), suppressed=True), Verb.DISABLE)
    assert act(disabled, Verb.ENABLE).acked


def test_what_became_worse_while_it_was_disabled_is_to_be_acknowledged_when_it_is_enabled() -> None:
    seen_by_olga = act(up(fresh(), ACKNOWLEDGE), Verb.ACKNOWLEDGE, ACKNOWLEDGE)
    done = machine.acted(seen_by_olga, Verb.DISABLE, ACKNOWLEDGE, LATER, user="eve")
    assert done is not None
    worse = machine.raised(done[0], Finding("Gas is out", 900), ACKNOWLEDGE, LATER + 1)
    assert worse is not None and worse.acked
    assert not act(worse, Verb.ENABLE, ACKNOWLEDGE).acked


@pytest.mark.parametrize(("hide", "show"), [(Verb.DISABLE, Verb.ENABLE), (Verb.SUPPRESS, Verb.UNSUPPRESS)])
def test_what_became_active_unseen_is_acknowledged_by_its_new_event_only(hide: Verb, show: Verb) -> None:
    before = act(act(up(fresh()), Verb.ACKNOWLEDGE), hide)
    hidden = up(down(before))
    shown = act(hidden, show)
    assert (shown.acked, shown.confirmed, shown.earlier) == (False, True, ())
    assert machine.refusal(shown, Verb.ACKNOWLEDGE, hidden.event_id, 0.0) == StatusCode.BadEventIdUnknown
    assert machine.refusal(shown, Verb.ACKNOWLEDGE, shown.event_id, 0.0) == 0


def test_the_time_of_acknowledgement_is_that_of_its_transition() -> None:
    first = up(fresh())
    worse = machine.raised(first, Finding("Gas is out", 900), BOTH, LATER)
    assert worse is not None
    assert (worse.acked, worse.acked_time, worse.severity_time) == (False, NOW, LATER)
