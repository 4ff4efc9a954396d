"""Devices that come and go while the supervision runs: counted from the next round on, the others as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from peers.twin.bench import Bench, Link

from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Point, PointProfile
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision import Supervision
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

GATEWAY = "dso1/_sys/gw1"
SETTLE_S = 30.0


def meter(number: int) -> str:
    return f"dso1/north/SP{number:02}/LV1/_/M1"


class Rig:
    """Three meters, each over a link of its own."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder, {f"{meter(number)}/MMXU1/TotW": f"m{number}" for number in range(3)})
        self.links = list(self.bench.links.values())
        self.function = Supervision(
            self.bench.context,
            SupervisionSettings(settle=SETTLE_S),
            self.links,
            dict.fromkeys(self.bench.links, "dlms"),
            gateway=GATEWAY,
            monotonic=lambda: self.bench.time,
            wall=lambda: self.bench.wall,
        )

    async def start(self) -> None:
        await self.function._open()
        self.bench.write({f"{meter(number)}/MMXU1/TotW": 100 for number in range(3)})
        await self.go(SETTLE_S + 1)

    async def go(self, seconds: float = 1.0) -> None:
        for chunk in self.bench.journal.take():
            self.function.take(chunk)
        self.bench.advance(seconds)
        self.bench.alarms.tick()
        await self.function.tick()

    async def change(self) -> None:
        self.function.renew(self.links, dict.fromkeys((link.name for link in self.links), "dlms"))
        await self.go()

    async def add(self, number: int) -> Link:
        link = Link(f"m{number}", f"{GATEWAY}/_/_/m{number}")
        link.state, link.counters["connects"] = LinkState.CONNECTING, 0
        address = f"{meter(number)}/MMXU1/TotW"
        self.bench.table.add([Point(address, PointProfile.of(classify(parse(address))), link.name, 0)])
        self.links.append(link)
        await self.change()
        return link

    async def remove(self, number: int) -> None:
        self.links = [link for link in self.links if link.name != f"m{number}"]
        self.bench.table.retire(np.array([self.bench.table.find(f"{meter(number)}/MMXU1/TotW")], np.int32))
        await self.change()

    def devices(self) -> int:
        return int(self.bench.value("dso1/north/_/_/_/_/twSUPV1/DevCnt"))

    def state(self, number: int) -> S:
        return self.function.index.devices[meter(number)].state.state


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.start()
    yield made
    await made.function.store.close()


async def test_a_device_that_comes_is_counted_and_has_time_to_come_up(rig: Rig) -> None:
    assert rig.devices() == 3
    link = await rig.add(3)
    assert rig.devices() == 4
    assert rig.state(0) is S.OK
    await rig.go(SETTLE_S / 2)
    assert not rig.bench.codes()
    await rig.go(SETTLE_S)
    assert rig.bench.codes() == {("D01", link.address)}
    link.state, link.counters["connects"] = LinkState.UP, 1
    rig.bench.write({f"{meter(3)}/MMXU1/TotW": 100})
    await rig.go()
    assert not rig.bench.codes()
    assert rig.state(3) is S.OK
    assert not link.announces


async def test_a_device_that_goes_is_missed_no_more_and_its_results_go_with_it(rig: Rig) -> None:
    table = rig.bench.table
    ledger = rig.function.index.devices[meter(1)].ledger
    rig.links[0].state = LinkState.DOWN
    table.link_lost("m0")
    await rig.go()
    assert rig.bench.codes() == {("D01", rig.links[0].address)}
    assert table.find(f"{meter(0)}/twSUPV1/St") >= 0
    await rig.remove(0)
    assert not rig.bench.codes()
    assert rig.devices() == 2
    assert table.find(f"{meter(0)}/twSUPV1/St") == -1
    assert table.find(f"{GATEWAY}/_/_/m0/twSUPV1/St") == -1
    assert (rig.state(1), rig.state(2)) == (S.OK, S.OK)
    assert rig.function.index.devices[meter(1)].ledger is ledger
    await rig.add(0)
    assert rig.devices() == 3
    assert table.find(f"{meter(0)}/twSUPV1/St") >= 0


async def test_findings_about_a_point_that_is_removed_do_not_outlive_it(rig: Rig) -> None:
    health = f"{meter(1)}/LPHD1/PhyHealth"
    row = rig.bench.table.add([Point(health, PointProfile.of(classify(parse(health))), "m1", 1)])[0]
    await rig.change()
    rig.bench.write({health: 3})
    await rig.go()
    assert rig.state(1) is S.FAULT
    rig.bench.table.retire(np.array([row], np.int32))
    await rig.change()
    await rig.go()
    assert rig.state(1) is S.OK
