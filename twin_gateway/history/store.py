"""The store: takes samples and events and commits them to DuckDB; what is in which segment, and what is a gap.

One thread writes (`learn`, `add`, `commit`, `note_gap`), another may keep house, any number read with cursors of their
own. A commit is on disk (write-ahead log, fsync) when it returns.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from address_space import clock
from twin_gateway.history.database import (
    COLUMNS,
    HistoryPausedError,
    first_line,
    open_database,
    registered,
    transaction,
)
from twin_gateway.history.segments import KINDS, Segment, SegmentDamagedError, parse_name, read_segment
from twin_gateway.history.series import SeriesList
from twin_gateway.history.settings import HistorySettings
from twin_gateway.set_aside import set_aside

log = logging.getLogger(__name__)

_MIB = 1 << 20
_ONE_GAP = 10 * clock.TICKS_PER_SECOND
"""Losses that follow each other within this are one gap."""

DAMAGED = "damaged file"
"""Reason of a gap."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nothing was recorded: from `begin` to `end` (ticks)."""

    begin: int
    end: int
    reason: str


@dataclass(slots=True)
class StoreCounters:
    """What the store has done since it was opened."""

    written: int = 0
    events: int = 0
    commits: int = 0
    closed: int = 0
    removed: int = 0


class HistoryStore:
    """The history of one folder; one process may have it open.

    Args:
        folder: made when missing.
        settings: see `HistorySettings`.
        now: the clock, FILETIME ticks.
        tell: takes (code, severity, text) of what operators should know.
    """

    def __init__(
        self,
        folder: Path,
        settings: HistorySettings | None = None,
        *,
        now: Callable[[], int] = clock.now,
        tell: Callable[[str, int, str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.path = folder / "history.duckdb"
        self.settings = settings or HistorySettings()
        self.counters = StoreCounters()
        self.segments: tuple[Segment, ...] = ()
        self.gaps: tuple[Gap, ...] = ()
        self.run, self.batch = "", 0
        self._now = now
        self._tell = tell or (lambda code, severity, text: log.warning("%s: %s", code, text))
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._series = SeriesList()
        self._samples: list[dict[str, npt.NDArray[Any]]] = []
        self._events: list[tuple[int, str, str]] = []
        self._gaps_changed = False
        self.roll = False
        self.waiting = 0

    # ---- life -----------------------------------------------------------------------------------------------------

    def open(self, run: str = "", begun: int = 0) -> None:
        """Open the folder; damaged files are put aside and told.

        Args:
            run: of the one who sends samples; the same as before means that nothing was missed meanwhile.
            begun: since when it has been following, ticks; now when not given.

        Raises:
            HistoryPausedError: it cannot be opened for other reasons: another process has it, the disk is full.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("*.unfinished", "tmp/*"):
                for path in self.folder.glob(name):
                    path.unlink(missing_ok=True)
            self._database = open_database(
                self.path, self.settings.memory_mb, lambda text: self._tell("G02", 600, text)
            )
            self._load(run, begun or self._now())
        except (duckdb.Error, OSError) as error:
            self._drop_connection()
            raise HistoryPausedError(first_line(error)) from error

    def _load(self, run: str, begun: int) -> None:
        database = self._connection()
        gaps = database.execute("SELECT begin_, end_, reason FROM gap ORDER BY begin_").fetchall()
        self.gaps = tuple(Gap(*row) for row in gaps)
        closed = self._closed_files(database)
        self._series.load(database, closed)
        self._load_open_segments(database, closed)
        row = database.execute("SELECT until, run, batch FROM state").fetchone()
        until, self.run, self.batch = row if row is not None else (None, "", 0)
        if until is None and closed:
            # A device whose clock is ahead must not hide that something is missing.
            until = min(begun - 1, max(segment.high for segment in closed))
        if run and run == self.run:
            self._series.unconfirmed[:] = False
        elif until is not None and until < begun:
            self.note_gap(until, begun, "stopped")

    def _closed_files(self, database: duckdb.DuckDBPyConnection) -> list[Segment]:
        found = []
        for path in sorted(self.folder.glob("*.parquet")):
            named = parse_name(path.name)
            if named is None:
                continue
            try:
                found.append(read_segment(database, path))
            except SegmentDamagedError as error:
                self.put_aside(replace(named, path=path), str(error))
        return found

    def _load_open_segments(self, database: duckdb.DuckDBPyConnection, closed: list[Segment]) -> None:
        done = {(segment.kind, segment.number) for segment in closed}
        tables = []
        for kind, number, day in database.execute("SELECT kind, number, day FROM segment ORDER BY number").fetchall():
            segment = Segment(kind, number, day)
            if (kind, number) in done:
                self.forget_table(database, segment)
                continue
            late = "bool_or(late)" if kind == "sample" else "false"
            found = database.execute(f"SELECT min(time), max(time), count(*), {late} FROM {segment.table}").fetchone()
            low, high, count, late = found or (None, None, 0, False)
            tables.append(segment if low is None else replace(segment, low=low, high=high, rows=count, late=late))
        self.segments = tuple(sorted([*closed, *tables], key=lambda segment: segment.number))

    def close(self) -> None:
        """Commit what waits and close; the reading cursors end."""
        try:
            if self._database is not None:
                self.commit(force=True)
        finally:
            self._drop_connection()

    def reopen(self) -> None:
        """After a failed commit: begin with the files as they are. What waits is kept.

        Raises:
            HistoryPausedError: it still cannot be opened.
        """
        series, gaps = self._series, self.gaps
        self._series = SeriesList()
        self._drop_connection()
        try:
            self.open()
        except HistoryPausedError:
            self._series = series
            raise
        # What waits was numbered with series that may not have been written yet; nothing was missed meanwhile.
        self._series.carry_on(series)
        found = {gap for gap in self.gaps if gap.reason == DAMAGED}
        self.gaps = tuple(sorted({*gaps, *found}, key=lambda gap: gap.begin))
        self._gaps_changed = True

    def _drop_connection(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(duckdb.Error):
                database.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one reading thread.

        Raises:
            HistoryPausedError: the store is not open.
        """
        return self._connection().cursor()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            raise HistoryPausedError("the history is not open")
        return self._database

    # ---- writing --------------------------------------------------------------------------------------------------

    def learn(self, addresses: Sequence[str], types: Sequence[int]) -> npt.NDArray[np.int32]:
        """Numbers of series; new addresses get one that stays theirs."""
        return self._series.learn(addresses, types, self._now())

    def add(
        self,
        series: npt.NDArray[np.int32],
        time: npt.NDArray[np.int64],
        received: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        status: npt.NDArray[np.uint32],
        *,
        text: npt.NDArray[np.object_] | None = None,
        late: bool = False,
    ) -> None:
        """Samples in order of arrival, to be committed later; `series` as of `learn`."""
        columns: dict[str, npt.NDArray[Any]] = {
            "series": series,
            "time": time,
            "received": received,
            "value": value,
            "status": status,
            "late": np.full(len(series), late),
        }
        if text is not None:
            columns["text"] = text
        self._append(columns)
        if not late and len(self._series.unconfirmed) and self._series.unconfirmed[series].any():
            self._confirm(columns)

    def _confirm(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        """The first samples after a gap: what is older than its end was still so when it came in."""
        end = self.gaps[-1].end if self.gaps else 0
        first, places = np.unique(columns["series"], return_index=True)
        places = places[self._series.unconfirmed[first]]
        self._series.unconfirmed[columns["series"][places]] = False
        places = np.sort(places[columns["time"][places] < np.minimum(end, columns["received"][places])])
        if len(places):
            again = {name: column[places] for name, column in columns.items()}
            again["time"] = again["received"]
            self._append(again)

    def _append(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        if len(columns["series"]):
            self._samples.append(columns)
            self.waiting += len(columns["series"])

    def add_events(self, events: Iterable[tuple[int, str, str]]) -> None:
        """Events as (source time, address, JSON)."""
        events = list(events)
        self._events += events
        self.waiting += len(events)

    def note_gap(self, begin: int, end: int, reason: str) -> None:
        """Nothing was recorded from `begin` to `end`: what was known before counts no longer."""
        with self._lock:
            earlier = self.gaps
            if earlier and earlier[-1].reason == reason and 0 <= begin - earlier[-1].end < _ONE_GAP:
                begin, earlier = earlier[-1].begin, earlier[:-1]
            self.gaps = tuple(sorted([*earlier, Gap(begin, end, reason)], key=lambda gap: gap.begin))
            self._gaps_changed = True
        self._series.unconfirmed[:] = True

    def has_waiting(self, address: str) -> bool:
        """Whether samples of an address (events for an empty one) have not been committed yet."""
        if not address:
            return bool(self._events)
        place = self._series.place(address)
        return place is not None and any((columns["series"] == place).any() for columns in self._samples)

    def commit(self, run: str = "", batch: int = 0, *, force: bool = False) -> int:
        """Write what waits in one transaction; returns how many rows.

        Args:
            run: whose batch numbers these are.
            batch: number of the newest batch that waits; kept with what is written, for the one who sends it.
            force: also when nothing waits: that the history ran until now is written.

        Raises:
            HistoryPausedError: it cannot be written; all of it still waits.
        """
        count = self.waiting
        if not (count or force or self._gaps_changed):
            return 0
        self._check_space()
        database = self._connection()
        now = self._now()
        if run:
            self.run, self.batch = run, batch
        try:
            with transaction(database):
                current = self._current(database, _day(now))
                self._series.write(database)
                grown = [
                    self._write_samples(database, current["sample"]),
                    self._write_events(database, current["event"]),
                ]
                if self._gaps_changed:
                    database.execute("DELETE FROM gap")
                    for gap in self.gaps:
                        database.execute("INSERT INTO gap VALUES($1, $2, $3)", [gap.begin, gap.end, gap.reason])
                database.execute("UPDATE state SET until = $1, run = $2, batch = $3", [now, self.run, self.batch])
        except (duckdb.Error, OSError) as error:
            raise HistoryPausedError(first_line(error)) from error
        with self._lock:
            kept = {(segment.kind, segment.number): segment for segment in self.segments}
            kept.update({(segment.kind, segment.number): segment for segment in grown})
            self.segments = tuple(sorted(kept.values(), key=lambda segment: segment.number))
        self.counters.written += sum(len(columns["series"]) for columns in self._samples)
        self.counters.events += len(self._events)
        self.counters.commits += 1
        self._samples, self._events = [], []
        self._series.written()
        self.waiting, self.roll, self._gaps_changed = 0, False, False
        return count

    def _check_space(self) -> None:
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise HistoryPausedError(first_line(error)) from error
        if free < self.settings.reserve_mb * _MIB:
            raise HistoryPausedError(
                f"{free // _MIB} MiB are free on the disk of {self.folder}, {self.settings.reserve_mb} MiB stay free"
            )

    def _current(self, database: duckdb.DuckDBPyConnection, day: str) -> dict[str, Segment]:
        """The open segments of the day, made where they are missing."""
        current = {}
        for kind in KINDS:
            mine = [segment for segment in self.segments if segment.kind == kind]
            newest = mine[-1] if mine else None
            usable = newest is not None and newest.path is None and newest.day == day
            full = newest is not None and (newest.rows >= self.settings.segment_rows or (self.roll and newest.rows > 0))
            if usable and newest is not None and not full:
                current[kind] = newest
                continue
            number = 1 + max((segment.number for segment in self.segments), default=0)
            # A file that was put aside has left its number free; its name is another one.
            segment = Segment(kind, number, day)
            database.execute(f"CREATE TABLE {segment.table}({COLUMNS[kind]})")
            database.execute("INSERT INTO segment VALUES($1, $2, $3)", [kind, number, day])
            current[kind] = segment
        return current

    def _write_samples(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> Segment:
        if not self._samples:
            return segment
        names = ("series", "time", "received", "value", "status", "late")
        columns = {name: np.concatenate([part[name] for part in self._samples]) for name in names}
        columns["series"] = self._series.ids()[columns["series"]]
        text = "NULL"
        if any("text" in part for part in self._samples):
            text = "text"
            columns["text"] = np.concatenate(
                [part.get("text", np.full(len(part["series"]), None, object)) for part in self._samples]
            )
        with registered(database, columns) as new:
            database.execute(
                f"INSERT INTO {segment.table} SELECT series, time, received, value, status, late, {text} FROM {new}"
            )
        return replace(_grown(segment, columns["time"]), late=segment.late or bool(columns["late"].any()))

    def _write_events(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> Segment:
        if not self._events:
            return segment
        columns = {
            "time": np.array([event[0] for event in self._events], np.int64),
            "address": np.array([event[1] for event in self._events], object),
            "record": np.array([event[2] for event in self._events], object),
        }
        with registered(database, columns) as new:
            database.execute(f"INSERT INTO {segment.table} SELECT time, address, record FROM {new}")
        return _grown(segment, columns["time"])

    # ---- closing and forgetting -----------------------------------------------------------------------------------

    def octets(self) -> int:
        """Of the folder's files in use."""
        closed = sum(segment.octets for segment in self.segments)
        companions = (self.path, self.path.with_name(self.path.name + ".wal"))
        return closed + sum(path.stat().st_size for path in companions if path.exists())

    def days(self) -> list[str]:
        """UTC days of which anything is kept, oldest first."""
        return sorted({segment.day for segment in self.segments if segment.rows})

    def forget_table(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> None:
        """Drop the table of a segment that has become a file, or that is empty."""
        with transaction(database):
            database.execute(f"DROP TABLE IF EXISTS {segment.table}")
            database.execute("DELETE FROM segment WHERE kind = $1 AND number = $2", [segment.kind, segment.number])

    def replace_segment(self, old: Segment, new: Segment | None) -> None:
        """Another one, or none, in the place of a segment."""
        with self._lock:
            rest = [each for each in self.segments if (each.kind, each.number) != (old.kind, old.number)]
            self.segments = tuple(sorted([*rest, *([new] if new else [])], key=lambda segment: segment.number))

    def delete_segment(self, segment: Segment, why: str) -> None:
        """Delete a closed file; told and counted."""
        if segment.path is None:
            return
        self.replace_segment(segment, None)
        segment.path.unlink(missing_ok=True)
        self.counters.removed += 1
        self._tell("", 100, f"History of {segment.day} is deleted: {segment.rows} {segment.kind}s, {why}")

    def forget_gaps(self, before: int) -> None:
        """Leave out gaps that were over by then: nothing is kept of what they interrupted."""
        with self._lock:
            kept = tuple(gap for gap in self.gaps if gap.end >= before)
            if len(kept) < len(self.gaps):
                self.gaps, self._gaps_changed = kept, True

    def put_aside(self, segment: Segment, why: str) -> None:
        """Rename a damaged file; of one with samples the day is a gap."""
        if segment.path is None:
            return
        kept = set_aside(segment.path, "damaged")
        kept.rename(kept.with_suffix(".damaged"))
        if segment.kind == "sample":
            begin = day_start(segment.day)
            lost = Gap(begin, begin + 86_400 * clock.TICKS_PER_SECOND, DAMAGED)
            with self._lock:
                self.gaps = tuple(sorted([*self.gaps, lost], key=lambda gap: gap.begin))
                self._gaps_changed = True
        self._tell("G02", 600, f"History of {segment.day}: a file is damaged and put aside: {why}")

    # ---- what readers need ----------------------------------------------------------------------------------------

    def series(self, address: str) -> tuple[int, int, int]:
        """(number, value type, time since which it is kept) of an address.

        Raises:
            KeyError: nothing of it is kept.
        """
        entry = self._series.find(address)
        return entry.id, entry.value_type, entry.since

    def addresses(self) -> list[str]:
        """All addresses that have a series."""
        return self._series.addresses()


def _grown(segment: Segment, times: npt.NDArray[np.int64]) -> Segment:
    low, high = int(times.min()), int(times.max())
    return replace(segment, low=min(low, segment.low), high=max(high, segment.high), rows=segment.rows + len(times))


def _day(ticks: int) -> str:
    return clock.to_datetime(ticks).strftime("%Y-%m-%d")


def day_start(day: str) -> int:
    """Ticks at which a UTC day begins."""
    year, month, date = (int(part) for part in day.split("-"))
    first = clock.to_datetime(clock.UNIX_EPOCH_TICKS)
    begin = first.replace(year=year, month=month, day=date)
    return clock.UNIX_EPOCH_TICKS + (begin - first) // timedelta(microseconds=1) * 10
