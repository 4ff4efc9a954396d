"""Changes of the running mapping, forth and back: each is recorded and kept once, and MappingRevision follows."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from peers.mapping_bed import QUICK, MappingBed, station, working
from peers.waiting import until

from twin_gateway.changed import ChangeError
from twin_gateway.checked_apart import Checked, Files
from twin_gateway.control import ControlError
from twin_gateway.drivers.registry import create_driver
from twin_gateway.mapping.check import check
from twin_gateway.revisions import hash_of

DEMO = Path(__file__).parents[3] / "mappings"


@pytest_asyncio.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MappingBed]:
    async for each in working(tmp_path, monkeypatch):
        yield each


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


async def test_what_is_rolled_back_stays_so_until_the_next_edit(bed: MappingBed) -> None:
    await bed.watch()
    bed.path.write_text(station(bay="F02"))
    await until(lambda: bed.has("F02"))
    await bed.recorded(2)
    await bed.ask("rollback")
    assert (bed.has("F01"), bed.has("F02")) == (True, False)
    await asyncio.sleep(4 * QUICK)
    assert (bed.has("F01"), bed.has("F02")) == (True, False)
    bed.path.write_text(station(bay="F03"))
    await until(lambda: bed.has("F03"))
    await bed.recorded(4)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback", "apply"]


async def test_an_edit_that_waits_when_a_rollback_comes_is_not_applied_after_it(bed: MappingBed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    await bed.watch()
    bed.path.write_text(station(bay="F03"))
    await bed.ask("rollback")
    await asyncio.sleep(4 * QUICK)
    assert (bed.has("F01"), bed.has("F03")) == (True, False)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]


async def test_the_start_after_a_rollback_reads_the_files(bed: MappingBed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    await bed.ask("rollback")
    await bed.restart()
    assert (bed.has("F01"), bed.has("F02")) == (False, True)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback", "start"]
    assert (await bed.records())[-1].kind == "mapping.start"


async def test_a_device_that_is_rolled_back_reads_its_own_scl_file_again(bed: MappingBed) -> None:
    scl = bed.files / "F01Q1.cid"
    shutil.copy(DEMO / "demo" / "scl" / "F01Q1.cid", scl)
    ied = "  ied:\n    protocol: iec61850\n    host: 127.0.0.1\n    port: 1\n    scl: F01Q1.cid\n    ied: F01Q1\n"
    ied += "    at: {MV1/F01: {points: {MMXU1/TotW: {ref: LD0/MMXU1.TotW}}}}\n"
    head = station().partition("  rtu-a")[0]
    for port in (1, 2):
        bed.path.write_text(head + ied.replace("port: 1", f"port: {port}"))
        await bed.apply()
    await bed.ask("rollback")
    (device,) = bed.gateway.mapping.devices
    assert Path(device.config.scl) == scl
    await bed.ask("rollback")
    scl.write_text(scl.read_text() + "<!-- another edition -->")
    await bed.ask("rollback")
    (device,) = bed.gateway.mapping.devices
    assert Path(device.config.scl).parents[1] == bed.config.data_directory / "mappings"
    assert "another edition" not in Path(device.config.scl).read_text()


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
    await bed.watch()
    bed.path.write_text(station(bay="F02"))
    answers = await asyncio.gather(bed.ask("apply"), bed.ask("apply"), bed.ask("apply"))
    assert most == 1
    assert sorted(len(each["applied"]["points_added"]) for each in answers) == [0, 0, 1]
    await asyncio.sleep(4 * QUICK)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply"]


async def test_a_mapping_that_cannot_be_applied_raises_the_alarm(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError("no such library")

    first = bed.gateway.changes.hash()
    with monkeypatch.context() as patch:
        patch.setattr("twin_gateway.applying.create_driver", refuses)
        bed.path.write_text(station("b", "F02"))
        with pytest.raises(ChangeError, match="no such library"):
            await bed.apply()
    assert "cannot be applied" in bed.alarm()
    assert bed.gateway.changes.hash() == first
    assert (await bed.records())[-1].status == 0x8089_0000
    await bed.apply()
    assert not bed.alarm()


@pytest.mark.parametrize(
    ("spoil", "wanted", "sentence"),
    [
        (lambda _copy: None, "zz", "no revision begins with 'zz'"),
        (lambda copy: copy.write_text("mapping: 1\n"), "", "is not what was kept"),
        (lambda copy: copy.unlink(), "", "cannot be read"),
    ],
)
async def test_a_rollback_that_cannot_be_changes_nothing_and_is_recorded(
    bed: MappingBed, spoil: Callable[[Path], None], wanted: str, sentence: str
) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    running = bed.gateway.changes.revision
    assert running is not None
    spoil(next(running.store.contents(running.store.all()[0]))[0])
    with pytest.raises(ControlError, match=sentence):
        await bed.ask("rollback", revision=wanted)
    assert bed.has("F02")
    assert (await bed.records())[-1].status == 0x8089_0000


async def test_the_running_revision_is_no_rollback(bed: MappingBed) -> None:
    with pytest.raises(ControlError, match="no other revision"):
        await bed.ask("rollback")
    with pytest.raises(ControlError, match="is the one that runs"):
        await bed.ask("rollback", revision=bed.gateway.changes.hash())


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


async def test_the_commands_list_revisions_and_go_back(bed: MappingBed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    listed = json.loads((await bed.command("revisions", "--json"))[1])["revisions"]
    second, first = (each["hash"] for each in listed)
    assert [each["runs"] for each in listed] == [True, False]
    code, text = await bed.command("rollback", first[:5])
    assert code == 0
    assert "points added: 1\n  dso1/north/PS01/MV1/F01/_/MMXU1/TotW\n" in text
    assert f"revision {first} of " in text
    assert "the next start or apply takes them as they are" in text
    assert bed.path.read_text() == station(bay="F02")
    code, text = await bed.command("revisions")
    marks = [(line[0], line.split()[0 if line[0] == " " else 1]) for line in text.splitlines()]
    assert marks == [("*", first), (" ", second), (" ", first)]
    assert "rollback" in text.splitlines()[0]
    code, text = await bed.command("rollback", "zz")
    assert (code, "no revision begins with 'zz'" in text) == (1, True)


async def test_kept_files_are_written_back_and_what_came_later_is_put_aside(bed: MappingBed) -> None:
    bed.path.chmod(0o640)
    bed.path.write_text(station(bay="F02"))
    (bed.files / "second.yaml").write_text(station("b", "F03"))
    await bed.apply()
    await bed.watch()
    code, text = await bed.command("rollback", "--restore")
    assert code == 0, text
    assert bed.path.read_text() == station()
    assert bed.path.stat().st_mode & 0o777 == 0o640
    assert (bed.files / "second.yaml.before-rollback").read_text() == station("b", "F03")
    first = bed.gateway.changes.hash()
    await asyncio.sleep(4 * QUICK)
    assert (bed.has("F01"), bed.has("F02"), bed.has("F03")) == (True, False, False)
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]
    await bed.restart()
    assert bed.gateway.changes.hash() == first
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]


async def test_files_that_were_edited_since_are_written_over_only_by_force_and_kept(bed: MappingBed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    bed.path.write_text(station(bay="F09"))
    code, text = await bed.command("rollback", "--restore")
    assert (code, f"edited since the gateway took them last: {bed.path}" in text) == (1, True)
    assert (bed.has("F02"), bed.path.read_text()) == (True, station(bay="F09"))
    code, text = await bed.command("rollback", "--restore", "--force")
    assert (code, bed.has("F01"), bed.path.read_text()) == (0, True, station())
    assert (bed.files / "station.yaml.before-rollback").read_text() == station(bay="F09")


async def test_the_running_revision_can_be_written_back_later(bed: MappingBed) -> None:
    first = bed.gateway.changes.hash()
    bed.path.write_text(station(bay="F02"))
    await bed.apply()
    assert (await bed.command("rollback"))[0] == 0
    code, text = await bed.command("rollback", first, "--restore")
    assert (code, text, bed.path.read_text()) == (0, f"{bed.path} is as it was\n", station())
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]


async def test_what_was_applied_from_elsewhere_is_not_written_back(bed: MappingBed, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other.yaml"
    elsewhere.write_text(station(bay="F02"))
    await bed.ask("apply", paths=[str(elsewhere)])
    other = bed.gateway.changes.hash()
    assert (await bed.command("rollback"))[0] == 0
    code, text = await bed.command("rollback", other, "--restore")
    assert (code, "applied from elsewhere" in text) == (1, True)
    assert bed.has("F01")


async def test_what_fails_once_the_mapping_runs_is_told_and_the_next_change_mends_it(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def fails_when_it_counts(*arguments: Any) -> Any:
        made.append(arguments)
        if len(made) == 2:  # the first was tried
            raise OSError("no more memory for this link")
        return create_driver(*arguments)

    monkeypatch.setattr("twin_gateway.applying.create_driver", fails_when_it_counts)
    before = bed.gateway.changes.hash()
    bed.path.write_text(station().replace("port: 1", "port: 2"))
    changed = await bed.apply()
    assert changed.applied is not None
    told = "link rtu-a cannot follow the changed mapping (OSError: no more memory for this link)"
    assert changed.applied.restart == (told,)
    assert bed.gateway.changes.hash() != before
    assert [each.status for each in await bed.records()] == [0, 0]
    bed.path.write_text(station())
    changed = await bed.apply()
    assert changed.applied is not None
    assert (changed.applied.reconnected, changed.applied.restart) == (("rtu-a",), ())
    assert bed.gateway.link_states()["rtu-a"] == "down"


async def test_a_gateway_that_stops_gives_up_what_is_only_checked(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def endless(_files: Files) -> Checked:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr("twin_gateway.change_desk.check_apart", endless)
    asked = asyncio.create_task(bed.ask("apply"))
    await begun.wait()
    await bed.gateway.changes.close()
    with pytest.raises(ControlError, match="the gateway stops; nothing has changed"):
        await asked
    with pytest.raises(ControlError, match="the gateway stops; nothing has changed"):
        await bed.ask("rollback")
    assert [each.kind for each in await bed.records()] == ["mapping.start"]


async def test_a_gateway_that_stops_finishes_what_it_carries_out(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, applier = asyncio.Event(), bed.gateway.applier
    renew = applier._renew_rules

    async def slow(plan: Any) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await renew(plan)

    monkeypatch.setattr(applier, "_renew_rules", slow)
    bed.path.write_text(station(bay="F02"))
    asked = asyncio.create_task(bed.ask("apply"))
    await begun.wait()
    await bed.gateway.changes.close()
    assert [reason for reason, _ in bed.kept()] == ["start", "apply"]
    assert [each.kind for each in await bed.records()] == ["mapping.start", "mapping.apply"]
    assert (await asked)["applied"]["points_added"]


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
