"""Requests of the checks in few words, by node-opcua; answers are its JSON."""

from __future__ import annotations

from typing import Any

from conformance.subject import node
from peers.opcua.agent import Peer

VALUE = 13
BOTH, SERVER, SOURCE, NEITHER = 2, 1, 0, 3


def fault(answer: dict[str, Any]) -> str:
    """Name of the ServiceResult; Good for an answer that is no fault."""
    return str(answer.get("fault", "Good"))


def as_node(address: str) -> str:
    """A NodeId: texts with `=` are one already, others are addresses."""
    return address if "=" in address else node(address)


def wanted(address: str, attribute: int = VALUE, **fields: Any) -> dict[str, Any]:
    """A ReadValueId."""
    return {"nodeId": as_node(address), "attributeId": attribute, **fields}


async def read(peer: Peer, address: str, attribute: int = VALUE, *, stamps: int = BOTH, **fields: Any) -> Any:
    """One DataValue."""
    nodes = [wanted(address, attribute, **fields)]
    answer = await peer.request("ReadRequest", maxAge=0, timestampsToReturn=stamps, nodesToRead=nodes)
    return answer["results"][0]


async def subscribe(peer: Peer, interval: float = 50, **more: Any) -> int:
    """A subscription's id; keep-alives come in every cycle without news."""
    return int(
        (await create_subscription(peer, interval, **{"requestedMaxKeepAliveCount": 1, **more}))["subscriptionId"]
    )


async def create_subscription(peer: Peer, interval: float = 50, **more: Any) -> dict[str, Any]:
    """The answer to CreateSubscription."""
    fields = {
        "requestedLifetimeCount": 600,
        "requestedMaxKeepAliveCount": 100,
        "maxNotificationsPerPublish": 0,
        "publishingEnabled": True,
        "priority": 0,
    }
    return await peer.request("CreateSubscriptionRequest", requestedPublishingInterval=interval, **{**fields, **more})


def item(address: str, handle: int = 1, **more: Any) -> dict[str, Any]:
    """A MonitoredItemCreateRequest: fields of the ReadValueId, `mode`, `sampling`, `queue`, `oldest`, `filter`."""
    parameters = {
        "clientHandle": handle,
        "samplingInterval": more.pop("sampling", 0),
        "queueSize": more.pop("queue", 10),
        "discardOldest": more.pop("oldest", True),
        "filter": more.pop("filter", None),
    }
    mode = more.pop("mode", 2)
    return {
        "itemToMonitor": wanted(address, more.pop("attribute", VALUE), **more),
        "monitoringMode": mode,
        "requestedParameters": parameters,
    }


async def monitor(peer: Peer, subscription: int, *items: dict[str, Any], stamps: int = BOTH) -> list[dict[str, Any]]:
    """Results of CreateMonitoredItems."""
    answer = await peer.request(
        "CreateMonitoredItemsRequest", subscriptionId=subscription, timestampsToReturn=stamps, itemsToCreate=list(items)
    )
    assert "results" in answer, fault(answer)
    return list(answer["results"])


async def publish(peer: Peer, *acknowledge: tuple[int, int]) -> dict[str, Any]:
    """The answer to one publish request; `acknowledge` are (subscription, sequence number)."""
    return await peer.request(
        "PublishRequest",
        subscriptionAcknowledgements=[
            {"subscriptionId": each, "sequenceNumber": number} for each, number in acknowledge
        ],
    )


def notifications(answer: dict[str, Any]) -> list[tuple[int, Any]]:
    """(client handle, DataValue) of each data change of a publish answer."""
    return [
        (each["clientHandle"], each["value"])
        for part in answer["notificationMessage"]["notificationData"] or []
        if part["$type"] == "DataChangeNotification"
        for each in part["monitoredItems"]
    ]
