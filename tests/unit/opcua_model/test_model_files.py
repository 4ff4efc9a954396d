"""The files of the model: up to date, and by the rules of NodeSet2 and of OPC UA's types."""

from __future__ import annotations

import xml.etree.ElementTree as ET
import zlib
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from peers.opcua.rig import BAY, POSITION, POWER, point

from address_space import catalogue
from address_space.opcua import members
from address_space.opcua.model.build import DI_FILE, IDS_FILE, NODESET_FILE, build
from address_space.opcua.model.ids import INDEX, numbers
from address_space.opcua.model.nodeset import NodeSetError, read_nodeset
from address_space.opcua.model.snapshot import FILE, SnapshotError, SnapshotNodes, pack
from address_space.opcua.wire import node_id_object
from address_space.point import PointProfile

MODEL = Path(str(resources.files("address_space.opcua.model")))
UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
ORDER = ["DisplayName", "Description", "References", "Value", "Definition"]
OWN = "ns=1;"


@pytest.fixture(scope="module")
def root() -> Any:
    return ET.parse(MODEL / NODESET_FILE).getroot()


@pytest.fixture(scope="module")
def elements(root: Any) -> dict[str, Any]:
    return {each.get("NodeId"): each for each in root if each.tag.startswith(f"{UA}UA")}


def references(element: Any) -> list[tuple[str, bool, str]]:
    found = element.iterfind(f"{UA}References/{UA}Reference")
    return [(each.get("ReferenceType"), each.get("IsForward") != "false", each.text) for each in found]


def test_the_files_are_those_that_are_generated() -> None:
    made = build()
    assert made[NODESET_FILE] == (MODEL / NODESET_FILE).read_bytes()
    assert made[IDS_FILE] == (MODEL / IDS_FILE).read_bytes()
    assert made[FILE] == zlib.decompress((MODEL / FILE).read_bytes())


def test_every_node_id_is_given_once_and_stands_in_the_ids_file(root: Any) -> None:
    given = Counter(each.get("NodeId") for each in root if each.tag.startswith(f"{UA}UA"))
    assert max(given.values()) == 1
    assert set(given) <= {f"{OWN}i={number}" for number in numbers().values()}


def test_children_of_a_node_come_in_the_order_of_the_schema(elements: dict[str, Any]) -> None:
    for element in elements.values():
        places = [ORDER.index(child.tag[len(UA) :]) for child in element]
        assert places == sorted(places), element.get("NodeId")


def test_every_own_target_exists_and_knows_of_it(elements: dict[str, Any]) -> None:
    for node_id, element in elements.items():
        for relation, forward, target in references(element):
            if target.startswith(OWN) and relation not in {"HasSubtype", "HasTypeDefinition"}:
                assert (relation, not forward, node_id) in references(elements[target])
            elif target.startswith(OWN):
                assert target in elements


def test_every_type_has_one_supertype_and_every_instance_one_type(elements: dict[str, Any]) -> None:
    for element in elements.values():
        kind = element.tag[len(UA) :]
        relations = Counter((relation, forward) for relation, forward, _ in references(element))
        if kind.endswith("Type"):
            assert relations["HasSubtype", False] == 1
        elif kind != "UAMethod":
            assert relations["HasTypeDefinition", True] == 1


def test_siblings_have_different_browse_names(elements: dict[str, Any]) -> None:
    for element in elements.values():
        below = [
            target
            for relation, forward, target in references(element)
            if forward and relation in {"HasComponent", "HasProperty"}
        ]
        names = [elements[each].get("BrowseName") for each in below]
        assert len(set(names)) == len(names), element.get("NodeId")


def test_every_class_and_every_common_data_class_has_its_type() -> None:
    known = numbers()
    assert {f"{name}Type" for name in catalogue.ln_classes()} <= set(known)
    assert {f"{name}Type" for name in catalogue.CDCS} - set(known) == {"ANGType", "RAWType", "DIRType", "HMVIType"}


