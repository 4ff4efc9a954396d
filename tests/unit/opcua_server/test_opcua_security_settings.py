"""What may be offered where, the certificate renewed, the audit bounded, sessions bounded."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from peers.opcua.certificates import application, authority
from peers.opcua.rig import Audit, Rig
from peers.opcua.wire_client import FaultError, WireClient
from pydantic import ValidationError

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.security import CertificateError, Names, install, load_or_make, renew
from address_space.opcua.security_audit import MOST_AT_ONCE, SecurityAudit
from address_space.opcua.settings import ServerLimits, ServerSettings, SettingsError
from address_space.opcua.trust_check import application_uris
from twin_gateway.config import OpcUaSection

URI = "urn:host:twin-gateway"


def settings(tmp_path: Path, **what: Any) -> ServerSettings:
    return ServerSettings("https://example.org", tmp_path, **what)


def test_to_trust_any_client_is_for_loopback_only(tmp_path: Path) -> None:
    assert settings(tmp_path, trust_any_client=True).modes()
    with pytest.raises(SettingsError, match="loopback"):
        settings(tmp_path, trust_any_client=True, host="0.0.0.0").modes()
    with pytest.raises(ValidationError, match="loopback"):
        OpcUaSection(trust_any_client=True, host="192.0.2.7")


def test_no_security_on_the_network_must_be_switched_on(tmp_path: Path) -> None:
    assert "None" not in settings(tmp_path, host="0.0.0.0").modes()
    assert "None" in settings(tmp_path, host="0.0.0.0", security_none=True).modes()
    assert OpcUaSection(host="0.0.0.0").modes() == ("SignAndEncrypt",)
    assert OpcUaSection(host="0.0.0.0", security_none=True).modes() == ("SignAndEncrypt", "None")
    assert OpcUaSection().modes() == ("SignAndEncrypt", "None")


def test_a_broken_policy_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no security policy"):
        settings(tmp_path, policies=("Basic128Rsa15",)).modes()


def test_a_renewed_certificate_keeps_the_key_and_the_former_one(tmp_path: Path) -> None:
    first = load_or_make(tmp_path, URI, "twin-gateway", ())
    renew(tmp_path, Names(URI, "twin-gateway", ("gateway.example.org",)))
    second = load_or_make(tmp_path, URI, "twin-gateway", ())
    assert second.certificate != first.certificate
    assert second.key.public_key() == first.key.public_key()
    assert application_uris(second.certificate) == [URI]
    former = tmp_path / "own" / "former"
    assert {path.name for path in former.iterdir()} == {"certificate.der", "private_key.pem"}
    assert (former / "private_key.pem").stat().st_mode & 0o077 == 0
    renew(tmp_path, Names(URI, "twin-gateway"), new_key=True, key_bits=3072)
    third = load_or_make(tmp_path, URI, "twin-gateway", ())
    assert third.key.key_size == 3072


def test_a_certificate_of_an_authority_comes_back_with_its_chain(tmp_path: Path) -> None:
    root = authority("plant root")
    made = application("gateway", issuer=root, uri=URI)
    install(tmp_path, made.certificate, made.key, (root.certificate,))
    identity = load_or_make(tmp_path, URI, "twin-gateway", ())
    assert identity.certificate == made.certificate
    assert identity.issuers == (root.certificate,)
    renew(tmp_path, Names(URI, "twin-gateway"))
    assert load_or_make(tmp_path, URI, "twin-gateway", ()).issuers == ()


def test_a_key_of_a_size_that_no_policy_takes_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="2048, 3072, 4096"):
        load_or_make(tmp_path, URI, "twin-gateway", (), 1024)


def test_an_address_that_means_all_is_in_no_certificate() -> None:
    assert "0.0.0.0" not in str(Names(URI, "x", ("0.0.0.0",)).alternative())


async def test_refusals_do_not_fill_the_journal_and_what_is_left_out_is_counted() -> None:
    journal = Audit()
    told: list[AuditEvent] = []
    tasks: list[Any] = []
    server: Any = SimpleNamespace(
        ports=SimpleNamespace(audit=journal),
        counters=SimpleNamespace(audit_events=0),
        event_feed=SimpleNamespace(tell_audit=told.append),
        keep=tasks.append,
    )
    audit = SecurityAudit(server)
    for number in range(MOST_AT_ONCE + 300):
        audit.note(
            AuditEvent(2060, "SecureChannel/OpenSecureChannel", str(number), status=0x8013_0000), "channel.refused"
        )
    [work] = tasks
    await work
    assert len(told) == MOST_AT_ONCE + 300
    lost = [each for each in journal.records if each.kind == "audit.lost"]
    assert len(journal.records) - len(lost) <= MOST_AT_ONCE + 5
    assert sum(each.details["count"] for each in lost) + len(journal.records) - len(lost) == MOST_AT_ONCE + 300


async def test_what_is_left_out_is_counted_also_when_nothing_comes_afterwards(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        assert rig.server.internal is not None
        audit = rig.server.internal.security_audit
        audit._room, audit._room_at = 0.0, time.monotonic()
        for _ in range(7):
            audit.note(AuditEvent(2060, "SecureChannel/OpenSecureChannel", "refused", status=0x8013_0000), "x")
    assert [(each.kind, each.details["count"]) for each in rig.audit.records] == [("audit.lost", 7)]


async def test_one_client_has_no_more_sessions_than_its_share(tmp_path: Path) -> None:
    limits = replace(ServerLimits(), max_sessions_per_client=2)
    async with Rig(tmp_path, limits=limits) as rig:
        clients = [WireClient(rig.server.port) for _ in range(3)]
        for client in clients[:2]:
            await client.connect()
            await client.new_session()
        await clients[2].connect()
        with pytest.raises(FaultError) as refused:
            await clients[2].new_session()
        assert refused.value.code == ua.StatusCodes.BadTooManySessions
        for client in clients:
            await client.close()


async def test_one_user_has_no_more_sessions_than_its_share(tmp_path: Path) -> None:
    limits = replace(ServerLimits(), max_sessions_per_user=1)
    async with (
        Rig(tmp_path, limits=limits) as rig,
        WireClient(rig.server.port) as first,
        WireClient(rig.server.port) as second,
    ):
        await first.activate("olga", "o-secret")
        with pytest.raises(FaultError) as refused:
            await second.activate("olga", "o-secret")
        assert refused.value.code == ua.StatusCodes.BadTooManySessions
        await second.activate("otto", "w-secret")


async def test_an_untrusted_client_does_not_get_in_by_default(tmp_path: Path) -> None:
    async with Rig(tmp_path, trust_any_client=False) as rig:
        assert rig.server.internal is not None
        trust = rig.server.internal.trust
        assert trust.check(application().der) == ua.StatusCodes.BadSecurityChecksFailed
        assert len(trust.store.read().of("rejected")) == 1
