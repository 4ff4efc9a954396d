"""FLISR on a real table, desk, tags and journals: from a trip to restored supply, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from integration.flisr.flisr_rig import (
    AREA,
    EMIL,
    F1,
    F2,
    HEAD1,
    HEAD2,
    OLGA,
    OTTO,
    PAUL,
    SOFIA,
    TIE,
    Rig,
    automatic,
    confirmed,
    cubicle,
    line,
    make_grid,
)
from peers.loop_watch import LoopWatch

from address_space import clock
from address_space.addcause import AddCause
from address_space.ports import Command, Outcome, Verb
from address_space.quality import Quality, StatusCode
from twin_gateway.twin.flisr.states import Mode

Make = Callable[..., Awaitable[Rig]]
FULL = ["open RMU11/MV1/C12/QB1", "open RMU12/MV1/C12/QB1", "close PS01/MV1/F01/QA1", "close RMU13/MV1/C30/QB1"]
"""Fault on L12: isolate it, feed RMU11 from its own head and the rest over the tie."""


# ---- the good case ---------------------------------------------------------------------------------------------------


async def test_auto_locates_isolates_and_restores_through_the_desk(make: Make) -> None:
    rig = await automatic(await make())
    rig.fault(12)
    await rig.reach("RESTORED")
    assert sorted(rig.moved()[:2]) == sorted(FULL[:2])
    assert rig.moved()[2:] == FULL[2:]
    assert {command.origin_category for command in rig.field.got} == {6}
    located = await rig.outputs("Locate", F1)
    assert located["candidates"] == [line(12)]
    assert located["posterior"][0] > 0.95
    assert rig.field.got[0].point.address.endswith("GAPC1/SPCSO1")
    assert {tag.address for tag in rig.tags} == {cubicle(11, 12), cubicle(12, 12)}
    live = rig.field.live()
    assert {f"{AREA}/RMU{n}/MV1/_/CN1" for n in (11, 12, 13)} <= live
    records = await rig.audit.records()
    assert {record.user for record in records if record.kind == "command.operate"} == {"sofia"}


async def test_results_are_points_of_the_bay_and_the_area(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    await asyncio.sleep(0.2)

    def value(name: str) -> Any:
        return rig.table.value(rig.table.find(f"{F1}/_/twFLSR1/{name}"))

    assert (value("PlanSt"), value("Mod"), value("CusOut")) == (4, 2, 120)
    assert json.loads(value("FltSect"))[line(12)] > 0.95
    assert len(json.loads(value("IsoSteps"))) >= 2
    assert value("DeadW") > 0
    assert rig.table.value(rig.table.find(f"{AREA}/_/_/_/_/twFLSR1/FltSt")) == 1
    await confirmed(rig)
    await rig.reach("RESTORED")
    await asyncio.sleep(0.2)
    assert (value("PlanSt"), value("CusOut"), value("CusRst")) == (8, 0, 120)
    assert 0 < value("MAIFI") <= 1
    assert value("SAIFI") == 0


async def test_waiting_is_an_alarm_and_all_events_of_a_fault_share_its_id(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    rig.codes()
    waiting = [event for event in rig.told if event.code == "F01" and event.state == "active"]
    assert len(waiting) == 1
    event_id = (await rig.outputs("Locate", F1))["eventId"]
    assert {event.correlation for event in rig.told if event.code == "F01"} == {event_id}
    await confirmed(rig)
    rig.codes()
    assert [event.state for event in rig.told if event.code == "F01" and event.state != "event"] == [
        "active",
        "inactive",
    ]


async def test_indicators_are_reset_after_the_restoration(make: Make) -> None:
    rig = await automatic(await make())
    rig.fault(12)
    await rig.reach("RESTORED")
    await rig.until(lambda: any(command.point.address.endswith("IndRs") for command in rig.field.got))
    await asyncio.sleep(0.3)
    assert not any(rig.table.value(rig.table.find(each)) for each in rig.flisr.eye.network.grid.indicators)


# ---- methods and rights ----------------------------------------------------------------------------------------------


async def test_auto_is_set_by_a_supervisor_and_a_second_person(make: Make) -> None:
    rig = await make()
    assert (await rig.call("SetMode", F1, "auto", caller=OLGA)).status == StatusCode.BadUserAccessDenied
    first = await rig.call("SetMode", F1, "auto", caller=SOFIA)
    assert (first.status, first.outputs[0]) == (StatusCode.Good, False)
    await rig.call("SetMode", F1, "auto", caller=SOFIA)
    assert rig.flisr.cases.mode(F1) is Mode.ADVISE
    await rig.call("SetMode", F1, "auto", caller=OLGA)
    assert rig.flisr.cases.mode(F1) is Mode.AUTO


async def test_a_viewer_simulates_and_nothing_is_switched_but_may_do_no_more(make: Make) -> None:
    rig = await make()
    plan = await rig.outputs("Simulate", line(12), caller=OTTO)
    assert plan["status"] == StatusCode.Good
    assert f"{TIE}" in plan["address"]
    assert len(plan["n"]) == len(plan["action"]) == len(plan["reason"])
    assert (await rig.call("Simulate", "dso1/nowhere", caller=OTTO)).status == StatusCode.BadInvalidArgument
    assert (await rig.call("StartFlisr", F1, caller=OTTO)).status == StatusCode.BadUserAccessDenied
    assert (rig.moved(), rig.state()) == ([], "IDLE")


async def test_what_people_do_is_in_the_audit(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await confirmed(rig)
    await rig.call("Stop", F1, caller=PAUL)
    kinds = [(record.kind, record.user) for record in await rig.audit.records()]
    assert ("flisr.confirm", "olga") in kinds
    assert ("flisr.stop", "paul") in kinds


async def test_tags_are_set_and_cleared_by_method(make: Make) -> None:
    rig = await make()
    assert (await rig.outputs("SetTag", HEAD1, "lock-out", "work"))["done"] is True
    assert (await rig.call("SetTag", HEAD1, "sticker", "work")).status == StatusCode.BadInvalidArgument
    assert (await rig.outputs("ClearTag", HEAD1, "lock-out", "done"))["done"] is False
    assert (await rig.outputs("ClearTag", HEAD1, "lock-out", "seen", caller=PAUL))["done"] is True


async def test_monitor_and_off(make: Make) -> None:
    rig = await make(modes={F1: "monitor", F2: "off"})
    rig.fault(12)
    await rig.reach("LOCATED")
    rig.fault(22)
    await asyncio.sleep(1.0)
    assert (rig.state(F1), rig.state(F2), rig.moved()) == ("LOCATED", "IDLE", [])


# ---- what never begins an event --------------------------------------------------------------------------------------


async def test_a_manual_opening_and_load_shedding_begin_nothing(make: Make) -> None:
    rig = await make()
    outcome = await rig.desk.operate(Command(Verb.OPERATE, f"{HEAD1}/CSWI1/Pos", False, clock.now()), OLGA)
    assert outcome.good
    rig.field.put(f"{F1}/IED1/RREC1/AutoRecSt", 12)
    rig.field.put(f"{F2}/IED1/PTUF1/Op", 1)
    rig.fault(22)
    await asyncio.sleep(1.2)
    assert (rig.state(F1), rig.state(F2)) == ("IDLE", "IDLE")


async def test_successful_reclosing_begins_nothing(make: Make) -> None:
    rig = await make()
    rig.field.recloses = True
    rig.fault(12)
    rig.field.faults.clear()
    await asyncio.sleep(0.3)
    rig.field.closed[HEAD1] = True
    rig.field.tell()
    rig.field.put(f"{F1}/IED1/RREC1/AutoRecSt", 3)
    await asyncio.sleep(0.5)
    assert rig.state() == "IDLE"


async def test_a_duplicate_start_is_the_same_event(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    first = await rig.outputs("Locate", F1)
    again = await rig.outputs("StartFlisr", F1)
    assert (again["status"], again["eventId"]) == (StatusCode.Good, first["eventId"])
    rig.field.put(f"{F1}/IED1/PTRC1/Tr", 1)
    await asyncio.sleep(0.3)
    assert (await rig.outputs("Locate", F1))["eventId"] == first["eventId"]


# ---- indications -----------------------------------------------------------------------------------------------------


async def test_a_missing_indicator_widens_the_candidates_and_auto_asks(make: Make) -> None:
    rig = await automatic(await make())
    silent = f"{AREA}/RMU11/MV1/C12/_/SFPI1/FltInd"
    rig.field.put(silent, 0, int(Quality.COMM_LOST))
    rig.field.silent.add(silent)
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    located = await rig.outputs("Locate", F1)
    assert line(12) in located["candidates"]
    assert len(located["candidates"]) > 1
    assert rig.moved() == []


async def test_an_indication_that_was_not_reset_since_an_earlier_fault_is_ignored(make: Make) -> None:
    rig = await make(clock_tolerance=0.2)
    old = f"{AREA}/RMU12/MV1/C13/_/SFPI1/FltInd"
    rig.field.put(old, 1)
    rig.field.times[old] = clock.now()
    await asyncio.sleep(0.6)
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    case = rig.flisr.cases.case(F1)
    assert case is not None
    assert case.sequence.location is not None
    assert old in case.sequence.location.ignored
    assert next(iter(case.sequence.location.posterior)) == line(12)


# ---- switches, links, people -----------------------------------------------------------------------------------------


async def test_a_stuck_switch_is_tried_twice_and_the_boundary_moves(make: Make) -> None:
    rig = await automatic(await make())
    rig.field.stuck.add(cubicle(12, 12))
    rig.fault(12)
    await rig.until(lambda: rig.state() in ("RESTORED", "PARTIAL", "WAIT_CONFIRM", "BLOCKED"))
    moved = rig.moved()
    assert moved.count("open RMU12/MV1/C12/QB1") == 2
    assert "open RMU12/MV1/C13/QB1" in moved
    assert cubicle(12, 13) in {tag.address for tag in rig.tags}


async def test_a_tie_that_is_tagged_is_never_closed(make: Make) -> None:
    rig = await make()
    await rig.call("SetTag", TIE, "hot-line", "live work at the tie")
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    assert TIE not in (await rig.outputs("Plan", F1))["address"]
    await confirmed(rig)
    await rig.reach("PARTIAL")
    assert "close RMU13/MV1/C30/QB1" not in rig.moved()


async def test_a_tag_set_while_it_runs_aborts(make: Make) -> None:
    rig = await make(settle=1.5)
    rig.fault(12)
    await confirmed(rig)
    await rig.reach("RESTORING")
    await rig.call("SetTag", TIE, "lock-out", "stop", caller=PAUL)
    await rig.reach("ABORTED")
    assert "close RMU13/MV1/C30/QB1" not in rig.moved()


async def test_a_tagged_zone_is_not_energised_also_not_by_an_operator(make: Make) -> None:
    rig = await make()
    await rig.call("SetTag", f"{AREA}/RMU13/MV1/_/CN1", "portable-earth", "earthed for work")
    rig.fault(12)
    await confirmed(rig)
    await rig.until(lambda: rig.state() in ("PARTIAL", "RESTORED", "BLOCKED"))
    assert "close RMU13/MV1/C30/QB1" not in rig.moved()


async def test_lost_communication_holds(make: Make) -> None:
    rig = await make(settle=1.5)
    rig.fault(12)
    await confirmed(rig)
    await rig.reach("RESTORING")
    row = rig.table.find(f"{TIE}/XSWI1/Pos")
    rig.field.put(rig.table.address(row), 1, int(Quality.COMM_LOST))
    await rig.reach("BLOCKED")
    count = len(rig.moved())
    rig.field.put(rig.table.address(row), 1)
    await asyncio.sleep(0.6)
    assert (rig.state(), len(rig.moved())) == ("BLOCKED", count)


async def test_a_plan_input_that_changed_while_waiting_refuses_the_confirmation_and_offers_a_new_plan(
    make: Make,
) -> None:
    rig = await make(tick=1.0)
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    first = await rig.outputs("Plan", F1)
    rig.field.put(f"{TIE}/XSWI1/Pos", 0)
    answer = await rig.call("Confirm", first["planId"], first["hash"])
    assert answer.status == StatusCode.BadInvalidState
    await rig.until(lambda: rig.flisr.cases.case(F1).sequence.offer.id != first["planId"])  # type: ignore[union-attr]
    second = await rig.outputs("Plan", F1)
    assert TIE not in second["address"]
    assert rig.moved() == []


async def test_closed_onto_a_second_fault_opens_the_tie_again_and_asks(make: Make) -> None:
    rig = await automatic(await make())
    rig.fault(12)
    rig.field.faults.add(line(13))
    await rig.until(lambda: "open RMU13/MV1/C30/QB1" in rig.moved())
    assert "S07" in rig.codes()
    await rig.until(lambda: rig.state() in ("WAIT_CONFIRM", "BLOCKED", "PARTIAL"))
    assert rig.moved().count("close RMU13/MV1/C30/QB1") == 1
    assert not rig.field.closed[TIE]


async def test_a_second_fault_on_the_neighbour_aborts_and_is_its_own_event(make: Make) -> None:
    rig = await make(settle=1.5)
    rig.fault(12)
    await confirmed(rig)
    await rig.reach("RESTORING")
    rig.fault(22)
    await rig.until(lambda: rig.state(F1) == "ABORTED")
    await rig.reach("WAIT_CONFIRM", F2)
    assert "close RMU13/MV1/C30/QB1" not in rig.moved()


async def test_no_tie_is_closed_towards_the_fault_of_the_other_feeder(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    rig.fault(23)
    await rig.reach("WAIT_CONFIRM", F1)
    await rig.reach("WAIT_CONFIRM", F2)
    await confirmed(rig, F1)
    await rig.until(lambda: rig.state(F1) in ("PARTIAL", "RESTORED", "BLOCKED", "ABORTED", "WAIT_CONFIRM"))
    live = rig.field.live()
    assert not {node for number in (12, 23) for node in rig.field.grid.equipment[line(number)].nodes} & live


async def test_an_island_kept_alive_by_generation_is_not_closed_onto(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    rig.field.live_islands.add(f"{AREA}/RMU13/MV1/_/CN1")
    rig.field.tell()
    await confirmed(rig)
    await rig.reach("BLOCKED")
    assert "close RMU13/MV1/C30/QB1" not in rig.moved()
    assert "P09" in rig.codes()


async def test_breaker_failure_takes_the_zone_of_the_breaker_as_faulted(make: Make) -> None:
    rig = await make()
    rig.field.closed[HEAD2] = False
    rig.field.tell()
    rig.field.put(f"{F1}/IED1/PTRC1/Tr", 1)
    rig.field.put(f"{F1}/IED1/RBRF1/OpEx", 1)
    await rig.until(lambda: rig.state() in ("LOCATED", "WAIT_CONFIRM", "PARTIAL", "BLOCKED"))
    case = rig.flisr.cases.case(F1)
    assert case is not None
    assert line(11) in case.sequence.faulted
    assert len(case.sequence.faulted) >= 2


async def test_busbar_protection_blocks_the_restoration(make: Make) -> None:
    rig = await make()
    rig.field.put(f"{AREA}/PS01/MV1/_/IED9/PDIF1/Op", 1)
    rig.field.closed.update({HEAD1: False, HEAD2: False})
    rig.field.tell()
    await rig.reach("BLOCKED", F1)
    await rig.reach("BLOCKED", F2)
    assert rig.moved() == []


async def test_a_device_that_refuses_a_command_is_asked_once_more(make: Make) -> None:
    rig = await automatic(await make())
    address = f"{cubicle(11, 12)}/CSWI1/Pos"
    rig.field.refuse[address] = Outcome(
        StatusCode.BadInvalidState, AddCause.BLOCKED_BY_PROCESS, "device", "not now", sent=True
    )
    rig.fault(12)
    await rig.until(lambda: rig.moved().count("open RMU11/MV1/C12/QB1") == 2)


# ---- restart and return ----------------------------------------------------------------------------------------------


async def test_a_restart_in_the_middle_is_blocked_shows_what_was_done_and_does_not_go_on(
    make: Make, tmp_path: Path
) -> None:
    before = await automatic(await make(settle=2.0))
    before.fault(12)
    await before.reach("RESTORING")
    done = before.moved()
    before.task.cancel()
    await asyncio.gather(before.task, return_exceptions=True)
    after = await make(tmp_path, field_=before.field)
    assert after.state() == "BLOCKED"
    case = after.flisr.cases.case(F1)
    assert case is not None
    assert case.sequence.reason.startswith("restart")
    shown = [record.step.address for record in case.sequence.history if record.step.address != F1]
    assert shown[: len(done)] == [f"{AREA}/{each.partition(' ')[2]}" for each in done]
    await asyncio.sleep(1.0)
    assert after.moved() == done
    plan = await after.outputs("Plan", F1)
    assert plan["candidates"] == [line(12)]
    await confirmed(after)
    await after.reach("RESTORED")
    assert after.moved()[-1] == "close RMU13/MV1/C30/QB1"
    assert after.flisr.cases.mode(F1) is Mode.AUTO


async def test_return_to_normal_after_the_repair(make: Make) -> None:
    rig = await automatic(await make())
    rig.fault(12)
    await rig.reach("RESTORED")
    rig.field.faults.clear()
    for switch in (cubicle(11, 12), cubicle(12, 12)):
        assert (await rig.outputs("ClearTag", switch, "flisr", "repaired"))["done"]
    await rig.until(lambda: not any(rig.table.value(rig.table.find(each)) for each in rig.field.grid.indicators))
    count = len(rig.moved())
    await rig.call("ReturnToNormal", F1)
    await confirmed(rig)
    await rig.reach("IDLE")
    assert rig.field.closed == {item.address: not each.normal_open for item, each in rig.field.grid.switches()}
    assert len(rig.moved()) > count


async def test_an_override_of_the_faulted_zone_takes_an_engineer_and_an_operator(make: Make) -> None:
    rig = await make(modes={F1: "monitor"})
    rig.fault(11)
    await rig.reach("LOCATED")
    rig.field.faults.clear()
    address = f"{HEAD1}/CSWI1/Pos"

    async def close() -> Outcome:
        return await rig.desk.operate(Command(Verb.OPERATE, address, True, clock.now(), reason="patrolled"), OLGA)

    assert (await close()).gate == "twin-interlock"
    assert (await rig.outputs("ApproveOverride", address, True, "line patrolled", caller=EMIL))["done"] is True
    assert (await close()).good


async def test_the_event_loop_is_never_blocked_for_long(make: Make) -> None:
    rig = await automatic(await make())
    with LoopWatch() as watch:
        rig.fault(12)
        await rig.reach("RESTORED")
    assert watch.worst.cpu < 0.1, watch.report()


async def test_without_reclose_block_auto_only_advises(make: Make) -> None:
    rig = await automatic(await make(grid=make_grid(reclose_block="")))
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    case = rig.flisr.cases.case(F1)
    assert case is not None
    assert "reclosing cannot be blocked" in case.sequence.degraded


async def test_automatic_sequences_need_no_tag_no_inhibit_and_not_two_in_a_quarter_of_an_hour(make: Make) -> None:
    rig = await automatic(await make())
    await rig.call("Inhibit", True, "storm")
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    assert "storm" in rig.flisr.cases.case(F1).sequence.degraded  # type: ignore[union-attr]
