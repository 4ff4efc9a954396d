"""What must not leave, or not without a word: steps nobody wants any more, stale plans, people without the right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.flisr.flisr_rig import F1, OLGA, OTTO, PAUL, SOFIA, TIE, Rig, Roles, build, cubicle, line
from peers.waiting import patient

from address_space.ports import Caller, Right
from address_space.quality import StatusCode
from twin_gateway.commands.tags import TagKind
from twin_gateway.functions.flisr.journal import FlisrJournal, StepEntry
from twin_gateway.functions.worker import Worker
from twin_gateway.twin.flisr.states import MakePlan, Offer

Make = Callable[[], Awaitable[Rig]]


class KeptWorker(Worker):
    """A compute process for all tests of the module."""

    def close(self) -> None:
        """Left for the end."""


@pytest.fixture(scope="module")
def worker() -> Iterator[KeptWorker]:
    made = KeptWorker()
    yield made
    Worker.close(made)


@pytest.fixture
async def make(tmp_path: Path, worker: KeptWorker) -> AsyncIterator[Make]:
    made: list[Rig] = []

    async def one() -> Rig:
        worker._lock = asyncio.Lock()  # each test has a loop of its own
        made.append(await build(tmp_path, worker=worker))
        return made[-1]

    yield one
    for rig in made:
        await rig.stop()


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
    offer = cases._offer

    async def slow(case: Any, ask: MakePlan) -> tuple[Offer, str]:
        found = await offer(case, ask)
        await rig.tags.set(cubicle(13, 13), TagKind.HOT_LINE, "work", OLGA)
        return found

    monkeypatch.setattr(cases, "_offer", slow)
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
