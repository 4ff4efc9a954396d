"""Balances: sides, rates, uncertainty, nesting, completeness, alignment."""

import numpy as np
import pytest
from loss_grids import HEAD_METERS, P, customer, two_feeders

from twin_gateway.grid.model import Meter, MeterRole
from twin_gateway.twin.losses.align import (
    align_registers,
    clock_sigma,
    interval_ends,
    sync_uncertainty,
    windows_for_alarms,
)
from twin_gateway.twin.losses.balance import BalancePlan, window_sum
from twin_gateway.twin.losses.meter_data import Flag, RegisterRules, interval_energies
from twin_gateway.twin.losses.regions import Region, RegionKind, Term, regions

QUARTER = 900.0
F1, A1, AREA = f"{P}/PS01/MV1/F01/_/twLOSS1", f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/_/_/_/_/twLOSS1"


def one_area(count, *, boundary_class, customer_class, ct=0.0, vt=0.0):
    """A region with one infeed and `count` alike customers; the columns in that order."""
    meters = {"in": Meter("in", "x", MeterRole.BOUNDARY, accuracy_class=boundary_class, ct_class=ct, vt_class=vt)}
    meters |= {f"m{k}": Meter(f"m{k}", "y", accuracy_class=customer_class) for k in range(count)}
    region = Region(RegionKind.LV_AREA, "g/a/T/LV1", (Term("in", 1),), tuple(Term(f"m{k}") for k in range(count)))
    columns = {("in", "", False): 0} | {(f"m{k}", "", False): k + 1 for k in range(count)}
    return region, meters, columns


@pytest.mark.parametrize(
    ("boundary_class", "customer_class", "detectable"), [(0.5, 1.0, 0.9), (0.2, 1.0, 0.4), (1.0, 2.0, 1.8)]
)
def test_uncertainty_of_200_meters_is_that_of_the_specification(boundary_class, customer_class, detectable):
    region, meters, columns = one_area(200, boundary_class=boundary_class, customer_class=customer_class)
    energy = np.full((1, 201), 100.0)
    energy[0, 0] = 20_000 / 0.97
    result = BalancePlan([region], meters, columns).balance(energy, 86_400.0)
    relative = result.relative_uncertainty()[0, 0]
    assert 3 * relative == pytest.approx(detectable, abs=0.06)
    assert result.rate()[0, 0] == pytest.approx(3.0)
    if boundary_class == 0.5:
        assert relative == pytest.approx(0.29, abs=0.005)


def test_instrument_transformers_add_their_classes():
    plain = BalancePlan(
        [one_area(1, boundary_class=0.5, customer_class=0)[0]], *one_area(1, boundary_class=0.5, customer_class=0)[1:]
    )
    region, meters, columns = one_area(1, boundary_class=0.5, customer_class=0, ct=0.5, vt=0.5)
    with_both = BalancePlan([region], meters, columns)
    energy = np.array([[1000.0, 900.0]])
    ratio = with_both.balance(energy, QUARTER).uncertainty / plain.balance(energy, QUARTER).uncertainty
    assert ratio[0, 0] == pytest.approx(np.sqrt(3))


def test_systematic_errors_do_not_average_out_over_time_but_clock_errors_do():
    region, meters, columns = one_area(10, boundary_class=0.5, customer_class=1.0)
    energy = np.full((96, 11), 100.0)
    energy[:, 0] = 1030.0
    exact = BalancePlan([region], meters, columns)
    clocks = BalancePlan([region], meters, columns, sigma_clock={f"m{k}": 30.0 for k in range(10)})
    day = window_sum(energy, 96)
    assert exact.balance(day, 86_400.0).relative_uncertainty()[0, 0] == pytest.approx(
        exact.balance(energy, QUARTER).relative_uncertainty()[0, 0]
    )
    added = (
        clocks.balance(energy, QUARTER).uncertainty[0, 0] ** 2 - exact.balance(energy, QUARTER).uncertainty[0, 0] ** 2
    )
    assert np.sqrt(added) == pytest.approx(np.sqrt(10) * sync_uncertainty(100.0, QUARTER, 30.0))
    in_a_day = clocks.balance(day, 86_400.0).uncertainty[0, 0] - exact.balance(day, 86_400.0).uncertainty[0, 0]
    assert in_a_day < 1e-3 * exact.balance(day, 86_400.0).uncertainty[0, 0]


def network():
    grid = two_feeders()
    found = regions(grid, {})
    keys = [(meter, "", side) for meter in grid.meters for side in (False, True)]
    columns = {key: at for at, key in enumerate(keys)}
    plan = BalancePlan(list(found.values()), grid.meters, columns)
    return plan, columns, [region.key for region in plan.regions]


