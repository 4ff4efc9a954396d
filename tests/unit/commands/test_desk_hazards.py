"""The command desk where things go wrong: disks, restarts, other devices' scales, test mode, what runs meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from unit.commands.test_desk import BAY, NAMES, OPERATOR, POS, Rig, build, order

from address_space import clock
from address_space.addcause import AddCause
from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Batch, Point, PointProfile
from address_space.ports import Outcome, Verb
from address_space.quality import Quality, StatusCode
from twin_gateway.commands.desk import DeskSettings
from twin_gateway.commands.target import build_target
from twin_gateway.commands.value import command_value, device_value
from twin_gateway.drivers.contract import BoundPoint

TEST_MODE = int(Quality.TEST)
Make = Callable[..., Any]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Builds rigs; closes their journals."""
    made: list[Rig] = []

    async def one(model: str = "direct-normal", **control: Any) -> Rig:
        made.append(await build(tmp_path / str(len(made)), {"model": model, **control}))
        return made[-1]

    yield one
    for rig in made:
        await rig.audit.close()


class FullDisk:
    """A database whose first COMMIT fails, as on a full disk, and leaves its transaction open."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database, self._fails = database, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self._fails:
            self._fails = False
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(sql, *parameters)


async def refuse_writes(rig: Rig, on: bool) -> None:
    """Have the journal's disk refuse every write, or no more."""
    await rig.audit._database.run(lambda database: database.execute(f"PRAGMA query_only={'ON' if on else 'OFF'}"))


async def test_an_outcome_that_the_full_disk_refused_is_owed_and_nothing_else_leaves_before_it(make: Make) -> None:
    rig = await make()
    rig.device.delay = 0.1
    cursor = rig.events.cursor("test")
    command = asyncio.create_task(rig.operate(True, request_id="r1"))
    await asyncio.sleep(0.05)
    await refuse_writes(rig, True)
    first = await command
    assert first.good
    assert [event.code for event in cursor.take()] == ["G02"]
    refused = await rig.operate(False)
    assert (refused.gate, len(rig.device.got)) == ("audit", 1)
    await refuse_writes(rig, False)
    assert (await rig.operate(False)).good
    kinds = [(record.kind, record.command_id == first.command_id) for record in await rig.audit.records()]
    assert kinds[::-1] == [
        ("command.operate", True),
        ("command.operate.outcome", True),
        ("command.operate", False),
        ("command.operate.outcome", False),
    ]
    assert await rig.operate(True, request_id="r1") == first
    assert len(rig.device.got) == 2


async def test_a_failed_commit_does_not_block_the_journal_for_ever(make: Make) -> None:
    rig = await make()
    database = FullDisk(rig.audit._database._opened())
    rig.audit._database._connection = cast(sqlite3.Connection, database)
    assert (await rig.operate()).gate == "audit"
    assert rig.device.got == []
    assert (await rig.operate()).good


async def test_the_selection_is_spent_when_the_driver_fails(make: Make) -> None:
    rig = await make("sbo-enhanced")
    await rig.desk.select(order(True), OPERATOR)
    rig.device.fails = RuntimeError("boom")
    assert (await rig.operate(True)).sent
    rig.device.fails = None
    again = await rig.operate(True)
    assert (again.gate, again.add_cause) == ("selection", AddCause.OBJECT_NOT_SELECTED)
    assert [command.verb for command in rig.device.got] == [Verb.SELECT, Verb.OPERATE]


async def test_a_wait_that_the_driver_gave_up_is_an_unknown_outcome_in_the_audit(make: Make) -> None:
    rig = await make()
    rig.device.fails = asyncio.CancelledError()  # type: ignore[assignment]  # what a cancelled future raises
    outcome = await rig.operate(True)
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    assert [record.kind for record in await rig.audit.records()] == ["command.operate.outcome", "command.operate"]


async def test_an_emergency_opening_keeps_its_bay_taken_when_the_command_before_it_ends(make: Make) -> None:
    rig = await make()
    rig.device.delay = 0.1
    first = asyncio.create_task(rig.operate(True))
    await asyncio.sleep(0.05)
    opening = asyncio.create_task(rig.operate(False))
    await first
    third = await rig.operate(True)
    assert third.gate == "1-of-n"
    await opening
    assert [command.value for command in rig.device.got] == [2, 1]


