"""From the journals to frames: what is kept, in batches that are held until the process says that they are on disk."""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.events import Event, EventJournal
from address_space.journal import Chunk, Cursor
from address_space.table import PointTable
from twin_gateway.history.event_records import encode_event
from twin_gateway.history.frames import Columns, Frame
from twin_gateway.history.link import ProcessLink
from twin_gateway.history.settings import HistorySettings, Selection

log = logging.getLogger(__name__)
_SLICE = 20_000
_LEARN = 250
_EVENTS = 200
"""Samples, new addresses and events of one turn of the event loop."""

_OCTETS_A_SAMPLE = 64
_UNKNOWN, _KEPT, _LEFT_OUT = 0, 1, 2
_WHAT = ("changes", "late samples", "events")


@dataclass(slots=True)
class _Batch:
    number: int
    size: int
    parts: list[bytes | memoryview]
    since: int  # what was journalled before is in earlier batches


class Feed:
    """Follows table and events from its making on, and sends frames once `begin` has said where to.

    Args:
        table, events: whose journals are followed.
        settings: see `HistorySettings`.
        lost: called with (how many, of what) when a journal went on without us.
    """

    def __init__(
        self,
        table: PointTable,
        events: EventJournal,
        settings: HistorySettings,
        lost: Callable[[int, str], None],
    ) -> None:
        self.run = uuid.uuid4().hex
        self.begun = clock.now()
        self.selection = Selection(settings)
        self._table, self._tell_lost = table, lost
        self._timestamps = settings.timestamps
        self._link: ProcessLink | None = None
        self._changes: Cursor[Chunk] = table.journal.cursor("history")
        self._late: Cursor[Chunk] = table.late.cursor("history")
        self._events: Cursor[Event] = events.cursor("history")
        table.timestamp_readers += self._timestamps
        self._lost_seen = [0, 0, 0]
        self._until = self._complete = self.begun
        self._snapshot_due = False
        self._state: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._numbers = itertools.count(1)
        self._open: deque[_Batch] = deque()
        self._most_open = max(2 * settings.batch, 400_000)
        self.waiting = 0
        self._lock = asyncio.Lock()

    def close(self) -> int:
        """Follow no longer; how many samples and events had not been committed."""
        left = self.waiting
        for cursor in (self._changes, self._late, self._events):
            left += cursor.pending
            cursor.close()
        self._table.timestamp_readers -= self._timestamps
        return left

    async def begin(self, link: ProcessLink, run: str, committed: int) -> None:
        """A process is there: tell it the addresses, send again what an earlier one had not committed."""
        async with self._lock:
            self._link = link
            if run == self.run:
                self.acknowledge(committed)
            known = np.nonzero(self._state == _KEPT)[0].astype(np.int32)
            for start in range(0, len(known), _LEARN):
                part = known[start : start + _LEARN]
                self._introduce(part, [self._table.address(row) for row in part.tolist()])
                await asyncio.sleep(0)
            for batch in self._open:
                link.send(batch.parts)
                await link.drain()

    def kept_until(self) -> int:
        """FILETIME ticks: what was journalled before is on disk, as far as it is kept at all."""
        return self._open[0].since if self._open else self._complete

    def acknowledge(self, number: int) -> None:
        """Batches up to a number are on disk."""
        while self._open and self._open[0].number <= number:
            self.waiting -= self._open.popleft().size

    async def round(self) -> bool:
        """Send what is in the journals; False when the process does not follow and some is left."""
        async with self._lock:
            if self._link is None:
                return False
            try:
                return await self._round(self._link)
            except Exception:  # what it had taken is missed: a gap, and the next round goes on behind it
                log.exception("history: what the journals have cannot be sent")
                self._missed(clock.now())
                return False

    async def _round(self, link: ProcessLink) -> bool:
        start = clock.now()
        while self.waiting < self._most_open:
            more = self._feed_events()
            more |= await self._feed_samples(self._changes, 0)
            more |= await self._feed_samples(self._late, 1)
            await link.drain()
            if not more and self._snapshot_due:
                self._snapshot_due = False
                await self._snapshot(link)
            elif not more:
                self._complete = start
                return True
            await asyncio.sleep(0)
        return False

    async def _feed_samples(self, cursor: Cursor[Chunk], which: int) -> bool:
        chunks = cursor.take(_SLICE)
        if cursor.lost > self._lost_seen[which]:
            self._lost(which, cursor.lost, chunks[0].received if chunks else clock.now())
        if cursor is self._changes and chunks:
            self._until = chunks[-1].received
        if not self._timestamps:
            chunks = [chunk for chunk in chunks if not chunk.timestamp_only]
        for texts in (False, True):
            mine = [chunk for chunk in chunks if (chunk.texts is not None) is texts]
            if mine:
                await self._send_chunks(mine, late=cursor is self._late)
        return bool(cursor.pending)

    def _feed_events(self) -> bool:
        cursor = self._events
        events = cursor.take(_EVENTS)
        if cursor.lost > self._lost_seen[2]:
            self._lost(2, cursor.lost, clock.now())
        if events:
            records = [(event.source_time, event.address, encode_event(event)) for event in events]
            self._send("events", {"events": records}, {}, len(events))
        return bool(cursor.pending)

    def _lost(self, which: int, total: int, end: int) -> None:
        count, self._lost_seen[which] = total - self._lost_seen[which], total
        self._tell_lost(count, _WHAT[which])
        if which == 0:
            self._missed(end)

    def _missed(self, end: int) -> None:
        self._send("gap", {"begin": self._until, "end": end, "reason": "overload"}, {}, 1)
        self._snapshot_due = True

    async def _send_chunks(self, chunks: Sequence[Chunk], *, late: bool) -> None:
        rows = np.concatenate([chunk.rows for chunk in chunks])
        await self._learn(rows)
        kept = self._state[rows] == _KEPT
        everything = bool(kept.all())
        lengths = [len(chunk) for chunk in chunks]
        columns: dict[str, npt.NDArray[Any]] = {
            "rows": rows,
            "raw": np.concatenate([chunk.raw for chunk in chunks]),
            "status": np.concatenate([chunk.status for chunk in chunks]),
            "time": np.concatenate([chunk.source_time for chunk in chunks]),
            "received": np.repeat(np.array([chunk.received for chunk in chunks], np.int64), lengths),
        }
        head: dict[str, Any] = {"late": late}
        if not everything:
            columns = {name: column[kept] for name, column in columns.items()}
        size = len(columns["rows"])
        if chunks[0].texts is not None:
            texts = [text for chunk in chunks for text in chunk.texts or ()]
            head["texts"] = texts if everything else [text for text, keep in zip(texts, kept, strict=True) if keep]
            size += sum(map(len, head["texts"])) // _OCTETS_A_SAMPLE
        if len(columns["rows"]):
            self._send("samples", head, columns, size)

    async def _snapshot(self, link: ProcessLink) -> None:
        """After a loss: every kept point as it is now, so that nothing old stands for what was missed."""
        table, now = self._table, clock.now()
        known = np.nonzero(self._state == _KEPT)[0].astype(np.int32)
        texts = table.value_type[known] == ValueType.STRING
        for rows, is_text in ((known[~texts], False), (known[texts], True)):
            for start in range(0, len(rows), _SLICE):
                part = rows[start : start + _SLICE]
                head: dict[str, Any] = {"late": False}
                if is_text:
                    head["texts"] = [str(table.value(row) or "") for row in part.tolist()]
                moment = np.full(len(part), now, np.int64)
                raw, status = table.raw[part], table.status[part]
                columns = {"rows": part, "raw": raw, "status": status, "time": moment, "received": moment}
                self._send("samples", head, columns, len(part))
                await link.drain()

    async def _learn(self, rows: npt.NDArray[np.int32]) -> None:
        """Decide which of new rows are kept, and tell their addresses."""
        missing = len(self._table) - len(self._state)
        if missing:
            self._state = np.concatenate([self._state, np.zeros(missing, np.uint8)])
        unknown = rows[self._state[rows] == _UNKNOWN]
        if not len(unknown):
            return
        # Not by `unique`, which imports half of numpy (20 ms) when it is first called.
        met = np.zeros(len(self._state), bool)
        met[unknown] = True
        new = np.flatnonzero(met).astype(np.int32)
        await asyncio.sleep(0)  # taking the chunks was work enough for one turn
        for start in range(0, len(new), _LEARN):
            part = new[start : start + _LEARN]
            addresses = [self._table.address(row) for row in part.tolist()]
            keep = np.array([address in self.selection for address in addresses], bool)
            self._state[part] = np.where(keep, _KEPT, _LEFT_OUT)
            if keep.any():
                self._introduce(part[keep], [text for text, kept in zip(addresses, keep, strict=True) if kept])
            await asyncio.sleep(0)

    def _introduce(self, rows: npt.NDArray[np.int32], addresses: list[str]) -> None:
        columns: dict[str, npt.NDArray[Any]] = {"rows": rows, "types": self._table.value_type[rows]}
        if self._link is not None:
            self._link.send(Frame("series", {"addresses": addresses}, columns).encode())

    def _send(self, kind: str, head: dict[str, Any], columns: Columns, size: int) -> None:
        number = next(self._numbers)
        parts = Frame(kind, {**head, "run": self.run, "batch": number}, columns).encode()
        self._open.append(_Batch(number, size, parts, self._complete))
        self.waiting += size
        if self._link is not None:
            self._link.send(parts)
