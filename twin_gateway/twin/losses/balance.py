"""Energy balances of regions, vectorised over intervals: loss, rate, uncertainty, completeness (spec 4.2).

E_in = imports at the boundary + feed-in inside, E_out = exports at the boundary, E_c = consumption, E_u = known but
unmetered. L_s = E_in - E_out - E_c - E_u. The error of a meter is one factor on all of its energies, so that the
uncertainty of a window is taken from the sums of the window and not from those of its intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import Meter
from twin_gateway.twin.losses.meter_data import Flag
from twin_gateway.twin.losses.regions import Region, Term

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.intp]

LEAST_INPUT = 0.05
"""Part of the rated energy below which no loss rate is computed."""
GOOD_COMPLETENESS, USABLE_COMPLETENESS = 0.98, 0.90
_ROWS, _PIECE = 32, 128

Key = tuple[str, str, bool]
"""One column of energies: meter, phase (empty for all), and whether it is what the meter supplied (`Sup`)."""


def meter_variance(meter: Meter) -> float:
    """Relative variance of an energy: classes of meter, current and voltage transformer, each rectangular."""
    classes = (meter.accuracy_class, meter.ct_class, meter.vt_class)
    return sum((value / 100.0) ** 2 / 3.0 for value in classes)


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns of all regions for one side of the balance, one region after the other."""

    columns: Columns
    weights: Floats
    starts: Columns
    regions: Columns
    weighted: bool

    @staticmethod
    def of(parts: Sequence[Sequence[tuple[int, float]]]) -> _Group:
        counts = [len(part) for part in parts]
        flat = [item for part in parts for item in part]
        weights = np.array([weight for _, weight in flat], np.float64)
        some = [at for at, count in enumerate(counts) if count]
        starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
        return _Group(
            np.array([column for column, _ in flat], np.intp),
            weights,
            starts[some].astype(np.intp),
            np.array(some, np.intp),
            bool((weights != 1.0).any()),
        )

    def sum(self, energy: Floats, out: Floats) -> Floats:
        """Add the sums of each region to `out` (n, regions); returns the picked, weighted energies."""
        picked = np.take(energy, self.columns, axis=1)
        if self.weighted:
            picked *= self.weights
        if len(self.starts):
            out[:, self.regions] += np.add.reduceat(picked, self.starts, axis=1)
        return picked


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances of n intervals (or one window) of r regions; energies in Wh, shape (n, r).

    Attributes:
        loss: statistical loss L_s; NaN where a meter of the boundary is missing.
        uncertainty: standard uncertainty u(L_s), with the sync term.
        complete: metered share of the region's energy, 0 to 1.
        estimated: share of the used energy that is estimated, 0 to 1.
    """

    regions: tuple[Region, ...]
    imported: Floats
    exported: Floats
    consumed: Floats
    fed_in: Floats
    unmetered: Floats
    loss: Floats
    uncertainty: Floats
    complete: Floats
    estimated: Floats

    @property
    def entering(self) -> Floats:
        """E_in: imports and feed-in, Wh."""
        return self.imported + self.fed_in

    def rate(self, least: npt.ArrayLike = 0.0) -> Floats:
        """Loss rate in percent of E_in; NaN where E_in is not above `least` (Wh, for each region)."""
        entering = self.entering
        unknown = np.full(entering.shape, np.nan)
        good = entering > np.maximum(np.asarray(least, np.float64), 1e-9)
        return np.asarray(np.divide(100.0 * self.loss, entering, out=unknown, where=good))

    def relative_uncertainty(self) -> Floats:
        """u(L_s) in percent of E_in; NaN where nothing enters."""
        entering = self.entering
        unknown = np.full(entering.shape, np.nan)
        return np.asarray(np.divide(100.0 * self.uncertainty, entering, out=unknown, where=entering > 0))


class BalancePlan:
    """Which energy counts where: made once for a switching state, used for any number of intervals.

    Args:
        regions: those to be balanced; sums of cells take the inside of their cells when these are among them.
        meters: of `meters_of`.
        columns: which column of the energies has what (see `Key`).
        sigma_clock: standard uncertainty of the clock of each meter, s; 0 when missing.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        meters: Mapping[str, Meter],
        columns: Mapping[Key, int],
        *,
        sigma_clock: Mapping[str, float] | None = None,
    ) -> None:
        self.regions = tuple(regions)
        self.width = max(columns.values(), default=-1) + 1
        self._columns = columns
        index = {region.key: at for at, region in enumerate(regions)}
        # A sum takes the inside of its cells from their balances: the big columns are read once.
        self._children = [
            [index[cell] for cell in region.cells if cell != region.key]
            if not region.phase and region.cells and all(cell in index for cell in region.cells)
            else []
            for region in regions
        ]
        direct = [not children for children in self._children]
        sides = {
            (name, edge): _Group.of(
                [
                    self._side(region.boundary if edge else (region.members if direct[at] else ()), name, edge=edge)
                    for at, region in enumerate(regions)
                ]
            )
            for name in ("into", "out")
            for edge in (True, False)
        }
        self._imports, self._exports = sides["into", True], sides["out", True]
        self._feeds, self._draws = sides["into", False], sides["out", False]
        self._edge_columns = [
            np.array(sorted({column for term in region.boundary for column in self._of(term)}), np.intp)
            for region in regions
        ]
        self._no_source = [any(not self._of(term) for term in region.boundary) for region in regions]
        self._unread = [sum(not self._of(term) for term in region.members) for region in regions]
        self._inner_columns = [
            np.array(sorted({column for term in region.members for column in self._of(term)}), np.intp)
            for region in regions
        ]
        sigma = sigma_clock or {}
        self._variance = np.zeros(self.width)
        self._clock = np.zeros(self.width)
        for (meter, _, _), column in columns.items():
            self._variance[column] = meter_variance(meters[meter])
            self._clock[column] = sigma.get(meter, 0.0)

    def _of(self, term: Term) -> list[int]:
        keys = ((term.meter, term.phase, supplied) for supplied in (False, True))
        return [self._columns[key] for key in keys if key in self._columns]

    def _side(self, terms: Sequence[Term], name: str, *, edge: bool) -> list[tuple[int, float]]:
        """Columns on one side: at the boundary by the sign of the term, inside `Sup` enters and `Dmd` leaves."""
        found = []
        for term in terms:
            supplied = (term.sign > 0) != (name == "into") if edge else name == "into"
            column = self._columns.get((term.meter, term.phase, supplied))
            if column is not None:
                found.append((column, term.weight))
        return found

    def columns_of(self, at: int) -> list[tuple[Term, bool, int]]:
        """(term, supplied, column) of a region, for explanations."""
        region = self.regions[at]
        return [
            (term, supplied, self._columns[term.meter, term.phase, supplied])
            for term in (*region.boundary, *region.members)
            for supplied in (False, True)
            if (term.meter, term.phase, supplied) in self._columns
        ]

    def variance(self, length: float) -> Floats:
        """Relative variance of each column in a window of `length` s: classes, and the clock (spec 4.3)."""
        return np.asarray(self._variance + (self._clock / length) ** 2)

    def balance(
        self,
        energy: Floats,
        length: float,
        *,
        flags: npt.NDArray[np.uint8] | None = None,
        unmetered: Floats | None = None,
        weight: Floats | None = None,
    ) -> Balances:
        """Balances of every interval.

        Args:
            energy: Wh, shape (n, columns); NaN where missing (counted as nothing, and told by `complete`).
            length: of each interval, s.
            flags: of `interval_energies`, shape as `energy`; None when all is measured.
            unmetered: E_u of each region, Wh, shape (n, r) or (r,).
            weight: mean energy of each column over 30 days, shape (columns,), NaN where not known; by default that of
                these intervals.
        """
        count, width = len(energy), len(self.regions)
        imported, exported, consumed, fed_in, edges, inner = (np.zeros((count, width)) for _ in range(6))
        variance = self.variance(length)
        groups = (
            (self._imports, imported, edges),
            (self._exports, exported, edges),
            (self._draws, consumed, inner),
            (self._feeds, fed_in, inner),
        )
        total = np.zeros(energy.shape[1])
        holes = np.zeros(energy.shape[1], bool)
        for start in range(0, count, _ROWS):
            part = slice(start, start + _ROWS)
            rows = energy[part]
            sums = rows.sum(axis=0)
            gaps = np.isnan(sums)
            if gaps.any():
                holes |= gaps
                rows = np.where(np.isnan(rows), 0.0, rows)
                sums = rows.sum(axis=0)
            total += sums
            for group, out, square in groups:
                picked = group.sum(rows, out[part])
                if len(group.starts):
                    np.multiply(picked, picked, out=picked)
                    picked *= variance[group.columns]
                    square[part][:, group.regions] += np.add.reduceat(picked, group.starts, axis=1)
        for at, children in enumerate(self._children):
            if children:
                consumed[:, at] = consumed[:, children].sum(axis=1)
                fed_in[:, at] = fed_in[:, children].sum(axis=1)
                inner[:, at] = inner[:, children].sum(axis=1)
        other = np.broadcast_to(np.zeros(width) if unmetered is None else unmetered, (count, width))
        bad, estimated = self._shares(energy, flags, holes, total / max(count, 1) if weight is None else weight)
        loss = imported + fed_in - exported - consumed - other
        for at, columns in enumerate(self._edge_columns):
            if self._no_source[at]:
                loss[:, at] = np.nan
            elif holes[columns].any():
                loss[np.isnan(energy[:, columns]).any(axis=1), at] = np.nan
        return Balances(
            self.regions,
            imported,
            exported,
            consumed,
            fed_in,
            np.array(other),
            loss,
            np.sqrt(edges + inner),
            bad,
            estimated,
        )

    def _shares(
        self, energy: Floats, flags: npt.NDArray[np.uint8] | None, holes: npt.NDArray[np.bool_], weight: Floats
    ) -> tuple[Floats, Floats]:
        """(completeness, estimated share), each (n, regions); only columns with trouble are looked at."""
        count, width = len(energy), len(self.regions)
        complete, estimated = np.ones((count, width)), np.zeros((count, width))
        doubtful = np.uint8(Flag.ESTIMATED | Flag.MISSING)
        troubled = holes.copy()
        if flags is not None:
            troubled |= (flags & doubtful).any(axis=0)
        guessed = np.broadcast_to(False, energy.shape) if flags is None else flags & np.uint8(Flag.ESTIMATED) != 0
        weight = np.where(np.isfinite(weight), np.abs(weight), np.nan)
        for at in range(width):
            columns = np.concatenate([self._inner_columns[at], self._edge_columns[at]])
            shares = weight[columns]
            # What a meter usually measures is not known: it weighs as much as the others do in the mean.
            known = np.isfinite(shares)
            shares = np.where(known, shares, shares[known].mean()) if known.any() else shares
            shares = shares if known.any() and shares.any() else np.ones(len(columns))
            # Members whose energy nobody reads weigh as much as the mean of those that are read.
            whole = shares.sum() * (1.0 + self._unread[at] / max(len(self._inner_columns[at]), 1))
            if not len(columns) or whole <= 0:
                complete[:, at] = 0.0
                continue
            here = troubled[columns]
            some, part = columns[here], shares[here]
            lost = np.zeros(count)
            gone = bool(holes[some].any())
            # A piece at a time: a sum of ten thousand meters would lay out the whole matrix again.
            for start in range(0, count if len(some) else 0, _PIECE):
                rows = slice(start, start + _PIECE)
                bad = guessed[rows].take(some, axis=1)
                estimated[rows, at] = bad @ part / whole
                if gone:
                    bad |= np.isnan(energy[rows].take(some, axis=1))
                lost[rows] = bad @ part
            complete[:, at] = (shares.sum() - lost) / whole
        return complete, estimated


def window_sum(energy: Floats, rows: int) -> Floats:
    """Energies of longer windows: every `rows` intervals added up, shape (n // rows, m); NaN where one is missing."""
    count = len(energy) // rows
    return np.asarray(energy[: count * rows].reshape(count, rows, -1).sum(axis=1))
