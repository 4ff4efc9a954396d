"""Links that share a way, like meters behind a concentrator: one outage is one alarm (spec 7.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest
from peers.twin.bench import Bench, Link
from peers.twin.supervised import GATEWAY, Supervised

from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

CONCENTRATOR = f"{GATEWAY}/_/_/10~2E4~2E7~2E11~3A4059"
METERS = {f"dso1/north/SP{number:04}/LV1/_/M1/MMXU1/TotW": f"m{number}" for number in range(30)}
THOUSAND = {f"dso1/north/SP{number:04}/LV1/_/M1/MMXU1/TotW": f"m{number}" for number in range(1000)}
RTU = "dso1/north/RMU02/MV1/C01/_/MMXU1/TotW"


class Rig(Supervised):
    """Meters behind one concentrator, and a station that is not."""

    def __init__(self, folder: Path, meters: Mapping[str, str] = METERS) -> None:
        bench = Bench(folder, {**meters, RTU: "rtu"})
        self.meters = [link for name, link in bench.links.items() if name != "rtu"]
        for link in self.meters:
            link.way = "10.4.7.11:4059"
        super().__init__(bench, SupervisionSettings(settle=1.0), dict.fromkeys(bench.links, "dlms"))

    async def start(self) -> None:
        await self.function._open()
        self.answer(self.meters)
        self.answer([self.bench.links["rtu"]])
        await self.go(2.0)
        assert not self.bench.codes()
        self.bench.told()

    def answer(self, links: Iterable[Link]) -> None:
        for link in links:
            link.state = LinkState.UP
            link.counters["samples"] += 1
            address = RTU if link.name == "rtu" else f"dso1/north/SP{int(link.name[1:]):04}/LV1/_/M1/MMXU1/TotW"
            self.bench.write({address: 100})

    async def go(self, seconds: float = 1.0, *, heard: Iterable[Link] = ()) -> None:
        for link in heard:
            link.counters["samples"] += 1
        await super().go(seconds)

    def lose(self, links: Iterable[Link]) -> None:
        for link in links:
            link.state, link.reason = LinkState.DOWN, "connection refused"
            self.bench.table.link_lost(link.name)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.start()
    yield made
    await made.function.store.close()


async def test_a_thousand_meters_behind_a_dead_concentrator_raise_one_alarm(tmp_path: Path) -> None:
    rig = Rig(tmp_path, THOUSAND)
    await rig.start()
    rig.lose(rig.meters)
    await rig.go()
    assert rig.bench.codes() == {("D01", CONCENTRATOR)}
    (event,) = rig.bench.told()
    assert "10.4.7.11:4059: 1000 links" in event.text
    assert "connection refused" in event.text
    states = rig.function.index.devices
    assert all(states[link.address].state.state is S.UNREACHABLE for link in rig.meters)
    assert states[rig.meters[7].address].state.reason == f"unreachable because of {CONCENTRATOR}"
    assert states[rig.bench.links["rtu"].address].state.state is S.OK
    await rig.function.store.close()


async def test_meters_that_notice_one_after_the_other_raise_no_alarms_of_their_own(rig: Rig) -> None:
    for number in range(30):
        rig.lose(rig.meters[number : number + 1])
        await rig.go(1.0)
    told = [event for event in rig.bench.told() if event.state == "active"]
    assert [event.address for event in told] == [CONCENTRATOR]


async def test_a_meter_that_is_lost_alone_is_told_as_soon_as_another_is_heard(rig: Rig) -> None:
    lost, *others = rig.meters
    rig.lose([lost])
    await rig.go(1.0)
    assert not rig.bench.codes()
    await rig.go(1.0, heard=others[:1])
    assert rig.bench.codes() == {("D01", lost.address)}


async def test_a_meter_that_is_lost_alone_on_a_silent_way_is_told_after_a_minute(rig: Rig) -> None:
    rig.lose(rig.meters[:1])
    await rig.go(0.0)
    await rig.go(59.0)
    assert not rig.bench.codes()
    await rig.go(2.0)
    assert rig.bench.codes() == {("D01", rig.meters[0].address)}


async def test_alarm_of_a_meter_becomes_part_of_the_outage_and_does_not_claim_that_it_is_back(rig: Rig) -> None:
    rig.lose(rig.meters[:1])
    await rig.go(1.0)
    await rig.go(1.0, heard=rig.meters[1:2])
    rig.bench.told()
    rig.lose(rig.meters[1:])
    await rig.go(1.0)
    assert rig.bench.codes() == {("D01", CONCENTRATOR)}
    (gone,) = [event for event in rig.bench.told() if event.state == "inactive"]
    assert (gone.address, gone.text) == (rig.meters[0].address, f"unreachable because of {CONCENTRATOR}")


async def test_meters_still_lost_a_minute_after_the_concentrator_is_back_alarm_themselves(rig: Rig) -> None:
    rig.lose(rig.meters)
    await rig.go(1.0)
    rig.answer(rig.meters[10:])
    await rig.go(1.0)
    assert not rig.bench.codes()
    await rig.go(61.0)
    assert rig.bench.codes() == {("D01", link.address) for link in rig.meters[:10]}


async def test_the_concentrator_can_be_browsed_as_the_source_of_its_alarm(rig: Rig) -> None:
    assert rig.bench.table.tree.find(CONCENTRATOR) >= 0


def renew(rig: Rig, links: Iterable[Link]) -> None:
    rig.function.renew(list(links), dict.fromkeys(rig.bench.links, "dlms"))


async def test_a_change_of_the_mapping_makes_no_outage_of_meters_that_were_lost_alone(rig: Rig) -> None:
    for link in rig.meters[:2]:
        rig.lose([link])
        await rig.go(1.0)
        await rig.go(1.0, heard=rig.meters[5:])
    assert rig.bench.codes() == {("D01", link.address) for link in rig.meters[:2]}
    rig.bench.told()
    renew(rig, rig.bench.links.values())
    await rig.go(1.0)
    await rig.go(1.0, heard=rig.meters[5:])
    assert rig.bench.codes() == {("D01", link.address) for link in rig.meters[:2]}
    assert not rig.bench.told()


async def test_an_outage_stays_one_when_a_device_behind_it_is_removed(rig: Rig) -> None:
    rig.lose(rig.meters[:10])
    await rig.go(1.0)
    assert rig.bench.codes() == {("D01", CONCENTRATOR)}
    renew(rig, [link for link in rig.bench.links.values() if link is not rig.meters[20]])
    await rig.go(1.0)
    assert rig.bench.codes() == {("D01", CONCENTRATOR)}
