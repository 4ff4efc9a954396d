"""A gateway in this process: a whole IED by one line of the mapping, and what happens when parts of it fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peers.acceptance.processes import ROOT, Simulator
from peers.gateway_config import gateway_config
from peers.ports import free_port
from peers.waiting import until

from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DiscoveredPoint
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
    made = Gateway(gateway_config(tmp_path, path), mapping, {}, backoff=Backoff(0.1, 0.5, 1.0))
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


class Offering:
    """The device answers, and says what it has, without a device."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.asked, self.fault = gateway, 0, ""
        self._path = folder / "station.yaml"
        (self.link,) = gateway.plant.links

    async def discover(self) -> list[DiscoveredPoint]:
        self.asked += 1
        if self.fault:
            raise RuntimeError(self.fault)
        return [DiscoveredPoint({"ref": "LD0/MMXU1.TotW"}, cdc="MV")]

    async def answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("twin_gateway.whole_models.PATIENCE_S", 0.02)
        monkeypatch.setattr(self.link.driver, "discover", self.discover)
        assert await self.gateway.applier.stop_link("ied")
        self.link.up()

    async def apply(self, line: str) -> None:
        text = self._path.read_text()
        self._path.write_text(text[: text.index("      MV1/F07/IED1")] + line)
        mapping, problems = check([self._path])
        assert mapping is not None, [str(problem) for problem in problems]
        await self.gateway.apply(mapping)

    def has(self) -> bool:
        return self.gateway.table.find(f"{BAY}/IED1/MMXU1/TotW") >= 0


async def test_a_model_that_is_given_up_before_its_device_answers_never_comes(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offering = Offering(gateway, tmp_path)
    await offering.apply("      MV1/F07/QB1: {points: {XSWI1/Pos: {ref: LD0/XSWI1.Pos}}}\n")
    await offering.answers(monkeypatch)
    await until(lambda: all(task.done() for task in gateway._tasks if task.get_name() == "whole models"))
    assert (offering.asked, offering.has()) == (0, False)


async def test_a_model_that_cannot_be_taken_up_is_told_and_asked_for_with_the_next_change(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offering, events = Offering(gateway, tmp_path), gateway.events.cursor("test")
    offering.fault = "out of order"
    await offering.answers(monkeypatch)
    await until(lambda: offering.asked == 1)
    told = list[str]()
    await until(lambda: bool(told.extend(each.text for each in events.take() if each.code == "G01") or told))
    assert told == ["The model of ied cannot be taken up: RuntimeError: out of order"]
    assert gateway.health()[0]
    offering.fault = ""
    more = "      MV1/F07/QB1: {points: {XSWI1/Pos: {ref: LD0/XSWI1.Pos}}}\n"
    await offering.apply(f"      MV1/F07/IED1: {{all: LD0}}\n{more}")
    await until(offering.has)


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
    told = list[str]()
    await until(lambda: bool(told.extend(each.text for each in events.take() if each.code == "G02") or told))
    assert told == ["Gateway: sweep ended: out of order"]
