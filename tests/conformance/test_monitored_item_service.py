"""Part 4, 5.12.2 (CreateMonitoredItems) and 7.17: what items are made, what they sample, queue and filter."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.ask import SERVER, SOURCE, fault, item, monitor, notifications, publish, subscribe
from conformance.monitoring import deadband, end, first, heard, values
from conformance.registry import case, check, each
from conformance.subject import BAY, HIDDEN, POWER, TEXT, Subject
from peers.opcua.agent import Peer

NAMESPACES, CURRENT_TIME = "i=2255", "i=2258"
UNRANGED = f"{BAY}/_/MMXU1/A/phsB"


# ---- creating --------------------------------------------------------------------------------------------------------


@check("Part 4 5.12.2", "The first notification of an item is its present value")
async def test_first_value(node: Peer, point: str) -> None:
    subscription = await subscribe(node)
    await monitor(node, subscription, item(point, 7))
    assert [(handle, value["value"]["value"]) for handle, value in await heard(node, subscription)] == [(7, 10.0)]


@each(
    "wanted, status",
    case(
        "Part 4 5.12.2",
        "An item on an unknown node answers BadNodeIdUnknown",
        item("ns=2;s=nowhere"),
        "BadNodeIdUnknown",
    ),
    case(
        "Part 4 5.12.2",
        "An item on an unknown numeric node answers BadNodeIdUnknown",
        item("i=4000000"),
        "BadNodeIdUnknown",
    ),
    case(
        "Part 4 5.12.2",
        "An item on an attribute that the node has not answers BadAttributeIdInvalid",
        item(BAY),
        "BadAttributeIdInvalid",
    ),
    case(
        "Part 4 5.12.2",
        "An item with a DataEncoding of what is no structure answers BadDataEncodingInvalid",
        item(POWER, dataEncoding={"$name": [0, "Default Binary"]}),
        "BadDataEncodingInvalid",
    ),
    case(
        "Part 4 5.12.2",
        "An item with an IndexRange on a scalar number answers BadIndexRangeNoData",
        item(POWER, indexRange="0:1"),
        "BadIndexRangeNoData",
    ),
    case(
        "Part 4 7.17.2",
        "A deadband on a text answers BadFilterNotAllowed",
        item(TEXT, filter=deadband(1.0)),
        "BadFilterNotAllowed",
    ),
    case(
        "Part 4 7.17.2",
        "A negative deadband answers BadDeadbandFilterInvalid",
        item(POWER, filter=deadband(-1.0)),
        "BadDeadbandFilterInvalid",
    ),
    case(
        "Part 8 6.2",
        "A percent deadband above 100 answers BadDeadbandFilterInvalid",
        item(POWER, filter=deadband(101.0, 2)),
        "BadDeadbandFilterInvalid",
    ),
    case(
        "Part 8 6.2",
        "A percent deadband on a node without EURange answers BadMonitoredItemFilterUnsupported",
        item(UNRANGED, filter=deadband(10.0, 2)),
        "BadMonitoredItemFilterUnsupported",
    ),
    case(
        "Part 4 7.17.3",
        "An event filter on a value answers BadFilterNotAllowed",
        item(POWER, filter={"$type": "EventFilter"}),
        "BadFilterNotAllowed",
    ),
    case(
        "Part 4 7.17.2",
        "A data change filter on another attribute than Value answers BadFilterNotAllowed",
        item(POWER, attribute=4, filter=deadband(1.0)),
        "BadFilterNotAllowed",
    ),
    case(
        "Part 4 7.17",
        "An aggregate filter that is not offered is refused",
        item(POWER, filter={"$type": "AggregateFilter", "aggregateType": "i=2342", "processingInterval": 1000}),
        "BadMonitoredItemFilterUnsupported",
    ),
)
async def test_item_refused(node: Peer, wanted: dict[str, Any], status: str) -> None:
    subscription = await subscribe(node)
    [result] = await monitor(node, subscription, wanted)
    await end(node, subscription)
    assert result["statusCode"] == status


@check("Part 4 5.12.2", "An item on what the user may not read is made, and its notification says BadUserAccessDenied")
async def test_item_without_the_right_to_read(node: Peer) -> None:
    subscription = await subscribe(node)
    [result] = await monitor(node, subscription, item(HIDDEN))
    [(_, value)] = await first(node, subscription)
    await end(node, subscription)
    assert (result["statusCode"], value["statusCode"]) == ("Good", "BadUserAccessDenied")
    assert value["value"]["value"] is None


@check("Part 4 5.12.2", "Items of no nodes answer BadNothingToDo")
async def test_no_items(node: Peer) -> None:
    subscription = await subscribe(node)
    answer = await node.request("CreateMonitoredItemsRequest", subscriptionId=subscription, itemsToCreate=[])
    await end(node, subscription)
    assert fault(answer) == "BadNothingToDo"


@check("Part 4 5.12.2", "Items of an unknown subscription answer BadSubscriptionIdInvalid")
async def test_items_of_no_subscription(node: Peer) -> None:
    answer = await node.request("CreateMonitoredItemsRequest", subscriptionId=4_000_000, itemsToCreate=[item(POWER)])
    assert fault(answer) == "BadSubscriptionIdInvalid"


@each(
    "wanted, expected",
    case("Part 4 5.12.2", "A property can be monitored", item(f"{POWER}#EURange", 3), 3),
    case("Part 4 5.12.2", "A DisplayName can be monitored", item(POWER, 4, attribute=4), 4),
    case("Part 4 5.12.2", "The BrowseName of an object can be monitored", item(BAY, 5, attribute=3), 5),
    case("Part 4 5.12.2", "A value of the Server object can be monitored", item(NAMESPACES, 6), 6),
)
async def test_other_items(node: Peer, wanted: dict[str, Any], expected: int) -> None:
    subscription = await subscribe(node)
    await monitor(node, subscription, wanted)
    assert [handle for handle, _ in await heard(node, subscription)] == [expected]


@check("Part 4 5.12.2", "What changes on the Server object is notified again and again")
async def test_server_time_is_notified(node: Peer) -> None:
    subscription = await subscribe(node, 100, requestedMaxKeepAliveCount=100)
    await monitor(node, subscription, item(CURRENT_TIME, sampling=100))
    first_message, second_message = await publish(node), await publish(node)
    await end(node, subscription)
    times = [notifications(each)[0][1]["value"]["value"] for each in (first_message, second_message)]
    assert times[0] < times[1]


@each(
    "address, index_range, expected",
    case(
        "Part 4 5.12.2",
        "An item with an IndexRange gives the part of the array",
        NAMESPACES,
        "0",
        ["http://opcfoundation.org/UA/"],
    ),
    case("Part 4 5.12.2", "An item with an IndexRange gives the part of the text", TEXT, "0:4", "first"),
)
async def test_index_range(node: Peer, address: str, index_range: str, expected: Any) -> None:
    subscription = await subscribe(node)
    await monitor(node, subscription, item(address, indexRange=index_range))
    assert values(await heard(node, subscription)) == [expected]


@each(
    "stamps, present",
    case("Part 4 7.35", "TimestampsToReturn Source holds for notifications", SOURCE, {"source"}),
    case("Part 4 7.35", "TimestampsToReturn Server holds for notifications", SERVER, {"server"}),
    case("Part 4 7.35", "TimestampsToReturn Neither holds for notifications", 3, set()),
)
async def test_timestamps_of_notifications(node: Peer, point: str, stamps: int, present: set[str]) -> None:
    subscription = await subscribe(node)
    await monitor(node, subscription, item(point), stamps=stamps)
    [(_, value)] = await heard(node, subscription)
    assert {name for name in ("source", "server") if value[f"{name}Timestamp"]} == present


# ---- sampling and queues ---------------------------------------------------------------------------------------------


@each(
    "sampling, least, most",
    case("Part 4 5.12.1.2", "A negative sampling interval becomes the publishing interval", -1.0, 200.0, 200.0),
    case("Part 4 5.12.1.2", "A sampling interval that can be kept is kept", 500.0, 500.0, 500.0),
    case("Part 4 5.12.1.2", "A sampling interval of 0 becomes the fastest that can be", 0.0, 0.0, 100.0),
)
async def test_revised_sampling(node: Peer, point: str, sampling: float, least: float, most: float) -> None:
    subscription = await subscribe(node, 200)
    [result] = await monitor(node, subscription, item(point, sampling=sampling))
    await end(node, subscription)
    assert least <= result["revisedSamplingInterval"] <= most


@check("Part 4 5.12.1.2", "A slow sampling interval gives the newest value once an interval, not every change")
async def test_slow_sampling(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    await monitor(node, subscription, item(point, sampling=400, queue=100))
    for number in range(12):
        await subject.write((point, 20.0 + number))
        await asyncio.sleep(0.05)
    found = values(await heard(node, subscription, 0.5))
    assert (found[0], found[-1], len(found) <= 4) == (10.0, 31.0, True)


@each(
    "queue, revised",
    case("Part 4 5.12.1.5", "A queue size of 0 becomes 1", 0, 1),
    case("Part 4 5.12.1.5", "A queue size that can be is kept", 7, 7),
)
async def test_queue_size(node: Peer, point: str, queue: int, revised: int) -> None:
    subscription = await subscribe(node)
    [result] = await monitor(node, subscription, item(point, queue=queue))
    await end(node, subscription)
    assert result["revisedQueueSize"] == revised


async def overflow(node: Peer, subject: Subject, point: str, **more: Any) -> list[tuple[int, dict[str, Any]]]:
    """What an item tells of the values 1 to 6 written in one publishing cycle."""
    subscription = await subscribe(node, 100)
    await monitor(node, subscription, item(point, **more))
    await first(node, subscription)
    await subject.write(*((point, float(number)) for number in range(1, 7)))
    return await heard(node, subscription)


@check("Part 4 5.12.1.5", "A full queue with discardOldest keeps the newest values")
async def test_discard_oldest(node: Peer, subject: Subject, point: str) -> None:
    assert values(await overflow(node, subject, point, queue=3)) == [4.0, 5.0, 6.0]


@check("Part 4 5.12.1.5", "A full queue without discardOldest keeps the first values and ends with the newest")
async def test_discard_newest(node: Peer, subject: Subject, point: str) -> None:
    assert values(await overflow(node, subject, point, queue=3, oldest=False)) == [1.0, 2.0, 6.0]


@check("Part 4 7.34", "A queue that overflowed says so by the overflow bit")
async def test_overflow_bit(node: Peer, subject: Subject, point: str) -> None:
    found = await overflow(node, subject, point, queue=3)
    assert ["Overflow" in value["statusCode"] for _, value in found] == [True, False, False]


@check("Part 4 5.12.1.5", "A queue of one gives the newest value without the overflow bit")
async def test_queue_of_one(node: Peer, subject: Subject, point: str) -> None:
    found = await overflow(node, subject, point, queue=1)
    assert [(value["value"]["value"], value["statusCode"]) for _, value in found] == [(6.0, "Good")]


@check("Part 4 5.12.1.5", "A queue that is long enough loses nothing and keeps the order")
async def test_queue_order(node: Peer, subject: Subject, point: str) -> None:
    assert values(await overflow(node, subject, point, queue=10)) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


# ---- filters ---------------------------------------------------------------------------------------------------------


async def filtered(node: Peer, subject: Subject, point: str, filter_: dict[str, Any], *steps: float) -> list[Any]:
    """Values that pass a filter; the first is what was there."""
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point, queue=100, filter=filter_))
    assert made["statusCode"] == "Good", made["statusCode"]
    for value in steps:
        await subject.write((point, value))
    return values(await heard(node, subscription))


@check("Part 4 7.17.2", "An absolute deadband holds back smaller changes")
async def test_absolute_deadband(node: Peer, subject: Subject, point: str) -> None:
    assert await filtered(node, subject, point, deadband(1.0), 10.5, 11.0, 11.5, 11.0) == [10.0, 11.5]


@check("Part 4 7.17.2", "A slow drift is reported: the deadband counts from the value reported last")
async def test_drift(node: Peer, subject: Subject, point: str) -> None:
    steps = [10.0 + 0.25 * number for number in range(1, 9)]
    assert await filtered(node, subject, point, deadband(0.5), *steps) == [10.0, 10.75, 11.5]


@check("Part 8 6.2", "A percent deadband is one of the EURange")
async def test_percent_deadband(node: Peer, subject: Subject, point: str) -> None:
    # 10 % of 0 to 200.
    assert await filtered(node, subject, point, deadband(10.0, 2), 25.0, 31.0, 45.0, 60.0) == [10.0, 31.0, 60.0]


@check("Part 4 7.17.2", "Trigger Status holds back changes of the value")
async def test_status_trigger(node: Peer, subject: Subject, point: str) -> None:
    assert await filtered(node, subject, point, deadband(0.0, 0, 0), 11.0, 12.0) == [10.0]


@check("Part 4 7.17.2", "Trigger StatusValueTimestamp reports the same value with a new time")
async def test_timestamp_trigger(node: Peer, subject: Subject, point: str) -> None:
    assert await filtered(node, subject, point, deadband(0.0, 0, 2), 10.0, 10.0) == [10.0, 10.0, 10.0]


@check("Part 4 7.17.2", "Without a filter the same value with a new time is not reported")
async def test_same_value(node: Peer, subject: Subject, point: str) -> None:
    assert await filtered(node, subject, point, deadband(0.0, 0, 1), 10.0, 10.0) == [10.0]


@check("Part 4 7.17.2", "A change of the status is reported whatever the deadband is")
async def test_status_change(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    await monitor(node, subscription, item(point, filter=deadband(100.0)))
    await first(node, subscription)
    await subject.write((point, 10.0), status=0x8031_0000)
    [(_, value)] = await heard(node, subscription)
    assert value["statusCode"] != "Good"
