"""The array path of one subscription: from the journal of the point table to encoded notifications."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.journal import Chunk, Cursor
from address_space.opcua.encoding import OVERFLOW_BIT, Values, notification_items
from address_space.opcua.items import (
    DELETED,
    DISABLED,
    EACH_CYCLE,
    ITEM,
    REPORTING,
    SAMPLING,
    TRIGGER_TIMESTAMP,
    TRIGGER_VALUE,
    Items,
    RowIndex,
    find,
)
from address_space.opcua.queues import EMPTY, Queued, Slots, join, limit
from address_space.opcua.sampling import remember, sample, worth_reporting
from address_space.point import Rows
from address_space.table import PointTable

_JOIN_SAMPLES = 1 << 16
_JOIN_PARTS = 256
_LARGEST_RECORD = 34


class MonitoredPoints:
    """Items of one subscription on points, their queues, and their place in the journal.

    Nothing here knows asyncio or asyncua. Changes are read with `drain`, and leave with `take`.

    Args:
        table: the points.
        name: name of the journal cursor.
        max_queued: samples in waiting over all items; beyond it queues are cut below their size.

    Attributes:
        lost: samples that the journal no longer had.
        dropped: samples that queues had no room for.
    """

    def __init__(self, table: PointTable, name: str, max_queued: int) -> None:
        self._table = table
        self._name = name
        self.max_queued = max_queued
        self._room: Items = np.empty(0, ITEM)
        self._items: Items = self._room
        self._dead = 0
        self._index: RowIndex | None = None
        self._cursor: Cursor[Chunk] | None = None
        self._reads_stamps = False
        self._filtered = False
        self._has_sampling_mode = False
        self._smallest = 1
        self._held = EMPTY
        self._queue = EMPTY
        self._parts: list[Queued] = []
        self._parts_size = 0
        self._texts: dict[int, str] = {}
        self._released = EMPTY
        self._trigger_ids: frozenset[int] = frozenset()
        self._triggering: npt.NDArray[np.bool_] | None = None
        self._fired: set[int] = set()
        self.lost = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items) - self._dead

    # ---- items ----------------------------------------------------------------------------------------------------

    def add(self, items: Items, *, cycle: int, now: int | None = None) -> None:
        """Add items with rising ids; those that sample get the present value as their first notification.

        Args:
            items: `ITEM` records with id, row, handle, queue, sampling, deadband, mode, stamps, trigger and oldest set.
            cycle: number of the publishing cycle.
            now: the present in ticks.
        """
        present = clock.now() if now is None else now
        self.drain(cycle=cycle, ends=False, now=present)
        start, end = len(self._items), len(self._items) + len(items)
        if end > len(self._room):
            # Room for as much again: clients add their items in many small requests.
            room = np.empty(max(64, 2 * end), ITEM)
            room[:start] = self._items
            self._room = room
        self._items = self._room[:end]
        self._items[start:] = items
        self._items["type"][start:] = self._table.value_type[items["row"]]
        slots = np.arange(start, end, dtype=np.int32)
        self._settle()
        self._first_values(slots[items["mode"] != DISABLED], present, cycle)

    def find(self, ids: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """Slot of each item id; -1 for ids that are not there."""
        return find(self._items, np.asarray(ids, np.uint32))

    def get(self, slots: npt.NDArray[Any]) -> Items:
        """Copies of item records."""
        records: Items = self._items[slots]
        return records

    def active(self) -> npt.NDArray[np.intp]:
        """Slots of the items that are there."""
        return np.nonzero(self._items["mode"] != DELETED)[0]

    @property
    def slots(self) -> int:
        """How many slots there are, those of deleted items among them."""
        return len(self._items)

    def rows(self, first: int, count: int) -> Rows:
        """Row of each item that is there in `count` slots from the first on."""
        items = self._items[first : first + count]
        rows: Rows = items["row"][items["mode"] != DELETED]
        return rows

    def handles(self) -> list[tuple[int, int]]:
        """(item id, client handle) of each item."""
        items = self._items[self._items["mode"] != DELETED]
        return list(zip(items["id"].tolist(), items["handle"].tolist(), strict=True))

    @property
    def disabled(self) -> int:
        """Items in mode Disabled."""
        return int((self._items["mode"] == DISABLED).sum())

    def modify(self, slots: npt.NDArray[np.intp], items: Items, *, cycle: int, now: int | None = None) -> None:
        """Give items another handle, queue size, discard policy, sampling, trigger, deadband and timestamps."""
        present = clock.now() if now is None else now
        self.drain(cycle=cycle, ends=False, now=present)
        mine = self._items
        again = slots[mine["sampling"][slots] != items["sampling"]]
        for field in ("handle", "queue", "oldest", "sampling", "trigger", "deadband", "stamps"):
            mine[field][slots] = items[field]
        mine["phase"][again], mine["bucket"][again] = present, _fresh_buckets(mine["sampling"][again], cycle)
        plain = ~mine["filtered"][slots]
        self._settle()
        # Up to now every change was reported, so a new deadband counts from the present value.
        fresh = slots[plain & mine["filtered"][slots]].astype(np.int32)
        if len(fresh):
            remember(self._snapshot(fresh), mine)
        self._join_parts()

    def remove(self, slots: npt.NDArray[np.intp], *, cycle: int) -> None:
        """Delete items and what waits for them."""
        self.drain(cycle=cycle, ends=False)
        self._items["mode"][slots] = DELETED
        self._dead += len(slots)
        self._forget_waiting()
        if self._dead > 64 and self._dead * 2 > len(self._items):
            self._compact()
        self._settle()

    def set_mode(self, slots: npt.NDArray[np.intp], mode: int, *, cycle: int, now: int | None = None) -> None:
        """Set the mode: what becomes enabled gets the present value, what becomes disabled loses its queue."""
        present = clock.now() if now is None else now
        self.drain(cycle=cycle, ends=False, now=present)
        before = self._items["mode"][slots]
        self._items["mode"][slots] = mode
        if mode == DISABLED:
            self._forget_waiting()
        self._settle()
        if mode != DISABLED:
            self._first_values(slots[before == DISABLED].astype(np.int32), present, cycle)

    def repeat_values(self) -> None:
        """Give the present value of every active item once more, as a new owner of the subscription may ask."""
        modes = self._items["mode"]
        slots = np.nonzero((modes != DISABLED) & (modes != DELETED))[0].astype(np.int32)
        self._admit(self._snapshot(slots), known=True)

    # ---- triggering ------------------------------------------------------------------------------------------------

    def set_triggers(self, item_ids: frozenset[int]) -> None:
        """The items that trigger others; `fired` tells of them."""
        self._trigger_ids = item_ids
        self._mark_triggers()
        self._fired &= item_ids

    def _mark_triggers(self) -> None:
        self._triggering = None
        if self._trigger_ids:
            ids = np.fromiter(self._trigger_ids, np.uint32, len(self._trigger_ids))
            marked = np.isin(self._items["id"], ids)
            self._triggering = marked if marked.any() else None

    def fired(self) -> set[int]:
        """Triggering items that queued a sample since this was asked last."""
        fired, self._fired = self._fired, set()
        return fired

    def release(self, item_ids: Iterable[int]) -> None:
        """What items in mode Sampling have queued may be reported: they were triggered. Other ids are passed over."""
        if not self._has_sampling_mode:
            return
        self._join_parts()
        items = self._items
        slots = self.find(sorted(item_ids))
        wanted = np.zeros(len(items), bool)
        wanted[slots[slots >= 0]] = True
        wanted &= items["mode"] == SAMPLING
        go = wanted[self._queue.slots]
        released = join([self._released, self._queue.pick(go)])
        self._queue = self._queue.pick(~go)
        self._released = self._within_limits(released)

    def close(self) -> None:
        """Give up all items, the place in the journal and what waits."""
        self._items = self._room = np.empty(0, ITEM)
        self._dead = 0
        self._settle()
        self._held = self._queue = self._released = EMPTY
        self._parts, self._parts_size = [], 0
        self._texts.clear()

    def _settle(self) -> None:
        """Draw the consequences of changed items."""
        items, table = self._items, self._table
        plain = (items["trigger"] == TRIGGER_VALUE) & (items["sampling"] == 0) & (items["deadband"] == 0)
        items["filtered"] = ~plain
        items["reported"] &= ~plain
        active = (items["mode"] == SAMPLING) | (items["mode"] == REPORTING)
        self._index = None
        self._mark_triggers()
        self._filtered = bool((active & ~plain).any())
        self._has_sampling_mode = bool((items["mode"] == SAMPLING).any())
        self._smallest = int(items["queue"][active].min(initial=1 << 30))
        stamps = bool((active & (items["trigger"] == TRIGGER_TIMESTAMP) & (items["deadband"] == 0)).any())
        if stamps != self._reads_stamps:
            self._reads_stamps = stamps
            table.timestamp_readers += 1 if stamps else -1
        if self._cursor is None:
            if active.any():
                self._cursor = table.journal.cursor(self._name)
        elif not active.any():
            self._cursor.close()
            self._cursor = None

    def _first_values(self, slots: Slots, present: int, cycle: int) -> None:
        if not len(slots):
            return
        items = self._items
        items["phase"][slots] = present
        items["bucket"][slots] = _fresh_buckets(items["sampling"][slots], cycle)
        first = self._snapshot(slots)
        self._admit(first, known=True)

    def _snapshot(self, slots: Slots) -> Queued:
        """The present values of items' points."""
        table = self._table
        rows = self._items["row"][slots]
        for row in rows[self._items["type"][slots] == ValueType.STRING].tolist():
            self._texts[int(table.raw[row])] = str(table.value(row) or "")
        return Queued(slots, Values(table.raw[rows], table.status[rows], table.source_time[rows], table.received[rows]))

    def _forget_waiting(self) -> None:
        """Drop what waits for items that are disabled or deleted."""
        self._join_parts()
        modes = self._items["mode"]
        for name in ("_queue", "_held", "_released"):
            queued: Queued = getattr(self, name)
            mode = modes[queued.slots]
            stays = (mode != DISABLED) & (mode != DELETED)
            if not stays.all():
                setattr(self, name, queued.pick(stays))

    def _compact(self) -> None:
        keep = self._items["mode"] != DELETED
        moved = np.cumsum(keep, dtype=np.int32) - 1
        self._items = self._room = self._items[keep]
        self._dead = 0
        self._queue = Queued(moved[self._queue.slots], self._queue.values)
        self._held = Queued(moved[self._held.slots], self._held.values)
        self._released = Queued(moved[self._released.slots], self._released.values)

    # ---- samples --------------------------------------------------------------------------------------------------

    def drain(self, *, cycle: int, ends: bool, now: int | None = None) -> None:
        """Read what the journal has, through sampling and filters into the queues.

        Args:
            cycle: number of the publishing cycle.
            ends: the cycle ends now (sampling once a cycle gives its sample).
            now: the present in ticks.
        """
        cursor = self._cursor
        if cursor is None:
            return
        lost_before = cursor.lost
        chunks = cursor.take()
        if cursor.lost != lost_before:
            self.lost += cursor.lost - lost_before
            self._resume()
            return
        new = self._samples(chunks) if chunks else EMPTY
        if self._filtered:
            new = self._filter(new, cycle, ends, clock.now() if now is None else now)
        if len(new):
            self._admit(new)

    def _samples(self, chunks: list[Chunk]) -> Queued:
        """The samples of chunks that concern items."""
        if not self._reads_stamps:
            # Other subscriptions may have asked for them.
            chunks = [chunk for chunk in chunks if not chunk.timestamp_only]
            if not chunks:
                return EMPTY
        index = self._row_index()
        where, slots = index.match(_column([chunk.rows for chunk in chunks]))
        if not len(slots):
            return EMPTY
        sizes = [len(chunk) for chunk in chunks]
        values = Values(
            _column([chunk.raw for chunk in chunks]),
            _column([chunk.status for chunk in chunks]),
            _column([chunk.source_time for chunk in chunks]),
            np.repeat(np.array([chunk.received for chunk in chunks], np.int64), sizes),
        )
        for chunk in chunks:
            if chunk.texts is not None:
                self._texts.update(zip(chunk.raw.tolist(), chunk.texts, strict=True))
        queued = Queued(slots, values if where is None else values.pick(where))
        if self._reads_stamps and any(chunk.timestamp_only for chunk in chunks):
            only = np.repeat(np.array([chunk.timestamp_only for chunk in chunks]), sizes)
            if where is not None:
                only = only[where]
            queued = queued.pick(~only | (self._items["trigger"][slots] == TRIGGER_TIMESTAMP))
        return queued

    def _row_index(self) -> RowIndex:
        if self._index is None:
            modes = self._items["mode"]
            slots = np.nonzero((modes != DISABLED) & (modes != DELETED))[0].astype(np.int32)
            self._index = RowIndex(self._items["row"][slots], slots, len(self._table))
        return self._index

    def _filter(self, new: Queued, cycle: int, ends: bool, now: int) -> Queued:
        items = self._items
        filtered = items["filtered"][new.slots]
        plain, rest = (new.pick(~filtered), new.pick(filtered)) if len(new) else (EMPTY, EMPTY)
        rest = join([self._held, rest])
        self._held = EMPTY
        if not len(rest):
            return plain
        sampled = items["sampling"][rest.slots] != 0
        if sampled.any():
            due, self._held = sample(rest.pick(sampled), items, now=now, cycle=cycle, ends=ends)
            rest = join([rest.pick(~sampled), due])
        return join([plain, worth_reporting(rest, items)]) if len(rest) else plain

    def _resume(self) -> None:
        """After a loss: every item gets its point's present value, with the overflow bit where its queue can say so."""
        if self._cursor is None:
            return
        self._cursor.skip()
        self._held = EMPTY
        modes = self._items["mode"]
        slots = np.nonzero((modes != DISABLED) & (modes != DELETED))[0].astype(np.int32)
        present = self._snapshot(slots)
        marked = present.values.status | np.where(
            self._items["queue"][slots] > 1, np.uint32(OVERFLOW_BIT), np.uint32(0)
        )
        if self._filtered:
            remember(present.pick(self._items["filtered"][slots]), self._items)
        self._admit(Queued(slots, present.values.with_status(marked)))

    def _admit(self, new: Queued, *, known: bool = False) -> None:
        if known and self._filtered:
            remember(new.pick(self._items["filtered"][new.slots]), self._items)
        if self._triggering is not None:
            self._fired.update(self._items["id"][new.slots[self._triggering[new.slots]]].tolist())
        self._parts.append(new)
        self._parts_size += len(new)
        if self._parts_size > max(_JOIN_SAMPLES, len(self._queue) // 2) or len(self._parts) > _JOIN_PARTS:
            self._join_parts()

    # ---- queues ---------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something waits that may be reported."""
        if len(self._released):
            return True
        if not self._parts and not len(self._queue):
            return False
        if not self._has_sampling_mode:
            return True
        self._join_parts()
        return bool((self._items["mode"][self._queue.slots] == REPORTING).any())

    @property
    def queued(self) -> int:
        """Samples that wait, those of items that only sample included."""
        self._join_parts()
        return len(self._queue) + len(self._released)

    def _join_parts(self) -> None:
        """Put new samples into the queues and cut these to their sizes."""
        queue = join([self._queue, *self._parts])
        self._parts, self._parts_size = [], 0
        self._queue = queue = self._within_limits(queue)
        waiting = (queue, self._held, self._released)
        if len(self._texts) > 2 * sum(len(each) for each in waiting) + 64:
            used = {key for each in waiting for key in each.values.raw.tolist()}
            self._texts = {key: text for key, text in self._texts.items() if key in used}

    def _within_limits(self, queue: Queued) -> Queued:
        items = self._items
        if len(queue) > self._smallest:
            queue, dropped = limit(queue, items["queue"], items["oldest"])
            self.dropped += dropped
        if len(queue) > self.max_queued:
            fair = max(1, self.max_queued // max(1, len(self)))
            queue, dropped = limit(queue, items["queue"], items["oldest"], fair)
            self.dropped += dropped
        return queue

    @property
    def record_size(self) -> int:
        """Octets of the largest notification that waits; 34 where there are no texts."""
        return _LARGEST_RECORD + 4 * max((len(text) for text in self._texts.values()), default=0)

    def take(self, most: int) -> tuple[list[bytes], int]:
        """Up to `most` notifications, encoded in pieces, and how many; they leave the queues."""
        self._join_parts()
        queue, items = self._queue, self._items
        first = EMPTY
        if len(self._released):
            first, self._released = self._released.pick(slice(0, most)), self._released.pick(slice(most, None))
            most -= len(first)
        if self._has_sampling_mode:
            where = np.nonzero(items["mode"][queue.slots] == REPORTING)[0][:most]
            rest = np.ones(len(queue), bool)
            rest[where] = False
            out, self._queue = queue.pick(where), queue.pick(rest)
        else:
            out, self._queue = queue.pick(slice(0, most)), queue.pick(slice(most, None))
        if len(first):
            out = join([first, out])
        if not len(out):
            return [], 0
        slots = out.slots
        encoded = notification_items(
            items["handle"][slots], items["type"][slots], items["stamps"][slots], out.values, self._texts
        )
        if not len(self._queue):
            # Slices keep the arrays they are cut from alive.
            self._queue = EMPTY
            if not len(self._held) and not len(self._released):
                self._texts.clear()
        return encoded, len(out)


def _fresh_buckets(sampling: npt.NDArray[np.int64], cycle: int) -> npt.NDArray[np.int64]:
    """The first value counts for the running interval; sampling by cycles has its first sample still to come."""
    return np.where(sampling == EACH_CYCLE, cycle - 1, 0).astype(np.int64)


def _column(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
