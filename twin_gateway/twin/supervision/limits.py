"""Limits of measured currents and voltages, from the ratings and nominal voltages of the grid model (P08, spec 9.2)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    Grid,
    LineData,
    Measurement,
    Quantity,
    SwitchRating,
    TransformerData,
)

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int8]
CURRENT_BACK, VOLTAGE_BACK = 0.03, 0.005
"""What is out of its limits comes back this much inside: of the rating, and of the nominal voltage."""
LOW, HIGH, HIGHEST = -1, 1, 2


@dataclass(frozen=True, slots=True)
class Band:
    """Voltages that are in order, as shares of the nominal one; at `dead` and below there is none, told elsewhere."""

    low: float = 0.90
    high: float = 1.10
    dead: float = 0.20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of points in columns, shape (n,), in A or V; infinite where there is none.

    Attributes:
        points: addresses.
        base: rating or nominal value, for the text.
        dead, low, high, highest: under-voltage is between the first two; from the others on it is too much.
        back: how far inside a value must be again.
    """

    points: tuple[str, ...]
    base: Floats
    dead: Floats
    low: Floats
    high: Floats
    highest: Floats
    back: Floats

    def levels(self, values: Floats, before: Levels) -> Levels:
        """-1 too low, 1 and 2 too high, 0 in order; values that are not numbers leave it as it was.

        Args:
            values: A or V, shape (n,), of whatever sign.
            before: levels that held, shape (n,).
        """
        size = np.abs(values)
        with np.errstate(invalid="ignore"):
            low = (size > self.dead) & (size < self.low + np.where(before == LOW, self.back, 0.0))
            high = size > self.high - np.where(before >= HIGH, self.back, 0.0)
            highest = size > self.highest - np.where(before == HIGHEST, self.back, 0.0)
        now = np.where(highest, HIGHEST, np.where(high, HIGH, np.where(low, LOW, 0)))
        return np.where(np.isnan(size), before, now).astype(np.int8)


def limits_of(grid: Grid, band: Band) -> Limits:
    """Limits of every measured current and voltage of which the grid model knows one.

    A current at a switch is limited by the switch, and by the line or transformer that is alone behind one of its
    terminals; at other equipment by that equipment.
    """
    at_node: dict[str, list[Equipment]] = defaultdict(list)
    for item in grid.equipment.values():
        for node in item.nodes:
            at_node[node].append(item)
    found = [(one.point, *limit) for one in grid.measurements.values() if (limit := _limit(grid, one, at_node, band))]
    columns = np.array([row[1:] for row in found], np.float64).reshape(-1, 6)
    base, dead, low, high, highest, back = columns.T
    return Limits(tuple(row[0] for row in found), base, dead, low, high, highest, back)


def _limit(
    grid: Grid, one: Measurement, at_node: dict[str, list[Equipment]], band: Band
) -> tuple[float, float, float, float, float, float] | None:
    """(base, dead, low, high, highest, back) of a measured point; None without a limit."""
    item = grid.equipment[one.equipment]
    if one.quantity in (Quantity.V, Quantity.U):
        nominal = grid.nodes[item.nodes[min(one.terminal, len(item.nodes)) - 1]].nominal
        base = nominal if one.quantity is Quantity.U else nominal / math.sqrt(3.0)
        return base, band.dead * base, band.low * base, band.high * base, math.inf, VOLTAGE_BACK * base
    if one.quantity is not Quantity.I:
        return None
    ratings = [_rating(item, item.nodes[one.terminal - 1], grid)]
    if isinstance(item.data, SwitchRating):
        for node in item.nodes:
            others = [other for other in at_node[node] if other is not item]
            if len(others) == 1:
                ratings.append(_rating(others[0], node, grid))
    high = _least(first for first, _ in ratings)
    highest = _least(second for _, second in ratings)
    if high == math.inf:
        return None
    # No rating may be an emergency's that is not above the ordinary one.
    highest = highest if highest > high else math.inf
    return high, -math.inf, -math.inf, high, highest, CURRENT_BACK * high


def _rating(item: Equipment, node: str, grid: Grid) -> tuple[float | None, float | None]:
    """(ordinary, emergency) rating in A at one of its nodes; None where there is none."""
    data = item.data
    if isinstance(data, LineData):
        return data.i_max, data.i_emergency
    if isinstance(data, SwitchRating):
        return data.i_max, None
    if isinstance(data, TransformerData) and item.cim_class is CimClass.TRANSFORMER:
        return data.s / (math.sqrt(3.0) * grid.nodes[node].nominal), None
    return None, None


def _least(ratings: Iterable[float | None]) -> float:
    return min((rating for rating in ratings if rating), default=math.inf)
