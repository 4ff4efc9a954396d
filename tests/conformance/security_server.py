"""A server of our own for the checks of security: strict trust list, all policies and modes, the gateway's users."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from peers.opcua.certificates import Pair, application, authority, revocations
from peers.opcua.rig import AUTHORITY, BAY, Audit, Desk, address_book, grid

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerSettings
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import Grant, User

PASSWORD = "a-good-secret"
POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


class SecurityServer:
    """The running server, its trust list, its users, and what it has audited.

    Attributes:
        peer: the trusted client application, by its own certificate.
        events: audit events told, as subscribers would get them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = authority("plant root")
        self.peer = application("scada")
        self.user = application("anna", uri="urn:user:anna")
        self.audit, self.desk = Audit(), Desk()
        self.events: list[AuditEvent] = []
        # Cheap to verify: the tests log in often.
        phc = Argon2id(salt=bytes(16), length=32, iterations=1, lanes=1, memory_cost=64).derive_phc_encoded(
            PASSWORD.encode()
        )
        self.policy = UserPolicy(
            {
                "olga": User(password=phc, roles=("Operator",)),
                "otto": User(password=phc, roles=("Observer",)),
                "nina": User(
                    password=phc, roles=("Observer",), grants=(Grant(role="Operator", areas=("dso1/south",)),)
                ),
                "paula": User(password=phc, roles=("SecAuditor",)),
                "sec": User(password=phc, roles=("SecurityAdmin",)),
                "anna": User(
                    certificates=(self.user.save_user(directory / "users", "anna")["certificate"],), roles=("Observer",)
                ),
            },
            anonymous_observes=True,
            audit=self.audit,
        )
        self.table = grid()
        settings = ServerSettings(
            AUTHORITY, directory / "pki", port=0, security=("SignAndEncrypt", "Sign", "None"), policies=POLICIES
        )
        ports = Ports(self.policy, self.desk, self.audit)
        self.server = GatewayServer(self.table, settings, ports=ports, book=address_book(self.table))

    async def __aenter__(self) -> SecurityServer:
        await self.server.start()
        internal = self.server.internal
        assert internal is not None
        tell = internal.event_feed.tell_audit

        def listening(event: AuditEvent) -> None:
            self.events.append(event)
            tell(event)

        internal.event_feed.tell_audit = listening  # type: ignore[method-assign]  # all, as auditors get them
        self.store = internal.trust.store
        self.store.add("trusted", self.peer.certificate)
        self.store.add("trusted", self.root.certificate)
        self.store.add_revocations("trusted", revocations(self.root, self.revoked))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
        self.policy.close()

    @property
    def url(self) -> str:
        """EndpointUrl."""
        return self.server.url

    @property
    def port(self) -> int:
        """The port."""
        return self.server.port

    @property
    def revoked(self) -> Pair:
        """A client of the trusted authority whose certificate has been revoked."""
        if not hasattr(self, "_revoked"):
            self._revoked = application("former scada", issuer=self.root)
        return self._revoked

    def as_client(self, pair: Pair) -> dict[str, str]:
        """The `application` of an agent's order."""
        return pair.save(self.directory / "clients", pair.uri.rpartition(":")[2].replace(" ", "_") or "client")

    def secured(self, *, policy: str = "Basic256Sha256", mode: str = "SignAndEncrypt", **order: Any) -> dict[str, Any]:
        """An agent's order for a connection of the trusted client."""
        return {"security": policy, "mode": mode, "application": self.as_client(self.peer), **order}

    def forget(self) -> None:
        """Nothing has been audited yet."""
        self.audit.records.clear()
        self.events.clear()

    async def told(self, event_type: int, kind: str) -> tuple[AuditEvent, Any]:
        """The newest audit event of a type, and the newest record of the journal of a kind."""
        await asyncio.sleep(0.01)
        events = [each for each in self.events if each.event_type == event_type]
        records = [each for each in self.audit.records if each.kind == kind]
        assert events, f"no event {event_type}: {[each.event_type for each in self.events]}"
        assert records, f"no record {kind}: {[each.kind for each in self.audit.records]}"
        return events[-1], records[-1]


__all__ = ["AUTHORITY", "BAY", "PASSWORD", "POLICIES", "SecurityServer"]
