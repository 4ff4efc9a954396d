"""Devices that come and go while the supervision runs: counted from the next round on, the others as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from peers.twin.bench import Bench, Link
from peers.twin.supervised import GATEWAY, Supervised

from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Point, PointProfile
from address_space.quality import Quality
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

SETTLE_S = 30.0


def meter(number: int) -> str:
    return f"dso1/north/SP{number:02}/LV1/_/M1"


class Rig(Supervised):
    """Three meters, each over a link of its own."""

    def __init__(self, folder: Path) -> None:
        bench = Bench(folder, {f"{meter(number)}/MMXU1/TotW": f"m{number}" for number in range(3)})
        self.links = list(bench.links.values())
        super().__init__(bench, SupervisionSettings(settle=SETTLE_S), dict.fromkeys(bench.links, "dlms"), self.links)

    async def start(self) -> None:
        await self.function._open()
        self.bench.write({f"{meter(number)}/MMXU1/TotW": 100 for number in range(3)})
        await self.go(SETTLE_S + 1)

    async def change(self, *, protocol: str = "dlms") -> None:
        self.function.renew(self.links, dict.fromkeys((link.name for link in self.links), protocol))
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


async def test_values_of_a_device_in_test_are_no_test_values_when_another_one_took_its_place(rig: Rig) -> None:
    table, place = rig.bench.table, meter(1)
    mode, power = f"{place}/LLN0/Beh", f"{place}/MMXU1/TotW"
    table.add([Point(mode, PointProfile.of(classify(parse(mode))), "m1", 1)])
    await rig.change()
    rig.bench.write({mode: 3, power: 100})
    await rig.go()
    await rig.go(SETTLE_S)
    assert rig.state(1) is S.TEST
    assert table.quality[table.find(power)] & Quality.TEST
    rig.links = [link for link in rig.links if link.name != "m1"]
    rig.links.append(Link("m9", f"{GATEWAY}/_/_/m9"))
    for source, address in enumerate((power, mode)):
        point = Point(address, PointProfile.of(classify(parse(address))), "m9", source)
        table.change(np.array([table.find(address)], np.int32), [point])
    await rig.change()
    rig.bench.write({mode: 1, power: 100})
    await rig.go()
    await rig.go(SETTLE_S)
    assert rig.state(1) is S.OK
    assert not table.quality[table.find(power)] & Quality.TEST


async def test_a_device_that_comes_back_is_compared_with_what_it_was_when_it_went(rig: Rig) -> None:
    serial = f"{meter(1)}/LPHD1/PhyNam/serNum"
    table = rig.bench.table

    async def come(said: str) -> None:
        table.add([Point(serial, PointProfile.of(classify(parse(serial))), "m1", 1)])
        await rig.change()
        rig.bench.write({serial: said})
        await rig.go()

    await come("A1")
    days = rig.function.index.devices[meter(1)].ledger.days
    assert days
    link = rig.links[1]
    table.retire(np.array([table.find(serial)], np.int32))
    await rig.remove(1)
    assert meter(1) not in rig.function.index.devices
    rig.links.append(link)
    power = f"{meter(1)}/MMXU1/TotW"
    table.add([Point(power, PointProfile.of(classify(parse(power))), "m1", 0)])
    await come("B2")
    assert ("D03", meter(1)) in rig.bench.codes()
    assert rig.function.index.devices[meter(1)].ledger.days is days


async def test_a_wrong_clock_is_told_once_when_a_second_device_comes_behind_its_link(rig: Rig) -> None:
    rig.links[1].driver = SimpleNamespace(clock_error=3600.0)
    await rig.go()
    await rig.go(SETTLE_S)
    assert rig.bench.codes() == {("D02", meter(1))}
    second = "dso1/north/SP01/LV1/_/M2/MMXU1/TotW"
    rig.bench.table.add([Point(second, PointProfile.of(classify(parse(second))), "m1", 7)])
    await rig.change()
    assert rig.bench.codes() == {("D02", rig.links[1].address)}


async def test_results_that_a_meter_does_not_have_go_when_a_meter_takes_the_place_of_another_device(rig: Rig) -> None:
    table, count, state = rig.bench.table, f"{meter(0)}/twSUPV1/CntAlm", f"{meter(0)}/twSUPV1/St"
    await rig.change(protocol="iec104")
    await rig.go(SETTLE_S)
    assert table.find(count) >= 0
    await rig.change()
    assert table.find(count) == -1
    assert table.find(state) >= 0


async def test_counters_of_a_link_that_comes_back_are_counted_from_there(rig: Rig) -> None:
    link = rig.links[1]
    link.counters["asdu_errors"] = 40
    await rig.go()
    assert ("D08", link.address) in rig.bench.codes()
    await rig.remove(1)
    again = await rig.add(1)
    again.state = LinkState.UP
    assert again.address == link.address
    await rig.go()
    assert ("D08", link.address) not in rig.bench.codes()
    again.counters["asdu_errors"] = 2
    await rig.go()
    assert ("D08", link.address) in rig.bench.codes()
