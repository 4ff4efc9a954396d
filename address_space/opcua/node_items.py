"""Monitored items on attributes of any node that is no point's plain value: read by sampling, each with its queue."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary

from address_space import clock
from address_space.catalogue import ValueType
from address_space.opcua.attributes import VALUE, read_attribute
from address_space.opcua.encoding import OVERFLOW_BIT, Stamps, data_change
from address_space.opcua.index_range import Wanted
from address_space.opcua.item_groups import Made
from address_space.opcua.item_requests import NO_FILTER, PERCENT, Filter, parameters_of
from address_space.opcua.items import DISABLED, REPORTING, SAMPLING, TRIGGER_STATUS, TRIGGER_TIMESTAMP, TRIGGER_VALUE
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NULL_NAME, OperationError, encode_node_id, qualified_name

if TYPE_CHECKING:
    from address_space.opcua.subscription import PointSubscription

FASTEST_SAMPLING = 100.0
"""Milliseconds; what is no point is read again and again, so not faster than people look."""
_LONGEST_SAMPLING = 86_400_000.0
_SLICE_SECONDS = 0.004
_REFUSED = frozenset(
    int(code)
    for code in (
        ua.StatusCodes.BadNodeIdUnknown,
        ua.StatusCodes.BadNodeIdInvalid,
        ua.StatusCodes.BadAttributeIdInvalid,
    )
)
_DENIED = frozenset({int(ua.StatusCodes.BadNotReadable), int(ua.StatusCodes.BadUserAccessDenied)})
"""Part 4, 5.13.2.1: such an item can be, and tells why it has no value; the right may come later."""
_READING_OCTETS = 256
"""Memory of a reading in waiting besides its Variant."""
_ARRAY = 0x80
_DYNAMIC = frozenset({ValueType.STRING, 15})
"""String and ByteString: their length changes, so a range that is empty now may be filled later."""
_NUMBERS = range(2, 12)


class Reading(NamedTuple):
    """One DataValue in parts: Variant on the wire (empty for none), status, times in ticks (0 for none)."""

    variant: bytes
    status: int
    source: int
    server: int


def split(data_value: bytes) -> Reading:
    """The parts of a DataValue on the wire that has no picoseconds."""
    mask, end = data_value[0], len(data_value)
    server = source = status = 0
    if mask & 8:
        end -= 8
        (server,) = struct.unpack_from("<q", data_value, end)
    if mask & 4:
        end -= 8
        (source,) = struct.unpack_from("<q", data_value, end)
    if mask & 2:
        end -= 4
        (status,) = struct.unpack_from("<I", data_value, end)
    return Reading(data_value[1:end], status, source, server)


def join(reading: Reading, stamps: int) -> bytes:
    """A DataValue on the wire of its parts; the source's time only where there is one."""
    mask, tail = 1 if reading.variant else 0, b""
    if reading.status:
        mask |= 2
        tail = struct.pack("<I", reading.status)
    if reading.source and stamps in {Stamps.SOURCE, Stamps.BOTH}:
        mask |= 4
        tail += struct.pack("<q", reading.source)
    if stamps in {Stamps.SERVER, Stamps.BOTH}:
        mask |= 8
        tail += struct.pack("<q", reading.server or clock.now())
    return bytes((mask,)) + reading.variant + tail


