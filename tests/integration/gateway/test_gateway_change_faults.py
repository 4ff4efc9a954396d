"""Changes of the running mapping that fail, hang, or meet the end of the gateway."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from peers.mapping_bed import MappingBed, station
from peers.waiting import until

from twin_gateway.changed import ChangeError
from twin_gateway.checked_apart import Checked, Files
from twin_gateway.control import ControlError
from twin_gateway.drivers.registry import create_driver


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


async def test_a_change_whose_new_link_cannot_be_made_leaves_everything_as_it_was(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no more memory for this link")

    before, table = bed.gateway.mapping, bed.gateway.table
    bed.path.write_text(station("b", "F02"))
    with monkeypatch.context() as patch:
        patch.setattr("twin_gateway.plant.create_driver", fails)  # when it counts; it was tried before
        with pytest.raises(ChangeError, match="no more memory"):
            await bed.apply()
    assert (bed.has("F01"), bed.has("F02"), table.edition, bed.gateway.mapping) == (True, False, 0, before)
    assert [link.name for link in bed.gateway.plant.links] == ["rtu-a"]
    await until(lambda: bed.gateway.link_states()["rtu-a"] == "down")
    assert (await bed.apply()).applied is not None
    assert (bed.has("F01"), bed.has("F02"), list(bed.gateway.link_states())) == (False, True, ["rtu-b"])


async def test_what_fails_after_the_points_are_exchanged_is_told_and_the_rest_is_done(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("out of order")

    monkeypatch.setattr(bed.gateway.alarms, "end", fails)
    bed.path.write_text(station("b", "F02"))
    changed = await bed.apply()
    assert changed.applied is not None
    assert changed.applied.restart == (
        "alarms of what is removed cannot follow the changed mapping (OSError: out of order)",
    )
    assert (bed.has("F01"), bed.has("F02"), list(bed.gateway.link_states())) == (False, True, ["rtu-b"])
    assert bed.gateway.changes.hash() == (await bed.ask("mapping"))["hash"]


async def test_a_driver_that_hangs_while_its_points_change_has_its_link_made_anew(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(_change: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("twin_gateway.drivers.link.UPDATE_S", 0.05)
    monkeypatch.setattr(bed.gateway.plant.links[0].driver, "update", hangs)
    bed.path.write_text(station(bay="F02"))
    async with asyncio.timeout(10):
        changed = await bed.apply()
    assert changed.applied is not None
    assert changed.applied.reconnected == ("rtu-a",)
    assert (bed.has("F01"), bed.has("F02")) == (False, True)


async def test_a_link_that_does_not_end_refuses_the_change_and_holds_up_no_stop(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, before = asyncio.Event(), bed.gateway.mapping

    async def stubborn() -> None:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    monkeypatch.setattr("twin_gateway.gateway.END_S", 0.05)
    monkeypatch.setattr(bed.gateway.plant.links[0], "run", stubborn)
    assert await bed.gateway.applier.stop_link("rtu-a")
    bed.gateway.applier.start_link(bed.gateway.plant.links[0])
    await asyncio.sleep(0)
    bed.path.write_text(station("b", "F02"))
    with pytest.raises(ChangeError, match="link rtu-a does not end"):
        await bed.apply()
    assert (bed.has("F01"), bed.gateway.mapping) == (True, before)
    async with asyncio.timeout(10):
        await bed.gateway.stop()
    go.set()


async def test_a_gateway_that_stops_does_not_begin_what_waits_for_a_command(
    bed: MappingBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_gateway.change_desk._CLOSE_S", 0.05)
    under_way, before = bed.gateway.desk.under_way, bed.gateway.mapping
    bed.path.write_text(station().replace("port: 1", "port: 2"))
    with under_way.sending("1", "dso1/north/PS01/MV1/F01/QA1/CSWI1/Pos", "rtu-a"):
        asked = asyncio.create_task(bed.apply())
        await until(lambda: bool(under_way._held))
        await bed.gateway.changes.close()
    with pytest.raises(ChangeError, match="the gateway stops"):
        await asked
    assert bed.gateway.mapping is before
    assert [each.status != 0 for each in await bed.records()] == [False, True]


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
