"""The technical loss of a feeder rests on reactive power: measured, else of the grid model, else by a power factor."""

import numpy as np
import pytest
from loss_grids import HEAD_METERS, HEADS, P, customer, two_feeders

from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.losses_detect import explain
from twin_gateway.functions.losses_job import LossJob, balance_window, write_grid
from twin_gateway.functions.losses_reactive import Basis
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    Grid,
    LoadData,
    Measurement,
    Meter,
    Quantity,
)

FIRST, COUNT, QUARTER = 1_700_006_400 // 900, 4, 900.0
F1 = f"{P}/PS01/MV1/F01/_/twLOSS1"
LOAD = f"{P}/RMU1/MV1/T01/LD1"
WATTS = f"{P}/RMU1/MV1/T01/_/MMXU1/TotW"
VARS = f"{P}/RMU1/MV1/T01/_/MMXU1/TotVAr"
POWER = 400e3


def feeder(q: float = 0.0, *, meter: bool = False) -> Grid:
    """One line from a metered head to one load of 400 kW: measured by a ring-main unit, or by a meter."""
    grid = two_feeders()
    for address in [name for name in grid.meters if "/SP" in name or "/TS" in name]:
        del grid.meters[address]
    for address in [name for name in grid.equipment if "/SP" in name or "/TS" in name]:
        del grid.equipment[address]
    grid.add([Equipment(LOAD, CimClass.LOAD, (f"{P}/RMU1/MV1/_/CN1",), LoadData(POWER, q))])
    if meter:
        grid.meters[f"{P}/RMU1/MV1/_/M1"] = Meter(f"{P}/RMU1/MV1/_/M1", LOAD)
    else:
        grid.measurements[WATTS] = Measurement(WATTS, Quantity.P, LOAD)
        grid.measurements[VARS] = Measurement(VARS, Quantity.Q, LOAD)
    return grid


@pytest.fixture
def technical(tmp_path):
    """Technical loss of the feeder, Wh by interval, with values that are given, and what `Explain` says of it."""

    def run(grid, values, **settings):
        path = tmp_path / "intervals.sqlite"
        path.unlink(missing_ok=True)
        store = IntervalStore(path)
        head = {f"{HEAD_METERS[0]}/MMTR1/DmdWh": np.arange(COUNT + 1) * POWER / 4 * 1.01}
        for address, column in (head | values).items():
            column = np.asarray(column, float)
            good = np.isfinite(column)
            numbers = FIRST + np.arange(COUNT + 1)[-len(column) :][good]
            ids = np.full(len(numbers), store.ids([address])[0])
            store.write(ids, numbers, column[good], np.zeros(len(numbers), np.uint32))
        store.close()
        write_grid(grid, tmp_path / "grid.pickle")
        start = FIRST * QUARTER
        chosen = LossSettings(**settings)
        job = LossJob(path, tmp_path / "grid.pickle", start, start + COUNT * QUARTER, chosen)
        first = LossJob(path, tmp_path / "grid.pickle", start, start + QUARTER, chosen)
        return balance_window(job).series[F1].technical, explain(first, F1).reactive

    return run


def heat(var: float) -> float:
    """Wh that a quarter of an hour costs on the line of 0.8 ohm, about: 3 I2 R at the nominal voltage."""
    return (POWER**2 + var**2) / 12_660.0**2 * 0.8 / 4


def test_the_measured_reactive_power_counts_in_each_interval_that_has_it(technical):
    var = np.array([300e3, np.nan, 0.0, -300e3])
    found, basis = technical(feeder(), {WATTS: [POWER] * COUNT, VARS: var})
    assert found[0] == pytest.approx(heat(300e3), rel=0.01)
    assert found[2] == pytest.approx(heat(0.0), rel=0.01)
    assert found[1] == pytest.approx(heat(POWER * np.tan(np.arccos(0.95))), rel=0.01)
    assert found[3] < found[0]  # a capacitive load lifts the voltage
    assert basis[Basis.MEASURED] == 1
    assert sum(basis) == 1


def test_without_a_measurement_the_load_of_the_grid_model_says_how_much(technical):
    found, basis = technical(feeder(248e3), {WATTS: [POWER] * COUNT})
    assert found == pytest.approx(np.full(COUNT, heat(248e3)), rel=0.01)
    assert (basis[Basis.MODEL], sum(basis)) == (1, 1)


def test_then_the_ratio_that_is_measured_at_the_infeed_and_only_then_the_assumed_factor(technical):
    plain, basis = technical(feeder(), {WATTS: [POWER] * COUNT}, power_factor=0.9)
    assert plain == pytest.approx(np.full(COUNT, heat(POWER * np.tan(np.arccos(0.9)))), rel=0.01)
    assert (basis[Basis.ASSUMED], sum(basis)) == (1, 1)
    grid, head = feeder(), f"{P}/PS01/MV1/F01/_/MMXU1/TotVAr"
    grid.measurements[head] = Measurement(head, Quantity.Q, HEADS[0])
    found, basis = technical(grid, {WATTS: [POWER] * COUNT, head: [POWER * 1.01 * 0.6] * COUNT})
    assert found == pytest.approx(np.full(COUNT, heat(POWER * 0.6)), rel=0.01)
    assert (basis[Basis.INFEED], sum(basis)) == (1, 1)


def test_registers_of_reactive_energy_count_as_measured_and_a_reset_says_nothing(technical):
    meter = f"{P}/RMU1/MV1/_/M1/MMTR1"
    energy = np.arange(COUNT + 1) * POWER / 4
    reactive = np.array([0.0, 75e3, 150e3, 10e3, 85e3])
    found, basis = technical(feeder(meter=True), {f"{meter}/DmdWh": energy, f"{meter}/DmdVArh": reactive})
    assert found[[0, 1, 3]] == pytest.approx(np.full(3, heat(300e3)), rel=0.01)
    assert found[2] == pytest.approx(heat(POWER * np.tan(np.arccos(0.95))), rel=0.01)
    assert basis[Basis.MEASURED] == 1


def test_the_power_factor_of_an_area_behind_a_boundary_is_that_of_its_customers_in_the_grid_model(technical):
    grid = two_feeders()  # three customers of 2 kW and 600 var
    energy = np.arange(COUNT + 1) * POWER / 4
    values = {f"{P}/TS1/LV1/_/M0/MMTR1/SupWh": energy}
    values |= {f"{customer(1, n)}/MMTR1/DmdWh": energy / 3 for n in (1, 2, 3)}
    found, basis = technical(grid, values)
    assert (basis[Basis.MODEL], sum(basis)) == (1, 1)
    other, _ = technical(grid, values | {f"{P}/TS1/LV1/_/M0/MMXU1/TotVAr": [-0.3 * POWER] * COUNT})
    assert other == pytest.approx(found, rel=1e-6)
