"""Measured values as sensors of a state estimation: where in the switching state they measure, and how surely.

Rules:

* Values by phase become one: powers of all three phases are added (of fewer nothing follows), currents and voltages of
  those that are there are averaged. Voltages from phase to neutral become line to line.
* A switch of unknown position takes from its live ends what it takes: nobody knows how much, unless it is measured.
* What a closed switch carries is what the one line, transformer, load or source beyond it takes; where more hang there,
  the switch itself becomes a branch.
* Active power alone gets its reactive power from the power flow of the expected loads, with the uncertainty of those.
* A current beside powers says nothing more and is left. Alone it gets its angle from that power flow, with the
  uncertainty of `Doubt.angle`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from twin_gateway.grid.arrays import Booleans, GridArrays, Indexes, Switching
from twin_gateway.grid.model import Measurement, Quantity


class Where(StrEnum):
    """What a sensor is at."""

    LINE = "line"
    TRANSFORMER = "transformer"
    SWITCH = "switch"
    INJECTION = "injection"
    SOURCE = "source"
    BEYOND = "beyond"  # what an unknown switch carries away


Terminal = tuple[Where, int, int]
"""Kind, number among those of its kind in `GridArrays`, and end (0 or 1)."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A value, its standard deviation, and the points that it comes from (none for a pseudo-measurement)."""

    value: float
    sigma: float
    points: tuple[str, ...] = ()


