"""A change of the mapping as an audit event (Part 5, 6.4.29): who changed the gateway from which revision to which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from address_space.opcua.auditing import AuditEvent, tell

if TYPE_CHECKING:
    from address_space.opcua.server import GatewayServer
    from address_space.ports import AuditRecord

UPDATE_STATE: Final = 2315
"""AuditUpdateStateEventType: the revision is the state; its MethodId and InputArguments are Null, nobody called one."""
_STRING: Final = 12


def tell_change(server: GatewayServer | None, record: AuditRecord, before: str, now: str) -> None:
    """Tell those who may read the audit what the journal says of a change; nobody before the server is there.

    Args:
        server: of the gateway.
        record: of the journal.
        before: hash of the revision that ran.
        now: hash of the one that runs; the same when the change was refused.
    """
    if server is None or server.internal is None:
        return
    event = AuditEvent(
        UPDATE_STATE,
        f"Mapping/{record.kind.rpartition('.')[2]}",
        record.text,
        status=record.status,
        user=record.user,
        severity=300 if record.status else 100,
        fields={"OldStateId": (_STRING, before), "NewStateId": (_STRING, now)},
    )
    tell(server.internal, event)
