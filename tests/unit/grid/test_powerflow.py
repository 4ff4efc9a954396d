"""Power flow of grid models by address: engines, flows through switches, and what is said when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from reference_grids import SOURCE, feeder, five_buses, line, load, node, opened, switch

from twin_gateway.grid import pgm_flow, unbalanced
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    GeneratorData,
    GridError,
    LineData,
    LoadData,
    Position,
    ShuntData,
    SourceData,
    SwitchRating,
)
from twin_gateway.grid.powerflow import Engine, FlowModel, power_flow

TRANSFORMER = "g/a/B3/MV1/T01/TA1"


def two_buses(p_kw=300.0, q_kvar=100.0):
    return feeder(10.0, [(1, 0, 0), (2, p_kw, q_kvar)], [(1, 1, 2, 1.0, 2.0, 1)])


def test_two_buses_equal_the_analytic_solution():
    result = power_flow(two_buses(3e3, 1e3))
    half = 1e4**2 / 2 - (1.0 * 3e6 + 2.0 * 1e6)
    v = np.sqrt(half + np.sqrt(half**2 - 5.0 * (3e6**2 + 1e6**2)))
    assert result.v(node(2)) == pytest.approx(v / 1e4, rel=1e-8)
    assert result.total_loss == pytest.approx((1 + 2j) * (3e6**2 + 1e6**2) / v**2, rel=1e-7)


def test_a_transformer_has_its_no_load_and_its_load_losses():
    result = power_flow(five_buses())
    flow = result.of(TRANSFORMER)
    apparent = abs(complex(flow.p_to, flow.q_to))
    v1, v2 = result.v(node(3)), result.v(node(4))
    # P0 at the square of the voltage, half at each side; Pk at the current of side 2, without the no-load current.
    expected = 800.0 * (v1**2 + v2**2) / 2 + 6500.0 * (apparent / 630e3 / v2) ** 2
    assert flow.loss == pytest.approx(expected, rel=0.01)
    assert flow.loading == pytest.approx(abs(complex(flow.p_from, flow.q_from)) / 630e3, rel=1e-6)


def test_the_clock_of_a_transformer_turns_the_voltages():
    result = power_flow(five_buses())
    at = {number: result.phase_voltage[result.node_number[node(number)], 0] for number in (3, 4)}
    turn = np.degrees(np.angle(at[4] / at[3]))
    assert turn == pytest.approx(-150.0, abs=1.5)


def test_charging_delivers_reactive_power():
    result = power_flow(five_buses())
    charging = 150e-6 * (1.02 * 20e3) ** 2
    assert result.of(line(1)).loss_var == pytest.approx(-charging, rel=0.01)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_three_phase_sweep_equals_power_grid_model_on_a_balanced_grid(symmetric):
    model = FlowModel(five_buses())
    theirs = pgm_flow.solve(model.arrays, model.state(), model.drawn(), symmetric=symmetric)
    ours = unbalanced.solve(model.arrays, model.state(), model.drawn())
    # The no-load admittance stands at one side here and in halves at both there: 3e-4 of the voltage behind it.
    np.testing.assert_allclose(ours.voltage, theirs.voltage, atol=4e-4)
    assert ours.total_loss.real == pytest.approx(theirs.total_loss.real, rel=1e-3)


def test_power_is_conserved_at_every_node():
    model = FlowModel(five_buses())
    result = model.solve()
    arrays = model.arrays
    balance = np.zeros((len(arrays.node), 3), complex)
    ends = np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])
    np.add.at(balance, ends[:, 0], result.power_from)
    np.add.at(balance, ends[:, 1], result.power_to)
    np.add.at(balance, arrays.injection_node, result.drawn)
    np.add.at(balance, arrays.source_node, -result.delivered)
    assert np.abs(balance).max() < 0.1


def test_a_switch_carries_what_is_beyond_it():
    result = power_flow(two_buses())
    through, behind = result.of(switch(1)), result.of(line(1))
    assert through.p_from == pytest.approx(behind.p_from)
    assert through.p_to == pytest.approx(-through.p_from)
    assert through.current == pytest.approx(behind.current)
    assert through.loss == pytest.approx(0, abs=1e-6)


def test_an_open_switch_carries_nothing_and_what_is_beyond_is_dead():
    result = power_flow(two_buses(), opened(1))
    assert result.feasible
    assert result.of(switch(1)).current == 0
    assert set(result.dead) == {"g/a/L1/MV1/_/CN1", node(2)}
    assert result.supplied == 0


def test_the_flow_in_a_loop_of_switches_is_not_told():
    grid = two_buses()
    grid.add([Equipment(switch("x"), CimClass.DISCONNECTOR, (node(1), "g/a/L1/MV1/_/CN1"), SwitchRating())])
    result = power_flow(grid)
    assert np.isnan(result.of(switch(1)).p_from)
    assert result.of(line(1)).p_from == pytest.approx(power_flow(two_buses()).of(line(1)).p_from)


def test_an_unknown_position_is_taken_as_open_and_said():
    result = power_flow(two_buses(), {switch(1): Position.UNKNOWN})
    assert result.unknown == (switch(1),)
    assert node(2) in result.dead
    closed = power_flow(two_buses(), {switch(1): Position.UNKNOWN}, unknown=Position.CLOSED)
    assert closed.dead == ()


def test_given_loads_replace_nominal_ones_and_the_scale_is_for_the_others():
    grid = five_buses()
    result = power_flow(grid, loads={load(5): 10e3 + 2e3j}, scale=0.5)
    assert result.load(load(5)) == pytest.approx(10e3 + 2e3j)
    assert result.load(load(6)) == pytest.approx(30e3 + 7.5e3j)


def test_a_load_that_is_not_in_the_model_is_refused():
    with pytest.raises(GridError, match="neither a load nor a generator"):
        power_flow(two_buses(), loads={"g/a/B9/MV1/_/LD1": 1.0})


def test_a_generator_delivers_and_can_feed_back():
    grid = two_buses()
    grid.add([Equipment("g/a/B2/MV1/_/PV1", CimClass.GENERATOR, (node(2),), GeneratorData(500e3, 0.0, 600e3))])
    result = power_flow(grid)
    assert result.load("g/a/B2/MV1/_/PV1") == pytest.approx(-500e3)
    assert result.supplied.real < 0
    assert power_flow(grid, loads={"g/a/B2/MV1/_/PV1": 0j}).supplied.real > 300e3


def test_a_capacitor_delivers_its_power_at_the_square_of_the_voltage():
    grid = two_buses()
    grid.add([Equipment("g/a/B2/MV1/_/CAP1", CimClass.SHUNT, (node(2),), ShuntData(100e3))])
    result = power_flow(grid)
    assert result.load("g/a/B2/MV1/_/CAP1") == pytest.approx(-100e3j * result.v(node(2)) ** 2, rel=1e-6)


@pytest.mark.parametrize(("model", "exponent"), [("power", 0), ("current", 1), ("impedance", 2)])
@pytest.mark.parametrize("by_sweep", [True, False])
def test_a_load_goes_with_the_voltage_as_its_model_says(model, exponent, by_sweep):
    grid = two_buses(0, 0)
    grid.add([Equipment(load("x"), CimClass.LOAD, (node(2),), LoadData(2e6, 1e6, model=model))])
    flow = FlowModel(grid)
    result = unbalanced.solve(flow.arrays, flow.state(), flow.drawn()) if by_sweep else flow.solve()
    assert result.load(load("x")) == pytest.approx((2e6 + 1e6j) * result.v(node(2)) ** exponent, rel=1e-6)


def test_a_source_with_a_short_circuit_power_sags_under_load():
    grid = two_buses()
    ideal = power_flow(grid).v(node(1))
    grid.equipment[SOURCE] = Equipment(SOURCE, CimClass.SOURCE, (node(1),), SourceData(1.0, s_short=50e6))
    assert ideal == pytest.approx(1.0, abs=1e-9)
    assert power_flow(grid).v(node(1)) < 0.999


def test_a_line_without_impedance_joins_its_nodes():
    grid = two_buses()
    grid.add([ConnectivityNode(node(3), 10e3)])
    grid.add([Equipment(line("z"), CimClass.LINE, (node(2), node(3)), LineData(0.0, 0.0))])
    result = power_flow(grid)
    assert result.v(node(3)) == result.v(node(2))


def test_a_closed_earthing_switch_on_a_live_node_is_no_power_flow():
    grid = two_buses()
    earth = "g/a/B2/MV1/_/QC1"
    grid.add([Equipment(earth, CimClass.GROUND_DISCONNECTOR, (node(2),), SwitchRating(normal_open=True))])
    assert power_flow(grid).feasible
    result = power_flow(grid, {earth: Position.CLOSED})
    assert not result.feasible
    assert earth in result.reason
    assert np.isnan(result.voltage).all()
    assert power_flow(grid, {earth: Position.CLOSED, **opened(1)}).feasible


def test_a_grid_without_a_source_says_so():
    grid = two_buses()
    del grid.equipment[SOURCE]
    result = power_flow(grid)
    assert not result.feasible
    assert result.reason == "no source is connected"


def test_contradicting_transformer_data_are_named():
    grid = five_buses()
    transformer = grid.equipment[TRANSFORMER]
    data = transformer.data.__class__(20e3, 400.0, 630e3, 0.06, 6500.0, connection="Dyn", clock=6)
    grid.equipment[TRANSFORMER] = Equipment(TRANSFORMER, transformer.cim_class, transformer.nodes, data)
    with pytest.raises(GridError, match="Dyn cannot have clock 6"):
        power_flow(grid)


def test_the_engine_is_chosen_by_the_phases():
    balanced = five_buses()
    assert FlowModel(balanced).engine == Engine.BALANCED
    single = five_buses()
    single.add([Equipment(load("s"), CimClass.LOAD, (node(5),), LoadData(2e3, 0.0), phases="B")])
    assert FlowModel(single).engine == Engine.BY_PHASE
    lateral = five_buses()
    lateral.add([ConnectivityNode(node(7), 400.0)])
    lateral.add([Equipment(line("s"), CimClass.LINE, (node(6), node(7)), LineData(0.1, 0.05), phases="C")])
    assert FlowModel(lateral).engine == Engine.UNBALANCED


def test_loading_is_the_part_of_the_limit():
    result = power_flow(five_buses())
    flow = result.of(line(2))
    assert flow.loading == pytest.approx(flow.current / 300.0)
    highest, where = result.highest_loading
    assert where == line(2)
    assert highest == pytest.approx(flow.loading)


def test_many_load_cases_equal_one_by_one():
    model = FlowModel(five_buses())
    drawn = np.array([model.drawn(scale=scale) for scale in (0.2, 0.7, 1.1)])
    many = model.solve_many(drawn)
    for case, scale in enumerate((0.2, 0.7, 1.1)):
        one = model.solve(scale=scale)
        assert many.loss[case] == pytest.approx(one.total_loss.real, rel=1e-6)
        assert many.lowest[case] == pytest.approx(one.lowest[0], rel=1e-7)
    assert many.converged.all()


def test_one_case_without_a_solution_leaves_the_others_of_many():
    model = FlowModel(two_buses())
    many = model.solve_many(np.array([model.drawn(scale=scale) for scale in (1.0, 200.0, 2.0)]))
    assert many.converged.tolist() == [True, False, True]
    assert np.isnan(many.loss[1])
    assert many.loss[2] > many.loss[0] > 0