async def test_operate_right_after_its_own_select_is_not_too_soon_where_the_device_knows_its_model(make: Make) -> None:
    rig = await make("device")
    rig.desk._settings = replace(rig.desk._settings, min_interval=5.0)
    assert (await rig.desk.select(order(True), OPERATOR)).good
    assert (await rig.operate(True)).good
    assert (await rig.operate(True)).gate == "rate"


async def test_a_device_in_test_mode_takes_test_commands_and_no_others(make: Make) -> None:
    rig = await make()
    for name, value in zip(NAMES, (1, 0, 1, 1, 3, 1), strict=True):
        rig.put(name, value, TEST_MODE)
    assert (await rig.operate(True, test=True)).good
    assert (await rig.operate(True)).gate == "mode"
    assert [command.test for command in rig.device.got] == [True]


async def test_a_device_in_service_takes_no_test_commands(make: Make) -> None:
    rig = await make()
    assert (await rig.operate(True, test=True)).gate == "mode"


async def test_other_points_in_test_quality_do_not_release_a_real_command(make: Make) -> None:
    rig = await make()
    rig.put("QA1/CILO1/EnaCls", 1, TEST_MODE)
    assert (await rig.operate(True)).gate == "interlock"
    rig.put("QA1/CSWI1/Loc", 0, TEST_MODE)
    assert (await rig.operate(True)).gate == "local"
    rig.put("QA1/CSWI1/Pos", 1, TEST_MODE)
    assert (await rig.operate(True)).gate == "quality"


@pytest.mark.parametrize("quality", [Quality.INVALID, Quality.COMM_LOST, Quality.QUESTIONABLE | Quality.OLD_DATA])
async def test_a_mode_that_is_not_known_is_no_permission(make: Make, quality: Quality) -> None:
    rig = await make()
    rig.put("QA1/CSWI1/Beh", 1, int(quality))
    assert (await rig.operate(True)).gate == "mode"
    assert (await rig.operate(False)).gate == "mode"
    assert rig.device.got == []


async def test_the_command_is_scaled_by_its_own_binding_not_by_that_of_the_value(make: Make) -> None:
    """Position from one device, command to another that has its states the other way round."""
    rig = await make()
    table = rig.table
    own = replace(table.profile(0), invert=True)
    bound = BoundPoint(0, POS, "DPC", own.value_type, {}, {"model": "direct-normal", "feedback": False})
    rig.desk.add([build_target(table, bound, rig.device, own)])
    rig.device.moves = False
    assert (await rig.operate(True)).good
    assert [command.value for command in rig.device.got] == [1]


async def test_the_mapped_time_of_a_slow_drive_reaches_the_device_and_its_supervisor(make: Make) -> None:
    rig = await make(timeout=45.0)
    await rig.operate(True, issued_at=clock.now() - clock.TICKS_PER_SECOND)
    (command,) = rig.device.got
    assert command.timeout == 45.0
    assert 0 < command.send_within <= 1.0


async def test_gates_see_points_that_are_added_later(make: Make, tmp_path: Path) -> None:
    rig = await build(tmp_path / "bare", {"model": "direct-normal", "absent": ("Loc", "CILO")}, ("QA1/CSWI1/Pos",))
    assert (await rig.operate(True)).good
    address = f"{BAY}/QA1/CSWI1/Loc"
    row = rig.table.add([Point(address, PointProfile.of(classify(parse(address))), "rtu1")])[0]
    rig.table.ingest(Batch.of([row], [1]))
    rig.desk.renew()
    assert (await rig.operate(True)).gate == "local"
    await rig.audit.close()


async def test_every_attempt_is_audited_also_those_that_are_answered_without_the_device(make: Make) -> None:
    rig = await make()
    first = await rig.operate(True, request_id="r1")
    assert await rig.operate(True, request_id="r1") == first
    assert (await rig.operate(False, request_id="r1")).gate == "request"
    records = await rig.audit.records()
    assert [record.kind for record in records[::-1]] == [
        "command.operate",
        "command.operate.outcome",
        "command.operate.repeated",
        "command.operate.outcome",
    ]
    assert records[1].details["first"] == first.command_id
    assert records[0].status == StatusCode.BadInvalidArgument
    assert len(rig.device.got) == 1


