"""A small durable database: SQLite on a thread of its own, every transaction on disk before it returns."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

ResultT = TypeVar("ResultT")


class Database:
    """One file (mode 0600); write-ahead log, every commit synchronised to disk. The event loop never waits for it.

    Args:
        path: of the file; its folder is made when it is missing.
        schema: SQL that makes what is not there yet.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._path

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._connection is not None

    async def open(self) -> None:
        """Open or make the file, also after it has been closed.

        Raises:
            OSError, sqlite3.Error: when it cannot be written.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._path.stem)
        await self._on_thread(self._open)

    async def close(self) -> None:
        """Close the file and end the thread; nothing happens when it is closed already."""
        if self._connection is not None:
            await self._on_thread(self._connection.close)
            self._connection = None
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def transaction(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run `work` in one transaction on the database's thread; on disk when this returns.

        Raises:
            sqlite3.Error: nothing of it was written.
        """
        return await self._on_thread(lambda: self._in_transaction(work))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(self._schema)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def _in_transaction(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        connection = self._connection
        if connection is None:
            raise sqlite3.ProgrammingError(f"{self._path.name} is closed")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
            return result
        finally:
            if connection.in_transaction:  # the work failed, or the COMMIT did (disk full)
                connection.execute("ROLLBACK")

    async def _on_thread(self, work: Callable[[], ResultT]) -> ResultT:
        if self._executor is None:
            raise sqlite3.ProgrammingError(f"{self._path.name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