def test_the_sides_of_the_balance_and_that_children_add_up_to_their_parent():
    plan, columns, keys = network()
    energy = np.zeros((1, plan.width))
    energy[0, columns[HEAD_METERS[0], "", False]] = 1100.0
    energy[0, columns[HEAD_METERS[1], "", False]] = 700.0
    energy[0, columns[f"{P}/TS1/LV1/_/M0", "", True]] = 1000.0  # out of the transformer into the low voltage
    energy[0, columns[f"{P}/TS2/LV1/_/M0", "", True]] = 650.0
    for number in (1, 2, 3):
        energy[0, columns[customer(1, number), "", False]] = 340.0
        energy[0, columns[customer(2, number), "", False]] = 210.0
    energy[0, columns[customer(1, 3), "", True]] = 60.0
    result = plan.balance(energy, QUARTER)
    at = {key: index for index, key in enumerate(keys)}
    assert result.loss[0, at[F1]] == pytest.approx(100.0)
    assert result.imported[0, at[A1]] == 1000.0
    assert result.fed_in[0, at[A1]] == 60.0
    assert result.consumed[0, at[A1]] == 1020.0
    assert result.loss[0, at[A1]] == pytest.approx(40.0)
    assert result.rate()[0, at[A1]] == pytest.approx(100 * 40 / 1060)
    cells = plan.regions[at[AREA]].cells
    assert result.loss[0, at[AREA]] == pytest.approx(sum(result.loss[0, at[cell]] for cell in cells))
    assert result.imported[0, at[AREA]] == 1800.0
    assert result.exported[0, at[AREA]] == 0.0


def test_reverse_flow_at_the_boundary_is_an_export():
    plan, columns, keys = network()
    energy = np.zeros((1, plan.width))
    energy[0, columns[f"{P}/TS1/LV1/_/M0", "", False]] = 300.0
    energy[0, columns[customer(1, 1), "", True]] = 310.0
    result = plan.balance(energy, QUARTER)
    at = keys.index(A1)
    assert (result.imported[0, at], result.exported[0, at], result.fed_in[0, at]) == (0.0, 300.0, 310.0)
    assert result.loss[0, at] == pytest.approx(10.0)


def test_no_rate_is_computed_when_almost_nothing_enters():
    region, meters, columns = one_area(1, boundary_class=0.5, customer_class=1)
    result = BalancePlan([region], meters, columns).balance(np.array([[40.0, 30.0], [60.0, 30.0]]), QUARTER)
    assert np.isnan(result.rate(50.0)[0, 0])
    assert result.rate(50.0)[1, 0] == pytest.approx(50.0)


def test_unmetered_known_energy_is_no_loss():
    region, meters, columns = one_area(1, boundary_class=0.5, customer_class=1)
    result = BalancePlan([region], meters, columns).balance(
        np.array([[100.0, 80.0]]), QUARTER, unmetered=np.array([15.0])
    )
    assert result.loss[0, 0] == pytest.approx(5.0)


def test_completeness_weighs_meters_by_their_usual_energy_and_a_missing_boundary_has_no_loss():
    region, meters, columns = one_area(3, boundary_class=0.5, customer_class=1)
    energy = np.array([[100.0, 50.0, np.nan, 10.0], [np.nan, 50, 30, 10], [100, 50, 30, 10]])
    flags = np.zeros(energy.shape, np.uint8)
    flags[2, 3] = Flag.ESTIMATED
    weight = np.array([100.0, 50.0, 40.0, 10.0])
    result = BalancePlan([region], meters, columns).balance(energy, QUARTER, flags=flags, weight=weight)
    assert result.complete[:, 0].tolist() == pytest.approx([0.8, 0.5, 0.95])
    assert result.estimated[:, 0].tolist() == pytest.approx([0, 0, 0.05])
    assert np.isnan(result.loss[:, 0]).tolist() == [False, True, False]


def test_a_member_that_nobody_reads_makes_the_region_incomplete():
    region, meters, columns = one_area(4, boundary_class=0.5, customer_class=1)
    del columns["m3", "", False]
    result = BalancePlan([region], meters, columns).balance(np.array([[4.0, 1.0, 1.0, 1.0]]), QUARTER)
    assert result.complete[0, 0] == pytest.approx(3 / 4)


# ---- alignment ------------------------------------------------------------------------------------------------------


def test_registers_read_off_the_boundary_are_interpolated_between_their_neighbours():
    times = np.arange(6) * QUARTER
    offsets = np.array([0.0, 20.0, -15.0, 30.0, -30.0, 0.0])[:, None]
    registers = 100.0 + 2.0 * (times[:, None] + offsets)
    moved, lost = align_registers(registers, offsets, QUARTER)
    assert moved[:, 0].tolist() == pytest.approx((100 + 2 * times).tolist())
    assert not lost.any()


def test_readings_further_than_30_s_from_the_boundary_are_none():
    moved, lost = align_registers(np.arange(4.0)[:, None], np.array([0, 31.0, 0, -31.0])[:, None], QUARTER)
    assert lost[:, 0].tolist() == [False, True, False, True]
    assert np.isnan(moved[1, 0])


