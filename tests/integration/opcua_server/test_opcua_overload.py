"""Floods, slow and deaf clients: what they cost is bounded and counted, a good client from another host goes on."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers.opcua.raw_peer import NULL, ClosedError, RawPeer, hello, opening, string
from peers.opcua.strain import Process, StrainedServer

SECONDS = 0.7
SLOW = 0.7
SESSION = 1500.0
ROOM = 2_300
LIMITS = {
    "max_connections": ROOM,
    "max_connections_per_host": ROOM - 100,
    "activation_seconds": SECONDS,
    "slow_client_seconds": SLOW,
    "max_unsent": 4 << 20,
    "session_octets": 3 << 20,
    "max_sessions": 150,
    "max_sessions_per_client": 120,
}
MIB = 1 << 20


@pytest.fixture(scope="module")
def descriptors() -> Iterator[int]:
    """Descriptors that a process of the test may have; as many as the system grants, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(hard, 8192)
    granted = max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    yield granted
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def server(descriptors: int) -> Iterator[StrainedServer]:
    with StrainedServer(bays=400, changing=True, limits=LIMITS) as strained:
        yield strained


@pytest.fixture(scope="module")
def look(server: StrainedServer) -> Iterator[Process]:
    with server.look() as looking:
        yield looking


@pytest.fixture
def beside(server: StrainedServer, look: Process) -> Beside:
    return Beside(server, look)


def until(server: StrainedServer, done: Callable[[dict[str, Any]], bool], seconds: float = 8.0) -> dict[str, Any]:
    """What the server is like once something holds, or when the time is over."""
    end = time.monotonic() + seconds
    while not done(state := server.ask()) and time.monotonic() < end:
        time.sleep(0.05)
    return state


def alone(state: dict[str, Any]) -> bool:
    """Only the good client is there."""
    return bool(state["connections"] == 1 and state["sessions"] == 1)


class Beside:
    """A good client beside what a test does; `state` is what the server is like when all others are gone."""

    def __init__(self, server: StrainedServer, look: Process) -> None:
        self.server, self._look = server, look
        self.figures: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self._others = contextlib.ExitStack()

    def peer(self, *, deaf: bool = False, timeout: float = 20.0) -> RawPeer:
        """Another connection, closed at the end; a deaf one has the smallest buffer for what it does not read."""
        made = RawPeer(self.server.port, timeout=timeout, buffer=4096 if deaf else 0)
        self._others.callback(made.close)
        return made

    def __enter__(self) -> Beside:
        self.before = until(self.server, alone)
        self._look.ask()
        return self

    def __exit__(self, *_: object) -> None:
        self._others.close()
        self.state = until(self.server, alone)
        self.figures = self._look.ask()

    def undisturbed(self) -> None:
        assert self.state["errors"] == []
        assert self.state["connections"] == 1
        assert self.figures["wrong"] == 0
        assert self.figures["p99_ms"] < 200


def told(what: str, **figures: Any) -> None:
    print(f"\n{what}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))


# ---- connections -----------------------------------------------------------------------------------------------------


def test_2000_connections_half_of_them_silent_are_held_and_let_go(
    server: StrainedServer, beside: Beside, descriptors: int
) -> None:
    count = min(2_000, descriptors - 300)
    with beside:
        sockets = []
        for number in range(count):
            each = socket.create_connection(("127.0.0.1", server.port), 20)
            sockets.append(each)
            if number % 2:
                each.sendall(hello())
        full = until(server, lambda state: state["connections"] + state["never_activated"] >= count)
        gone = until(server, lambda state: state["connections"] == 1)
        for each in sockets:
            each.close()
    grown = (full["rss"] - beside.before["rss"]) / count
    told(f"{count} connections", octets_each=round(grown), **beside.figures)
    beside.undisturbed()
    assert full["connections_refused"] == beside.before["connections_refused"]
    assert grown < 20_000
    assert gone["connections"] == 1
    assert gone["never_activated"] >= beside.before["never_activated"] + count


def test_a_flood_from_one_host_leaves_room_for_others() -> None:
    # So few that they are there before the first of them has been silent for too long.
    few = {"max_connections": 300, "max_connections_per_host": 200}
    with StrainedServer(bays=4, limits=LIMITS | few) as server:
        sockets = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(300)]
        try:
            state = until(server, lambda state: state["connections_refused"] > 0)
            assert state["connections_refused"] > 0
            assert state["connections"] <= 200
            other = RawPeer(server.port, source="127.0.0.3").connect()
            other.close()
        finally:
            for each in sockets:
                each.close()


def drip(peer: RawPeer) -> None:
    """HEL octet by octet."""
    with contextlib.suppress(ClosedError):
        for octet in hello():
            peer.write(bytes((octet,)))
            time.sleep(0.02)


