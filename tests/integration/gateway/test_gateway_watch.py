"""Mapping files that are edited while the gateway works: noticed, checked, applied; an alarm while they have errors."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from peers.mapping_bed import QUICK, UNHURRIED, MappingBed, at_once, station
from peers.waiting import until

from twin_gateway.checked_apart import Checked, Files


async def test_an_edited_file_is_applied_by_itself(bed: MappingBed) -> None:
    await bed.watch()
    bed.path.write_text(station() + station("b", "F02").partition("devices:\n")[2])
    await until(lambda: bed.has("F02"))
    record = (await bed.recorded(2))[-1]
    assert (record.kind, record.details["by"]) == ("mapping.apply", "watch")
    assert record.details["changed"]["devices_added"] == 1


async def test_a_broken_file_changes_nothing_and_raises_an_alarm_until_it_is_mended(bed: MappingBed) -> None:
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


async def test_where_files_are_only_checked_a_valid_one_waits_for_apply(bed: MappingBed) -> None:
    await bed.watch(apply=False)
    bed.path.write_text(station(bay="F02").replace("M_ME_TF_1", "M_XX"))
    await until(bed.alarm)
    bed.path.write_text(station(bay="F02"))
    await until(lambda: not bed.alarm())
    assert bed.has("F01")
    assert [reason for reason, _ in bed.kept()] == ["start"]


async def test_files_that_were_applied_by_hand_are_not_told_to_be_valid_nor_read_again(
    bed: MappingBed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "twin_gateway.watching")
    checks = []

    async def counted(files: Files) -> Checked:
        checks.append(files)
        return await at_once(files)

    def told() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.name == "twin_gateway.watching"]

    monkeypatch.setattr("twin_gateway.change_desk.check_apart", counted)
    await bed.watch(apply=False, settle=UNHURRIED)
    bed.path.write_text(station(bay="F02"))
    await bed.ask("apply")
    bed.path.write_text(station(bay="F02").replace("M_ME_TF_1", "M_XX"))
    await bed.ask("apply")
    await asyncio.sleep(UNHURRIED + QUICK)
    assert (len(checks), told()) == (2, [])
    bed.path.write_text(station(bay="F02"))  # as it runs
    await until(lambda: len(checks) == 3 and not bed.alarm())
    bed.path.write_text(station(bay="F03"))
    await until(told)
    assert "are valid; `twin-gateway apply`" in told()[0]


async def test_errors_are_logged_once_and_counted_in_words(bed: MappingBed, caplog: pytest.LogCaptureFixture) -> None:
    await bed.watch()
    bed.path.write_text(station().replace("M_ME_TF_1", "M_XX"))
    await until(bed.alarm)
    await bed.ask("apply")
    await asyncio.sleep(4 * QUICK)
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(told) == 1
    assert told[0].startswith("the changed mapping files have 1 error, nothing has changed; the first: ")


async def test_a_file_is_read_only_when_it_has_been_still_for_a_moment(bed: MappingBed) -> None:
    await bed.watch()
    text = station() + station("b", "F02").partition("devices:\n")[2]
    with bed.path.open("w") as file:
        for start in range(0, len(text), 120):  # an editor that takes its time
            file.write(text[start : start + 120])
            file.flush()
            await asyncio.sleep(QUICK / 3)
    await until(lambda: bed.has("F02"))
    assert [each.kind for each in await bed.recorded(2)] == ["mapping.start", "mapping.apply"]


async def test_files_are_not_read_while_git_writes_its_working_tree(bed: MappingBed) -> None:
    (bed.files.parent / ".git").mkdir()
    lock = bed.files.parent / ".git" / "index.lock"
    await bed.watch()
    lock.touch()
    bed.path.write_text(station(bay="F02"))  # valid, but only the first of two files
    await asyncio.sleep(4 * QUICK)
    assert bed.has("F01")
    (bed.files / "second.yaml").write_text(station("b", "F03"))
    lock.unlink()
    await until(lambda: bed.has("F02") and bed.has("F03"))
    assert [each.kind for each in await bed.recorded(2)] == ["mapping.start", "mapping.apply"]


async def test_a_folder_that_is_away_for_a_moment_is_no_change(bed: MappingBed) -> None:
    await bed.watch(settle=UNHURRIED)
    bed.files.rename(bed.files.with_name("away"))
    await asyncio.sleep(QUICK)
    bed.files.with_name("away").rename(bed.files)
    await asyncio.sleep(UNHURRIED + QUICK)
    assert not bed.alarm()
    assert [each.kind for each in await bed.records()] == ["mapping.start"]


async def test_a_file_that_is_replaced_added_or_removed_is_noticed(bed: MappingBed) -> None:
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


async def test_files_edited_between_the_start_and_the_watch_are_noticed(bed: MappingBed) -> None:
    bed.path.write_text(station(bay="F02"))
    await bed.watch()
    await until(lambda: bed.has("F02"))


async def test_the_lock_file_of_an_editor_is_no_mapping_file(bed: MappingBed) -> None:
    await bed.watch()
    (bed.files / ".#station.yaml").symlink_to("anna@host.4711")
    bed.path.write_text(station(bay="F02"))
    await until(lambda: bed.has("F02"))
    assert not bed.alarm()


async def test_the_alarm_is_over_when_the_gateway_starts_with_valid_files(bed: MappingBed) -> None:
    await bed.watch()
    bed.path.write_text(station().replace("M_ME_TF_1", "M_XX"))
    await until(bed.alarm)
    bed.path.write_text(station())
    await bed.restart()
    assert not bed.alarm()


async def test_files_that_lack_one_elsewhere_are_checked_again_by_themselves(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("twin_gateway.watching.AGAIN_S", 0.2)
    await bed.watch()
    ied = "  ied:\n    protocol: iec61850\n    host: 127.0.0.1\n    port: 1\n    scl: ../F01Q1.cid\n    ied: F01Q1\n"
    ied += "    at: {MV1/F02: {points: {MMXU1/TotW: {ref: LD0/MMXU1.TotW}}}}\n"
    bed.path.write_text(station() + ied)
    await until(bed.alarm)
    assert "F01Q1.cid" in bed.alarm()
    shutil.copy(Path(__file__).parents[3] / "mappings" / "demo" / "scl" / "F01Q1.cid", tmp_path)
    await until(lambda: bed.has("F02"))
    await until(lambda: not bed.alarm())
