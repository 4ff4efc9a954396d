"""Methods that find abnormal losses, and what they must not accuse."""

import numpy as np
import pytest
from loss_grids import european_days, european_with_meters

from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.twin.losses.detection import (
    Method,
    Suspicion,
    cusum,
    membership_test,
    meter_events,
    negative_loss,
    neutral_current,
    neutral_difference,
    ntl_test,
    phase_balance,
    rate_band,
    regression,
    regression_suspicions,
    voltage_consistency,
    zero_energy,
)
from twin_gateway.twin.losses.regions import RegionKind, regions
from twin_gateway.twin.losses.technical import loss_model, technical_loss

DAYS = 7
SPAN = DAYS * 86_400.0


class Street:
    """Seven days of the European feeder: quarter-hour energies, true line loss, loss model, addresses of the meters."""

    def __init__(self):
        grid = european_with_meters()
        region = next(r for r in regions(grid, {}).values() if r.kind is RegionKind.LV_AREA)
        self.region = region.key
        self.model = loss_model(grid, region, grid.meters)
        self.meters = [term.meter for term in self.model.terms]
        watts = european_days(DAYS, 5)
        flow = FlowModel(grid)
        names = [item.address for item in flow.arrays.injections]
        drawn = np.zeros((len(watts), len(names), 3), complex)
        for at, meter in enumerate(self.meters):
            load = grid.meters[meter].equipment
            phase = "ABC".index(grid.equipment[load].phases)
            drawn[:, names.index(load), phase] = watts[:, at] * (1 + 1j * np.tan(np.arccos(0.95)))
        solved = flow.solve_many(drawn)
        assert solved.converged.all()
        lost = solved.branch_loss[:, : len(flow.arrays.lines)].sum(axis=1)
        self.energy = watts.reshape(-1, 3, 55).mean(axis=1) / 4
        self.loss = lost.reshape(-1, 3).mean(axis=1) / 4

    def search(self, recorded, rng, extra=0.0):
        """Suspicions from what the meters recorded, each with its class 1 error, the transformer's with class 0.5."""
        recorded = recorded * (1 + rng.uniform(-0.01, 0.01, 55))
        supplied = (self.energy.sum(axis=1) + self.loss + extra) * (1 + rng.uniform(-0.005, 0.005))
        technical = technical_loss(self.model, recorded * 4, 900.0, form=1.07, voltage=1.045)
        residual = supplied - recorded.sum(axis=1) - technical.total
        found = regression(residual, recorded)
        return regression_suspicions(found, self.meters, recorded, region=self.region, start=0.0, end=SPAN)


@pytest.fixture(scope="module")
def street():
    return Street()


@pytest.mark.parametrize("thief", [4, 31])
def test_a_bypass_of_30_percent_is_found_in_seven_days(street, thief):
    recorded = street.energy.copy()
    recorded[:, thief] *= 0.7
    found = street.search(recorded, np.random.default_rng(thief))
    assert [item.address for item in found] == [street.meters[thief]]
    assert dict(found[0].evidence)["factor"] == pytest.approx(1 / 0.7 - 1, abs=0.1)
    assert found[0].kwh_per_day == pytest.approx(0.3 * street.energy[:, thief].sum() / 7000, rel=0.3)


def test_nobody_is_accused_when_nothing_is_stolen(street):
    assert street.search(street.energy, np.random.default_rng(5)) == []


def test_a_constant_hook_before_the_meter_is_not_blamed_on_anybody(street):
    assert street.search(street.energy, np.random.default_rng(6), extra=50.0) == []


def test_a_regression_needs_three_samples_a_meter():
    rng = np.random.default_rng(1)
    energy = rng.random((89, 30))
    assert not regression(energy.sum(axis=1), energy).enough
    energy = rng.random((90, 30))
    assert regression(energy @ np.full(30, 0.5), energy).enough


def test_the_factors_of_a_regression_are_never_negative():
    rng = np.random.default_rng(2)
    energy = rng.gamma(1.0, 100.0, (300, 5))
    found = regression(energy @ np.array([0.4, -0.4, 0, 0, 0.2]), energy)
    assert (found.factor >= 0).all()
    assert not found.suspected[1]


