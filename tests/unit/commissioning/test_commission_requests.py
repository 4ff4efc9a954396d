"""Requests of those who commission: whose devices they may ask, who is let in, and what outlives its place."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from address_space.events import EventJournal
from address_space.ports import AuditRecord, Caller, Right
from address_space.table import PointTable
from twin_gateway.commissioning import sessions
from twin_gateway.commissioning.requests import Commissioning
from twin_gateway.commissioning.store import KeptProtocol
from twin_gateway.control import ControlError
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.plant import build_plant
from twin_gateway.schemes import make_book

HERE, GONE = "dso1/a/PS01/MV1/F01", "dso1/a/PS01/MV1/F09"
FILE = """\
mapping: 1
grid: dso1
place: a/PS01
devices:
  one:
    protocol: iec104
    host: 10.0.0.1
    at: {MV1/F01: {points: {MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}}}}
  two:
    protocol: iec104
    host: 10.0.0.2
    at: {MV1/F02: {points: {MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}}}}
"""


class Policy:
    """Everybody is an installer in the first bay, while it lasts."""

    lasts = True

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        return Caller(user, frozenset({"Installer"}), client)

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return self.lasts and right is Right.COMMISSION and address.startswith(HERE)


class Audit:
    """A journal that can be full."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.full = False

    async def append(self, record: AuditRecord) -> None:
        if self.full:
            raise sqlite3.OperationalError("disk full")
        self.records.append(record)


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
async def desk(tmp_path: Path, policy: Policy, audit: Audit) -> AsyncIterator[Commissioning]:
    (tmp_path / "m.yaml").write_text(FILE)
    mapping, problems = check([tmp_path / "m.yaml"])
    assert mapping is not None, problems
    table = PointTable()
    plant = build_plant(
        mapping, table, EventJournal(), grid="dso1", gateway="gw1", data_directory=tmp_path
    )  # fmt: skip
    config = SimpleNamespace(data_directory=tmp_path, gateway="gw1")
    book = make_book(mapping, plant.aliases, table, "urn:example")
    parts = {"config": config, "mapping": mapping, "table": table, "plant": plant, "book": book}
    made = Commissioning(cast(Gateway, SimpleNamespace(**parts, policy=policy, audit=audit)))
    await made.store.open()
    yield made
    await made.store.close()


async def ask(desk: Commissioning, what: str, **more: Any) -> Any:
    return await desk.handlers[f"commission.{what}"](more)


async def log_in(desk: Commissioning, user: str) -> str:
    begun = await ask(desk, "begin", user=user, password="", place=HERE)
    return str(begun["token"])


async def test_only_devices_of_the_place_are_asked(desk: Commissioning) -> None:
    token = await log_in(desk, "ines")
    told = await ask(desk, "refresh", token=token, device="one")
    assert told["text"].startswith("link one is ")
    with pytest.raises(ControlError, match="no point of the place is of a device 'two'"):
        await ask(desk, "refresh", token=token, device="two")


async def test_what_somebody_left_open_keeps_others_out_but_not_them(
    desk: Commissioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MOST", 2)
    first, second = await log_in(desk, "ines"), await log_in(desk, "ines")
    with pytest.raises(ControlError, match="2 people commission already"):
        await log_in(desk, "ivan")
    third = await log_in(desk, "ines")
    with pytest.raises(ControlError, match="log in again"):
        await ask(desk, "list", token=first)
    for token in (second, third):
        assert (await ask(desk, "list", token=token))["total"] == 1


async def test_the_protocol_of_a_place_that_is_mapped_no_more_is_told(desk: Commissioning) -> None:
    await desk.store.sign(KeptProtocol(GONE, "2026-11-23T10:00:00Z", "ines", "md", "csv", "1", "2"), [])
    told = await ask(desk, "report", place=GONE)
    assert (told["place"], told["void"]) == (GONE, [])
    for place in (f"{GONE}/QA1", HERE):
        with pytest.raises(ControlError, match=r"names nothing here|no protocol of"):
            await ask(desk, "report", place=place)


async def test_every_login_is_in_the_audit_or_there_is_none(desk: Commissioning, audit: Audit) -> None:
    await log_in(desk, "ines")
    (record,) = audit.records
    assert (record.kind, record.user, record.address) == ("commission.begun", "ines", HERE)
    audit.full = True
    with pytest.raises(ControlError, match="audit journal cannot be written"):
        await log_in(desk, "ivan")
    assert len(desk._sessions._open) == 1


async def test_whose_roles_are_taken_away_is_shown_nothing_any_more(desk: Commissioning, policy: Policy) -> None:
    token = await log_in(desk, "ines")
    assert (await ask(desk, "list", token=token))["total"] == 1
    policy.lasts = False
    for what, more in (("list", {}), ("refresh", {"device": "one"}), ("sign", {})):
        with pytest.raises(ControlError, match="ines may not do this at"):
            await ask(desk, what, token=token, **more)
