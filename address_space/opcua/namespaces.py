"""NamespaceMetadata of the server's own namespaces (Part 5, 6.3.13); DI and our types bring their own."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from address_space.opcua import own_objects
from address_space.opcua.model.ids import APPLICATION_INDEX, AUTHORITY_INDEX
from address_space.opcua.own_objects import NewNode
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from asyncua.server.address_space import AddressSpace

_NAMESPACES, _METADATA_TYPE = 11715, 11616
_STRING_IDS = 1
_NEVER = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)
"""The null DateTime: these namespaces are not published."""


def add_metadata(aspace: AddressSpace, application: str, authority: str) -> None:
    """Describe the application's namespace and that of the addresses."""
    # The same address is the same node on every gateway of the grid, of which each has a part; the application's own
    # nodes are this server's only.
    _add(aspace, APPLICATION_INDEX, application, subset=False, static=False)
    _add(aspace, AUTHORITY_INDEX, authority, subset=True, static=True)


def _add(aspace: AddressSpace, index: int, uri: str, *, subset: bool, static: bool) -> None:
    node_id = ua.NodeId(f"Namespaces/{index}", APPLICATION_INDEX)
    name = ua.QualifiedName(uri, index)
    own_objects.add_object(
        aspace, NewNode(node_id, name, ua.NodeId(_NAMESPACES), own_objects.HAS_COMPONENT, _METADATA_TYPE)
    )
    kinds = ua.VariantType
    rows: tuple[tuple[str, int, Any, Any, bool], ...] = (
        ("NamespaceUri", 12, uri, kinds.String, False),
        ("NamespaceVersion", 12, "", kinds.String, False),
        ("NamespacePublicationDate", 13, _NEVER, kinds.DateTime, False),
        ("IsNamespaceSubset", 1, subset, kinds.Boolean, False),
        ("StaticNodeIdTypes", 256, [_STRING_IDS] if static else [], kinds.Int32, True),
        ("StaticNumericNodeIdRange", 291, [], kinds.String, True),
        ("StaticStringNodeIdPattern", 12, "%" if static else "", kinds.String, False),
    )
    for name_of, data_type, value, kind, array in rows:
        own_objects.add_property(aspace, node_id, name_of, data_type, ua.Variant(value, kind, is_array=array))


def set_version(aspace: AddressSpace, version: str) -> None:
    """Tell the revision of the mapping as the version of the addresses' namespace."""
    node_id = ua.NodeId(f"Namespaces/{AUTHORITY_INDEX}#NamespaceVersion", APPLICATION_INDEX)
    value = aspace[node_id].attributes[ua.AttributeIds.Value]
    value.value = ua.DataValue(ua.Variant(version, ua.VariantType.String))
