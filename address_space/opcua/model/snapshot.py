"""Nodes of the standard namespaces out of one file: packed when the model is built, unpacked one by one when asked for.

The file is zlib over records; a record is `length u32, NodeId, NodeClass u8, BrowseName, DisplayName, TypeDefinition
NodeId, count u8, {attribute u8, Variant}, count u16, {ReferenceType NodeId, forward u8, target NodeId}`, all in OPC UA
binary. Names, class and type of a reference's target are those of the target's record, so they are kept once.
Nothing in the file is code; what it holds are values of OPC UA types.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from importlib import resources
from typing import Any

from asyncua.common.utils import Buffer
from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary, variant_from_binary

from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_node_id, encode_variant, pack_u16, pack_u32

FILE = "standard.snapshot"
"""Name of the file beside this module."""
_IN_HEAD = frozenset({ua.AttributeIds.NodeId, ua.AttributeIds.NodeClass, ua.AttributeIds.BrowseName})
_ATTRIBUTE = {int(each): each for each in ua.AttributeIds}
_HAS_TYPE_DEFINITION = 40
_NUMERIC = (ua.NodeIdType.TwoByte, ua.NodeIdType.FourByte, ua.NodeIdType.Numeric)


class SnapshotError(ValueError):
    """The file is no snapshot, or a node cannot be kept in one; the message says which."""


# ---- packing -----------------------------------------------------------------------------------------------------


def pack(nodes: Iterable[Any]) -> bytes:
    """Records of asyncua NodeData, by namespace and number; timestamps of values are left out.

    Raises:
        SnapshotError: for nodes with other than numeric NodeIds, or with values that are not Good.
    """
    known = {_number(each.nodeid): each for each in nodes}
    return b"".join(_record(known[number], known) for number in sorted(known))


def compress(records: bytes) -> bytes:
    """The file of records."""
    return zlib.compress(records, 9)


def _record(node: Any, known: dict[int, Any]) -> bytes:
    values = {number: each.value for number, each in node.attributes.items() if each.value is not None}
    for number, value in values.items():
        if value.StatusCode is not None and not value.StatusCode.is_good():
            raise SnapshotError(f"{node.nodeid}: attribute {number} is {value.StatusCode}")
    attributes = [
        bytes((int(number),)) + encode_variant(value.Value)
        for number, value in sorted(values.items())
        if number not in _IN_HEAD
    ]
    references = sorted({_packed(each) for each in node.references if _number(each.NodeId) in known})
    body = b"".join(
        (
            encode_node_id(node.nodeid),
            bytes((int(values[ua.AttributeIds.NodeClass].Value.Value),)),
            struct_to_binary(values[ua.AttributeIds.BrowseName].Value.Value),
            struct_to_binary(values[ua.AttributeIds.DisplayName].Value.Value),
            encode_node_id(_definition(node)),
            bytes((len(attributes),)),
            *attributes,
            pack_u16(len(references)),
            *references,
        )
    )
    return pack_u32(len(body)) + body


def _packed(reference: Any) -> bytes:
    forward = b"\x01" if reference.IsForward else b"\x00"
    return encode_node_id(reference.ReferenceTypeId) + forward + encode_node_id(reference.NodeId)


def _definition(node: Any) -> Any:
    for each in node.references:
        if each.IsForward and each.ReferenceTypeId == ua.NodeId(_HAS_TYPE_DEFINITION):
            return each.NodeId
    return ua.NodeId()


def _number(node_id: Any) -> int:
    if node_id.NodeIdType not in _NUMERIC:
        raise SnapshotError(f"{node_id} is no numeric NodeId")
    return (int(node_id.NamespaceIndex) << 32) | int(node_id.Identifier)


# ---- unpacking ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _shipped() -> tuple[bytes, dict[int, int]]:
    packed = resources.files("address_space.opcua.model").joinpath(FILE).read_bytes()
    try:
        records = zlib.decompress(packed)
    except zlib.error as error:
        raise SnapshotError(f"{FILE} is damaged: {error}") from error
    return records, _index(records)


def _index(records: bytes) -> dict[int, int]:
    """Number of each node -> where its record's body begins."""
    index: dict[int, int] = {}
    position, end = 0, len(records)
    length_of = struct.Struct("<I").unpack_from
    while position < end:
        start = position + 4
        (length,) = length_of(records, position)
        index[_wire_number(records, start)] = start
        position = start + length
    if position != end:
        raise SnapshotError(f"{FILE} ends inside a record")
    return index


