"""One weighted least squares problem in power-grid-model: its sensors, its residuals, and itself without one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from power_grid_model import (
    AngleMeasurementType,
    CalculationMethod,
    ComponentType,
    DatasetType,
    LoadGenType,
    MeasuredTerminalType,
    PowerGridModel,
    initialize_array,
)

from twin_gateway.grid.arrays import Booleans, Floats, GridArrays, Switching
from twin_gateway.grid.pgm import FREQUENCY, PgmExport, equipment_id
from twin_gateway.grid.sensors import Amount, Sensors, Terminal, Where, node_of

_POWER, _CURRENT, _VOLTAGE, _FREE = (k << 26 for k in range(6, 10))
_LEFT_OUT = 1e5
"""Factor on the standard deviation of a value that is left out."""
_SETTLE = 4
"""Solutions at most, for the voltages that are left out to settle."""
_TERMINAL = {
    Where.INJECTION: MeasuredTerminalType.load,
    Where.BEYOND: MeasuredTerminalType.load,
    Where.SOURCE: MeasuredTerminalType.source,
}
_BRANCH = (MeasuredTerminalType.branch_from, MeasuredTerminalType.branch_to)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A solution.

    Attributes:
        estimator: whose.
        output: of the engine, by component.
        scaled: residual of each value, in standard deviations.
        estimates: what each value should have been.
        objective: sum of their squares, of values that are not left out.
    """

    estimator: Estimator
    output: dict[Any, npt.NDArray[Any]]
    scaled: Floats
    estimates: Floats
    objective: float


