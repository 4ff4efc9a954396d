"""100 000 damaged messages before and after HEL, OPN and the session, while a good client goes on reading.

The server runs in a process of its own: what it logs, holds and costs is all there is to see.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from peers.opcua.mutations import bombs, damaged, damaged_frame, requests
from peers.opcua.raw_peer import ClosedError, RawPeer, hello, opening, request_header, typed
from peers.opcua.strain import Process, StrainedServer

SEED = int(os.environ.get("TWIN_FUZZ_SEED", "63353"))
BEFORE_HELLO, BEFORE_OPENING, BEFORE_SESSION, IN_SESSION, FRAMES = 4_000, 4_000, 20_000, 68_000, 4_000
BATCH = 200
LIMITS = {"max_connections": 400, "max_connections_per_host": 300, "activation_seconds": 2.0}
# Subscriptions outlive their sessions: not for long.
SUBSCRIPTIONS = {"max_publishing_interval": 100.0, "max_keep_alive_count": 5, "max_lifetime": 1500.0}


@pytest.fixture
def look(server: StrainedServer) -> Iterator[Process]:
    """The good client."""
    with server.look() as looking:
        yield looking


@pytest.fixture(scope="module")
def server() -> Iterator[StrainedServer]:
    with StrainedServer(bays=50, changing=True, limits=LIMITS, subscriptions=SUBSCRIPTIONS) as strained:
        yield strained


def connected(server: StrainedServer, stage: int) -> RawPeer:
    """A peer after HEL (1), OPN (2), session (3)."""
    peer = RawPeer(server.port)
    # A session with subscriptions outlives its connection: not for long.
    for step in (peer.hello, peer.open, lambda: peer.session(1000.0))[:stage]:
        step()
    return peer


def each_ends_a_connection(server: StrainedServer, stage: int, messages: list[bytes]) -> None:
    """Each message on a connection of its own, many at a time; the connection is left to the server or closed half."""
    for start in range(0, len(messages), 50):
        peers = []
        for message in messages[start : start + 50]:
            with contextlib.suppress(ClosedError):
                peer = connected(server, stage)
                peers.append(peer)
                peer.write(message)
        select.select([peer.socket for peer in peers], [], [], 0.05)
        for peer in peers:
            peer.close()


def flood(server: StrainedServer, stage: int, count: int, rng: random.Random) -> int:
    """Damaged bodies on whole chunks, pipelined; a new connection whenever the server has ended the last one."""
    sent, connections = 0, 0
    while sent < count:
        with contextlib.suppress(ClosedError):
            peer = connected(server, stage)
            connections += 1
            bodies = requests(peer.token)
            try:
                # Sessions and subscriptions come and go as well.
                for _ in range(10):
                    several = [peer.chunk(damaged(rng.choice(bodies), rng)) for _ in range(BATCH)]
                    good = peer.chunk(typed(428) + request_header(b"\0\0", 7) + struct.pack("<iii", -1, 0, 0))
                    sent += BATCH
                    peer.write(b"".join(several) + good)
                    peer.answer(peer.request)
            finally:
                peer.close()
    return connections


def settled(server: StrainedServer, seconds: float = 15.0) -> dict[str, Any]:
    """What the server is like when all connections but the good client's are gone."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = server.ask()
        if (state["connections"], state["sessions"], state["subscriptions"]) == (1, 1, 0):
            break
        time.sleep(0.1)
    return state


def test_100_000_damaged_messages_cost_nothing_but_their_own_connections(server: StrainedServer, look: Process) -> None:
    rng = random.Random(SEED)
    bodies = requests(b"\0\0")
    # Caches fill, sessions come and go: what grows after this is a leak.
    flood(server, 3, 4_000, rng)
    before = settled(server)
    began = time.monotonic()
    start, channel = hello(), opening()
    each_ends_a_connection(
        server,
        0,
        [damaged_frame(rng.choice((start, channel)), rng) if rng.random() < 0.5 else damaged(start, rng)
         for _ in range(BEFORE_HELLO)],
    )  # fmt: skip
    each_ends_a_connection(
        server,
        1,
        [damaged(channel, rng) if rng.random() < 0.7 else damaged_frame(channel, rng) for _ in range(BEFORE_OPENING)],
    )
    flood(server, 2, BEFORE_SESSION, rng)
    flood(server, 3, IN_SESSION, rng)
    for _ in range(0, FRAMES, 50):
        peers = []
        for _ in range(50):
            with contextlib.suppress(ClosedError):
                peer = connected(server, 2)
                peers.append(peer)
                peer.write(damaged_frame(peer.chunk(rng.choice(bodies)), rng))
        for peer in peers:
            peer.close()
    seconds = time.monotonic() - began
    after = settled(server)
    figures = look.ask()
    growth = (after["rss"] - before["rss"]) / (1 << 20)
    print(f"\n100 000 messages in {seconds:.1f} s, {growth:.1f} MiB more, {after['frames_refused']} refused; {figures}")
    assert after["errors"] == []
    assert after["connections"] == 1
    assert after["sessions"] == 1
    assert after["subscriptions"] == 0
    assert growth < 48
    assert figures["wrong"] == 0
    assert figures["reads"] > 100
    assert figures["p99_ms"] < 200


def test_short_requests_that_mean_much_are_answered_at_once(server: StrainedServer, look: Process) -> None:
    before = server.ask()["rss"]
    slowest = 0.0
    for number in range(len(bombs(b"\0\0"))):
        peer = connected(server, 3)
        bomb = bombs(peer.token)[number]
        assert len(bomb) < 65_000
        began = time.monotonic()
        peer.write(peer.chunk(bomb))
        # A request whose header cannot be read ends the connection; any other is answered.
        with contextlib.suppress(ClosedError):
            peer.answer(peer.request)
        slowest = max(slowest, time.monotonic() - began)
        peer.close()
    figures = look.ask()
    state = settled(server)
    print(f"\nslowest {slowest * 1000:.0f} ms, {(state['rss'] - before) / (1 << 20):.1f} MiB more; {figures}")
    assert state["errors"] == []
    assert figures["max_ms"] < 500
    assert figures["p50_ms"] < 200
    assert state["rss"] - before < 64 << 20
