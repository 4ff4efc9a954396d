"""Several connections to one outstation: one started, the others tested, and what happens when the started one goes."""

import asyncio
import contextlib
import itertools

import pytest
from peers.iec104.buffering import STARTDT, STOPDT, TESTFR, BufferingStation
from peers.iec104.proxy import Wire
from peers.iec104.scripted import Recorder, association, point
from peers.waiting import patient, until

from address_space.catalogue import ValueType
from address_space.events import EventJournal
from address_space.ports import Verb
from address_space.table import PointTable
from twin_gateway.drivers.contract import DeviceCommand, LinkLost
from twin_gateway.drivers.iec104 import redundancy
from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.iec104.gauges import Gauges
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.system_points import SystemPoints

COUNT = point(0, 1, "M_ME_TE_1", cdc="MV", value_type=ValueType.DOUBLE)
QUICK = {"t1": 0.8, "t2": 0.4, "t3": 0.5}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A connection that was lost is tried again soon."""
    monkeypatch.setattr(redundancy, "FIRST_WAIT_S", 0.2)


def group(station, **more):
    addresses = [f"127.0.0.1:{port}" for port in station.ports[1:]]
    return association(station, [COUNT], redundant=addresses, **{**QUICK, **more})


def values(link):
    """Every event of the point in order of arrival, late or live; answers to interrogations carry no time."""
    return [value for batch in link.batches for value in batch.values[batch.source_time > 0].tolist()]


def state(link):
    return [link.counters[f"connection_{number}"] for number in (1, 2)]


async def test_the_first_address_is_started_and_the_other_is_only_tested():
    async with BufferingStation(2) as station, group(station) as (driver, link):
        await link.until(lambda: state(link) == [2, 1])
        assert driver.redundancy_alive
        standing_by = next(line for line in station.lines if line.port == station.ports[1])
        at = station.lines.index(standing_by)
        await link.until(lambda: (at, TESTFR) in station.controls)
        assert (at, STARTDT) not in station.controls
        assert [line.port for line in station.started] == [station.ports[0]]


async def test_the_other_takes_over_at_once_without_loss_or_doubling():
    async with BufferingStation(2) as station, group(station) as (driver, link):
        await link.until(lambda: state(link) == [2, 1])
        for _ in range(10):
            station.record()
        await link.until(lambda: len(values(link)) == 10)
        station.cut(station.started[0])
        for _ in range(10):
            station.record()
        await link.until(lambda: len(values(link)) >= 20)
        assert [line.port for line in station.started] == [station.ports[1]]
        assert not driver.running.done()
        assert values(link) == list(range(1, 21))
        assert link.counters["switchovers"] == 1
        await link.until(lambda: sum(asdu[0] == 100 for asdu in station.commands) == 2)


async def test_a_redundant_connection_that_is_lost_and_comes_back_is_told_once_each():
    async with BufferingStation(2) as station, group(station) as (driver, link):
        await link.until(lambda: state(link) == [2, 1])
        station.cut(next(line for line in station.lines if not line.started))
        await link.until(lambda: state(link) == [2, 0])
        assert not driver.redundancy_alive
        assert link.counters["standby_losses"] == 1
        await link.until(lambda: state(link) == [2, 1])
        told = [text for code, text in link.events if code == "D01"]
        assert len(told) == 2
        assert "lost" in told[0]
        assert "again" in told[1]


async def test_the_association_ends_when_no_connection_is_left():
    async with BufferingStation(2) as station, group(station) as (driver, link):
        await link.until(lambda: state(link) == [2, 1])
        station.cut()
        await link.until(driver.running.done)
        assert isinstance(driver.running.exception(), ConnectionError)
        assert state(link) == [0, 0]


async def test_an_address_that_nobody_answers_does_not_keep_the_other_from_being_started():
    async with BufferingStation(1) as station:
        nobody = ["127.0.0.1:9"]
        async with association(station, [COUNT], redundant=nobody, **QUICK) as (_, link):
            await link.until(lambda: state(link) == [2, 0])
            await link.until(lambda: any(code == "D01" for code, _ in link.events))
            station.record()
            await link.until(lambda: values(link) == [1])


async def test_a_connection_that_swallows_everything_is_found_by_the_test_frames():
    async with BufferingStation(2) as station, group(station) as (_, link):
        await link.until(lambda: state(link) == [2, 1])
        station.answers_tests = False
        await link.until(lambda: link.counters["t1_timeouts"])


async def test_the_other_takes_over_from_a_started_connection_that_swallows_everything():
    async with BufferingStation(2) as station, Wire(station.ports[0]) as wire:
        second = f"127.0.0.1:{station.ports[1]}"
        async with association(wire, [COUNT], redundant=second, **QUICK) as (driver, link):
            await link.until(lambda: state(link) == [2, 1])
            station.record()
            await link.until(lambda: values(link) == [1])
            wire.swallow_up = wire.swallow_down = True
            for _ in range(5):
                station.record()
            await link.until(lambda: state(link)[1] == 2)
            await link.until(lambda: values(link) == [1, 2, 3, 4, 5, 6])
            assert link.counters["t1_timeouts"] == 1
            assert not driver.running.done()


async def test_a_command_under_way_when_the_connection_is_lost_has_an_unknown_outcome():
    target = point(
        0,
        1,
        "M_ME_TE_1",
        cdc="APC",
        value_type=ValueType.DOUBLE,
        control={"ioa": 9, "type": "C_SE_NB_1", "model": "direct-normal"},
    )

    async with BufferingStation(2) as station:
        addresses = [f"127.0.0.1:{port}" for port in station.ports[1:]]
        async with association(station, [target], redundant=addresses, **QUICK) as (driver, link):
            await link.until(lambda: state(link) == [2, 1] and link.counters["interrogations_confirmed"])
            line = station.started[0]
            line.answer = lambda asdu: station.cut(line)
            outcome = await driver.execute(DeviceCommand(Verb.OPERATE, target, 5, "c1", timeout=3.0))
            assert outcome.sent
            assert "unknown" in outcome.text
            assert link.last_errors[target.address] == outcome.text
            await link.until(lambda: state(link)[1] == 2)
            assert sum(asdu[0] == 49 for asdu in station.commands) == 1


async def test_octets_of_every_connection_are_in_the_capture_ring_under_its_own_flow():
    async with BufferingStation(2) as station, group(station) as (_, link):
        await link.until(lambda: state(link) == [2, 1])
        await link.until(lambda: len({record.flow.remote for record in link.ring.records()}) == 2)
        assert {record.flow.remote[1] for record in link.ring.records()} == set(station.ports)


async def test_stop_and_start_are_never_given_to_a_connection_out_of_turn():
    async with BufferingStation(2) as station, group(station) as (_, link):
        for cut in range(2):
            await link.until(lambda: sorted(state(link)) == [1, 2])
            station.cut(station.started[0])
            await link.until(lambda cut=cut: link.counters["switchovers"] == cut + 1)
        await asyncio.sleep(0)
        for line, controls in itertools.groupby(sorted(station.controls), key=lambda item: item[0]):
            given = [control for _, control in controls if control in {STARTDT, STOPDT}]
            assert given.count(STARTDT) <= 1, line


class _Idle:
    """Who uses a connection for nothing, and takes a moment to end it."""

    busy = False

    def __init__(self):
        self.began, self.ending = asyncio.Event(), asyncio.Event()

    def begin(self, connection):
        self.began.set()

    def take(self, connection, asdus): ...

    def traffic(self, connection, sent, octets): ...

    def kept(self):
        return True

    async def use(self, connection):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ending.set()
            await asyncio.sleep(0.05)


def _idle_group(*ports):
    addresses = [redundancy.Address("127.0.0.1", port) for port in ports]
    settings = redundancy.GroupSettings(addresses, Limits(), 5.0)
    user = _Idle()
    return redundancy.Group(Recorder(), settings, user, Gauges(), redundancy.Told()), user


async def test_a_group_that_is_cancelled_while_its_user_ends_is_over():
    async with BufferingStation(1) as station:
        group, user = _idle_group(station.port)
        running = asyncio.create_task(group.run())
        await user.began.wait()
        await asyncio.sleep(0.05)
        station.cut()
        await user.ending.wait()
        running.cancel()
        done, _ = await asyncio.wait((running,), timeout=5)
        assert done
        assert running.cancelled()


async def test_waiting_for_a_silent_address_is_no_work_after_the_other_has_gone(monkeypatch):
    monkeypatch.setattr(redundancy, "HEAD_START_S", 0.2)
    monkeypatch.setattr(redundancy, "FIRST_WAIT_S", 30.0)
    turns = itertools.count()
    connect = redundancy.Group._connect

    async def silent(self, channel):
        if channel.number == 1:
            await asyncio.sleep(1.0)
            raise OSError("nobody there")
        return await connect(self, channel)

    timeout_at = asyncio.timeout_at
    monkeypatch.setattr(redundancy.asyncio, "timeout_at", lambda when: (next(turns), timeout_at(when))[1])
    monkeypatch.setattr(redundancy.Group, "_connect", silent)
    async with BufferingStation(1) as station:
        group, _ = _idle_group(1, station.port)
        running = asyncio.create_task(group.run())
        await until(lambda: station.lines)
        await until(lambda: group.channels[1].connection)
        station.cut()
        await asyncio.wait((running,))
        assert "nobody there" in str(running.exception())
        assert next(turns) < 20


async def test_a_name_that_no_host_can_have_ends_the_attempt_and_says_why():
    driver = Iec104Driver("rtu", Iec104Config(host="rtu..example"), [COUNT])
    async with patient(5):
        with pytest.raises(LinkLost, match="label"):
            await driver.run(Recorder())


async def test_the_points_of_the_link_show_whether_a_redundant_connection_stands(tmp_path):
    table, place = PointTable(), "dso1/_sys/gw"
    async with BufferingStation(2) as station:
        config = {"host": "127.0.0.1", "port": station.port, "redundant": f"127.0.0.1:{station.ports[1]}", **QUICK}
        driver = Iec104Driver("rtu", Iec104Config.model_validate(config), [])
        address = f"{place}/_/_/rtu"
        link = LinkSupervisor(
            "rtu", driver, table=table, events=EventJournal(), address=address, data_directory=tmp_path
        )
        system = SystemPoints(table, place, dict)
        system.add_links([(link, {})])

        def shown(name):
            list(system.refresh())
            return table.value(table.find(f"{address}/LCCH1/{name}"))

        assert shown("RedChLiv") is False
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: (shown("ChLiv"), shown("RedChLiv")) == (True, True))
            station.cut(next(line for line in station.lines if not line.started))
            await until(lambda: (shown("RedChLiv"), shown("RedFerCh")) == (False, 1))
            assert shown("ChLiv") is True
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_a_link_with_one_address_has_no_points_of_a_redundant_connection(tmp_path):
    table = PointTable()
    driver = Iec104Driver("rtu", Iec104Config(host="127.0.0.1"), [])
    link = LinkSupervisor(
        "rtu", driver, table=table, events=EventJournal(), address="g/_sys/w/_/_/rtu", data_directory=tmp_path
    )
    SystemPoints(table, "g/_sys/w", dict).add_links([(link, {})])
    assert table.find("g/_sys/w/_/_/rtu/LCCH1/ChLiv") >= 0
    assert table.find("g/_sys/w/_/_/rtu/LCCH1/RedChLiv") == -1
