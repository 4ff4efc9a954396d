"""Technical losses against the power flow of the grid model and against formulas worked out by hand."""

import numpy as np
import pytest
from loss_grids import P, customer, european_with_meters, two_feeders
from reference_grids import case33, european_low_voltage, reference, switch

from twin_gateway.grid.model import Feeder, LoadData, Meter, MeterRole, TransformerData
from twin_gateway.twin.losses.regions import RegionKind, regions
from twin_gateway.twin.losses.technical import (
    equivalent_resistance,
    form_factor,
    loss_factor,
    loss_from_average,
    loss_model,
    technical_loss,
    term_power,
    transformer_loss,
)

HOUR = 3600.0


def test_the_33_bus_feeder_loses_what_the_literature_says():
    grid = case33()
    head = switch(1)
    grid.feeders["g/a/PS/MV1/F01"] = Feeder("g/a/PS/MV1/F01", head)
    grid.meters["head"] = Meter("head", head, MeterRole.BOUNDARY)
    for item in grid.equipment.values():
        if isinstance(item.data, LoadData):
            grid.meters[item.address] = Meter(item.address, item.address)
    region = next(r for r in regions(grid, {}).values() if r.kind is RegionKind.FEEDER)
    model = loss_model(grid, region, grid.meters)
    loads = [grid.equipment[term.meter].data for term in model.terms]
    watts = np.array([[load.p for load in loads]])
    result = technical_loss(model, watts, HOUR, reactive=np.array([[load.q for load in loads]]))
    assert result.total[0] == pytest.approx(202_677.0, abs=10.0)
    assert result.lines[0] == pytest.approx([202_677.0 / 3] * 3, rel=1e-3)


def test_the_european_feeder_loses_what_its_three_phase_power_flow_says_minute_by_minute():
    grid, watts = european_with_meters(), european_low_voltage()[1]
    truth = np.load(reference("grids/european_lv_day.npz"))["loss_w"]
    region = next(r for r in regions(grid, {}).values() if r.kind is RegionKind.LV_AREA)
    model = loss_model(grid, region, grid.meters)
    order = [grid.meters[term.meter].equipment for term in model.terms]
    names = [item.address for item in grid.equipment.values() if isinstance(item.data, LoadData)]
    picked = watts[:, [names.index(name) for name in order]]
    result = technical_loss(model, picked, 60.0)
    assert result.total.sum() == pytest.approx(truth.sum() / 60, rel=0.12)
    minutes = result.total * 60
    assert np.corrcoef(minutes, truth)[0, 1] > 0.995
    quarter = technical_loss(model, picked.reshape(96, 15, 55).mean(axis=1), 900.0)
    # Means over a quarter of an hour hide how restless single households are.
    assert quarter.total.sum() < result.total.sum()


def test_one_line_and_one_load_by_hand():
    grid = two_feeders(customers=1)
    region = regions(grid, {})[f"{P}/TS1/LV1/_/_/twLOSS1"]
    model = loss_model(grid, region, grid.meters)
    result = technical_loss(model, np.array([[2000.0]]), HOUR, power_factor=1.0)
    # One phase and a neutral like it: 0.1 ohm; current from 230.94 V less the drop.
    current = 2000.0 / (400 / 3**0.5 - 0.1 * 8.7)
    assert result.total[0] == pytest.approx(0.1 * current**2, rel=1e-2)
    phase = "ABC".index(grid.meters[customer(1, 1)].phases)
    assert result.lines[0].argmax() == phase


def test_a_transformer_inside_a_feeder_loses_its_no_load_and_its_load_part():
    grid = two_feeders()
    region = regions(grid, {})[f"{P}/PS01/MV1/F01/_/twLOSS1"]
    model = loss_model(grid, region, grid.meters)
    result = technical_loss(model, np.array([[200e3]]), HOUR, power_factor=1.0)
    line = 3 * (200e3 / (3**0.5 * 12_660)) ** 2 * 0.8
    assert result.total[0] == pytest.approx(610 + 4600 * 0.25 + line, rel=0.015)  # and what the drop adds
    data = grid.equipment[f"{P}/TS1/MV1/T01/TA1"].data
    assert isinstance(data, TransformerData)
    assert transformer_loss(data, 200e3, HOUR) == pytest.approx(610 + 4600 * 0.25)


def test_power_of_terms_is_what_leaves_the_region():
    grid = two_feeders(customers=1)
    region = regions(grid, {})[f"{P}/PS01/MV1/F01/_/twLOSS1"]
    model = loss_model(grid, region, grid.meters)
    columns = {(f"{P}/TS1/LV1/_/M0", "", True): 0, (f"{P}/TS1/LV1/_/M0", "", False): 1}
    assert term_power(model.terms, columns, np.array([[500.0, 100.0]]), 900.0).tolist() == [[1600.0]]


def test_a_collapsed_voltage_has_no_loss():
    grid = two_feeders(customers=1)
    region = regions(grid, {})[f"{P}/TS1/LV1/_/_/twLOSS1"]
    model = loss_model(grid, region, grid.meters)
    result = technical_loss(model, np.array([[2000.0], [5e6], [1000.0]]), HOUR)
    assert np.isnan(result.total).tolist() == [False, True, False]


def test_form_factor_and_loss_factor():
    assert form_factor([3.0, 3.0]) == 1.0
    assert form_factor([0.0, 2.0]) == pytest.approx(2**0.5)
    assert loss_factor([0.0, 0.5, 1.0]).tolist() == pytest.approx([0.0, 0.325, 1.0])


def test_the_fall_back_from_mean_energy_meets_the_power_flow_of_a_steady_feeder():
    grid = two_feeders()
    region = regions(grid, {})[f"{P}/PS01/MV1/F01/_/twLOSS1"]
    model = loss_model(grid, region, grid.meters)
    watts = np.full((4, 1), 100e3)
    exact = technical_loss(model, watts, HOUR, power_factor=0.95)
    resistance = equivalent_resistance(model, 12_660.0, [1.0])
    energy = np.full(4, 100e3)
    assert loss_from_average(energy, HOUR, resistance=resistance, nominal=12_660.0, kf=1.0) == pytest.approx(
        exact.lines.sum(axis=1), rel=0.02
    )
    uneven = loss_from_average(energy.mean(), HOUR, resistance=resistance, nominal=12_660.0, kf=form_factor([1, 3]))
    assert uneven == pytest.approx(1.25 * exact.lines.sum(axis=1)[0], rel=0.02)


def test_a_meshed_region_has_no_model_of_its_own():
    from twin_gateway.grid.model import Position

    grid = two_feeders()
    tie = f"{P}/RMU2/MV1/C02/QB1"
    grid.meters.pop(f"{P}/PS01/MV1/F02/M0")
    region = regions(grid, {tie: Position.CLOSED}).get(f"{P}/PS01/MV1/F01/_/twLOSS1")
    assert region is None or loss_model(grid, region, grid.meters, {tie: Position.CLOSED}) is None
