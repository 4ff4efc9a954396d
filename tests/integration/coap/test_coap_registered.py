"""The resource directory on a socket: libcoap's client registers and looks up, and a registered device is read."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiocoap
import pytest
from peers.coap.rig import CLIENT, Recorder, free_port, libcoap_client
from peers.waiting import patient

from address_space.catalogue import ValueType
from address_space.events import EventJournal
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.coap_directory import make_directory
from twin_gateway.drivers.coap import tlv
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.directory import DIRECTORY, Directory
from twin_gateway.drivers.coap.directory_listener import DirectoryListener
from twin_gateway.drivers.coap.directory_settings import DirectorySettings
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, LinkLost, PointChange


@contextlib.asynccontextmanager
async def listening(directory: Directory) -> AsyncIterator[int]:
    listener = DirectoryListener(DirectorySettings(port=free_port()), directory)
    await listener.start()
    try:
        assert directory.listening is not None
        yield directory.listening[1]
    finally:
        await listener.stop()


@pytest.mark.skipif(CLIENT is None, reason="libcoap is not installed: apt install libcoap3-bin")
async def test_libcoap_registers_looks_up_and_signs_off() -> None:
    directory = Directory()
    async with listening(directory) as port:
        base = f"coap://127.0.0.1:{port}"
        core = await libcoap_client("-B", "3", "-m", "get", f"{base}/.well-known/core?rt=core.rd*")
        assert '</rd>;rt="core.rd"' in core
        await libcoap_client(
            "-B", "3", "-m", "post", "-t", "40", "-e", "</3303/0>,</3/0>", f"{base}/rd?ep=node1&lt=600&lwm2m=1.1&b=U"
        )
        found = directory.find("node1")
        assert found is not None
        assert (found.lifetime, found.parameters["lwm2m"], len(found.links)) == (600, "1.1", 2)
        assert 'ep="node1"' in await libcoap_client("-B", "3", "-m", "get", f"{base}/rd-lookup/ep")
        assert "/3303/0>" in await libcoap_client("-B", "3", "-m", "get", f"{base}/rd-lookup/res?ep=node1")
        await libcoap_client("-B", "3", "-m", "post", f"{base}/rd/{found.location}?lt=900")
        prolonged = directory.find("node1")
        assert prolonged is not None
        assert prolonged.lifetime == 900
        assert (
            "404" in (said := await libcoap_client("-B", "3", "-m", "delete", f"{base}/rd/nothing")) or "4.04" in said
        )
        await libcoap_client("-B", "3", "-m", "delete", f"{base}/rd/{found.location}")
        assert directory.find("node1") is None


class Sensor(asyncio.DatagramProtocol):
    """A LwM2M client: registers, then answers requests at the same port, the server's and nobody else's."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._mid = 0
        self._observer: bytes | None = None
        self._number = 1
        self.value = 21.5
        self.strangers = 0
        self.asleep = False
        self.asked: list[aiocoap.Message] = []
        self.location: tuple[str, ...] = ()
        self.answered = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, code: int, path: str, payload: bytes = b"") -> None:
        self._mid += 1
        message = aiocoap.Message(code=code, uri=f"coap://x{path}", payload=payload)
        message.mtype, message.mid, message.token, message.remote = aiocoap.CON, self._mid, b"r", None
        self.answered.clear()
        self.transport.sendto(message.encode(), self._server)

    def prolong(self, query: str) -> None:
        self.ask(aiocoap.POST, "/" + "/".join(self.location) + f"?{query}")

    def datagram_received(self, data: bytes, source: Any) -> None:
        if source != self._server:
            self.strangers += 1  # as LwM2M clients do: they know no other server
            return
        message = aiocoap.Message.decode(data)
        if not message.code.is_request():
            self.location = tuple(message.opt.location_path) or self.location
            self.answered.set()
            return
        self.asked.append(message)
        if message.opt.uri_path == ("3303", "0") and message.code == aiocoap.GET and not self.asleep:
            self._observer = message.token
            self.transport.sendto(self._content(message.token, message.mid, aiocoap.ACK), source)

    def notify(self, value: float) -> None:
        self.value, self._number, self._mid = value, self._number + 1, self._mid + 1
        assert self._observer is not None
        self.transport.sendto(self._content(self._observer, self._mid, aiocoap.NON), self._server)

    def _content(self, token: bytes, mid: int, kind: Any) -> bytes:
        payload = tlv.encode((3303, 0, 5700), struct.pack(">f", self.value)) + tlv.encode((3303, 0, 5701), b"Cel")
        message = aiocoap.Message(code=aiocoap.CONTENT, payload=payload, content_format=11542, observe=self._number)
        message.mtype, message.mid, message.token = kind, mid, token
        return bytes(message.encode())


TEMPERATURE = BoundPoint(
    1,
    "g/a/s/v/b/e/STMP1/Tmp",
    "MV",
    ValueType.DOUBLE,
    {"object": "3303/0/5700"},
    {"model": "direct", "object": "3303/0/5700"},
    quantity="temperature",
)


@contextlib.asynccontextmanager
async def at_work(
    recorder: Recorder, directory: Directory, **config: Any
) -> AsyncIterator[tuple[CoapDriver, asyncio.Task[None], Sensor]]:
    """A driver that waits for `node1`, its task, and the device that has not registered yet."""
    async with listening(directory) as port:
        settings = {"timeout": 2.0, "ack_timeout": 0.3, **config}
        device = CoapDriver("node1", CoapConfig(endpoint="node1", **settings), [TEMPERATURE], directory)
        task = asyncio.create_task(device.run(recorder))
        transport, sensor = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Sensor(("127.0.0.1", port)), local_addr=("127.0.0.1", 0)
        )
        try:
            async with patient(15):
                yield device, task, sensor
            assert sensor.strangers == 0
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            transport.close()
            await asyncio.sleep(0)


