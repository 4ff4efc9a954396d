"""Measured currents and voltages against their limits: P08, one alarm for the phases of one place (spec 9.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.quality import Quality, time_names
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.rule_watch import UNUSABLE
from twin_gateway.twin.supervision.limits import HIGHEST, LOW, Band, Limits, limits_of

CODE = "P08"
_SEVERITY = {LOW: 600, HIGHEST - 1: 600, HIGHEST: 700}
_LIMIT = {LOW: "Low", HIGHEST - 1: "High", HIGHEST: "HighHigh"}


class LimitWatch:
    """Watches the measured points of the grid model that have limits.

    Args:
        context: see `TwinContext`.
        band: of voltages.
        delay: s for which a value must be out of its limits.
        mark: `suppressed` (maintenance), `test` or empty for an address.
    """

    def __init__(self, context: TwinContext, band: Band, *, delay: float, mark: Callable[[str], str]) -> None:
        self._context, self._delay, self._mark = context, delay, mark
        self.limits: Limits = limits_of(context.grid, band)
        count = len(self.limits.points)
        self._levels = np.zeros(count, np.int8)
        places = [point.rpartition("/phs")[0] or point for point in self.limits.points]
        self._places = list(dict.fromkeys(places))
        number = {place: index for index, place in enumerate(self._places)}
        self._place = np.array([number[place] for place in places], np.intp)
        self._told = np.zeros(len(self._places), np.int8)
        self._rows: npt.NDArray[np.intp] = np.full(count, -1, np.intp)
        self._factor = np.ones(count)
        self._size = -1

    def refresh(self) -> None:
        """Look up the rows anew, after points were added."""
        table = self._context.table
        if self._size == len(table):
            return
        self._size = len(table)
        nodes = table.tree.find_many(self.limits.points) if self.limits.points else np.empty(0, np.intp)
        rows = np.where(nodes >= 0, table.tree.row[np.maximum(nodes, 0)], -1).astype(np.intp)
        there = np.flatnonzero(rows >= 0)
        rows[there[table.value_type[rows[there]] != ValueType.DOUBLE]] = -1
        for index in np.flatnonzero(rows >= 0).tolist():
            unit = table.profile(int(rows[index])).unit
            self._factor[index] = unit.factor if unit is not None else 1.0
        self._rows = rows

    def tick(self) -> Iterator[None]:
        """Raise and clear what has changed since the last time, in parts."""
        self.refresh()
        table, rows = self._context.table, self._rows
        if not len(rows):
            return
        values = np.full(len(rows), np.nan)
        at = np.flatnonzero(rows >= 0)
        at = at[table.quality[rows[at]] & np.uint32(UNUSABLE) == 0]
        values[at] = table.raw[rows[at]].view(np.float64) * self._factor[at]
        self._levels = levels = self.limits.levels(values, self._levels)
        now = np.zeros(len(self._places), np.int8)
        np.minimum.at(now, self._place, levels)
        above = np.zeros_like(now)
        np.maximum.at(above, self._place, levels)
        now = np.where(above > 0, above, now).astype(np.int8)  # of one phase too high and one too low the high one
        for place in np.flatnonzero(now != self._told).tolist():
            self._tell(place, int(now[place]), values)
            yield
        self._told = now

    def _tell(self, place: int, level: int, values: npt.NDArray[np.float64]) -> None:
        address, alarms = self._places[place], self._context.alarms
        if level == 0:
            alarms.clear(CODE, address)
            return
        mine = np.flatnonzero((self._place == place) & (self._levels == level))
        share = np.abs(values[mine]) / self.limits.base[mine]
        share = np.where(np.isnan(share), 0.0 if level > 0 else np.inf, share)
        worst = int(mine[np.argmax(share) if level > 0 else np.argmin(share)])
        base, row = float(self.limits.base[worst]), int(self._rows[worst])
        table = self._context.table
        quality = int(table.quality[row])
        value = float(abs(values[worst]))
        if np.isnan(value):
            return  # what is still out of its limits cannot be read at present: the alarm stays as it is
        if np.isinf(self.limits.low[worst]):
            text = f"Current {value:.0f} A, {100.0 * value / base:.0f} % of the rating"
        else:
            text = f"Voltage too {'low' if level == LOW else 'high'}: {100.0 * value / base:.1f} % of nominal"
        phase = self.limits.points[worst].rpartition("/phs")[2] if "/phs" in self.limits.points[worst] else ""
        alarms.raise_(
            CODE,
            address,
            f"{text}, phase {phase}" if phase else text,
            _SEVERITY[level],
            delay=self._delay,
            limit=_LIMIT[level],
            marked=self._mark(address) or ("test" if quality & Quality.TEST else ""),
            value=value,
            source_time=int(table.source_time[row]),
            time_quality=time_names(quality),
        )
