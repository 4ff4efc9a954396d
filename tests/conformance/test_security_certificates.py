"""Part 4, 6.1.3: application certificates that a server does not take, what the client learns, what the audit knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asyncua import Client, ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.ua_binary import struct_to_binary
from conformance.registry import check
from conformance.security_server import PASSWORD, SecurityServer
from conformance.test_security_channels import reads
from peers.opcua.agent import Agent, RefusedError
from peers.opcua.certificates import Pair, application, authority, revocations
from peers.opcua.wire_client import RawConnection, WireClient
from peers.waiting import until

OURS = "stock asyncua is not asked: its server would have to be set up with this trust list"
CASES: dict[str, tuple[Callable[[SecurityServer], Pair], str, int, str]] = {
    "untrusted": (
        lambda secure: application("stranger"),
        "BadSecurityChecksFailed",
        2087,
        "BadCertificateUntrusted",
    ),
    "expired": (
        lambda secure: _trusted(secure, application("expired", days=(-20, -1))),
        "BadCertificateTimeInvalid",
        2085,
        "BadCertificateTimeInvalid",
    ),
    "not valid yet": (
        lambda secure: _trusted(secure, application("early", days=(2, 20))),
        "BadCertificateTimeInvalid",
        2085,
        "BadCertificateTimeInvalid",
    ),
    "untrusted and expired": (
        lambda secure: application("old stranger", days=(-20, -1)),
        "BadSecurityChecksFailed",
        2087,
        "BadCertificateUntrusted",
    ),
    "revoked": (
        lambda secure: secure.revoked,
        "BadSecurityChecksFailed",
        2088,
        "BadCertificateRevoked",
    ),
    "of an authority without a revocation list": (
        lambda secure: application("unlisted", issuer=_trusted(secure, authority("other root"))),
        "BadCertificateRevocationUnknown",
        2088,
        "BadCertificateRevocationUnknown",
    ),
    "of an unknown authority": (
        lambda secure: application("orphan", issuer=authority("unknown root")),
        "BadSecurityChecksFailed",
        2087,
        "BadCertificateChainIncomplete",
    ),
    "for other uses": (
        lambda secure: _trusted(secure, application("other use", usage=False)),
        "BadCertificateUseNotAllowed",
        2089,
        "BadCertificateUseNotAllowed",
    ),
    "for servers": (
        lambda secure: _trusted(secure, application("only server", client=False)),
        "BadCertificateUseNotAllowed",
        2089,
        "BadCertificateUseNotAllowed",
    ),
}


def _trusted(secure: SecurityServer, pair: Pair) -> Pair:
    secure.store.add("trusted", pair.certificate)
    return pair


async def refused(agent: Agent, secure: SecurityServer, pair: Pair) -> str:
    """What the ERR message says; node-opcua only notices that it is disconnected."""
    order = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "application": secure.as_client(pair)}
    with pytest.raises(RefusedError):
        await agent.connect(secure.url, **order)
    internal = secure.server.internal
    assert internal is not None
    policy = SecurityPolicyBasic256Sha256(
        internal.certificate, pair.certificate, pair.key, ua.MessageSecurityMode.SignAndEncrypt
    )
    request = ua.OpenSecureChannelRequest()
    request.Parameters.SecurityMode = ua.MessageSecurityMode.SignAndEncrypt
    request.Parameters.ClientNonce = bytes(range(32))
    request.Parameters.RequestedLifetime = 60_000
    channel = SecureConnection(policy, TransportLimits())
    async with RawConnection(secure.port) as connection:
        connection.hello()
        assert (await connection.answer())[0] == b"ACK"
        connection.send(
            channel.message_to_binary(struct_to_binary(request), message_type=ua.MessageType.SecureOpen, request_id=1)
        )
        return await connection.error()


@pytest.mark.parametrize("case", CASES)
@check("Part 4 6.1.3", "A certificate that fails a check is refused, the audit has the real reason", ours_only=OURS)
async def test_a_certificate_is_refused(secure: SecurityServer, agent: Agent, case: str) -> None:
    make, told, event_type, reason = CASES[case]
    pair = make(secure)
    secure.forget()
    assert await refused(agent, secure, pair) == told
    event, record = await secure.told(event_type, "certificate.refused")
    assert record.details["reason"] == reason
    assert event.status == record.status == getattr(ua.StatusCodes, reason)
    assert event.fields["Certificate"][1] == pair.der
    opened, record = await secure.told(2060, "channel.refused")
    assert opened.status == record.status == getattr(ua.StatusCodes, told)


@check("Part 4 6.1.3", "A certificate of a trusted authority is taken without being listed", ours_only=OURS)
async def test_a_certificate_of_a_trusted_authority(secure: SecurityServer, agent: Agent) -> None:
    pair = application("certified", issuer=secure.root)
    order = {"security": "Aes256_Sha256_RsaPss", "mode": "Sign", "application": secure.as_client(pair)}
    assert await reads(agent, secure.url, **order) == 2


@check(
    "Part 12 7.8.2",
    "An unknown certificate is kept as rejected; once it is trusted the client connects",
    ours_only=OURS,
)
async def test_a_rejected_certificate_is_let_in_by_an_administrator(secure: SecurityServer, agent: Agent) -> None:
    pair = application("newcomer")
    await refused(agent, secure, pair)
    [stored] = secure.store.find("newcomer", kinds=("rejected",))
    secure.store.add("trusted", stored.certificate)
    order = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "application": secure.as_client(pair)}
    assert await reads(agent, secure.url, **order) == 2
    assert secure.store.find("newcomer", kinds=("rejected",)) == []


@check("Part 12 7.8.2", "A client that is revoked while it is connected is disconnected", ours_only=OURS)
async def test_a_client_that_is_revoked_is_disconnected(secure: SecurityServer, agent: Agent) -> None:
    pair = application("leaving", issuer=secure.root)
    internal = secure.server.internal
    assert internal is not None
    order = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "application": secure.as_client(pair)}
    await agent.connect(secure.url, **order, user="otto", password=PASSWORD)
    [session] = [each for each in internal.sessions if each.client_certificate == pair.der]
    try:
        secure.store.add_revocations("trusted", revocations(secure.root, secure.revoked, pair))
        await until(lambda: session.processor is None or session.closed, 5)
    finally:
        secure.store.add_revocations("trusted", revocations(secure.root, secure.revoked))


@check("Part 12 7.8.2", "A client without security stays connected when the trust list changes", ours_only=OURS)
async def test_a_client_without_security_outlasts_a_change_of_the_trust_list(
    secure: SecurityServer, agent: Agent
) -> None:
    pair = application("leaving soon", issuer=secure.root)
    internal = secure.server.internal
    assert internal is not None
    async with WireClient(secure.port) as client:
        order = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "application": secure.as_client(pair)}
        await agent.connect(secure.url, **order, user="otto", password=PASSWORD)
        [session] = [each for each in internal.sessions if each.client_certificate == pair.der]
        try:
            secure.store.add_revocations("trusted", revocations(secure.root, secure.revoked, pair))
            await until(lambda: session.processor is None or session.closed, 5)
        finally:
            secure.store.add_revocations("trusted", revocations(secure.root, secure.revoked))
        assert await client.status(ua.ReadRequest()) == "BadNothingToDo"


@check("Part 4 5.6.2", "A certificate of another ApplicationUri answers BadCertificateUriInvalid", ours_only=OURS)
async def test_the_application_uri_is_that_of_the_certificate(secure: SecurityServer) -> None:
    files = secure.as_client(secure.peer)
    client = Client(secure.url)
    client.application_uri = "urn:example.org:somebody else"
    await client.set_security(SecurityPolicyBasic256Sha256, files["certificate"], files["key"])
    secure.forget()
    with pytest.raises(ua.UaStatusCodeError) as error:
        await client.connect()
    assert error.value.code == ua.StatusCodes.BadCertificateUriInvalid
    event, record = await secure.told(2082, "certificate.refused")
    assert event.fields["InvalidUri"][1] == "urn:example.org:somebody else"
    assert record.details["reason"] == "BadCertificateUriInvalid"
    await secure.told(2071, "session.refused")
