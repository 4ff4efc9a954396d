"""Attribute services: Read on raw octets (values of points by columns), Write, which no node takes."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from asyncua.common.utils import Buffer, ServiceError
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from address_space import clock
from address_space.catalogue import ValueType
from address_space.opcua.encoding import Stamps, Values, data_values
from address_space.opcua.index_range import Wanted, restrict
from address_space.opcua.method_specs import rights_of
from address_space.opcua.properties import arguments_value, properties_of, property_value, state_value
from address_space.opcua.roles_attributes import ACCESS_RESTRICTIONS, ROLE_PERMISSIONS, role_attribute
from address_space.opcua.space import GridSpace, Node, NodeClass
from address_space.opcua.standard_attributes import LAST_ATTRIBUTE, read_standard, write_standard
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NO_DIAGNOSTICS,
    OperationError,
    Reader,
    encode_variant,
    localized_text,
    numeric_node_id,
    pack_i32,
    pack_u32,
)
from address_space.opcua.write_audit import tell_writes
from address_space.ports import Right
from address_space.table import PointTable

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

NODE_ID, NODE_CLASS, BROWSE_NAME, DISPLAY_NAME, DESCRIPTION, WRITE_MASK, USER_WRITE_MASK = range(1, 8)
EVENT_NOTIFIER, VALUE, DATA_TYPE, VALUE_RANK, ARRAY_DIMENSIONS, ACCESS_LEVEL, USER_ACCESS_LEVEL = range(12, 19)
MINIMUM_SAMPLING_INTERVAL, HISTORIZING, EXECUTABLE, USER_EXECUTABLE = range(19, 23)
ACCESS_LEVEL_EX = 27
_CURRENT_READ = 1
_PLAIN_TAIL = struct.pack("<I", VALUE) + b"\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff"
"""AttributeId Value, no IndexRange, no DataEncoding: how nearly every ReadValueId ends."""
_FEW, _AT_ONCE = 4, 500
_POINT_VALUES: dict[int, struct.Struct] = {
    ValueType.BOOLEAN: struct.Struct("<BBBIqq"),
    ValueType.INT32: struct.Struct("<BBiIqq"),
    ValueType.UINT32: struct.Struct("<BBIIqq"),
    ValueType.INT64: struct.Struct("<BBqIqq"),
    ValueType.DOUBLE: struct.Struct("<BBQIqq"),
}
_NO_VALUE = struct.Struct("<BIqq")
_WAITING = 0x8032_0000
_ARGUMENT = numeric_node_id(296)


# ---- Read ------------------------------------------------------------------------------------------------------


def read(processor: Processor, request: Request) -> Awaitable[None] | None:
    """Read."""
    server, session = processor.iserver, processor.session
    if session is None:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    access = session.rights
    reader = request.reader()
    max_age, stamps = reader.f64(), reader.i32()
    if not max_age >= 0:
        raise ServiceError(ua.StatusCodes.BadMaxAgeInvalid)
    if not 0 <= stamps <= 3:
        raise ServiceError(ua.StatusCodes.BadTimestampsToReturnInvalid)
    count = reader.array(16)
    if not count:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if count > server.limits.max_nodes_per_read:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    # Between the tails stand the NodeIds, when the request asks for nothing but values.
    node_ids = reader.data[reader.position :].split(_PLAIN_TAIL, count)
    plain = node_ids[:count] if len(node_ids) > count else []
    if 0 < len(plain) <= _AT_ONCE:
        body = _read_points(server, access, plain, stamps)
        if body is not None:
            processor.respond(request, 634, pack_i32(count), body, NO_DIAGNOSTICS)
            return None
    values = _values(server, access, (reader, count, plain), stamps)
    return processor.respond_list(request, 634, count, values)


def _values(
    server: InternalServer, access: Access, wanted: tuple[Reader, int, list[bytes]], stamps: int
) -> Iterator[bytes]:
    """DataValues on the wire, many in a piece as long as they are of points that may be read."""
    reader, count, plain = wanted
    done = 0
    for part in (plain[start : start + _AT_ONCE] for start in range(0, len(plain), _AT_ONCE)):
        body = _read_points(server, access, part, stamps)
        if body is None:
            break
        yield body
        done += len(part)
        reader.position += sum(map(len, part)) + len(part) * len(_PLAIN_TAIL)
    for _ in range(done, count):
        yield _read_one(server, access, _wanted(reader), stamps)


def _read_points(server: InternalServer, access: Access, node_ids: list[bytes], stamps: int) -> bytes | None:
    """DataValues of points that may be read; None when anything else is among them."""
    # A NodeId that is known is whole, so nothing else can hide between the tails.
    readable = access.readable_rows(server.space.table.edition)
    rows = list(map(readable.get, node_ids))
    if None in rows:
        for place, node_id in enumerate(node_ids):
            if rows[place] is None:
                row = _readable_row(server.space, access, node_id)
                if row is None:
                    return None
                rows[place] = readable[node_id] = row
    table = server.space.table
    if len(rows) <= _FEW:
        return b"".join([point_value(table, row, stamps) for row in rows if row is not None])
    return point_values(table, np.array(rows, np.int32), stamps)


def _readable_row(space: GridSpace, access: Access, node_id: bytes) -> int | None:
    """Row of a point that may be read; None for any other node."""
    if not node_id.startswith(space.prefix) or int.from_bytes(node_id[3:7], "little") != len(node_id) - 7:
        return None
    known = space.row_of(node_id[7:])
    return known[0] if known is not None and access.allows(Right.READ, known[1]) else None


def point_value(table: PointTable, row: int, stamps: int) -> bytes:
    """DataValue of one point on the wire."""
    kind, status = int(table.value_type[row]), int(table.status[row])
    layout = _POINT_VALUES.get(kind)
    if layout is None or stamps != Stamps.BOTH:
        return point_values(table, np.array((row,), np.int32), stamps)
    if status & 0xFFFF_0000 == _WAITING:
        return _NO_VALUE.pack(14, status, int(table.source_time[row]), int(table.received[row]))
    raw = int(table.raw[row])
    if kind == ValueType.INT32:
        raw = (raw & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    elif kind == ValueType.INT64:
        raw = (raw ^ 1 << 63) - (1 << 63)
    return layout.pack(15, kind, raw, status, int(table.source_time[row]), int(table.received[row]))


def point_values(table: PointTable, rows: np.typing.NDArray[np.int32], stamps: int) -> bytes:
    """DataValues of points on the wire, in the order of the rows (int32)."""
    types = table.value_type[rows]
    texts: dict[int, str] = {}
    raw = table.raw[rows]
    for index in np.nonzero(types == ValueType.STRING)[0].tolist():
        texts[int(raw[index])] = str(table.value(int(rows[index])) or "")
    values = Values(raw, table.status[rows], table.source_time[rows], table.received[rows])
    return data_values(types, stamps, values, texts)


def _wanted(reader: Reader) -> Wanted:
    return Wanted(reader.node_id(), reader.u32(), reader.text(), reader.qualified_name())


def bad_value(status: int) -> bytes:
    """A DataValue of nothing but a status."""
    return b"\x02" + pack_u32(status)


def _read_one(server: InternalServer, access: Access, wanted: Wanted, stamps: int) -> bytes:
    try:
        return read_attribute(server, access, wanted, stamps)
    except OperationError as error:
        return bad_value(error.status)


def read_attribute(server: InternalServer, access: Access, wanted: Wanted, stamps: int) -> bytes:
    """DataValue of any attribute of any node on the wire.

    Raises:
        OperationError: when there is no such attribute, or the caller may not read it.
    """
    node = server.space.find_wire(wanted.node_id)
    if node is None:
        return read_standard(server, access, wanted, stamps)
    return _read_node(server, access, node, wanted, stamps)


def _read_node(server: InternalServer, access: Access, node: Node, wanted: Wanted, stamps: int) -> bytes:
    if not access.allows(Right.BROWSE, node.owner):
        raise OperationError(ua.StatusCodes.BadNodeIdUnknown)
    if wanted.attribute != VALUE:
        if wanted.index_range or wanted.encoding[2:6] != b"\xff\xff\xff\xff":
            status = ua.StatusCodes.BadIndexRangeNoData if wanted.index_range else ua.StatusCodes.BadDataEncodingInvalid
            raise OperationError(status)
        return _stamped(attribute_variant(server, access, node, wanted.attribute), stamps)
    if server.space.node_class(node) != NodeClass.VARIABLE:
        raise OperationError(ua.StatusCodes.BadAttributeIdInvalid)
    if not node.part and not access.allows(Right.READ, node.owner):
        raise OperationError(ua.StatusCodes.BadUserAccessDenied)
    if node.is_point and not wanted.index_range and wanted.encoding[2:6] == b"\xff\xff\xff\xff":
        return point_value(server.space.table, node.row, stamps)
    return _ranged(value_of(server.space, node, stamps, access.language), wanted)


def value_of(space: GridSpace, node: Node, stamps: int = Stamps.BOTH, language: str = "") -> bytes:
    """DataValue of a variable of the grid on the wire; texts in a language where they exist in it.

    Raises:
        KeyError: when the node is no variable.
    """
    if node.face is not None:
        return node.face.value(stamps)
    if node.is_point:
        return point_value(space.table, node.row, stamps)
    if node.part and node.method is not None:
        arguments = node.method.inputs if node.part == "InputArguments" else node.method.outputs
        return _stamped(arguments_value(arguments).variant, stamps)
    member = space.member_value(node)
    if member is not None:
        return member.encode(stamps)
    profile = space.table.profile(node.row)
    if node.member not in properties_of(profile):
        return point_value(space.table, node.row, stamps)
    if node.member != "ValueAsText":
        return _stamped(property_value(profile, node.member, language).variant, stamps)
    sample = space.table.sample(node.row)
    status = pack_u32(sample.status)
    times = struct.pack("<q", sample.source_time) if stamps in {Stamps.SOURCE, Stamps.BOTH} else b""
    times += struct.pack("<q", sample.received) if stamps in {Stamps.SERVER, Stamps.BOTH} else b""
    mask = (
        2 | (4 if stamps in {Stamps.SOURCE, Stamps.BOTH} else 0) | (8 if stamps in {Stamps.SERVER, Stamps.BOTH} else 0)
    )
    if sample.value is None or isinstance(sample.value, str):
        return bytes((mask,)) + status + times
    text = state_value(profile.enumeration, int(sample.value), language)
    return bytes((mask | 1,)) + text.variant + status + times


def _stamped(variant: bytes, stamps: int) -> bytes:
    """A Good DataValue; static values have no time of their own, the server's is the time of reading."""
    if stamps in {Stamps.SERVER, Stamps.BOTH}:
        return b"\x09" + variant + struct.pack("<q", clock.now())
    return b"\x01" + variant


