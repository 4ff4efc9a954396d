from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from integration.opcua_subscriptions.grid_server import (
    Place,
    data,
    deadband,
    item,
    monitor,
    names,
    parameters,
    subscribe,
    values,
)
from peers.opcua.wire_client import FaultError, WireClient

from address_space import clock
from address_space.opcua.server import GatewayServer
from address_space.quality import Quality

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def started(client: WireClient, *items: Any, **more: Any) -> tuple[int, list[int]]:
    """A subscription with items whose first values have been taken; its id and theirs."""
    subscription = await subscribe(client, **more)
    made = await monitor(client, subscription, *items)
    assert names(made) == ["Good"] * len(items)
    client.publish()
    assert len(data(await client.news())) == len(items)
    return subscription, [each.MonitoredItemId for each in made]


async def test_values_of_all_types_arrive_with_status_and_device_time(client: WireClient, place: Place) -> None:
    addresses = [place.double, *place.others]
    await started(client, *(item(address, handle) for handle, address in enumerate(addresses)))
    device = clock.now() - 60 * clock.TICKS_PER_SECOND
    place.write(
        (place.double, 2.5),
        (place.boolean, 1),
        (place.int32, -2),
        (place.uint32, 4e9),
        (place.int64, -(2.0**40)),
        quality=int(Quality.SUBSTITUTED),
        time=device,
    )
    place.say("tripped")
    client.publish()
    got = dict(data(await client.news()))
    assert [got[handle].Value.Value for handle in range(6)] == [2.5, True, -2, 4_000_000_000, -(2**40), "tripped"]
    assert {got[handle].StatusCode.name for handle in range(5)} == {"GoodLocalOverride"}
    assert {got[handle].SourceTimestamp for handle in range(5)} == {clock.to_datetime(device)}


@pytest.mark.parametrize("stamps", list(ua.TimestampsToReturn)[:4])
async def test_timestamps_are_those_asked_for(client: WireClient, place: Place, stamps: Any) -> None:
    subscription = await subscribe(client)
    place.write((place.double, 1.0))
    await monitor(client, subscription, item(place.double), stamps=stamps)
    client.publish()
    [(_, value)] = data(await client.news())
    assert (value.SourceTimestamp is not None) == (stamps.name in {"Source", "Both"})
    assert (value.ServerTimestamp is not None) == (stamps.name in {"Server", "Both"})


async def test_an_unknown_node_is_refused_alone(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client)
    made = await monitor(
        client,
        subscription,
        item(place.double, 1),
        item(place.root + "/MMXU1/Nope", 2),
        item("not an address", 3),
        item("", 4, node=ua.NodeId(999_999, 0)),
        item(place.boolean, 5),
    )
    assert names(made) == ["Good", "BadNodeIdUnknown", "BadNodeIdUnknown", "BadNodeIdUnknown", "Good"]
    client.publish()
    assert sorted(handle for handle, _ in values(await client.news())) == [1, 5]


async def test_items_of_other_nodes_live_beside_items_of_points(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client)
    clock_node = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
    made = await monitor(client, subscription, item("", 1, node=clock_node), item(place.double, 2))
    assert names(made) == ["Good", "Good"]
    assert len({each.MonitoredItemId for each in made}) == 2
    place.write((place.double, 5.0))
    client.publish()
    assert {handle for handle, _ in values(await client.news())} == {1, 2}
    request = ua.DeleteMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.MonitoredItemIds = [made[0].MonitoredItemId, 4711, made[1].MonitoredItemId]
    assert names((await client.call(request)).Results) == ["Good", "BadMonitoredItemIdInvalid", "Good"]


async def test_errors_of_range_encoding_mode_and_filter_stay_with_their_item(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client)
    select = ua.EventFilter(SelectClauses=[], WhereClause=ua.ContentFilter())
    wanted = {
        "BadIndexRangeNoData": item(place.double, range="0:1"),
        "BadIndexRangeInvalid": item(place.double, range="2:1"),
        "BadDataEncodingInvalid": item(place.double, encoding="Default XML"),
        "BadMonitoredItemFilterUnsupported": item(place.without_range, filter=deadband(5.0, kind=2)),
        "BadDeadbandFilterInvalid": item(place.double, filter=deadband(101.0, kind=2)),
        "BadFilterNotAllowed": item(place.boolean, filter=deadband(1.0)),
        "Good": item(place.double, filter=deadband(5.0, kind=2)),
    }
    assert names(await monitor(client, subscription, *wanted.values())) == list(wanted)
    more = [item(place.double, filter=deadband(-1.0)), item(place.string, filter=deadband(1.0)), item(place.double)]
    more[2].RequestedParameters.Filter = select
    assert names(await monitor(client, subscription, *more)) == [
        "BadDeadbandFilterInvalid",
        "BadFilterNotAllowed",
        "BadFilterNotAllowed",
    ]


