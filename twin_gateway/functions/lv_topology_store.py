"""Findings, decisions and changed references of low-voltage topology, durable in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twin_gateway.sqlite import connect, transaction
from twin_gateway.twin.lv_topology.finding import Finding, MethodVote, Reason, State
from twin_gateway.twin.lv_topology.records import same_phases

_SCHEMA = """
CREATE TABLE IF NOT EXISTS result(
    id INTEGER PRIMARY KEY AUTOINCREMENT, area TEXT NOT NULL, start REAL NOT NULL, stop REAL NOT NULL,
    made INTEGER NOT NULL, user TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS finding(
    result INTEGER NOT NULL, number INTEGER NOT NULL, meter TEXT NOT NULL, transformer TEXT NOT NULL,
    phases TEXT NOT NULL, parent TEXT NOT NULL, confidence REAL NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    recorded_transformer TEXT NOT NULL, recorded_phases TEXT NOT NULL, votes TEXT NOT NULL, lag INTEGER NOT NULL,
    PRIMARY KEY(result, number));
CREATE INDEX IF NOT EXISTS finding_meter ON finding(meter, result);
CREATE TABLE IF NOT EXISTS rejection(
    meter TEXT NOT NULL, transformer TEXT NOT NULL, phases TEXT NOT NULL, time INTEGER NOT NULL, user TEXT NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY(meter, transformer, phases));
CREATE TABLE IF NOT EXISTS reference(
    revision INTEGER PRIMARY KEY AUTOINCREMENT, meter TEXT NOT NULL, fed_by TEXT NOT NULL, phases TEXT NOT NULL,
    was_fed_by TEXT NOT NULL, was_phases TEXT NOT NULL, time INTEGER NOT NULL, user TEXT NOT NULL,
    finding TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accepted(
    meter TEXT PRIMARY KEY, fed_by TEXT NOT NULL, phases TEXT NOT NULL, revision INTEGER NOT NULL,
    time INTEGER NOT NULL, user TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The references of a meter after an accepted finding.

    Attributes:
        fed_by: address of the transformer.
        phases: letters.
        revision: number of the change; grows over all meters.
    """

    fed_by: str
    phases: str
    revision: int


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding under its id (`LV12-31`: result 12, number 31)."""

    id: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class StoredResult:
    """One identification: its id (`LV12`), area, window in Unix seconds, time in FILETIME ticks, who asked."""

    id: str
    area: str
    start: float
    end: float
    made: int
    user: str
    details: Mapping[str, object]


class FindingError(LookupError):
    """There is no such finding, or it has been superseded."""


class TopologyStore:
    """The file. Calls take milliseconds (they wait for the disk): from one thread, not the event loop's.

    Before `open` and after `close` all of them raise `sqlite3.ProgrammingError`.

    Args:
        path: of the file; made when missing.
        kept: number of results whose findings are kept, beside the newest finding of every meter.
    """

    def __init__(self, path: Path, *, kept: int = 50) -> None:
        self.path = path
        self._kept = kept
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._connection is not None

    def open(self) -> None:
        """Open or make the file.

        Raises:
            OSError, sqlite3.Error: as of `connect`.
        """
        self._connection = connect(self.path, _SCHEMA)

    def close(self) -> None:
        """Close the file; nothing happens when it is not open."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError(f"{self.path.name} is not open")
        return self._connection

    def add(self, result: StoredResult, findings: Sequence[Finding]) -> tuple[str, list[StoredFinding]]:
        """Keep a result (its id is given here); findings whose answer an engineer has rejected come back as rejected.

        Returns:
            Id of the result, and its findings as kept.
        """
        rejected = {tuple(row) for row in self._db.execute("SELECT meter, transformer, phases FROM rejection")}
        with transaction(self._db):
            number = self._db.execute(
                "INSERT INTO result(area, start, stop, made, user, details) VALUES(?, ?, ?, ?, ?, ?)",
                (result.area, result.start, result.end, result.made, result.user, json.dumps(dict(result.details))),
            ).lastrowid
            kept = []
            for at, finding in enumerate(findings):
                answer = (finding.meter, finding.transformer, finding.phases)
                if finding.state is State.DIFFERS and answer in rejected:
                    finding = replace(finding, state=State.REJECTED)
                kept.append(StoredFinding(f"LV{number}-{at}", finding))
            self._db.executemany(
                "INSERT INTO finding VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(number, at, *_row(item.finding)) for at, item in enumerate(kept)],
            )
            self._db.execute(
                "DELETE FROM finding WHERE result <= ? AND result < "
                "(SELECT max(newer.result) FROM finding newer WHERE newer.meter = finding.meter)",
                ((number or 0) - self._kept,),
            )
            self._db.execute("DELETE FROM result WHERE id NOT IN (SELECT DISTINCT result FROM finding)")
        return f"LV{number}", kept

    def results(self) -> list[StoredResult]:
        """Results, newest first."""
        rows = self._db.execute("SELECT id, area, start, stop, made, user, details FROM result ORDER BY id DESC")
        return [
            StoredResult(f"LV{number}", area, start, stop, made, user, json.loads(details))
            for number, area, start, stop, made, user, details in rows
        ]

    def latest(self) -> dict[str, StoredFinding]:
        """The newest finding of every meter, by address of the meter."""
        rows = self._db.execute(
            "SELECT * FROM finding f WHERE result = (SELECT max(result) FROM finding n WHERE n.meter = f.meter) "
            "ORDER BY meter"
        )
        return {row[2]: _finding(row) for row in rows}

    def finding(self, finding_id: str) -> StoredFinding:
        """A finding by its id.

        Raises:
            FindingError: there is none, or a newer one of the same meter has taken its place.
        """
        result, _, number = finding_id.removeprefix("LV").partition("-")
        if not (finding_id.startswith("LV") and result.isdecimal() and number.isdecimal() and len(finding_id) < 32):
            raise FindingError(f"'{finding_id[:40]}' is not the id of a finding")
        row = self._db.execute(
            "SELECT * FROM finding WHERE result = ? AND number = ?", (int(result), int(number))
        ).fetchone()
        if row is None:
            raise FindingError(f"there is no finding {finding_id}")
        newest = self._db.execute("SELECT max(result) FROM finding WHERE meter = ?", (row[2],)).fetchone()[0]
        if newest != int(result):
            raise FindingError(f"finding {finding_id} has been superseded by result LV{newest}")
        return _finding(row)

    def confirm(self, item: StoredFinding, was: tuple[str, str], time: int, user: str) -> int:
        """Accept a finding: its state is confirmed, and the references of its meter are what it says.

        Args:
            item: the finding.
            was: the references so far: address of the transformer, phases.
            time: FILETIME ticks.
            user: who.

        Returns:
            Revision of the references; 0 when they are as before.
        """
        finding = item.finding
        revision = 0
        with transaction(self._db):
            self._set_state(item, State.CONFIRMED)
            self._db.execute(
                "DELETE FROM rejection WHERE meter = ? AND transformer = ? AND phases = ?",
                (finding.meter, finding.transformer, finding.phases),
            )
            if was[0] != finding.transformer or not same_phases(was[1], finding.phases):
                revision = (
                    self._db.execute(
                        "INSERT INTO reference(meter, fed_by, phases, was_fed_by, was_phases, time, user, finding) "
                        "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                        (finding.meter, finding.transformer, finding.phases, *was, time, user, item.id),
                    ).lastrowid
                    or 0
                )
            self._db.execute(
                "INSERT OR REPLACE INTO accepted VALUES(?, ?, ?, ?, ?, ?)",
                (finding.meter, finding.transformer, finding.phases, revision, time, user),
            )
        return revision

    def reject(self, item: StoredFinding, time: int, user: str, reason: str) -> None:
        """Reject a finding: the same answer for the same meter stays rejected in later results."""
        finding = item.finding
        with transaction(self._db):
            self._set_state(item, State.REJECTED)
            self._db.execute(
                "INSERT OR REPLACE INTO rejection VALUES(?, ?, ?, ?, ?, ?)",
                (finding.meter, finding.transformer, finding.phases, time, user, reason),
            )

    def references(self) -> dict[str, Reference]:
        """The changed references, by address of the meter; all others are as the grid model says."""
        rows = self._db.execute("SELECT meter, fed_by, phases, revision FROM reference ORDER BY revision")
        return {meter: Reference(fed_by, phases, revision) for meter, fed_by, phases, revision in rows}

    def accepted(self) -> dict[str, Reference]:
        """What a person has accepted last, by address of the meter, also where it was on record already."""
        rows = self._db.execute("SELECT meter, fed_by, phases, revision FROM accepted")
        known = {meter: Reference(fed_by, phases, revision) for meter, fed_by, phases, revision in rows}
        return self.references() | known

    def _set_state(self, item: StoredFinding, state: State) -> None:
        result, _, number = item.id.removeprefix("LV").partition("-")
        self._db.execute(
            "UPDATE finding SET state = ? WHERE result = ? AND number = ?", (state.value, int(result), int(number))
        )


def _row(finding: Finding) -> tuple[object, ...]:
    votes = [[vote.method, vote.transformer, vote.phases, round(vote.probability, 6)] for vote in finding.votes]
    return (
        finding.meter,
        finding.transformer,
        finding.phases,
        finding.parent,
        finding.confidence,
        finding.state.value,
        finding.reason.value,
        finding.recorded_transformer,
        finding.recorded_phases,
        json.dumps(votes),
        finding.lag,
    )


def _finding(row: tuple[object, ...]) -> StoredFinding:
    result, number, meter, transformer, phases, parent, confidence, state, reason, was, was_phases, votes, lag = row
    return StoredFinding(
        f"LV{result}-{number}",
        Finding(
            meter=str(meter),
            transformer=str(transformer),
            phases=str(phases),
            parent=str(parent),
            confidence=float(str(confidence)),
            state=State(str(state)),
            reason=Reason(str(reason)),
            recorded_transformer=str(was),
            recorded_phases=str(was_phases),
            votes=tuple(MethodVote(*vote) for vote in json.loads(str(votes))),
            lag=int(str(lag)),
        ),
    )
