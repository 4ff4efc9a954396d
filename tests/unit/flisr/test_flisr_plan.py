"""Plans as steps, the return to normal, and what a plan's hash covers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flisr_grids import EXACT, Cable, fault, feeder, flow, head, line, nominal_loads, normal_states, six_bus, switch

from twin_gateway.bench.flisr_grids import Consumer, add_cable, add_feeders, bus
from twin_gateway.grid.model import CimClass, Equipment, GeneratorData, Grid, Position
from twin_gateway.twin.flisr.normal import return_to_normal
from twin_gateway.twin.flisr.plan import problem_hash, switching_plan
from twin_gateway.twin.flisr.records import Action, Condition, LoadEstimate, OnFail, Plan, Stage, SwitchState
from twin_gateway.twin.flisr.restore import plan_restoration
from twin_gateway.twin.flisr.zones import compile_network

SECOND = (line(2),)
FEEDER = "dso1/north/PS01/MV1/F01"


def blockable(grid: Grid) -> Grid:
    for address, item in list(grid.feeders.items()):
        grid.feeders[address] = replace(item, reclosing=f"{address}/RREC1/AutoRecSt", reclose_block=f"{address}/Blk")
    return grid


def planned(grid: Grid, zones=SECOND, **options) -> Plan:
    found = fault(grid, zones, **options)
    result = plan_restoration(found.problem)
    return switching_plan(found.network, found.states, found.isolation, found.problem, result)


def told(plan: Plan) -> list[tuple[Stage, Action, str]]:
    return [(step.stage, step.action, step.address) for step in plan.steps]


def test_a_plan_blocks_reclosing_isolates_restores_upstream_and_then_downstream():
    plan = planned(blockable(six_bus()))
    assert told(plan) == [
        (Stage.ISOLATE, Action.BLOCK_RECLOSE, FEEDER),
        (Stage.ISOLATE, Action.OPEN, switch(2, 2)),
        (Stage.ISOLATE, Action.OPEN, switch(3, 2)),
        (Stage.UPSTREAM, Action.CLOSE, head(1)),
        (Stage.RESTORE, Action.CLOSE, switch(6, 6)),
    ]
    assert [step.n for step in plan.steps] == [1, 2, 3, 4, 5]
    assert plan.fault_zones == (line(2),)
    assert plan.auto_ok


def test_a_load_break_switch_is_opened_only_without_current_behind_an_open_breaker():
    step = planned(blockable(six_bus())).steps[1]
    assert Condition("reclose_blocked", FEEDER) in step.preconditions
    assert Condition("position", head(1), "open") in step.preconditions
    assert Condition("current_zero", switch(2, 2), seconds=1.0) in step.preconditions
    assert Condition("position", switch(2, 2), "open") in step.expected
    assert any(item.kind == "dead" for item in step.expected)
    assert step.on_fail is OnFail.REPLAN


def test_what_is_closed_energises_a_part_seen_dead_and_is_watched_for_a_trip():
    step = planned(six_bus()).steps[-1]
    # the tie's own line is live up to its open end; what lies behind the switch at bus 6 is not
    assert Condition("live", bus(6)) in step.preconditions
    assert Condition("dead", line(6)) in step.preconditions
    assert Condition("not_earthed", line(6)) in step.preconditions
    assert Condition("no_trip", "dso1/north/PS01/MV1/F04", seconds=10.0) in step.expected
    assert step.timeout >= 30.0 + 10.0


def test_where_generation_may_hold_a_part_it_must_have_been_dead_for_a_while():
    grid = six_bus()
    data = GeneratorData(1e5, 0.0, 1e5)
    grid.add([Equipment("dso1/north/RMU04/MV1/T02/G1", CimClass.GENERATOR, (bus(4),), data)])
    step = planned(grid).steps[-1]
    assert Condition("dead", line(6), seconds=5.0) in step.preconditions


def test_without_a_way_to_block_reclosing_nothing_is_automatic():
    plan = planned(six_bus())
    assert not plan.auto_ok
    assert any("reclosing" in text for text in plan.warnings)
    grid = six_bus()
    grid.feeders[FEEDER] = replace(grid.feeders[FEEDER], reclosing="none")
    assert planned(grid).auto_ok


def test_the_hash_changes_with_every_input_and_not_with_the_deadline():
    found = fault(six_bus(), [line(2)])
    first = problem_hash(found.problem, found.isolation)
    assert first == problem_hash(fault(six_bus(), [line(2)]).problem, found.isolation)
    patient = replace(found.problem, settings=replace(found.problem.settings, deadline=9.0))
    assert first == problem_hash(patient, found.isolation)
    others = [
        fault(six_bus(), [line(3)]),
        fault(six_bus(), [line(2)], changed={switch(3, 3): SwitchState(Position.CLOSED, can_open=False)}),
        fault(six_bus(), [line(2)], barred=[bus(4)]),
        fault(six_bus(), [line(2)], outage=700.0),
        fault(six_bus(pickup=301.0), [line(2)]),
    ]
    hashes = {problem_hash(item.problem, item.isolation) for item in others}
    assert len(hashes | {first}) == len(others) + 1
    loads = nominal_loads(found.network)
    loads["dso1/north/RMU03/MV1/T01/LD1"] = LoadEstimate(1.0, 0.0)
    assert problem_hash(fault(six_bus(), [line(2)], loads=loads).problem, found.isolation) != first


def after(plan: Plan, states: dict[str, SwitchState]) -> dict[str, SwitchState]:
    """States when the steps have been carried out."""
    result = dict(states)
    for step in plan.steps:
        if step.action in {Action.OPEN, Action.CLOSE}:
            position = Position.OPEN if step.action is Action.OPEN else Position.CLOSED
            result[step.address] = replace(result[step.address], position=position)
    return result


def test_after_repair_every_switch_returns_and_the_tie_breaks_after_the_normal_way_is_made():
    grid = blockable(six_bus())
    found = fault(grid, [line(2)])
    result = plan_restoration(found.problem)
    repaired = after(switching_plan(found.network, found.states, found.isolation, found.problem, result), found.states)
    back = return_to_normal(found.network, repaired, nominal_loads(found.network))
    assert told(back) == [
        (Stage.RETURN, Action.CLOSE, switch(2, 2)),
        (Stage.RETURN, Action.CLOSE, switch(3, 2)),
        (Stage.RETURN, Action.OPEN, switch(6, 6)),
        (Stage.RETURN, Action.UNBLOCK_RECLOSE, FEEDER),
    ]
    assert Condition("same_source", switch(3, 2)) in back.steps[1].preconditions
    assert after(back, repaired) == normal_states(found.network)
    assert not back.auto_ok


def two_sources() -> Grid:
    """1-2-3 and 4-5, each with its own source, tie 3-5."""
    grid = feeder(
        [Cable(1, 1, 2, 0.3, 0.2), Cable(2, 2, 3, 0.3, 0.2)], {2: Consumer(1e5, 3e4, 5), 3: Consumer(1e5, 3e4, 5)}
    )
    other = Grid()
    cable = Cable(3, 4, 5, 0.3, 0.2)
    add_feeders(other, [cable], {5: Consumer(1e5, 3e4, 5)}, place="dso1/south", source=4)
    grid.add(other.nodes.values())
    grid.add(other.equipment.values())
    grid.feeders.update(other.feeders)
    tie = Cable(9, 3, 5, 0.3, 0.2, open=True)
    add_cable(grid, tie, (bus(3), bus(5, "dso1/south")), ("dso1/north", "dso1/south"), 12660.0)
    return grid


def test_between_two_sources_the_tie_breaks_before_the_normal_way_is_made():
    grid = two_sources()
    found = fault(grid, [line(2)], device=head(1))
    result = plan_restoration(found.problem)
    assert len(result.operations) == 1
    repaired = after(switching_plan(found.network, found.states, found.isolation, found.problem, result), found.states)
    back = return_to_normal(found.network, repaired, nominal_loads(found.network))
    actions = [(step.action, step.address) for step in back.steps if step.action in {Action.OPEN, Action.CLOSE}]
    tie = switch(5, 9, "dso1/south")
    assert actions.index((Action.OPEN, tie)) < len(actions) - 1
    assert actions[-1] == (Action.CLOSE, switch(3, 2))
    assert after(back, repaired) == normal_states(found.network)


def test_between_two_sources_a_parallel_must_be_allowed_and_synchronised():
    grid = two_sources()
    found = fault(grid, [line(2)], device=head(1))
    result = plan_restoration(found.problem)
    repaired = after(switching_plan(found.network, found.states, found.isolation, found.problem, result), found.states)
    settings = replace(EXACT, allow_parallel=True)
    back = return_to_normal(found.network, repaired, nominal_loads(found.network), settings=settings)
    assert back.steps[-1].action is Action.OPEN
    made = next(step for step in back.steps if step.address == switch(3, 2))
    assert Condition("synchronised", switch(3, 2)) in made.preconditions


def test_a_tagged_switch_stays_as_it_is_and_is_named():
    network = compile_network(six_bus())
    states = normal_states(network)
    states[switch(3, 2)] = SwitchState(Position.OPEN, can_open=False, can_close=False, tagged=True, reasons=("tag",))
    back = return_to_normal(network, states, nominal_loads(network))
    assert back.steps == ()
    assert back.warnings == (f"{switch(3, 2)}: tag",)


def test_a_part_that_is_not_repaired_stays_dead():
    network = compile_network(six_bus())
    states = normal_states(network)
    for address in (switch(2, 2), switch(3, 2)):
        states[address] = replace(states[address], position=Position.OPEN)
    back = return_to_normal(network, states, nominal_loads(network), barred=[line(2)])
    assert back.steps == ()
    assert len(back.warnings) == 2


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_every_state_on_the_way_is_radial_or_a_loop_of_one_source(n):
    grid = six_bus()
    device = head(4) if n == 5 else head(1)
    found = fault(grid, [line(n)], device=device)
    result = plan_restoration(found.problem)
    plan = switching_plan(found.network, found.states, found.isolation, found.problem, result)
    states = dict(found.states)
    for step in plan.steps:
        states = after(replace(plan, steps=(step,)), states)
        closed = {address: state.position is Position.CLOSED for address, state in states.items()}
        assert flow(grid, closed).radial
