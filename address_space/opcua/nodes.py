"""What a node of the grid and a reference of it are: made for one request, kept nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from address_space.ports import MethodSpec

if TYPE_CHECKING:
    from address_space.opcua.members import Member
    from address_space.opcua.node_face import NodeFace

GRID = "#Grid"
"""Identifier of the grid object."""
ORGANIZES, HAS_TYPE_DEFINITION, HAS_PROPERTY, HAS_COMPONENT = 35, 40, 46, 47


class NodeClass(IntEnum):
    """OPC UA NodeClass, those that occur here."""

    OBJECT = 1
    VARIABLE = 2
    METHOD = 4
    OBJECT_TYPE = 8
    VARIABLE_TYPE = 16


@dataclass(slots=True)
class Node:
    """One node of the grid, made for one request.

    Attributes:
        identifier: string identifier of its NodeId.
        owner: address of the place, function or point it is or belongs to; empty for the grid object.
        tree: number in the address tree; -1 for the grid object.
        row: row in the point table; -1 when the owner is no point.
        member: name of the property or method; empty for the owner itself.
        part: `InputArguments` or `OutputArguments` of a method; empty otherwise.
        method: the method that `member` names.
        variable: the variable that `member` names.
        face: what it says of itself, when it is not in the address tree (a condition).
    """

    identifier: str
    owner: str
    tree: int
    row: int
    member: str = ""
    part: str = ""
    method: MethodSpec | None = None
    variable: Member | None = None
    face: NodeFace | None = None

    @property
    def is_notifier(self) -> bool:
        """Whether clients can subscribe to its events: the grid, places and functions."""
        return self.face is None and self.row < 0 and not self.member

    @property
    def is_point(self) -> bool:
        """Whether it is the variable of a point."""
        return self.row >= 0 and not self.member

    @property
    def is_method(self) -> bool:
        """Whether it is a method."""
        return self.method is not None and not self.part


class Reference(NamedTuple):
    """One reference of a node, its fields as on the wire.

    Attributes:
        type_id: reference type, its namespace from bit 32 on.
        forward: direction.
        target: NodeId.
        name: BrowseName of the target.
        display: DisplayName of the target.
        node_class: of the target.
        type_definition: of the target.
        address: owner of the target, for the access check; None for nodes of namespace 0.
    """

    type_id: int
    forward: bool
    target: bytes
    name: bytes
    display: bytes
    node_class: int
    type_definition: bytes
    address: str | None
