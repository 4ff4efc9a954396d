"""Large requests let others have their turn, and what clients may ask of a server is bounded for all together."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asyncua import ua
from integration.opcua_subscriptions.grid_server import NAMESPACE, PLACES, Place, item, monitor, names, subscribe
from peers.opcua.raw_peer import NULL
from peers.opcua.wire_client import WireClient
from peers.waiting import patient

from address_space.opcua import item_services, processor
from address_space.opcua.request import Request
from address_space.opcua.server import GatewayServer
from address_space.opcua.subscriptions import PointSubscriptionService

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def service(server: GatewayServer) -> Iterator[PointSubscriptionService]:
    """The subscription service; its limits may be changed."""
    assert server.internal is not None
    found = server.internal.subscription_service
    limits = found.limits
    yield found
    found.limits = limits


def node_id(text: str) -> bytes:
    return b"\x03" + struct.pack("<Hi", NAMESPACE, len(text)) + text.encode()


async def turns(server: GatewayServer, client: WireClient, type_id: int, body: bytes) -> tuple[int, bytes]:
    """How often others had their turn while a request was worked on, and its answer."""
    assert server.internal is not None
    [serves] = [each.processor for each in server.internal.sessions if each.session_id == client.session_id]
    assert serves is not None
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serves, "send", lambda _, answer: sent.append(answer))
        request = Request(type_id, body, 0, 1, 1, 0, 0, 0, 0, b"")
        work: Any = server.internal.handlers[type_id](serves, request)
        count = 0
        for _ in work.__await__() if work is not None else ():
            count += 1
            await asyncio.sleep(0)
    return count, sent[0]


@pytest.fixture
def no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece of work is too long."""
    monkeypatch.setattr(processor, "_SLICE_SECONDS", 0.0)
    monkeypatch.setattr(item_services, "_POINTS_AT_ONCE", 100)


def browsing(target: bytes, most: int = 0) -> bytes:
    view = b"\0\0" + struct.pack("<qI", 0, 0)
    return view + struct.pack("<Ii", most, 1) + target + struct.pack("<i", 0) + b"\0\0\x01" + struct.pack("<II", 0, 63)


async def test_the_references_of_one_node_are_made_in_slices(
    server: GatewayServer, client: WireClient, no_slices: None
) -> None:
    assert server.internal is not None
    children = len(list(server.table.tree.children(server.table.tree.find("dso1/north"))))
    assert children == PLACES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("address_space.opcua.browse._BREATH", 20)
        count, answer = await turns(server, client, 527, browsing(node_id("dso1/north")))
    assert count >= PLACES // 20
    assert answer[28:32] == struct.pack("<i", 1)
    assert struct.unpack_from("<i", answer, 40)[0] >= PLACES


async def test_a_continuation_point_keeps_no_references(server: GatewayServer, client: WireClient) -> None:
    assert server.internal is not None
    await turns(server, client, 527, browsing(node_id("dso1/north"), 10))
    [session] = [each for each in server.internal.sessions if each.session_id == client.session_id]
    [(limit, rest)] = session.continuation.values()
    assert (limit, hasattr(rest, "__len__")) == (10, False)


async def test_a_path_that_leads_nowhere_is_looked_for_in_slices(
    server: GatewayServer, client: WireClient, no_slices: None
) -> None:
    step = struct.pack("<i", 1) + b"\0\0" + b"\0\1" + struct.pack("<Hi", NAMESPACE, 3) + b"zzz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("address_space.opcua.browse._BREATH", 20)
        count, answer = await turns(server, client, 554, struct.pack("<i", 1) + node_id("dso1/north") + step)
    assert count >= PLACES // 20
    assert struct.unpack_from("<I", answer, 32)[0] == ua.StatusCodes.BadNoMatch


