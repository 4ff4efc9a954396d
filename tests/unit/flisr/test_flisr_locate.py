"""Fault location: the vectors of the specification and the rules for what an indicator says."""

from __future__ import annotations

import numpy as np
import pytest
from flisr_grids import fault, line, normal_states, six_bus

from twin_gateway.grid.model import CimClass, Equipment, FaultIndicator, GeneratorData, Grid
from twin_gateway.twin.flisr.locate import candidate_set, locate, posterior
from twin_gateway.twin.flisr.records import Direction, FaultKind, Indication, LocateSettings, Location
from twin_gateway.twin.flisr.zones import compile_network

ZONES = ("Z1", "Z2", "Z3", "Z4", "Z5")
INDICATORS = ("CB", "f1", "f2", "f3", "f4")
PASSES = {
    "Z1": {"CB"},
    "Z2": {"CB", "f1"},
    "Z3": {"CB", "f1", "f2"},
    "Z4": {"CB", "f1", "f2", "f3"},
    "Z5": {"CB", "f1", "f4"},
}
NEIGHBOURS = ([1], [0, 2, 4], [1, 3], [2], [1])


@pytest.mark.parametrize(
    ("said", "zones", "probability"),
    [
        ({"f1": 1, "f2": 1, "f3": 0, "f4": 0}, ["Z3"], 0.975),
        ({"f1": 0, "f2": 0, "f3": 0, "f4": 0}, ["Z1"], 0.980),
        ({"f1": 1, "f3": 0, "f4": 0}, ["Z2", "Z3"], 0.978),
        ({"f1": 0, "f2": 1, "f3": 0, "f4": 0}, ["Z1", "Z2", "Z3"], 0.984),
        ({"f1": 1, "f2": 1, "f3": 0, "f4": 1}, ["Z2", "Z3", "Z5"], 0.990),
        ({"f1": 1, "f2": 0, "f3": 0, "f4": 1}, ["Z5"], 0.995),
        ({}, list(ZONES), 1.0),
    ],
)
def test_candidate_sets_are_those_of_the_specification(said, zones, probability):
    said = {"CB": 1, **said}
    told = [name for name in INDICATORS if name in said]
    expected = np.array([[name in PASSES[zone] for name in told] for zone in ZONES])
    chance = posterior(expected, np.array([bool(said[name]) for name in told]))
    chosen = candidate_set(ZONES, chance, NEIGHBOURS)
    assert [ZONES[zone] for zone in chosen] == zones
    assert chance[chosen].sum() == pytest.approx(probability, abs=5e-4)


FPI = {n: f"dso1/north/RMU0{k}/MV1/C0{n}/_/SFPI1/FltInd" for n, k in ((2, 2), (3, 3))}
TRIP = 1000.0
LINE = {n: line(n) for n in range(1, 7)}


def indication(n: int, passed: bool | None, **options) -> Indication:
    return Indication(FPI[n], passed, **{"time": TRIP + 0.1, "received": TRIP + 1, "answered": TRIP + 3, **options})


def found(grid: Grid, *said: Indication, settings: LocateSettings | None = None, **options) -> Location:
    network = compile_network(grid)
    device = "dso1/north/PS01/MV1/F01/QA1"
    before = network.positions(normal_states(network))
    told = {item.address: item for item in said}
    return locate(network, before, device, told, TRIP, settings=settings, **options)


def test_the_zone_behind_the_last_indication_is_found():
    location = found(six_bus(), indication(2, True), indication(3, False))
    # between the switches at bus 2 and bus 3 of lines 2 and 3: the line and the busbar of unit 3 remain
    assert next(iter(location.posterior)) == LINE[2]
    assert LINE[3] not in location.candidates
    assert LINE[1] not in location.candidates
    assert sum(location.posterior.values()) == pytest.approx(1.0)


