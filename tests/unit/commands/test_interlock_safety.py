"""Ways round the twin interlock: unknown ways, other command points, overrides used for what they were not given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.commands.test_desk import BAY, OPERATOR, POS, Rig, build, order
from unit.commands.test_tags import Roles, store
from unit.commands.test_twin_interlock import BASE, CLOSED, ENGINEER, OPEN, UNKNOWN, Fixed, grid, switch

from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Batch, Point, PointProfile
from address_space.ports import AuditRecord
from address_space.quality import StatusCode
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagKind, TagStore
from twin_gateway.commands.target import build_target
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.grid.model import CimClass, Grid, Measurement, Quantity
from twin_gateway.twin.interlock import Rule, SwitchingChecks, SwitchingState


def found(made: Grid, name: str, *, opening: bool = False, **state: Any) -> Rule | None:
    positions = {**BASE, **state.pop("positions", {})}
    violation = SwitchingChecks(made).check(name, opening=opening, state=SwitchingState(positions, **state))
    return None if violation is None else violation.rule


def ring() -> Grid:
    """The grid with a second way Q3 from a to b."""
    made = grid()
    made.add([switch("Q3", "a", "b2")])
    return made


@pytest.mark.parametrize("marks", ["tagged", "earthed"])
def test_a_zone_that_only_may_be_live_already_is_not_energised_when_it_is_tagged_or_earthed(marks: str) -> None:
    more = {"allow_parallel": frozenset({"Q1"}), "allow_loop": frozenset({"Q1"}), marks: {"W": "work"}}
    rule = Rule.ENERGISES_TAG if marks == "tagged" else Rule.ENERGISES_EARTH
    assert found(ring(), "Q1", positions={"Q3": UNKNOWN}, **more) is rule
    assert found(ring(), "Q1", positions={"Q3": CLOSED}, **more) is None  # it is live already
    assert found(ring(), "Q1", positions={"Q3": UNKNOWN, "B1": OPEN}, **more) is None  # nothing can energise it


def test_what_hangs_on_a_live_part_elsewhere_does_not_forbid_a_closing() -> None:
    assert found(ring(), "Q2", positions={"Q1": UNKNOWN, "D": OPEN}, tagged={"LD": "work"}, earthed={}) is None


def test_what_is_never_overridden_is_told_before_what_two_persons_may_override() -> None:
    made = grid()
    state = {"faulted": {"c": "event 1"}, "tagged": {"b": "work"}}
    both = {"Q1": UNKNOWN, "B2": UNKNOWN}
    assert found(made, "Q2", positions=both, **state) is Rule.ENERGISES_TAG
    mirrored = {"faulted": {"b": "event 1"}, "tagged": {"c": "work"}}
    assert found(made, "Q2", positions=both, **mirrored) is Rule.ENERGISES_TAG


# ---- at the desk -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path)
    made.desk.tags = await store(tmp_path, made.audit, made.events)
    put_interlock(made, grid(), {**BASE, "B1": OPEN, "Q1": CLOSED})
    yield made
    await made.desk.tags.close()
    await made.audit.close()


def put_interlock(rig: Rig, made: Grid, positions: dict[str, Any]) -> TwinInterlock:
    assert rig.desk.tags is not None
    interlock = TwinInterlock(
        rig.table,
        made,
        rig.desk.tags,
        policy=Roles(),  # type: ignore[arg-type]  # only permits is needed
        audit=rig.audit,
        topology=Fixed(positions),
    )
    interlock.faulted = lambda: {"W": "event 1"}
    rig.desk.interlock = interlock
    return interlock


def at_the_place() -> tuple[Grid, dict[str, Any]]:
    """The grid with B1 under the address of the bay's breaker."""
    made, name = grid(), f"{BAY}/QA1"
    made.equipment[name] = replace(made.equipment.pop("B1"), address=name)
    return made, {**{key: value for key, value in BASE.items() if key != "B1"}, name: OPEN, "Q1": CLOSED}


def add_target(rig: Rig, name: str) -> str:
    """One more commanded data object of the bay's breaker."""
    address = f"{BAY}/{name}"
    row = rig.table.find(address)
    if row < 0:
        (row,) = rig.table.add([Point(address, PointProfile.of(classify(parse(address))), "rtu1")])
    profile = rig.table.profile(row)
    rig.table.ingest(Batch.of([row], [0 if profile.cdc == "SPC" else 1]))
    bound = BoundPoint(row, address, profile.cdc, profile.value_type, {}, {"model": "direct-normal", "feedback": False})
    rig.desk.add([build_target(rig.table, bound, rig.device)])
    return address


async def test_a_second_command_point_of_the_same_switch_is_looked_at_too(rig: Rig) -> None:
    put_interlock(rig, *at_the_place())
    address = add_target(rig, "QA1/XCBR1/Pos")
    outcome = await rig.desk.operate(order(True, address=address), OPERATOR)
    assert (outcome.gate, rig.device.got) == ("twin-interlock", [])


