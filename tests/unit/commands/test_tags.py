"""Operators' safety tags: durable before effect, foreign ones for supervisors, lock-outs by two persons."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from unit.commands.test_desk import BAY, OPERATOR, Rig, build

from address_space.events import EventJournal
from address_space.ports import Caller, Right
from address_space.quality import StatusCode
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.commands.tags import TagKind, TagStore

QA1 = f"{BAY}/QA1"
OTHER = Caller("bert", frozenset({"Operator"}))
SHIFT = Caller("sofia", frozenset({"Supervisor"}))
OBSERVER = Caller("otto", frozenset({"Observer"}))
_RIGHTS = {"Operator": {Right.OPERATE}, "Supervisor": {Right.OPERATE, Right.SUPERVISE}, "Engineer": {Right.CONFIGURE}}


class Roles:
    """Rights by role, everywhere."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return any(right in _RIGHTS.get(role, set()) for role in caller.roles)


async def store(folder: Path, audit: AuditJournal, events: EventJournal) -> TagStore:
    made = TagStore(
        folder / "tags.sqlite",
        policy=Roles(),  # type: ignore[arg-type]  # only permits is needed
        audit=audit,
        events=events,
        exists=lambda address: address.startswith("dso1/"),
    )
    await made.open()
    return made


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path)
    made.desk.tags = await store(tmp_path, made.audit, made.events)
    yield made
    await made.desk.tags.close()
    await made.audit.close()


def tags_of(rig: Rig) -> TagStore:
    assert rig.desk.tags is not None
    return rig.desk.tags


@pytest.mark.parametrize("kind", [TagKind.HOT_LINE, TagKind.LOCK_OUT, TagKind.EARTH, TagKind.OUT_OF_SERVICE])
async def test_closing_a_tagged_switch_is_refused_and_tells_with_severity_900(rig: Rig, kind: TagKind) -> None:
    await tags_of(rig).set(QA1, kind, "work on the cable", OPERATOR)
    cursor = rig.events.cursor("test")
    outcome = await rig.operate(True)
    assert (outcome.gate, outcome.sent) == ("tag", False)
    assert "work on the cable" in outcome.text
    assert [(event.code, event.severity) for event in cursor.take()] == [("S09", 900)]
    assert rig.device.got == []


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [(TagKind.HOT_LINE, True), (TagKind.EARTH, True), (TagKind.LOCK_OUT, False), (TagKind.OUT_OF_SERVICE, False)],
)
async def test_the_kind_of_tag_decides_whether_the_switch_may_open_also_in_an_emergency(
    rig: Rig, kind: TagKind, allowed: bool
) -> None:
    await tags_of(rig).set(QA1, kind, "work", OPERATOR)
    outcome = await rig.operate(False)
    assert outcome.good is allowed
    assert len(rig.device.got) == allowed


async def test_a_tag_on_a_bay_forbids_the_switches_in_it(rig: Rig) -> None:
    await tags_of(rig).set(BAY, TagKind.LOCK_OUT, "work", OPERATOR)
    assert (await rig.operate(True)).gate == "tag"


async def test_before_the_tags_are_known_no_switch_moves(rig: Rig, tmp_path: Path) -> None:
    await tags_of(rig).close()
    rig.desk.tags = TagStore(
        tmp_path / "tags.sqlite",
        policy=Roles(),  # type: ignore[arg-type]
        audit=rig.audit,
        events=rig.events,
    )
    assert (await rig.operate(True)).gate == "tag"
    await rig.desk.tags.open()
    assert (await rig.operate(True)).good


async def test_tags_survive_a_restart_with_who_when_and_why(rig: Rig, tmp_path: Path) -> None:
    await tags_of(rig).set(QA1, TagKind.HOT_LINE, "live work", OPERATOR)
    await tags_of(rig).close()
    rig.desk.tags = await store(tmp_path, rig.audit, rig.events)
    (tag,) = tags_of(rig)
    assert (tag.address, tag.kind, tag.user, tag.reason) == (QA1, TagKind.HOT_LINE, "anna", "live work")
    assert tag.time > 0


