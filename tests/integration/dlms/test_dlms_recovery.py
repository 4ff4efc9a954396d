"""Kill -9 of the meters and of the gateway, commands whose answer never comes, pace of a host."""

import asyncio
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from peers.waiting import until

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.ports import Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, LinkLost
from twin_gateway.drivers.dlms.acse import Mechanism
from twin_gateway.drivers.dlms.driver import DlmsDriver
from twin_gateway.drivers.dlms.pace import pace_of
from twin_gateway.drivers.dlms.wrapper import Deframer, frame
from twin_gateway.drivers.link import Backoff, LinkSupervisor
from twin_gateway.simulate.dlms_meter import Meter
from twin_gateway.simulate.dlms_server import Access, ServerAssociation

pytestmark = pytest.mark.timeout(300)


async def test_points_of_killed_meters_turn_uncertain_and_come_back_by_themselves(dlms, pydlms_meters, tmp_path):
    peer = pydlms_meters(own=True)
    table = PointTable()
    profile = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)
    tasks = []
    for number in (1, 2):
        name = f"m{number}"
        (row,) = table.add([Point(f"g/a/SP{number}/LV1/_/M1/MMXU1/Hz", profile, name, 0)])
        points = [BoundPoint(row, name, "MV", ValueType.DOUBLE, {"obis": "1-0:32.7.0"}, quantity="voltage")]
        driver = DlmsDriver(name, dlms.config(peer, "hls-gmac", logical_device=number), points)
        link = LinkSupervisor(
            name,
            driver,
            table=table,
            events=EventJournal(),
            address=f"g/_sys/gw/_/_/{name}",
            data_directory=tmp_path / "links" / name,
            backoff=Backoff(first=0.1, most=0.3),
        )
        tasks.append(asyncio.create_task(link.run()))
    try:
        await until(lambda: all(table.sample(row).status == 0 for row in (0, 1)))
        peer.kill()
        lost = StatusCode.UncertainNoCommunicationLastUsableValue
        await until(lambda: all(table.sample(row).status == lost for row in (0, 1)))
        assert table.sample(0).value == 230.1
        peer.restart()
        await until(lambda: all(table.sample(row).status == 0 for row in (0, 1)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_killed_gateway_goes_on_with_fresh_counters(pydlms_meters, tmp_path):
    peer = pydlms_meters(own=True)
    script = Path(__file__).with_name("dlms_gateway.py")
    for _ in range(3):
        command = [sys.executable, str(script), str(peer.port), str(tmp_path / "links" / "m1")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = [process.stdout.readline().strip() for _ in range(40)]
        process.kill()
        process.wait(10)
        process.stdout.close()
        # The meter refuses every counter that it has seen: none was repeated, nothing had to be recovered.
        assert lines[0].startswith("connected") and lines[1] == "up" and set(lines[2:]) == {"value 230.1"}


class Rig:
    """A meter of ours in this process whose answers a test may bend."""

    def __init__(self, bend):
        self.meter = Meter("1", {})
        self.bend = bend
        self.actions = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await asyncio.sleep(0.05)

    async def serve(self, reader, writer):
        association = ServerAssociation(self.meter, Access(16, Mechanism.NONE))
        deframer = Deframer()
        while data := await reader.read(4096):
            for client, port, apdu in deframer.feed(data):
                self.actions += apdu[0] == 0xC3
                answer = self.bend(apdu, lambda apdu=apdu, client=client: association.handle(client, apdu))
                if answer:
                    writer.write(frame(port, client, answer))
        writer.close()


def position(dlms):
    return dlms.point(0, "0-0:96.3.10", "DPC", control={"model": "disconnect"})


async def operate(dlms, link, bend, timeout=0.6):
    point = position(dlms)
    async with Rig(bend) as rig:
        driver = dlms.Driver("m", dlms.config(rig.port, poll=30.0), [point])
        async with dlms.Running(driver, link) as task:
            await link.until(lambda: link.values.get(0) == 2)
            outcome = await driver.execute(DeviceCommand(Verb.OPERATE, point, 1, "c", timeout=timeout))
            await asyncio.sleep(0.1)
            return outcome, rig, task.done()


async def test_a_command_without_an_answer_is_unknown_and_never_repeated(dlms, link):
    def mute(apdu, handle):
        answer = handle()
        return b"" if apdu[0] == 0xC3 else answer

    outcome, rig, ended = await operate(dlms, link, mute)
    assert outcome.status == StatusCode.BadTimeout and outcome.sent and "unknown" in outcome.text
    assert rig.actions == 1 and rig.meter.connected is False  # the meter did act
    assert ended  # a late answer could be taken for another: the association is given up


async def test_an_accepted_command_whose_position_stays_is_refused_in_words(dlms, link):
    def stuck(apdu, handle):
        return b"\xc7\x01" + apdu[2:3] + b"\x00\x00" if apdu[0] == 0xC3 else handle()

    outcome, rig, ended = await operate(dlms, link, stuck, timeout=2.0)
    assert outcome.status == StatusCode.BadInvalidState and outcome.sent and "stays connected" in outcome.text
    assert rig.actions == 1 and not ended


async def test_a_meter_that_waits_for_a_hand_says_so(dlms, link):
    point = position(dlms)
    state = {"now": 0}

    def by_hand(apdu, handle):
        if apdu[0] == 0xC3:
            state["now"] = 2
            return b"\xc7\x01" + apdu[2:3] + b"\x00\x00"
        if apdu[0] == 0xC0 and apdu[3:5] == b"\x00\x46":
            return b"\xc4\x01" + apdu[2:3] + b"\x00\x16" + bytes((state["now"],))
        return handle()

    async with Rig(by_hand) as rig:
        driver = dlms.Driver("m", dlms.config(rig.port, poll=30.0), [point])
        async with dlms.Running(driver, link):
            await link.until(lambda: link.values.get(0) == 1)
            outcome = await driver.execute(DeviceCommand(Verb.OPERATE, point, 2, "c", timeout=3.0))
    assert not outcome.good and outcome.sent and "by hand" in outcome.text


async def test_unreadable_answers_are_counted_and_only_many_end_the_association(dlms, link):
    bad = {"left": 2}

    def broken(apdu, handle):
        if apdu[0] == 0xC0 and apdu[3:5] == b"\x00\x46" and bad["left"]:
            bad["left"] -= 1
            return b"\xc4\x01" + apdu[2:3] + b"\x00\x07"
        return handle()

    async with Rig(broken) as rig:
        driver = dlms.Driver("m", dlms.config(rig.port, poll=0.1), [position(dlms)])
        async with dlms.Running(driver, link):
            await link.until(lambda: link.values.get(0) == 2)
    assert link.counters["refused_attributes"] == 2


async def test_garbage_instead_of_frames_ends_the_connection_in_one_sentence(dlms, link):
    async def http(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(http, "127.0.0.1", 0)
    try:
        driver = dlms.Driver("m", dlms.config(server.sockets[0].getsockname()[1]), [position(dlms)])
        with pytest.raises(LinkLost, match="wrapper version"):
            await driver.run(link)
    finally:
        server.close()
        await asyncio.sleep(0.05)


async def test_a_meter_that_associates_and_answers_nothing_more_stays_within_the_share_of_the_silent_ones(dlms, link):
    """As behind a concentrator that associates in the place of its meters."""
    suspects = []

    def associates_only(apdu, handle):
        if apdu[0] != 0xC0:
            return handle()
        suspects.append(driver._pace._host._suspects_in)
        return b""

    async with Rig(associates_only) as rig:
        driver = dlms.Driver("m", dlms.config(rig.port, timeout=0.2), [position(dlms)])
        for _ in range(3):
            with pytest.raises(LinkLost, match="no answer"):
                await driver.run(link)
    assert suspects == [0, 1, 1]


async def test_a_host_gets_no_more_requests_at_a_time_than_said():
    pace, under_way, most = pace_of("host", 3, 0.0), 0, 0
    assert pace_of("host", 3, 0.0)._host is pace._host

    async def one():
        nonlocal under_way, most
        async with pace:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1

    await asyncio.gather(*[one() for _ in range(12)])
    assert most == 3


async def test_the_gap_between_requests_is_kept():
    loop, starts = asyncio.get_running_loop(), []
    pace = pace_of("slow host", 8, 0.03)

    async def one():
        async with pace:
            starts.append(loop.time())

    await asyncio.gather(*[one() for _ in range(5)])
    assert all(b - a > 0.025 for a, b in pairwise(starts))
