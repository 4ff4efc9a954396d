"""Gaps of many columns are filled in one go, as the rules do it column by column."""

import time

import numpy as np
import pytest

from twin_gateway.grid.model import Meter
from twin_gateway.twin.losses.balance import BalancePlan
from twin_gateway.twin.losses.gaps import GapFinder
from twin_gateway.twin.losses.meter_data import Flag, RegisterRules, _settle, interval_energies
from twin_gateway.twin.losses.regions import Region, RegionKind, Term

QUARTER = 900.0


def registers(rows=400, columns=60, seed=4):
    """Registers with gaps of every length, also at the edges and over all rows; some columns drop or jump."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.exponential(100.0, (rows, columns)), axis=0)
    values[rng.random(values.shape) < 0.03] = np.nan
    for column in range(10, 50):
        begin = rng.integers(-20, rows)
        values[max(begin, 0) : begin + rng.integers(1, 40), column] = np.nan
    values[200:, 3] -= 1e4  # a reset
    values[210:, 4] += 1e6  # a jump
    values[100:104, 5], values[104:, 5] = np.nan, values[104:, 5] - 1e5  # a reset in a gap
    values[300, 6] = 9e7  # a single wrong reading
    values[:, 7] = np.nan
    values[1:, 8] = np.nan
    values[:-1, 9] = np.nan
    return values


def rules(columns):
    factor = np.where(np.arange(columns) % 3 == 0, 40.0, 1.0)
    return RegisterRules(np.zeros(columns), np.full(columns, 40e3) * factor, factor, np.zeros(columns, bool))


@pytest.mark.parametrize("consume", [False, True])
@pytest.mark.parametrize("weekday", [False, True])
def test_gaps_filled_over_all_columns_are_those_of_the_rules_column_by_column(weekday, consume):
    values = registers()
    profile = np.random.default_rng(5).exponential(100.0, (399, 60)) if weekday else None
    expected = _settle(values, rules(60), QUARTER, profile)
    found = interval_energies(values.copy(), rules(60), QUARTER, weekday=profile, consume=consume)
    assert np.array_equal(found.energy, expected.energy, equal_nan=True)
    assert np.array_equal(found.flags, expected.flags)
    assert found.events == expected.events
    assert np.count_nonzero(found.flags & Flag.ESTIMATED) > 1000


def test_runs_are_found_over_pieces_and_at_both_edges():
    values = np.zeros((7, 3))
    values[:2, 0], values[3:6, 1], values[5:, 2] = np.nan, np.nan, np.nan
    finder = GapFinder(3)
    finder.take(values[:4], 0)
    finder.take(values[4:], 4)
    gaps = finder.done(7)
    runs = zip(gaps.column.tolist(), gaps.begin.tolist(), gaps.end.tolist(), strict=True)
    assert sorted(runs) == [(0, 0, 2), (1, 3, 6), (2, 5, 7)]


def test_completeness_with_gaps_is_that_of_the_weighted_shares_in_long_windows():
    count, meters = 300, {f"m{at}": Meter(f"m{at}", f"m{at}") for at in range(4)}
    columns = {(meter, "", False): at for at, meter in enumerate(meters)}
    region = Region(RegionKind.LV_AREA, "g/a/T/LV1", (Term("m0", 1),), tuple(Term(f"m{at}") for at in (1, 2, 3)))
    energy = np.tile([60.0, 10.0, 20.0, 30.0], (count, 1))
    flags = np.zeros(energy.shape, np.uint8)
    energy[250, 1], flags[250, 1] = np.nan, Flag.MISSING
    flags[7, 2], flags[250, 3] = Flag.ESTIMATED, Flag.ESTIMATED
    found = BalancePlan([region], meters, columns).balance(
        energy, QUARTER, flags=flags, weight=np.array([60.0, 10.0, 20.0, 30.0])
    )
    expected = np.ones(count)
    expected[7], expected[250] = 100 / 120, 80 / 120
    assert found.complete[:, 0] == pytest.approx(expected)
    assert np.nonzero(found.estimated[:, 0])[0].tolist() == [7, 250]
    assert found.estimated[250, 0] == pytest.approx(0.25)


def test_gaps_in_every_column_cost_little_more_than_none():
    rng = np.random.default_rng(6)
    values = np.cumsum(rng.exponential(100.0, (673, 2000)), axis=0)
    plain = RegisterRules.plain(2000)

    def cost(matrix):
        began = time.process_time()
        interval_energies(matrix, plain, QUARTER)
        return time.process_time() - began

    cost(values)
    without = min(cost(values) for _ in range(3))
    values[rng.random(values.shape) < 0.01] = np.nan
    assert min(cost(values) for _ in range(3)) < 5 * without + 0.01
