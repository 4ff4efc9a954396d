"""SQLite files of the gateway: how each is opened, written in transactions, and begun anew when it is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from twin_gateway.set_aside import set_aside

ResultT = TypeVar("ResultT")
KeptT_co = TypeVar("KeptT_co", covariant=True)

FORMAT = 1
"""Of the tables of all files (`PRAGMA user_version`); to be raised when an earlier gateway could misread them."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class LaterFormatError(sqlite3.OperationalError):
    """The file was written by a later version of the gateway; it stays as it is."""


def connect(path: Path, schema: str, *, every_commit: bool = True) -> sqlite3.Connection:
    """Open or make a file that nobody else may read (mode 0600); write-ahead log, transactions are begun explicitly.

    Args:
        path: of the file; its folder is made when it is missing.
        schema: SQL that makes what is not there yet.
        every_commit: synchronised to disk (else a power failure may take the last ones, and leaves no damage).

    Raises:
        LaterFormatError: see there.
        OSError, sqlite3.Error: it cannot be opened or written, or is damaged (`is_damaged`).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=True)
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.is_file() and file.stat().st_mode & 0o077:
            file.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > FORMAT:
            text = f"{path.name} was written by a later version of the gateway (format {found}, known is {FORMAT})"
            raise LaterFormatError(text)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if every_commit else 'NORMAL'}")
        connection.executescript(schema)
        if found < FORMAT:
            connection.execute(f"PRAGMA user_version={FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction; whatever goes wrong in it rolls it back.

    Raises:
        sqlite3.Error: nothing of it was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        # After a COMMIT that failed (disk full) the transaction may stand; after some errors SQLite has ended it.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def is_damaged(error: Exception) -> bool:
    """Whether an error says that the file is damaged, and not that it is locked, not ours, or the disk full."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def damaged_aside(path: Path, error: Exception) -> str:
    """Put a file aside that an error says to be damaged; returns what was done, in words.

    Raises:
        Exception: the error itself, when it says something else.
        OSError: the file cannot be renamed.
    """
    if not is_damaged(error):
        raise error
    kept = set_aside(path, "damaged")
    return f"{path.name} is damaged ({error}); kept as {kept.name}"


class Store(Protocol[KeptT_co]):
    """Something that keeps what it has in a file; `open` gives what is kept in it."""

    @property
    def path(self) -> Path:
        """Of the file."""

    async def open(self) -> KeptT_co:
        """Open it."""

    async def close(self) -> None:
        """Close it; it can be opened again."""


async def opened(store: Store[KeptT_co], what: str, told: Callable[[str], object]) -> KeptT_co:
    """What a store has kept; a damaged file is put aside, told in words, and begun anew.

    Raises:
        OSError, sqlite3.Error: it cannot be opened or written, for other reasons than damage.
    """
    try:
        return await store.open()
    except (OSError, sqlite3.Error) as error:
        await store.close()
        told(f"{what} begin anew: {damaged_aside(store.path, error)}")
        return await store.open()


class Database:
    """One file on a thread of its own, every transaction on disk before it returns. The event loop never waits for it.

    Args:
        path, schema: as of `connect`.
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

    async def run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run `work` on the database's thread; it begins its transactions itself.

        Raises:
            sqlite3.Error: as the work does; the file is closed.
        """
        return await self._on_thread(lambda: work(self._opened()))

    def _open(self) -> None:
        if self._connection is None:
            self._connection = connect(self._path, self._schema)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError(f"{self._path.name} is closed")
        return self._connection

    def _in_transaction(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        with transaction(self._opened()) as connection:
            return work(connection)

    async def _on_thread(self, work: Callable[[], ResultT]) -> ResultT:
        if self._executor is None:
            raise sqlite3.ProgrammingError(f"{self._path.name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, _without_cursor, work)


def _without_cursor(work: Callable[[], ResultT]) -> ResultT:
    """Do work; its cursor ends with it.

    Freed on the event loop, a cursor would reset the cached statement that the next work is about to run.
    """
    result = work()
    if isinstance(result, sqlite3.Cursor):
        result.close()
    return result
