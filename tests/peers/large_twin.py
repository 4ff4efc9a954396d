"""All twin functions on a large synthetic grid: ten thousand switches and meters, many points, no devices.

twin = LargeTwin(tmp_path)           # slow: builds the grid, the table and the functions
await twin.start()                   # their tasks
twin.move(["dso1/a001/..."], 1); twin.lose(links); await twin.stop()
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Batch, PointProfile
from address_space.ports import Caller, MethodResult, Outcome, Right
from address_space.table import PointTable
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.bench.flisr_grids import random_feeders, tiled
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagStore
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.compose import Surroundings, make_functions
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.host import FunctionHost
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.section import TwinSection
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LoadData,
    Measurement,
    Meter,
    MeterRole,
    Position,
    Quantity,
    TransformerData,
)

TILES = 137
"""Towns of 33 buses and 37 lines, with two ties each to others: 10 500 switches."""
STREETS, HOUSES = (7, 15), 37
"""Buses of a town that feed a street, and meters there."""
CALLER = Caller("olga", frozenset({"Operator"}), "127.0.0.1:1")
_RIGHTS = {"Operator": {Right.READ, Right.OPERATE}}
_METER = ("MMTR1/DmdWh", "MMTR1/SupWh", "MMXU1/TotW", "MMXU1/PhV/phsA")


class _Roles:
    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return any(right in _RIGHTS.get(role, set()) for role in caller.roles)


@dataclass
class Line:
    """A link that delivers what the test says."""

    name: str
    address: str
    counters: Counter[str] = field(default_factory=lambda: Counter(connects=1))
    reason: str = ""
    flapping: bool = False
    announces: bool = True
    last_change: int = 0
    state: LinkState = LinkState.UP
    driver: object = None

    async def serve(self, service: LinkService) -> Outcome:
        """Nothing is there to be asked."""
        raise NotImplementedError


def large_grid(tiles: int = TILES) -> Grid:
    """Towns with streets, indicators at every line, and measurements at every bus."""
    grid = tiled(*random_feeders(7), tiles)
    for tile in range(tiles):
        place = f"dso1/a{tile:03}"
        for k in STREETS:
            _add_street(grid, place, k)
    for item in list(grid.of(CimClass.LOAD)):
        if "/RMU" in item.address:
            bay = item.address.rsplit("/", 1)[0]
            for name, quantity in (("TotW", Quantity.P), ("TotVAr", Quantity.Q)):
                point = f"{bay}/_/MMXU1/{name}"
                grid.measurements[point] = Measurement(point, quantity, item.address)
    for indicator in list(grid.indicators.values()):
        bay = indicator.equipment.rsplit("/", 1)[0]
        for phase in "ABC":
            point = f"{bay}/_/MMXU1/A/phs{phase}"
            grid.measurements[point] = Measurement(point, Quantity.I, indicator.equipment, phase=phase)
    return grid


def _add_street(grid: Grid, place: str, k: int) -> None:
    bar, station = f"{place}/TS{k:02}/LV1/_/CN1", f"{place}/TS{k:02}/MV1/T01/TA1"
    grid.add([ConnectivityNode(bar, 400.0)])
    data = TransformerData(12_660.0, 400.0, 400e3, 0.04, 4600.0, p0=610.0)
    grid.add([Equipment(station, CimClass.TRANSFORMER, (f"{place}/RMU{k:02}/MV1/_/CN1", bar), data)])
    grid.meters[f"{place}/TS{k:02}/LV1/_/M0"] = Meter(
        f"{place}/TS{k:02}/LV1/_/M0", station, MeterRole.BOUNDARY, terminal=2, accuracy_class=0.5
    )
    for number in range(HOUSES):
        house = f"{place}/SP{k:02}{number:04}/LV1/_"
        grid.add([Equipment(f"{house}/LD1", CimClass.LOAD, (bar,), LoadData(1000.0, 300.0, customers=1))])
        grid.meters[f"{house}/M1"] = Meter(f"{house}/M1", f"{house}/LD1", phases="ABC"[number % 3], transformer=station)


class LargeTwin:
    """The table, the links and the functions.

    Args:
        folder: for durable state.
        tiles: number of towns.
        concentrators: the meters of a street have one link; else every meter has its own.
        sections: settings of functions, as in the section `twin` of the configuration.

    Attributes:
        positions: row of the position of each switch by address.
        readings: rows of all measured values.
    """

    def __init__(self, folder: Path, tiles: int = TILES, *, concentrators: bool = True, **sections: Any) -> None:
        self.grid = large_grid(tiles)
        self.table, self.events = PointTable(), EventJournal()
        self.lines: dict[str, Line] = {}
        self._fill(concentrators)
        policy: Any = _Roles()
        self._audit = AuditJournal(folder / "audit.sqlite")
        self._tags = TagStore(folder / "tags.sqlite", policy=policy, audit=self._audit, events=self.events)
        self.desk = CommandDesk(
            self.table,
            [],
            policy=policy,
            audit=self._audit,
            events=self.events,
            tags=self._tags,
            interlock=TwinInterlock(self.table, self.grid, self._tags, policy=policy, audit=self._audit),
        )
        self._worker = Worker()
        self._alarms = Alarms(self.events)
        context = TwinContext(
            table=self.table,
            events=self.events,
            alarms=self._alarms,
            results=ResultPoints(self.table),
            worker=self._worker,
            grid=self.grid,
            place="dso1",
            desk=self.desk,
            policy=policy,
            audit=self._audit,
            data_directory=folder,
        )
        around = Surroundings(
            links=list(self.lines.values()),
            protocols={name: "dlms" if name.startswith("meter") else "iec104" for name in self.lines},
            gateway="dso1/_sys/gw1",
            authority="https://example.org",
            commands=lambda: (0, 0),
            tags=lambda address: [str(tag) for tag in self._tags.at(address)],
            last_sent=self.desk.last_sent,
        )
        self.host = FunctionHost(make_functions(context, TwinSection(place="dso1", **sections), around), self._alarms)
        self._tasks: list[asyncio.Task[None]] = []

    def _fill(self, concentrators: bool) -> None:
        grid = self.grid
        found: list[tuple[str, str]] = []
        for item, rating in grid.switches():
            line = f"rtu-{item.address.split('/')[1]}"
            found += [(rating.position, line), (f"{rating.position.rsplit('/', 1)[0]}/Loc", line)]
        found += [(point, f"rtu-{point.split('/')[1]}") for point in (*grid.indicators, *grid.measurements)]
        for meter in grid.meters:
            place, site = meter.split("/")[1:3]
            line = f"meter-{place}-{site[:4]}" if concentrators else f"meter-{place}-{site}"
            found += [(f"{meter}/{name}", line) for name in _METER]
        table = self.table
        kinds = {text.split("/", 6)[6]: text for text, _ in found}  # what a point is follows from its data object
        numbers = {kind: table.profile_number(PointProfile.of(classify(parse(text)))) for kind, text in kinds.items()}
        table.add_columns(
            [text for text, _ in found],
            [numbers[text.split("/", 6)[6]] for text, _ in found],
            [table.link_number(line) for _, line in found],
            [0] * len(found),
        )
        for line in dict.fromkeys(line for _, line in found):
            self.lines[line] = Line(line, f"dso1/_sys/gw1/_/_/{line}")
        normal = grid.normal_positions()
        self.positions = {item.address: table.find(rating.position) for item, rating in grid.switches()}
        flags = [table.find(text) for text, _ in found if text.endswith(("/Loc", "/FltInd"))]
        self.readings = np.array(
            [table.find(text) for text, _ in found if "/MMXU" in text or "/MMTR" in text], np.int32
        )
        self._write(list(self.positions.values()), [float(normal[address]) for address in self.positions])
        self._write(flags, [0.0] * len(flags))
        self._write(self.readings.tolist(), [230.0] * len(self.readings))

    def _write(self, rows: Sequence[int], values: Sequence[float]) -> None:
        self.table.ingest(Batch.of(rows, values, [0] * len(rows), clock.now()))

    async def start(self) -> None:
        """Open the stores and let everything run."""
        await self._audit.open()
        await self._tags.open()
        for function in self.host.functions:
            self._tasks.append(asyncio.create_task(function.run(), name=function.name))
        self._tasks.append(asyncio.create_task(self.host.tick(), name="delayed alarms"))
        self._tasks.append(asyncio.create_task(self._sweep(), name="sweep"))

    async def _sweep(self) -> None:
        while True:
            self.table.sweep()
            await asyncio.sleep(1.0)

    @property
    def alarms(self) -> int:
        """Number of active alarms."""
        return sum(1 for _ in self._alarms.active())

    def check(self) -> None:
        """Raise what a task has ended with."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._worker.close()
        await self._tags.close()
        await self._audit.close()

    async def call(self, name: str, *arguments: Any) -> MethodResult:
        """Call a method on the object that has it first."""
        owner = next(spec.owner for spec in self.host.specs() if spec.name == name)
        return await self.host.call(owner, name, arguments, CALLER)

    # ---- what happens ---------------------------------------------------------------------------------------------

    def move(self, switches: Iterable[str], position: Position) -> None:
        """Switches tell a position."""
        rows = [self.positions[switch] for switch in switches]
        self._write(rows, [float(position)] * len(rows))

    async def measure(self, value: float) -> None:
        """All measured values have changed, told in batches as links deliver them."""
        for rows in np.array_split(self.readings, len(self.readings) // 500 + 1):
            self._write(rows.tolist(), (value + np.arange(len(rows)) % 7).tolist())
            await asyncio.sleep(0)

    def lose(self, lines: Iterable[str]) -> None:
        """Links are down."""
        for name in lines:
            self.lines[name].state, self.lines[name].reason = LinkState.DOWN, "the peer closed the connection"
            self.table.link_lost(name)
