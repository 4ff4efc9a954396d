"""Roles that count in one area: every service shows and does there what the role grants, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from asyncua import ua
from conformance.history_asks import NOON, at_times, events, history, raw
from conformance.registry import check
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from peers.opcua.rig import POSITION, Rig
from peers.opcua.wire_client import WireClient

from address_space.events import Event
from address_space.opcua.space import GRID
from address_space.point import Batch
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User

OURS = "stock asyncua has no roles of one area"
PASSWORD = "a-good-secret"
NORTH, SOUTH = POSITION, "dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos"
MINUTE = 60 * 10_000_000
HIDDEN = {"BadNodeIdUnknown", "BadUserAccessDenied"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def scoped(tmp_path_factory: Any) -> AsyncIterator[Rig]:
    """A server whose user sven observes and operates the south only."""
    directory: Path = tmp_path_factory.mktemp("scopes")
    phc = Argon2id(salt=bytes(16), length=32, iterations=1, lanes=1, memory_cost=64).derive_phc_encoded(
        PASSWORD.encode()
    )
    users = {"sven": User(password=phc, roles=("Operator",), areas=("dso1/south",))}
    users["nils"] = User(password=phc, roles=("Observer",), areas=("dso1/north",))
    policy: Any = UserPolicy(users, anonymous_observes=True)
    async with Rig(directory, policy=policy) as rig:
        for address in (NORTH, SOUTH):
            rig.history.put(address, [NOON, NOON + 10_000_000], [1.0, 2.0])
        rig.table.ingest(Batch.of([rig.table.find(SOUTH)], [2], 0, NOON))
        yield rig
    policy.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sven(scoped: Rig) -> AsyncIterator[WireClient]:
    """His session."""
    async with WireClient(scoped.server.port) as client:
        await client.activate("sven", PASSWORD)
        yield client


def node(address: str) -> Any:
    return ua.NodeId(address, 2)


async def statuses(client: WireClient, request: Any) -> list[str]:
    """Names of the operations' statuses."""
    answer = await client.call(request)
    results = getattr(answer, "Results", None) or answer.Parameters.Results
    return [str(getattr(each, "StatusCode", each).name) for each in results]


@check("Part 3 4.9", "Read: values and names of what lies elsewhere are refused", ours_only=OURS)
async def test_read_is_scoped(sven: WireClient) -> None:
    for attribute in (ua.AttributeIds.Value, ua.AttributeIds.BrowseName, ua.AttributeIds.UserAccessLevel):
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [ua.ReadValueId(node(each), attribute) for each in (SOUTH, NORTH)]
        inside, outside = await statuses(sven, request)
        assert not inside.startswith("Bad")
        assert outside in HIDDEN


@check("Part 3 4.9", "Write: what lies elsewhere is refused as if it were not there", ours_only=OURS)
async def test_write_is_scoped(sven: WireClient) -> None:
    request = ua.WriteRequest()
    values = [ua.WriteValue(node(each), ua.AttributeIds.Value) for each in (SOUTH, NORTH)]
    for each in values:
        each.Value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
    request.Parameters.NodesToWrite = values
    inside, outside = await statuses(sven, request)
    assert inside == "BadNotWritable"
    assert outside in HIDDEN


@check("Part 3 4.9", "Browse: only the way to the area and what is below are shown", ours_only=OURS)
async def test_browse_is_scoped(sven: WireClient) -> None:
    async def below(address: str) -> tuple[str, set[str]]:
        request = ua.BrowseRequest()
        wanted = ua.BrowseDescription()
        wanted.NodeId, wanted.BrowseDirection = node(address), ua.BrowseDirection.Forward
        wanted.ReferenceTypeId, wanted.IncludeSubtypes = ua.NodeId(33), True
        wanted.ResultMask = 63
        request.Parameters.NodesToBrowse = [wanted]
        [result] = (await sven.call(request)).Results
        return result.StatusCode.name, {each.BrowseName.Name for each in result.References or []}

    status, names = await below("dso1")
    assert status == "Good"
    assert "south" in names
    assert "north" not in names
    assert (await below("dso1/south"))[0] == "Good"
    assert (await below("dso1/north"))[0] == "BadNodeIdUnknown"


@check("Part 3 4.9", "TranslateBrowsePaths: no path leads elsewhere", ours_only=OURS)
async def test_translate_is_scoped(sven: WireClient) -> None:
    request = ua.TranslateBrowsePathsToNodeIdsRequest()
    for name in ("south", "north"):
        path = ua.BrowsePath()
        path.StartingNode = node("dso1")
        element = ua.RelativePathElement()
        element.ReferenceTypeId, element.IncludeSubtypes = ua.NodeId(33), True
        element.IsInverse = False
        element.TargetName = ua.QualifiedName(name, 2)
        path.RelativePath.Elements = [element]
        request.Parameters.BrowsePaths.append(path)
    assert await statuses(sven, request) == ["Good", "BadNoMatch"]


