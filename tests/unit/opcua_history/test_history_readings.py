"""Readings of history part by part: pages, too many samples, what holds until now, histories that cannot answer."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import extensionobject_from_binary
from peers.loop_watch import LoopWatch
from peers.opcua.memory_history import MemoryHistory
from peers.opcua.rig import POSITION, POWER, grid

from address_space import clock
from address_space.aggregates import AGGREGATES
from address_space.catalogue import ValueType
from address_space.opcua import history_series
from address_space.opcua.history_columns import Columns, Part, part_of
from address_space.opcua.history_points import ContinuationPoints, Unfinished
from address_space.opcua.history_processed import ProcessedDetails, ProcessedReading
from address_space.opcua.history_raw import RawDetails, RawReading
from address_space.opcua.history_series import SeriesLoader, numbers
from address_space.opcua.wire import OperationError
from address_space.point import Batch
from address_space.ports import HistoryValues

SECOND = clock.TICKS_PER_SECOND
NOON = 133_800_048_000_000_000
PLAIN = b"\x00\x00\xff\xff\xff\xff"


def history(count: int = 100, **more: Any) -> MemoryHistory:
    made = MemoryHistory()
    made.put(POWER, [NOON + each * SECOND for each in range(count)], [float(each) for each in range(count)], **more)
    return made


def decoded(data: bytes) -> Any:
    return extensionobject_from_binary(Buffer(data))


def processed(kept: MemoryHistory, name: str, start: int, end: int, interval: float, page: int = 1000) -> Any:
    details = ProcessedDetails(NOON + start * SECOND, NOON + end * SECOND, interval, (), None)
    return ProcessedReading(kept, grid(), POWER, details, AGGREGATES[name], None, 2, page)


async def all_values(reading: Any) -> list[Any]:
    found = []
    while True:
        answer = await reading.next()
        found += [None if each.Value is None else each.Value.Value for each in decoded(answer.data).DataValues]
        if not answer.more:
            return found


@pytest.mark.parametrize("page", [1, 3, 7, 1000])
@pytest.mark.parametrize("most", [0, 2, 50])
@pytest.mark.parametrize("ends", [(10, 60), (60, 10)])
async def test_parts_of_raw_values_make_the_whole(page: int, most: int, ends: tuple[int, int]) -> None:
    kept = history()
    kept.most = 5
    start, end = ends
    details = RawDetails(False, NOON + start * SECOND, NOON + end * SECOND, most, True)
    found = await all_values(RawReading(kept, POWER, details, None, 2, page))
    assert found == [float(each) for each in (range(10, 61) if start < end else range(60, 9, -1))]


async def test_only_as_many_as_asked_for_without_an_end() -> None:
    details = RawDetails(False, NOON + 95 * SECOND, 0, 3, False)
    assert await all_values(RawReading(history(), POWER, details, None, 2, 2)) == [95.0, 96.0, 97.0]


@pytest.mark.parametrize("ends", [(0, 100), (100, 0)])
async def test_more_samples_than_can_be_worked_on_end_a_part_early(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[int, int]
) -> None:
    kept = history()
    whole = await all_values(processed(kept, "Average", *ends, 10_000))
    monkeypatch.setattr(history_series, "MOST_SAMPLES", 35)
    monkeypatch.setattr(history_series, "_PAGE", 10)
    reading = processed(kept, "Average", *ends, 10_000)
    first = await reading.next()
    assert first.more
    assert 0 < len(decoded(first.data).DataValues) < 5
    found = [each.Value.Value for each in decoded(first.data).DataValues] + await all_values(reading)
    assert found == whole


async def test_an_interval_with_too_many_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_series, "MOST_SAMPLES", 35)
    monkeypatch.setattr(history_series, "_PAGE", 10)
    with pytest.raises(OperationError) as refused:
        await processed(history(), "Average", 0, 100, 0).next()
    assert refused.value.status == ua.StatusCodes.BadTooManyOperations


async def test_usable_samples_are_looked_for_behind_a_run_of_bad_ones() -> None:
    kept = MemoryHistory()
    statuses = [0] + [0x8000_0000] * 100 + [0]
    kept.put(POWER, [NOON + each * SECOND for each in range(102)], [float(each) for each in range(102)], statuses)
    assert await all_values(processed(kept, "Interpolative", 50, 51, 0)) == [50.0]
    assert await all_values(processed(kept, "StartBound", 50, 51, 0)) == [None]


async def test_the_newest_value_holds_while_the_live_point_has_it() -> None:
    table, kept = grid(), MemoryHistory()
    moment = clock.now() - 3600 * SECOND
    table.ingest(Batch.of([table.find(POWER)], [77.0], 0, moment))
    kept.put(POWER, [moment], [77.0])
    details = ProcessedDetails(moment + 60 * SECOND, moment + 120 * SECOND, 0.0, (), None)

    async def average() -> tuple[float | None, int]:
        reading = ProcessedReading(kept, table, POWER, details, AGGREGATES["TimeAverage2"], None, 2, 10)
        [value] = decoded((await reading.next()).data).DataValues
        return (None if value.Value is None else value.Value.Value), value.StatusCode.value

    assert await average() == (77.0, 0x401)
    # After a restart the live point waits for its first value: nothing is known behind the newest sample.
    table.ingest(Batch.of([table.find(POWER)], [78.0], 0, clock.now()))
    assert await average() == (None, ua.StatusCodes.BadNoData)


async def test_a_day_of_seconds_is_aggregated_in_milliseconds_without_holding_up_the_loop() -> None:
    kept = history(86_400)
    reading = processed(kept, "TimeAverage", 0, 86_400, 900_000)
    with LoopWatch() as watch:
        began = time.perf_counter()
        answer = await reading.next()
        took = time.perf_counter() - began
    values = [each.Value.Value for each in decoded(answer.data).DataValues]
    # The value is the second, so the mean of a quarter of an hour is its middle; behind the last second it holds.
    assert values[:-1] == pytest.approx([450 + 900 * each for each in range(95)])
    assert took < 1.0
    assert watch.worst.cpu < 0.02, watch.report()


def test_numbers_of_every_type() -> None:
    status, times = np.zeros(2, np.uint32), np.arange(2, dtype=np.int64)

    def of(kind: int, *raw: int) -> list[float]:
        return numbers(HistoryValues(kind, np.array(raw, np.uint64), status, times, times)).tolist()

    assert of(ValueType.BOOLEAN, 1, 0) == [1.0, 0.0]
    assert of(ValueType.INT32, 0xFFFF_FFFF, 5) == [-1.0, 5.0]
    assert of(ValueType.UINT32, 0xFFFF_FFFF, 5) == [4294967295.0, 5.0]
    assert of(ValueType.INT64, (1 << 64) - 3, 5) == [-3.0, 5.0]
    assert of(ValueType.DOUBLE, struct.unpack("<Q", struct.pack("<d", 2.5))[0], 0) == [2.5, 0.0]
    texts = HistoryValues(ValueType.STRING, np.zeros(3, np.uint64), np.zeros(3, "u4"), times, times, ("b", "a", "b"))
    found = numbers(texts).tolist()
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("index_range", "encoding", "kind", "expected"),
    [
        ("", PLAIN, ValueType.DOUBLE, None),
        ("1:2", PLAIN, ValueType.STRING, Part(1, 2)),
        ("4", PLAIN, ValueType.STRING, Part(4, 4)),
        ("1", PLAIN, ValueType.DOUBLE, ua.StatusCodes.BadIndexRangeNoData),
        ("1,2", PLAIN, ValueType.STRING, ua.StatusCodes.BadIndexRangeNoData),
        ("2:2", PLAIN, ValueType.STRING, ua.StatusCodes.BadIndexRangeInvalid),
        ("x", PLAIN, ValueType.STRING, ua.StatusCodes.BadIndexRangeInvalid),
        ("", b"\x00\x00\x01\x00\x00\x00x", ValueType.DOUBLE, ua.StatusCodes.BadDataEncodingInvalid),
    ],
)
def test_parts_that_are_asked_for(index_range: str, encoding: bytes, kind: int, expected: Any) -> None:
    if expected is None or isinstance(expected, Part):
        assert part_of(index_range, encoding, kind) == expected
        return
    with pytest.raises(OperationError) as refused:
        part_of(index_range, encoding, kind)
    assert refused.value.status == expected


def test_columns_of_different_points_join() -> None:
    kept = HistoryValues(
        ValueType.STRING, np.zeros(1, np.uint64), np.zeros(1, "u4"), np.array([5]), np.array([6]), ("one",)
    )
    joined = Columns.of(kept).joined([Columns.blank(0x80D7_0000, (9,)), Columns.of(kept)])
    assert (joined.kinds.tolist(), joined.raw.tolist(), joined.texts) == ([12, 0, 12], [0, 0, 1], ("one", "one"))


class _Session:
    """As much of a session as continuation points need."""

    def __init__(self) -> None:
        self.on_close: list[Any] = []


def test_points_of_a_session_go_with_it() -> None:
    points, session = ContinuationPoints(3), _Session()
    unfinished = Unfinished(b"", 649, RawReading(history(), POWER, RawDetails(False, 1, 2, 0, False), None, 2, 5), 1)
    names = {points.keep(session, unfinished) for _ in range(3)}  # type: ignore[arg-type]  # a part of a session
    assert (len(names), {len(each) for each in names}) == (3, {16})
    for tell in session.on_close:
        tell(True)
    assert points.count(session) == 0  # type: ignore[arg-type]  # a part of a session
    with pytest.raises(OperationError):
        points.take(session, names.pop())  # type: ignore[arg-type]  # a part of a session


async def test_positions_keep_their_type() -> None:
    kept = MemoryHistory()
    kept.put(POSITION, [NOON, NOON + SECOND], [1, 2], value_type=ValueType.INT32)
    loader = SeriesLoader(kept, grid(), POSITION, history_series.AggregateConfiguration())
    parts, newest = await loader.over(NOON, NOON + SECOND, reverse=False)
    loaded = loader.made(parts, newest=newest)
    assert loaded.series is not None
    assert (loaded.series.stepped, loaded.series.value.tolist()) == (True, [1.0, 2.0])


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["TimeAverage", "TimeAverage2", "Average", "Maximum2", "VarianceSample"])
async def test_a_value_that_is_no_finite_number_spoils_no_other_interval(name: str, amount: float) -> None:
    kept, spoiled = history(), MemoryHistory()
    values = [float(each) for each in range(100)]
    values[5] = amount
    spoiled.put(POWER, [NOON + each * SECOND for each in range(100)], values)
    clean = await all_values(processed(kept, name, 0, 90, 10_000))
    found = await all_values(processed(spoiled, name, 0, 90, 10_000))
    assert found[1:] == pytest.approx(clean[1:])
    assert found[0] is not None and np.isfinite(found[0])


async def test_a_raw_value_that_is_not_a_number_is_given_as_it_is() -> None:
    kept = MemoryHistory()
    kept.put(POWER, [NOON, NOON + SECOND], [float("nan"), 1.0])
    [value] = await all_values(processed(kept, "Start", 0, 1, 0))
    assert np.isnan(value)


def test_a_long_text_takes_no_more_memory_for_the_short_ones() -> None:
    count = 2_000
    texts = ("x" * 100_000, *("on" if number % 2 else "off" for number in range(1, count)))
    plain = np.zeros(count, np.int64)
    values = HistoryValues(ValueType.STRING, plain.view(np.uint64), plain.astype("u4"), plain, plain, texts)
    tracemalloc.start()
    found = numbers(values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(found.tolist())) == 3
    assert most < 1 << 20