@pytest.mark.parametrize("stranger", [False, True])
async def test_values_of_many_points_are_read_in_slices(
    server: GatewayServer, client: WireClient, no_slices: None, stranger: bool
) -> None:
    addresses = [address for number in range(60) for address in Place(server.table, number).doubles]
    if stranger:
        addresses[700] = "dso1/nowhere"
    tail = struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    body = struct.pack("<dii", 0.0, 2, len(addresses)) + b"".join(node_id(each) + tail for each in addresses)
    count, answer = await turns(server, client, 631, body)
    one_by_one = [
        (await turns(server, client, 631, body[:12] + struct.pack("<i", 1) + node_id(each) + tail))[1]
        for each in (addresses[0], addresses[700], addresses[-1])
    ]
    assert count >= 2
    first, odd, last = (each[32:-4] for each in one_by_one)
    assert answer[28:32] == struct.pack("<i", len(addresses))
    assert answer[32:].startswith(first)
    # Mask, value and status; when it was read differs where the server's time stands for it.
    assert answer[32 + 700 * len(first) :].startswith(odd[:6])
    assert answer[:-4].endswith(last)
    assert len(answer) == 36 + len(first) * (len(addresses) - 1) + len(odd)


async def test_items_on_many_points_are_made_and_modified_in_slices(
    server: GatewayServer, client: WireClient, service: PointSubscriptionService, no_slices: None
) -> None:
    number = await subscribe(client, interval=1000)
    addresses = [address for place in range(30) for address in Place(server.table, place).doubles]
    rest = struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    plain = b"\0\0\0"
    wanted = b"".join(
        node_id(each) + rest + struct.pack("<IId3sIB", 2, handle, 0.0, plain, 10, 1)
        for handle, each in enumerate(addresses)
    )
    count, answer = await turns(server, client, 751, struct.pack("<IIi", number, 2, len(addresses)) + wanted)
    assert count >= 2 * (len(addresses) // 100 - 1)
    points = service.subscriptions[number].points
    assert points.handles() == [(each + 1, each) for each in range(len(addresses))]
    change = b"".join(
        struct.pack("<IId3sIB", each + 1, each + 5_000, 0.0, plain, 10, 1) for each in range(len(addresses))
    )
    count, answer = await turns(server, client, 763, struct.pack("<IIi", number, 2, len(addresses)) + change)
    assert count >= 2 * (len(addresses) // 100 - 1)
    assert points.handles() == [(each + 1, each + 5_000) for each in range(len(addresses))]
    assert struct.unpack_from("<i", answer, 28)[0] == len(addresses)


async def test_the_items_of_all_subscriptions_together_are_bounded(
    client: WireClient, place: Place, service: PointSubscriptionService
) -> None:
    number = await subscribe(client, interval=1000)
    service.limits = replace(service.limits, max_items_of_all=service.limits.max_items_of_all - service.room() + 2)
    time_item = item("", 9, node=ua.NodeId(2258))
    made = await monitor(client, number, item(place.double), time_item, time_item)
    assert names(made) == ["Good", "Good", "BadTooManyMonitoredItems"]
    assert names(await monitor(client, number, item(place.double))) == ["BadTooManyMonitoredItems"]


async def test_what_waits_of_items_on_other_nodes_is_bounded_in_octets(
    client: WireClient, service: PointSubscriptionService
) -> None:
    service.limits = replace(service.limits, session_octets=40_000)
    number = await subscribe(client, interval=100)
    await monitor(client, number, *(item("", each, node=ua.NodeId(2258), queue=1000) for each in range(10)))
    nodes = service.subscriptions[number].nodes
    async with patient(15):
        while nodes.dropped < 20:
            await asyncio.sleep(0.05)
    assert nodes.max_octets == 10_000
    assert nodes.queued * 256 <= 10_000 + 10 * 300
    assert service.totals().dropped >= nodes.dropped


async def test_more_subscription_ids_than_there_can_be_are_refused(client: WireClient) -> None:
    ids = struct.pack("<i", 1_001) + b"\0" * 4_004
    assert await client.raw_status(847, ids) == "BadTooManyOperations"
    assert await client.raw_status(799, b"\1" + ids) == "BadTooManyOperations"
    assert await client.raw_status(841, ids + b"\0") == "BadTooManyOperations"
