"""The driver against an independent outstation (c104, own process): every type, commands, kill, restart, standstill."""

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

import pytest
from peers.iec104.outstation import Outstation
from peers.iec104.scripted import Recorder, association, point
from peers.waiting import until

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.ports import Verb
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.contract import DeviceCommand, LinkService
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor

pytest.importorskip("c104", reason="the outstation runs on the c104 package")

# type, value, extra, quality octet, value type, expected value
TYPES = [
    ("M_SP_NA_1", 1, 0, 0x10, ValueType.BOOLEAN, 1),
    ("M_DP_NA_1", 2, 0, 0x40, ValueType.INT32, 2),
    ("M_ST_NA_1", -5, 1, 0x20, ValueType.INT32, -5),
    ("M_BO_NA_1", 0xDEADBEEF, 0, 0, ValueType.UINT32, 0xDEADBEEF),
    ("M_ME_NA_1", 0.25, 0, 0x01, ValueType.DOUBLE, 0.25),
    ("M_ME_NB_1", -1234, 0, 0x80, ValueType.DOUBLE, -1234),
    ("M_ME_NC_1", 12.5, 0, 0x81, ValueType.DOUBLE, 12.5),
    ("M_IT_NA_1", 70_000, 3, 0xA0, ValueType.DOUBLE, 70_000),
    ("M_PS_NA_1", 0x8001, 1, 0, ValueType.INT32, 0x8001),
    ("M_ME_ND_1", -0.5, 0, 0, ValueType.DOUBLE, -0.5),
    ("M_SP_TB_1", 1, 0, 0, ValueType.BOOLEAN, 1),
    ("M_DP_TB_1", 1, 0, 0xF0, ValueType.INT32, 1),
    ("M_ST_TB_1", 63, 0, 0, ValueType.INT32, 63),
    ("M_BO_TB_1", 7, 0, 0, ValueType.UINT32, 7),
    ("M_ME_TD_1", -1.0, 0, 0, ValueType.DOUBLE, -1.0),
    ("M_ME_TE_1", 32_767, 0, 0, ValueType.DOUBLE, 32_767),
    ("M_ME_TF_1", -0.125, 0, 0x11, ValueType.DOUBLE, -0.125),
    ("M_IT_TB_1", -1, 31, 0x60, ValueType.DOUBLE, -1),
    ("M_EP_TD_1", 2, 100, 0x08, ValueType.BOOLEAN, 1),
    ("M_EP_TE_1", 0x03, 200, 0, ValueType.BOOLEAN, 1),
    ("M_EP_TF_1", 0x02, 300, 0, ValueType.BOOLEAN, 0),
]
BREAKER = {"ioa": 1000, "type": "M_DP_TB_1", "value": 2}


def station(points=(), commands=(), common_address=1):
    return {"common_address": common_address, "points": list(points), "commands": list(commands)}


def expected_flags(kind, octet):
    if kind.startswith("M_IT"):
        pairs = ((0x20, Quality.CARRY), (0x40, Quality.ADJUSTED), (0x80, Quality.INVALID))
    else:
        pairs = (
            (0x01, Quality.OVERFLOW),
            (0x10, Quality.OPERATOR_BLOCKED),
            (0x20, Quality.SUBSTITUTED),
            (0x40, Quality.OLD_DATA),
            (0x80, Quality.INVALID),
        )
    return sum(int(flag) for bit, flag in pairs if octet & bit)


async def test_every_monitor_type_arrives_with_value_quality_and_time(tmp_path):
    models = [
        {"ioa": 100 + at, "type": kind, "value": 0 if kind.startswith("M_EP") else value}
        for at, (kind, value, *_) in enumerate(TYPES)
    ]
    points = [point(at, 100 + at, kind, value_type=value_type) for at, (kind, *_, value_type, _) in enumerate(TYPES)]
    async with Outstation(tmp_path / "rtu.yaml", [station(models)]) as rtu, association(rtu, points) as (_, link):
        await link.until(lambda: link.samples(0))
        for at, (_, value, extra, octet, _, _) in enumerate(TYPES):
            moment = 1_700_000_000.123 + at
            await rtu.order(ioa=100 + at, value=value, extra=extra, quality=octet, time=moment)
        mask = int(
            Quality.INVALID
            | Quality.OVERFLOW
            | Quality.OPERATOR_BLOCKED
            | Quality.SUBSTITUTED
            | Quality.OLD_DATA
            | Quality.CARRY
            | Quality.ADJUSTED
        )
        last = len(TYPES) - 1
        moments = {at: clock.from_unix_ns(1_700_000_000_123_000_000 + at * 1_000_000_000) for at in range(len(TYPES))}
        await link.until(lambda: any(sample[2] == moments[last] for sample in link.samples(last)))
        for at, (kind, _, _, octet, _, expected) in enumerate(TYPES):
            value, word, at_ticks = link.samples(at)[-1]
            assert value == expected, kind
            if kind != "M_ME_ND_1" and not kind.startswith("M_BO"):  # c104 sends no quality with bit strings
                assert word & mask == expected_flags(kind, octet), kind
            assert at_ticks == (moments[at] if kind.split("_")[2] in {"TB", "TD", "TE", "TF"} else 0), kind
        assert link.errors == 0


