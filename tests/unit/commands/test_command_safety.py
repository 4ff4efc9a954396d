"""Ways in which a command could reach a switch although a tag, its age or its caller forbid it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.commands.test_desk import BAY, OPERATOR, POS, Rig, build
from unit.commands.test_tags import OTHER, SHIFT, Roles, store
from unit.commands.test_twin_interlock import BASE, Fixed, grid

from address_space import clock
from address_space.ports import Caller, Right
from address_space.quality import StatusCode
from twin_gateway.commands import desk as desk_module
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagKind, TagStore
from twin_gateway.grid.model import Position
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User

QA1 = f"{BAY}/QA1"


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


@pytest.mark.parametrize("where", [f"{QA1}/CSWI1/Pos", f"{QA1}/XCBR1", f"{BAY}/_", f"{BAY}/_/MMXU1/TotW"])
async def test_a_tag_on_a_point_or_a_filler_stands_at_the_equipment_or_place_that_has_it(rig: Rig, where: str) -> None:
    assert (await tags_of(rig).set(where, TagKind.LOCK_OUT, "work", OPERATOR)).done
    assert (await rig.operate(True)).gate == "tag"
    await tags_of(rig).clear(where, TagKind.LOCK_OUT, "over", OPERATOR)
    assert (await tags_of(rig).clear(where, TagKind.LOCK_OUT, "over", OTHER)).done
    assert (await rig.operate(True)).good


async def test_tags_that_cannot_be_read_are_not_taken_for_none(rig: Rig, tmp_path: Path) -> None:
    await tags_of(rig).set(QA1, TagKind.LOCK_OUT, "work", OPERATOR)
    await tags_of(rig).close()
    with sqlite3.connect(tmp_path / "tags.sqlite") as database:
        database.execute("UPDATE tag SET kind = 'of a later version'")
    database.close()
    again = TagStore(tmp_path / "tags.sqlite", policy=Roles(), audit=rig.audit, events=rig.events)  # type: ignore[arg-type]
    rig.desk.tags = again
    with pytest.raises(ValueError, match="of a later version"):
        await again.open()
    assert (await rig.operate(True)).gate == "tag"


async def test_a_tag_takes_effect_also_when_its_client_goes_away_while_it_is_written(rig: Rig) -> None:
    asking = asyncio.create_task(tags_of(rig).set(QA1, TagKind.LOCK_OUT, "work", OPERATOR))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0.2)
    assert (await rig.operate(True)).gate == "tag"


async def test_setting_a_tag_tells_of_a_command_under_way_that_it_can_no_longer_stop(rig: Rig) -> None:
    targets, settings = rig.desk._targets.values(), rig.desk._settings
    rig.desk = desk_module.CommandDesk(
        rig.table,
        targets,
        policy=Roles(),  # type: ignore[arg-type]  # only permits is needed
        audit=rig.audit,
        events=rig.events,
        settings=settings,
        tags=tags_of(rig),
    )
    rig.device.delay = 0.2
    command = asyncio.create_task(rig.operate(True))
    while not rig.device.got:
        await asyncio.sleep(0.01)
    answer = await tags_of(rig).set(BAY, TagKind.HOT_LINE, "work", OPERATOR)
    assert answer.done
    assert "under way" in answer.text
    assert POS in answer.text
    await command
    assert "under way" not in (await tags_of(rig).set(QA1, TagKind.HOT_LINE, "work", OPERATOR)).text


@pytest.mark.parametrize("reason", ["a\nS09 forged", "a\x1b[2J", "a\u2028b"])
async def test_a_reason_is_one_line_of_readable_text(rig: Rig, reason: str) -> None:
    assert (await tags_of(rig).set(QA1, TagKind.LOCK_OUT, reason, OPERATOR)).status == StatusCode.BadInvalidArgument
    assert (await rig.operate(True, reason=reason)).good
    assert all(
        record.details["reason"].isprintable() for record in await rig.audit.records() if record.details.get("reason")
    )


async def test_a_reason_without_end_is_cut_and_a_request_id_without_end_refused(rig: Rig) -> None:
    assert (await rig.operate(True, reason="x" * 100_000)).good
    assert (await rig.operate(True, request_id="x" * 100_000)).gate == "request"
    assert max(len(str(record.details)) for record in await rig.audit.records()) < 5_000


async def test_setting_the_lock_out_again_withdraws_the_word_for_its_removal(rig: Rig) -> None:
    tags = tags_of(rig)
    await tags.set(QA1, TagKind.LOCK_OUT, "work", OPERATOR)
    await tags.clear(QA1, TagKind.LOCK_OUT, "over", SHIFT)
    await tags.set(QA1, TagKind.LOCK_OUT, "not over", OPERATOR)
    assert not (await tags.clear(QA1, TagKind.LOCK_OUT, "over", OTHER)).done
    assert (await rig.operate(True)).gate == "tag"


async def test_a_clock_set_back_does_not_keep_the_first_word_for_a_removal_alive(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = tags_of(rig)
    await tags.set(QA1, TagKind.LOCK_OUT, "work", OPERATOR)
    await tags.clear(QA1, TagKind.LOCK_OUT, "over", OPERATOR)
    past = clock.now() - 3600 * clock.TICKS_PER_SECOND
    monkeypatch.setattr(clock, "now", lambda: past)
    assert not (await tags.clear(QA1, TagKind.LOCK_OUT, "over", OTHER)).done


async def test_a_command_from_the_future_is_no_younger_than_one_of_now(rig: Rig) -> None:
    issued = clock.now() + 3600 * clock.TICKS_PER_SECOND
    assert (await rig.operate(True, issued_at=issued)).gate == "age"
    assert rig.device.got == []


async def test_to_operate_without_a_value_is_not_to_close(rig: Rig) -> None:
    assert (await rig.operate(None)).gate == "value"
    assert rig.device.got == []


async def test_a_gate_that_fails_refuses_and_the_refusal_is_in_the_audit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any, **_more: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(desk_module.gates, "check", broken)
    outcome = await rig.operate(True, request_id="r1")
    assert (outcome.gate, outcome.sent, rig.device.got) == ("internal", False, [])
    assert [record.kind for record in await rig.audit.records()] == ["command.operate.outcome", "command.operate"]
    monkeypatch.undo()
    assert (await rig.operate(True, request_id="r1")).gate == "internal"


async def test_a_request_id_used_for_something_else_meanwhile_is_in_the_audit_as_well(rig: Rig) -> None:
    rig.device.delay = 0.1
    first = asyncio.create_task(rig.operate(True, request_id="r1"))
    while not rig.device.got:
        await asyncio.sleep(0.01)
    assert (await rig.operate(False, request_id="r1")).gate == "request"
    assert (await first).good
    statuses = [record.details.get("gate") for record in await rig.audit.records()]
    assert "request" in statuses


async def test_control_of_the_station_keeps_remote_commands_out(tmp_path: Path) -> None:
    names = (
        "QA1/CSWI1/Pos",
        "QA1/CSWI1/Loc",
        "QA1/CSWI1/LocSta",
        "QA1/CILO1/EnaOpn",
        "QA1/CILO1/EnaCls",
        "QA1/XCBR1/Pos",
    )
    rig = await build(tmp_path, names=names)
    try:
        rig.put("QA1/CSWI1/LocSta", 1)
        assert (await rig.operate(True)).gate == "local"
        assert (await rig.operate(False)).gate == "local"  # never skipped
        rig.put("QA1/CSWI1/LocSta", 0)
        assert (await rig.operate(True)).good
    finally:
        await rig.audit.close()


def test_rights_that_were_taken_away_are_gone_also_for_words_given_before() -> None:
    hash_ = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$abc"
    policy = UserPolicy(
        {"anna": User(password=hash_, roles=("Observer",)), "bert": User(password=hash_, roles=("Operator",))}
    )
    before = Caller("anna", frozenset({"Operator", "Supervisor"}))
    assert not policy.permits(before, Right.OPERATE, QA1)
    assert policy.permits(Caller("bert", frozenset({"Operator"})), Right.OPERATE, QA1)
    assert not policy.permits(Caller("bert", frozenset({"Observer"})), Right.OPERATE, QA1)
    assert not policy.permits(Caller("", frozenset({"Operator"})), Right.OPERATE, QA1)
    policy.close()


def test_an_area_does_not_allow_everywhere_when_no_address_is_named() -> None:
    hash_ = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$abc"
    policy = UserPolicy({"anna": User(password=hash_, roles=("Operator",), areas=("dso1/north",))})
    anna = Caller("anna", frozenset({"Operator"}))
    assert not policy.permits(anna, Right.OPERATE, "")
    assert policy.permits(anna, Right.BROWSE, "")
    policy.close()


async def test_a_tag_at_the_grids_name_of_a_switch_forbids_a_command_that_stands_elsewhere(rig: Rig) -> None:
    made = grid()
    elsewhere = f"{BAY}/QA9"
    item = made.equipment.pop("B1")
    made.equipment[elsewhere] = replace(item, address=elsewhere)
    positions = {**{key: value for key, value in BASE.items() if key != "B1"}, elsewhere: Position.OPEN}
    rig.desk.interlock = TwinInterlock(
        rig.table,
        made,
        tags_of(rig),
        policy=Roles(),
        audit=rig.audit,
        topology=Fixed(positions),  # type: ignore[arg-type]
    )
    await tags_of(rig).set(elsewhere, TagKind.LOCK_OUT, "work", OPERATOR)
    assert (await rig.operate(True)).gate == "tag"
    assert (await rig.operate(False)).gate == "tag"
