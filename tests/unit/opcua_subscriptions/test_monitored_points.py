from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.opcua.encoding import OVERFLOW_BIT
from address_space.opcua.items import DISABLED, EACH_CYCLE, ITEM, REPORTING, SAMPLING, RowIndex
from address_space.opcua.monitored import MonitoredPoints
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.quality import Quality
from address_space.table import PointTable

SECOND = clock.TICKS_PER_SECOND
START = clock.from_unix(1_700_000_000)
DOUBLE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)
TEXT = PointProfile("VSS", ValueType.STRING, VariableKind.DATA)
BOOLEAN = PointProfile("SPS", ValueType.BOOLEAN, VariableKind.TWO_STATE)


class Bench:
    """A table of 20 Doubles, a text (row 20) and a Boolean (row 21), and the items of one subscription."""

    def __init__(self, capacity: int = 1 << 16, max_queued: int = 100_000) -> None:
        self.table = PointTable(journal_capacity=capacity)
        place = "dso1/north/PS01/MV1/F05/QA1"
        self.table.add(Point(f"{place}/MMXU{number}/TotW", DOUBLE) for number in range(1, 21))
        self.table.add([Point(f"{place}/GGIO1/Val", TEXT), Point(f"{place}/GGIO2/Val", BOOLEAN)])
        self.table.ingest(Batch.of(range(20), [0.0] * 20, 0, START), now=START)
        self.points = MonitoredPoints(self.table, "test", max_queued)
        self.now = START
        self.cycle = 0
        self.ids = 0

    def monitor(self, *rows: int, **more: Any) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Add items; returns their slots. Their first value is taken away unless `first` is set."""
        first = more.pop("first", False)
        items = np.zeros(len(rows), ITEM)
        items["id"] = np.arange(self.ids + 1, self.ids + 1 + len(rows))
        items["row"] = rows
        items["handle"] = items["id"]
        items["queue"], items["mode"], items["stamps"] = 10, REPORTING, 2
        items["trigger"], items["oldest"] = 1, True
        for name, value in more.items():
            items[name] = value
        self.ids += len(rows)
        self.points.add(items, cycle=self.cycle, now=self.now)
        if not first:
            self.points.take(1000)
        return self.points.find(items["id"])

    def write(self, row: int, *values: float, quality: int = 0, time: int = 0) -> None:
        for value in values:
            self.table.ingest(Batch.of([row], [value], quality, time or self.now), now=self.now)

    def end_cycle(self, seconds: float = 0.1) -> list[tuple[int, Any]]:
        """Time goes on and the publishing cycle ends; (handle, value) of everything reported."""
        self.now += round(seconds * SECOND)
        self.points.drain(cycle=self.cycle, ends=True, now=self.now)
        self.cycle += 1
        return [(item.ClientHandle, item.Value.Value.Value) for item in self.take()]

    def take(self, most: int = 10_000) -> list[Any]:
        pieces, count = self.points.take(most)
        buffer = Buffer(b"".join(pieces))
        items = [struct_from_binary(ua.MonitoredItemNotification, buffer) for _ in range(count)]
        assert len(buffer) == 0
        return items


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- values -------------------------------------------------------------------------------------------------------


def test_a_new_item_reports_the_present_value_first(bench: Bench) -> None:
    bench.write(3, 7.0)
    bench.monitor(3, first=True)
    assert bench.end_cycle() == [(1, 7.0)]


def test_what_was_written_before_an_item_came_is_not_reported_after_its_first_value(bench: Bench) -> None:
    bench.monitor(0)
    bench.write(3, 1.0, 2.0)
    bench.monitor(3, first=True)
    assert bench.end_cycle() == [(2, 2.0)]


def test_every_change_is_reported_in_order(bench: Bench) -> None:
    bench.monitor(3)
    bench.write(3, 1.0, 2.0, 3.0)
    assert bench.end_cycle() == [(1, 1.0), (1, 2.0), (1, 3.0)]


def test_points_without_items_are_not_reported(bench: Bench) -> None:
    bench.monitor(3)
    bench.write(4, 1.0)
    assert bench.end_cycle() == []


def test_one_point_monitored_three_times_is_reported_three_times(bench: Bench) -> None:
    bench.monitor(3, 4, 3)
    bench.monitor(3)
    bench.write(3, 1.0, 2.0)
    got = bench.end_cycle()
    assert {handle: [value for each, value in got if each == handle] for handle in (1, 3, 4)} == {
        1: [1.0, 2.0],
        3: [1.0, 2.0],
        4: [1.0, 2.0],
    }
    assert len(got) == 6


def test_status_and_times_are_those_of_the_device(bench: Bench) -> None:
    bench.monitor(3)
    device = START - 3600 * SECOND
    bench.now += SECOND
    bench.write(3, 5.0, quality=int(Quality.OLD_DATA | Quality.QUESTIONABLE), time=device)
    bench.points.drain(cycle=0, ends=True, now=bench.now)
    [item] = bench.take()
    assert item.Value.StatusCode.name == "UncertainLastUsableValue"
    assert item.Value.SourceTimestamp == clock.to_datetime(device)
    assert item.Value.ServerTimestamp == clock.to_datetime(bench.now)


def test_texts_are_reported_with_their_value_at_the_time(bench: Bench) -> None:
    bench.monitor(20, first=True)
    for text in ("open", "closed"):
        bench.table.ingest(Batch.of([], [], texts=[TextSample(20, text, 0, START)]), now=START)
    assert bench.end_cycle() == [(1, None), (1, "open"), (1, "closed")]


def test_texts_that_wait_for_nobody_are_forgotten(bench: Bench) -> None:
    bench.monitor(20, queue=2)
    for number in range(500):
        bench.table.ingest(Batch.of([], [], texts=[TextSample(20, f"text {number}", 0, START)]), now=START)
        bench.points.drain(cycle=0, ends=False)
    assert bench.points.queued == 2
    assert len(bench.points._texts) < 150


# ---- triggers and deadbands -----------------------------------------------------------------------------------------


def test_a_slow_drift_is_reported_against_the_last_reported_value(bench: Bench) -> None:
    bench.monitor(3, deadband=0.5)
    reported = []
    for step in range(1, 21):
        bench.write(3, step * 0.1)
        reported += [round(value, 6) for _, value in bench.end_cycle()]
    assert reported == [0.6, 1.2, 1.8]


def test_a_deadband_holds_within_one_cycle_too(bench: Bench) -> None:
    bench.monitor(3, deadband=1.0)
    bench.write(3, 0.9, 2.0, 2.5, 3.5, 3.1)
    assert bench.end_cycle() == [(1, 2.0), (1, 3.5)]


def test_a_change_of_exactly_the_deadband_is_not_reported(bench: Bench) -> None:
    bench.monitor(3, deadband=1.0)
    bench.write(3, 1.0)
    assert bench.end_cycle() == []


def test_a_status_change_passes_any_deadband(bench: Bench) -> None:
    bench.monitor(3, deadband=100.0)
    bench.write(3, 0.0, quality=int(Quality.INVALID))
    assert bench.end_cycle() == [(1, 0.0)]


def test_a_value_that_comes_back_before_it_was_reported_is_no_change(bench: Bench) -> None:
    bench.monitor(3, sampling=EACH_CYCLE)
    bench.write(3, 1.0, 0.0)
    assert bench.end_cycle() == []


def test_trigger_status_reports_status_changes_only(bench: Bench) -> None:
    bench.monitor(3, trigger=0)
    bench.write(3, 1.0)
    bench.write(3, 2.0, quality=int(Quality.INVALID))
    assert bench.end_cycle() == [(1, 2.0)]


def test_trigger_timestamp_reports_a_value_that_is_merely_newer_and_others_do_not(bench: Bench) -> None:
    bench.monitor(3, trigger=2)
    bench.monitor(3, trigger=1)
    bench.write(3, 0.0, time=START + SECOND)
    bench.now += 2 * SECOND
    bench.write(3, 0.0, time=START + 2 * SECOND)
    assert bench.end_cycle() == [(1, 0.0), (1, 0.0)]


def test_the_table_journals_mere_timestamps_only_while_somebody_reads_them(bench: Bench) -> None:
    assert bench.table.timestamp_readers == 0
    slots = bench.monitor(3, trigger=2)
    assert bench.table.timestamp_readers == 1
    bench.points.set_mode(slots, DISABLED, cycle=0)
    assert bench.table.timestamp_readers == 0
    bench.points.set_mode(slots, REPORTING, cycle=0)
    bench.points.remove(slots, cycle=0)
    assert bench.table.timestamp_readers == 0


# ---- sampling -------------------------------------------------------------------------------------------------------


def test_sampling_at_the_publishing_interval_gives_the_newest_of_each_cycle(bench: Bench) -> None:
    bench.monitor(3, sampling=EACH_CYCLE)
    bench.write(3, 1.0, 2.0)
    bench.points.drain(cycle=bench.cycle, ends=False, now=bench.now)
    bench.write(3, 3.0)
    assert bench.end_cycle() == [(1, 3.0)]
    bench.write(3, 4.0)
    assert bench.end_cycle() == [(1, 4.0)]


def test_sampling_slower_than_publishing_gives_at_most_one_sample_an_interval_the_newest(bench: Bench) -> None:
    bench.monitor(3, sampling=SECOND)
    got = []
    for step in range(1, 36):
        bench.write(3, float(step))
        got += [value for _, value in bench.end_cycle(0.1)]
    # The first value was the sample of the first second; each further second gives one, as soon as it begins.
    assert len(got) == 3
    assert got == sorted(got)
    assert bench.end_cycle(1.0) == [(1, 35.0)]
    assert bench.end_cycle(5.0) == []


def test_sampling_faster_than_publishing_gives_one_sample_of_each_interval(bench: Bench) -> None:
    bench.monitor(3, sampling=SECOND // 10)
    for step in range(1, 41):
        bench.now += SECOND // 40
        bench.write(3, float(step))
    values = [value for _, value in bench.end_cycle(0.0)]
    assert 9 <= len(values) <= 11
    assert values[-1] == 40.0


def test_a_clock_that_is_set_back_does_not_stop_sampling(bench: Bench) -> None:
    bench.monitor(3, sampling=SECOND)
    bench.now -= 3600 * SECOND
    bench.write(3, 1.0, time=bench.now)
    bench.end_cycle()
    bench.points.set_mode(bench.points.find([1]), DISABLED, cycle=bench.cycle, now=bench.now)
    bench.points.set_mode(bench.points.find([1]), REPORTING, cycle=bench.cycle, now=bench.now)
    assert bench.end_cycle() == [(1, 1.0)]


# ---- queues ---------------------------------------------------------------------------------------------------------


def test_a_full_queue_sets_the_overflow_bit_on_the_wire(bench: Bench) -> None:
    bench.monitor(3, queue=2)
    bench.monitor(3, queue=2, oldest=False)
    bench.write(3, 1.0, 2.0, 3.0)
    bench.points.drain(cycle=0, ends=True)
    got = [(item.ClientHandle, item.Value.Value.Value, item.Value.StatusCode.value) for item in bench.take()]
    assert sorted(got) == [(1, 2.0, OVERFLOW_BIT), (1, 3.0, 0), (2, 1.0, 0), (2, 3.0, OVERFLOW_BIT)]
    assert bench.points.dropped == 2


def test_samples_leave_in_portions_and_in_order(bench: Bench) -> None:
    bench.monitor(3, 4)
    bench.write(3, 1.0, 2.0)
    bench.write(4, 1.0, 2.0)
    bench.points.drain(cycle=0, ends=True)
    portions = []
    while portion := bench.take(3):
        portions.append([(item.ClientHandle, item.Value.Value.Value) for item in portion])
    assert portions == [[(1, 1.0), (1, 2.0), (2, 1.0)], [(2, 2.0)]]
    assert not bench.points.pending


def test_all_that_waits_is_bounded_whatever_the_queue_sizes_promise() -> None:
    bench = Bench(max_queued=100)
    bench.monitor(*range(20), queue=1000)
    for step in range(1, 51):
        bench.table.ingest(Batch.of(range(20), [float(step)] * 20, 0, START), now=START)
    bench.points.drain(cycle=0, ends=True)
    assert bench.points.queued <= 100
    items = bench.take()
    assert {item.ClientHandle for item in items if item.Value.StatusCode.value == OVERFLOW_BIT} == set(range(1, 21))
    assert bench.points.dropped == 1000 - len(items)


def test_what_the_journal_lost_is_counted_and_marked_and_the_present_values_are_reported() -> None:
    bench = Bench(capacity=100)
    bench.monitor(3, 4, queue=5)
    bench.monitor(3, queue=1)
    for step in range(1, 301):
        bench.write(3, float(step))
    bench.points.drain(cycle=0, ends=True)
    got = [(item.ClientHandle, item.Value.Value.Value, item.Value.StatusCode.value) for item in bench.take()]
    assert got == [(1, 300.0, OVERFLOW_BIT), (2, 0.0, OVERFLOW_BIT), (3, 300.0, 0)]
    assert bench.points.lost >= 200
    bench.write(3, 301.0)
    assert bench.end_cycle() == [(1, 301.0), (3, 301.0)]


# ---- modes, modify, delete ------------------------------------------------------------------------------------------


def test_a_disabled_item_reports_nothing_and_the_present_value_when_it_is_enabled(bench: Bench) -> None:
    slots = bench.monitor(3, mode=DISABLED, first=True)
    bench.write(3, 1.0, 2.0)
    assert bench.end_cycle() == []
    bench.points.set_mode(slots, REPORTING, cycle=bench.cycle, now=bench.now)
    assert bench.end_cycle() == [(1, 2.0)]


def test_disabling_drops_what_waits(bench: Bench) -> None:
    slots = bench.monitor(3)
    bench.write(3, 1.0)
    bench.points.set_mode(slots, DISABLED, cycle=0, now=bench.now)
    assert bench.end_cycle() == []
    assert not bench.points.queued


def test_a_sampling_item_fills_its_queue_and_reports_it_when_reporting_begins(bench: Bench) -> None:
    slots = bench.monitor(3, mode=SAMPLING, queue=2, first=True)
    bench.monitor(4)
    bench.write(3, 1.0, 2.0)
    bench.write(4, 9.0)
    assert bench.end_cycle() == [(2, 9.0)]
    assert not bench.points.pending
    bench.points.set_mode(slots, REPORTING, cycle=bench.cycle, now=bench.now)
    assert bench.end_cycle() == [(1, 1.0), (1, 2.0)]


def test_a_deadband_given_later_counts_from_the_value_reported_last(bench: Bench) -> None:
    slots = bench.monitor(3)
    bench.write(3, 1.0)
    assert bench.end_cycle() == [(1, 1.0)]
    items = bench.points.get(slots)
    items["deadband"], items["handle"] = 5.0, 77
    bench.points.modify(slots, items, cycle=bench.cycle, now=bench.now)
    bench.write(3, 0.0, 1.0, 7.0)
    assert bench.end_cycle() == [(77, 7.0)]


def test_a_smaller_queue_takes_effect_on_what_waits(bench: Bench) -> None:
    slots = bench.monitor(3)
    bench.write(3, 1.0, 2.0, 3.0)
    bench.points.drain(cycle=0, ends=False)
    items = bench.points.get(slots)
    items["queue"] = 2
    bench.points.modify(slots, items, cycle=0, now=bench.now)
    assert bench.end_cycle() == [(1, 2.0), (1, 3.0)]


def test_a_deleted_item_reports_nothing_more_not_even_what_waits(bench: Bench) -> None:
    slots = bench.monitor(3, 4)
    bench.write(3, 1.0)
    bench.write(4, 1.0)
    bench.points.remove(slots[:1], cycle=0)
    bench.write(3, 2.0)
    assert bench.end_cycle() == [(2, 1.0)]
    assert len(bench.points) == 1


def test_items_keep_their_queues_when_many_others_are_deleted(bench: Bench) -> None:
    bench.monitor(*[3] * 200)
    last = bench.monitor(4)
    bench.write(4, 1.0)
    bench.points.drain(cycle=0, ends=False)
    bench.points.remove(bench.points.find(range(1, 201)), cycle=0)
    assert bench.end_cycle() == [(201, 1.0)]
    assert bench.points.find([201]).tolist() == [0] != last.tolist()
    assert bench.points.find([5]).tolist() == [-1]


def test_without_items_the_journal_keeps_nothing(bench: Bench) -> None:
    slots = bench.monitor(3)
    assert len(bench.table.journal.cursors) == 1
    bench.points.remove(slots, cycle=0)
    assert bench.table.journal.cursors == ()
    bench.monitor(3, trigger=2)
    bench.points.close()
    assert bench.table.journal.cursors == ()
    assert bench.table.timestamp_readers == 0
    bench.write(3, 5.0)
    assert len(bench.table.journal) == 0


# ---- index ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table_size", [100, 1_000_000])
@pytest.mark.parametrize("repeated", [False, True])
def test_the_index_finds_every_item_of_every_row(table_size: int, repeated: bool) -> None:
    rng = np.random.default_rng(2)
    rows = rng.choice(table_size, 50, replace=repeated).astype(np.int32)
    index = RowIndex(rows, np.arange(50, dtype=np.int32), table_size)
    asked = np.concatenate([rng.integers(0, table_size + 10, 500), rows]).astype(np.int32)
    where, slots = index.match(asked)
    positions = np.arange(len(asked)) if where is None else where
    expected = [(at, slot) for at, row in enumerate(asked.tolist()) for slot in np.nonzero(rows == row)[0].tolist()]
    assert sorted(zip(positions.tolist(), slots.tolist(), strict=True)) == expected
    assert (np.diff(positions) >= 0).all()


def test_the_index_of_a_small_subscription_is_small_however_large_the_table_is() -> None:
    index = RowIndex(np.arange(100, dtype=np.int32), np.arange(100, dtype=np.int32), 1_000_000)
    size = sum(value.nbytes for value in vars(index).values() if isinstance(value, np.ndarray))
    assert size < 10_000
