"""Part 4, 5.10 (Attribute Service Set): Read and Write."""

from __future__ import annotations

import struct
from typing import Any

from asyncua import ua
from conformance.ask import BOTH, NEITHER, SERVER, SOURCE, as_node, fault, read, wanted
from conformance.registry import case, check, each
from conformance.subject import BAY, HIDDEN, PASSWORDS, POSITION, POWER, TEXT, Subject
from peers.opcua.agent import Agent, Peer
from peers.opcua.wire_client import WireClient

NAMESPACES, STATUS, FLAG, SERVER_OBJECT = "i=2255", "i=2256", "i=2294", "i=2253"
READ_LIMIT, WRITE_LIMIT = 11705, 11707
EXECUTABLE, ACCESS_LEVEL_EX, ROLES, USER_ROLES, RESTRICTIONS = 21, 27, 24, 25, 26
NO_TIMES = {"sourceTimestamp": None, "serverTimestamp": None}


async def limit(wire: WireClient, number: int) -> int:
    """A number of the ServerCapabilities."""
    parameters = ua.ReadParameters(NodesToRead=[ua.ReadValueId(NodeId=ua.NodeId(number), AttributeId=13)])
    answer = await wire.call(ua.ReadRequest(Parameters=parameters))
    return int(answer.Results[0].Value.Value)


async def read_range(wire: WireClient, text: str) -> str:
    """Status of NamespaceArray read with an IndexRange as it is."""
    item = ua.ReadValueId(NodeId=ua.NodeId(2255), AttributeId=13, IndexRange=text)
    answer = await wire.call(ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[item])))
    return str(answer.Results[0].StatusCode.name)


@check("Part 4 5.10.2", "Read gives the value of a variable")
async def test_read_gives_the_value(node: Peer, point: str) -> None:
    assert (await read(node, point))["value"]["value"] == 10.0


@check("Part 4 5.10.2", "Read with a negative MaxAge answers BadMaxAgeInvalid")
async def test_negative_max_age(node: Peer, point: str) -> None:
    answer = await node.request("ReadRequest", maxAge=-1, timestampsToReturn=BOTH, nodesToRead=[wanted(point)])
    assert fault(answer) == "BadMaxAgeInvalid"


@check("Part 4 5.10.2", "Read of no nodes answers BadNothingToDo")
async def test_read_of_nothing(node: Peer) -> None:
    answer = await node.request("ReadRequest", maxAge=0, timestampsToReturn=BOTH, nodesToRead=[])
    assert fault(answer) == "BadNothingToDo"


@check("Part 4 5.10.2", "Read of more nodes than MaxNodesPerRead answers BadTooManyOperations")
async def test_read_of_too_many(wire: WireClient) -> None:
    count = await limit(wire, READ_LIMIT) + 1
    one = b"\x01\0\xd2\x08\x0d\0\0\0" + b"\xff" * 4 + b"\0\0" + b"\xff" * 4
    body = struct.pack("<dii", 0, BOTH, count) + one * count
    assert await wire.raw_status(631, body) == "BadTooManyOperations"


@check("Part 4 7.35", "TimestampsToReturn beyond its values answers BadTimestampsToReturnInvalid")
async def test_unknown_timestamps(wire: WireClient) -> None:
    one = b"\x01\0\xd2\x08\x0d\0\0\0" + b"\xff" * 4 + b"\0\0" + b"\xff" * 4
    body = struct.pack("<dii", 0, 9, 1) + one
    assert await wire.raw_status(631, body) == "BadTimestampsToReturnInvalid"


@each(
    "stamps, present",
    case("Part 4 7.35", "TimestampsToReturn Source gives the source timestamp alone", SOURCE, {"source"}),
    case("Part 4 7.35", "TimestampsToReturn Server gives the server timestamp alone", SERVER, {"server"}),
    case("Part 4 7.35", "TimestampsToReturn Both gives both timestamps", BOTH, {"source", "server"}),
    case("Part 4 7.35", "TimestampsToReturn Neither gives none", NEITHER, set()),
)
async def test_timestamps_to_return(node: Peer, point: str, stamps: int, present: set[str]) -> None:
    value = await read(node, point, stamps=stamps)
    assert {name for name in ("source", "server") if value[f"{name}Timestamp"]} == present


