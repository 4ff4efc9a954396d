"""Series: the numbers that addresses have in the history, for ever, across restarts and other mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from twin_gateway.history.database import registered
from twin_gateway.history.segments import Segment


@dataclass(slots=True)
class Series:
    """One address.

    Attributes:
        id: its number in the files.
        value_type: built-in type number of its newest values.
        since: ticks since which it is kept.
    """

    id: int
    address: str
    value_type: int
    since: int


class SeriesList:
    """All series by place in the list; the writing thread changes it, others look things up.

    Attributes:
        unconfirmed: by place, whether nothing has come since the last gap.
    """

    def __init__(self) -> None:
        self.unconfirmed: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._entries: list[Series] = []
        self._places: dict[str, int] = {}
        self._changed: list[Series] = []

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, database: duckdb.DuckDBPyConnection, closed: Sequence[Segment]) -> None:
        """Read them from a database, or, where that is new, from closed files."""
        rows = database.execute("SELECT id, address, type, since FROM series ORDER BY id").fetchall()
        if not rows and closed:
            rows = _from_files(database, closed)
        self._entries = [Series(*row) for row in rows]
        self._places = {entry.address: place for place, entry in enumerate(self._entries)}
        self._changed = []
        self.unconfirmed = np.ones(len(self._entries), bool)

    def carry_on(self, earlier: SeriesList) -> None:
        """Take over what an earlier list had beyond what was loaded: numbers that were given but not written."""
        loaded = {entry.id for entry in self._entries}
        self._changed = [*earlier._changed, *(entry for entry in earlier._entries if entry.id not in loaded)]
        self._entries, self._places = earlier._entries, earlier._places
        self.unconfirmed = earlier.unconfirmed

    def learn(self, addresses: Sequence[str], types: Sequence[int], now: int) -> npt.NDArray[np.int32]:
        """Places of addresses; new ones get a number that stays theirs."""
        places = np.empty(len(addresses), np.int32)
        for index, (address, kind) in enumerate(zip(addresses, types, strict=True)):
            place = self._places.get(address)
            if place is None:
                place = len(self._entries)
                entry = Series(self._entries[-1].id + 1 if self._entries else 1, address, kind, now)
                self._entries.append(entry)
                self._places[address] = place
                self._changed.append(entry)
            elif self._entries[place].value_type != kind:
                self._entries[place].value_type = kind
                self._changed.append(self._entries[place])
            places[index] = place
        missing = len(self._entries) - len(self.unconfirmed)
        self.unconfirmed = np.concatenate([self.unconfirmed, np.zeros(missing, bool)])
        return places

    def find(self, address: str) -> Series:
        """The series of an address; KeyError when it has none."""
        return self._entries[self._places[address]]

    def place(self, address: str) -> int | None:
        """Place of an address; None when it has none."""
        return self._places.get(address)

    def addresses(self) -> list[str]:
        """All addresses."""
        return list(self._places)

    def ids(self) -> npt.NDArray[np.int32]:
        """Numbers by place."""
        return np.array([entry.id for entry in self._entries], np.int32)

    def write(self, database: duckdb.DuckDBPyConnection) -> None:
        """Write what is new or has changed, as a part of the transaction that is open."""
        entries = list({entry.id: entry for entry in self._changed}.values())
        if not entries:
            return
        columns = {
            "id": np.array([entry.id for entry in entries], np.int32),
            "address": np.array([entry.address for entry in entries], object),
            "type": np.array([entry.value_type for entry in entries], np.uint8),
            "since": np.array([entry.since for entry in entries], np.int64),
        }
        with registered(database, columns) as new:
            database.execute(f"DELETE FROM series WHERE id IN (SELECT id FROM {new})")
            database.execute(f"INSERT INTO series SELECT id, address, type, since FROM {new}")

    def written(self) -> None:
        """The transaction is through."""
        self._changed = []


def _from_files(database: duckdb.DuckDBPyConnection, closed: Sequence[Segment]) -> list[tuple[int, str, int, int]]:
    found: dict[str, tuple[int, str, int, int]] = {}
    for segment in closed:
        if segment.kind == "sample":
            rows = database.execute(
                "SELECT series, address, max(type), min(received) FROM read_parquet($1) GROUP BY ALL",
                [str(segment.path)],
            ).fetchall()
            found = {row[1]: row for row in rows} | found
    rows = sorted(found.values())
    if rows:
        database.executemany("INSERT INTO series VALUES(?, ?, ?, ?)", rows)
    return rows