@pytest.mark.parametrize(
    "profile", [point(address).profile for address in (POSITION, POWER, f"{BAY}/IED1/LPHD1/PhyHealth")]
)
def test_parts_of_data_objects_are_of_the_data_types_that_their_type_declares(profile: PointProfile) -> None:
    nodes = SnapshotNodes()

    def data_types(node_id: Any) -> Iterator[Any]:
        """A DataType and all that it is derived from."""
        yield node_id
        for each in nodes[node_id].references:
            if not each.IsForward and each.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HasSubtype):
                yield from data_types(each.NodeId)

    declared = {
        name.partition("_")[2]: number for name, number in numbers().items() if name.startswith(f"{profile.cdc}Type_")
    }
    parts = {name: each for name, each in members.of_profile(profile).items() if each.namespace == INDEX}
    assert parts
    for name, part in parts.items():
        attributes = nodes[ua.NodeId(declared[name], INDEX)].attributes
        wanted = attributes[ua.AttributeIds.DataType].value.Value.Value
        assert wanted in set(data_types(node_id_object(part.data_type))), name


def test_the_di_file_is_the_foundations_with_its_licence() -> None:
    head = (MODEL / DI_FILE).read_text("utf-8")[:2000]
    assert "OPC Foundation MIT License 1.00" in head
    assert "The above copyright notice and this permission notice shall be" in head


# ---- snapshot ------------------------------------------------------------------------------------------------------


def test_a_node_of_the_snapshot_is_made_once_and_kept() -> None:
    nodes = SnapshotNodes()
    server = nodes[ua.NodeId(2253)]
    assert nodes[ua.NodeId(2253)] is server
    assert server.attributes[ua.AttributeIds.BrowseName].value.Value.Value == ua.QualifiedName("Server", 0)
    assert len(nodes) == len(list(nodes)) > 4000


def test_references_of_the_snapshot_lead_both_ways() -> None:
    nodes = SnapshotNodes()
    for each in nodes[ua.NodeId(2253)].references:
        back = [other for other in nodes[each.NodeId].references if other.NodeId == ua.NodeId(2253)]
        one_way = each.ReferenceTypeId.Identifier in {37, 40}
        assert one_way or any(other.ReferenceTypeId == each.ReferenceTypeId for other in back)
        assert each.BrowseName.Name


def test_what_is_not_in_the_snapshot_is_not_there() -> None:
    nodes = SnapshotNodes()
    for node_id in (ua.NodeId(999_999), ua.NodeId("text", 0), ua.NodeId(2253, 9)):
        assert node_id not in nodes
        assert nodes.get(node_id) is None
        with pytest.raises(KeyError):
            nodes[node_id]


def test_a_deleted_node_is_gone_from_this_table_only() -> None:
    nodes, others = SnapshotNodes(), SnapshotNodes()
    del nodes[ua.NodeId(2253)]
    assert ua.NodeId(2253) not in nodes
    assert ua.NodeId(2253) in others
    with pytest.raises(KeyError):
        del nodes[ua.NodeId(2253)]


def test_a_cut_snapshot_is_refused() -> None:
    records = pack([SnapshotNodes()[ua.NodeId(2253)]])
    assert len(SnapshotNodes(records)) == 1
    with pytest.raises(SnapshotError):
        SnapshotNodes(records[:-1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<a/>", "no UANodeSet"),
        (f'<UANodeSet xmlns="{UA[1:-1]}"><NamespaceUris><Uri>urn:x</Uri></NamespaceUris></UANodeSet>', "not loaded"),
        (f'<UANodeSet xmlns="{UA[1:-1]}"><UAObject NodeId="s=a" BrowseName="a"/></UANodeSet>', "no numeric NodeId"),
    ],
)
def test_what_is_no_nodeset_is_refused(text: str, words: str) -> None:
    with pytest.raises(NodeSetError, match=words):
        read_nodeset(text, ["http://opcfoundation.org/UA/"])
