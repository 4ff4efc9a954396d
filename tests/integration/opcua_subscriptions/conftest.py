"""One server for all tests of this folder; every test has a place of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from integration.opcua_subscriptions import grid_server
from peers.opcua.wire_client import WireClient

from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import ServerSettings

_numbers = itertools.count()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayServer]:
    made = GatewayServer(
        grid_server.table(),
        ServerSettings("https://example.org/grid", tmp_path_factory.mktemp("pki"), port=0, security=("None",)),
    )
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def place(server: GatewayServer) -> grid_server.Place:
    return grid_server.Place(server.table, next(_numbers))


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: GatewayServer) -> AsyncIterator[WireClient]:
    async with WireClient(server.port) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def other(server: GatewayServer) -> AsyncIterator[WireClient]:
    async with WireClient(server.port) as connected:
        yield connected