@dataclass(slots=True)
class Sensors:
    """Sensors of a switching state.

    Attributes:
        power: terminal, W and var into its equipment.
        current: terminal, A, and the angle of the power there (radians).
        voltage: node number, V line to line.
        kept: switches that must stay branches.
        free: live ends of switches of unknown position: whatever flows there is drawn from the node.
        unused: why a point says nothing, by point.
    """

    power: list[tuple[Terminal, Amount, Amount]] = field(default_factory=list)
    current: list[tuple[Terminal, Amount, Amount]] = field(default_factory=list)
    voltage: list[tuple[int, Amount]] = field(default_factory=list)
    kept: Booleans = field(default_factory=lambda: np.zeros(0, bool))
    free: list[Terminal] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Site:
    """What is measured at one terminal of one equipment: by quantity and phase."""

    equipment: str
    terminal: int
    found: dict[Quantity, dict[str, tuple[float, Measurement]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doubt:
    """How unsure what is not measured is.

    Attributes:
        pseudo: relative standard deviation of expected loads.
        angle: radians; of a current whose angle comes from expected loads. The engine weighs a current as one complex
            value with the mean of both deviations, so that an honest large one here would waste the measured size.
        least_current: A; accuracies of currents and powers count from at least this much.
    """

    pseudo: float = 0.3
    angle: float = 0.02
    least_current: float = 2.0

    def least_power(self, nominal: float) -> float:
        """VA from which accuracies count at a nominal voltage (V)."""
        return math.sqrt(3) * nominal * self.least_current


def node_of(arrays: GridArrays, state: Switching, terminal: Terminal) -> int:
    """Topological node of a terminal."""
    where, row, end = terminal
    if where == Where.INJECTION:
        return int(state.joined[arrays.injection_node[row]])
    if where == Where.SOURCE:
        return int(state.joined[arrays.source_node[row]])
    return int(state.joined[_ends_of(arrays, where)[row, end]])


def sensors_of(
    arrays: GridArrays,
    state: Switching,
    measurements: Iterable[Measurement],
    values: Mapping[str, float],
    doubt: Doubt,
) -> tuple[Sensors, list[tuple[Terminal, Amount | None, Amount | None, Amount | None]]]:
    """Place measured values in a switching state.

    Args:
        arrays: of the grid.
        state: without kept switches.
        measurements: points and their places.
        values: in SI units as published, by point; what is missing or not a number is not measured.
        doubt: floors of uncertainties.

    Returns:
        Sensors with all voltages and full powers, and what still wants an angle: terminals with P, Q or I alone.
    """
    finder = _Finder(arrays, state)
    sensors = Sensors(kept=np.zeros(len(arrays.switches), bool), free=finder.free())
    waiting: list[tuple[Terminal, Amount | None, Amount | None, Amount | None]] = []
    for site in _sites(measurements, values):
        node = finder.node(site.equipment, site.terminal)
        least = doubt.least_power(float(arrays.nominal[node]) if node >= 0 else 0.0)
        amounts = {q: _amount(q, by_phase, least, doubt.least_current) for q, by_phase in site.found.items()}
        for quantity, amount in amounts.items():
            if amount is None:
                points = [measured.point for _, measured in site.found[quantity].values()]
                sensors.unused.update((point, "one phase of a power says nothing of the sum") for point in points)
        _place_voltage(sensors, finder, site, amounts)
        flows = {q: a for q, a in amounts.items() if a is not None and q in (Quantity.P, Quantity.Q, Quantity.I)}
        if not flows:
            continue
        terminal, sign, why = finder.flow(site.equipment, site.terminal)
        if terminal is None:
            sensors.unused.update((point, why) for amount in flows.values() for point in amount.points)
            continue
        p, q = (_signed(flows.get(quantity), sign) for quantity in (Quantity.P, Quantity.Q))
        if terminal[0] == Where.SWITCH:
            sensors.kept[terminal[1]] = True
        if p is not None and q is not None:
            sensors.power.append((terminal, *_floored(p, q, least)))
        else:
            waiting.append((terminal, p, q, flows.get(Quantity.I)))
    return sensors, waiting


def _sites(measurements: Iterable[Measurement], values: Mapping[str, float]) -> list[_Site]:
    sites: dict[tuple[str, int], _Site] = {}
    for measured in measurements:
        value = values.get(measured.point, np.nan)
        if not math.isfinite(value):
            continue
        key = (measured.equipment, measured.terminal)
        site = sites.get(key)
        if site is None:
            site = sites[key] = _Site(*key)
        site.found.setdefault(measured.quantity, {})[measured.phase] = (value * measured.direction, measured)
    return list(sites.values())


def _amount(
    quantity: Quantity, by_phase: dict[str, tuple[float, Measurement]], least_power: float, least_current: float
) -> Amount | None:
    whole = by_phase.get("")
    used = [whole] if whole is not None else list(by_phase.values())
    numbers = [value for value, _ in used]
    accuracy = sum(measured.accuracy for _, measured in used) / len(used)
    points = tuple(measured.point for _, measured in used)
    if quantity in (Quantity.P, Quantity.Q):
        if whole is None and len(used) < 3:
            return None
        value = sum(numbers)
        return Amount(value, accuracy * max(abs(value), least_power), points)
    value = sum(abs(number) for number in numbers) / len(numbers)
    if quantity == Quantity.I:
        return Amount(value, accuracy * max(value, least_current), points)
    value *= math.sqrt(3) if quantity == Quantity.V else 1.0
    return Amount(value, accuracy * value, points)


def _place_voltage(sensors: Sensors, finder: _Finder, site: _Site, amounts: Mapping[Quantity, Amount | None]) -> None:
    for quantity in (Quantity.U, Quantity.V):
        amount = amounts.get(quantity)
        if amount is None:
            continue
        node = finder.node(site.equipment, site.terminal)
        why = "its place is not in the grid model" if node < 0 else ""
        if node >= 0 and not finder.state.energised[finder.state.joined[node]]:
            why = "nothing is energised there by the positions of switches"
        if amount.value <= 0 and not why:
            why = "no voltage is measured where the positions of switches say that there is one"
        if why:
            sensors.unused.update((point, why) for point in amount.points)
        else:
            sensors.voltage.append((node, amount))


def _signed(amount: Amount | None, sign: int) -> Amount | None:
    return None if amount is None else Amount(sign * amount.value, amount.sigma, amount.points)


def _floored(p: Amount, q: Amount, least: float) -> tuple[Amount, Amount]:
    """Accuracies count from the apparent power: a meter's error in Q is one of its angle, too."""
    size = max(math.hypot(p.value, q.value), least)
    # An amount's deviation is its accuracy times its own size, so that the accuracy is found again.
    parts = [amount.sigma / max(abs(amount.value), least) * size for amount in (p, q)]
    return Amount(p.value, parts[0], p.points), Amount(q.value, parts[1], q.points)


def complete(
    arrays: GridArrays,
    sensors: Sensors,
    waiting: list[tuple[Terminal, Amount | None, Amount | None, Amount | None]],
    expected: tuple[Mapping[Terminal, complex], Mapping[Terminal, float]],
    doubt: Doubt,
) -> None:
    """Give P, Q and I that stand alone what the expected power flow says of them, and add them to the sensors.

    Args:
        arrays: of the grid.
        sensors: to add to.
        waiting: as of `sensors_of`.
        expected: VA into the terminals by the power flow of expected loads, and V line to line there; a value whose
            terminal is not among them is left out.
        doubt: of what is expected.
    """
    powers, voltages = expected
    powered = {terminal for terminal, _, _ in sensors.power}
    for terminal, p, q, current in waiting:
        power = powers.get(terminal)
        least = 0.01 * doubt.least_power(_nominal(arrays, terminal))
        amounts = [amount for amount in (p, q, current) if amount is not None]
        if power is None or not np.isfinite(power):
            for amount in amounts:
                sensors.unused.update((point, "the expected power flow has no solution") for point in amount.points)
            continue
        if p is not None or q is not None:
            have = p if p is not None else q
            known = have.value if have is not None else 0.0
            main, other = (power.real, power.imag) if p is not None else (power.imag, power.real)
            guess = other * known / main if main else other
            missing = Amount(guess, max(doubt.pseudo * abs(guess), least))
            full = (p, missing) if p is not None else (missing, q)
            if full[0] is not None and full[1] is not None:
                sensors.power.append((terminal, full[0], full[1]))
                powered.add(terminal)
        elif current is not None and terminal not in powered:
            _place_current(sensors, terminal, current, (power, voltages.get(terminal, np.nan), least), doubt.angle)


def _place_current(
    sensors: Sensors, terminal: Terminal, current: Amount, expected: tuple[complex, float, float], spread: float
) -> None:
    power, voltage, least = expected
    angle = float(np.angle(power)) if power else 0.0
    if terminal[0] in (Where.LINE, Where.TRANSFORMER, Where.SWITCH):
        sensors.current.append((terminal, current, Amount(angle, spread)))
        return
    size, sigma = (np.sqrt(3) * voltage * amps for amps in (current.value, current.sigma))
    cosine, sine = np.cos(angle), np.sin(angle)
    p_sigma = max(float(np.hypot(sigma * cosine, size * sine * spread)), least)
    q_sigma = max(float(np.hypot(sigma * sine, size * cosine * spread)), least)
    p = Amount(float(size * cosine), p_sigma, current.points)
    sensors.power.append((terminal, p, Amount(float(size * sine), q_sigma)))


def _nominal(arrays: GridArrays, terminal: Terminal) -> float:
    where, row, end = terminal
    if where == Where.INJECTION:
        return float(arrays.nominal[arrays.injection_node[row]])
    if where == Where.SOURCE:
        return float(arrays.nominal[arrays.source_node[row]])
    return float(arrays.nominal[_ends_of(arrays, where)[row, end]])


def _ends_of(arrays: GridArrays, where: Where) -> Indexes:
    """Node numbers of lines, transformers or switches, shape (…, 2)."""
    if where == Where.LINE:
        return arrays.line_ends
    return arrays.transformer_ends if where == Where.TRANSFORMER else arrays.switch_ends


class _Finder:
    """Finds the terminal whose power is the same as the one at a terminal of some equipment."""

    def __init__(self, arrays: GridArrays, state: Switching) -> None:
        self.arrays = arrays
        self.state = state
        self._places: dict[str, tuple[Where, int]] = {}
        self._at: dict[int, list[Terminal]] = {}
        groups = (
            (Where.LINE, arrays.lines, arrays.line_ends),
            (Where.TRANSFORMER, arrays.transformers, arrays.transformer_ends),
            (Where.SWITCH, arrays.switches, arrays.switch_ends),
            (Where.INJECTION, arrays.injections, arrays.injection_node[:, None]),
            (Where.SOURCE, arrays.sources, arrays.source_node[:, None]),
        )
        for where, items, ends in groups:
            for row, (item, nodes) in enumerate(zip(items, ends.tolist(), strict=True)):
                self._places[item.address] = (where, row)
                if where != Where.SWITCH:
                    for end, node in enumerate(nodes):
                        self._at.setdefault(node, []).append((where, row, end))
        self._unknown = frozenset(state.unknown)
        self._beside: dict[int, list[tuple[int, int]]] = {}
        for row in np.nonzero(state.closed)[0].tolist():
            first, second = arrays.switch_ends[row].tolist()
            self._beside.setdefault(first, []).append((second, row))
            self._beside.setdefault(second, []).append((first, row))

    def free(self) -> list[Terminal]:
        """Live ends of switches whose position nobody knows."""
        result: list[Terminal] = []
        for address in self.state.unknown:
            row = self._places[address][1]
            for end, node in enumerate(self.arrays.switch_ends[row].tolist()):
                if self.state.energised[self.state.joined[node]]:
                    result.append((Where.BEYOND, row, end))
        return result

    def node(self, equipment: str, terminal: int) -> int:
        """Number of the node at a terminal; -1 when there is none."""
        place = self._places.get(equipment)
        if place is None:
            return -1
        where, row = place
        arrays, end = self.arrays, min(terminal, 2) - 1
        if where == Where.INJECTION:
            return int(arrays.injection_node[row])
        if where == Where.SOURCE:
            return int(arrays.source_node[row])
        return int(_ends_of(arrays, where)[row, end])

    def flow(self, equipment: str, terminal: int) -> tuple[Terminal | None, int, str]:
        """Terminal to measure at, the sign that a value gets, and why there is none."""
        place = self._places.get(equipment)
        if place is None:
            return None, 1, "its place is not in the grid model"
        where, row = place
        if where == Where.TRANSFORMER and terminal > 2:
            return None, 1, "third windings are not modelled"
        if not self.state.energised[self.state.joined[self.node(equipment, terminal)]]:
            return None, 1, "nothing is energised there by the positions of switches"
        if where == Where.LINE and not self.state.line[row]:
            return None, 1, "the line is bridged or has no impedance"
        if where == Where.TRANSFORMER and not self.state.transformer[row]:
            return None, 1, "the transformer is bridged"
        if where != Where.SWITCH:
            return (where, row, terminal - 1), 1, ""
        if equipment in self._unknown:
            return (Where.BEYOND, row, terminal - 1), 1, ""
        if not self.state.closed[row]:
            return None, 1, "its switch is open"
        return self._beyond(row, terminal)

    def _beyond(self, row: int, terminal: int) -> tuple[Terminal | None, int, str]:
        first, second = self.arrays.switch_ends[row].tolist()
        # Into the switch at terminal 1 flows what the second end's side takes.
        for start, back, sign in ((second, first, 1), (first, second, -1)):
            seen, stack = {start}, [start]
            while stack:
                for node, switch in self._beside.get(stack.pop(), ()):
                    if switch != row and node not in seen:
                        seen.add(node)
                        stack.append(node)
            if back in seen:
                return None, 1, "its switch is part of a loop of switches"
            beyond = [place for node in seen for place in self._at.get(node, ()) if self._counts(place)]
            if not beyond:
                return None, 1, "nothing is connected beyond its switch"
            if len(beyond) == 1:
                return beyond[0], sign if terminal == 1 else -sign, ""
        return (Where.SWITCH, row, terminal - 1), 1, ""

    def _counts(self, place: Terminal) -> bool:
        where, row, _ = place
        if where == Where.LINE:
            return bool(self.state.line[row])
        return bool(self.state.transformer[row]) if where == Where.TRANSFORMER else True
