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
from twin_gateway.grid.suspects import Elements, Values, leave_one_out
from twin_gateway.grid.sweep import radial_order
from twin_gateway.grid.wls import Outcome

_POWER, _OTHER = 0.6, 0.4
"""Parts of the threshold from which a power is tried, or another quantity: its leave-one-out residual is not known."""


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
        for row in _suspects(arrays, state, outcome, candidates, threshold):
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


def _suspects(arrays: GridArrays, state: Switching, outcome: Outcome, candidates: int, threshold: float) -> list[int]:
    """Measured values to leave out on trial: half of them powers, half other quantities."""
    estimator = outcome.estimator
    by_flows = np.abs(_residuals(arrays, state, outcome))
    scaled = np.abs(outcome.scaled)
    powers = 2 * len(estimator.terminals)
    rows: list[int] = []
    for first, last, part in ((0, powers, _POWER), (powers, len(scaled), _OTHER)):
        suspicion = np.maximum(scaled, by_flows)[first:last]
        possible = (first + np.argsort(-suspicion)[: np.count_nonzero(suspicion > part * threshold)]).tolist()
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
    result = np.zeros(len(estimator.amounts))
    if order.looped >= 0:
        return result
    solved = solved_of(arrays, state, estimator.model, outcome.output)
    held = np.zeros(len(ends), complex)
    held[: len(solved.first)] = (solved.first + solved.second).sum(1)
    fed = order.branch >= 0
    branch, child = order.branch[fed], order.node[fed]
    down = np.zeros(len(ends), bool)
    down[branch] = order.downward[fed] > 0
    parent = np.where(down[branch], ends[branch, 0], ends[branch, 1])
    depth = np.zeros(len(state.nominal), np.intp)
    for node, above in zip(child.tolist(), parent.tolist(), strict=True):  # parents come before their children
        depth[node] = depth[above] + 1
    drains = estimator.drains(arrays, state)
    elements = Elements(
        np.concatenate([parent, np.array([node for _, node in drains], np.intp)]),
        np.concatenate([child, np.full(len(drains), -1, np.intp)]),
        depth,
    )
    of_branch = np.full(len(ends), -1, np.intp)
    of_branch[branch] = np.arange(len(branch))
    of_drain = {terminal: len(branch) + index for index, (terminal, _) in enumerate(drains)}
    offset = {Where.LINE: 0, Where.TRANSFORMER: len(arrays.lines)}
    offset[Where.SWITCH] = len(arrays.lines) + len(arrays.transformers)
    loss = np.concatenate([held[branch], np.zeros(len(drains))])
    # Where each terminal measures, the sign of its value, and whether the loss of the branch is in it.
    element, sign, whole = [], [], []
    for terminal in estimator.terminals:
        where, number, end = terminal
        at = offset.get(where)
        if where == Where.SOURCE:
            element.append(-1 - int(sources[number]))
        else:
            element.append(of_drain[terminal] if at is None else int(of_branch[at + number]))
        at_parent = at is None or (end == 0) == down[at + number]
        sign.append(-1.0 if where == Where.SOURCE or not at_parent else 1.0)
        whole.append(at is not None and at_parent)
    places, signs = np.array(element, np.intp), np.array(sign)
    taken = np.where(np.array(whole, bool), loss[np.maximum(places, 0)], 0.0)
    for reactive in (0, 1):
        rows = 2 * np.arange(len(places)) + reactive
        here = ~estimator.left[rows]
        stay = taken.imag if reactive else taken.real
        values = Values(places[here], (signs * estimator.values[rows] - stay)[here], estimator.sigma[rows][here])
        result[rows[here]] = leave_one_out(elements, loss.imag if reactive else loss.real, values)
    return result