async def test_several_common_addresses_share_a_link(tmp_path):
    stations = [
        station([{"ioa": 1, "type": "M_ME_NC_1", "value": 1.5}], common_address=7),
        station([{"ioa": 1, "type": "M_ME_NC_1", "value": 2.5}], common_address=9),
    ]
    points = [
        point(0, 1, "M_ME_NC_1", value_type=ValueType.DOUBLE),
        point(1, 1, "M_ME_NC_1", value_type=ValueType.DOUBLE, common_address=9),
    ]
    async with (
        Outstation(tmp_path / "rtu.yaml", stations) as rtu,
        association(rtu, points, common_address=[7, 9], clock_sync=60.0) as (_, link),
    ):
        await link.until(lambda: link.samples(1))
        assert (link.samples(0)[0][0], link.samples(1)[0][0]) == (1.5, 2.5)
        await asyncio.sleep(0.3)
        assert link.counters["refused_requests"] == link.counters["timeouts"] == 0


def breaker(kind="C_DC_NA_1", model="direct-normal", ioa=5000):
    control = {"ioa": ioa, "type": kind, "model": model}
    return point(0, 1000, "M_DP_TB_1", cdc="DPC", value_type=ValueType.INT32, control=control)


def command(target, value, verb=Verb.OPERATE, seconds=3.0):
    return DeviceCommand(verb, target, value, "c1", timeout=seconds)


@pytest.mark.parametrize("kind", ["C_DC_NA_1", "C_DC_TA_1", "C_SC_NA_1"])
async def test_a_breaker_is_operated_directly_and_its_position_follows(tmp_path, kind):
    commands = [{"ioa": 5000, "type": kind, "model": "direct", "moves": 1000, "travel": 0.1}]
    target = breaker(kind)
    async with (
        Outstation(tmp_path / "rtu.yaml", [station([BREAKER], commands)]) as rtu,
        association(rtu, [target]) as (driver, link),
    ):
        await link.until(lambda: link.samples(0))
        assert (await driver.execute(command(target, 1))).good
        await link.until(lambda: len(link.samples(0)) == 3)
        assert [sample[0] for sample in link.samples(0)] == [2, 0, 1]


async def test_select_before_operate_works_and_an_operate_without_selection_is_refused(tmp_path):
    commands = [{"ioa": 5000, "type": "C_DC_NA_1", "model": "sbo", "moves": 1000, "travel": 0.1}]
    target = breaker(model="sbo-normal")
    async with (
        Outstation(tmp_path / "rtu.yaml", [station([BREAKER], commands)]) as rtu,
        association(rtu, [target]) as (driver, link),
    ):
        refused = await driver.execute(command(target, 1))
        assert (refused.status, refused.gate) == (StatusCode.Bad, "device")
        assert (await driver.execute(command(target, 1, Verb.SELECT))).good
        assert (await driver.execute(command(target, 1))).good
        await link.until(lambda: link.samples(0) and link.samples(0)[-1][0] == 1)


async def test_a_negative_confirmation_and_an_unknown_object_are_refusals(tmp_path):
    commands = [{"ioa": 5000, "type": "C_DC_NA_1", "model": "direct", "refuse": True}]
    async with Outstation(tmp_path / "rtu.yaml", [station([BREAKER], commands)]) as rtu:
        target, nobody = breaker(), breaker(ioa=5999)
        async with association(rtu, [target]) as (driver, _):
            outcome = await driver.execute(command(target, 1))
            assert not outcome.good
            assert outcome.sent
            outcome = await driver.execute(command(nobody, 1))
            assert not outcome.good
            assert outcome.sent


