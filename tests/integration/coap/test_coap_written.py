"""Writes and blocks: commands against npm coap, blocks both ways against libcoap, resources that change meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiocoap
import pytest
from peers.coap.rig import SERVERS, Recorder, free_port, libcoap, running
from peers.waiting import patient

from address_space.addcause import AddCause
from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.coap.client import Client
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver, target_of
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand


def commanded(path: str, **control: Any) -> BoundPoint:
    return BoundPoint(
        1, "g/a/s/v/b/e/GGIO1/AnOut", "APC", ValueType.DOUBLE, {"path": path}, {"model": "direct", **control}
    )


@contextlib.asynccontextmanager
async def opened(port: int, link: Recorder) -> AsyncIterator[Client]:
    target = target_of(CoapConfig(uri=f"coap://127.0.0.1:{port}", timeout=3.0, ack_timeout=0.3))
    client = await Client.open(target, link)
    try:
        yield client
    finally:
        await client.close()


async def test_a_command_is_written_and_its_value_read_back(node_peer: Callable[..., Any], recorder: Recorder) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/set", payload="1", maxAge=60, plain=True)
    point = commanded("/set")
    device = CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{peer.ready['port']}", timeout=2.0), [point])
    async with running(device, recorder):
        await recorder.until(lambda: 1 in recorder.last)
        outcome = await device.execute(DeviceCommand(Verb.OPERATE, point, 42.5, "c1"))
        await recorder.until(lambda: recorder.last[1][0] == 42.5)
    assert (outcome.status, outcome.gate, outcome.sent) == (StatusCode.Good, "device", True)


async def test_refusals_are_the_devices_own_and_silence_is_unknown(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/set", payload="1", refuse="4.03", why="interlocked")
    await peer.say(path="/mute", payload="1", silentWrites=True)
    device = CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{peer.ready['port']}", ack_timeout=0.2), [])
    async with running(device, recorder):
        await recorder.until(lambda: recorder.ups > 0)
        refused = await device.execute(DeviceCommand(Verb.OPERATE, commanded("/set"), 2.0, "c1"))
        began = time.monotonic()
        unknown = await device.execute(DeviceCommand(Verb.OPERATE, commanded("/mute"), 2.0, "c2", timeout=1.0))
        assert time.monotonic() - began < 2.0
        absent = await device.execute(DeviceCommand(Verb.OPERATE, commanded("/none"), 2.0, "c3"))
    assert (refused.status, refused.add_cause) == (StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY)
    assert "4.03 interlocked" in refused.text
    assert (unknown.status, unknown.sent) == (StatusCode.BadTimeout, True)
    assert "not repeated" in unknown.text
    assert absent.status == StatusCode.BadConfigurationError


async def test_without_an_association_nothing_is_sent() -> None:
    device = CoapDriver("sensor", CoapConfig(uri="coap://127.0.0.1:9"), [])
    outcome = await device.execute(DeviceCommand(Verb.OPERATE, commanded("/set"), 2.0, "c1"))
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)


@pytest.mark.skipif("notls" not in SERVERS, reason="libcoap is not installed: apt install libcoap3-bin")
async def test_a_large_body_goes_out_and_comes_back_in_blocks(recorder: Recorder) -> None:
    port = free_port()
    body = bytes(range(256)) * 20 + b"end"
    async with libcoap(port), opened(port, recorder) as client, patient(10):
        written = await client.write("/big", body, 42, sent=lambda: None)
        assert written.code in (201, 204)
        read = await client.get("/big")
    assert read.payload == body


class Scripted(asyncio.DatagramProtocol):
    """A device whose answers a test makes up."""

    def __init__(self, answer: Callable[[aiocoap.Message], aiocoap.Message]) -> None:
        self._answer = answer
        self.requests: list[aiocoap.Message] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        request = aiocoap.Message.decode(data)
        if not request.code.is_request():
            return
        self.requests.append(request)
        message = self._answer(request)
        message.mtype, message.mid, message.token = aiocoap.ACK, request.mid, request.token
        self.transport.sendto(message.encode(), source)


@contextlib.asynccontextmanager
async def scripted(answer: Callable[[aiocoap.Message], aiocoap.Message]) -> AsyncIterator[tuple[int, Scripted]]:
    loop = asyncio.get_running_loop()
    transport, device = await loop.create_datagram_endpoint(lambda: Scripted(answer), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], device
    finally:
        transport.close()
        await asyncio.sleep(0)


def changing(times: int) -> Iterator[aiocoap.Message]:
    """Answers to requests for a body of two blocks whose ETag changes `times` times between them."""
    for number in range(times):
        yield aiocoap.Message(code=aiocoap.CONTENT, payload=b"a" * 1024, etag=bytes((number,)), block2=(0, True, 6))
        yield aiocoap.Message(code=aiocoap.CONTENT, payload=b"b", etag=bytes((number + 1,)), block2=(1, False, 6))
    while True:
        yield aiocoap.Message(code=aiocoap.CONTENT, payload=b"a" * 1024, etag=b"last", block2=(0, True, 6))
        yield aiocoap.Message(code=aiocoap.CONTENT, payload=b"b", etag=b"last", block2=(1, False, 6))


@pytest.mark.parametrize("times", [1, 2])
async def test_a_resource_that_changes_between_its_blocks_is_read_anew(times: int, recorder: Recorder) -> None:
    answers = changing(times)
    async with scripted(lambda _request: next(answers)) as (port, _), opened(port, recorder) as client:
        response = await client.get("/r")
    assert response.payload == b"a" * 1024 + b"b"
    assert recorder.counters["blocks_restarted"] == times


async def test_a_resource_that_never_rests_is_an_error_and_not_a_loop(recorder: Recorder) -> None:
    answers = changing(1000)
    async with scripted(lambda _request: next(answers)) as (port, device), opened(port, recorder) as client:
        with pytest.raises(ValueError, match="changed between two blocks"):
            await client.get("/r")
        assert len(device.requests) == 6


async def test_a_body_that_says_it_is_too_large_is_not_fetched(recorder: Recorder) -> None:
    def answer(_request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CONTENT, payload=b"a" * 1024, size2=10_000_000, block2=(0, True, 6))

    async with scripted(answer) as (port, device), opened(port, recorder) as client:
        with pytest.raises(ValueError, match="larger than 65536 octets"):
            await client.get("/r")
        assert len(device.requests) == 1


async def test_an_endless_body_ends_at_the_limit(recorder: Recorder) -> None:
    def answer(request: aiocoap.Message) -> aiocoap.Message:
        number = request.opt.block2.block_number if request.opt.block2 is not None else 0
        return aiocoap.Message(code=aiocoap.CONTENT, payload=b"a" * 1024, block2=(number, True, 6))

    async with scripted(answer) as (port, device), opened(port, recorder) as client:
        with pytest.raises(ValueError, match="larger than 65536 octets"):
            await client.get("/r")
        assert len(device.requests) == 65


async def test_a_device_that_wants_smaller_blocks_gets_them(recorder: Recorder) -> None:
    taken = bytearray()

    def answer(request: aiocoap.Message) -> aiocoap.Message:
        block = request.opt.block1
        taken[block.start :] = request.payload[: 64 if block.size > 64 else None]
        code = aiocoap.CONTINUE if block.more else aiocoap.CHANGED
        if block.size > 64:
            taken.clear()
            return aiocoap.Message(code=aiocoap.REQUEST_ENTITY_TOO_LARGE, block1=(0, block.more, 2))
        return aiocoap.Message(code=code, block1=(block.block_number, block.more, 2))

    body = bytes(range(250)) * 5
    async with scripted(answer) as (port, device), opened(port, recorder) as client:
        assert (await client.write("/r", body, 42, sent=lambda: None)).code == 204
        assert bytes(taken) == body
        assert device.requests[0].opt.size1 == len(body)


async def test_a_device_that_does_not_follow_the_blocks_is_an_error(recorder: Recorder) -> None:
    def answer(request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CONTINUE, block1=(7, True, 6))

    async with scripted(answer) as (port, _), opened(port, recorder) as client:
        with pytest.raises(ValueError, match="does not follow the blocks"):
            await client.write("/r", bytes(3000), 42, sent=lambda: None)


class Busy(asyncio.DatagramProtocol):
    """Lets `/slow` wait for its answer until `free`, and everything else for ever; keeps what it got."""

    def __init__(self) -> None:
        self.free = False
        self.got: list[tuple[str, ...]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        request = aiocoap.Message.decode(data)
        if not request.code.is_request():
            return
        self.got.append(tuple(request.opt.uri_path))
        if request.opt.uri_path == ("slow",) and self.free:
            message = aiocoap.Message(code=aiocoap.CONTENT, payload=b"1")
            message.mtype, message.mid, message.token = aiocoap.ACK, request.mid, request.token
            self.transport.sendto(message.encode(), source)


@contextlib.asynccontextmanager
async def busy(recorder: Recorder) -> AsyncIterator[tuple[Busy, CoapDriver]]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(Busy, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    config = CoapConfig(uri=f"coap://127.0.0.1:{port}", timeout=6.0, ack_timeout=0.4, keepalive=None)
    device = CoapDriver("sensor", config, [commanded("/slow")])
    try:
        async with running(device, recorder):
            async with patient(5):
                while not peer.got:
                    await asyncio.sleep(0.01)
            yield peer, device
    finally:
        transport.close()
        await asyncio.sleep(0)


async def test_a_command_that_cannot_leave_in_time_is_not_sent_later(recorder: Recorder) -> None:
    async with busy(recorder) as (peer, device):
        command = DeviceCommand(Verb.OPERATE, commanded("/set"), 2.0, "c1", timeout=5.0, send_within=0.2)
        outcome = await device.execute(command)
        peer.free = True  # the next transmission of what was under way is answered: now the way is clear
        await recorder.until(lambda: recorder.ups > 0)
        await asyncio.sleep(0.2)
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)
    assert outcome.text == "not sent: other requests were under way for 0.2 s"
    assert ("set",) not in peer.got


async def test_a_command_without_an_answer_is_not_transmitted_once_more_when_its_time_is_over(
    recorder: Recorder,
) -> None:
    async with busy(recorder) as (peer, device):
        peer.free = True
        await recorder.until(lambda: recorder.ups > 0)
        command = DeviceCommand(Verb.OPERATE, commanded("/set"), 2.0, "c1", timeout=0.3)
        outcome = await device.execute(command)
        await asyncio.sleep(0.6)
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    assert peer.got.count(("set",)) == 1, "the first retransmission would come after 0.4 to 0.6 s"
