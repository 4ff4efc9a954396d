"""Reads NodeSet2 files into asyncua's NodeData: what building the snapshot needs, of any model we ship."""

from __future__ import annotations

import base64
import datetime
import typing
import xml.etree.ElementTree as ET  # the files are our own and DI's, out of this package
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asyncua.server.address_space import AttributeValue, NodeData

from address_space.opcua.untyped import ua

_UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_TYPES = "{http://opcfoundation.org/UA/2008/02/Types.xsd}"
_CLASSES = {
    "UAObject": ua.NodeClass.Object,
    "UAVariable": ua.NodeClass.Variable,
    "UAMethod": ua.NodeClass.Method,
    "UAObjectType": ua.NodeClass.ObjectType,
    "UAVariableType": ua.NodeClass.VariableType,
    "UAReferenceType": ua.NodeClass.ReferenceType,
    "UADataType": ua.NodeClass.DataType,
}
_TYPE_CLASSES = frozenset(kind for name, kind in _CLASSES.items() if name.endswith("Type"))
_INTEGERS = ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
_HAS_ENCODING, _HAS_SUBTYPE = 38, 45
_STRUCTURE, _UNION = 22, 12756
_DEFAULT_BINARY = "Default Binary"


class NodeSetError(ValueError):
    """The file is no NodeSet2, or has something that this reader does not know; the message says what."""


class _File:
    """One file: its namespace indexes and aliases."""

    def __init__(self, root: Any, namespaces: Sequence[str]) -> None:
        uris = [
            "http://opcfoundation.org/UA/",
            *(each.text or "" for each in root.iterfind(f"{_UA}NamespaceUris/{_UA}Uri")),
        ]
        missing = [uri for uri in uris if uri not in namespaces]
        if missing:
            raise NodeSetError(f"the model needs {missing}, which is not loaded")
        self.index = [namespaces.index(uri) for uri in uris]
        self.aliases = {each.get("Alias"): each.text or "" for each in root.iterfind(f"{_UA}Aliases/{_UA}Alias")}

    def node_id(self, text: str) -> Any:
        """A NodeId or an alias, in the server's namespaces."""
        text = self.aliases.get(text.strip(), text.strip())
        space, _, rest = text.rpartition(";")
        if not rest.startswith("i="):
            raise NodeSetError(f"{text!r} is no numeric NodeId")
        number = int(rest[2:])
        return ua.NodeId(number, self.index[int(space[3:])] if space else 0)

    def name(self, text: str) -> Any:
        """A QualifiedName."""
        head, colon, rest = text.partition(":")
        return ua.QualifiedName(rest, self.index[int(head)]) if colon and head.isdigit() else ua.QualifiedName(text, 0)


def read_nodeset(text: str, namespaces: Sequence[str]) -> list[Any]:
    """Nodes of a NodeSet2 text; indexes are those of `namespaces`, which is the server's NamespaceArray.

    Raises:
        NodeSetError: see there.
        xml.etree.ElementTree.ParseError: when it is no XML.
    """
    root = ET.fromstring(text)  # noqa: S314  # a file of this package
    if root.tag != f"{_UA}UANodeSet":
        raise NodeSetError("the document is no UANodeSet")
    file = _File(root, namespaces)
    nodes = [_node(file, each, _CLASSES[each.tag[len(_UA) :]]) for each in root if each.tag[len(_UA) :] in _CLASSES]
    encodings = dict(_encodings(nodes))
    for node, element in zip(nodes, (each for each in root if each.tag[len(_UA) :] in _CLASSES), strict=True):
        definition = element.find(f"{_UA}Definition")
        if definition is not None:
            value = _definition(file, definition, node, encodings)
            node.attributes[ua.AttributeIds.DataTypeDefinition] = _held(value, ua.VariantType.ExtensionObject)
    return nodes


def _held(value: Any, kind: Any, *, rank: int | None = None) -> Any:
    return AttributeValue(ua.DataValue(ua.Variant(value, kind, is_array=rank is not None)))


def _texts(element: Any, name: str) -> list[Any]:
    return [ua.LocalizedText(each.text or "", each.get("Locale")) for each in element.iterfind(f"{_UA}{name}")]


