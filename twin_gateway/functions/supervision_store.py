"""What the supervision keeps on disk: availability by day, accepted revisions, maintenance."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twin_gateway.functions.slices import Slices
from twin_gateway.sqlite import Database
from twin_gateway.twin.supervision.ledger import Day, Ledger

_SCHEMA = """
CREATE TABLE IF NOT EXISTS day (
    place TEXT NOT NULL, day INTEGER NOT NULL, up REAL NOT NULL, counted REAL NOT NULL, failures INTEGER NOT NULL,
    PRIMARY KEY (place, day)
);
CREATE TABLE IF NOT EXISTS accepted (
    place TEXT NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (place, item)
);
CREATE TABLE IF NOT EXISTS maintenance (
    place TEXT PRIMARY KEY, user TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Someone works at a place: its alarms are suppressed. Time in FILETIME ticks."""

    user: str
    time: int
    reason: str


@dataclass(slots=True)
class Kept:
    """Everything that is kept, as read at the start.

    Attributes:
        days: place -> day -> book.
        accepted: place -> item -> text.
        maintenance: by place.
    """

    days: dict[str, dict[int, Day]] = field(default_factory=dict)
    accepted: dict[str, dict[str, str]] = field(default_factory=dict)
    maintenance: dict[str, Maintenance] = field(default_factory=dict)


class SupervisionStore:
    """The database `supervision.sqlite`."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / "supervision.sqlite", _SCHEMA)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._database.path

    async def open(self) -> Kept:
        """Open it and read what is there.

        Raises:
            OSError, sqlite3.Error: when it cannot be used.
        """
        await self._database.open()
        return await self._database.transaction(_read)

    async def close(self) -> None:
        """Close it."""
        await self._database.close()

    async def save(self, ledgers: Mapping[str, Ledger], today: int) -> None:
        """Write the books of today and yesterday, and drop what is older than the window."""
        rows: list[tuple[str, int, float, float, int]] = []
        slices = Slices()
        for place, ledger in ledgers.items():
            rows += [
                (place, number, day.up, day.counted, day.failures)
                for number, day in ledger.days.items()
                if number >= today - 1
            ]
            await slices.pause()

        def work(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO day VALUES (?, ?, ?, ?, ?)", rows)
            database.execute("DELETE FROM day WHERE day <= ?", (today - 30,))

        await self._database.transaction(work)

    async def accept(self, place: str, items: Mapping[str, str]) -> None:
        """Keep accepted revisions."""
        rows = [(place, item, value) for item, value in items.items()]
        await self._database.transaction(
            lambda database: database.executemany("INSERT OR REPLACE INTO accepted VALUES (?, ?, ?)", rows)
        )

    async def maintain(self, place: str, entry: Maintenance | None) -> None:
        """Keep the beginning or the end of work at a place."""

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM maintenance WHERE place = ?", (place,))
            if entry is not None:
                values = (place, entry.user, entry.time, entry.reason)
                database.execute("INSERT INTO maintenance VALUES (?, ?, ?, ?)", values)

        await self._database.transaction(work)


def _read(database: sqlite3.Connection) -> Kept:
    kept = Kept()
    for place, number, up, counted, failures in database.execute("SELECT * FROM day"):
        kept.days.setdefault(place, {})[number] = Day(up, counted, failures)
    for place, item, value in database.execute("SELECT * FROM accepted"):
        kept.accepted.setdefault(place, {})[item] = value
    for place, user, time, reason in database.execute("SELECT * FROM maintenance"):
        kept.maintenance[place] = Maintenance(user, time, reason)
    return kept
