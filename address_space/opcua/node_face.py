"""What a node says of itself that is in the grid but not in its address tree: conditions and their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.nodes import Node, NodeClass, Reference


class NodeFace(Protocol):
    """The attributes and references of one node, made for one request."""

    @property
    def node_class(self) -> NodeClass:
        """NodeClass."""
        ...

    @property
    def browse_name(self) -> bytes:
        """BrowseName on the wire."""
        ...

    @property
    def display_name(self) -> bytes:
        """DisplayName on the wire."""
        ...

    @property
    def description(self) -> str:
        """Description."""
        ...

    @property
    def type_definition(self) -> int:
        """Its type, numeric NodeId of namespace 0; 0 for methods."""
        ...

    def references(self) -> Iterator[Reference]:
        """All references, both directions."""
        ...

    def data_type(self) -> tuple[int, int]:
        """(DataType of namespace 0, ValueRank) of a variable."""
        ...

    def executable(self, access: Access) -> bool:
        """Whether the caller may call a method."""
        ...

    def value(self, stamps: int) -> bytes:
        """DataValue of a variable on the wire."""
        ...


class HistoryFace(Protocol):
    """What points say of their history."""

    def keeps(self, node: Node) -> bool:
        """Whether samples of the node are kept."""
        ...

    def references(self, node: Node) -> Iterator[Reference]:
        """Reference of a node to the configuration of its history."""
        ...


class FacedNodes(Protocol):
    """Nodes that say of themselves what they are."""

    def find(self, identifier: str) -> Node | None:
        """The node of an identifier; None when it is none of these."""
        ...

    def references_of(self, node: Node) -> Iterator[Reference]:
        """References from a place, function or point to these nodes, and those that events go along."""
        ...