def test_a_rate_is_out_of_band_in_three_of_four_hours():
    rates = np.array([3.0, 9.0, 9.0, 3.0, 9.0, np.nan, np.nan, np.nan])
    assert rate_band(rates, 0.0, 7.0).tolist() == [False, False, False, False, True, False, False, False]


def test_a_negative_loss_beyond_the_uncertainty_is_an_error_of_data():
    assert negative_loss(np.array([-10.0, -40.0, 5.0]), np.full(3, 10.0)).tolist() == [False, True, False]


def test_non_technical_loss_needs_three_days_in_a_row():
    loss = np.array([50.0, 50.0, 10.0, 50.0, 50.0, 50.0, np.nan])
    assert ntl_test(loss, np.full(7, 10.0)).tolist() == [False, False, False, False, False, True, False]


def test_cusum_finds_a_slow_drift_and_lets_noise_pass():
    rng = np.random.default_rng(3)
    still = rng.normal(3.0, 0.2, 60)
    upper, lower = cusum(still, target=3.0, sigma=0.2)
    assert max(upper.max(), lower.max()) < 5
    drifting = still + np.linspace(0, 1.0, 60)
    upper, _ = cusum(drifting, target=3.0, sigma=0.2)
    assert upper[-1] > 5
    assert upper[:15].max() < 5


def test_a_meter_of_the_wrong_area_is_recognised():
    rng = np.random.default_rng(4)
    energy = rng.gamma(1.0, 100.0, (672, 8))
    here = rng.normal(20, 10, 672) - energy[:, 3]  # counted here, supplied there
    there = rng.normal(20, 10, 672) + energy[:, 3]
    scores = membership_test(here, there, energy)
    assert scores.argmax() == 3
    assert scores[3] > 0.9
    assert np.delete(scores, 3).max() < 0.1


def test_the_voltage_that_records_do_not_explain_points_to_the_place():
    rng = np.random.default_rng(7)
    own = np.cumsum(np.full(6, 2e-4))
    path = np.minimum.outer(own, own)  # meters along one line
    hidden = 1000.0 * (rng.random(672) < 0.3)
    residual = np.outer(hidden, path[:, 4]) + rng.normal(0, 0.02, (672, 6))
    scores = voltage_consistency(residual, hidden + rng.normal(0, 20, 672), path)
    assert scores.argmax() >= 4
    assert voltage_consistency(np.zeros((10, 6)), np.full(10, 500.0), path).max() == 0.0


def test_phases_that_do_not_add_up_are_told():
    supplied, metered = np.array([100.0, 110.0, 90.0]), np.array([100.5, 90.0, 110.0])
    assert phase_balance(supplied, metered, np.full(3, 2.0)).tolist() == [False, True, True]


def test_the_neutral_current_follows_from_the_phases():
    assert neutral_current(np.array([[10.0, 10.0, 10.0], [10.0, 0.0, 0.0]])).tolist() == pytest.approx([0.0, 10.0])
    currents = np.array([[10.0, 10.0, 10.0], [30.0, 10.0, 10.0]])
    assert neutral_difference(currents, np.array([1.0, 10.0])).tolist() == [False, True]


def test_a_meter_that_records_nothing_with_voltage_present_is_dead():
    energy = np.zeros((96, 4))
    energy[50, 1] = 5.0
    energised = np.ones((96, 4), bool)
    energised[3, 2] = False
    usual = np.array([100.0, 100.0, 100.0, 0.0])
    assert zero_energy(energy, energised, usual, 900.0).tolist() == [True, False, False, False]


def test_tamper_codes_are_suspicions_and_other_codes_are_none():
    found = meter_events([(10.0, "g/a/SP1/LV1/_/M1", 44), (11.0, "g/a/SP1/LV1/_/M1", 2)], "r")
    assert [(item.method, item.address) for item in found] == [(Method.METER_EVENT, "g/a/SP1/LV1/_/M1")]


def test_a_suspicion_speaks_of_addresses_and_numbers_only():
    item = Suspicion(Method.REGRESSION, "g/a/SP1/LV1/_/M1", "g/a/TS1/LV1/_/_/twLOSS1", 0.8, 0.0, 1.0, 2.5)
    assert item.text() == "regression suspicion at g/a/SP1/LV1/_/M1: score 0.80, 2.5 kWh/day"
