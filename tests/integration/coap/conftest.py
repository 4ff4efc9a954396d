"""Peers and a recording link for the CoAP tests."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from peers.coap.rig import PEER, Peer, Recorder


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test here runs on both event loops: they treat ICMP errors differently."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


@pytest.fixture
async def node_peer() -> AsyncIterator[Callable[..., Any]]:
    """Starts npm coap servers: an implementation that shares no code with ours."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (PEER / "node_modules" / "coap").is_dir():
        pytest.skip("npm coap is not installed: npm install --prefix tests/peers/coap")
    peers: list[Peer] = []

    async def start(port: int) -> Peer:
        peer = Peer("node", str(PEER / "server.js"), str(port))
        peers.append(peer)
        await peer.start()
        return peer

    yield start
    for peer in peers:
        await peer.kill()


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts our simulator in its own process from a YAML text."""
    peers: list[Peer] = []

    async def start(text: str) -> Peer:
        file = tmp_path / f"coap{len(peers)}.yaml"
        file.write_text(text, encoding="utf-8")
        peer = Peer(sys.executable, "-m", "twin_gateway.simulate.coap", str(file))
        peers.append(peer)
        await peer.start()
        return peer

    yield start
    for peer in peers:
        await peer.kill()
