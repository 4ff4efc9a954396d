"""Append-only audit journal in SQLite: a record is on disk before `append` returns; outcomes by request id survive."""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import asdict
from pathlib import Path

from address_space import clock
from address_space.ports import AuditRecord, Outcome
from twin_gateway.sqlite import Database, transaction

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    user TEXT NOT NULL,
    client TEXT NOT NULL,
    address TEXT NOT NULL,
    command_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    text TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS request (
    id TEXT PRIMARY KEY,
    command TEXT NOT NULL,
    time INTEGER NOT NULL,
    outcome TEXT
);
CREATE INDEX IF NOT EXISTS request_time ON request(time);
CREATE TRIGGER IF NOT EXISTS audit_is_append_only_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_append_only_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit journal is append-only'); END;
"""
_COLUMNS = ("time", "kind", "user", "client", "address", "command_id", "status", "text")
"""Of an audit record as it is; `details` are JSON."""
REQUESTS_KEPT_S = 7 * 86_400.0
"""How long the outcome of a request id is remembered."""

_ENTRY = "auditEntry"
"""Member of the details that keeps the AuditEntryId."""


class RequestMisusedError(ValueError):
    """A request id was used again for something else."""


class AuditJournal:
    """The `AuditLog` port on SQLite (write-ahead log, every commit synchronised to disk).

    All database work happens on one thread of its own, in order; the event loop never waits for the disk.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._owed: list[tuple[str, Outcome, AuditRecord]] = []

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._database.path

    async def open(self) -> None:
        """Open or make the journal (file mode 0600).

        Raises:
            OSError, sqlite3.Error: when it cannot be written; the gateway must not start then.
        """
        await self._database.open()
        oldest = clock.now() - int(REQUESTS_KEPT_S * clock.TICKS_PER_SECOND)
        await self._database.run(lambda database: database.execute("DELETE FROM request WHERE time < ?", (oldest,)))

    async def close(self) -> None:
        """Close the file and end the thread; nothing happens when it is closed already."""
        if self._owed and self._database.is_open:
            try:
                await self._database.run(self._pay)
            except sqlite3.Error:
                log.exception("%d outcomes of commands are missing in the audit journal", len(self._owed))
        await self._database.close()

    async def append(self, record: AuditRecord) -> None:
        """Write a record; on disk when this returns."""
        await self._database.transaction(lambda database: _insert(database, record))

    async def begin_request(self, request: str, command: str, record: AuditRecord) -> Outcome | None:
        """Register a request id together with its first audit record, in one transaction.

        Args:
            request: unique key of the caller's request.
            command: what it asks, as text; a repeated id must ask the same.
            record: the audit record of the command, written only when the id is new.

        Returns:
            None when the id is new and the command may go on. Otherwise the first outcome; one without an outcome
            yet (the gateway ended in between) is an unknown outcome.

        Raises:
            RequestMisusedError: the id was used for another command.
        """
        return await self._database.run(lambda database: self._begin(database, request, command, record))

    async def end_request(self, request: str, outcome: Outcome, record: AuditRecord) -> None:
        """Keep the outcome of a command, and of its request id when it has one.

        When it cannot be written now it is owed: it is written before anything else, so no further command begins
        without it (which also bounds what is owed).

        Raises:
            sqlite3.Error: it is not on disk yet.
        """
        await self._database.run(lambda database: self._end(database, request, outcome, record))

    async def records(self, limit: int = 1000) -> list[AuditRecord]:
        """The newest records, newest first."""
        return await self._database.run(lambda database: _read(database, limit))

    # ---- on the journal's thread ----------------------------------------------------------------------------------

    def _begin(self, database: sqlite3.Connection, request: str, command: str, record: AuditRecord) -> Outcome | None:
        self._pay(database)
        with transaction(database):
            if request:
                row = database.execute("SELECT command, outcome FROM request WHERE id = ?", (request,)).fetchone()
                if row is not None:
                    if row[0] != command:
                        raise RequestMisusedError("the request id was used for another command")
                    return _outcome_of(row[1])
                database.execute("INSERT INTO request VALUES (?, ?, ?, NULL)", (request, command, record.time))
            _insert(database, record)
        return None

    def _end(self, database: sqlite3.Connection, request: str, outcome: Outcome, record: AuditRecord) -> None:
        self._owed.append((request, outcome, record))
        self._pay(database)

    def _pay(self, database: sqlite3.Connection) -> None:
        while self._owed:
            try:
                _write_outcome(database, *self._owed[0])
            except sqlite3.OperationalError:
                raise  # the disk: it stays owed
            except Exception:
                del self._owed[0]  # it would fail for ever
                raise
            del self._owed[0]


def _write_outcome(database: sqlite3.Connection, request: str, outcome: Outcome, record: AuditRecord) -> None:
    with transaction(database):
        if request:
            database.execute("UPDATE request SET outcome = ? WHERE id = ?", (json.dumps(asdict(outcome)), request))
        _insert(database, record)


def _insert(database: sqlite3.Connection, record: AuditRecord) -> None:
    details = {**record.details, **({_ENTRY: record.audit_entry} if record.audit_entry else {})}
    values = *(getattr(record, name) for name in _COLUMNS), json.dumps(details)
    database.execute(
        f"INSERT INTO audit ({', '.join(_COLUMNS)}, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        values,
    )


def _read(database: sqlite3.Connection, limit: int) -> list[AuditRecord]:
    rows = database.execute(
        f"SELECT {', '.join(_COLUMNS)}, details FROM audit ORDER BY id DESC LIMIT ?",  # noqa: S608 - constant
        (limit,),
    )
    found = []
    for *columns, text in rows:
        details = json.loads(text)
        entry = details.pop(_ENTRY, "")
        found.append(AuditRecord(**dict(zip(_COLUMNS, columns, strict=True)), details=details, audit_entry=entry))
    return found


def _outcome_of(text: str | None) -> Outcome:
    if text is None:
        return Outcome(
            0x800A_0000,
            gate="request",
            text="The gateway ended while this command was under way: its outcome is unknown, it is not repeated",
            sent=True,
        )
    return Outcome(**json.loads(text))