def _wire_number(records: bytes, start: int) -> int:
    kind = records[start]
    if kind == 0:
        return records[start + 1]
    if kind == 1:
        return (records[start + 1] << 32) | int.from_bytes(records[start + 2 : start + 4], "little")
    if kind == 2:
        namespace, number = struct.unpack_from("<HI", records, start + 1)
        return int((namespace << 32) | number)
    raise SnapshotError(f"{kind} is no numeric NodeId")


class SnapshotNodes(MutableMapping[Any, Any]):
    """asyncua's table NodeId -> NodeData over a snapshot: a node is made when it is first asked for, then kept.

    Nodes that are set or deleted change this table only, never the snapshot.
    """

    def __init__(self, records: bytes | None = None) -> None:
        self._records, index = _shipped() if records is None else (records, _index(records))
        self._index = dict(index)
        self._heads: dict[int, tuple[Any, Any, Any, Any]] = {}
        self._made: dict[Any, Any] = {}

    def __getitem__(self, node_id: Any) -> Any:
        made = self._made.get(node_id)
        if made is None:
            start = self._start(node_id)
            if start is None:
                raise KeyError(node_id)
            made = self._made[node_id] = self._unpack(start)
        return made

    def get(self, node_id: Any, default: Any = None) -> Any:
        """The node, or `default` when there is none."""
        made = self._made.get(node_id)
        if made is not None:
            return made
        return default if self._start(node_id) is None else self[node_id]

    def __setitem__(self, node_id: Any, node: Any) -> None:
        self._made[node_id] = node

    def __delitem__(self, node_id: Any) -> None:
        kept = self._made.pop(node_id, None)
        if isinstance(node_id.Identifier, int):
            kept = self._index.pop(_number(node_id), None) or kept
        if kept is None:
            raise KeyError(node_id)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._made or self._start(node_id) is not None

    def __iter__(self) -> Iterator[Any]:
        waiting = [start for start in self._index.values() if self._node_id(start) not in self._made]
        yield from list(self._made)
        for start in waiting:
            yield self._node_id(start)

    def __len__(self) -> int:
        made = sum(1 for node_id in self._made if self._start(node_id) is None)
        return made + len(self._index)

    def _start(self, node_id: Any) -> int | None:
        identifier = node_id.Identifier
        return self._index.get((node_id.NamespaceIndex << 32) | identifier) if type(identifier) is int else None

    def _node_id(self, start: int) -> Any:
        return nodeid_from_binary(Buffer(self._records, start))

    def _head(self, start: int) -> tuple[Any, Any, Any, Any]:
        """NodeClass, BrowseName, DisplayName and TypeDefinition of a record."""
        head = self._heads.get(start)
        if head is None:
            buffer = Buffer(self._records, start)
            nodeid_from_binary(buffer)
            head = self._heads[start] = _read_head(buffer)
        return head

    def _unpack(self, start: int) -> Any:
        buffer = Buffer(self._records, start)
        node = NodeData(nodeid_from_binary(buffer))
        node_class, name, _, _ = self._heads[start] = _read_head(buffer)
        attributes = node.attributes
        attributes[ua.AttributeIds.NodeId] = _held(ua.Variant(node.nodeid, ua.VariantType.NodeId))
        attributes[ua.AttributeIds.NodeClass] = _held(ua.Variant(node_class, ua.VariantType.Int32))
        attributes[ua.AttributeIds.BrowseName] = _held(ua.Variant(name, ua.VariantType.QualifiedName))
        for _ in range(buffer.read(1)[0]):
            number = buffer.read(1)[0]
            attributes[_ATTRIBUTE[number]] = _held(variant_from_binary(buffer))
        (count,) = struct.unpack("<H", buffer.read(2))
        node.references = [self._reference(buffer) for _ in range(count)]
        return node

    def _reference(self, buffer: Any) -> Any:
        reference = ua.ReferenceDescription()
        reference.ReferenceTypeId = nodeid_from_binary(buffer)
        reference.IsForward = buffer.read(1) == b"\x01"
        reference.NodeId = nodeid_from_binary(buffer)
        start = self._index.get(_number(reference.NodeId))
        if start is not None:
            head = self._head(start)
            reference.NodeClass, reference.BrowseName, reference.DisplayName, reference.TypeDefinition = head
        return reference


def _read_head(buffer: Any) -> tuple[Any, Any, Any, Any]:
    node_class = ua.NodeClass(buffer.read(1)[0])
    name = struct_from_binary(ua.QualifiedName, buffer)
    display = struct_from_binary(ua.LocalizedText, buffer)
    return node_class, name, display, nodeid_from_binary(buffer)


def _held(variant: Any) -> Any:
    return AttributeValue(ua.DataValue(variant))