SLOW_STARTS: dict[str, Callable[[RawPeer], None]] = {
    "nothing": lambda peer: None,
    "octet by octet": drip,
    "half a hello": lambda peer: peer.write(hello()[:20]),
    "a hello": lambda peer: peer.hello(),
    "half an opening": lambda peer: (peer.hello(), peer.write(opening()[:60]))[0],
    "an opening": lambda peer: (peer.hello(), peer.open())[0],
    "half a message": lambda peer: (peer.hello(), peer.open(), peer.write(peer.chunk(bytes(500))[:100]))[0],
    "a message without end": lambda peer: (peer.hello(), peer.open(), peer.write(peer.chunk(bytes(500), kind=b"C")))[0],
}


def test_who_never_comes_to_a_session_is_closed_in_time_wherever_he_stopped(
    server: StrainedServer, beside: Beside
) -> None:
    with beside:
        peers = {}
        for name, start in SLOW_STARTS.items():
            peers[name] = beside.peer()
            start(peers[name])
        ended = {name: peer.closed_within(SECONDS + 2) for name, peer in peers.items()}
    assert [name for name, said in ended.items() if said is None] == []
    beside.undisturbed()


# ---- clients that do not read ----------------------------------------------------------------------------------------


def node(identifier: str) -> bytes:
    return struct.pack("<BH", 3, 2) + string(identifier.encode())


def position(number: int) -> bytes:
    return node(f"dso1/east/S{number:04d}/MV1/F01/QA1/XCBR1/Pos")


def subscribed(peer: RawPeer, *, items: int = 400, queue: int = 1_000) -> int:
    """A subscription to positions that all change all the time; its id."""
    answer = peer.call(787, struct.pack("<dIIIBB", 20.0, 10_000, 1_000, 0, 1, 0))
    subscription = int(struct.unpack_from("<I", answer, 28)[0])
    body = struct.pack("<IIi", subscription, 2, items)
    for number in range(items):
        body += position(number) + struct.pack("<I", 13) + NULL + b"\0\0" + NULL
        body += struct.pack("<IId", 2, number, 0.0) + b"\0\0\0" + struct.pack("<IB", queue, 1)
    answer = peer.call(751, body)
    assert struct.unpack_from("<i", answer, 28)[0] == items
    return subscription


def test_who_does_not_read_his_notifications_is_cut_off_with_a_reason_and_bounded_memory(
    server: StrainedServer,
    beside: Beside,
) -> None:
    with beside:
        peers = [beside.peer(deaf=True).connect(SESSION) for _ in range(5)]
        for peer in peers:
            subscribed(peer)
        most = 0
        end = time.monotonic() + 15
        while time.monotonic() < end:
            state = server.ask()
            most = max(most, state["rss"])
            if state["slow_clients"] >= beside.before["slow_clients"] + len(peers):
                break
            for peer in peers:
                with contextlib.suppress(ClosedError):
                    peer.write(b"".join(peer.message(826, NULL) for _ in range(10)))
            time.sleep(0.1)
    grown = (most - beside.before["rss"]) / MIB
    told("five deaf subscribers", grown_mib=round(grown, 1), **beside.figures)
    assert state["slow_clients"] >= beside.before["slow_clients"] + len(peers)
    assert grown < 5 * (LIMITS["session_octets"] + LIMITS["max_unsent"]) / MIB + 24
    beside.undisturbed()


# Browse of a place with 400 others below it: a hundred octets are answered by some 40 kB.
BROWSE = b"\0\0" + bytes(16) + struct.pack("<i", 1) + node("dso1/east") + bytes(6) + b"\1" + struct.pack("<II", 0, 63)


def test_who_asks_and_does_not_read_is_served_no_further_and_cut_off(server: StrainedServer, beside: Beside) -> None:
    with beside:
        peers = [beside.peer(deaf=True).connect() for _ in range(5)]
        most = 0
        for peer in peers:
            peer.socket.settimeout(0.3)
            with contextlib.suppress(ClosedError):
                for _ in range(10):
                    peer.write(b"".join(peer.message(527, BROWSE) for _ in range(20)))
            most = max(most, server.ask()["rss"])
        state = until(server, lambda now: now["slow_clients"] >= beside.before["slow_clients"] + len(peers))
    grown = (most - beside.before["rss"]) / MIB
    told("five who ask and do not read", grown_mib=round(grown, 1), **beside.figures)
    assert state["slow_clients"] >= beside.before["slow_clients"] + len(peers)
    assert grown < 5 * LIMITS["max_unsent"] / MIB + 24
    beside.undisturbed()


def test_a_connection_that_ends_is_gone_though_its_client_takes_not_even_the_last_octets(
    server: StrainedServer, beside: Beside
) -> None:
    with beside:
        peers = [beside.peer(deaf=True).connect() for _ in range(3)]
        for peer in peers:
            # Less than what pauses the writing waits for each.
            peer.write(b"".join(peer.message(527, BROWSE) for _ in range(10)))
        peers[0].write(b"CLOF" + peers[0].message(452, b"")[4:])
        peers[1].write(b"what is this?")
        peers[2].write(peers[2].message(473, b"\1"))
        gone = until(server, lambda state: state["connections"] == 1)
    assert gone["connections"] == 1
    beside.undisturbed()


