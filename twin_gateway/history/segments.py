"""Segments of the history: arrivals of one day, a DuckDB table while it grows and a Parquet file afterwards."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

_NAME = re.compile(r"(?P<kind>sample|event)-(?P<number>\d{8})-(?P<day>\d{4}-\d\d-\d\d)\.parquet\Z")
KINDS = ("sample", "event")


class SegmentDamagedError(Exception):
    """A file is no Parquet file of the history."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One kind of records (`sample`, `event`) that arrived one after the other.

    Attributes:
        number: rises with the time of arrival, for ever.
        day: UTC day of arrival, `2026-01-31`.
        low, high: earliest and newest source time in ticks; low > high when it is empty.
        rows: how many.
        path: the file; None while it is a table.
        octets: of the file.
        late: whether it has late samples.
    """

    kind: str
    number: int
    day: str
    low: int = 1 << 62
    high: int = -1
    rows: int = 0
    path: Path | None = None
    octets: int = 0
    late: bool = False

    @property
    def table(self) -> str:
        """Name of its table."""
        return f"{self.kind}_{self.number:08}"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.kind}-{self.number:08}-{self.day}.parquet"

    def overlaps(self, start: int, end: int) -> bool:
        """Whether it can have records with `start <= source time < end`."""
        return self.low < end and self.high >= start


def parse_name(name: str) -> Segment | None:
    """Kind, number and day of a file of the history; None for other files."""
    match = _NAME.match(name)
    return Segment(match["kind"], int(match["number"]), match["day"]) if match is not None else None


def read_segment(connection: duckdb.DuckDBPyConnection, path: Path) -> Segment:
    """What a closed file says of itself.

    Raises:
        SegmentDamagedError: it cannot be read.
    """
    named = parse_name(path.name)
    if named is None:
        raise SegmentDamagedError(f"{path.name} is no file of the history")
    try:
        found = connection.execute("SELECT key, value FROM parquet_kv_metadata($1)", [str(path)]).fetchall()
        counted = connection.execute("SELECT num_rows FROM parquet_file_metadata($1)", [str(path)]).fetchone()
        said = {key.decode(): int(value) for key, value in found if key in (b"low", b"high", b"late")}
        return Segment(
            named.kind,
            named.number,
            named.day,
            said["low"],
            said["high"],
            int(counted[0]) if counted is not None else 0,
            path,
            path.stat().st_size,
            bool(said["late"]),
        )
    except (duckdb.Error, KeyError, ValueError, OSError) as error:
        raise SegmentDamagedError(f"{path.name}: {str(error).splitlines()[0]}") from error


def write_segment(connection: duckdb.DuckDBPyConnection, segment: Segment, folder: Path) -> Segment:
    """Copy a table, sorted, to its file: written under another name, on disk before it gets its own.

    Raises:
        duckdb.Error, OSError: it cannot be written; nothing is left of it.
    """
    path = folder / segment.file_name
    unfinished = path.with_suffix(".unfinished")
    if segment.kind == "sample":
        wanted = (
            "h.series, s.address, s.type, h.time, h.received, h.value, h.status, h.late, h.text "
            f"FROM {segment.table} h JOIN series s ON s.id = h.series ORDER BY h.series, h.time, h.rowid"
        )
    else:
        wanted = f"time, address, record FROM {segment.table} ORDER BY time, rowid"
    try:
        connection.execute(
            f"COPY (SELECT {wanted}) TO '{_quoted(unfinished)}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, "
            f"KV_METADATA {{low: '{segment.low}', high: '{segment.high}', late: '{segment.late:d}'}})"
        )
        _synchronise(unfinished)
        unfinished.rename(path)
        _synchronise(folder)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return replace(segment, path=path, octets=path.stat().st_size)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def file_list(segments: list[Segment]) -> str:
    """Closed segments as a list of files in SQL."""
    return "[" + ", ".join(f"'{_quoted(segment.path)}'" for segment in segments if segment.path is not None) + "]"


def _synchronise(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
