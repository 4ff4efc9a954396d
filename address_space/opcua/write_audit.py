"""Audit of writes (Part 5, 6.4.24): every attempt to write a node that is there, refused or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.security_audit import severity
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.session import Session

WRITE_UPDATE: Final = 2100
MOST_OF_ONE_REQUEST: Final = 20
"""Attempts of one request told one by one; the others as a count."""
_UNKNOWN = frozenset({int(ua.StatusCodes.BadNodeIdUnknown), int(ua.StatusCodes.BadNodeIdInvalid)})


def tell_writes(session: Session, wanted: Sequence[Any], statuses: Sequence[int]) -> None:
    """Audit the writes of one request with what came of them."""
    tried = [(each, status) for each, status in zip(wanted, statuses, strict=True) if status not in _UNKNOWN]
    for value, status in tried[:MOST_OF_ONE_REQUEST]:
        more = len(tried) - MOST_OF_ONE_REQUEST
        _tell(session, value, status, f" and {more} more" if more > 0 else "")


def _tell(session: Session, value: Any, status: int, more: str) -> None:
    caller, server = session.caller, session.server
    name = value.NodeId.to_string()
    text = f"attribute {int(value.AttributeId)} of {name}{more} was {'not ' if status else ''}written"
    variant = value.Value.Value if value.Value is not None else None
    fields: dict[str, tuple[int, Any]] = {
        "AttributeId": (7, int(value.AttributeId)),
        "IndexRange": (12, value.IndexRange or ""),
    }
    if variant is not None and not isinstance(variant.Value, list):
        fields["NewValue"] = (int(variant.VariantType), variant.Value)
    in_grid = value.NodeId.NamespaceIndex == server.space.namespace and isinstance(value.NodeId.Identifier, str)
    event = AuditEvent(
        WRITE_UPDATE,
        "Attribute/Write",
        text,
        status=status,
        user=caller.user if caller is not None else "",
        client=caller.client if caller is not None else "",
        source=value.NodeId.Identifier if in_grid else "",
        severity=severity(status),
        fields=fields,
    )
    server.security_audit.note(event, "write.refused" if status else "write", {"node": name[:300]})
