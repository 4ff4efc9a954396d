"""Events over a wire that is cut again and again: each arrives exactly once and in order; the outstation keeps them."""

import asyncio
import contextlib
import random

from peers.iec104.buffering import BufferingStation
from peers.iec104.proxy import Wire
from peers.iec104.scripted import Recorder, point
from peers.waiting import until

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.link import Backoff, LinkSupervisor

COUNT = point(0, 1, "M_ME_TE_1", cdc="MV", value_type=ValueType.DOUBLE)
CUTS = 20


class Supervised(LinkSupervisor):
    """The link supervisor, which also keeps every event that the driver publishes."""

    def publish(self, batch):
        self.published.extend(batch.values[batch.source_time > 0].tolist())
        super().publish(batch)


@contextlib.asynccontextmanager
async def supervised(tmp_path, **config):
    table = PointTable()
    profile = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)
    table.add([Point("a/b/c/d/e/f/MMXU1/TotW", profile, "rtu", 1 << 24 | 1)])
    driver = Iec104Driver("rtu", Iec104Config(host="127.0.0.1", **config), [COUNT])
    link = Supervised(
        "rtu",
        driver,
        table=table,
        events=EventJournal(),
        address="a/_sys/g/_/_/rtu",
        data_directory=tmp_path,
        backoff=Backoff(first=0.03, most=0.05),
    )
    link.published = []
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def events(station):
    while True:
        for _ in range(3):
            station.record()
        await asyncio.sleep(0.005)


async def test_over_twenty_cuts_every_event_arrives_exactly_once_and_in_order(tmp_path):
    chance = random.Random(104)
    async with (
        BufferingStation() as station,
        Wire(station.port) as wire,
        supervised(tmp_path, port=wire.port, t2=0.2) as link,
    ):
        recording = asyncio.create_task(events(station))
        for cut in range(CUTS):
            await until(lambda cut=cut: link.counters["connects"] > cut, what=f"connection {cut + 1}")
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            if cut % 2:  # our acknowledgements are lost on the way: what we have is repeated
                wire.swallow_up = True
                await asyncio.sleep(0.05)
            wire.cut()
        await asyncio.sleep(0.1)
        recording.cancel()
        await until(lambda: not station.buffer, what="an empty buffer")
        # flapping links wait longer between attempts
        await until(lambda: len(link.published) >= station.number)
        assert link.published == list(range(1, station.number + 1))
        assert station.number > 500
        assert link.counters["repeated"] > 0
        assert link.counters["sequence_errors"] == 0


async def test_an_event_is_acknowledged_as_soon_as_it_is_on_disk_and_not_before(tmp_path):
    async with BufferingStation() as station, supervised(tmp_path, port=station.port, t1=90, t2=60, t3=0.2) as link:
        await until(lambda: link.counters["interrogations_confirmed"])
        link.kept = lambda: 0
        station.record()
        await until(lambda: link.published == [1])
        await asyncio.sleep(0.3)
        assert station.buffer
        link.kept = clock.now
        await until(lambda: not station.buffer, seconds=5)
        assert link.counters["repeated"] == 0


async def test_a_wire_that_swallows_everything_is_noticed_by_the_timers_and_nothing_is_lost(tmp_path):
    async with (
        BufferingStation() as station,
        Wire(station.port) as wire,
        supervised(tmp_path, port=wire.port, t1=0.6, t2=0.3, t3=0.4) as link,
    ):
        await until(lambda: link.counters["connects"])
        station.record()
        await until(lambda: link.published == [1])
        wire.swallow_up = wire.swallow_down = True
        station.record()
        await until(lambda: link.counters["losses"])
        assert link.counters["t1_timeouts"] == 1
        assert link.counters["t3_tests"] >= 1
        wire.cut()
        await until(lambda: link.published == [1, 2])
        assert link.counters["connects"] == 2


async def test_a_station_that_takes_the_connection_and_confirms_no_start_is_given_up_after_t1():
    async with BufferingStation() as station:
        config = Iec104Config(host="127.0.0.1", port=station.port, t1=0.5, t2=0.2)
        driver, link = Iec104Driver("rtu", config, [COUNT]), Recorder()
        station.mute = True
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(driver.run(link), 10)
        assert not link.is_up.is_set()
        assert link.counters["t1_timeouts"] == 1