async def test_a_registered_device_is_read_at_the_port_that_it_registered_from(recorder: Recorder) -> None:
    directory = Directory()
    async with at_work(recorder, directory) as (_, task, sensor):
        sensor.ask(aiocoap.POST, "/rd?ep=node1&lt=600&b=U", b"</3303/0>")
        await sensor.answered.wait()
        await recorder.until(lambda: recorder.last.get(1, (0,))[0] == 21.5)
        sensor.notify(22.25)
        await recorder.until(lambda: recorder.last[1][0] == 22.25)
        # An update reaches the socket of the association and the directory all the same.
        sensor.prolong("lt=700")
        await sensor.answered.wait()
        known = directory.find("node1")
        assert known is not None
        assert known.lifetime == 700
        assert not task.done()
        # Registered anew: it has forgotten who observes it.
        sensor.ask(aiocoap.POST, "/rd?ep=node1&lt=600&b=U", b"</3303/0>")
        with pytest.raises(LinkLost, match="has registered anew"):
            await task


@pytest.mark.parametrize("binding", ["b=UQ", "lwm2m=1.1&b=U&Q"])
async def test_a_device_in_queue_mode_is_asked_only_while_it_is_awake(binding: str, recorder: Recorder) -> None:
    directory = Directory()
    async with at_work(recorder, directory, awake=0.8, keepalive=0.2) as (device, task, sensor):
        sensor.ask(aiocoap.POST, f"/rd?ep=node1&lt=600&{binding}", b"</3303/0>")
        await recorder.until(lambda: recorder.last.get(1, (0,))[0] == 21.5)
        asked = len(sensor.asked)
        await asyncio.sleep(1.0)
        assert len(sensor.asked) == asked, "nothing more is asked while it is awake, and nothing later"
        refused = await device.execute(DeviceCommand(Verb.OPERATE, TEMPERATURE, 1.0, "c1"))
        assert (refused.status, refused.sent) == (StatusCode.BadNoCommunication, False)
        assert "sleeps until it prolongs its registration" in refused.text
        sensor.notify(22.25)  # it wakes by itself for this, and sleeps again
        await recorder.until(lambda: recorder.last[1][0] == 22.25)
        await device.update(PointChange(removed=[TEMPERATURE]))
        await device.update(PointChange(added=[TEMPERATURE]))
        await asyncio.sleep(0.3)
        assert len(sensor.asked) == asked
        sensor.prolong("lt=700")
        await recorder.until(lambda: any(each.opt.observe == 0 for each in sensor.asked[asked:]))
        assert not task.done()


async def test_a_device_that_sleeps_earlier_than_thought_is_not_lost(recorder: Recorder) -> None:
    directory = Directory()
    async with at_work(recorder, directory, awake=60.0, timeout=0.5, ack_timeout=0.1) as (_, task, sensor):
        sensor.asleep = True
        sensor.ask(aiocoap.POST, "/rd?ep=node1&lt=600&b=UQ", b"</3303/0>")
        await recorder.until(lambda: recorder.counters["timeouts"] == 1)
        tried = len(sensor.asked)
        await asyncio.sleep(2.0)
        assert len(sensor.asked) == tried, "it is left alone until it comes by itself"
        sensor.asleep = False
        sensor.prolong("")
        await recorder.until(lambda: recorder.last.get(1, (0,))[0] == 21.5)
        assert not task.done()


async def test_a_sleeping_device_that_registers_each_time_it_wakes_stays_connected(recorder: Recorder) -> None:
    directory = Directory()
    async with at_work(recorder, directory, awake=5.0) as (_, task, sensor):
        for value in (21.5, 22.0, 22.5):
            sensor.value = value
            sensor.ask(aiocoap.POST, "/rd?ep=node1&lt=600&b=UQ", b"</3303/0>")
            await recorder.until(lambda value=value: recorder.last.get(1, (0,))[0] == value)
        sensor.notify(23.0)
        await recorder.until(lambda: recorder.last[1][0] == 23.0)
        assert not task.done()
        sensor.ask(aiocoap.DELETE, "/" + "/".join(sensor.location))
        with pytest.raises(LinkLost, match="is not registered any more"):
            await task
    assert recorder.seen[1] == [21.5, 22.0, 22.5, 23.0], "nothing twice"


async def test_without_a_directory_an_endpoint_is_told_to_be_impossible(recorder: Recorder) -> None:
    with pytest.raises(LinkLost, match="add coap_directory"):
        await CoapDriver("a", CoapConfig(endpoint="a"), [], Directory()).run(recorder)


async def test_the_gateway_lists_endpoints_that_no_mapping_names() -> None:
    events = EventJournal()
    cursor = events.cursor("test")
    listener = make_directory(DirectorySettings(port=free_port()), events, "g/_sys/gw/_/_")
    await listener.start()
    try:
        made = DIRECTORY.register({"ep": "stranger"}, b"</3303/0>", ("127.0.0.1", 9))
        DIRECTORY.remove(made.location, made.address)
        (event,) = cursor.take()
    finally:
        await listener.stop()
        DIRECTORY.told = None
    assert event.code == "endpoint"
    assert "stranger at 127.0.0.1" in event.text
    assert "/3303/0" in event.text
