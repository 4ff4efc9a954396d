"""Attributes of the nodes of the standard and of types: kept by asyncua, or made when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncua.ua.ua_binary import struct_to_binary

from address_space import clock
from address_space.opcua.auditing import AuditEvent, tell
from address_space.opcua.diagnostics import ENABLED_FLAG, may_switch
from address_space.opcua.encoding import Stamps
from address_space.opcua.index_range import Wanted, restrict
from address_space.opcua.roles_attributes import ACCESS_RESTRICTIONS, ROLE_PERMISSIONS, role_attribute
from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, node_id_object, numeric_identifier
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

LAST_ATTRIBUTE = 27
_CODES, _IDS = ua.StatusCodes, ua.AttributeIds
_READ, _READ_WRITE = 1, 3
_AUDIT_WRITE_UPDATE = 2100


def read_standard(server: InternalServer, access: Access, wanted: Wanted, stamps: int) -> bytes:
    """DataValue of an attribute on the wire.

    Raises:
        OperationError: when there is none, or the caller may not read it.
    """
    number = numeric_identifier(wanted.node_id)
    if not 1 <= wanted.attribute <= LAST_ATTRIBUTE:
        known = node_id_object(wanted.node_id) in server.aspace
        raise OperationError(_CODES.BadAttributeIdInvalid if known else _CODES.BadNodeIdUnknown)
    attribute = _IDS(wanted.attribute)
    live = server.diagnostics.values.get(number) if number is not None and attribute == _IDS.Value else None
    if live is not None:
        variant = live(server, access)
        source = clock.to_datetime(clock.now())
    else:
        node_id = node_id_object(wanted.node_id)
        variant = _made(server, access, node_id, attribute)
        source = None
    if variant is not None:
        value = ua.DataValue(variant)
    else:
        if attribute == _IDS.Value:
            _check_readable(server, node_id)
        found = server.aspace.read_attribute_value(node_id, attribute)
        value, source = ua.DataValue(found.Value, found.StatusCode), found.SourceTimestamp
    if attribute == _IDS.Value and stamps in {Stamps.SOURCE, Stamps.BOTH}:
        value.SourceTimestamp = source
    if value.Value is not None and stamps in {Stamps.SERVER, Stamps.BOTH}:
        value.ServerTimestamp = clock.to_datetime(clock.now())
    return struct_to_binary(restrict(value, wanted.index_range, wanted.encoding))


def _made(server: InternalServer, access: Access, node_id: Any, attribute: Any) -> Any:
    """The Variant of an attribute that depends on the caller or that asyncua does not keep; None for the others."""
    if attribute == _IDS.UserAccessLevel and _is_flag(node_id):
        return ua.Variant(_READ_WRITE if may_switch(access) else _READ, ua.VariantType.Byte)
    if attribute == _IDS.AccessLevel and _is_flag(node_id):
        return ua.Variant(_READ_WRITE, ua.VariantType.Byte)
    if attribute == _IDS.AccessLevelEx:
        level = server.aspace.read_attribute_value(node_id, _IDS.AccessLevel).Value
        if _is_flag(node_id):
            level = ua.Variant(_READ_WRITE)
        return None if level is None else ua.Variant(int(level.Value), ua.VariantType.UInt32)
    if attribute in {_IDS.Executable, _IDS.UserExecutable}:
        return _executable(server, access, node_id, attribute)
    if ROLE_PERMISSIONS <= attribute <= ACCESS_RESTRICTIONS and node_id in server.aspace:
        method = server.standard_methods.of(node_id)
        return role_attribute(
            server,
            access,
            int(attribute),
            "",
            calls=() if method is None else (method.spec.right,),
            write=Right.ADMINISTER if _is_flag(node_id) else None,
            encrypted=method is not None and method.encrypted,
        )
    return None


def _executable(server: InternalServer, access: Access, node_id: Any, attribute: Any) -> Any:
    """Whether a method of the standard is offered, and to the caller; None for what is no method."""
    held = server.aspace.read_attribute_value(node_id, attribute).Value
    if held is None or held.Value is None:
        return None
    method = server.standard_methods.of(node_id)
    can = method is not None
    if method is not None and attribute == _IDS.UserExecutable:
        can = method.anybody or access.allows(method.spec.right, "")
    return ua.Variant(can, ua.VariantType.Boolean)


def _is_flag(node_id: Any) -> bool:
    return bool(node_id.NamespaceIndex == 0 and node_id.Identifier == ENABLED_FLAG)


def _check_readable(server: InternalServer, node_id: Any) -> None:
    for attribute, status in (
        (_IDS.AccessLevel, _CODES.BadNotReadable),
        (_IDS.UserAccessLevel, _CODES.BadUserAccessDenied),
    ):
        level = server.aspace.read_attribute_value(node_id, attribute).Value
        if level is not None and level.Value is not None and not int(level.Value) & _READ:
            raise OperationError(status)


def write_standard(server: InternalServer, session: Session, value: Any) -> int:
    """StatusCode of a WriteValue (asyncua's) on a node that is none of the grid's: EnabledFlag can be written."""
    node_id, attribute = value.NodeId, _IDS(int(value.AttributeId))
    if node_id not in server.aspace:
        return int(_CODES.BadNodeIdUnknown)
    if attribute != _IDS.Value or not _is_flag(node_id):
        has = server.aspace.read_attribute_value(node_id, attribute)
        return int(_CODES.BadAttributeIdInvalid if has.Value is None else _CODES.BadNotWritable)
    return _write_flag(server, session, value)


def _write_flag(server: InternalServer, session: Session, wanted: Any) -> int:
    data = wanted.Value
    before = server.diagnostics.enabled
    if wanted.IndexRange:
        status = int(_CODES.BadIndexRangeNoData)
    elif data.Value is None:
        status = int(_CODES.BadTypeMismatch)
    elif data.SourceTimestamp or data.ServerTimestamp or (data.StatusCode is not None and data.StatusCode.value):
        # Part 4, 5.10.4: a server that takes values only.
        status = int(_CODES.BadWriteNotSupported)
    else:
        status = server.diagnostics.switch(session, data.Value)
    caller = session.rights.caller
    kind = int(ua.VariantType.Boolean)
    told = {"AttributeId": (7, 13), "OldValue": (kind, before), "NewValue": (kind, server.diagnostics.enabled)}
    text = f"write of EnabledFlag: {ua.StatusCode(status).name}"
    tell(
        server,
        AuditEvent(
            _AUDIT_WRITE_UPDATE, "Attribute/Write", text, status, user=caller.user, client=caller.client, fields=told
        ),
    )
    return status
