"""Records of commissioning on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.record import Approval, CommandTest, Record, Result, Trial
from twin_gateway.commissioning.store import _WITH_DIGEST, CommissioningStore, KeptProtocol

TIME = "2026-11-23T10:00:00.000Z"


def record(address: str, note: str = "") -> Record:
    return Record(
        0, address, Result.CONFIRMED, True, "ines", ("Installer",), TIME, note, {"good": True}, Binding("t", "d"), "r"
    )


async def test_the_last_of_each_kind_counts_and_outlives_a_restart(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    address = "dso1/a/b/c/d/e/MMXU1/TotW"
    await store.add(records=[record(address, "first")], approvals=[Approval(address, "d", "erik", TIME)])
    await store.add(records=[record(address, "second")])
    await store.add(tests=[CommandTest(address, "d", Trial.SELECTED, "1", "", "ines", TIME, ("id",))])
    await store.close()
    again = CommissioningStore(tmp_path / "c.sqlite")
    await again.open()
    known = (await again.known_of([address]))[address]
    assert known.record is not None
    assert (known.record.note, known.record.signed, known.record.roles) == ("second", 0, ("Installer",))
    assert known.test is not None
    assert known.test.tested is Trial.SELECTED
    assert known.approval == Approval(address, "d", "erik", TIME)
    await again.close()
    assert (tmp_path / "c.sqlite").stat().st_mode & 0o777 == 0o600


async def test_a_place_is_what_is_below_it_and_nothing_beside_it(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    addresses = ["dso1/n/PS1", "dso1/n/PS1/MV1/F05/_/MMXU1/Hz", "dso1/n/PS10/MV1/F05/_/MMXU1/Hz", "dso1/n/PS1-1/MV1"]
    await store.add(records=[record(address) for address in addresses])
    assert await store.recorded("dso1/n/PS1") == addresses[:2]
    assert len(await store.recorded("dso1")) == 4
    await store.close()


async def test_a_sign_off_signs_the_records_it_names_and_no_later_ones(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    await store.add(records=[record("dso1/a"), record("dso1/b")])
    known = await store.known_of(await store.recorded("dso1"))
    first = known["dso1/a"].record
    assert first is not None
    await store.sign(KeptProtocol("dso1", TIME, "ines", "md", "csv", "1", "2"), [first.number])
    signed = (await store.known_of(["dso1/a"]))["dso1/a"].record
    other = (await store.known_of(["dso1/b"]))["dso1/b"].record
    assert signed is not None
    assert other is not None
    assert (signed.signed, other.signed) == (1, 0)
    await store.add(records=[record("dso1/a", "looked at again")])
    later = (await store.known_of(["dso1/a"]))["dso1/a"].record
    assert later is not None
    assert later.signed == 0
    for digest in ("1", "2"):
        found = await store.protocol_with(digest)
        assert found is not None
        assert found.place == "dso1"
    assert await store.protocol_with("3") is None
    assert await store.protocol("dso1/a") is None
    await store.close()


async def test_nothing_is_changed_afterwards(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    await store.add(
        records=[record("dso1/a")],
        tests=[CommandTest("dso1/a", "d", Trial.REFUSED, "1", "", "ines", TIME)],
        approvals=[Approval("dso1/a", "d", "erik", TIME)],
    )
    for digest in ("first", "second"):
        await store.sign(KeptProtocol("dso1", TIME, "ines", "md", "csv", digest, ""), [1])
    signed = (await store.known_of(["dso1/a"]))["dso1/a"].record
    assert signed is not None
    assert signed.signed == 1
    await store.close()
    database = sqlite3.connect(tmp_path / "c.sqlite")
    for table, column in (
        ("record", "address"), ("test", "document"), ("approval", "address"), ("signature", "protocol"),
        ("protocol", "csv"),
    ):  # fmt: skip
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = '9'"):
            with pytest.raises(sqlite3.IntegrityError, match=f"{table}s of commissioning are appended to only"):
                database.execute(statement)
    database.close()


async def test_however_many_addresses_are_asked_for_are_found(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    addresses = [f"dso1/{number:04}" for number in range(1201)]
    await store.add(records=[record(address) for address in addresses])
    known = await store.known_of([*addresses, "dso1/other"])
    assert list(known) == addresses
    assert await store.known_of([]) == {}
    await store.close()


async def test_a_protocol_is_found_by_its_digest_without_reading_the_texts_of_others(tmp_path: Path) -> None:
    store = CommissioningStore(tmp_path / "c.sqlite")
    await store.open()
    for number in range(3):
        await store.sign(
            KeptProtocol("dso1", TIME, "ines", f"md{number}", f"csv{number}", f"m{number}", f"c{number}"), []
        )
    assert [await store.text(digest, 1, 2) for digest in ("m1", "c2", "x")] == [("d1", 3), ("sv", 4), None]
    await store.close()
    database = sqlite3.connect(tmp_path / "c.sqlite")
    query = f"EXPLAIN QUERY PLAN SELECT place FROM protocol WHERE {_WITH_DIGEST} ORDER BY id DESC LIMIT 1"
    plan = [row[-1] for row in database.execute(query, {"value": "m1"})]
    database.close()
    assert any("protocol_markdown" in step for step in plan), plan
    assert not any(step.startswith("SCAN protocol") for step in plan), plan
