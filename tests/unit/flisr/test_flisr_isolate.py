"""Isolation: boundaries, moved outward where a switch cannot be opened."""

from __future__ import annotations

from dataclasses import replace

from flisr_grids import Cable, fault, head, line, six_bus, switch

from twin_gateway.bench.flisr_grids import add_cable, bus
from twin_gateway.grid.model import CimClass, Equipment, GeneratorData, Grid, Position, SwitchRating
from twin_gateway.twin.flisr.records import SwitchState

CLOSED = SwitchState(Position.CLOSED)
STUCK = SwitchState(Position.CLOSED, can_open=False, can_close=False, auto_close=False, reasons=("Loc",))
UNKNOWN = SwitchState(Position.UNKNOWN, can_open=False, can_close=False, auto_close=False)


def test_a_faulted_line_is_isolated_at_both_ends():
    isolation = fault(six_bus(), [line(2)]).isolation
    assert isolation.opens == (switch(2, 2), switch(3, 2))
    assert [item.side for item in isolation.boundaries] == ["source", "load"]
    assert isolation.isolated_zones == (line(2),)
    assert isolation.complete
    assert isolation.reclose_upstream


def test_an_open_tie_bounds_without_being_operated():
    isolation = fault(six_bus(), [line(6)]).isolation
    assert isolation.opens == (switch(4, 6),)
    assert [item.switch for item in isolation.boundaries if item.open_now] == [switch(6, 6)]


def test_a_boundary_that_cannot_be_opened_moves_outward():
    isolation = fault(six_bus(), [line(2)], changed={switch(3, 2): STUCK}).isolation
    assert isolation.isolated_zones == (line(2), bus(3))
    assert isolation.opens == (switch(2, 2), switch(3, 3))
    moved = {item.switch: item.moved_from for item in isolation.boundaries}
    assert moved == {switch(2, 2): "", switch(3, 3): switch(3, 2)}


def test_a_boundary_of_unknown_position_moves_outward():
    isolation = fault(six_bus(), [line(2)], changed={switch(3, 2): UNKNOWN}).isolation
    assert isolation.isolated_zones == (line(2), bus(3))


def test_a_tagged_switch_is_not_a_boundary():
    isolation = fault(six_bus(), [line(2)], changed={switch(3, 2): replace(CLOSED, tagged=True)}).isolation
    assert isolation.isolated_zones == (line(2), bus(3))


def test_moved_as_far_as_the_trip_device_nothing_is_reclosed():
    changed = {switch(2, 2): STUCK, switch(2, 1): STUCK}
    isolation = fault(six_bus(), [line(2)], changed=changed).isolation
    assert head(1) in [item.switch for item in isolation.boundaries if item.open_now]
    assert not isolation.reclose_upstream
    assert isolation.complete


def test_a_trip_device_that_is_not_available_is_not_reclosed():
    found = fault(six_bus(), [line(2)])
    assert found.isolation.reclose_upstream
    grid = six_bus()
    breaker = grid.equipment[head(1)]
    assert isinstance(breaker.data, SwitchRating)
    grid.equipment[head(1)] = replace(breaker, data=replace(breaker.data, fault_make=False))
    assert not fault(grid, [line(2)]).isolation.reclose_upstream


def test_a_part_that_nothing_can_make_live_is_isolated_with_the_fault():
    grid = six_bus()
    for n in (6,):
        for k in (4, 6):
            del grid.equipment[switch(k, n)]
    isolation = fault(grid, [line(2)]).isolation
    assert isolation.opens == (switch(2, 2),)
    assert bus(4) in isolation.isolated_zones


def with_generator(grid: Grid) -> Grid:
    grid.add([Equipment("dso1/north/RMU04/MV1/T02/G1", CimClass.GENERATOR, (bus(4),), GeneratorData(1e5, 0.0, 1e5))])
    return grid


def test_a_boundary_that_generation_can_back_feed_is_opened_first():
    isolation = fault(with_generator(six_bus()), [line(2)]).isolation
    assert isolation.opens == (switch(3, 2), switch(2, 2))
    assert [item.backfed for item in isolation.boundaries] == [True, False]


def test_a_live_boundary_of_unknown_position_leaves_the_isolation_incomplete():
    isolation = fault(six_bus(), [line(6)], changed={switch(6, 6): UNKNOWN}).isolation
    assert not isolation.complete
    assert switch(6, 6) in isolation.problems[0]


def test_neighbouring_fault_zones_are_isolated_together():
    isolation = fault(six_bus(), [line(2), bus(3)]).isolation
    assert isolation.opens == (switch(2, 2), switch(3, 3))


def test_a_switch_that_cannot_break_load_bounds_a_dead_line():
    grid = six_bus()
    item = grid.equipment[switch(3, 2)]
    assert isinstance(item.data, SwitchRating)
    grid.equipment[switch(3, 2)] = replace(item, data=replace(item.data, load_break=False))
    assert fault(grid, [line(2)]).isolation.opens == (switch(2, 2), switch(3, 2))


def test_ties_to_one_line_of_two_faults_are_not_used():
    grid = six_bus()
    add_cable(grid, Cable(7, 3, 5, 0.5, 0.4, 150.0, open=True), (bus(3), bus(5)), ("dso1/north",) * 2, 12660.0)
    isolation = fault(grid, [line(7)]).isolation
    assert isolation.opens == (switch(3, 7),)
