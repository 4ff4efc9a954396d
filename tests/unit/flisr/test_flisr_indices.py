"""Reliability indices and expected reliability."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flisr_grids import reference

from twin_gateway.twin.flisr.indices import Interruption, indices, saved
from twin_gateway.twin.flisr.reliability import FailureData, LoadPoint, RadialFeeder, expectation, point_outages


def test_the_indices_of_the_specification():
    without = indices([Interruption(2000, 90.0)], 2000)
    assert (without.saifi, without.saidi) == (1.0, 90.0)
    events = [Interruption(300, 90.0), Interruption(700, 2.5), Interruption(1000, 1.5)]
    found = indices(events, 2000)
    assert found.saifi == pytest.approx(0.15)
    assert found.saidi == pytest.approx(13.5)
    assert found.caidi == pytest.approx(90.0)
    assert found.maifi == pytest.approx(0.85)
    assert found.asai == pytest.approx(1.0 - 13.5 / 525_600)
    won = saved(events, 2000, 90.0)
    assert won.saidi == pytest.approx(76.5)
    assert won.saifi == pytest.approx(0.85)


def test_the_threshold_of_a_sustained_interruption_can_be_set():
    events = [Interruption(100, 4.0)]
    assert indices(events, 100).saifi == 0.0
    assert indices(events, 100, threshold=3.0).saifi == 1.0


def test_energy_not_supplied_counts_every_minute():
    assert indices([Interruption(1, 30.0, 4e3), Interruption(1, 3.0, 20e3)], 10).ens == pytest.approx(3000.0)


def test_without_customers_there_are_no_indices():
    with pytest.raises(ValueError, match="customer"):
        indices([], 0)
    assert indices([], 1).caidi == 0.0


def rbts() -> tuple[list[RadialFeeder], FailureData]:
    data = reference("rbts_bus2.json")
    length, values = data["length_km"], data["params"]
    feeders = [
        RadialFeeder(
            tuple(length[str(section)] for section in item["main"]),
            tuple(
                LoadPoint(
                    data["customers"][point],
                    data["avg_mw"][point] * 1e6,
                    length[str(lateral)],
                    item["main"].index(section),
                    int(point) not in values["no_trafo"],
                )
                for point, (lateral, section) in item["laterals"].items()
            ),
        )
        for item in data["feeders"].values()
    ]
    rates = FailureData(
        values["line_failure_per_km_yr"],
        values["line_repair_h"],
        values["trafo_failure_yr"],
        values["trafo_repair_h"],
        values["switching_h"],
    )
    return feeders, rates


def test_rbts_bus_2_with_transformers_repaired():
    found = expectation(*rbts())
    assert found.saifi == pytest.approx(0.248, rel=0.01)
    assert found.saidi == pytest.approx(3.61, rel=0.01)
    assert found.ens == pytest.approx(37.746e6, rel=0.01)


def test_rbts_bus_2_with_transformers_replaced():
    feeders, rates = rbts()
    found = expectation(feeders, replace(rates, transformer_repair=10.0))
    assert found.saidi == pytest.approx(0.77, rel=0.01)
    assert found.caidi == pytest.approx(3.08, rel=0.01)


def test_faster_switching_shortens_what_others_wait_for_a_fault():
    feeder = RadialFeeder((1.0, 1.0), (LoadPoint(10, 1e3, 0.5, 0), LoadPoint(10, 1e3, 0.5, 1)))
    slow = FailureData(0.1, 5.0, 0.0, 200.0, 1.0)
    # own section 5 h, the other 1 h, own lateral 5 h
    assert point_outages(feeder, slow)[0] == pytest.approx((0.25, 0.1 * 5 + 0.1 * 1 + 0.05 * 5))
    fast = expectation([feeder], replace(slow, switching=0.05))
    assert fast.saidi < expectation([feeder], slow).saidi
    assert fast.saifi == expectation([feeder], slow).saifi
    alone = replace(slow, alternative=False)
    assert point_outages(feeder, alone)[1] == pytest.approx((0.25, 0.1 * 5 + 0.1 * 5 + 0.05 * 5))
    assert point_outages(feeder, replace(slow, fuses=False))[0][0] == pytest.approx(0.3)
    with pytest.raises(ValueError, match="customer"):
        expectation([], slow)
