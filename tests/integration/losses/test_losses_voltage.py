"""The technical loss rests on the voltage that was measured at the infeed."""

import numpy as np
import pytest
from loss_grids import HEAD_METERS, HEADS, P, customer, two_feeders

from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.losses_job import LossJob, balance_window, write_grid
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.grid.model import Measurement, Quantity

FIRST, COUNT = 1_700_006_400 // 900, 4
A1, F1 = f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/PS01/MV1/F01/_/twLOSS1"
PHASE_V, LINE_V = 400 / np.sqrt(3), 12_660.0


@pytest.fixture
def technical(tmp_path):
    """Technical losses of the low-voltage area and the feeder, by interval, with voltages that are given."""
    grid = two_feeders()
    grid.measurements["u"] = Measurement(f"{P}/PS01/MV1/E01/_/MMXU1/PPV/phsAB", Quantity.U, HEADS[1], 1)
    write_grid(grid, tmp_path / "grid.pickle")

    def run(volts):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        store = IntervalStore(path)

        def put(address, values, first=0):
            good = np.isfinite(values)
            numbers = FIRST + first + np.nonzero(good)[0]
            ids = np.full(len(numbers), store.ids([address])[0])
            store.write(ids, numbers, np.asarray(values)[good], np.zeros(len(numbers), np.uint32))

        for number in (1, 2, 3):
            put(f"{customer(1, number)}/MMTR1/DmdWh", np.arange(COUNT + 1) * 2500.0)
        put(f"{P}/TS1/LV1/_/M0/MMTR1/SupWh", np.arange(COUNT + 1) * 8000.0)
        put(f"{HEAD_METERS[0]}/MMTR1/DmdWh", np.arange(COUNT + 1) * 8200.0)
        for address, values in volts.items():
            put(address, np.asarray(values, float), 1)
        store.close()
        job = LossJob(path, tmp_path / "grid.pickle", FIRST * 900.0, (FIRST + COUNT) * 900.0, LossSettings())
        series = balance_window(job).series
        return series[A1].technical, series[F1].technical

    return run


def test_the_loss_of_a_low_voltage_area_follows_the_voltage_of_its_boundary_meter(technical):
    plain, _ = technical({})
    names = [f"{P}/TS1/LV1/_/M0/MMXU1/PhV/phs{phase}" for phase in "ABC"]
    low = [0.95, 1.0, np.nan, 0.95]
    found, _ = technical({name: np.array(low) * PHASE_V for name in names})
    assert found[1] == pytest.approx(plain[1])
    assert found[0] / plain[0] == pytest.approx(1 / 0.95**2, rel=0.03)
    assert plain[2] < found[2] < found[0]  # nothing measured: as usual in this window


def test_the_loss_of_a_feeder_follows_measurements_of_its_busbar_also_at_another_bay(technical):
    _, plain = technical({})
    _, found = technical({f"{P}/PS01/MV1/E01/_/MMXU1/PPV/phsAB": np.full(COUNT, 0.9 * LINE_V)})
    lines = plain - 610 / 4  # the no-load loss of the transformer inside stays
    assert (found - 610 / 4) / lines == pytest.approx(np.full(COUNT, 1 / 0.9**2), rel=0.03)


def test_voltages_that_cannot_be_are_left_out(technical):
    plain, _ = technical({})
    found, _ = technical({f"{P}/TS1/LV1/_/M0/MMXU1/PhV/phsA": [0.0, 57.7, 231_000.0, 0.0]})
    assert found.tolist() == plain.tolist()
