"""What the server refuses before it costs anything: frames, connections, large requests, foreign sessions."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.ua.uaerrors import BadSessionIdInvalid, BadTooManyOperations
from peers.opcua.rig import CONTROL, POSITION, Rig, grid
from peers.waiting import patient

from address_space.opcua.settings import ServerLimits

LIMITS = ServerLimits(
    max_connections=8,
    activation_seconds=1.0,
    max_sessions=3,
    max_nodes_per_read=10,
    max_references=50,
    max_chunk=16384,
    min_channel_lifetime_ms=400,
)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(pki: Path) -> AsyncIterator[Rig]:
    async with Rig(pki, limits=LIMITS, table=grid(200)) as running:
        yield running


def port(rig: Rig) -> int:
    return rig.server.port


def hello(size: int = 65535) -> bytes:
    url = b"opc.tcp://127.0.0.1"
    body = struct.pack("<IIIIII", 0, size, size, 0, 0, len(url)) + url
    return struct.pack("<3scI", b"HEL", b"F", 8 + len(body)) + body


async def opened(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port(rig))


async def error_of(reader: asyncio.StreamReader) -> int:
    """The status of the ERR message that ends the connection."""
    data = await asyncio.wait_for(reader.read(-1), 12)
    assert data[-8:] is not None
    start = data.index(b"ERRF")
    return int(struct.unpack_from("<I", data, start + 8)[0])


async def test_an_oversize_first_frame_closes_at_once_without_memory_growth(strict: Rig) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    refused = strict.server.counters.frames_refused
    reader, writer = await opened(strict)
    writer.write(struct.pack("<3scI", b"HEL", b"F", 0x7FFFFFFF))
    assert await error_of(reader) == ua.StatusCodes.BadTcpMessageTooLarge
    writer.close()
    for _ in range(20):
        reader, writer = await opened(strict)
        writer.write(struct.pack("<3scI", b"HEL", b"F", 0x7FFFFFFF) + bytes(1 << 20))
        # What the server did not read makes the kernel reset the connection; the ERR message may be lost then.
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(-1), 12)
        writer.close()
    assert strict.server.counters.frames_refused == refused + 21
    assert process.memory_info().rss - before < 16 << 20


async def test_a_frame_above_the_negotiated_size_closes(strict: Rig) -> None:
    reader, writer = await opened(strict)
    writer.write(hello(8192) + struct.pack("<3scI", b"OPN", b"F", 8193))
    assert await error_of(reader) == ua.StatusCodes.BadTcpMessageTooLarge
    writer.close()


async def test_a_large_request_without_a_session_closes(strict: Rig) -> None:
    client = Client(strict.url)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    transport = client.uaclient.protocol.transport
    connection = client.uaclient.protocol._connection
    token = connection.security_token
    for number in range(20):
        header = struct.pack("<3scIII", b"MSG", b"C", 16000, token.ChannelId, token.TokenId)
        transport.write(header + struct.pack("<II", connection._sequence_number + 1 + number, 77) + bytes(16000 - 24))
    async with patient(3):
        while not transport.is_closing():
            await asyncio.sleep(0.01)
    client.disconnect_socket()


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n\r\n", b"MSGF\x20\0\0\0" + bytes(24), b"HELF\x08\0\0\0", b"\xff" * 64],
    ids=["http", "message first", "short hello", "noise"],
)
async def test_what_is_no_opc_ua_closes(strict: Rig, octets: bytes) -> None:
    reader, writer = await opened(strict)
    writer.write(octets)
    assert await error_of(reader) == ua.StatusCodes.BadTcpMessageTypeInvalid
    writer.close()


async def test_a_second_hello_closes(strict: Rig) -> None:
    reader, writer = await opened(strict)
    writer.write(hello() + hello())
    assert await error_of(reader) == ua.StatusCodes.BadTcpMessageTypeInvalid
    writer.close()


async def test_a_connection_without_a_session_is_closed_after_its_time(strict: Rig) -> None:
    reader, writer = await opened(strict)
    writer.write(hello())
    started = asyncio.get_running_loop().time()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1 << 16), 20)
    assert 0.9 < asyncio.get_running_loop().time() - started < 12
    assert strict.server.counters.never_activated >= 1
    writer.close()


async def test_connections_beyond_the_limit_are_refused_and_later_ones_taken(strict: Rig) -> None:
    opened_ones = [await opened(strict) for _ in range(LIMITS.max_connections)]
    await asyncio.sleep(0.05)
    reader, writer = await opened(strict)
    writer.write(hello())
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(8), 12)
    writer.close()
    for _, other in opened_ones:
        other.close()
    await asyncio.sleep(0.1)
    async with Client(strict.url):
        pass


async def test_sessions_beyond_the_limit_are_refused(strict: Rig) -> None:
    clients = [Client(strict.url) for _ in range(LIMITS.max_sessions)]
    for client in clients:
        await client.connect()
    with pytest.raises(ua.UaStatusCodeError):
        await Client(strict.url).connect()
    for client in clients:
        await client.disconnect()


async def test_tokens_are_long_random_and_needed(strict: Rig) -> None:
    async with Client(strict.url) as first, Client(strict.url) as second:
        tokens = [each.uaclient.protocol.authentication_token for each in (first, second)]
        assert all(len(token.Identifier) >= 16 for token in tokens)
        assert tokens[0] != tokens[1]
        second.uaclient.protocol.authentication_token = tokens[0]
        with pytest.raises(BadSessionIdInvalid):
            await second.get_node(f"ns=2;s={POSITION}").read_value()
        second.uaclient.protocol.authentication_token = tokens[1]


async def test_more_nodes_than_told_are_refused(strict: Rig) -> None:
    async with Client(strict.url) as client:
        limit = await client.get_node(
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
        ).read_value()
        assert limit == LIMITS.max_nodes_per_read
        nodes = [client.get_node(f"ns=2;s={POSITION}")] * (limit + 1)
        with pytest.raises(BadTooManyOperations):
            await client.read_values(nodes)
        assert await client.read_values(nodes[:-1]) == [2] * limit


async def test_the_server_itself_limits_the_references_of_one_answer(strict: Rig) -> None:
    async with Client(strict.url) as client:
        area = client.get_node("ns=2;s=dso1/east")
        assert len(await area.get_children(refs=ua.ObjectIds.Organizes)) == 200
        wanted = ua.BrowseDescription(NodeId=area.nodeid, IncludeSubtypes=True, ResultMask=63)
        [part] = await client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[wanted]))
        assert len(part.References) == LIMITS.max_references
        assert part.ContinuationPoint


async def test_a_command_goes_on_when_its_client_is_gone(strict: Rig) -> None:
    strict.desk.delay, strict.desk.finished = 0.3, 0
    client = Client(strict.url)
    client.set_user("olga")
    client.set_password("o-secret")
    await client.connect()
    arguments = [
        ua.Variant(value, kind)
        for value, kind in (
            ("Pos", ua.VariantType.String),
            (True, ua.VariantType.Boolean),
            (False, ua.VariantType.Boolean),
            (True, ua.VariantType.Boolean),
            (True, ua.VariantType.Boolean),
            ("", ua.VariantType.String),
            ("", ua.VariantType.String),
        )
    ]
    call = asyncio.create_task(client.get_node(f"ns=2;s={CONTROL}").call_method("4:Operate", *arguments))
    async with patient(3):
        while not strict.desk.commands:
            await asyncio.sleep(0.01)
    assert not strict.desk.finished
    client.uaclient.protocol.transport.abort()
    await asyncio.gather(call, return_exceptions=True)
    async with patient(3):
        while not strict.desk.finished:
            await asyncio.sleep(0.02)
    client.disconnect_socket()
    strict.desk.delay = 0.0


async def test_a_channel_that_is_not_renewed_ends(strict: Rig) -> None:
    client = Client(strict.url)
    client.secure_channel_timeout = 400
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    assert await client.get_endpoints()
    await asyncio.sleep(0.6)
    with pytest.raises((ua.UaError, ConnectionError, asyncio.CancelledError)):
        await client.get_endpoints()
    assert client.uaclient.protocol.transport is None
    client.disconnect_socket()


async def test_a_renewed_channel_goes_on(strict: Rig) -> None:
    client = Client(strict.url)
    client.secure_channel_timeout = 1000
    async with client:
        # asyncua's client renews after three quarters of the lifetime; the channel would end after one and a quarter.
        for _ in range(8):
            await asyncio.sleep(0.2)
            assert await client.get_node(f"ns=2;s={POSITION}").read_value() == 2


async def test_a_client_that_does_not_read_costs_bounded_memory_and_loses_nothing(pki: Path) -> None:
    async with Rig(pki, table=grid(400)) as rig, Client(rig.url) as client:
        protocol = client.uaclient.protocol
        [session] = rig.server.internal.sessions
        request = ua.BrowseRequest()
        request.Parameters.NodesToBrowse = [ua.BrowseDescription(NodeId=ua.NodeId("dso1/east", 2), ResultMask=63)]
        protocol.transport.pause_reading()
        answers = [asyncio.create_task(protocol.send_request(request, timeout=30)) for _ in range(400)]
        await asyncio.sleep(0.1)
        async with patient(10):
            while session.processor.writable:
                await asyncio.sleep(0.05)
        unsent = session.processor.unsent
        await asyncio.sleep(0.3)
        assert session.processor.unsent <= unsent < 2 << 20
        assert sum(answer.done() for answer in answers) == 0
        async with Client(rig.url) as other:
            assert await other.get_node(f"ns=2;s={POSITION}").read_value() == 2
        protocol.transport.resume_reading()
        bodies = await asyncio.gather(*answers)
        assert {len(body) for body in bodies} == {len(bodies[0])}