def _node(file: _File, element: Any, node_class: Any) -> Any:
    node = NodeData(file.node_id(element.get("NodeId")))
    name = file.name(element.get("BrowseName"))
    display = (_texts(element, "DisplayName") or [ua.LocalizedText(name.Name)])[0]
    ids, kinds = ua.AttributeIds, ua.VariantType
    attributes: dict[Any, Any] = {
        ids.NodeId: _held(node.nodeid, kinds.NodeId),
        ids.NodeClass: _held(node_class, kinds.Int32),
        ids.BrowseName: _held(name, kinds.QualifiedName),
        ids.DisplayName: _held(display, kinds.LocalizedText),
        ids.WriteMask: _held(0, kinds.UInt32),
        ids.UserWriteMask: _held(0, kinds.UInt32),
    }
    if node_class == ua.NodeClass.Object:
        attributes[ids.EventNotifier] = _held(int(element.get("EventNotifier", "0")), kinds.Byte)
    elif node_class == ua.NodeClass.Method:
        attributes[ids.Executable] = attributes[ids.UserExecutable] = _held(True, kinds.Boolean)
    elif node_class == ua.NodeClass.ReferenceType:
        attributes[ids.Symmetric] = _held(element.get("Symmetric") == "true", kinds.Boolean)
        inverse = _texts(element, "InverseName")
        if inverse:
            attributes[ids.InverseName] = _held(inverse[0], kinds.LocalizedText)
    if node_class in _TYPE_CLASSES:
        attributes[ids.IsAbstract] = _held(element.get("IsAbstract") == "true", kinds.Boolean)
    if node_class in {ua.NodeClass.Variable, ua.NodeClass.VariableType}:
        _variable(file, element, node_class, attributes)
    node.attributes = attributes
    node.references = [_reference(file, each) for each in element.iterfind(f"{_UA}References/{_UA}Reference")]
    return node


def _variable(file: _File, element: Any, node_class: Any, attributes: dict[Any, Any]) -> None:
    ids, kinds = ua.AttributeIds, ua.VariantType
    attributes[ids.DataType] = _held(file.node_id(element.get("DataType", "i=24")), kinds.NodeId)
    attributes[ids.ValueRank] = _held(int(element.get("ValueRank", "-1")), kinds.Int32)
    dimensions = element.get("ArrayDimensions")
    if dimensions:
        attributes[ids.ArrayDimensions] = _held([int(each) for each in dimensions.split(",")], kinds.UInt32, rank=1)
    if node_class == ua.NodeClass.Variable:
        level = int(element.get("AccessLevel", "1"))
        attributes[ids.AccessLevel] = _held(level & 0xFF, kinds.Byte)
        attributes[ids.UserAccessLevel] = _held(level & 0xFF, kinds.Byte)
        interval = float(element.get("MinimumSamplingInterval", "0"))
        attributes[ids.MinimumSamplingInterval] = _held(interval, kinds.Double)
        attributes[ids.Historizing] = _held(element.get("Historizing") == "true", kinds.Boolean)
    value = element.find(f"{_UA}Value")
    given = ua.Variant(None) if value is None or not len(value) else _value(file, value[0])
    if value is not None or node_class == ua.NodeClass.Variable:
        attributes[ids.Value] = AttributeValue(ua.DataValue(given))


def _reference(file: _File, element: Any) -> Any:
    reference = ua.ReferenceDescription()
    reference.ReferenceTypeId = file.node_id(element.get("ReferenceType"))
    reference.IsForward = element.get("IsForward", "true") == "true"
    reference.NodeId = file.node_id(element.text)
    return reference


# ---- values --------------------------------------------------------------------------------------------------------


def _value(file: _File, element: Any) -> Any:
    name = element.tag[len(_TYPES) :]
    if name.startswith("ListOf"):
        kind = getattr(ua.VariantType, name[6:])
        return ua.Variant([_scalar(file, name[6:], each) for each in element], kind, is_array=True)
    return ua.Variant(_scalar(file, name, element), getattr(ua.VariantType, name))


def _scalar(file: _File, name: str, element: Any) -> Any:
    text = element.text or ""
    if name in _INTEGERS:
        return int(text)
    if name in {"Float", "Double"}:
        return float(text)
    reader = _SCALARS.get(name)
    if reader is None:
        raise NodeSetError(f"a value of type {name} is not known here")
    return reader(file, element)


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _part(element: Any, name: str) -> str | None:
    found = element.find(f"{_TYPES}{name}")
    return None if found is None else found.text or ""