def _ranged(value: bytes, wanted: Wanted) -> bytes:
    """Apply DataEncoding and IndexRange to a DataValue."""
    text, encoding = wanted.index_range, wanted.encoding
    data_value = struct_from_binary(ua.DataValue, Buffer(value))
    return struct_to_binary(restrict(data_value, text, encoding))


# ---- attributes of the grid's nodes --------------------------------------------------------------------------------


def _i32(number: int) -> bytes:
    return b"\x06" + pack_i32(number)


def _u32(number: int) -> bytes:
    return b"\x07" + pack_u32(number)


def attribute_variant(server: InternalServer, access: Access, node: Node, attribute: int) -> bytes:
    """An attribute other than Value on the wire.

    Raises:
        OperationError: BadAttributeIdInvalid when nodes of the class do not have it.
    """
    space = server.space
    node_class = space.node_class(node)
    if attribute == NODE_ID:
        return b"\x11" + space.node_id(node.identifier)
    if attribute == NODE_CLASS:
        return _i32(node_class)
    if attribute == BROWSE_NAME:
        return b"\x14" + space.browse_name(node)
    if attribute == DISPLAY_NAME:
        return b"\x15" + space.display_name(node, access.language)
    if attribute == DESCRIPTION:
        return b"\x15" + _description(space, node, access.language)
    if attribute in {WRITE_MASK, USER_WRITE_MASK}:
        return _u32(0)
    if ROLE_PERMISSIONS <= attribute <= ACCESS_RESTRICTIONS:
        calls = rights_of(node.method) if node.is_method and node.method is not None else ()
        return encode_variant(role_attribute(server, access, attribute, node.owner, calls=calls))
    if node_class == NodeClass.OBJECT and attribute == EVENT_NOTIFIER:
        return bytes((3, (1 if space.history is None else 5) if node.is_notifier else 0))
    if node_class == NodeClass.METHOD and attribute in {EXECUTABLE, USER_EXECUTABLE}:
        if node.face is not None:
            return b"\x01\x01" if attribute == EXECUTABLE or node.face.executable(access) else b"\x01\x00"
        method = node.method
        allowed = attribute == EXECUTABLE or (method is not None and access.allows_any(rights_of(method), node.owner))
        return b"\x01\x01" if allowed else b"\x01\x00"
    if node_class == NodeClass.VARIABLE:
        return _variable_attribute(space, access, node, attribute)
    raise OperationError(ua.StatusCodes.BadAttributeIdInvalid)


