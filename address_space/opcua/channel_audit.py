"""Opening secure channels: who asks is judged by the trust list, what comes of it is audited."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.channel_keys import ENCRYPTING_KEYS
from address_space.opcua.security_audit import OPEN_CHANNEL, severity
from address_space.opcua.wire import ProtocolError

if TYPE_CHECKING:
    from address_space.opcua.processor import Processor
    from address_space.opcua.server import InternalServer


class ChannelGate:
    """What the secure channel of one connection asks of the server; knows the client's address for the audit."""

    def __init__(self, server: InternalServer, peer: str) -> None:
        self._server = server
        self._peer = peer

    @property
    def policies(self) -> Sequence[Any]:
        """Factories of the policies offered."""
        return self._server.policies

    def check_client_certificate(self, der: bytes) -> int:
        """StatusCode of trust in the client's application certificate, 0 for Good."""
        status = self._server.trust.check(der, client=self._peer)
        if status:
            self._server.counters.certificates_refused += 1
        return status

    def get_new_channel_id(self) -> int:
        """An id that no other channel has."""
        return int(self._server.get_new_channel_id())


def answer_open(processor: Processor, frame: bytes) -> bytes:
    """The answer to an OPN chunk. Channels that sign, and all that are refused, are audited (Part 5, 6.4.6).

    Raises:
        ProtocolError: when the channel stays closed.
    """
    channel = processor.channel
    renewed = channel.open
    try:
        answer = channel.answer_open(frame, processor.response)
    except ProtocolError as error:
        _note(processor, renewed=renewed, status=error.status, text=str(error))
        raise
    if channel.policy.URI in ENCRYPTING_KEYS:
        _note(processor, renewed=renewed, status=0, text="renewed" if renewed else "opened")
    return answer


def _note(processor: Processor, *, renewed: bool, status: int, text: str) -> None:
    channel = processor.channel
    policy = channel.policy
    certificate = bytes(policy.peer_certificate or b"")
    thumbprint = hashlib.sha1(certificate, usedforsecurity=False).hexdigest().upper() if certificate else ""
    uri, mode = str(policy.URI), int(policy.Mode)
    event = AuditEvent(
        OPEN_CHANNEL,
        "SecureChannel/OpenSecureChannel",
        f"secure channel {text}",
        status=status,
        client=processor.peer,
        severity=severity(status),
        audit_entry=channel.audit_entry,
        fields={
            "SecureChannelId": (12, str(channel.number)),
            "ClientCertificate": (15, certificate or None),
            "ClientCertificateThumbprint": (12, thumbprint),
            "RequestType": (6, int(renewed)),
            "SecurityPolicyUri": (12, uri),
            "SecurityMode": (6, mode),
        },
    )
    details = {"channel": channel.number, "policy": uri.rpartition("#")[2], "mode": mode, "thumbprint": thumbprint}
    kind = "channel.refused" if status else ("channel.renewed" if renewed else "channel.opened")
    processor.iserver.security_audit.note(event, kind, details)
