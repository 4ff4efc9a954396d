"""Part 4, 5.8 (View Service Set) and what is not offered of 5.7 and 5.9."""

from __future__ import annotations

import struct
from typing import Any

from conformance.ask import as_node, fault
from conformance.registry import case, check, each
from conformance.subject import BAY, POSITION, Subject
from conformance.test_attribute_service import limit
from peers.opcua.agent import Agent, Peer
from peers.opcua.wire_client import WireClient

OBJECTS, GRID, SERVER_OBJECT = "i=85", "ns=2;s=#Grid", "i=2253"
HIERARCHICAL, ORGANIZES, COMPONENT, TYPE_OF, AGGREGATES = "i=33", "i=35", "i=47", "i=40", "i=44"
FOLDER = "dso1/conf/PS01/MV1/F01"
"""Has forty functions below it."""


def wish(address: str, **fields: Any) -> dict[str, Any]:
    """A BrowseDescription: forward, all hierarchical references, everything in the result."""
    return {
        "nodeId": as_node(address),
        "browseDirection": 0,
        "referenceTypeId": HIERARCHICAL,
        "includeSubtypes": True,
        "nodeClassMask": 0,
        "resultMask": 63,
        **fields,
    }


async def browse(peer: Peer, address: str, most: int = 0, **fields: Any) -> dict[str, Any]:
    """The BrowseResult of one node."""
    answer = await peer.request(
        "BrowseRequest", requestedMaxReferencesPerNode=most, nodesToBrowse=[wish(address, **fields)]
    )
    assert "results" in answer, answer
    found = answer["results"][0]
    assert isinstance(found, dict)
    return found


async def browse_next(peer: Peer, point: str, *, release: bool = False) -> dict[str, Any]:
    """The BrowseResult of one continuation point."""
    answer = await peer.request(
        "BrowseNextRequest", releaseContinuationPoints=release, continuationPoints=[{"$bytes": point}]
    )
    return dict(answer["results"][0]) if "results" in answer else {"statusCode": fault(answer)}


def targets(result: dict[str, Any]) -> list[str]:
    return [reference["nodeId"] for reference in result["references"] or []]


@check("Part 4 5.8.2", "Browse forward gives the nodes below")
async def test_browse_forward(node: Peer) -> None:
    assert as_node(f"{BAY}/QA1") in targets(await browse(node, BAY))


@check("Part 4 5.8.2", "Browse inverse gives the node above")
async def test_browse_inverse(node: Peer) -> None:
    assert set(targets(await browse(node, f"{BAY}/QA1", browseDirection=1))) == {as_node(BAY)}


@check("Part 4 5.8.2", "Browse in both directions tells which reference goes forward")
async def test_browse_both(node: Peer) -> None:
    result = await browse(node, f"{BAY}/QA1", browseDirection=2)
    assert {reference["isForward"] for reference in result["references"]} == {True, False}


@each(
    "reference, subtypes, found",
    case("Part 4 5.8.2", "Browse with a ReferenceType and subtypes takes derived references", AGGREGATES, True, True),
    case("Part 4 5.8.2", "Browse with a ReferenceType without subtypes takes only that one", AGGREGATES, False, False),
)
async def test_browse_by_reference_type(node: Peer, reference: str, subtypes: bool, found: bool) -> None:
    result = await browse(node, f"{BAY}/QA1/XCBR1", referenceTypeId=reference, includeSubtypes=subtypes)
    assert bool(targets(result)) is found


@check("Part 4 5.8.2", "Browse gives the TypeDefinition as a reference of its own")
async def test_browse_type_definition(node: Peer) -> None:
    assert len(targets(await browse(node, POSITION, referenceTypeId=TYPE_OF))) == 1


@each(
    "mask, classes",
    case("Part 4 5.8.2", "NodeClassMask Method gives methods alone", 4, {4}),
    case("Part 4 5.8.2", "NodeClassMask Object gives objects alone", 1, {1}),
    case("Part 4 5.8.2", "NodeClassMask of two classes gives both", 5, {1, 4}),
)
async def test_node_class_mask(node: Peer, mask: int, classes: set[int]) -> None:
    result = await browse(node, BAY, nodeClassMask=mask)
    assert {reference["nodeClass"] for reference in result["references"]} == classes


@check("Part 4 5.8.2", "ResultMask 0 leaves everything out of the references but the target")
async def test_result_mask_none(node: Peer) -> None:
    result = await browse(node, BAY, resultMask=0)
    told = {
        (each["nodeClass"], each["browseName"]["name"], each["displayName"]["text"], each["referenceTypeId"])
        for each in result["references"]
    }
    assert told == {(0, None, None, "ns=0;i=0")}


@check("Part 4 5.8.2", "ResultMask BrowseName gives the names alone")
async def test_result_mask_name(node: Peer) -> None:
    result = await browse(node, BAY, resultMask=8)
    assert all(each["browseName"]["name"] and not each["nodeClass"] for each in result["references"])


