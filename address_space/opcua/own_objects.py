"""Objects of this server beside the standard's and the grid's: made at the start, kept in asyncua's address space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncua.server.address_space import AttributeValue, NodeData

from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from asyncua.server.address_space import AddressSpace

HAS_PROPERTY, HAS_COMPONENT, ORGANIZES = 46, 47, 35
_PROPERTY_TYPE, _HAS_TYPE_DEFINITION = 68, 40


class NewNode(NamedTuple):
    """What a node is made of.

    Attributes:
        parent: NodeId of what it stands below.
        relation: number of the reference type from the parent.
        definition: number of its type, namespace 0.
    """

    node_id: Any
    name: Any
    parent: Any
    relation: int
    definition: int


def _held(value: Any, kind: Any, *, array: bool = False) -> Any:
    return AttributeValue(ua.DataValue(ua.Variant(value, kind, is_array=array)))


def _value(aspace: AddressSpace, node_id: Any, attribute: Any) -> Any:
    held: Any = aspace.read_attribute_value(node_id, attribute)
    return held.Value.Value


def link(aspace: AddressSpace, source: Any, relation: int, target: Any, *, inverse: bool = True) -> None:
    """A reference between two nodes, in both directions unless `inverse` is off."""
    for one, other, forward in ((source, target, True), (target, source, False)):
        if not forward and not inverse:
            continue
        reference = ua.ReferenceDescription()
        reference.ReferenceTypeId, reference.IsForward, reference.NodeId = ua.NodeId(relation), forward, other
        reference.NodeClass = ua.NodeClass(int(_value(aspace, other, ua.AttributeIds.NodeClass)))
        reference.BrowseName = _value(aspace, other, ua.AttributeIds.BrowseName)
        reference.DisplayName = _value(aspace, other, ua.AttributeIds.DisplayName)
        for each in aspace[other].references:
            if each.IsForward and each.ReferenceTypeId == ua.NodeId(_HAS_TYPE_DEFINITION):
                reference.TypeDefinition = each.NodeId
        aspace[one].references.append(reference)


def _add(aspace: AddressSpace, new: NewNode, node_class: Any, further: dict[Any, Any]) -> None:
    ids, kinds = ua.AttributeIds, ua.VariantType
    node = NodeData(new.node_id)
    node.attributes = {
        ids.NodeId: _held(new.node_id, kinds.NodeId),
        ids.NodeClass: _held(node_class, kinds.Int32),
        ids.BrowseName: _held(new.name, kinds.QualifiedName),
        ids.DisplayName: _held(ua.LocalizedText(new.name.Name), kinds.LocalizedText),
        ids.Description: _held(ua.LocalizedText(), kinds.LocalizedText),
        ids.WriteMask: _held(0, kinds.UInt32),
        ids.UserWriteMask: _held(0, kinds.UInt32),
        **further,
    }
    aspace[new.node_id] = node
    link(aspace, new.node_id, _HAS_TYPE_DEFINITION, ua.NodeId(new.definition), inverse=False)
    link(aspace, new.parent, new.relation, new.node_id)


def add_object(aspace: AddressSpace, new: NewNode) -> None:
    """Make an object."""
    notifier = {ua.AttributeIds.EventNotifier: _held(0, ua.VariantType.Byte)}
    _add(aspace, new, ua.NodeClass.Object, notifier)


def add_property(aspace: AddressSpace, owner: Any, name: str, data_type: int, value: Any) -> None:
    """Make a property of an object; `value` is an asyncua Variant. Its NodeId is that of the owner and its name."""
    ids, kinds = ua.AttributeIds, ua.VariantType
    rank = 1 if value.is_array else -1
    further = {
        ids.Value: AttributeValue(ua.DataValue(value)),
        ids.DataType: _held(ua.NodeId(data_type), kinds.NodeId),
        ids.ValueRank: _held(rank, kinds.Int32),
        ids.AccessLevel: _held(1, kinds.Byte),
        ids.UserAccessLevel: _held(1, kinds.Byte),
        ids.MinimumSamplingInterval: _held(0.0, kinds.Double),
        ids.Historizing: _held(False, kinds.Boolean),
    }
    if value.is_array:
        further[ids.ArrayDimensions] = _held([0], kinds.UInt32, array=True)
    node_id = ua.NodeId(f"{owner.Identifier}#{name}", owner.NamespaceIndex)
    new = NewNode(node_id, ua.QualifiedName(name, 0), owner, HAS_PROPERTY, _PROPERTY_TYPE)
    _add(aspace, new, ua.NodeClass.Variable, further)


def remove(aspace: AddressSpace, node_ids: Sequence[Any]) -> None:
    """Take nodes away with all references to them."""
    gone = set(node_ids)
    for node_id in node_ids:
        for each in aspace[node_id].references:
            other = aspace.get(each.NodeId)
            if other is not None and each.NodeId not in gone:
                other.references = [reference for reference in other.references if reference.NodeId not in gone]
        del aspace[node_id]
