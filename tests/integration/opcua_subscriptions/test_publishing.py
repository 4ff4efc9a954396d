from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua import ua
from integration.opcua_subscriptions.grid_server import Place, data, item, monitor, names, subscribe, values
from peers.opcua.wire_client import FaultError, WireClient
from peers.waiting import patient

from address_space.opcua.server import GatewayServer
from address_space.ports import Caller

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def republish(client: WireClient, subscription: int, sequence: int) -> Any:
    request = ua.RepublishRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.RetransmitSequenceNumber = sequence
    return (await client.call(request)).NotificationMessage


async def publishing_mode(client: WireClient, enabled: bool, *subscriptions: int) -> list[str]:
    request = ua.SetPublishingModeRequest()
    request.Parameters.PublishingEnabled = enabled
    request.Parameters.SubscriptionIds = list(subscriptions)
    return names((await client.call(request)).Parameters.Results)


async def delete(client: WireClient, *subscriptions: int) -> list[str]:
    request = ua.DeleteSubscriptionsRequest()
    request.Parameters.SubscriptionIds = list(subscriptions)
    return names((await client.call(request)).Results)


def cursors(server: GatewayServer, subscription: int) -> list[str]:
    return [each.name for each in server.table.journal.cursors if each.name == f"subscription {subscription}"]


async def test_the_first_cycle_and_idle_ones_give_keep_alives_that_use_no_sequence_number(
    client: WireClient, place: Place
) -> None:
    subscription = await subscribe(client, interval=20, keep_alive=3)
    for _ in range(3):
        client.publish()
    first, second = await client.message(), await client.message()
    for message in (first, second):
        assert message.SubscriptionId == subscription
        assert not message.NotificationMessage.NotificationData
        assert message.NotificationMessage.SequenceNumber == 1
    await monitor(client, subscription, item(place.double, 1))
    message = await client.news()
    assert message.NotificationMessage.SequenceNumber == 1
    assert [handle for handle, _ in values(message)] == [1]


async def test_a_subscription_is_revised_within_the_limits(client: WireClient) -> None:
    request = ua.CreateSubscriptionRequest()
    request.Parameters.RequestedPublishingInterval = 0
    request.Parameters.RequestedLifetimeCount = 1
    request.Parameters.RequestedMaxKeepAliveCount = 10
    made = (await client.call(request)).Parameters
    assert (made.RevisedPublishingInterval, made.RevisedLifetimeCount, made.RevisedMaxKeepAliveCount) == (10, 30, 10)
    change = ua.ModifySubscriptionRequest()
    change.Parameters.SubscriptionId = made.SubscriptionId
    change.Parameters.RequestedPublishingInterval = 40
    change.Parameters.RequestedLifetimeCount = 10**9
    change.Parameters.RequestedMaxKeepAliveCount = 10**9
    revised = (await client.call(change)).Parameters
    assert revised.RevisedPublishingInterval == 40
    assert revised.RevisedLifetimeCount >= 3 * revised.RevisedMaxKeepAliveCount
    assert revised.RevisedLifetimeCount <= 15_000


async def test_what_waits_for_a_publish_request_is_sent_as_soon_as_one_comes(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, interval=500)
    await monitor(client, subscription, item(place.double, 1))
    await asyncio.sleep(0.6)
    client.publish()
    assert [handle for handle, _ in values(await client.news(0.2))] == [1]


async def test_without_publishing_there_are_keep_alives_and_the_data_waits(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, interval=20, keep_alive=2, enabled=False)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    client.publish()
    assert not (await client.message()).NotificationMessage.NotificationData
    assert await publishing_mode(client, True, subscription, 4711) == ["Good", "BadSubscriptionIdInvalid"]
    while not (message := await client.message()).NotificationMessage.NotificationData:
        client.publish()
    assert [handle for handle, _ in values(message)] == [1]


