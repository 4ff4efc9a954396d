"""Reactive power of the loads of a region: as measured, else as the grid model has it, else by a power factor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.grid.model import GeneratorData, Grid, LoadData, Meter, Quantity
from twin_gateway.twin.losses.regions import Term
from twin_gateway.twin.losses.technical import LossModel

Floats = npt.NDArray[np.float64]
REGISTERS = ("MMTR1/DmdVArh", "MMTR1/SupVArh")
"""Reactive energy registers of a meter, drawn and delivered."""
_COLUMNS = 1000
"""Points read in one go: a month of them is a few dozen megabytes."""
_STEEPEST = 3.0
"""Largest ratio of reactive to active power at an infeed that is taken over for loads: below a power factor of 0.32
most of the reactive power is that of cables or capacitors."""


class Basis(IntEnum):
    """Where the reactive power of a load comes from, best first."""

    MEASURED = 0
    MODEL = 1
    INFEED = 2
    ASSUMED = 3


@dataclass(frozen=True, slots=True)
class Reactive:
    """Reactive power of the K loads of a region over n intervals.

    Attributes:
        var: drawn from the region, shape (n, K).
        basis: `Basis` of each value, shape (n, K).
    """

    var: Floats
    basis: npt.NDArray[np.uint8]

    def counts(self) -> npt.NDArray[np.int64]:
        """Number of loads by `Basis` in each interval, shape (n, 4)."""
        return np.stack([(self.basis == basis).sum(axis=1) for basis in Basis], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Points:
    """What tells the reactive power of a meter: a mean, or registers; `sign` brings a mean into the meter's sense."""

    mean: str = ""
    sign: float = 1.0
    drawn: str = ""
    delivered: str = ""
    ratio: float = 1.0

    def names(self) -> list[str]:
        return [name for name in (self.mean, self.drawn, self.delivered) if name]


def measured_reactive(
    reader: IntervalReader, model: tuple[Grid, dict[str, Meter]], trees: Mapping[str, LossModel], ends: Floats
) -> Iterator[tuple[str, Floats]]:
    """Measured reactive power of the loads of each region, and of its infeed in the last column.

    Args:
        reader: of the interval data.
        model: grid and meters.
        trees: loss models by key of the region.
        ends: of the intervals, Unix seconds, without a gap.

    Yields:
        Key and var in the sense of the meter (what it counts as drawn is positive), shape (n, K + 1); NaN where
        nothing was measured.
    """
    grid, meters = model
    known = set(reader.addresses())
    reading: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for item in grid.measurements.values():
        if item.quantity is Quantity.Q and not item.phase and item.point in known:
            reading.setdefault((item.equipment, item.terminal), []).append((item.point, item.direction))
    group: dict[str, list[_Points]] = {}
    width = 0
    for key, tree in trees.items():
        group[key] = [_points(meters[term.meter], known, reading) for term in (*tree.terms, tree.source)]
        width += sum(len(points.names()) for points in group[key])
        if width >= _COLUMNS:
            yield from _read(reader, group, ends)
            group, width = {}, 0
    yield from _read(reader, group, ends)


def _points(meter: Meter, known: set[str], reading: Mapping[tuple[str, int], list[tuple[str, int]]]) -> _Points:
    if (own := f"{meter.address}/MMXU1/TotVAr") in known:
        return _Points(own)
    drawn, delivered = (f"{meter.address}/{name}" for name in REGISTERS)
    if drawn in known or delivered in known:
        return _Points(
            drawn=drawn if drawn in known else "",
            delivered=delivered if delivered in known else "",
            ratio=meter.ratio,
        )
    for point, direction in reading.get((meter.equipment, meter.terminal), []):
        return _Points(point, float(direction * meter.direction))
    return _Points()


