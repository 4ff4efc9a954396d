"""Back to an earlier revision of the mapping: by command, into the files, and what edits become of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from peers.mapping_bed import QUICK, UNHURRIED, MappingBed, station
from peers.waiting import until

from twin_gateway.control import ControlError

DEMO = Path(__file__).parents[3] / "mappings"


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
    await bed.watch(settle=UNHURRIED)
    bed.path.write_text(station(bay="F03"))
    await bed.ask("rollback")
    await asyncio.sleep(UNHURRIED + QUICK)
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
