"""Starting, stopping, growing, taking sessions over, and running without the ports of the service."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import BadNotSupported, BadSessionIdInvalid, BadUserAccessDenied
from peers.opcua.rig import AUTHORITY, BAY, CONTROL, POSITION, Rig, grid, point
from peers.waiting import patient

from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerSettings, SettingsError

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_stops_with_clients_connected_and_starts_again_with_its_certificate(pki: Path) -> None:
    first = Rig(pki)
    await first.server.start()
    client = Client(first.url)
    await client.connect()
    assert (first.server.connections, first.server.sessions) == (1, 1)
    certificate, port = first.server.identity.certificate, first.server.port
    async with patient(5):
        await first.server.stop()
        await first.server.stop()
    client.disconnect_socket()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    async with Rig(pki) as second:
        assert second.server.identity.certificate == certificate


async def test_a_taken_port_is_an_error_at_the_start(pki: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = GatewayServer(grid(), ServerSettings(AUTHORITY, pki / "pki", port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="address already in use"):
            await server.start()
        await server.stop()


async def test_an_unsafe_endpoint_is_an_error_at_the_start(pki: Path) -> None:
    server = GatewayServer(grid(), ServerSettings(AUTHORITY, pki / "pki", host="0.0.0.0", port=0, security=("None",)))
    with pytest.raises(SettingsError):
        await server.start()


async def test_points_added_while_it_runs_are_there_at_once(rig: Rig, client: Any) -> None:
    address = f"{BAY}/QB1/XSWI1/Pos"
    node = client.get_node(f"ns=2;s={address}")
    with pytest.raises(ua.UaStatusCodeError):
        await node.read_value()
    rig.table.add([point(address)])
    assert (await node.read_data_value(raise_on_bad_status=False)).StatusCode.name == "BadWaitingForInitialData"
    assert "QB1" in [
        (await each.read_browse_name()).Name for each in await client.get_node(f"ns=2;s={BAY}").get_children()
    ]


async def test_without_ports_local_clients_read_and_nothing_else(pki: Path) -> None:
    server = GatewayServer(grid(), ServerSettings(AUTHORITY, pki / "pki", port=0), ports=Ports())
    await server.start()
    try:
        async with Client(server.url) as client:
            assert await client.get_node(f"ns=2;s={POSITION}").read_value() == 2
            with pytest.raises((BadUserAccessDenied, BadNotSupported)):
                await client.get_node(f"ns=2;s={CONTROL}").call_method("4:Cancel", "Pos")
        named = Client(server.url)
        named.set_user("olga")
        named.set_password("o-secret")
        with pytest.raises(ua.UaError):
            await named.connect()
    finally:
        await server.stop()


async def unconnected(rig: Rig) -> Any:
    client = Client(rig.url)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    return client


async def test_a_session_with_subscriptions_outlives_its_connection_and_is_taken_up_again(rig: Rig) -> None:
    first = Client(rig.url)
    await first.connect()
    await first.create_subscription(100, None)
    sessions = rig.server.sessions
    token = first.uaclient.protocol.authentication_token
    first.uaclient.protocol.transport.abort()
    await asyncio.sleep(0.1)
    assert rig.server.sessions == sessions
    second = await unconnected(rig)
    second.uaclient.protocol.authentication_token = token
    await second.activate_session()
    assert await second.get_node(f"ns=2;s={POSITION}").read_value() == 2
    await second.close_session()
    second.disconnect_socket()
    first.disconnect_socket()
    assert rig.server.sessions == sessions - 1


async def test_a_session_without_subscriptions_ends_with_its_connection(rig: Rig) -> None:
    first = Client(rig.url)
    await first.connect()
    token = first.uaclient.protocol.authentication_token
    first.uaclient.protocol.transport.abort()
    await asyncio.sleep(0.1)
    second = await unconnected(rig)
    second.uaclient.protocol.authentication_token = token
    with pytest.raises(BadSessionIdInvalid):
        await second.activate_session()
    second.disconnect_socket()
    first.disconnect_socket()


async def test_a_guessed_token_takes_nothing_over(rig: Rig) -> None:
    async with Client(rig.url) as victim:
        await victim.create_subscription(100, None)
        thief = await unconnected(rig)
        for identifier in (bytes(32), 1, 1001):
            thief.uaclient.protocol.authentication_token = ua.NodeId(identifier, 1)
            with pytest.raises(BadSessionIdInvalid):
                await thief.activate_session()
        thief.disconnect_socket()
        assert await victim.get_node(f"ns=2;s={POSITION}").read_value() == 2
