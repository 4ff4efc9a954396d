"""A gateway in this process: a whole IED by one line of the mapping, and what happens when parts of it fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peers.acceptance.processes import ROOT, Simulator
from peers.ports import free_port
from peers.waiting import until

from address_space.quality import StatusCode
from twin_gateway.config import GatewayConfig
from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  ied:
    protocol: iec61850
    host: 127.0.0.1
    port: {port}
    ied: F07Q1
    at:
      MV1/F07: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}}}
      MV1/F07/IED1: {all: LD0}
"""
BAY = "dso1/north/PS01/MV1/F07"


@pytest.fixture
async def ied(tmp_path: Path) -> AsyncIterator[tuple[Simulator, int]]:
    port = free_port()
    yield (made := Simulator("ied", "iec61850", tmp_path, ROOT / "mappings/demo/scl/F07Q1.cid", "--port", port)), port
    await asyncio.to_thread(made.stop)


@pytest.fixture
async def gateway(tmp_path: Path, ied: tuple[Simulator, int]) -> AsyncIterator[Gateway]:
    path = tmp_path / "station.yaml"
    path.write_text(STATION.replace("{port}", str(ied[1])))
    mapping, problems = check([path])
    assert mapping is not None, [str(problem) for problem in problems]
    config = GatewayConfig.model_validate(
        {
            "gateway": "gw1",
            "grid": "dso1",
            "authority": "https://example.org",
            "mappings": [path],
            "data_directory": tmp_path / "data",
            "opcua": {"port": 0, "anonymous": "observe"},
            "http": {"port": 0},
        }
    )
    made = Gateway(config, mapping, {}, backoff=Backoff(0.1, 0.5, 1.0))
    await made.start()
    yield made
    await made.stop()


async def test_one_line_brings_a_whole_ied_once_it_answers(ied: tuple[Simulator, int], gateway: Gateway) -> None:
    table = gateway.table
    before = len(table)
    assert table.find(f"{BAY}/IED1/MMXU1/TotW") == -1
    await asyncio.to_thread(ied[0].start)
    await until(lambda: len(table) > before + 30)
    await until(lambda: table.status[table.find(f"{BAY}/IED1/MMXU1/TotW")] == StatusCode.Good)
    assert gateway.health()[0], "a task that has done its work is no failure"
    # What another line has mapped is not there twice.
    assert table.find(f"{BAY}/IED1/XCBR1/Pos") == -1
    assert table.status[table.find(f"{BAY}/QA1/XCBR1/Pos")] == StatusCode.Good
    found = gateway.book.resolve("61850:F07Q1/LD0/MMXU1.TotW")
    assert found.address == f"{BAY}/IED1/MMXU1/TotW"
    # They die and come back with their device like all others.
    rows = [row for row in range(len(table)) if table.address(row).startswith(f"{BAY}/IED1/")]
    await until(lambda: all(table.status[row] == StatusCode.Good for row in rows))
    await asyncio.to_thread(ied[0].kill)
    await until(lambda: all(table.status[row] != StatusCode.Good for row in rows), 10)
    await asyncio.to_thread(ied[0].start)
    await until(lambda: all(table.status[row] == StatusCode.Good for row in rows), 20)


async def test_a_part_that_ends_by_itself_makes_the_gateway_unfit(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway.health()[0]

    def fail() -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(gateway.system, "refresh", fail)
    events = gateway.events.cursor("test")
    await until(lambda: not gateway.health()[0], 5)
    assert gateway.health()[1]["ended"] == ["sweep"]
    (event,) = [each for each in events.take() if each.code == "G02"]
    assert "out of order" in event.text
