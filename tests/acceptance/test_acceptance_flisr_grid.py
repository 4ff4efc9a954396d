"""Failure cases of FLISR that concern more than one line: second faults, failed breakers, busbars, two feeders,
generation, missing loads, restarts. The 33-bus feeder with a neighbour, over IEC 61850 and 60870-5-104."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from peers.feeder.flisr_field import AREA, BREAKER, F2, HEAD, IED, OVER, FlisrField, bus, cubicle, line

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN, CLOSED = 1, 2
INFEED = f"{AREA}/PS01/MV1/E01/QA1/XCBR1/Pos"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FlisrField]:
    made = await FlisrField.make(tmp_path_factory.mktemp("two"), two_feeders=True)
    yield made
    await made.end()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: FlisrField) -> FlisrField:
    await running.fresh()
    return running


async def test_a_second_fault_of_the_feeder_aborts_begins_an_event_of_its_own_and_keeps_the_first_fault_in_mind(
    world: FlisrField,
) -> None:
    await world.half_way("L08")
    first = world.sequence()
    done = world.commanded()
    await world.fault("L26")
    await world.until(lambda: first.state.name in ("ABORTED", "IDLE"), 30)
    assert any("second fault" in text for text in world.events("F01"))
    await world.until(lambda: world.state() == "WAIT_CONFIRM" and world.sequence() is not first, 40)
    second = world.sequence()
    assert second.trigger.event != first.trigger.event
    assert second.faulted >= {line(8), line(26)}
    assert world.commanded() == done  # nothing goes on by itself


async def test_a_second_fault_on_the_neighbour_that_the_plan_leans_on_aborts_and_nothing_is_closed_onto_it(
    world: FlisrField,
) -> None:
    await world.half_way("L08")
    done = world.commanded()
    await world.fault("L20")
    await world.until(lambda: world.state() == "ABORTED", 30)
    await world.reach("WAIT_CONFIRM", feeder=F2)
    assert world.commanded() == done


async def test_after_a_breaker_failure_the_zones_of_the_breaker_belong_to_the_fault(world: FlisrField) -> None:
    await world.inject("stick", switch="F01/QA1")
    await world.fault("L03")
    await world.until(lambda: world.value(f"{IED}/RBRF1/OpEx") and world.value(INFEED) == OPEN)
    sequence = await world.reach("WAIT_CONFIRM", *OVER)
    zones = sequence.faulted
    assert {line(1), line(3)} <= zones
    assert any(zone.startswith(f"{AREA}/PS01/") for zone in zones)
    if sequence.offer is not None:
        steps = {step.address for step in sequence.offer.plan.steps if step.action == "close"}
        assert f"{HEAD}/QA1" not in steps
    assert not any(each.startswith("close") for each in world.commanded())


async def test_after_a_fault_of_the_busbar_no_feeder_is_restored_from_it(world: FlisrField) -> None:
    await world.inject("value", address=f"{AREA}/PS01/MV1/_/IED9/PDIF1/Op", value=True)
    for switch in ("E01/QA1", "F01/QA1", "F02/QA1"):
        await world.inject("move", switch=switch, position="open")
    for feeder in (HEAD, F2):
        sequence = await world.reach("BLOCKED", feeder=feeder)
        assert "busbar" in sequence.reason
    await asyncio.sleep(1.0)
    assert world.commanded() == []


async def test_of_two_feeders_that_trip_together_none_is_closed_towards_the_fault_of_the_other(
    world: FlisrField,
) -> None:
    await asyncio.gather(world.fault("L10"), world.fault("L21"))
    await world.reach("WAIT_CONFIRM")
    await world.reach("WAIT_CONFIRM", feeder=F2)
    for feeder in (HEAD, F2):
        await world.confirm(feeder)
        await world.reach(*OVER, "WAIT_CONFIRM", feeder=feeder)
    faulted = {line(10), line(21)}
    eye = world.flisr.eye
    supplied = {eye.network.zones[zone].address for zone in eye.supplied()}
    assert not faulted & supplied
    assert "S07" not in {text.split()[0] for text in world.events()}  # nothing was closed onto a fault
    assert sorted(world.commanded()) == sorted(set(world.commanded()))


async def test_a_fault_of_the_tie_line_trips_its_feeder_alone_and_the_tie_is_not_closed(world: FlisrField) -> None:
    # L35 hangs on bus 12 and is open at bus 22, of the other feeder.
    await world.fault("L35")
    sequence = await world.reach("WAIT_CONFIRM")
    assert sequence.location is not None
    assert line(35) in sequence.location.candidates
    await world.confirm()
    await world.reach("RESTORED", "PARTIAL")
    assert world.state(F2) == "IDLE"
    assert "close RMU22/C35" not in world.commanded()
    assert world.value(f"{F2}/QA1/XCBR1/Pos") == CLOSED


async def test_a_part_that_generation_keeps_alive_is_not_closed_onto_and_raises_the_alarm(world: FlisrField) -> None:
    # Generation that nobody has told of: the voltage detector of bus 13 still sees voltage when the feeder is off.
    await world.inject("value", address=f"{AREA}/RMU13/MV1/C12/_/SVPI1/Prs", value=True)
    await world.fault("L08")
    await world.confirm()
    sequence = await world.reach(*OVER)
    assert sequence.state.name == "BLOCKED", sequence.reason
    assert "voltage" in sequence.reason
    assert any("P09" in text for text in world.events("P09"))
    assert not {"close RMU22/C35", "close RMU15/C34", "close RMU33/C36"} & set(world.commanded())


async def test_where_a_load_has_no_estimate_an_automatic_feeder_only_advises(world: FlisrField) -> None:
    # The second consumer of RMU17 has neither a measurement nor a nominal load.
    await world.set_mode("auto")
    await world.fault("L28")
    sequence = await world.reach("WAIT_CONFIRM", *OVER)
    assert sequence.state.name == "WAIT_CONFIRM"
    assert "without an estimate" in sequence.degraded
    assert world.commanded() == []


async def test_a_restart_in_the_middle_is_blocked_shows_what_was_done_and_never_goes_on(world: FlisrField) -> None:
    await world.half_way("L08")
    done = world.commanded()
    event = world.sequence().trigger.event
    await world.stop()
    await world.start()
    sequence = await world.reach("BLOCKED")
    assert sequence.reason.startswith("restart")
    assert sequence.trigger.event == event
    shown = [
        f"{record.step.action} {'/'.join(record.step.address.split('/')[2::2][:2])}"
        for record in sequence.history
        if record.step.action in ("open", "close") and record.state == "done"
    ]
    assert shown == done
    await asyncio.sleep(2.0)
    assert (world.state(), world.commanded()) == ("BLOCKED", done)
    assert world.value(BREAKER) == CLOSED
    # A person may have a new plan made; it starts from what has been done.
    await world.call("Plan", HEAD)
    await world.confirm()
    await world.release_all()
    await world.reach("RESTORED", "PARTIAL")
    assert world.commanded()[: len(done)] == done
    assert sorted(world.commanded()) == sorted(set(world.commanded()))
    assert cubicle(8, 8) in [tag.address for tag in world.gateway.tags or ()]
    assert not world.stays_dead(7)
    assert bus(7) not in world.sequence().faulted
