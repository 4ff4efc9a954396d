"""State estimation: the state of a grid that fits its measurements best, what contradicts it, and where it is unknown.

Weighted least squares by power-grid-model on the balanced model. Loads that nobody measures are pseudo-measurements:
what is expected of them, with a large uncertainty. Switches of unknown position count as open, so that what is fed
through them alone is not estimated, and what may flow into them is free. Each island stands for itself: one that cannot
be observed says what is missing.

Bad data are found by leaving out: the drop of the objective when one value is left out is the square of its normalised
residual (A. Monticelli, State Estimation in Electric Power Systems), and the largest one goes first. What no other
value checks cannot be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from power_grid_model import ComponentType
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]  # exported, but not in so many words

from twin_gateway.grid.arrays import Booleans, Complexes, GridArrays, Indexes, Switching, switching
from twin_gateway.grid.bad_data import BadValue, leave_out
from twin_gateway.grid.flow import PowerFlowResult, no_result, result_of
from twin_gateway.grid.model import Measurement, Position, SourceData
from twin_gateway.grid.observability import what_is_missing
from twin_gateway.grid.pgm import export
from twin_gateway.grid.pgm_flow import branch_powers, by_phase, first_line, solve, solved_of
from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.grid.sensors import Amount, Doubt, Sensors, Terminal, Where, complete, node_of, sensors_of
from twin_gateway.grid.wls import Estimator, Outcome

NAME = "power-grid-model, state estimation"


@dataclass(frozen=True, slots=True)
class EstimationSettings:
    """How to estimate.

    Attributes:
        doubt: uncertainties of what is not measured.
        pseudo: take unmeasured loads as expected; without them an island needs as many measurements as unknowns.
        source_voltage: relative standard deviation of a source's set voltage where an island has no measured one; None
            to insist on a measured one.
        threshold: normalised residual from which a value is bad.
        candidates: how many values are left out on trial in one round.
        rounds: how many bad values are looked for.
    """

    doubt: Doubt = field(default_factory=Doubt)
    pseudo: bool = True
    source_voltage: float | None = 0.02
    threshold: float = 4.0
    candidates: int = 6
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class Island:
    """A part that is fed together.

    Attributes:
        node: address of a node of it, of a source.
        nodes: how many connectivity nodes it has.
        observable: its state has been estimated.
        missing: what keeps it from being estimated; empty when nothing does.
        measured: number of measured values that went in.
    """

    node: str
    nodes: int
    observable: bool
    missing: str
    measured: int


@dataclass(frozen=True, slots=True)
class Estimation:
    """Outcome of a state estimation.

    Attributes:
        state: voltages and flows; NaN in islands that are not observable.
        islands: one for each part that is fed.
        bad: values that were found bad and left out, worst first.
        unused: why a point says nothing, by point.
        objective: sum of squared residuals in standard deviations, without the bad values.
        unknown: switches whose position nobody knows.
    """

    state: PowerFlowResult
    islands: tuple[Island, ...]
    bad: tuple[BadValue, ...]
    unused: Mapping[str, str]
    objective: float
    unknown: tuple[str, ...]

    @property
    def observable(self) -> bool:
        """Whether every part that is fed has been estimated, and there is one."""
        return bool(self.islands) and all(island.observable for island in self.islands)


def estimate(
    model: FlowModel,
    measurements: Iterable[Measurement],
    values: Mapping[str, float],
    positions: Mapping[str, Position] | None = None,
    loads: Mapping[str, complex] | None = None,
    *,
    scale: float = 1.0,
    settings: EstimationSettings | None = None,
) -> Estimation:
    """Estimate the state of a grid.

    Args:
        model: of the grid.
        measurements: points and where they measure.
        values: in SI units as published, by point; what is missing or not a number is not measured.
        positions: of switches by address; the normal position where one is not in. Unknown ones count as open.
        loads: expected W + j var of loads and generators by address, as of `FlowModel.solve`; nominal otherwise.
        scale: of the nominal power of loads that are not among them.
        settings: see there.

    Raises:
        GridError: an address of `loads` is not in the grid, or data make no sense.
    """
    how = settings or EstimationSettings()
    arrays = model.arrays
    plain = switching(arrays, positions)
    expected = model.drawn(loads, scale=scale)
    part = _three_phase(arrays, plain)
    sensors, waiting = sensors_of(arrays, plain, measurements, values, how.doubt)
    state = switching(arrays, positions, kept=sensors.kept) if sensors.kept.any() else plain
    if waiting:
        prior = solve(arrays, state, expected) if part is None else None
        powers, volts = _expected(arrays, prior) if prior is not None and prior.feasible else ({}, {})
        complete(arrays, sensors, waiting, (powers, volts), how.doubt)
    if part is not None:
        return _nothing(arrays, state, sensors, part)
    return _estimate(arrays, (state, _uncertain(arrays, plain, positions)), sensors, expected, how)


def _uncertain(arrays: GridArrays, state: Switching, positions: Mapping[str, Position] | None) -> Booleans:
    """Nodes that are fed only if a switch of unknown position is closed."""
    if not state.unknown:
        return np.zeros(len(arrays.node), bool)
    other = switching(arrays, positions, unknown=Position.CLOSED)
    return np.asarray(other.energised[other.joined] & ~state.energised[state.joined])


def _behind_unknown(arrays: GridArrays, state: Switching, uncertain: Booleans) -> list[Island]:
    """What is fed only through switches of unknown position, part by part."""
    islands = []
    for label in np.unique(state.island[state.joined[uncertain]]).tolist():
        inside = state.island[state.joined] == label
        ends = inside[arrays.switch_ends].any(1)
        names = [
            item.address
            for item, touches in zip(arrays.switches, ends, strict=True)
            if touches and item.address in state.unknown
        ]
        first = arrays.node[int(np.nonzero(inside)[0][0])]
        reason = f"fed only through {', '.join(names[:3])}, whose position is not known"
        islands.append(Island(first, int(inside.sum()), False, reason, 0))
    return islands


def _three_phase(arrays: GridArrays, state: Switching) -> str | None:
    """Address of equipment of fewer than three phases that is energised; None when there is none."""
    ends = state.joined[np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])]
    few = np.flatnonzero(~arrays.three_phase & state.energised[ends].any(1))
    return arrays.branches[few[0]].address if len(few) else None


def _expected(arrays: GridArrays, prior: PowerFlowResult) -> tuple[dict[Terminal, complex], dict[Terminal, float]]:
    lines, transformers = len(arrays.lines), len(arrays.transformers)
    powers: dict[Terminal, complex] = {}
    volts: dict[Terminal, float] = {}
    for end, into in enumerate((prior.power_from.sum(1), prior.power_to.sum(1))):
        for row, power in enumerate(into.tolist()):
            if row < lines:
                powers[Where.LINE, row, end] = power
            elif row < lines + transformers:
                powers[Where.TRANSFORMER, row - lines, end] = power
            else:
                powers[Where.SWITCH, row - lines - transformers, end] = power
    level = prior.voltage * prior.nominal
    for row, power in enumerate(prior.drawn.sum(1).tolist()):
        powers[Where.INJECTION, row, 0] = power
        volts[Where.INJECTION, row, 0] = float(level[arrays.injection_node[row]])
    for row, power in enumerate(prior.delivered.sum(1).tolist()):
        powers[Where.SOURCE, row, 0] = -power
        volts[Where.SOURCE, row, 0] = float(level[arrays.source_node[row]])
    return powers, volts


def _estimate(
    arrays: GridArrays,
    where: tuple[Switching, Booleans],
    sensors: Sensors,
    expected: Complexes,
    how: EstimationSettings,
) -> Estimation:
    state, uncertain = where
    measured = _count(arrays, state, sensors)
    _add_pseudo(arrays, state, sensors, expected, how)
    labels = np.unique(state.island[state.energised])
    missing = what_is_missing(arrays, state, sensors, measured, labels)
    good = np.array([label for label in labels.tolist() if not missing[label]], np.intp)
    outcome, failures = _solve_islands(arrays, state, sensors, expected, good)
    missing.update(failures)
    kept_labels = np.array([label for label in good.tolist() if label not in failures], np.intp)
    bad: tuple[BadValue, ...] = ()
    if outcome is not None:
        outcome, bad = leave_out(
            arrays, state, outcome, threshold=how.threshold, candidates=how.candidates, rounds=how.rounds
        )
    islands = _fed_islands(arrays, state, labels, missing, measured)
    islands += _behind_unknown(arrays, state, uncertain)
    result = _result(arrays, state, outcome, kept_labels, uncertain)
    objective = outcome.objective if outcome is not None else float("nan")
    return Estimation(result, tuple(islands), bad, sensors.unused, objective, state.unknown)


def _fed_islands(
    arrays: GridArrays, state: Switching, labels: Indexes, missing: Mapping[int, str], measured: Mapping[int, int]
) -> list[Island]:
    sizes = np.bincount(state.island[state.joined], minlength=len(state.nominal))
    source = {int(state.island[state.joined[node]]): int(node) for node in arrays.source_node[::-1]}
    return [
        Island(
            arrays.node[source[label]], int(sizes[label]), not missing[label], missing[label], measured.get(label, 0)
        )
        for label in labels.tolist()
    ]


def _count(arrays: GridArrays, state: Switching, sensors: Sensors) -> dict[int, int]:
    """Number of measured values of each island."""
    counts: dict[int, int] = {}
    places = [state.joined[node] for node, _ in sensors.voltage]
    places += [node_of(arrays, state, terminal) for terminal, _, _ in (*sensors.power, *sensors.current)]
    for place in places:
        label = int(state.island[place])
        counts[label] = counts.get(label, 0) + 1
    return counts


def _add_pseudo(
    arrays: GridArrays, state: Switching, sensors: Sensors, expected: Complexes, how: EstimationSettings
) -> None:
    doubt = how.doubt
    if how.pseudo:
        known = {terminal for terminal, _, _ in sensors.power}
        totals = expected.sum(1)
        for row, total in enumerate(totals.tolist()):
            terminal = (Where.INJECTION, row, 0)
            if terminal in known or not state.energised[node_of(arrays, state, terminal)]:
                continue
            least = doubt.least_power(float(arrays.nominal[arrays.injection_node[row]]))
            sigma = max(doubt.pseudo * abs(total), 0.01 * least)
            sensors.power.append((terminal, Amount(total.real, sigma), Amount(total.imag, sigma)))
    known = {terminal for terminal, _, _ in sensors.power}
    much = 10 * (1e6 + float(np.abs(expected).sum()))
    sensors.power += [(end, Amount(0.0, much), Amount(0.0, much)) for end in sensors.free if end not in known]
    if how.source_voltage is None:
        return
    measured = {int(state.island[state.joined[node]]) for node, _ in sensors.voltage}
    for row, item in enumerate(arrays.sources):
        node = int(arrays.source_node[row])
        label = int(state.island[state.joined[node]])
        if label not in measured and isinstance(item.data, SourceData):
            volts = item.data.voltage * float(arrays.nominal[node])
            sensors.voltage.append((node, Amount(volts, how.source_voltage * volts)))
            measured.add(label)


def _solve_islands(
    arrays: GridArrays,
    state: Switching,
    sensors: Sensors,
    expected: Complexes,
    labels: Indexes,
) -> tuple[Outcome | None, dict[int, str]]:
    """Estimate islands together; where that fails one by one, to learn which of them cannot be."""
    if not len(labels):
        return None, {}
    try:
        return _solve(arrays, state, sensors, expected, np.isin(state.island, labels)), {}
    except PowerGridError as error:
        if len(labels) == 1:
            return None, {int(labels[0]): first_line(error)}
    failures: dict[int, str] = {}
    for label in labels.tolist():
        try:
            _solve(arrays, state, sensors, expected, state.island == label)
        except PowerGridError as error:
            failures[label] = first_line(error)
    rest = np.array([label for label in labels.tolist() if label not in failures], np.intp)
    if not len(rest):
        return None, failures
    return _solve(arrays, state, sensors, expected, np.isin(state.island, rest)), failures


def _solve(arrays: GridArrays, state: Switching, sensors: Sensors, expected: Complexes, part: Booleans) -> Outcome:
    model = export(arrays, state, expected, kept=state.kept, only=part & state.energised)
    return Estimator(arrays, state, model, sensors, part & state.energised).solve()


def _result(
    arrays: GridArrays, state: Switching, outcome: Outcome | None, labels: Indexes, uncertain: Booleans
) -> PowerFlowResult:
    if outcome is None:
        return no_result(arrays, state, NAME, "no part of the grid is observable")
    model, output = outcome.estimator.model, outcome.output
    solved = solved_of(arrays, state, model, output)
    unknown = state.energised & ~np.isin(state.island, labels)
    unknown[state.joined[uncertain]] = True
    solved.voltage[unknown] = np.nan
    ends = np.concatenate([arrays.line_ends, arrays.transformer_ends])
    dark = unknown[state.joined[ends[:, 0]]]
    solved.first[dark] = solved.second[dark] = np.nan
    solved.injection[unknown[state.joined[arrays.injection_node]]] = np.nan
    solved.source[unknown[state.joined[arrays.source_node]]] = np.nan
    kept = None
    if len(model.switches):
        begin, end = branch_powers(output[ComponentType.line][len(model.lines) :], symmetric=True)
        first = np.zeros((len(arrays.switches), 3), complex)
        second = np.zeros_like(first)
        first[model.switches], second[model.switches] = begin, end
        kept = (state.kept, first, second)
    result = result_of(arrays, state, solved, NAME, model.notes, kept=kept, also=_into_unknown(arrays, outcome))
    for address in state.unknown:
        row = result.branch_number[address]
        for flow in (result.power_from, result.power_to, result.current_from, result.current_to):
            flow[row] = np.nan
        result.loading[row] = np.nan
    return result


def _into_unknown(arrays: GridArrays, outcome: Outcome) -> tuple[Indexes, Complexes]:
    """Nodes at live ends of switches of unknown position, and the VA by phase that leave there."""
    terminals = outcome.estimator.free
    if not terminals:
        # The solver leaves out kinds of components of which there are none: with the feeder off there is no load.
        return np.zeros(0, np.intp), np.zeros((0, 3), complex)
    rows = np.array([row for _, row, _ in terminals], np.intp)
    ends = np.array([end for _, _, end in terminals], np.intp)
    load = outcome.output[ComponentType.sym_load][len(outcome.estimator.model.injections) :]
    return arrays.switch_ends[rows, ends], by_phase(load, "p", "q", symmetric=True)


def _nothing(arrays: GridArrays, state: Switching, sensors: Sensors, part: str) -> Estimation:
    reason = f"{part} has fewer than three phases: only three-phase grids are estimated"
    labels = np.unique(state.island[state.energised])
    islands = _fed_islands(arrays, state, labels, dict.fromkeys(labels.tolist(), reason), {})
    result = no_result(arrays, state, NAME, reason)
    return Estimation(result, tuple(islands), (), sensors.unused, float("nan"), state.unknown)
