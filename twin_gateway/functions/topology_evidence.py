"""Points that say whether a place in the grid has voltage: measured voltages and voltage presence indicators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from address_space.catalogue import ValueType
from address_space.journal import Chunk
from address_space.table import PointTable
from twin_gateway.functions.rule_watch import points_by_data_object
from twin_gateway.functions.topology_points import bay_of
from twin_gateway.grid.model import Equipment, Grid, Quantity
from twin_gateway.grid.zones import Flags, Indexes, ZoneGraph

_SEVERITY = np.uint32(0xC000_0000)
_PRESENT = ("Prs", "VPres")
_ROOT3 = 3.0**0.5


@dataclass(frozen=True, slots=True)
class _Witness:
    row: int
    zone: int
    least: float  # V above which the place is live; of an indicator 0.5


class VoltageEvidence:
    """Rows of all points that tell of voltage, with their zones.

    Args:
        table, grid, graph: where the points and what they are about are.
        live_above: part of the nominal voltage.
    """

    def __init__(self, table: PointTable, grid: Grid, graph: ZoneGraph, live_above: float) -> None:
        self._table, self._grid, self._graph, self._live_above = table, grid, graph, live_above
        self._by_bay: dict[str, list[Equipment]] = {}
        for item in grid.equipment.values():
            if item.is_switch and len(item.nodes) == 2:
                self._by_bay.setdefault(bay_of(item.address), []).append(item)
        self._terminal = {
            bay_of(indicator.address): (indicator.equipment, indicator.terminal)
            for indicator in grid.indicators.values()
        }
        self._scanned = 0
        self._witnesses: dict[int, _Witness] = {}
        self.rows: Indexes = np.zeros(0, np.intp)
        self.zones: Indexes = np.zeros(0, np.intp)
        self._least = np.zeros(0)
        self._mask: Flags = np.zeros(0, bool)

    def scan(self) -> None:
        """Take up points that were added to the table since the last scan."""
        table = self._table
        if len(table) == self._scanned:
            return
        new = np.arange(self._scanned, len(table), dtype=np.int32)
        for _, ln_class, data, rows in points_by_data_object(table, new):
            if ln_class == "SVPI" and data in _PRESENT:
                for row in rows.tolist():
                    self._indicator(row)
        for witness in self._measured():
            self._witnesses[witness.row] = witness
        self._scanned = len(table)
        found = list(self._witnesses.values())
        self.rows = np.array([witness.row for witness in found], np.intp)
        self.zones = np.array([witness.zone for witness in found], np.intp)
        self._least = np.array([witness.least for witness in found])
        self._mask = np.zeros(len(table), bool)
        self._mask[self.rows] = True

    def _measured(self) -> Iterator[_Witness]:
        items = [item for item in self._grid.measurements.values() if item.quantity in (Quantity.V, Quantity.U)]
        for item in items:
            row = self._table.find(item.point)
            equipment = self._grid.equipment.get(item.equipment)
            if row < 0 or equipment is None or item.terminal > len(equipment.nodes):
                continue
            node = equipment.nodes[item.terminal - 1]
            nominal = self._grid.nodes[node].nominal / (1.0 if item.quantity is Quantity.U else _ROOT3)
            boolean = self._table.value_type[row] == ValueType.BOOLEAN
            yield _Witness(row, self._graph.zone_of(node), 0.5 if boolean else nominal * self._live_above)

    def _indicator(self, row: int) -> None:
        """A voltage presence indicator looks at the cable: the terminal of the bay's switch that leaves the site."""
        address = self._table.address(row)
        bay = bay_of(address)
        place = self._terminal.get(bay)
        if place is None:
            own = self._by_bay.get(bay, [])
            if len(own) != 1:
                return
            site = "/".join(own[0].address.split("/")[:3]) + "/"
            away = [number for number, node in enumerate(own[0].nodes, 1) if not node.startswith(site)]
            place = own[0].address, away[0] if away else 1
        equipment = self._grid.equipment[place[0]]
        node = equipment.nodes[place[1] - 1]
        self._witnesses[row] = _Witness(row, self._graph.zone_of(node), 0.5)

    def concerned(self, chunks: list[Chunk]) -> bool:
        """Whether any change of the journal is about voltage."""
        return any(
            bool(self._mask[chunk.rows[chunk.rows < len(self._mask)]].any())
            for chunk in chunks
            if chunk.texts is None and not chunk.timestamp_only
        )

    def live(self) -> Flags:
        """Of each point: it is Good and says that there is voltage."""
        table = self._table
        raw, types = table.raw[self.rows], table.value_type[self.rows]
        values = np.where(types == ValueType.DOUBLE, raw.view(np.float64), (raw & np.uint64(1)).astype(np.float64))
        good = table.status[self.rows] & _SEVERITY == 0
        with np.errstate(invalid="ignore"):  # a value that is no number says nothing
            return np.asarray(good & (values > self._least))

    def address(self, row: int) -> str:
        """Address of a point by its row."""
        return self._table.address(row)