@check("Part 4 5.8.2", "RequestedMaxReferencesPerNode bounds the references and leaves a continuation point")
async def test_browse_is_bounded(node: Peer) -> None:
    result = await browse(node, FOLDER, 7)
    assert (len(targets(result)), bool(result["continuationPoint"])) == (7, True)
    await browse_next(node, result["continuationPoint"], release=True)


@check("Part 4 5.8.3", "BrowseNext gives the rest, each reference once")
async def test_browse_next_gives_the_rest(node: Peer) -> None:
    whole = targets(await browse(node, FOLDER))
    result = await browse(node, FOLDER, 15)
    parts = targets(result)
    while result.get("continuationPoint"):
        result = await browse_next(node, result["continuationPoint"])
        parts += targets(result)
    assert (sorted(parts), len(set(whole))) == (sorted(whole), 40)


@check("Part 4 5.8.3", "BrowseNext with releaseContinuationPoints gives the point back")
async def test_release(node: Peer) -> None:
    point = (await browse(node, FOLDER, 7))["continuationPoint"]
    released = await browse_next(node, point, release=True)
    again = await browse_next(node, point)
    assert (released["statusCode"], again["statusCode"]) == ("Good", "BadContinuationPointInvalid")


@check("Part 4 5.8.3", "BrowseNext of a used or unknown continuation point answers BadContinuationPointInvalid")
async def test_unknown_continuation_point(node: Peer) -> None:
    assert (await browse_next(node, "00112233"))["statusCode"] == "BadContinuationPointInvalid"


@check("Part 4 5.8.3", "A continuation point is of no use in another session")
async def test_foreign_continuation_point(node: Peer, agent: Agent, subject: Subject) -> None:
    point = (await browse(node, FOLDER, 7))["continuationPoint"]
    other = await agent.connect(subject.url)
    status = (await browse_next(other, point))["statusCode"]
    await other.disconnect()
    await browse_next(node, point, release=True)
    assert status == "BadContinuationPointInvalid"


@check("Part 4 5.8.2", "More continuation points than MaxBrowseContinuationPoints answer BadNoContinuationPoints")
async def test_too_many_continuation_points(agent: Agent, subject: Subject, wire: WireClient) -> None:
    most = await limit(wire, 2735)
    peer = await agent.connect(subject.url)
    answer = await peer.request(
        "BrowseRequest", requestedMaxReferencesPerNode=1, nodesToBrowse=[wish(FOLDER)] * (most + 1)
    )
    await peer.disconnect()
    assert answer["results"][-1]["statusCode"] == "BadNoContinuationPoints"


@each(
    "address, fields, status",
    case(
        "Part 4 5.8.2", "Browse of an unknown node answers BadNodeIdUnknown", "ns=2;s=nowhere", {}, "BadNodeIdUnknown"
    ),
    case(
        "Part 4 5.8.2",
        "Browse by what is no ReferenceType answers BadReferenceTypeIdInvalid",
        BAY,
        {"referenceTypeId": "i=85"},
        "BadReferenceTypeIdInvalid",
    ),
)
async def test_browse_refused(node: Peer, address: str, fields: dict[str, Any], status: str) -> None:
    assert (await browse(node, address, **fields))["statusCode"] == status


@check("Part 4 5.8.2", "An unknown BrowseDirection answers BadBrowseDirectionInvalid")
async def test_browse_direction(wire: WireClient) -> None:
    body = (
        b"\0\0" + b"\0" * 12 + struct.pack("<Ii", 0, 1) + b"\0\x55" + struct.pack("<i", 7) + b"\0\x21\x01" + b"\0" * 8
    )
    result = (await wire.raw(527, body)).Results[0]
    assert result.StatusCode.name == "BadBrowseDirectionInvalid"


@check("Part 4 5.8.2", "Browse of an unknown view answers BadViewIdUnknown")
async def test_unknown_view(node: Peer) -> None:
    answer = await node.request("BrowseRequest", view={"viewId": "ns=2;s=view"}, nodesToBrowse=[wish(BAY)])
    assert fault(answer) == "BadViewIdUnknown"


@each(
    "request_name, field",
    case("Part 4 5.8.2", "Browse of no nodes answers BadNothingToDo", "BrowseRequest", "nodesToBrowse"),
    case("Part 4 5.8.3", "BrowseNext of no points answers BadNothingToDo", "BrowseNextRequest", "continuationPoints"),
    case(
        "Part 4 5.8.4",
        "TranslateBrowsePaths of no paths answers BadNothingToDo",
        "TranslateBrowsePathsToNodeIdsRequest",
        "browsePaths",
    ),
    case("Part 4 5.8.5", "RegisterNodes of no nodes answers BadNothingToDo", "RegisterNodesRequest", "nodesToRegister"),
    case(
        "Part 4 5.8.6",
        "UnregisterNodes of no nodes answers BadNothingToDo",
        "UnregisterNodesRequest",
        "nodesToUnregister",
    ),
)
async def test_nothing_to_do(node: Peer, request_name: str, field: str) -> None:
    assert fault(await node.request(request_name, **{field: []})) == "BadNothingToDo"


