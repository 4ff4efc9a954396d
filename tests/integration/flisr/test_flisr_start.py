"""The start of FLISR: what it remembers, what it lets through before it knows, and a trip that nobody watched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from integration.flisr.flisr_rig import F1, HEAD1, OLGA, SOFIA, TIE, Rig, automatic, build, confirmed, line

from address_space import clock
from address_space.ports import Command, Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.functions.flisr.journal import FlisrJournal
from twin_gateway.twin.flisr.states import Cause

Make = Callable[..., Awaitable[Rig]]


async def ended(rig: Rig) -> Rig:
    """The gateway is gone; the field stays."""
    rig.task.cancel()
    await asyncio.gather(rig.task, return_exceptions=True)
    return rig


async def close(rig: Rig, switch: str) -> Outcome:
    command = Command(Verb.OPERATE, f"{switch}/CSWI1/Pos", True, clock.now(), reason="by hand")
    return await rig.desk.operate(command, OLGA)


# ---- what is remembered ----------------------------------------------------------------------------------------------


async def test_inhibit_and_presence_survive_a_restart(make: Make) -> None:
    first = await automatic(await make(presence=3600.0))
    await first.call("Presence")
    await first.call("Inhibit", True, "storm")
    until = first.flisr.cases.leave.present_until
    await ended(first)
    second = await make(presence=3600.0, field_=first.field)
    second.fault(12)
    await second.reach("WAIT_CONFIRM")
    case = second.flisr.cases.case(F1)
    assert case is not None
    assert "inhibited: storm" in case.sequence.degraded
    assert "no operator" not in case.sequence.degraded
    assert second.flisr.cases.leave.present_until == pytest.approx(until, abs=60.0)
    assert second.moved() == []


async def test_an_inhibit_that_was_lifted_stays_lifted_and_a_presence_is_never_longer_than_set_now(make: Make) -> None:
    first = await make(presence=3600.0)
    await first.call("Presence")
    await first.call("Inhibit", True, "storm")
    await first.call("Inhibit", False, "")
    await ended(first)
    second = await make(presence=10.0, field_=first.field)
    cases = second.flisr.cases
    assert cases.leave.inhibited == ""
    assert cases.now() < cases.leave.present_until + 10.0
    assert cases.leave.present_until <= cases.now() + 10.0


# ---- before the journal has been read --------------------------------------------------------------------------------


async def test_before_the_journal_has_been_read_nothing_is_closed_and_nobodys_word_is_taken(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await make()
    first.fault(12)
    await first.reach("WAIT_CONFIRM")
    await ended(first)
    go_on, events = asyncio.Event(), FlisrJournal.events

    async def slow(journal: FlisrJournal) -> object:
        await go_on.wait()
        return await events(journal)

    monkeypatch.setattr(FlisrJournal, "events", slow)
    said: list[object] = []

    async def early(rig: Rig) -> None:
        said.extend([(await close(rig, switch)).gate for switch in (HEAD1, TIE)])
        said.extend([(await rig.call(name, *given)).status for name, given in (("Stop", (F1,)), ("Presence", ()))])
        go_on.set()

    tasks: list[asyncio.Task[None]] = []
    second = await make(field_=first.field, before=lambda rig: tasks.append(asyncio.create_task(early(rig))))
    await asyncio.gather(*tasks)
    assert said == ["twin-interlock"] * 2 + [StatusCode.BadOutOfService] * 2
    assert (second.state(), list(second.flisr.cases.faulted())) == ("BLOCKED", [line(12)])
    assert second.moved() == []


# ---- a trip that nobody watched --------------------------------------------------------------------------------------


async def test_a_trip_between_the_start_and_the_first_round_begins_an_event_that_runs_not_by_itself(
    make: Make,
) -> None:
    first = await automatic(await make())
    await ended(first)
    second = await make(field_=first.field, before=lambda rig: rig.fault(12))
    await second.reach("WAIT_CONFIRM")
    case = second.flisr.cases.case(F1)
    assert case is not None
    assert (case.sequence.trigger.cause, case.sequence.location and case.sequence.location.candidates) == (
        Cause.TRIP, (line(12),),
    )  # fmt: skip
    assert "found at the start" in case.sequence.degraded
    assert second.moved() == []
    await confirmed(second)
    await second.reach("RESTORED")


async def test_a_restart_while_the_lockout_is_waited_for_does_not_lose_the_trip(make: Make) -> None:
    first = await make(lockout=30.0)
    first.fault(12)
    await asyncio.sleep(0.5)
    assert first.state() == "IDLE"
    await ended(first)
    second = await make(field_=first.field)
    second.field.put(f"{F1}/IED1/RREC1/AutoRecSt", 10)
    await second.reach("WAIT_CONFIRM")


async def test_a_first_start_takes_the_same_trip_for_one(make: Make) -> None:
    rig = await make(before=lambda rig: rig.fault(12))
    await rig.reach("WAIT_CONFIRM")


async def test_what_has_been_open_for_long_and_what_was_handled_before_begins_nothing(make: Make) -> None:
    first = await make()
    first.fault(12)
    await first.reach("WAIT_CONFIRM")
    event = (await first.outputs("Locate", F1))["eventId"]
    await first.call("Stop", F1)
    from_supervisor = await first.call("EndEvent", F1, event, "handled", caller=SOFIA)
    assert from_supervisor.status == StatusCode.Good
    await first.until(lambda: first.flisr.cases.case(F1) is None)
    await asyncio.sleep(0.2)
    await ended(first)
    second = await make(field_=first.field)
    await asyncio.sleep(0.8)
    assert (second.state(), second.flisr.cases.faulted()) == ("IDLE", {})


async def test_an_opening_by_command_before_the_restart_begins_nothing(make: Make) -> None:
    first = await make()
    command = Command(Verb.OPERATE, f"{HEAD1}/CSWI1/Pos", False, clock.now(), reason="work")
    assert (await first.desk.operate(command, OLGA)).good
    first.field.put(f"{F1}/IED1/RREC1/AutoRecSt", 12)
    await asyncio.sleep(0.3)
    await ended(first)
    second = await make(field_=first.field)
    second.field.put(f"{F1}/IED1/RREC1/AutoRecSt", 12)
    await asyncio.sleep(0.8)
    assert second.state() == "IDLE"


# ---- its process -----------------------------------------------------------------------------------------------------


async def test_planning_does_not_give_way_to_other_processes(tmp_path: Path) -> None:
    rig = await build(tmp_path)
    try:
        assert await rig.flisr._worker.run(os.nice, 0) == os.nice(0)
    finally:
        await rig.stop()
