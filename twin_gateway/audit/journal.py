"""Append-only audit journal in SQLite: a record is on disk before `append` returns; outcomes by request id survive."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from address_space import clock
from address_space.ports import AuditRecord, Outcome

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
REQUESTS_KEPT_S = 7 * 86_400.0
"""How long the outcome of a request id is remembered."""

ResultT = TypeVar("ResultT")


class RequestMisusedError(ValueError):
    """A request id was used again for something else."""


class AuditJournal:
    """The `AuditLog` port on SQLite (write-ahead log, every commit synchronised to disk).

    All database work happens on one thread of its own, in order; the event loop never waits for the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._database: sqlite3.Connection | None = None
        self._owed: list[tuple[str, Outcome, AuditRecord]] = []

    async def open(self) -> None:
        """Open or make the journal (file mode 0600).

        Raises:
            OSError, sqlite3.Error: when it cannot be written; the gateway must not start then.
        """
        await self._run(self._open)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600, exist_ok=True)
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
        oldest = clock.now() - int(REQUESTS_KEPT_S * clock.TICKS_PER_SECOND)
        database.execute("DELETE FROM request WHERE time < ?", (oldest,))
        self._database = database

    async def close(self) -> None:
        """Close the file and end the thread."""
        await self._run(self._close)
        self._executor.shutdown(wait=True)

    def _close(self) -> None:
        if self._database is not None:
            if self._owed:
                try:
                    self._pay(self._database)
                except sqlite3.Error:
                    log.exception("%d outcomes of commands are missing in the audit journal", len(self._owed))
            self._database.close()
            self._database = None

    async def append(self, record: AuditRecord) -> None:
        """Write a record; on disk when this returns."""
        await self._run(lambda: self._insert(record))

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
        return await self._run(lambda: self._begin(request, command, record))

    async def end_request(self, request: str, outcome: Outcome, record: AuditRecord) -> None:
        """Keep the outcome of a command, and of its request id when it has one.

        When it cannot be written now it is owed: it is written before anything else, so no further command begins
        without it (which also bounds what is owed).

        Raises:
            sqlite3.Error: it is not on disk yet.
        """
        await self._run(lambda: self._end(request, outcome, record))

    async def records(self, limit: int = 1000) -> list[AuditRecord]:
        """The newest records, newest first."""
        return await self._run(lambda: self._read(limit))

    # ---- on the journal's thread ----------------------------------------------------------------------------------

    def _begin(self, request: str, command: str, record: AuditRecord) -> Outcome | None:
        database = self._open_database()
        self._pay(database)
        with _transaction(database):
            if request:
                row = database.execute("SELECT command, outcome FROM request WHERE id = ?", (request,)).fetchone()
                if row is not None:
                    if row[0] != command:
                        raise RequestMisusedError("the request id was used for another command")
                    return _outcome_of(row[1])
                database.execute("INSERT INTO request VALUES (?, ?, ?, NULL)", (request, command, record.time))
            self._insert(record)
        return None

    def _end(self, request: str, outcome: Outcome, record: AuditRecord) -> None:
        database = self._open_database()
        self._owed.append((request, outcome, record))
        self._pay(database)

    def _pay(self, database: sqlite3.Connection) -> None:
        while self._owed:
            try:
                self._write_outcome(database, *self._owed[0])
            except sqlite3.OperationalError:
                raise  # the disk: it stays owed
            except Exception:
                del self._owed[0]  # it would fail for ever
                raise
            del self._owed[0]

    def _write_outcome(self, database: sqlite3.Connection, request: str, outcome: Outcome, record: AuditRecord) -> None:
        with _transaction(database):
            if request:
                database.execute("UPDATE request SET outcome = ? WHERE id = ?", (json.dumps(asdict(outcome)), request))
            self._insert(record)

    def _insert(self, record: AuditRecord) -> None:
        self._open_database().execute(
            "INSERT INTO audit (time, kind, user, client, address, command_id, status, text, details) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.time,
                record.kind,
                record.user,
                record.client,
                record.address,
                record.command_id,
                record.status,
                record.text,
                json.dumps(dict(record.details)),
            ),
        )

    def _read(self, limit: int) -> list[AuditRecord]:
        rows = self._open_database().execute(
            "SELECT time, kind, user, client, address, command_id, status, text, details FROM audit "
            "ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        names = ("time", "kind", "user", "client", "address", "command_id", "status", "text")
        return [AuditRecord(**dict(zip(names, row, strict=False)), details=json.loads(row[8])) for row in rows]

    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.ProgrammingError("the audit journal is closed")
        return self._database

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _transaction:  # noqa: N801 - reads like a statement where it is used
    """One transaction; an exception rolls it back."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            # After a COMMIT that failed (disk full) the transaction may stand; after some errors SQLite has ended it.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _outcome_of(text: str | None) -> Outcome:
    if text is None:
        return Outcome(
            0x800A_0000,
            gate="request",
            text="The gateway ended while this command was under way: its outcome is unknown, it is not repeated",
            sent=True,
        )
    return Outcome(**json.loads(text))
