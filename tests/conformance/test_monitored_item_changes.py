"""Part 4, 5.12.3 to 5.12.6: monitored items are set to other modes, modified, deleted, and triggered by each other."""

from __future__ import annotations

from typing import Any

from conformance.ask import fault, item, monitor, subscribe
from conformance.monitoring import DISABLED, REPORTING, SAMPLING, deadband, end, first, heard, values
from conformance.registry import case, check, each
from conformance.subject import POWER, Subject
from peers.opcua.agent import Peer

# ---- mode ------------------------------------------------------------------------------------------------------------


async def set_mode(peer: Peer, subscription: int, mode: int, *ids: int) -> dict[str, Any]:
    return await peer.request(
        "SetMonitoringModeRequest", subscriptionId=subscription, monitoringMode=mode, monitoredItemIds=list(ids)
    )


@each(
    "mode, expected",
    case("Part 4 5.12.1.3", "An item in mode Sampling reports nothing", SAMPLING, []),
    case("Part 4 5.12.1.3", "An item in mode Disabled reports nothing", DISABLED, []),
)
async def test_silent_modes(node: Peer, subject: Subject, point: str, mode: int, expected: list[Any]) -> None:
    subscription = await subscribe(node, 50)
    await monitor(node, subscription, item(point, mode=mode))
    await subject.write((point, 11.0))
    assert values(await heard(node, subscription)) == expected


@check("Part 4 5.12.4", "An item set from Disabled to Reporting gives the present value")
async def test_enable(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point, mode=DISABLED))
    await subject.write((point, 11.0))
    await set_mode(node, subscription, REPORTING, made["monitoredItemId"])
    assert values(await heard(node, subscription)) == [11.0]


@check("Part 4 5.12.4", "An item set from Sampling to Reporting gives what it has queued")
async def test_report_what_was_sampled(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point, mode=SAMPLING))
    await subject.write((point, 11.0))
    await set_mode(node, subscription, REPORTING, made["monitoredItemId"])
    assert values(await heard(node, subscription)) == [10.0, 11.0]


@check("Part 4 5.12.4", "SetMonitoringMode of an unknown item answers BadMonitoredItemIdInvalid beside the others")
async def test_mode_of_unknown_item(node: Peer, point: str) -> None:
    subscription = await subscribe(node)
    [made] = await monitor(node, subscription, item(point))
    answer = await set_mode(node, subscription, DISABLED, 4_000_000, made["monitoredItemId"])
    await end(node, subscription)
    assert answer["results"] == ["BadMonitoredItemIdInvalid", "Good"]


# ---- modifying and deleting ------------------------------------------------------------------------------------------


async def modify(peer: Peer, subscription: int, item_id: int, handle: int = 1, **more: Any) -> dict[str, Any]:
    parameters = item(POWER, handle, **more)["requestedParameters"]
    answer = await peer.request(
        "ModifyMonitoredItemsRequest",
        subscriptionId=subscription,
        timestampsToReturn=2,
        itemsToModify=[{"monitoredItemId": item_id, "requestedParameters": parameters}],
    )
    return dict(answer["results"][0]) if "results" in answer else {"statusCode": fault(answer)}


@check("Part 4 5.12.3", "ModifyMonitoredItems gives the client another handle, sampling and queue")
async def test_modify(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point, 1))
    await first(node, subscription)
    result = await modify(node, subscription, made["monitoredItemId"], 9, sampling=300, queue=4)
    await subject.write((point, 11.0))
    found = await heard(node, subscription, 0.6)
    assert (result["revisedSamplingInterval"], result["revisedQueueSize"]) == (300, 4)
    assert [(handle, value["value"]["value"]) for handle, value in found] == [(9, 11.0)]


@check("Part 4 5.12.3", "ModifyMonitoredItems gives an item another filter")
async def test_modify_filter(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point, 1))
    await first(node, subscription)
    await modify(node, subscription, made["monitoredItemId"], filter=deadband(5.0))
    await subject.write((point, 11.0), (point, 17.0))
    assert values(await heard(node, subscription)) == [17.0]


@check("Part 4 5.12.3", "ModifyMonitoredItems of an unknown item answers BadMonitoredItemIdInvalid")
async def test_modify_unknown(node: Peer) -> None:
    subscription = await subscribe(node)
    result = await modify(node, subscription, 4_000_000)
    await end(node, subscription)
    assert result["statusCode"] == "BadMonitoredItemIdInvalid"


