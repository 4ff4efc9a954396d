"""Interval data in trouble: damaged and full files, another interval length, clocks that jump, a journal overrun."""

import asyncio
import sqlite3

import numpy as np
import pytest
from loss_grids import HEAD_METERS, RIGHT, customer
from peers.waiting import until

from address_space import clock
from address_space.point import Batch
from address_space.ports import Caller
from address_space.quality import Quality, StatusCode
from twin_gateway.functions import intervals as module
from twin_gateway.functions.interval_store import IntervalReader, IntervalStore
from twin_gateway.functions.intervals import FILE, IntervalSettings, make_intervals
from twin_gateway.functions.losses import make_losses
from twin_gateway.functions.losses_job import INVALID
from twin_gateway.functions.losses_settings import LossSettings

METER = f"{customer(1, 1)}/MMTR1/DmdWh"


def late(rig, times, values):
    row = rig.table.find(METER)
    rig.table.ingest(Batch.of([row] * len(times), values, 0, [clock.from_unix(t) for t in times], late=True))


async def ended(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def stored(path, end):
    reader = IntervalReader(path)
    try:
        matrix = reader.read([METER], end, end)
        return matrix.values[0, 0] if matrix.valid[0, 0] else None
    finally:
        reader.close()


async def test_a_damaged_file_is_put_aside_and_told_and_a_new_one_is_begun(rig, tmp_path):
    (tmp_path / FILE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    (tmp_path / "losses.sqlite").write_bytes(b"neither is this" * 1000)
    made = make_intervals(rig.context, IntervalSettings())
    make_losses(rig.context, LossSettings())
    texts = [event.text for event in rig.told() if event.code == "G02"]
    assert len(texts) == 2
    assert "intervals-damaged.sqlite" in texts[0]
    assert "losses-damaged.sqlite" in texts[1]
    assert (tmp_path / "intervals-damaged.sqlite").read_bytes().startswith(b"no database")
    made.store.write(made.store.ids([METER]), np.array([5]), np.array([1.0]), np.zeros(1, np.uint32))
    assert stored(tmp_path / FILE, 4500.0) == 1.0


async def test_another_interval_length_in_the_settings_keeps_the_old_file_and_says_so(rig, tmp_path):
    old = IntervalStore(tmp_path / FILE)
    old.write(old.ids([METER]), np.array([5]), np.array([1.0]), np.zeros(1, np.uint32))
    old.close()
    made = make_intervals(rig.context, IntervalSettings(interval=60.0))
    assert made.store.length == 60.0
    assert stored(tmp_path / "intervals-900s.sqlite", 4500.0) == 1.0
    (event,) = [event for event in rig.told() if event.code == "G02"]
    assert "900 s" in event.text


async def test_a_full_disk_is_a_condition_and_what_waits_is_written_when_there_is_room(rig, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    made = make_intervals(rig.context, IntervalSettings())
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.1)
    db = made.store._db
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    end = clock.to_unix(clock.now()) // 900 * 900
    late(rig, [end - 900.0 * at for at in range(2000)], [1e6 - at for at in range(2000)])
    await until(lambda: any(alarm.code == "G02" for alarm in rig.alarms.active()))
    assert not task.done()
    db.execute("PRAGMA max_page_count=1000000")
    await until(lambda: not any(alarm.code == "G02" for alarm in rig.alarms.active()))
    await ended(task)
    assert stored(tmp_path / FILE, end) == 1e6
    assert [event.state for event in rig.told() if event.code == "G02"] == ["active", "inactive"]
    assert made.dropped == 0


async def test_what_comes_while_the_first_look_goes_on_in_parts_is_not_missed(rig, tmp_path, monkeypatch):
    made = make_intervals(rig.context, IntervalSettings())
    looking, end = made._presenting, clock.to_unix(clock.now()) // 900 * 900

    def and_meanwhile():
        yield from looking()
        late(rig, [end], [1e6])
        yield

    monkeypatch.setattr(made, "_presenting", and_meanwhile)
    task = asyncio.create_task(made.run())
    await until(lambda: made.counters.written)
    await ended(task)
    assert stored(tmp_path / FILE, end) == 1e6


async def test_what_waits_for_a_full_disk_is_bounded_and_what_is_dropped_is_counted(rig, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    monkeypatch.setattr(module, "_POSITIONS", 10)
    made = make_intervals(rig.context, IntervalSettings(pending=1000))
    made.prepare()

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(made.store, "write", full)
    monkeypatch.setattr(made.store, "put_positions", full)
    cursor = rig.table.late.cursor("test")
    for day in range(5):
        late(
            rig, [1.7e9 // 900 * 900 + 900.0 * (day * 400 + at) for at in range(400)], [float(at) for at in range(400)]
        )
        for chunk in cursor.take():
            made.late(chunk)
        made._positions += [(1.0, RIGHT, 1)] * 5
        await made.flush()
    assert made._waiting <= 1000
    assert made.dropped == 5 * 400 - made._waiting + 15
    assert len(made._positions) == 10


async def test_a_clock_set_back_goes_on_with_the_intervals_of_the_new_time(rig, monkeypatch):
    made = make_intervals(rig.context, IntervalSettings())
    row = rig.table.find(f"{HEAD_METERS[0]}/MMTR1/DmdWh")
    cursor = rig.table.journal.cursor("test")
    made.prepare()
    base = clock.to_unix(clock.now()) // 900 * 900

    def read(moment, value):
        rig.table.ingest(Batch.of([row], [value], 0, clock.from_unix(moment)))
        for chunk in cursor.take():
            made.live(chunk)

    read(base + 880, 100.0)
    made.close(base + 7200.0)
    made.close(base - 1800.0)  # two and a half hours back
    read(base - 910, 110.0)
    read(base - 890, 130.0)
    emitted, _, _ = made._pending[-1]
    assert emitted.number.tolist() == [round(base / 900) - 1]
    assert emitted.value.tolist() == [120.0]


async def test_samples_that_went_by_unread_are_counted_and_told_and_the_present_is_taken(rig):
    made = make_intervals(rig.context, IntervalSettings())
    made.prepare()
    rig.add([f"{RIGHT}/XSWI1/Pos"])
    made._overrun(7)
    made._overrun(7)
    assert made.lost == 7
    assert [event.text for event in rig.told()] == ["Interval data: 7 samples were missed"]


async def test_a_device_whose_clock_is_far_ahead_does_not_silence_its_register(rig):
    made = make_intervals(rig.context, IntervalSettings())
    row = rig.table.find(f"{HEAD_METERS[0]}/MMTR1/DmdWh")
    cursor = rig.table.journal.cursor("test")
    made.prepare()
    now = clock.to_unix(clock.now())
    for moment, value in ((now + 86_400.0, 5.0), (now + 86_500.0, 6.0), (now + 0.5, 7.0)):
        rig.table.ingest(Batch.of([row], [value], 0, clock.from_unix(moment)))
        for chunk in cursor.take():
            made.live(chunk)
    assert made._live._time[made._place[row]] == pytest.approx(now + 0.5, abs=0.01)


async def test_a_file_that_cannot_be_opened_is_a_condition_until_it_can_and_then_values_are_kept(
    rig, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    (tmp_path / FILE).mkdir()
    made = make_intervals(rig.context, IntervalSettings())
    made.prepare()
    assert [alarm.code for alarm in rig.alarms.active()] == ["G02"]
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.1)
    assert not task.done()
    (tmp_path / FILE).rmdir()
    await until(lambda: not any(alarm.code == "G02" for alarm in rig.alarms.active()))
    end = clock.to_unix(clock.now()) // 900 * 900
    late(rig, [end], [7.0])
    await until(lambda: stored(tmp_path / FILE, end) == 7.0)
    await ended(task)


async def test_interval_data_that_are_run_again_after_their_end_go_on_in_the_same_file(rig, tmp_path):
    made = make_intervals(rig.context, IntervalSettings())
    end = clock.to_unix(clock.now()) // 900 * 900
    for value in (1.0, 2.0):
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0.05)
        late(rig, [end], [value])
        await until(lambda value=value: stored(tmp_path / FILE, end) == value)
        await ended(task)


async def test_results_of_losses_that_cannot_be_opened_fail_the_function_and_not_its_making(rig, tmp_path):
    (tmp_path / "losses.sqlite").mkdir()
    IntervalStore(tmp_path / FILE).close()
    losses = make_losses(rig.context, LossSettings(), worker=rig.worker)
    result = await losses.call(losses.owner, "TopSuspects", [3], Caller("ann", frozenset({"Observer"})))
    assert result.status == StatusCode.BadResourceUnavailable
    with pytest.raises(sqlite3.OperationalError):
        await losses.run()
    (tmp_path / "losses.sqlite").rmdir()
    task = asyncio.create_task(losses.run())
    await until(lambda: losses._results.is_open)
    assert not task.done()
    await ended(task)


async def test_losses_wait_quietly_for_the_first_meter_and_say_that_there_are_no_data(rig, tmp_path):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        await asyncio.sleep(0.02)

    losses = make_losses(rig.context, LossSettings(), worker=rig.worker, sleep=sleep)
    task = asyncio.create_task(losses.run())
    await until(lambda: len(waits) > 2)
    key = f"{rig.context.place}/TS1/LV1/_/_/twLOSS1"
    sample = rig.table.sample(rig.table.find(f"{key}/St"))
    assert (sample.value, sample.quality & Quality.INVALID) == (INVALID, Quality.INVALID)
    assert rig.table.sample(rig.table.find(f"{key}/LosWh")).quality & Quality.INVALID
    assert rig.told() == []
    store = IntervalStore(tmp_path / FILE)
    last = int(clock.to_unix(clock.now()) // 900)
    numbers = np.array([last - 1, last])
    ids = np.full(2, store.ids([METER])[0])
    store.write(ids, numbers, np.array([0.0, 10.0]), np.zeros(2, np.uint32))
    await until(lambda: any(seconds != 30.0 for seconds in waits))  # until the end of an interval
    assert not task.done()
    await ended(task)
    store.close()
