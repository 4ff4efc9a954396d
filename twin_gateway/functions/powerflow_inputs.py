"""What power flow and estimation read from the point table: positions that are not normal, and measured values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from address_space import clock
from address_space.journal import Chunk
from address_space.quality import worst
from address_space.table import PointTable
from twin_gateway.functions.positions import SwitchPositions
from twin_gateway.functions.powerflow_meters import MeterPowers, MeterReader, usable
from twin_gateway.grid.model import Grid, Meter, Position
from twin_gateway.grid.zones import Indexes, ZoneGraph, zone_graph


class PowerFlowInputs:
    """Reads one moment.

    Args:
        table: with the points, now or later.
        grid: that says what they mean.
        assume_normal: take a switch whose position point is not in the table in its normal position; else as unknown.
        meters: whose powers are read.
        meter_age: s; older values of meters are not used.
    """

    def __init__(
        self,
        table: PointTable,
        grid: Grid,
        *,
        assume_normal: bool,
        meters: Iterable[Meter] = (),
        meter_age: float = 3600.0,
    ) -> None:
        self._table = table
        self._meters = MeterReader(table, meters, meter_age)
        self._points = tuple(grid.measurements)
        self._graph: ZoneGraph = zone_graph(grid)
        self._switches = SwitchPositions(table, self._graph, assume_normal=assume_normal)
        self._rows = np.empty(0, np.int32)
        self._known = -1

    def positions(self) -> dict[str, Position]:
        """Positions that are not the normal ones, by address of the switch."""
        self.refresh()
        now = self._switches.read()
        differing = np.flatnonzero(now != self._graph.normal)
        return {self._graph.devices[index]: Position(int(now[index])) for index in differing.tolist()}

    def values(self) -> tuple[dict[str, float], int, int]:
        """Usable measured values by point, the worst of their qualities, and the newest of their times.

        Values that are invalid, old, blocked or of a lost device are not usable.
        """
        self.refresh()
        table, rows = self._table, self._rows
        there = np.flatnonzero(rows >= 0)
        picked = rows[there]
        good = usable(table, picked.astype(np.int64))
        there, picked = there[good], picked[good]
        numbers = table.raw[picked].view(np.float64)
        values = dict(zip((self._points[index] for index in there.tolist()), numbers.tolist(), strict=True))
        devices = np.arange(len(self._graph.devices))
        times = [self._switches.newest(devices)]
        if len(picked):
            times.append(int(table.source_time[picked].max()))
        quality = worst(table.quality[picked]) if len(picked) else 0
        return values, quality, max(times) or clock.now()

    def meters(self) -> MeterPowers:
        """Powers at the meters."""
        self.refresh()
        return self._meters.read()

    def moved(self, chunks: Iterable[Chunk]) -> bool:
        """Whether changes of the journal are about a switch."""
        if self._switches.stale:
            return True
        touched: Indexes = self._switches.touched(chunks)
        return bool(len(touched))

    def refresh(self) -> None:
        """Look up the rows anew, after points were added."""
        if self._known == len(self._table):
            return
        self._known = len(self._table)
        self._switches.refresh()
        self._meters.refresh()
        nodes = self._table.tree.find_many(self._points)
        self._rows = (
            np.where(nodes >= 0, self._table.tree.row[nodes], -1).astype(np.int32) if len(self._table) else nodes
        )
