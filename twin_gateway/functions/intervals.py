"""Interval data: what meters and measurements told, brought to interval ends and kept (shared by losses and topology).

Load-profile rows come through the table's late journal, live registers and flows through its journal. Everything on
the event loop is column work of well below a millisecond; the file is written by a thread.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from address_space import clock
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality, StatusCode, TimeFlag
from address_space.table import PointTable
from twin_gateway.durations import Seconds
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.interval_store import IntervalLengthError, IntervalStore, StoreCounters
from twin_gateway.functions.losses_reactive import REGISTERS as REACTIVE_REGISTERS
from twin_gateway.functions.slices import each, in_slices, pieces
from twin_gateway.grid.model import Grid, Position, Quantity
from twin_gateway.set_aside import set_aside
from twin_gateway.sqlite import damaged_aside
from twin_gateway.twin.intervals import BoundaryRegisters, Emitted, IntervalMeans, of_profile, of_profile_means
from twin_gateway.twin.losses.regions import padded

log = logging.getLogger(__name__)

FILE = "intervals.sqlite"
REGISTERS = ("MMTR1/DmdWh", "MMTR1/SupWh", *REACTIVE_REGISTERS)
"""Energy registers of a meter, kept as they stand at the end of the interval (Wh, varh)."""
MEANS = (
    "MMXU1/TotW",
    "MMXU1/TotVAr",
    *(f"MMXU1/{name}/phs{phase}" for name in ("W", "VAr", "PhV", "A") for phase in "ABC"),
    "MMXU1/A/neut",
    "MMXN1/Vol",
    "MMXN1/Amp",
    "MMXN1/Watt",
)
"""Flows and voltages, kept as their mean over the interval (W, var, V, A)."""
_RETRY_S = 5.0
"""Pause after the file took nothing."""
_AT_ONCE = 2_000
"""Samples that are looked at in one go: some milliseconds."""
_POSITIONS = 100_000
"""Positions of switches that wait to be written at most."""
_LOST = np.uint32(Quality.COMM_LOST | Quality.INVALID)
_UNSURE = int(Quality.INVALID | Quality.QUESTIONABLE | Quality.NOT_INITIALISED | Quality.COMM_LOST)


class IntervalSettings(BaseModel):
    """Interval data.

    Attributes:
        interval: length; a day holds a whole number.
        retention_days: how long values are kept.
        grace: how long after the end of an interval live values are waited for.
        pending: most values that wait to be written; older ones are dropped and counted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Seconds = 900.0
    retention_days: Annotated[int, Field(ge=1, le=4000)] = 400
    grace: Seconds = 35.0
    pending: Annotated[int, Field(ge=1000, le=100_000_000)] = 2_000_000


def followed(grid: Grid, table: PointTable) -> tuple[list[str], list[str]]:
    """(registers, means): the points of the table that interval data are kept of.

    Those of the grid's meters, and the powers and voltages among its measurements.
    """
    registers = [f"{meter}/{name}" for meter in grid.meters for name in REGISTERS]
    means = [f"{meter}/{name}" for meter in grid.meters for name in MEANS]
    means += [item.point for item in grid.measurements.values() if item.quantity is not Quantity.I]
    return (
        _present(table, list(dict.fromkeys(registers))),
        _present(table, list(dict.fromkeys(means))),
    )


def _present(table: PointTable, texts: list[str]) -> list[str]:
    rows = _rows(table, texts)
    return [text for text, there in zip(texts, (rows >= 0).tolist(), strict=True) if there]


