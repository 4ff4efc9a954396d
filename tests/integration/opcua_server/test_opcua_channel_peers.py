"""Secured channels of node-opcua: answers of many chunks, channels renewed while requests are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from peers.opcua.agent import Agent
from peers.opcua.rig import POSITION, Rig, grid

from address_space.opcua.settings import POLICIES, ServerLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIFETIME = 1_000
LIMITS = ServerLimits(max_chunk=8192, min_channel_lifetime_ms=400, max_channel_lifetime_ms=LIFETIME)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(pki: Path) -> AsyncIterator[Rig]:
    settings = {"security": ("Sign", "SignAndEncrypt"), "trust_any_client": True}
    async with Rig(pki, limits=LIMITS, table=grid(200), **settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(pki: Path) -> AsyncIterator[Agent]:
    peer = Agent(pki)
    await peer.start()
    yield peer
    await peer.close()


async def test_channels_of_every_policy_and_mode_are_renewed_while_many_chunks_come(secured: Rig, agent: Agent) -> None:
    peers = [
        await agent.connect(secured.url, security=policy, mode=mode)
        for policy in POLICIES
        for mode in ("Sign", "SignAndEncrypt")
    ]
    internal = secured.server.internal
    assert internal is not None
    processors = {each.processor for each in internal.sessions if each.processor is not None}
    assert len({each.security for each in processors}) == len(peers) == 6
    first = {each: each.channel._token.number for each in processors}
    wanted = [{"nodeId": "ns=2;s=dso1/east", "browseDirection": 0, "includeSubtypes": True, "resultMask": 63}]
    node = [{"nodeId": f"ns=2;s={POSITION}", "attributeId": 13}]
    for _ in range(4):
        for peer in peers:
            browsed = await peer.request("BrowseRequest", nodesToBrowse=wanted, requestedMaxReferencesPerNode=0)
            assert len(browsed["results"][0]["references"]) >= 200
            read = await peer.request("ReadRequest", nodesToRead=node)
            assert read["results"][0]["value"]["value"] == 2
        await asyncio.sleep(LIFETIME / 2500)
    assert all(each.channel._token.number > first[each] for each in processors)
    for peer in peers:
        await peer.disconnect()
