"""Failure cases of FLISR on the simulated 33-bus feeder over IEC 61850 and 60870-5-104: indicators, switches, links,
people, plans. One test a case; what the devices were told is counted at the devices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from peers.feeder.flisr_field import (
    AREA,
    BREAKER,
    HEAD,
    IED,
    OVER,
    PAUL,
    FlisrField,
    bus,
    cubicle,
    indicator,
    line,
)

from address_space.quality import StatusCode

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN, CLOSED = 1, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FlisrField]:
    made = await FlisrField.make(tmp_path_factory.mktemp("flisr"))
    yield made
    await made.end()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: FlisrField) -> FlisrField:
    await running.fresh()
    return running


async def located(world: FlisrField) -> tuple[str, ...]:
    sequence = await world.reach("WAIT_CONFIRM")
    assert sequence.location is not None
    return sequence.location.candidates


# ---- the plain case --------------------------------------------------------------------------------------------------


async def test_a_fault_is_located_isolated_and_restored_after_one_confirmation_and_nothing_is_operated_twice(
    world: FlisrField,
) -> None:
    await world.fault("L12")
    assert await located(world) == (line(12),)
    assert world.commanded() == []
    await world.confirm()
    await world.reach("RESTORED")
    assert world.commanded() == ["open RMU12/C12", "open RMU13/C12", "close PS01/F01", "close RMU15/C34"]
    assert not any(world.stays_dead(number) for number in (12, 13, 18, 33))
    assert [tag.address for tag in world.gateway.tags or ()] == [cubicle(12, 12), cubicle(13, 12)]


async def test_after_the_repair_the_grid_returns_to_its_normal_state(world: FlisrField) -> None:
    await world.fault("L12")
    await world.confirm()
    await world.reach("RESTORED")
    await world.inject("clear")
    await world.call("ReturnToNormal", HEAD)
    kept = await world.reach("REPAIR")
    await world.until(lambda: "tag" in kept.reason)  # the tags of the isolation still stand
    for switch in (cubicle(12, 12), cubicle(13, 12)):
        assert (await world.call("ClearTag", switch, "flisr", "repaired"))["done"]
    count = len(world.commanded())
    await world.call("ReturnToNormal", HEAD)
    await world.confirm()
    await world.reach("IDLE")
    eye = world.flisr.eye
    assert eye.positions() == eye.network.grid.normal_positions()
    assert sorted(world.commanded()[count:]) == ["close RMU12/C12", "close RMU13/C12", "open RMU15/C34"]
    await world.until(lambda: not world.value(f"{HEAD}/QA1/GGIO1/SPCSO1"))


# ---- indicators ------------------------------------------------------------------------------------------------------


async def test_missing_invalid_and_unreachable_indicators_give_no_term_and_widen_the_candidates(
    world: FlisrField,
) -> None:
    await world.inject("value", address=indicator(8, 7), value=False, quality="invalid")
    await world.inject("value", address=indicator(8, 8), value=False, quality="old")
    await world.inject("lose", device="rtu-rmu05")
    await world.fault("L08")
    assert set(await located(world)) == {line(7), bus(8), line(8)}
    location = world.sequence().location
    assert location is not None
    assert {indicator(8, 7), indicator(8, 8), indicator(5, 4), indicator(5, 5)} <= location.ignored.keys()


async def test_a_false_indication_is_outvoted_and_told_as_implausible(world: FlisrField) -> None:
    await world.fault("L08")
    await world.until(lambda: world.value(BREAKER) == OPEN)
    await world.inject("lie", indicator="RMU25/MV1/C24", shows="on")
    assert await located(world) == (line(8),)
    assert any(f"FpiImplausible({indicator(25, 24)})" in text for text in world.events("F01"))


async def test_an_indicator_that_was_not_reset_since_an_earlier_fault_is_ignored(world: FlisrField) -> None:
    await world.inject("lie", indicator="RMU25/MV1/C24", shows="on")
    await world.until(lambda: world.value(indicator(25, 24)))
    await asyncio.sleep(3.0)  # more than the tolerance of clocks
    await world.fault("L08")
    assert await located(world) == (line(8),)
    location = world.sequence().location
    assert location is not None
    assert location.ignored[indicator(25, 24)] == "older than the trip"


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
async def test_with_a_bad_clock_an_indication_goes_by_its_arrival_and_the_result_says_so(
    world: FlisrField, offset: float
) -> None:
    await world.inject("clock", device="rtu-rmu08", offset=offset)
    await world.fault("L08")
    assert await located(world) == (line(8),)
    sequence = world.sequence()
    assert sequence.location is not None
    assert sequence.location.by_arrival
    assert "order of arrival" in next(why for state, _, why in sequence.stamps if state.name == "LOCATED")


# ---- switches --------------------------------------------------------------------------------------------------------


async def test_a_switch_that_does_not_open_is_tried_twice_and_the_boundary_moves_outward(world: FlisrField) -> None:
    await world.inject("stick", switch="RMU12/MV1/C12/QB1")
    await world.fault("L12")
    await world.confirm()
    await world.until(lambda: cubicle(12, 12) in world.sequence().blocked, 40)
    assert world.commanded() == ["open RMU12/C12"] * 2
    await world.confirm()
    await world.reach("PARTIAL", "RESTORED")
    assert world.commanded().count("open RMU12/C12") == 2
    assert "open RMU12/C11" in world.commanded()
    assert world.value(f"{cubicle(12, 12)}/XSWI1/Pos") == CLOSED
    assert world.stays_dead(12)
    assert not world.stays_dead(13)


async def test_a_tie_that_does_not_close_is_tried_twice_and_another_one_is_taken(world: FlisrField) -> None:
    await world.inject("stick", switch="RMU33/MV1/C36/QB1")
    await world.fault("L16")
    first = await world.reach("WAIT_CONFIRM")
    assert first.offer is not None
    tie = cubicle(33, 36)
    assert tie in [step.address for step in first.offer.plan.steps]
    await world.confirm()
    await world.until(lambda: tie in world.sequence().blocked, 40)
    assert world.commanded().count("close RMU33/C36") == 2
    sequence = await world.reach("WAIT_CONFIRM", *OVER)
    assert sequence.offer is not None
    assert tie not in [step.address for step in sequence.offer.plan.steps]
    assert world.commanded().count("close RMU33/C36") == 2


@pytest.mark.parametrize("how", ["intermediate", "bad"])
async def test_a_tie_whose_position_is_not_known_is_not_used(world: FlisrField, how: str) -> None:
    position = f"{cubicle(15, 34)}/XSWI1/Pos"
    force = {"value": 0} if how == "intermediate" else {"value": 1, "quality": "invalid"}
    await world.inject("value", address=position, **force)
    await world.until(lambda: world.flisr.eye.position(cubicle(15, 34)) == 0)
    await world.fault("L12")
    sequence = await world.reach("WAIT_CONFIRM")
    assert sequence.offer is not None
    steps = [step.address for step in sequence.offer.plan.steps]
    assert cubicle(15, 34) not in steps
    await world.confirm()
    await world.reach("PARTIAL", "RESTORED")
    assert "close RMU15/C34" not in world.commanded()
    # Whether it is open or closed: bus 15 may not be fed from there and from elsewhere at the same time.
    assert world.stays_dead(15)


# ---- links and people ------------------------------------------------------------------------------------------------


async def test_a_link_that_is_lost_in_the_middle_stops_and_holds_and_nothing_goes_on_by_itself(
    world: FlisrField,
) -> None:
    await world.half_way("L12")
    await world.inject("lose", device="rtu-rmu15")
    sequence = await world.reach("BLOCKED", "ABORTED", seconds=60)
    assert "RMU15" in sequence.reason
    held = world.commanded()
    assert "open RMU12/C12" in held
    await world.inject("restore", device="rtu-rmu15")
    await world.until(lambda: not world.gateway.health()[1]["links_down"], 25)
    await asyncio.sleep(1.0)
    assert (world.state(), world.commanded()) == (sequence.state.name, held)
    assert any("Blocked" in text for text in world.events("F01"))


async def test_what_people_have_tagged_is_never_closed_nor_energised_in_any_mode_by_nobody(world: FlisrField) -> None:
    tagged = {cubicle(15, 34): "hot-line", cubicle(33, 36): "lock-out", bus(18): "portable-earth"}
    for address, kind in tagged.items():
        assert (await world.call("SetTag", address, kind, "people at work"))["done"]
    await world.set_mode("auto")
    await world.fault("L12")
    sequence = await world.reach("WAIT_CONFIRM")
    assert "tag" in sequence.degraded  # with a tag in the area nothing runs by itself
    assert sequence.offer is not None
    assert not {cubicle(15, 34), cubicle(33, 36)} & {step.address for step in sequence.offer.plan.steps}
    await world.confirm()
    await world.reach("PARTIAL", *OVER)
    for switch in (cubicle(15, 34), cubicle(33, 36)):
        outcome = await world.operate(switch, close=True)
        assert (outcome.good, outcome.sent, outcome.gate) == (False, False, "tag")
    assert not {"close RMU15/C34", "close RMU33/C36"} & set(world.commanded())
    assert world.stays_dead(18)


async def test_a_plan_whose_inputs_have_changed_cannot_be_confirmed_and_a_new_one_is_offered(world: FlisrField) -> None:
    await world.fault("L12")
    await world.reach("WAIT_CONFIRM")
    stale = await world.call("Plan", HEAD)
    await world.inject("move", switch="RMU33/MV1/C36/QB1", position="closed")
    await world.until(lambda: world.value(f"{cubicle(33, 36)}/XSWI1/Pos") == CLOSED)
    answer = await world.call("Confirm", stale["planId"], stale["hash"])
    assert answer["status"] == StatusCode.BadInvalidState
    await world.until(lambda: world.sequence().offer and world.sequence().offer.id != stale["planId"])
    await world.reach("WAIT_CONFIRM")
    assert world.commanded() == []


async def test_one_fault_is_one_event_however_often_it_is_told_or_started(world: FlisrField) -> None:
    await world.fault("L12")
    event = (await world.reach("WAIT_CONFIRM")).trigger.event
    for caller in (None, PAUL):
        again = await (world.call("StartFlisr", HEAD, caller=caller) if caller else world.call("StartFlisr", HEAD))
        assert (again["status"], again["eventId"]) == (StatusCode.Good, event)
    noted = world.last_trip()
    await world.inject("value", address=f"{IED}/PTRC1/Tr", value=True)
    await world.until(lambda: world.last_trip() != noted)
    await world.inject("value", address=f"{IED}/PTRC1/Tr")
    plan = await world.call("Plan", HEAD)
    both = await asyncio.gather(*(world.call("Confirm", plan["planId"], plan["hash"]) for _ in range(2)))
    assert {answer["status"] for answer in both} <= {StatusCode.Good, StatusCode.BadInvalidState}
    if all(answer["status"] for answer in both):
        await world.confirm()
    await world.reach("RESTORED")
    assert world.sequence().trigger.event == event
    assert sorted(world.commanded()) == sorted(set(world.commanded()))


async def test_the_whole_sequence_of_an_automatic_feeder_takes_seconds_and_asks_nobody(world: FlisrField) -> None:
    await world.set_mode("auto")
    began = time.monotonic()
    await world.fault("L28")
    sequence = await world.reach("RESTORED", "WAIT_CONFIRM", "PARTIAL", "BLOCKED")
    assert sequence.state.name == "RESTORED", (sequence.degraded, sequence.reason)
    assert time.monotonic() - began < 60
    assert world.commanded() == ["open RMU28/C28", "open RMU29/C28", "close PS01/F01", "close RMU29/C37"]
    assert sequence.location is not None
    assert f"{AREA}/L28" in sequence.location.candidates[0]
