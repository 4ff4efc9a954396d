"""Method calls and users, through asyncua's client, in the corners where servers differ."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import (
    BadArgumentsMissing,
    BadIdentityTokenRejected,
    BadInvalidArgument,
    BadMethodInvalid,
    BadNotImplemented,
    BadTooManyArguments,
    BadUserAccessDenied,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from peers.opcua.requests import browse, read, status
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, Provider, Rig
from peers.waiting import patient

pytestmark = pytest.mark.asyncio(loop_scope="module")
GRID = "ns=2;s=#Grid"


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
            await control.call_method("4:Operate", *arguments(*OPERATE[:6]))
        with pytest.raises(BadTooManyArguments):
            await control.call_method("4:Operate", *arguments(*OPERATE, ("x", "String")))
        with pytest.raises(BadInvalidArgument):
            await control.call_method("4:Operate", *arguments((1, "Int32"), *OPERATE[1:]))
        for value in (("two", "String"), (float("nan"), "Double")):
            with pytest.raises(BadInvalidArgument):
                await control.call_method("4:Operate", *arguments(OPERATE[0], value, *OPERATE[2:]))
        with pytest.raises(BadInvalidArgument):
            await control.call_method("4:Operate", *arguments(("Loc", "String"), *OPERATE[1:]))
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
        await control.call_method("4:Select", *arguments(*OPERATE[:5]))
        await control.call_method("4:Operate", *arguments(OPERATE[0], (1.5, "Double"), *OPERATE[2:]))
        await control.call_method("4:Cancel", *arguments(OPERATE[0]))
    assert [(str(each.verb), each.value) for each, _ in rig.desk.commands] == [
        ("select", 2),
        ("operate", 1.5),
        ("cancel", None),
    ]
    assert {caller.session for _, caller in rig.desk.commands} != {""}


async def test_the_last_command_stands_beside_the_methods(rig: Rig) -> None:
    async with operator(rig) as client:
        control = client.get_node(f"ns=2;s={CONTROL}")
        await control.call_method("4:Cancel", *arguments(OPERATE[0]))
        value = await read(client, f"ns=2;s={CONTROL}#LastCommand")
        await client.load_data_type_definitions()
        last = await control.get_child("4:LastCommand")
        last = await last.read_value()
        assert (last.Verb, last.DataObject, last.Status.value, last.CommandId) == ("cancel", "Pos", 0, "cmd-1")
        assert (last.AddCause, last.Value.Value) == (-1, None)
        assert value.SourceTimestamp == value.ServerTimestamp
        assert (await control.get_child("4:LastCommand")).nodeid == ua.NodeId(f"{CONTROL}#LastCommand", 2)
        assert (await read(client, f"ns=2;s={CONTROL}#LastCommand", 14)).Value.Value.NamespaceIndex == 4


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
    rig.desk.delay = 3.0
    try:
        async with operator(rig) as client:
            call = asyncio.create_task(
                client.get_node(f"ns=2;s={CONTROL}").call_method("4:Operate", *arguments(*OPERATE))
            )
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2.5):
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
                await client.get_node(f"ns=2;s={CONTROL}").call_method("4:Operate", *arguments(*OPERATE))
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


async def test_a_method_that_fails_does_not_take_the_answers_of_the_others_with_it(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Provider.call

    async def call(self: Provider, owner: str, name: str, arguments: list[Any], caller: Any) -> Any:
        if arguments[0] == 13.0:
            raise RuntimeError("a provider's mistake")
        return await real(self, owner, name, arguments, caller)

    monkeypatch.setattr(Provider, "call", call)
    request = ua.CallRequest()
    for factor in (21.0, 13.0, 4.0):
        one = ua.CallMethodRequest()
        one.ObjectId, one.MethodId = ua.NodeId(BAY, 2), ua.NodeId(f"{BAY}#Double", 2)
        one.InputArguments = [ua.Variant(factor), ua.Variant([], ua.VariantType.String, is_array=True)]
        request.Parameters.MethodsToCall.append(one)
    results = await client.uaclient.call(request.Parameters.MethodsToCall)
    assert [each.StatusCode.name for each in results] == ["Good", "BadInternalError", "Good"]
    assert [[each.Value for each in result.OutputArguments] for result in results] == [[42.0], [], [8.0]]


async def test_who_may_not_call_a_providers_method_is_in_the_audit(rig: Rig, client: Any) -> None:
    rig.audit.records.clear()
    with pytest.raises(BadUserAccessDenied):
        await client.get_node(GRID).call_method("2:Forbidden")
    assert [(each.kind, each.details["method"]) for each in rig.audit.records] == [("method.refused", "Forbidden")]


async def test_a_standard_method_that_is_not_offered_says_so(client: Any) -> None:
    change = ua.NodeId(ua.ObjectIds.Server_RequestServerStateChange)
    with pytest.raises(BadNotImplemented):
        await client.nodes.server.call_method(change, ua.Variant(1, ua.VariantType.UInt32))


async def test_lookup_is_cut_at_max_and_its_pattern_checked(client: Any) -> None:
    grid = client.get_node(GRID)
    addresses, nodes, more = await grid.call_method("4:Lookup", "dso1/#", "", ua.Variant(3, ua.VariantType.UInt32))
    assert (len(addresses), len(nodes), more) == (3, 3, True)
    for pattern, where in (("a/#/b", ""), ("", ""), ("#", "cdc=XYZ")):
        with pytest.raises(BadInvalidArgument):
            await grid.call_method("4:Lookup", pattern, where, ua.Variant(0, ua.VariantType.UInt32))


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
        assert {each.BrowseName.Name for each in below.References} == {"MMXU1"}
        found, _, _ = await client.get_node(GRID).call_method(
            "4:Lookup", "#", "cdc=DPC", ua.Variant(0, ua.VariantType.UInt32)
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
        assert len(set(await client.get_node(f"ns=2;s={BAY}").get_children())) == 6
        assert await client.get_node(f"ns=2;s={CONTROL}").call_method("4:Cancel", "Pos")


async def test_endpoints_tell_security_and_users(rig: Rig, client: Any) -> None:
    endpoints = await client.get_endpoints()
    assert {(each.SecurityPolicyUri.partition("#")[2], each.SecurityMode.name) for each in endpoints} == {
        ("None", "None_"),
        ("Basic256Sha256", "SignAndEncrypt"),
        ("Aes128_Sha256_RsaOaep", "SignAndEncrypt"),
        ("Aes256_Sha256_RsaPss", "SignAndEncrypt"),
    }
    for each in endpoints:
        tokens = {token.TokenType: token.SecurityPolicyUri for token in each.UserIdentityTokens}
        assert set(tokens) == {ua.UserTokenType.Anonymous, ua.UserTokenType.UserName, ua.UserTokenType.Certificate}
        policy = each.SecurityPolicyUri.partition("#")[2]
        assert tokens[ua.UserTokenType.UserName].endswith("Basic256Sha256" if policy == "None" else policy)


async def test_properties_can_be_monitored_also_those_that_change(client: Any) -> None:
    class Heard:
        def __init__(self) -> None:
            self.values: list[Any] = []

        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            self.values.append(value)

    heard = Heard()
    subscription = await client.create_subscription(50, heard)
    nodes = [client.get_node(f"ns=2;s={each}") for each in (f"{POWER}#EngineeringUnits", f"{POSITION}#ValueAsText")]
    made = await subscription.subscribe_data_change(nodes)
    assert all(isinstance(each, int) for each in made)
    async with patient(3):
        while len(heard.values) < 2:
            await asyncio.sleep(0.02)
    assert [each.UnitId for each in heard.values if hasattr(each, "UnitId")] == [5723220]
    assert [each.Text for each in heard.values if hasattr(each, "Text")] == ["on"]
    await subscription.delete()