@pytest.mark.parametrize(
    ("kind", "monitor", "value", "expected"),
    [
        ("C_SE_NA_1", "M_ME_NA_1", 0.5, 0.5),
        ("C_SE_NB_1", "M_ME_NB_1", -7, -7),
        ("C_SE_NC_1", "M_ME_NC_1", 2.5, 2.5),
        ("C_SE_TC_1", "M_ME_NC_1", 3.5, 3.5),
        ("C_RC_NA_1", "M_ST_NA_1", 2, 1),
        ("C_BO_NA_1", "M_BO_NA_1", 0x80000001, 0x80000001),
    ],
)
async def test_set_points_steps_and_bit_strings_reach_their_object(tmp_path, kind, monitor, value, expected):
    models = [{"ioa": 1000, "type": monitor}]
    commands = [{"ioa": 5000, "type": kind, "model": "direct", "moves": 1000}]
    control = {"ioa": 5000, "type": kind, "model": "direct-normal"}
    target = point(0, 1000, monitor, cdc="APC", value_type=ValueType.DOUBLE, control=control)
    async with (
        Outstation(tmp_path / "rtu.yaml", [station(models, commands)]) as rtu,
        association(rtu, [target]) as (driver, link),
    ):
        assert (await driver.execute(command(target, value))).good
        await link.until(lambda: link.samples(0) and link.samples(0)[-1][0] == expected)


async def test_killed_and_restarted_it_comes_back_by_itself_with_its_values(tmp_path):
    profile = PointProfile("DPC", ValueType.INT32, VariableKind.MULTI_STATE)
    table, events = PointTable(), EventJournal()
    table.add([Point("a/b/c/d/e/f/XCBR1/Pos", profile, "rtu", 1 << 24 | 1000)])
    async with Outstation(tmp_path / "rtu.yaml", [station([BREAKER])]) as rtu:
        config = Iec104Config(host="127.0.0.1", port=rtu.port)
        driver = Iec104Driver("rtu", config, [breaker()])
        link = LinkSupervisor(
            "rtu",
            driver,
            table=table,
            events=events,
            address="a/_sys/g/_/_/rtu",
            data_directory=tmp_path,
            backoff=Backoff(first=0.2, most=0.5),
        )
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: table.sample(0).status == StatusCode.Good)
            await rtu.kill()
            await until(lambda: table.sample(0).status == StatusCode.UncertainNoCommunicationLastUsableValue, 2)
            assert link.state is not LinkState.UP
            await rtu.start()
            await until(lambda: table.sample(0).status == StatusCode.Good)
            assert table.sample(0).value == 2
            assert link.counters["connects"] == 2
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_a_process_that_stands_still_is_noticed_by_the_timers(tmp_path):
    async with Outstation(tmp_path / "rtu.yaml", [station([BREAKER])]) as rtu:
        config = Iec104Config(host="127.0.0.1", port=rtu.port, t1=0.8, t2=0.4, t3=0.6)
        link = Recorder()
        running = asyncio.create_task(Iec104Driver("rtu", config, [breaker()]).run(link))
        await link.until(lambda: link.samples(0))
        rtu.signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="t1"):
            await asyncio.wait_for(running, 20)
        assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a timer slack on Linux only")
async def test_the_threads_of_many_servers_may_wake_late_together_and_the_main_thread_may_not(tmp_path):
    async with Outstation(tmp_path / "rtu.yaml", [station([BREAKER])], slack_ms=20) as rtu:
        main = rtu.process.pid
        threads = [int(thread.name) for thread in Path(f"/proc/{main}/task").iterdir()]
        try:
            slack = {thread: int(Path(f"/proc/{thread}/timerslack_ns").read_text("ascii")) for thread in threads}
        except PermissionError:
            pytest.skip("the timer slack of another process is shown to privileged users only")
    assert slack.pop(main) < 1_000_000
    assert list(slack.values()).count(20_000_000) >= 2


async def test_the_test_command_with_time_tag_is_answered(tmp_path):
    async with (
        Outstation(tmp_path / "rtu.yaml", [station([BREAKER])]) as rtu,
        association(rtu, [breaker()]) as (driver, link),
    ):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        assert (await driver.serve(LinkService.TEST)).good
        assert link.counters["test_commands_confirmed"] == 1
