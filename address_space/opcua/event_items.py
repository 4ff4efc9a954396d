"""Monitored items on events: who is told what, queues that are bounded, and what overflows is said (Part 4, 5.13)."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from address_space.conditions import Condition
from address_space.opcua.event_filter import EventFilter, compile_filter
from address_space.opcua.event_records import OVERFLOW_TYPE, REFRESH_END, REFRESH_REQUIRED, REFRESH_START, EventRecord
from address_space.opcua.item_groups import Made
from address_space.opcua.items import DISABLED, REPORTING, SAMPLING
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_node_id, pack_i32, pack_u32
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.event_feed import EventFeed
    from address_space.opcua.subscription import PointSubscription

DEFAULT_QUEUE = 20_000
MOST_QUEUED = 100_000
"""Longest queue of an item, and what all event items of one subscription may hold."""
EVENT_OCTETS = 64 << 20
"""What the event items of all subscriptions of one session may hold."""
_REFRESH_SECONDS = 0.004
"""How long one message looks through the conditions of a refresh."""
_MESSAGE_OCTETS = 4 << 20
_EVENT_LIST = b"\x01\x00\x94\x03\x01"
_CODES = ua.StatusCodes


@dataclass(slots=True, eq=False)
class Refresh:
    """A ConditionRefresh in the queue of an item: begun with RefreshStart, ended with RefreshEnd.

    Attributes:
        start, end: the records of RefreshStartEvent and RefreshEndEvent, the same for all items of the subscription.
        conditions: what was of interest when it was asked for, not told yet; records are made as they are sent.
    """

    start: EventRecord | None
    end: EventRecord
    conditions: Iterator[Condition]


@dataclass(slots=True, eq=False)
class EventItem:
    """One item.

    Attributes:
        place: address whose events (and of all below it) it takes; empty for the grid, which has all events with an
            address; None for the Server object, which has all, those of the audit included.
        after: number of the newest event when the item was made; earlier ones are none of its.
        triggered: notifications that may be reported in mode Sampling.
        overflow: notifications lost that have not been told yet.
    """

    id: int
    handle: int
    mode: int
    place: str | None
    filter: EventFilter
    size: int
    oldest: bool
    after: int = 0
    queue: deque[bytes | Refresh] = field(default_factory=deque)
    waiting: int = 0
    triggered: int = 0
    overflow: int = 0


class EventItems:
    """The event items of one subscription, an `ItemGroup`.

    Attributes:
        dropped: events for which queues had no room.
        max_octets: what all its queues may hold.
    """

    def __init__(self, feed: EventFeed, subscription: PointSubscription) -> None:
        self._feed, self._subscription = feed, subscription
        self._items: dict[int, EventItem] = {}
        self._octets = self._waiting = 0
        self._fired: set[int] = set()
        self.dropped = 0
        self.max_octets = EVENT_OCTETS

    # ---- state -----------------------------------------------------------------------------------------------------

    interval = float("inf")
    """Events come by themselves: nothing has to be sampled."""

    @property
    def access(self) -> Access | None:
        """Rights of the session that owns the subscription; None while nobody does."""
        session = self._subscription.session
        return None if session is None else session.access

    @property
    def pending(self) -> bool:
        """Whether something may be reported now."""
        return any(_reportable(item) for item in self._items.values())

    @property
    def queued(self) -> int:
        """Notifications in waiting."""
        return self._waiting

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def __iter__(self) -> Iterator[EventItem]:
        return iter(self._items.values())

    @property
    def refreshing(self) -> bool:
        """Whether a ConditionRefresh is still under way; one in an item that reports nothing is not waited for."""
        return any(
            isinstance(each, Refresh) for item in self._items.values() if item.mode == REPORTING for each in item.queue
        )

    # ---- what clients ask ------------------------------------------------------------------------------------------

    def create(self, item_id: int, wanted: Any, stamps: int) -> Made:
        """Make an item of a MonitoredItemCreateRequest on AttributeId EventNotifier."""
        mode = int(wanted.MonitoringMode)
        if mode not in {DISABLED, SAMPLING, REPORTING}:
            return Made(int(_CODES.BadMonitoringModeInvalid))
        target = wanted.ItemToMonitor
        if target.IndexRange:
            return Made(int(_CODES.BadIndexRangeNoData))
        if target.DataEncoding is not None and target.DataEncoding.Name:
            return Made(int(_CODES.BadDataEncodingInvalid))
        status, place = self._feed.place_of(encode_node_id(target.NodeId), self.access)
        if status:
            return Made(status)
        parameters = wanted.RequestedParameters
        filter_, made = self._filter(parameters)
        if filter_ is None:
            return made
        oldest, handle = bool(parameters.DiscardOldest), int(parameters.ClientHandle)
        item = EventItem(item_id, handle, mode, place, filter_, made.queue, oldest, self._feed.newest)
        self._items[item_id] = item
        self._feed.watch(self, item)
        return made

    def _filter(self, parameters: Any) -> tuple[EventFilter | None, Made]:
        wanted = parameters.Filter
        if not isinstance(wanted, ua.EventFilter):
            null = wanted is None or (hasattr(wanted, "TypeId") and wanted.TypeId.Identifier == 0)
            return None, Made(int(_CODES.BadEventFilterInvalid if null else _CODES.BadMonitoredItemFilterInvalid))
        filter_, result = compile_filter(wanted, self._feed.types)
        return filter_, Made(result.status, 0.0, _revised(int(parameters.QueueSize)), result.encode())

    def modify(self, item_id: int, parameters: Any, stamps: int) -> Made:
        """New parameters; what is queued stays as it was selected."""
        item = self._items.get(item_id)
        if item is None:
            return Made(int(_CODES.BadMonitoredItemIdInvalid))
        filter_, made = self._filter(parameters)
        if filter_ is None:
            return made
        item.filter, item.size, item.oldest = filter_, made.queue, bool(parameters.DiscardOldest)
        item.handle = int(parameters.ClientHandle)
        while item.waiting > item.size:
            self._discard(item)
        return made

    def set_mode(self, item_id: int, mode: int) -> None:
        """Set the monitoring mode; the queue of a disabled item is lost."""
        item = self._items.get(item_id)
        if item is None:
            return
        item.mode = mode
        item.triggered = 0
        if mode == DISABLED:
            self._clear(item)

    def remove(self, item_id: int) -> None:
        """Delete an item and its queue."""
        item = self._items.pop(item_id, None)
        if item is not None:
            self._clear(item)
            self._feed.unwatch(item)
            self._fired.discard(item_id)

    def close(self) -> None:
        """Give up everything."""
        for item_id in list(self._items):
            self.remove(item_id)

    # ---- what happens ----------------------------------------------------------------------------------------------

    def offer(self, item: EventItem, record: EventRecord) -> bool:
        """Give an event to an item that is on its way up; returns whether it took it."""
        access = self.access
        if access is None or item.mode == DISABLED:
            return False
        if not access.allows(Right.AUDIT if record.audit else Right.READ, record.address):
            return False
        if not item.filter.passes(record):
            return False
        self.put(item, record.row(item.filter))
        return True

    def put(self, item: EventItem, row: bytes) -> None:
        """Queue a row of fields."""
        if item.waiting >= item.size or self._octets > self.max_octets or self._waiting >= MOST_QUEUED:
            if not item.waiting:
                # Other items hold all the room there is.
                self.lose(item)
                return
            self._discard(item)
        item.queue.append(row)
        item.waiting += 1
        self._waiting += 1
        self._octets += len(row)
        self._fired.add(item.id)

    def _discard(self, item: EventItem) -> None:
        """Make room for one; a refresh under way is not counted and stays."""
        queue = item.queue
        order = range(len(queue)) if item.oldest else range(len(queue) - 1, -1, -1)
        for place in order:
            row = queue[place]
            if not isinstance(row, Refresh):
                del queue[place]
                item.waiting -= 1
                self._waiting -= 1
                self._octets -= len(row)
                break
        self.lose(item)

    def lose(self, item: EventItem) -> None:
        """An event does not reach the item, which is told that one is lost."""
        item.overflow += 1
        self.dropped += 1
        self._feed.counters.events_dropped += 1

    def missed(self, count: int) -> None:
        """Events went by before anybody came to read them: every item is told so, and to refresh its conditions."""
        text = "Events were lost: what is known of the conditions may be old"
        record = self._feed.records.of_server(REFRESH_REQUIRED, "Server", text, 500)
        for item in self._items.values():
            if item.mode != DISABLED:
                item.overflow += count
                self.put(item, record.row(item.filter))

    def _clear(self, item: EventItem) -> None:
        self._octets -= sum(len(row) for row in item.queue if not isinstance(row, Refresh))
        self._waiting -= item.waiting
        item.queue.clear()
        item.waiting = item.triggered = item.overflow = 0

    def refresh(self, conditions: list[Condition], item_id: int | None = None) -> None:
        """Queue a ConditionRefresh of all items, or of one."""
        make = self._feed.records.of_server
        start = make(REFRESH_START, "Server", "Refresh of the conditions begins")
        end = make(REFRESH_END, "Server", "Refresh of the conditions is complete")
        for item in self._items.values():
            if item.mode != DISABLED and (item_id is None or item.id == item_id):
                if item.mode == SAMPLING:
                    # Those before it were not reported: nobody has triggered the item.
                    item.queue = deque(each for each in item.queue if not isinstance(each, Refresh))
                item.queue.append(Refresh(start, end, iter(conditions)))

    # ---- what is sent ----------------------------------------------------------------------------------------------

    async def sample(self, *, ends: bool) -> None:
        """Take what the journal has, so that a publishing cycle ends with all events before it."""
        await self._feed.drain()

    def fired(self) -> set[int]:
        """Items that queued something since this was asked last."""
        fired, self._fired = self._fired, set()
        return fired

    def release(self, item_ids: Iterable[int]) -> None:
        """What items in mode Sampling have queued may be reported once."""
        for item_id in item_ids:
            item = self._items.get(item_id)
            if item is not None and item.mode == SAMPLING:
                item.triggered = item.waiting

    def handles(self) -> list[tuple[int, int]]:
        """(MonitoredItemId, client handle) of each item."""
        return [(item.id, item.handle) for item in self._items.values()]

    @property
    def disabled(self) -> int:
        """Items in mode Disabled."""
        return sum(item.mode == DISABLED for item in self._items.values())

    def repeat_values(self) -> None:
        """Events have no present value."""

    def take(self, most: int) -> tuple[list[bytes], int]:
        """Up to `most` notifications as an EventNotificationList in pieces."""
        parts: list[bytes] = []
        count = octets = 0
        for item in self._items.values():
            head = pack_u32(item.handle)
            for row in self._rows(item):
                parts += (head, row)
                octets += len(row) + 4
                count += 1
                if count >= most or octets >= _MESSAGE_OCTETS:
                    return _event_list(parts, count, octets), count
        return (_event_list(parts, count, octets), count) if count else ([], 0)

    def _rows(self, item: EventItem) -> Iterator[bytes]:
        """What an item reports, taken out of its queue one by one."""
        until = time.monotonic() + _REFRESH_SECONDS
        while _reportable(item):
            if item.overflow and (item.oldest or not item.queue):
                yield self._overflow(item)
                continue
            if not item.queue:
                return
            first = item.queue[0]
            if isinstance(first, Refresh):
                row = self._refreshed(item, first)
                if row is not None:
                    yield row
                if time.monotonic() > until:
                    return
                continue
            item.queue.popleft()
            item.waiting -= 1
            self._waiting -= 1
            item.triggered = max(item.triggered - 1, 0)
            self._octets -= len(first)
            yield first

    def _overflow(self, item: EventItem) -> bytes:
        text = f"{item.overflow} events were lost: the queue of the monitored item was full"
        record = self._feed.records.of_server(OVERFLOW_TYPE, "Internal/EventQueueOverflow", text, 500)
        item.overflow = 0
        return record.row(item.filter)

    def _refreshed(self, item: EventItem, refresh: Refresh) -> bytes | None:
        """The next row of a refresh; None for a condition that the item does not take."""
        if refresh.start is not None:
            row, refresh.start = refresh.start.row(item.filter), None
            return row
        condition = next(refresh.conditions, None)
        if condition is None:
            item.queue.popleft()
            return refresh.end.row(item.filter)
        record, access = self._feed.records.of_condition(condition), self.access
        if access is None or not access.allows(Right.READ, condition.address):
            return None
        if not _below(item.place, condition.address) or not item.filter.passes(record):
            return None
        return record.row(item.filter)


def _reportable(item: EventItem) -> bool:
    if item.mode == REPORTING:
        return bool(item.queue or item.overflow)
    return item.mode == SAMPLING and item.triggered > 0 and bool(item.queue)


def _below(place: str | None, address: str) -> bool:
    """Whether an address is at or below the place of an item."""
    if not place:
        return place is None or bool(address)
    return address == place or address.startswith(f"{place}/")


def _revised(wanted: int) -> int:
    """Queue size: 0 asks for the usual one, anything else for as much as there may be."""
    return min(wanted or DEFAULT_QUEUE, MOST_QUEUED)


_COUNT = struct.Struct("<i")


def _event_list(parts: list[bytes], count: int, octets: int) -> list[bytes]:
    return [_EVENT_LIST + _COUNT.pack(octets + 4) + pack_i32(count), *parts]
