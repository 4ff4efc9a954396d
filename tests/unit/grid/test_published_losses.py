"""Losses and voltages that the literature gives for the 33- and 69-bus feeders, to 0.01 kW."""

from __future__ import annotations

import numpy as np
import pytest
from reference_grids import case33, case69, line, load, node, opened, switch

from twin_gateway.grid.model import Position
from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.grid.sweep import radial_flow

BASE_33, BASE_69 = (33, 34, 35, 36, 37), (101, 102, 103, 104, 105)
PUBLISHED_33 = [
    (BASE_33, 202.677, 0.91309, 18),
    ((7, 9, 14, 32, 37), 139.551, 0.93782, 32),
    ((7, 9, 14, 28, 32), 139.978, 0.94129, None),
    ((7, 10, 14, 32, 37), 140.279, None, None),
    ((11, 28, 31, 33, 34), 146.832, None, None),
    ((7, 9, 14, 36, 37), 142.165, None, None),
]
# 14-15 is line 14, 57-58 line 57, 61-62 line 61 of the base feeder; 101 and 102 are the ties 11-43 and 13-21.
PUBLISHED_69 = [
    (BASE_69, 224.992, 0.90919, 65),
    ((14, 57, 61, 101, 102), 98.605, 0.94947, 61),
    ((14, 55, 61, 101, 102), 98.605, 0.94947, 61),
    ((14, 56, 61, 101, 102), 98.605, 0.94947, 61),
    ((14, 58, 61, 101, 102), 98.605, 0.94947, 61),
]


@pytest.fixture(scope="module")
def feeder33():
    return FlowModel(case33())


@pytest.fixture(scope="module")
def feeder69():
    return FlowModel(case69())


def positions(model, open_lines):
    every = {item.address: Position.CLOSED for item in model.arrays.switches}
    return every | opened(*open_lines)


def swept(model, open_lines):
    """The same by the sweep on arrays: (result, addresses of nodes)."""
    state = model.state(positions(model, open_lines))
    arrays = model.arrays
    ends = state.joined[arrays.line_ends]
    load = np.zeros(len(state.nominal), complex)
    np.add.at(load, state.joined[arrays.injection_node], arrays.drawn.sum(1))
    result = radial_flow(
        ends[:, 0],
        ends[:, 1],
        r=[item.data.r for item in arrays.lines],
        x=[item.data.x for item in arrays.lines],
        p=load.real,
        q=load.imag,
        closed=state.line & state.energised[ends].all(1),
        source=state.joined[arrays.source_node],
        v0=12_660.0,
    )
    return result, state.joined


@pytest.mark.parametrize(("open_lines", "kilowatts", "lowest", "bus"), PUBLISHED_33)
def test_losses_of_the_33_bus_feeder_are_the_published_ones(feeder33, open_lines, kilowatts, lowest, bus):
    result = feeder33.solve(positions(feeder33, open_lines))
    assert result.total_loss.real / 1e3 == pytest.approx(kilowatts, abs=0.01)
    if lowest:
        assert result.lowest[0] == pytest.approx(lowest, abs=1e-5)
    if bus:
        assert result.lowest[1] == node(bus)
    by_sweep, _ = swept(feeder33, open_lines)
    assert by_sweep.total_loss.real / 1e3 == pytest.approx(kilowatts, abs=0.01)


@pytest.mark.parametrize(("open_lines", "kilowatts", "lowest", "bus"), PUBLISHED_69)
def test_losses_of_the_69_bus_feeder_are_the_published_ones(feeder69, open_lines, kilowatts, lowest, bus):
    result = feeder69.solve(positions(feeder69, open_lines))
    assert result.total_loss.real / 1e3 == pytest.approx(kilowatts, abs=0.01)
    assert result.lowest[0] == pytest.approx(lowest, abs=1e-5)
    assert result.lowest[1] == node(bus)
    by_sweep, _ = swept(feeder69, open_lines)
    assert by_sweep.total_loss.real / 1e3 == pytest.approx(kilowatts, abs=0.01)


def test_reactive_losses_and_head_current_of_the_33_bus_feeder_are_the_published_ones(feeder33):
    result = feeder33.solve(positions(feeder33, BASE_33))
    assert result.total_loss.imag / 1e3 == pytest.approx(135.141, abs=0.01)
    assert result.of(switch(1)).current == pytest.approx(210.36, abs=0.01)
    assert result.of(line(1)).current == pytest.approx(210.36, abs=0.01)


def test_reactive_losses_of_the_69_bus_feeder_are_the_published_ones(feeder69):
    assert feeder69.solve().total_loss.imag / 1e3 == pytest.approx(102.158, abs=0.01)


def test_the_normal_positions_of_the_33_bus_feeder_are_its_base_case(feeder33):
    assert feeder33.solve().total_loss.real / 1e3 == pytest.approx(202.677, abs=0.01)


def test_both_methods_give_the_same_voltages(feeder33):
    result = feeder33.solve(positions(feeder33, (7, 9, 14, 32, 37)))
    by_sweep, joined = swept(feeder33, (7, 9, 14, 32, 37))
    np.testing.assert_allclose(result.voltage, np.abs(by_sweep.voltage[joined]) / 12_660.0, atol=1e-8)


def test_a_meshed_switching_state_has_a_power_flow_with_lower_losses(feeder33):
    meshed = feeder33.solve(positions(feeder33, ()))
    assert meshed.feasible
    assert meshed.total_loss.real < 139_551
    assert not swept(feeder33, ())[0].feasible


def test_what_an_open_line_cuts_off_is_named_as_dead(feeder33):
    result = feeder33.solve(positions(feeder33, (*BASE_33, 17)))
    assert node(18) in result.dead
    assert result.v(node(18)) == 0
    assert result.load(load(18)) == 0


def test_ten_times_the_load_has_no_solution_and_no_numbers(feeder33):
    result = feeder33.solve(scale=10.0)
    assert not result.feasible
    assert "no solution" in result.reason
    assert np.isnan(result.voltage).all()
    assert np.isnan(result.total_loss)
