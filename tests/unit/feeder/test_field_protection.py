"""Faults on the field: trips, reclosing, lockout, breaker failure, indicators, islands, all in the field's own time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from twin_gateway.grid.model import Grid, Position
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.simulate.feeder.circuit import FaultKind
from twin_gateway.simulate.feeder.field import Field
from twin_gateway.simulate.feeder.field_settings import FieldError, FieldSettings
from twin_gateway.simulate.feeder.indicators import IndicatorSettings
from twin_gateway.simulate.feeder.protection import Protection, ProtectionSettings, Reclosing

DEMO = Path(__file__).parents[3] / "mappings" / "demo" / "grid.yaml"
NORTH = "dso1/north"
F01 = f"{NORTH}/PS01/MV1/F01"
HEAD = f"{F01}/QA1"
INFEED = f"{NORTH}/PS01/MV1/E01/QA1"
SETTINGS = FieldSettings(
    ProtectionSettings(trip_time=0.3, dead_times=(0.5, 5.0), reclaim=10.0),
    IndicatorSettings(reset_time=20.0),
    still=True,
)
DER = """
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 12.66 kV}
equipment:
  RMU18/MV1/G01/GE1: {class: PowerElectronicsConnection, node: RMU18/MV1/_/CN1, p: 300 kW, rating: 400 kVA}
