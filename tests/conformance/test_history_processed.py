"""Part 11, 6.5.4 and 6.5.5: aggregates (Part 13) and values at given times."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from conformance.history_asks import (
    MINUTE,
    NO_STOCK,
    NOON,
    SECOND,
    at_times,
    codes,
    history,
    memory,
    moments,
    one,
    processed,
    request,
    status,
    values,
)
from conformance.registry import case, check, each
from conformance.subject import POSITION, TEXT, Subject
from peers.opcua.agent import Peer
from peers.opcua.part13_examples import H1
from peers.opcua.wire_client import WireClient

from address_space.catalogue import ValueType

_CALCULATED, _INTERPOLATED, _PARTIAL, _MULTIPLE = 0x401, 0x402, 0x404, 0x410
_NO_DATA = int(ua.StatusCodes.BadNoData)
_SUB_NORMAL = int(ua.StatusCodes.UncertainDataSubNormal)
_AS_GOOD = ua.AggregateConfiguration(
    UseServerCapabilitiesDefaults=False, TreatUncertainAsBad=False, PercentDataBad=100, PercentDataGood=100
)


@pytest.fixture
def kept(subject: Subject, point: str) -> str:
    """A point with a value every second for 100 s; the value is the second."""
    memory(subject).put(point, [NOON + second * SECOND for second in range(100)], [float(each) for each in range(100)])
    return point


@pytest.fixture
def historian(subject: Subject, point: str) -> str:
    """A point with the data of Historian 1 of Part 13, Annex A."""
    seconds, numbers, statuses = zip(*H1[1:], strict=True)
    times = [NOON + second * SECOND for second in seconds]
    memory(subject).put(point, times, [float(each) for each in numbers], list(statuses))
    return point


def _aggregate(name: str, interval: int, expected: list[Any], statuses: list[int]) -> Any:
    words = f"{name} of the standard's example data gives the standard's example results"
    return case("Part 13 Annex A", words, name, interval, expected, statuses, ours_only=NO_STOCK)


@each(
    ("name", "interval", "expected", "statuses"),
    _aggregate(
        "Interpolative",
        20,
        [None, 20, 40, 60, 80],
        [_NO_DATA, 0, _SUB_NORMAL | _INTERPOLATED, 0, 0],
    ),
    _aggregate(
        "TimeAverage2",
        5,
        [None, None, 12.5, 17.5, 22.5, 27.5, 30, 30, None, None, 52.5, 57.5],
        [_NO_DATA] * 2 + [_CALCULATED] * 4 + [_SUB_NORMAL | _CALCULATED] * 2 + [_NO_DATA] * 2 + [_CALCULATED] * 2,
    ),
    _aggregate(
        "VarianceSample",
        20,
        [0, 50, 0, 0, 50],
        [
            _CALCULATED | _PARTIAL,
            _CALCULATED,
            _SUB_NORMAL | _CALCULATED,
            _SUB_NORMAL | _CALCULATED,
            _CALCULATED | _PARTIAL,
        ],
    ),
    _aggregate(
        "MinimumActualTime",
        16,
        [10, 20, None, 50, None, 80, None],
        [_PARTIAL, 0, _NO_DATA, 0, _NO_DATA, _PARTIAL, _NO_DATA],
    ),
    _aggregate(
        "StartBound",
        16,
        [None, 16, 30, None, 64, 80, None],
        [
            _NO_DATA | _PARTIAL,
            _INTERPOLATED,
            _SUB_NORMAL | _INTERPOLATED,
            _NO_DATA,
            _SUB_NORMAL | _INTERPOLATED,
            _PARTIAL,
            _NO_DATA,
        ],
    ),
    _aggregate(
        "DurationGood",
        16,
        [6000, 16000, 0, 14000, 0, 10001, None],
        [_CALCULATED | _PARTIAL, _CALCULATED, _CALCULATED, _CALCULATED, _CALCULATED, _CALCULATED | _PARTIAL, _NO_DATA],
    ),
)
async def test_examples_of_annex_a(
    wire: WireClient, historian: str, name: str, interval: int, expected: list[Any], statuses: list[int]
) -> None:
    result = await one(wire, processed(name, 0, 100 * SECOND, interval * 1000, _AS_GOOD), historian)
    found = values(result)[: len(expected)]
    assert [None if each is None else pytest.approx(each, abs=1e-3) for each in found] == expected
    assert codes(result)[: len(statuses)] == statuses


@check("Part 13 5.4.2.2", "An interval includes its start and excludes its end", ours_only=NO_STOCK)
async def test_limits_of_intervals(wire: WireClient, kept: str) -> None:
    result = await one(wire, processed("Count", 10 * SECOND, 30 * SECOND, 10_000), kept)
    assert (values(result), moments(result)) == ([10, 10], [10.0, 20.0])


@check("Part 13 5.4.2.2", "With start behind end intervals go backward, each with its later time", ours_only=NO_STOCK)
async def test_reversed_intervals(wire: WireClient, kept: str) -> None:
    result = await one(wire, processed("Maximum", 30 * SECOND, 10 * SECOND, 10_000), kept)
    assert (values(result), moments(result)) == ([30, 20], [30.0, 20.0])


@check("Part 13 5.4.2.2", "An interval that does not divide the range leaves a shorter last one", ours_only=NO_STOCK)
async def test_shorter_last_interval(wire: WireClient, kept: str) -> None:
    result = await one(wire, processed("Count", 10 * SECOND, 35 * SECOND, 10_000), kept)
    assert values(result) == [10, 10, 5]


@check("Part 13 5.4.2.2", "A ProcessingInterval of 0 is the whole range", ours_only=NO_STOCK)
async def test_interval_of_nothing(wire: WireClient, kept: str) -> None:
    result = await one(wire, processed("Average", 10 * SECOND, 21 * SECOND, 0), kept)
    assert values(result) == [15.0]


@check("Part 13 5.4.2.2", "A ProcessingInterval beyond the range is the whole range", ours_only=NO_STOCK)
async def test_interval_beyond_the_range(wire: WireClient, kept: str) -> None:
    result = await one(wire, processed("Average", 10 * SECOND, 21 * SECOND, 60_000), kept)
    assert values(result) == [15.0]


@check("Part 11 6.5.4.2", "Start equal to end answers BadInvalidArgument", ours_only=NO_STOCK)
async def test_start_is_end(wire: WireClient, kept: str) -> None:
    assert await status(wire, processed("Average", SECOND, SECOND, 1000), kept) == "BadInvalidArgument"


@check("Part 11 6.5.4.2", "A negative ProcessingInterval answers BadInvalidArgument", ours_only=NO_STOCK)
async def test_negative_interval(wire: WireClient, kept: str) -> None:
    assert await status(wire, processed("Average", 0, SECOND, -1), kept) == "BadInvalidArgument"


@check("Part 13 5.3.2", "An unknown aggregate answers BadAggregateNotSupported", ours_only=NO_STOCK)
async def test_unknown_aggregate(wire: WireClient, kept: str) -> None:
    details = processed("Average", 0, SECOND, 0)
    details.AggregateType = [ua.NodeId(2340)]
    assert await status(wire, details, kept) == "BadAggregateNotSupported"


@check("Part 13 5.3.2", "Fewer aggregates than nodes answer BadAggregateListMismatch", ours_only=NO_STOCK)
async def test_list_mismatch(wire: WireClient, kept: str) -> None:
    assert await wire.status(request(processed("Average", 0, SECOND, 0), kept, kept)) == "BadAggregateListMismatch"


@check("Part 13 5.3.2", "A numeric aggregate of texts answers BadAggregateInvalidInputs", ours_only=NO_STOCK)
async def test_average_of_texts(wire: WireClient, subject: Subject) -> None:
    memory(subject).put(TEXT, [NOON], ["text"], 0, ValueType.STRING)
    assert await status(wire, processed("Average", 0, SECOND, 0), TEXT) == "BadAggregateInvalidInputs"


@check(
    "Part 13 4.2.1.2",
    "PercentDataGood below 100 - PercentDataBad is BadAggregateInvalidInputs",
    ours_only=NO_STOCK,
)
async def test_percentages_without_a_verdict(wire: WireClient, kept: str) -> None:
    configuration = ua.AggregateConfiguration(
        UseServerCapabilitiesDefaults=False, PercentDataBad=10, PercentDataGood=10
    )
    details = processed("Average", 0, SECOND, 0, configuration)
    assert await status(wire, details, kept) == "BadAggregateInvalidInputs"


@check("Part 13 4.2.1.2", "A percentage above 100 answers BadAggregateConfigurationRejected", ours_only=NO_STOCK)
async def test_percentage_above_a_hundred(wire: WireClient, kept: str) -> None:
    configuration = ua.AggregateConfiguration(
        UseServerCapabilitiesDefaults=False, PercentDataBad=101, PercentDataGood=100
    )
    details = processed("Average", 0, SECOND, 0, configuration)
    assert await status(wire, details, kept) == "BadAggregateConfigurationRejected"


@check("Part 13 4.2.1.2", "TreatUncertainAsBad leaves Uncertain values out", ours_only=NO_STOCK)
async def test_uncertain_as_bad(wire: WireClient, historian: str) -> None:
    treated = ua.AggregateConfiguration(
        UseServerCapabilitiesDefaults=False, TreatUncertainAsBad=True, PercentDataBad=100, PercentDataGood=100
    )
    asked = (65 * SECOND, 85 * SECOND, 0)
    with_it = await one(wire, processed("NumberOfTransitions", *asked, _AS_GOOD), historian)
    without = await one(wire, processed("NumberOfTransitions", *asked, treated), historian)
    assert (values(with_it), values(without)) == ([2], [1])


@check("Part 13 5.4.3", "Values of discrete points hold: their interpolation is stepped", ours_only=NO_STOCK)
async def test_stepped_points(wire: WireClient, subject: Subject) -> None:
    memory(subject).put(POSITION, [NOON, NOON + 10 * SECOND], [1, 2], value_type=ValueType.INT32)
    result = await one(wire, processed("Interpolative", 9 * SECOND, 11 * SECOND, 1000), POSITION)
    assert values(result) == [1, 2]
    assert [each.Value.VariantType.name for each in result.HistoryData.DataValues] == ["Int32", "Int32"]


@check("Part 13 5.4.3.35", "WorstQuality has a StatusCode as its value", ours_only=NO_STOCK)
async def test_worst_quality(wire: WireClient, historian: str) -> None:
    result = await one(wire, processed("WorstQuality", 30 * SECOND, 60 * SECOND, 0), historian)
    [value] = result.HistoryData.DataValues
    assert value.Value.VariantType == ua.VariantType.StatusCode
    assert value.Value.Value.value == ua.StatusCodes.Bad


@check("Part 13 5.4.3", "Each aggregate of the AggregateFunctions folder can be read", ours_only=NO_STOCK)
async def test_every_aggregate_of_the_folder(wire: WireClient, node: Peer, kept: str) -> None:
    browse = {"nodeId": "i=11201", "browseDirection": 0, "referenceTypeId": "i=35", "resultMask": 63}
    answer = await node.request("BrowseRequest", nodesToBrowse=[browse])
    numbers = [int(each["nodeId"].partition("i=")[2]) for each in answer["results"][0]["references"]]
    assert len(numbers) == 37
    details = processed("Average", 0, MINUTE, 0)
    details.AggregateType = [ua.NodeId(number) for number in numbers]
    results = await history(wire, details, *[kept] * len(numbers))
    assert {each.StatusCode.name for each in results} == {"Good"}


@check("Part 4 7.9", "Many intervals come by continuation points, without a gap or an overlap", ours_only=NO_STOCK)
async def test_intervals_continue(wire: WireClient, kept: str) -> None:
    details = processed("Interpolative", 0, 25 * SECOND, 1)
    found: list[float] = []
    points: list[bytes] = []
    parts = 0
    while True:
        result = await one(wire, details, kept, points=points)
        found += moments(result)
        parts += 1
        if not result.ContinuationPoint:
            break
        points = [result.ContinuationPoint]
    assert parts == 3
    assert found == pytest.approx([number / 1000 for number in range(25_000)])


@check(
    "Part 11 6.5.5",
    "ReadAtTime gives raw values where there are some, else interpolated ones",
    ours_only=NO_STOCK,
)
async def test_at_time(wire: WireClient, historian: str) -> None:
    result = await one(wire, at_times(20 * SECOND, 25 * SECOND), historian)
    assert (values(result), codes(result)) == ([20.0, 25.0], [0, _INTERPOLATED])


@check("Part 11 6.5.5", "ReadAtTime reaches across Bad values, and says so", ours_only=NO_STOCK)
async def test_at_time_across_bad_values(wire: WireClient, historian: str) -> None:
    result = await one(wire, at_times(45 * SECOND), historian)
    assert (values(result), codes(result)) == ([45.0], [_SUB_NORMAL | _INTERPOLATED])


@check("Part 11 6.5.5", "ReadAtTime with UseSimpleBounds does not reach across Bad values", ours_only=NO_STOCK)
async def test_at_time_with_simple_bounds(wire: WireClient, historian: str) -> None:
    result = await one(wire, at_times(35 * SECOND, 45 * SECOND, simple=True), historian)
    assert (values(result), codes(result)) == ([30.0, None], [_SUB_NORMAL | _INTERPOLATED, _NO_DATA])


@check("Part 11 6.5.5", "ReadAtTime before the first value is BadNoData", ours_only=NO_STOCK)
async def test_at_time_before_the_data(wire: WireClient, historian: str) -> None:
    result = await one(wire, at_times(5 * SECOND), historian)
    assert (values(result), codes(result)) == ([None], [_NO_DATA])


@check("Part 11 6.5.5", "ReadAtTime behind the last value holds it, as Uncertain", ours_only=NO_STOCK)
async def test_at_time_behind_the_data(wire: WireClient, historian: str) -> None:
    result = await one(wire, at_times(95 * SECOND), historian)
    assert (values(result), codes(result)) == ([90.0], [_SUB_NORMAL | _INTERPOLATED])


@check("Part 11 6.5.5", "ReadAtTime answers in the order of the times asked for", ours_only=NO_STOCK)
async def test_at_time_in_any_order(wire: WireClient, kept: str) -> None:
    result = await one(wire, at_times(50 * SECOND, 3 * SECOND, 50 * SECOND), kept)
    assert (values(result), moments(result)) == ([50, 3, 50], [50.0, 3.0, 50.0])


@check("Part 11 6.5.5", "ReadAtTime without times answers BadInvalidTimestampArgument", ours_only=NO_STOCK)
async def test_at_no_time(wire: WireClient, kept: str) -> None:
    assert await status(wire, at_times(), kept) == "BadInvalidTimestampArgument"