def _read(reader: IntervalReader, group: Mapping[str, list[_Points]], ends: Floats) -> Iterator[tuple[str, Floats]]:
    names = list(dict.fromkeys(name for some in group.values() for points in some for name in points.names()))
    length = reader.length
    matrix = reader.read(names, float(ends[0]) - length, float(ends[-1]))
    column = {name: at for at, name in enumerate(names)}

    def values(name: str) -> Floats:
        at = column[name]
        return np.where(matrix.valid[:, at], matrix.values[:, at], np.nan)

    def counted(name: str) -> Floats:
        """Mean var by a register; what it runs back (a reset, a rollover) says nothing."""
        if not name:
            return np.zeros(len(ends))
        step = np.diff(values(name))
        return np.asarray(np.where(step >= 0, step, np.nan) * (3600.0 / length))

    for key, some in group.items():
        result = np.full((len(ends), len(some)), np.nan)
        for at, points in enumerate(some):
            if points.mean:
                result[:, at] = points.sign * values(points.mean)[1:]
            elif points.drawn or points.delivered:
                result[:, at] = points.ratio * (counted(points.drawn) - counted(points.delivered))
        yield key, result


class LoadRatios:
    """Ratio of reactive to active power of the loads in the grid model.

    Args:
        model: grid and meters.
    """

    def __init__(self, model: tuple[Grid, dict[str, Meter]]) -> None:
        self._grid, self._meters = model
        self._behind: dict[str, tuple[float, float]] | None = None

    def of(self, terms: Iterable[Term]) -> Floats:
        """Of the load or generator that each meter measures, or of those behind its transformer; NaN where unknown.

        A load without reactive power is one that has none on file.
        """
        found = [self._of(self._meters[term.meter]) for term in terms]
        return np.array([q / p if p and q else np.nan for p, q in found])

    def _of(self, meter: Meter) -> tuple[float, float]:
        data = self._grid.equipment[meter.equipment].data
        if isinstance(data, LoadData | GeneratorData):
            return data.p, data.q
        if self._behind is None:
            self._behind = _behind(self._grid, self._meters)
        return self._behind.get(meter.equipment, (0.0, 0.0))


def reactive_power(
    ratios: LoadRatios,
    tree: LossModel,
    watts: Floats,
    measured: Floats,
    *,
    infeed: Floats,
    power_factor: float,
) -> Reactive:
    """Reactive power of the loads of a region.

    What is not measured goes with the active power: in the ratio of the load in the grid model, else in that of the
    infeed, else by the power factor.

    Args:
        ratios: of the loads in the grid model.
        tree: of the region.
        watts: drawn by each load, shape (n, K).
        measured: of `measured_reactive`.
        infeed: W through the infeed in the sense of its meter, shape (n,).
        power_factor: inductive, of loads of which nothing is known.
    """
    ratio = ratios.of(tree.terms)
    assumed = np.sqrt(1.0 / power_factor**2 - 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = measured[:, -1] / infeed
    slope = np.where(np.abs(slope) <= _STEEPEST, slope, np.nan)
    basis = np.where(np.isnan(ratio)[None, :], Basis.INFEED, Basis.MODEL)
    tangent = np.where(np.isnan(ratio)[None, :], slope[:, None], np.nan_to_num(ratio)[None, :])
    basis = np.where(np.isnan(tangent), Basis.ASSUMED, basis)
    tangent = np.where(np.isnan(tangent), assumed, tangent)
    factor = np.array([_factor(term) for term in tree.terms])
    own = measured[:, :-1] * factor
    told = np.isfinite(own)
    return Reactive(
        np.where(told, own, np.nan_to_num(watts) * tangent),
        np.where(told, np.uint8(Basis.MEASURED), basis.astype(np.uint8)),
    )


def said(counts: Sequence[int], power_factor: float) -> str:
    """Number of loads by `Basis` in words."""
    words = ("measured", "as in the grid model", "as at the infeed", f"assumed (power factor {power_factor:g})")
    return ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True) if count) or "no load"


def _factor(term: Term) -> float:
    """From what a meter counts as drawn to what the load draws from the region, as for active power."""
    return (-term.sign if term.sign else 1) * term.weight


def _behind(grid: Grid, meters: Mapping[str, Meter]) -> dict[str, tuple[float, float]]:
    """W and var of the loads in the grid model by the transformer that their meters have on record."""
    found: dict[str, tuple[float, float]] = {}
    for meter in meters.values():
        data = grid.equipment[meter.equipment].data if meter.transformer and meter.equipment in grid.equipment else None
        if isinstance(data, LoadData):
            p, q = found.get(meter.transformer, (0.0, 0.0))
            found[meter.transformer] = p + data.p, q + data.q
    return found
