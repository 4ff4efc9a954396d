"""Part 4, 5.4 to 5.6 (Discovery, SecureChannel, Session) and Part 6, 7.1 (OPC UA TCP), without security."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from asyncua import ua
from conformance.ask import create_subscription
from conformance.registry import case, check, each
from conformance.subject import METHODS_OBJECT, PASSWORDS, Subject
from peers.opcua.agent import Agent, Peer, RefusedError
from peers.opcua.wire_client import FaultError, RawConnection, WireClient

NONE_POLICY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
_READ_TIME = ua.ReadParameters(NodesToRead=[ua.ReadValueId(NodeId=ua.NodeId(2258), AttributeId=13)])


def read_request() -> Any:
    return ua.ReadRequest(Parameters=_READ_TIME)


# ---- Discovery -------------------------------------------------------------------------------------------------------


@check("Part 4 5.4.2", "FindServers needs no session and names the server itself")
async def test_find_servers(agent: Agent, subject: Subject) -> None:
    peer = await agent.connect(subject.url, session=False)
    answer = await peer.request("FindServersRequest", endpointUrl=subject.url)
    await peer.disconnect()
    assert [each["applicationType"] for each in answer["servers"]] == [0]
    assert answer["servers"][0]["applicationUri"]
    assert answer["servers"][0]["discoveryUrls"]


@check("Part 4 5.4.2", "FindServers with the ServerUri of another server names none")
async def test_find_other_servers(agent: Agent, subject: Subject) -> None:
    peer = await agent.connect(subject.url, session=False)
    answer = await peer.request("FindServersRequest", endpointUrl=subject.url, serverUris=["urn:somebody:else"])
    await peer.disconnect()
    assert answer["servers"] in ([], None)


@check("Part 4 5.4.4", "GetEndpoints needs no session; each endpoint has url, mode, policy and token policies")
async def test_get_endpoints(agent: Agent, subject: Subject) -> None:
    peer = await agent.connect(subject.url, session=False)
    answer = await peer.request("GetEndpointsRequest", endpointUrl=subject.url)
    await peer.disconnect()
    assert answer["endpoints"]
    for endpoint in answer["endpoints"]:
        assert endpoint["endpointUrl"].startswith("opc.tcp://")
        assert endpoint["userIdentityTokens"]
        assert endpoint["transportProfileUri"].endswith("uatcp-uasc-uabinary")


@check("Part 4 5.4.4", "GetEndpoints with ProfileUris of other transports gives none")
async def test_get_endpoints_of_other_transports(agent: Agent, subject: Subject) -> None:
    peer = await agent.connect(subject.url, session=False)
    profile = "http://opcfoundation.org/UA-Profile/Transport/https-uabinary"
    answer = await peer.request("GetEndpointsRequest", endpointUrl=subject.url, profileUris=[profile])
    await peer.disconnect()
    assert answer["endpoints"] in ([], None)


@each(
    "type_id, body",
    case(
        "Part 4 5.4.5",
        "RegisterServer at what is no discovery server answers BadServiceUnsupported",
        437,
        b"\xff" * 8 + b"\0" * 40,
    ),
    case(
        "Part 4 5.4.6",
        "RegisterServer2 at what is no discovery server answers BadServiceUnsupported",
        12211,
        b"\xff" * 8 + b"\0" * 40,
    ),
    case(
        "Part 4 5.4.3",
        "FindServersOnNetwork that is not offered answers BadServiceUnsupported",
        12208,
        b"\0" * 8 + b"\xff" * 4,
    ),
    case("Part 4 7.38", "A request that is no service answers BadServiceUnsupported", 13, b""),
)
async def test_unsupported(wire: WireClient, type_id: int, body: bytes) -> None:
    assert await wire.raw_status(type_id, body) == "BadServiceUnsupported"


# ---- OPC UA TCP and the secure channel -------------------------------------------------------------------------------


@check("Part 6 7.1.2", "What does not begin with HEL is answered with an ERR and closed")
async def test_no_hello(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.frame(b"MSG", b"\0" * 40)
        assert (await raw.error()).startswith("Bad")


@check("Part 6 7.1.2", "A frame of an unknown kind is answered with BadTcpMessageTypeInvalid")
async def test_unknown_frame(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.frame(b"XYZ", b"\0" * 40)
        assert await raw.error() == "BadTcpMessageTypeInvalid"


@check("Part 6 7.1.2", "HEL is answered with ACK; buffers are no larger than the client's")
async def test_hello(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.hello(receive=10_000, send=9_000)
        kind, body = await raw.answer()
        _, receive, send, _, _ = struct.unpack("<IIIII", body)
        assert (kind, receive <= 9_000, send <= 10_000) == (b"ACK", True, True)


@check("Part 6 7.1.2", "HEL with buffers below 8192 octets is refused")
async def test_small_buffers(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.hello(receive=100, send=100)
        assert (await raw.error()).startswith("Bad")


@check("Part 6 7.1.2", "A frame larger than the buffer is refused before it has arrived")
async def test_large_frame(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.frame(b"HEL", b"\0" * 100, size=0x7FFF_FFFF)
        assert (await raw.error(3)) in {"BadTcpMessageTooLarge", "BadRequestTooLarge", ""}


@check("Part 6 7.1.2", "A second HEL on a connection is refused")
async def test_second_hello(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.hello()
        await raw.answer()
        raw.hello()
        assert await raw.error() != "ACK"


@check("Part 4 5.5.2", "A secure channel with an unknown policy is refused with BadSecurityPolicyRejected")
async def test_unknown_policy(subject: Subject) -> None:
    async with RawConnection(subject.port) as raw:
        raw.hello()
        await raw.answer()
        policy = b"http://opcfoundation.org/UA/SecurityPolicy#Wax"
        raw.frame(
            b"OPN", struct.pack("<Ii", 0, len(policy)) + policy + b"\xff" * 8 + struct.pack("<II", 1, 1) + b"\0" * 60
        )
        assert await raw.error() == "BadSecurityPolicyRejected"


@check("Part 6 6.7.2", "A message of another channel id ends the connection")
async def test_wrong_channel(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    client._channel += 77
    client.post(read_request())
    await asyncio.wait_for(client.ended(), 5)
    await client.close()


@check("Part 6 6.7.2", "A message with an unknown token id ends the connection")
async def test_wrong_token(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    client._channel_token += 77
    client.post(read_request())
    await asyncio.wait_for(client.ended(), 5)
    await client.close()


@check("Part 6 6.7.2", "A repeated sequence number ends the connection")
async def test_repeated_sequence(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    client._sequence -= 1
    client.post(read_request())
    await asyncio.wait_for(client.ended(), 5)
    await client.close()


# ---- Session ---------------------------------------------------------------------------------------------------------


async def created(client: WireClient, timeout: float = 60_000.0) -> Any:
    """CreateSession; the session is not activated."""
    request = ua.CreateSessionRequest()
    request.Parameters.EndpointUrl = f"opc.tcp://127.0.0.1:{client.port}/"
    request.Parameters.RequestedSessionTimeout = timeout
    request.Parameters.ClientNonce = b"\x01" * 32
    answer = (await client.call(request)).Parameters
    client.session_id, client._token = answer.SessionId, answer.AuthenticationToken
    return answer


@check("Part 4 5.6.2", "AuthenticationTokens are random and at least 16 octets long")
async def test_tokens_are_random(subject: Subject) -> None:
    first, second = WireClient(subject.port), WireClient(subject.port)
    for client in (first, second):
        await client.connect()
    tokens = [(await created(client)).AuthenticationToken.Identifier for client in (first, second)]
    for client in (first, second):
        await client.close()
    assert all(isinstance(token, bytes) and len(token) >= 16 for token in tokens)
    assert tokens[0] != tokens[1]


@check("Part 4 5.6.2", "The ServerNonce of CreateSession has at least 32 octets")
async def test_nonce(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    nonce = (await created(client)).ServerNonce
    await client.close()
    assert len(nonce) >= 32


@each(
    "asked, least, most",
    case("Part 4 5.6.2", "A short session time-out is revised to what the server can", 1.0, 1_000.0, 60_000.0),
    case("Part 4 5.6.2", "An endless session time-out is revised to what the server can", 1e12, 10_000.0, 86_400_000.0),
    case("Part 4 5.6.2", "A session time-out of 0 is revised to one that is more", 0.0, 1_000.0, 86_400_000.0),
)
async def test_timeout(subject: Subject, asked: float, least: float, most: float) -> None:
    client = WireClient(subject.port)
    await client.connect()
    revised = (await created(client, asked)).RevisedSessionTimeout
    await client.close()
    assert least <= revised <= most


@check("Part 4 5.6.2", "CreateSession gives the endpoints that GetEndpoints gives")
async def test_endpoints_of_create_session(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    request = ua.GetEndpointsRequest()
    request.Parameters.EndpointUrl = f"opc.tcp://127.0.0.1:{client.port}/"
    endpoints = (await client.call(request)).Endpoints
    answer = await created(client)
    await client.close()
    told = [(each.EndpointUrl, each.SecurityMode, each.SecurityPolicyUri) for each in answer.ServerEndpoints]
    assert told == [(each.EndpointUrl, each.SecurityMode, each.SecurityPolicyUri) for each in endpoints]


@check("Part 4 5.6.3", "A request before ActivateSession answers BadSessionNotActivated")
async def test_not_activated(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    await created(client)
    status = await client.status(read_request())
    await client.close()
    assert status == "BadSessionNotActivated"


@check("Part 4 5.6.2", "A request without a session answers BadSessionIdInvalid")
async def test_no_session(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    status = await client.status(read_request())
    await client.close()
    assert status == "BadSessionIdInvalid"


@check("Part 4 5.6.2", "A stolen AuthenticationToken is of no use on another secure channel")
async def test_stolen_token(subject: Subject, wire: WireClient) -> None:
    thief = WireClient(subject.port)
    await thief.connect()
    thief.adopt(wire)
    status = await thief.status(read_request())
    await thief.close()
    assert status in {"BadSessionIdInvalid", "BadSecureChannelIdInvalid"}


@each(
    "user, password, status",
    case(
        "Part 4 5.6.3",
        "A wrong password is refused",
        "olga",
        "wrong",
        {"BadUserAccessDenied", "BadIdentityTokenRejected"},
    ),
    case(
        "Part 4 5.6.3",
        "An unknown user is refused",
        "mallory",
        "o-secret",
        {"BadUserAccessDenied", "BadIdentityTokenRejected"},
    ),
    case(
        "Part 4 5.6.3",
        "An administrator's usual name without a password is refused",
        "admin",
        "",
        {"BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid"},
    ),
)
async def test_wrong_user(agent: Agent, subject: Subject, user: str, password: str, status: set[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        peer = await agent.connect(subject.url, user=user, password=password)
        await peer.disconnect()
    assert refused.value.status in status


@check("Part 4 5.6.3", "After a refused ActivateSession the session serves nothing")
async def test_after_refused_activation(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    await created(client)
    with pytest.raises(FaultError):
        await client.activate("olga", "wrong")
    status = await client.status(read_request())
    await client.close()
    assert status in {"BadSessionNotActivated", "BadSessionIdInvalid", "BadSessionClosed"}


@check("Part 4 5.6.3", "ActivateSession may give a session another user, with that user's rights")
async def test_another_user(wire: WireClient) -> None:
    method = ua.NodeId(f"{METHODS_OBJECT}#Double", 2)
    level = ua.ReadValueId(NodeId=method, AttributeId=22)
    await wire.activate("olga", PASSWORDS["olga"])
    before = (await wire.call(ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[level])))).Results[0]
    await wire.activate("nobody", PASSWORDS["nobody"])
    after = (await wire.call(ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[level])))).Results[0]
    assert before.StatusCode.is_good()
    assert not (after.StatusCode.is_good() and after.Value.Value)


@check("Part 4 5.6.3", "ActivateSession gives a new ServerNonce each time")
async def test_new_nonce(wire: WireClient) -> None:
    nonces = set()
    for _ in range(3):
        request = ua.ActivateSessionRequest()
        request.Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        nonces.add(bytes((await wire.call(request)).Parameters.ServerNonce))
    assert len(nonces) == 3


@check("Part 4 5.6.3", "An ActivateSession with a token of an unknown kind is refused")
async def test_unknown_token(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    await created(client)
    request = ua.ActivateSessionRequest()
    request.Parameters.UserIdentityToken = ua.IssuedIdentityToken(PolicyId="issued", TokenData=b"x")
    status = await client.status(request)
    await client.close()
    assert status in {"BadIdentityTokenInvalid", "BadIdentityTokenRejected"}


@check("Part 4 5.6.4", "After CloseSession the session is not known any more")
async def test_closed_session(subject: Subject) -> None:
    client = WireClient(subject.port)
    await client.connect()
    await client.new_session()
    await client.call(ua.CloseSessionRequest(DeleteSubscriptions=True))
    status = await client.status(read_request())
    await client.close()
    assert status in {"BadSessionIdInvalid", "BadSessionClosed"}


@check("Part 4 5.6.5", "Cancel answers how many requests it cancelled")
async def test_cancel(node: Peer) -> None:
    assert (await node.request("CancelRequest", requestHandle=4711))["cancelCount"] == 0


@check("Part 4 7.33", "The response has the RequestHandle of the request")
async def test_request_handle(wire: WireClient) -> None:
    answer = await wire.call(read_request())
    assert answer.ResponseHeader.RequestHandle == wire._request


@check("Part 4 7.33", "A request that cannot be decoded answers BadDecodingError")
async def test_decoding_error(wire: WireClient) -> None:
    assert await wire.raw_status(631, b"\0" * 9) == "BadDecodingError"


@check("Part 4 5.6.4", "CloseSession without DeleteSubscriptions leaves the subscriptions to their lifetime")
async def test_subscriptions_outlive_the_session(agent: Agent, subject: Subject) -> None:
    first = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    number = (await create_subscription(first))["subscriptionId"]
    await first.disconnect(keep=True)
    second = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    answer = await second.request("TransferSubscriptionsRequest", subscriptionIds=[number], sendInitialValues=False)
    await second.disconnect()
    assert answer["results"][0]["statusCode"] == "Good"


@check("Part 4 5.6.4", "CloseSession with DeleteSubscriptions ends them")
async def test_subscriptions_end_with_the_session(agent: Agent, subject: Subject) -> None:
    first = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    number = (await create_subscription(first))["subscriptionId"]
    await first.disconnect()
    second = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    answer = await second.request("TransferSubscriptionsRequest", subscriptionIds=[number], sendInitialValues=False)
    await second.disconnect()
    assert answer["results"][0]["statusCode"] == "BadSubscriptionIdInvalid"
