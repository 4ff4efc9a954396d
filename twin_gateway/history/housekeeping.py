"""Housekeeping of the store: days that are over become files, the oldest go, what is damaged is put aside.

Runs in a thread of its own beside the one that writes.
"""

from __future__ import annotations

import contextlib

import duckdb

from twin_gateway.history.database import HistoryPausedError, first_line
from twin_gateway.history.segments import write_segment
from twin_gateway.history.store import HistoryStore

_MIB = 1 << 20


def keep_house(store: HistoryStore) -> None:
    """Close what is past, forget what is too old or too much; takes its time.

    Raises:
        HistoryPausedError: it cannot be done now.
    """
    try:
        cursor = store.cursor()
        try:
            _close_past(store, cursor)
            _retain(store)
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


def check_files(store: HistoryStore) -> int:
    """Put closed files aside that can no longer be read; how many. To be called when a query failed on a file."""
    count = 0
    cursor = store.cursor()
    try:
        for segment in store.segments:
            if segment.path is None:
                continue
            try:
                cursor.execute("SELECT sum(hash(h)) FROM read_parquet($1) h", [str(segment.path)]).fetchall()
            except (duckdb.Error, OSError) as error:
                store.replace_segment(segment, None)
                if segment.path.exists():
                    store.put_aside(segment, first_line(error))
                count += 1
    finally:
        cursor.close()
    return count
