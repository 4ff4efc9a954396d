"""Services of the server one by one, through asyncua's client, in the corners where servers differ."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.uaerrors import (
    BadBrowseDirectionInvalid,
    BadContinuationPointInvalid,
    BadMaxAgeInvalid,
    BadNodeIdUnknown,
    BadNoMatch,
    BadNothingToDo,
    BadReferenceTypeIdInvalid,
    BadServiceUnsupported,
    BadTimestampsToReturnInvalid,
)
from peers.opcua.requests import browse, read, status
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, Rig

from address_space.quality import StatusCode

pytestmark = pytest.mark.asyncio(loop_scope="module")
GRID = "ns=2;s=#Grid"


# ---- Read ------------------------------------------------------------------------------------------------------------


async def test_values_carry_device_time_and_status(client: Any) -> None:
    value = await read(client, f"ns=2;s={POWER}")
    assert (value.Value.Value, status(value)) == (1234.5, "Good")
    assert value.SourceTimestamp.isoformat() == "2024-12-30T02:40:00+00:00"
    old = await read(client, f"ns=2;s={BAY}/_/MMTR1/DmdWh")
    assert old.StatusCode.value == StatusCode.UncertainLastUsableValue


async def test_a_point_without_a_sample_has_no_value(client: Any) -> None:
    value = await read(client, f"ns=2;s={BAY}/IED1/LPHD1/PhyHealth")
    assert value.Value is None or value.Value.Value is None
    assert status(value) == "BadWaitingForInitialData"
    text = await read(client, f"ns=2;s={BAY}/IED1/LPHD1/PhyHealth#ValueAsText")
    assert status(text) == "BadWaitingForInitialData"


@pytest.mark.parametrize(
    ("stamps", "source", "server"), [(0, True, False), (1, False, True), (2, True, True), (3, False, False)]
)
async def test_only_the_asked_timestamps_come(client: Any, stamps: int, source: bool, server: bool) -> None:
    for node in (f"ns=2;s={POWER}", f"ns=2;s={POSITION}#ValueAsText"):
        value = await read(client, node, stamps=stamps)
        assert (value.SourceTimestamp is not None, value.ServerTimestamp is not None) == (source, server)


async def test_many_values_of_mixed_types_come_in_order(client: Any) -> None:
    paths = [POSITION, POWER, f"{CONTROL}/Loc", f"{BAY}/IED1/LPHD1/PhyHealth", f"{BAY}/QA1/XCBR1/OpCnt", POWER] * 7
    nodes = [ua.ReadValueId(NodeId=ua.NodeId(path, 2), AttributeId=ua.AttributeIds.Value) for path in paths]
    values = await client.uaclient.read(ua.ReadParameters(NodesToRead=nodes))
    assert [each.Value.Value if each.Value else None for each in values] == [2, 1234.5, True, None, 42, 1234.5] * 7


async def test_wrong_read_parameters_are_refused(client: Any) -> None:
    with pytest.raises(BadMaxAgeInvalid):
        await read(client, f"ns=2;s={POWER}", age=-1.0)
    with pytest.raises(BadNothingToDo):
        await client.uaclient.read(ua.ReadParameters())
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(POWER, 2), AttributeId=ua.AttributeIds.Value)]
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Invalid
    with pytest.raises(BadTimestampsToReturnInvalid):
        await client.uaclient.protocol.send_request(request)


@pytest.mark.parametrize(
    ("node", "index_range", "expected"),
    [
        (f"ns=2;s={POSITION}", "0", "BadIndexRangeNoData"),
        (f"ns=2;s={POSITION}", "x", "BadIndexRangeInvalid"),
        (f"ns=2;s={POSITION}", "3:1", "BadIndexRangeInvalid"),
        (f"ns=2;s={POSITION}", "0,0", "BadIndexRangeNoData"),
        (f"ns=2;s={POSITION}#EnumValues", "9:12", "BadIndexRangeNoData"),
        ("i=2255", "7", "BadIndexRangeNoData"),
    ],
)
async def test_index_ranges_without_data_are_refused(client: Any, node: str, index_range: str, expected: str) -> None:
    assert status(await read(client, node, IndexRange=index_range)) == expected


async def test_index_ranges_of_arrays_are_cut_out(client: Any) -> None:
    states = await read(client, f"ns=2;s={POSITION}#EnumValues", IndexRange="1:2")
    assert [each.Value for each in states.Value.Value] == [1, 2]
    namespaces = await read(client, "i=2255", IndexRange="2")
    assert namespaces.Value.Value == ["https://example.org"]


async def test_data_encodings_are_checked(client: Any) -> None:
    binary, other = ua.QualifiedName("Default Binary"), ua.QualifiedName("Default Wax")
    units = f"ns=2;s={POWER}#EngineeringUnits"
    assert status(await read(client, f"ns=2;s={POWER}", DataEncoding=binary)) == "BadDataEncodingInvalid"
    assert status(await read(client, units, DataEncoding=other)) == "BadDataEncodingUnsupported"
    assert (await read(client, units, DataEncoding=binary)).Value.Value.UnitId == 5723220


@pytest.mark.parametrize(
    ("node", "attribute", "expected"),
    [
        (POSITION, 1, ua.NodeId(POSITION, 2)),
        (POSITION, 2, 2),
        (POSITION, 3, ua.QualifiedName("Pos", 4)),
        (POSITION, 5, ua.LocalizedText("Switch position (DPC stVal, DpStatusKind)", "en")),
        (POSITION, 6, 0),
        (POSITION, 14, ua.NodeId(6)),
        (POWER, 14, ua.NodeId(11)),
        (POSITION, 15, -1),
        (POSITION, 17, 1),
        (POSITION, 18, 1),
        (POSITION, 19, 0.0),
        (POSITION, 20, False),
        (f"{POSITION}#EnumValues", 15, 1),
        (f"{POSITION}#EnumValues", 14, ua.NodeId(7594)),
        (f"{POSITION}#EnumValues", 3, ua.QualifiedName("EnumValues", 0)),
        (BAY, 2, 1),
        (BAY, 12, 5),
        (f"{CONTROL}#Operate", 2, 4),
        (f"{CONTROL}#Operate", 21, True),
        (f"{CONTROL}#Operate", 22, False),
    ],
)
async def test_attributes(client: Any, node: str, attribute: int, expected: Any) -> None:
    assert (await read(client, f"ns=2;s={node}", attribute)).Value.Value == expected


@pytest.mark.parametrize(
    ("node", "attribute", "expected"),
    [
        (f"ns=2;s={BAY}", 13, "BadAttributeIdInvalid"),
        (f"ns=2;s={POSITION}", 12, "BadAttributeIdInvalid"),
        (f"ns=2;s={POSITION}", 16, "BadAttributeIdInvalid"),
        (f"ns=2;s={POSITION}#Nothing", 13, "BadNodeIdUnknown"),
        (f"ns=2;s={POWER}#Operate", 21, "BadNodeIdUnknown"),
        ("ns=2;s=", 13, "BadNodeIdUnknown"),
        ("ns=2;i=7", 13, "BadNodeIdUnknown"),
        ("i=999999", 13, "BadNodeIdUnknown"),
    ],
)
async def test_what_is_not_there_says_so(client: Any, node: str, attribute: int, expected: str) -> None:
    assert status(await read(client, node, attribute)) == expected


async def test_a_node_without_read_access_is_not_read(rig: Rig, client: Any) -> None:
    node_id = ua.NodeId(ua.ObjectIds.Server_ServiceLevel)
    attributes = rig.server.internal.aspace[node_id].attributes
    before = attributes[ua.AttributeIds.AccessLevel].value
    attributes[ua.AttributeIds.AccessLevel].value = ua.DataValue(ua.Variant(0, ua.VariantType.Byte))
    try:
        assert status(await read(client, "i=2267")) == "BadNotReadable"
    finally:
        attributes[ua.AttributeIds.AccessLevel].value = before
    assert (await read(client, "i=2267")).Value.Value == 255


async def test_capabilities_are_those_enforced_and_not_null(rig: Rig, client: Any) -> None:
    limits = rig.server.settings.limits
    ids = ua.ObjectIds
    wanted = {
        ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse: limits.max_nodes_per_browse,
        ids.Server_ServerCapabilities_MaxBrowseContinuationPoints: limits.max_continuation_points,
        ids.Server_ServerCapabilities_MaxSessions: limits.max_sessions,
        ids.Server_ServerDiagnostics_EnabledFlag: True,
        ids.Server_ServerRedundancy_RedundancySupport: 0,
        ids.Server_ServerCapabilities_LocaleIdArray: ["en", "de"],
        ids.Server_NamespaceArray: [
            "http://opcfoundation.org/UA/",
            rig.server.application_uri,
            "https://example.org",
            "http://opcfoundation.org/UA/DI/",
            "urn:twin-gateway:UA:Grid",
        ],
        ids.Server_ServerArray: [rig.server.application_uri],
    }
    for number, expected in wanted.items():
        assert (await read(client, f"i={number}")).Value.Value == expected
    state = (await read(client, f"i={ids.Server_ServerStatus}")).Value.Value
    assert (state.State, state.BuildInfo.ProductName) == (ua.ServerState.Running, "twin-gateway")


# ---- Write -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "attribute", "expected"),
    [
        (f"ns=2;s={POSITION}", 13, "BadNotWritable"),
        (f"ns=2;s={POSITION}", 4, "BadNotWritable"),
        (f"ns=2;s={POWER}#EngineeringUnits", 13, "BadNotWritable"),
        (f"ns=2;s={BAY}", 13, "BadAttributeIdInvalid"),
        ("ns=2;s=nowhere", 13, "BadNodeIdUnknown"),
        ("i=2267", 13, "BadNotWritable"),
    ],
)
async def test_nothing_is_written(rig: Rig, client: Any, node: str, attribute: int, expected: str) -> None:
    value = ua.WriteValue(
        NodeId=ua.NodeId.from_string(node),
        AttributeId=ua.AttributeIds(attribute),
        Value=ua.DataValue(ua.Variant(1, ua.VariantType.Int32)),
    )
    before = rig.table.sample(rig.table.find(POSITION))
    [answer] = await client.uaclient.write(ua.WriteParameters(NodesToWrite=[value]))
    assert answer.name == expected
    assert rig.table.sample(rig.table.find(POSITION)) == before


# ---- Browse ----------------------------------------------------------------------------------------------------------


async def test_types_of_the_nodes(client: Any) -> None:
    expected = {
        BAY: "BayType",
        f"{BAY}/QA1": "CircuitBreakerType",
        f"{BAY}/IED1": "GridDeviceType",
        f"{BAY}/QA1/XCBR1": "XCBRType",
        f"{BAY}/_/MMXU1/A": "WYEType",
        POSITION: "DPCType",
        POWER: "MVType",
        f"{CONTROL}/Loc": "SPSType",
        f"{BAY}/QA1/XCBR1/OpCnt": "INSType",
    }
    for node, name in expected.items():
        [reference] = (await browse(client, f"ns=2;s={node}", ReferenceTypeId=ua.NodeId(40))).References
        assert reference.BrowseName == ua.QualifiedName(name, 4)
        assert (await client.get_node(reference.NodeId).read_browse_name()) == reference.BrowseName


async def test_masks_and_filters_of_browse(client: Any) -> None:
    node = f"ns=2;s={CONTROL}"
    variables = await browse(client, node, NodeClassMask=int(ua.NodeClass.Variable))
    assert sorted(each.BrowseName.Name for each in variables.References) == ["LNClass", "LastCommand", "Loc", "Pos"]
    methods = await browse(client, node, NodeClassMask=int(ua.NodeClass.Method))
    assert [each.BrowseName.Name for each in methods.References] == ["Select", "Operate", "Cancel"]
    inverse = await browse(client, node, BrowseDirection=ua.BrowseDirection.Inverse)
    assert {each.NodeId for each in inverse.References} == {ua.NodeId(f"{BAY}/QA1", 2)}
    exact = await browse(client, node, ReferenceTypeId=ua.NodeId(44), IncludeSubtypes=False)
    assert exact.References == []
    aggregates = await browse(client, node, ReferenceTypeId=ua.NodeId(44), BrowseDirection=ua.BrowseDirection.Forward)
    assert len(aggregates.References) == 7
    [bare, *_] = (await browse(client, node, ResultMask=0, ReferenceTypeId=ua.NodeId(44))).References
    assert (bare.BrowseName.Name, bare.DisplayName.Text, int(bare.NodeClass)) == (None, None, 0)
    assert bare.ReferenceTypeId == ua.NodeId(0)


async def test_wrong_browses_are_refused(client: Any) -> None:
    async def code(**fields: Any) -> int:
        return int((await browse(client, fields.pop("node", f"ns=2;s={BAY}"), **fields)).StatusCode.value)

    assert await code(node="ns=2;s=nowhere") == BadNodeIdUnknown.code
    assert await code(ReferenceTypeId=ua.NodeId(58)) == BadReferenceTypeIdInvalid.code
    assert await code(BrowseDirection=ua.BrowseDirection.Invalid) == BadBrowseDirectionInvalid.code
    with pytest.raises(BadNothingToDo):
        await client.uaclient.browse(ua.BrowseParameters())


async def test_continuation_points_end_and_can_be_given_back(client: Any) -> None:
    first = await browse(client, f"ns=2;s={BAY}", most=2)
    parameters = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[first.ContinuationPoint])
    [second] = await client.uaclient.browse_next(parameters)
    assert len(first.References) == len(second.References) == 2
    release = ua.BrowseNextParameters(ReleaseContinuationPoints=True, ContinuationPoints=[second.ContinuationPoint])
    [released] = await client.uaclient.browse_next(release)
    assert (released.StatusCode.is_good(), released.References) == (True, [])
    [gone] = await client.uaclient.browse_next(release)
    assert gone.StatusCode.value == BadContinuationPointInvalid.code


async def test_continuation_points_are_bounded(rig: Rig, client: Any) -> None:
    results = [
        await browse(client, f"ns=2;s={BAY}", most=1)
        for _ in range(rig.server.settings.limits.max_continuation_points + 1)
    ]
    assert [each.StatusCode.name for each in results[:-1]] == ["Good"] * (len(results) - 1)
    assert results[-1].StatusCode.name == "BadNoContinuationPoints"
    points = [each.ContinuationPoint for each in results[:-1]]
    await client.uaclient.browse_next(
        ua.BrowseNextParameters(ReleaseContinuationPoints=True, ContinuationPoints=points)
    )


async def test_every_node_below_the_grid_is_found_by_its_browse_path(rig: Rig, client: Any) -> None:
    for row in range(len(rig.table)):
        address = rig.table.address(row)
        segments = address.split("/")
        names = [f"{4 if level > 7 else 2}:{name}" for level, name in enumerate(segments, 1) if name != "_"]
        path = ["2:Grid", *names]
        assert (await client.nodes.objects.get_child(path)).nodeid == ua.NodeId(address, 2)


async def test_property_and_inverse_paths(client: Any) -> None:
    position = client.get_node(f"ns=2;s={POSITION}")
    assert (await position.get_child("0:ValueAsText")).nodeid == ua.NodeId(f"{POSITION}#ValueAsText", 2)
    assert (await position.get_parent()).nodeid == ua.NodeId(f"{BAY}/QA1/XCBR1", 2)
    with pytest.raises(BadNoMatch):
        await position.get_child("2:Nothing")


async def test_services_that_do_not_exist_are_unsupported(client: Any) -> None:
    with pytest.raises(BadServiceUnsupported):
        await client.uaclient.add_nodes([ua.AddNodesItem()])
