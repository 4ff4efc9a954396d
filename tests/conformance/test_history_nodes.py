"""Part 11, 5: what nodes tell of their history; 6.5.2: history of events."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from conformance.ask import read
from conformance.history_asks import (
    MINUTE,
    NO_STOCK,
    NOON,
    SECOND,
    at,
    events,
    memory,
    one,
    status,
)
from conformance.registry import case, check, each
from conformance.subject import BAY, POSITION, Subject
from conformance.subject import node as node_id
from peers.opcua.agent import Peer
from peers.opcua.wire_client import WireClient

from address_space.catalogue import ValueType
from address_space.events import Event

_ACCESS_LEVEL, _USER_ACCESS_LEVEL, _HISTORIZING, _ACCESS_LEVEL_EX, _EVENT_NOTIFIER = 17, 18, 20, 27, 12
_HISTORY_READ = 4
_PLACE = "dso1/conf/PS77"
_GOOD_NO_DATA = int(ua.StatusCodes.GoodNoData)


@pytest.fixture
def kept(subject: Subject, point: str) -> str:
    """A point with one sample."""
    memory(subject).put(point, [NOON], [1.0])
    return point


async def _references(node: Peer, start: str, kind: str) -> list[dict[str, Any]]:
    browse = {"nodeId": start, "browseDirection": 0, "referenceTypeId": kind, "includeSubtypes": True, "resultMask": 63}
    answer = await node.request("BrowseRequest", nodesToBrowse=[browse])
    return list(answer["results"][0]["references"] or [])


async def _child(node: Peer, start: str, *names: str) -> Any:
    """Value of the variable at the end of a path of BrowseNames."""
    for name in names:
        found = await _references(node, start, "i=33")
        start = next(each["nodeId"] for each in found if each["browseName"]["name"] == name)
    return (await read(node, start))["value"]["value"]


async def _configuration(node: Peer, address: str) -> str:
    [found] = await _references(node, node_id(address), "i=56")
    assert found["browseName"]["name"] == "HA Configuration"
    assert found["typeDefinition"].endswith("i=2318")
    return str(found["nodeId"])


@each(
    "attribute",
    case("Part 3 5.6.2", "AccessLevel of a historised variable has HistoryRead", _ACCESS_LEVEL, ours_only=NO_STOCK),
    case("Part 3 5.6.2", "UserAccessLevel has HistoryRead for who may read it", _USER_ACCESS_LEVEL, ours_only=NO_STOCK),
    case("Part 3 5.6.2", "AccessLevelEx of a historised variable has it too", _ACCESS_LEVEL_EX, ours_only=NO_STOCK),
)
async def test_access_levels(node: Peer, kept: str, attribute: int) -> None:
    assert (await read(node, kept, attribute))["value"]["value"] & _HISTORY_READ


@check("Part 3 5.6.2", "A variable without history has no HistoryRead in its AccessLevel")
async def test_access_level_without_history(node: Peer, point: str) -> None:
    assert (await read(node, point, _ACCESS_LEVEL))["value"]["value"] & _HISTORY_READ == 0


@check("Part 3 5.6.2", "Historizing of a historised variable is true", ours_only=NO_STOCK)
async def test_historizing(node: Peer, kept: str) -> None:
    assert (await read(node, kept, _HISTORIZING))["value"]["value"] is True


@check("Part 3 5.6.2", "Historizing of a variable without history is false")
async def test_not_historizing(node: Peer, point: str) -> None:
    assert (await read(node, point, _HISTORIZING))["value"]["value"] is False


@check("Part 11 5.2.2", "A historised variable has its HA Configuration", ours_only=NO_STOCK)
async def test_configuration(node: Peer, kept: str) -> None:
    assert await _configuration(node, kept)


@check("Part 11 5.2.2", "Stepped of a measured value is false", ours_only=NO_STOCK)
async def test_measured_values_slope(node: Peer, kept: str) -> None:
    assert await _child(node, await _configuration(node, kept), "Stepped") is False


@check("Part 11 5.2.2", "Stepped of a discrete point is true", ours_only=NO_STOCK)
async def test_discrete_points_step(node: Peer, subject: Subject) -> None:
    memory(subject).put(POSITION, [NOON], [1], value_type=ValueType.INT32)
    assert await _child(node, await _configuration(node, POSITION), "Stepped") is True


@check("Part 13 4.2.1.2", "AggregateConfiguration tells what UseServerCapabilitiesDefaults means", ours_only=NO_STOCK)
async def test_aggregate_configuration(node: Peer, kept: str) -> None:
    start = await _configuration(node, kept)
    names = ("TreatUncertainAsBad", "PercentDataBad", "PercentDataGood", "UseSlopedExtrapolation")
    found = [await _child(node, start, "AggregateConfiguration", name) for name in names]
    assert found == [True, 100, 100, False]


@check("Part 11 5.4.2", "HistoryServerCapabilities tell what is offered", ours_only=NO_STOCK)
async def test_capabilities(node: Peer) -> None:
    offered = ("AccessHistoryDataCapability", "AccessHistoryEventsCapability")
    refused = ("InsertDataCapability", "DeleteRawCapability")
    found = [await _child(node, "i=11192", name) for name in (*offered, *refused)]
    assert found == [True, True, False, False]


@check("Part 11 5.4.2", "MaxReturnDataValues is the number of values of one answer", ours_only=NO_STOCK)
async def test_max_return_data_values(node: Peer, wire: WireClient, subject: Subject, point: str) -> None:
    limit = await _child(node, "i=11192", "MaxReturnDataValues")
    memory(subject).put(point, [NOON + each for each in range(limit + 1)], [0.0] * (limit + 1))
    details = ua.ReadRawModifiedDetails(IsReadModified=False, StartTime=at(0), EndTime=at(SECOND))
    details.ReturnBounds = False
    result = await one(wire, details, point)
    assert len(result.HistoryData.DataValues) == limit
    assert result.ContinuationPoint


@check("Part 3 5.5.1", "EventNotifier of the Server object has HistoryRead", ours_only=NO_STOCK)
async def test_event_notifier_of_the_server(node: Peer) -> None:
    assert (await read(node, "i=2253", _EVENT_NOTIFIER))["value"]["value"] & _HISTORY_READ


@check("Part 3 5.5.1", "EventNotifier of a place has HistoryRead", ours_only=NO_STOCK)
async def test_event_notifier_of_a_place(node: Peer) -> None:
    assert (await read(node, BAY, _EVENT_NOTIFIER))["value"]["value"] & _HISTORY_READ


@pytest.fixture
def happened(subject: Subject) -> None:
    """Ten events at the bay, a second apart, and one elsewhere; once for the module."""
    kept = memory(subject)
    if not getattr(kept, "_events"):  # noqa: B009  # what the reader itself holds
        kept.add_events(
            Event(f"E{number}", f"event {number}", address=BAY, source_time=NOON + number * SECOND, id=number + 1)
            for number in range(10)
        )
        kept.add_events([Event("X", "elsewhere", address="dso1/north/PS01", source_time=NOON, id=99)])


def _texts(result: Any) -> list[str]:
    return [each.EventFields[0].Value.Text for each in result.HistoryData.Events]


@check("Part 11 6.5.2", "ReadEvents gives the events below a place with the fields selected", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_events_of_a_place(wire: WireClient) -> None:
    result = await one(wire, events(2 * SECOND, 5 * SECOND), BAY)
    assert _texts(result) == ["event 2", "event 3", "event 4"]
    assert len(result.HistoryData.Events[0].EventFields) == 2


@check("Part 11 6.5.2", "ReadEvents on the Server object gives those of all places", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_events_of_the_server(wire: WireClient) -> None:
    assert set(_texts(await one(wire, events(0, SECOND), "i=2253"))) == {"event 0", "elsewhere"}


@check("Part 11 6.5.2", "ReadEvents goes backward when start lies behind end", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_events_backward(wire: WireClient) -> None:
    assert _texts(await one(wire, events(4 * SECOND, 2 * SECOND), BAY)) == ["event 4", "event 3"]


@check("Part 11 6.5.2", "More events than NumValuesPerNode come by a continuation point", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_events_continue(wire: WireClient) -> None:
    first = await one(wire, events(0, MINUTE, 7), BAY)
    rest = await one(wire, events(0, MINUTE, 7), BAY, points=[first.ContinuationPoint])
    assert _texts(first) + _texts(rest) == [f"event {number}" for number in range(10)]
    assert not rest.ContinuationPoint


@check("Part 11 6.5.2", "A time range without events answers GoodNoData", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_no_events(wire: WireClient) -> None:
    result = await one(wire, events(40 * SECOND, MINUTE), BAY)
    assert (result.StatusCode.value, result.HistoryData.Events) == (_GOOD_NO_DATA, [])


@check("Part 11 6.5.2", "A where clause picks among past events", ours_only=NO_STOCK)
@pytest.mark.usefixtures("happened")
async def test_where_clause(wire: WireClient) -> None:
    details = events(0, MINUTE)
    field = ua.SimpleAttributeOperand(
        TypeDefinitionId=ua.NodeId(2041), BrowsePath=[ua.QualifiedName("Message")], AttributeId=ua.AttributeIds.Value
    )
    like = ua.ContentFilterElement(FilterOperator=ua.FilterOperator.Like)
    like.FilterOperands = [field, ua.LiteralOperand(Value=ua.Variant("event [68]"))]
    details.Filter.WhereClause = ua.ContentFilter(Elements=[like])
    assert _texts(await one(wire, details, BAY)) == ["event 6", "event 8"]


@check("Part 11 6.5.2", "ReadEvents without a select clause answers BadEventFilterInvalid", ours_only=NO_STOCK)
async def test_no_select_clause(wire: WireClient) -> None:
    details = events(0, MINUTE)
    details.Filter = ua.EventFilter()
    assert await status(wire, details, BAY) == "BadEventFilterInvalid"


@check("Part 11 6.5.2", "Events of a variable answer BadHistoryOperationUnsupported", ours_only=NO_STOCK)
async def test_events_of_a_variable(wire: WireClient, kept: str) -> None:
    assert await status(wire, events(0, MINUTE), kept) == "BadHistoryOperationUnsupported"
