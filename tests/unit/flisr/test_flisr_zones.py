"""The zone model and the availability of switches."""

from __future__ import annotations

import pytest
from flisr_grids import line, normal_states, six_bus, switch

from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    LoadData,
    Position,
    SwitchRating,
    TransformerData,
)
from twin_gateway.twin.flisr.availability import switch_state
from twin_gateway.twin.flisr.records import SwitchInputs
from twin_gateway.twin.flisr.zones import compile_network

RATING = SwitchRating(position="a/XSWI1/Pos", command="a/CSWI1/Pos")


def test_nodes_joined_by_anything_but_switches_are_one_zone():
    network = compile_network(six_bus())
    # six busbars and six lines, each between two switches
    assert len(network.zones) == 12
    assert line(2) in network.zone_index
    assert network.zones[network.zone_index[line(2)]].length == 1.0
    ends = {network.zones[zone].address for zone in network.switches[network.switch_index[switch(2, 2)]].zones}
    assert ends == {line(2), "dso1/north/RMU02/MV1/_/CN1"}


def test_the_trunk_is_what_lies_before_the_feeder_heads():
    network = compile_network(six_bus())
    assert [network.zones[i].address for i, is_trunk in enumerate(network.trunk) if is_trunk] == [
        "dso1/north/RMU01/MV1/_/CN1"
    ]


def test_loads_behind_a_transformer_count_at_its_primary_side():
    grid = six_bus()
    primary, secondary = "dso1/north/RMU04/MV1/_/CN1", "dso1/north/TS04/LV1/_/CN1"
    grid.add(
        [
            ConnectivityNode(secondary, 400.0),
            Equipment(
                "dso1/north/TS04/MV1/T01/TA1",
                CimClass.TRANSFORMER,
                (primary, secondary),
                TransformerData(12660.0, 400.0, 400e3, 0.04, 4600.0),
            ),
            Equipment("dso1/north/SP04/LV1/_/LD1", CimClass.LOAD, (secondary,), LoadData(5e3, 1e3, 7)),
        ]
    )
    network = compile_network(grid)
    assert secondary not in network.nodes
    load = next(item for item in network.loads if item.address == "dso1/north/SP04/LV1/_/LD1")
    assert network.nodes[load.node] == primary


def test_an_earthing_switch_that_is_not_known_to_be_open_earths_its_zone():
    grid = six_bus()
    address = "dso1/north/RMU03/MV1/C02/QC1"
    grid.add([Equipment(address, CimClass.GROUND_DISCONNECTOR, ("dso1/north/RMU03/MV1/_/CN1",), SwitchRating())])
    network = compile_network(grid)
    zone = network.zone_index["dso1/north/RMU03/MV1/_/CN1"]
    assert network.earthed({}) == {zone}
    assert network.earthed({address: Position.CLOSED}) == {zone}
    assert network.earthed({address: Position.OPEN}) == set()


def test_a_switch_that_nobody_tells_of_is_unknown():
    network = compile_network(six_bus())
    states = normal_states(network)
    del states[switch(3, 3)]
    assert network.positions(states)[network.switch_index[switch(3, 3)]] == Position.UNKNOWN


@pytest.mark.parametrize(
    ("inputs", "opens", "closes"),
    [
        ({}, True, True),
        ({"local": True}, False, False),
        ({"station_local": True}, False, False),
        ({"blocked_open": True}, False, True),
        ({"blocked_close": True}, True, False),
        ({"command_blocked": True}, False, False),
        ({"release_open": False}, False, True),
        ({"release_close": False}, True, False),
        ({"drive_blocked": True}, False, False),
        ({"gas_blocked": True}, False, False),
        ({"health": 3}, False, False),
        ({"health": 2}, True, True),
        ({"capability": 1}, False, False),
        ({"capability": 2}, True, False),
        ({"capability": 3}, True, True),
        ({"operations_left": 0}, False, False),
        ({"behaviour_on": False}, False, False),
        ({"test": True}, False, False),
        ({"tagged": True}, False, False),
        ({"comms_good": False}, False, False),
        ({"position_good": False}, False, False),
        ({"position": Position.UNKNOWN}, False, False),
    ],
)
def test_a_switch_is_available_only_when_nothing_is_against_it(inputs, opens, closes):
    state = switch_state(RATING, SwitchInputs(**{"position": Position.CLOSED, **inputs}))
    assert (state.can_open, state.can_close) == (opens, closes)
    assert bool(state.reasons) == (not (opens and closes))


def test_a_switch_without_remote_control_is_not_available():
    state = switch_state(SwitchRating(remote=False, command="a"), SwitchInputs(Position.CLOSED))
    assert (state.can_open, state.can_close, state.reasons) == (False, False, ("no remote control",))


def test_where_the_earthing_is_not_known_nothing_is_closed_automatically():
    state = switch_state(RATING, SwitchInputs(Position.OPEN, earth_known=False))
    assert state.can_close
    assert not state.auto_close


def test_a_position_that_is_not_good_is_unknown():
    assert switch_state(RATING, SwitchInputs(Position.OPEN, position_good=False)).position is Position.UNKNOWN