async def test_a_percent_deadband_is_one_of_the_range(client: WireClient, place: Place) -> None:
    await started(client, item(place.double, 1, filter=deadband(5.0, kind=2)))
    place.write((place.double, 9.0))
    place.write((place.double, 11.0))
    client.publish()
    # 5 % of 0 to 200 is 10: the first step starts from a point without a value and changes its status.
    assert values(await client.news()) == [(1, 9.0)]
    place.write((place.double, 18.0))
    place.write((place.double, 19.5))
    client.publish()
    assert values(await client.news()) == [(1, 19.5)]


async def test_sampling_interval_and_queue_size_are_revised(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, interval=100)
    made = await monitor(
        client,
        subscription,
        item(place.double, sampling=-1, queue=0),
        item(place.double, sampling=0, queue=10**9),
        item(place.double, sampling=1000, queue=5),
        item(place.double, sampling=float("nan")),
    )
    assert [each.RevisedSamplingInterval for each in made] == [100, 0, 1000, 100]
    assert [each.RevisedQueueSize for each in made] == [1, 1000, 5, 10]


async def test_the_overflow_bit_reaches_the_client(client: WireClient, place: Place) -> None:
    await started(client, item(place.double, 1, queue=2), item(place.double, 2, queue=2, oldest=False))
    for value in (1.0, 2.0, 3.0):
        place.write((place.double, value))
    client.publish()
    got = {(handle, value.Value.Value): value.StatusCode.value for handle, value in data(await client.news())}
    assert got == {(1, 2.0): 0x480, (1, 3.0): 0, (2, 1.0): 0, (2, 3.0): 0x480}


async def test_modified_items_take_handle_and_filter_and_unknown_ones_are_refused_alone(
    client: WireClient, place: Place
) -> None:
    subscription, [item_id] = await started(client, item(place.double, 1))
    request = ua.ModifyMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
    request.Parameters.ItemsToModify = [
        ua.MonitoredItemModifyRequest(4711, parameters(5)),
        ua.MonitoredItemModifyRequest(item_id, parameters(6, queue=3, sampling=200, filter=deadband(10.0))),
        ua.MonitoredItemModifyRequest(item_id, parameters(7, filter=deadband(-10.0))),
    ]
    results = (await client.call(request)).Results
    assert names(results) == ["BadMonitoredItemIdInvalid", "Good", "BadDeadbandFilterInvalid"]
    assert (results[1].RevisedSamplingInterval, results[1].RevisedQueueSize) == (200, 3)
    place.write((place.double, 5.0))
    client.publish()
    [(handle, value)] = data(await client.news())
    assert (handle, value.Value.Value, value.SourceTimestamp) == (6, 5.0, None)


async def test_items_of_other_nodes_can_be_modified_and_disabled_with_those_of_points(
    client: WireClient, place: Place
) -> None:
    seconds = item("", 1, node=ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime))
    subscription, ids = await started(client, seconds, item(place.double, 2))
    request = ua.ModifyMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.ItemsToModify = [ua.MonitoredItemModifyRequest(each, parameters(10 + each)) for each in ids]
    assert names((await client.call(request)).Results) == ["Good", "Good"]
    place.write((place.double, 3.0))
    seen = set()
    while seen != {10 + each for each in ids}:
        client.publish()
        seen |= {handle for handle, _ in values(await client.news())}
    mode = ua.SetMonitoringModeRequest()
    mode.Parameters.SubscriptionId = subscription
    mode.Parameters.MonitoringMode = ua.MonitoringMode.Disabled
    mode.Parameters.MonitoredItemIds = ids
    assert names((await client.call(mode)).Parameters.Results) == ["Good", "Good"]
    place.write((place.double, 4.0))
    client.publish()
    with pytest.raises(TimeoutError):
        await client.message(1.2)


