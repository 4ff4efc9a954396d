"""How long a switch change takes until the live topology of a grid of 10 000 switches is up to date."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.topology import make_topology
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Feeder,
    Grid,
    LineData,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
)
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.grid.zones import zone_graph

_STATIONS, _FEEDERS, _SECTIONS = 12, 12, 36
_QUICK_STATIONS, _QUICK_FEEDERS, _QUICK_SECTIONS = 2, 2, 6
_CHANGES, _QUICK_CHANGES = 300, 5


def tiled_grid(stations: int = _STATIONS, feeders: int = _FEEDERS, sections: int = _SECTIONS) -> Grid:
    """Stations with feeders of ring-main units in a row, a switch at both ends of each cable, open ties between ends.

    A sixth of the ring-main units has a branch of its own, so that the feeders are trees.
    """
    grid = Grid()
    nodes: list[ConnectivityNode] = []
    equipment: list[Equipment] = []

    def node(address: str) -> str:
        nodes.append(ConnectivityNode(address, 12_660.0))
        return address

    def switch(address: str, ends: tuple[str, str], *, kind: CimClass, opened: bool = False) -> None:
        ln = "XCBR1" if kind is CimClass.BREAKER else "XSWI1"
        rating = SwitchRating(opened, position=f"{address}/{ln}/Pos", command=f"{address}/CSWI1/Pos")
        equipment.append(Equipment(address, kind, ends, rating))

    tips: list[str] = []
    for station in range(stations):
        place = f"dso1/a{station // 4}/PS{station:03d}/MV1"
        bus = node(f"{place}/_/CN1")
        equipment.append(Equipment(f"{place}/_/SRC1", CimClass.SOURCE, (bus,), SourceData()))
        for feeder in range(feeders):
            bay = f"{place}/F{feeder:02d}"
            head = f"{bay}/QA1"
            rmus = [bus]
            for section in range(sections):
                unit = f"dso1/a{station // 4}/R{station:03d}{feeder:02d}{section:02d}/MV1"
                cable = f"dso1/a{station // 4}/L{station:03d}{feeder:02d}{section:02d}/MV1"
                near, far, here = node(f"{cable}/_/CN1"), node(f"{cable}/_/CN2"), node(f"{unit}/_/CN1")
                back = rmus[-4] if section % 6 == 5 else rmus[-1]
                if section == 0:
                    switch(head, (bus, near), kind=CimClass.BREAKER)
                else:
                    switch(f"{cable}/C01/QB1", (back, near), kind=CimClass.LOAD_BREAK_SWITCH)
                switch(f"{unit}/C01/QB1", (far, here), kind=CimClass.LOAD_BREAK_SWITCH)
                equipment.append(Equipment(f"{cable}/_/WB1", CimClass.LINE, (near, far), LineData(0.1, 0.1)))
                load = LoadData(100e3, 60e3, customers=40)
                equipment.append(Equipment(f"{unit}/T01/LD1", CimClass.LOAD, (here,), load))
                rmus.append(here)
            tips.append(rmus[-1])
            grid.feeders[bay] = Feeder(bay, head)
    for number, (first, second) in enumerate(zip(tips, [*tips[1:], tips[0]], strict=True)):
        switch(f"dso1/a0/T{number:04d}/MV1/_/QB1", (first, second), kind=CimClass.LOAD_BREAK_SWITCH, opened=True)
    grid.add(nodes)
    grid.add(equipment)
    return grid


def measure(quick: bool = False) -> dict[str, float]:
    """Times of single switch changes, ms; counts of the grid beside them."""
    changes = _QUICK_CHANGES if quick else _CHANGES
    grid = tiled_grid(_QUICK_STATIONS, _QUICK_FEEDERS, _QUICK_SECTIONS) if quick else tiled_grid()
    began = time.perf_counter()
    graph = zone_graph(grid)
    contracted = time.perf_counter()
    live = LiveTopology.of(graph)
    made = time.perf_counter()
    random = np.random.default_rng(1)
    times: dict[str, list[float]] = {"section": [], "head": [], "tie": [], "unknown": []}
    ties = [graph.device[f"dso1/a0/T{number:04d}/MV1/_/QB1"] for number in range(len(graph.feeders))]
    heads = set(graph.head.tolist())
    inner = [number for number in range(graph.switch_count) if number not in heads and number not in set(ties)]
    choices = {"section": inner, "head": sorted(heads), "tie": ties, "unknown": inner}
    for kind, devices in choices.items():
        for _ in range(changes):
            device = np.array([random.choice(devices)])
            before = live.positions[device].copy()
            other = Position.CLOSED if before[0] == Position.OPEN else Position.OPEN
            value = Position.UNKNOWN if kind == "unknown" else other
            started = time.perf_counter()
            live.update(device, np.array([value], np.int8))
            times[kind].append((time.perf_counter() - started) * 1000.0)
            live.update(device, before)
    out = {
        "switches": float(len(graph.devices)),
        "nodes": float(len(graph.nodes)),
        "zones": float(graph.zone_count),
        "contract_ms": (contracted - began) * 1000.0,
        "whole_ms": (made - contracted) * 1000.0,
    }
    times["published"] = asyncio.run(_published(grid, changes, out))
    for kind, values in times.items():
        out[f"{kind}_p50_ms"] = statistics.median(values)
        out[f"{kind}_p95_ms"] = statistics.quantiles(values, n=20)[18]
        out[f"{kind}_max_ms"] = max(values)
    return out


async def _published(grid: Grid, changes: int, out: dict[str, float]) -> list[float]:
    """Times from a position in the point table to the last result of it in the table, ms."""
    table, events = PointTable(), EventJournal()
    profile = PointProfile.of(classify(parse("dso1/a0/PS000/MV1/F00/QA1/XCBR1/Pos")))
    ratings = [rating for _, rating in grid.switches()]
    rows = np.asarray(table.add(Point(rating.position, profile, "rtu") for rating in ratings), np.int32)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        nobody: Any = None  # the live topology commands nothing and asks for no rights
        context = TwinContext(
            table,
            events,
            Alarms(events),
            ResultPoints(table),
            Worker(),
            grid,
            "dso1",
            desk=nobody,
            policy=nobody,
            audit=nobody,
            data_directory=Path(folder),
        )
        topology = make_topology(context)
        out["setup_s"] = time.perf_counter() - began
        out["points"] = float(len(table))
        numbers = np.array([1.0 if rating.normal_open else 2.0 for rating in ratings])
        table.ingest(Batch.of(rows.tolist(), numbers.tolist()))
        task = asyncio.create_task(topology.run())
        done = table.find(f"{topology.owner}/UnkCnt")
        while table.value(done) != 0:  # noqa: ASYNC110 - a point table has no event to wait for
            await asyncio.sleep(0.01)
        random = np.random.default_rng(2)
        times: list[float] = []
        longest = 0.0
        for number in random.integers(len(rows), size=changes).tolist():
            for value in (3.0 - numbers[number], numbers[number]):
                started = turn = time.perf_counter()
                table.ingest(Batch.of([int(rows[number])], [value]))
                while topology.settled <= started:
                    await asyncio.sleep(0)
                    now = time.perf_counter()
                    longest, turn = max(longest, now - turn), now
                times.append((topology.settled - started) * 1000.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        out["longest_turn_ms"] = longest * 1000.0
        return times


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:20} {value:10.2f}")
