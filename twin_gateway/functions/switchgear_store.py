"""What the condition of switchgear keeps on disk: wear, baselines, history for trends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twin_gateway.sqlite import Database
from twin_gateway.twin.switchgear.wear import PoleWear

_SCHEMA = """
CREATE TABLE IF NOT EXISTS wear (
    place TEXT NOT NULL, pole TEXT NOT NULL, percent REAL NOT NULL, a2s REAL NOT NULL, openings INTEGER NOT NULL,
    PRIMARY KEY (place, pole)
);
CREATE TABLE IF NOT EXISTS mark (
    place TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (place, name)
);
CREATE TABLE IF NOT EXISTS history (
    place TEXT NOT NULL, kind TEXT NOT NULL, time REAL NOT NULL, value REAL NOT NULL, more REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS history_of ON history (place, kind, time);
"""
KEEP_D = 120.0
KEEP_ROWS = {"opening": 500, "closing": 500, "opening_timed": 500, "closing_timed": 500, "motor": 500, "coil": 500}
"""Operations of each kind that are kept; everything else is kept for 120 days."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the history: time s since 1970; `more` is the temperature (degC) for gas, else 0."""

    place: str
    kind: str
    time: float
    value: float
    more: float = 0.0


@dataclass(slots=True)
class Kept:
    """Everything of one equipment, as read at the start.

    Attributes:
        wear: None when nothing was kept yet.
        marks: single values by name (`baseline_opening`, `last_operation`, …).
        history: kind -> entries in order of time.
    """

    wear: PoleWear | None = None
    marks: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[Entry]] = field(default_factory=dict)


class SwitchgearStore:
    """The database `switchgear.sqlite`."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / "switchgear.sqlite", _SCHEMA)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._database.path

    async def open(self) -> dict[str, Kept]:
        """Open it and read what is there, by place.

        Raises:
            OSError, sqlite3.Error: when it cannot be used.
        """
        await self._database.open()
        return await self._database.transaction(_read)

    async def close(self) -> None:
        """Close it."""
        await self._database.close()

    async def save(
        self, wear: Mapping[str, PoleWear], marks: Mapping[tuple[str, str], float], history: Iterable[Entry], now: float
    ) -> None:
        """Write what is new, in one transaction, and drop what is too old."""
        history = list(history)
        rows = [
            (place, pole, one.percent[pole], one.a2s[pole], one.openings)
            for place, one in wear.items()
            for pole in one.percent
        ]
        entries = [(one.place, one.kind, one.time, one.value, one.more) for one in history]

        def work(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO wear VALUES (?, ?, ?, ?, ?)", rows)
            database.executemany(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", [(*key, value) for key, value in marks.items()]
            )
            database.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?)", entries)
            for place, kind in {(one.place, one.kind) for one in history}:
                if kind in KEEP_ROWS:
                    database.execute(
                        "DELETE FROM history WHERE rowid IN (SELECT rowid FROM history WHERE place = ? AND kind = ? "
                        "ORDER BY time DESC LIMIT -1 OFFSET ?)",
                        (place, kind, KEEP_ROWS[kind]),
                    )
                else:
                    database.execute(
                        "DELETE FROM history WHERE place = ? AND kind = ? AND time < ?",
                        (place, kind, now - KEEP_D * 86_400.0),
                    )

        await self._database.transaction(work)


def _read(database: sqlite3.Connection) -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for place, pole, percent, a2s, openings in database.execute("SELECT * FROM wear"):
        kept = found.setdefault(place, Kept())
        kept.wear = kept.wear or PoleWear()
        kept.wear.percent[pole], kept.wear.a2s[pole], kept.wear.openings = percent, a2s, openings
    for place, name, value in database.execute("SELECT * FROM mark"):
        found.setdefault(place, Kept()).marks[name] = value
    for row in database.execute("SELECT * FROM history ORDER BY time"):
        found.setdefault(row[0], Kept()).history.setdefault(row[1], []).append(Entry(*row))
    return found
