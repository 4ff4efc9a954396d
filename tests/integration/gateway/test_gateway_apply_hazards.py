"""A changed mapping is applied at an awkward moment: links that connect, readers of history, another change, often."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from peers.gateway_config import gateway_config
from peers.loop_watch import LoopWatch
from peers.ports import free_port
from peers.waiting import patient, until

from address_space import clock
from address_space.point import Batch
from twin_gateway.applying import ApplyError
from twin_gateway.drivers.link import Backoff, LinkState
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping

DEVICE = """\
  {name}:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 7
    at: {{MV1/{name}: {{points: {{"GGIO{{{first}..{last}}}/Ind{{1..10}}": {{ioa: 1..{count}, type: M_SP_TB_1}}}}}}}}
"""


class Field:
    """A mapping file of devices that have some functions with ten points each."""

    def __init__(self, folder: Path, port: int) -> None:
        self._path, self._port = folder / "station.yaml", port

    def mapping(self, **devices: tuple[int, int]) -> Mapping:
        text = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"
        for name, (first, last) in devices.items():
            count = 10 * (last - first + 1)
            text += DEVICE.format(name=name, port=self._port, first=first, last=last, count=count)
        self._path.write_text(text)
        found, problems = check([self._path])
        assert found is not None, [str(problem) for problem in problems]
        return found


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path, free_port())


@pytest.fixture
async def gateway(field: Field, tmp_path: Path) -> AsyncIterator[Gateway]:
    config = gateway_config(tmp_path, history={"enabled": True}, twin={"place": "dso1/north"})
    made = Gateway(config, field.mapping(a=(1, 1), b=(1, 1)), {}, backoff=Backoff(0.05, 0.1, 0.1))
    await made.start()
    yield made
    await made.stop()


def address(device: str, function: int, index: int = 1) -> str:
    return f"dso1/north/PS01/MV1/{device}/_/GGIO{function}/Ind{index}"


async def test_links_that_connect_are_changed_and_stopped_like_any_other(
    gateway: Gateway, field: Field, tmp_path: Path
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    asked = asyncio.Event()

    async def hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            asked.set()
        await silent(reader, writer)

    async with await asyncio.start_server(hears, "127.0.0.1", field._port):
        await asyncio.wait_for(asked.wait(), 20)  # it has sent STARTDT, and nobody confirms it
        assert {link.state for link in gateway.plant.links} <= {LinkState.CONNECTING, LinkState.DOWN}
        await gateway.apply(field.mapping(a=(1, 2), b=(1, 1)))
        assert gateway.table.find(address("a", 2)) >= 0
        async with asyncio.timeout(10):
            done = await gateway.apply(field.mapping(b=(1, 1)))
        assert done.devices_removed == ("a",)
        assert [link.name for link in gateway.plant.links] == ["b"]
    assert gateway.health()[0]


async def test_two_changes_at_once_are_made_one_after_the_other(gateway: Gateway, field: Field) -> None:
    first, second = field.mapping(a=(1, 3), b=(1, 1)), field.mapping(a=(2, 2), b=(1, 1), c=(1, 1))
    one, other = await asyncio.gather(gateway.apply(first), gateway.apply(second))
    assert len(one.points_added) == 20
    assert other.devices_added == ("c",)
    assert len(other.points_removed) == 20
    assert gateway.mapping is second
    assert gateway.table.find(address("a", 2)) >= 0
    assert {gateway.table.find(address("a", number)) for number in (1, 3)} == {-1}


async def test_history_is_read_while_its_points_are_removed_and_come_back(gateway: Gateway, field: Field) -> None:
    assert gateway.history is not None
    history, started = gateway.history, clock.now()

    def publish(value: bool) -> None:
        row = gateway.table.find(address("b", 1))
        gateway.table.ingest(Batch.of([row], [value], 0, clock.now()))

    async def kept() -> list[bool]:
        page = await history.raw(address("b", 1), started, clock.now() + 1, 1000)
        good = page.values.status & np.uint32(0xC000_0000) == 0
        return [bool(value) for value in page.values.raw[good].tolist()]

    async def comes_to(*values: bool) -> None:
        async with patient(15):
            while await kept() != list(values):
                await asyncio.sleep(0.02)

    before = [True, False, True]
    for value in before:
        publish(value)
    await comes_to(*before)
    reads = 0

    async def read() -> None:
        nonlocal reads
        while True:
            assert (await kept())[: len(before)] == before
            reads += 1

    reader = asyncio.create_task(read())
    for _ in range(5):
        seen = reads
        await gateway.apply(field.mapping(a=(1, 1)))
        await until(lambda seen=seen: reader.done() or reads > seen + 1)
        await gateway.apply(field.mapping(a=(1, 1), b=(1, 1)))
    publish(False)
    await comes_to(*before, False)  # its history goes on where it was
    assert not reader.done(), reader.exception()
    reader.cancel()


async def test_a_point_that_comes_and_goes_some_hundred_times_costs_its_places_and_nothing_else(
    gateway: Gateway, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it, without = field.mapping(a=(1, 2), b=(1, 1)), field.mapping(a=(1, 1), b=(1, 1))
    table = gateway.table

    async def cycles(count: int) -> None:
        for _ in range(count):
            await gateway.apply(with_it)
            await gateway.apply(without)

    def kept() -> tuple[int, int, int]:
        return len(table._profiles), len(table._source_texts), len(table.tree._names)

    await cycles(5)
    rows, retired, nodes, before = len(table), table.retired, len(table.tree), kept()
    links = [len(link.driver._points) for link in gateway.plant.links]  # type: ignore[attr-defined]  # 104 alone
    await cycles(100)
    assert (len(table) - rows, table.retired - retired) == (1000, 1000)
    assert len(table.tree) - nodes <= 2000, "the points, and the functions that they alone needed"
    assert kept() == before
    assert [len(link.driver._points) for link in gateway.plant.links] == links  # type: ignore[attr-defined]
    assert len(gateway.book._tombstones) == 10
    assert dict(gateway.health()[1])["points"] == len(table) - table.retired
    monkeypatch.setattr("twin_gateway.applying.MANY_RETIRED", 1000)
    assert "places of" in (await gateway.apply(with_it)).restart[-1]
    monkeypatch.setattr("twin_gateway.applying.MOST_RETIRED", 1000)
    with pytest.raises(ApplyError, match="start the gateway anew"):
        await gateway.apply(without)
    assert table.find(address("a", 2)) >= 0


async def test_many_points_are_exchanged_without_holding_up_the_others(gateway: Gateway, field: Field) -> None:
    much = {f"d{number}": (1, 100) for number in range(4)}
    await gateway.apply(field.mapping(**much))
    await until(lambda: gateway.table.find("dso1/_sys/gw1/_/_/d3/twSUPV1/St") >= 0, what="it is supervised")
    moved = field.mapping(**(much | {f"d{number}": (201, 300) for number in range(2)}))
    gc.collect()
    gc.freeze()
    try:
        with LoopWatch() as watch:
            done = await gateway.apply(moved)
    finally:
        gc.unfreeze()
    assert (len(done.points_added), len(done.points_removed)) == (2000, 2000)
    assert watch.worst_own.cpu < 0.05, watch.report()
