"""What comes over the wire in a wrong order, too often, damaged or unasked; the device is a raw socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiocoap import CONTENT, NON, Message
from peers.coap.rig import Recorder, free_port, point
from peers.coap.rig import running as running_device
from peers.waiting import patient

from twin_gateway.drivers.coap.client import Client
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver, target_of
from twin_gateway.drivers.contract import DeviceCommand, LinkLost, Verb


class RawDevice(asyncio.DatagramProtocol):
    """Answers every GET with its text and Observe 1, and notifies `at_once` behind it; sends what the test wants."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.peer: Any = None
        self.text = b"1"
        self.number = 1
        self.at_once: tuple[bytes, ...] = ()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = Message.decode(data)
        if not request.code.is_request():
            return
        self.peer = addr
        self.requests.append(request)
        if request.opt.observe != 1:
            self.send(self.content(self.number, request.token, 0x60, request.mid))
            for more in self.at_once:
                self.notify(self.number + 1, more)

    def content(self, number: int, token: bytes, kind: int = 0x50, message_id: int = 7) -> bytes:
        head = bytes((kind | len(token), 0x45)) + message_id.to_bytes(2, "big") + token
        return head + b"\x63" + number.to_bytes(3, "big") + b"\xff" + self.text

    def notify(self, number: int, text: bytes) -> None:
        self.text = text
        self.send(self.content(number, self.requests[-1].token))

    def send(self, datagram: bytes) -> None:
        self.transport.sendto(datagram, self.peer)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])


@pytest.fixture
async def raw() -> AsyncIterator[RawDevice]:
    transport, device = await asyncio.get_running_loop().create_datagram_endpoint(
        RawDevice, local_addr=("127.0.0.1", 0)
    )
    yield device
    transport.close()
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(raw: RawDevice, recorder: Recorder, **config: Any) -> AsyncIterator[asyncio.Task[None]]:
    settings = {"uri": f"coap://127.0.0.1:{raw.port}", "timeout": 1.0, "keepalive": None, **config}
    async with running_device(CoapDriver("sensor", CoapConfig(**settings), [point(1, "/t")]), recorder) as task:
        await recorder.until(lambda: 1 in recorder.last)
        yield task


async def test_older_notifications_are_dropped_and_counted_also_where_the_number_wraps(
    raw: RawDevice, recorder: Recorder
) -> None:
    raw.number = 0xFFFFFE
    async with running(raw, recorder):
        for number, text in ((0xFFFFFF, b"2"), (0xFFFFFD, b"99"), (1, b"3"), (0, b"98"), (1, b"97"), (2, b"4")):
            raw.notify(number, text)
        await recorder.until(lambda: recorder.last[1][0] == 4)
    assert recorder.seen[1] == [1, 2, 3, 4]
    assert recorder.counters["notifications_reordered"] == 3


async def test_a_notification_right_behind_the_first_response_is_not_overwritten_by_it(
    raw: RawDevice, recorder: Recorder
) -> None:
    raw.at_once = (b"2",)
    async with running(raw, recorder):
        await recorder.until(lambda: recorder.last[1][0] == 2)
        await asyncio.sleep(0.1)
    assert recorder.seen[1] in ([1, 2], [2])


async def test_damaged_datagrams_cost_a_count_each_and_nothing_else(raw: RawDevice, recorder: Recorder) -> None:
    damaged = [
        b"",
        b"\x40",
        b"\xff" * 4,
        b"\x00\x45\x00\x01",
        b"\x5f\x45\x00\x01" + b"x" * 20,
        b"\x58\x45\x00\x01" + b"t" * 8 + b"\xdf",
        b"\x50\x45\x00\x01\xf0",
        b"\x50\x45\x00\x01\x6f\xff\xff",
        b"\x50\x45\x00\x01\xe0\x01",
        b"\x50" + b"\xe3" * 300,
    ]
    async with running(raw, recorder) as task:
        for octets in damaged:
            raw.send(octets)
        raw.notify(2, b"2")
        await recorder.until(lambda: recorder.last[1][0] == 2)
        assert not task.done()
    assert recorder.counters["malformed_datagrams"] >= 6
    assert recorder.seen[1] == [1, 2]


