"""The driver against an outstation on hat-drivers (own process): TLS, narrow addresses, link cuts with its buffer."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from peers.certificates import certificate, revocations
from peers.iec104.proxy import Wire
from peers.iec104.scripted import Recorder, association, point
from peers.waiting import patient, until

from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand, LinkService
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver

pytest.importorskip("hat.drivers", reason="the outstation runs on the hat-drivers package")
STATION = Path(__file__).parents[2] / "peers" / "iec104" / "hat_station.py"
COUNT = point(0, 1, "M_ME_TE_1", cdc="MV", value_type=ValueType.DOUBLE)


class HatStation:
    """The process: its port, what it says, and orders to record events."""

    def __init__(self, **arguments):
        self._arguments, self.said = arguments, []

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(STATION), json.dumps(self._arguments)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        async with patient(20):
            self.port = json.loads(await self._process.stdout.readline())["port"]
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while line := await self._process.stdout.readline():
            self.said.append(json.loads(line))

    async def record(self, count=1):
        self._process.stdin.write(f"{count}\n".encode())
        await self._process.stdin.drain()

    async def __aexit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading
        self._process.stdin.close()
        await asyncio.sleep(0)


def values(link):
    """Events only: answers to interrogations carry no time."""
    return [value for batch in link.batches for value in batch.values[batch.source_time > 0].tolist()]


@pytest.fixture
def files(tmp_path):
    ca = certificate(tmp_path, "ca")
    return {"ca": ca, "device": certificate(tmp_path, "device", ca), "gateway": certificate(tmp_path, "gateway", ca)}


def station_tls(files):
    device = files["device"]
    return {"ca": str(files["ca"].file), "certificate": str(device.file), "key": str(device.key_file)}


def our_tls(files, **more):
    gateway = files["gateway"]
    named = {"ca": files["ca"].file, "certificate": gateway.file, "key": gateway.key_file} | more
    return {name: str(path) for name, path in named.items()}


async def test_over_twenty_cuts_the_events_of_its_buffer_arrive_once_and_in_order():
    link = Recorder()
    async with HatStation() as station, Wire(station.port) as wire:
        config = Iec104Config(host="127.0.0.1", port=wire.port)
        driver = Iec104Driver("rtu", config, [COUNT])

        async def keep():
            while True:
                link.is_up.clear()
                with contextlib.suppress(ConnectionError):
                    await driver.run(link)
                await asyncio.sleep(0.01)

        keeping = asyncio.create_task(keep())
        try:
            for cut in range(20):
                async with patient(10):
                    await link.is_up.wait()
                await station.record(10)
                await asyncio.sleep(0.05)
                wire.swallow_up = bool(cut % 2)
                await station.record(10)
                await asyncio.sleep(0.03)
                wire.cut()
                await asyncio.sleep(0.02)
            await link.until(lambda: len(values(link)) >= 400, 10)
            assert values(link) == [float(number) for number in range(1, 401)]
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping


@pytest.mark.parametrize("widths", [(1, 1, 2), (2, 1, 1), (1, 2, 3)])
async def test_narrow_address_fields_are_spoken_both_ways(widths):
    target = point(
        0,
        1,
        "M_ME_TE_1",
        cdc="APC",
        value_type=ValueType.DOUBLE,
        control={"ioa": 200, "type": "C_SE_NB_1", "model": "direct-normal"},
    )
    cause, common, address = widths
    fields = {"cause_octets": cause, "common_address_octets": common, "object_address_octets": address}
    async with HatStation(widths=widths) as station, association(station, [target], **fields) as (driver, link):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        await station.record(3)
        await link.until(lambda: values(link) == [1, 2, 3])
        assert (await driver.execute(DeviceCommand(Verb.OPERATE, target, 7, "c1", timeout=3.0))).good
        assert (await driver.serve(LinkService.SYNCHRONISE)).good
        await until(lambda: {"command": "C_SE_NB", "common_address": 1, "object": 200} in station.said)
        assert link.errors == 0


async def test_the_delay_of_the_line_is_acquired_and_loaded_before_the_clock_is_set():
    async with (
        HatStation() as station,
        association(station, [COUNT], clock_sync=60.0, delay_acquisition=True) as (_, link),
    ):
        await link.until(lambda: link.counters["clock_commands_confirmed"])
        assert link.counters["delay_acquisitions_confirmed"] == 1
        assert link.counters["delay_ms"] < 1000
        await until(lambda: [line["command"] for line in station.said if "command" in line][-1] == "C_CS_NA")
        assert [line["command"] for line in station.said] == ["C_IC_NA", "C_CD_NA", "C_CD_NA", "C_CS_NA"]


async def test_over_tls_both_sides_show_certificates_and_data_arrive(files):
    async with (
        HatStation(tls=station_tls(files)) as station,
        association(station, [COUNT], tls=our_tls(files, crl=revocations(files["ca"]))) as (driver, link),
    ):
        await station.record(5)
        await link.until(lambda: values(link) == [1, 2, 3, 4, 5])
        assert (await driver.serve(LinkService.SYNCHRONISE)).status == StatusCode.Good
        # the capture ring has what stands inside TLS
        assert all(record.octets[0] == 0x68 for record in link.ring.records() if record.sent)


@pytest.mark.parametrize("fault", ["revoked", "stranger"])
async def test_a_station_whose_certificate_is_not_to_be_trusted_is_refused_and_told_once(files, tmp_path, fault):
    if fault == "stranger":
        told = {**files, "device": certificate(tmp_path, "stranger", certificate(tmp_path, "elsewhere"))}
        tls = our_tls(files)
    else:
        told, tls = files, our_tls(files, crl=revocations(files["ca"], files["device"]))
    async with HatStation(tls=station_tls(told)) as station:
        config = Iec104Config.model_validate({"host": "127.0.0.1", "port": station.port, "tls": tls})
        driver, link = Iec104Driver("rtu", config, [COUNT]), Recorder()
        for _ in range(2):
            with pytest.raises(ConnectionError, match="certificate is refused"):
                await asyncio.wait_for(driver.run(link), 20)
        assert [code for code, _ in link.events] == ["D09"]
        assert link.counters["tls_errors"] == 2
        assert not link.is_up.is_set()


async def test_a_tls_connection_is_made_anew_in_time_without_loss_and_the_association_stays(files):
    async with (
        HatStation(tls=station_tls(files)) as station,
        association(station, [COUNT], tls=our_tls(files), tls_reconnect=0.3) as (driver, link),
    ):
        for _ in range(40):
            await station.record(2)
            await asyncio.sleep(0.02)
        await link.until(lambda: len(values(link)) >= 80)
        assert link.counters["renewals"] >= 1
        assert values(link) == [float(number) for number in range(1, 81)]
        assert not driver.running.done()


async def test_with_a_second_connection_the_renewal_is_a_switch_over(files):
    async with (
        HatStation(tls=station_tls(files)) as station,
        Wire(station.port) as wire,
        association(station, [COUNT], tls=our_tls(files), tls_reconnect=0.5, redundant=f"127.0.0.1:{wire.port}") as (
            driver,
            link,
        ),
    ):
        for _ in range(40):
            await station.record(2)
            await asyncio.sleep(0.02)
        await link.until(lambda: link.counters["switchovers"] >= 1)
        await link.until(lambda: set(values(link)) == set(range(1, 81)))
        assert not driver.running.done()
        assert link.counters["connection_1"] + link.counters["connection_2"] == 3