async def test_monitoring_modes(client: WireClient, place: Place) -> None:
    subscription, ids = await started(client, item(place.doubles[0], 1), item(place.doubles[1], 2))

    async def set_mode(mode: ua.MonitoringMode, *which: int) -> list[str]:
        request = ua.SetMonitoringModeRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.MonitoringMode = mode
        request.Parameters.MonitoredItemIds = list(which)
        return names((await client.call(request)).Parameters.Results)

    bad = "BadMonitoredItemIdInvalid"
    assert await set_mode(ua.MonitoringMode.Sampling, ids[0], 4711) == ["Good", bad]
    assert await set_mode(ua.MonitoringMode.Disabled, ids[1]) == ["Good"]
    place.write((place.doubles[0], 1.0), (place.doubles[1], 1.0))
    client.publish()
    with pytest.raises(TimeoutError):
        await client.message(0.3)
    assert await set_mode(ua.MonitoringMode.Reporting, *ids) == ["Good", "Good"]
    assert sorted(values(await client.news())) == [(1, 1.0), (2, 1.0)]


async def test_a_message_holds_no_more_than_asked_and_says_that_more_wait(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, most=2)
    await monitor(client, subscription, *(item(address, handle) for handle, address in enumerate(place.doubles[:5])))
    for _ in range(4):
        client.publish()
    messages = [await client.news() for _ in range(3)]
    assert [len(values(message)) for message in messages] == [2, 2, 1]
    assert [message.MoreNotifications for message in messages] == [True, True, False]


async def test_what_a_session_does_not_own_it_cannot_touch(client: WireClient, other: WireClient, place: Place) -> None:
    subscription, [item_id] = await started(client, item(place.double, 1))
    refused: list[Any] = []
    for kind, fields in (
        ("CreateMonitoredItems", {"ItemsToCreate": [item(place.double)]}),
        ("ModifyMonitoredItems", {"ItemsToModify": [ua.MonitoredItemModifyRequest(item_id, parameters(1))]}),
        ("SetMonitoringMode", {"MonitoredItemIds": [item_id]}),
        ("DeleteMonitoredItems", {"MonitoredItemIds": [item_id]}),
        ("ModifySubscription", {"RequestedPublishingInterval": 1000.0}),
        ("Republish", {"RetransmitSequenceNumber": 1}),
    ):
        request = getattr(ua, f"{kind}Request")()
        request.Parameters.SubscriptionId = subscription
        for name, value in fields.items():
            setattr(request.Parameters, name, value)
        with pytest.raises(FaultError, match="BadSubscriptionIdInvalid"):
            await other.call(request)
        refused.append(kind)
    assert len(refused) == 6
    delete = ua.DeleteSubscriptionsRequest()
    delete.Parameters.SubscriptionIds = [subscription]
    assert names((await other.call(delete)).Results) == ["BadSubscriptionIdInvalid"]
    mode = ua.SetPublishingModeRequest()
    mode.Parameters.SubscriptionIds = [subscription]
    assert names((await other.call(mode)).Parameters.Results) == ["BadSubscriptionIdInvalid"]
    place.write((place.double, 1.0))
    client.publish()
    assert values(await client.news()) == [(1, 1.0)]


async def test_requests_without_operations_or_with_impossible_timestamps_fail_as_a_whole(
    client: WireClient, place: Place
) -> None:
    subscription = await subscribe(client)
    with pytest.raises(FaultError, match="BadNothingToDo"):
        await monitor(client, subscription)
    with pytest.raises(FaultError, match="BadTimestampsToReturnInvalid"):
        await monitor(client, subscription, item(place.double), stamps=ua.TimestampsToReturn.Invalid)


async def test_thousands_of_items_are_made_in_one_request(client: WireClient, server: GatewayServer) -> None:
    subscription = await subscribe(client)
    places = [Place(server.table, number) for number in range(80)]
    wanted = [item(address, handle) for handle, address in enumerate(a for p in places for a in p.doubles)]
    made = await monitor(client, subscription, *wanted)
    assert len({each.MonitoredItemId for each in made}) == len(wanted) == 1600
    client.publish()
    assert sorted(handle for handle, _ in values(await client.news())) == list(range(1600))
