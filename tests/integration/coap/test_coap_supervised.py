"""CoAP devices under the link supervisor, into the point table: what a user of the table sees."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.coap.rig import free_port
from peers.waiting import patient

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.link import Backoff, LinkSupervisor

PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)


async def test_a_killed_sensor_changes_its_own_points_alone_and_comes_back(
    node_peer: Callable[..., Any], tmp_path: Path
) -> None:
    table = PointTable()
    links, peers = [], []
    for number in range(2):
        port = free_port()
        peer = await node_peer(port)
        await peer.say(path="/temp", payload=str(20 + number), maxAge=60)
        name, address = f"s{number}", f"g/a/s/v/b/TA{number}/STMP1/Tmp"
        table.add([Point(address, PROFILE, name, "/temp")])
        bound = BoundPoint(number, address, "MV", ValueType.DOUBLE, {"path": "/temp"})
        config = CoapConfig(uri=f"coap://127.0.0.1:{port}", timeout=1.0, keepalive=0.5)
        link = LinkSupervisor(
            name,
            CoapDriver(name, config, [bound]),
            table=table,
            events=EventJournal(),
            address=f"g/_sys/gw/_/_/{name}",
            data_directory=tmp_path / name,
            backoff=Backoff(0.1, 0.5),
        )
        links.append(asyncio.create_task(link.run()))
        peers.append(peer)

    async def until(*states: StatusCode) -> None:
        async with patient(8):
            while [table.sample(row).status for row in range(2)] != list(states):
                await asyncio.sleep(0.02)

    try:
        await until(StatusCode.Good, StatusCode.Good)
        assert [table.sample(row).value for row in range(2)] == [20.0, 21.0]
        before = table.sample(1)
        await peers[1].kill()
        await until(StatusCode.Good, StatusCode.UncertainNoCommunicationLastUsableValue)
        lost = table.sample(1)
        assert (lost.value, lost.source_time) == (before.value, before.source_time)
        await peers[1].start()
        await peers[1].say(path="/temp", payload="25", maxAge=60)
        await until(StatusCode.Good, StatusCode.Good)
        async with patient(5):
            while table.sample(1).value != 25.0:
                await asyncio.sleep(0.02)
    finally:
        for link_task in links:
            link_task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
