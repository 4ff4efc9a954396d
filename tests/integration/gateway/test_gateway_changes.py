"""Changes of the running mapping, forth and back: each is recorded and kept once, and MappingRevision follows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua import Client, ua
from peers.mapping_bed import QUICK, UNHURRIED, MappingBed, station
from peers.waiting import until

from twin_gateway.mapping.check import check
from twin_gateway.revisions import hash_of


async def test_every_change_is_one_audit_record_and_one_revision(bed: MappingBed) -> None:
    first = bed.gateway.changes.hash()
    bed.path.write_text(station(ioa=21))
    await bed.ask("apply")
    second = bed.gateway.changes.hash()
    await bed.ask("rollback")
    bed.path.write_text(station(ioa=-1))
    told = await bed.ask("apply")
    assert (told["applied"], told["errors"]) == (None, 1)
    records = await bed.records()
    assert [each.kind for each in records] == ["mapping.start", "mapping.apply", "mapping.rollback", "mapping.apply"]
    assert [each.status for each in records] == [0, 0, 0, 0x8089_0000]
    me = (await bed.ask("mapping"))["user"]
    assert {each.user for each in records} == {me}
    _, applied, back, refused = records
    assert (applied.details["before"], applied.details["revision"]) == (first, second)
    assert applied.details["changed"]["points_changed"] == 1
    assert list(applied.details["files"]) == ["station.yaml"]
    assert len(applied.details["files"]["station.yaml"]) == 64
    assert (back.details["before"], back.details["revision"]) == (second, first)
    assert "station.yaml:10:" in refused.text
    assert len(refused.details["files"][str(bed.path)]) == 64
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]
    assert (await bed.ask("mapping"))["hash"] == first


async def test_a_start_is_recorded_only_with_other_files(bed: MappingBed) -> None:
    await bed.restart()
    assert [each.kind for each in await bed.records()] == ["mapping.start"]
    first = bed.gateway.changes.hash()
    bed.path.write_text(station(ioa=21))
    await bed.restart()
    records = await bed.records()
    assert [each.kind for each in records] == ["mapping.start"] * 2
    assert (records[0].details.get("before"), records[1].details["before"]) == (None, first)


async def test_mapping_revision_follows_and_tells_its_subscribers(bed: MappingBed) -> None:
    told: list[str] = []

    class Heard:
        def datachange_notification(self, _node: Any, value: str, _data: Any) -> None:
            told.append(value)

    assert bed.gateway.server is not None
    async with Client(bed.gateway.server.url) as client:
        subscription = await client.create_subscription(20, Heard())
        await subscription.subscribe_data_change(client.get_node(ua.NodeId("#Grid#MappingRevision", 2)))
        first = bed.gateway.changes.hash()
        await until(lambda: told == [first])
        bed.path.write_text(station() + "# only a comment\n")
        changed = await bed.apply()
        assert changed.applied is not None
        second = bed.gateway.changes.hash()
        assert second != first
        await until(lambda: told == [first, second])
        await bed.ask("rollback", revision=first[:6])
        await until(lambda: told == [first, second, first])


async def test_changes_at_one_time_come_one_after_the_other(bed: MappingBed) -> None:
    under_way, most = 0, 0
    before = bed.gateway.apply

    async def apply(mapping: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        try:
            return await before(mapping)
        finally:
            under_way -= 1

    bed.gateway.apply = apply  # type: ignore[method-assign]
    await bed.watch(settle=UNHURRIED)
    bed.path.write_text(station(bay="F02"))
    answers = await asyncio.gather(bed.ask("apply"), bed.ask("apply"), bed.ask("apply"))
    assert most == 1
    assert sorted(len(each["applied"]["points_added"]) for each in answers) == [0, 0, 1]
    await asyncio.sleep(UNHURRIED + QUICK)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply"]


async def test_a_revision_that_cannot_be_kept_runs_and_says_so(bed: MappingBed) -> None:
    running = bed.gateway.changes.revision
    assert running is not None
    (running.store.folder / "index.json").write_text("{")
    bed.path.write_text(station(bay="F02"))
    changed = await bed.apply()
    assert any("cannot be rolled back to" in note for note in changed.notes)
    assert bed.has("F02")
    mapping, _ = check([bed.files])
    assert mapping is not None
    assert bed.gateway.changes.hash() == hash_of(mapping)


async def test_an_answer_names_the_first_points_of_a_change_and_counts_them_all(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_gateway.apply_request.MOST_NAMED", 2)
    more = '{points: {"GGIO1/Ind{1..3}": {ioa: 31..33, type: M_SP_NA_1}, MMXU1'
    bed.path.write_text(station().replace("{points: {MMXU1", more))
    told = await bed.ask("apply")
    assert (len(told["applied"]["points_added"]), told["counts"]["points_added"]) == (2, 3)
    code, text = await bed.command("rollback")
    names = "\n".join(f"  dso1/north/PS01/MV1/F01/_/GGIO1/Ind{number}" for number in (1, 2))
    assert (code, f"points removed: 3\n{names}\n" in text, "differs" in text) == (0, True, False)


async def test_every_change_is_an_audit_event_with_the_revisions_before_and_after(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, told = bed.gateway.server, []
    assert server is not None and server.internal is not None
    feed = server.internal.event_feed
    monkeypatch.setattr(feed, "tell_audit", lambda event: told.append(feed.records.of_audit(event)))
    first = bed.gateway.changes.hash()
    bed.path.write_text(station(ioa=21))
    await bed.apply()
    second = bed.gateway.changes.hash()
    bed.path.write_text(station(ioa=-1))
    await bed.apply()
    names = ("SourceName", "ClientUserId", "Status", "OldStateId", "NewStateId")
    assert [[each.field(name)[1] for name in names] for each in told] == [
        ["Mapping/apply", "anna", True, first, second],
        ["Mapping/apply", "anna", False, second, second],
    ]
    assert len(await bed.records()) == 3