@check("Part 3 4.9", "Call: methods of objects elsewhere are refused; Resolve and Lookup tell nothing", ours_only=OURS)
async def test_call_is_scoped(sven: WireClient, scoped: Rig) -> None:
    request = ua.CallRequest()
    owner = NORTH.rpartition("/")[0].replace("XCBR1", "CSWI1")
    call = ua.CallMethodRequest(node(owner), node(f"{owner}#Operate"))
    resolve = [ua.CallMethodRequest(node(GRID), node(f"{GRID}#Resolve"), [ua.Variant(each)]) for each in (SOUTH, NORTH)]
    lookup = ua.CallMethodRequest(
        node(GRID),
        node(f"{GRID}#Lookup"),
        [ua.Variant("dso1/+/+/+/+/+/XCBR1/Pos"), ua.Variant(""), ua.Variant(0, ua.VariantType.UInt32)],
    )
    request.Parameters.MethodsToCall = [call, *resolve, lookup]
    results = (await sven.call(request)).Results
    assert results[0].StatusCode.name in HIDDEN
    assert [each.StatusCode.name for each in results[1:3]] == ["Good", "BadNoMatch"]
    assert not any("north" in str(each.Value) for each in results[2].OutputArguments)
    assert results[3].StatusCode.name == "Good"
    found = results[3].OutputArguments[0].Value
    assert SOUTH in found
    assert not any("north" in each for each in found)


@check("Part 3 4.9", "CreateMonitoredItems: values elsewhere are not watched", ours_only=OURS)
async def test_items_are_scoped(sven: WireClient) -> None:
    number = await _subscription(sven)
    request = ua.CreateMonitoredItemsRequest()
    request.Parameters.SubscriptionId = number
    for address in (SOUTH, NORTH):
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor = ua.ReadValueId(node(address), ua.AttributeIds.Value)
        item.MonitoringMode = ua.MonitoringMode.Reporting
        request.Parameters.ItemsToCreate.append(item)
    inside, outside = await statuses(sven, request)
    assert inside == "Good"
    assert outside in HIDDEN


@check("Part 3 4.9", "HistoryRead: values and events of what lies elsewhere are not given", ours_only=OURS)
async def test_history_is_scoped(sven: WireClient, scoped: Rig) -> None:
    for details in (raw(0, MINUTE), at_times(0)):
        inside, outside = [str(each.StatusCode.name) for each in await history(sven, details, SOUTH, NORTH)]
        assert not inside.startswith("Bad")
        assert outside in HIDDEN
    assert [each.StatusCode.name for each in await history(sven, events(0, MINUTE), "dso1/north")] == [
        "BadNodeIdUnknown"
    ]


@check("Part 4 5.6.3", "Continuation points of HistoryRead end with the user who got them", ours_only=OURS)
async def test_history_does_not_go_on_for_another_user(scoped: Rig) -> None:
    async with WireClient(scoped.server.port) as client:
        await client.activate("sven", PASSWORD)
        [first] = await history(client, raw(0, MINUTE, 1), SOUTH)
        assert first.ContinuationPoint
        await client.activate("nils", PASSWORD)
        [further] = await history(client, raw(0, MINUTE, 1), SOUTH, points=[first.ContinuationPoint])
        assert further.StatusCode.name == "BadContinuationPointInvalid"


async def _subscription(client: WireClient) -> int:
    request = ua.CreateSubscriptionRequest()
    request.Parameters.RequestedPublishingInterval = 20
    request.Parameters.RequestedLifetimeCount, request.Parameters.RequestedMaxKeepAliveCount = 3000, 1000
    request.Parameters.PublishingEnabled = True
    return int((await client.call(request)).Parameters.SubscriptionId)


@check("Part 3 4.9", "Events of sources elsewhere, and audit events, are not told", ours_only=OURS)
async def test_events_are_scoped(sven: WireClient, scoped: Rig) -> None:
    number = await _subscription(sven)
    wanted = ua.EventFilter()
    wanted.SelectClauses = [
        ua.SimpleAttributeOperand(ua.NodeId(2041), [ua.QualifiedName("Message")], ua.AttributeIds.Value)
    ]
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor = ua.ReadValueId(ua.NodeId(2253), ua.AttributeIds.EventNotifier)
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.QueueSize, item.RequestedParameters.Filter = 100, wanted
    items = ua.CreateMonitoredItemsRequest()
    items.Parameters.SubscriptionId, items.Parameters.ItemsToCreate = number, [item]
    assert await statuses(sven, items) == ["Good"]
    sven.publish()
    await sven.raw(479, bytes(4))  # audited
    scoped.events.append(Event("G02", "in the north", 500, NORTH))
    scoped.events.append(Event("G02", "in the south", 500, SOUTH))
    message = (await sven.news()).NotificationMessage
    texts = [fields.EventFields[0].Value.Text for data in message.NotificationData for fields in data.Events]
    assert texts == ["in the south"]
