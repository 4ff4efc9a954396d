"""The interval store: values at interval ends by address, with quality and revision, in one SQLite file.

Values are kept in blocks of 96 intervals of one point (a day of quarter hours): a month of 10 000 points is 310 000
blobs and not 30 million rows. One writer, any number of readers, also in other processes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twin_gateway.sqlite import connect, transaction

BLOCK = 96
_ID_BITS = 24
_ITEM = np.dtype([("value", "<f8"), ("quality", "<u4"), ("revision", "<u2")])
_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting(name TEXT PRIMARY KEY, value REAL NOT NULL);
CREATE TABLE IF NOT EXISTS address(
    id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS block(key INTEGER PRIMARY KEY, items BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS touched(number INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS touched_sequence ON touched(sequence);
CREATE TABLE IF NOT EXISTS position(
    time REAL NOT NULL, equipment TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY(time, equipment));
"""


class IntervalStoreError(RuntimeError):
    """The file holds intervals of another length, or cannot be used."""


class IntervalLengthError(IntervalStoreError):
    """The file holds intervals of another length.

    Attributes:
        found: that length, s.
    """

    def __init__(self, path: Path, found: float, length: float) -> None:
        super().__init__(f"{path} holds intervals of {found:g} s, not of {length:g} s")
        self.found = found


@dataclass(frozen=True, slots=True)
class IntervalMatrix:
    """Values of many points over time.

    Attributes:
        addresses: of the columns.
        ends: Unix seconds of the interval ends, float64 (n).
        values: (n, m), float64 or float32; 0 where not valid.
        valid: (n, m), whether there is a value.
        quality: quality words (n, m); revision: (n, m), 1 for the first value, 0 where there is none.
    """

    addresses: tuple[str, ...]
    ends: npt.NDArray[np.float64]
    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    quality: npt.NDArray[np.uint32]
    revision: npt.NDArray[np.uint16]


@dataclass(slots=True)
class StoreCounters:
    """What the writer has done."""

    written: int = 0
    duplicates: int = 0
    revised: int = 0
    ignored: int = 0