@pytest.mark.parametrize("late", [12.0, -12.0])
def test_many_rows_with_gaps_are_aligned_like_few(late):
    rng = np.random.default_rng(5)
    registers = np.cumsum(rng.random((70, 4)), axis=0)
    registers[[0, 17, 33, 34, 69], 1] = np.nan
    offsets = np.array([late, late, 0.0, -late])
    moved, lost = align_registers(registers, offsets, QUARTER)
    one_by_one, missing = align_registers(registers, np.broadcast_to(offsets, registers.shape), QUARTER)
    assert np.array_equal(np.isnan(moved), np.isnan(one_by_one))
    assert moved == pytest.approx(one_by_one, nan_ok=True)
    assert np.array_equal(lost, missing)
    in_place, _ = align_registers(registers.copy(), offsets, QUARTER, consume=True)
    assert np.array_equal(in_place, moved, equal_nan=True)
    for at in (5, 16, 32, 40):
        side = registers[at] - registers[at - 1] if late > 0 else registers[at + 1] - registers[at]
        assert moved[at, 0] == pytest.approx(registers[at, 0] - late / QUARTER * side[0])
    assert not np.isnan(moved[[16, 18, 32, 35], 1]).any()


def test_intervals_are_stamped_at_their_end():
    assert interval_ends(900.0, 3600.0, QUARTER).tolist() == [1800.0, 2700.0, 3600.0]


def test_alarms_need_an_hour_unless_all_clocks_are_good():
    assert windows_for_alarms(clock_sigma([2.0, -9.0]), QUARTER) == QUARTER
    assert windows_for_alarms(clock_sigma([2.0, np.nan]), QUARTER) == 3600.0


TABLE = {
    900: {10: 0.14, 30: 0.43, 60: 0.91, 180: 2.5, 300: 4.0},
    3600: {10: 0.05, 30: 0.12, 60: 0.25, 180: 0.83, 300: 1.4},
}
STEP = 10


@pytest.fixture(scope="module")
def households():
    """Cumulated energy of 100 households over seven days in steps of 10 s, and that of the feeder with 3 % loss."""
    rng = np.random.default_rng(1)
    minutes = 7 * 1440
    t = np.arange(minutes)
    base = 0.25 + 0.35 * np.exp(-(((t % 1440 - 1140) / 180.0) ** 2)) + 0.15 * np.exp(-(((t % 1440 - 450) / 90.0) ** 2))
    loads = np.empty((minutes, 100), np.float32)
    for at in range(100):
        load = base * rng.lognormal(0, 0.4)
        for start in rng.integers(0, minutes, rng.poisson(12 * 7)):
            load[start : start + rng.integers(3, 40)] += rng.uniform(0.8, 3.0)
        loads[:, at] = load
    total = np.cumsum(loads * (1000 / 60), axis=0, dtype=np.float64)
    return np.vstack([np.zeros((1, 100)), total])


@pytest.mark.parametrize("length", [900, 3600])
def test_the_scatter_of_the_loss_rate_by_clock_errors_is_that_of_the_table(households, length):
    region, meters, columns = one_area(100, boundary_class=0.5, customer_class=1)
    minutes = np.arange(len(households)) * 60.0
    feeder = households.sum(axis=1) / 0.97
    ends = np.arange(1, 7 * 86_400 // length - 1) * float(length)
    for sigma, expected in TABLE[length].items():
        clocks = np.rint(np.random.default_rng(sigma).normal(0, sigma, 100) / STEP) * STEP
        registers = np.empty((len(ends), 101))
        registers[:, 0] = np.interp(ends, minutes, feeder)
        for at in range(100):
            registers[:, at + 1] = np.interp(ends + clocks[at], minutes, households[:, at])
        energy = interval_energies(registers, RegisterRules.plain(101), length).energy
        plan = BalancePlan([region], meters, columns, sigma_clock={f"m{k}": float(sigma) for k in range(100)})
        rate = plan.balance(energy, length).rate()[:, 0]
        assert rate.mean() == pytest.approx(3.0, abs=0.1)
        # One draw of a hundred clocks: its scatter is that of the table within a third.
        assert rate.std() == pytest.approx(expected, rel=0.35, abs=0.03)


def test_over_a_day_clock_errors_hardly_count(households):
    day = 1440
    clocks = np.random.default_rng(2).normal(0, 300, 100)
    minutes = np.arange(len(households)) * 60.0
    ends = np.arange(1, 7) * 86_400.0
    read = sum(np.diff(np.interp(ends + clocks[at], minutes, households[:, at])) for at in range(100))
    feeder = np.diff(households[day : 6 * day + 1 : day].sum(axis=1)) / 0.97
    assert (100 * (feeder - read) / feeder).std() < 0.06