def _rows(table: PointTable, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Row of each address, -1 where there is none."""
    nodes = table.tree.find_many(texts)
    return np.where(nodes >= 0, table.tree.row[nodes], -1).astype(np.int64) if len(table) else nodes.astype(np.int64)


class Intervals:
    """Feeds the interval store; a twin function without methods and results.

    A file that cannot be opened (not ours to write, no room) is a condition, and is tried again every few seconds.

    Attributes:
        counters: of the writer, over all runs.
        dropped: values that were never written because too many waited.
        lost: samples that went by unread (journal overrun).
    """

    name = "intervals"

    def __init__(self, context: TwinContext, settings: IntervalSettings) -> None:
        self._table = context.table
        self._grid = context.grid
        self._settings = settings
        self._alarms = context.alarms
        self._owner = f"{padded(context.place)}/twLOSS1"
        self._path = context.data_directory / FILE
        self._store: IntervalStore | None = None
        self.counters = StoreCounters()
        self.dropped = 0
        self.lost = 0
        self._pending: list[tuple[Emitted, npt.NDArray[np.int64], bool]] = []
        self._waiting = 0
        self._positions: list[tuple[float, str, int]] = []
        self._stands_since: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._thread: ThreadPoolExecutor | None = None
        self._bound = False
        try:
            self._store = self._opened(self._path)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)

    @property
    def store(self) -> IntervalStore:
        """The writer; its file is opened when it is not yet.

        Raises:
            sqlite3.Error, OSError: it cannot be opened.
        """
        if self._store is None:
            self._store = self._opened(self._path)
        return self._store

    def _opened(self, path: Path) -> IntervalStore:
        """The store; a file that is damaged or of another interval length is put aside, and told.

        Raises:
            sqlite3.Error, OSError: it cannot be opened, or not be put aside.
        """
        try:
            return self._made(path)
        except IntervalLengthError as error:
            text = f"{error}; kept as {set_aside(path, f'{error.found:g}s').name}"
        except sqlite3.Error as error:
            text = damaged_aside(path, error)
        log.error("interval data begin anew: %s", text)
        self._alarms.event("G02", self._owner, f"Interval data begin anew: {text}", 600)
        return self._made(path)

    def _made(self, path: Path) -> IntervalStore:
        retention = self._settings.retention_days * 86_400.0
        store = IntervalStore(path, length=self._settings.interval, retention=retention)
        store.counters = self.counters
        return store

    def specs(self) -> Sequence[MethodSpec]:
        """None."""
        return ()

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """No methods."""
        return MethodResult(StatusCode.BadMethodInvalid, (), f"{owner} has no method {name}")

    async def run(self) -> None:
        """Follow the table until cancelled; what is pending then is written."""
        while not self._is_bound():  # noqa: ASYNC110 - nobody tells that a disk has room again
            await asyncio.sleep(_RETRY_S)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intervals")
        self._alarms.clear("G02", f"{self._owner}/CnsWh")
        # Before the first look: what changes while it is taken in parts must not be missed.
        journal = self._table.journal.cursor("intervals", self._wake.set)
        late = self._table.late.cursor("intervals late", self._wake.set)
        next_trim = 0.0
        try:
            await in_slices(self._presenting())
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._wake.wait()
                self._wake.clear()
                # A piece at a time: a burst of a million samples must not hold up the event loop.
                while journal.pending or late.pending:
                    await each(self.live, (part for chunk in journal.take(20_000) for part in pieces(chunk, _AT_ONCE)))
                    await each(self.late, (part for chunk in late.take(20_000) for part in pieces(chunk, _AT_ONCE)))
                    await asyncio.sleep(0)
                self._overrun(journal.lost + late.lost)
                now = clock.to_unix(clock.now())
                self.close(now)
                await self.flush()
                if now >= next_trim:
                    next_trim = now + 3600.0
                    await self._kept(self.store.trim, now)
        finally:
            journal.close()
            late.close()
            try:
                self._write(*self._taken())
            except sqlite3.Error:
                log.exception("the last interval data were not written")
            self._thread.shutdown(wait=True)
            if self._store is not None:
                self._store.close()
            # A next run opens the file again and looks up its numbers anew.
            self._thread, self._store, self._bound = None, None, False

    def _overrun(self, lost: int) -> None:
        """Count what went by unread; what holds now is taken from the table, for changes were missed."""
        if lost > self.lost:
            self._alarms.event("G02", self._owner, f"Interval data: {lost - self.lost} samples were missed", 400)
            self.lost = lost
            self._present()

    async def _kept(self, work: Callable[..., Any], *arguments: Any) -> bool:
        """Whether the file took it; when it does not (full disk, damage) that is a condition until it does again."""
        try:
            await self._in_thread(work, *arguments)
        except sqlite3.Error as error:
            self._failed(error)
            return False
        self._alarms.clear("G02", f"{self._owner}/CnsWh")
        return True

    def _failed(self, error: Exception) -> None:
        log.error("interval data cannot be kept: %s", error)
        self._alarms.raise_("G02", f"{self._owner}/CnsWh", f"Interval data cannot be kept: {error}", 600)

    # ---- rows -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Look up the rows of everything that is followed."""
        self._is_bound()

    def _is_bound(self) -> bool:
        try:
            self._bind()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        return True

    def _bind(self) -> None:
        if self._bound:
            return
        table, length = self._table, self._settings.interval
        registers, means = followed(self._grid, table)
        self._register_rows, self._mean_rows = _rows(table, registers), _rows(table, means)
        self._register_ids, self._mean_ids = self.store.ids(registers), self.store.ids(means)
        # Row -> place among the registers (from 0) or the means (from 0, after the registers); -1 not followed.
        self._place = np.full(len(table), -1, np.int64)
        self._place[self._register_rows] = np.arange(len(registers))
        self._place[self._mean_rows] = len(registers) + np.arange(len(means))
        self._live = BoundaryRegisters(len(registers), length)
        self._means = IntervalMeans(len(means), length)
        self._closed = int(clock.to_unix(clock.now()) // length)
        switches = [(item.address, rating.position) for item, rating in self._grid.switches() if rating.position]
        rows = _rows(table, [position for _, position in switches])
        self._switches = {row: address for row, (address, _) in zip(rows.tolist(), switches, strict=True) if row >= 0}
        self._switch_rows = np.zeros(len(table), bool)
        self._switch_rows[list(self._switches)] = True
        self._bound = True

    def _present(self) -> None:
        """Take the values that are there."""
        for _ in self._presenting():
            pass

    def _presenting(self) -> Iterator[None]:
        """Take the values that are there before the first change is told, in parts."""
        table = self._table
        now = clock.now()
        for rows, mean in ((self._register_rows, False), (self._mean_rows, True)):
            if len(rows):
                times = np.full(len(rows), now, np.int64) if mean else table.source_time[rows]
                self._samples(rows, table.raw[rows], times, table.quality[rows])
            yield
        if self._switches:
            rows = np.array(list(self._switches), np.int64)
            self._moved(rows, table.raw[rows], np.full(len(rows), now, np.int64), table.quality[rows])

    # ---- what is told ---------------------------------------------------------------------------------------------

    def live(self, chunk: Chunk) -> None:
        """A chunk of the table's journal."""
        if chunk.texts is not None:
            return
        rows = chunk.rows.astype(np.int64)
        known = rows < len(self._place)
        switch = known.copy()
        switch[known] = self._switch_rows[rows[known]]
        if switch.any():
            words = chunk.quality[switch]
            times = np.where(words & _LOST != 0, chunk.received, chunk.source_time[switch])
            self._moved(rows[switch], chunk.raw[switch], times, words)
        wanted = known.copy()
        wanted[known] = self._place[rows[known]] >= 0
        if wanted.any():
            times = chunk.source_time[wanted]
            lost = chunk.quality[wanted] & _LOST != 0
            # The time of a loss is when it was found; the source time is still that of the last value.
            # A device whose clock is ahead by more than an interval has no time of its own.
            ahead = times - chunk.received > round(self._settings.interval * clock.TICKS_PER_SECOND)
            times = np.where(lost | ahead, chunk.received, times)
            self._samples(rows[wanted], chunk.raw[wanted], times, chunk.quality[wanted])

    def _samples(
        self,
        rows: npt.NDArray[np.int64],
        raw: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
        quality: npt.NDArray[np.uint32],
    ) -> None:
        place = self._place[rows]
        values = raw.view(np.float64)
        seconds = (times - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND
        register = place < len(self._register_rows)
        self._queue(
            self._live.take(place[register], seconds[register], values[register], quality[register]),
            self._register_ids,
            late=False,
        )
        at = place[~register] - len(self._register_rows)
        self._queue(
            self._means.take(at, seconds[~register], values[~register], quality[~register]), self._mean_ids, late=False
        )

    def late(self, chunk: Chunk) -> None:
        """A chunk of the late journal: load-profile rows, which count more than what was seen live."""
        if chunk.texts is not None:
            return
        rows = chunk.rows.astype(np.int64)
        keep = rows < len(self._place)
        keep[keep] = self._place[rows[keep]] >= 0
        # Without the device's own time a row belongs to no interval.
        keep &= chunk.quality & np.uint32(TimeFlag.RECEIVED | TimeFlag.INVALID) == 0
        if not keep.any():
            return
        place, quality = self._place[rows[keep]], chunk.quality[keep]
        values = chunk.raw[keep].view(np.float64)
        seconds = (chunk.source_time[keep] - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND
        register = place < len(self._register_rows)
        length = self._settings.interval
        out = of_profile(place[register], seconds[register], values[register], quality[register], length=length)
        self._queue(out, self._register_ids, late=True)
        at = place[~register] - len(self._register_rows)
        out = of_profile_means(at, seconds[~register], values[~register], quality[~register], length=length)
        self._queue(out, self._mean_ids, late=True)

    def _moved(
        self,
        rows: npt.NDArray[np.int64],
        raw: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
        quality: npt.NDArray[np.uint32],
    ) -> None:
        number = raw & np.uint64(0xFFFF_FFFF)
        sure = (quality & np.uint32(_UNSURE) == 0) & ((number == Position.OPEN) | (number == Position.CLOSED))
        positions = np.where(sure, number, np.uint64(Position.UNKNOWN)).tolist()
        seconds = (times - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND
        for row, moment, position in zip(rows.tolist(), seconds.tolist(), positions, strict=True):
            # A device may tell since when a switch stands as it does: what was not known after that is known now.
            since = max(moment, self._stands_since.get(row, moment))
            self._stands_since[row] = since
            self._positions.append((since, self._switches[row], position))

    def close(self, now: float) -> None:
        """End the intervals that are over since the grace time."""
        length = self._settings.interval
        number = int((now - min(self._settings.grace, length)) // length)
        if number < self._closed:  # the clock was set back
            self._live.rewind(now)
            self._means.rewind(now)
            self._stands_since = {row: min(since, now) for row, since in self._stands_since.items()}
            self._closed = number
        if number == self._closed:
            return
        self._closed = number
        rows = self._register_rows
        received = (self._table.received[rows] - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND
        self._queue(self._live.close(number, received, self._table.quality[rows]), self._register_ids, late=False)
        self._queue(self._means.close(number), self._mean_ids, late=False)

    # ---- writing --------------------------------------------------------------------------------------------------

    def _queue(self, emitted: Emitted, ids: npt.NDArray[np.int64], *, late: bool) -> None:
        if not len(emitted):
            return
        self._pending.append((emitted, ids, late))
        self._waiting += len(emitted)
        self._limit()

    async def flush(self) -> None:
        """Write what is pending; returns when it is in the file, or has been put back because that failed."""
        if self._pending or self._positions:
            pending, positions = self._taken()
            if not await self._kept(self._write, pending, positions):
                self._pending, self._positions = pending + self._pending, positions + self._positions
                self._waiting += sum(len(emitted) for emitted, _, _ in pending)
                self._limit()
                await asyncio.sleep(_RETRY_S)

    def _limit(self) -> None:
        while self._waiting > self._settings.pending and len(self._pending) > 1:
            gone, _, _ = self._pending.pop(0)
            self._waiting -= len(gone)
            self.dropped += len(gone)
        if (many := len(self._positions) - _POSITIONS) > 0:
            del self._positions[:many]
            self.dropped += many

    def _taken(self) -> tuple[list[tuple[Emitted, npt.NDArray[np.int64], bool]], list[tuple[float, str, int]]]:
        pending, self._pending, self._waiting = self._pending, [], 0
        positions, self._positions = self._positions, []
        return pending, positions

    def _write(
        self, pending: list[tuple[Emitted, npt.NDArray[np.int64], bool]], positions: list[tuple[float, str, int]]
    ) -> None:
        if positions:
            self.store.put_positions(positions)
        for kind in (False, True):
            parts = [(emitted, ids[emitted.which]) for emitted, ids, late in pending if late == kind]
            if parts:
                joined = Emitted.joined([emitted for emitted, _ in parts])
                numbers = np.concatenate([ids for _, ids in parts])
                self.store.write(numbers, joined.number, joined.value, joined.quality, replace=kind)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def make_intervals(context: TwinContext, settings: IntervalSettings) -> Intervals:
    """The feeder of `context.data_directory / FILE`; its `store` exists from now on."""
    return Intervals(context, settings)
