"""The store: takes samples and events, commits them to DuckDB, closes days to Parquet, keeps to age and size.

One thread writes (`learn`, `add`, `commit`, `note_gap`), another may close segments, any number read with cursors of
their own. A commit is on disk (write-ahead log, fsync) when it returns.
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
from twin_gateway.functions.durable_files import set_aside
from twin_gateway.history.segments import KINDS, Segment, SegmentDamagedError, parse_name, read_segment, write_segment
from twin_gateway.history.settings import HistorySettings

log = logging.getLogger(__name__)

_COLUMNS = {
    "sample": "series INTEGER, time BIGINT, received BIGINT, value DOUBLE, status UINTEGER, late BOOLEAN, text VARCHAR",
    "event": "time BIGINT, address VARCHAR, record VARCHAR",
}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS series(id INTEGER, address VARCHAR, type UTINYINT, since BIGINT)",
    "CREATE TABLE IF NOT EXISTS gap(begin_ BIGINT, end_ BIGINT, reason VARCHAR)",
    "CREATE TABLE IF NOT EXISTS state(until BIGINT, run VARCHAR, batch BIGINT)",
    "INSERT INTO state SELECT NULL, '', 0 WHERE (SELECT count(*) FROM state) = 0",
    "CREATE TABLE IF NOT EXISTS segment(kind VARCHAR, number INTEGER, day VARCHAR)",
)
_MIB = 1 << 20
_ONE_GAP = 10 * clock.TICKS_PER_SECOND
"""Losses that follow each other within this are one gap."""


class HistoryPausedError(Exception):
    """Nothing can be written at present (disk full, file gone); what waits is still there, try again later."""


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


@dataclass(slots=True)
class _Series:
    id: int
    address: str
    value_type: int
    since: int


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
        self._closing = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._series: list[_Series] = []
        self._ids: dict[str, int] = {}
        self._unconfirmed: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._new_series: list[_Series] = []
        self._samples: list[dict[str, npt.NDArray[Any]]] = []
        self._events: list[tuple[int, str, str]] = []
        self._gaps_changed = False
        self._roll = False
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
            self._connect()
            self._load(run, begun or self._now())
        except (duckdb.Error, OSError) as error:
            self._drop_connection()
            raise HistoryPausedError(_first_line(error)) from error

    def _connect(self) -> None:
        try:
            self._database = self._opened()
        except (duckdb.Error, UnicodeDecodeError) as error:
            if not self.path.exists() or "lock" in str(error).lower() or _is_full(error):
                raise
            kept = set_aside(self.path, "damaged")
            text = (
                f"History of today begins anew: {self.path.name} is damaged ({_first_line(error)}), kept as {kept.name}"
            )
            self._tell("G02", 600, text)
            self._database = self._opened()

    def _opened(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(
            str(self.path),
            config={
                "threads": 1,
                "memory_limit": f"{self.settings.memory_mb}MB",
                "temp_directory": str(self.folder / "tmp"),
                "checkpoint_threshold": "64MB",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            for statement in _SCHEMA:
                database.execute(statement)
            # A damaged block shows when it is read.
            for (name,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                database.execute(f"SELECT count(*) FROM {name}").fetchall()
        except BaseException:
            database.close()
            raise
        self.path.chmod(0o600)
        return database

    def _load(self, run: str, begun: int) -> None:
        database = self._connection()
        gaps = database.execute("SELECT begin_, end_, reason FROM gap ORDER BY begin_").fetchall()
        self.gaps = tuple(Gap(*row) for row in gaps)
        closed = self._closed_files(database)
        self._load_series(database, closed)
        self._load_open_segments(database, closed)
        row = database.execute("SELECT until, run, batch FROM state").fetchone()
        until, self.run, self.batch = row if row is not None else (None, "", 0)
        if until is None and closed:
            until = max(segment.high for segment in closed)
        if run and run == self.run:
            self._unconfirmed[:] = False
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
                self._put_aside(replace(named, path=path), str(error))
        return found

    def _put_aside(self, segment: Segment, why: str) -> None:
        if segment.path is None:
            return
        kept = set_aside(segment.path, "damaged")
        kept.rename(kept.with_suffix(".damaged"))
        begin = day_start(segment.day)
        lost = Gap(begin, begin + 86_400 * clock.TICKS_PER_SECOND, "damaged file")
        self.gaps = tuple(sorted([*self.gaps, lost], key=lambda gap: gap.begin))
        self._gaps_changed = True
        self._tell("G02", 600, f"History of {segment.day}: a file is damaged and put aside: {why}")

    def _load_series(self, database: duckdb.DuckDBPyConnection, closed: list[Segment]) -> None:
        rows = database.execute("SELECT id, address, type, since FROM series ORDER BY id").fetchall()
        self._new_series = []
        known = {row[1] for row in rows}
        if not rows and closed:
            # The database is new and the files are not: they say which number is which address.
            for segment in closed:
                if segment.kind == "sample":
                    found = database.execute(
                        "SELECT series, address, max(CASE WHEN text IS NULL THEN 11 ELSE 12 END), min(received) "
                        "FROM read_parquet($1) GROUP BY ALL",
                        [str(segment.path)],
                    ).fetchall()
                    rows += [row for row in found if row[1] not in known]
                    known.update(row[1] for row in found)
            database.executemany("INSERT INTO series VALUES(?, ?, ?, ?)", rows) if rows else None
        self._series = [_Series(*row) for row in rows]
        self._ids = {entry.address: place for place, entry in enumerate(self._series)}
        self._unconfirmed = np.ones(len(self._series), bool)

    def _load_open_segments(self, database: duckdb.DuckDBPyConnection, closed: list[Segment]) -> None:
        done = {(segment.kind, segment.number) for segment in closed}
        tables = []
        for kind, number, day in database.execute("SELECT kind, number, day FROM segment ORDER BY number").fetchall():
            segment = Segment(kind, number, day)
            if (kind, number) in done:
                self._forget_table(database, segment)
                continue
            late = "bool_or(late)" if kind == "sample" else "false"
            found = database.execute(f"SELECT min(time), max(time), count(*), {late} FROM {segment.table}").fetchone()
            low, high, count, late = found or (None, None, 0, False)
            tables.append(segment if low is None else replace(segment, low=low, high=high, rows=count, late=late))
        self.segments = tuple(sorted([*closed, *tables], key=lambda segment: segment.number))

    def _forget_table(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> None:
        with _transaction(database):
            database.execute(f"DROP TABLE IF EXISTS {segment.table}")
            database.execute("DELETE FROM segment WHERE kind = $1 AND number = $2", [segment.kind, segment.number])

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
        series, unconfirmed, gaps = self._series, self._unconfirmed, self.gaps
        self._drop_connection()
        self.open()
        # What waits was numbered with series that may not have been written yet; nothing was missed meanwhile.
        self._new_series = series[len(self._series) :]
        self._series, self._unconfirmed, self.gaps = series, unconfirmed, gaps
        self._ids = {entry.address: place for place, entry in enumerate(series)}
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
        numbers = np.empty(len(addresses), np.int32)
        now = self._now()
        for place, (address, kind) in enumerate(zip(addresses, types, strict=True)):
            index = self._ids.get(address)
            if index is None:
                index = self._ids[address] = len(self._series)
                number = self._series[-1].id + 1 if self._series else 1
                entry = _Series(number, address, kind, now)
                self._series.append(entry)
                self._new_series.append(entry)
            elif self._series[index].value_type != kind:
                self._series[index].value_type = kind
                self._new_series.append(self._series[index])
            numbers[place] = index
        missing = len(self._series) - len(self._unconfirmed)
        self._unconfirmed = np.concatenate([self._unconfirmed, np.zeros(missing, bool)])
        return numbers

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
        if not late and len(self._unconfirmed) and self._unconfirmed[series].any():
            self._confirm(columns)

    def _confirm(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        """The first samples after a gap: what is older than its end was still so when it came in."""
        end = self.gaps[-1].end if self.gaps else 0
        first, places = np.unique(columns["series"], return_index=True)
        places = places[self._unconfirmed[first]]
        self._unconfirmed[columns["series"][places]] = False
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
        earlier = self.gaps
        if earlier and earlier[-1].reason == reason and 0 <= begin - earlier[-1].end < _ONE_GAP:
            begin, earlier = earlier[-1].begin, earlier[:-1]
        self.gaps = tuple(sorted([*earlier, Gap(begin, end, reason)], key=lambda gap: gap.begin))
        self._gaps_changed = True
        self._unconfirmed[:] = True

    def has_waiting(self, address: str) -> bool:
        """Whether samples of an address (events for an empty one) have not been committed yet."""
        if not address:
            return bool(self._events)
        index = self._ids.get(address)
        return index is not None and any((columns["series"] == index).any() for columns in self._samples)

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
            with _transaction(database):
                current = self._current(database, _day(now))
                self._write_series(database)
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
            raise HistoryPausedError(_first_line(error)) from error
        with self._lock:
            kept = {(segment.kind, segment.number): segment for segment in self.segments}
            kept.update({(segment.kind, segment.number): segment for segment in grown})
            self.segments = tuple(sorted(kept.values(), key=lambda segment: segment.number))
        self.counters.written += sum(len(columns["series"]) for columns in self._samples)
        self.counters.events += len(self._events)
        self.counters.commits += 1
        self._samples, self._events, self._new_series = [], [], []
        self.waiting, self._roll, self._gaps_changed = 0, False, False
        return count

    def _check_space(self) -> None:
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise HistoryPausedError(_first_line(error)) from error
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
            full = newest is not None and (
                newest.rows >= self.settings.segment_rows or (self._roll and newest.rows > 0)
            )
            if usable and newest is not None and not full:
                current[kind] = newest
                continue
            number = 1 + max((segment.number for segment in self.segments), default=0)
            # A file that was put aside has left its number free; its name is another one.
            segment = Segment(kind, number, day)
            database.execute(f"CREATE TABLE {segment.table}({_COLUMNS[kind]})")
            database.execute("INSERT INTO segment VALUES($1, $2, $3)", [kind, number, day])
            current[kind] = segment
        return current

    def _write_series(self, database: duckdb.DuckDBPyConnection) -> None:
        if not self._new_series:
            return
        entries = list({entry.id: entry for entry in self._new_series}.values())
        columns = {
            "id": np.array([entry.id for entry in entries], np.int32),
            "address": np.array([entry.address for entry in entries], object),
            "type": np.array([entry.value_type for entry in entries], np.uint8),
            "since": np.array([entry.since for entry in entries], np.int64),
        }
        with _registered(database, columns) as new:
            database.execute(f"DELETE FROM series WHERE id IN (SELECT id FROM {new})")
            database.execute(f"INSERT INTO series SELECT id, address, type, since FROM {new}")

    def _write_samples(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> Segment:
        if not self._samples:
            return segment
        names = ("series", "time", "received", "value", "status", "late")
        columns = {name: np.concatenate([part[name] for part in self._samples]) for name in names}
        ids = np.array([entry.id for entry in self._series], np.int32)
        columns["series"] = ids[columns["series"]]
        text = "NULL"
        if any("text" in part for part in self._samples):
            text = "text"
            columns["text"] = np.concatenate(
                [part.get("text", np.full(len(part["series"]), None, object)) for part in self._samples]
            )
        with _registered(database, columns) as new:
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
        with _registered(database, columns) as new:
            database.execute(f"INSERT INTO {segment.table} SELECT time, address, record FROM {new}")
        return _grown(segment, columns["time"])

    # ---- closing and forgetting -----------------------------------------------------------------------------------

    def keep_house(self) -> None:
        """Close what is past, forget what is too old or too much. May run in a thread of its own; takes its time.

        Raises:
            HistoryPausedError: it cannot be done now.
        """
        with self._closing:
            try:
                cursor = self.cursor()
                try:
                    self._close_past(cursor)
                    self._retain()
                finally:
                    cursor.close()
            except (duckdb.Error, OSError) as error:
                raise HistoryPausedError(_first_line(error)) from error

    def _close_past(self, cursor: duckdb.DuckDBPyConnection) -> None:
        # The newest is the writer's, also when its day is over: the next commit goes on in another one.
        newest = {segment.kind: segment.number for segment in self.segments}
        for segment in self.segments:
            if segment.path is not None or segment.number == newest[segment.kind]:
                continue
            if not segment.rows:
                self._replace(segment, None)
            else:
                self._replace(segment, write_segment(cursor, segment, self.folder))
                self.counters.closed += 1
            self._forget_table(cursor, segment)
            # The file gives the room back at the next checkpoint, which must wait while a commit is under way.
            with contextlib.suppress(duckdb.TransactionException):
                cursor.execute("CHECKPOINT")

    def _replace(self, old: Segment, new: Segment | None) -> None:
        with self._lock:
            rest = [each for each in self.segments if (each.kind, each.number) != (old.kind, old.number)]
            self.segments = tuple(sorted([*rest, *([new] if new else [])], key=lambda segment: segment.number))

    def octets(self) -> int:
        """Of the folder's files in use."""
        closed = sum(segment.octets for segment in self.segments)
        companions = (self.path, self.path.with_name(self.path.name + ".wal"))
        return closed + sum(path.stat().st_size for path in companions if path.exists())

    def days(self) -> list[str]:
        """UTC days of which anything is kept, oldest first."""
        return sorted({segment.day for segment in self.segments if segment.rows})

    def _retain(self) -> None:
        days = self.days()
        # Days that exist are counted, not those of the calendar: a clock that jumps ahead must not delete everything.
        old = set(days[: max(0, len(days) - self.settings.retention_days)])
        for segment in self.segments:
            if segment.path is not None and segment.day in old:
                self._remove(segment, f"older than {self.settings.retention_days} days")
        while self.octets() > self.settings.max_size_mb * _MIB:
            oldest = next((segment for segment in self.segments if segment.path is not None), None)
            if oldest is None:
                self._roll = any(segment.rows for segment in self.segments)
                break
            self._remove(oldest, f"more than {self.settings.max_size_mb} MiB")

    def _remove(self, segment: Segment, why: str) -> None:
        if segment.path is None:
            return
        self._replace(segment, None)
        segment.path.unlink(missing_ok=True)
        self.counters.removed += 1
        self._tell("", 100, f"History of {segment.day} is deleted: {segment.rows} {segment.kind}s, {why}")

    def check_files(self) -> int:
        """Put closed files aside that can no longer be read; how many. To be called when a query failed on a file."""
        count = 0
        cursor = self.cursor()
        try:
            for segment in self.segments:
                if segment.path is None:
                    continue
                try:
                    cursor.execute("SELECT sum(hash(h)) FROM read_parquet($1) h", [str(segment.path)]).fetchall()
                except (duckdb.Error, OSError) as error:
                    self._replace(segment, None)
                    if segment.path.exists():
                        self._put_aside(segment, _first_line(error))
                    count += 1
        finally:
            cursor.close()
        return count

    # ---- what readers need ----------------------------------------------------------------------------------------

    def series(self, address: str) -> tuple[int, int, int]:
        """(number, value type, time since which it is kept) of an address.

        Raises:
            KeyError: nothing of it is kept.
        """
        entry = self._series[self._ids[address]]
        return entry.id, entry.value_type, entry.since

    def addresses(self) -> list[str]:
        """All addresses that have a series."""
        return list(self._ids)


class _transaction:  # noqa: N801 - reads like a statement where it is used
    """One transaction; an exception rolls it back."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
            return
        with contextlib.suppress(duckdb.Error):  # the error that led here may have ended it, or the database
            self._database.execute("ROLLBACK")


class _registered:  # noqa: N801 - reads like a statement where it is used
    """Columns under a name that SQL can use."""

    def __init__(self, database: duckdb.DuckDBPyConnection, columns: dict[str, npt.NDArray[Any]]) -> None:
        self._database, self._columns = database, columns

    def __enter__(self) -> str:
        self._database.register("new_rows", self._columns)
        return "new_rows"

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(duckdb.Error):  # of a database that has failed
            self._database.unregister("new_rows")


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


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_full(error: BaseException) -> bool:
    return "no space" in str(error).lower() or "too large" in str(error).lower()
