"""The command desk: every gate refuses with its name, nothing operates twice, the audit is written first."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from address_space import clock
from address_space.addcause import AddCause
from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.ports import AuditRecord, Caller, Command, Outcome, Right, Verb
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.commands.desk import CommandDesk, DeskSettings
from twin_gateway.commands.target import build_target
from twin_gateway.commands.value import command_value, device_value
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand

BAY = "dso1/north/PS01/MV1/F05"
POS = f"{BAY}/QA1/CSWI1/Pos"
OPERATOR = Caller("anna", frozenset({"Operator"}), "127.0.0.1:5", "s1")


class Policy:
    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return "Operator" in caller.roles


@dataclass
class Device:
    """A link whose device answers as told and moves its position."""

    table: PointTable
    row: int = 0
    name: str = "rtu1"
    answer: Outcome = field(default_factory=lambda: Outcome(0, sent=True))
    moves: bool = True
    delay: float = 0.0
    fails: Exception | None = None
    got: list[DeviceCommand] = field(default_factory=list)

    async def execute(self, command: DeviceCommand) -> Outcome:
        self.got.append(command)
        await asyncio.sleep(self.delay)
        if self.fails is not None:
            raise self.fails
        if self.answer.good and self.moves and command.verb is Verb.OPERATE:
            self.table.ingest(Batch.of([self.row], [float(command.value or 0)]))
        return self.answer


@dataclass
class Rig:
    table: PointTable
    device: Device
    desk: CommandDesk
    audit: AuditJournal
    events: EventJournal
    rows: dict[str, int]

    def put(self, name: str, value: float, quality: int = 0) -> None:
        self.table.ingest(Batch.of([self.rows[name]], [value], quality))

    async def operate(self, value: Any = True, caller: Caller = OPERATOR, **changes: Any) -> Outcome:
        return await self.desk.operate(order(value, **changes), caller)


def order(value: Any = True, **changes: Any) -> Command:
    return replace(Command(Verb.OPERATE, POS, value, clock.now()), **changes)


NAMES = ("QA1/CSWI1/Pos", "QA1/CSWI1/Loc", "QA1/CILO1/EnaOpn", "QA1/CILO1/EnaCls", "QA1/CSWI1/Beh", "QA1/XCBR1/Pos")


async def build(folder: Path, control: dict[str, Any] | None = None, names: tuple[str, ...] = NAMES) -> Rig:
    table, events = PointTable(), EventJournal()
    added = table.add(
        [Point(f"{BAY}/{name}", PointProfile.of(classify(parse(f"{BAY}/{name}"))), "rtu1") for name in names]
    )
    rows = dict(zip(names, added, strict=True))
    device = Device(table)
    point = table.profile(0)
    bound = BoundPoint(0, POS, "DPC", point.value_type, {}, control or {"model": "direct-normal"})
    audit = AuditJournal(folder / "audit.sqlite")
    await audit.open()
    settings = DeskSettings(feedback_timeout=0.2, min_interval=0.0)
    desk = CommandDesk(
        table,
        [build_target(table, bound, device)],
        policy=Policy(),
        audit=audit,
        events=events,
        settings=settings,  # type: ignore[arg-type]  # only permits is needed
    )
    rig = Rig(table, device, desk, audit, events, rows)
    for name, value in zip(NAMES, (1, 0, 1, 1, 1, 1), strict=True):
        if name in rows:
            rig.put(name, value)
    return rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path)
    yield made
    await made.audit.close()


async def test_a_confirmed_command_whose_position_follows_is_good_and_audited_before_and_after(rig: Rig) -> None:
    outcome = await rig.operate(reason="switching order 7")
    assert outcome.good
    assert outcome.command_id
    after, before = await rig.audit.records()
    assert (before.kind, after.kind) == ("command.operate", "command.operate.outcome")
    assert before.command_id == after.command_id == outcome.command_id
    assert before.user == "anna"
    assert before.details["reason"] == "switching order 7"
    assert rig.device.got[0].value == 2
    assert rig.device.got[0].origin.startswith(b"anna:")


@pytest.mark.parametrize(
    ("name", "value", "quality", "gate", "status"),
    [
        ("QA1/CSWI1/Beh", 2, 0, "mode", StatusCode.BadOutOfService),
        ("QA1/CSWI1/Pos", 1, int(Quality.QUESTIONABLE), "quality", StatusCode.BadInvalidState),
        ("QA1/CSWI1/Loc", 1, 0, "local", StatusCode.BadUserAccessDenied),
        ("QA1/CSWI1/Loc", 0, int(Quality.INVALID), "local", StatusCode.BadUserAccessDenied),
        ("QA1/CILO1/EnaCls", 0, 0, "interlock", StatusCode.BadInvalidState),
        ("QA1/CILO1/EnaCls", 1, int(Quality.OLD_DATA), "interlock", StatusCode.BadInvalidState),
    ],
)
async def test_each_gate_refuses_with_its_name_and_nothing_is_sent(
    rig: Rig, name: str, value: float, quality: int, gate: str, status: StatusCode
) -> None:
    cursor = rig.events.cursor("test")
    rig.put(name, value, quality)
    outcome = await rig.operate(True)
    assert (outcome.gate, outcome.status, outcome.sent) == (gate, status, False)
    assert rig.device.got == []
    assert [event.code for event in cursor.take()] == ["S05" if gate == "interlock" else "S06"]
    assert (await rig.audit.records(1))[0].details["gate"] == gate


async def test_an_observer_is_refused_at_the_role_gate(rig: Rig) -> None:
    outcome = await rig.operate(caller=Caller("otto", frozenset({"Observer"})))
    assert (outcome.gate, outcome.status) == ("role", StatusCode.BadUserAccessDenied)
    assert rig.device.got == []


async def test_opening_a_breaker_skips_quality_but_never_local_control_or_interlock(rig: Rig) -> None:
    rig.put("QA1/CSWI1/Pos", 2, int(Quality.QUESTIONABLE))
    await rig.operate(False)
    assert [command.value for command in rig.device.got] == [1]
    rig.put("QA1/CILO1/EnaOpn", 0)
    assert (await rig.operate(False)).gate == "interlock"
    rig.put("QA1/CSWI1/Loc", 1)
    assert (await rig.operate(False)).gate == "local"
    assert len(rig.device.got) == 1


async def test_what_is_not_mapped_refuses_unless_the_mapping_says_absent(tmp_path: Path) -> None:
    bare = await build(tmp_path / "a", names=("QA1/CSWI1/Pos",))
    refused = await bare.operate()
    assert (refused.gate, refused.status) == ("local", StatusCode.BadConfigurationError)
    assert "absent: [Loc]" in refused.text
    await bare.audit.close()
    control = {"model": "direct-normal", "absent": ("Loc", "CILO")}
    said = await build(tmp_path / "b", control, names=("QA1/CSWI1/Pos",))
    assert (await said.operate()).good
    assert (await said.audit.records(1))[0].details["notes"] == ["Loc: absent by mapping", "CILO: absent by mapping"]
    await said.audit.close()


async def test_an_old_command_is_dropped(rig: Rig) -> None:
    outcome = await rig.operate(issued_at=clock.now() - 3 * clock.TICKS_PER_SECOND)
    assert (outcome.gate, outcome.status) == ("age", StatusCode.BadTimeout)
    assert not outcome.sent
    assert rig.device.got == []


async def test_the_devices_refusal_comes_through_with_its_cause(rig: Rig) -> None:
    rig.device.answer = Outcome(
        StatusCode.BadInvalidState, AddCause.BLOCKED_BY_SYNCHROCHECK, "device", "no sync", sent=True
    )
    outcome = await rig.operate()
    assert (outcome.status, outcome.add_cause, outcome.gate) == (
        StatusCode.BadInvalidState, AddCause.BLOCKED_BY_SYNCHROCHECK, "device",
    )  # fmt: skip


async def test_a_confirmation_without_movement_is_an_unknown_outcome(rig: Rig) -> None:
    rig.device.moves = False
    outcome = await rig.operate()
    assert (outcome.status, outcome.gate, outcome.sent) == (StatusCode.BadTimeout, "feedback", True)
    assert len(rig.device.got) == 1


async def test_a_failing_driver_is_an_unknown_outcome_never_repeated(rig: Rig) -> None:
    rig.device.fails = RuntimeError("boom")
    outcome = await rig.operate()
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    assert "unknown" in outcome.text
    assert len(rig.device.got) == 1


async def test_one_command_at_a_time_in_a_bay(rig: Rig) -> None:
    rig.device.delay = 0.1
    first = asyncio.create_task(rig.operate(True))
    await asyncio.sleep(0.03)
    second = await rig.operate(True)
    assert (second.gate, second.add_cause) == ("1-of-n", AddCause.ONE_OF_N_CONTROL)
    assert (await first).good
    assert len(rig.device.got) == 1


async def test_a_repeated_request_id_gets_the_first_outcome_and_operates_once(rig: Rig) -> None:
    rig.device.delay = 0.05
    first, second = await asyncio.gather(rig.operate(request_id="r1"), rig.operate(request_id="r1"))
    third = await rig.operate(request_id="r1")
    assert first == second == third
    assert first.good
    assert len(rig.device.got) == 1
    assert (await rig.operate(False, request_id="r1")).gate == "request"


async def test_a_request_id_is_remembered_across_a_restart(tmp_path: Path) -> None:
    before = await build(tmp_path)
    first = await before.operate(request_id="r1")
    await before.audit.close()
    after = await build(tmp_path)
    assert await after.operate(request_id="r1") == first
    assert after.device.got == []
    await after.audit.close()


async def test_a_request_under_way_when_the_process_ended_is_unknown_and_not_repeated(tmp_path: Path) -> None:
    before = await build(tmp_path)
    record = AuditRecord(clock.now(), "command.operate", "anna", "", POS, "c1")
    await before.audit.begin_request("anna\x00r1", f"operate {POS} True test=False", record)
    await before.audit.close()
    after = await build(tmp_path)
    outcome = await after.operate(request_id="r1")
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    assert after.device.got == []
    await after.audit.close()


async def test_without_a_durable_audit_nothing_leaves(rig: Rig, tmp_path: Path) -> None:
    await rig.audit.close()
    assert rig.desk.controllable(POS)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await rig.audit.append(AuditRecord(0, "x", "", ""))
    outcome = await rig.operate()
    assert outcome.gate == "audit"
    assert rig.device.got == []
    rig.audit = AuditJournal(tmp_path / "audit.sqlite")
    await rig.audit.open()


async def test_a_client_that_goes_away_does_not_undo_the_audit_of_a_sent_command(rig: Rig) -> None:
    rig.device.delay = 0.05
    task = asyncio.create_task(rig.operate())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.2)
    assert [record.kind for record in await rig.audit.records()] == ["command.operate.outcome", "command.operate"]


@pytest.fixture
async def sbo(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path, {"model": "sbo-enhanced"})
    yield made
    await made.audit.close()


async def test_select_before_operate_needs_the_selection_of_the_same_session_and_value(sbo: Rig) -> None:
    assert (await sbo.operate()).add_cause == AddCause.OBJECT_NOT_SELECTED
    assert (await sbo.desk.select(order(True), OPERATOR)).good
    other = replace(OPERATOR, session="s2")
    assert (await sbo.operate(caller=other)).add_cause == AddCause.OBJECT_ALREADY_SELECTED
    assert (await sbo.operate(False)).add_cause == AddCause.INCONSISTENT_PARAMETERS
    assert (await sbo.operate(True)).good
    assert (await sbo.operate(True)).add_cause == AddCause.OBJECT_NOT_SELECTED
    assert [command.verb for command in sbo.device.got] == [Verb.SELECT, Verb.OPERATE]


async def test_cancel_gives_the_selection_back(sbo: Rig) -> None:
    await sbo.desk.select(order(True), OPERATOR)
    assert (await sbo.desk.cancel(order(None), OPERATOR)).good
    assert (await sbo.operate(True)).gate == "selection"


async def test_where_the_device_knows_its_model_a_selection_is_possible_but_not_asked_for(tmp_path: Path) -> None:
    rig = await build(tmp_path, {"model": "device"})
    assert (await rig.operate(True)).good
    assert (await rig.desk.select(order(False), OPERATOR)).good
    assert (await rig.operate(True)).add_cause == AddCause.INCONSISTENT_PARAMETERS
    await rig.audit.close()


async def test_a_direct_control_cannot_be_selected(rig: Rig) -> None:
    assert (await rig.desk.select(order(True), OPERATOR)).gate == "selection"


async def test_what_has_no_command_binding_is_not_supported(rig: Rig) -> None:
    outcome = await rig.operate(address=f"{BAY}/QA1/XCBR1/Pos")
    assert (outcome.gate, outcome.status) == ("binding", StatusCode.BadNotSupported)


@pytest.mark.parametrize("value", [3, 0, 1.5, "on"])
async def test_a_value_that_is_no_position_is_refused(rig: Rig, value: Any) -> None:
    outcome = await rig.operate(value)
    assert outcome.gate == "value"
    assert rig.device.got == []


def test_true_and_one_are_not_the_same_to_a_double_point() -> None:
    assert command_value("DPC", True) == 2
    assert command_value("DPC", 1) == 1
    assert command_value("DPC", False) == 1
    assert command_value("SPC", 1) is True
    with pytest.raises(ValueError, match="finite number"):
        command_value("APC", float("nan"))
    with pytest.raises(ValueError, match="finite number"):
        command_value("INC", True)


async def test_select_true_and_operate_one_contradict_each_other(sbo: Rig) -> None:
    await sbo.desk.select(order(True), OPERATOR)
    assert (await sbo.operate(1)).add_cause == AddCause.INCONSISTENT_PARAMETERS
    assert (await sbo.operate(2)).good


def test_values_go_to_the_device_in_its_own_terms() -> None:
    plain = PointProfile.of(classify(parse(f"{BAY}/QA1/CSWI1/Pos")))
    setpoint = PointProfile.of(classify(parse("dso1/north/PS01/LV1/G01/_/DGEN1/WSpt")))
    inverted, scaled = replace(plain, invert=True), replace(setpoint, gain=1000.0, bias=5.0)
    assert device_value("DPC", inverted, 2) == 1
    assert device_value("DPC", plain, 2) == 2
    assert device_value("SPC", inverted, True) is False
    assert device_value("APC", scaled, 2005.0) == 2.0
    assert device_value("INC", replace(plain, gain=0.1), 7) == 70
    assert device_value("APC", scaled, None) is None
    assert device_value("APC", replace(setpoint, gain=0.001), 4.35) == 4350.0


async def test_a_command_waits_while_the_mapping_of_its_point_is_changed_and_goes_where_it_says_then(rig: Rig) -> None:
    moved = Device(rig.table, name="rtu2")
    with rig.desk.under_way.holding({POS}, ()):
        asked = asyncio.create_task(rig.operate(True))
        await asyncio.sleep(0.05)
        assert rig.device.got == []
        bound = BoundPoint(0, POS, "DPC", rig.table.profile(0).value_type, {}, {"model": "direct-normal"})
        rig.desk.remove([POS])
        rig.desk.add([build_target(rig.table, bound, moved)])
    assert (await asked).good
    assert (len(rig.device.got), len(moved.got)) == (0, 1)


async def test_a_command_is_refused_when_the_mapping_of_its_link_is_changed_for_longer_than_it_lives(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.desk, "_settings", replace(rig.desk._settings, max_age=0.1))
    with rig.desk.under_way.holding((), {"rtu1"}):
        outcome = await rig.operate(True)
    assert (outcome.sent, outcome.good, rig.device.got) == (False, False, [])


async def test_who_changes_the_mapping_waits_for_the_outcome_of_commands_to_its_points_and_links(rig: Rig) -> None:
    rig.device.delay = 0.1
    under_way = rig.desk.under_way
    asked = asyncio.create_task(rig.operate(True))
    while not rig.device.got:
        await asyncio.sleep(0.005)
    assert await under_way.over({"another"}, {"rtu2"}, 1.0) == []
    assert not asked.done()
    assert await under_way.over({POS}, (), 0.01) == [POS]
    assert await under_way.over((), {"rtu1"}, 5.0) == []
    assert (await asked).good