@each(
    "number, type_id, head, one",
    case(
        "Part 4 5.8.2",
        "Browse of more nodes than MaxNodesPerBrowse answers BadTooManyOperations",
        11710,
        527,
        b"\0" * 14 + b"\0" * 4,
        b"\0\x55" + b"\0" * 4 + b"\0\x21\x01" + b"\0" * 8,
    ),
    case(
        "Part 4 5.8.4",
        "TranslateBrowsePaths of more than the limit answers BadTooManyOperations",
        11712,
        554,
        b"",
        b"\0\x55" + b"\xff" * 4,
    ),
    case(
        "Part 4 5.8.5", "RegisterNodes of more than the limit answers BadTooManyOperations", 11711, 560, b"", b"\0\x55"
    ),
)
async def test_too_many(wire: WireClient, number: int, type_id: int, head: bytes, one: bytes) -> None:
    count = await limit(wire, number) + 1
    assert await wire.raw_status(type_id, head + struct.pack("<i", count) + one * count) == "BadTooManyOperations"


# ---- TranslateBrowsePathsToNodeIds -----------------------------------------------------------------------------------


def element(name: str | None, *, space: int = 2, inverse: bool = False, kind: str = HIERARCHICAL) -> dict[str, Any]:
    return {
        "referenceTypeId": kind,
        "isInverse": inverse,
        "includeSubtypes": True,
        "targetName": {"$name": [space, name]},
    }


async def translate(peer: Peer, start: str, *elements: dict[str, Any]) -> dict[str, Any]:
    path = {"startingNode": as_node(start), "relativePath": {"elements": list(elements)}}
    answer = await peer.request("TranslateBrowsePathsToNodeIdsRequest", browsePaths=[path])
    assert "results" in answer, answer
    return dict(answer["results"][0])


@check("Part 4 5.8.4", "A path of several names leads to its node")
async def test_path(node: Peer) -> None:
    result = await translate(node, BAY, element("QA1"), element("XCBR1"), element("Pos"))
    assert [each["targetId"] for each in result["targets"] or []] == [as_node(POSITION)]


@check("Part 4 5.8.4", "A path may go up")
async def test_path_up(node: Peer) -> None:
    result = await translate(node, f"{BAY}/QA1", element("F05", inverse=True))
    assert [each["targetId"] for each in result["targets"] or []] == [as_node(BAY)]


@each(
    "start, elements, status",
    case("Part 4 5.8.4", "A path to nothing answers BadNoMatch", BAY, [element("Nothing")], "BadNoMatch"),
    case(
        "Part 4 5.8.4",
        "A path with a name of another namespace answers BadNoMatch",
        BAY,
        [element("QA1", space=0)],
        "BadNoMatch",
    ),
    case("Part 4 5.8.4", "A path without elements answers BadNothingToDo", BAY, [], "BadNothingToDo"),
    case(
        "Part 4 5.8.4",
        "A path from an unknown node answers BadNodeIdUnknown",
        "ns=2;s=nowhere",
        [element("QA1")],
        "BadNodeIdUnknown",
    ),
    case(
        "Part 4 5.8.4",
        "A path whose last name is empty answers BadBrowseNameInvalid",
        BAY,
        [element(None, space=0)],
        "BadBrowseNameInvalid",
    ),
)
async def test_path_refused(node: Peer, start: str, elements: list[dict[str, Any]], status: str) -> None:
    assert (await translate(node, start, *elements))["statusCode"] == status


# ---- RegisterNodes, and what is not offered --------------------------------------------------------------------------


@check("Part 4 5.8.5", "RegisterNodes gives NodeIds that can be read")
async def test_register(node: Peer, point: str) -> None:
    answer = await node.request("RegisterNodesRequest", nodesToRegister=[as_node(point)])
    [registered] = answer["registeredNodeIds"]
    read = await node.request("ReadRequest", maxAge=0, nodesToRead=[{"nodeId": registered, "attributeId": 13}])
    freed = await node.request("UnregisterNodesRequest", nodesToUnregister=[registered])
    assert (read["results"][0]["statusCode"], fault(freed)) == ("Good", "Good")


@each(
    "request_name, fields",
    case("Part 4 5.9.3", "QueryFirst that is not offered answers BadServiceUnsupported", "QueryFirstRequest", {}),
    case("Part 4 5.9.4", "QueryNext that is not offered answers BadServiceUnsupported", "QueryNextRequest", {}),
    case(
        "Part 4 5.7.2",
        "AddNodes that is not offered answers BadServiceUnsupported",
        "AddNodesRequest",
        {"nodesToAdd": []},
    ),
    case("Part 4 5.7.3", "AddReferences that is not offered answers BadServiceUnsupported", "AddReferencesRequest", {}),
    case("Part 4 5.7.4", "DeleteNodes that is not offered answers BadServiceUnsupported", "DeleteNodesRequest", {}),
    case(
        "Part 4 5.7.5",
        "DeleteReferences that is not offered answers BadServiceUnsupported",
        "DeleteReferencesRequest",
        {},
    ),
)
async def test_not_offered(node: Peer, request_name: str, fields: dict[str, Any]) -> None:
    assert fault(await node.request(request_name, **fields)) == "BadServiceUnsupported"
