"""Part 12, 7.8 and 7.10: a security administrator manages trust list and certificate over OPC UA, by node-opcua."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from conformance.registry import check
from conformance.security_server import PASSWORD, SecurityServer
from conformance.test_security_channels import reads
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from peers.opcua.agent import Agent, Peer
from peers.opcua.certificates import DER, Pair, application, authority, key, revocations
from peers.opcua.wire_client import WireClient
from peers.waiting import until

from address_space.opcua.push_files import trust_list_size
from address_space.opcua.trust_check import thumbprint

OURS = "stock asyncua has no GDS push"
SERVER, LIST = "i=12637", "i=12642"
METHODS = {
    "Open": 12647,
    "OpenWithMasks": 12663,
    "Read": 12652,
    "Write": 12655,
    "Close": 12650,
    "CloseAndUpdate": 12666,
}
METHODS |= {"AddCertificate": 12668, "RemoveCertificate": 12670, "GetPosition": 12657, "SetPosition": 12660}
CONFIGURATION = {"GetRejectedList": 12777, "UpdateCertificate": 13737, "CreateSigningRequest": 12737}
CONFIGURATION |= {"ApplyChanges": 12740, "CancelChanges": 25708}


@pytest_asyncio.fixture(loop_scope="session")
async def admin(secure: SecurityServer, agent: Agent) -> AsyncIterator[Peer]:
    """A session of the security administrator."""
    peer = await agent.connect(secure.url, **secure.secured(user="sec", password=PASSWORD))
    yield peer
    await peer.disconnect()


async def call(peer: Peer, name: str, *arguments: tuple[str, Any]) -> tuple[str, list[Any]]:
    """(StatusCode, outputs) of a method of the ServerConfiguration or of its trust list."""
    target, number = (LIST, METHODS[name]) if name in METHODS else (SERVER, CONFIGURATION[name])
    inputs = [{"$variant": list(argument)} for argument in arguments]
    wanted = {"objectId": target, "methodId": f"i={number}", "inputArguments": inputs}
    answer = await peer.request("CallRequest", methodsToCall=[wanted])
    result = answer["results"][0]
    return result["statusCode"], [each["value"] for each in result["outputArguments"] or []]


def octets(data: bytes) -> tuple[str, Any]:
    return "ByteString", {"$bytes": data.hex()}


async def read_list(peer: Peer) -> Any:
    """The trust list, read by parts of 512 octets."""
    status, [handle] = await call(peer, "Open", ("Byte", 1))
    assert status == "Good"
    data = b""
    while True:
        status, [part] = await call(peer, "Read", ("UInt32", handle), ("Int32", 512))
        assert status == "Good"
        if not part:
            break
        data += bytes.fromhex(part)
    assert (await call(peer, "Close", ("UInt32", handle)))[0] == "Good"
    return struct_from_binary(ua.TrustListDataType, Buffer(data))


async def write_list(peer: Peer, value: Any) -> str:
    """StatusCode of replacing the trust list."""
    status, [handle] = await call(peer, "Open", ("Byte", 6))
    assert status == "Good"
    data = struct_to_binary(value)
    for start in range(0, len(data), 700):
        assert (await call(peer, "Write", ("UInt32", handle), octets(data[start : start + 700])))[0] == "Good"
    return (await call(peer, "CloseAndUpdate", ("UInt32", handle)))[0]


@pytest.mark.parametrize("user", ["olga", "otto"])
@check("Part 12 7.10.2", "Only a SecurityAdmin calls the methods of ServerConfiguration", ours_only=OURS)
async def test_others_are_refused(secure: SecurityServer, agent: Agent, user: str) -> None:
    peer = await agent.connect(secure.url, **secure.secured(user=user, password=PASSWORD))
    for name in ("GetRejectedList", "ApplyChanges"):
        assert (await call(peer, name))[0] == "BadUserAccessDenied"
    assert (await call(peer, "Open", ("Byte", 1)))[0] == "BadUserAccessDenied"
    await peer.disconnect()


@check("Part 12 7.10.2", "On a channel that does not encrypt the answer is BadSecurityModeInsufficient", ours_only=OURS)
async def test_a_channel_that_only_signs(secure: SecurityServer, agent: Agent) -> None:
    peer = await agent.connect(secure.url, **secure.secured(mode="Sign", user="sec", password=PASSWORD))
    assert (await call(peer, "GetRejectedList"))[0] == "BadSecurityModeInsufficient"
    await peer.disconnect()


@check("Part 12 7.8.2", "The trust list is read as a file", ours_only=OURS)
async def test_the_trust_list_is_read(secure: SecurityServer, admin: Peer) -> None:
    value = await read_list(admin)
    assert value.SpecifiedLists == 15
    assert secure.peer.der in value.TrustedCertificates
    assert secure.root.der in value.TrustedCertificates
    assert len(value.TrustedCrls) >= 1


@check("Part 12 7.8.2", "LastUpdateTime, Size and OpenCount of the trust list are those of now", ours_only=OURS)
async def test_properties_of_the_trust_list(secure: SecurityServer, admin: Peer) -> None:
    async def values() -> list[Any]:
        nodes = [{"nodeId": f"i={number}", "attributeId": 13} for number in (12662, 12643, 12646)]
        answer = await admin.request("ReadRequest", timestampsToReturn=2, nodesToRead=nodes)
        return [each["value"]["value"] for each in answer["results"]]

    while (before := await values())[1][1] != trust_list_size(secure.store):
        await asyncio.sleep(0.1)  # what was just put into the folder counts within two seconds
    pair = application("counted")
    assert (await call(admin, "AddCertificate", octets(pair.der), ("Boolean", True)))[0] == "Good"
    _, [handle] = await call(admin, "Open", ("Byte", 1))
    updated, size, count = await values()
    assert updated > before[0]
    assert size[1] == before[1][1] + len(pair.der) + 4
    assert (before[2], count) == (0, 1)
    await call(admin, "Close", ("UInt32", handle))
    assert (await values())[2] == 0


@check("Part 12 7.8.2", "OpenWithMasks gives only the lists asked for", ours_only=OURS)
async def test_a_part_of_the_trust_list(admin: Peer) -> None:
    _, [handle] = await call(admin, "OpenWithMasks", ("UInt32", 2))
    _, [data] = await call(admin, "Read", ("UInt32", handle), ("Int32", 100_000))
    await call(admin, "Close", ("UInt32", handle))
    value = struct_from_binary(ua.TrustListDataType, Buffer(bytes.fromhex(data)))
    assert value.SpecifiedLists == 2
    assert not value.TrustedCertificates
    assert value.TrustedCrls


@check("Part 12 7.8.2", "CloseAndUpdate makes the trust list what was written, and is audited", ours_only=OURS)
async def test_the_trust_list_is_replaced(secure: SecurityServer, agent: Agent, admin: Peer) -> None:
    newcomer = application("pushed")
    value = await read_list(admin)
    value.TrustedCertificates = [*value.TrustedCertificates, newcomer.der]
    secure.forget()
    assert await write_list(admin, value) == "Good"
    event, record = await secure.told(12561, "trust_list.updated")
    assert event.user == record.user == "sec"
    order = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "application": secure.as_client(newcomer)}
    assert await reads(agent, secure.url, **order) == 2
    assert secure.peer.der in (await read_list(admin)).TrustedCertificates


@check("Part 12 7.8.2", "A written list with something that is no certificate changes nothing", ours_only=OURS)
async def test_a_damaged_trust_list_changes_nothing(secure: SecurityServer, admin: Peer) -> None:
    before = secure.store.lists()
    value = ua.TrustListDataType(SpecifiedLists=15, TrustedCertificates=[b"no certificate"])
    assert await write_list(admin, value) == "BadCertificateInvalid"
    assert secure.store.lists() == before


@check("Part 20 4.2.2", "While one writes nobody else opens the trust list", ours_only=OURS)
async def test_one_writer_excludes_others(admin: Peer) -> None:
    _, [handle] = await call(admin, "Open", ("Byte", 6))
    assert (await call(admin, "Open", ("Byte", 1)))[0] == "BadNotReadable"
    assert (await call(admin, "Open", ("Byte", 6)))[0] == "BadNotWritable"
    assert (await call(admin, "Read", ("UInt32", handle), ("Int32", 1)))[0] == "BadInvalidState"
    assert (await call(admin, "Close", ("UInt32", handle)))[0] == "Good"
    assert (await call(admin, "Close", ("UInt32", handle)))[0] == "BadInvalidArgument"
    assert (await call(admin, "Open", ("Byte", 2)))[0] == "BadInvalidArgument"


@check("Part 12 7.8.2", "AddCertificate and RemoveCertificate change one certificate by its thumbprint", ours_only=OURS)
async def test_single_certificates(secure: SecurityServer, admin: Peer) -> None:
    pair = application("single")
    assert (await call(admin, "AddCertificate", octets(pair.der), ("Boolean", True)))[0] == "Good"
    assert pair.certificate in secure.store.lists().trusted
    mark = ("String", thumbprint(pair.certificate))
    assert (await call(admin, "RemoveCertificate", mark, ("Boolean", True)))[0] == "Good"
    assert pair.certificate not in secure.store.lists().trusted
    assert (await call(admin, "RemoveCertificate", mark, ("Boolean", True)))[0] == "BadInvalidArgument"


@check("Part 12 7.8.2", "A certificate whose chain would be incomplete is not added", ours_only=OURS)
async def test_a_certificate_without_its_chain_is_not_added(admin: Peer) -> None:
    for data in (application("orphan", issuer=authority("unknown root")).der, b"no certificate"):
        assert (await call(admin, "AddCertificate", octets(data), ("Boolean", True)))[0] == "BadCertificateInvalid"
    issuer = application("single").der
    assert (await call(admin, "AddCertificate", octets(issuer), ("Boolean", False)))[0] == "BadCertificateInvalid"


@check("Part 12 7.8.2", "An authority that others need is not removed", ours_only=OURS)
async def test_an_authority_in_use_is_not_removed(secure: SecurityServer, admin: Peer) -> None:
    root = authority("needed root")
    secure.store.add("trusted", root.certificate)
    secure.store.add_revocations("trusted", revocations(root))
    secure.store.add("trusted", application("depends", issuer=root).certificate)
    mark = ("String", thumbprint(root.certificate))
    assert (await call(admin, "RemoveCertificate", mark, ("Boolean", True)))[0] == "BadCertificateChainIncomplete"


@check("Part 12 7.10.9", "GetRejectedList gives the certificates that were refused", ours_only=OURS)
async def test_the_rejected_list(secure: SecurityServer, admin: Peer) -> None:
    pair = application("rejected one")
    secure.store.reject(pair.certificate)
    status, [found] = await call(admin, "GetRejectedList")
    assert status == "Good"
    assert pair.der.hex() in found


@pytest.mark.parametrize("flaw", ["uri", "key", "expired", "text", "format"])
@check("Part 12 7.10.4", "UpdateCertificate takes only a certificate for this server and its key", ours_only=OURS)
async def test_a_certificate_that_is_not_the_servers(secure: SecurityServer, admin: Peer, flaw: str) -> None:
    uri = secure.server.application_uri
    pairs = {
        "uri": application("gateway", uri="urn:other"),
        "key": application("stranger", uri=uri),
        "expired": application("gateway", uri=uri, days=(-9, -1)),
        "format": application("gateway", uri=uri),
    }
    data = pairs[flaw].der if flaw in pairs else b"no certificate"
    kind, secret = ("XML", b"key") if flaw == "format" else ("", b"")
    answer = await call(admin, "UpdateCertificate", *_update(data, kind, secret))
    expected = {"key": "BadSecurityChecksFailed", "format": "BadNotSupported"}
    assert answer[0] == expected.get(flaw, "BadCertificateInvalid")
    assert (await call(admin, "ApplyChanges"))[0] == "BadNothingToDo"


def _update(
    certificate: bytes, key_format: str = "", private_key: bytes = b"", *issuers: Pair
) -> list[tuple[str, Any]]:
    chain = [{"$bytes": each.der.hex()} for each in issuers]
    group, kind = ("NodeId", {"$node": "i=14156"}), ("NodeId", {"$node": "i=12560"})
    secret = octets(private_key) if private_key else ("ByteString", None)
    return [group, kind, octets(certificate), ("ByteString", chain), ("String", key_format), secret]


def _with_key(secure: SecurityServer, name: str) -> tuple[Pair, bytes]:
    """A certificate for the server, and its key as PEM."""
    secret = key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return application(name, uri=secure.server.application_uri), secret


@check(
    "Part 12 7.10.5",
    "CreateSigningRequest asks for the server's own URI and key; its certificate is applied",
    ours_only=OURS,
)
async def test_a_certificate_of_a_signing_request_is_applied(secure: SecurityServer, agent: Agent, admin: Peer) -> None:
    nonce = octets(bytes(range(32)))
    asked = [
        ("NodeId", {"$node": "i=14156"}),
        ("NodeId", {"$node": "i=12560"}),
        ("String", "CN=gateway"),
        ("Boolean", True),
        nonce,
    ]
    status, [data] = await call(admin, "CreateSigningRequest", *asked)
    assert status == "Good"
    request = x509.load_der_x509_csr(bytes.fromhex(data))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert request.is_signature_valid
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [secure.server.application_uri]
    issued = _certified(request, secure.root)
    secure.forget()
    assert await call(admin, "UpdateCertificate", *_update(issued.public_bytes(DER), "", b"", secure.root)) == (
        "Good",
        [True],
    )
    assert secure.server.identity.certificate != issued
    assert (await call(admin, "ApplyChanges"))[0] == "Good"
    assert secure.server.identity.certificate == issued
    await secure.told(12620, "certificate.updated")
    assert await reads(agent, secure.url, **secure.secured(policy="Aes256_Sha256_RsaPss")) == 2


@check("Part 12 7.10.4", "A certificate is pushed together with its key; CancelChanges forgets it", ours_only=OURS)
async def test_a_certificate_is_pushed_with_its_key(secure: SecurityServer, agent: Agent) -> None:
    peer = await agent.connect(secure.url, **secure.secured(user="sec", password=PASSWORD))
    made, secret = _with_key(secure, "pushed gateway")
    assert (await call(peer, "UpdateCertificate", *_update(made.der, "PEM", secret)))[0] == "Good"
    assert (await call(peer, "CancelChanges"))[0] == "Good"
    assert (await call(peer, "ApplyChanges"))[0] == "BadNothingToDo"
    assert (await call(peer, "UpdateCertificate", *_update(made.der, "PEM", secret)))[0] == "Good"
    assert (await call(peer, "ApplyChanges"))[0] == "Good"
    assert secure.server.identity.certificate == made.certificate
    assert await reads(agent, secure.url, **secure.secured()) == 2


@check("Part 12 7.10.5", "Clients without security stay connected when the server gets a certificate", ours_only=OURS)
async def test_clients_without_security_outlast_the_servers_certificate(secure: SecurityServer, agent: Agent) -> None:
    peer = await agent.connect(secure.url, **secure.secured(user="sec", password=PASSWORD))
    made, secret = _with_key(secure, "next gateway")
    internal = secure.server.internal
    assert internal is not None
    secured = [each for each in internal.sessions if each.client_certificate is not None]
    assert secured
    async with WireClient(secure.port) as client:
        assert (await call(peer, "UpdateCertificate", *_update(made.der, "PEM", secret)))[0] == "Good"
        assert (await call(peer, "ApplyChanges"))[0] == "Good"
        await until(lambda: all(each.processor is None or each.closed for each in secured), 5)
        assert await client.status(ua.ReadRequest()) == "BadNothingToDo"


@check("Part 12 7.10.4", "A private key is in no audit event, whatever object it was sent to", ours_only=OURS)
async def test_a_private_key_is_in_no_audit_event(secure: SecurityServer, admin: Peer) -> None:
    secret = b"-----BEGIN PRIVATE KEY----- secret"
    inputs = [{"$variant": list(each)} for each in _update(b"no certificate", "PEM", secret)]
    calls = [{"objectId": each, "methodId": "i=13737", "inputArguments": inputs} for each in (SERVER, "i=2253", LIST)]
    secure.forget()
    answer = await admin.request("CallRequest", methodsToCall=calls)
    assert answer["results"][0]["statusCode"] == "BadCertificateInvalid"
    told = [each for each in secure.events if each.event_type == 2127]
    assert len(told) == 3
    assert not any("secret" in str(each) for each in (*secure.events, *secure.audit.records))


def _certified(request: x509.CertificateSigningRequest, issuer: Pair) -> x509.Certificate:
    """What an authority makes of a request."""
    now = application("template").certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.not_valid_before_utc)
        .not_valid_after(now.not_valid_after_utc)
    )
    for each in request.extensions:
        builder = builder.add_extension(each.value, critical=each.critical)
    return builder.sign(issuer.key, request.signature_hash_algorithm)
