"""SQLite files: mode, damage, a full disk, a later format; a damaged one is put aside and begun anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from twin_gateway.alarms.writing import WriteBehind
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.functions.flisr.journal import FlisrJournal
from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.losses_results import LossResults
from twin_gateway.functions.lv_topology_store import TopologyStore
from twin_gateway.functions.supervision_store import Maintenance, SupervisionStore
from twin_gateway.functions.switchgear_store import SwitchgearStore
from twin_gateway.sqlite import FORMAT, Database, LaterFormatError, connect, damaged_aside, opened, transaction

WORK = Maintenance("olga", 1, "new relay")
SCHEMA = "CREATE TABLE IF NOT EXISTS item(text TEXT NOT NULL)"


async def _one_of_each(folder: Path) -> None:
    """Make every file that the gateway has, and close it."""
    for store in (
        SupervisionStore(folder),
        SwitchgearStore(folder),
        FlisrJournal(folder / "flisr.sqlite"),
        AuditJournal(folder / "audit.sqlite"),
        WriteBehind(folder / "alarms.sqlite", lambda _identifier: None, lambda _text: None),
        Database(folder / "tags.sqlite", SCHEMA),
    ):
        await store.open()
        await store.close()
    for results in (LossResults(folder / "losses.sqlite", retention=1.0), TopologyStore(folder / "topology.sqlite")):
        results.open()
        results.close()
    IntervalStore(folder / "intervals.sqlite").close()


async def test_nobody_else_may_read_any_of_the_files_also_those_that_were_made_with_another_mode(
    tmp_path: Path,
) -> None:
    await _one_of_each(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    for file in files:
        file.chmod(0o644)
    await _one_of_each(tmp_path)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_a_file_of_a_later_gateway_is_refused_by_name_and_stays_as_it_is(tmp_path: Path) -> None:
    store = SupervisionStore(tmp_path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        database.execute(f"PRAGMA user_version={FORMAT + 1}")
    told: list[str] = []
    with pytest.raises(LaterFormatError, match=r"supervision\.sqlite was written by a later version"):
        await opened(store, "Books", told.append)
    assert told == []
    assert [each.name for each in tmp_path.iterdir()] == ["supervision.sqlite"]


async def test_what_was_kept_comes_back_also_from_a_file_that_is_opened_again(tmp_path: Path) -> None:
    store = SupervisionStore(tmp_path)
    await store.open()
    await store.maintain("dso1/north", WORK)
    await store.close()
    kept = await opened(store, "Books", pytest.fail)
    await store.close()
    assert kept.maintenance == {"dso1/north": WORK}


async def test_a_damaged_file_is_put_aside_told_and_begun_anew(tmp_path: Path) -> None:
    store, told = SupervisionStore(tmp_path), list[str]()
    store.path.write_bytes(b"no database at all, but some text that is long enough " * 100)
    kept = await opened(store, "Books", told.append)
    await store.close()
    assert kept.maintenance == {}
    assert (tmp_path / "supervision-damaged.sqlite").read_bytes().startswith(b"no database")
    (text,) = told
    assert text.startswith("Books begin anew: supervision.sqlite is damaged (")
    assert text.endswith("kept as supervision-damaged.sqlite")


async def test_pages_that_are_found_damaged_only_when_they_are_read_put_the_file_aside_too(tmp_path: Path) -> None:
    store = SupervisionStore(tmp_path)
    await store.open()
    await store.maintain("dso1/north", WORK)
    await store.close()
    octets = bytearray(store.path.read_bytes())
    octets[4096:] = b"\xa5" * (len(octets) - 4096)
    store.path.write_bytes(octets)
    told: list[str] = []
    kept = await opened(store, "Books", told.append)
    await store.close()
    assert kept.maintenance == {}
    assert (tmp_path / "supervision-damaged.sqlite").read_bytes() == octets
    assert "kept as supervision-damaged.sqlite" in told[0]


async def test_what_cannot_be_opened_for_other_reasons_stays_where_it_is(tmp_path: Path) -> None:
    store = SupervisionStore(tmp_path)
    store.path.mkdir()
    with pytest.raises((sqlite3.OperationalError, OSError)):
        await opened(store, "Books", pytest.fail)
    assert [each.name for each in tmp_path.iterdir()] == ["supervision.sqlite"]


def test_a_full_disk_is_no_damage_and_takes_nothing_of_a_transaction(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    with closing(connect(path, SCHEMA)) as database:
        database.execute("INSERT INTO item VALUES ('kept')")
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(sqlite3.OperationalError, match="full") as full, transaction(database):
            database.execute("INSERT INTO item VALUES ('small')")
            database.execute("INSERT INTO item VALUES (?)", ("x" * 100_000,))
        assert database.execute("SELECT text FROM item").fetchall() == [("kept",)]
        database.execute(f"PRAGMA max_page_count={pages + 100}")
        with transaction(database):
            database.execute("INSERT INTO item VALUES ('after')")
        assert database.execute("SELECT text FROM item").fetchall() == [("kept",), ("after",)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        damaged_aside(path, full.value)
    assert path.exists()


async def test_no_cursor_outlives_its_work_as_freed_elsewhere_it_would_meet_the_same_statement_at_work(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "items.sqlite", SCHEMA)
    await database.open()
    insert, rows = "INSERT INTO item VALUES (?)", [("a",), ("b",)]
    cursors = (
        await database.transaction(lambda connection: connection.executemany(insert, rows)),
        await database.run(lambda connection: connection.execute("SELECT text FROM item")),
    )
    for cursor in cursors:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            cursor.fetchone()
    await database.close()
