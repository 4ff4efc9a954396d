"""The server of these tests: 40 points of all value types in one place, and requests on them in few words."""

from __future__ import annotations

from typing import Any

from asyncua import ua
from peers.opcua.wire_client import WireClient

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.table import PointTable

NAMESPACE = 2
PLACES = 80
RANGED = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG, low=0.0, high=200.0)
UNRANGED = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)
OTHERS = (
    PointProfile("SPS", ValueType.BOOLEAN, VariableKind.TWO_STATE),
    PointProfile("DPS", ValueType.INT32, VariableKind.MULTI_STATE),
    PointProfile("SEC", ValueType.UINT32, VariableKind.DATA),
    PointProfile("RAW", ValueType.INT64, VariableKind.DATA),
    PointProfile("VSS", ValueType.STRING, VariableKind.DATA),
)


class Place:
    """The points of one test: 20 Doubles with a range, one without, and one of each other type."""

    def __init__(self, table: PointTable, number: int) -> None:
        self.table = table
        self.root = f"dso1/north/PS{number:02}/MV1/F05/QA1"
        self.doubles = [f"{self.root}/MMXU{index}/TotW" for index in range(1, 21)]
        self.double = self.doubles[0]
        self.without_range = f"{self.root}/MMXU1/TotVAr"
        self.others = [f"{self.root}/GGIO{index}/Val" for index in range(1, 6)]
        self.boolean, self.int32, self.uint32, self.int64, self.string = self.others

    def fill(self) -> None:
        self.table.add(Point(address, RANGED, "rtu1", index) for index, address in enumerate(self.doubles))
        self.table.add([Point(self.without_range, UNRANGED, "rtu1", 100)])
        self.table.add(
            Point(address, profile, "rtu1", 200) for address, profile in zip(self.others, OTHERS, strict=True)
        )

    def write(self, *values: tuple[str, float], quality: int = 0, time: int = 0) -> None:
        rows = [self.table.find(address) for address, _ in values]
        self.table.ingest(Batch.of(rows, [value for _, value in values], quality, time or clock.now()))

    def say(self, *texts: str) -> None:
        row = self.table.find(self.string)
        self.table.ingest(Batch.of([], [], texts=[TextSample(row, text, 0, clock.now()) for text in texts]))


def table() -> PointTable:
    made = PointTable()
    for number in range(PLACES):
        Place(made, number).fill()
    return made


async def subscribe(client: WireClient, interval: float = 50, **more: Any) -> int:
    request = ua.CreateSubscriptionRequest()
    request.Parameters.RequestedPublishingInterval = interval
    request.Parameters.RequestedLifetimeCount = more.get("lifetime", 1000)
    request.Parameters.RequestedMaxKeepAliveCount = more.get("keep_alive", 100)
    request.Parameters.MaxNotificationsPerPublish = more.get("most", 0)
    request.Parameters.PublishingEnabled = more.get("enabled", True)
    return int((await client.call(request)).Parameters.SubscriptionId)


def item(address: str, handle: int = 0, **more: Any) -> ua.MonitoredItemCreateRequest:
    wanted = ua.MonitoredItemCreateRequest()
    wanted.ItemToMonitor.NodeId = more.get("node") or ua.NodeId(address, NAMESPACE)
    wanted.ItemToMonitor.AttributeId = more.get("attribute", ua.AttributeIds.Value)
    wanted.ItemToMonitor.IndexRange = more.get("range")
    wanted.ItemToMonitor.DataEncoding = ua.QualifiedName(more.get("encoding"), 0)
    wanted.MonitoringMode = more.get("mode", ua.MonitoringMode.Reporting)
    wanted.RequestedParameters = parameters(handle, **more)
    return wanted


def parameters(handle: int, **more: Any) -> ua.MonitoringParameters:
    wanted = ua.MonitoringParameters()
    wanted.ClientHandle = handle
    wanted.SamplingInterval = more.get("sampling", 0)
    wanted.QueueSize = more.get("queue", 10)
    wanted.DiscardOldest = more.get("oldest", True)
    wanted.Filter = more.get("filter")
    return wanted


async def monitor(
    client: WireClient,
    subscription: int,
    *items: ua.MonitoredItemCreateRequest,
    stamps: ua.TimestampsToReturn = ua.TimestampsToReturn.Both,
) -> list[ua.MonitoredItemCreateResult]:
    request = ua.CreateMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.TimestampsToReturn = stamps
    request.Parameters.ItemsToCreate = list(items)
    return list((await client.call(request)).Results)


def values(message: Any) -> list[tuple[int, Any]]:
    """(client handle, value) of each data change of a message."""
    return [(handle, value.Value.Value if value.Value is not None else None) for handle, value in data(message)]


def data(message: Any) -> list[tuple[int, ua.DataValue]]:
    return [
        (each.ClientHandle, each.Value)
        for part in message.NotificationMessage.NotificationData or []
        if isinstance(part, ua.DataChangeNotification)
        for each in part.MonitoredItems
    ]


def names(results: Any) -> list[str]:
    """Names of the StatusCodes of results, or of StatusCodes."""
    return [getattr(each, "StatusCode", each).name for each in results]


def deadband(value: float, kind: int = 1, trigger: int = 1) -> ua.DataChangeFilter:
    return ua.DataChangeFilter(Trigger=ua.DataChangeTrigger(trigger), DeadbandType=kind, DeadbandValue=value)
