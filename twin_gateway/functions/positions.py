"""Positions of the devices of a grid from the point table, all at once or as they change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from address_space.catalogue import ValueType
from address_space.journal import Chunk
from address_space.point import Rows, Words
from address_space.table import PointTable
from twin_gateway.grid.model import Position
from twin_gateway.grid.zones import Flags, Indexes, Positions, ZoneGraph

_SEVERITY = np.uint32(0xC000_0000)


class SwitchPositions:
    """Reads positions of devices; the numbers are those of `ZoneGraph.devices`.

    A position is known when its point is Good and says off or on; 0 and 3 (intermediate, bad state) and every other
    quality are unknown. A device that by declaration nobody tells of is taken in its normal position.

    Args:
        table: with the position points, now or later.
        graph: of the grid.
        assume_normal: whether a device whose position point is not in the table is in its normal position too; without,
            its position is unknown.
    """

    def __init__(self, table: PointTable, graph: ZoneGraph, *, assume_normal: bool = False) -> None:
        self._table = table
        self._graph = graph
        named = np.array([bool(rating.position) for rating in graph.ratings], bool)
        self._default = np.where(named & (not assume_normal), np.int8(Position.UNKNOWN), graph.normal).astype(np.int8)
        self._named = named
        self.rows: Rows = np.full(len(graph.devices), -1, np.int32)
        self._device: Indexes = np.zeros(0, np.intp)
        self.refresh()

    def refresh(self) -> bool:
        """Look for points anew, after some were added; whether any was found that was not there before."""
        table, before = self._table, self.rows
        points = [rating.position for rating in self._graph.ratings]
        nodes = table.tree.find_many(points)
        self.rows = np.where(nodes >= 0, table.tree.row[nodes], -1).astype(np.int32) if len(table) else nodes
        self._device = np.full(len(table), -1, np.intp)
        told = np.flatnonzero(self.rows >= 0)
        self._device[self.rows[told]] = told
        return bool((before != self.rows).any())

    @property
    def stale(self) -> bool:
        """Points have been added to the table since the last `refresh`."""
        return len(self._device) != len(self._table)

    @property
    def missing(self) -> Indexes:
        """Devices whose position point is named, but is not in the table."""
        return np.flatnonzero(self._named & (self.rows < 0))

    def read(self) -> Positions:
        """Positions of all devices, int8."""
        out = self._default.copy()
        told = np.flatnonzero(self.rows >= 0)
        out[told] = self.of(told)
        return out

    def of(self, devices: Indexes) -> Positions:
        """Positions of devices that have a point, int8."""
        values = self.values(devices)
        known = self._good(devices) & ((values == Position.OPEN) | (values == Position.CLOSED))
        return np.where(known, values, np.int8(Position.UNKNOWN)).astype(np.int8)

    def values(self, devices: Indexes) -> Positions:
        """What the points say whatever their quality, as Dbpos (0 to 3); single points as off and on."""
        rows = self.rows[devices]
        raw = self._table.raw[rows]
        single = self._table.value_type[rows] == ValueType.BOOLEAN
        values = (raw & np.uint64(0xFFFF_FFFF)).astype(np.uint32).view(np.int32)
        inside = (values >= 0) & (values <= 3)
        double = np.where(inside, values, 0)
        return np.where(single, np.where(values != 0, 2, 1), double).astype(np.int8)

    def _good(self, devices: Indexes) -> Flags:
        return np.asarray(self._table.status[self.rows[devices]] & _SEVERITY == 0)

    def told_between(self, devices: Indexes) -> Flags:
        """Devices whose point is Good and says neither off nor on."""
        values = self.values(devices)
        return np.asarray(self._good(devices) & (values != Position.OPEN) & (values != Position.CLOSED))

    def touched(self, chunks: Iterable[Chunk]) -> Indexes:
        """Devices that changes of the journal are about, each once."""
        found = [self._of_rows(chunk.rows) for chunk in chunks if not chunk.timestamp_only and chunk.texts is None]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.intp)

    def _of_rows(self, rows: Rows) -> Indexes:
        devices = self._device[rows[rows < len(self._device)]]
        return devices[devices >= 0]

    def newest(self, devices: Indexes) -> int:
        """Newest source time of some devices' points, FILETIME ticks; 0 when none has a point."""
        rows = self.rows[devices]
        rows = rows[rows >= 0]
        return int(self._table.source_time[rows].max()) if len(rows) else 0

    def qualities(self, devices: Indexes) -> Words:
        """Quality words of some devices' points."""
        rows = self.rows[devices]
        return self._table.quality[rows[rows >= 0]]
