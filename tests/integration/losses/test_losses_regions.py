"""Busbars, loops, shares of moved customers and slow drifts, from the interval store to the result."""

import numpy as np
import pytest
from loss_grids import HEAD_METERS, RIGHT, TIE, P, customer, two_feeders

from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.losses import make_losses
from twin_gateway.functions.losses_job import OK, LossJob, balance_window, write_grid
from twin_gateway.functions.losses_results import DayLoss
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.grid.model import CimClass, ConnectivityNode, Equipment, Meter, MeterRole, Position, SwitchRating
from twin_gateway.twin.losses.detection import Method
from twin_gateway.twin.losses.regions import RegionKind, regions
from twin_gateway.twin.losses.technical import loss_model

FIRST, COUNT, DAY = 1_700_006_400 // 900, 4, 86_400.0
A1, F1, F2 = f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/PS01/MV1/F01/_/twLOSS1", f"{P}/PS01/MV1/F02/_/twLOSS1"


def balanced(directory, grid, energies, positions=(), **settings):
    """Balances of four quarter hours with the same energy in each."""
    path = directory / "i.sqlite"
    store = IntervalStore(path)
    for address, energy in energies.items():
        ids = np.full(COUNT + 1, store.ids([address])[0])
        store.write(ids, FIRST + np.arange(COUNT + 1), np.arange(COUNT + 1) * energy, np.zeros(COUNT + 1, np.uint32))
    store.put_positions(list(positions))
    store.close()
    write_grid(grid, directory / "grid.pickle")
    start = FIRST * 900.0
    job = LossJob(path, directory / "grid.pickle", start, start + COUNT * 900.0, LossSettings(**settings))
    return balance_window(job).series


def test_a_busbar_whose_infeed_and_feeders_are_metered_has_a_balance_without_technical_loss(tmp_path):
    grid = two_feeders()
    infeed, bay = f"{P}/PS01/MV1/E01/_/CN1", f"{P}/PS01/MV1/E01/QA1"
    grid.add([ConnectivityNode(infeed, 12_660.0)])
    source = grid.equipment[f"{P}/PS01/MV1/_/SRC1"]
    grid.equipment[source.address] = Equipment(source.address, source.cim_class, (infeed,), source.data)
    grid.add([Equipment(bay, CimClass.BREAKER, (infeed, f"{P}/PS01/MV1/_/CN1"), SwitchRating())])
    grid.meters[f"{P}/PS01/MV1/E01/M0"] = Meter(f"{P}/PS01/MV1/E01/M0", bay, MeterRole.BOUNDARY, terminal=1)
    found = {key: region for key, region in regions(grid, {}).items() if region.kind is RegionKind.BUSBAR}
    assert list(found) == [f"{P}/PS01/MV1/_/_/twLOSS1"]
    energies = {f"{P}/PS01/MV1/E01/M0/MMTR1/DmdWh": 5000.0, **{f"{m}/MMTR1/DmdWh": 2490.0 for m in HEAD_METERS}}
    series = balanced(tmp_path, grid, energies)[f"{P}/PS01/MV1/_/_/twLOSS1"]
    assert series.loss == pytest.approx(np.full(COUNT, 20.0))
    assert series.technical.tolist() == [0.0] * COUNT
    assert series.state.tolist() == [OK] * COUNT


def test_two_feeders_that_are_tied_together_share_one_balance(tmp_path):
    grid = two_feeders()
    closed = {TIE: Position.CLOSED}
    region = regions(grid, closed)[F1]
    assert {term.meter for term in region.boundary} >= set(HEAD_METERS)
    energies = {f"{m}/MMTR1/DmdWh": 8000.0 for m in HEAD_METERS}
    energies |= {f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh": 7900.0 for k in (1, 2)}
    start = FIRST * 900.0
    series = balanced(tmp_path, grid, energies, [(start - 10, TIE, 2), (start - 10, RIGHT, 2)])
    assert series[F1].loss == pytest.approx(np.full(COUNT, 200.0))


def test_a_loop_within_a_feeder_has_a_balance_and_no_technical_loss(tmp_path):
    grid = two_feeders()
    line = grid.equipment[f"{P}/L1/MV1/_/WB1"]
    grid.add([Equipment(f"{P}/L1/MV1/_/WB2", line.cim_class, line.nodes, line.data)])
    assert loss_model(grid, regions(grid, {})[F1], grid.meters) is None
    energies = {f"{HEAD_METERS[0]}/MMTR1/DmdWh": 8000.0, f"{P}/TS1/LV1/_/M0/MMTR1/SupWh": 7900.0}
    series = balanced(tmp_path, grid, energies)[F1]
    assert series.loss == pytest.approx(np.full(COUNT, 100.0))
    assert np.isnan(series.technical).all()
    assert np.isnan(series.non_technical).all()


def test_with_split_a_customer_that_is_moved_counts_by_its_time_and_the_interval_may_be_used(tmp_path):
    grid = two_feeders()
    energies = {f"{m}/MMTR1/DmdWh": 8000.0 for m in HEAD_METERS}
    energies |= {f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh": 7900.0 for k in (1, 2)}
    energies |= {f"{customer(k, n)}/MMTR1/DmdWh": 2600.0 for k in (1, 2) for n in (1, 2, 3)}
    start = FIRST * 900.0
    moved = [(start - 10, RIGHT, 2), (start - 10, TIE, 1), (start + 1260, RIGHT, 1), (start + 1260, TIE, 2)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    flagged = balanced(tmp_path / "a", grid, energies, moved)
    split = balanced(tmp_path / "b", grid, energies, moved, split=True)
    assert flagged[F1].state[1] != OK
    assert split[F1].state[1] == OK
    assert flagged[A1].state.tolist() == split[A1].state.tolist() == [OK] * COUNT


async def test_a_slow_drift_of_the_daily_loss_rate_is_a_suspicion_of_the_region_until_it_is_over(rig, tmp_path):
    start = FIRST * 900.0
    IntervalStore(tmp_path / "intervals.sqlite").close()
    losses = make_losses(rig.context, LossSettings(), worker=rig.worker)
    rates = 4.0 + np.random.default_rng(1).normal(0.0, 0.2, 40)
    rates[20:] += 0.5  # too little for the band, and for a single day
    found = []
    for day in (20, 26, 35):
        known = [(A1, DayLoss(start + at * DAY, float(rate), None, None, 1.0)) for at, rate in enumerate(rates[:day])]
        losses._results.put_days(known)
        found.append([item.method for item in await losses._search._drift(A1, start + day * DAY)])
    assert found == [[], [Method.CUSUM], [Method.CUSUM]]
    rates = np.concatenate([rates[:35], np.full(20, 4.0)])
    losses._results.put_days([(A1, DayLoss(start + at * DAY, float(r), None, None, 1.0)) for at, r in enumerate(rates)])
    assert await losses._search._drift(A1, start + len(rates) * DAY) == []
