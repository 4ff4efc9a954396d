"""The capture process: its queue is bounded and what finds no room is told; the channel takes nothing on trust."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator

import pytest
from peers.goose import made
from peers.waiting import until

from twin_gateway.drivers.iec61850.goose import process
from twin_gateway.drivers.iec61850.goose.channel import CaptureChannel
from twin_gateway.drivers.iec61850.goose.process import HEAD, Capture, Kind, filter_of

MAC = bytes.fromhex("010ccd010001")
VLAN = (263, 8, struct.pack("=IIIHHHH", 0x51, 0, 0, 0, 14, 0x8005, 0x8100))


class Raw:
    """A raw socket that only says how many frames the kernel had no room for."""

    def __init__(self, lost: int) -> None:
        self.lost = lost

    def getsockopt(self, _level: int, _name: int, _size: int) -> bytes:
        lost, self.lost = self.lost, 0
        return struct.pack("=II", 0, lost)


def records(octets: bytes) -> list[tuple[Kind, bytes]]:
    found = []
    while octets:
        kind, length = HEAD.unpack_from(octets)
        found.append((Kind(kind), octets[HEAD.size : HEAD.size + length]))
        octets = octets[HEAD.size + length :]
    return found


@pytest.fixture
def ends():
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    yield pair
    for each in pair:
        each.close()


def capture(channel: socket.socket, lost: int = 0) -> Capture:
    return Capture(channel, Raw(lost), frozenset({(MAC, b"\x30\x01")}))  # type: ignore[arg-type]


def test_frames_that_find_no_room_are_counted_and_told(ends: tuple[socket.socket, socket.socket]) -> None:
    it = capture(ends[0], lost=3)
    frame = made(1, 0)
    for _ in range(20_000):
        it.take(frame, (), truncated=False)
    assert it.dropped > 1_000
    assert len(it._out) <= process._QUEUE_OCTETS
    kept = 20_000 - it.dropped
    lost = it.dropped + 3
    it._statistics()
    received = b""
    while it._out:
        assert it._send()
        with contextlib.suppress(BlockingIOError):
            received += ends[1].recv(1 << 20)
    with contextlib.suppress(BlockingIOError):
        while part := ends[1].recv(1 << 20):
            received += part
    found = records(received)
    assert [kind for kind, _ in found].count(Kind.FRAME) == kept
    assert found[-1] == (Kind.DROPPED, lost.to_bytes(8, "big"))


def test_the_tag_that_the_kernel_took_off_is_put_back(ends: tuple[socket.socket, socket.socket]) -> None:
    it = capture(ends[0])
    it.take(made(1, 0), (VLAN,), truncated=False)
    assert records(bytes(it._out))[1] == (Kind.FRAME, made(1, 0, vlan_id=5, vlan_priority=4))


def test_of_other_messages_to_the_same_address_one_a_second_is_shown(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    it = capture(ends[0])
    for _ in range(100):
        it.take(made(1, 0, app_id=0x3002), (), truncated=False)
    assert len(records(bytes(it._out))) == 2


def test_a_frame_that_was_cut_off_is_told_without_its_octets(ends: tuple[socket.socket, socket.socket]) -> None:
    it = capture(ends[0])
    it.take(made(1, 0), (), truncated=True)
    assert records(bytes(it._out))[1] == (Kind.OVERSIZED, b"")


def test_the_other_end_that_is_gone_ends_it(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    assert not capture(ends[0])._send()


def test_the_last_word_comes_behind_what_was_half_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    it = capture(ends[0])
    for _ in range(1000):
        it.take(made(1, 0), (), truncated=False)
    assert it._send()
    assert it._out
    received = bytearray()

    def read() -> None:
        ends[1].setblocking(True)
        while part := ends[1].recv(1 << 16):
            received.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    it.refuse(OSError("Network is down"))
    ends[0].shutdown(socket.SHUT_RDWR)
    reader.join(20)
    found = records(bytes(received))
    assert found[-1] == (Kind.REFUSED, b"Network is down")
    assert {octets for kind, octets in found if kind is Kind.FRAME} == {made(1, 0)}


def test_a_last_word_that_nobody_reads_is_not_waited_for(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_FAREWELL_S", 0.1)
    it = capture(ends[0])
    for _ in range(10_000):
        it.take(made(1, 0), (), truncated=False)
    it.refuse(OSError("Network is down"))


def run_filter(program: list[tuple[int, int, int, int]], octets: bytes) -> bool:
    """What the kernel does with the few instructions that are used."""
    at, register = 0, 0
    while True:
        code, true, false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                register = int.from_bytes(octets[operand : operand + 4], "big")
            case 0x28:
                register = int.from_bytes(octets[operand : operand + 2], "big")
            case 0x15:
                at += true if register == operand else false
            case _:
                return operand > 0


def test_the_filter_lets_through_goose_to_the_wanted_addresses_only() -> None:
    wanted = [bytes.fromhex(f"010ccd01{number:04x}") for number in range(64)]
    program = filter_of(wanted)
    assert all(run_filter(program, made(1, 0, destination=address.hex(":"))) for address in wanted)
    assert not run_filter(program, made(1, 0, destination="01:0c:cd:01:00:40"))
    assert not run_filter(program, made(1, 0, destination="01:0c:cd:02:00:01"))
    assert not run_filter(program, made(1, 0)[:12] + b"\x08\x00" + made(1, 0)[14:])


@contextlib.asynccontextmanager
async def serving(path: str, octets: bytes) -> AsyncIterator[str]:
    """A capture service that answers with these octets; its connections are closed when this ends."""
    ends: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(end := asyncio.get_running_loop().create_future())
        with contextlib.suppress(ConnectionError):
            await reader.readline()
            writer.write(octets)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        end.set_result(None)

    async with await asyncio.start_unix_server(serve, path):
        yield path
    await asyncio.gather(*ends)


@pytest.fixture
async def service(tmp_path, request) -> AsyncIterator[str]:
    """A capture service that answers with the octets of the parameter."""
    async with serving(str(tmp_path / "service.sock"), request.param) as path:
        yield path


READY = HEAD.pack(Kind.READY, 0)


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (READY + HEAD.pack(Kind.FRAME, 60_000), "60000 octets"),
        (READY + HEAD.pack(99, 0), "kind 99"),
        (READY + HEAD.pack(Kind.REFUSED, 3) + b"why", "why"),
    ],
    indirect=["service"],
    ids=["too-long", "unknown", "refused"],
)
async def test_what_is_no_record_ends_the_channel(service: str, reason: str) -> None:
    with pytest.raises(ConnectionError, match=reason):
        await CaptureChannel.open("lo", [(MAC, 1)], lambda *_: None, service=service)


@pytest.mark.parametrize("service", [HEAD.pack(Kind.REFUSED, 2) + b"no"], indirect=True)
async def test_a_service_that_refuses_is_an_os_error(service: str) -> None:
    with pytest.raises(OSError, match="no"):
        await CaptureChannel.open("lo", [(MAC, 1)], lambda *_: None, service=service)


@pytest.mark.parametrize("number", [0, 100, 199])
async def test_a_fault_in_what_takes_the_records_ends_the_channel(tmp_path, number: int) -> None:
    heard: list[bytes] = []

    def take(_kind: Kind, octets: bytes) -> None:
        heard.append(octets)
        if len(heard) > number:
            raise KeyError(number)

    frames = READY + b"".join(HEAD.pack(Kind.FRAME, 2) + b"ab" for _ in range(200))
    async with serving(str(tmp_path / "service.sock"), frames) as path:
        with pytest.raises(KeyError):
            channel = await CaptureChannel.open("lo", [(MAC, 1)], take, service=path)
            async with asyncio.timeout(20):
                await channel.closed
    assert len(heard) == number + 1


async def test_a_service_that_takes_no_connection_is_not_waited_for(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin_gateway.drivers.iec61850.goose.channel._READY_S", 0.3)
    path = str(tmp_path / "service.sock")
    with socket.socket(socket.AF_UNIX) as deaf, contextlib.ExitStack() as others:
        deaf.bind(path)
        deaf.listen(0)
        for _ in range(4):
            other = others.enter_context(socket.socket(socket.AF_UNIX))
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(path)
        async with asyncio.timeout(20):
            with pytest.raises(OSError, match=r"\w"):
                await CaptureChannel.open("lo", [(MAC, 1)], lambda *_: None, service=path)


async def test_a_service_that_is_not_there_is_an_os_error(tmp_path) -> None:
    with pytest.raises(OSError, match=r"\w"):
        await CaptureChannel.open("lo", [(MAC, 1)], lambda *_: None, service=str(tmp_path / "none"))


def test_it_works_on_the_event_loop_that_the_gateway_runs_on(tmp_path) -> None:
    uvloop = pytest.importorskip("uvloop")
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"010ccd010001" in await reader.readline()
        writer.write(READY + b"".join(HEAD.pack(Kind.FRAME, 2) + b"ab" for _ in range(500)))
        await reader.read()
        writer.close()

    async def listen() -> None:
        path = str(tmp_path / "service.sock")
        async with await asyncio.start_unix_server(serve, path):
            channel = await CaptureChannel.open("lo", [(MAC, 1)], lambda _, octets: heard.append(octets), service=path)
            await until(lambda: len(heard) == 500)
            await channel.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen())
