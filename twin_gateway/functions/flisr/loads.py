"""Pre-fault loads: rolling means of what is measured at consumers and transformers, and what stands in for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.functions.flisr.columns import rows_of
from twin_gateway.grid.model import CimClass, Grid, LoadData, Position, Quantity
from twin_gateway.twin.flisr.records import LoadEstimate, LoadSource

_LOADED = frozenset({CimClass.LOAD, CimClass.TRANSFORMER, CimClass.GENERATOR})


class LoadMemory:
    """Samples active and reactive power of consumers and transformers into a ring, and means over a part of it.

    Args:
        span: s, how far back it remembers.
        every: s between two samples.
    """

    def __init__(self, table: PointTable, grid: Grid, span: float, every: float) -> None:
        self._table = table
        self._grid = grid
        self._every = every
        columns = [
            item
            for item in grid.measurements.values()
            if item.quantity in (Quantity.P, Quantity.Q)
            and not item.phase
            and item.equipment in grid.equipment
            and grid.equipment[item.equipment].cim_class in _LOADED
        ]
        self._columns = columns
        self._sign = np.array([item.direction if item.terminal == 1 else -item.direction for item in columns], float)
        size = max(2, int(span / every) + 2)
        self._times = np.full(size, -np.inf)
        self._values = np.full((size, len(columns)), np.nan, np.float32)
        self._next = 0
        self._behind = {
            item.equipment: _behind(grid, item.equipment)
            for item in columns
            if grid.equipment[item.equipment].cim_class is CimClass.TRANSFORMER
        }
        self._rows: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._rows_for = -1
        self._nominal = self._allocated()

    def refresh(self) -> None:
        """Look up the rows anew, after the table has grown."""
        if self._rows_for != len(self._table):
            self._rows = rows_of(self._table, [item.point for item in self._columns]).astype(np.int64)
            self._rows_for = len(self._table)

    def sample(self, now: float) -> None:
        """Take a sample when it is time for one."""
        if now - self._times[self._next - 1] < self._every or not self._columns:
            return
        self.refresh()
        known = self._rows >= 0
        rows = self._rows[known]
        values = np.full(len(self._columns), np.nan)
        raw = self._table.raw[rows].view(np.float64)
        good = self._table.status[rows] == StatusCode.Good
        values[known] = np.where(good, raw, np.nan)
        self._times[self._next] = now
        self._values[self._next] = values * self._sign
        self._next = (self._next + 1) % len(self._times)

    def before(self, end: float, span: float) -> dict[str, LoadEstimate]:
        """Estimates of all consumers and measured transformers: the mean of `span` s that end at `end`.

        What is not measured gets the nominal load of the model (allocated); what has none is missing from the result.
        """
        inside = (self._times <= end) & (self._times >= end - span)
        part = self._values[inside]
        counts = (~np.isnan(part)).sum(axis=0) if len(part) else np.zeros(len(self._columns), int)
        sums = np.nansum(part, axis=0) if len(part) else np.zeros(len(self._columns))
        means: dict[tuple[str, Quantity], float] = {}
        for column, count, total in zip(self._columns, counts, sums, strict=True):
            if count:
                means[column.equipment, column.quantity] = float(total) / int(count)
        return {**self._nominal, **self._measured(means)}

    def _measured(self, means: Mapping[tuple[str, Quantity], float]) -> dict[str, LoadEstimate]:
        found: dict[str, LoadEstimate] = {}
        for transformer, (loads, generators) in self._behind.items():
            power = means.get((transformer, Quantity.P))
            if power is not None and loads:
                generated = -sum(means.get((generator, Quantity.P), 0.0) for generator in generators)
                reactive = means.get((transformer, Quantity.Q), 0.0)
                found.update(self._shared(loads, power, reactive, max(0.0, generated)))
        for (equipment, quantity), power in means.items():
            if quantity is Quantity.P and self._grid.equipment[equipment].cim_class is CimClass.LOAD:
                reactive = means.get((equipment, Quantity.Q), self._reactive(equipment, power))
                found[equipment] = LoadEstimate(power, reactive)
        return found

    def _shared(self, loads: list[str], power: float, reactive: float, der: float) -> dict[str, LoadEstimate]:
        """The load of a transformer among the consumers behind it, as their nominal loads are."""
        nominal = [data.p if isinstance(data := self._grid.equipment[load].data, LoadData) else 0.0 for load in loads]
        total = sum(nominal)
        shares = [each / total if total > 0 else 1.0 / len(loads) for each in nominal]
        return {
            load: LoadEstimate(power * share, reactive * share, der * share)
            for load, share in zip(loads, shares, strict=True)
        }

    def _reactive(self, equipment: str, power: float) -> float:
        """Where only active power is measured, the reactive power follows the nominal power factor."""
        data = self._grid.equipment[equipment].data
        return power * data.q / data.p if isinstance(data, LoadData) and data.p else 0.0

    def _allocated(self) -> dict[str, LoadEstimate]:
        return {
            item.address: LoadEstimate(item.data.p, item.data.q, source=LoadSource.ALLOCATED)
            for item in self._grid.of(CimClass.LOAD)
            if isinstance(item.data, LoadData) and item.data.p
        }


def _behind(grid: Grid, transformer: str) -> tuple[list[str], list[str]]:
    """Consumers and generators behind a transformer: what hangs on its secondary side, in the normal state."""
    at: dict[str, list[str]] = {}
    for item in grid.equipment.values():
        for node in item.nodes:
            at.setdefault(node, []).append(item.address)
    normal = grid.normal_positions()
    seen, stack = set(grid.equipment[transformer].nodes[1:]), list(grid.equipment[transformer].nodes[1:])
    loads, generators = [], []
    while stack:
        for address in at.get(stack.pop(), ()):
            item = grid.equipment[address]
            if item.cim_class is CimClass.LOAD:
                loads.append(address)
            elif item.cim_class is CimClass.GENERATOR:
                generators.append(address)
            elif address != transformer and normal.get(address) is not Position.OPEN:
                further = [node for node in item.nodes if node not in seen]
                seen.update(further)
                stack += further
    return sorted(loads), sorted(generators)
