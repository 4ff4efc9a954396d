"""What is left of a session's subscriptions and publish requests when its connection, its user or the session goes."""

from __future__ import annotations

import asyncio
import gc
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from integration.opcua_subscriptions import grid_server
from integration.opcua_subscriptions.grid_server import Place, item, monitor, subscribe, values
from peers.opcua.raw_peer import NULL, RawPeer
from peers.opcua.rig import Users
from peers.opcua.wire_client import FaultError, WireClient
from peers.waiting import until

from address_space.opcua.publishing import PublishQueue
from address_space.opcua.server import GatewayServer, InternalServer
from address_space.opcua.session import Session
from address_space.opcua.settings import Ports, ServerLimits, ServerSettings
from address_space.opcua.subscription import PointSubscription
from address_space.opcua.transport import Connection
from address_space.ports import Caller, Right

pytestmark = pytest.mark.asyncio(loop_scope="session")
CYCLES = 1_000
SHORT_MS = 1_500.0
"""How long a session goes on that is to time out; the others of these tests do not, however slow the machine is."""


class OneReader(Users):
    """olga reads everything; who has no name, and otto, nothing of the first place."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        """As of the users, but the first place is olga's."""
        hidden = right is Right.READ and address.startswith(Place(grid_server.PointTable(), 0).root)
        return super().permits(caller, right, address) and (not hidden or caller.user == "olga")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayServer]:
    """A server of these tests alone; sessions time out as soon as they like."""
    made = GatewayServer(
        grid_server.table(),
        ServerSettings(
            "https://example.org/grid",
            tmp_path_factory.mktemp("pki"),
            port=0,
            security=("None",),
            limits=ServerLimits(max_sessions=CYCLES, max_sessions_per_client=CYCLES),
        ),
        ports=Ports(policy=OneReader()),
    )
    await made.start()
    internal(made).min_session_timeout_ms = 100
    yield made
    await made.stop()


@pytest.fixture
def few(own_server: GatewayServer) -> Iterator[None]:
    """Only two subscriptions may be without a session."""
    service = internal(own_server).subscription_service
    limits, service.limits = service.limits, replace(service.limits, max_abandoned=2)
    yield
    service.limits = limits


def internal(server: GatewayServer) -> InternalServer:
    assert server.internal is not None
    return server.internal


async def close_session(client: WireClient, *, delete: bool) -> None:
    await client.raw(473, b"\x01" if delete else b"\x00")


@pytest.mark.parametrize("delete", [True, False])
async def test_closing_a_session_answers_what_waits_with_bad_session_closed(
    own_server: GatewayServer, delete: bool
) -> None:
    async with WireClient(own_server.port) as client:
        await subscribe(client, interval=10_000)
        client.publish()
        client.publish()
        await close_session(client, delete=delete)
        for _ in range(2):
            with pytest.raises(FaultError, match="BadSessionClosed"):
                await client.message()


async def test_a_session_that_times_out_leaves_its_subscriptions_to_their_lifetime(own_server: GatewayServer) -> None:
    async with WireClient(own_server.port, SHORT_MS) as client:
        number = await subscribe(client, interval=100)
        sessions = [each.session_id for each in internal(own_server).sessions]
        assert client.session_id in sessions
        await until(lambda: client.session_id not in [each.session_id for each in internal(own_server).sessions])
    subscription = internal(own_server).subscription_service.subscription(number)
    assert subscription is not None
    internal(own_server).subscription_service.remove(subscription)


async def test_no_more_subscriptions_than_the_limit_wait_without_a_session(
    own_server: GatewayServer, few: None
) -> None:
    numbers = []
    for _ in range(4):
        async with WireClient(own_server.port) as client:
            numbers.append(await subscribe(client, interval=10_000))
            await close_session(client, delete=False)
    service = internal(own_server).subscription_service
    assert [service.subscription(number) is not None for number in numbers] == [False, False, True, True]
    part = service.limits.session_octets // 8
    assert [service.subscriptions[number].max_kept for number in numbers[2:]] == [part, part]
    for number in numbers[2:]:
        service.remove(service.subscriptions[number])


