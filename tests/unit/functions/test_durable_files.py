"""A damaged file of a function is put aside and begun anew; one that cannot be used for other reasons stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from address_space.events import EventJournal
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.durable_files import opened
from twin_gateway.functions.supervision_store import Maintenance, SupervisionStore

PLACE, WORK = "dso1/north", Maintenance("olga", 1, "new relay")


async def test_what_was_kept_comes_back_also_from_a_file_that_is_opened_again(tmp_path: Path) -> None:
    store, alarms = SupervisionStore(tmp_path), Alarms(EventJournal())
    await opened(store, alarms, PLACE, "Books")
    await store.maintain(PLACE, WORK)
    await store.close()
    kept = await opened(store, alarms, PLACE, "Books")
    await store.close()
    assert kept.maintenance == {PLACE: WORK}


async def test_a_damaged_file_is_put_aside_told_and_begun_anew(tmp_path: Path) -> None:
    events = EventJournal()
    told = events.cursor("test")
    store = SupervisionStore(tmp_path)
    store.path.write_bytes(b"no database at all, but some text that is long enough " * 100)
    kept = await opened(store, Alarms(events), PLACE, "Books")
    await store.close()
    assert kept.maintenance == {}
    assert (tmp_path / "supervision-damaged.sqlite").read_bytes().startswith(b"no database")
    (event,) = told.take()
    assert (event.code, event.address) == ("G02", PLACE)
    assert "Books begin anew: supervision.sqlite is damaged" in event.text
    assert "kept as supervision-damaged.sqlite" in event.text
    told.close()


async def test_what_cannot_be_opened_for_other_reasons_stays_where_it_is(tmp_path: Path) -> None:
    store = SupervisionStore(tmp_path)
    store.path.mkdir()
    with pytest.raises((sqlite3.OperationalError, OSError)):
        await opened(store, Alarms(EventJournal()), PLACE, "Books")
    assert [each.name for each in tmp_path.iterdir()] == ["supervision.sqlite"]
    await store.close()
