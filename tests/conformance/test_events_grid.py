"""Part 3, Part 4 5.13 and Part 5 6.4: events of the grid and of the server, their notifiers, queues and rights."""

from __future__ import annotations

from typing import Any

from conformance import alarms, ask
from conformance.alarms import PLACE, SERVER, Stream, happen
from conformance.registry import check
from conformance.subject import BAY, PASSWORDS, POWER, Ours
from peers.opcua.agent import Agent, Peer

_STOCK = "stock asyncua has none of these events"
_HAS_NOTIFIER, _HAS_EVENT_SOURCE = "i=48", "i=36"


async def _browse(peer: Peer, node: str, reference: str, *, inverse: bool = False) -> set[str]:
    """Targets of the references of a type."""
    answer = await peer.request(
        "BrowseRequest",
        requestedMaxReferencesPerNode=0,
        nodesToBrowse=[
            {
                "nodeId": node,
                "browseDirection": int(inverse),
                "referenceTypeId": reference,
                "includeSubtypes": False,
                "nodeClassMask": 0,
                "resultMask": 63,
            }
        ],
    )
    return {each["nodeId"] for each in answer["results"][0]["references"] or []}


# ---- Part 5: the fields ----------------------------------------------------------------------------------------------


@check("Part 5 6.4.2", "Every event has the mandatory fields of BaseEventType", ours_only=_STOCK)
async def test_mandatory_fields_of_base_event_type(stream: Stream, subject: Ours) -> None:
    names = ["EventId", "EventType", "SourceNode", "SourceName", "Time", "ReceiveTime", "Message", "Severity"]
    await stream.add(SERVER, names)
    happen(subject, "all fields")
    [row] = await stream.told()
    event = dict(zip(names, row, strict=True))
    assert len(event["EventId"]) == 32
    assert event["SourceNode"] == f"ns=2;s={PLACE}"
    assert event["SourceName"] == PLACE
    assert event["Message"]["text"] == "all fields"
    assert event["Severity"] == 400
    assert event["Time"] == event["ReceiveTime"]


