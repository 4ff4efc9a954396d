"""People's acts on conditions: who may do what, audited and on disk before they answer, one event each."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from peers.alarm_book import EVE, OLGA, OTTO, PLACE, SVEN, Desk

from address_space import clock
from address_space.events import EventJournal
from address_space.ports import Caller, ConditionVerb
from address_space.quality import StatusCode
from twin_gateway.alarms.machine import Finding
from twin_gateway.alarms.store import ConditionBook

VERBS = ConditionVerb
MAY = {
    VERBS.ACKNOWLEDGE: {OLGA, SVEN},
    VERBS.CONFIRM: {OLGA, SVEN},
    VERBS.COMMENT: {OLGA, SVEN},
    VERBS.SHELVE: {SVEN, EVE},
    VERBS.SHELVE_ONCE: {SVEN, EVE},
    VERBS.UNSHELVE: {SVEN, EVE},
    VERBS.SUPPRESS: {SVEN, EVE},
    VERBS.UNSUPPRESS: {SVEN, EVE},
    VERBS.ENABLE: {EVE},
    VERBS.DISABLE: {EVE},
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("caller", [OLGA, SVEN, EVE, OTTO], ids=lambda caller: caller.user)
async def test_operators_acknowledge_supervisors_and_engineers_shelve_observers_do_nothing(
    verb: ConditionVerb, caller: Caller
) -> None:
    desk = Desk()
    desk.up()
    allowed = caller in MAY[verb]
    status = await desk.act(verb, caller, duration=60.0)
    assert (status != StatusCode.BadUserAccessDenied) is allowed
    if not allowed:
        (record,) = desk.audit.records
        assert (record.user, record.status) == (caller.user, StatusCode.BadUserAccessDenied)


async def test_an_act_is_audited_with_who_from_where_on_what_and_told_with_the_new_state() -> None:
    desk = Desk()
    desk.up()
    desk.told()
    assert await desk.act(VERBS.ACKNOWLEDGE, comment="on my  way") == 0
    (record,) = desk.audit.records
    assert (record.kind, record.user, record.client, record.address) == (
        "condition.acknowledge",
        "olga",
        OLGA.client,
        PLACE,
    )
    assert record.details["comment"] == "on my way"
    (event,) = desk.told()
    assert (event.state, event.actor) == ("acknowledged", "olga")
    assert event.condition is not None
    assert (event.condition.acked, event.condition.user, event.condition.comment) == (True, "olga", "on my way")


async def test_without_a_policy_or_an_audit_nobody_does_anything() -> None:
    book = ConditionBook(EventJournal())
    book.raise_(PLACE, "C04", Finding("Gas", 650))
    condition = book.get(f"{PLACE}$C04")
    assert condition is not None
    status = await book.act(condition.id, VERBS.ACKNOWLEDGE, OLGA, event_id=condition.event_id)
    assert status == StatusCode.BadUserAccessDenied


async def test_an_act_on_what_is_not_there_is_refused() -> None:
    assert await Desk().book.act("nowhere$C04", VERBS.ACKNOWLEDGE, OLGA) == StatusCode.BadNodeIdUnknown


@pytest.mark.parametrize("comment", ["x" * 1001, "bell \x07"])
async def test_a_comment_that_is_no_line_of_text_is_refused(comment: str) -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.COMMENT, comment=comment) == StatusCode.BadInvalidArgument


@pytest.mark.parametrize("locale", ["x" * 101, "e\nn"])
async def test_a_comment_in_what_is_no_locale_is_refused(locale: str) -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.COMMENT, comment="seen", locale=locale) == StatusCode.BadInvalidArgument
    assert desk.audit.records == []


async def test_what_is_suppressed_already_takes_the_comment_all_the_same() -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.SUPPRESS, SVEN) == 0
    assert await desk.act(VERBS.SUPPRESS, SVEN, comment="until Monday") == 0
    assert desk.condition().comment == "until Monday"
    assert desk.states()[-1] == "commented"


async def test_what_cannot_be_audited_is_not_done() -> None:
    desk = Desk()
    desk.up()
    desk.audit.fails = True
    assert await desk.act(VERBS.ACKNOWLEDGE) == StatusCode.BadResourceUnavailable
    assert not desk.condition().acked


async def test_what_cannot_be_written_is_not_done_and_the_audit_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "alarms.sqlite")
    await desk.book.open()
    desk.up()
    await desk.book.flush()
    blocker = sqlite3.connect(tmp_path / "alarms.sqlite")
    blocker.execute("DROP TABLE condition")
    blocker.commit()
    blocker.close()
    assert await desk.act(VERBS.ACKNOWLEDGE) == StatusCode.BadResourceUnavailable
    assert not desk.condition().acked
    assert [record.status for record in desk.audit.records] == [0, StatusCode.BadResourceUnavailable]
    with pytest.raises(sqlite3.OperationalError, match="could not be written"):
        await desk.book.close()
    assert [event.code for event in desk.told()].count("G02") == 1


async def test_an_act_is_on_disk_when_it_answers(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "alarms.sqlite")
    await desk.book.open()
    desk.up()
    assert await desk.act(VERBS.ACKNOWLEDGE) == 0
    reader = sqlite3.connect(tmp_path / "alarms.sqlite")
    ((record,),) = reader.execute("SELECT record FROM condition").fetchall()
    reader.close()
    assert desk.condition().event_id.hex() in record
    await desk.book.close()


async def test_of_two_who_acknowledge_at_the_same_time_one_is_told_that_it_is_done(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "alarms.sqlite")
    await desk.book.open()
    seen = desk.up().event_id
    answers = await asyncio.gather(*(desk.act(VERBS.ACKNOWLEDGE, event_id=seen) for _ in range(2)))
    assert sorted(answers) == [0, StatusCode.BadConditionBranchAlreadyAcked]
    await desk.book.close()


async def test_what_becomes_active_again_during_an_act_is_not_acknowledged_by_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "alarms.sqlite")
    await desk.book.open()
    desk.up()
    act = asyncio.create_task(desk.act(VERBS.ACKNOWLEDGE))
    while not desk.audit.records:
        await asyncio.sleep(0)
    desk.book.clear(PLACE, "C04")
    desk.up()
    assert await act == StatusCode.BadEventIdUnknown
    assert not desk.condition().acked
    assert [record.status for record in desk.audit.records] == [0, StatusCode.BadEventIdUnknown]
    await desk.book.close()
    again = Desk(tmp_path / "alarms.sqlite")
    await again.book.open()
    assert not again.condition().acked
    await again.book.close()


async def test_a_shelving_ends_by_its_time(tmp_path: Path) -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.SHELVE, SVEN, duration=60.0) == 0
    desk.time += 59
    desk.book.tick()
    assert desk.condition().shelving == "TimedShelved"
    desk.time += 1
    desk.book.tick()
    assert desk.condition().shelving == "Unshelved"
    assert desk.states() == ["active", "shelved", "unshelved"]


async def test_a_shelving_for_once_ends_with_the_alarm() -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.SHELVE_ONCE, SVEN) == 0
    desk.book.clear(PLACE, "C04")
    assert desk.states() == ["active", "shelved", "inactive", "unshelved"]


async def test_nothing_is_told_of_what_is_disabled_until_it_is_enabled_again() -> None:
    desk = Desk()
    desk.up()
    desk.book.clear(PLACE, "C04")
    assert await desk.act(VERBS.DISABLE, EVE) == 0
    desk.told()
    desk.up()
    assert desk.states() == []
    assert await desk.act(VERBS.ENABLE, EVE) == 0
    (event,) = desk.told()
    assert event.condition is not None
    assert (event.state, event.condition.active, event.condition.acked) == ("enabled", True, False)


async def test_a_person_s_suppression_stands_beside_that_of_the_source() -> None:
    desk = Desk()
    desk.up()
    assert await desk.act(VERBS.SUPPRESS, SVEN) == 0
    desk.up(finding=Finding("Gas is lower", 700))
    assert desk.condition().suppressed


async def test_times_of_events_are_those_of_the_source_where_it_tells_them() -> None:
    desk = Desk()
    device = desk.start - 5 * clock.TICKS_PER_SECOND
    desk.up(finding=Finding("Gas", 650, source_time=device))
    desk.up(code="C01")
    first, second = desk.told()
    assert (first.source_time, first.received) == (device, desk.start)
    assert (second.source_time, second.time_quality) == (desk.start, "rx")
