"""Results of power flow and estimation as points: totals of every area, estimates of every piece of equipment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from address_space.point import Batch
from address_space.quality import Quality
from address_space.table import PointTable
from twin_gateway.functions.powerflow_job import Report, StateNumbers, areas_of, merged
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.topology_points import function_of
from twin_gateway.grid.arrays import Floats, GridArrays, Indexes

ESTIMATES = ("TotW", "TotVAr", "AvAPhs", "AvPhVPhs")
"""Data objects of `<equipment>/twMMXU1`: power into terminal 1, mean current and phase voltage there."""
_TOTALS = ("PFConv", "SEObs", "BadCnt", "LosW", "VMin", "AMaxPct")
_BATCH = 4000


class PowerFlowPoints:
    """Adds the points and writes them.

    Args:
        results: where totals go.
        table: where estimates go.
        arrays: of the grid; their order is that of all numbers.
        place: area that the gateway serves; its totals exist though no equipment is in it.
        estimates: whether there are points for equipment.
        deadband: part of its last value by which an estimate must change to be written.
    """

    def __init__(
        self,
        results: ResultPoints,
        table: PointTable,
        arrays: GridArrays,
        place: str,
        *,
        estimates: bool,
        deadband: float,
    ) -> None:
        self._results, self._table, self._arrays = results, table, arrays
        self._deadband = deadband
        series = (*arrays.lines, *arrays.transformers)
        self._areas, branch_area = areas_of((*(item.address for item in series), *arrays.node, f"{place}/_"))
        self._branch_area: Indexes = branch_area[: len(series)]
        self._node_area: Indexes = branch_area[len(series) : len(series) + len(arrays.node)]
        self._owners = [function_of(area) for area in self._areas]
        results.add(f"{owner}/{name}" for owner in self._owners for name in _TOTALS)
        equipment = (*series, *arrays.injections, *arrays.sources) if estimates else ()
        addresses = [f"{item.address}/twMMXU1/{name}" for item in equipment for name in ESTIMATES]
        results.add(addresses)
        nodes = table.tree.find_many(addresses)
        self._rows = table.tree.row[nodes].astype(np.int32) if addresses else np.empty(0, np.int32)
        self._written: Floats = np.full(len(addresses), np.inf)
        self._words = np.full(len(addresses), -1, np.int64)

    @property
    def owners(self) -> tuple[str, ...]:
        """Addresses of the `twTOPO1` objects of all areas."""
        return tuple(self._owners)

    def write(self, report: Report, quality: int, ticks: int, bad: dict[str, int]) -> Iterator[int]:
        """Write a report in parts; yields after each so that others may run.

        Args:
            report: of a computation.
            quality: worst of its inputs.
            ticks: newest of their times.
            bad: number of bad values by area.
        """
        numbers = merged(report)
        yield from self._write_totals(report, numbers, (quality, ticks), bad)
        if not len(self._rows):
            return
        values = self._estimates(numbers)
        # What only a power flow with expected loads says is less than an estimate from measurements.
        words = np.full(len(values), quality | Quality.ESTIMATED, np.int64)
        words[np.isnan(values)] = int(Quality.INVALID)
        values = np.where(np.isnan(values), 0.0, values)
        changed = np.abs(values - self._written) > self._deadband * np.abs(self._written)
        changed |= ~np.isfinite(self._written) | (words != self._words)
        places = np.flatnonzero(changed)
        self._written[places], self._words[places] = values[places], words[places]
        for begin in range(0, len(places), _BATCH):
            part = places[begin : begin + _BATCH]
            self._table.ingest(Batch.of(self._rows[part].tolist(), values[part].tolist(), words[part].tolist(), ticks))
            yield len(part)

    def nothing(self, ticks: int) -> Iterator[int]:
        """Say that there is neither power flow nor estimate, in parts."""
        for owner in self._owners:
            self._results.write({f"{owner}/PFConv": False, f"{owner}/SEObs": False}, 0, ticks)
            self._results.write({f"{owner}/{name}": None for name in _TOTALS[3:]}, 0, ticks)
            yield len(_TOTALS)

    def _write_totals(
        self, report: Report, numbers: StateNumbers, mark: tuple[int, int], bad: dict[str, int]
    ) -> Iterator[int]:
        quality, ticks = mark
        loss = np.bincount(self._branch_area, np.nan_to_num(numbers.loss.real), len(self._areas))
        part = np.bincount(self._branch_area, np.isnan(numbers.loss.real), len(self._areas)) > 0
        live = report.energised & np.isfinite(numbers.lowest)
        lowest = np.full(len(self._areas), np.inf)
        np.minimum.at(lowest, self._node_area[live], numbers.lowest[live])
        loading = numbers.loading[: len(self._branch_area)]
        rated = np.isfinite(loading)
        highest = np.full(len(self._areas), -np.inf)
        np.maximum.at(highest, self._branch_area[rated], loading[rated])
        known = report.feasible or report.state is not None
        for index, (area, owner) in enumerate(zip(self._areas, self._owners, strict=True)):
            self._results.write(
                {
                    f"{owner}/PFConv": report.feasible,
                    f"{owner}/SEObs": report.observable,
                    f"{owner}/BadCnt": bad.get(area, 0),
                },
                quality,
                ticks,
            )
            partial = int(Quality.PARTIAL) if part[index] else 0
            self._results.write(
                {
                    f"{owner}/LosW": float(loss[index]) if known else None,
                    f"{owner}/VMin": float(lowest[index]) if known and np.isfinite(lowest[index]) else None,
                    f"{owner}/AMaxPct": 100 * float(highest[index]) if known and np.isfinite(highest[index]) else None,
                },
                quality | Quality.ESTIMATED | partial,
                ticks,
            )
            yield len(_TOTALS)

    def _estimates(self, numbers: StateNumbers) -> Floats:
        """Values of all estimates, by equipment and in it by `ESTIMATES`; NaN where nothing is known."""
        arrays = self._arrays
        series = len(arrays.lines) + len(arrays.transformers)
        power = np.concatenate([numbers.power[:series], numbers.drawn, -numbers.delivered])
        ends = np.concatenate([arrays.line_ends[:, 0], arrays.transformer_ends[:, 0]])
        node = np.concatenate([ends, arrays.injection_node, arrays.source_node])
        volts = numbers.voltage[node] * arrays.nominal[node] / np.sqrt(3)
        lone = np.abs(power[series:])
        amps = np.divide(lone, 3 * volts[series:], out=np.zeros(len(lone)), where=volts[series:] > 0)
        amps[np.isnan(lone)] = np.nan
        current = np.concatenate([numbers.current[:series], amps])
        return np.stack([power.real, power.imag, current, volts], axis=1).ravel()
