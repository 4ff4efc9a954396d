"""Part 4, 5.6 and Part 2: users and sessions that are refused, each with its code, an audit event and a record."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from asyncua import ua
from conformance.registry import check
from conformance.security_server import PASSWORD, SecurityServer
from peers.opcua.agent import Agent, RefusedError
from peers.opcua.rig import CONTROL, POSITION
from peers.opcua.wire_client import FaultError, WireClient

from address_space.opcua.auditing import LONGEST_ENTRY

OURS = "stock asyncua is not asked: its server would have to be set up with these users"
OPERATE = [
    {"$variant": ["String", "Pos"]},
    {"$variant": ["Boolean", True]},
    {"$variant": ["Boolean", False]},
    {"$variant": ["Boolean", True]},
    {"$variant": ["Boolean", True]},
    {"$variant": ["String", "work"]},
    {"$variant": ["String", ""]},
]


async def operates(agent: Agent, secure: SecurityServer, user: str) -> str:
    """StatusCode of operating the breaker as a user."""
    peer = await agent.connect(secure.url, **secure.secured(user=user, password=PASSWORD))
    call = {"objectId": f"ns=2;s={CONTROL}", "methodId": f"ns=2;s={CONTROL}#Operate", "inputArguments": OPERATE}
    answer = await peer.request("CallRequest", methodsToCall=[call])
    await peer.disconnect()
    return str(answer["results"][0]["statusCode"])


@pytest.mark.parametrize(
    ("user", "password"), [("olga", "wrong"), ("nobody", PASSWORD), ("anna", PASSWORD), ("olga", "")]
)
@check("Part 4 5.6.3", "A wrong user name or password answers BadUserAccessDenied and is audited", ours_only=OURS)
async def test_a_wrong_password_is_refused(secure: SecurityServer, agent: Agent, user: str, password: str) -> None:
    secure.forget()
    with pytest.raises(RefusedError) as refused:
        await agent.connect(secure.url, **secure.secured(user=user, password=password or " "))
    assert refused.value.status == "BadUserAccessDenied"
    event, record = await secure.told(2075, "login.refused")
    assert event.status == record.status == ua.StatusCodes.BadUserAccessDenied
    assert event.user == record.user == user
    assert not any(PASSWORD in str(each) or "wrong'" in str(each) for each in secure.audit.records)


@check(
    "Part 4 5.6.2", "A request with the token of another connection's session is refused and audited", ours_only=OURS
)
async def test_a_stolen_session_id_is_refused(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as owner, WireClient(secure.port) as thief:
        own = thief._token
        thief._token = owner._token
        secure.forget()
        assert await thief.status(ua.ReadRequest()) == "BadSessionIdInvalid"
        event, record = await secure.told(2069, "session.foreign")
        assert event.status == record.status == ua.StatusCodes.BadSessionIdInvalid
        assert event.fields["SessionId"][1] == owner.session_id
        thief._token = own
        assert await owner.status(ua.ReadRequest()) == "BadNothingToDo"


@check("Part 4 5.6.3", "ActivateSession of another connection's session as another user is refused", ours_only=OURS)
async def test_a_session_is_not_taken_over_by_another_user(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as owner:
        await owner.activate("olga", PASSWORD)
        thief = WireClient(secure.port)
        await thief.connect()
        thief.adopt(owner)
        secure.forget()
        for user, password in (("", ""), ("otto", PASSWORD)):
            with pytest.raises(FaultError) as refused:
                await thief.activate(user, password)
            assert refused.value.name == "BadIdentityTokenRejected"
        event, record = await secure.told(2075, "login.refused")
        assert event.status == record.status == ua.StatusCodes.BadIdentityTokenRejected
        assert await owner.status(ua.ReadRequest()) == "BadNothingToDo"
        await thief.activate("olga", PASSWORD)
        await thief.close()


@check("Part 4 5.6.3", "Of two activations over other connections at the same time one counts", ours_only=OURS)
async def test_a_nonce_counts_once(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as owner:
        await owner.activate("olga", PASSWORD)
        others = [WireClient(secure.port) for _ in range(2)]
        for each in others:
            await each.connect()
            each.adopt(owner)
        came = await asyncio.gather(*(each.activate("olga", PASSWORD) for each in others), return_exceptions=True)
        assert sorted(type(each).__name__ for each in came) == ["FaultError", "NoneType"]
        refused = next(each for each in came if isinstance(each, FaultError))
        assert refused.name == "BadSessionIdInvalid"
        for each in others:
            await each.close()


@check("Part 4 5.6.3", "A session of a secured channel is not taken over without security", ours_only=OURS)
async def test_a_session_is_not_taken_over_with_less_security(secure: SecurityServer, agent: Agent) -> None:
    await agent.connect(secure.url, **secure.secured(user="olga", password=PASSWORD))
    internal = secure.server.internal
    assert internal is not None
    session = next(each for each in internal.sessions if each.client_certificate is not None)
    thief = WireClient(secure.port)
    await thief.connect()
    thief._token = session.auth_token
    secure.forget()
    with pytest.raises(FaultError) as refused:
        await thief.activate("olga", PASSWORD)
    assert refused.value.name == "BadSessionIdInvalid"
    await secure.told(2075, "login.refused")
    await thief.close()


def _subscription_requests(number: int) -> dict[str, Any]:
    modify = ua.ModifySubscriptionRequest()
    modify.Parameters.SubscriptionId = number
    items = ua.DeleteMonitoredItemsRequest()
    items.Parameters.SubscriptionId, items.Parameters.MonitoredItemIds = number, [1]
    publishing = ua.SetPublishingModeRequest()
    publishing.Parameters.SubscriptionIds = [number]
    delete, transfer = ua.DeleteSubscriptionsRequest(), ua.TransferSubscriptionsRequest()
    delete.Parameters.SubscriptionIds = [number]
    transfer.Parameters.SubscriptionIds = [number]
    return {
        "ModifySubscription": modify,
        "DeleteMonitoredItems": items,
        "SetPublishingMode": publishing,
        "DeleteSubscriptions": delete,
        "TransferSubscriptions": transfer,
    }


def _first(answer: Any) -> str:
    """Name of the status of the first operation."""
    results = getattr(answer, "Results", None) or answer.Parameters.Results
    result = results[0]
    return str(getattr(result, "StatusCode", result).name)


@pytest.mark.parametrize(
    "service",
    ["ModifySubscription", "DeleteMonitoredItems", "SetPublishingMode", "DeleteSubscriptions", "TransferSubscriptions"],
)
@check(
    "Part 4 5.13", "A subscription of another session answers BadSubscriptionIdInvalid and is audited", ours_only=OURS
)
async def test_a_subscription_of_another_session(secure: SecurityServer, service: str) -> None:
    async with WireClient(secure.port) as owner, WireClient(secure.port) as thief:
        request = ua.CreateSubscriptionRequest()
        request.Parameters.RequestedPublishingInterval = 1000
        request.Parameters.RequestedLifetimeCount, request.Parameters.RequestedMaxKeepAliveCount = 300, 100
        number = (await owner.call(request)).Parameters.SubscriptionId
        secure.forget()
        await thief.activate("otto", PASSWORD)
        expected = "BadUserAccessDenied" if service == "TransferSubscriptions" else "BadSubscriptionIdInvalid"
        try:
            answer = _first(await thief.call(_subscription_requests(number)[service]))
        except FaultError as fault:
            answer = fault.name
        assert answer == expected
        event, record = await secure.told(2069, "session.not_owner")
        assert event.status == record.status == getattr(ua.StatusCodes, expected)
        assert event.user == record.user == "otto"


@check("Part 2 5.3", "An Observer who operates a breaker is refused, nothing is sent", ours_only=OURS)
async def test_an_observer_does_not_operate(secure: SecurityServer, agent: Agent) -> None:
    secure.forget()
    assert await operates(agent, secure, "otto") == "BadUserAccessDenied"
    event, record = await secure.told(2127, "command.operate.outcome")
    assert event.status == record.status == ua.StatusCodes.BadUserAccessDenied
    assert event.user == record.user == "otto"
    assert secure.desk.commands == []


@check("Part 2 5.3", "An operator outside the granted addresses is refused, inside not", ours_only=OURS)
async def test_an_operator_outside_the_granted_addresses(secure: SecurityServer, agent: Agent) -> None:
    secure.forget()
    assert await operates(agent, secure, "nina") == "BadUserAccessDenied"
    event, record = await secure.told(2127, "command.operate.outcome")
    assert event.status == record.status == ua.StatusCodes.BadUserAccessDenied
    assert event.user == record.user == "nina"
    assert secure.desk.commands == []
    assert await operates(agent, secure, "olga") == "Good"


@check("Part 2 5.3", "A SecurityAdmin neither reads nor operates process data", ours_only=OURS)
async def test_a_security_administrator_has_no_process_rights(secure: SecurityServer, agent: Agent) -> None:
    assert await operates(agent, secure, "sec") in {"BadUserAccessDenied", "BadNodeIdUnknown"}


@check("Part 5 6.4.9", "Session and channel ids in audit events are those of the session", ours_only=OURS)
async def test_a_session_is_audited(secure: SecurityServer) -> None:
    secure.forget()
    async with WireClient(secure.port) as client:
        event, record = await secure.told(2071, "session.created")
        assert event.fields["SessionId"][1] == client.session_id
        assert event.source_name == "Session/CreateSession"
        assert record.client == event.client
        assert record.client.startswith("127.0.0.1:")


@check("Part 5 6.4.10", "A client that knows the server by another name is told of as AuditUrlMismatch", ours_only=OURS)
async def test_another_name_of_the_server(secure: SecurityServer) -> None:
    client = WireClient(secure.port)
    await client.connect()
    request = ua.CreateSessionRequest()
    request.Parameters.EndpointUrl = "opc.tcp://elsewhere.example.org:4840/"
    secure.forget()
    await client.call(request)
    event, record = await secure.told(2748, "session.url_mismatch")
    assert event.fields["EndpointUrl"][1] == request.Parameters.EndpointUrl
    assert record.details["url"] == request.Parameters.EndpointUrl
    await client.close()


@check("Part 4 5.6.5", "Cancel is audited with its RequestHandle", ours_only=OURS)
async def test_cancel_is_audited(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as client:
        secure.forget()
        await client.raw(479, struct.pack("<I", 4711))
        event, record = await secure.told(2078, "session.cancel")
        assert event.fields["RequestHandle"] == (7, 4711)
        assert record.details["handle"] == 4711


@check("Part 5 6.4.3", "ClientAuditEntryId is the AuditEntryId of the request, and of no other", ours_only=OURS)
async def test_an_audit_entry_id_is_kept(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as client:
        secure.forget()
        call = ua.CallRequest()
        call.Parameters.MethodsToCall = [ua.CallMethodRequest(ua.NodeId(2253), ua.NodeId(11492))]
        # At once; in a task of its own; in the connection's task, which goes on with the next request.
        asked = [ua.CancelRequest(), call, ua.ActivateSessionRequest()]
        asked[2].Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        for number, request in enumerate(asked):
            request.RequestHeader.AuditEntryId = f"scada-{number} \u00e9" + "x" * 300 * (number == 0)
        asked.append(ua.CancelRequest())
        await asyncio.gather(*(client.call(each) for each in asked))
        await asyncio.sleep(0.05)
    told = [(each.event_type, each.audit_entry) for each in secure.events if each.event_type in {2078, 2127, 2075}]
    first = ("scada-0 \u00e9" + "x" * 300).encode()[:LONGEST_ENTRY].decode()
    assert sorted(told) == [(2075, "scada-2 \u00e9"), (2078, ""), (2078, first), (2127, "scada-1 \u00e9")]
    kept = {(each.kind, each.audit_entry) for each in secure.audit.records}
    assert {("session.cancel", first), ("session.cancel", ""), ("login", "scada-2 \u00e9")} <= kept


@check("Part 4 5.6.2", "Session ids and tokens are random and do not tell of each other", ours_only=OURS)
async def test_tokens_are_random(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as first, WireClient(secure.port) as second:
        tokens = [bytes(each._token.Identifier) for each in (first, second)]
        assert all(len(token) >= 16 for token in tokens)
        assert sum(a == b for a, b in zip(*tokens, strict=True)) < 8
        assert first.session_id != second.session_id
        assert bytes(first.session_id.Identifier.bytes) not in tokens[0]


@check("Part 5 6.4.24", "A refused Write is audited with node, attribute and value", ours_only=OURS)
async def test_a_refused_write_is_audited(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as client:
        request = ua.WriteRequest()
        value = ua.WriteValue(ua.NodeId(POSITION, 2), ua.AttributeIds.Value)
        value.Value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
        request.Parameters.NodesToWrite = [value]
        secure.forget()
        assert _first(await client.call(request)) == "BadNotWritable"
        event, record = await secure.told(2100, "write.refused")
        assert event.status == record.status == ua.StatusCodes.BadNotWritable
        assert event.source == record.address == POSITION
        assert (event.fields["AttributeId"], event.fields["NewValue"]) == ((7, 13), (6, 1))


async def _watches(client: WireClient) -> Any:
    """Event items on the Server object: EventType, SourceName, Status, ClientUserId of what is told."""
    request = ua.CreateSubscriptionRequest()
    request.Parameters.RequestedPublishingInterval = 20
    request.Parameters.RequestedLifetimeCount, request.Parameters.RequestedMaxKeepAliveCount = 3000, 1000
    request.Parameters.PublishingEnabled = True
    number = (await client.call(request)).Parameters.SubscriptionId
    fields = [(2041, "EventType"), (2041, "SourceName"), (2052, "Status"), (2052, "ClientUserId")]
    wanted = ua.EventFilter()
    wanted.SelectClauses = [
        ua.SimpleAttributeOperand(ua.NodeId(kind), [ua.QualifiedName(name)], ua.AttributeIds.Value)
        for kind, name in fields
    ]
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor = ua.ReadValueId(ua.NodeId(2253), ua.AttributeIds.EventNotifier)
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle, item.RequestedParameters.QueueSize = 1, 100
    item.RequestedParameters.Filter = wanted
    items = ua.CreateMonitoredItemsRequest()
    items.Parameters.SubscriptionId, items.Parameters.ItemsToCreate = number, [item]
    [made] = (await client.call(items)).Results
    return made.StatusCode.name


@check("Part 5 6.4.10", "Who has the right to audit gets AuditActivateSession of a refused login", ours_only=OURS)
async def test_an_auditor_is_told_of_a_refused_login(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as auditor, WireClient(secure.port) as client:
        await auditor.activate("paula", PASSWORD)
        assert await _watches(auditor) == "Good"
        with pytest.raises(FaultError):
            await client.activate("olga", "wrong")
        for _ in range(5):
            auditor.publish()
            message = (await auditor.news()).NotificationMessage
            told = [
                [each.Value for each in fields.EventFields]
                for data in message.NotificationData
                for fields in data.Events
            ]
            if any(each[1] == "Session/ActivateSession" and each[3] == "olga" for each in told):
                break
        refused = next(each for each in told if each[1] == "Session/ActivateSession" and each[3] == "olga")
        assert refused[0] == ua.NodeId(2075)
        assert refused[2] is False
