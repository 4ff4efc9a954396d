"""Interval data from a live point table, in the file that others read."""

import asyncio

import numpy as np
import pytest
from loss_grids import HEAD_METERS, RIGHT, customer

from address_space import clock
from address_space.point import Batch
from address_space.quality import Quality
from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.intervals import FILE, IntervalSettings, make_intervals

LENGTH = 900.0


def boundary(back=0):
    """The last interval end, or one before."""
    return (clock.to_unix(clock.now()) // LENGTH - back) * LENGTH


def late(rig, address, times, values, quality=0):
    row = rig.table.find(address)
    rig.table.ingest(Batch.of([row] * len(times), values, quality, [clock.from_unix(t) for t in times], late=True))


async def running(function, work):
    """Run a twin function while something is done, and until it has settled."""
    task = asyncio.create_task(function.run())
    try:
        await asyncio.sleep(0.05)
        await work()
        await asyncio.sleep(0.3)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_profile_rows_and_live_registers_become_values_at_interval_ends(rig, tmp_path):
    profile, live = f"{customer(1, 1)}/MMTR1/DmdWh", f"{HEAD_METERS[0]}/MMTR1/DmdWh"
    intervals = make_intervals(rig.context, IntervalSettings())
    end = boundary()

    async def work():
        late(rig, profile, [end - 900, end], [1000.0, 1250.0])
        row = rig.table.find(live)
        for moment, value in ((end - 20, 500.0), (end + 10, 530.0)):
            rig.table.ingest(Batch.of([row], [value], 0, clock.from_unix(moment)))

    await running(intervals, work)
    reader = IntervalReader(tmp_path / FILE)
    matrix = reader.read([profile, live], end - 900, end)
    assert matrix.values[:, 0].tolist() == [1000.0, 1250.0]
    assert matrix.values[1, 1] == pytest.approx(520.0)
    assert not matrix.valid[0, 1]
    reader.close()


async def test_a_row_that_comes_again_is_no_revision_and_a_corrected_one_is(rig, tmp_path):
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    intervals = make_intervals(rig.context, IntervalSettings())
    end = boundary(4)

    async def work():
        for value in (100.0, 100.0, 107.0):
            late(rig, address, [end], [value])
            await asyncio.sleep(0.15)

    await running(intervals, work)
    reader = IntervalReader(tmp_path / FILE)
    matrix = reader.read([address], end, end)
    assert (matrix.values[0, 0], matrix.revision[0, 0]) == (107.0, 2)
    assert intervals.counters.duplicates == 1
    reader.close()


async def test_rows_without_a_time_of_the_device_belong_to_no_interval(rig, tmp_path):
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    intervals = make_intervals(rig.context, IntervalSettings())

    async def work():
        rig.table.ingest(Batch.of([rig.table.find(address)], [5.0], 0, 0, late=True))
        late(rig, address, [boundary()], [6.0], int(Quality.INVALID))

    await running(intervals, work)
    reader = IntervalReader(tmp_path / FILE)
    assert not reader.read([address], boundary(8), boundary() + 900).valid.any()
    reader.close()


async def test_switch_positions_are_remembered(rig, tmp_path):
    rig.add([f"{RIGHT}/XSWI1/Pos"])
    row = rig.table.find(f"{RIGHT}/XSWI1/Pos")
    rig.table.ingest(Batch.of([row], [2], 0, clock.from_unix(1.7e9)))
    intervals = make_intervals(rig.context, IntervalSettings())
    now = clock.to_unix(clock.now())

    async def work():
        rig.table.ingest(Batch.of([row], [1], 0, clock.from_unix(now + 1)))

    await running(intervals, work)
    reader = IntervalReader(tmp_path / FILE)
    history = reader.positions(now - 10, now + 10)
    assert next((switch, position) for _, switch, position in history) == (RIGHT, 2)
    assert history[-1] == (pytest.approx(now + 1, abs=1e-3), RIGHT, 1)
    reader.close()


async def test_a_position_that_is_told_with_the_time_of_its_last_change_holds_from_the_start(rig, tmp_path):
    rig.add([f"{RIGHT}/XSWI1/Pos"])
    row = rig.table.find(f"{RIGHT}/XSWI1/Pos")
    intervals = make_intervals(rig.context, IntervalSettings())
    now = clock.to_unix(clock.now())

    async def work():  # nothing is known at the start; then the device says that it has been closed for a day
        rig.table.ingest(Batch.of([row], [2], 0, clock.from_unix(now - 86_400.0)))

    await running(intervals, work)
    reader = IntervalReader(tmp_path / FILE)
    assert [(switch, position) for _, switch, position in reader.positions(now + 1, now + 900)] == [(RIGHT, 2)]
    reader.close()


async def test_a_position_is_unknown_since_the_loss_of_the_link_and_not_since_its_last_change(rig, tmp_path):
    rig.add([f"{RIGHT}/XSWI1/Pos"])
    row = rig.table.find(f"{RIGHT}/XSWI1/Pos")
    now = clock.to_unix(clock.now())
    rig.table.ingest(Batch.of([row], [2], 0, clock.from_unix(now - 5000.0)))
    intervals = make_intervals(rig.context, IntervalSettings())
    intervals.prepare()
    cursor = rig.table.journal.cursor("test")
    rig.table.ingest(Batch.of([row], [2], int(Quality.COMM_LOST), clock.from_unix(now - 5000.0)))
    for chunk in cursor.take():
        intervals.live(chunk)
    (moment, switch, position) = intervals._positions[-1]
    assert (switch, position) == (RIGHT, 0)
    assert moment == pytest.approx(clock.to_unix(clock.now()), abs=5.0)
    intervals.store.close()


async def test_a_burst_of_profile_rows_does_not_hold_up_the_event_loop(rig, loop_watch):
    intervals = make_intervals(rig.context, IntervalSettings())
    end = boundary()
    rows = np.array([rig.table.find(f"{meter}/MMTR1/DmdWh") for meter in rig.grid.meters], np.int32)

    async def work():
        async with loop_watch:
            for day in range(12):
                times = end - 900.0 * (np.arange(96) + 96 * day)
                ticks = np.array([clock.from_unix(float(t)) for t in times])
                count = len(rows) * 96
                batch = Batch(
                    np.tile(rows, 96), np.repeat(times - end, len(rows)), np.zeros(count, np.uint32),
                    np.repeat(ticks, len(rows)), late=True,
                )  # fmt: skip
                rig.table.ingest(batch)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)

    await running(intervals, work)
    assert intervals.counters.written == 12 * 96 * len(rows)
    assert loop_watch.longest < 0.02
    assert intervals.dropped == 0


async def test_without_points_there_is_nothing_to_follow(rig, tmp_path):
    rig.grid.meters.clear()
    intervals = make_intervals(rig.context, IntervalSettings())
    await running(intervals, lambda: asyncio.sleep(0.05))
    reader = IntervalReader(tmp_path / FILE)
    assert reader.addresses() == []
    reader.close()
