"""Bad data: measured values that contradict the rest of an estimation are left out, worst first.

Whom to try is told by the leave-one-out residuals of the linear model (`twin_gateway.grid.suspects`); that a value is
bad is told by the estimation itself without it: the drop of its objective is the square of the normalised residual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]  # exported, but not in so many words

from twin_gateway.grid.arrays import Floats, GridArrays, Switching
from twin_gateway.grid.pgm_flow import solved_of
from twin_gateway.grid.sensors import Where
from twin_gateway.grid.suspects import Element, leave_one_out
from twin_gateway.grid.sweep import radial_order
from twin_gateway.grid.wls import Outcome

_LEAST = 1.0
"""Standard deviations below which nothing is suspected."""


@dataclass(frozen=True, slots=True)
class BadValue:
    """A measured value that the others contradict.

    Attributes:
        points: it comes from (several when phases were joined).
        measured: in the sense of the sensor: W or var into the equipment, A, or V line to line.
        estimated: what the others say of it.
        residual: normalised, in standard deviations.
    """

    points: tuple[str, ...]
    measured: float
    estimated: float
    residual: float


def leave_out(
    arrays: GridArrays, state: Switching, outcome: Outcome, *, threshold: float, candidates: int, rounds: int
) -> tuple[Outcome, tuple[BadValue, ...]]:
    """Leave out bad values one by one.

    Args:
        arrays: of the grid.
        state: switching state.
        outcome: with all values.
        threshold: normalised residual from which a value is bad.
        candidates: how many are left out on trial in one round.
        rounds: how many are looked for.

    Returns:
        The outcome without them, and the bad values, worst first.
    """
    estimator = outcome.estimator
    dropped: list[tuple[int, BadValue]] = []
    for _ in range(rounds):
        best: tuple[float, int, Outcome] | None = None
        for row in _suspects(arrays, state, outcome, candidates):
            try:
                trial = estimator.without(row)
            except PowerGridError:
                continue  # what the estimation cannot do without cannot be checked
            drop = outcome.objective - trial.objective
            if best is None or drop > best[0]:
                best = (drop, row, trial)
        if best is None or best[0] < threshold**2:
            break
        drop, row, trial = best
        amount = estimator.amounts[row]
        value = BadValue(amount.points, amount.value, float(trial.estimates[row]), float(np.sqrt(drop)))
        estimator.drop(row)
        dropped.append((row, value))
        outcome = trial
    return _pardon(outcome, dropped, threshold)


def _pardon(
    outcome: Outcome, dropped: list[tuple[int, BadValue]], threshold: float
) -> tuple[Outcome, tuple[BadValue, ...]]:
    """Take back what was left out only because of something worse that was found after it."""
    estimator = outcome.estimator
    bad = []
    for row, value in dropped:
        if value is not dropped[-1][1]:
            trial = estimator.with_again(row)
            rise = trial.objective - outcome.objective
            if rise < threshold**2:
                outcome = trial
                continue
            estimator.drop(row)
            value = replace(value, residual=float(np.sqrt(rise)), estimated=float(outcome.estimates[row]))
        bad.append(value)
    return outcome, tuple(sorted(bad, key=lambda value: -value.residual))


def _suspects(arrays: GridArrays, state: Switching, outcome: Outcome, candidates: int) -> list[int]:
    """Measured values to leave out on trial: half of them powers, half other quantities."""
    estimator = outcome.estimator
    by_flows = np.abs(_residuals(arrays, state, outcome))
    scaled = np.abs(outcome.scaled)
    powers = 2 * len(estimator.terminals)
    groups = (np.arange(powers), np.arange(powers, len(scaled)))
    rows: list[int] = []
    for group in groups:
        suspicion = np.maximum(scaled, by_flows)[group]
        sorted_rows = group[np.argsort(-suspicion)]
        possible = [int(row) for row in sorted_rows if max(scaled[row], by_flows[row]) > _LEAST]
        rows += [row for row in possible if estimator.measured(row)][: max(1, candidates // 2)]
    return rows


def _residuals(arrays: GridArrays, state: Switching, outcome: Outcome) -> Floats:
    """Leave-one-out residuals of all powers, W and var each for itself; zero everywhere in a grid with loops."""
    estimator = outcome.estimator
    part = estimator.part
    ends = state.joined[np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])]
    series = np.concatenate([state.line, state.transformer, state.kept]) & part[ends[:, 0]]
    sources = state.joined[arrays.source_node]
    order = radial_order(len(state.nominal), ends[:, 0], ends[:, 1], series, sources[part[sources]])
    count = len(estimator.amounts)
    if order.looped >= 0:
        return np.zeros(count)
    solved = solved_of(arrays, state, estimator.model, outcome.output)
    loss = np.zeros(len(ends), complex)
    loss[: len(solved.first)] = (solved.first + solved.second).sum(1)
    lines, transformers = len(arrays.lines), len(arrays.transformers)
    offset = {Where.LINE: 0, Where.TRANSFORMER: lines, Where.SWITCH: lines + transformers}
    fed = np.nonzero(order.branch >= 0)[0].tolist()
    down = {int(order.branch[place]): order.downward[place] > 0 for place in fed}
    result = np.zeros(count)
    for reactive in (False, True):
        held = loss.imag if reactive else loss.real
        elements: list[Element] = []
        of_branch: dict[int, int] = {}
        of_injection: dict[tuple[str, int, int], int] = {}
        supply: list[tuple[int, int, float, float]] = []
        for place in fed:
            branch = int(order.branch[place])
            parent = int(ends[branch, 0] if down[branch] else ends[branch, 1])
            of_branch[branch] = len(elements)
            elements.append(Element(parent, int(order.node[place]), float(held[branch])))
        for terminal, node in estimator.drains(arrays, state):
            of_injection[terminal] = len(elements)
            elements.append(Element(node))
        for first, terminal in enumerate(estimator.terminals):
            row = 2 * first + reactive
            if estimator.left(row):
                continue
            amount = estimator.amounts[row]
            where, number, end = terminal
            if where == Where.SOURCE:
                supply.append((int(sources[number]), row, -amount.value, amount.sigma))
            elif terminal in of_injection:
                elements[of_injection[terminal]].values.append((row, amount.value, amount.sigma))
            elif where in offset:
                branch = offset[where] + number
                at_parent = (end == 0) == down[branch]
                value = amount.value - float(held[branch]) if at_parent else -amount.value
                elements[of_branch[branch]].values.append((row, value, amount.sigma))
        result += leave_one_out(order.node, elements, supply, count)
    return result
