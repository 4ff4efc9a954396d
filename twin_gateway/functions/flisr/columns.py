"""What FLISR reads of all switches and voltages at once, as columns over the table's rows: ten thousand are usual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.functions.rule_watch import points_by_data_object
from twin_gateway.grid.model import Position

Rows = npt.NDArray[np.int32]
_FUNCTION_LEVEL = 7
_POSITIONS = tuple(Position(number) for number in range(3))


@dataclass(frozen=True, slots=True)
class Voltage:
    """A point that tells whether there is voltage: its address, and the volts below which there is none (0: a flag)."""

    point: str
    dead_below: float


class PositionColumn:
    """Positions of switches in the order given: unknown unless Good; of one that nobody tells of, the normal one."""

    def __init__(self, points: Sequence[str], normal: Sequence[Position]) -> None:
        self._points = tuple(points)
        told = np.array([bool(point) for point in points], bool)
        self._default = np.where(told, np.int8(Position.UNKNOWN), np.array(normal, np.int8)).astype(np.int8)
        self.rows: Rows = np.full(len(points), -1, np.int32)

    def refresh(self, table: PointTable) -> None:
        """Look for the points that are not known yet."""
        absent = np.flatnonzero(self.rows < 0)
        self.rows[absent] = rows_of(table, [self._points[number] for number in absent.tolist()])

    def read(self, table: PointTable) -> npt.NDArray[np.int8]:
        """Positions as they stand, int8."""
        out = self._default.copy()
        there = np.flatnonzero(self.rows >= 0)
        rows = self.rows[there]
        raw, types = table.raw[rows], table.value_type[rows]
        numbers = np.where(
            types == ValueType.DOUBLE, raw.view(np.float64), (raw & np.uint64(0xFFFF_FFFF)).astype(float)
        )
        known = (table.status[rows] == StatusCode.Good) & (types != ValueType.STRING)
        known &= (table.quality[rows] & np.uint32(Quality.NOT_INITIALISED) == 0) & ((numbers == 1.0) | (numbers == 2.0))
        out[there[known]] = numbers[known].astype(np.int8)
        return out

    @staticmethod
    def names(positions: npt.NDArray[np.int8]) -> list[Position]:
        """The same as enumeration."""
        return [_POSITIONS[number] for number in positions.tolist()]


class VoltageColumn:
    """Points that tell of voltage, and the zone that each is in."""

    def __init__(self, at: Mapping[int, Sequence[Voltage]], table: PointTable) -> None:
        found = [(zone, voltage) for zone, voltages in at.items() for voltage in voltages]
        rows = rows_of(table, [voltage.point for _, voltage in found])
        there = rows >= 0
        self._rows = rows[there]
        self._zones = np.array([zone for zone, _ in found], np.intp)[there]
        self._dead_below = np.array([voltage.dead_below for _, voltage in found], float)[there]

    def dead(self, table: PointTable, zones: Iterable[int], count: int) -> bool | None:
        """Whether some of `count` zones have no voltage: one sign says no, none at all says nobody measures it."""
        wanted = np.zeros(count, bool)
        wanted[list(zones)] = True
        here = wanted[self._zones]
        rows, below = self._rows[here], self._dead_below[here]
        raw, types = table.raw[rows], table.value_type[rows]
        known = (table.status[rows] == StatusCode.Good) & (types != ValueType.STRING)
        known &= table.quality[rows] & np.uint32(Quality.NOT_INITIALISED) == 0
        signed = (raw & np.uint64(0xFFFF_FFFF)).astype(np.uint32).view(np.int32).astype(float)
        values = np.where(types == ValueType.DOUBLE, raw.view(np.float64), signed)
        with np.errstate(invalid="ignore"):  # what is no number is no voltage
            live = known & np.where(below > 0, np.abs(values) >= below, values != 0)
        if live.any():
            return False
        return True if known.any() else None


def rows_of(table: PointTable, points: Sequence[str]) -> Rows:
    """Rows of points, -1 where there is none."""
    nodes = table.tree.find_many(points)
    return np.where(nodes >= 0, table.tree.row[nodes], -1).astype(np.int32) if len(table) else nodes


def rows_below(
    table: PointTable, rows: Rows, equipment: Sequence[str], names: Iterable[str]
) -> dict[str, list[tuple[int, int]]]:
    """Which of some rows are data objects (`CSWI1/Loc`) of some equipment: by name (number of the equipment, row)."""
    tree, wanted = table.tree, frozenset(names)
    number = np.full(len(tree), -1, np.int64)
    nodes = tree.find_many(equipment)
    number[nodes[nodes >= 0]] = np.flatnonzero(nodes >= 0)
    function = table.node[rows]
    while (deep := tree.level[function] > _FUNCTION_LEVEL).any():
        function = np.where(deep, tree.parent[function], function)
    above = tree.parent[function]
    owner = np.where((tree.level[function] == _FUNCTION_LEVEL) & (above >= 0), number[above], -1)
    mine = np.flatnonzero(owner >= 0)
    of_row = dict(zip(rows[mine].tolist(), owner[mine].tolist(), strict=True))
    found: dict[str, list[tuple[int, int]]] = {}
    for function_name, _, data, group in points_by_data_object(table, rows[mine].astype(np.int32)):
        name = f"{function_name}/{data}"
        if name in wanted:
            found[name] = [(of_row[row], row) for row in group.tolist()]
    return found
