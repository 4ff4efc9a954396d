"""Voltage at the infeed of regions, from what the interval data know of it: the loss of a line rises as it falls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.grid.model import Equipment, Grid, Meter, Quantity
from twin_gateway.twin.losses.regions import PHASES, NodeSets, Term

Floats = npt.NDArray[np.float64]
PLAUSIBLE = (0.8, 1.2)
"""Part of the nominal voltage; what is outside (switched off, or told on the secondary side) says nothing."""


def infeed_voltages(
    reader: IntervalReader,
    model: tuple[Grid, dict[str, Meter]],
    closed: Iterable[Equipment],
    sources: Mapping[str, Term],
    ends: Floats,
) -> dict[str, Floats]:
    """Voltage at the infeed of each region, part of the nominal one, (n,).

    The mean of what the boundary meter of the infeed measures; else of the voltage measurements at its node and at
    those joined to it by closed switches. An interval without any takes the mean of the others.

    Args:
        reader: of the interval data.
        model: grid and meters.
        closed: switches that conduct.
        sources: boundary term of the infeed by key of the region.
        ends: of the intervals, Unix seconds, without a gap.

    Returns:
        By key of the region; those of which no voltage is known are left out.
    """
    grid, meters = model
    known = set(reader.addresses())
    around: dict[str, list[tuple[str, float]]] = {}
    sets = NodeSets()
    for switch in closed:
        sets.join(*switch.nodes[:2])
    for item in grid.measurements.values():
        if item.quantity in (Quantity.V, Quantity.U) and item.point in known:
            node = grid.equipment[item.equipment].nodes[item.terminal - 1]
            base = grid.nodes[node].nominal / (1.0 if item.quantity is Quantity.U else np.sqrt(3))
            around.setdefault(sets.find(node), []).append((item.point, float(base)))
    asked: dict[str, list[tuple[str, float]]] = {}
    for key, term in sources.items():
        meter = meters[term.meter]
        node = grid.equipment[meter.equipment].nodes[meter.terminal - 1]
        base = float(grid.nodes[node].nominal / np.sqrt(3))
        own = [(text, base) for text in voltage_points(term.meter) if text in known]
        if found := own or around.get(sets.find(node), []):
            asked[key] = found
    names = list(dict.fromkeys(text for found in asked.values() for text, _ in found))
    matrix = reader.read(names, float(ends[0]), float(ends[-1]))
    column = {text: at for at, text in enumerate(names)}
    result = {}
    for key, found in asked.items():
        at = [column[text] for text, _ in found]
        part = np.where(matrix.valid[:, at], matrix.values[:, at], np.nan) / np.array([base for _, base in found])
        with np.errstate(invalid="ignore"):
            good = (part >= PLAUSIBLE[0]) & (part <= PLAUSIBLE[1])
        count = good.sum(axis=1)
        total = np.where(good, part, 0.0).sum(axis=1)
        if count.any():
            usual = float(total.sum() / count.sum())
            result[key] = np.divide(total, count, out=np.full(len(part), usual), where=count > 0)
    return result


def voltage_points(meter: str) -> tuple[str, ...]:
    """Addresses where a meter may tell voltages, phase to neutral."""
    return (*(f"{meter}/MMXU1/PhV/phs{phase}" for phase in PHASES), f"{meter}/MMXN1/Vol")
