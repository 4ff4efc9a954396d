"""The DuckDB file of the history: opening it, its tables, transactions, columns under a name that SQL can use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy.typing as npt

from twin_gateway.set_aside import set_aside

COLUMNS = {
    "sample": "series INTEGER, time BIGINT, received BIGINT, value DOUBLE, status UINTEGER, late BOOLEAN, text VARCHAR",
    "event": "time BIGINT, address VARCHAR, record VARCHAR",
}
"""Of the tables of segments, by kind."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS series(id INTEGER, address VARCHAR, type UTINYINT, since BIGINT)",
    "CREATE TABLE IF NOT EXISTS gap(begin_ BIGINT, end_ BIGINT, reason VARCHAR)",
    "CREATE TABLE IF NOT EXISTS state(until BIGINT, run VARCHAR, batch BIGINT)",
    "INSERT INTO state SELECT NULL, '', 0 WHERE (SELECT count(*) FROM state) = 0",
    "CREATE TABLE IF NOT EXISTS segment(kind VARCHAR, number INTEGER, day VARCHAR)",
)
_DAMAGE = ("not a valid", "corrupt", "checksum", "truncated")
"""What DuckDB says of files that are damaged, among its errors of input and output."""


class HistoryPausedError(Exception):
    """Nothing can be written at present (disk full, file gone); what waits is still there, try again later."""


def open_database(path: Path, memory_mb: int, tell: Callable[[str], None]) -> duckdb.DuckDBPyConnection:
    """Open the file; one that is damaged is put aside, told, and begun anew.

    Raises:
        duckdb.Error, OSError: it cannot be opened for other reasons.
    """
    try:
        return _opened(path, memory_mb)
    except (duckdb.Error, UnicodeDecodeError) as error:
        if not path.exists() or not _damaged(error):
            raise
        kept = set_aside(path, "damaged")
        tell(f"History of today begins anew: {path.name} is damaged ({first_line(error)}), kept as {kept.name}")
        return _opened(path, memory_mb)


def _damaged(error: BaseException) -> bool:
    if isinstance(error, duckdb.IOException):
        return any(word in str(error).lower() for word in _DAMAGE)
    return not isinstance(error, duckdb.OutOfMemoryException)


def _opened(path: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        str(path),
        config={
            "threads": 1,
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(path.parent / "tmp"),
            "checkpoint_threshold": "64MB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )
    try:
        make_tables(database)
        path.chmod(0o600)
    except BaseException:
        database.close()
        raise
    return database


def make_tables(database: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that are not there."""
    for statement in _SCHEMA:
        database.execute(statement)


class transaction:  # noqa: N801 - reads like a statement where it is used
    """One transaction; an exception rolls it back."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
            return
        with contextlib.suppress(duckdb.Error):  # the error that led here may have ended it, or the database
            self._database.execute("ROLLBACK")


class registered:  # noqa: N801 - reads like a statement where it is used
    """Columns under a name that SQL can use."""

    def __init__(self, database: duckdb.DuckDBPyConnection, columns: dict[str, npt.NDArray[Any]]) -> None:
        self._database, self._columns = database, columns

    def __enter__(self) -> str:
        self._database.register("new_rows", self._columns)
        return "new_rows"

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(duckdb.Error):  # of a database that has failed
            self._database.unregister("new_rows")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