"""


@pytest.fixture(scope="module")
def grid() -> Grid:
    found, _ = read_grid([DEMO])
    assert found is not None
    return found


@pytest.fixture
def field(grid: Grid) -> Field:
    return Field(grid, SETTINGS, 0.0)


@pytest.fixture
def protection(field: Field) -> Protection:
    return field.protections[F01]


def line(number: int) -> str:
    return f"{NORTH}/L{number:02}/MV1/_/WB1"


def passed(field: Field) -> set[str]:
    return {"{2}/{4}".format(*name.split("/")) for name in field.indicators if field.shows(name)}


def lock_out(field: Field, number: int = 8) -> None:
    field.inject(line(number), FaultKind.THREE_PHASE, temporary=False)
    field.advance(field.now + 10.0)
    assert field.protections[F01].reclosing is Reclosing.UNSUCCESSFUL


def test_a_permanent_fault_is_tried_twice_and_locked_out(field: Field, protection: Protection) -> None:
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=False)
    seen, positions = [], []
    for step in range(200):
        field.advance(step * 0.05)
        if not seen or seen[-1] is not protection.reclosing:
            seen.append(protection.reclosing)
        if not positions or positions[-1] != field.positions[HEAD]:
            positions.append(field.positions[HEAD])
    assert positions == [2, 1, 2, 1, 2, 1]
    assert protection.trips == 3
    assert seen[-1] is Reclosing.UNSUCCESSFUL
    assert [seen.index(one) for one in (Reclosing.READY, Reclosing.FAULT_DISAPPEARED, Reclosing.IN_PROGRESS)] == [
        0,
        2,
        3,
    ]
    assert Reclosing.CYCLE_UNSUCCESSFUL in seen


def test_a_temporary_fault_is_gone_after_the_first_pause(field: Field, protection: Protection) -> None:
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=True)
    field.advance(2.0)
    assert field.positions[HEAD] is Position.CLOSED
    assert field.faults == {}
    assert protection.reclosing is Reclosing.WAIT_TO_COMPLETE
    field.advance(11.5)
    assert protection.reclosing is Reclosing.SUCCESSFUL
    field.advance(13.0)
    assert protection.reclosing is Reclosing.READY


def test_indicators_show_the_way_of_the_fault_current_with_its_time(field: Field) -> None:
    lock_out(field)
    assert passed(field) == {
        *(f"RMU{bus:02}/C{bus - 1:02}" for bus in range(2, 9)),
        *(f"RMU{bus:02}/C{bus:02}" for bus in range(2, 9)),
    }
    indicator = field.indicators[f"{NORTH}/RMU08/MV1/C08/_/SFPI1/FltInd"]
    assert indicator.count == 3
    assert indicator.amperes == pytest.approx(1477, rel=0.01)
    assert 0.0 < indicator.since < 10.0


def test_indicators_reset_when_the_voltage_has_been_back_for_some_time(field: Field) -> None:
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=True)
    field.advance(2.0)
    assert passed(field)
    field.advance(20.0)
    assert passed(field)
    field.advance(22.0)
    assert passed(field) == set()


def test_indicators_of_a_dead_part_keep_showing(field: Field) -> None:
    lock_out(field)
    field.advance(600.0)
    assert len(passed(field)) == 14


def test_closing_onto_the_fault_by_hand_trips_for_good(field: Field, protection: Protection) -> None:
    lock_out(field)
    field.switch(HEAD, Position.CLOSED)
    field.advance(field.now + 1.0)
    assert field.positions[HEAD] is Position.OPEN
    assert protection.reclosing is Reclosing.UNSUCCESSFUL
    assert protection.trips == 4


def test_after_the_repair_the_feeder_is_as_new(field: Field, protection: Protection) -> None:
    lock_out(field)
    assert field.clear() == 1
    field.switch(HEAD, Position.CLOSED)
    field.advance(field.now + 6.0)
    assert field.positions[HEAD] is Position.CLOSED
    assert protection.reclosing is Reclosing.READY


def test_an_isolated_fault_is_not_fed_any_more(field: Field, protection: Protection) -> None:
    lock_out(field)
    for switch in ("RMU08/MV1/C08/QB1", "RMU09/MV1/C08/QB1"):
        field.switch(f"{NORTH}/{switch}", Position.OPEN)
    field.switch(HEAD, Position.CLOSED)
    field.switch(f"{NORTH}/RMU22/MV1/C35/QB1", Position.CLOSED)
    field.advance(field.now + 6.0)
    assert field.positions[HEAD] is Position.CLOSED
    assert field.is_live(f"{NORTH}/RMU18/MV1/_/CN1")
    assert not field.state.energised


def test_a_blocked_recloser_does_not_reclose(field: Field, protection: Protection) -> None:
    protection.block(blocked=True)
    assert protection.reclosing is Reclosing.NOT_READY
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=True)
    field.advance(10.0)
    assert field.positions[HEAD] is Position.OPEN
    assert protection.trips == 1
    assert protection.reclosing is Reclosing.NOT_READY


def test_blocking_in_the_pause_stops_the_sequence(field: Field, protection: Protection) -> None:
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=False)
    field.advance(0.6)
    assert protection.reclosing is Reclosing.IN_PROGRESS
    protection.block(blocked=True)
    field.advance(10.0)
    assert protection.reclosing is Reclosing.ABORTED
    assert field.positions[HEAD] is Position.OPEN


def test_opening_by_hand_is_no_trip(field: Field, protection: Protection) -> None:
    field.switch(HEAD, Position.OPEN)
    field.advance(30.0)
    assert (protection.operated, protection.trips, field.positions[HEAD]) == (False, 0, Position.OPEN)


def test_a_stuck_breaker_fails_and_the_infeed_opens(field: Field, protection: Protection) -> None:
    field.stuck.add(HEAD)
    field.inject(line(3), FaultKind.THREE_PHASE, temporary=False)
    field.advance(2.0)
    assert protection.failed
    assert field.positions[HEAD] is Position.CLOSED
    assert field.positions[INFEED] is Position.OPEN
    assert not field.is_live(f"{NORTH}/PS01/MV1/_/CN1")


def test_a_fault_of_two_phases_has_less_current_and_spares_the_third(field: Field) -> None:
    field.inject(line(8), FaultKind.PHASE_PHASE, temporary=False)
    field.advance(0.01)
    amperes = field.phase_currents(HEAD, 1)
    assert amperes[1] == pytest.approx(amperes[2], rel=0.01)
    assert amperes[1] - amperes[0] == pytest.approx(1477 * 0.866, rel=0.01)


def test_the_treatment_of_the_neutral_limits_an_earth_fault(grid: Grid, field: Field) -> None:
    field.inject(line(8), FaultKind.PHASE_EARTH, temporary=False)
    field.advance(0.01)
    amperes = field.phase_currents(HEAD, 1)
    assert amperes[0] - amperes[1] == pytest.approx(400, rel=0.02)
    field.advance(10.0)
    assert field.positions[HEAD] is Position.OPEN


def test_a_standing_earth_fault_of_a_compensated_grid_does_not_trip(grid: Grid) -> None:
    feeders = {name: replace(feeder, neutral="compensated") for name, feeder in grid.feeders.items()}
    field = Field(
        Grid(grid.nodes, grid.equipment, grid.indicators, grid.measurements, grid.meters, feeders), SETTINGS, 0.0
    )
    field.inject(line(8), FaultKind.PHASE_EARTH, temporary=False)
    field.advance(10.0)
    assert field.protections[F01].standing_earth
    assert field.positions[HEAD] is Position.CLOSED
    assert len(passed(field)) == 14


def test_every_fault_of_the_feeder_is_seen_by_its_protection(grid: Grid) -> None:
    for number in range(1, 33):
        field = Field(grid, replace(SETTINGS, protection=ProtectionSettings(dead_times=())), 0.0)
        field.inject(line(number), FaultKind.PHASE_PHASE, temporary=False)
        field.advance(1.0)
        assert field.positions[HEAD] is Position.OPEN, number


def test_a_fault_where_nothing_is_fed_carries_no_current(field: Field) -> None:
    field.switch(f"{NORTH}/RMU06/MV1/C05/QB1", Position.OPEN)
    field.inject(line(8), FaultKind.THREE_PHASE, temporary=False)
    field.advance(5.0)
    assert field.positions[HEAD] is Position.CLOSED
    assert passed(field) == set()


def test_a_closed_earthing_switch_is_a_short_circuit_for_who_closes_onto_it(field: Field) -> None:
    field.switch(HEAD, Position.OPEN)
    field.switch(f"{NORTH}/RMU18/MV1/C17/QC1", Position.CLOSED)
    field.advance(1.0)
    field.switch(HEAD, Position.CLOSED)
    field.advance(2.0)
    assert field.positions[HEAD] is Position.OPEN


def test_a_lie_is_shown_and_the_truth_is_kept(field: Field) -> None:
    name = f"{NORTH}/RMU06/MV1/C05/_/SFPI1/FltInd"
    field.lies[name] = False
    lock_out(field)
    assert not field.shows(name)
    del field.lies[name]
    assert field.shows(name)


def test_a_generator_leaves_with_the_grid_and_comes_back_later(tmp_path: Path) -> None:
    field = with_generator(tmp_path, replace(SETTINGS, still=False))
    generator = f"{NORTH}/RMU18/MV1/G01/GE1"
    row, noon = field.loads.rows[generator], field.now
    field.switch(HEAD, Position.OPEN)
    field.advance(noon + 1.0)
    assert field.loads.factor[row] == 0.0
    assert not field.is_live(f"{NORTH}/RMU18/MV1/_/CN1")
    field.switch(HEAD, Position.CLOSED)
    field.advance(noon + 30.0)
    assert field.loads.factor[row] == 0.0
    field.advance(noon + 62.0)
    assert field.loads.factor[row] == 1.0


def test_an_islanding_generator_keeps_its_part_alive(tmp_path: Path) -> None:
    field = with_generator(tmp_path, SETTINGS)
    field.set_island(f"{NORTH}/RMU18/MV1/G01/GE1", on=True)
    field.switch(f"{NORTH}/RMU16/MV1/C15/QB1", Position.OPEN)
    field.advance(1.0)
    assert field.is_live(f"{NORTH}/RMU18/MV1/_/CN1")
    field.set_island(f"{NORTH}/RMU18/MV1/G01/GE1", on=False)
    field.advance(2.0)
    assert not field.is_live(f"{NORTH}/RMU18/MV1/_/CN1")


def with_generator(tmp_path: Path, settings: FieldSettings) -> Field:
    (tmp_path / "der.yaml").write_text(DER)
    found, problems = read_grid([DEMO, tmp_path / "der.yaml"])
    assert found is not None, [str(problem) for problem in problems]
    return Field(found, settings, 12 * 3600.0 if not settings.still else 0.0)


def test_only_equipment_of_medium_voltage_can_have_a_fault(field: Field) -> None:
    for wrong in (f"{NORTH}/L99/MV1/_/WB1", f"{NORTH}/SP140001/LV1/_/LD1"):
        with pytest.raises(FieldError):
            field.inject(wrong, FaultKind.THREE_PHASE, temporary=False)
    with pytest.raises(FieldError):
        field.clear(line(8))


def test_a_reset_brings_back_the_normal_state(field: Field, protection: Protection) -> None:
    lock_out(field)
    field.stuck.add(HEAD)
    field.reset()
    assert field.positions == field.grid.normal_positions()
    assert (field.faults, field.stuck, passed(field)) == ({}, set(), set())
    assert protection.reclosing is Reclosing.READY
    field.advance(field.now + 60.0)
    assert field.positions[HEAD] is Position.CLOSED
