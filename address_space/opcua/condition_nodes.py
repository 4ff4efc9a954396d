"""Conditions as nodes: each is an object `address$code` with its variables and methods, made when asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from address_space import clock
from address_space.conditions import Condition
from address_space.opcua.condition_fields import (
    CONDITION_DISABLED,
    OBJECTS,
    PROPERTY,
    Context,
    Variable,
    type_number,
    variables_of,
)
from address_space.opcua.condition_methods import METHODS, ConditionMethod
from address_space.opcua.encoding import Stamps
from address_space.opcua.event_values import encode
from address_space.opcua.properties import arguments_value
from address_space.opcua.space import (
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    GridSpace,
    Node,
    NodeClass,
    Reference,
)
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NULL_NODE_ID, localized_text, numeric_node_id, pack_u32, qualified_name
from address_space.ports import ConditionStore

if TYPE_CHECKING:
    from asyncua.server.address_space import AddressSpace

    from address_space.opcua.access import Access

HAS_CONDITION, HAS_NOTIFIER, HAS_EVENT_SOURCE, HAS_TRUE_SUB_STATE = 9006, 48, 36, 9004
_ARGUMENTS, _ARGUMENT_TYPE = "InputArguments", 296
_CONDITION_TYPES = {2782, 2881}
_SUB_STATES = {
    "EnabledState": ("AckedState", "ConfirmedState", "ActiveState"),
    "ActiveState": ("ShelvingState", "LimitState", "HighHighState", "HighState", "LowState", "LowLowState"),
}


class ConditionNodes:
    """The nodes of the conditions of a store (`GridSpace.further`); without a store there are none.

    Args:
        space: the grid they are in.
        store: the conditions.
        aspace: where the types are.
        context: what their variables need.
    """

    def __init__(self, space: GridSpace, store: ConditionStore | None, aspace: AddressSpace, context: Context) -> None:
        self.space, self.context = space, context
        self._store, self._aspace = store, aspace
        self._types: dict[int, Reference] = {}

    def find(self, identifier: str) -> Node | None:
        """A condition, one of its variables or objects, or one of its methods."""
        name, _, rest = identifier.partition("#")
        condition = None if self._store is None else self._store.get(name)
        if condition is None:
            return None
        path = rest.replace("#", "/")
        face = ConditionFace(self, condition, path)
        if not face.exists:
            return None
        tree = max(self.space.tree.find(condition.address), 0)
        return Node(identifier, condition.address, tree, -1, path or condition.code, face=face)

    # ---- references of other nodes ---------------------------------------------------------------------------------

    def references_of(self, node: Node) -> Iterator[Reference]:
        """HasNotifier and HasEventSource, along which events go up, and HasCondition to the conditions of a node."""
        space = self.space
        above = space.parent(node)
        if above is not None:
            kind = HAS_NOTIFIER if node.is_notifier else HAS_EVENT_SOURCE
            if node.is_notifier or self._at(node.owner):
                yield reference_to(space, above, kind, forward=False)
        else:
            yield _FROM_SERVER
        if node.is_notifier:
            for each in space.child_references(node):
                if each.node_class == NodeClass.OBJECT:
                    yield each._replace(type_id=HAS_NOTIFIER)
                elif each.address is not None and self._at(each.address):
                    yield each._replace(type_id=HAS_EVENT_SOURCE)
        for condition in self._at(node.owner) if node.owner else ():
            yield ConditionFace(self, condition, "").reference(HAS_CONDITION, forward=True)

    def _at(self, address: str) -> list[Condition]:
        return [] if self._store is None else list(self._store.at(address))

    def type_reference(self, number: int) -> Reference:
        """HasTypeDefinition to a type of namespace 0."""
        known = self._types.get(number)
        if known is None:
            values: Any = self._aspace[ua.NodeId(number)].attributes
            name, node_class = (
                values[each].value.Value.Value for each in (ua.AttributeIds.BrowseName, ua.AttributeIds.NodeClass)
            )
            known = self._types[number] = Reference(
                HAS_TYPE_DEFINITION,
                True,
                numeric_node_id(number),
                qualified_name(name.Name, 0),
                localized_text(name.Name),
                int(node_class),
                NULL_NODE_ID,
                None,
            )
        return known


class ConditionFace:
    """One node of a condition.

    Attributes:
        condition: as it is now.
        path: below the condition: empty for itself, `AckedState/Id`, `ShelvingState`, `Acknowledge/InputArguments`.
    """

    def __init__(self, nodes: ConditionNodes, condition: Condition, path: str) -> None:
        self._nodes, self.condition, self.path = nodes, condition, path
        self._type = type_number(condition)
        variable = variables_of(self._type).get(path)
        if variable is not None and variable.optional and variable.get(condition, nodes.context)[1] is None:
            variable = None
        self._variable: Variable | None = variable
        owner, _, name = path.rpartition("/")
        arguments = name == _ARGUMENTS
        method = METHODS.get(owner if arguments else path)
        if method is not None and ((arguments and not method.inputs) or not self._has(method)):
            method = None
        self._method: ConditionMethod | None = method
        self._arguments = arguments and method is not None

    def _has(self, method: ConditionMethod) -> bool:
        return self._type not in _CONDITION_TYPES or method.base or (self._type == 2881 and "/" not in method.path)

    @property
    def exists(self) -> bool:
        """Whether there is such a node."""
        return not self.path or self._variable is not None or self._method is not None or self._is_object

    @property
    def _is_object(self) -> bool:
        return self.path in OBJECTS and f"{self.path}/CurrentState" in variables_of(self._type)

    # ---- attributes ------------------------------------------------------------------------------------------------

    @property
    def identifier(self) -> str:
        """Identifier of the NodeId."""
        return f"{self.condition.id}#{self.path.replace('/', '#')}" if self.path else self.condition.id

    @property
    def node_class(self) -> NodeClass:
        """NodeClass."""
        if self._variable is not None or self._arguments:
            return NodeClass.VARIABLE
        return NodeClass.METHOD if self._method is not None else NodeClass.OBJECT

    @property
    def browse_name(self) -> bytes:
        """BrowseName on the wire: the code in the grid's namespace; parts are named by the standard."""
        if not self.path:
            return qualified_name(self.condition.code, self._nodes.space.namespace)
        return qualified_name(self.path.rpartition("/")[2], 0)

    @property
    def display_name(self) -> bytes:
        """DisplayName on the wire."""
        return localized_text(self.path.rpartition("/")[2] or self.condition.code)

    @property
    def description(self) -> str:
        """Description."""
        if not self.path:
            return self.condition.text
        return self._method.description if self._method is not None and not self._arguments else ""

    @property
    def type_definition(self) -> int:
        """Its type, numeric NodeId of namespace 0; 0 for methods."""
        if not self.path:
            return self._type
        if self._arguments:
            return PROPERTY
        if self._variable is not None:
            return self._variable.type_definition
        return OBJECTS.get(self.path, 0)

    def data_type(self) -> tuple[int, int]:
        """(DataType, ValueRank)."""
        return (_ARGUMENT_TYPE, 1) if self._variable is None else (self._variable.data_type, -1)

    def executable(self, access: Access) -> bool:
        """Whether the caller may do it."""
        return self._method is not None and self._method.allowed(access, self.condition.address)

    def value(self, stamps: int) -> bytes:
        """DataValue on the wire; its source timestamp is that of the condition's last change."""
        changed = self.condition.received
        status = 0
        if self._arguments and self._method is not None:
            variant = arguments_value(self._method.inputs).variant
        elif self._variable is not None:
            field = self._variable.value(self.condition, self._nodes.context)
            if field is CONDITION_DISABLED:
                status = field[1]
            else:
                variant, status = encode(field), self._variable.empty if field[1] is None else 0
        else:
            raise KeyError(self.identifier)
        mask = 2 if status else 1
        parts = [pack_u32(status) if status else variant]
        if changed and not status and stamps in {Stamps.SOURCE, Stamps.BOTH}:
            mask |= 4
            parts.append(struct.pack("<q", changed))
        if stamps in {Stamps.SERVER, Stamps.BOTH}:
            mask |= 8
            parts.append(struct.pack("<q", clock.now()))
        return bytes((mask,)) + b"".join(parts)

    # ---- references ------------------------------------------------------------------------------------------------

    def reference(self, kind: int, *, forward: bool) -> Reference:
        """A reference to this node."""
        definition = self.type_definition
        return Reference(
            kind,
            forward,
            self._nodes.space.node_id(self.identifier),
            self.browse_name,
            self.display_name,
            self.node_class,
            numeric_node_id(definition) if definition else NULL_NODE_ID,
            self.condition.address,
        )

    def _part(self, path: str) -> ConditionFace:
        return ConditionFace(self._nodes, self.condition, path)

    def references(self) -> Iterator[Reference]:
        """All references, both directions."""
        nodes, path = self._nodes, self.path
        definition = self.type_definition
        if definition:
            yield nodes.type_reference(definition)
        if not path:
            source = nodes.space.find(self.condition.address)
            if source is not None:
                yield reference_to(nodes.space, source, HAS_CONDITION, forward=False)
        else:
            above = self._part(path.rpartition("/")[0])
            yield above.reference(self._relation(), forward=False)
        for child in self._children():
            yield child.reference(child._relation(), forward=True)
        for name in _SUB_STATES.get(path, ()):
            part = self._part(name)
            if part.exists:
                yield part.reference(HAS_TRUE_SUB_STATE, forward=True)

    def _relation(self) -> int:
        return HAS_PROPERTY if self.type_definition == PROPERTY else HAS_COMPONENT

    def _children(self) -> Iterator[ConditionFace]:
        if self._method is not None:
            if self._method.inputs and not self._arguments:
                yield self._part(f"{self.path}/{_ARGUMENTS}")
            return
        head = f"{self.path}/" if self.path else ""
        for path in (*variables_of(self._type), *OBJECTS, *METHODS):
            if path.startswith(head) and "/" not in path[len(head) :]:
                part = self._part(path)
                if part.exists:
                    yield part


def reference_to(space: GridSpace, node: Node, kind: int, *, forward: bool) -> Reference:
    """A reference to a node of the grid."""
    definition = space.definition(node)
    return Reference(
        kind,
        forward,
        space.node_id(node.identifier),
        space.browse_name(node),
        space.display_name(node),
        space.node_class(node),
        NULL_NODE_ID if definition is None else definition.node_id,
        node.owner,
    )


_FROM_SERVER = Reference(
    HAS_NOTIFIER,
    False,
    numeric_node_id(2253),
    qualified_name("Server", 0),
    localized_text("Server"),
    NodeClass.OBJECT,
    numeric_node_id(2004),
    None,
)
