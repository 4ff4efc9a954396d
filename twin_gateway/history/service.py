"""The gateway's side of the history: follows the journals, feeds the history process, answers `HistoryReader`.

    history = History(table, events, HistorySettings(), folder)   # for tests as for the gateway
    await history.start()                                         # from here on changes are kept
    page = await history.raw(address, start, end, 1000)
    await history.stop()                                          # everything is committed

Nothing here touches the disk or DuckDB. What the process has not committed yet is kept and sent again should it die.
When it cannot follow, the cursors wait in the journals; what those lose is counted, told and marked as a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.events import Event, EventJournal
from address_space.journal import Chunk, Cursor
from address_space.ports import HistoryPage, HistoryValues
from address_space.table import PointTable
from twin_gateway.history.event_records import decode_event, encode_event
from twin_gateway.history.frames import SIZES, Frame, FrameError, decode, sizes
from twin_gateway.history.settings import HistorySettings, Selection

log = logging.getLogger(__name__)

ROUND_S = 0.1
"""Seconds between two looks at the journals."""

_SLICE = 20_000
_LEARN = 250
_UNKNOWN, _KEPT, _LEFT_OUT = 0, 1, 2


class HistoryUnavailableError(RuntimeError):
    """The history cannot answer now: its process is being started, or it failed on this query."""


class AlarmPort(Protocol):
    """Where lasting troubles are told: `Alarms`."""

    def set(self, holds: bool, code: str, address: str, text: str, severity: int) -> None:
        """Raise or clear an alarm."""


@dataclass(slots=True)
class HistoryCounters:
    """For metrics; `lost` are samples and events that went by unread, `waiting` those not committed yet."""

    written: int = 0
    events: int = 0
    commits: int = 0
    waiting: int = 0
    lost: int = 0
    closed: int = 0
    removed: int = 0
    days: int = 0
    octets: int = 0
    restarts: int = 0
    paused: int = 0


@dataclass(slots=True)
class _Unacknowledged:
    batch: int
    size: int
    parts: list[bytes | memoryview]


class History:
    """The port `HistoryReader` over a process of its own.

    Args:
        table, events: whose journals are followed.
        settings: see `HistorySettings`.
        folder: where the history lives.
        alarms: takes lasting troubles (disk full) as G02; without it they are events.
        place: address of the gateway, for events about itself.
    """

    def __init__(
        self,
        table: PointTable,
        events: EventJournal,
        settings: HistorySettings,
        folder: Path,
        *,
        alarms: AlarmPort | None = None,
        place: str = "",
    ) -> None:
        self.counters = HistoryCounters()
        self._table, self._events = table, events
        self._settings, self._folder = settings, folder
        self._alarms, self._place = alarms, place
        self._selection = Selection(settings)
        self._state: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._run = uuid.uuid4().hex
        self._batches, self._queries = itertools.count(1), itertools.count(1)
        self._changes: Cursor[Chunk] | None = None
        self._late: Cursor[Chunk] | None = None
        self._records: Cursor[Event] | None = None
        self._lost_seen = [0, 0, 0]
        self._begun = self._until = clock.now()
        self._snapshot_due = False
        self._open: deque[_Unacknowledged] = deque()
        self._most_open = max(2 * settings.batch, 400_000)
        self._open_size = 0
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._ready = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._feeding = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Of the history process; 0 while none runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follow the journals from now on and start the process; does not wait for it."""
        self._changes = self._table.journal.cursor("history")
        self._late = self._table.late.cursor("history")
        self._records = self._events.cursor("history")
        self._begun = self._until = clock.now()
        if self._settings.timestamps:
            self._table.timestamp_readers += 1
        self._tasks = [
            asyncio.create_task(self._keep_running(), name="history process"),
            asyncio.create_task(self._follow(), name="history"),
        ]

    async def stop(self, patience: float = 30.0) -> None:
        """Hand over what is left, wait until it is committed, end the process."""
        if self._changes is None:
            return
        with contextlib.suppress(TimeoutError, HistoryUnavailableError):
            async with asyncio.timeout(patience):
                await self._wait_ready()
                while not await self._feed():  # noqa: ASYNC110 - room comes with the acknowledgements
                    await asyncio.sleep(ROUND_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_process(patience)
        for cursor in (self._changes, self._late, self._records):
            if cursor is not None:
                cursor.close()
        if self._settings.timestamps:
            self._table.timestamp_readers -= 1
        self._changes = self._late = self._records = None

    async def _end_process(self, patience: float) -> None:
        process, writer = self._process, self._writer
        if writer is not None:
            writer.close()  # the process commits what it has received and ends
        if process is not None:
            try:
                async with asyncio.timeout(patience):
                    await process.wait()
            except TimeoutError:
                log.error("history: the process did not end within %g s", patience)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._process = self._writer = None

    async def _keep_running(self) -> None:
        wait = 0.5
        while True:
            try:
                reader = await self._launch()
                wait = 0.5 if await self._listen(reader) else min(30.0, 2 * wait)
            except (OSError, FrameError, asyncio.IncompleteReadError) as error:
                log.error("history: %s", error)
                wait = min(30.0, 2 * wait)
            self._ready.clear()
            self._fail_queries("the history process has ended")
            await self._end_process(5.0)
            self.counters.restarts += 1
            self._tell("G02", 600, "History: its process ended and is started again")
            await asyncio.sleep(wait)

    async def _launch(self) -> asyncio.StreamReader:
        mine, theirs = socket.socketpair()
        for end in (mine, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        try:
            settings = self._settings.model_dump_json()
            arguments = (str(theirs.fileno()), str(self._folder), settings, self._run, str(self._begun))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "twin_gateway.history.process",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environment(),
            )
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        mine.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=mine)
        return reader

    # ---- what the process says ------------------------------------------------------------------------------------

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        """Until it ends; whether it had become ready."""
        been_ready = False
        while True:
            try:
                head, body = sizes(await reader.readexactly(SIZES.size))
                frame = decode(await reader.readexactly(head), await reader.readexactly(body))
            except (asyncio.IncompleteReadError, ConnectionError):
                return been_ready
            if frame.kind == "ready":
                been_ready = True
                await self._began(frame)
            else:
                self._heard(frame)

    def _heard(self, frame: Frame) -> None:
        head = frame.head
        if frame.kind == "done":
            self._acknowledge(int(head["batch"]))
            for name in ("written", "events", "commits", "closed", "removed", "days", "octets"):
                setattr(self.counters, name, int(head[name]))
        elif frame.kind == "answer":
            answer = self._answers.pop(int(head["id"]), None)
            if answer is not None and not answer.done():
                answer.set_result(frame)
        elif frame.kind == "tell":
            self._tell(head["code"], int(head["severity"]), head["text"])
        elif frame.kind in ("paused", "running"):
            self._paused(frame.kind == "paused", head.get("text", "it goes on"))

    def _paused(self, paused: bool, text: str) -> None:
        if paused != bool(self.counters.paused):
            log.log(logging.ERROR if paused else logging.INFO, "history: %s", text)
            if self._alarms is not None:
                self._alarms.set(paused, "G02", f"{self._place}/_/_/history" if self._place else "", text, 700)
            else:
                self._tell("G02", 700, f"History pauses: {text}" if paused else "History goes on")
        self.counters.paused = int(paused)

    def _tell(self, code: str, severity: int, text: str) -> None:
        log.warning("%s", text) if code else log.info("%s", text)
        if code:
            self._events.append(Event(code, text, severity, self._place))

    async def _began(self, frame: Frame) -> None:
        """Send again what an earlier process had not committed."""
        if frame.head["run"] == self._run:
            self._acknowledge(int(frame.head["batch"]))
        async with self._feeding:
            known = np.nonzero(self._state == _KEPT)[0].astype(np.int32)
            for start in range(0, len(known), _LEARN):
                part = known[start : start + _LEARN]
                addresses = [self._table.address(row) for row in part.tolist()]
                self._send(self._series_frame(part, addresses).encode())
                await asyncio.sleep(0)
            for entry in self._open:
                self._send(entry.parts)
                await self._drain()
            self._ready.set()

    def _acknowledge(self, batch: int) -> None:
        while self._open and self._open[0].batch <= batch:
            self._open_size -= self._open.popleft().size
        self.counters.waiting = self._open_size

    def _fail_queries(self, why: str) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(HistoryUnavailableError(why))
        self._answers.clear()

    # ---- feeding it -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            if self._ready.is_set():
                await self._feed()

    async def _feed(self) -> bool:
        """Send what is in the journals; False when the process does not follow and some is left."""
        async with self._feeding:
            while self._ready.is_set():
                if self._open_size >= self._most_open:
                    return False
                more = self._records is not None and self._feed_events(self._records)
                if self._changes is not None:
                    more |= await self._feed_samples(self._changes, 0, late=False)
                if self._late is not None:
                    more |= await self._feed_samples(self._late, 1, late=True)
                await self._drain()
                if not more:
                    if self._snapshot_due:
                        self._snapshot_due = False
                        await self._snapshot()
                    return True
                await asyncio.sleep(0)
            return False

    async def _feed_samples(self, cursor: Cursor[Chunk], which: int, *, late: bool) -> bool:
        chunks = cursor.take(_SLICE)
        if cursor.lost > self._lost_seen[which]:
            self._lost(cursor.lost - self._lost_seen[which], which, chunks[0].received if chunks else clock.now())
        if not late and chunks:
            self._until = chunks[-1].received
        if not self._settings.timestamps:
            chunks = [chunk for chunk in chunks if not chunk.timestamp_only]
        for texts in (False, True):
            mine = [chunk for chunk in chunks if (chunk.texts is not None) is texts]
            if mine:
                await self._send_chunks(mine, late=late)
        return bool(cursor.pending)

    def _feed_events(self, cursor: Cursor[Event]) -> bool:
        events = cursor.take(1_000)
        if cursor.lost > self._lost_seen[2]:
            self._lost(cursor.lost - self._lost_seen[2], 2, clock.now())
        if events:
            records = [(event.source_time, event.address, encode_event(event)) for event in events]
            self._send_batch("events", {"events": records}, {}, len(events))
        return bool(cursor.pending)

    def _lost(self, count: int, which: int, end: int) -> None:
        what = ("changes", "late samples", "events")[which]
        self._lost_seen[which] += count
        self.counters.lost += count
        self._tell("D08", 650, f"History: {count} {what} are lost, it is slower than they come")
        if which == 0:
            self._send_batch("gap", {"begin": self._until, "end": end, "reason": "overload"}, {}, 1)
            self._snapshot_due = True

    async def _send_chunks(self, chunks: Sequence[Chunk], *, late: bool) -> None:
        rows = np.concatenate([chunk.rows for chunk in chunks])
        await self._learn(rows)
        kept = self._state[rows] == _KEPT
        everything = bool(kept.all())
        columns: dict[str, npt.NDArray[Any]] = {
            "rows": rows,
            "raw": np.concatenate([chunk.raw for chunk in chunks]),
            "status": np.concatenate([chunk.status for chunk in chunks]),
            "time": np.concatenate([chunk.source_time for chunk in chunks]),
            "received": np.repeat(
                np.array([chunk.received for chunk in chunks], np.int64), [len(chunk) for chunk in chunks]
            ),
        }
        head: dict[str, Any] = {"late": late}
        if not everything:
            columns = {name: column[kept] for name, column in columns.items()}
        if chunks[0].texts is not None:
            texts = [text for chunk in chunks for text in chunk.texts or ()]
            head["texts"] = texts if everything else [text for text, keep in zip(texts, kept, strict=True) if keep]
        if len(columns["rows"]):
            self._send_batch("samples", head, columns, len(columns["rows"]))

    async def _snapshot(self) -> None:
        """After a loss: every kept point as it is now, so that nothing old stands for what was missed."""
        now = clock.now()
        table = self._table
        known = np.nonzero(self._state == _KEPT)[0].astype(np.int32)
        texts = table.value_type[known] == ValueType.STRING
        for rows, is_text in ((known[~texts], False), (known[texts], True)):
            for start in range(0, len(rows), _SLICE):
                part = rows[start : start + _SLICE]
                head: dict[str, Any] = {"late": False}
                if is_text:
                    head["texts"] = [str(table.value(int(row)) or "") for row in part]
                moment = np.full(len(part), now, np.int64)
                columns = {
                    "rows": part,
                    "raw": table.raw[part],
                    "status": table.status[part],
                    "time": moment,
                    "received": moment,
                }
                self._send_batch("samples", head, columns, len(part))
                await self._drain()

    async def _learn(self, rows: npt.NDArray[np.int32]) -> None:
        """Decide which of new rows are kept, and tell their addresses."""
        missing = len(self._table) - len(self._state)
        if missing:
            self._state = np.concatenate([self._state, np.zeros(missing, np.uint8)])
        new = np.unique(rows[self._state[rows] == _UNKNOWN])
        for start in range(0, len(new), _LEARN):
            part = new[start : start + _LEARN]
            addresses = [self._table.address(row) for row in part.tolist()]
            keep = np.array([address in self._selection for address in addresses], bool)
            self._state[part] = np.where(keep, _KEPT, _LEFT_OUT)
            if keep.any():
                addresses = [address for address, kept in zip(addresses, keep.tolist(), strict=True) if kept]
                self._send(self._series_frame(part[keep], addresses).encode())
            await asyncio.sleep(0)

    def _series_frame(self, rows: npt.NDArray[np.int32], addresses: list[str]) -> Frame:
        return Frame("series", {"addresses": addresses}, {"rows": rows, "types": self._table.value_type[rows]})

    def _send_batch(self, kind: str, head: dict[str, Any], columns: dict[str, npt.NDArray[Any]], size: int) -> None:
        batch = next(self._batches)
        parts = Frame(kind, {**head, "run": self._run, "batch": batch}, columns).encode()
        self._open.append(_Unacknowledged(batch, size, parts))
        self._open_size += size
        self.counters.waiting = self._open_size
        self._send(parts)

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.writelines(parts)

    async def _drain(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):  # its end is noticed by who listens
                await self._writer.drain()

    # ---- the port -------------------------------------------------------------------------------------------------

    def keeps(self, address: str) -> bool:
        """As of `HistoryReader`."""
        return self._table.find(address) >= 0 and address in self._selection

    async def raw(
        self,
        address: str,
        start: int,
        end: int,
        limit: int,
        *,
        reverse: bool = False,
        resume: tuple[int, int] | None = None,
        modified: bool = False,
    ) -> HistoryPage:
        """As of `HistoryReader`.

        Raises:
            KeyError: nothing of the point is kept.
            TimeoutError: the query took longer than `query_seconds`.
            HistoryUnavailableError: the process cannot answer.
        """
        asked = {
            "address": address,
            "start": start,
            "end": end,
            "limit": limit,
            "reverse": reverse,
            "resume": resume,
            "modified": modified,
        }
        frame = await self._ask("raw", asked)
        resumed = frame.head["resume"]
        values = _values(frame, "", frame.head["texts"])
        return HistoryPage(values, (resumed[0], resumed[1]) if resumed is not None else None)

    async def bracket(self, address: str, times: npt.NDArray[np.int64]) -> tuple[HistoryValues, HistoryValues]:
        """As of `HistoryReader`; raises as `raw`."""
        frame = await self._ask("bracket", {"address": address}, {"times": np.asarray(times, np.int64)})
        return (
            _values(frame, "before_", frame.head["before_texts"]),
            _values(frame, "after_", frame.head["after_texts"]),
        )

    async def events(
        self, prefix: str, start: int, end: int, limit: int, *, reverse: bool = False, resume: int | None = None
    ) -> tuple[Sequence[Event], int | None]:
        """As of `HistoryReader`; raises TimeoutError and HistoryUnavailableError as `raw`."""
        asked = {"prefix": prefix, "start": start, "end": end, "limit": limit, "reverse": reverse, "resume": resume}
        frame = await self._ask("events", asked)
        events = []
        for place, text in enumerate(frame.head["events"]):
            events.append(decode_event(text))
            if place % 200 == 199:
                await asyncio.sleep(0)
        return events, frame.head["resume"]

    async def _ask(self, what: str, asked: dict[str, Any], columns: dict[str, npt.NDArray[Any]] | None = None) -> Frame:
        if self._changes is None:
            raise HistoryUnavailableError("the history is not running")
        async with asyncio.timeout(self._settings.query_seconds):
            try:
                frame = await self._query(what, asked, columns or {})
            except HistoryUnavailableError:  # its process has ended under way; perhaps not because of this query
                frame = await self._query(what, asked, columns or {})
        if "unknown" in frame.head:
            raise KeyError(asked["address"])
        if "error" in frame.head:
            raise HistoryUnavailableError(frame.head["error"])
        return frame

    async def _query(self, what: str, asked: dict[str, Any], columns: dict[str, npt.NDArray[Any]]) -> Frame:
        number = next(self._queries)
        try:
            await self._wait_ready()
            await self._feed()
            answer = asyncio.get_running_loop().create_future()
            self._answers[number] = answer
            self._send(Frame("query", {**asked, "what": what, "id": number}, columns).encode())
            frame: Frame = await answer
            return frame
        finally:
            if self._answers.pop(number, None) is not None:
                self._send(Frame("cancel", {"id": number}).encode())

    async def _wait_ready(self) -> None:
        await self._ready.wait()


def _values(frame: Frame, prefix: str, texts: list[str | None] | None) -> HistoryValues:
    columns = frame.columns
    modified = None
    if "changed" in columns:
        changes = zip(columns["changed"].tolist(), columns["change"].tolist(), strict=True)
        modified = tuple((changed, change, "") for changed, change in changes)
    return HistoryValues(
        int(frame.head["type"]),
        columns[f"{prefix}raw"],
        columns[f"{prefix}status"],
        columns[f"{prefix}time"],
        columns[f"{prefix}received"],
        tuple(text or "" for text in texts) if texts is not None else None,
        modified,
    )


def _environment() -> dict[str, str]:
    """Of the process: this package first on its path, one thread of linear algebra."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
