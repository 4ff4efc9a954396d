"""From the grid's event journal and the server's audit events to the event items, in batches (Part 4, 5.13.1)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from address_space.events import Event
from address_space.journal import Cursor
from address_space.opcua import condition_methods
from address_space.opcua.condition_fields import Context
from address_space.opcua.condition_nodes import ConditionNodes
from address_space.opcua.event_items import EventItem, EventItems
from address_space.opcua.event_records import (
    COMMON_FIELDS,
    OWN_FIELDS,
    OWN_PREFIX,
    SERVER,
    EventRecord,
    EventRecords,
)
from address_space.opcua.event_types import EventTypes
from address_space.opcua.space import NodeClass
from address_space.opcua.untyped import ua
from address_space.opcua.wire import numeric_identifier
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.auditing import AuditEvent
    from address_space.opcua.server import InternalServer
    from address_space.opcua.subscription import PointSubscription

_log = logging.getLogger(__name__)
_AT_ONCE = 64
_SLICE_SECONDS = 0.004
_CODES = ua.StatusCodes


class EventFeed:
    """What happens, told to the items of all subscriptions; one cursor of the journal, there while there are items.

    Attributes:
        types: the event types.
        records: makes records of events.
        counters: of the server: notifications queued (`events_told`), for which queues had no room (`events_dropped`),
            and events that were gone from the journal before they were read (`events_lost`).
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        own = frozenset(f"{OWN_PREFIX}{name}" for name in OWN_FIELDS)
        self.types = EventTypes(server.aspace, own, COMMON_FIELDS)
        self.context = Context(server.space.node_id, lambda address: server.table.find(address) >= 0)
        self.records = EventRecords(self.types, self.context)
        self.counters = server.counters
        self._items: dict[str | None, dict[EventItem, EventItems]] = {}
        self._cursor: Cursor[Event] | None = None
        self._missed = 0
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()

    # ---- items -----------------------------------------------------------------------------------------------------

    def make(self, subscription: PointSubscription) -> EventItems:
        """The event items of a new subscription (`PointSubscriptionService.event_items`)."""
        return EventItems(self, subscription)

    @staticmethod
    def items_of(subscription: PointSubscription) -> EventItems | None:
        """The event items of a subscription."""
        return subscription.events if isinstance(subscription.events, EventItems) else None

    @property
    def newest(self) -> int:
        """Number of the newest event of the journal; 0 without one."""
        events = self._server.ports.events
        return 0 if events is None else events.total

    def place_of(self, node_id: bytes, access: Access | None) -> tuple[int, str | None]:
        """(status, place) of a node that is to be monitored for events; see `EventItem.place`."""
        if numeric_identifier(node_id) == SERVER:
            return 0, None
        space = self._server.space
        node = space.find_wire(node_id)
        if node is None:
            known = self._server.types.node_references(node_id) is not None
            return int(_CODES.BadAttributeIdInvalid if known else _CODES.BadNodeIdUnknown), None
        if access is None or not access.allows(Right.BROWSE, node.owner):
            return int(_CODES.BadNodeIdUnknown), None
        if space.node_class(node) != NodeClass.OBJECT:
            return int(_CODES.BadAttributeIdInvalid), None
        return (0, node.owner) if node.is_notifier else (int(_CODES.BadNotSupported), None)

    def watch(self, group: EventItems, item: EventItem) -> None:
        """Tell an item from now on."""
        self._items.setdefault(item.place, {})[item] = group
        events = self._server.ports.events
        if self._cursor is None and events is not None:
            self._cursor, self._missed = events.cursor("OPC UA events", self._wake), 0

    def unwatch(self, item: EventItem) -> None:
        """Tell an item no more."""
        watched = self._items.get(item.place)
        if watched is not None:
            watched.pop(item, None)
            if not watched:
                del self._items[item.place]
        if not self._items and self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    # ---- events ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._server.keep(self._follow())

    async def _follow(self) -> None:
        while self._cursor is not None and self._cursor.pending:
            await self.drain()

    async def drain(self) -> None:
        """Tell what has happened so far, a few milliseconds at a time.

        What happens meanwhile is not waited for: publishing must go on however fast events come.
        """
        cursor = self._cursor
        if cursor is None or not cursor.pending:
            return
        end = cursor.position + cursor.pending
        async with self._busy:
            began = time.monotonic()
            while (cursor := self._cursor) is not None and cursor.position < end:
                events = cursor.take(_AT_ONCE)
                self._count_lost(cursor)
                for event in events:
                    self._tell(self.records.of_event(event), event.id)
                    if time.monotonic() - began > _SLICE_SECONDS:
                        await asyncio.sleep(0)
                        began = time.monotonic()

    def _count_lost(self, cursor: Cursor[Event]) -> None:
        count = cursor.lost - self._missed
        if not count:
            return
        self._missed = cursor.lost
        self.counters.events_lost += count
        _log.warning("%d events were gone before the event items could be told of them", count)
        for group in {each for watched in self._items.values() for each in watched.values()}:
            group.missed(count)

    def tell_audit(self, audit: AuditEvent) -> None:
        """Tell an audit event to the items on the Server object whose users may read the audit."""
        watched = self._items.get(None)
        if watched and any(_may_audit(group) for group in watched.values()):
            self._offer(watched, self.records.of_audit(audit), self.newest + 1)

    def tell_server(self, record: EventRecord) -> None:
        """Tell an event of the server itself, which is in no journal."""
        self._tell(record, self.newest + 1)

    def _tell(self, record: EventRecord, number: int) -> None:
        items, address = self._items, record.address
        watched = items.get(None)
        if watched:
            self._offer(watched, record, number)
        if not address:
            return
        watched = items.get("")
        if watched:
            self._offer(watched, record, number)
        if len(items) <= (None in items) + ("" in items):
            return
        end = address.find("/")
        while end >= 0:
            watched = items.get(address[:end])
            if watched:
                self._offer(watched, record, number)
            end = address.find("/", end + 1)
        watched = items.get(address)
        if watched:
            self._offer(watched, record, number)

    def _offer(self, watched: dict[EventItem, EventItems], record: EventRecord, number: int) -> None:
        for item, group in watched.items():
            try:
                if number > item.after and group.offer(item, record):
                    self.counters.events_told += 1
            except Exception:
                # Whatever is wrong with one item's filter or with one event must not reach the other clients.
                _log.exception("event item %d loses an event: it cannot be selected", item.id)
                group.lose(item)


def serve_events(server: InternalServer) -> EventFeed:
    """Events, conditions and their methods of a server whose space and subscriptions are there."""
    feed = EventFeed(server)
    server.subscription_service.event_items = feed.make
    server.space.further = ConditionNodes(server.space, server.ports.conditions, server.aspace, feed.context)
    condition_methods.register(server.standard_methods)
    return feed


def _may_audit(group: EventItems) -> bool:
    access = group.access
    return access is not None and access.allows(Right.AUDIT, "")
