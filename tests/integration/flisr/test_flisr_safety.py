"""What must not leave, or not without a word: steps nobody wants any more, stale plans, people without the right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from integration.flisr.flisr_rig import (
    F1,
    HEAD1,
    OLGA,
    OTTO,
    PAUL,
    SOFIA,
    TIE,
    Rig,
    Roles,
    automatic,
    build,
    confirmed,
    cubicle,
    line,
)
from peers.waiting import patient

from address_space import clock
from address_space.ports import Caller, Command, Right, Verb
from address_space.quality import StatusCode
from twin_gateway.commands.tags import TagKind
from twin_gateway.functions.flisr.journal import FlisrJournal, StepEntry
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.twin.flisr.states import MakePlan, Offer

Make = Callable[..., Awaitable[Rig]]


async def confirm(rig: Rig, caller: Caller = OLGA) -> int:
    await rig.reach("WAIT_CONFIRM")
    offered = await rig.outputs("Plan", F1)
    return (await rig.call("Confirm", offered["planId"], offered["hash"], caller=caller)).status


async def test_a_step_that_is_stopped_while_it_is_written_down_does_not_leave(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make()
    written, go_on, put = asyncio.Event(), asyncio.Event(), FlisrJournal.put_step

    async def slow(journal: FlisrJournal, entry: StepEntry) -> None:
        await put(journal, entry)
        if "status" not in entry.body:
            written.set()
            await go_on.wait()

    monkeypatch.setattr(FlisrJournal, "put_step", slow)
    rig.fault(12)
    assert await confirm(rig) == StatusCode.Good
    await written.wait()
    await rig.call("Stop", F1)
    go_on.set()
    await asyncio.sleep(0.3)
    assert (rig.state(), rig.field.got) == ("ABORTED", [])


async def test_auto_does_not_carry_out_a_plan_from_before_a_tag_was_set(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make()
    await rig.call("SetMode", F1, "auto", caller=SOFIA)
    await rig.call("SetMode", F1, "auto", caller=PAUL)
    cases = rig.flisr.cases
    offer = cases.offers.make

    async def slow(case: Any, ask: MakePlan) -> tuple[Offer, str]:
        found = await offer(case, ask)
        await rig.tags.set(cubicle(13, 13), TagKind.HOT_LINE, "work", OLGA)
        return found

    monkeypatch.setattr(cases.offers, "make", slow)
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    assert rig.moved() == []


async def test_a_plan_is_confirmed_by_somebody_who_may_operate_all_its_switches(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make()
    permits = Roles.permits

    def scoped(self: Roles, caller: Caller, right: Right, address: str) -> bool:
        return permits(self, caller, right, address) and not (caller.user == "paul" and address.startswith(TIE))

    monkeypatch.setattr(Roles, "permits", scoped)
    rig.fault(12)
    assert await confirm(rig, PAUL) == StatusCode.BadUserAccessDenied
    assert rig.moved() == []
    assert await confirm(rig, OLGA) == StatusCode.Good
    await rig.reach("RESTORED")


async def test_a_fault_is_guarded_until_its_return_is_confirmed(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await confirm(rig)
    await rig.reach("RESTORED")
    rig.field.faults.clear()
    for switch in (cubicle(11, 12), cubicle(12, 12)):
        await rig.call("ClearTag", switch, "flisr", "repaired")
    await rig.call("ReturnToNormal", F1)
    await rig.reach("WAIT_CONFIRM")
    assert line(12) in rig.flisr.cases.faulted()
    async with patient(10.0):  # while passages are being reset the plan is made anew
        while await confirm(rig) != StatusCode.Good:
            await asyncio.sleep(0.1)
    await rig.reach("IDLE", seconds=20.0)
    assert line(12) not in rig.flisr.cases.faulted()


async def test_who_is_refused_is_in_the_audit_too(make: Make) -> None:
    rig = await make()
    assert (await rig.call("SetTag", TIE, "hot-line", "work", caller=OTTO)).status == StatusCode.BadUserAccessDenied
    assert (await rig.call("SetMode", F1, "auto", caller=OLGA)).status == StatusCode.BadUserAccessDenied
    assert (await rig.call("Inhibit", True, "storm\nforged")).status == StatusCode.BadInvalidArgument
    records = [(record.kind, record.user) for record in await rig.audit.records(3)]
    assert records[::-1] == [
        ("flisr.SetTag.refused", "otto"),
        ("flisr.SetMode.refused", "olga"),
        ("flisr.Inhibit.refused", "olga"),
    ]


async def step_by_step(rig: Rig) -> str:
    """A confirmed plan whose steps wait for words; its id."""
    await rig.call("SetMode", F1, "confirm-step")
    rig.fault(12)
    await confirmed(rig)
    await rig.reach("WAIT_CONFIRM")
    return str((await rig.outputs("Plan", F1))["planId"])


async def waits_for(rig: Rig, step: int) -> None:
    """Until a step of the plan waits for its word."""
    case = rig.flisr.cases.case(F1)
    assert case is not None

    def waits() -> bool:
        record = case.sequence.under_way
        return rig.state() == "WAIT_CONFIRM" and record is not None and record.step.n == step

    await rig.until(waits)


async def test_the_word_for_a_step_that_is_said_twice_releases_no_further_one(make: Make) -> None:
    rig = await make()
    plan = await step_by_step(rig)
    await waits_for(rig, 1)
    both = await asyncio.gather(rig.outputs("Execute", plan, 1), rig.outputs("Execute", plan, 1))
    await waits_for(rig, 2)
    late = await rig.outputs("Execute", plan, 1)
    await asyncio.sleep(0.3)
    assert [each["status"] for each in (*both, late)] == [StatusCode.Good] * 3
    assert (late["stepState"][0], rig.moved()) == ("done", [])


async def test_execute_without_a_step_is_refused_in_a_sentence_and_releases_nothing(make: Make) -> None:
    rig = await make()
    plan = await step_by_step(rig)
    await waits_for(rig, 1)
    old, none = await rig.call("Execute", plan), await rig.call("Execute", plan, 0)
    assert (old.status, old.text) == (StatusCode.BadInvalidArgument, "Execute takes 2: planId, step")
    assert (none.status, none.text) == (
        StatusCode.BadInvalidState, "say the number of the step that is released: step 1 waits",
    )  # fmt: skip
    await asyncio.sleep(0.3)
    assert (rig.state(), rig.field.got) == ("WAIT_CONFIRM", [])


async def test_a_second_stop_keeps_the_event_and_the_guard_until_a_supervisor_ends_it(make: Make) -> None:
    rig = await make()
    rig.fault(12)
    await rig.reach("WAIT_CONFIRM")
    for _ in range(3):
        assert (await rig.call("Stop", F1)).status == StatusCode.Good
        await asyncio.sleep(0.15)
    assert rig.state() == "ABORTED"
    close = Command(Verb.OPERATE, f"{HEAD1}/CSWI1/Pos", True, clock.now(), reason="by hand")
    assert (await rig.desk.operate(close, OLGA)).gate == "twin-interlock"
    event = (await rig.outputs("Locate", F1))["eventId"]
    assert (await rig.call("EndEvent", F1, event, "patrolled", caller=OLGA)).status == StatusCode.BadUserAccessDenied
    assert (await rig.call("EndEvent", F1, "another", "patrolled", caller=SOFIA)).status == StatusCode.BadInvalidState
    assert line(12) in rig.flisr.cases.faulted()
    assert (await rig.call("EndEvent", F1, event, "patrolled", caller=SOFIA)).status == StatusCode.Good
    await rig.until(lambda: rig.flisr.cases.case(F1) is None)
    assert line(12) not in rig.flisr.cases.faulted()


async def test_setting_an_automatic_feeder_off_stops_what_it_carries_out(make: Make) -> None:
    rig = await automatic(await make(settle=1.5))
    rig.fault(12)
    await rig.reach("RESTORING")
    assert (await rig.call("SetMode", F1, "off", caller=PAUL)).status == StatusCode.Good
    assert rig.state() == "ABORTED"
    await rig.desk.drain()
    done = rig.moved()
    await asyncio.sleep(2.0)
    assert (rig.state(), rig.moved()) == ("ABORTED", done)
    assert "close RMU13/MV1/C30/QB1" not in done
    assert line(12) in rig.flisr.cases.faulted()


class LostWorker(Worker):
    """A compute process that never answers in time."""

    async def run_within(self, seconds: float, function: Callable[..., Any], /, *arguments: object) -> Any:
        raise ComputeError(f"{function.__name__} took longer than {seconds:g} s")


async def test_a_search_that_gives_nothing_back_leaves_a_plan_that_isolates_and_says_so(tmp_path: Path) -> None:
    rig = await build(tmp_path, worker=LostWorker())
    try:
        await automatic(rig)
        rig.fault(12)
        await rig.reach("WAIT_CONFIRM")
        plan = await rig.outputs("Plan", F1)
        assert (plan["method"], rig.moved()) == ("budget", [])
        assert any("no restoration could be searched for" in text for text in plan["warnings"])
        assert any("took longer than" in why for why in plan["unrestoredReason"])
        await confirmed(rig)
        await rig.reach("PARTIAL")
        assert sorted(rig.moved()) == [
            "close PS01/MV1/F01/QA1", "open RMU11/MV1/C12/QB1", "open RMU12/MV1/C12/QB1",
        ]  # fmt: skip
    finally:
        await rig.stop()
