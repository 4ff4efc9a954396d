"""Nodes of namespace 0 (types and the Server object) as the view services see them, from asyncua's address space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from address_space.opcua.nodes import GRID, Reference
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NULL_NODE_ID,
    encode_node_id,
    localized_text,
    node_id_object,
    qualified_name,
)

if TYPE_CHECKING:
    from asyncua.server.address_space import AddressSpace

_HAS_SUBTYPE = ua.NodeId(ua.ObjectIds.HasSubtype)
_REFERENCES = 31
_HAS_TYPE_DEFINITION, _HAS_COMPONENT = 40, 47


def _number(node_id: Any) -> int:
    """Number of a reference type: namespace from bit 32 on, and identifier."""
    return (int(node_id.NamespaceIndex) << 32) | int(node_id.Identifier)


def _node_id(number: int) -> Any:
    return ua.NodeId(number & 0xFFFF_FFFF, number >> 32)


class StandardNodes:
    """References and reference types of asyncua's own nodes."""

    def __init__(self, aspace: AddressSpace) -> None:
        self._aspace = aspace
        self._reference_types: dict[int, frozenset[int]] = {}
        self._kept: dict[bytes, tuple[list[Any], int, list[Reference]]] = {}
        """NodeId on the wire -> asyncua's list of references, how long it was, and what was made of it."""

    def references(self, number: int, *, subtypes: bool) -> frozenset[int] | None:
        """A reference type (with those derived from it); None when there is no such reference type."""
        known = self._reference_types.get(number)
        if known is None:
            if not self._is_reference_type(number):
                return None
            known = self._reference_types[number] = frozenset(self._derived(number))
        return known if subtypes else frozenset((number,))

    def _is_reference_type(self, number: int) -> bool:
        node = self._aspace.get(_node_id(number))
        if node is None:
            return False
        value = node.attributes[ua.AttributeIds.NodeClass].value
        return (
            value is not None and value.Value is not None and int(value.Value.Value) == int(ua.NodeClass.ReferenceType)
        )

    def _derived(self, number: int) -> set[int]:
        found = {number}
        node = self._aspace.get(_node_id(number))
        for reference in node.references if node is not None else ():
            if reference.IsForward and reference.ReferenceTypeId == _HAS_SUBTYPE:
                derived = _number(reference.NodeId)
                if derived not in found:
                    found |= self._derived(derived)
        return found

    def node_references(self, node_id: bytes) -> list[Reference] | None:
        """References of a node; None when there is no such node."""
        kept = self._kept.get(node_id)
        node = self._aspace.get(node_id_object(node_id))
        if node is None:
            return None
        # Who takes references away gives the node another list; who adds some makes it longer.
        if kept is not None and kept[0] is node.references and kept[1] == len(node.references):
            return kept[2]
        references = [self._reference(each) for each in node.references]
        self._kept[node_id] = (node.references, len(references), references)
        return references

    def has_component(self, owner: Any, part: Any) -> bool:
        """Whether an object, or the type it is of, has another node as a component (a method, for Part 4, 5.11.2)."""
        node = self._aspace.get(owner)
        for each in node.references if node is not None else ():
            number = _number(each.ReferenceTypeId)
            if each.IsForward and number == _HAS_COMPONENT and each.NodeId == part:
                return True
            if each.IsForward and number == _HAS_TYPE_DEFINITION and self.has_component(each.NodeId, part):
                return True
        return False

    @staticmethod
    def _reference(each: Any) -> Reference:
        definition = each.TypeDefinition
        return Reference(
            _number(each.ReferenceTypeId),
            bool(each.IsForward),
            encode_node_id(each.NodeId),
            qualified_name(each.BrowseName.Name or "", each.BrowseName.NamespaceIndex),
            localized_text(each.DisplayName.Text or ""),
            int(each.NodeClass),
            encode_node_id(definition) if definition is not None else NULL_NODE_ID,
            # The grid object is seen by who may browse the grid, everything of namespace 0 by everyone.
            "" if each.NodeId.Identifier == GRID else None,
        )
