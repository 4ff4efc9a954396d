"""Services of the server one by one, through asyncua's client, in the corners where servers differ."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import (
    BadArgumentsMissing,
    BadBrowseDirectionInvalid,
    BadContinuationPointInvalid,
    BadIdentityTokenRejected,
    BadInvalidArgument,
    BadMaxAgeInvalid,
    BadMethodInvalid,
    BadNodeIdUnknown,
    BadNoMatch,
    BadNothingToDo,
    BadNotImplemented,
    BadReferenceTypeIdInvalid,
    BadServiceUnsupported,
    BadTimestampsToReturnInvalid,
    BadTooManyArguments,
    BadUserAccessDenied,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, Rig

from address_space.quality import StatusCode

pytestmark = pytest.mark.asyncio(loop_scope="module")
GRID = "ns=2;s=#Grid"


async def read(client: Any, node: str, attribute: int = 13, **more: Any) -> Any:
    """One DataValue; `stamps`, `age` and fields of the ReadValueId can be given."""
    wanted = ua.ReadValueId(NodeId=ua.NodeId.from_string(node), AttributeId=ua.AttributeIds(attribute))
    stamps, age = more.pop("stamps", 2), more.pop("age", 0.0)
    for name, value in more.items():
        setattr(wanted, name, value)
    parameters = ua.ReadParameters(MaxAge=age, NodesToRead=[wanted])
    parameters.TimestampsToReturn = stamps if stamps > 3 else ua.TimestampsToReturn(stamps)
    [value] = await client.uaclient.read(parameters)
    return value


def status(value: Any) -> str:
    return str(value.StatusCode.name)


async def browse(client: Any, node: str, **fields: Any) -> Any:
    wanted = ua.BrowseDescription(NodeId=ua.NodeId.from_string(node), IncludeSubtypes=True, ResultMask=63)
    wanted.ReferenceTypeId = ua.NodeId(0)
    most = fields.pop("most", 0)
    for name, value in fields.items():
        setattr(wanted, name, value)
    parameters = ua.BrowseParameters(NodesToBrowse=[wanted], RequestedMaxReferencesPerNode=most)
    [result] = await client.uaclient.browse(parameters)
    return result


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
        (POSITION, 3, ua.QualifiedName("Pos", 2)),
        (POSITION, 5, ua.LocalizedText("DPC stVal, DpStatusKind")),
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
        (BAY, 12, 0),
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
        ids.Server_ServerDiagnostics_EnabledFlag: False,
        ids.Server_ServerRedundancy_RedundancySupport: 0,
        ids.Server_ServerCapabilities_LocaleIdArray: [],
        ids.Server_NamespaceArray: ["http://opcfoundation.org/UA/", rig.server.application_uri, "https://example.org"],
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
        BAY: 61,
        f"{BAY}/QA1": 58,
        f"{BAY}/QA1/XCBR1": 58,
        f"{BAY}/_/MMXU1/A": 58,
        POSITION: 11238,
        POWER: 17497,
        f"{CONTROL}/Loc": 2373,
        f"{BAY}/QA1/XCBR1/OpCnt": 15318,
    }
    for node, number in expected.items():
        [reference] = (await browse(client, f"ns=2;s={node}", ReferenceTypeId=ua.NodeId(40))).References
        assert reference.NodeId == ua.NodeId(number)


async def test_masks_and_filters_of_browse(client: Any) -> None:
    node = f"ns=2;s={CONTROL}"
    variables = await browse(client, node, NodeClassMask=int(ua.NodeClass.Variable))
    assert sorted(each.BrowseName.Name for each in variables.References) == ["LastCommand", "Loc", "Pos"]
    methods = await browse(client, node, NodeClassMask=int(ua.NodeClass.Method))
    assert [each.BrowseName.Name for each in methods.References] == ["Select", "Operate", "Cancel"]
    inverse = await browse(client, node, BrowseDirection=ua.BrowseDirection.Inverse)
    assert [each.NodeId for each in inverse.References] == [ua.NodeId(f"{BAY}/QA1", 2)]
    exact = await browse(client, node, ReferenceTypeId=ua.NodeId(44), IncludeSubtypes=False)
    assert exact.References == []
    aggregates = await browse(client, node, ReferenceTypeId=ua.NodeId(44), BrowseDirection=ua.BrowseDirection.Forward)
    assert len(aggregates.References) == 6
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
        path = [f"2:{name}" for name in ["Grid", *(each for each in address.split("/") if each != "_")]]
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


# ---- Call ------------------------------------------------------------------------------------------------------------


def arguments(*pairs: tuple[Any, str]) -> list[ua.Variant]:
    return [ua.Variant(value, ua.VariantType[kind]) for value, kind in pairs]


OPERATE = (
    ("Pos", "String"),
    (2, "Int32"),
    (False, "Boolean"),
    (True, "Boolean"),
    (True, "Boolean"),
    ("", "String"),
    ("", "String"),
)


def operator(rig: Rig) -> Client:
    made = Client(rig.url)
    made.set_user("olga")
    made.set_password("o-secret")
    return made


async def test_arguments_are_checked(rig: Rig) -> None:
    rig.desk.commands.clear()
    async with operator(rig) as client:
        control = client.get_node(f"ns=2;s={CONTROL}")
        with pytest.raises(BadArgumentsMissing):
            await control.call_method("2:Operate", *arguments(*OPERATE[:6]))
        with pytest.raises(BadTooManyArguments):
            await control.call_method("2:Operate", *arguments(*OPERATE, ("x", "String")))
        with pytest.raises(BadInvalidArgument):
            await control.call_method("2:Operate", *arguments((1, "Int32"), *OPERATE[1:]))
        for value in (("two", "String"), (float("nan"), "Double")):
            with pytest.raises(BadInvalidArgument):
                await control.call_method("2:Operate", *arguments(OPERATE[0], value, *OPERATE[2:]))
        with pytest.raises(BadInvalidArgument):
            await control.call_method("2:Operate", *arguments(("Loc", "String"), *OPERATE[1:]))
        with pytest.raises(BadMethodInvalid):
            await client.get_node(f"ns=2;s={BAY}").call_method(ua.NodeId(f"{CONTROL}#Operate", 2), *arguments(*OPERATE))
        with pytest.raises(BadMethodInvalid):
            await control.call_method(ua.NodeId(f"{CONTROL}#Destroy", 2))
    assert rig.desk.commands == []


async def test_the_wrong_argument_is_named(rig: Rig) -> None:
    async with operator(rig) as client:
        request = ua.CallMethodRequest(
            ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Cancel", 2), arguments((1, "Int32"))
        )
        [result] = await client.uaclient.call([request])
        assert result.StatusCode.name == "BadInvalidArgument"
        assert [each.name for each in result.InputArgumentResults] == ["BadTypeMismatch"]


async def test_select_operate_and_cancel_reach_the_desk(rig: Rig) -> None:
    rig.desk.commands.clear()
    async with operator(rig) as client:
        control = client.get_node(f"ns=2;s={CONTROL}")
        await control.call_method("2:Select", *arguments(*OPERATE[:5]))
        await control.call_method("2:Operate", *arguments(OPERATE[0], (1.5, "Double"), *OPERATE[2:]))
        await control.call_method("2:Cancel", *arguments(OPERATE[0]))
    assert [(str(each.verb), each.value) for each, _ in rig.desk.commands] == [
        ("select", 2),
        ("operate", 1.5),
        ("cancel", None),
    ]
    assert {caller.session for _, caller in rig.desk.commands} != {""}


async def test_the_last_command_stands_beside_the_methods(rig: Rig) -> None:
    async with operator(rig) as client:
        control = client.get_node(f"ns=2;s={CONTROL}")
        await control.call_method("2:Cancel", *arguments(OPERATE[0]))
        value = await read(client, f"ns=2;s={CONTROL}#LastCommand")
        last = json.loads(value.Value.Value)
        assert (last["verb"], last["dataObject"], last["status"], last["commandId"]) == ("cancel", "Pos", 0, "cmd-1")
        assert value.SourceTimestamp == value.ServerTimestamp
        assert (await control.get_child("2:LastCommand")).nodeid == ua.NodeId(f"{CONTROL}#LastCommand", 2)
        assert (await read(client, f"ns=2;s={CONTROL}#LastCommand", 14)).Value.Value == ua.NodeId(12)


async def test_a_refusal_has_outputs_and_diagnostics_for_who_asks(rig: Rig) -> None:
    good = rig.desk.outcome
    rig.desk.refuse()
    try:
        async with operator(rig) as client:
            request = ua.CallRequest()
            request.RequestHeader.ReturnDiagnostics = 0xC0
            method = ua.CallMethodRequest(
                ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Operate", 2), arguments(*OPERATE)
            )
            request.Parameters.MethodsToCall = [method]
            data = await client.uaclient.protocol.send_request(request)
            response = ua.ua_binary.struct_from_binary(ua.CallResponse, data)
    finally:
        rig.desk.outcome = good
    text = "device: the switch is blocked by interlocking"
    [result], [diagnostic] = response.Results, response.DiagnosticInfos
    assert result.StatusCode.name == "BadInvalidState"
    assert [each.Value for each in result.OutputArguments] == ["cmd-2", 10, "device", text.partition(": ")[2]]
    assert diagnostic.AdditionalInfo == text
    assert response.ResponseHeader.StringTable == [text]


async def test_other_requests_are_served_while_a_command_is_under_way(rig: Rig) -> None:
    rig.desk.delay = 0.5
    try:
        async with operator(rig) as client:
            call = asyncio.create_task(
                client.get_node(f"ns=2;s={CONTROL}").call_method("2:Operate", *arguments(*OPERATE))
            )
            await asyncio.sleep(0.1)
            async with asyncio.timeout(0.3):
                assert await client.get_node(f"ns=2;s={POSITION}").read_value() == 2
            assert not call.done()
            await call
    finally:
        rig.desk.delay = 0.0


async def test_without_a_desk_commands_are_not_supported(rig: Rig) -> None:
    internal = rig.server.internal
    ports = internal.ports
    internal.ports = type(ports)(ports.policy, None, ports.audit)
    try:
        async with operator(rig) as client:
            with pytest.raises(ua.uaerrors.BadNotSupported):
                await client.get_node(f"ns=2;s={CONTROL}").call_method("2:Operate", *arguments(*OPERATE))
    finally:
        internal.ports = ports


async def test_methods_of_providers(client: Any) -> None:
    bay = client.get_node(f"ns=2;s={BAY}")
    names = ua.Variant(["a"], ua.VariantType.String)
    assert await bay.call_method("2:Double", 21.0, names) == 42.0
    with pytest.raises(BadInvalidArgument):
        await bay.call_method("2:Double", 21.0, "a")
    with pytest.raises(BadUserAccessDenied):
        await client.get_node(GRID).call_method("2:Forbidden")


async def test_standard_methods_are_not_callable_by_anyone(client: Any) -> None:
    with pytest.raises(BadNotImplemented):
        await client.nodes.server.call_method(ua.NodeId(11492), ua.Variant(1, ua.VariantType.UInt32))


async def test_lookup_is_cut_at_max_and_its_pattern_checked(client: Any) -> None:
    grid = client.get_node(GRID)
    addresses, nodes, more = await grid.call_method("2:Lookup", "dso1/#", "", ua.Variant(3, ua.VariantType.UInt32))
    assert (len(addresses), len(nodes), more) == (3, 3, True)
    for pattern, where in (("a/#/b", ""), ("", ""), ("#", "cdc=XYZ")):
        with pytest.raises(BadInvalidArgument):
            await grid.call_method("2:Lookup", pattern, where, ua.Variant(0, ua.VariantType.UInt32))


# ---- users -----------------------------------------------------------------------------------------------------------


async def test_who_has_no_role_sees_the_server_object_only(rig: Rig) -> None:
    client = Client(rig.url)
    client.set_user("nobody")
    client.set_password("x-secret")
    async with client:
        assert (await browse(client, GRID)).StatusCode.name == "BadNodeIdUnknown"
        assert ua.NodeId("#Grid", 2) not in [each.NodeId for each in (await browse(client, "i=85")).References]
        assert status(await read(client, f"ns=2;s={POSITION}")) == "BadNodeIdUnknown"
        assert (await read(client, "i=2259")).Value.Value == 0


async def test_rights_by_place(rig: Rig) -> None:
    client = Client(rig.url)
    client.set_user("nina")
    client.set_password("n-secret")
    async with client:
        assert await client.get_node(f"ns=2;s={POWER}").read_value() == 1234.5
        assert status(await read(client, f"ns=2;s={POSITION}")) == "BadNodeIdUnknown"
        values = await client.uaclient.read(
            ua.ReadParameters(
                NodesToRead=[
                    ua.ReadValueId(NodeId=ua.NodeId(each, 2), AttributeId=ua.AttributeIds.Value)
                    for each in (POWER, POSITION)
                ]
            )
        )
        assert [each.StatusCode.name for each in values] == ["Good", "BadNodeIdUnknown"]
        below = await browse(client, f"ns=2;s={BAY}", BrowseDirection=ua.BrowseDirection.Forward, NodeClassMask=1)
        assert [each.BrowseName.Name for each in below.References] == ["MMXU1"]
        found, _, _ = await client.get_node(GRID).call_method(
            "2:Lookup", "#", "cdc=DPC", ua.Variant(0, ua.VariantType.UInt32)
        )
        assert found == []


async def test_a_password_in_clear_is_refused_off_loopback_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from address_space.opcua.processor import Processor

    client = operator(rig)
    client._encrypt_password = lambda password, policy: (password.encode(), "")
    await client.connect()
    await client.disconnect()
    monkeypatch.setattr(Processor, "local", property(lambda _: False))
    with pytest.raises(BadIdentityTokenRejected):
        await client.connect()


async def test_a_secured_session_with_the_certificate_made_at_first_start(rig: Rig, pki: Any) -> None:
    key, certificate = pki / "peer.key.pem", pki / "peer.der"
    uri = "urn:example.org:peer"
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
    await setup_self_signed_certificate(key, certificate, uri, "localhost", usage, {"commonName": "peer"})
    client = operator(rig)
    client.application_uri = uri
    await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
    async with client:
        assert await client.get_node(f"ns=2;s={POSITION}").read_value() == 2
        assert len(await client.get_node(f"ns=2;s={BAY}").get_children()) == 5
        assert await client.get_node(f"ns=2;s={CONTROL}").call_method("2:Cancel", "Pos")


async def test_endpoints_tell_security_and_users(rig: Rig, client: Any) -> None:
    endpoints = await client.get_endpoints()
    assert {(each.SecurityPolicyUri.partition("#")[2], each.SecurityMode.name) for each in endpoints} == {
        ("None", "None_"),
        ("Basic256Sha256", "SignAndEncrypt"),
    }
    for each in endpoints:
        tokens = {token.TokenType: token.SecurityPolicyUri for token in each.UserIdentityTokens}
        assert set(tokens) == {ua.UserTokenType.Anonymous, ua.UserTokenType.UserName}
        assert tokens[ua.UserTokenType.UserName].endswith("Basic256Sha256")


async def test_properties_can_be_monitored_and_what_is_not_watched_says_so(client: Any) -> None:
    class Heard:
        def __init__(self) -> None:
            self.values: list[Any] = []

        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            self.values.append(value)

    heard = Heard()
    subscription = await client.create_subscription(50, heard)
    nodes = [client.get_node(f"ns=2;s={each}") for each in (f"{POWER}#EngineeringUnits", f"{POSITION}#ValueAsText")]
    good, bad = await subscription.subscribe_data_change(nodes)
    assert isinstance(good, int)
    assert bad.name == "BadNotSupported"
    async with asyncio.timeout(3):
        while not heard.values:
            await asyncio.sleep(0.02)
    assert heard.values[0].UnitId == 5723220
    await subscription.delete()