def _localized(element: Any) -> Any:
    return ua.LocalizedText(_part(element, "Text") or "", _part(element, "Locale") or None)


_SCALARS: Mapping[str, Any] = {
    "Boolean": lambda _, element: (element.text or "").strip() == "true",
    "String": lambda _, element: element.text or "",
    "DateTime": lambda _, element: _moment(element.text or ""),
    "ByteString": lambda _, element: base64.b64decode(element.text or ""),
    "LocalizedText": lambda _, element: _localized(element),
    "QualifiedName": lambda file, element: ua.QualifiedName(
        _part(element, "Name"), file.index[int(_part(element, "NamespaceIndex") or "0")]
    ),
    "NodeId": lambda file, element: file.node_id(_part(element, "Identifier") or "i=0"),
    "ExtensionObject": lambda file, element: _structure(file, element.find(f"{_TYPES}Body")[0]),
}


def _structure(file: _File, element: Any) -> Any:
    """A structure of namespace 0 by the fields of asyncua's class."""
    made = getattr(ua, element.tag[len(_TYPES) :])()
    hints = typing.get_type_hints(type(made), {**vars(typing), **vars(ua), "ua": ua})
    for field in element:
        name = field.tag[len(_TYPES) :]
        kind = hints[name]
        inner = typing.get_args(kind)
        if inner and typing.get_origin(kind) is list:
            value: Any = [_field(file, inner[0], each) for each in field]
        else:
            value = _field(file, kind, field)
        setattr(made, name, value)
    return made


def _field(file: _File, kind: Any, element: Any) -> Any:
    kinds = [each for each in typing.get_args(kind) if each is not type(None)]
    name = getattr(kinds[0] if kinds else kind, "__name__", "")
    return _scalar(file, name, element)


# ---- data types ----------------------------------------------------------------------------------------------------


def _encodings(nodes: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """(DataType, its Default Binary encoding)."""
    for node in nodes:
        if node.attributes[ua.AttributeIds.BrowseName].value.Value.Value.Name == _DEFAULT_BINARY:
            for each in node.references:
                if each.ReferenceTypeId == ua.NodeId(_HAS_ENCODING) and not each.IsForward:
                    yield each.NodeId, node.nodeid


def _definition(file: _File, element: Any, node: Any, encodings: Mapping[Any, Any]) -> Any:
    fields = list(element.iterfind(f"{_UA}Field"))
    base = ua.NodeId(_STRUCTURE)
    for each in node.references:
        if each.ReferenceTypeId == ua.NodeId(_HAS_SUBTYPE) and not each.IsForward:
            base = each.NodeId
    if element.get("IsOptionSet") == "true" or any(each.get("Value") is not None for each in fields):
        return ua.EnumDefinition([_enum_field(each) for each in fields])
    made = ua.StructureDefinition()
    made.BaseDataType = base
    made.DefaultEncodingId = encodings.get(node.nodeid, ua.NodeId())
    union = element.get("IsUnion") == "true" or base == ua.NodeId(_UNION)
    optional = any(each.get("IsOptional") == "true" for each in fields)
    made.StructureType = ua.StructureType.Union if union else ua.StructureType(int(optional))
    made.Fields = [_structure_field(file, each) for each in fields]
    return made


def _enum_field(element: Any) -> Any:
    made = ua.EnumField()
    made.Name, made.Value = element.get("Name"), int(element.get("Value"))
    made.DisplayName = (_texts(element, "DisplayName") or [ua.LocalizedText(made.Name)])[0]
    made.Description = (_texts(element, "Description") or [ua.LocalizedText()])[0]
    return made


def _structure_field(file: _File, element: Any) -> Any:
    made = ua.StructureField()
    made.Name = element.get("Name")
    made.DataType = file.node_id(element.get("DataType", "i=24"))
    made.ValueRank = int(element.get("ValueRank", "-1"))
    made.ArrayDimensions = [0] if made.ValueRank == 1 else []
    made.IsOptional = element.get("IsOptional") == "true"
    made.Description = (_texts(element, "Description") or [ua.LocalizedText()])[0]
    return made