class Estimator:
    """A problem that is solved again and again with one value left out.

    Values are numbered: W and var of each power sensor, A and angle of each current sensor, V of each voltage sensor.

    Args:
        arrays: of the grid.
        state: switching state.
        model: the grid as exported.
        sensors: all of them; those outside of `part` are left.
        part: topological nodes that are in.

    Attributes:
        terminals: of the power sensors.
        amounts: values by number; `values` and `sigma` are theirs, `left` says which are left out.
        free: live ends of switches of unknown position, in the order of the extra loads of the output.

    Raises:
        PowerGridError: the engine refuses them.
    """

    def __init__(
        self, arrays: GridArrays, state: Switching, model: PgmExport, sensors: Sensors, part: Booleans
    ) -> None:
        self.model = model
        self.part = part
        self._lines = {int(identity) for identity in model.data[ComponentType.line]["id"]}
        power = [entry for entry in sensors.power if self._inside(arrays, state, entry[0], part)]
        current = [entry for entry in sensors.current if self._inside(arrays, state, entry[0], part)]
        voltage = [entry for entry in sensors.voltage if part[state.joined[entry[0]]]]
        self.terminals = [terminal for terminal, _, _ in power]
        self.amounts: list[Amount] = []
        for _, p, q in power:
            self.amounts += [p, q]
        for _, size, angle in current:
            self.amounts += [size, angle]
        self.amounts += [amount for _, amount in voltage]
        self._sign = np.array([-1.0 if terminal[0] == Where.SOURCE else 1.0 for terminal, _, _ in power])
        self._counts = (len(power), len(current), len(voltage))
        self.sigma = np.array([amount.sigma for amount in self.amounts], float)
        self.values = np.array([amount.value for amount in self.amounts], float)
        self._now = self.values.copy()
        self.left = np.zeros(len(self.amounts), bool)
        free = [terminal for terminal in sensors.free if part[node_of(arrays, state, terminal)]]
        self.free = free
        self._free = {terminal: _FREE + index for index, terminal in enumerate(free)}
        loads = initialize_array(DatasetType.input, ComponentType.sym_load, len(free))
        loads["id"] = _FREE + np.arange(len(free))
        loads["node"] = [node_of(arrays, state, terminal) for terminal in free]
        loads["status"], loads["type"] = 1, LoadGenType.const_power
        loads["p_specified"] = loads["q_specified"] = 0.0
        data = {
            **model.data,
            ComponentType.sym_load: np.concatenate([model.data[ComponentType.sym_load], loads]),
            ComponentType.sym_power_sensor: self._power(power),
            ComponentType.sym_current_sensor: self._current(current),
            ComponentType.sym_voltage_sensor: self._voltage(state, voltage),
        }
        self._engine = PowerGridModel(data, system_frequency=FREQUENCY)

    def drains(self, arrays: GridArrays, state: Switching) -> list[tuple[Terminal, int]]:
        """Terminals of everything that draws at a node, and the topological node of each."""
        rows: list[Terminal] = [(Where.INJECTION, int(row), 0) for row in self.model.injections]
        return [(terminal, node_of(arrays, state, terminal)) for terminal in (*rows, *self._free)]

    def measured(self, row: int) -> bool:
        """Whether a value was measured and has not been left out."""
        return bool(self.amounts[row].points) and not self.left[row]

    def drop(self, row: int) -> None:
        """Leave a value out from now on."""
        self.left[row] = True
        self._weigh(row)

    def with_again(self, row: int) -> Outcome:
        """Take a value that was left out back, and the solution with it.

        Raises:
            PowerGridError: there is none.
        """
        self.left[row] = False
        self._weigh(row)
        return self.solve()

    def without(self, row: int) -> Outcome:
        """The solution without one more value.

        Raises:
            PowerGridError: there is none.
        """
        self.left[row] = True
        self._weigh(row)
        try:
            return self.solve()
        finally:
            self.left[row] = False
            self._weigh(row)

    def solve(self) -> Outcome:
        """Solve as it stands.

        Raises:
            PowerGridError: it is not observable, or does not converge.
        """
        outcome = self._once()
        # The engine turns powers at a node into currents by its measured voltage, however little that is trusted:
        # for a value that is left out it has to be the estimated one.
        voltages = np.nonzero(self.left)[0]
        voltages = voltages[voltages >= 2 * (self._counts[0] + self._counts[1])]
        for _ in range(_SETTLE if len(voltages) else 0):
            change = np.abs(outcome.estimates[voltages] / self._now[voltages] - 1)
            if change.max() < 1e-7:
                break
            self._now[voltages] = outcome.estimates[voltages]
            for row in voltages.tolist():
                self._weigh(row)
            outcome = self._once()
        return outcome

    def _once(self) -> Outcome:
        output = self._engine.calculate_state_estimation(
            symmetric=True,
            error_tolerance=1e-8,
            max_iterations=100,
            calculation_method=CalculationMethod.iterative_linear,
        )
        residual = np.zeros(len(self.amounts))
        powers, currents, _ = self._counts
        if powers:
            sensor = output[ComponentType.sym_power_sensor]
            residual[: 2 * powers : 2] = self._sign * sensor["p_residual"]
            residual[1 : 2 * powers : 2] = self._sign * sensor["q_residual"]
        end = 2 * (powers + currents)
        if currents:
            sensor = output[ComponentType.sym_current_sensor]
            residual[2 * powers : end : 2] = sensor["i_residual"]
            residual[2 * powers + 1 : end : 2] = sensor["i_angle_residual"]
        residual[end:] = output[ComponentType.sym_voltage_sensor]["u_residual"]
        scaled = np.where(self.left, 0.0, residual / self.sigma)
        return Outcome(self, output, scaled, self._now - residual, float(scaled @ scaled))

    def _inside(self, arrays: GridArrays, state: Switching, terminal: Terminal, part: Booleans) -> bool:
        if terminal[0] in (Where.LINE, Where.SWITCH):
            return equipment_id(terminal[0], terminal[1]) in self._lines
        return bool(part[node_of(arrays, state, terminal)])

    def _power(self, entries: list[tuple[Terminal, Amount, Amount]]) -> npt.NDArray[Any]:
        sensor = initialize_array(DatasetType.input, ComponentType.sym_power_sensor, len(entries))
        sensor["id"] = _POWER + np.arange(len(entries))
        self._place(sensor, [terminal for terminal, _, _ in entries])
        sensor["p_measured"] = self._sign * np.array([p.value for _, p, _ in entries])
        sensor["q_measured"] = self._sign * np.array([q.value for _, _, q in entries])
        sensor["p_sigma"] = [p.sigma for _, p, _ in entries]
        sensor["q_sigma"] = [q.sigma for _, _, q in entries]
        return sensor

    def _current(self, entries: list[tuple[Terminal, Amount, Amount]]) -> npt.NDArray[Any]:
        sensor = initialize_array(DatasetType.input, ComponentType.sym_current_sensor, len(entries))
        sensor["id"] = _CURRENT + np.arange(len(entries))
        self._place(sensor, [terminal for terminal, _, _ in entries])
        # Against the voltage at the same place, in the sense of the power's angle.
        sensor["angle_measurement_type"] = AngleMeasurementType.local_angle
        sensor["i_measured"] = [size.value for _, size, _ in entries]
        sensor["i_sigma"] = [size.sigma for _, size, _ in entries]
        sensor["i_angle_measured"] = [angle.value for _, _, angle in entries]
        sensor["i_angle_sigma"] = [angle.sigma for _, _, angle in entries]
        return sensor

    def _place(self, sensor: npt.NDArray[Any], terminals: list[Terminal]) -> None:
        sensor["measured_object"] = [
            self._free[terminal] if terminal[0] == Where.BEYOND else equipment_id(terminal[0], terminal[1])
            for terminal in terminals
        ]
        sensor["measured_terminal_type"] = [_TERMINAL.get(where, _BRANCH[end]) for where, _, end in terminals]

    @staticmethod
    def _voltage(state: Switching, entries: list[tuple[int, Amount]]) -> npt.NDArray[Any]:
        sensor = initialize_array(DatasetType.input, ComponentType.sym_voltage_sensor, len(entries))
        sensor["id"] = _VOLTAGE + np.arange(len(entries))
        sensor["measured_object"] = [state.joined[node] for node, _ in entries]
        sensor["u_measured"] = [amount.value for _, amount in entries]
        sensor["u_sigma"] = [amount.sigma for _, amount in entries]
        return sensor

    def _weigh(self, row: int) -> None:
        """Tell the engine a value and its standard deviation as they now count."""
        if not self.left[row]:
            self._now[row] = self.values[row]
        powers, currents, _ = self._counts
        sigma = self.sigma * np.where(self.left, _LEFT_OUT, 1.0)
        if row < 2 * powers:
            number = row // 2
            update = initialize_array(DatasetType.update, ComponentType.sym_power_sensor, 1)
            update["id"], kind = _POWER + number, ComponentType.sym_power_sensor
            update["p_sigma"], update["q_sigma"] = sigma[2 * number], sigma[2 * number + 1]
        elif row < 2 * (powers + currents):
            number = (row - 2 * powers) // 2
            update = initialize_array(DatasetType.update, ComponentType.sym_current_sensor, 1)
            update["id"], kind = _CURRENT + number, ComponentType.sym_current_sensor
            place = 2 * powers + 2 * number
            update["i_sigma"], update["i_angle_sigma"] = sigma[place], sigma[place + 1]
        else:
            update = initialize_array(DatasetType.update, ComponentType.sym_voltage_sensor, 1)
            update["id"], kind = _VOLTAGE + row - 2 * (powers + currents), ComponentType.sym_voltage_sensor
            update["u_sigma"], update["u_measured"] = sigma[row], self._now[row]
        self._engine.update(update_data={kind: update})
