"""The history beside the service: what the table and the event journal had is read back through the port."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from peers.history.grid import HistoryGrid, address, numbers
from peers.loop_watch import LoopWatch
from peers.waiting import until

from address_space import clock
from address_space.conditions import Condition
from address_space.events import Event
from address_space.point import Batch, TextSample
from address_space.ports import HistoryValues
from twin_gateway.history.service import HistoryUnavailableError

Make = Callable[..., HistoryGrid]
SHARED = pytest.mark.asyncio(loop_scope="module")


@SHARED
async def test_what_has_just_been_received_is_read_at_once(grid: HistoryGrid) -> None:
    for number in range(5):
        grid.put(12, number)
        assert numbers(await grid.read(12)).tolist() == list(range(number + 1))


@SHARED
async def test_every_accepted_change_is_kept_with_its_status_and_both_times(grid: HistoryGrid) -> None:
    random = np.random.default_rng(1)
    begin = clock.now() - 3600 * clock.TICKS_PER_SECOND
    kept = []
    for number in range(40):
        rows = random.permutation(12)[:6].astype(np.int32)
        rows = rows[rows % 4 < 2]
        values, times = random.normal(0, 10, len(rows)), begin + np.full(len(rows), number * 1_000)
        quality = np.where(random.random(len(rows)) < 0.2, 1, 0).astype(np.uint32)
        grid.table.ingest(Batch(rows, values, quality, times.astype(np.int64)))
        kept += list(zip(rows.tolist(), values.tolist(), times.tolist(), grid.table.status[rows].tolist(), strict=True))
    for row in (0, 1, 4, 5, 8, 9):
        found = await grid.read(row)
        mine = [entry[1:] for entry in kept if entry[0] == row]
        assert (
            list(zip(found.raw.view(float).tolist(), found.source.tolist(), found.status.tolist(), strict=True)) == mine
        )
        assert (found.server > found.source).all()


async def test_what_only_has_a_newer_time_is_kept_when_that_is_asked_for(make_grid: Make) -> None:
    for asked in (False, True):
        grid = make_grid(timestamps=asked)
        await grid.start()
        begin = clock.now()
        grid.table.timestamp_readers += 1  # somebody else wants them too
        for number in range(3):
            grid.put(0, 7.0, begin + number)
        assert len(numbers(await grid.read(0, begin))) == (3 if asked else 1)
        await grid.stop()


@SHARED
async def test_texts_are_kept(grid: HistoryGrid) -> None:
    for text in ("Zähler 1", "", "x" * 5_000):
        grid.table.ingest(Batch.of([], [], texts=[TextSample(15, text)]))
    found = await grid.read(15)
    assert found.texts == ("Zähler 1", "", "x" * 5_000)


@SHARED
async def test_late_samples_are_history_and_say_what_they_modified(grid: HistoryGrid) -> None:
    begin = clock.now() - 1_000_000
    for number in range(3):
        grid.put(16, number, begin + 10 * number)
    await grid.read(16)
    grid.put(16, 20.0, begin + 10, late=True)
    grid.put(16, 30.0, begin + 15, late=True)
    assert numbers(await grid.read(16)).tolist() == [0, 20, 30, 2]
    page = await grid.history.raw(grid.table.address(16), 0, 1 << 61, 10, modified=True)
    assert page.values.raw.view(float).tolist() == [1, 30]
    assert [entry[1] for entry in page.values.modified or ()] == [2, 1]


async def test_only_what_the_patterns_name_is_kept(make_grid: Make) -> None:
    grid = make_grid(include=["dso1/north/*"], exclude=["*/Hz"])
    await grid.start()
    grid.put(0, 1.0)
    grid.put(1, 2.0)
    assert grid.history.keeps(address(0)) and not grid.history.keeps(address(0, "MMXU1/Hz"))
    assert not grid.history.keeps("dso1/north/PS1/MV1/F99/QA1/MMXU1/TotW")
    assert len(await grid.read(0)) == 1
    with pytest.raises(KeyError):
        await grid.read(1)


@SHARED
async def test_events_come_back_with_every_member_also_those_of_their_condition(grid: HistoryGrid) -> None:
    place = address(0)
    condition = Condition(
        place, "C04", "TripAlarmType", "Process", "trip", 900, True, bytes(range(16)), (bytes(16),), value=True
    )
    first = grid.events.append(Event("C04", "trip", 900, place, value=3.5, details=(("a", "b"),), condition=condition))
    second = grid.events.append(Event("D01", "lost", address="dso1/south"))
    begin = first.source_time
    assert await grid.history.events("", begin, 1 << 61, 10) == ([first, second], None)
    assert await grid.history.events("dso1/north", begin, 1 << 61, 10) == ([first], None)
    page, resume = await grid.history.events("", begin, 1 << 61, 1, reverse=True)
    assert page == [second] and resume is not None
    assert await grid.history.events("", begin, 1 << 61, 1, reverse=True, resume=resume) == ([first], None)


async def test_after_a_restart_with_other_points_the_addresses_find_what_was_theirs(make_grid: Make) -> None:
    grid = make_grid(bays=3)
    await grid.start()
    grid.put(4, 4.5)
    await grid.stop()
    second = make_grid(bays=2)
    await second.start()
    second.put(0, 1.5)
    assert numbers(await second.read(4)).tolist() == [4.5]
    assert numbers(await second.read(0)).tolist() == [1.5]


async def test_two_readers_get_whole_answers_while_it_is_written(make_grid: Make) -> None:
    grid = make_grid(bays=250)
    await grid.start()
    written, ending = [0], asyncio.Event()

    async def write() -> None:
        rows = np.arange(0, 1_000, 4, dtype=np.int32)
        while not ending.is_set():
            grid.set_all(rows, written[0])
            written[0] += 1
            await asyncio.sleep(0.002)

    async def read(row: int) -> int:
        seen = 0
        for _ in range(10):
            before = written[0]
            found = numbers(await grid.read(row))
            assert found.tolist() == list(range(len(found)))
            assert len(found) >= before
            seen = len(found)
        return seen

    writer = asyncio.create_task(write())
    seen = await asyncio.gather(read(0), read(996))
    ending.set()
    await writer
    assert min(seen) > 10


async def test_the_event_loop_is_not_kept_while_a_hundred_thousand_samples_come(make_grid: Make) -> None:
    grid = make_grid(bays=2_500)
    await grid.start()
    await grid.history.events("", 0, 1, 1)
    rows = np.arange(0, 10_000, 4, dtype=np.int32)
    with LoopWatch() as watch:
        for number in range(40):
            grid.set_all(rows, number)
            await asyncio.sleep(0.01)
        found = await grid.read(0)
    assert watch.worst.cpu < 0.010, watch.report()
    assert numbers(found).tolist() == list(range(40))
    assert grid.history.counters.written == 100_000


async def test_what_goes_by_unread_is_counted_told_and_a_gap_after_which_all_is_as_in_the_table(
    make_grid: Make,
) -> None:
    grid = make_grid(bays=100, journal=2_000)
    await grid.start()
    grid.put(0, 1.0)
    assert numbers(await grid.read(0)).tolist() == [1]
    rows = np.arange(0, 400, 4, dtype=np.int32)
    for number in range(100):  # the loop has no chance to follow
        grid.set_all(rows, number)
    found = await until_confirmed(grid)
    assert grid.history.counters.lost > 0
    assert any(text.startswith("D08") and "lost" in text for text in grid.said())
    assert (found.status == 0x809D_0000).sum() == 1
    assert numbers(found)[-1] == 99.0
    assert found.source[-1] > found.source[found.status == 0x809D_0000][0]


async def until_confirmed(grid: HistoryGrid) -> HistoryValues:
    for _ in range(100):
        found = await grid.read(0)
        if 0x809D_0000 in found.status.tolist() and found.status[-1] == 0:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("no gap")


async def test_a_query_that_takes_too_long_is_given_up_and_the_next_one_is_answered(make_grid: Make) -> None:
    grid = make_grid()
    await grid.start()
    grid.put(0, 1.0)
    await grid.read(0)
    grid.history._settings = grid.settings.model_copy(update={"query_seconds": 1e-6})
    with pytest.raises(HistoryUnavailableError, match="within"):
        await grid.read(0)
    grid.history._settings = grid.settings
    assert len(await grid.read(0)) == 1


async def test_what_is_not_running_says_so(make_grid: Make) -> None:
    with pytest.raises(HistoryUnavailableError):
        await make_grid().read(0)


@SHARED
async def test_figures_follow_what_was_committed(grid: HistoryGrid) -> None:
    await until(lambda: grid.history.counters.waiting == 0)
    before = dataclasses.replace(grid.history.counters)
    grid.put(20, 1.0)
    grid.events.append(Event("D01", "x"))
    await until(lambda: grid.history.counters.written == before.written + 1)
    await until(lambda: grid.history.counters.events == before.events + 1)
    assert grid.history.counters.waiting == 0
    assert grid.history.counters.octets > 0
