"""Which client applications the server talks to: the trust list applied, refusals kept, audited and told."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cryptography import x509

from address_space.opcua import trust_check as checks
from address_space.opcua.auditing import AuditEvent
from address_space.opcua.security_audit import (
    CERTIFICATE_DATA_MISMATCH,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_INVALID,
    CERTIFICATE_MISMATCH,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    SecurityAudit,
    severity,
)
from address_space.opcua.trust_check import Finding, application_uris, split_chain, thumbprint, validate
from address_space.opcua.trust_store import Stamp, TrustStore, common_name

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)
_EVENTS = {
    checks.TIME_INVALID: CERTIFICATE_EXPIRED,
    checks.ISSUER_TIME_INVALID: CERTIFICATE_EXPIRED,
    checks.UNTRUSTED: CERTIFICATE_UNTRUSTED,
    checks.CHAIN_INCOMPLETE: CERTIFICATE_UNTRUSTED,
    checks.REVOKED: CERTIFICATE_REVOKED,
    checks.ISSUER_REVOKED: CERTIFICATE_REVOKED,
    checks.REVOCATION_UNKNOWN: CERTIFICATE_REVOKED,
    checks.ISSUER_REVOCATION_UNKNOWN: CERTIFICATE_REVOKED,
    checks.USE_NOT_ALLOWED: CERTIFICATE_MISMATCH,
    checks.ISSUER_USE_NOT_ALLOWED: CERTIFICATE_MISMATCH,
    checks.URI_INVALID: CERTIFICATE_DATA_MISMATCH,
}
_KEPT = frozenset({checks.UNTRUSTED, checks.CHAIN_INCOMPLETE})
_LOOK_SECONDS = 1.0


class Trust:
    """Judges certificates of peers by the folders of one store.

    Args:
        store: the folders.
        audit: where refusals go.
        trust_any: certificates that are in no list pass too (loopback only, see `ServerSettings.trust_any_client`).
        users: the store is that of users' certificates, not of applications'.
        notice: logs a refusal, see `Admission.notice`.
    """

    def __init__(
        self,
        store: TrustStore,
        audit: SecurityAudit,
        *,
        trust_any: bool = False,
        users: bool = False,
        notice: Callable[..., None] = _log.warning,
    ) -> None:
        self.store = store
        self._audit = audit
        self._trust_any = trust_any
        self._users = users
        self._notice = notice

    def check(self, der: bytes | None, *, client: str = "", user: str = "") -> int:
        """0, or the StatusCode for the peer (`Finding.told`); the real reason is audited and logged.

        A certificate that nobody has decided on is kept in `rejected`.
        """
        finding = self.judge(der)
        if finding.status:
            self._refused(der or b"", finding, client, user)
        return finding.told

    def judge(self, der: bytes | None) -> Finding:
        """The finding on a certificate or chain (DER), without consequences."""
        try:
            chain = split_chain(der or b"")
            now = datetime.datetime.now(datetime.UTC)
            return validate(chain, self.store.lists(), now, trust_any=self._trust_any, application=not self._users)
        except ValueError as error:
            return Finding(checks.INVALID, f"no certificate: {error}")
        except OSError as error:
            return Finding(checks.UNTRUSTED, f"the trust list cannot be read: {error}")

    def check_uri(self, der: bytes | None, application_uri: str, *, client: str = "") -> int:
        """0, or BadCertificateUriInvalid when the certificate is not that of the application (Part 4, 5.6.2)."""
        try:
            uris = application_uris(split_chain(der or b"")[0])
        except ValueError:
            uris = []
        if application_uri in uris:
            return 0
        text = f"the certificate is for {', '.join(uris) or 'no application'}, not for {application_uri[:200]}"
        self._refused(der or b"", Finding(checks.URI_INVALID, text), client, "", uri=application_uri)
        return checks.URI_INVALID

    def _refused(self, der: bytes, finding: Finding, client: str, user: str, uri: str = "") -> None:
        mark = ""
        try:
            leaf = split_chain(der)[0]
            mark = thumbprint(leaf)
            if finding.status in _KEPT:
                self._keep(leaf, client)
        except ValueError:
            _log.debug("%s: not even a certificate", client)
        text = f"{finding.name}: {finding.text}" if finding.text else finding.name
        self._notice("certificate %s of %s refused: %s", mark or "without a thumbprint", client, text)
        fields: dict[str, tuple[int, object]] = {"Certificate": (15, der)}
        if uri:
            fields["InvalidUri"] = (12, uri[:1_000])
        event = AuditEvent(
            _EVENTS.get(finding.status, CERTIFICATE_INVALID),
            "Security/Certificate",
            f"{finding.subject}: {text}" if finding.subject else text,
            status=finding.status,
            user=user,
            client=client,
            severity=severity(finding.status),
            fields=fields,
        )
        details = {"reason": finding.name, "thumbprint": mark, "subject": finding.subject[:200]}
        self._audit.note(event, "certificate.refused", details)

    def _keep(self, certificate: x509.Certificate, client: str) -> None:
        try:
            if self.store.reject(certificate):
                self._notice(
                    "%r from %s is not trusted; let it in with: twin-gateway trust add %s",
                    common_name(certificate),
                    client,
                    thumbprint(certificate)[:16],
                )
        except OSError as error:
            self._notice("a refused certificate cannot be kept: %s", error)


async def watch(server: InternalServer, changed: Callable[[InternalServer], Awaitable[None]]) -> None:
    """End connections of clients that are trusted no more, two seconds after a change of the folders (Part 12)."""
    store = server.trust.store
    stamp: Stamp | None = None
    unread = False
    while True:
        try:
            now = await asyncio.to_thread(store.stamp)
            if now != stamp:
                await asyncio.to_thread(store.lists)
                await changed(server)
            if stamp not in {None, now}:
                _log.info("the trust list has changed")
                for problem in store.problems:
                    _log.warning("trust list: %s", problem)
                end_untrusted(server)
            stamp, unread = now, False
        except OSError as error:
            if not unread:
                _log.error("the trust list cannot be read: %s", error)
            unread = True
        await asyncio.sleep(_LOOK_SECONDS)


def end_untrusted(server: InternalServer) -> int:
    """Close the connections whose certificates would be refused now; how many."""
    ended = 0
    for session in server.sessions:
        processor = session.processor
        if processor is None or session.client_certificate is None:
            continue
        if server.trust.check(session.client_certificate, client=processor.peer):
            processor.transport.close()
            ended += 1
    return ended