def _variable_attribute(space: GridSpace, access: Access, node: Node, attribute: int) -> bytes:
    if attribute in {DATA_TYPE, VALUE_RANK}:
        data_type, rank = _type_of(space, node)
        return b"\x11" + data_type if attribute == DATA_TYPE else _i32(rank)
    if attribute == ACCESS_LEVEL:
        return bytes((3, _CURRENT_READ | _history_read(space, node)))
    if attribute == USER_ACCESS_LEVEL:
        readable = node.part or access.allows(Right.READ, node.owner)
        return bytes((3, _CURRENT_READ | _history_read(space, node) if readable else 0))
    if attribute == ACCESS_LEVEL_EX:
        return _u32(_CURRENT_READ | _history_read(space, node))
    if attribute == MINIMUM_SAMPLING_INTERVAL:
        return b"\x0b" + struct.pack("<d", 0.0)
    if attribute == HISTORIZING:
        return b"\x01\x01" if _history_read(space, node) else b"\x01\x00"
    if attribute == ARRAY_DIMENSIONS and _type_of(space, node)[1] == 1:
        return b"\x87" + pack_i32(1) + pack_u32(0)
    raise OperationError(ua.StatusCodes.BadAttributeIdInvalid)


def _history_read(space: GridSpace, node: Node) -> int:
    """The bit HistoryRead of a variable's access levels."""
    return 4 if space.history is not None and space.history.keeps(node) else 0


