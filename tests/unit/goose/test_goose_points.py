"""Points of the GOOSE driver that come, go and change, and what it takes from an SCL file."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from open61850.data import (
    BitStringData,
    BoolData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
)
from peers.goose import AT
from peers.goose_scl import with_goose
from peers.waiting import until
from unit.goose.goose_bed import HZ, MEMBERS, NDS, REC, ST, TR, VALUES, Make, point, points, ticks, trip

from address_space.quality import Quality, status_of
from twin_gateway.drivers.contract import LinkLost, PointChange


async def test_points_come_and_go_while_the_messages_go_on(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    assert HZ not in bed.link.last
    await bed.driver.update(PointChange(added=[all_points[HZ], all_points[ST]]))
    assert bed.link.value(ST) == 1
    await bed.heard(4, 1, trip(True))
    assert bed.link.value(HZ) == 50.0
    await bed.driver.update(PointChange(removed=[all_points[TR]]))
    await bed.heard(5, 0, trip(False))
    assert bed.link.value(TR) == 1.0


async def test_points_that_are_there_lose_neither_their_time_nor_their_supervision_when_others_come(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:2])
    await bed.heard(4, 0, trip(False))
    await bed.heard(5, 0, trip(True), at=AT + timedelta(seconds=7))
    await bed.driver.update(PointChange(added=[all_points[HZ]], removed=[all_points[TR]]))
    await bed.heard(5, 1, trip(True), at=AT + timedelta(seconds=7))
    assert bed.link.last[REC] == (1.0, 0, ticks(AT))
    assert bed.link.last[HZ][0] == 50.0
    await bed.heard(5, 2, trip(True), at=AT + timedelta(seconds=7), live=100)
    await bed.driver.update(PointChange(added=[all_points[TR]], removed=[all_points[HZ]]))
    await until(lambda: bed.link.counters["subscription_losses"] == 1)
    assert status_of(bed.link.last[REC][1]).name == "UncertainNoCommunicationLastUsableValue"
    assert status_of(bed.link.last[HZ][1]).name == "Good"


async def test_a_point_that_comes_while_the_configuration_is_another_one_is_unusable_too(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    await bed.heard(4, 1, trip(True), revision=4)
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert [status_of(bed.link.last[row][1]).name for row in (TR, HZ)] == ["BadConfigurationError"] * 2
    assert bed.link.value(TR) == 1.0


async def test_a_point_that_comes_has_the_value_of_the_last_state_at_once_and_the_others_keep_theirs(
    make: Make,
) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True, hertz=49.5))
    before = bed.link.last[TR]
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert bed.link.value(HZ) == 49.5
    assert bed.link.last[HZ][2] == before[2], "it has the time of the state"
    assert bed.link.last[TR] == before
    await bed.driver.update(PointChange(removed=[all_points[HZ]]))
    await bed.heard(5, 0, trip(False, hertz=48.0))
    assert (bed.link.value(TR), bed.link.value(HZ)) == (0.0, 49.5)


async def test_a_point_that_comes_after_the_publisher_fell_silent_has_no_value(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    await until(lambda: bed.link.counters["subscription_losses"] == 1)
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert bed.link.value(HZ) is None


async def test_points_that_change_while_the_capture_starts_are_not_forgotten(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1], listen=False)
    bed.slow = asyncio.Event()
    bed.task = asyncio.create_task(bed.driver.run(bed.link))
    await until(lambda: bed.request)
    await bed.driver.update(PointChange(added=[all_points[HZ]], removed=[all_points[TR]]))
    bed.slow.set()
    await until(lambda: bed.driver._running)
    await bed.heard(4, 0, trip(True))
    assert bed.link.value(HZ) == 50.0
    assert TR not in bed.link.last


async def test_points_that_grow_old_sooner_are_kept_fresh_more_often(make: Make) -> None:
    often, never = [
        await make([point(0, *VALUES[0][::2], ref=VALUES[0][1], stale_after=after)]) for after in (0.2, None)
    ]
    for sequence in range(24):
        for bed in (often, never):
            await bed.heard(4, sequence, trip(False))
        await asyncio.sleep(0.05)
    assert often.link.batches >= 6
    assert never.link.batches == 1


async def test_a_point_that_the_data_set_does_not_hold_is_a_configuration_error(make: Make) -> None:
    bed = await make([point(0, "PTOC1/Op", "ACT", ref="LD0/PTOC1.Op")])
    assert status_of(bed.link.last[0][1]).name == "BadConfigurationError"
    assert bed.link.last_errors["PTOC1/Op"] == "LD0/PTOC1.Op is not in the data set"


async def test_it_offers_what_its_data_sets_hold(make: Make) -> None:
    bed = await make()
    assert [found.fields["ref"] for found in await bed.driver.discover()] == [MEMBERS[0], *MEMBERS[2:]]


@pytest.fixture
def scl(tmp_path: Path) -> str:
    return str(with_goose(tmp_path / "trip.cid"))


FROM_SCL = dict.fromkeys(("destination", "app_id", "data_set", "conf_rev", "members"))


async def test_with_an_scl_file_the_control_block_is_enough(make: Make, scl: str) -> None:
    chosen = [point(0, "XCBR1/Pos", "DPS", ref="LD0/XCBR1.Pos"), point(1, "PTRC1/Tr", "ACT", ref="LD0/PTRC1.Tr"),
              point(2, "LGOS1/ConfRevNum", "INS", item="ConfRevNum")]  # fmt: skip
    bed = await make(chosen, scl=scl, subscription=FROM_SCL)
    assert bed.request["streams"] == [["010ccd010001", 0x3001]]
    own = AT - timedelta(days=3)
    origin = StructureData([IntData(2), OctetStringData(b"x")])
    quality = BitStringData(b"\x00\x10", 3)
    position = [origin, UIntData(1), BitStringData(b"\x80", 6), quality, TimestampData(own), BoolData(False)]
    names = [found.fields["ref"] for found in await bed.driver.discover()]
    assert names == ["LD0/XCBR1.Pos", "LD0/PTRC1.Tr"]
    await bed.heard(4, 0, [StructureData(position), BoolData(True)], vlan_id=5, vlan_priority=4)
    assert bed.link.last[0][0] == 2.0
    assert bed.link.last[0][1] & Quality.TEST
    assert bed.link.last[0][2] == ticks(own)
    assert bed.link.last[1] == (1.0, 0, ticks(AT))
    assert bed.link.value(2) == 3.0


async def test_a_control_block_that_the_scl_file_does_not_have_ends_the_run_and_is_said(make: Make, scl: str) -> None:
    bed = await make(scl=scl, subscription={**FROM_SCL, "control_block": "F07Q1LD0/LLN0$GO$other"}, listen=False)
    with pytest.raises(LinkLost, match="has no address"):
        await bed.driver.run(bed.link)
    assert [event[:3] for event in bed.link.events] == ["D03"]
    assert status_of(bed.link.last[TR][1]).name == "BadConfigurationError"
    assert bed.link.value(NDS) == 1
