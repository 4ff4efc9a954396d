"""Audit events of method calls (Part 5, 6.4.27); conditions tell those of their methods by types of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from address_space.opcua.auditing import AuditEvent, tell

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

UPDATE_METHOD: Final = 2127
_BAD = 0x8000_0000


def tell_call(server: InternalServer, session: Session, wanted: Any, status: int) -> None:
    """Tell that a method was called (CallMethodRequest of asyncua's) and what came of it."""
    target, method, given = wanted.ObjectId, wanted.MethodId, list(wanted.InputArguments or [])
    # By the method alone: who names the wrong object may have sent a private key all the same.
    standard = server.standard_methods.of(method)
    if standard is not None and standard.encrypted:
        given = []
    caller = session.caller
    inside = target.NamespaceIndex == server.space.namespace and isinstance(target.Identifier, str)
    event = AuditEvent(
        UPDATE_METHOD,
        "Attribute/Call",
        f"{method.to_string()} of {target.to_string()} was called",
        status=status,
        user=caller.user if caller is not None else "",
        client=caller.client if caller is not None else "",
        source=target.Identifier if inside else "",
        severity=300 if status & _BAD else 100,
        fields={"MethodId": (17, method), "InputArguments": (24, given)},
    )
    tell(server, event)