class IntervalStore:
    """The writer. Not for the event loop: calls take milliseconds to seconds (one thread at a time).

    Args:
        path: of the file; made when missing.
        length: of an interval, s; a whole number of them makes a day.
        retention: s; blocks that end before are deleted by `trim`.

    Raises:
        IntervalLengthError: the file belongs to another interval length.
        IntervalStoreError: a day is no whole number of intervals.
        sqlite3.DatabaseError: the file is damaged, or cannot be written.
    """

    def __init__(self, path: Path, *, length: float = 900.0, retention: float = 400 * 86_400.0) -> None:
        if abs(86_400.0 / length - round(86_400.0 / length)) > 1e-9:
            raise IntervalStoreError(f"a day is no whole number of intervals of {length:g} s")
        self.path = path
        self.length = length
        self.retention = retention
        self.counters = StoreCounters()
        self._db = connect(path, _SCHEMA, every_commit=False)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        found = self._db.execute("SELECT value FROM setting WHERE name='length'").fetchone()
        if found is None:
            self._db.execute("INSERT INTO setting VALUES('length', ?)", (self.length,))
        elif found[0] != self.length:
            raise IntervalLengthError(self.path, float(found[0]), self.length)
        self._ids: dict[str, int] = dict(self._db.execute("SELECT text, id FROM address"))
        self._used = {number for (number,) in self._db.execute("SELECT id FROM address WHERE used")}
        self._sequence = int(self._db.execute("SELECT coalesce(max(sequence), 0) FROM touched").fetchone()[0])

    def ids(self, addresses: Sequence[str]) -> npt.NDArray[np.int64]:
        """Numbers of addresses in this file; new ones are given one.

        Raises:
            IntervalStoreError: more than 16 million points.
        """
        new = [text for text in dict.fromkeys(addresses) if text not in self._ids]
        if new:
            first = len(self._ids) + 1
            if first + len(new) >> _ID_BITS:
                raise IntervalStoreError("more than 16 million points in one interval store")
            with transaction(self._db):
                self._db.executemany("INSERT INTO address(id, text) VALUES(?, ?)", enumerate(new, first))
            self._ids.update((text, number) for number, text in enumerate(new, first))
        return np.array([self._ids[text] for text in addresses], np.int64)

    def write(
        self,
        ids: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint32],
        *,
        replace: bool = True,
    ) -> int:
        """Write values at interval ends, in one transaction; of a pair that occurs twice the last counts.

        A value that stands there already is a duplicate, ignored and counted; another one replaces it with the next
        revision when `replace`, else (a live reading after a profile row) it is ignored and counted.

        Returns:
            How many were new or revised.
        """
        if not len(ids):
            return 0
        order = np.lexsort((np.arange(len(ids)), numbers % BLOCK, (numbers // BLOCK << _ID_BITS) | ids))
        keys = ((numbers // BLOCK << _ID_BITS) | ids)[order]
        slots = (numbers % BLOCK)[order]
        latest = np.append((keys[1:] != keys[:-1]) | (slots[1:] != slots[:-1]), True)
        self.counters.duplicates += int(np.count_nonzero(~latest))
        order, keys, slots = order[latest], keys[latest], slots[latest]
        items = np.empty(len(keys), _ITEM)
        items["value"], items["quality"] = values[order], quality[order]
        starts = np.nonzero(np.append(True, keys[1:] != keys[:-1]))[0]
        stops = np.append(starts[1:], len(keys))
        touched: list[npt.NDArray[np.int64]] = []
        fresh = set(np.unique(ids).tolist()) - self._used
        with transaction(self._db):
            self._db.executemany("UPDATE address SET used=1 WHERE id=?", [(number,) for number in fresh])
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                key = int(keys[start])
                changed = self._merge(key, slots[start:stop], items[start:stop], replace)
                if len(changed):
                    touched.append(changed + (key >> _ID_BITS) * BLOCK)
            self._sequence += 1
            ends = np.unique(np.concatenate(touched)).tolist() if touched else []
            self._db.executemany(
                "INSERT OR REPLACE INTO touched VALUES(?, ?)", [(number, self._sequence) for number in ends]
            )
        self._used |= fresh
        return sum(map(len, touched))

    def _merge(
        self, key: int, slots: npt.NDArray[np.int64], new: npt.NDArray[np.void], replace: bool
    ) -> npt.NDArray[np.int64]:
        """Put items into a block; returns the slots that have changed."""
        found = self._db.execute("SELECT items FROM block WHERE key=?", (key,)).fetchone()
        items = np.zeros(BLOCK, _ITEM) if found is None else np.frombuffer(found[0], _ITEM).copy()
        old = items[slots]
        there = old["revision"] > 0
        same = there & (old["value"] == new["value"]) & (old["quality"] == new["quality"])
        other = there & ~same
        counters = self.counters
        counters.duplicates += int(np.count_nonzero(same))
        counters.written += int(np.count_nonzero(~there))
        take = ~there | other if replace else ~there
        if replace:
            counters.revised += int(np.count_nonzero(other))
        else:
            counters.ignored += int(np.count_nonzero(other))
        new["revision"] = np.minimum(old["revision"].astype(np.int64) + 1, 0xFFFF)
        items[slots[take]] = new[take]
        if take.any():
            self._db.execute("INSERT OR REPLACE INTO block VALUES(?, ?)", (key, items.tobytes()))
        return slots[take]

    def put_positions(self, positions: Sequence[tuple[float, str, int]]) -> None:
        """Remember switch positions: (Unix seconds, equipment, `Position`)."""
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO position VALUES(?, ?, ?)", positions)

    def trim(self, now: float) -> int:
        """Delete what is older than the retention; returns how many blocks went. Positions keep the last before."""
        oldest = int((now - self.retention) // self.length)
        with transaction(self._db):
            gone = self._db.execute("DELETE FROM block WHERE key < ?", (oldest // BLOCK << _ID_BITS,)).rowcount
            self._db.execute("DELETE FROM touched WHERE number < ?", (oldest,))
            self._db.execute(
                "DELETE FROM position WHERE time < ? AND time <> "
                "(SELECT max(p.time) FROM position p WHERE p.equipment = position.equipment AND p.time < ?)",
                (oldest * self.length, oldest * self.length),
            )
        return gone

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class IntervalReader:
    """Reads a store, from any thread or process (open one each).

    Args:
        path: of a store's file.

    Raises:
        IntervalStoreError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise IntervalStoreError(f"there is no interval store at {path}")
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self.length = float(self._db.execute("SELECT value FROM setting WHERE name='length'").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def addresses(self, keep: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Addresses that have had values."""
        return [text for (text,) in self._db.execute("SELECT text FROM address WHERE used ORDER BY id") if keep(text)]

    def read(
        self,
        addresses: Sequence[str],
        first_end: float,
        last_end: float,
        *,
        dtype: type[np.float64] | type[np.float32] = np.float64,
    ) -> IntervalMatrix:
        """Values of points at the interval ends from `first_end` to `last_end` (Unix seconds, both included)."""
        first, last = round(first_end / self.length), round(last_end / self.length)
        count = max(0, last - first + 1)
        shape = (count, len(addresses))
        values: npt.NDArray[Any] = np.zeros(shape, dtype)
        quality = np.zeros(shape, np.uint32)
        revision = np.zeros(shape, np.uint16)
        known = dict(self._db.execute("SELECT text, id FROM address"))
        column = {known[text]: at for at, text in enumerate(addresses) if text in known}
        for block in range(first // BLOCK, last // BLOCK + 1) if count else ():
            columns: list[int] = []
            blobs: list[bytes] = []
            for key, items in self._blocks(block, list(column)):
                at = column.get(key & (1 << _ID_BITS) - 1)
                if at is not None:
                    columns.append(at)
                    blobs.append(items)
            if not columns:
                continue
            low, high = max(first, block * BLOCK), min(last + 1, (block + 1) * BLOCK)
            target, source = slice(low - first, high - first), slice(low - block * BLOCK, high - block * BLOCK)
            part = np.frombuffer(b"".join(blobs), _ITEM).reshape(-1, BLOCK)[:, source].T
            values[target, columns] = part["value"]
            quality[target, columns] = part["quality"]
            revision[target, columns] = part["revision"]
        ends = np.arange(first, first + count, dtype=np.float64) * self.length
        return IntervalMatrix(tuple(addresses), ends, values, revision > 0, quality, revision)

    def _blocks(self, block: int, ids: list[int]) -> Iterator[tuple[int, bytes]]:
        base = block << _ID_BITS
        if len(ids) > 500:
            sql = "SELECT key, items FROM block WHERE key BETWEEN ? AND ?"
            yield from self._db.execute(sql, (base + min(ids), base + max(ids)))
            return
        marks = ",".join("?" * len(ids))
        sql = f"SELECT key, items FROM block WHERE key IN ({marks})"  # noqa: S608 - only question marks are put in
        yield from self._db.execute(sql, [base | number for number in ids])

    def touched_since(self, sequence: int) -> tuple[list[float], int]:
        """Interval ends (Unix seconds, rising) with new or revised values after a sequence, and the present one."""
        rows = self._db.execute("SELECT number, sequence FROM touched WHERE sequence > ?", (sequence,)).fetchall()
        newest = max((row[1] for row in rows), default=sequence)
        return sorted(row[0] * self.length for row in rows), newest

    def positions(self, start: float, stop: float) -> list[tuple[float, str, int]]:
        """Positions of switches: the last of each up to `start` (else its first one), then changes up to `stop`."""
        before = self._db.execute(
            "SELECT max(time), equipment, position FROM position WHERE time <= ? GROUP BY equipment", (start,)
        ).fetchall()
        have = {equipment for _, equipment, _ in before}
        first = self._db.execute("SELECT min(time), equipment, position FROM position GROUP BY equipment").fetchall()
        before += [row for row in first if row[1] not in have]
        changes = self._db.execute(
            "SELECT time, equipment, position FROM position WHERE time > ? AND time < ? ORDER BY time", (start, stop)
        ).fetchall()
        held = [(start, equipment, position) for _, equipment, position in before]
        return held + [tuple(row) for row in changes]
