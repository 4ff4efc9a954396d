"""One server for all tests of a module, and servers of their own for tests that strain one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from asyncua import Client
from peers.opcua.rig import NodeClient, Rig


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What touches the transport runs on both event loops, the rest on the one of the product."""
    if "limits" in item.nodeid:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory whose certificate is made once for all servers of the module."""
    yield tmp_path_factory.mktemp("opcua")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(pki: Path) -> AsyncIterator[Rig]:
    async with Rig(pki) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(rig: Rig) -> AsyncIterator[Any]:
    """An anonymous asyncua client."""
    async with Client(rig.url) as connected:
        yield connected


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(pki: Path) -> AsyncIterator[NodeClient]:
    """The node-opcua client."""
    peer = NodeClient(pki)
    await peer.start()
    yield peer
    await peer.close()