async def test_acknowledged_messages_are_forgotten_and_unknown_ones_refused(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    first = await client.news()
    sequence = first.NotificationMessage.SequenceNumber
    assert first.AvailableSequenceNumbers == [sequence]
    place.write((place.double, 1.0))
    client.publish((subscription, sequence), (subscription, 999), (4711, 1))
    second = await client.news()
    assert names(second.Results) == ["Good", "BadSequenceNumberUnknown", "BadSubscriptionIdInvalid"]
    assert second.AvailableSequenceNumbers == [second.NotificationMessage.SequenceNumber]
    with pytest.raises(FaultError, match="BadMessageNotAvailable"):
        await republish(client, subscription, sequence)


async def test_a_message_can_be_republished_again_and_again_until_it_is_acknowledged(
    client: WireClient, place: Place
) -> None:
    subscription = await subscribe(client)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    message = (await client.news()).NotificationMessage
    for _ in range(2):
        again = await republish(client, subscription, message.SequenceNumber)
        assert again == message
    with pytest.raises(FaultError, match="BadSubscriptionIdInvalid"):
        await republish(client, 4711, 1)


async def test_no_more_messages_are_kept_than_the_limit(
    client: WireClient, server: GatewayServer, place: Place
) -> None:
    subscription = await subscribe(client, interval=10)
    await monitor(client, subscription, item(place.double, 1))
    for value in range(25):
        place.write((place.double, float(value)))
        client.publish()
        message = await client.news()
    assert len(message.AvailableSequenceNumbers) == 20
    assert message.AvailableSequenceNumbers[-1] == message.NotificationMessage.SequenceNumber


async def test_too_many_publish_requests_cost_the_oldest(server: GatewayServer, client: WireClient) -> None:
    assert server.internal is not None
    before = server.internal.subscription_service.totals().requests_refused
    await subscribe(client, interval=10_000)
    for _ in range(53):
        client.publish()
    for _ in range(2):
        with pytest.raises(FaultError, match="BadTooManyPublishRequests"):
            await client.message()
    with pytest.raises(TimeoutError):
        await client.message(0.1)
    assert server.internal.subscription_service.totals().requests_refused == before + 2


async def test_publish_without_a_subscription_is_refused_also_when_the_last_one_goes(client: WireClient) -> None:
    client.publish()
    with pytest.raises(FaultError, match="BadNoSubscription"):
        await client.message()
    subscription = await subscribe(client, interval=10_000)
    client.publish()
    assert await delete(client, subscription, subscription) == ["Good", "BadSubscriptionIdInvalid"]
    with pytest.raises(FaultError, match="BadNoSubscription"):
        await client.message()


async def test_a_publish_request_that_the_client_has_given_up_is_not_used(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, interval=10, keep_alive=1000)
    client.publish()
    await client.message()
    client.publish(timeout_hint=50)
    await asyncio.sleep(0.1)
    client.publish()
    await monitor(client, subscription, item(place.double, 1))
    with pytest.raises(FaultError, match="BadTimeout"):
        await client.message()
    assert [handle for handle, _ in values(await client.message())] == [1]


async def test_a_subscription_without_publish_requests_ends_after_its_lifetime(
    client: WireClient, server: GatewayServer, place: Place
) -> None:
    subscription = await subscribe(client, interval=10, keep_alive=1, lifetime=3)
    await monitor(client, subscription, item(place.double, 1))
    assert cursors(server, subscription)
    async with patient(5):
        while cursors(server, subscription):
            await asyncio.sleep(0.01)
    client.publish()
    with pytest.raises(FaultError, match="BadNoSubscription"):
        await client.message()


async def test_all_subscriptions_of_a_session_get_their_turn(client: WireClient, place: Place) -> None:
    subscriptions = [await subscribe(client, interval=20) for _ in range(5)]
    for subscription in subscriptions:
        await monitor(client, subscription, item(place.double, subscription))
    for _ in subscriptions:
        client.publish()
    messages = [await client.news() for _ in subscriptions]
    assert sorted(message.SubscriptionId for message in messages) == subscriptions
    assert all(values(message)[0][0] == message.SubscriptionId for message in messages)


async def test_a_changed_publishing_interval_counts_from_then_on(client: WireClient, place: Place) -> None:
    subscription = await subscribe(client, interval=60_000)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    with pytest.raises(TimeoutError):
        await client.message(0.1)
    change = ua.ModifySubscriptionRequest()
    change.Parameters.SubscriptionId = subscription
    change.Parameters.RequestedPublishingInterval = 20
    await client.call(change)
    assert [handle for handle, _ in values(await client.news(1.0))] == [1]


async def test_deleting_and_closing_gives_the_journal_back(
    server: GatewayServer, client: WireClient, place: Place
) -> None:
    first = await subscribe(client)
    second = await subscribe(client)
    for subscription in (first, second):
        await monitor(client, subscription, item(place.double))
    assert await delete(client, first) == ["Good"]
    assert not cursors(server, first)
    close = ua.CloseSessionRequest()
    close.DeleteSubscriptions = True
    await client.call(close)
    assert not cursors(server, second)


async def test_a_client_that_closes_its_session_and_is_gone_at_once_leaves_nothing_behind(
    server: GatewayServer, place: Place
) -> None:
    client = WireClient(server.port)
    await client.connect()
    await client.new_session()
    subscriptions = [await subscribe(client) for _ in range(3)]
    for subscription in subscriptions:
        await monitor(client, subscription, item(place.double))
    close = ua.CloseSessionRequest()
    close.DeleteSubscriptions = True
    client.post(close)
    client._writer.write_eof()
    async with patient(5):
        while any(cursors(server, subscription) for subscription in subscriptions):
            await asyncio.sleep(0.01)
    await client.close()


async def test_a_session_on_a_new_connection_goes_on_with_its_subscription(
    server: GatewayServer, client: WireClient, place: Place
) -> None:
    subscription = await subscribe(client, interval=20)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    sequence = (await client.news()).NotificationMessage.SequenceNumber
    client.publish()
    again = WireClient(server.port)
    await again.connect()
    again.adopt(client)
    await client.close()
    place.write((place.double, 1.0))
    await again.activate()
    assert (await republish(again, subscription, sequence)).SequenceNumber == sequence
    again.publish()
    assert values(await again.news()) == [(1, 1.0)]
    await again.close()


async def test_a_transferred_subscription_goes_on_in_the_new_session_and_the_old_one_is_told(
    server: GatewayServer, client: WireClient, other: WireClient, place: Place
) -> None:
    subscription = await subscribe(client, interval=20)
    await monitor(client, subscription, item(place.double, 1))
    client.publish()
    await client.news()
    client.publish()
    client.publish()
    assert server.internal is not None
    for session in server.internal.sessions:
        session.caller = Caller("olga", frozenset())
    transfer = ua.TransferSubscriptionsRequest()
    transfer.Parameters.SubscriptionIds = [subscription, 4711]
    transfer.Parameters.SendInitialValues = True
    results = (await other.call(transfer)).Parameters.Results
    assert names(results) == ["Good", "BadSubscriptionIdInvalid"]
    assert results[0].AvailableSequenceNumbers == [1]
    [told] = (await client.news()).NotificationMessage.NotificationData
    assert told.Status.name == "GoodSubscriptionTransferred"
    with pytest.raises(FaultError, match="BadNoSubscription"):
        await client.news()
    other.publish()
    assert [handle for handle, _ in values(await other.news())] == [1]
    assert await delete(client, subscription) == ["BadSubscriptionIdInvalid"]


async def test_a_client_that_stops_reading_costs_bounded_memory_and_gets_overflow_bits(
    server: GatewayServer, client: WireClient
) -> None:
    places = [Place(server.table, number) for number in range(80)]
    addresses = [address for place in places for address in place.doubles]
    subscription = await subscribe(client, interval=10)
    await monitor(client, subscription, *(item(address, handle, queue=20) for handle, address in enumerate(addresses)))
    for _ in range(50):
        client.publish()
    await client.news()
    client.reading.clear()
    client._reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio has no public way to stop
    assert server.internal is not None
    own = server.internal.subscription_service.subscription(subscription)
    assert own is not None
    rows = [server.table.find(address) for address in addresses]
    from address_space.point import Batch

    largest = 0
    for step in range(400):
        server.table.ingest(Batch.of(rows, [float(step)] * len(rows)))
        await asyncio.sleep(0.01)
        largest = max(largest, own.session.processor.unsent)  # type: ignore[union-attr]  # it is connected
        if own.points.dropped > 50_000:
            break
    assert own.points.dropped > 0
    assert server.internal.subscription_service.totals().dropped >= own.points.dropped
    assert own.points.queued <= 20 * len(rows)
    assert largest < 3 << 20
    client._reader._transport.resume_reading()  # type: ignore[attr-defined]  # as above
    client.reading.set()
    marked = last = 0
    while last < step:
        message = await client.news()
        for _, value in data(message):
            marked += value.StatusCode.value == 0x480
            last = max(last, int(value.Value.Value))
        client.publish((subscription, message.NotificationMessage.SequenceNumber))
    assert marked >= len(rows)
