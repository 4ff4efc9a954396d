"""Loss results that were published, with their revisions: a bounded SQLite file in the data directory."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twin_gateway.functions.losses_job import LossResult, RegionSeries
from twin_gateway.sqlite import connect, transaction
from twin_gateway.twin.losses.detection import Method, Suspicion

_SCHEMA = """
CREATE TABLE IF NOT EXISTS result(
    region TEXT NOT NULL, end REAL NOT NULL, revision INTEGER NOT NULL, state INTEGER NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY(region, end)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS day(
    region TEXT NOT NULL, start REAL NOT NULL, rate REAL, ntl REAL, uncertainty REAL, complete REAL NOT NULL,
    PRIMARY KEY(region, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspicion(item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS progress(name TEXT PRIMARY KEY, value REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class DayLoss:
    """One day of a region: loss rate in percent, non-technical loss and its uncertainty in Wh; None where unknown."""

    start: float
    rate: float | None
    ntl: float | None
    uncertainty: float | None
    complete: float


class LossResults:
    """Revisions of published results. Calls take milliseconds: use it in a thread.

    Before `open` and after `close` all of them raise `sqlite3.ProgrammingError`.

    Args:
        path: of the file; made when missing.
        retention: s.
    """

    def __init__(self, path: Path, *, retention: float) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._retention = retention
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._connection is not None

    def open(self) -> None:
        """Open or make the file.

        Raises:
            OSError, sqlite3.Error: as of `connect`.
        """
        self._connection = connect(self.path, _SCHEMA, every_commit=False)

    def close(self) -> None:
        """Close the file; nothing happens when it is not open."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError(f"{self.path.name} is not open")
        return self._connection

    def revise(self, result: LossResult, states: dict[str, list[int]]) -> dict[str, list[tuple[int, int]]]:
        """Compare with what is known and keep what is new.

        Args:
            result: of a window.
            states: state of each interval by region, with `provisional`.

        Returns:
            (row, revision) by region of what is new or has changed. Another value is the next revision; the same
            value in another state (final instead of provisional) keeps its revision.
        """
        with self._lock:
            return self._revise(result, states)

    def _revise(self, result: LossResult, states: dict[str, list[int]]) -> dict[str, list[tuple[int, int]]]:
        changed: dict[str, list[tuple[int, int]]] = {}
        with transaction(self._db):
            for key, series in result.series.items():
                known = {
                    end: (revision, state, digest)
                    for end, revision, state, digest in self._db.execute(
                        "SELECT end, revision, state, digest FROM result WHERE region=? AND end BETWEEN ? AND ?",
                        (key, float(result.ends[0]), float(result.ends[-1])),
                    )
                }
                found = []
                for row, end in enumerate(result.ends.tolist()):
                    digest, state = _digest(series, row), states[key][row]
                    revision, old_state, old_digest = known.get(end, (0, -1, ""))
                    if digest != old_digest:
                        revision += 1
                    elif state == old_state:
                        continue
                    found.append((row, revision))
                    self._db.execute(
                        "INSERT OR REPLACE INTO result VALUES(?, ?, ?, ?, ?)", (key, end, revision, state, digest)
                    )
                if found:
                    changed[key] = found
        return changed

    def revision(self, region: str, end: float) -> int:
        """Revision of a result; 0 when it has never been published."""
        with self._lock:
            row = self._db.execute("SELECT revision FROM result WHERE region=? AND end=?", (region, end)).fetchone()
            return int(row[0]) if row else 0

    def put_days(self, days: Sequence[tuple[str, DayLoss]]) -> None:
        """Keep daily results."""
        with self._lock, transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO day VALUES(?, ?, ?, ?, ?, ?)",
                [(region, day.start, day.rate, day.ntl, day.uncertainty, day.complete) for region, day in days],
            )

    def days(self, region: str, since: float) -> list[DayLoss]:
        """Daily results of a region, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT start, rate, ntl, uncertainty, complete FROM day WHERE region=? AND start>=? ORDER BY start",
                (region, since),
            )
            return [DayLoss(*row) for row in rows]

    def put_suspicions(self, items: Sequence[Suspicion]) -> None:
        """Keep what is suspected at present, in place of what was."""
        rows = [(json.dumps(asdict(item)),) for item in items]
        with self._lock, transaction(self._db):
            self._db.execute("DELETE FROM suspicion")
            self._db.executemany("INSERT INTO suspicion VALUES(?)", rows)
            self._db.execute("INSERT OR REPLACE INTO progress VALUES('searched', 1)")

    def suspicions(self) -> list[Suspicion] | None:
        """What was suspected last; None when there has been no search."""
        if not self.progress("searched"):
            return None
        with self._lock:
            rows = self._db.execute("SELECT item FROM suspicion").fetchall()
        return [_suspicion(json.loads(text)) for (text,) in rows]

    def progress(self, name: str, default: float = 0.0) -> float:
        """A number that survives restarts."""
        with self._lock:
            row = self._db.execute("SELECT value FROM progress WHERE name=?", (name,)).fetchone()
            return float(row[0]) if row else default

    def put_progress(self, name: str, value: float) -> None:
        """Keep such a number."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO progress VALUES(?, ?)", (name, value))

    def trim(self, now: float) -> None:
        """Delete what is older than the retention."""
        with self._lock:
            self._db.execute("DELETE FROM result WHERE end < ?", (now - self._retention,))
            self._db.execute("DELETE FROM day WHERE start < ?", (now - max(self._retention, 90 * 86_400.0),))


def _suspicion(kept: dict[str, Any]) -> Suspicion:
    method, values = Method(kept.pop("method")), tuple((name, value) for name, value in kept.pop("evidence"))
    return Suspicion(method=method, evidence=values, **kept)


def _digest(series: RegionSeries, row: int) -> str:
    """What makes a result another one: its energies to a milliwatt-hour.

    Completeness does not: its weights move with the 30 days before, and what it decides is the state.
    """
    values = (
        series.loss[row],
        series.imported[row],
        series.exported[row],
        series.consumed[row],
        series.fed_in[row],
        series.technical[row],
    )
    return ";".join("-" if np.isnan(value) else f"{value:.3f}" for value in values)
