"""HistoryRead requests of the checks in few words, by raw messages; and points with samples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncua import ua
from conformance.ask import as_node
from conformance.subject import Subject
from peers.opcua.memory_history import MemoryHistory
from peers.opcua.wire_client import WireClient

from address_space import clock

NO_STOCK = "stock asyncua keeps no history of a point unless it is told to"
SECOND = clock.TICKS_PER_SECOND
MINUTE = 60 * SECOND
NOON = 133_800_048_000_000_000
"""The time that the samples of the checks are counted from."""
_NO_TIME = clock.to_datetime(0).replace(tzinfo=None)
BOTH = ua.TimestampsToReturn.Both


def memory(subject: Subject) -> MemoryHistory:
    """The history of our server."""
    kept = getattr(subject, "rig").history  # noqa: B009  # only our subject has one
    assert isinstance(kept, MemoryHistory)
    return kept


def at(ticks: int | None) -> datetime:
    """A time after noon, ticks; the DateTime that means none for None."""
    return _NO_TIME if ticks is None else clock.to_datetime(NOON + ticks).replace(tzinfo=None)


def after_noon(moment: datetime) -> int:
    """Ticks after noon of a time."""
    return clock.from_datetime(moment.replace(tzinfo=clock.to_datetime(0).tzinfo)) - NOON


def raw(start: int | None, end: int | None, most: int = 0, *, bounds: bool = False, modified: bool = False) -> Any:
    """ReadRawModifiedDetails; ticks after noon."""
    return ua.ReadRawModifiedDetails(
        IsReadModified=modified, StartTime=at(start), EndTime=at(end), NumValuesPerNode=most, ReturnBounds=bounds
    )


def processed(aggregate: str, start: int, end: int, interval: float, configuration: Any = None, count: int = 1) -> Any:
    """ReadProcessedDetails; ticks after noon, the interval in ms."""
    number = getattr(ua.ObjectIds, f"AggregateFunction_{aggregate}")
    return ua.ReadProcessedDetails(
        StartTime=at(start),
        EndTime=at(end),
        ProcessingInterval=float(interval),
        AggregateType=[ua.NodeId(number)] * count,
        AggregateConfiguration=configuration or ua.AggregateConfiguration(UseServerCapabilitiesDefaults=True),
    )


def at_times(*ticks: int, simple: bool = False) -> Any:
    """ReadAtTimeDetails; ticks after noon."""
    return ua.ReadAtTimeDetails(ReqTimes=[at(each) for each in ticks], UseSimpleBounds=simple)


def events(start: int | None, end: int | None, most: int = 0, *names: str) -> Any:
    """ReadEventDetails that select fields of BaseEventType; ticks after noon."""
    clauses = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId(2041), BrowsePath=[ua.QualifiedName(name)], AttributeId=ua.AttributeIds.Value
        )
        for name in names or ("Message", "Time")
    ]
    return ua.ReadEventDetails(
        NumValuesPerNode=most, StartTime=at(start), EndTime=at(end), Filter=ua.EventFilter(SelectClauses=clauses)
    )


def request(
    details: Any, *addresses: str, stamps: Any = BOTH, release: bool = False, points: Sequence[bytes] = (), **more: Any
) -> Any:
    """A HistoryReadRequest."""
    made = ua.HistoryReadRequest()
    made.Parameters.HistoryReadDetails = details
    made.Parameters.TimestampsToReturn = stamps
    made.Parameters.ReleaseContinuationPoints = release
    for number, address in enumerate(addresses):
        wanted = ua.HistoryReadValueId(NodeId=ua.NodeId.from_string(as_node(address)))
        wanted.ContinuationPoint = points[number] if number < len(points) else None
        for name, value in more.items():
            setattr(wanted, name, value)
        made.Parameters.NodesToRead.append(wanted)
    return made


async def history(wire: WireClient, details: Any, *addresses: str, **more: Any) -> list[Any]:
    """Results of HistoryRead."""
    return list((await wire.call(request(details, *addresses, **more))).Results)


async def one(wire: WireClient, details: Any, address: str, **more: Any) -> Any:
    """The result of HistoryRead of one node."""
    [result] = await history(wire, details, address, **more)
    return result


async def status(wire: WireClient, details: Any, address: str, **more: Any) -> str:
    """Name of the StatusCode of one node's result."""
    return str((await one(wire, details, address, **more)).StatusCode.name)


def values(result: Any) -> list[Any]:
    """The values of a result: None where there is none."""
    return [None if each.Value is None else each.Value.Value for each in result.HistoryData.DataValues]


def codes(result: Any) -> list[int]:
    """StatusCodes of the DataValues with all bits."""
    return [0 if each.StatusCode is None else int(each.StatusCode.value) for each in result.HistoryData.DataValues]


def moments(result: Any) -> list[float]:
    """SourceTimestamps in seconds after noon."""
    return [after_noon(each.SourceTimestamp) / SECOND for each in result.HistoryData.DataValues]