@each(
    "index_range, places",
    case("Part 4 7.22", "IndexRange 0:1 gives the first two elements of an array", "0:1", slice(0, 2)),
    case("Part 4 7.22", "IndexRange 1 gives one element, as an array", "1", slice(1, 2)),
    case("Part 4 7.22", "IndexRange that is partly beyond the array gives what there is", "1:1000", slice(1, None)),
)
async def test_index_range_of_an_array(node: Peer, index_range: str, places: slice) -> None:
    whole = (await read(node, NAMESPACES))["value"]["value"]
    assert (await read(node, NAMESPACES, indexRange=index_range))["value"]["value"] == whole[places]


@check("Part 4 7.22", "IndexRange of a String gives a part of the text")
async def test_index_range_of_a_string(node: Peer) -> None:
    assert (await read(node, TEXT, indexRange="0:4"))["value"]["value"] == "first"


@each(
    "text, status",
    case("Part 4 7.22", "IndexRange beyond the array answers BadIndexRangeNoData", "500:600", "BadIndexRangeNoData"),
    case(
        "Part 4 7.22",
        "IndexRange whose end is before its begin answers BadIndexRangeInvalid",
        "5:2",
        "BadIndexRangeInvalid",
    ),
    case(
        "Part 4 7.22", "IndexRange whose end is its begin answers BadIndexRangeInvalid", "1:1", "BadIndexRangeInvalid"
    ),
    case("Part 4 7.22", "IndexRange that is no range answers BadIndexRangeInvalid", "one", "BadIndexRangeInvalid"),
    case(
        "Part 4 7.22", "IndexRange of a further dimension answers BadIndexRangeNoData", "0:1,0:1", "BadIndexRangeNoData"
    ),
)
async def test_index_range_refused(wire: WireClient, text: str, status: str) -> None:
    assert await read_range(wire, text) == status


@check("Part 4 7.22", "IndexRange of a scalar number answers BadIndexRangeNoData")
async def test_index_range_of_a_scalar(node: Peer, point: str) -> None:
    assert (await read(node, point, indexRange="0:1"))["statusCode"] == "BadIndexRangeNoData"


@each(
    "address, encoding, status",
    case(
        "Part 4 5.10.2",
        "DataEncoding of what is no structure answers BadDataEncodingInvalid",
        POWER,
        "Default Binary",
        "BadDataEncodingInvalid",
    ),
    case(
        "Part 4 5.10.2",
        "An unknown DataEncoding answers BadDataEncodingUnsupported",
        STATUS,
        "Default Wax",
        "BadDataEncodingUnsupported",
    ),
    case("Part 4 5.10.2", "DataEncoding Default Binary of a structure is served", STATUS, "Default Binary", "Good"),
)
async def test_data_encoding(node: Peer, address: str, encoding: str, status: str) -> None:
    value = await read(node, address, dataEncoding={"$name": [0, encoding]})
    assert value["statusCode"] == status


@each(
    "address, attribute, status",
    case("Part 4 5.10.2", "Read of an unknown node answers BadNodeIdUnknown", "ns=2;s=nowhere", 13, "BadNodeIdUnknown"),
    case(
        "Part 4 5.10.2", "Read of an unknown numeric node answers BadNodeIdUnknown", "i=4000000", 13, "BadNodeIdUnknown"
    ),
    case(
        "Part 4 5.10.2",
        "Read of an attribute that the NodeClass has not answers BadAttributeIdInvalid",
        POWER,
        EXECUTABLE,
        "BadAttributeIdInvalid",
    ),
    case(
        "Part 4 5.10.2",
        "Read of the Value of an object answers BadAttributeIdInvalid",
        BAY,
        13,
        "BadAttributeIdInvalid",
    ),
    case(
        "Part 4 5.10.2",
        "Read of an AttributeId that does not exist answers BadAttributeIdInvalid",
        POWER,
        999,
        "BadAttributeIdInvalid",
    ),
)
async def test_read_refused(node: Peer, address: str, attribute: int, status: str) -> None:
    assert (await read(node, address, attribute))["statusCode"] == status


@check("Part 4 5.10.2", "Results of Read have the order of the request, also with failures between")
async def test_order_of_results(node: Peer, point: str) -> None:
    nodes = [wanted(point), wanted("ns=2;s=nowhere"), wanted(point, 1)]
    answer = await node.request("ReadRequest", maxAge=0, timestampsToReturn=NEITHER, nodesToRead=nodes)
    assert [each["statusCode"] for each in answer["results"]] == ["Good", "BadNodeIdUnknown", "Good"]