def test_a_missing_indicator_is_never_taken_as_not_passed():
    silent = found(six_bus(), indication(2, True))
    assert FPI[3] in silent.ignored
    assert {LINE[2], LINE[3]} <= set(silent.candidates)
    assert not silent.auto_ok


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passed": None}, "missing or invalid"),
        ({"passed": False, "answered": TRIP - 1}, "no answer after the trip"),
        ({"passed": True, "time": TRIP - 2.1}, "older than the trip"),
        ({"passed": True, "time": None, "received": None}, "no time"),
        ({"passed": True, "clock_good": False, "received": TRIP - 10}, "older than the trip"),
    ],
)
def test_an_indication_that_says_nothing_of_this_fault_gives_no_term(changes, why):
    options = {"passed": True, **changes}
    location = found(six_bus(), indication(2, **options))
    assert location.ignored[FPI[2]] == why


def test_an_indication_within_the_clock_tolerance_counts():
    assert FPI[2] not in found(six_bus(), indication(2, True, time=TRIP - 1.9)).ignored


def test_a_bad_clock_is_replaced_by_the_order_of_arrival_and_said():
    location = found(six_bus(), indication(2, True, time=TRIP - 9000, clock_good=False))
    assert FPI[2] not in location.ignored
    assert location.by_arrival


def test_silence_of_an_indicator_that_reports_by_exception_says_nothing():
    grid = six_bus()
    grid.indicators[FPI[3]] = FaultIndicator(FPI[3], grid.indicators[FPI[3]].equipment, 1, poll=False)
    silent = found(grid, indication(2, True), indication(3, False, received=TRIP - 100))
    assert silent.ignored[FPI[3]] == "reports by exception and is silent"
    told = found(grid, indication(2, True), indication(3, False, received=TRIP + 1))
    assert FPI[3] not in told.ignored


def generator(grid: Grid, k: int) -> None:
    node = f"dso1/north/RMU0{k}/MV1/_/CN1"
    grid.add([Equipment(f"dso1/north/RMU0{k}/MV1/T02/G1", CimClass.GENERATOR, (node,), GeneratorData(1e5, 0, 1e5))])


def test_generation_beyond_a_non_directional_indicator_silences_it():
    grid = six_bus()
    generator(grid, 4)
    location = found(grid, indication(2, True), indication(3, True))
    assert all("generation" in location.ignored[FPI[n]] for n in (2, 3))


def test_a_directional_indicator_tells_back_feed_from_the_source():
    grid = six_bus()
    generator(grid, 4)
    for n in (2, 3):
        grid.indicators[FPI[n]] = FaultIndicator(FPI[n], grid.indicators[FPI[n]].equipment, 1, directional=True)
    location = found(
        grid,
        indication(2, True, direction=Direction.FORWARD),
        indication(3, True, direction=Direction.BACKWARD),
    )
    assert not location.ignored.keys() & set(FPI.values())
    assert next(iter(location.posterior)) == LINE[2]
    assert LINE[3] not in location.candidates


def test_earth_faults_need_a_direction_where_capacitive_current_flows():
    said = indication(2, True)
    isolated = found(six_bus(), said, kind=FaultKind.EARTH, neutral="compensated")
    assert "capacitive" in isolated.ignored[FPI[2]]
    assert FPI[2] not in found(six_bus(), said, kind=FaultKind.EARTH, neutral="solid").ignored
    assert FPI[2] not in found(six_bus(), said, kind=FaultKind.PHASE, neutral="compensated").ignored


def test_an_indicator_that_contradicts_the_others_is_named():
    location = found(six_bus(), indication(2, False), indication(3, True))
    assert location.implausible == (FPI[2],)


def test_the_prior_moves_the_answer_between_zones_that_no_indicator_parts():
    said = (indication(2, True), indication(3, False))
    likely = found(six_bus(), *said, prior={LINE[2]: 1.0, "dso1/north/RMU03/MV1/_/CN1": 50.0})
    assert next(iter(likely.posterior)) == "dso1/north/RMU03/MV1/_/CN1"


def test_a_tripped_area_ends_at_open_switches():
    location = found(six_bus())
    assert LINE[4] not in location.posterior
    assert LINE[3] in location.posterior
    assert sum(location.posterior.values()) == pytest.approx(1.0)


def test_a_fault_of_the_sixth_bus_leaves_the_other_feeder_alone():
    case = fault(six_bus(), [LINE[5]], device="dso1/north/PS01/MV1/F04/QA1")
    assert case.isolation.isolated_zones == (LINE[5],)