@dataclass(slots=True)
class _Item:
    """One item; `sampling` in seconds, 0 for once a publishing cycle; the first `released` of the queue may go."""

    wanted: Wanted
    mode: int
    stamps: int
    handle: int = 0
    sampling: float = 0.0
    due: float = 0.0
    size: int = 1
    oldest: bool = True
    trigger: int = TRIGGER_VALUE
    deadband: float = 0.0
    last: Reading | None = None
    queue: deque[Reading] = field(default_factory=deque)
    released: int = 0

    def put(self, reading: Reading, *, crowded: bool) -> list[Reading]:
        """Queue a reading; what went for it, also where others have taken the room (`crowded`).

        Part 4, 5.12.1.5: the overflow bit marks the gap.
        """
        queue = self.queue
        if not queue or (len(queue) < self.size and not crowded):
            queue.append(reading)
            return []
        gone = queue[-1] if len(queue) == 1 or not self.oldest else queue[0]
        if self.size == 1:
            queue[0] = reading
        elif self.oldest:
            queue.popleft()
            queue.append(reading)
            queue[0] = queue[0]._replace(status=queue[0].status | OVERFLOW_BIT)
            self.released = max(self.released - 1, 0)
        else:
            queue[-1] = reading._replace(status=reading.status | OVERFLOW_BIT)
        return [gone]

    def read_next(self) -> None:
        """Its next reading is due and is reported in any case."""
        self.last, self.due = None, time.monotonic()

    def worth_reporting(self, reading: Reading) -> bool:
        """Whether it differs from what was queued last, as the trigger and the deadband ask."""
        last = self.last
        if last is None or reading.status != last.status:
            return True
        if self.trigger == TRIGGER_STATUS:
            return False
        if self.trigger == TRIGGER_TIMESTAMP and reading.source != last.source:
            return True
        if reading.variant == last.variant:
            return False
        return not self.deadband or _beyond(reading.variant, last.variant, self.deadband)


def _beyond(new: bytes, old: bytes, band: float) -> bool:
    """Whether a number, or any number of an array, has moved by more than a deadband."""
    now, before = (_numbers(variant) for variant in (new, old))
    if now is None or before is None or len(now) != len(before):
        return True
    return any(not abs(one - other) <= band for one, other in zip(now, before, strict=True))


def _numbers(variant: bytes) -> list[float] | None:
    if not variant or variant[0] & 0x3F not in _NUMBERS:
        return None
    value = variant_from_binary(Buffer(variant)).Value
    return list(value) if isinstance(value, list) else [value]