async def test_requests_of_the_device_are_ignored_and_counted(raw: RawDevice, recorder: Recorder) -> None:
    async with running(raw, recorder):
        for message_id in range(20):
            raw.send(b"\x40\x01" + message_id.to_bytes(2, "big") + b"\xb1x")
        await recorder.until(lambda: recorder.counters["requests_ignored"] == 20)


async def test_what_overflows_the_queue_is_counted_and_the_newest_stays(raw: RawDevice, recorder: Recorder) -> None:
    async with running(raw, recorder, queue=16) as task:
        for number in range(2, 202):
            raw.notify(number, b"%d" % number)
        # The loop must not turn between the datagrams, so that the queue fills: the driver sees them all at once.
        await recorder.until(lambda: recorder.last[1][0] == 201)
        assert not task.done()
    kept = len(recorder.seen[1]) - 1
    assert recorder.counters["notifications_dropped"] + kept == 200


async def test_the_device_is_told_when_an_observation_ends(raw: RawDevice, recorder: Recorder) -> None:
    async with running(raw, recorder):
        token = raw.requests[0].token
    async with patient(3):
        while raw.requests[-1].opt.observe != 1:
            await asyncio.sleep(0.01)
    assert raw.requests[-1].token == token


async def test_a_silent_device_gets_no_more_retransmissions_than_fit_into_its_time(recorder: Recorder) -> None:
    received: list[bytes] = []

    class Deaf(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.append(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Deaf, local_addr=("127.0.0.1", 0))
    uri = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    try:
        client = await Client.open(target_of(CoapConfig(uri=uri, timeout=1.0, ack_timeout=0.2)), recorder)
        with pytest.raises(TimeoutError):
            await client.get("/t")
        await client.close()
    finally:
        transport.close()
    assert len(received) == 3, "0, 0.2-0.3 and 0.6-0.9 s"
    assert len(set(received)) == 1


async def test_a_refused_port_is_known_at_once(recorder: Recorder) -> None:
    client = await Client.open(target_of(CoapConfig(uri=f"coap://127.0.0.1:{free_port()}")), recorder)
    try:
        with pytest.raises(LinkLost, match="refused"):
            await client.get("/t")
    finally:
        await client.close()


async def test_an_icmp_error_does_not_deafen_the_socket(recorder: Recorder) -> None:
    """The port is closed, then a device comes up behind it: the same socket hears it."""
    port = free_port()
    client = await Client.open(target_of(CoapConfig(uri=f"coap://127.0.0.1:{port}", timeout=2.0)), recorder)
    try:
        for _ in range(3):
            with pytest.raises(LinkLost, match="refused"):
                await client.get("/t")
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                RawDevice, local_addr=("127.0.0.1", port)
            )
            assert (await client.get("/t")).payload == b"1"
            transport.close()
            await asyncio.sleep(0.05)
    finally:
        await client.close()


async def test_the_granted_receive_buffer_is_shown_and_not_added_up(raw: RawDevice, recorder: Recorder) -> None:
    device = CoapDriver(
        "sensor", CoapConfig(uri=f"coap://127.0.0.1:{raw.port}", receive_buffer=65_536), [point(1, "/t")]
    )
    for _ in range(2):
        recorder.last.clear()
        task = asyncio.create_task(device.run(recorder))
        await recorder.until(lambda: 1 in recorder.last)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert recorder.counters["receive_buffer_octets"] == 65_536


async def test_datagrams_that_the_kernel_drops_are_counted(raw: RawDevice, recorder: Recorder) -> None:
    async with running(raw, recorder, receive_buffer=4096):
        for number in range(2, 402):
            raw.notify(number, b"7" * 500)
        raw.notify(402, b"8")
        await recorder.until(lambda: recorder.counters["receive_buffer_drops"] > 0)
    counters = recorder.counters
    assert counters["notifications"] + counters["receive_buffer_drops"] == 401


async def test_a_tcp_device_that_is_not_there_is_a_lost_link(recorder: Recorder) -> None:
    with pytest.raises(LinkLost):
        await Client.open(target_of(CoapConfig(uri=f"coap+tcp://127.0.0.1:{free_port()}")), recorder)


