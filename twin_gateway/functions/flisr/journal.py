"""What FLISR has done, on disk before it is done: events, steps, modes, people's words, heads, interruptions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twin_gateway.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY,
    feeder TEXT NOT NULL,
    state INTEGER NOT NULL,
    time REAL NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS step (
    request TEXT PRIMARY KEY,
    event TEXT NOT NULL,
    time REAL NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS mode (
    feeder TEXT PRIMARY KEY,
    mode INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS word (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS head (
    feeder TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    time REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS interruption (
    event TEXT PRIMARY KEY,
    feeder TEXT NOT NULL,
    time REAL NOT NULL,
    body TEXT NOT NULL
);
"""
EVENTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event as it stands on disk; `body` is JSON (trigger, location, stamps, reason, mode)."""

    id: str
    feeder: str
    state: int
    time: float
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepEntry:
    """A command that was about to leave; `body` is JSON (n, stage, address, action, reason, attempt, outcome)."""

    request: str
    event: str
    time: float
    body: dict[str, Any] = field(default_factory=dict)


class FlisrJournal:
    """The durable memory of FLISR."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    async def open(self) -> None:
        """Open or make the file.

        Raises:
            OSError, sqlite3.Error: it cannot be written; FLISR then commands nothing.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def put_event(self, entry: EventEntry) -> None:
        """Keep an event as it is now; the oldest beyond `EVENTS_KEPT` go."""

        def work(database: sqlite3.Connection) -> None:
            row = (entry.id, entry.feeder, entry.state, entry.time, json.dumps(entry.body))
            database.execute("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)", row)
            kept = "SELECT id FROM event ORDER BY time DESC LIMIT ?"
            database.execute(f"DELETE FROM event WHERE id NOT IN ({kept})", (EVENTS_KEPT,))  # noqa: S608 - constant
            database.execute("DELETE FROM step WHERE event NOT IN (SELECT id FROM event)")

        await self._database.transaction(work)

    async def put_step(self, entry: StepEntry) -> None:
        """Keep a command, before it leaves and again with its outcome."""
        row = (entry.request, entry.event, entry.time, json.dumps(entry.body))
        await self._database.transaction(
            lambda database: database.execute("INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?)", row) and None
        )

    async def put_mode(self, feeder: str, mode: int, body: dict[str, Any]) -> None:
        """Keep the mode of a feeder and who set it."""
        row = (feeder, mode, json.dumps(body))
        await self._database.transaction(
            lambda database: database.execute("INSERT OR REPLACE INTO mode VALUES (?, ?, ?)", row) and None
        )

    async def put_word(self, name: str, body: dict[str, Any]) -> None:
        """Keep what somebody has said for all feeders (`inhibit`, `presence`)."""
        row = (name, json.dumps(body))
        await self._database.transaction(
            lambda database: database.execute("INSERT OR REPLACE INTO word VALUES (?, ?)", row) and None
        )

    async def words(self) -> dict[str, dict[str, Any]]:
        """What has been said for all feeders."""
        return {name: json.loads(body) for name, body in await self._rows("SELECT name, body FROM word")}

    async def put_heads(self, rows: Sequence[tuple[str, int, float]]) -> None:
        """Keep the last known positions of feeders' heads: (feeder, position, since when by the later clock)."""
        await self._database.transaction(
            lambda database: database.executemany("INSERT OR REPLACE INTO head VALUES (?, ?, ?)", rows) and None
        )

    async def heads(self) -> dict[str, tuple[int, float]]:
        """Last known position of each feeder's head, and since when."""
        return {row[0]: (row[1], row[2]) for row in await self._rows("SELECT feeder, position, time FROM head")}

    async def put_interruption(self, event: str, feeder: str, time: float, body: dict[str, Any]) -> None:
        """Keep what an event cost the customers."""
        row = (event, feeder, time, json.dumps(body))
        await self._database.transaction(
            lambda database: database.execute("INSERT OR REPLACE INTO interruption VALUES (?, ?, ?, ?)", row) and None
        )

    async def events(self) -> list[EventEntry]:
        """All events, oldest first."""
        sql = "SELECT id, feeder, state, time, body FROM event ORDER BY time"
        rows = await self._rows(sql)
        return [EventEntry(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    async def steps(self, event: str) -> list[StepEntry]:
        """Commands of an event, in order."""
        rows = await self._rows("SELECT request, event, time, body FROM step WHERE event = ? ORDER BY rowid", event)
        return [StepEntry(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    async def modes(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """Mode of each feeder that somebody has set, and who."""
        rows = await self._rows("SELECT feeder, mode, body FROM mode")
        return {row[0]: (row[1], json.loads(row[2])) for row in rows}

    async def interruptions(self, since: float = 0.0) -> list[tuple[str, dict[str, Any]]]:
        """(feeder, body) of the interruptions since a time."""
        rows = await self._rows("SELECT feeder, body FROM interruption WHERE time >= ? ORDER BY time", since)
        return [(row[0], json.loads(row[1])) for row in rows]

    async def _rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return await self._database.transaction(lambda database: database.execute(sql, parameters).fetchall())