async def test_a_switch_that_is_commanded_by_a_single_point_passes_tags_interlock_and_cilo(rig: Rig) -> None:
    address = add_target(rig, "QA1/GGIO1/SPCSO1")
    made = grid()
    made.equipment["B1"] = switch("B1", "s1", "a", kind=CimClass.BREAKER, command=address)
    interlock = put_interlock(rig, made, {**BASE, "B1": OPEN, "Q1": CLOSED})
    rig.desk._targets[address] = replace(rig.desk._targets[address], local=rig.desk._targets[POS].local)
    closing = order(True, address=address)
    assert (await rig.desk.operate(closing, OPERATOR)).gate == "twin-interlock"
    interlock.faulted = dict
    assert rig.desk.tags is not None
    await rig.desk.tags.set(f"{BAY}/QA1", TagKind.HOT_LINE, "work", OPERATOR)
    assert (await rig.desk.operate(order(True, address=address), OPERATOR)).gate == "tag"
    await rig.desk.tags.clear(f"{BAY}/QA1", TagKind.HOT_LINE, "over", OPERATOR)
    rig.put("QA1/CILO1/EnaCls", 0)
    assert (await rig.desk.operate(order(True, address=address), OPERATOR)).gate == "interlock"
    assert rig.device.got == []


@pytest.mark.parametrize("values", [[0.1, float("nan")], [float("nan"), 0.1]])
def test_a_current_that_is_no_number_is_not_known(rig: Rig, values: list[float]) -> None:
    points = [f"{BAY}/QA1/MMXU1/A/phs{phase}" for phase in "AB"]
    rows = rig.table.add([Point(point, PointProfile.of(classify(parse(point))), "rtu1") for point in points])
    rig.table.ingest(Batch.of(list(rows), values))
    made = grid()
    for point in points:
        made.measurements[point] = Measurement(point, Quantity.I, "B1")
    interlock = put_interlock(rig, made, BASE)
    assert interlock.state("B1").currents == {}


async def test_an_approval_is_for_the_rule_that_stood_when_it_was_given(rig: Rig) -> None:
    interlock = rig.desk.interlock
    assert interlock is not None
    assert (await interlock.approve(POS, True, "patrolled", ENGINEER))[0] == StatusCode.Good
    interlock.faulted = lambda: {"W": "event 2"}
    assert (await rig.operate(True, reason="try")).gate == "twin-interlock"
    interlock.faulted = lambda: {"W": "event 1"}
    assert (await rig.operate(True, reason="try")).good


async def test_nothing_is_approved_in_advance_nor_what_nobody_may_override(rig: Rig) -> None:
    interlock = rig.desk.interlock
    assert interlock is not None
    assert (await interlock.approve(POS, None, "patrolled", ENGINEER))[0] == StatusCode.BadInvalidArgument
    assert (await interlock.approve(POS, False, "patrolled", ENGINEER))[0] == StatusCode.BadInvalidState
    assert isinstance(interlock._topology, Fixed)
    interlock._topology.now["E"] = CLOSED
    assert (await interlock.approve(POS, True, "patrolled", ENGINEER))[0] == StatusCode.BadInvalidState
    assert not interlock._approvals


async def test_an_earth_that_is_laid_while_an_override_is_written_stops_the_command(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    interlock = rig.desk.interlock
    assert interlock is not None
    await interlock.approve(POS, True, "patrolled", ENGINEER)
    append = rig.audit.append

    async def slow(record: AuditRecord) -> None:
        await append(record)
        if record.kind == "override.used":
            assert isinstance(interlock, TwinInterlock)
            assert isinstance(interlock._topology, Fixed)
            interlock._topology.now["E"] = CLOSED

    monkeypatch.setattr(rig.audit, "append", slow)
    outcome = await rig.operate(True, reason="try")
    assert (outcome.gate, "E is closed" in outcome.text, rig.device.got) == ("twin-interlock", True, [])


async def test_a_command_that_grows_old_while_an_override_is_written_is_dropped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.desk._settings = replace(rig.desk._settings, max_age=0.2)
    interlock = rig.desk.interlock
    assert interlock is not None
    await interlock.approve(POS, True, "patrolled", ENGINEER)
    append = rig.audit.append

    async def slow(record: AuditRecord) -> None:
        if record.kind == "override.used":
            await asyncio.sleep(0.3)
        await append(record)

    monkeypatch.setattr(rig.audit, "append", slow)
    assert ((await rig.operate(True, reason="try")).gate, rig.device.got) == ("age", [])


async def test_closing_towards_a_tagged_line_is_s09_of_severity_900(rig: Rig) -> None:
    tags = rig.desk.tags
    assert isinstance(tags, TagStore)
    tags._exists = lambda _address: True
    await tags.set("W", TagKind.HOT_LINE, "work", OPERATOR)
    cursor = rig.events.cursor("test")
    assert (await rig.operate(True)).gate == "twin-interlock"
    assert [(event.code, event.severity) for event in cursor.take()] == [("S09", 900), ("S05", 500)]
