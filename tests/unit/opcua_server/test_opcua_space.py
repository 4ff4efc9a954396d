"""Nodes of the grid as they are made from the tree and the table; octets of requests."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, grid, point

from address_space.opcua.properties import engineering_units, properties_of, property_value, state_value, text_value
from address_space.opcua.space import GRID, GridSpace, Node, NodeClass
from address_space.opcua.wire import (
    DecodeError,
    Reader,
    encode_node_id,
    encode_text,
    localized_text,
    node_id_object,
    numeric_identifier,
    numeric_node_id,
    qualified_name,
    string_node_id,
)
from address_space.ports import MethodSpec
from address_space.table import PointTable
from address_space.units import canonical, unit

METHOD = MethodSpec("", "Operate", (), ())


@pytest.fixture(scope="module")
def space() -> GridSpace:
    return GridSpace(grid(), 2, lambda owner, _: {"Operate": METHOD} if owner == CONTROL else {})


def find(space: GridSpace, identifier: str) -> Node:
    node = space.find(identifier)
    assert node is not None
    return node


def identifiers(space: GridSpace, identifier: str, forward: bool) -> set[str]:
    node = find(space, identifier)
    targets = [each.target for each in space.references(node) if each.forward == forward and each.target[0] == 3]
    return {target[7:].decode() for target in targets}


def test_forward_and_inverse_references_agree(space: GridSpace) -> None:
    pending, seen = [GRID], set()
    while pending:
        identifier = pending.pop()
        seen.add(identifier)
        for below in identifiers(space, identifier, True):
            assert identifiers(space, below, False) == {identifier}, below
            pending.append(below)
    assert {space.table.address(row) for row in range(len(space.table))} <= seen
    assert f"{CONTROL}#Operate" in seen
    assert f"{POSITION}#EnumValues" in seen


def test_a_grid_that_grows_while_it_is_browsed_is_told_whole() -> None:
    table = grid()
    space = GridSpace(table, 2, lambda *_: {})
    bay = find(space, BAY)
    before = {each.target for each in space.child_references(bay)}
    references = space.child_references(bay)
    told = {next(references).target}
    table.add([point(f"{BAY}/QA{number}/XCBR1/Pos") for number in range(2, 9)])
    told |= {each.target for each in references}
    assert before < told


def test_fillers_are_skipped_in_names_and_kept_in_ids(space: GridSpace) -> None:
    assert f"{BAY}/_/MMXU1" in identifiers(space, BAY, True)
    parent = space.parent(find(space, f"{BAY}/_/MMXU1"))
    assert parent is not None
    assert parent.identifier == BAY
    child = space.child(find(space, BAY), "MMXU1")
    assert child is not None
    assert child.identifier == f"{BAY}/_/MMXU1"


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "dso2",
        f"{BAY}/_",
        f"{POSITION}#",
        f"{POSITION}#Operate",
        f"{CONTROL}#EnumValues",
        "#",
        "#Grid#",
        f"{CONTROL}#Operate#InputArguments",
        f"{CONTROL}#Operate#",
        "#Grid#NodeVersion#",
    ],
)
def test_what_does_not_exist_is_not_found(space: GridSpace, identifier: str) -> None:
    assert space.find(identifier) is None


def test_properties_follow_the_kind_of_the_point(space: GridSpace) -> None:
    table = space.table

    def names(address: str) -> tuple[str, ...]:
        return properties_of(table.profile(table.find(address)))

    assert names(POSITION) == ("EnumValues", "ValueAsText")
    assert names(f"{CONTROL}/Loc") == ("FalseState", "TrueState")
    assert names(POWER) == ("EngineeringUnits", "EURange")
    assert names(f"{BAY}/_/MMXU1/A/phsB") == ("EngineeringUnits",)
    assert names(f"{BAY}/QA1/XCBR1/OpCnt") == ()
    with pytest.raises(KeyError):
        property_value(table.profile(0), "EURange")


def test_units_are_those_of_unece() -> None:
    assert engineering_units(canonical("active power")).UnitId == 5723220
    reactive = engineering_units(unit("kvarh"))
    assert (reactive.UnitId, reactive.DisplayName.Text) == (19251, "kvar.h")
    assert engineering_units(unit("W/s")).UnitId == -1
    assert engineering_units(None).UnitId == -1


def test_states_have_their_text_and_unknown_ones_their_number() -> None:
    labels = ["intermediate-state", "off", "on", "bad-state"]
    assert [state_value("DpStatusKind", number) for number in (0, 1, 2, 3)] == [text_value(each) for each in labels]
    assert state_value("DpStatusKind", 9) == text_value("9")
    assert state_value(None, 4, "de") == text_value("4")


@pytest.mark.parametrize("number", [0, 255, 256, 65535, 65536])
@pytest.mark.parametrize("namespace", [0, 1, 300])
def test_numeric_node_ids_survive_the_wire(number: int, namespace: int) -> None:
    octets = numeric_node_id(number, namespace)
    found = node_id_object(octets)
    assert (found.Identifier, found.NamespaceIndex) == (number, namespace)
    assert numeric_identifier(octets) == (number if namespace == 0 else None)
    assert Reader(octets + b"x", 0).node_id() == octets


def test_string_node_ids_are_those_of_asyncua() -> None:
    octets = string_node_id(POSITION, 2)
    assert encode_node_id(node_id_object(octets)) == octets


def test_random_octets_never_read_beyond_their_end() -> None:
    rng = random.Random(7)
    for _ in range(3000):
        data = rng.randbytes(rng.randrange(0, 40))
        for read in (Reader.node_id, Reader.octets, Reader.qualified_name, Reader.array, Reader.extension_object):
            reader = Reader(data, 0)
            try:
                read(reader)
            except (DecodeError, struct.error):
                continue
            assert reader.position <= len(data)


def test_a_point_may_have_points_below_it() -> None:
    table = PointTable()
    phase = f"{BAY}/_/MMXU1/A/phsA"
    table.add([point(phase)])
    table.add([point(f"{phase}/ang")])
    space = GridSpace(table, 2, lambda *_: {})
    members = {f"{phase}#{name}" for name in ("EngineeringUnits", "cVal", "q", "t", "Bindings")}
    assert identifiers(space, phase, True) == {*members, f"{phase}/ang"}
    assert identifiers(space, f"{phase}/ang", False) == {phase}
    assert space.node_class(find(space, phase)) == NodeClass.VARIABLE


def test_display_names_are_readable_and_those_of_the_mapping() -> None:
    table = PointTable()
    named = replace(point("dso1/north/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos"), display_name="Feeder breaker")
    table.add([named])
    space = GridSpace(table, 2, lambda *_: {})
    assert space.display_name(find(space, "dso1/north/PS~2EA~2F7")) == localized_text("PS.A/7")
    assert space.display_name(find(space, named.address)) == localized_text("Feeder breaker")
    assert space.browse_name(find(space, named.address)) == qualified_name("Pos", 4)


@pytest.mark.parametrize("text", ["\ud800", "t\udce4st"])
def test_a_text_that_is_no_unicode_is_told_with_question_marks_and_spoils_no_answer(text: str) -> None:
    octets = encode_text(text)
    assert int.from_bytes(octets[:4], "little") == len(octets) - 4
    assert octets[4:].decode("utf-8") == text.encode("utf-8", "replace").decode()
    assert "?" in octets[4:].decode("utf-8")