async def test_publish_requests_of_a_former_connection_take_no_messages(own_server: GatewayServer) -> None:
    place = Place(own_server.table, 1)
    async with WireClient(own_server.port) as client:
        number = await subscribe(client, interval=20)
        await monitor(client, number, item(place.double, 1))
        client.publish()
        await client.news()
        for _ in range(3):
            client.publish()
        again = WireClient(own_server.port)
        await again.connect()
        again.adopt(client)
        await again.activate()
        again.publish()
        place.write((place.double, 5.0))
        assert values(await again.news()) == [(1, 5.0)]
        for _ in range(3):
            with pytest.raises(FaultError, match="BadSecureChannelIdInvalid"):
                await client.message()
        await again.close()


async def test_a_session_that_changes_its_user_is_told_nothing_more_that_the_new_one_may_not_read(
    own_server: GatewayServer,
) -> None:
    hidden, shown = Place(own_server.table, 0), Place(own_server.table, 2)
    async with WireClient(own_server.port) as client:
        await client.activate("olga", "o-secret")
        number = await subscribe(client, interval=100)
        made = await monitor(client, number, item(hidden.double, 1), item(shown.double, 2))
        assert [each.StatusCode.name for each in made] == ["Good", "Good"]
        client.publish()
        assert len(values(await client.news())) == 2
        hidden.write((hidden.double, 7.0))
        await client.activate("otto", "w-secret")
        with pytest.raises(FaultError, match="BadMessageNotAvailable"):
            await client.raw(832, struct.pack("<II", number, 1))
        hidden.write((hidden.double, 8.0))
        shown.write((shown.double, 9.0))
        told: dict[int, Any] = {}
        while set(told) != {1, 2}:
            client.publish()
            message = await client.news()
            told.update(grid_server.data(message))
        assert (told[1].StatusCode.name, told[1].Value.Value) == ("BadUserAccessDenied", None)
        assert told[2].Value.Value == 9.0
        await client.activate("olga", "o-secret")
        client.publish()
        assert dict(values(await client.news()))[1] == 8.0


def living() -> Counter[str]:
    """Live objects of what clients cause to be made."""
    gc.collect()
    kinds = (Session, PointSubscription, PublishQueue, Connection)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


async def test_nothing_is_left_of_a_thousand_clients_that_came_and_went(own_server: GatewayServer) -> None:
    server, table = internal(own_server), own_server.table
    double = Place(table, 3).double.encode()
    point = b"\x03" + struct.pack("<Hi", grid_server.NAMESPACE, len(double)) + double
    rest = struct.pack("<I", 13) + NULL + b"\0\0" + NULL + struct.pack("<IId3sIB", 2, 1, 0.0, b"\0\0\0", 10, 1)
    items = b"".join(node + rest for node in (point, b"\x01\0" + struct.pack("<H", 2258)))

    def come_and_go() -> None:
        for number in range(CYCLES):
            peer = RawPeer(own_server.port).connect(SHORT_MS)
            answer = peer.call(787, struct.pack("<dIIIBB", 10.0, 3, 1, 0, 1, 0))
            subscription = answer[28:32]
            peer.call(751, subscription + struct.pack("<Ii", 2, 2) + items)
            peer.write(peer.message(826, struct.pack("<i", 0)))
            if number % 3:
                peer.call(473, b"\x01" if number % 3 == 1 else b"\x00")
            peer.close()

    for other in server.sessions:  # that other tests left
        await other.close_session()
    await until(lambda: not server.connections)
    for left in list(server.subscription_service.subscriptions.values()):
        server.subscription_service.remove(left)
    await asyncio.sleep(0.1)  # their tasks have ended
    before, cursors, tasks = living(), len(table.journal.cursors), len(asyncio.all_tasks())
    made = server.subscription_service.made
    await asyncio.to_thread(come_and_go)
    assert server.subscription_service.made == made + CYCLES
    await until(lambda: not (server.sessions or server.subscription_service.subscriptions or server.connections))
    await until(lambda: len(asyncio.all_tasks()) <= tasks, what="the end of their tasks")
    assert len(table.journal.cursors) == cursors
    assert living() <= before
