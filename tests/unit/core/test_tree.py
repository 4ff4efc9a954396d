"""The address tree: looking up, browsing, adding more, refusing twins."""

from __future__ import annotations

import numpy as np
import pytest

from address_space.address import AddressError, parse
from address_space.tree import NO_NODE, AddressTree

POINTS = [
    "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos",
    "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos",
    "dso1/north/PS01/MV1/F05/_/MMXU1/TotW",
    "dso1/north/PS01/MV1/F05/_/MMXU1/A/phsA",
    "dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB",
    "dso1/north/TS0217/LV1/_/_/MMTR1/SupWh",
    "dso1/north/SP000417/LV1/_/M1/MMXN1/Vol",
    "dso1/_sys/gw1/_/_/L104-ps01/LCCH1/ChLiv",
    "dso1/north/_/_/_/_/twFLSR1/PlanSt",
]


def test_points_and_containers_are_found_by_their_canonical_address() -> None:
    tree = AddressTree()
    assert tree.add(POINTS, 0) == len(POINTS)
    for row, text in enumerate(POINTS):
        node = tree.find(text)
        assert int(tree.row[node]) == row
        assert tree.address(node) == text
        above = parse(text).parent()
        while above is not None:
            assert tree.address(tree.find(str(above))) == str(above)
            above = above.parent()
    assert tree.find("dso1/north/PS01/MV1/F05/QA1/XCBR1") != NO_NODE
    assert tree.find("dso1/north/PS02") == NO_NODE
    assert tree.find("dso1/north/PS01/MV1/F05/MMXU1") == NO_NODE


def test_children_are_browsed_without_fillers() -> None:
    tree = AddressTree()
    tree.add(POINTS, 0)
    assert [tree.name(node) for node in tree.roots()] == ["dso1"]
    bay = tree.find("dso1/north/PS01/MV1/F05")
    assert {tree.name(child) for child in tree.children(bay)} == {"QA1", "MMXU1"}
    assert tree.address(tree.child(bay, "MMXU1")) == "dso1/north/PS01/MV1/F05/_/MMXU1"
    assert tree.child(bay, "nothing") == NO_NODE


def test_more_points_join_existing_containers() -> None:
    tree = AddressTree()
    tree.add(POINTS, 0)
    before = len(tree)
    tree.add(["dso1/north/PS01/MV1/F05/_/MMXU1/Hz"], len(POINTS))
    assert len(tree) == before + 1
    function = tree.find("dso1/north/PS01/MV1/F05/_/MMXU1")
    assert "Hz" in {tree.name(child) for child in tree.children(function)}
    assert tree.nodes_of_rows(np.array([len(POINTS)], np.int32)).tolist() == [
        tree.find("dso1/north/PS01/MV1/F05/_/MMXU1/Hz")
    ]


def test_an_address_exists_once() -> None:
    tree = AddressTree()
    tree.add(POINTS, 0)
    with pytest.raises(AddressError, match="exists twice"):
        tree.add([POINTS[0]], 100)
    assert tree.find(POINTS[0]) != NO_NODE


def test_two_addresses_with_one_browse_path_are_refused() -> None:
    tree = AddressTree()
    with pytest.raises(AddressError, match="same browse path"):
        tree.add(["dso1/north/PS01/LV1/M1/_/MMXU1/TotW", "dso1/north/PS01/LV1/_/M1/MMXU1/TotW"], 0)


@pytest.mark.parametrize(
    "text", ["dso1/north/PS01", "dso1/north/PS01/MV1/F05/QA1/XCBR1", "dso1//x/y/z/a/XCBR1/Pos", "x"]
)
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        AddressTree().add([text], 0)


def test_nesting_has_an_end() -> None:
    with pytest.raises(AddressError, match="nested too deeply"):
        AddressTree().add(["dso1/north/PS01/MV1/F05/_/MMXU1/A/" + "/".join("a" * 12)], 0)


def test_a_data_object_name_is_checked_also_after_the_same_text_was_an_attribute() -> None:
    tree = AddressTree()
    tree.add(["dso1/north/PS01/MV1/F05/_/MMXU1/A/phsA"], 0)
    with pytest.raises(AddressError, match="capital letter"):
        tree.add(["dso1/north/PS01/MV1/F05/_/MMXU1/phsA"], 1)


def test_very_many_points_keep_their_names() -> None:
    tree = AddressTree()
    texts = [f"dso1/north/PS{number:05}/MV1/F01/_/MMXU1/TotW" for number in range(3000)]
    tree.add(texts, 0)
    for number in (0, 1499, 2999):
        assert tree.address(tree.find(texts[number])) == texts[number]


ANGLED = [
    "dso1/north/PS01/MV1/F05/_/MMXU1/A/phsA/ang",
    "dso1/north/PS01/MV1/F05/_/MMXU1/A/phsA",
    "dso1/north/PS01/MV1/F05/_/PTRC1/Op",
    "dso1/north/PS01/MV1/F05/_/PTRC1/Op/phsA",
    "dso1/north/PS01/MV1/F05/_/PTRC1/Op/phsB",
    "dso1/north/PS01/MV1/F05/_/MMXU1/Hz",
]


@pytest.mark.parametrize("split", range(len(ANGLED) + 1))
@pytest.mark.parametrize("reverse", [False, True])
def test_points_may_stand_below_points_in_any_order_and_in_several_additions(split: int, reverse: bool) -> None:
    texts = ANGLED[::-1] if reverse else ANGLED
    tree = AddressTree()
    for first, part in ((0, texts[:split]), (split, texts[split:])):
        assert tree.add(part, first) == len(part)
    for row, text in enumerate(texts):
        node = tree.find(text)
        assert tree.address(node) == text
        assert int(tree.row[node]) == row
    assert len({tree.address(node) for node in range(len(tree))}) == len(tree)
    function = tree.find("dso1/north/PS01/MV1/F05/_/PTRC1/Op")
    assert {tree.name(child) for child in tree.children(function)} == {"phsA", "phsB"}
    assert tree.nodes_of_rows(range(len(texts))).tolist() == [tree.find(text) for text in texts]


def test_a_point_with_children_still_exists_only_once() -> None:
    tree = AddressTree()
    with pytest.raises(AddressError, match="exists twice"):
        tree.add([ANGLED[1], ANGLED[0], ANGLED[1]], 0)
    tree.add(ANGLED, 0)
    with pytest.raises(AddressError, match="exists twice"):
        tree.add([ANGLED[2]], 10)
