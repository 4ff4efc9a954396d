"""Restoration: every constraint of the specification on a feeder of six buses, and what the answer says."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from flisr_grids import EXACT, Cable, fault, flow, head, line, moves, nominal_loads, positions_after, six_bus, switch

from twin_gateway.bench.flisr_grids import add_cable, bus
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.twin.flisr.records import LATE, LIMITS, LoadEstimate, LoadSource, Method, RestoreSettings, SwitchState
from twin_gateway.twin.flisr.restore import better, do_nothing, plan_restoration, restore
from twin_gateway.twin.flisr.zones import compile_network

FIRST = (line(1),)
TIE = "+RMU06/C06"
UNKNOWN = SwitchState(Position.UNKNOWN, can_open=False, can_close=False, auto_close=False)
OUT = SwitchState(Position.OPEN, can_open=False, can_close=False, auto_close=False, reasons=("Loc",))


def ampacity(grid: Grid, n: int, amperes: float) -> Grid:
    item = grid.equipment[line(n)]
    grid.equipment[line(n)] = replace(item, data=replace(item.data, i_max=amperes))
    return grid


def load(grid: Grid, k: int, **changes) -> Grid:
    address = f"dso1/north/RMU0{k}/MV1/T01/LD1"
    item = grid.equipment[address]
    assert isinstance(item.data, LoadData)
    grid.equipment[address] = replace(item, data=replace(item.data, **changes))
    return grid


def plan(grid: Grid, zones=FIRST, **options):
    return plan_restoration(fault(grid, zones, **options).problem)


def test_one_tie_restores_everything_and_is_proven_best():
    result = plan(six_bus())
    assert moves(result) == [TIE]
    assert result.method is Method.OPTIMAL
    assert result.complete
    assert (result.dead, result.restored) == (800e3, 800e3)
    assert (result.dead_customers, result.restored_customers) == (90, 90)
    assert not result.upstream
    assert result.unrestored == ()
    assert result.auto_ok


def test_the_healthy_part_before_the_fault_gets_its_own_supply_back():
    result = plan(six_bus(), [line(2)])
    assert result.upstream
    assert moves(result) == [TIE]
    assert (result.dead, result.restored) == (500e3, 500e3)


def test_without_a_way_nothing_is_done():
    result = plan(six_bus(), changed={switch(6, 6): OUT})
    assert result.operations == ()
    assert result.method is Method.OPTIMAL
    assert {item.reason for item in result.unrestored} == {"no switch that may be closed leads to it"}
    assert sum(item.p for item in result.unrestored) == 800e3


def test_load_is_shed_where_the_current_of_a_line_would_be_too_high():
    # 200 kW at bus 6 and all of the other feeder would be about 49 A
    result = plan(ampacity(six_bus(), 5, 40.0))
    assert TIE in moves(result)
    assert any(item.startswith("-") for item in moves(result))
    assert result.restored == 500e3
    assert result.i_max <= 1.0
    assert {item.reason for item in result.unrestored} == {LIMITS}


def test_the_voltage_limit_holds():
    free = plan(six_bus(), settings=replace(EXACT, v_min=0.9))
    bound = plan(six_bus(), settings=replace(EXACT, v_min=free.v_min + 1e-4))
    assert bound.restored < free.restored
    assert bound.v_min >= free.v_min + 1e-4


def test_a_node_outside_its_limit_before_the_plan_may_not_get_worse():
    # the live feeder is below this limit already: any more load makes it worse
    settings = replace(EXACT, v_min=0.9999)
    assert plan(six_bus(), settings=settings).operations == ()


def test_nodes_below_the_limit_do_not_forbid_the_return_of_their_own_supply():
    result = plan(six_bus(), [line(3)], changed={switch(6, 6): OUT}, settings=replace(EXACT, v_min=0.9999))
    assert result.upstream


def test_load_margins_count_against_the_limits():
    grid = ampacity(six_bus(), 5, 50.0)
    assert plan(grid).restored == 800e3
    assert plan(grid, settings=RestoreSettings()).restored < 800e3


def test_cold_load_is_picked_up_with_its_factor():
    grid = ampacity(six_bus(), 5, 63.0)
    assert plan(grid, outage=599.0).restored == 800e3
    assert plan(grid, outage=601.0).restored == 800e3
    assert plan(grid, outage=3600.0).restored < 800e3


def test_distributed_generation_counts_as_off():
    grid = ampacity(six_bus(), 5, 50.0)
    network = compile_network(grid)
    loads = nominal_loads(network)
    loads["dso1/north/RMU03/MV1/T01/LD1"] = LoadEstimate(0.0, 100e3, der=300e3)
    assert plan(grid, loads=loads).restored == 800e3
    loads["dso1/north/RMU03/MV1/T01/LD1"] = LoadEstimate(300e3, 100e3, der=300e3)
    assert plan(grid, loads=loads).restored < 1100e3


def test_a_load_without_an_estimate_is_taken_from_its_rating_and_forbids_automatic_execution():
    grid = load(six_bus(), 3, rating=400e3)
    network = compile_network(grid)
    loads = nominal_loads(network)
    del loads["dso1/north/RMU03/MV1/T01/LD1"]
    result = plan(grid, loads=loads)
    assert not result.auto_ok
    assert "without an estimate" in result.warnings[0]
    # half of 400 kVA at the power factor of its nominal load
    assert result.dead == pytest.approx(500e3 + 200e3 * 300 / (300**2 + 100**2) ** 0.5)


def test_an_allocated_load_has_the_larger_margin():
    grid = ampacity(six_bus(), 5, 56.0)
    network = compile_network(grid)
    settings = RestoreSettings()
    assert plan(grid, settings=settings).restored == 800e3
    loads = {address: replace(item, source=LoadSource.ALLOCATED) for address, item in nominal_loads(network).items()}
    assert plan(grid, settings=settings, loads=loads).restored < 800e3


def test_a_barred_zone_is_never_live():
    result = plan(six_bus(), barred=[bus(3)])
    assert {"-RMU03/C03", "-RMU04/C03"} & set(moves(result))
    assert result.restored == 200e3
    reasons = {item.zone: item.reason for item in result.unrestored}
    assert "tagged" in reasons[bus(3)]


def test_a_barred_zone_that_is_live_keeps_its_supply():
    # work on the live busbar 5 of the feeder that helps
    result = plan(six_bus(), barred=[bus(5)])
    assert moves(result) == [TIE]


def test_nothing_is_restored_from_a_barred_busbar():
    result = plan(six_bus(), barred=[bus(1)])
    assert result.operations == ()


def test_another_neutral_treatment_is_a_warning():
    def treated(second: str) -> Grid:
        grid = six_bus()
        for n, neutral in ((1, "compensated"), (4, second)):
            address = f"dso1/north/PS01/MV1/F0{n}"
            grid.feeders[address] = replace(grid.feeders[address], neutral=neutral)
        return grid

    other = plan(treated("solid"))
    assert moves(other) == [TIE]
    assert "neutral treatment changes from compensated to solid" in other.warnings[0]
    assert not other.auto_ok
    assert plan(treated("compensated")).auto_ok


def test_a_tagged_switch_is_not_operated():
    changed = {switch(6, 6): SwitchState(Position.OPEN, tagged=True)}
    assert plan(six_bus(), changed=changed).operations == ()


def test_a_switch_that_must_not_be_closed_onto_a_fault_is_not_closed():
    grid = six_bus()
    item = grid.equipment[switch(6, 6)]
    assert isinstance(item.data, SwitchRating)
    grid.equipment[switch(6, 6)] = replace(item, data=replace(item.data, fault_make=False))
    assert plan(grid).operations == ()


def test_a_switch_with_unknown_earthing_behind_it_needs_a_person():
    changed = {switch(6, 6): SwitchState(Position.OPEN, auto_close=False)}
    result = plan(six_bus(), changed=changed)
    assert moves(result) == [TIE]
    assert not result.auto_ok


def test_no_more_operations_than_permitted():
    grid = ampacity(six_bus(), 5, 40.0)
    assert len(plan(grid).operations) == 2
    assert plan(grid, settings=replace(EXACT, max_operations=1)).operations == ()


def test_the_protection_must_still_see_a_fault_at_the_far_end():
    near, far = plan(six_bus(pickup=700.0)), plan(six_bus(pickup=1800.0))
    assert near.restored == 800e3
    assert far.restored < 800e3


def test_the_new_load_stays_below_the_pick_up():
    # 1.2 MW are 57 A
    assert plan(six_bus(pickup=80.0)).restored == 800e3
    assert plan(six_bus(pickup=60.0)).restored < 800e3


def test_a_missing_pick_up_warns_and_forbids_automatic_execution():
    result = plan(six_bus(pickup=None))
    assert moves(result) == [TIE]
    assert not result.auto_ok
    assert any("no pick-up" in text for text in result.warnings)


def test_the_important_load_comes_first():
    # either bus 4 (200 kW) or, at the far end, none: with a hospital behind it the far one is worth more
    grid = ampacity(six_bus(), 5, 40.0)
    add_cable(grid, Cable(7, 2, 5, 0.4, 0.3, 150.0, open=True), (bus(2), bus(5)), ("dso1/north",) * 2, 12660.0)
    ampacity(grid, 7, 15.0)
    plain = plan(grid, changed={switch(6, 6): OUT})
    hospital = plan(load(grid, 4, weight=10.0), changed={switch(6, 6): OUT})
    served = {item.zone for item in plain.unrestored}, {item.zone for item in hospital.unrestored}
    assert bus(4) in served[0] or plain.restored >= 300e3
    assert hospital.value >= plain.value


def transformer_grid(rating: float) -> Grid:
    """The six buses behind a transformer of 110 kV."""
    grid = six_bus(pickup=100.0)
    source = grid.equipment.pop("dso1/north/PS01/MV1/_/SRC1")
    high = "dso1/north/PS01/HV1/_/CN1"
    grid.add(
        [
            ConnectivityNode(high, 110e3),
            Equipment(source.address, CimClass.SOURCE, (high,), SourceData(1.0)),
            Equipment(
                "dso1/north/PS01/HV1/T01/TA1",
                CimClass.TRANSFORMER,
                (high, bus(1)),
                TransformerData(110e3, 12660.0, rating, 0.1, 5e3),
            ),
        ]
    )
    return grid


def test_the_transformer_may_be_overloaded_by_its_factor_and_no_more():
    # with everything on it 1.33 MVA
    device = head(1)
    assert plan(transformer_grid(1.2e6), device=device).restored == 800e3
    # full load was no better before the fault: the limit is what it carried then
    before = plan(transformer_grid(0.9e6), device=device, outage=3600.0)
    assert before.restored < 800e3


def test_a_position_that_is_not_known_must_do_either_way():
    # closed, it would join the restored part to bus 3, which is barred
    changed = {switch(3, 3): UNKNOWN}
    safe = plan(six_bus(), changed=changed)
    assert moves(safe) == [TIE]
    careful = plan(six_bus(), changed=changed, barred=[bus(3)])
    assert moves(careful) == [TIE, "-RMU04/C03"]
    stuck = {**changed, switch(4, 3): SwitchState(Position.CLOSED, can_open=False)}
    assert plan(six_bus(), changed=stuck, barred=[bus(3)]).operations == ()


def test_an_incomplete_isolation_restores_nothing():
    result = plan(six_bus(), [line(6)], changed={switch(6, 6): UNKNOWN})
    assert result.operations == ()
    assert not result.auto_ok
    assert any(switch(6, 6) in text for text in result.warnings)


def test_the_deadline_leaves_time_to_do_nothing_only():
    found = fault(six_bus(), [line(1)])
    ticks = iter(range(10**6))
    result = plan_restoration(found.problem, clock=lambda: float(next(ticks)))
    assert result.operations == ()
    assert result.method is Method.BUDGET
    assert LATE in result.warnings
    assert {zone.reason for zone in result.unrestored} == {LATE}
    assert not result.complete


def test_without_a_search_the_answer_is_to_do_nothing_and_says_why():
    result = do_nothing(fault(six_bus(), [line(1)]).problem, "the compute process died")
    assert (result.operations, result.method, result.auto_ok) == ((), Method.BUDGET, False)
    assert {zone.reason for zone in result.unrestored} == {"the compute process died"}
    assert result.dead > result.restored


def test_opens_come_before_closes_and_closes_go_outward():
    grid = ampacity(six_bus(), 5, 40.0)
    operations = plan(grid).operations
    assert [item.close for item in operations] == sorted(item.close for item in operations)


def test_the_order_of_the_model_does_not_change_the_plan():
    grid = ampacity(six_bus(), 5, 40.0)
    turned = Grid(feeders=grid.feeders)
    turned.add(reversed(grid.nodes.values()))
    turned.add(reversed(grid.equipment.values()))
    assert plan(grid).operations == plan(turned).operations


def test_a_problem_and_its_answer_survive_a_process_boundary():
    problem = fault(six_bus(), [line(1)]).problem
    again = plan_restoration(pickle.loads(pickle.dumps(problem)))
    first = plan_restoration(problem)
    assert replace(pickle.loads(pickle.dumps(again)), elapsed=0.0) == replace(first, elapsed=0.0)


def test_the_plan_holds_by_another_power_flow():
    grid = ampacity(six_bus(), 5, 40.0)
    found = fault(grid, [line(1)])
    result = plan_restoration(found.problem)
    seen = flow(grid, positions_after(found, result))
    assert seen.radial
    assert min(seen.voltage.values()) == pytest.approx(result.v_min, abs=1e-6)
    assert max(seen.loading.values()) == pytest.approx(result.i_max, abs=1e-5)
    assert seen.unserved == pytest.approx(result.dead - result.restored)


def test_the_better_of_two_answers_restores_more():
    full = plan(six_bus())
    part = plan(ampacity(six_bus(), 5, 40.0))
    assert better(part, full) is full
    assert better(full, part) is full
    assert better(full, full) is full
    with pytest.raises(ValueError, match="no restoration problem"):
        restore([])
