"""RolePermissions, UserRolePermissions and AccessRestrictions (Part 3, 5.2.9 to 5.2.11) out of the access policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.server import InternalServer

ROLE_PERMISSIONS, USER_ROLE_PERMISSIONS, ACCESS_RESTRICTIONS = 24, 25, 26
_BROWSE, _READ_ROLE_PERMISSIONS, _WRITE, _READ, _READ_HISTORY, _EVENTS, _CALL = (
    0x1,
    0x2,
    0x40,
    0x20,
    0x80,
    0x800,
    0x1000,
)
_SESSION_REQUIRED, _ENCRYPTION_REQUIRED, _SIGNING_REQUIRED = 4, 2, 1
_PERMISSIONS = {
    Right.BROWSE: _BROWSE,
    Right.READ: _READ | _READ_HISTORY | _EVENTS,
    Right.ADMINISTER: _READ_ROLE_PERMISSIONS,
}
"""PermissionType bits of the rights that are the same on every node."""


def role_id(role: str) -> Any:
    """NodeId of a well-known role; None for another one."""
    number = getattr(ua.ObjectIds, f"WellKnownRole_{role}", None)
    return None if number is None else ua.NodeId(number)


def role_attribute(
    server: InternalServer,
    access: Access,
    attribute: int,
    address: str,
    *,
    calls: Sequence[Right] = (),
    write: Right | None = None,
    encrypted: bool = False,
) -> Any:
    """The Variant (asyncua's) of one of the three attributes.

    Args:
        server: whose policy is asked.
        access: rights of the caller.
        attribute: 24, 25 or 26.
        address: owner of the node; empty for nodes of the standard.
        calls: rights of which a method needs one; none for other nodes.
        write: right that writing the value needs; None where nobody may.
        encrypted: whether it is used on encrypted channels only.

    Raises:
        OperationError: BadAttributeIdInvalid without a policy, BadUserAccessDenied when the caller may not see the
            permissions of others.
    """
    if attribute == ACCESS_RESTRICTIONS:
        bits = _SESSION_REQUIRED | (_ENCRYPTION_REQUIRED | _SIGNING_REQUIRED if encrypted else 0)
        return ua.Variant(bits, ua.VariantType.UInt16)
    policy = server.ports.policy
    if policy is None:
        raise OperationError(ua.StatusCodes.BadAttributeIdInvalid)
    own = attribute == USER_ROLE_PERMISSIONS
    if not own and not access.allows(Right.ADMINISTER, ""):
        raise OperationError(ua.StatusCodes.BadUserAccessDenied)
    entries = []
    for role, rights in policy.role_rights().items():
        identifier = role_id(role)
        if identifier is None or (own and role not in access.caller.roles):
            continue
        taken = _bits(rights.__contains__, calls, write)
        if own:
            taken &= _bits(lambda right: access.allows(right, address), calls, write)
        entries.append(ua.RolePermissionType(identifier, ua.PermissionType(taken)))
    return ua.Variant(entries, ua.VariantType.ExtensionObject, is_array=True)


def _bits(has: Callable[[Right], bool], calls: Sequence[Right], write: Right | None) -> int:
    bits = 0
    for right, permissions in _PERMISSIONS.items():
        bits |= permissions if has(right) else 0
    if any(map(has, calls)):
        bits |= _CALL
    if write is not None and has(write):
        bits |= _WRITE
    return bits
