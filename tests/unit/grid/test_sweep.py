"""Radial power flow by sweep: analytic cases, batches, and what it says when there is no solution."""

import numpy as np
import pytest

from twin_gateway.grid.sweep import radial_flow, radial_order, sweep


def two_bus(p, q, *, r=1.0, x=2.0, v0=10_000.0):
    """Voltage of the far end of one line, by the quadratic in V squared; None beyond the nose."""
    half = v0**2 / 2 - (r * p + x * q)
    root = half**2 - (r**2 + x**2) * (p**2 + q**2)
    return None if root < 0 else float(np.sqrt(half + np.sqrt(root)))


def test_two_buses_equal_the_analytic_solution():
    result = radial_flow([0], [1], r=[1.0], x=[2.0], p=[0.0, 3e6], q=[0.0, 1e6], closed=[True], source=0, v0=10_000.0)
    expected = two_bus(3e6, 1e6)
    assert abs(result.voltage[1]) == pytest.approx(expected, rel=1e-9)
    current = abs(3e6 + 1e6j) / (np.sqrt(3) * expected)
    assert abs(result.current[0]) == pytest.approx(current, rel=1e-8)
    assert result.total_loss == pytest.approx(3 * current**2 * (1 + 2j), rel=1e-8)
    assert result.feasible
    assert result.reason == ""


def test_current_is_positive_from_the_first_to_the_second_end_of_a_branch():
    ahead = radial_flow([0], [1], r=[1.0], x=[1.0], p=[0.0, 1e5], q=[0.0, 0.0], closed=[True], source=0, v0=1e4)
    against = radial_flow([1], [0], r=[1.0], x=[1.0], p=[0.0, 1e5], q=[0.0, 0.0], closed=[True], source=0, v0=1e4)
    assert ahead.current[0].real > 0
    assert against.current[0] == pytest.approx(-ahead.current[0])


def test_a_load_beyond_the_nose_has_no_numbers():
    assert two_bus(30e6, 0.0) is None
    result = radial_flow([0], [1], r=[1.0], x=[2.0], p=[0.0, 30e6], q=[0.0, 0.0], closed=[True], source=0, v0=10_000.0)
    assert not result.feasible
    assert "no solution" in result.reason
    assert np.isnan(result.voltage).all()
    assert np.isnan(result.loss).all()
    assert np.isnan(result.total_loss)


def test_one_collapsed_case_leaves_the_others_of_its_batch():
    p = np.array([[0.0, 1e6], [0.0, 30e6], [0.0, 2e6]])
    result = radial_flow([0], [1], r=[1.0], x=[2.0], p=p, q=np.zeros_like(p), closed=[True], source=0, v0=10_000.0)
    assert result.converged.tolist() == [True, False, True]
    assert abs(result.voltage[2, 1]) == pytest.approx(two_bus(2e6, 0.0))
    assert np.isnan(result.voltage[1]).all()


def test_a_loop_is_no_radial_grid_and_its_branch_is_named():
    order = radial_order(3, [0, 1, 2], [1, 2, 0], [True] * 3, 0)
    assert order.looped in (0, 1, 2)
    result = sweep(order, np.ones(3), np.ones(3), np.zeros(3), np.zeros(3), v0=1e4)
    assert not result.feasible
    assert "loop" in result.reason
    assert np.isnan(result.voltage).all()


def test_two_sources_that_are_joined_are_no_radial_grid():
    assert radial_order(3, [0, 1], [1, 2], [True, True], [0, 2]).looped >= 0
    assert radial_order(3, [0, 1], [1, 2], [True, False], [0, 2]).looped < 0


def test_parallel_branches_are_a_loop():
    assert radial_order(2, [0, 0], [1, 1], [True, True], 0).looped >= 0


def test_a_part_without_a_source_is_dead_and_its_load_does_not_flow():
    result = radial_flow(
        [0, 1], [1, 2], r=[1.0, 1.0], x=[1.0, 1.0], p=[0, 1e5, 9e5], q=[0, 0, 0], closed=[True, False], source=0, v0=1e4
    )
    alone = radial_flow([0], [1], r=[1.0], x=[1.0], p=[0, 1e5], q=[0, 0], closed=[True], source=0, v0=1e4)
    assert result.energised.tolist() == [True, True, False]
    assert result.voltage[2] == 0
    assert result.current[1] == 0
    assert result.total_loss == pytest.approx(alone.total_loss)


def test_each_source_feeds_its_part_with_its_own_voltage():
    v0 = np.array([10_000.0, 0.0, 10_500.0, 0.0])
    result = radial_flow(
        [0, 2], [1, 3], r=[1, 1], x=[1, 1], p=np.zeros(4), q=np.zeros(4), closed=[True, True], source=[0, 2], v0=v0
    )
    assert np.abs(result.voltage).tolist() == pytest.approx([10_000, 10_000, 10_500, 10_500])


def test_a_batch_equals_its_cases_one_by_one():
    random = np.random.default_rng(5)
    nodes = 40
    parent = np.array([random.integers(0, node) for node in range(1, nodes)])
    child = np.arange(1, nodes)
    flip = random.random(nodes - 1) < 0.5
    begins, ends = np.where(flip, child, parent), np.where(flip, parent, child)
    r, x = random.uniform(0.1, 0.5, (2, nodes - 1))
    p, q = random.uniform(-1e4, 4e4, (2, 7, nodes))
    order = radial_order(nodes, begins, ends, np.ones(nodes - 1, bool), 0)
    batch = sweep(order, r, x, p, q, v0=1e4)
    for case in range(7):
        single = sweep(order, r, x, p[case], q[case], v0=1e4)
        np.testing.assert_allclose(batch.voltage[case], single.voltage, rtol=1e-12)
        np.testing.assert_allclose(batch.current[case], single.current, rtol=1e-9, atol=1e-9)


def test_power_is_conserved_at_the_source():
    random = np.random.default_rng(6)
    p = np.r_[0.0, random.uniform(0, 5e4, 30)]
    result = radial_flow(
        np.arange(30),
        np.arange(1, 31),
        r=np.full(30, 0.2),
        x=np.full(30, 0.1),
        p=p,
        q=p / 2,
        closed=np.ones(30, bool),
        source=0,
        v0=1e4,
    )
    fed = np.sqrt(3) * result.voltage[0] * np.conj(result.current[0])
    assert fed == pytest.approx((p + 0.5j * p).sum() + result.total_loss, rel=1e-8)


def test_a_grid_without_a_source_has_no_result():
    result = radial_flow([0], [1], r=[1.0], x=[1.0], p=[0, 1], q=[0, 0], closed=[True], source=np.empty(0, int), v0=1e4)
    assert not result.feasible
    assert result.reason == "no source"


def test_a_source_alone_is_a_grid():
    result = radial_flow([], [], r=[], x=[], p=[5.0], q=[0.0], closed=[], source=0, v0=1e4)
    assert result.feasible
    assert abs(result.voltage[0]) == pytest.approx(1e4)
