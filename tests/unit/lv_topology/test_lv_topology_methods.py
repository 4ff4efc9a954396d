"""Each method of identification by itself, and the weighing of methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twin_gateway.bench.lv_areas import Truth
from twin_gateway.twin.lv_topology.clustering import agglomerate, groups
from twin_gateway.twin.lv_topology.correlation import quiet_intervals, segments
from twin_gateway.twin.lv_topology.data import AreaData, effective_length, filled, increments, smoothed_off, without
from twin_gateway.twin.lv_topology.energy import energy_balance, nonnegative
from twin_gateway.twin.lv_topology.events import Burst, LastGasp, SupplyLoss, bursts, outage_vote
from twin_gateway.twin.lv_topology.fusion import by_meter, fuse, stability, weigh, words
from twin_gateway.twin.lv_topology.increments import parents
from twin_gateway.twin.lv_topology.metrics import edges
from twin_gateway.twin.lv_topology.plc import Hearing, carrier_vote
from twin_gateway.twin.lv_topology.records import MOST_TRUST, Record, record_vote, same_phases, trust_in
from twin_gateway.twin.lv_topology.votes import Vote, correlation_odds

T0, T1 = "dso1/north/TS00/MV1/T01/TA1", "dso1/north/TS01/MV1/T01/TA1"


def bare(channels: tuple[int, ...] = (1, 3, 1), intervals: int = 40) -> AreaData:
    """Meters with so many channels each, two transformers, no data."""
    meter = np.repeat(np.arange(len(channels)), channels)
    nothing = np.full((len(meter), intervals), np.nan)
    return AreaData(
        start=0.0,
        step=900.0,
        meters=tuple(f"dso1/north/SP{number}/LV1/_/M1" for number in range(len(channels))),
        transformers=(T0, T1),
        channel_meter=meter,
        channel_terminal=np.concatenate([np.arange(count) for count in channels]),
        v=nothing,
        p=nothing,
        vt=np.full((2, 3, intervals), np.nan),
        pt=np.full((2, 3, intervals), np.nan),
        power_split=np.ones(len(channels), bool),
    )


def test_matrices_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="three phases"):
        replace(bare(), vt=np.zeros((2, 3, 7)))


def test_gaps_stay_gaps_through_increments_and_smoothing() -> None:
    series = np.array([[1.0, 2.0, np.nan, 4.0, 5.0]])
    assert np.isnan(increments(series)).tolist() == [[False, True, True, False]]
    assert np.isnan(smoothed_off(series, 3)).tolist() == [[False, False, True, False, False]]
    assert filled(series).tolist() == [[-2.0, -1.0, 0.0, 1.0, 2.0]]


def test_a_common_mode_is_regressed_out_whatever_its_size_in_a_row() -> None:
    rng = np.random.default_rng(0)
    mode = rng.normal(size=(1, 200))
    own = without(rng.normal(size=(2, 200)), mode)
    assert np.allclose(without(own + np.array([[3.0], [-7.0]]) @ mode, mode), own)


def test_series_with_memory_hold_fewer_independent_intervals() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=(3, 2000))
    slow = np.cumsum(white, axis=1)
    assert effective_length(white, white) == pytest.approx(2000, rel=0.05)
    assert effective_length(slow, slow) < 200


def test_no_correlation_speaks_weakly_and_a_strong_one_strongly() -> None:
    odds = correlation_odds(np.array([-5.0, 0.0, 2.0, 10.0]), 1000.0)
    assert odds[0] == odds[1] < 0
    assert odds[1] > -3
    assert odds[3] > 40


def test_nights_are_apart_where_plants_feed_in(own_case: tuple[AreaData, Truth]) -> None:
    data, _ = own_case
    quiet = quiet_intervals(data)
    hour = data.hour()
    assert quiet[(hour < 5) | (hour > 22)].mean() > 0.95
    assert quiet[(hour > 11) & (hour < 15)].mean() < 0.2
    assert len(segments(data)) == 2
    assert len(segments(replace(data, p=np.abs(data.p)))) == 1


def test_nonnegative_regression_finds_the_known_answer() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 300))
    true = np.array([[1, 0], [0, 1], [0.5, 0.5], [0, 0], [1, 0], [0, 0.3]], float)
    y = true.T @ x + rng.normal(0, 0.01, (2, 300))
    assert np.allclose(nonnegative(x @ x.T, x @ y.T), true, atol=0.01)
    pushed = nonnegative(x @ x.T, x @ (y - 3 * x[3]).T)
    assert pushed.min() >= 0
    assert pushed.max() <= 1


def test_energy_tells_what_nobody_meters(own_case: tuple[AreaData, Truth]) -> None:
    data, _ = own_case
    less = energy_balance(data).unexplained
    hidden = data.p.copy()
    hidden[::2] = np.nan
    assert energy_balance(replace(data, p=hidden)).unexplained.mean() > 1.3 * less.mean()


def test_a_register_error_in_one_meter_does_not_move_the_others(own_case: tuple[AreaData, Truth]) -> None:
    data, _ = own_case
    p = data.p.copy()
    p[5, 200] = 1e9
    before, after = energy_balance(data).vote, energy_balance(replace(data, p=p)).vote
    assert np.array_equal(before.probabilities().argmax(1), after.probabilities().argmax(1))


def test_average_linkage_joins_the_alike_first() -> None:
    similarity = np.full((6, 6), 0.1)
    similarity[:3, :3] = 0.9
    similarity[3:5, 3:5] = 0.8
    assert agglomerate(similarity, 3).tolist() == [0, 0, 0, 1, 1, 2]
    assert agglomerate(similarity, 99).tolist() == [0, 1, 2, 3, 4, 5]
    assert set(agglomerate(similarity, 1).tolist()) == {0}


def test_groups_need_voltages() -> None:
    assert groups(bare()).tolist() == [-1] * 5


def test_parents_of_a_line_are_its_neighbours() -> None:
    depth = np.array([3.0, 1.0, 4.0, 2.0])
    shared = np.minimum.outer(depth, depth) - 0.1 * (1 - np.eye(4))
    up = parents(shared)
    assert up[2] in {0}
    assert up[0] in {2, 3}
    assert (up >= 0).sum() == 3
    assert edges(up, up, shared) == (1.0, 1.0, 1.0)


def test_a_concentrator_that_hears_a_meter_well_feeds_it_and_its_angle_tells_the_phase() -> None:
    data = bare()
    meter = data.meters[0]
    vote = carrier_vote(data, [Hearing(meter, T0, 18, 20, 118.0), Hearing(meter, T1, 3, 20)])
    probabilities = vote.probabilities()[0]
    assert probabilities.argmax() == 1
    assert probabilities[1] > 0.95
    assert np.all(vote.log_odds[1:] == 0)
    turned = carrier_vote(data, [Hearing(meter, T0, 18, 20, 300.0)]).probabilities()[0]
    assert turned.argmax() == 1


def test_cross_talk_alone_names_no_transformer() -> None:
    data = bare()
    vote = carrier_vote(data, [Hearing(data.meters[0], T0, 9, 20), Hearing(data.meters[0], T1, 9, 20)])
    assert vote.probabilities()[0].max() < 0.5


def test_last_gasps_close_in_time_are_one_burst() -> None:
    gasps = [LastGasp("b", 105.0), LastGasp("a", 100.0), LastGasp("c", 900.0), LastGasp("a", 110.0)]
    assert bursts(gasps) == [Burst(100.0, ("a", "b"))]


def test_who_gasps_when_a_phase_is_lost_is_likely_on_it_and_who_keeps_silent_is_not() -> None:
    data = bare()
    losses = [SupplyLoss(T1, 1000.0, "B"), SupplyLoss(T1, 9000.0, "B")]
    gasps = [LastGasp(data.meters[0], 1002.0), LastGasp(data.meters[0], 9001.0), LastGasp(data.meters[1], 9001.0, 2)]
    odds = outage_vote(data, gasps, losses).log_odds
    assert odds[0].argmax() == 4
    assert odds[0, 4] > 6
    assert odds[4, 4] < -2
    assert np.all(outage_vote(data, [], losses).log_odds == 0)


def test_records_are_a_prior_that_never_decides_alone() -> None:
    data = bare()
    records = (Record(T0, "B"), Record(T1, "ABC"), Record())
    vote = record_vote(data, records, 0.999)
    probabilities = vote.probabilities()
    assert probabilities[0].argmax() == 1
    assert probabilities[0].max() == pytest.approx(MOST_TRUST)
    assert probabilities[1, 3:6].sum() == pytest.approx(MOST_TRUST)
    assert np.all(vote.log_odds[4] == 0)
    assert trust_in(0, 0) == 0.5
    assert trust_in(95, 100) == MOST_TRUST
    assert trust_in(30, 100) == pytest.approx(31 / 102)
    assert same_phases("BCA", "ABC")
    assert not same_phases("A", "B")


def odds_of(answers: list[int], size: float, places: int = 6) -> np.ndarray:
    odds = np.full((len(answers), places), -size)
    odds[np.arange(len(answers)), answers] = size
    return odds


def test_a_method_that_contradicts_itself_loses_its_weight() -> None:
    steady = Vote("energy", odds_of([0, 1, 2, 3, 4, 5] * 5, 20.0))
    fickle = Vote("energy", odds_of([1, 2, 3, 4, 5, 0] * 5, 20.0))
    assert stability(steady, steady) == (1.0, pytest.approx(31 / 32))
    scale, agree = stability(steady, fickle)
    assert scale < 0.05
    assert agree < 0.1


def test_the_steady_method_wins_against_two_that_change_their_minds() -> None:
    good = Vote("energy", odds_of([0, 1, 2, 3, 4, 5] * 5, 20.0))
    bad = [Vote(name, odds_of([5, 4, 3, 2, 1, 0] * 5, 20.0)) for name in ("voltage", "drop")]
    weights = weigh([good, *bad], {"energy": (1.0, 0.97), "voltage": (1.0, 0.3), "drop": (1.0, 0.3)})
    limits = {weight.method: weight.limit for weight in weights}
    assert limits["energy"] > 5
    assert limits["voltage"] < 1
    fused = fuse([good, *bad], weights)
    assert fused.argmax(1).tolist() == [0, 1, 2, 3, 4, 5] * 5


def test_no_method_says_more_than_its_limit() -> None:
    said = words(np.array([[1000.0, -1000.0]]), 1.0, 3.0)
    assert said.tolist() == [[0.0, -3.0, -3.0]]


def test_channels_of_a_meter_are_on_one_transformer_and_on_different_phases() -> None:
    data = bare()
    full = np.zeros((5, 7))
    full[0, 4] = 9.0
    full[1:4, 1] = 3.0  # all three terminals like phase B of the first transformer
    full[1, 0] = full[2, 1] = full[3, 2] = 4.0
    full[4, 6] = 9.0
    places = by_meter(data, full)
    assert places.transformer.tolist() == [1, 0, -1]
    assert places.order == ("B", "ABC", "")
    assert places.confidence[0] > 0.99
    assert 0.3 < places.confidence[1] < 0.99