async def test_a_tag_is_audited_before_it_has_effect_and_without_audit_there_is_none(rig: Rig, tmp_path: Path) -> None:
    await tags_of(rig).set(QA1, TagKind.HOT_LINE, "live work", OPERATOR)
    assert [(record.kind, record.user) for record in await rig.audit.records(1)] == [("tag.set", "anna")]
    await rig.audit.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await tags_of(rig).clear(QA1, TagKind.HOT_LINE, "done", OPERATOR)
    assert len(tags_of(rig).at(QA1)) == 1
    rig.audit = AuditJournal(tmp_path / "audit.sqlite")
    await rig.audit.open()


async def test_ones_own_tag_goes_at_once_a_foreign_one_needs_a_supervisor(rig: Rig) -> None:
    tags = tags_of(rig)
    await tags.set(QA1, TagKind.HOT_LINE, "work", OPERATOR)
    assert (await tags.clear(QA1, TagKind.HOT_LINE, "done", OTHER)).status == StatusCode.BadUserAccessDenied
    assert (await tags.clear(QA1, TagKind.HOT_LINE, "done", SHIFT)).done
    await tags.set(QA1, TagKind.HOT_LINE, "work", OPERATOR)
    assert (await tags.clear(QA1, TagKind.HOT_LINE, "done", OPERATOR)).done
    assert list(tags) == []


async def test_an_observer_sets_and_clears_nothing(rig: Rig) -> None:
    tags = tags_of(rig)
    assert (await tags.set(QA1, TagKind.EARTH, "work", OBSERVER)).status == StatusCode.BadUserAccessDenied
    await tags.set(QA1, TagKind.EARTH, "work", OPERATOR)
    assert (await tags.clear(QA1, TagKind.EARTH, "done", OBSERVER)).status == StatusCode.BadUserAccessDenied


async def test_a_lock_out_tag_goes_only_when_a_second_person_confirms(rig: Rig) -> None:
    tags = tags_of(rig)
    await tags.set(QA1, TagKind.LOCK_OUT, "locked", OPERATOR)
    assert (await tags.clear(QA1, TagKind.LOCK_OUT, "done", OTHER)).status == StatusCode.BadUserAccessDenied
    first = await tags.clear(QA1, TagKind.LOCK_OUT, "done", OPERATOR)
    assert (first.status, first.done) == (StatusCode.Good, False)
    again = await tags.clear(QA1, TagKind.LOCK_OUT, "done", OPERATOR)
    assert not again.done
    assert (await rig.operate(True)).gate == "tag"
    assert (await tags.clear(QA1, TagKind.LOCK_OUT, "seen", OTHER)).done
    assert (await rig.operate(True)).good


async def test_of_the_two_persons_at_a_foreign_lock_out_tag_the_first_is_a_supervisor(rig: Rig) -> None:
    tags = tags_of(rig)
    await tags.set(QA1, TagKind.LOCK_OUT, "locked", OPERATOR)
    assert not (await tags.clear(QA1, TagKind.LOCK_OUT, "gone home", SHIFT)).done
    assert (await tags.clear(QA1, TagKind.LOCK_OUT, "seen", OTHER)).done


async def test_the_tags_of_flisr_are_cleared_by_any_operator_and_set_by_none(rig: Rig) -> None:
    tags = tags_of(rig)
    assert (await tags.set(QA1, TagKind.FLISR, "x", OPERATOR)).status == StatusCode.BadInvalidArgument
    await tags.set_by_flisr(QA1, "isolates the fault", "event 1")
    assert (await rig.operate(True)).gate == "tag"
    assert (await tags.clear(QA1, TagKind.FLISR, "repaired", OPERATOR)).done


async def test_setting_and_removing_is_event_s09_of_severity_300(rig: Rig) -> None:
    cursor = rig.events.cursor("test")
    await tags_of(rig).set(QA1, TagKind.EARTH, "work", OPERATOR)
    await tags_of(rig).clear(QA1, TagKind.EARTH, "done", OPERATOR)
    assert [(event.code, event.severity, event.actor) for event in cursor.take()] == [("S09", 300, "anna")] * 2


@pytest.mark.parametrize(
    ("address", "reason", "status"),
    [
        (QA1, "  ", StatusCode.BadInvalidArgument),
        (QA1, "x" * 501, StatusCode.BadInvalidArgument),
        ("dso2/a", "work", StatusCode.BadNoMatch),
    ],
)
async def test_a_tag_needs_a_reason_and_something_to_stand_on(
    rig: Rig, address: str, reason: str, status: StatusCode
) -> None:
    assert (await tags_of(rig).set(address, TagKind.EARTH, reason, OPERATOR)).status == status