@check("Part 3 5.6.2", "A Variable has all its mandatory attributes")
async def test_mandatory_attributes_of_a_variable(node: Peer, point: str) -> None:
    nodes = [wanted(point, attribute) for attribute in (1, 2, 3, 4, 13, 14, 15, 17, 18, 20)]
    answer = await node.request("ReadRequest", maxAge=0, timestampsToReturn=NEITHER, nodesToRead=nodes)
    assert {each["statusCode"] for each in answer["results"]} == {"Good"}


@check("Part 3 5.5.1", "An Object has all its mandatory attributes")
async def test_mandatory_attributes_of_an_object(node: Peer) -> None:
    nodes = [wanted(BAY, attribute) for attribute in (1, 2, 3, 4, 12)]
    answer = await node.request("ReadRequest", maxAge=0, timestampsToReturn=NEITHER, nodesToRead=nodes)
    assert {each["statusCode"] for each in answer["results"]} == {"Good"}


@check("Part 3 5.7", "A Method has all its mandatory attributes")
async def test_mandatory_attributes_of_a_method(node: Peer) -> None:
    nodes = [wanted(f"{BAY}#Double", attribute) for attribute in (1, 2, 3, 4, 21, 22)]
    answer = await node.request("ReadRequest", maxAge=0, timestampsToReturn=NEITHER, nodesToRead=nodes)
    assert {each["statusCode"] for each in answer["results"]} == {"Good"}


@check("Part 3 5.6.2", "A value that the user may not read is refused")
async def test_unreadable_value(node: Peer) -> None:
    assert (await read(node, HIDDEN))["statusCode"] in {"BadUserAccessDenied", "BadNotReadable"}


@check("Part 3 8.57", "UserAccessLevel has no CurrentRead where the user may not read")
async def test_user_access_level(node: Peer, point: str) -> None:
    levels = [(await read(node, address, 18))["value"]["value"] & 1 for address in (point, HIDDEN)]
    assert levels == [1, 0]


@check("Part 3 5.6.2", "AccessLevelEx of a Variable begins with its AccessLevel")
async def test_access_level_ex(node: Peer, point: str) -> None:
    level, wide = await read(node, point, 17), await read(node, point, ACCESS_LEVEL_EX)
    assert wide["value"] and wide["value"]["dataType"] == "UInt32"
    assert wide["value"]["value"] & 0xFF == level["value"]["value"]


@check("Part 3 5.2.9", "RolePermissions tell the permissions of each role to a security administrator")
async def test_role_permissions(agent: Agent, subject: Subject, point: str) -> None:
    admin = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    value = await read(admin, point, ROLES)
    await admin.disconnect()
    roles = {each["roleId"]: each["permissions"] for each in value["value"]["value"] or []}
    assert roles["ns=0;i=15680"] & 0x21 == 0x21


@check("Part 3 5.2.9", "RolePermissions are refused to those who may not read them")
async def test_role_permissions_refused(node: Peer, point: str) -> None:
    assert (await read(node, point, ROLES))["statusCode"] == "BadUserAccessDenied"


@check("Part 3 5.2.10", "UserRolePermissions tell the permissions of the session's own roles")
async def test_user_role_permissions(node: Peer, point: str) -> None:
    value = await read(node, point, USER_ROLES)
    roles = {each["roleId"]: each["permissions"] for each in value["value"]["value"] or []}
    assert set(roles) == {"ns=0;i=15668", "ns=0;i=15680"}


@check("Part 3 5.2.10", "UserRolePermissions of a method have Call only where the user may call it")
async def test_user_role_permissions_of_methods(node: Peer) -> None:
    answers = [await read(node, f"{BAY}#{name}", USER_ROLES) for name in ("Double", "Refused")]
    bits = [0, 0]
    for index, answer in enumerate(answers):
        for entry in answer["value"]["value"] or []:
            bits[index] |= entry["permissions"] & 0x1000
    assert bits == [0x1000, 0]


@check("Part 3 5.2.11", "AccessRestrictions are a UInt16")
async def test_access_restrictions(node: Peer, point: str) -> None:
    value = await read(node, point, RESTRICTIONS)
    assert value["value"] and value["value"]["dataType"] == "UInt16"


# ---- Write -----------------------------------------------------------------------------------------------------------


