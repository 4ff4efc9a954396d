"""Live topology at work: follows the positions of all switches, publishes what is fed from where, tells conditions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from address_space.ports import Argument, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.positions import SwitchPositions
from twin_gateway.functions.slices import Slices
from twin_gateway.functions.topology_conditions import TopologyConditions
from twin_gateway.functions.topology_evidence import VoltageEvidence
from twin_gateway.functions.topology_points import TopologyPoints
from twin_gateway.functions.topology_settings import TopologySettings
from twin_gateway.grid.model import Position
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.grid.trace import Tracer
from twin_gateway.grid.zones import Indexes, Positions

_BOOLEAN, _INT32, _STRING = 1, 6, 12
_NAMED = 20
_MANY, _LONG_S = 200, 0.015
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "FedFrom": ([], [], [], False, False, False, True),
    "Neighbours": ([], [], [], []),
    "Trace": ([],),
}
"""Outputs for an address that is not in the grid."""


class Topology:
    """The twin function of spec 2.9; see `TwinFunction` for the contract.

    Attributes:
        live: the topology as it is now, for other functions; they try changes on copies (`live.tried`).
        positions: reads the position points.
        owner: address of the object that has methods and totals.
        settled: when results were last in step with the positions (`time.perf_counter`), for measurements.
    """

    name = "topology"

    def __init__(self, context: TwinContext, settings: TopologySettings) -> None:
        self._context, self._settings = context, settings
        self.live = LiveTopology.of(context.grid)
        graph = self.live.graph
        self._normal = LiveTopology.of(graph)
        self._points = TopologyPoints(context, self.live, nodes=settings.nodes)
        self.owner = self._points.owner
        self.positions = SwitchPositions(context.table, graph, assume_normal=settings.without_point == "normal")
        self._evidence = VoltageEvidence(context.table, context.grid, graph, settings.live_above)
        self._conditions = TopologyConditions(context.alarms, settings, self.live, context.place)
        self._tracer = Tracer(context.grid, graph)
        self._newest = 0
        self.settled = 0.0
        self._slow = False

    def prepare(self) -> None:
        """Look up the rows of positions and voltages."""
        self.positions.refresh()
        self._evidence.scan()

    # ---- following ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the point table until cancelled."""
        wake = asyncio.Event()
        cursor = self._context.table.journal.cursor(self.name, wake.set)
        try:
            await self._everything()
            self._tell_missing()
            lost = cursor.lost
            while True:
                await wake.wait()
                wake.clear()
                chunks = cursor.take()
                if cursor.lost != lost or self.positions.stale:
                    lost = cursor.lost
                    await self._everything()
                    continue
                devices = self.positions.touched(chunks)
                concerned = self._evidence.concerned(chunks)
                if len(devices):
                    await self._take(devices)
                    await asyncio.sleep(0)
                elif concerned:
                    self._conditions.voltages(self.live, self._evidence)
                self.settled = time.perf_counter()
        finally:
            cursor.close()

    async def _everything(self) -> None:
        """Read all positions anew: at the start, when points were added, when changes went by unread."""
        if self.positions.stale:
            self.positions.refresh()
        self._evidence.scan()
        devices = np.arange(len(self.live.graph.devices))
        await self._move(devices, self.positions.read())
        self._newest = max(self._newest, self.positions.newest(devices))
        await self._tell(devices)
        await self._publish()

    async def _take(self, devices: Indexes) -> None:
        changed = await self._move(devices, self.positions.of(devices))
        await self._tell(devices)
        if changed:
            self._newest = max(self._newest, self.positions.newest(devices))
            await self._publish()
        else:
            self._conditions.voltages(self.live, self._evidence)

    async def _tell(self, devices: Indexes) -> None:
        slices = Slices()
        for start in range(0, len(devices), _MANY):
            self._conditions.switches(self.live, self.positions, devices[start : start + _MANY])
            await slices.pause()

    async def _move(self, devices: Indexes, positions: Positions) -> bool:
        """Put devices into positions; many at once, or where it last took long, beside the event loop."""
        started = time.perf_counter()
        if len(devices) <= _MANY and not self._slow:
            changed = self.live.update(devices, positions)
        else:
            other = self.live.copy()
            changed = await asyncio.to_thread(other.update, devices, positions)
            self.live.adopt(other)
        if changed:
            self._slow = time.perf_counter() - started > _LONG_S
        return changed

    async def _publish(self) -> None:
        for _ in self._points.write(self.live, self._newest):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._conditions.areas(self.live)
        await asyncio.sleep(0)
        self._conditions.voltages(self.live, self._evidence)

    def _tell_missing(self) -> None:
        """Say once which switches have no point although the grid model names one."""
        missing = self.positions.missing
        if not len(missing):
            return
        names = [self.live.graph.devices[device] for device in missing[:_NAMED].tolist()]
        more = f" and {len(missing) - len(names)} more" if len(missing) > len(names) else ""
        taken = "as unknown" if self._settings.without_point == "unknown" else "in their normal position"
        text = f"{len(missing)} switches have no position point and are taken {taken}: {', '.join(names)}{more}"
        self._context.alarms.event("G01", self._context.place, text, 600)

    # ---- methods --------------------------------------------------------------------------------------------------

    def specs(self) -> Sequence[MethodSpec]:
        """Questions about the topology; all may be asked by who may read."""
        address = (Argument("address", _STRING, "of a connectivity node or of equipment"),)
        switches = Argument("switches", _STRING, "addresses", is_list=True)
        positions = Argument("positions", _INT32, "0 unknown, 1 open, 2 closed", is_list=True)
        return [
            MethodSpec(
                self.owner,
                "FedFrom",
                address,
                (
                    Argument("sources", _STRING, "addresses; none when it is dead", is_list=True),
                    Argument("feeders", _STRING, "addresses; none on busbars", is_list=True),
                    Argument("normalFeeders", _STRING, "in the normal switching state", is_list=True),
                    Argument("energised", _BOOLEAN, "or may be: false only where it is certain"),
                    Argument("earthed", _BOOLEAN, "for certain"),
                    Argument("looped", _BOOLEAN, "or may be"),
                    Argument("uncertain", _BOOLEAN, "depends on a switch of unknown position"),
                ),
                Right.READ,
                "What feeds a place now",
            ),
            MethodSpec(
                self.owner,
                "Neighbours",
                address,
                (
                    switches,
                    positions,
                    Argument("beyond", _STRING, "a connectivity node behind each switch", is_list=True),
                    Argument("energised", _BOOLEAN, "whether it is or may be live there", is_list=True),
                ),
                Right.READ,
                "Switches around the part of the grid that has no switch between it and a place",
            ),
            MethodSpec(
                self.owner,
                "Trace",
                address,
                (Argument("equipment", _STRING, "addresses from there to the source; none when dead", is_list=True),),
                Right.READ,
                "The way to the source over switches that are closed for certain",
            ),
            MethodSpec(
                self.owner,
                "Deviations",
                (),
                (switches, positions, Argument("normal", _INT32, "normal positions", is_list=True)),
                Right.READ,
                "Switches known to be in another than their normal position",
            ),
        ]

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Answer one of the questions."""
        live = self.live
        graph = live.graph
        if name == "Deviations":
            found = live.deviating
            names = [graph.devices[device] for device in found.tolist()]
            outputs = (names, live.positions[found].tolist(), graph.normal[found].tolist())
            return MethodResult(StatusCode.Good, outputs)
        address = str(arguments[0])
        zone = graph.zone_of(address)
        if zone < 0:
            return MethodResult(
                StatusCode.BadNoMatch, _NOTHING[name], f"nothing of this address in the grid: {address}"
            )
        if name == "FedFrom":
            feed = live.feed(zone)
            flags = (live.energised, live.earthed, live.looped, live.uncertain)
            normal = list(self._normal.feed(zone).feeders)
            said = (list(feed.sources), list(feed.feeders), normal, *(bool(flag[zone]) for flag in flags))
            return MethodResult(StatusCode.Good, said)
        if name == "Neighbours":
            rows = live.neighbours(zone)
            beyond = [graph.nodes[graph.first_node[other]] for _, _, other in rows]
            alive = [bool(live.energised[other]) for _, _, other in rows]
            numbers = [int(position) for _, position, _ in rows]
            return MethodResult(StatusCode.Good, ([switch for switch, _, _ in rows], numbers, beyond, alive))
        # A search through ten thousand nodes takes longer than the event loop may wait.
        way = await asyncio.to_thread(self._tracer.trace, address, live.dark.closed)
        text = "" if way is not None else f"no source feeds {address}"
        return MethodResult(StatusCode.Good, (way or [],), text)

    def position(self, address: str) -> Position:
        """Position of a switch as it counts here (KeyError when there is no such)."""
        return self.live.position(address)


def make_topology(context: TwinContext, settings: TopologySettings | None = None) -> Topology:
    """The twin function over a context; its constructor adds the result points."""
    return Topology(context, settings or TopologySettings())
