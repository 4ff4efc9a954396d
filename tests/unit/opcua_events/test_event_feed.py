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

from address_space.events import Event, EventJournal
from address_space.opcua import event_items
from address_space.opcua.access import Access
from address_space.opcua.event_feed import EventFeed
from address_space.opcua.event_items import EventItems
from address_space.opcua.server import InternalServer
from address_space.ports import Caller, Right


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
        server.ports.events.append(Event("X01", f"event {number}", address="dso1/north"))


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
