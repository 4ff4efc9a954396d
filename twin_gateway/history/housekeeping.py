"""Housekeeping of the store: days that are over become files, the oldest go, what is damaged is put aside.

Runs in a thread of its own beside the one that writes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb

from twin_gateway.history.database import HistoryPausedError, first_line
from twin_gateway.history.segments import write_segment
from twin_gateway.history.store import HistoryStore, day_start

_MIB = 1 << 20


def keep_house(store: HistoryStore) -> None:
    """Close what is past, forget what is too old or too much; takes its time.

    Raises:
        HistoryPausedError: it cannot be done now.
    """
    try:
        cursor = store.cursor()
        try:
            try:
                _close_past(store, cursor)
            finally:
                _retain(store)  # also makes the room that closing needs on a full disk
        finally:
            cursor.close()
    except (duckdb.Error, OSError) as error:
        raise HistoryPausedError(first_line(error)) from error


def _close_past(store: HistoryStore, cursor: duckdb.DuckDBPyConnection) -> None:
    # The newest is the writer's, also when its day is over: the next commit goes on in another one.
    newest = {segment.kind: segment.number for segment in store.segments}
    for segment in store.segments:
        if segment.path is not None or segment.number == newest[segment.kind]:
            continue
        if segment.rows:
            store.replace_segment(segment, write_segment(cursor, segment, store.folder))
            store.counters.closed += 1
        else:
            store.replace_segment(segment, None)
        store.forget_table(cursor, segment)
        # The file gives the room back at the next checkpoint, which must wait while a commit is under way.
        with contextlib.suppress(duckdb.TransactionException):
            cursor.execute("CHECKPOINT")


def _retain(store: HistoryStore) -> None:
    days = store.days()
    # Days that exist are counted, not those of the calendar: a clock that jumps ahead must not delete everything.
    old = set(days[: max(0, len(days) - store.settings.retention_days)])
    for segment in store.segments:
        if segment.path is not None and segment.day in old:
            store.delete_segment(segment, f"older than {store.settings.retention_days} days")
    while store.octets() > store.settings.max_size_mb * _MIB:
        oldest = next((segment for segment in store.segments if segment.path is not None), None)
        if oldest is None:
            store.roll = any(segment.rows for segment in store.segments)
            break
        store.delete_segment(oldest, f"more than {store.settings.max_size_mb} MiB")
    if days := store.days():
        store.forget_gaps(day_start(days[0]))


def check_files(store: HistoryStore) -> int:
    """Put closed files aside that can no longer be read; how many. To be called when a query failed on a file.

    Read on a connection of its own: what is wrong with the database must not count against the files.
    """
    count = 0
    with duckdb.connect(config={"threads": 1, "memory_limit": f"{store.settings.memory_mb}MB"}) as reading:
        for segment in store.segments:
            why = _damage(reading, segment.path) if segment.path is not None else None
            if segment.path is None or why is None:
                continue
            store.replace_segment(segment, None)
            if segment.path.exists():
                store.put_aside(segment, why)
            count += 1
    return count


def _damage(reading: duckdb.DuckDBPyConnection, path: Path) -> str | None:
    """What is wrong with a file; None when it is whole, and when it is not the file's fault that it cannot be read."""
    try:
        path.open("rb").close()
        reading.execute("SELECT sum(hash(h)) FROM read_parquet($1) h", [str(path)]).fetchall()
    except FileNotFoundError:
        return f"{path.name} is gone"
    except (OSError, duckdb.OutOfMemoryException):
        return None
    except duckdb.Error as error:
        return first_line(error)
    return None
