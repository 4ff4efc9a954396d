"""What is audited of sessions: made, activated, refused, cancelled, and tokens of other sessions that are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography import x509

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.identity import Claim
from address_space.opcua.security_audit import (
    ACTIVATE_SESSION,
    CANCEL,
    CREATE_SESSION,
    SESSION,
    URL_MISMATCH,
    severity,
)
from address_space.opcua.trust_check import split_chain, thumbprint
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.processor import Processor
    from address_space.opcua.session import Session


def created(processor: Processor, session: Session | None, status: int, text: str, *, url: str, timeout: float) -> None:
    """A session was made, or refused; also when the client thinks the server has another name (AuditUrlMismatch)."""
    certificate = processor.client_certificate or b""
    mark = thumbprint(split_chain(certificate)[0]) if certificate else ""
    fields: dict[str, tuple[int, Any]] = {
        "SecureChannelId": (12, str(processor.channel.number)),
        "ClientCertificate": (15, certificate or None),
        "ClientCertificateThumbprint": (12, mark),
        "RevisedSessionTimeout": (11, timeout),
        "SessionId": (17, session.session_id if session is not None else ua.NodeId()),
    }
    event = AuditEvent(
        CREATE_SESSION,
        "Session/CreateSession",
        text,
        status=status,
        client=processor.peer,
        severity=severity(status),
        fields=fields,
    )
    details = {"channel": processor.channel.number, "thumbprint": mark}
    audit = processor.iserver.security_audit
    audit.note(event, "session.refused" if status else "session.created", details)
    if session is not None and not _known_host(processor, url):
        mismatch = AuditEvent(
            URL_MISMATCH,
            "Session/CreateSession",
            f"the client asked for {url[:500]!r}, which is not this server's name",
            client=processor.peer,
            severity=severity(0),
            fields={**fields, "EndpointUrl": (12, url[:1_000])},
        )
        audit.note(mismatch, "session.url_mismatch", {"url": url[:500]})


def _known_host(processor: Processor, url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    server = processor.iserver
    known = {"localhost", "127.0.0.1", "::1", server.settings.host.lower()}
    if isinstance(processor.sockname, tuple):
        known.add(str(processor.sockname[0]).lower())
    if server.certificate is not None:
        names = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known.update(name.lower() for name in names.get_values_for_type(x509.DNSName))
        known.update(str(address) for address in names.get_values_for_type(x509.IPAddress))
    return host.lower() in known


def _activation(processor: Processor, session: Session | None, who: Claim, status: int, text: str) -> AuditEvent:
    return AuditEvent(
        ACTIVATE_SESSION,
        "Session/ActivateSession",
        text,
        status=status,
        user=who.user,
        client=processor.peer,
        severity=severity(status),
        fields={
            "SecureChannelId": (12, str(processor.channel.number)),
            "SessionId": (17, session.session_id if session is not None else ua.NodeId()),
        },
    )


async def activated(processor: Processor, session: Session, who: Claim) -> None:
    """A user is let in; the record is on disk when this returns."""
    text = f"{who.user or 'anonymous'} is let in"
    event = _activation(processor, session, who, 0, text)
    await processor.iserver.security_audit.record(event, "login", {"token": who.kind})


def not_activated(processor: Processor, session: Session | None, who: Claim, status: int, reason: str) -> None:
    """A user, or somebody with a session that is not theirs, is refused."""
    event = _activation(processor, session, who, status, f"{who.user or 'anonymous'} is refused: {reason}")
    processor.iserver.security_audit.note(event, "login.refused", {"token": who.kind, "reason": reason})


def foreign_token(processor: Processor, token: bytes) -> None:
    """A request came with the AuthenticationToken of a session that another connection has: perhaps a stolen one."""
    server = processor.iserver
    owner = server.session_of(token)
    if owner is None:
        return  # none of ours, or one that has ended
    caller = owner.caller
    event = AuditEvent(
        SESSION,
        "Session/Request",
        "the token of a session that belongs to another connection",
        status=int(ua.StatusCodes.BadSessionIdInvalid),
        user=caller.user if caller is not None else "",
        client=processor.peer,
        severity=900,
        fields={"SessionId": (17, owner.session_id)},
    )
    details = {"owner": owner.processor.peer if owner.processor is not None else ""}
    server.security_audit.note(event, "session.foreign", details)


def not_owner(session: Session, subscription_id: int, status: int) -> int:
    """Tell that a session named a subscription of another one, if that is what it did; `status` comes back."""
    if session.server.subscription_service.subscription(subscription_id) is None:
        return status  # nobody's
    caller = session.caller
    event = AuditEvent(
        SESSION,
        "Session/Subscription",
        f"subscription {subscription_id} belongs to another session",
        status=status,
        user=caller.user if caller is not None else "",
        client=caller.client if caller is not None else "",
        severity=severity(status),
        fields={"SessionId": (17, session.session_id)},
    )
    session.server.security_audit.note(event, "session.not_owner", {"subscription": subscription_id})
    return status


def cancelled(processor: Processor, handle: int) -> None:
    """Cancel was asked for."""
    session = processor.session
    caller = session.caller if session is not None else None
    event = AuditEvent(
        CANCEL,
        "Session/Cancel",
        f"request {handle} is to be cancelled",
        user=caller.user if caller is not None else "",
        client=processor.peer,
        severity=severity(0),
        fields={
            "RequestHandle": (7, handle),
            "SessionId": (17, session.session_id if session is not None else ua.NodeId()),
        },
    )
    processor.iserver.security_audit.note(event, "session.cancel", {"handle": handle})
