"""The dataset for power-grid-model passes its own validation and carries what the grid model says."""

from __future__ import annotations

import numpy as np
import pytest
from power_grid_model import CalculationType, ComponentType
from power_grid_model.validation import validate_input_data
from reference_grids import SOURCE, five_buses, load, node, opened, switch

from twin_gateway.grid.model import CimClass, ConnectivityNode, Equipment, LoadData, ShuntData, SourceData
from twin_gateway.grid.pgm import FREQUENCY, IDEAL_SOURCE, export
from twin_gateway.grid.powerflow import FlowModel


def exported(grid, positions=None, **options):
    model = FlowModel(grid)
    return model, export(model.arrays, model.state(positions), model.drawn(), **options)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_engine_finds_nothing_wrong_with_it(symmetric):
    grid = five_buses()
    grid.add([Equipment(load("s"), CimClass.LOAD, (node(5),), LoadData(2e3, 1e3, model="current"), "B")])
    grid.add([Equipment("g/a/B6/MV1/_/CAP1", CimClass.SHUNT, (node(6),), ShuntData(10e3))])
    _, model = exported(grid, symmetric=symmetric)
    found = validate_input_data(model.data, calculation_type=CalculationType.power_flow, symmetric=symmetric)
    assert not found


def test_closed_switches_join_nodes_and_open_ones_cut_them_off():
    _, closed = exported(five_buses())
    assert len(closed.data[ComponentType.node]) == 5
    _, cut = exported(five_buses(), opened(1))
    assert len(cut.data[ComponentType.node]) == 1
    assert len(cut.data[ComponentType.line]) == 0


def test_a_kept_switch_is_a_line_of_next_to_no_impedance():
    grid = five_buses()
    model = FlowModel(grid)
    from twin_gateway.grid.arrays import switching

    kept = np.array([True])
    state = switching(model.arrays, kept=kept)
    data = export(model.arrays, state, model.drawn(), kept=kept).data
    assert len(data[ComponentType.node]) == 6
    assert data[ComponentType.line]["x1"][-1] < 0.01


def test_charging_becomes_the_capacitance_that_the_engine_turns_back():
    _, model = exported(five_buses())
    assert model.data[ComponentType.line]["c1"][0] * 2 * np.pi * FREQUENCY == pytest.approx(150e-6)


def test_a_source_is_ideal_unless_its_short_circuit_power_or_impedance_is_given():
    grid = five_buses()
    assert exported(grid)[1].data[ComponentType.source]["sk"][0] == IDEAL_SOURCE
    for data, power in ((SourceData(s_short=300e6), 300e6), (SourceData(r=0.3, x=0.4, r0=0.6, x0=0.8), 20e3**2 / 0.5)):
        grid.equipment[SOURCE] = Equipment(SOURCE, CimClass.SOURCE, (node(1),), data)
        source = exported(grid)[1].data[ComponentType.source]
        assert source["sk"][0] == pytest.approx(power)
    assert source["rx_ratio"][0] == pytest.approx(0.75)
    assert source["z01_ratio"][0] == pytest.approx(2.0)


def test_three_nodes_at_one_transformer_leave_the_third_winding_out_and_say_so():
    grid = five_buses()
    grid.add([ConnectivityNode(node(9), 690.0)])
    transformer = grid.equipment["g/a/B3/MV1/T01/TA1"]
    grid.equipment[transformer.address] = Equipment(
        transformer.address, transformer.cim_class, (*transformer.nodes, node(9)), transformer.data
    )
    result = FlowModel(grid).solve()
    assert result.notes == (f"the third winding of {transformer.address} is left out",)
    assert node(9) in result.dead


def test_unknown_zero_sequence_is_said_where_it_matters():
    grid = five_buses()
    grid.equipment.pop(load(5))
    grid.add([Equipment(load(5), CimClass.LOAD, (node(5),), LoadData(9e3, 3e3), "C")])
    cable = grid.equipment["g/a/L2/MV1/_/WB1"]
    grid.equipment[cable.address] = Equipment(
        cable.address, cable.cim_class, cable.nodes, cable.data.__class__(0.02, 0.008)
    )
    assert FlowModel(grid).solve().notes == ("the zero sequence of 1 lines is not known and taken as the positive",)
    assert switch(1) in FlowModel(grid).solve().branches