@check("Part 5 6.4.2", "Time is when it happened at the source, ReceiveTime when the server got it", ours_only=_STOCK)
async def test_time_is_that_of_the_source(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Time", "ReceiveTime"])
    happen(subject, "late", source_time=133_800_000_000_000_000)
    [[time, received]] = await stream.told()
    assert time == "2024-12-30T02:40:00.000Z"
    assert received > time


@check(
    "Part 5 6.4.2", "EventIds of different events differ, of one event are the same for every item", ours_only=_STOCK
)
async def test_event_ids(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["EventId"], handle=1)
    await stream.add(f"ns=2;s={PLACE}", ["EventId"], handle=2)
    happen(subject, "one")
    happen(subject, "two")
    rows = await stream.told_to(4)
    by_handle = {handle: [row[0] for each, row in rows if each == handle] for handle in (1, 2)}
    assert by_handle[1] == by_handle[2]
    assert len(set(by_handle[1])) == 2


@check("Part 5 6.4.2", "The event type's node exists and is derived from BaseEventType", ours_only=_STOCK)
async def test_the_event_type_is_in_the_address_space(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["EventType"])
    happen(subject, "typed", code="F01")
    [[event_type]] = await stream.told()
    [parent] = await _browse(stream.peer, event_type, "i=45", inverse=True)
    [above] = await _browse(stream.peer, parent, "i=45", inverse=True)
    assert "ns=0;i=2041" in {parent, above}


@check("Part 5 6.4.2", "Events carry the fields of the grid's own event types", ours_only=_STOCK)
async def test_fields_of_our_own(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["4:Code", "4:CorrelationId", "4:Actor", "4:TimeQuality", "4:Value"])
    happen(subject, "own", code="S06", correlation="cmd-1", actor="olga", value=2.5)
    assert await stream.told() == [["S06", "cmd-1", "olga", "rx", 2.5]]


# ---- Part 3: notifiers -----------------------------------------------------------------------------------------------


@check(
    "Part 3 5.5.1", "EventNotifier of the Server, the grid and places has the bit SubscribeToEvents", ours_only=_STOCK
)
async def test_event_notifier(eva: Peer) -> None:
    for node in (SERVER, "ns=2;s=#Grid", f"ns=2;s={PLACE}", f"ns=2;s={BAY}/QA1/CSWI1"):
        assert (await ask.read(eva, node, 12))["value"]["value"] & 1 == 1, node


@check("Part 3 7.16", "HasNotifier leads from the Server over the grid down to the functions", ours_only=_STOCK)
async def test_has_notifier_leads_down(eva: Peer) -> None:
    assert "ns=2;s=#Grid" in await _browse(eva, SERVER, _HAS_NOTIFIER)
    assert "ns=2;s=dso1" in await _browse(eva, "ns=2;s=#Grid", _HAS_NOTIFIER)
    assert f"ns=2;s={BAY}/QA1" in await _browse(eva, f"ns=2;s={BAY}", _HAS_NOTIFIER)
    assert f"ns=2;s={BAY}" in await _browse(eva, f"ns=2;s={BAY}/QA1", _HAS_NOTIFIER, inverse=True)


@check("Part 3 7.17", "HasEventSource leads from a function to a point that has a condition", ours_only=_STOCK)
async def test_has_event_source(eva: Peer, subject: Ours, point: str) -> None:
    function = f"ns=2;s={point.rpartition('/')[0]}"
    assert await _browse(eva, function, _HAS_EVENT_SOURCE) == set()
    alarms.alarm(subject, point)
    assert await _browse(eva, function, _HAS_EVENT_SOURCE) == {f"ns=2;s={point}"}


@check("Part 3 4.6", "An item on a place is told what happens at it and below, not beside", ours_only=_STOCK)
async def test_events_go_up(stream: Stream, subject: Ours) -> None:
    await stream.add(f"ns=2;s={PLACE}", ["Message"])
    for text, address in (
        ("at", PLACE),
        ("below", f"{PLACE}/F01/_/MMXU1/TotW"),
        ("beside", f"{PLACE}X"),
        ("above", "dso1/conf"),
        ("end", PLACE),
    ):
        happen(subject, text, address)
    assert [row[0]["text"] for row in await stream.told(3)] == ["at", "below", "end"]


@check("Part 3 4.6", "The Server object is told of everything, also of what has no place", ours_only=_STOCK)
async def test_the_server_is_told_of_everything(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Message", "SourceNode"], handle=1)
    await stream.add("ns=2;s=#Grid", ["Message", "SourceNode"], handle=2)
    happen(subject, "nowhere", "")
    happen(subject, "somewhere", "dso1/conf")
    rows = [(handle, row[0]["text"], row[1]) for handle, row in await stream.told_to(3)]
    assert sorted(rows) == [
        (1, "nowhere", "ns=0;i=2253"),
        (1, "somewhere", "ns=2;s=dso1/conf"),
        (2, "somewhere", "ns=2;s=dso1/conf"),
    ]


# ---- Part 4 5.13: queues and modes -----------------------------------------------------------------------------------


@check(
    "Part 4 5.13.1.5", "A full queue that discards the oldest tells the overflow before the newest", ours_only=_STOCK
)
async def test_overflow_with_discard_oldest(stream: Stream, subject: Ours) -> None:
    made = await stream.add(SERVER, ["Message", "EventType", "SourceName"], queue=3)
    assert made["revisedQueueSize"] == 3
    for number in range(10):
        happen(subject, f"n{number}")
    overflow, *rows = await stream.told(4)
    assert overflow[1:] == ["ns=0;i=3035", "Internal/EventQueueOverflow"]
    assert [row[0]["text"] for row in rows] == ["n7", "n8", "n9"]


@check(
    "Part 4 5.13.1.5",
    "A full queue that keeps the oldest replaces the newest and tells the overflow last",
    ours_only=_STOCK,
)
async def test_overflow_with_the_oldest_kept(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Message", "EventType"], queue=3, oldest=False)
    for number in range(10):
        happen(subject, f"n{number}")
    *rows, overflow = await stream.told(4)
    assert [row[0]["text"] for row in rows] == ["n0", "n1", "n9"]
    assert overflow[1] == "ns=0;i=3035"


@check("Part 4 5.13.2", "QueueSize 0 is revised to the server's usual one for events", ours_only=_STOCK)
async def test_queue_size_zero_is_revised(stream: Stream) -> None:
    assert (await stream.add(SERVER, ["Message"], queue=0))["revisedQueueSize"] == 20_000


@check(
    "Part 4 5.13.4",
    "An item in mode Sampling does not report; set to Reporting it tells what it queued",
    ours_only=_STOCK,
)
async def test_sampling_mode(stream: Stream, subject: Ours) -> None:
    quiet = await stream.add(SERVER, ["Message"], mode=1, handle=1)
    await stream.add(SERVER, ["Message"], handle=2)
    happen(subject, "first")
    assert [handle for handle, _ in await stream.told_to()] == [2]
    await stream.peer.request(
        "SetMonitoringModeRequest",
        subscriptionId=stream.id,
        monitoringMode=2,
        monitoredItemIds=[quiet["monitoredItemId"]],
    )
    assert [(handle, row[0]["text"]) for handle, row in await stream.told_to()] == [(1, "first")]


@check("Part 4 5.13.4", "A disabled item gets nothing, and its queue is gone", ours_only=_STOCK)
async def test_disabled_mode(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Message"], mode=0, handle=1)
    await stream.add(SERVER, ["Message"], handle=2)
    happen(subject, "not for one")
    assert [handle for handle, _ in await stream.told_to()] == [2]


@check(
    "Part 4 5.14.2",
    "MaxNotificationsPerPublish bounds the events of a message; MoreNotifications tells of more",
    ours_only=_STOCK,
)
async def test_max_notifications_per_publish(eva: Peer, subject: Ours) -> None:
    async with alarms.streaming(eva, maxNotificationsPerPublish=2) as stream:
        await stream.add(SERVER, ["Message"])
        for number in range(5):
            happen(subject, f"m{number}")
        answers = [await ask.publish(eva) for _ in range(3)]
        assert [len(alarms.rows_of(each)) for each in answers] == [2, 2, 1]
        assert [each["moreNotifications"] for each in answers] == [True, True, False]


@check("Part 4 5.13.6", "A deleted event item tells nothing more", ours_only=_STOCK)
async def test_deleted_items_tell_nothing(stream: Stream, subject: Ours) -> None:
    gone = await stream.add(SERVER, ["Message"], handle=1)
    await stream.add(SERVER, ["Message"], handle=2)
    answer = await stream.peer.request(
        "DeleteMonitoredItemsRequest", subscriptionId=stream.id, monitoredItemIds=[gone["monitoredItemId"]]
    )
    assert answer["results"] == ["Good"]
    happen(subject, "for the other")
    assert [handle for handle, _ in await stream.told_to()] == [2]


# ---- rights and audit ------------------------------------------------------------------------------------------------


@check("Part 2 4.10", "An event is told only to those who may read its source", ours_only=_STOCK)
async def test_events_are_for_those_who_may_read_the_source(agent: Agent, subject: Ours) -> None:
    peer = await agent.connect(subject.url, user="nina", password=PASSWORDS["nina"])
    async with alarms.streaming(peer) as stream:
        await stream.add(SERVER, ["Message"])
        happen(subject, "not hers", PLACE)
        happen(subject, "hers", POWER)
        assert [row[0]["text"] for row in await stream.told()] == ["hers"]
    await peer.disconnect()


async def _audit_rows(agent: Agent, subject: Ours, user: str, selects: list[str], act: Any) -> list[Any]:
    """What a user is told on the Server object while somebody calls a method: audit events, then the event `end`."""
    peer = await agent.connect(subject.url, user=user, password=PASSWORDS[user])
    async with alarms.streaming(peer) as stream:
        await stream.add(SERVER, selects)
        await act()
        happen(subject, "end", "")
        rows: list[Any] = []
        while not any(row[0] == "ns=0;i=2130" for row in rows):
            rows += await stream.told()
    await peer.disconnect()
    return rows


@check("Part 5 6.4.27", "A method call is told as AuditUpdateMethodEvent with its arguments", ours_only=_STOCK)
async def test_a_method_call_is_audited(agent: Agent, eva: Peer, subject: Ours) -> None:
    async def act() -> None:
        arguments = [{"$variant": ["Double", 2.0]}, {"$variant": ["String", ["a"]]}]
        target = f"ns=2;s={BAY}"
        await eva.request(
            "CallRequest",
            methodsToCall=[{"objectId": target, "methodId": f"{target}#Double", "inputArguments": arguments}],
        )

    selects = ["EventType", "MethodId", "ClientUserId", "SourceNode", "Status", "InputArguments"]
    rows = await _audit_rows(agent, subject, "sara", selects, act)
    [called] = [row for row in rows if row[0] == "ns=0;i=2127"]
    assert called[1:5] == [f"ns=2;s={BAY}#Double", "eva", f"ns=2;s={BAY}", True]
    assert [each["value"] for each in called[5]] == [2.0, ["a"]]


@check("Part 5 6.4.3", "Audit events are only for those who may read the audit", ours_only=_STOCK)
async def test_audit_events_are_not_for_everybody(agent: Agent, eva: Peer, subject: Ours) -> None:
    async def act() -> None:
        target = f"ns=2;s={BAY}"
        await eva.request("CallRequest", methodsToCall=[{"objectId": target, "methodId": f"{target}#Double"}])

    rows = await _audit_rows(agent, subject, "otto", ["EventType"], act)
    assert rows == [["ns=0;i=2130"]]


@check(
    "Part 4 5.13.1", "Ten thousand events at once reach a reading client without loss and in order", ours_only=_STOCK
)
async def test_a_burst_is_not_lost(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Message", "Severity"])
    for number in range(10_000):
        happen(subject, str(number))
    rows = await stream.told(10_000)
    assert [row[0]["text"] for row in rows] == [str(number) for number in range(10_000)]
