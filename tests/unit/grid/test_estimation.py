"""State estimation: what it finds from good values, which bad ones it names, and where it says that it cannot know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_grids import SOURCE, feeder, five_buses, line, load, node, switch

from twin_gateway.grid.estimation import EstimationSettings, estimate
from twin_gateway.grid.model import CimClass, ConnectivityNode, Equipment, LineData, Measurement, Position, Quantity
from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.grid.suspects import Elements, Values, leave_one_out

BUSES = [(1, 0, 0), *((k, 100 + 10 * k, 40 + 5 * k) for k in range(2, 10))]
BRANCHES = [(k, begin, k + 1, 0.4, 0.3, 1) for k, begin in zip(range(1, 9), (1, 2, 3, 4, 2, 6, 3, 8), strict=True)]
STRICT = EstimationSettings(pseudo=False)


def point(where, quantity):
    return f"{where}/MMXU1/{quantity}"


def measurements(*, heads=True, loads=True, voltages=(1, 5), lines=(3, 5, 7)):
    """P and Q of the head switch, of loads and some line switches, and voltages."""
    result = []
    places = [(switch(1), 1)] if heads else []
    places += [(switch(k), 1) for k in lines]
    places += [(load(k), 1) for k in range(2, 10)] if loads else []
    for where, terminal in places:
        result += [Measurement(point(where, q.value), q, where, terminal) for q in (Quantity.P, Quantity.Q)]
    for bus in voltages:
        where = SOURCE if bus == 1 else load(bus)
        result.append(Measurement(point(where, "U"), Quantity.U, where, accuracy=0.005))
    return result


def measured(grid, truth, records, noise=0.0, seed=1):
    """What the points of a true state show."""
    random = np.random.default_rng(seed)
    values = {}
    for record in records:
        item = grid.equipment[record.equipment]
        if record.quantity == Quantity.U:
            number = truth.node_number[item.nodes[record.terminal - 1]]
            value = truth.voltage[number] * truth.nominal[number]
        elif record.equipment in truth.branch_number:
            row = truth.branch_number[record.equipment]
            power = (truth.power_from, truth.power_to)[record.terminal - 1][row].sum()
            current = (truth.current_from, truth.current_to)[record.terminal - 1][row].mean()
            value = {Quantity.P: power.real, Quantity.Q: power.imag, Quantity.I: current}[record.quantity]
        else:
            power = truth.load(record.equipment)
            value = power.real if record.quantity == Quantity.P else power.imag
        values[record.point] = float(value) * record.direction * (1 + random.normal(0, noise))
    return values


@pytest.fixture
def grid():
    return feeder(10.0, BUSES, BRANCHES)


@pytest.fixture
def model(grid):
    return FlowModel(grid)


@pytest.fixture
def truth(model):
    loads = {load(k): complex(100 + 10 * k, 40 + 5 * k) * 1e3 * (0.5 + 0.08 * k) for k in range(2, 10)}
    return model.solve(loads=loads)


def test_exact_values_give_the_true_state(grid, model, truth):
    records = measurements()
    found = estimate(model, records, measured(grid, truth, records), settings=STRICT)
    assert found.observable
    assert found.bad == ()
    np.testing.assert_allclose(found.state.voltage, truth.voltage, atol=1e-6)
    assert found.state.total_loss.real == pytest.approx(truth.total_loss.real, rel=1e-4)
    assert found.objective < 1e-3


def test_a_head_measurement_pulls_expected_loads_towards_the_truth(grid, model, truth):
    records = measurements(loads=False, lines=(), voltages=(1,))
    found = estimate(model, records, measured(grid, truth, records))
    assert found.observable
    guess = model.solve()
    error, before = (abs(s.of(switch(1)).p_from - truth.of(switch(1)).p_from) for s in (found.state, guess))
    assert error < 0.1 * before
    assert found.islands[0].measured == 2


def test_noise_is_smoothed_and_nothing_is_called_bad(grid, model, truth):
    records = measurements()
    for seed in range(5):
        found = estimate(model, records, measured(grid, truth, records, noise=0.005, seed=seed))
        assert found.bad == ()
        # no better than the two voltages that are measured
        assert np.abs(found.state.voltage - truth.voltage).max() < 0.015


@pytest.mark.parametrize(
    ("where", "quantity", "factor"),
    [(load(5), "P", -1.0), (load(7), "Q", 4.0), (switch(3), "P", 0.5), (switch(1), "P", 1.3), (load(5), "U", 0.8)],
)
def test_a_gross_error_is_named_with_its_residual_and_left_out(grid, model, truth, where, quantity, factor):
    records = measurements(lines=tuple(range(2, 9)))
    values = measured(grid, truth, records, noise=0.002)
    values[point(where, quantity)] *= factor
    found = estimate(model, records, values)
    assert [bad.points for bad in found.bad] == [(point(where, quantity),)]
    assert found.bad[0].residual > 4
    assert np.abs(found.state.voltage - truth.voltage).max() < 5e-3


def test_two_gross_errors_are_both_named(grid, model, truth):
    records = measurements(lines=tuple(range(2, 9)))
    values = measured(grid, truth, records, noise=0.002)
    values[point(load(4), "P")] *= 3
    values[point(load(9), "Q")] *= -2
    found = estimate(model, records, values)
    assert {bad.points[0] for bad in found.bad} == {point(load(4), "P"), point(load(9), "Q")}


def test_no_more_bad_values_are_looked_for_than_allowed(grid, model, truth):
    records = measurements(lines=tuple(range(2, 9)))
    values = measured(grid, truth, records)
    for bus in (4, 6, 9):
        values[point(load(bus), "P")] *= 4
    assert len(estimate(model, records, values, settings=EstimationSettings(rounds=2)).bad) == 2


def test_a_value_that_nothing_checks_is_not_called_bad(grid, model, truth):
    records = measurements(heads=False, lines=(), voltages=(1,))
    values = measured(grid, truth, records)
    values[point(load(5), "P")] *= 3
    assert estimate(model, records, values, settings=STRICT).bad == ()


def test_without_measurements_nothing_is_observable_and_it_says_so(model):
    found = estimate(model, measurements(), {})
    assert not found.observable
    assert found.islands[0].missing == "nothing is measured"
    assert np.isnan(found.state.voltage).all()
    assert not found.state.feasible


def test_without_a_voltage_an_island_says_that_one_is_missing(grid, model, truth):
    records = measurements(voltages=())
    how = replace(STRICT, source_voltage=None)
    found = estimate(model, records, measured(grid, truth, records), settings=how)
    assert found.islands[0].missing == "a measured voltage is missing"
    assert estimate(model, records, measured(grid, truth, records), settings=STRICT).observable


def test_missing_powers_are_named_when_expected_loads_do_not_count(grid, model, truth):
    records = [record for record in measurements(lines=()) if record.equipment not in (load(4), load(5), load(9))]
    values = measured(grid, truth, records)
    found = estimate(model, records, values, settings=STRICT)
    assert not found.observable
    assert found.islands[0].missing.startswith("measured power is missing at ")
    assert estimate(model, records, values).observable


def test_a_measured_branch_makes_up_for_one_unmeasured_load(grid, model, truth):
    records = [record for record in measurements(lines=(4,)) if record.equipment not in (load(4), load(5))]
    found = estimate(model, records, measured(grid, truth, records), settings=STRICT)
    assert found.observable
    assert found.state.load(load(5)) == pytest.approx(truth.load(load(5)), rel=1e-4)
    assert found.state.load(load(4)) == pytest.approx(truth.load(load(4)), rel=1e-4)


def test_one_island_that_cannot_be_observed_leaves_the_others(grid, truth):
    grid.add([ConnectivityNode(node("s2"), 10e3), ConnectivityNode(node("e2"), 10e3)])
    source = grid.equipment[SOURCE]
    grid.add([replace(source, address="g/a/S2/MV1/_/SRC1", nodes=(node("s2"),))])
    grid.add([Equipment(line("z"), CimClass.LINE, (node("s2"), node("e2")), LineData(0.5, 0.5))])
    model = FlowModel(grid)
    records = measurements()
    found = estimate(model, records, measured(grid, truth, records))
    assert [(island.node, island.observable) for island in found.islands] == [(node(1), True), (node("s2"), False)]
    assert not found.observable
    assert found.state.v(node(5)) == pytest.approx(truth.v(node(5)), abs=1e-5)
    assert np.isnan(found.state.v(node("e2")))


def test_what_is_fed_only_through_an_unknown_switch_is_not_estimated_and_the_rest_is(grid, model, truth):
    records = measurements()
    values = measured(grid, truth, records)
    found = estimate(model, records, values, {switch(4): Position.UNKNOWN})
    behind = next(island for island in found.islands if not island.observable)
    assert switch(4) in behind.missing
    assert np.isnan(found.state.v(node(5)))
    assert np.isnan(found.state.of(switch(4)).p_from)
    assert found.state.v(node(4)) == pytest.approx(truth.v(node(4)), abs=1e-4)
    assert found.state.of(switch(3)).p_from == pytest.approx(truth.of(switch(3)).p_from, rel=1e-3)
    assert found.bad == ()
    assert found.unknown == (switch(4),)


def test_a_value_at_an_open_switch_is_set_aside_with_its_reason(grid, model, truth):
    records = measurements()
    values = measured(grid, truth, records)
    found = estimate(model, records, values, {switch(7): Position.OPEN})
    assert found.unused[point(switch(7), "P")] == "its switch is open"
    assert found.unused[point(load(9), "P")] == "nothing is energised there by the positions of switches"


def test_a_busbar_that_feeds_nothing_any_more_is_estimated(grid, model, truth):
    records = measurements()
    found = estimate(model, records, measured(grid, truth, records), {switch(1): Position.OPEN})
    assert found.state.v(node(1)) == pytest.approx(truth.v(node(1)), abs=1e-3)
    assert found.state.v(node(2)) == 0.0 or np.isnan(found.state.v(node(2)))


def test_a_published_direction_turns_the_sign(grid, model, truth):
    records = [replace(r, direction=-1) if r.equipment == switch(3) else r for r in measurements()]
    found = estimate(model, records, measured(grid, truth, records))
    assert found.bad == ()
    assert found.state.of(switch(3)).p_from == pytest.approx(truth.of(switch(3)).p_from, rel=1e-3)


def test_currents_alone_estimate_with_the_angle_of_the_expected_loads(grid, model, truth):
    records = measurements(heads=False, loads=False, lines=())
    records += [Measurement(point(switch(k), "A"), Quantity.I, switch(k)) for k in range(1, 9)]
    found = estimate(model, records, measured(grid, truth, records))
    assert found.observable
    assert found.state.of(switch(1)).p_from == pytest.approx(truth.of(switch(1)).p_from, rel=0.01)
    assert found.state.of(switch(7)).current == pytest.approx(truth.of(switch(7)).current, rel=0.02)


def test_active_power_alone_gets_its_reactive_power_from_the_expected_loads(grid, model, truth):
    records = [r for r in measurements(loads=False, lines=(), voltages=(1,)) if r.quantity != Quantity.Q]
    found = estimate(model, records, measured(grid, truth, records))
    flow = found.state.of(switch(1))
    assert flow.p_from == pytest.approx(truth.of(switch(1)).p_from, rel=0.02)
    assert flow.q_from == pytest.approx(truth.of(switch(1)).q_from, rel=0.2)


def test_phase_values_become_one_sum_or_mean(grid, model, truth):
    base = [record for record in measurements() if record.equipment != switch(1)]
    values = measured(grid, truth, base)
    records = list(base)
    flow = truth.of(switch(1))
    for phase, share in zip("ABC", (0.2, 0.5, 0.3), strict=True):
        for quantity, total in ((Quantity.P, flow.p_from), (Quantity.Q, flow.q_from)):
            records.append(Measurement(point(switch(1), f"{quantity}{phase}"), quantity, switch(1), phase=phase))
            values[records[-1].point] = share * total
    found = estimate(model, records, values, settings=STRICT)
    assert found.bad == ()
    assert found.state.of(switch(1)).p_from == pytest.approx(flow.p_from, rel=1e-4)
    del values[point(switch(1), "PC")]
    found = estimate(model, records, values)
    assert found.unused[point(switch(1), "PA")] == "one phase of a power says nothing of the sum"


def test_values_at_a_transformer_and_beyond_it_fit_together():
    grid = five_buses()
    transformer = "g/a/B3/MV1/T01/TA1"
    model = FlowModel(grid)
    truth = model.solve(scale=0.7)
    records = [
        Measurement(point(transformer, f"{q}{terminal}"), q, transformer, terminal)
        for q in (Quantity.P, Quantity.Q)
        for terminal in (1, 2)
    ]
    records += [Measurement(point(load(5), q.value), q, load(5)) for q in (Quantity.P, Quantity.Q)]
    records += [Measurement(point(SOURCE, q.value), q, SOURCE) for q in (Quantity.P, Quantity.Q)]
    records.append(Measurement(point(load(6), "U"), Quantity.U, load(6)))
    values = measured(grid, truth, records[:-3])
    fed = -truth.supplied
    values |= {point(SOURCE, "P"): fed.real, point(SOURCE, "Q"): fed.imag}
    values |= measured(grid, truth, records[-1:])
    found = estimate(model, records, values, settings=STRICT)
    assert found.observable
    assert found.bad == ()
    np.testing.assert_allclose(found.state.voltage, truth.voltage, atol=1e-4)


def test_a_switch_with_more_than_one_thing_on_both_sides_is_measured_as_a_branch():
    grid = feeder(10.0, BUSES, BRANCHES)
    coupler = "g/a/B1/MV1/C01/QB1"
    grid.add([ConnectivityNode(node("1b"), 10e3)])
    grid.add([Equipment(coupler, CimClass.DISCONNECTOR, (node(1), node("1b")))])
    for number in (21, 22):
        grid.add([Equipment(load(number), CimClass.LOAD, (node("1b"),), grid.equipment[load(2)].data)])
    model = FlowModel(grid)
    truth = model.solve(scale=0.8)
    records = measurements(lines=())
    records += [Measurement(point(coupler, q.value), q, coupler) for q in (Quantity.P, Quantity.Q)]
    found = estimate(model, records, measured(grid, truth, records))
    assert found.state.of(coupler).p_from == pytest.approx(truth.of(coupler).p_from, rel=1e-3)
    total = found.state.load(load(21)) + found.state.load(load(22))
    assert total.real == pytest.approx(truth.of(coupler).p_from, rel=1e-3)


def test_grids_with_fewer_than_three_phases_are_refused_in_words():
    grid = five_buses()
    grid.add([ConnectivityNode(node(7), 400.0)])
    grid.add([Equipment(line("s"), CimClass.LINE, (node(6), node(7)), LineData(0.1, 0.05), phases="C")])
    found = estimate(FlowModel(grid), [], {})
    assert not found.observable
    assert "fewer than three phases" in found.state.reason


def test_leave_one_out_residuals_equal_those_of_the_full_covariance():
    """A small tree solved both ways: messages, and the linear regression with its hat matrix."""
    random = np.random.default_rng(3)
    # Injections 0 to 3 at nodes 1 to 4 of the tree 0-1, 1-2, 1-3, 3-4; every branch and injection is measured.
    incidence = np.array([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], float)
    h = np.vstack([np.eye(4), incidence, incidence[:1]])
    sigma = random.uniform(0.5, 3.0, len(h))
    z = h @ [3.0, -1.0, 4.0, 2.0] + random.normal(0, sigma)
    w = np.diag(1 / sigma**2)
    covariance = np.linalg.inv(h.T @ w @ h)
    residual = z - h @ covariance @ h.T @ w @ z
    normalised = residual / np.sqrt(sigma**2 - np.einsum("ij,jk,ik->i", h, covariance, h))
    elements = Elements(
        np.array([1, 2, 3, 4, 0, 1, 1, 3]), np.array([-1, -1, -1, -1, 1, 2, 3, 4]), np.array([0, 1, 2, 2, 3])
    )
    values = Values(np.array([*range(8), -1]), z, sigma)
    found = leave_one_out(elements, np.zeros(8), values)
    np.testing.assert_allclose(found, normalised, rtol=1e-9)


def test_a_value_that_nothing_else_tells_of_has_no_residual():
    elements = Elements(np.array([0, 1, 1]), np.array([1, -1, -1]), np.array([0, 1]))
    values = Values(np.array([0, 1]), np.array([5.0, 2.0]), np.ones(2))
    assert leave_one_out(elements, np.zeros(3), values).tolist() == [0.0, 0.0]
