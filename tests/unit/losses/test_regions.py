"""Regions follow from the switch positions and the metered terminals."""

from dataclasses import replace

import pytest
from loss_grids import HEAD_METERS, LEFT, RIGHT, TIE, P, customer, two_feeders

from twin_gateway.grid.model import CimClass, Equipment, LoadData, Measurement, Position, Quantity
from twin_gateway.twin.losses.regions import RegionKind, meters_of, regions, regions_over

F1, F2 = f"{P}/PS01/MV1/F01/_/twLOSS1", f"{P}/PS01/MV1/F02/_/twLOSS1"
A1, A2 = f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/TS2/LV1/_/_/twLOSS1"
AREA, MV = f"{P}/_/_/_/_/twLOSS1", f"{P}/_/MV1/_/_/twLOSS1"


def signs(region):
    return {term.meter: term.sign for term in region.boundary}


def members(region):
    return {term.meter for term in region.members}


def test_feeders_and_low_voltage_areas_with_their_boundaries_and_members():
    found = regions(two_feeders(), {})
    assert found[F1].kind is RegionKind.FEEDER
    assert signs(found[F1]) == {HEAD_METERS[0]: 1, f"{P}/TS1/LV1/_/M0": 1}
    assert members(found[F1]) == set()
    assert f"{P}/TS1/MV1/T01/TA1" in found[F1].equipment
    assert found[A1].kind is RegionKind.LV_AREA
    assert signs(found[A1]) == {f"{P}/TS1/LV1/_/M0": -1}
    assert members(found[A1]) == {customer(1, n) for n in (1, 2, 3)}


def test_a_transformer_with_meters_on_both_sides_is_a_region():
    found = regions(two_feeders(hv_meter=True), {})
    region = found[f"{P}/TS1/MV1/T01/TA1/twLOSS1"]
    assert region.kind is RegionKind.TRANSFORMER
    assert signs(region) == {f"{P}/TS1/MV1/T01/M0": 1, f"{P}/TS1/LV1/_/M0": 1}
    assert f"{P}/TS1/MV1/T01/TA1" not in found[F1].equipment


def test_the_busbar_with_its_unmetered_source_has_no_closed_boundary():
    assert not any(region.kind is RegionKind.BUSBAR for region in regions(two_feeders(), {}).values())


def test_a_metered_busbar_is_a_region():
    grid = two_feeders()
    bar = f"{P}/PS01/MV1/_/WA1"
    grid.add([Equipment(bar, CimClass.BUSBAR, (f"{P}/PS01/MV1/_/CN1",))])
    meter = f"{P}/PS01/MV1/E01/M0"
    template = grid.meters[HEAD_METERS[0]]
    grid.meters[meter] = replace(template, address=meter, equipment=f"{P}/PS01/MV1/_/SRC1", direction=-1)
    region = regions(grid, {})[f"{P}/PS01/MV1/_/_/twLOSS1"]
    assert region.kind is RegionKind.BUSBAR
    assert signs(region) == {meter: 1, HEAD_METERS[0]: -1, HEAD_METERS[1]: -1}


def test_inner_boundaries_cancel_in_the_area_and_its_members_are_those_of_all():
    found = regions(two_feeders(), {})
    assert signs(found[AREA]) == {HEAD_METERS[0]: 1, HEAD_METERS[1]: 1}
    assert len(members(found[AREA])) == 6
    assert set(found[MV].cells) == {F1, F2}


def test_an_area_splits_into_its_phases():
    found = regions(two_feeders(), {})
    phase = found[f"{P}/TS1/LV1/_/_/twLOSS3"]
    assert (phase.kind, phase.phase) == (RegionKind.PHASE, "B")
    assert members(phase) == {customer(1, 1)}
    assert [term.phase for term in phase.boundary] == ["B"]


def test_a_switched_over_transformer_belongs_to_the_other_feeder():
    found = regions(two_feeders(), {RIGHT: Position.OPEN, TIE: Position.CLOSED})
    assert f"{P}/TS2/LV1/_/M0" in signs(found[F1])
    assert f"{P}/TS2/LV1/_/M0" not in signs(found[F2])


def test_regions_that_depend_on_an_unknown_position_are_uncertain():
    found = regions(two_feeders(), {TIE: Position.UNKNOWN})
    assert found[F1].uncertain
    assert not found[A1].uncertain


def test_a_change_within_the_interval_marks_the_regions_that_it_touches():
    history = [(0.0, RIGHT, 2), (0.0, TIE, 1), (540.0, RIGHT, 1), (560.0, TIE, 2)]
    found = regions_over(two_feeders(), history, 0.0, 900.0)
    assert found[F1].changed
    assert found[F2].changed
    assert not found[A1].changed
    assert not found[AREA].changed
    still = regions_over(two_feeders(), history[:2], 0.0, 900.0)
    assert not any(region.changed for region in still.values())


def test_a_moved_customer_can_be_split_by_time():
    grid = two_feeders()
    for k in (1, 2):
        del grid.meters[f"{P}/TS{k}/LV1/_/M0"]  # the customers themselves belong to the feeders now
    history = [(0.0, RIGHT, 2), (0.0, TIE, 1), (540.0, RIGHT, 1), (540.0, TIE, 2)]
    found = regions_over(grid, history, 0.0, 900.0, split=True)
    weights = {term.meter: term.weight for term in found[F1].members}
    assert weights[customer(1, 1)] == pytest.approx(1.0)
    assert weights[customer(2, 1)] == pytest.approx(0.4)
    assert [term.weight for term in found[F2].members] == pytest.approx([0.6] * 3)
    assert not found[F1].changed


def test_tied_feeders_are_one_region():
    found = regions(two_feeders(), {TIE: Position.CLOSED})
    assert signs(found[F1]) == {HEAD_METERS[0]: 1, HEAD_METERS[1]: 1, f"{P}/TS1/LV1/_/M0": 1, f"{P}/TS2/LV1/_/M0": 1}
    assert F2 not in found


def test_a_measured_power_stands_in_for_a_missing_meter():
    grid = two_feeders()
    grid.add([Equipment(f"{P}/RMU1/MV1/T02/LD1", CimClass.LOAD, (f"{P}/RMU1/MV1/_/CN1",), LoadData(9e4, 3e4))])
    point = f"{P}/RMU1/MV1/T02/_/MMXU1/TotW"
    assert f"{P}/RMU1/MV1/T02/LD1" in regions(grid, {})[F1].unmetered
    grid.measurements[point] = Measurement(point, Quantity.P, f"{P}/RMU1/MV1/T02/LD1")
    assert meters_of(grid)[point].accuracy_class == pytest.approx(1.0)
    assert members(regions(grid, {})[F1]) == {point}


def test_a_lonely_open_switch_is_no_region():
    found = regions(two_feeders(), {LEFT: Position.OPEN})
    assert f"{P}/TS1/LV1/_/M0" not in signs(found[F1])
    assert A1 in found