class NodeItems:
    """The items of one subscription on attributes of nodes, as `ItemGroup` asks.

    Attributes:
        dropped: readings that queues had no room for.
        max_octets: what may wait in all queues; beyond it each item keeps what it has and takes the new for the old.
    """

    def __init__(self, subscription: PointSubscription, most: int, max_queue: int) -> None:
        self._subscription = subscription
        self._most, self._max_queue = most, max_queue
        self._items: dict[int, _Item] = {}
        self._interval: float | None = math.inf
        self._fired: set[int] = set()
        self._octets = 0
        self.max_octets = 1 << 40
        self.dropped = 0

    @property
    def interval(self) -> float:
        """Seconds of the fastest sampling."""
        if self._interval is None:
            timed = (item.sampling for item in self._items.values() if item.sampling and item.mode != DISABLED)
            self._interval = min(timed, default=math.inf)
        return self._interval

    @property
    def pending(self) -> bool:
        """Whether something waits that may be reported now."""
        return any((item.mode == REPORTING and item.queue) or item.released for item in self._items.values())

    @property
    def queued(self) -> int:
        """Notifications in waiting."""
        return sum(len(item.queue) for item in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def node_ids(self) -> list[bytes]:
        """The node of each item, on the wire."""
        return [item.wanted.node_id for item in self._items.values()]

    # ---- items -----------------------------------------------------------------------------------------------------

    def create(self, item_id: int, wanted: Any, stamps: int) -> Made:
        """Make an item; its first reading says whether there is such an attribute."""
        if len(self._items) >= self._most:
            return Made(int(ua.StatusCodes.BadTooManyMonitoredItems))
        read = wanted.ItemToMonitor
        encoding = NULL_NAME
        if read.DataEncoding is not None and read.DataEncoding.Name:
            encoding = qualified_name(read.DataEncoding.Name, read.DataEncoding.NamespaceIndex)
        item = _Item(
            Wanted(encode_node_id(read.NodeId), int(read.AttributeId), read.IndexRange or None, encoding),
            int(wanted.MonitoringMode),
            stamps,
        )
        try:
            first = self._first(item)
        except OperationError as error:
            return Made(error.status)
        made = self._set(item, parameters_of(wanted.RequestedParameters), stamps, first)
        if not made.status:
            self._items[item_id] = item
            if item.mode != DISABLED:
                self._take_in(item_id, item, first)
            self._settle()
        return made

    def adopt(self, record: Any, address: str) -> bool:
        """Take over an `ITEM` record on a point whose session may not read it any more; False when there is no room."""
        if len(self._items) >= self._most:
            return False
        wanted = Wanted(self._subscription.server.space.node_id(address), VALUE, None, NULL_NAME)
        item = _Item(wanted, int(record["mode"]), int(record["stamps"]), int(record["handle"]))
        item.sampling = FASTEST_SAMPLING / 1000
        item.size, item.oldest, item.trigger = int(record["queue"]), bool(record["oldest"]), int(record["trigger"])
        item.deadband = float(record["deadband"])
        item.read_next()
        self._items[int(record["id"])] = item
        self._settle()
        return True

    def forget_readings(self) -> None:
        """Drop what waits; the next readings are reported in any case."""
        for item in self._items.values():
            self._empty(item)
            item.read_next()

    def _first(self, item: _Item) -> Reading:
        """The first reading.

        Raises:
            OperationError: when the item cannot be.
        """
        try:
            whole = split(self._read(item.wanted._replace(index_range=None)))
        except OperationError as error:
            if error.status in _DENIED:
                return Reading(b"", error.status, 0, clock.now())
            raise
        if whole.status in _REFUSED:
            raise OperationError(whole.status)
        if not item.wanted.index_range:
            return whole
        try:
            return split(self._read(item.wanted))
        except OperationError as error:
            # Part 4, 5.12.2.4: where the length may change the range may be empty for now.
            kind = whole.variant[0] if whole.variant else 0
            if error.status == ua.StatusCodes.BadIndexRangeNoData and (kind & _ARRAY or kind in _DYNAMIC):
                return Reading(b"", error.status, 0, clock.now())
            raise

    def modify(self, item_id: int, parameters: Any, stamps: int) -> Made:
        """Give an item new parameters."""
        item = self._items[item_id]
        made = self._set(item, parameters_of(parameters), stamps, item.last or self._reading(item.wanted))
        self._settle()
        return made

    def _set(self, item: _Item, parameters: Any, stamps: int, reading: Reading | None) -> Made:
        filter_: Filter = parameters.filter
        status = _filter_status(filter_, item.wanted.attribute, reading)
        if status:
            return Made(status)
        publishing = float(self._subscription.data.RevisedPublishingInterval)
        requested = parameters.sampling if parameters.sampling >= 0 else publishing
        revised = min(max(requested, FASTEST_SAMPLING), _LONGEST_SAMPLING)
        item.sampling = 0.0 if revised == publishing else revised / 1000
        item.due = time.monotonic() + item.sampling
        item.handle, item.stamps, item.oldest = parameters.handle, stamps, parameters.oldest
        item.trigger = filter_.trigger
        item.deadband = filter_.value if filter_.kind else 0.0
        item.size = min(max(parameters.queue, 1), self._max_queue)
        while len(item.queue) > item.size:
            self._forget(item.queue.popleft() if item.oldest else item.queue.pop())
            self.dropped += 1
        item.released = min(item.released, len(item.queue))
        return Made(0, revised, item.size)

    def set_mode(self, item_id: int, mode: int) -> None:
        """Set the mode: what becomes enabled is read next, what becomes disabled loses its queue."""
        item = self._items[item_id]
        before, item.mode = item.mode, mode
        if mode == DISABLED:
            self._empty(item)
        if before == DISABLED:
            item.read_next()
        self._settle()

    def remove(self, item_id: int) -> None:
        """Delete an item and its queue."""
        self._empty(self._items.pop(item_id))
        self._fired.discard(item_id)
        self._settle()

    def close(self) -> None:
        """Give up all items."""
        self._items.clear()
        self._fired.clear()
        self._octets = 0
        self._settle()

    def _empty(self, item: _Item) -> None:
        for reading in item.queue:
            self._forget(reading)
        item.queue.clear()
        item.released = 0

    def _forget(self, reading: Reading) -> None:
        self._octets -= len(reading.variant) + _READING_OCTETS

    def _settle(self) -> None:
        """Items have changed: the fastest sampling is looked for when it is asked for."""
        self._interval = None

    # ---- readings --------------------------------------------------------------------------------------------------

    async def sample(self, *, ends: bool) -> None:
        """Read the items that are due; other work goes on in between when they are many."""
        now = time.monotonic()
        until = now + _SLICE_SECONDS
        for item_id, item in list(self._items.items()):
            if item.mode == DISABLED or item_id not in self._items:
                continue
            if not item.sampling:
                if not ends:
                    continue
            elif item.due > now:
                continue
            else:
                # What was missed is not made up for.
                item.due = max(item.due + item.sampling, now)
            reading = self._reading(item.wanted)
            if item.worth_reporting(reading):
                self._take_in(item_id, item, reading)
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + _SLICE_SECONDS

    def _reading(self, wanted: Wanted) -> Reading:
        try:
            return split(self._read(wanted))
        except OperationError as error:
            return Reading(b"", error.status, 0, clock.now())

    def _read(self, wanted: Wanted) -> bytes:
        subscription = self._subscription
        return read_attribute(subscription.server, subscription.session.rights, wanted, Stamps.BOTH)

    def _take_in(self, item_id: int, item: _Item, reading: Reading) -> None:
        item.last = reading
        self._octets += len(reading.variant) + _READING_OCTETS
        for gone in item.put(reading, crowded=self._octets > self.max_octets):
            self._forget(gone)
            self.dropped += 1
        self._fired.add(item_id)

    def handles(self) -> list[tuple[int, int]]:
        """(MonitoredItemId, client handle) of each item."""
        return [(item_id, item.handle) for item_id, item in self._items.items()]

    @property
    def disabled(self) -> int:
        """Items in mode Disabled."""
        return sum(item.mode == DISABLED for item in self._items.values())

    def repeat_values(self) -> None:
        """Report the values of the next reading in any case."""
        for item in self._items.values():
            item.read_next()

    def fired(self) -> set[int]:
        """Items that queued something since this was asked last."""
        fired, self._fired = self._fired, set()
        return fired

    def release(self, item_ids: Iterable[int]) -> None:
        """What sampling items have queued may be reported once."""
        for item_id in item_ids:
            item = self._items.get(item_id)
            if item is not None and item.mode == SAMPLING:
                item.released = len(item.queue)

    def take(self, most: int) -> tuple[list[bytes], int]:
        """Up to `most` notifications as a DataChangeNotification in pieces, and how many."""
        records: list[bytes] = []
        for item in self._items.values():
            count = len(item.queue) if item.mode == REPORTING else item.released
            for _ in range(min(count, most - len(records))):
                reading = item.queue.popleft()
                self._forget(reading)
                records.append(struct.pack("<I", item.handle) + join(reading, item.stamps))
                item.released = max(item.released - 1, 0)
        return (data_change(records, len(records)), len(records)) if records else ([], 0)


def _filter_status(filter_: Filter, attribute: int, reading: Reading | None) -> int:
    """Bad status of a filter that cannot be on the attribute; `reading` tells its type."""
    if filter_ is NO_FILTER:
        return 0
    if filter_.status:
        return filter_.status
    if attribute != VALUE:
        return int(ua.StatusCodes.BadFilterNotAllowed)
    if filter_.trigger not in {TRIGGER_STATUS, TRIGGER_VALUE, TRIGGER_TIMESTAMP}:
        return int(ua.StatusCodes.BadMonitoredItemFilterInvalid)
    if filter_.kind == 0:
        return 0
    if filter_.kind not in {1, PERCENT} or not math.isfinite(filter_.value) or filter_.value < 0:
        return int(ua.StatusCodes.BadDeadbandFilterInvalid)
    denied = reading is not None and reading.status in _DENIED
    if not denied and (reading is None or not reading.variant or reading.variant[0] & 0x3F not in _NUMBERS):
        return int(ua.StatusCodes.BadFilterNotAllowed)
    # No node but points has an EURange.
    return int(ua.StatusCodes.BadMonitoredItemFilterUnsupported) if filter_.kind == PERCENT else 0