@check("Part 4 5.12.6", "A deleted item reports nothing any more, and its id is unknown")
async def test_delete(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    [made] = await monitor(node, subscription, item(point))
    await first(node, subscription)
    ids = [made["monitoredItemId"]]
    for expected in ("Good", "BadMonitoredItemIdInvalid"):
        answer = await node.request("DeleteMonitoredItemsRequest", subscriptionId=subscription, monitoredItemIds=ids)
        assert answer["results"] == [expected]
    await subject.write((point, 11.0))
    assert values(await heard(node, subscription)) == []


@each(
    "request_name, fields",
    case(
        "Part 4 5.12.3",
        "ModifyMonitoredItems of no items answers BadNothingToDo",
        "ModifyMonitoredItemsRequest",
        {"itemsToModify": []},
    ),
    case(
        "Part 4 5.12.4",
        "SetMonitoringMode of no items answers BadNothingToDo",
        "SetMonitoringModeRequest",
        {"monitoredItemIds": []},
    ),
    case(
        "Part 4 5.12.6",
        "DeleteMonitoredItems of no items answers BadNothingToDo",
        "DeleteMonitoredItemsRequest",
        {"monitoredItemIds": []},
    ),
    case(
        "Part 4 5.12.5",
        "SetTriggering without links answers BadNothingToDo",
        "SetTriggeringRequest",
        {"linksToAdd": [], "linksToRemove": []},
    ),
)
async def test_nothing_to_do(node: Peer, request_name: str, fields: dict[str, Any]) -> None:
    subscription = await subscribe(node)
    answer = await node.request(request_name, subscriptionId=subscription, **fields)
    await end(node, subscription)
    assert fault(answer) == "BadNothingToDo"


@check("Part 4 5.12.2", "One point may be monitored twice in one subscription")
async def test_twice(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    await monitor(node, subscription, item(point, 1), item(point, 2, filter=deadband(5.0)))
    await first(node, subscription)
    await subject.write((point, 11.0))
    assert [handle for handle, _ in await heard(node, subscription)] == [1]


# ---- triggering ------------------------------------------------------------------------------------------------------


async def link(peer: Peer, subscription: int, source: int, add: list[int], remove: list[int]) -> dict[str, Any]:
    return await peer.request(
        "SetTriggeringRequest",
        subscriptionId=subscription,
        triggeringItemId=source,
        linksToAdd=add,
        linksToRemove=remove,
    )


@each(
    "triggered",
    case("Part 4 5.12.1.6", "An item that samples is reported when the item it is linked to changes", None),
    case(
        "Part 4 5.12.1.6",
        "A property that samples is reported when a point it is linked to changes",
        f"{POWER}#EURange",
    ),
)
async def test_triggering(node: Peer, subject: Subject, point: str, triggered: str | None) -> None:
    subscription = await subscribe(node, 50)
    target = triggered or subject.fresh()
    source, linked = await monitor(node, subscription, item(point, 1), item(target, 2, mode=SAMPLING))
    await first(node, subscription)
    answer = await link(node, subscription, source["monitoredItemId"], [linked["monitoredItemId"]], [])
    assert answer.get("addResults") == ["Good"], fault(answer)
    await subject.write((point, 11.0))
    assert {handle for handle, _ in await heard(node, subscription)} == {1, 2}


@check("Part 4 5.12.1.6", "An item that samples triggers others without being reported")
async def test_triggering_by_sampling(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    other = subject.fresh()
    source, linked = await monitor(
        node, subscription, item(point, 1, mode=SAMPLING), item(other, 2, mode=SAMPLING, queue=1)
    )
    await link(node, subscription, source["monitoredItemId"], [linked["monitoredItemId"]], [])
    await subject.write((other, 12.0), (point, 11.0))
    assert [(handle, value["value"]["value"]) for handle, value in await heard(node, subscription)] == [(2, 12.0)]


@check("Part 4 5.12.5", "A link that was removed does not trigger any more")
async def test_remove_link(node: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(node, 50)
    source, linked = await monitor(node, subscription, item(point, 1), item(subject.fresh(), 2, mode=SAMPLING))
    await first(node, subscription)
    ids = source["monitoredItemId"], [linked["monitoredItemId"]]
    await link(node, subscription, ids[0], ids[1], [])
    answer = await link(node, subscription, ids[0], [], ids[1])
    await subject.write((point, 11.0))
    found = await heard(node, subscription)
    assert (answer.get("removeResults"), {handle for handle, _ in found}) == (["Good"], {1})


@check("Part 4 5.12.5", "Links of unknown items answer BadMonitoredItemIdInvalid, each for itself")
async def test_unknown_links(node: Peer, point: str) -> None:
    subscription = await subscribe(node)
    [made] = await monitor(node, subscription, item(point))
    answer = await link(node, subscription, made["monitoredItemId"], [4_000_000], [4_000_001])
    await end(node, subscription)
    assert (answer.get("addResults"), answer.get("removeResults")) == (
        ["BadMonitoredItemIdInvalid"],
        ["BadMonitoredItemIdInvalid"],
    )


@check("Part 4 5.12.5", "SetTriggering of an unknown triggering item answers BadMonitoredItemIdInvalid")
async def test_unknown_source(node: Peer, point: str) -> None:
    subscription = await subscribe(node)
    [made] = await monitor(node, subscription, item(point))
    answer = await link(node, subscription, 4_000_000, [made["monitoredItemId"]], [])
    await end(node, subscription)
    assert fault(answer) == "BadMonitoredItemIdInvalid"
