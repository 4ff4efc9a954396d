"""The history of a service: feeds its process from the journals and answers the port `HistoryReader`.

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.ports import HistoryPage, HistoryValues
from address_space.table import PointTable
from twin_gateway.history.event_records import decode_event
from twin_gateway.history.feed import Feed
from twin_gateway.history.frames import Frame
from twin_gateway.history.link import ProcessLink
from twin_gateway.history.settings import HistorySettings, Selection
from twin_gateway.system_points import part_place

log = logging.getLogger(__name__)

ROUND_S = 0.1
"""Seconds between two looks at the journals."""


class HistoryUnavailableError(RuntimeError):
    """The history cannot answer now: its process is being started, or it failed on this query, or took too long."""


class AlarmPort(Protocol):
    """Where lasting troubles are told: `Alarms`."""

    def set(self, holds: bool, code: str, address: str, text: str, severity: int) -> None:
        """Raise or clear an alarm."""


@dataclass(slots=True)
class HistoryCounters:
    """For metrics.

    Attributes:
        written, events, commits: samples, events and transactions on disk since its process started.
        waiting: samples (of 64 octets) and events that are not yet on disk.
        lost: samples and events that went by unread.
        closed, removed: files made of past days, and deleted, since its process started.
        days, octets: that are kept at present.
        restarts: of the process, after it ended by itself.
        paused: 1 while nothing can be written.
    """

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


_FIGURES = ("written", "events", "commits", "closed", "removed", "days", "octets")


class History:
    """The port `HistoryReader` over a process of its own.

    Args:
        table, events: whose journals are followed.
        settings: see `HistorySettings`.
        folder: where the history lives.
        alarms: takes lasting troubles (disk full) as G02; without it they are events.
        place: address of the gateway, for what it says of itself.
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
        self._counters = HistoryCounters()
        self._table, self._events = table, events
        self._settings, self._folder = settings, folder
        self._alarms, self._place = alarms, place
        self._selection = Selection(settings)
        self._feed: Feed | None = None
        self._link: ProcessLink | None = None
        self._following: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._queries = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Frame]] = {}

    @property
    def pid(self) -> int:
        """Of the history process; 0 while none runs."""
        return self._link.pid if self._link is not None else 0

    @property
    def counters(self) -> HistoryCounters:
        """What it counts."""
        if self._feed is not None:
            self._counters.waiting = self._feed.waiting
        return self._counters

    def kept_until(self) -> int:
        """FILETIME ticks: samples that came before are on disk; of a history that does not run there are none."""
        return self._feed.kept_until() if self._feed is not None else clock.now()

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follow the journals from now on and start the process; does not wait for it."""
        self._feed = Feed(self._table, self._events, self._settings, self._lost)
        arguments = (str(self._folder), self._settings.model_dump_json(), self._feed.run, str(self._feed.begun))
        self._link = ProcessLink(arguments, self._began, self._heard, self._ended)
        self._link.start()
        self._following = asyncio.create_task(self._follow(self._feed), name="history")

    async def stop(self, patience: float = 30.0) -> None:
        """Hand over what is left, wait until it is committed, end the process.

        Args:
            patience: seconds for each of the two; while nothing can be written only a second is waited.
        """
        feed, link, following = self._feed, self._link, self._following
        if feed is None or link is None or following is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0 if self._counters.paused else patience):
                await self._ready.wait()
                while not await feed.round():  # noqa: ASYNC110 - room comes with the acknowledgements
                    await asyncio.sleep(ROUND_S)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await link.stop(patience)
        self._ready.clear()
        self._fail_queries("the history has been stopped")
        left = feed.close()
        self._counters.waiting = left
        if left:
            log.error("history: %d samples and events could not be written before the end", left)
        self._feed = self._link = self._following = None

    async def _follow(self, feed: Feed) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            if self._ready.is_set():
                await feed.round()

    # ---- what the process says ------------------------------------------------------------------------------------

    async def _began(self, frame: Frame) -> None:
        if self._feed is not None and self._link is not None:
            await self._feed.begin(self._link, frame.head["run"], int(frame.head["batch"]))
            self._ready.set()

    def _heard(self, frame: Frame) -> None:
        head = frame.head
        if frame.kind == "done" and self._feed is not None:
            self._feed.acknowledge(int(head["batch"]))
            self._paused(False, "it goes on")  # also when it was another process that had paused
            for name in _FIGURES:
                setattr(self._counters, name, int(head[name]))
        elif frame.kind == "answer":
            answer = self._answers.pop(int(head["id"]), None)
            if answer is not None and not answer.done():
                answer.set_result(frame)
        elif frame.kind == "tell":
            self._tell(head["code"], int(head["severity"]), head["text"])
        elif frame.kind in ("paused", "running"):
            self._paused(frame.kind == "paused", head.get("text", "it goes on"))

    def _ended(self) -> None:
        self._ready.clear()
        self._fail_queries("the history process has ended")
        self._counters.restarts += 1
        self._tell("G02", 600, "History: its process ended and is started again")

    def _paused(self, paused: bool, text: str) -> None:
        if paused == bool(self._counters.paused):
            return
        self._counters.paused = int(paused)
        if self._alarms is not None:
            log.log(logging.ERROR if paused else logging.INFO, "history: %s", text)
            place = part_place(self._place, "history") if self._place else ""
            self._alarms.set(paused, "G02", place, f"History pauses: {text}" if paused else "", 700)
        else:
            self._tell("G02", 700, f"History pauses: {text}" if paused else "History goes on")

    def _lost(self, count: int, what: str) -> None:
        self._counters.lost += count
        self._tell("D08", 650, f"History: {count} {what} are lost, it is slower than they come")

    def _tell(self, code: str, severity: int, text: str) -> None:
        """Into the log; with a code an event as well."""
        log.log(logging.WARNING if code else logging.INFO, "%s", text)
        if code:
            self._events.append(Event(code, text, severity, self._place))

    def _fail_queries(self, why: str) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(HistoryUnavailableError(why))
        self._answers.clear()

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
            HistoryUnavailableError: the process cannot answer, or not within `query_seconds`.
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
        """As of `HistoryReader`; raises HistoryUnavailableError as `raw`."""
        asked = {"prefix": prefix, "start": start, "end": end, "limit": limit, "reverse": reverse, "resume": resume}
        frame = await self._ask("events", asked)
        events = []
        for place, text in enumerate(frame.head["events"]):
            events.append(decode_event(text))
            if place % 200 == 199:
                await asyncio.sleep(0)
        return events, frame.head["resume"]

    async def _ask(self, what: str, asked: dict[str, Any], columns: dict[str, npt.NDArray[Any]] | None = None) -> Frame:
        seconds = self._settings.query_seconds
        try:
            async with asyncio.timeout(seconds):
                try:
                    frame = await self._query(what, asked, columns or {})
                except HistoryUnavailableError:  # its process has ended under way; perhaps not because of this query
                    frame = await self._query(what, asked, columns or {})
        except TimeoutError as error:
            raise HistoryUnavailableError(f"no answer within {seconds:g} s") from error
        if "unknown" in frame.head:
            raise KeyError(asked["address"])
        if "error" in frame.head:
            raise HistoryUnavailableError(frame.head["error"])
        return frame

    async def _query(self, what: str, asked: dict[str, Any], columns: dict[str, npt.NDArray[Any]]) -> Frame:
        feed, link = self._feed, self._link
        if feed is None or link is None:
            raise HistoryUnavailableError("the history is not running")
        number = next(self._queries)
        try:
            await self._ready.wait()
            await feed.round()  # what is in the journals is read too
            answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            self._answers[number] = answer
            link.send(Frame("query", {**asked, "what": what, "id": number}, columns).encode())
            return await answer
        finally:
            if self._answers.pop(number, None) is not None:
                link.send(Frame("cancel", {"id": number}).encode())


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
