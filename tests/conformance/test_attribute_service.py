"""Part 4, 5.10 (Attribute Service Set): Read and Write."""

from __future__ import annotations

from conformance.registry import check
from conformance.subject import node as node_id
from peers.opcua.agent import Peer
from peers.opcua.wire_client import WireClient


@check("Part 4 5.10.2", "Read gives the value of a variable")
async def test_read_gives_the_value(node: Peer, point: str) -> None:
    answer = await node.request(
        "ReadRequest", maxAge=0, timestampsToReturn=2, nodesToRead=[{"nodeId": node_id(point), "attributeId": 13}]
    )
    assert answer["results"][0]["value"]["value"] == 10.0


@check("Part 4 5.10.2", "Read with a negative MaxAge answers BadMaxAgeInvalid")
async def test_read_with_a_negative_max_age_answers_bad_max_age_invalid(node: Peer, point: str) -> None:
    answer = await node.request(
        "ReadRequest", maxAge=-1, timestampsToReturn=2, nodesToRead=[{"nodeId": node_id(point), "attributeId": 13}]
    )
    assert answer.get("fault") == "BadMaxAgeInvalid"


@check("Part 4 7.40", "TimestampsToReturn beyond its values answers BadTimestampsToReturnInvalid")
async def test_read_with_unknown_timestamps(wire: WireClient) -> None:
    assert await wire.raw_status(631, b"\0" * 8 + b"\x09\0\0\0" + b"\xff" * 4) == "BadTimestampsToReturnInvalid"