def _type_of(space: GridSpace, node: Node) -> tuple[bytes, int]:
    """(DataType on the wire, ValueRank)."""
    if node.face is not None:
        number, rank = node.face.data_type()
        return numeric_node_id(number), rank
    if node.variable is not None:
        return node.variable.data_type, node.variable.rank
    return (numeric_node_id(int(space.table.value_type[node.row])), -1) if node.is_point else (_ARGUMENT, 1)


def _description(space: GridSpace, node: Node, language: str) -> bytes:
    """LocalizedText on the wire; with a locale where there is a text in that language."""
    if node.face is not None:
        return localized_text(node.face.description)
    if node.method is not None:
        return localized_text("" if node.part else node.method.description)
    return space.description(node, language)


# ---- Write ---------------------------------------------------------------------------------------------------------


def write(processor: Processor, request: Request) -> None:
    """Write: points change by what devices deliver and by commands, never by Write."""
    server, session = processor.iserver, processor.session
    if session is None:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    reader = request.reader()
    count = reader.array(14)
    if not count:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if count > server.limits.max_nodes_per_write:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    parameters = request.decode(ua.WriteParameters)
    statuses = [_write_status(server, session, each) for each in parameters.NodesToWrite]
    tell_writes(session, parameters.NodesToWrite, statuses)
    processor.respond(request, 676, pack_i32(count), *(pack_u32(status) for status in statuses), NO_DIAGNOSTICS)


def _write_status(server: InternalServer, session: Session, value: Any) -> int:
    access = session.rights
    node_id, attribute = value.NodeId, int(value.AttributeId)
    if not 1 <= attribute <= LAST_ATTRIBUTE:
        return int(ua.StatusCodes.BadAttributeIdInvalid)
    node = None
    if node_id.NamespaceIndex == server.space.namespace and isinstance(node_id.Identifier, str):
        node = server.space.find(node_id.Identifier)
    if node is None:
        return write_standard(server, session, value)
    if not access.allows(Right.BROWSE, node.owner):
        return int(ua.StatusCodes.BadNodeIdUnknown)
    if attribute == VALUE:
        variable = server.space.node_class(node) == NodeClass.VARIABLE
        return int(ua.StatusCodes.BadNotWritable if variable else ua.StatusCodes.BadAttributeIdInvalid)
    try:
        attribute_variant(server, access, node, attribute)
    except OperationError as error:
        return error.status
    return int(ua.StatusCodes.BadNotWritable)


RAW_HANDLERS: dict[int, Handler] = {631: read, 673: write}
"""Request type id -> handler."""