async def write(peer: Peer, address: str, variant: Any, attribute: int = 13, **fields: Any) -> str:
    """Status of one write; `fields` are those of the DataValue, `indexRange` of the WriteValue."""
    more = {"indexRange": fields.pop("indexRange")} if "indexRange" in fields else {}
    one = {
        "nodeId": as_node(address),
        "attributeId": attribute,
        "value": {"$data": {"value": variant, **fields}},
        **more,
    }
    answer = await peer.request("WriteRequest", nodesToWrite=[one])
    return str(answer["results"][0]) if "results" in answer else fault(answer)


DOUBLE = {"$variant": ["Double", 1.0]}
ON, OFF = {"$variant": ["Boolean", True]}, {"$variant": ["Boolean", False]}


@each(
    "address, attribute, status",
    case(
        "Part 4 5.10.4", "Write of an unknown node answers BadNodeIdUnknown", "ns=2;s=nowhere", 13, "BadNodeIdUnknown"
    ),
    case(
        "Part 4 5.10.4",
        "Write of a standard node that nobody writes answers BadNotWritable",
        "i=2267",
        13,
        "BadNotWritable",
    ),
    case(
        "Part 4 5.10.4",
        "Write of the Value of an object answers BadAttributeIdInvalid",
        BAY,
        13,
        "BadAttributeIdInvalid",
    ),
    case(
        "Part 4 5.10.4",
        "Write of an AttributeId that does not exist answers BadAttributeIdInvalid",
        POWER,
        999,
        "BadAttributeIdInvalid",
    ),
    case(
        "Part 4 5.10.4", "Write of the DisplayName of a node without WriteMask is refused", POWER, 4, "BadNotWritable"
    ),
)
async def test_write_refused(node: Peer, address: str, attribute: int, status: str) -> None:
    assert await write(node, address, DOUBLE, attribute) == status


@check("Part 4 5.10.4", "Write of no nodes answers BadNothingToDo")
async def test_write_of_nothing(node: Peer) -> None:
    assert fault(await node.request("WriteRequest", nodesToWrite=[])) == "BadNothingToDo"


@check("Part 4 5.10.4", "Write of more nodes than MaxNodesPerWrite answers BadTooManyOperations")
async def test_write_of_too_many(wire: WireClient) -> None:
    count = await limit(wire, WRITE_LIMIT) + 1
    one = b"\x01\0\xd2\x08\x0d\0\0\0" + b"\xff" * 4 + b"\x01\x01\x01"
    assert await wire.raw_status(673, struct.pack("<i", count) + one * count) == "BadTooManyOperations"


@check("Part 5 6.3.3", "EnabledFlag is refused to those who may not write it")
async def test_flag_refused(node: Peer) -> None:
    assert await write(node, FLAG, OFF) == "BadUserAccessDenied"


@each(
    "variant, fields, status",
    case("Part 4 5.10.4", "Write of a value of another type answers BadTypeMismatch", DOUBLE, {}, "BadTypeMismatch"),
    case(
        "Part 4 5.10.4",
        "Write with an IndexRange to a scalar answers BadIndexRangeNoData",
        ON,
        {"indexRange": "0:1"},
        "BadIndexRangeNoData",
    ),
    case(
        "Part 4 5.10.4",
        "Write of a timestamp that the server does not take answers BadWriteNotSupported",
        ON,
        {"sourceTimestamp": {"$date": "2026-01-01T00:00:00Z"}},
        "BadWriteNotSupported",
    ),
    case("Part 4 5.10.4", "Write of a value by who may write it is Good", ON, {}, "Good"),
)
async def test_write_of_the_flag(
    agent: Agent, subject: Subject, variant: Any, fields: dict[str, Any], status: str
) -> None:
    admin = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    answer = await write(admin, FLAG, variant, **fields)
    await admin.disconnect()
    assert answer == status


@check("Part 8 5.2.5", "A value that waits for its first data is Bad", ours_only="its program gives the values")
async def test_value_that_waits(node: Peer) -> None:
    value = await read(node, "dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos")
    assert value["statusCode"] == "BadWaitingForInitialData"


@check(
    "Part 4 7.7", "A DataValue that is Good tells its status by leaving it out or as 0, and its type is the DataType"
)
async def test_type_of_value_is_the_data_type(node: Peer) -> None:
    value, data_type = await read(node, POSITION), await read(node, POSITION, 14)
    assert (value["statusCode"], value["value"]["dataType"]) == ("Good", "Int32")
    assert data_type["value"]["value"].startswith("ns=")
