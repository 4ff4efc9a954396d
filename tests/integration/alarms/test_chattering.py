"""Chattering: more than ten times a minute is shelved by the gateway, but never what is about safety."""

from __future__ import annotations

import pytest
from peers.alarm_book import EVE, PLACE, SVEN, Desk

from address_space.ports import ConditionVerb
from twin_gateway.alarms.machine import Finding


def chatter(desk: Desk, times: int, *, code: str = "C04", severity: int = 650, every: float = 1.0) -> None:
    for _ in range(times):
        desk.up(code=code, finding=Finding("Gas is low", severity))
        desk.time += every / 2
        desk.book.clear(PLACE, code)
        desk.time += every / 2


def test_what_becomes_active_more_than_ten_times_a_minute_is_shelved_with_an_event() -> None:
    desk = Desk()
    chatter(desk, 10)
    assert desk.condition().shelving == "Unshelved"
    chatter(desk, 1)
    condition = desk.condition()
    assert condition.shelving == "TimedShelved"
    assert [event.state for event in desk.told()].count("shelved") == 1


def test_ten_times_a_minute_are_no_chatter() -> None:
    desk = Desk()
    chatter(desk, 40, every=6.1)
    assert "shelved" not in desk.states()


@pytest.mark.parametrize(("code", "severity"), [("S08", 650), ("P09", 400), ("C04", 900), ("C07", 950)])
def test_safety_and_very_severe_conditions_are_never_shelved_by_the_gateway(code: str, severity: int) -> None:
    desk = Desk()
    chatter(desk, 40, code=code, severity=severity)
    assert "shelved" not in desk.states()


def test_what_chatters_speaks_at_most_ten_times_a_minute_and_says_in_the_end_how_it_is() -> None:
    desk = Desk()
    chatter(desk, 11)
    desk.told()
    for _ in range(60):
        chatter(desk, 10, every=0.1)
        desk.book.tick()
    assert 1 <= len(desk.told()) <= 12
    desk.up()
    desk.time += 6.0
    desk.book.tick()
    (event,) = desk.told()
    assert event.condition is not None and event.condition.active


def test_it_is_unshelved_after_ten_minutes_and_may_chatter_again() -> None:
    desk = Desk()
    chatter(desk, 11)
    desk.time += 600.0
    desk.book.tick()
    assert desk.condition().shelving == "Unshelved"
    chatter(desk, 11)
    assert desk.condition().shelving == "TimedShelved"


async def test_who_unshelves_it_is_told_everything_again() -> None:
    desk = Desk()
    chatter(desk, 11)
    assert await desk.act(ConditionVerb.UNSHELVE, SVEN) == 0
    desk.told()
    chatter(desk, 2)
    assert desk.states() == ["active", "inactive"] * 2


def test_what_chatters_while_it_is_suppressed_is_kept_quiet_too() -> None:
    desk = Desk()
    for _ in range(60):
        desk.book.raise_(PLACE, "C04", Finding("Gas is low", 650), suppressed=True)
        desk.book.clear(PLACE, "C04")
        desk.time += 0.5
    assert len(desk.told()) < 30


async def test_what_is_disabled_is_not_shelved_by_the_gateway() -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(ConditionVerb.DISABLE, EVE) == 0
    desk.book.clear(PLACE, "C04")
    chatter(desk, 20)
    assert desk.condition().shelving == "Unshelved"
