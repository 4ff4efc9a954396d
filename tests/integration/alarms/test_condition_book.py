"""The book of conditions: kept over restarts and kill -9, bounded, found by place, ten thousand at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

from peers.alarm_book import LOW, OLGA, PLACE, SVEN, Desk
from peers.loop_watch import LoopWatch
from peers.waiting import PATIENCE, patient

from address_space.conditions import Condition
from address_space.ports import ConditionVerb
from twin_gateway.alarms.machine import Finding
from twin_gateway.functions.slices import in_slices

TESTS = Path(__file__).parents[2]


async def reopened(path: Path, **more: object) -> Desk:
    desk = Desk(path, **more)  # type: ignore[arg-type]  # as of Desk
    await desk.book.open()
    return desk


async def test_everything_people_said_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = await reopened(path)
    desk.up()
    assert await desk.act(ConditionVerb.ACKNOWLEDGE, comment="on my way") == 0
    assert await desk.act(ConditionVerb.SHELVE, SVEN, duration=600.0) == 0
    desk.up("dso1/north/PS01/MV1/F02/QA1")
    before = list(desk.book.snapshot())
    await desk.book.close()
    again = await reopened(path)
    assert list(again.book.snapshot()) == before
    assert again.book.counts() == desk.book.counts()
    assert again.told() == []
    again.time += 600.0
    again.book.tick()
    assert again.condition().shelving == "Unshelved"
    await again.book.close()


async def test_kill_9_loses_nothing_that_people_were_answered_and_less_than_a_second_of_the_rest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alarms.sqlite"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "peers.alarm_book",
        str(path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))},
    )
    assert child.stdout is not None
    try:
        async with patient(20.0):
            said = [await child.stdout.readline() for _ in range(3)]
    finally:
        killed = time.time()
        child.send_signal(signal.SIGKILL)
        await child.communicate()
    assert said == [b"acknowledged 0\n", b"shelved 0\n", b"many\n"]
    desk = await reopened(path)
    condition = desk.condition()
    assert (condition.active, condition.acked, condition.comment) == (True, True, "on my way")
    assert condition.shelving == "TimedShelved"
    assert not desk.condition(code="C01").acked
    rest = {each.address: float(str(each.value)) for each in desk.book.snapshot("dso1/north/PS02")}
    assert set(rest) == {f"dso1/north/PS02/MV1/F{number}/QA1" for number in range(len(rest))}, (
        "one in between is missing"
    )
    assert killed - max(rest.values()) < 1.0 * PATIENCE
    await desk.book.close()


async def test_what_is_over_after_a_restart_becomes_inactive_and_waits_for_acknowledgement(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = await reopened(path)
    desk.up()
    desk.up(code="C07")
    await desk.book.close()
    can_be_judged: set[str] = set()
    again = await reopened(path, judged=can_be_judged.__contains__)
    assert again.book.waits(PLACE, "C04")
    again.book.raise_(PLACE, "C07", LOW)
    assert again.states() == []
    again.time += 299.0
    can_be_judged.add(PLACE)
    again.book.tick()
    assert again.states() == []
    again.time += 1.0
    can_be_judged.clear()
    again.book.tick()
    assert again.states() == [], "a source that cannot be judged has not said that it is over"
    can_be_judged.add(PLACE)
    again.time += 5.0
    again.book.tick()
    condition = again.condition()
    assert (condition.active, condition.acked, condition.retain) == (False, False, True)
    assert "restart" in condition.text
    assert again.condition(code="C07").active
    await again.book.close()


async def test_what_a_source_ends_after_a_restart_is_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = await reopened(path)
    desk.up()
    await desk.book.close()
    again = await reopened(path)
    again.book.clear(PLACE, "C04")
    assert again.states() == ["inactive"]
    assert not again.book.waits(PLACE, "C04")
    await again.book.close()


async def test_with_no_room_the_oldest_that_nobody_waits_for_goes_and_commented_ones_last(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = await reopened(path, most=3)
    for code in ("S03", "L03", "T05"):
        desk.up(code=code, finding=Finding("no acknowledgement is asked for", 200))
    for code in ("S03", "L03"):
        desk.book.clear(PLACE, code)
    seen = desk.condition(code="S03").event_id
    assert await desk.book.act(f"{PLACE}$S03", ConditionVerb.COMMENT, OLGA, event_id=seen, comment="why") == 0
    left = []
    for code in ("X1", "X2"):
        desk.up(code=code)
        left.append(sorted(condition.code for condition in desk.book.snapshot()))
    assert left == [["S03", "T05", "X1"], ["T05", "X1", "X2"]]
    desk.told()
    desk.book.raise_(PLACE, "X3", LOW)
    assert [(event.code, event.state) for event in desk.told()] == [("X3", "event"), ("G02", "event")]
    counts = desk.book.counts()
    assert (counts.kept, counts.dropped, counts.refused) == (3, 2, 1)
    await desk.book.close()
    again = await reopened(path)
    assert sorted(condition.code for condition in again.book.snapshot()) == ["T05", "X1", "X2"]
    await again.book.close()


async def test_ten_thousand_alarms_in_one_burst_are_all_told_kept_and_written_while_the_loop_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = await reopened(path)
    desk.book._most = 100_000
    writing = asyncio.create_task(desk.book.run())

    def burst() -> Iterator[None]:
        for number in range(10_000):
            desk.book.raise_(f"dso1/north/PS{number % 50:02}/MV1/F{number}/QA1", "C04", LOW)
            yield

    with LoopWatch() as watch:
        await in_slices(burst())
        await desk.book.flush()
        await asyncio.sleep(0)
        worst, report = watch.worst_own, watch.report()  # what the test does next is no part of it
    writing.cancel()
    events = desk.told()
    assert len({event.address for event in events if event.state == "active"}) == 10_000
    assert sum(len(list(desk.book.snapshot(f"dso1/north/PS{number:02}"))) for number in range(50)) == 10_000
    await desk.book.close()
    assert worst.own < 0.02, report
    again = await reopened(path)
    assert again.book.counts().unacknowledged == 10_000
    await again.book.close()


def test_a_place_is_found_without_a_look_at_the_others() -> None:
    desk = Desk(most=100_000)
    for number in range(5_000):
        desk.up(f"dso1/north/PS{number}/MV1/F01/QA1")
    few: list[Condition] = list(desk.book.snapshot("dso1/north/PS7"))
    assert [condition.address for condition in few] == ["dso1/north/PS7/MV1/F01/QA1"]
    below = min(timeit.repeat(lambda: desk.book.snapshot("dso1/north/PS7"), number=10, repeat=5))
    everything = min(timeit.repeat(desk.book.snapshot, number=10, repeat=5))
    assert below < everything / 10


def test_a_limit_alarm_is_one_only_where_its_source_knows_the_limit() -> None:
    desk = Desk()
    said = desk.up("dso1/north/PS01/MV1/F01/QA1/SIMG1/InsAlm")
    computed = desk.up("dso1/north/PS01/MV1/F01/QA1/twHLTH1/Gas", finding=Finding("Gas is low", 650, "Low"))
    assert (said.type_name, said.limit) == ("OffNormalAlarmType", "")
    assert (computed.type_name, computed.limit) == ("ExclusiveLimitAlarmType", "Low")
