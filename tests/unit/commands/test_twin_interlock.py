"""The gate twin-interlock: what the grid model forbids, with unknown positions both ways, and its override by two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from unit.commands.test_desk import BAY, OPERATOR, POS, Rig, build
from unit.commands.test_tags import OTHER, Roles, store

from address_space.ports import Caller
from address_space.quality import Quality, StatusCode
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagKind
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LineData,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
)
from twin_gateway.twin.interlock import Rule, SwitchingChecks, SwitchingState

ENGINEER = Caller("emil", frozenset({"Engineer"}))
OPEN, CLOSED, UNKNOWN = Position.OPEN, Position.CLOSED, Position.UNKNOWN


def switch(name: str, *nodes: str, kind: CimClass = CimClass.LOAD_BREAK_SWITCH, **rating: object) -> Equipment:
    return Equipment(name, kind, nodes, SwitchRating(**rating))  # type: ignore[arg-type]  # fields of the rating


def grid() -> Grid:
    """Two sources S1, S2; feeder S1 -B1- a -Q1- b -Q2- c -B2- S2; earthing switch E at b; disconnector D b to d."""
    made = Grid()
    made.add(ConnectivityNode(node, 12_660.0) for node in ("s1", "a", "b", "c", "s2", "d", "b2"))
    made.add(
        [
            Equipment("S1", CimClass.SOURCE, ("s1",), SourceData()),
            Equipment("S2", CimClass.SOURCE, ("s2",), SourceData()),
            switch("B1", "s1", "a", kind=CimClass.BREAKER, command=POS),
            switch("Q1", "a", "b"),
            Equipment("W", CimClass.LINE, ("b", "b2"), LineData(0.1, 0.1)),
            switch("Q2", "b2", "c"),
            switch("B2", "c", "s2", kind=CimClass.BREAKER),
            switch("E", "b", kind=CimClass.GROUND_DISCONNECTOR),
            switch("D", "b", "d", kind=CimClass.DISCONNECTOR, load_break=False),
            Equipment("LD", CimClass.LOAD, ("d",), LoadData(1e3, 0.0)),
        ]
    )
    return made


BASE = {"B1": CLOSED, "Q1": OPEN, "Q2": OPEN, "B2": OPEN, "E": OPEN, "D": CLOSED}


def rule(name: str, *, opening: bool = False, **changed: object) -> Rule | None:
    positions = {**BASE, **{key: value for key, value in changed.items() if key in BASE}}
    more = {key: value for key, value in changed.items() if key not in BASE}
    state = SwitchingState(positions, **more)  # type: ignore[arg-type]  # positions and fields of the state
    found = SwitchingChecks(grid()).check(name, opening=opening, state=state)
    if found is not None:
        assert name in found.text
    return None if found is None else found.rule


def test_closing_towards_a_dead_healthy_zone_is_allowed() -> None:
    assert rule("Q1") is None


@pytest.mark.parametrize("earth", [CLOSED, UNKNOWN])
def test_an_earthed_zone_is_not_energised_also_when_the_earthing_switch_is_not_known(earth: Position) -> None:
    assert rule("Q1", E=earth) is Rule.ENERGISES_EARTH


def test_joining_an_earthed_zone_with_a_dead_one_is_allowed_unless_that_one_may_be_live() -> None:
    assert rule("Q2", E=CLOSED) is None
    assert rule("Q2", E=CLOSED, B2=UNKNOWN) is Rule.ENERGISES_EARTH


def test_a_tagged_or_faulted_zone_is_not_energised() -> None:
    assert rule("Q1", tagged={"LD": "hot-line"}) is Rule.ENERGISES_TAG
    assert rule("Q1", tagged={"LD": "hot-line"}, D=OPEN) is None
    assert rule("Q1", tagged={"LD": "hot-line"}, D=UNKNOWN) is Rule.ENERGISES_TAG
    assert rule("Q1", earthed={"W": "portable earth"}) is Rule.ENERGISES_EARTH
    assert rule("Q1", faulted={"b": "event 1"}) is Rule.FEEDS_FAULT


def test_two_sources_are_not_tied_and_no_loop_is_closed_unless_that_switch_may() -> None:
    assert rule("Q2", Q1=CLOSED, B2=CLOSED) is Rule.PARALLELS
    assert rule("Q2", Q1=CLOSED, B2=UNKNOWN) is Rule.PARALLELS
    assert rule("Q2", Q1=CLOSED, B2=CLOSED, allow_parallel=frozenset({"Q2"})) is None


def test_a_loop_is_seen_also_through_a_switch_that_may_be_closed() -> None:
    ring = grid()
    ring.add([switch("Q3", "a", "b2")])
    state = SwitchingState({**BASE, "Q3": UNKNOWN})
    found = SwitchingChecks(ring).check("Q1", opening=False, state=state)
    assert found is not None
    assert found.rule is Rule.LOOPS


def test_a_loop_of_one_source_may_be_closed_for_a_transfer_two_sources_may_not_be_tied_so() -> None:
    ring = grid()
    ring.add([switch("Q3", "a", "b2")])
    state = SwitchingState({**BASE, "Q3": CLOSED}, allow_loop=frozenset({"Q1", "Q2"}))
    assert SwitchingChecks(ring).check("Q1", opening=False, state=state) is None
    assert rule("Q2", Q1=CLOSED, B2=CLOSED, allow_loop=frozenset({"Q2"})) is Rule.PARALLELS


def test_a_disconnector_is_not_opened_under_load() -> None:
    assert rule("D", opening=True, Q1=CLOSED) is Rule.OPENS_UNDER_LOAD
    assert rule("D", opening=True, Q1=UNKNOWN) is Rule.OPENS_UNDER_LOAD
    assert rule("D", opening=True) is None
    assert rule("D", opening=True, Q1=CLOSED, currents={"D": 0.2}) is None
    assert rule("D", opening=True, Q1=CLOSED, currents={"D": 12.0}) is Rule.OPENS_UNDER_LOAD
    assert rule("Q1", opening=True, Q1=CLOSED) is None


def test_a_live_zone_is_not_earthed() -> None:
    assert rule("E", Q1=CLOSED) is Rule.EARTHS_LIVE
    assert rule("E", Q1=UNKNOWN) is Rule.EARTHS_LIVE
    assert rule("E") is None


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path)
    made.desk.tags = await store(tmp_path, made.audit, made.events)
    made.desk.interlock = TwinInterlock(
        made.table,
        grid(),
        made.desk.tags,
        policy=Roles(),  # type: ignore[arg-type]  # only permits is needed
        audit=made.audit,
        topology=Fixed({**BASE, "B1": OPEN, "Q1": CLOSED}),
    )
    yield made
    await made.desk.tags.close()
    await made.audit.close()


class Fixed:
    def __init__(self, positions: dict[str, Position]) -> None:
        self.now = positions

    def positions(self) -> dict[str, Position]:
        return self.now


def interlock_of(rig: Rig) -> TwinInterlock:
    assert rig.desk.interlock is not None
    return rig.desk.interlock


def put_fault(rig: Rig) -> None:
    interlock_of(rig).faulted = lambda: {"W": "event 1"}


async def test_the_gate_refuses_with_its_name_and_the_addresses(rig: Rig) -> None:
    put_fault(rig)
    outcome = await rig.operate(True)
    assert (outcome.gate, outcome.status) == ("twin-interlock", StatusCode.BadInvalidState)
    assert "W (event 1)" in outcome.text
    assert rig.device.got == []


async def test_an_operator_opening_a_breaker_skips_it_an_automatic_function_does_not(rig: Rig) -> None:
    interlock = interlock_of(rig)
    interlock._grid.equipment["B1"] = switch("B1", "s1", "a", kind=CimClass.BREAKER, command=POS, load_break=False)
    assert isinstance(interlock._topology, Fixed)
    interlock._topology.now = {**BASE, "Q1": CLOSED}
    assert (await rig.operate(False, origin_category=6)).gate == "twin-interlock"
    assert (await rig.operate(False)).good
    assert rig.device.got[0].origin_category == 3


async def test_the_tag_gate_comes_before_and_one_of_n_before_the_interlock(rig: Rig) -> None:
    put_fault(rig)
    assert rig.desk.tags is not None
    rig.desk._busy[f"bay {BAY}"] = 1
    assert (await rig.operate(True)).gate == "1-of-n"
    await rig.desk.tags.set(f"{BAY}/QA1", TagKind.HOT_LINE, "work", OPERATOR)
    assert (await rig.operate(True)).gate == "tag"


async def test_the_interlock_comes_before_cilo(rig: Rig) -> None:
    put_fault(rig)
    rig.put("QA1/CILO1/EnaCls", 0)
    assert (await rig.operate(True)).gate == "twin-interlock"
    interlock_of(rig).faulted = dict
    assert (await rig.operate(True)).gate == "interlock"


async def test_engineer_and_operator_override_it_once_with_a_reason_each(rig: Rig) -> None:
    put_fault(rig)
    interlock = interlock_of(rig)
    assert (await interlock.approve(POS, True, "patrolled", OPERATOR))[0] == StatusCode.BadUserAccessDenied
    assert (await interlock.approve(POS, True, "", ENGINEER))[0] == StatusCode.BadInvalidArgument
    assert (await interlock.approve(POS, True, "patrolled", ENGINEER))[0] == StatusCode.Good
    assert (await rig.operate(True)).gate == "twin-interlock"  # no reason of the operator's own
    assert (await rig.operate(True, reason="try", origin_category=6)).gate == "twin-interlock"
    assert (await rig.operate(True, reason="try once")).good
    kinds = [record.kind for record in await rig.audit.records(3)]
    assert kinds == ["command.operate.outcome", "override.used", "command.operate"]
    assert (await rig.operate(True, reason="try again")).gate == "twin-interlock"


async def test_one_person_is_not_two(rig: Rig) -> None:
    put_fault(rig)
    both = Caller("emil", frozenset({"Engineer", "Operator"}))
    await interlock_of(rig).approve(POS, True, "patrolled", both)
    assert (await rig.operate(True, both, reason="try")).gate == "twin-interlock"
    assert (await rig.operate(True, OTHER, reason="try")).good


async def test_tags_and_earths_are_never_overridden(rig: Rig) -> None:
    interlock = interlock_of(rig)
    assert isinstance(interlock._topology, Fixed)
    interlock._topology.now["E"] = CLOSED
    await interlock.approve(POS, True, "patrolled", ENGINEER)
    outcome = await rig.operate(True, reason="try")
    assert (outcome.gate, "E is closed" in outcome.text) == ("twin-interlock", True)


async def test_positions_come_from_the_table_when_no_topology_is_given_and_not_good_is_unknown(rig: Rig) -> None:
    made = Grid()
    made.add(ConnectivityNode(node, 12_660.0) for node in ("s1", "a"))
    made.add([switch("B1", "s1", "a", kind=CimClass.BREAKER, position=POS), switch("F", "s1", "a", normal_open=True)])
    assert rig.desk.tags is not None
    interlock = TwinInterlock(rig.table, made, rig.desk.tags, policy=Roles(), audit=rig.audit)  # type: ignore[arg-type]
    assert interlock.state().positions == {"B1": OPEN, "F": OPEN}
    rig.put("QA1/CSWI1/Pos", 2, int(Quality.QUESTIONABLE))
    assert interlock.state().positions == {"B1": UNKNOWN, "F": OPEN}