async def test_stopping_waits_for_the_outcome_under_way_and_takes_nothing_new(make: Make) -> None:
    rig = await make()
    rig.device.delay = 0.1
    command = asyncio.create_task(rig.operate(True))
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(rig.desk.drain())
    await asyncio.sleep(0)
    assert (await rig.operate(False)).gate == "stop"
    await stopping
    assert command.done() or (await command).good
    assert sorted(record.kind for record in await rig.audit.records()) == [
        *["command.operate"] * 2,
        *["command.operate.outcome"] * 2,
    ]
    assert len(rig.device.got) == 1


async def test_good_is_not_earlier_than_the_movement(make: Make) -> None:
    rig = await make()
    rig.device.moves = False
    rig.desk._settings = DeskSettings(feedback_timeout=2.0, min_interval=0.0)
    command = asyncio.create_task(rig.operate(True))
    for value, quality in ((0, 0), (2, int(Quality.QUESTIONABLE)), (3, 0), (2, int(Quality.COMM_LOST))):
        await asyncio.sleep(0.05)
        rig.put("QA1/CSWI1/Pos", value, quality)
        await asyncio.sleep(0.02)
        assert not command.done(), f"answered at {value} with quality {quality}"
    rig.put("QA1/CSWI1/Pos", 2)
    assert (await command).good


async def test_a_link_lost_during_a_command_leaves_it_unknown_and_not_repeated(make: Make) -> None:
    rig = await make()
    rig.device.moves = False
    command = asyncio.create_task(rig.operate(True))
    await asyncio.sleep(0.05)
    rig.table.link_lost("rtu1")
    outcome = await command
    assert (outcome.status, outcome.gate, outcome.sent) == (StatusCode.BadTimeout, "feedback", True)
    assert len(rig.device.got) == 1
    assert rig.desk.counters["unknown"] == 1


async def test_a_link_that_is_down_gets_nothing_later(make: Make) -> None:
    rig = await make()
    rig.device.answer = Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link")
    outcome = await rig.operate(True)
    assert (outcome.gate, outcome.sent) == ("link", False)
    rig.device.answer = Outcome(0, sent=True)
    await asyncio.sleep(0.1)
    assert len(rig.device.got) == 1


async def test_the_originator_always_ends_with_the_whole_command_id(make: Make) -> None:
    rig = await make()
    outcome = await rig.operate(True, caller=replace(OPERATOR, user="ü" * 60))
    origin = rig.device.got[0].origin
    assert len(origin) <= 64
    assert origin.endswith(b":" + outcome.command_id.encode())
    assert origin.partition(b":")[0].decode() == "ü" * 15


@pytest.mark.parametrize("absent", [(), ("Pos",)])
async def test_an_output_without_a_position_is_operated_only_where_the_mapping_says_so(
    make: Make, absent: tuple[str, ...]
) -> None:
    rig = await make()
    address = f"{BAY}/_/GGIO1/SPCSO1"
    profile = PointProfile.of(classify(parse(address)))
    row = rig.table.add([Point(address, profile)])[0]
    control = {"model": "direct-normal", "absent": ("Loc", *absent)}
    bound = BoundPoint(row, address, "SPC", profile.value_type, {}, control)
    rig.desk.add([build_target(rig.table, bound, rig.device)])
    rig.device.moves = False
    outcome = await rig.operate(True, address=address)
    assert outcome.gate == ("" if absent else "quality")
    assert len(rig.device.got) == len(absent)
    if absent:
        assert "Pos: absent by mapping" in (await rig.audit.records(1))[0].details["notes"]
    else:
        assert "absent: [Pos]" in outcome.text


async def test_a_position_that_is_mapped_is_asked_for_although_the_mapping_calls_it_absent(make: Make) -> None:
    rig = await make(absent=("Pos",))
    rig.put("QA1/CSWI1/Pos", 1, int(Quality.INVALID))
    assert (await rig.operate(True)).gate == "quality"


@pytest.mark.parametrize("cdc", ["INC", "ENC", "ISC", "BSC"])
def test_a_fraction_is_no_step(cdc: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        command_value(cdc, 1.7)
    assert command_value(cdc, 3.0) == 3


def test_a_value_between_two_steps_of_the_device_is_refused_instead_of_rounded() -> None:
    plain = PointProfile.of(classify(parse(f"{BAY}/QA1/CSWI1/Pos")))
    assert device_value("INC", replace(plain, gain=0.1), 7) == 70
    with pytest.raises(ValueError, match="between two steps"):
        device_value("INC", replace(plain, gain=2.0), 7)
    with pytest.raises(ValueError, match="too large"):
        device_value("APC", replace(plain, gain=1e-300), 1e300)