def test_what_a_session_may_hold_is_bounded_and_what_is_over_is_counted(server: StrainedServer, beside: Beside) -> None:
    with beside:
        peer = beside.peer().connect()
        for _ in range(4):
            subscribed(peer)
        state = until(server, lambda now: now["dropped"] > beside.before["dropped"] + 100_000)
        # Without a publish request nothing is sent; a third of the budget is for messages kept.
        assert state["dropped"] > beside.before["dropped"] + 100_000
        assert state["queued"] * 32 <= LIMITS["session_octets"]
        assert state["queued"] > 10_000
        peer.call(473, b"\1")
    beside.undisturbed()


# ---- requests --------------------------------------------------------------------------------------------------------


def test_a_flood_of_publish_requests_is_refused_beyond_what_may_wait(server: StrainedServer, beside: Beside) -> None:
    with beside:
        peer = beside.peer().connect()
        peer.call(787, struct.pack("<dIIIBB", 60_000.0, 10_000, 1_000, 0, 1, 0))
        first = peer.request + 1
        for _ in range(20):
            peer.write(b"".join(peer.message(826, NULL) for _ in range(500)))
        refused = 0
        for _ in range(10_000 - 60):
            answer = peer.answer(first + refused)
            assert struct.unpack_from("<I", answer, 16)[0] == 0x80780000
            refused += 1
        peer.call(473, b"\1")
    told("10 000 publish requests", refused=refused, **beside.figures)
    beside.undisturbed()


def test_sessions_cost_little_and_end_with_their_connections(server: StrainedServer, beside: Beside) -> None:
    with beside:
        for _ in range(100):
            beside.peer().connect()
        full = server.ask()
    grown = (full["rss"] - beside.before["rss"]) / 100
    told("100 sessions", octets_each=round(grown), **beside.figures)
    assert full["sessions"] == 101
    assert grown < 100_000
    assert beside.state["sessions"] == 1
    beside.undisturbed()


def test_attributes_of_30_000_nodes_in_one_request_hold_nobody_up(server: StrainedServer, beside: Beside) -> None:
    count = 30_000
    one = position(7) + struct.pack("<I", 4) + NULL + b"\0\0" + NULL
    with beside:
        peer = beside.peer(timeout=60).connect()
        body = peer.message(631, struct.pack("<dIi", 0.0, 2, 0))[24:-4] + struct.pack("<i", count) + one * count
        peer.sequence -= 1
        number = peer.request
        parts = [body[start : start + 60_000] for start in range(0, len(body), 60_000)]
        for place, part in enumerate(parts):
            peer.write(peer.chunk(part, kind=b"F" if place == len(parts) - 1 else b"C", request=number))
        answer = peer.answer(number)
    told("attributes of 30 000 nodes", **beside.figures)
    assert struct.unpack_from("<Ii", answer, 16)[0] == 0
    assert struct.unpack_from("<i", answer, 28)[0] == count
    beside.undisturbed()


def test_messages_are_the_same_at_whatever_octet_the_network_cuts_them(server: StrainedServer, beside: Beside) -> None:
    wanted = struct.pack("<dIi", 0.0, 2, 1) + position(7) + struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    with beside:
        peer = beside.peer().connect()
        size = len(peer.message(631, wanted))
        peer.sequence, peer.request = peer.sequence - 1, peer.request - 1
        for cut in range(1, size):
            first, second = peer.message(631, wanted), peer.message(631, wanted)
            both = first + second
            peer.write(both[:cut])
            # Long enough for the server to have seen the first part, which is not told to anybody.
            time.sleep(0.001)
            peer.write(both[cut : size + cut])
            time.sleep(0.001)
            peer.write(both[size + cut :])
            for number in (peer.request - 1, peer.request):
                answer = peer.answer(number)
                assert answer[16:20] == bytes(4)
                assert struct.unpack_from("<i", answer, 28)[0] == 1
    beside.undisturbed()


def test_who_sends_requests_without_waiting_does_not_starve_others(server: StrainedServer, beside: Beside) -> None:
    wanted = struct.pack("<dIi", 0.0, 2, 1) + position(7) + struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    with beside:
        peers = [beside.peer().connect() for _ in range(4)]
        for _ in range(5):
            for peer in peers:
                peer.write(b"".join(peer.message(631, wanted) for _ in range(300)))
            for peer in peers:
                for number in range(peer.request - 299, peer.request + 1):
                    assert peer.answer(number)[16:20] == bytes(4)
    told("four who ask 300 at a time", **beside.figures)
    beside.undisturbed()
    assert beside.figures["p99_ms"] < 100
