"""Records of commissioning in SQLite: appended to only, each durable before it is answered, kept over restarts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.record import Approval, CommandTest, Known, Record, Result, Trial
from twin_gateway.sqlite import Database

FILE: Final = "commissioning.sqlite"
_WITH_DIGEST: Final = "(markdown_digest = :value OR csv_digest = :value)"
_AT_ONCE: Final = 500
"""Addresses that are read in one go: the interpreter is held for some milliseconds then."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS test (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS approval (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS protocol (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, time TEXT NOT NULL, user TEXT NOT NULL,
    markdown TEXT NOT NULL, csv TEXT NOT NULL, markdown_digest TEXT NOT NULL, csv_digest TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS signature (
    record INTEGER PRIMARY KEY, protocol INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS record_address ON record(address, id);
CREATE INDEX IF NOT EXISTS test_address ON test(address, id);
CREATE INDEX IF NOT EXISTS approval_address ON approval(address, id);
CREATE INDEX IF NOT EXISTS protocol_place ON protocol(place, id);
CREATE INDEX IF NOT EXISTS protocol_markdown ON protocol(markdown_digest);
CREATE INDEX IF NOT EXISTS protocol_csv ON protocol(csv_digest);
"""
_APPENDED_TO: Final = ("record", "test", "approval", "signature", "protocol")
_TRIGGERS: Final = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_{name} BEFORE {verb} ON {table}"
    f" BEGIN SELECT RAISE(ABORT, '{table}s of commissioning are appended to only'); END;\n"
    for table in _APPENDED_TO
    for name, verb in (("stays", "UPDATE"), ("is_kept", "DELETE"))
)


@dataclass(frozen=True, slots=True)
class KeptProtocol:
    """A protocol as it was signed.

    Attributes:
        place: that it is about.
        time: of the sign-off, ISO 8601 in UTC.
        user: who signed.
        markdown, csv: the two forms, whole.
        markdown_digest, csv_digest: SHA-256 (hex) in their last line.
    """

    place: str
    time: str
    user: str
    markdown: str
    csv: str
    markdown_digest: str
    csv_digest: str


class CommissioningStore:
    """The records of one gateway.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA + _TRIGGERS)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._database.path

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._database.is_open

    async def open(self) -> None:
        """Open or make the file.

        Raises:
            OSError, sqlite3.Error: it cannot be opened or written, or is damaged.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def add(
        self,
        records: Sequence[Record] = (),
        tests: Sequence[CommandTest] = (),
        approvals: Sequence[Approval] = (),
    ) -> None:
        """Keep what was found; on disk when this returns.

        Raises:
            sqlite3.Error: nothing of it was kept.
        """

        def work(database: sqlite3.Connection) -> None:
            rows = {
                "record": [(each.address, _dumped(each, ("number", "signed"))) for each in records],
                "test": [(each.address, _dumped(each)) for each in tests],
                "approval": [(each.address, _dumped(each)) for each in approvals],
            }
            _insert(database, rows)

        await self._database.transaction(work)

    async def recorded(self, place: str) -> list[str]:
        """Addresses at and below a place where somebody has found something; also of what is mapped no more."""
        # '0' follows '/': everything below a place and nothing beside it.
        query = (
            "SELECT DISTINCT address FROM record WHERE address = ? OR (address >= ? AND address < ?) ORDER BY address"
        )
        values = (place, f"{place}/", f"{place}0")
        return await self._database.run(lambda database: [row[0] for row in database.execute(query, values)])

    async def known_of(self, addresses: Sequence[str]) -> dict[str, Known]:
        """All that is kept of some addresses."""
        found: dict[str, Known] = {}
        for start in range(0, len(addresses), _AT_ONCE):
            found |= await self._database.run(partial(_known, addresses=addresses[start : start + _AT_ONCE]))
        return found

    async def sign(self, protocol: KeptProtocol, records: Iterable[int]) -> None:
        """Keep a protocol, and that it signs these records.

        Raises:
            sqlite3.Error: nothing of it was kept.
        """
        numbers = list(records)

        def work(database: sqlite3.Connection) -> None:
            row = database.execute(
                "INSERT INTO protocol (place, time, user, markdown, csv, markdown_digest, csv_digest)"
                " VALUES (:place, :time, :user, :markdown, :csv, :markdown_digest, :csv_digest)",
                asdict(protocol),
            )
            signed = row.lastrowid
            database.executemany(
                "INSERT OR IGNORE INTO signature VALUES (?, ?)", [(number, signed) for number in numbers]
            )

        await self._database.transaction(work)

    async def protocol(self, place: str) -> KeptProtocol | None:
        """The last protocol of a place; None when there is none."""
        return await self._protocol("place = :value", place)

    async def protocol_with(self, digest: str) -> KeptProtocol | None:
        """The protocol that has a digest in its last line; None when none of ours does."""
        return await self._protocol(_WITH_DIGEST, digest)

    async def text(self, digest: str, start: int, count: int) -> tuple[str, int] | None:
        """A part of a protocol in the form that has the digest, and how long all of it is; None for none of ours."""
        query = (
            "SELECT substr(text, :start + 1, :count), length(text) FROM (SELECT CASE WHEN markdown_digest = :value"  # noqa: S608 - constants
            f" THEN markdown ELSE csv END AS text FROM protocol WHERE {_WITH_DIGEST} ORDER BY id DESC LIMIT 1)"
        )
        values = {"value": digest, "start": start, "count": count}
        found = await self._database.run(lambda database: database.execute(query, values).fetchone())
        return None if found is None else (str(found[0]), int(found[1]))

    async def _protocol(self, condition: str, value: str) -> KeptProtocol | None:
        columns = "place, time, user, markdown, csv, markdown_digest, csv_digest"

        def work(database: sqlite3.Connection) -> KeptProtocol | None:
            found = database.execute(
                f"SELECT {columns} FROM protocol WHERE {condition} ORDER BY id DESC LIMIT 1",  # noqa: S608 - constants
                {"value": value},
            ).fetchone()
            return KeptProtocol(*found) if found is not None else None

        return await self._database.run(work)


def _dumped(one: Record | CommandTest | Approval, without: Sequence[str] = ()) -> str:
    return json.dumps({name: value for name, value in asdict(one).items() if name not in without}, ensure_ascii=False)


def _insert(database: sqlite3.Connection, rows: dict[str, list[tuple[str, str]]]) -> None:
    for table, lines in rows.items():
        database.executemany(f"INSERT INTO {table} (address, document) VALUES (?, ?)", lines)  # noqa: S608 - constant


def _known(database: sqlite3.Connection, addresses: Sequence[str]) -> dict[str, Known]:
    records = _last(database, "record", addresses)
    query = f"SELECT record, protocol FROM signature WHERE record IN ({_marks(records)})"  # noqa: S608 - constants
    signed = dict(database.execute(query, [number for number, _, _ in records]))
    found = {
        address: Known(record=_record(number, document, signed.get(number, 0))) for number, address, document in records
    }
    for _, address, document in _last(database, "test", addresses):
        more = {"tested": Trial(document["tested"]), "command_ids": tuple(document["command_ids"])}
        found[address] = replace(found.get(address, Known()), test=CommandTest(**document | more))
    for _, address, document in _last(database, "approval", addresses):
        found[address] = replace(found.get(address, Known()), approval=Approval(**document))
    return found


def _last(database: sqlite3.Connection, table: str, addresses: Sequence[str]) -> list[tuple[int, str, dict[str, Any]]]:
    """(number, address, document) of the last line of each address."""
    rows = database.execute(
        f"SELECT MAX(id), address, document FROM {table}"  # noqa: S608 - constants
        f" WHERE address IN ({_marks(addresses)}) GROUP BY address",
        addresses,
    )
    return [(number, address, json.loads(text)) for number, address, text in rows]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _record(number: int, document: dict[str, Any], signed: int) -> Record:
    return Record(
        **document
        | {
            "number": number,
            "result": Result(document["result"]),
            "roles": tuple(document["roles"]),
            "binding": Binding(**document["binding"]),
            "signed": signed,
        }
    )
