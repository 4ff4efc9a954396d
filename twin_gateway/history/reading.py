"""Reading the store: samples in order, values that were replaced, neighbours of given times, events.

A late sample replaces what arrived before it with the same source time. Where nothing was recorded a sample without a
value and with BadDataLost stands at the beginning of the gap, for series that had been kept before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt

from twin_gateway.history.housekeeping import check_files
from twin_gateway.history.segments import Segment, file_list
from twin_gateway.history.store import HistoryStore
from twin_gateway.history.values import DATA_LOST, Samples

MOST = 1 << 20
"""Samples or events of one page."""

FOREVER = 1 << 62
_PAGE = 200_000
_HOUR, _DAY = 36_000_000_000, 864_000_000_000
_INSERT, _REPLACE = 1, 2
_SAMPLE = "time, received, value, status, late, text"
_ORDER = ("time", "file", "place")
Times = npt.NDArray[np.int64]
ResultT = TypeVar("ResultT")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Page:
    """Samples of one point and where to go on.

    Attributes:
        modified: of modified values: (time of the modification, HistoryUpdateType) columns.
    """

    value_type: int
    samples: Samples
    resume: tuple[int, int] | None = None
    modified: tuple[Times, Times] | None = None


def _steady(query: Callable[Concatenate[Reader, P], ResultT]) -> Callable[Concatenate[Reader, P], ResultT]:
    """A query that runs again when a segment was closed, deleted or found damaged under way."""

    @wraps(query)
    def again(reader: Reader, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        for _ in range(3):
            before = reader.store.segments
            try:
                return query(reader, *args, **kwargs)
            except (duckdb.InterruptException, duckdb.OutOfMemoryException):
                raise
            except duckdb.Error:
                if reader.store.segments == before and not check_files(reader.store):
                    raise
        return query(reader, *args, **kwargs)

    return again


class Reader:
    """Queries of one thread, on a connection of its own.

    Args:
        store: what is read, also while it is written.
    """

    def __init__(self, store: HistoryStore) -> None:
        self.store = store
        self._cursor = store.cursor()
        self._interrupted = False

    def interrupt(self) -> None:
        """From another thread: end the query that is under way, and begin no other."""
        self._interrupted = True
        self._cursor.interrupt()

    def close(self) -> None:
        """Give the connection back."""
        self._cursor.close()

    # ---- samples --------------------------------------------------------------------------------------------------

    @_steady
    def raw(
        self,
        address: str,
        start: int,
        end: int,
        limit: int,
        *,
        reverse: bool = False,
        resume: tuple[int, int] | None = None,
        modified: bool = False,
    ) -> Page:
        """As of the port `HistoryReader`; `resume` is (source time, samples of that time that have been read).

        Raises:
            KeyError: nothing of the address is kept.
        """
        number, value_type, since = self.store.series(address)
        skip = 0
        if resume is not None:
            start, end = (start, resume[0] + 1) if reverse else (resume[0], end)
            skip = resume[1]
        limit = min(limit, MOST) if limit > 0 else MOST
        rows = (
            _replaced(self._rows(self.store.segments, number, since, start, end))
            if modified
            else self._standing(number, since, start, end)
        )
        way = " DESC" if reverse else ""
        order = ", ".join(f"{name}{way}" for name in _ORDER)
        more = ", changed, change" if modified else ""
        found = self._fetch(
            f"SELECT time, received, value, status, text{more} FROM ({rows}) "
            f"ORDER BY {order} LIMIT {limit + 1} OFFSET {skip}"
        )
        samples = _samples(found)
        following = None
        if len(samples) > limit:
            samples = _part(samples, slice(limit))
            last = int(samples.time[-1])
            same = int((samples.time == last).sum())
            following = (last, same + (skip if resume is not None and last == resume[0] else 0))
        changes = None
        if modified:
            changes = (
                np.asarray(found["changed"][: len(samples)], np.int64),
                np.asarray(found["change"][: len(samples)], np.int64),
            )
        return Page(value_type, samples, following, changes)

    @_steady
    def bracket(self, address: str, times: Times) -> tuple[Page, Page]:
        """As of the port `HistoryReader`: neighbours of each time, in the order of the times.

        Raises:
            KeyError: nothing of the address is kept.
        """
        series = self.store.series(address)
        wanted, where = np.unique(times, return_inverse=True)
        before, after = _blank(len(wanted)), _blank(len(wanted))
        if len(wanted):
            if len(wanted) <= 4:
                for place in range(len(wanted)):
                    self._neighbours(series, wanted[place : place + 1], before, after, place)
            else:
                self._neighbours(series, wanted, before, after, 0)
        return Page(series[1], _part(before, where)), Page(series[1], _part(after, where))

    def _neighbours(
        self,
        series: tuple[int, int, int],
        wanted: Times,
        before: Samples,
        after: Samples,
        offset: int,
    ) -> None:
        """Fill in the neighbours of sorted times from a place on, in pages: memory stays bounded."""
        low, high = int(wanted[0]), int(wanted[-1])
        carried = self._nearest(series, low, back=True)
        start, done = low + 1, 0
        while done < len(wanted):
            found = self._page(series, start, high + 1) if start <= high else _blank(0)
            run = _joined(carried, found)
            if len(found) < _PAGE:
                _fill(run, wanted[done:], before, after, offset + done)
                break
            # Samples of the last time may go on in the next page, which therefore begins with that time again.
            horizon = int(found.time[-1])
            upto = int(np.searchsorted(wanted, horizon, "left"))
            _fill(run, wanted[done:upto], before, after, offset + done)
            done = upto
            if horizon == start:
                carried, start = self._nearest(series, horizon, back=True), horizon + 1
            else:
                earlier = int(np.searchsorted(run.time, horizon, "left"))
                carried, start = _part(run, slice(max(0, earlier - 1), earlier)), horizon
        _complete(self._nearest(series, high, back=False), wanted, after, offset)

    def _page(self, series: tuple[int, int, int], start: int, end: int) -> Samples:
        number, _, since = series
        rows = self._standing(number, since, start, end)
        order = ", ".join(_ORDER)
        return _samples(
            self._fetch(f"SELECT time, received, value, status, text FROM ({rows}) ORDER BY {order} LIMIT {_PAGE}")
        )

    def _nearest(self, series: tuple[int, int, int], moment: int, *, back: bool) -> Samples:
        """The newest sample at or before a time, or the oldest after it; looked for in widening windows."""
        number, _, since = series
        way = " DESC" if back else ""
        order = ", ".join(f"{name}{way}" for name in _ORDER)
        near = 0
        for far in (_HOUR, _DAY, 32 * _DAY, FOREVER):
            if back:
                start, end = moment + 1 - far, moment + 1 - near
            else:
                start, end = moment + 1 + near, moment + 1 + far
            near = far
            rows = self._standing(number, since, start, end)
            found = self._fetch(f"SELECT time, received, value, status, text FROM ({rows}) ORDER BY {order} LIMIT 1")
            if len(found["time"]):
                return _samples(found)
        return _blank(0)

    def _standing(self, number: int, since: int, start: int, end: int) -> str:
        """SQL of the samples that count: without those that a late one has replaced, or that repeat one."""
        segments = self.store.segments  # the same for both: places in a table are others than in its file
        rows = self._rows(segments, number, since, start, end)
        if not any(each.late and each.overlaps(start, end) for each in segments):
            return rows
        late = self._rows(segments, number, since, start, end, only_late=True)
        return (
            f"SELECT u.* FROM ({rows}) u "
            "LEFT JOIN (SELECT time, max((file, place)) AS newest, "
            "arg_max((value, status, text), (file, place)) AS same "
            f"FROM ({late}) GROUP BY time) l USING (time) "
            # the state that a device says again after it has replayed the change is that change
            "WHERE l.newest IS NULL OR (u.file, u.place) = l.newest "
            "OR ((u.file, u.place) > l.newest AND (u.value, u.status, u.text) IS DISTINCT FROM l.same)"
        )

    def _rows(
        self, segments: tuple[Segment, ...], number: int, since: int, start: int, end: int, *, only_late: bool = False
    ) -> str:
        """SQL of all records of a series in a time: `file` and `place` give the order of arrival."""
        where = f"WHERE series = {number} AND time >= {start} AND time < {end}" + (" AND late" if only_late else "")
        mine = [
            each
            for each in segments
            if each.kind == "sample" and each.rows and each.overlaps(start, end) and (each.late or not only_late)
        ]
        parts = _sources(mine, _SAMPLE, where)
        gaps = [gap.begin for gap in self.store.gaps if start <= gap.begin < end and gap.end > since]
        if gaps and not only_late:
            marks = ", ".join(f"({begin})" for begin in gaps)
            parts.append(
                "SELECT '~' AS file, begin_ AS place, begin_ AS time, begin_ AS received, NULL::DOUBLE AS value, "
                f"{DATA_LOST}::UINTEGER AS status, false AS late, NULL::VARCHAR AS text FROM (VALUES {marks}) g(begin_)"
            )
        return " UNION ALL ".join(parts)

    # ---- events ---------------------------------------------------------------------------------------------------

    @_steady
    def events(
        self, prefix: str, start: int, end: int, limit: int, *, reverse: bool = False, resume: int | None = None
    ) -> tuple[list[str], int | None]:
        """JSON of the events at and below an address by time; `resume` packs time and number as `pack` does."""
        skip = 0
        if resume is not None:
            moment, skip = resume >> 32, resume & 0xFFFF_FFFF
            start, end = (start, moment + 1) if reverse else (moment, end)
        limit = min(limit, MOST) if limit > 0 else MOST
        where = f"WHERE time >= {start} AND time < {end}"
        if prefix:
            where += " AND (address = $1 OR starts_with(address, $1 || '/'))"
        mine = [
            each for each in self.store.segments if each.kind == "event" and each.rows and each.overlaps(start, end)
        ]
        parts = " UNION ALL ".join(_sources(mine, "time, address, record", where))
        way = " DESC" if reverse else ""
        order = ", ".join(f"{name}{way}" for name in _ORDER)
        rows = self._execute(
            f"SELECT time, record FROM ({parts}) ORDER BY {order} LIMIT {limit + 1} OFFSET {skip}",
            [prefix] if prefix and "$1" in parts else [],
        ).fetchall()
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            last = rows[-1][0]
            same = sum(1 for row in rows if row[0] == last)
            following = last << 32 | same + (skip if resume is not None and last == resume >> 32 else 0)
        return [row[1] for row in rows], following

    # ---- how ------------------------------------------------------------------------------------------------------

    def _fetch(self, query: str) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = self._execute(query).fetchnumpy()
        return found

    def _execute(self, query: str, values: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
        if self._interrupted:
            raise duckdb.InterruptException("the query was cancelled")
        return self._cursor.execute(query, values)


def _sources(segments: list[Segment], names: str, where: str) -> list[str]:
    """SELECTs of segments; without any, one that gives nothing."""
    parts = []
    closed = [segment for segment in segments if segment.path is not None]
    if closed:
        parts.append(
            f"SELECT filename.parse_filename() AS file, file_row_number AS place, {names} "
            f"FROM read_parquet({file_list(closed)}, filename = true, file_row_number = true) {where}"
        )
    parts += [
        f"SELECT '{segment.file_name}' AS file, rowid AS place, {names} FROM {segment.table} {where}"
        for segment in segments
        if segment.path is None
    ]
    if not parts:
        empty = "SELECT '' AS file, 0::BIGINT AS place, 0::BIGINT AS time, "
        sample = (
            "0::BIGINT AS received, 0::DOUBLE AS value, 0::UINTEGER AS status, false AS late, '' AS text WHERE false"
        )
        parts.append(empty + (sample if "value" in names else "'' AS address, '' AS record WHERE false"))
    return parts


def _replaced(rows: str) -> str:
    """SQL of modified values: those that late ones replaced, and what late ones inserted where nothing was."""
    after = "PARTITION BY time ORDER BY file, place ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
    turn = "PARTITION BY time ORDER BY file, place"
    return (
        f"WITH k AS (SELECT *, min(CASE WHEN late THEN received END) OVER ({after}) AS replaced, "
        f"lead(late) OVER ({turn}) AND value IS NOT DISTINCT FROM lead(value) OVER ({turn}) "
        f"AND status = lead(status) OVER ({turn}) AND text IS NOT DISTINCT FROM lead(text) OVER ({turn}) AS again, "
        f"row_number() OVER ({turn}) AS turn FROM ({rows})) "
        f"SELECT *, replaced AS changed, {_REPLACE} AS change FROM k "
        "WHERE replaced IS NOT NULL AND NOT coalesce(again, false) "
        f"UNION ALL SELECT *, received AS changed, {_INSERT} AS change FROM k WHERE late AND turn = 1"
    )


def _samples(found: dict[str, npt.NDArray[Any]]) -> Samples:
    value = found["value"]
    if isinstance(value, np.ma.MaskedArray):
        value = value.filled(np.nan)
    text = found["text"]
    if isinstance(text, np.ma.MaskedArray):
        text, missing = np.array(text.data, object), np.ma.getmaskarray(text)
        text[missing] = None
    return Samples(
        np.asarray(value, np.float64),
        np.asarray(text, object),
        np.asarray(found["status"], np.uint32),
        np.asarray(found["time"], np.int64),
        np.asarray(found["received"], np.int64),
    )


def _part(samples: Samples, which: Any) -> Samples:
    return Samples(
        samples.value[which], samples.text[which], samples.status[which], samples.time[which], samples.received[which]
    )


def _blank(count: int) -> Samples:
    return Samples(
        np.full(count, np.nan),
        np.full(count, None, object),
        np.zeros(count, np.uint32),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )


def _joined(first: Samples, second: Samples) -> Samples:
    return Samples(
        np.concatenate([first.value, second.value]),
        np.concatenate([first.text, second.text]),
        np.concatenate([first.status, second.status]),
        np.concatenate([first.time, second.time]),
        np.concatenate([first.received, second.received]),
    )


def _put(target: Samples, places: npt.NDArray[np.intp], source: Samples, which: npt.NDArray[np.intp]) -> None:
    for name in ("value", "text", "status", "time", "received"):
        getattr(target, name)[places] = getattr(source, name)[which]


def _fill(run: Samples, wanted: Times, before: Samples, after: Samples, offset: int) -> None:
    """Neighbours among the samples of a run, which is in order of time."""
    places = np.searchsorted(run.time, wanted, "right")
    there = np.nonzero(places > 0)[0]
    _put(before, offset + there, run, places[there] - 1)
    there = np.nonzero(places < len(run))[0]
    _put(after, offset + there, run, places[there])


def _complete(following: Samples, wanted: Times, after: Samples, offset: int) -> None:
    """The sample after all times, for those that have found none yet."""
    open_ = np.nonzero(after.time[offset : offset + len(wanted)] == 0)[0]
    if len(following) and len(open_):
        _put(after, offset + open_, following, np.zeros(len(open_), np.intp))