async def test_a_command_is_refused_and_never_sent(raw: RawDevice) -> None:
    device = CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{raw.port}"), [point(1, "/t")])
    outcome = await device.execute(DeviceCommand(Verb.OPERATE, point(1, "/t"), 1, "c1"))
    assert not outcome.good
    assert not outcome.sent
    assert raw.requests == []


async def test_a_notification_whose_blocks_do_not_come_is_asked_for_again(raw: RawDevice, recorder: Recorder) -> None:
    async with running(raw, recorder):
        token = raw.requests[0].token
        more = Message(code=CONTENT, payload=b"x" * 64, observe=2, block2=(0, True, 2))
        more.mtype, more.mid, more.token = NON, 9, token
        raw.text = b"5"  # what follows is no block of it: it has changed already
        raw.send(more.encode())
        await recorder.until(lambda: recorder.last[1][0] == 5)
    assert recorder.counters["block_errors"] == 1


class Stream(asyncio.Protocol):
    """A device on TCP (RFC 8323): answers each GET with `21` and Observe 1, then says what a test wants."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.token = b""
        transport.write(b"\x00\xe1")

    def data_received(self, data: bytes) -> None:
        while data:
            length, token = data[0] >> 4, data[0] & 0x0F
            extended = {13: 1, 14: 2}.get(length, 0)
            length = length if not extended else int.from_bytes(data[1 : 1 + extended], "big") + (13, 269)[extended - 1]
            frame, data = data[1 + extended : 2 + extended + token + length], data[2 + extended + token + length :]
            if frame[0] == 1:
                self.token = frame[1 : 1 + token]
                self.say(b"\x61\x01\xff21")

    def say(self, rest: bytes, code: int = 0x45) -> None:
        size = len(rest)
        head = (
            bytes((size << 4 | len(self.token),))
            if size < 13
            else bytes((0xF0 | len(self.token),)) + (size - 65805).to_bytes(4, "big")
        )
        self.transport.write(head + bytes((code,)) + self.token + rest)


@contextlib.asynccontextmanager
async def stream(recorder: Recorder) -> AsyncIterator[tuple[Stream, asyncio.Task[None]]]:
    devices: list[Stream] = []

    def made() -> Stream:
        devices.append(Stream())
        return devices[-1]

    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = CoapConfig(uri=f"coap+tcp://127.0.0.1:{port}", timeout=2.0, keepalive=None)
    try:
        async with running_device(CoapDriver("sensor", config, [point(1, "/t")]), recorder) as task:
            await recorder.until(lambda: 1 in recorder.last)
            yield devices[0], task
    finally:
        for device in devices:
            device.transport.abort()
        server.close()
        await server.wait_closed()


async def test_a_device_that_closes_its_tcp_connection_is_said_to_have_done_so(recorder: Recorder) -> None:
    async with stream(recorder) as (device, task):
        device.transport.close()
        with pytest.raises(LinkLost, match="the device closed the connection"):
            await task


async def test_a_damaged_stream_costs_one_count_and_the_connection(recorder: Recorder) -> None:
    async with stream(recorder) as (device, task):
        device.token = b""
        device.say(b"\xb1\xff")  # a path that is not UTF-8
        with pytest.raises(LinkLost):
            await task
    assert recorder.counters["malformed_datagrams"] == 1


async def test_a_notification_larger_than_the_limit_is_counted_and_the_connection_stays(recorder: Recorder) -> None:
    async with stream(recorder) as (device, task):
        device.say(b"\x61\x02\xff" + b"x" * 70_000)
        device.say(b"\x61\x03\xff22")
        await recorder.until(lambda: recorder.last[1][0] == 22)
        assert not task.done()
    assert recorder.counters["block_errors"] == 1


async def test_requests_of_a_device_on_tcp_are_ignored_and_counted(recorder: Recorder) -> None:
    async with stream(recorder) as (device, task):
        for _ in range(20):
            device.say(b"\xb1x", code=1)
        await recorder.until(lambda: recorder.counters["requests_ignored"] == 20)
        assert not task.done()
