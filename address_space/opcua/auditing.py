"""Audit events (Part 5, 6.4): what clients did or were refused, told to those who may read the audit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from address_space.ports import AUDIT_ENTRY

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

LONGEST_ENTRY: Final = 256
"""Octets of an AuditEntryId that are kept."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One audit event.

    Attributes:
        event_type: numeric NodeId (namespace 0) of the AuditEventType's subtype, for instance 2127.
        source_name: SourceName, for instance `Session/ActivateSession`, `Attribute/Call`.
        text: Message.
        status: StatusCode of what was tried; ActionStatus-like `Status` is True when it is Good.
        user: ClientUserId.
        client: address of the client.
        source: string identifier of the SourceNode in the grid's namespace; empty for the Server object.
        audit_entry: ClientAuditEntryId, the AuditEntryId of the request that is worked on, unless given.
        fields: further fields by BrowseName: (built-in type number, value); values as asyncua's Variant takes them.
    """

    event_type: int
    source_name: str
    text: str
    status: int = 0
    user: str = ""
    client: str = ""
    source: str = ""
    audit_entry: str = field(default_factory=AUDIT_ENTRY.get)
    severity: int = 0
    fields: Mapping[str, tuple[int, Any]] = field(default_factory=dict)


def entry_text(octets: bytes | None) -> str:
    """An AuditEntryId as it came on the wire, cut to `LONGEST_ENTRY` octets."""
    return octets[:LONGEST_ENTRY].decode("utf-8", "replace") if octets else ""


def tell(server: InternalServer, event: AuditEvent) -> None:
    """Give an audit event to those who have subscribed to it; the audit journal is written by the caller."""
    server.counters.audit_events += 1
    server.event_feed.tell_audit(event)
    _log.debug("audit event %d: %s", event.event_type, event.text)
