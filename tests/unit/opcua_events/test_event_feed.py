"""The feed of event items: bounded queues, what is lost is told, one event is encoded once for all its items."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from peers.opcua.rig import Rig

from address_space.conditions import Condition
from address_space.events import Event, EventJournal
from address_space.opcua import event_feed, event_items
from address_space.opcua.access import Access
from address_space.opcua.event_feed import EventFeed
from address_space.opcua.event_items import EventItems
from address_space.opcua.items import REPORTING, SAMPLING
from address_space.opcua.server import InternalServer
from address_space.ports import Caller, Right

PLACE = "dso1/north"


@pytest.fixture
def server(tmp_path: Path) -> InternalServer:
    """The inside of a server that is not started: its nodes, and a journal of eight events."""
    rig = Rig(tmp_path)
    ports = replace(rig.server.ports, events=EventJournal(8))
    made = InternalServer(rig.table, rig.server.book, rig.server.settings, ports)
    made.aspace.use_snapshot()
    return made


class _All:
    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return True


def group(feed: EventFeed) -> EventItems:
    """Event items of a session that may read all."""
    access = Access(_All(), Caller("eva", frozenset()))  # type: ignore[arg-type]  # only `permits` is asked
    return EventItems(feed, SimpleNamespace(session=SimpleNamespace(access=access)))  # type: ignore[arg-type]  # of it


def wanted(queue: int = 0, *, oldest: bool = True, node: int = 2253) -> Any:
    """A MonitoredItemCreateRequest for the field Message."""
    operand = ua.SimpleAttributeOperand(TypeDefinitionId=ua.NodeId(2041), BrowsePath=[ua.QualifiedName("Message", 0)])
    operand.AttributeId = ua.AttributeIds.Value
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = ua.NodeId(node)
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.QueueSize, item.RequestedParameters.DiscardOldest = queue, oldest
    item.RequestedParameters.Filter = ua.EventFilter(SelectClauses=[operand])
    return item


def happen(server: InternalServer, count: int) -> None:
    assert server.ports.events is not None
    for number in range(count):
        server.ports.events.append(Event("X01", f"event {number}", address=PLACE))


async def test_events_that_are_gone_from_the_journal_are_counted_and_told(server: InternalServer) -> None:
    feed = server.event_feed
    items = group(feed)
    assert items.create(1, wanted(), 2).status == 0
    happen(server, 20)
    await feed.drain()
    assert feed.counters.events_lost == 12
    octets = b"".join(items.take(100)[0])
    assert b"12 events were lost" in octets
    assert b"what is known of the conditions may be old" in octets
    assert b"event 19" in octets
    assert b"event 11" not in octets
    items.close()


async def test_without_items_the_journal_keeps_nothing(server: InternalServer) -> None:
    items = group(server.event_feed)
    items.create(1, wanted(), 2)
    events = server.ports.events
    assert events is not None
    assert len(events.cursors) == 1
    items.remove(1)
    assert len(events.cursors) == 0


async def test_all_items_of_a_subscription_together_are_bounded(
    server: InternalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_items, "MOST_QUEUED", 5)
    feed = server.event_feed
    items = group(feed)
    for number in (1, 2):
        items.create(number, wanted(5), 2)
    happen(server, 8)
    await feed.drain()
    assert items.queued <= 5
    assert items.dropped == feed.counters.events_dropped == 16 - items.queued
    assert b"EventQueueOverflow" not in b"".join(items.take(100)[0])  # only the message is selected
    items.close()


async def test_the_octets_of_all_queues_of_a_subscription_are_bounded(server: InternalServer) -> None:
    feed = server.event_feed
    items = group(feed)
    items.create(1, wanted(), 2)
    items.max_octets = 60
    happen(server, 8)
    await feed.drain()
    waiting = items.queued
    assert 0 < waiting < 8
    assert f"{8 - waiting} events were lost".encode() in b"".join(items.take(100)[0])
    items.close()


async def test_an_event_is_encoded_once_for_items_that_select_the_same(server: InternalServer) -> None:
    feed = server.event_feed
    items = group(feed)
    for number in (1, 2, 3):
        items.create(number, wanted(), 2)
    happen(server, 1)
    await feed.drain()
    rows = [item.queue[0] for item in items]
    assert rows[0] is rows[1] is rows[2]
    items.close()


async def test_a_where_clause_is_asked_once_for_items_that_ask_the_same(server: InternalServer) -> None:
    feed = server.event_feed
    items = group(feed)
    asked: list[object] = []
    for number, key in ((1, b"a"), (2, b"a"), (3, b"b")):
        request = wanted()
        element = ua.ContentFilterElement(FilterOperator=ua.FilterOperator.OfType)
        element.FilterOperands = [ua.LiteralOperand(ua.Variant(ua.NodeId(2041 if key == b"a" else 2130)))]
        request.RequestedParameters.Filter.WhereClause.Elements = [element]
        assert items.create(number, request, 2).status == 0
    filters = [item.filter for item in items]
    assert filters[0].where_key == filters[1].where_key != filters[2].where_key
    for item in items:
        item.filter = replace(item.filter, where=lambda record: bool(asked.append(record)) or True)
    happen(server, 1)
    await feed.drain()
    assert (len(asked), items.queued) == (2, 3)
    items.close()


async def test_an_event_before_the_item_is_not_told(server: InternalServer) -> None:
    feed = server.event_feed
    first, second = group(feed), group(feed)
    first.create(1, wanted(), 2)
    happen(server, 1)
    second.create(2, wanted(), 2)
    await asyncio.sleep(0)
    await feed.drain()
    assert (first.queued, second.queued) == (1, 0)
    first.close()
    second.close()


async def test_a_smaller_queue_takes_effect_at_once(server: InternalServer) -> None:
    feed = server.event_feed
    items = group(feed)
    items.create(1, wanted(8), 2)
    happen(server, 8)
    await feed.drain()
    assert items.modify(1, wanted(3).RequestedParameters, 2).queue == 3
    assert items.queued == 3
    octets = b"".join(items.take(100)[0])
    assert b"5 events were lost" in octets
    assert b"event 7" in octets
    items.close()


async def test_an_event_that_one_item_cannot_select_reaches_the_others(
    server: InternalServer, caplog: pytest.LogCaptureFixture
) -> None:
    feed = server.event_feed
    first, second = group(feed), group(feed)
    first.create(1, wanted(), 2)
    second.create(2, wanted(), 2)
    [item] = first
    item.filter = replace(item.filter, where=lambda record: bool(1 / 0))
    happen(server, 2)
    await feed.drain()
    assert (first.queued, second.queued) == (0, 2)
    assert feed.counters.events_dropped == 2
    assert b"2 events were lost" in b"".join(first.take(100)[0])
    assert "ZeroDivisionError" in caplog.text
    first.close()
    second.close()


async def test_a_drain_ends_with_what_had_happened_when_it_began(
    server: InternalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "_SLICE_SECONDS", 0.0)
    feed = server.event_feed
    items = group(feed)
    items.create(1, wanted(), 2)
    happen(server, 3)

    async def storm() -> None:
        while True:
            happen(server, 1)
            await asyncio.sleep(0)

    storming = asyncio.create_task(storm())
    async with asyncio.timeout(5):
        await feed.drain()
    storming.cancel()
    assert items.queued >= 3
    items.close()


async def test_a_refresh_of_an_item_that_reports_nothing_is_not_in_the_way_of_the_next(server: InternalServer) -> None:
    items = group(server.event_feed)
    items.create(1, wanted(), 2)
    items.set_mode(1, SAMPLING)
    items.refresh([])
    assert not items.refreshing
    items.refresh([])
    items.set_mode(1, REPORTING)
    assert items.refreshing
    octets, count = items.take(100)
    assert (count, b"".join(octets).count(b"Refresh of the conditions begins")) == (2, 1)
    assert not items.refreshing
    items.close()


async def test_conditions_that_an_item_does_not_take_need_no_message_of_their_own(server: InternalServer) -> None:
    items = group(server.event_feed)
    items.create(1, wanted(), 2)
    [item] = items
    item.filter = replace(item.filter, where=lambda record: False)
    conditions = [Condition(PLACE, f"X{number}", "", "", "", 1, active=True, event_id=b"") for number in range(300)]
    items.refresh(conditions)
    assert items.take(1000)[1] == 2
    items.close()
