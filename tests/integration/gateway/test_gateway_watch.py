"""Mapping files are changed, watched, applied and rolled back on a gateway at work; every change is recorded once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from peers.waiting import patient, until

from address_space.ports import AuditRecord
from twin_gateway.change_desk import Asker, Changed, ChangeError
from twin_gateway.checked_apart import Checked, Files, in_pieces, put_together
from twin_gateway.config import GatewayConfig
from twin_gateway.control import ControlError, ask
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.revisions import hash_of, keep
from twin_gateway.watching import Watch

FILE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-{name}:
    protocol: iec104
    host: 127.0.0.1
    port: 1
    common_address: 7
    at: {{MV1/{bay}: {{points: {{MMXU1/TotW: {{ioa: {ioa}, type: M_ME_TF_1, unit: kW}}}}}}}}
"""
ME = Asker("anna")
QUICK = 0.15


def station(name: str = "a", bay: str = "F01", ioa: int = 20) -> str:
    return FILE.format(name=name, bay=bay, ioa=ioa)


class Bed:
    """A gateway at work whose only device never answers, and its folder of mapping files."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "mappings"
        self.files.mkdir()
        self.path = self.files / "station.yaml"
        self.path.write_text(station())
        self.config = GatewayConfig.model_validate(
            {
                "gateway": "gw1",
                "grid": "dso1",
                "authority": "https://example.org",
                "mappings": [self.files],
                "data_directory": folder / "data",
                "opcua": {"port": 0, "anonymous": "observe"},
                "http": None,
                "history": {"enabled": False},
                "watch": "off",
            }
        )
        self.gateway = self._made()
        self.watches: list[asyncio.Task[None]] = []

    def _made(self) -> Gateway:
        mapping, _ = check(self.config.mappings)
        assert mapping is not None
        running = keep(self.config.data_directory, mapping)
        gateway = Gateway(self.config, mapping, {}, revision=running)
        gateway.control.offer(running.handlers)
        return gateway

    async def restart(self) -> None:
        await self.stop()
        self.gateway = self._made()
        await self.gateway.start()

    async def watch(self, *, apply: bool = True) -> None:
        """Follow the files; has looked once when this returns."""
        watch = Watch(self.gateway.changes, apply=apply, every=0.05, settle=QUICK)
        looked = asyncio.Event()
        before = watch._look

        async def look() -> Any:
            seen = await before()
            looked.set()
            return seen

        watch._look = look  # type: ignore[method-assign]
        self.watches.append(asyncio.create_task(watch.run()))
        await looked.wait()

    async def stop(self) -> None:
        for each in self.watches:
            each.cancel()
        await asyncio.gather(*self.watches, return_exceptions=True)
        self.watches.clear()
        await self.gateway.stop()

    def has(self, address: str) -> bool:
        return self.gateway.table.find(f"dso1/north/PS01/MV1/{address}/_/MMXU1/TotW") >= 0

    def alarm(self) -> str:
        """What the alarm says; empty when there is none."""
        found = [each for each in self.gateway.conditions.at("dso1/_sys/gw1/_/_/mapping") if each.code == "G01"]
        return found[0].text if found and found[0].active else ""

    async def apply(self) -> Changed:
        return await self.gateway.changes.apply_files((), ME)

    async def ask(self, what: str, **more: Any) -> Any:
        return await asyncio.to_thread(ask, self.config.data_directory, what, **more)

    async def records(self) -> list[AuditRecord]:
        """Of changes of the mapping, the oldest first."""
        return [each for each in reversed(await self.gateway.audit.records()) if each.kind.startswith("mapping.")]

    async def recorded(self, count: int) -> list[AuditRecord]:
        """The records, when there are so many."""
        async with patient(15):
            while len(found := await self.records()) < count:
                await asyncio.sleep(0.02)
        return found

    def kept(self) -> list[tuple[str, str]]:
        running = self.gateway.changes.revision
        assert running is not None
        return [(each.reason, each.user) for each in running.store.all()]


async def at_once(files: Files) -> Checked:
    """The check, without a process of its own for these small files."""
    return put_together(in_pieces(files))


@pytest_asyncio.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr("twin_gateway.change_desk.check_apart", at_once)
    made = Bed(tmp_path)
    await made.gateway.start()
    yield made
    await made.stop()


async def test_every_change_is_one_audit_record_and_one_revision(bed: Bed) -> None:
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
    assert [reason for reason, _ in bed.kept()] == ["start", "apply", "rollback"]
    assert (await bed.ask("mapping"))["hash"] == first


async def test_a_start_is_recorded_only_with_other_files(bed: Bed) -> None:
    await bed.restart()
    assert [each.kind for each in await bed.records()] == ["mapping.start"]
    bed.path.write_text(station(ioa=21))
    await bed.restart()
    assert [each.kind for each in await bed.records()] == ["mapping.start"] * 2


async def test_mapping_revision_follows_and_tells_its_subscribers(bed: Bed) -> None:
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


async def test_an_edited_file_is_applied_by_itself(bed: Bed) -> None:
    await bed.watch()
    bed.path.write_text(station() + station("b", "F02").partition("devices:\n")[2])
    await until(lambda: bed.has("F02"))
    record = (await bed.recorded(2))[-1]
    assert (record.kind, record.details["by"]) == ("mapping.apply", "watch")
    assert record.details["changed"]["devices_added"] == 1


async def test_a_broken_file_changes_nothing_and_raises_an_alarm_until_it_is_mended(bed: Bed) -> None:
    await bed.watch()
    bed.path.write_text(station(bay="F02").replace("M_ME_TF_1", "M_XX"))
    await until(bed.alarm)
    assert f"goes on with revision {bed.gateway.changes.hash()}: {bed.path}:10:" in bed.alarm()
    assert bed.has("F01")
    first = bed.alarm()
    bed.path.write_text(station(bay="F02").replace("kW", "kQ"))
    await until(lambda: bed.alarm() != first)
    assert "kQ" in bed.alarm()
    bed.path.write_text(station(bay="F02"))
    await until(lambda: not bed.alarm())
    assert (bed.has("F01"), bed.has("F02")) == (False, True)


async def test_where_files_are_only_checked_a_valid_one_waits_for_apply(bed: Bed) -> None:
    await bed.watch(apply=False)
    bed.path.write_text(station(bay="F02").replace("M_ME_TF_1", "M_XX"))
    await until(bed.alarm)
    bed.path.write_text(station(bay="F02"))
    await until(lambda: not bed.alarm())
    assert bed.has("F01")
    assert [reason for reason, _ in bed.kept()] == ["start"]


async def test_a_file_is_read_only_when_it_has_been_still_for_a_moment(bed: Bed) -> None:
    await bed.watch()
    text = station() + station("b", "F02").partition("devices:\n")[2]
    with bed.path.open("w") as file:
        for start in range(0, len(text), 120):  # an editor that takes its time
            file.write(text[start : start + 120])
            file.flush()
            await asyncio.sleep(QUICK / 3)
    await until(lambda: bed.has("F02"))
    assert [each.kind for each in await bed.recorded(2)] == ["mapping.start", "mapping.apply"]


async def test_a_file_that_is_replaced_added_or_removed_is_noticed(bed: Bed) -> None:
    await bed.watch()
    new = bed.files / "station.yaml.new"
    new.write_text(station(bay="F03"))
    os.utime(new, ns=(bed.path.stat().st_atime_ns, bed.path.stat().st_mtime_ns))
    new.replace(bed.path)  # same size, same time: another inode
    await until(lambda: bed.has("F03"))
    further = bed.files / "deeper" / "second.yaml"
    further.parent.mkdir()
    further.write_text(station("b", "F02"))
    await until(lambda: bed.has("F02"))
    further.unlink()
    await until(lambda: not bed.has("F02"))
    assert bed.has("F03")


async def test_files_edited_between_the_start_and_the_watch_are_noticed(bed: Bed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.watch()
    await until(lambda: bed.has("F02"))


async def test_the_lock_file_of_an_editor_is_no_mapping_file(bed: Bed) -> None:
    await bed.watch()
    (bed.files / ".#station.yaml").symlink_to("anna@host.4711")
    bed.path.write_text(station(bay="F02"))
    await until(lambda: bed.has("F02"))
    assert not bed.alarm()


async def test_what_is_rolled_back_stays_so_until_the_next_edit(bed: Bed) -> None:
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


async def test_changes_at_one_time_come_one_after_the_other(bed: Bed) -> None:
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


async def test_a_mapping_that_cannot_be_applied_raises_the_alarm(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
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
    bed: Bed, spoil: Callable[[Path], None], wanted: str, sentence: str
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


async def test_the_running_revision_is_no_rollback(bed: Bed) -> None:
    with pytest.raises(ControlError, match="no other revision"):
        await bed.ask("rollback")
    with pytest.raises(ControlError, match="is the one that runs"):
        await bed.ask("rollback", revision=bed.gateway.changes.hash())


async def test_a_revision_that_cannot_be_kept_runs_and_says_so(bed: Bed) -> None:
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
