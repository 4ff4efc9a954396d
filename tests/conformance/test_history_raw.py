"""Part 11, 6.5.3: raw and modified values; Part 4, 5.11.3: HistoryRead as a service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua import ua
from conformance.ask import read
from conformance.history_asks import (
    MINUTE,
    NO_STOCK,
    NOON,
    SECOND,
    codes,
    history,
    memory,
    moments,
    one,
    processed,
    raw,
    request,
    status,
    values,
)
from conformance.registry import case, check, each
from conformance.subject import BAY, HIDDEN, METHODS_OBJECT, PASSWORDS, TEXT, Subject
from conformance.subject import node as node_id
from peers.opcua.agent import Agent, Peer
from peers.opcua.wire_client import WireClient

from address_space.catalogue import ValueType

_MINUTES = (0, 2, 3, 5, 6)
_FIRST, _LAST = "first", "last"
"""Bounds that there are none of: BadBoundNotFound."""


@pytest.fixture
def kept(subject: Subject, point: str) -> str:
    """A point with a value every second for 100 s; the value is the second."""
    memory(subject).put(point, [NOON + second * SECOND for second in range(100)], [float(each) for each in range(100)])
    return point


@pytest.fixture
def sparse(subject: Subject, point: str) -> str:
    """A point with values 0, 2, 3, 5 and 6 minutes after noon; the value is the minute."""
    memory(subject).put(point, [NOON + each * MINUTE for each in _MINUTES], [float(each) for each in _MINUTES])
    return point


def _row(start: Any, end: Any, most: int, bounds: bool, *expected: Any) -> Any:
    def told(minute: Any) -> str:
        return "none" if minute is None else f"{minute:g}"

    words = f"{told(start)} to {told(end)}" + (f", {most} values" if most else "") + (", with bounds" if bounds else "")
    found = ", ".join(told(each) if not isinstance(each, str) else f"no {each} bound" for each in expected) or "nothing"
    name = f"ReadRaw of values at minutes 0, 2, 3, 5, 6 from {words} gives {found}"
    return case("Part 11 6.5.3.2", name, start, end, most, bounds, list(expected), ours_only=NO_STOCK)


@each(
    ("start", "end", "most", "bounds", "expected"),
    _row(0, 5, 0, True, 0, 2, 3, 5),
    _row(0, 5, 0, False, 0, 2, 3),
    _row(1, 4, 0, True, 0, 2, 3, 5),
    _row(1, 4, 0, False, 2, 3),
    _row(5, 0, 0, True, 5, 3, 2, 0),
    _row(5, 0, 0, False, 5, 3, 2),
    _row(4, 1, 0, True, 5, 3, 2, 0),
    _row(4, 1, 0, False, 3, 2),
    _row(-1, 5, 0, True, _FIRST, 0, 2, 3, 5),
    _row(-1, 5, 0, False, 0, 2, 3),
    _row(5, -1, 0, True, 5, 3, 2, 0, _FIRST),
    _row(1, 7, 0, True, 0, 2, 3, 5, 6, _LAST),
    _row(7, 1, 0, True, _LAST, 6, 5, 3, 2, 0),
    _row(0, 5, 3, True, 0, 2, 3),
    _row(1, 4, 3, True, 0, 2, 3),
    _row(4, 1, 3, True, 5, 3, 2),
    _row(-1, 5, 3, True, _FIRST, 0, 2),
    _row(0, None, 3, True, 0, 2, 3),
    _row(0, None, 6, True, 0, 2, 3, 5, 6, _LAST),
    _row(0, None, 6, False, 0, 2, 3, 5, 6),
    _row(7, None, 6, True, 6, _LAST),
    _row(7, None, 6, False),
    _row(None, 6, 3, True, 6, 5, 3),
    _row(None, 6, 6, True, 6, 5, 3, 2, 0, _FIRST),
    _row(None, 6, 6, False, 6, 5, 3, 2, 0),
    _row(-2, -2, 0, True, _FIRST, 0),
    _row(2, 2, 0, True, 2),
    _row(1, 1, 0, True, 0, 2),
    _row(1, 1, 0, False),
    _row(7, 7, 0, True, 6, _LAST),
)
async def test_bounds_of_raw_reads(
    wire: WireClient, sparse: str, start: Any, end: Any, most: int, bounds: bool, expected: list[Any]
) -> None:
    def ticks(minute: Any) -> int | None:
        return None if minute is None else int(minute * MINUTE)

    result = await one(wire, raw(ticks(start), ticks(end), most, bounds=bounds), sparse)
    found = values(result)
    assert len(found) == len(expected)
    for value, code, wanted in zip(found, codes(result), expected, strict=True):
        if isinstance(wanted, str):
            assert (value, code) == (None, ua.StatusCodes.BadBoundNotFound)
        else:
            assert (value, code) == (wanted, 0)
    assert result.StatusCode.value == (0 if expected else ua.StatusCodes.GoodNoData)


@check("Part 11 6.5.3.2", "A missing bound has the time that was asked for", ours_only=NO_STOCK)
async def test_a_missing_bound_has_the_time_asked_for(wire: WireClient, sparse: str) -> None:
    result = await one(wire, raw(-1 * MINUTE, 7 * MINUTE, bounds=True), sparse)
    assert (moments(result)[0], moments(result)[-1]) == (-60.0, 420.0)


@check("Part 11 6.5.3.2", "Values of the same time are neither lost nor repeated by continuation", ours_only=NO_STOCK)
async def test_equal_times_survive_continuation(wire: WireClient, subject: Subject, point: str) -> None:
    memory(subject).put(point, [NOON] * 7 + [NOON + SECOND], [float(each) for each in range(8)])
    found, next_point = [], None
    while True:
        result = await one(wire, raw(0, MINUTE, 3), point, points=[next_point] if next_point else ())
        found += values(result)
        next_point = result.ContinuationPoint
        if not next_point:
            break
    assert found == [0, 1, 2, 3, 4, 5, 6, 7]


@check(
    "Part 4 5.11.3",
    "More values than NumValuesPerNode come by a continuation point, in reverse too",
    ours_only=NO_STOCK,
)
async def test_continuation_in_reverse(wire: WireClient, kept: str) -> None:
    first = await one(wire, raw(50 * SECOND, 40 * SECOND, 6), kept)
    assert values(first) == [50, 49, 48, 47, 46, 45]
    rest = await one(wire, raw(50 * SECOND, 40 * SECOND, 6), kept, points=[first.ContinuationPoint])
    assert values(rest) == [44, 43, 42, 41]
    assert not rest.ContinuationPoint


@check("Part 4 7.9", "A continuation point that was used once is BadContinuationPointInvalid", ours_only=NO_STOCK)
async def test_a_point_is_good_once(wire: WireClient, kept: str) -> None:
    first = await one(wire, raw(0, 50 * SECOND, 6), kept)
    await one(wire, raw(0, 50 * SECOND, 6), kept, points=[first.ContinuationPoint])
    again = await status(wire, raw(0, 50 * SECOND, 6), kept, points=[first.ContinuationPoint])
    assert again == "BadContinuationPointInvalid"


@check("Part 4 5.11.3", "ReleaseContinuationPoints gives the point back and returns no values", ours_only=NO_STOCK)
async def test_release(wire: WireClient, kept: str) -> None:
    first = await one(wire, raw(0, 50 * SECOND, 6), kept)
    released = await one(wire, raw(0, 50 * SECOND, 6), kept, points=[first.ContinuationPoint], release=True)
    assert (released.StatusCode.value, released.ContinuationPoint) == (0, None)
    assert not isinstance(released.HistoryData, ua.HistoryData)
    again = await status(wire, raw(0, 50 * SECOND, 6), kept, points=[first.ContinuationPoint])
    assert again == "BadContinuationPointInvalid"


@check("Part 4 7.9", "A continuation point of another session is BadContinuationPointInvalid", ours_only=NO_STOCK)
async def test_points_are_of_one_session(wire: WireClient, second: WireClient, kept: str) -> None:
    first = await one(wire, raw(0, 50 * SECOND, 6), kept)
    stolen = await status(second, raw(0, 50 * SECOND, 6), kept, points=[first.ContinuationPoint])
    assert stolen == "BadContinuationPointInvalid"


@check("Part 4 7.9", "A continuation point with another node is BadContinuationPointInvalid", ours_only=NO_STOCK)
async def test_points_are_of_one_node(wire: WireClient, subject: Subject, kept: str) -> None:
    other = subject.fresh()
    memory(subject).put(other, [NOON], [1.0])
    first = await one(wire, raw(0, 50 * SECOND, 6), kept)
    assert await status(wire, raw(0, 50 * SECOND, 6), other, points=[first.ContinuationPoint]) == (
        "BadContinuationPointInvalid"
    )


@check(
    "Part 4 7.9",
    "Points of earlier requests are given up when new ones are needed, the oldest first",
    ours_only=NO_STOCK,
)
async def test_points_are_bounded(wire: WireClient, kept: str) -> None:
    points = [(await one(wire, raw(0, 50 * SECOND, 2), kept)).ContinuationPoint for _ in range(21)]
    assert await status(wire, raw(0, 50 * SECOND, 2), kept, points=points[:1]) == "BadContinuationPointInvalid"
    assert await status(wire, raw(0, 50 * SECOND, 2), kept, points=points[-1:]) == "Good"


@check("Part 4 7.9", "More points than there may be in one request answer BadNoContinuationPoints", ours_only=NO_STOCK)
async def test_no_continuation_points(wire: WireClient, kept: str) -> None:
    results = await history(wire, raw(0, 50 * SECOND, 2), *[kept] * 21)
    names = [each.StatusCode.name for each in results]
    assert names == ["Good"] * 20 + ["BadNoContinuationPoints"]


@check("Part 4 5.11.3", "A request without nodes answers BadNothingToDo")
async def test_nothing_to_do(wire: WireClient) -> None:
    assert await wire.status(request(raw(0, MINUTE))) == "BadNothingToDo"


@check("Part 4 5.11.3", "More nodes than MaxNodesPerHistoryReadData answer BadTooManyOperations")
async def test_too_many_operations(wire: WireClient, node: Peer) -> None:
    limit = (await read(node, "i=12165"))["value"]["value"]
    assert limit > 0
    assert await wire.status(request(raw(0, MINUTE), *[BAY] * (limit + 1))) == "BadTooManyOperations"


@check("Part 4 5.11.3", "TimestampsToReturn NEITHER answers BadTimestampsToReturnInvalid")
async def test_neither_timestamp(wire: WireClient, point: str) -> None:
    asked = request(raw(0, MINUTE), point, stamps=ua.TimestampsToReturn.Neither)
    assert await wire.status(asked) == "BadTimestampsToReturnInvalid"


@check("Part 4 5.11.3", "Details that are none answer BadHistoryOperationInvalid")
async def test_details_that_are_none(wire: WireClient, point: str) -> None:
    asked = request(ua.ReadValueId(NodeId=ua.NodeId(2258), AttributeId=ua.AttributeIds.Value), point)
    assert await wire.status(asked) == "BadHistoryOperationInvalid"


@check("Part 4 5.11.3", "An unknown node answers BadNodeIdUnknown")
async def test_unknown_node(wire: WireClient) -> None:
    assert await status(wire, raw(0, MINUTE), "ns=2;s=nowhere") == "BadNodeIdUnknown"


@check("Part 4 5.11.3", "A variable without history answers BadHistoryOperationUnsupported")
async def test_a_variable_without_history(wire: WireClient, point: str) -> None:
    assert await status(wire, raw(0, MINUTE), point) == "BadHistoryOperationUnsupported"


@check("Part 4 5.11.3", "Raw values of an object answer BadHistoryOperationUnsupported")
async def test_an_object_has_no_values(wire: WireClient) -> None:
    assert await status(wire, raw(0, MINUTE), METHODS_OBJECT) == "BadHistoryOperationUnsupported"


@check("Part 4 5.11.3", "Who may not read the value may not read its history: BadUserAccessDenied", ours_only=NO_STOCK)
async def test_access(wire: WireClient, subject: Subject) -> None:
    memory(subject).put(HIDDEN, [NOON], [1.0])
    assert await status(wire, raw(0, MINUTE), HIDDEN) == "BadUserAccessDenied"


@check("Part 4 5.11.3", "A node that the user may not see answers BadNodeIdUnknown", ours_only=NO_STOCK)
async def test_a_hidden_node(agent: Agent, subject: Subject, kept: str) -> None:
    peer = await agent.connect(subject.url, user="nina", password=PASSWORDS["nina"])
    details = {"$type": "ReadRawModifiedDetails", "numValuesPerNode": 5, "startTime": {"$date": "2024-12-30T04:00:00Z"}}
    answer = await peer.request(
        "HistoryReadRequest",
        historyReadDetails=details,
        timestampsToReturn=2,
        nodesToRead=[{"nodeId": node_id(kept)}],
    )
    await peer.disconnect()
    assert answer["results"][0]["statusCode"] == "BadNodeIdUnknown"


@check(
    "Part 11 6.5.3.2",
    "Neither two times nor a time and a number answers BadInvalidTimestampArgument",
    ours_only=NO_STOCK,
)
async def test_too_little_asked(wire: WireClient, kept: str) -> None:
    assert await status(wire, raw(0, None), kept) == "BadInvalidTimestampArgument"
    assert await status(wire, raw(None, None, 5), kept) == "BadInvalidTimestampArgument"


@each(
    ("stamps", "has_source", "has_server"),
    case("Part 11 4.5", "SOURCE returns only source timestamps", 0, True, False, ours_only=NO_STOCK),
    case("Part 11 4.5", "SERVER returns only server timestamps", 1, False, True, ours_only=NO_STOCK),
    case("Part 11 4.5", "BOTH returns both timestamps", 2, True, True, ours_only=NO_STOCK),
)
async def test_timestamps(wire: WireClient, kept: str, stamps: int, has_source: bool, has_server: bool) -> None:
    result = await one(wire, raw(0, 3 * SECOND), kept, stamps=ua.TimestampsToReturn(stamps))
    data = result.HistoryData.DataValues
    assert [each.SourceTimestamp is not None for each in data] == [has_source] * 3
    assert [each.ServerTimestamp is not None for each in data] == [has_server] * 3


@check("Part 4 7.27", "An IndexRange on a number answers BadIndexRangeNoData", ours_only=NO_STOCK)
async def test_index_range_of_a_number(wire: WireClient, kept: str) -> None:
    assert await status(wire, raw(0, MINUTE), kept, IndexRange="0:1") == "BadIndexRangeNoData"


@check("Part 4 7.27", "A malformed IndexRange answers BadIndexRangeInvalid", ours_only=NO_STOCK)
async def test_index_range_that_is_none(wire: WireClient, kept: str) -> None:
    assert await status(wire, raw(0, MINUTE), kept, IndexRange="2:1") == "BadIndexRangeInvalid"


@check("Part 4 7.27", "An IndexRange on texts returns their parts", ours_only=NO_STOCK)
async def test_index_range_of_texts(wire: WireClient, subject: Subject) -> None:
    texts = ["alpha", "be", "gamma"]
    memory(subject).put(TEXT, [NOON + each * SECOND for each in range(3)], texts, 0, ValueType.STRING)
    result = await one(wire, raw(0, MINUTE), TEXT, IndexRange="2:3")
    assert values(result) == ["ph", None, "mm"]
    assert codes(result) == [0, ua.StatusCodes.BadIndexRangeNoData, 0]


@check("Part 4 5.11.3", "A DataEncoding for a number answers BadDataEncodingInvalid", ours_only=NO_STOCK)
async def test_data_encoding(wire: WireClient, kept: str) -> None:
    encoding = ua.QualifiedName("Default Binary")
    assert await status(wire, raw(0, MINUTE), kept, DataEncoding=encoding) == "BadDataEncodingInvalid"


@check("Part 11 6.5.3.3", "Modified values tell when, how and by whom they were replaced", ours_only=NO_STOCK)
async def test_modified_values(wire: WireClient, subject: Subject, kept: str) -> None:
    infos = [(NOON + MINUTE, 1, "late"), (NOON + 2 * MINUTE, 2, "")]
    memory(subject).put(kept, [NOON, NOON + SECOND], [7.0, 8.0], modified=infos)
    result = await one(wire, raw(0, MINUTE, modified=True), kept)
    assert isinstance(result.HistoryData, ua.HistoryModifiedData)
    assert values(result) == [7.0, 8.0]
    told = [(each.UpdateType, each.UserName) for each in result.HistoryData.ModificationInfos]
    assert told == [(ua.HistoryUpdateType.Insert, "late"), (ua.HistoryUpdateType.Replace, None)]


@check("Part 11 6.5.3.3", "Bounds of modified values answer BadBoundNotSupported", ours_only=NO_STOCK)
async def test_bounds_of_modified_values(wire: WireClient, kept: str) -> None:
    assert await status(wire, raw(0, MINUTE, modified=True, bounds=True), kept) == "BadBoundNotSupported"


@check("Part 11 6.5.3.2", "Bad values are returned with their StatusCode, a gap without a value", ours_only=NO_STOCK)
async def test_bad_values(wire: WireClient, subject: Subject, point: str) -> None:
    bad, lost = int(ua.StatusCodes.BadSensorFailure), int(ua.StatusCodes.BadDataLost)
    memory(subject).put(point, [NOON, NOON + SECOND, NOON + 2 * SECOND], [1.0, 2.0, 0.0], [0, bad, lost])
    result = await one(wire, raw(0, MINUTE), point)
    assert values(result) == [1.0, 2.0, None]
    assert codes(result) == [0, bad, lost]


@check("Part 4 5.11.3", "Reads of many nodes answer each in its place", ours_only=NO_STOCK)
async def test_results_in_order(wire: WireClient, kept: str, sparse: str) -> None:
    results = await history(wire, raw(0, 3 * SECOND), kept, "ns=2;s=nowhere", kept)
    assert [each.StatusCode.name for each in results] == ["Good", "BadNodeIdUnknown", "Good"]


@check("Part 4 5.11.3", "Other requests of the session are answered while history is read", ours_only=NO_STOCK)
async def test_reading_history_holds_nothing_up(wire: WireClient, subject: Subject, point: str) -> None:
    kept = memory(subject)
    count = 50_000
    kept.put(point, [NOON + each * SECOND for each in range(count)], [float(each) for each in range(count)])

    details = processed("Range2", 0, count * SECOND, 10_000, count=6)
    long = asyncio.ensure_future(wire.call(request(details, *[point] * 6)))
    await asyncio.sleep(0)
    quick = await wire.status(request(raw(0, 5 * SECOND), point))
    assert (quick, long.done()) == ("Good", False)
    await long


@check("Part 4 5.11.5", "HistoryUpdate, which is not offered, answers BadServiceUnsupported", ours_only=NO_STOCK)
async def test_history_update(wire: WireClient, kept: str) -> None:
    assert await wire.raw_status(700, b"\xff\xff\xff\xff") == "BadServiceUnsupported"
