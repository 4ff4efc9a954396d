"""Part 4, 5.5 and 5.6.3, Part 7, 6.6: every security policy and mode with every kind of user token, by node-opcua."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from conformance.registry import check
from conformance.security_server import PASSWORD, POLICIES, SecurityServer
from peers.opcua.agent import Agent, RefusedError
from peers.opcua.rig import POSITION
from peers.opcua.wire_client import RawConnection, WireClient

from address_space.opcua.processor import Processor

OURS = "stock asyncua is not asked: its server would have to be set up with this trust list and these users"
MODES = ("Sign", "SignAndEncrypt")
SIGN = ua.MessageSecurityMode.Sign


def tokens(secure: SecurityServer) -> dict[str, dict[str, Any]]:
    return {
        "anonymous": {},
        "username": {"user": "olga", "password": PASSWORD},
        "certificate": secure.user.save_user(secure.directory / "users", "anna"),
    }


async def reads(agent: Agent, url: str, **order: Any) -> Any:
    """The position of the breaker, read in a session of its own."""
    peer = await agent.connect(url, **order)
    answer = await peer.request(
        "ReadRequest", timestampsToReturn=2, nodesToRead=[{"nodeId": f"ns=2;s={POSITION}", "attributeId": 13}]
    )
    await peer.disconnect()
    return answer["results"][0]["value"]["value"]


@pytest.mark.parametrize("token", ["anonymous", "username", "certificate"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
@check("Part 7 6.6", "A client connects with each policy, mode and kind of user token", ours_only=OURS)
async def test_a_client_connects(secure: SecurityServer, agent: Agent, policy: str, mode: str, token: str) -> None:
    secure.forget()
    order = secure.secured(policy=policy, mode=mode, **tokens(secure)[token])
    assert await reads(agent, secure.url, **order) == 2
    opened, record = await secure.told(2060, "channel.opened")
    assert opened.fields["SecurityPolicyUri"][1].endswith(policy)
    assert record.details["mode"] == MODES.index(mode) + 2
    activated, record = await secure.told(2075, "login")
    assert activated.status == record.status == 0
    assert record.details["token"] == token
    assert record.user == {"anonymous": "", "username": "olga", "certificate": "anna"}[token]


@pytest.mark.parametrize("token", ["username", "certificate"])
@check("Part 4 7.41", "On policy None a user token is secured by the policy of its own UserTokenPolicy", ours_only=OURS)
async def test_tokens_on_the_endpoint_without_security(secure: SecurityServer, agent: Agent, token: str) -> None:
    assert await reads(agent, secure.url, **tokens(secure)[token]) == 2


@check("Part 4 5.4.4", "GetEndpoints lists each policy and mode with a SecurityLevel that ranks them", ours_only=OURS)
async def test_endpoints_rank_the_policies(secure: SecurityServer) -> None:
    internal = secure.server.internal
    assert internal is not None
    ranks = {
        (each.SecurityPolicyUri.partition("#")[2], int(each.SecurityMode)): each.SecurityLevel
        for each in internal.endpoints
    }
    assert set(ranks) == {("None", 1), *((policy, mode) for policy in POLICIES for mode in (2, 3))}
    assert ranks["None", 1] == 0
    assert all(ranks[policy, 3] > ranks[other, 2] for policy in POLICIES for other in POLICIES)


@check("Part 4 5.5.2", "A policy that is not offered answers BadSecurityPolicyRejected")
async def test_a_policy_that_is_not_offered(secure: SecurityServer) -> None:
    async with RawConnection(secure.port) as connection:
        connection.hello()
        assert (await connection.answer())[0] == b"ACK"
        uri = b"http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15"
        head = (0).to_bytes(4, "little") + len(uri).to_bytes(4, "little") + uri + b"\xff" * 8
        connection.frame(b"OPN", head + b"\x01\0\0\0\x01\0\0\0" + b"\0" * 100)
        assert await connection.error() == "BadSecurityPolicyRejected"


@check("Part 4 5.6.3", "A password in clear is refused on a channel that only signs", ours_only=OURS)
async def test_a_password_in_clear(secure: SecurityServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processor, "local", property(lambda _: False))  # over the network
    files = secure.as_client(secure.peer)
    client = Client(secure.url)
    client.application_uri = files["uri"]
    await client.set_security(SecurityPolicyBasic256Sha256, files["certificate"], files["key"], mode=SIGN)
    monkeypatch.setattr(client, "_encrypt_password", lambda password, _: (password.encode(), None))
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    await client.create_session()
    secure.forget()
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await client.activate_session("olga", PASSWORD)
    assert refused.value.code == ua.StatusCodes.BadIdentityTokenRejected
    event, record = await secure.told(2075, "login.refused")
    assert event.status == record.status == ua.StatusCodes.BadIdentityTokenRejected
    await client.close_session()
    client.disconnect_socket()


@check("Part 4 5.6.3", "A kind of user token that is not offered is refused", ours_only=OURS)
async def test_a_wrong_kind_of_token_is_refused(secure: SecurityServer) -> None:
    async with WireClient(secure.port) as client:
        request = ua.ActivateSessionRequest()
        request.Parameters.UserIdentityToken = ua.IssuedIdentityToken(PolicyId="issued", TokenData=b"token")
        assert await client.status(request) == "BadIdentityTokenRejected"


@pytest.mark.parametrize("mode", MODES)
@check(
    "Part 4 5.6.3", "A user certificate without the proof of its key answers BadUserSignatureInvalid", ours_only=OURS
)
async def test_a_user_certificate_without_its_key(secure: SecurityServer, agent: Agent, mode: str) -> None:
    stranger = secure.peer.save_user(secure.directory / "users", "not anna")
    files = secure.user.save_user(secure.directory / "users", "anna")
    secure.forget()
    with pytest.raises(RefusedError) as refused:
        await agent.connect(
            secure.url, **secure.secured(mode=mode, certificate=files["certificate"], key=stranger["key"])
        )
    assert refused.value.status == "BadUserSignatureInvalid"
    event, record = await secure.told(2075, "login.refused")
    assert event.status == record.status == ua.StatusCodes.BadUserSignatureInvalid


@check("Part 4 5.6.3", "A certificate that belongs to no user is refused", ours_only=OURS)
async def test_a_certificate_of_nobody(secure: SecurityServer, agent: Agent) -> None:
    files = secure.peer.save_user(secure.directory / "users", "nobody")
    secure.forget()
    with pytest.raises(RefusedError) as refused:
        await agent.connect(secure.url, **secure.secured(certificate=files["certificate"], key=files["key"]))
    assert refused.value.status == "BadUserAccessDenied"
    await secure.told(2075, "login.refused")
