"""Nodes of the grid: synthesised from the address tree and the point table when asked for, never stored.

BrowseNames: segments of places and functions are names of the authority's namespace, those of data objects and of the
methods that our types declare are names of our types' namespace.

Identifiers (string NodeIds of the authority's namespace): the address itself for places, functions and points,
`<owner>#<name>` for members and methods, `<owner>#<method>#InputArguments` for a method's arguments, and `#Grid`
for the object below `Objects` that holds the grids. `#` is in no address.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from address_space import languages
from address_space.address import FILLER, unescape
from address_space.alias import Binding
from address_space.opcua import members, space_types
from address_space.opcua.devices import Devices
from address_space.opcua.method_specs import COMMANDS
from address_space.opcua.method_specs import GRID as GRID_METHODS
from address_space.opcua.model.ids import DI_INDEX, INDEX
from address_space.opcua.node_face import FacedNodes, HistoryFace
from address_space.opcua.nodes import (
    GRID,
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    ORGANIZES,
    Node,
    NodeClass,
    Reference,
)
from address_space.opcua.space_types import TypeOf
from address_space.opcua.texts import description_of
from address_space.opcua.wire import (
    NULL_NODE_ID,
    NULL_TEXT,
    localized_text,
    numeric_node_id,
    qualified_name,
    string_node_id,
)
from address_space.ports import MethodSpec
from address_space.table import PointTable
from address_space.tree import NO_NODE

__all__ = [
    "GRID",
    "HAS_COMPONENT",
    "HAS_PROPERTY",
    "HAS_TYPE_DEFINITION",
    "LAST_COMMAND",
    "ORGANIZES",
    "GridSpace",
    "MethodsOf",
    "Node",
    "NodeClass",
    "Reference",
]
LAST_COMMAND = "LastCommand"
"""Property of logical nodes that take commands: the outcome of the last one."""
_LAST_FOLDER_LEVEL = 5
_REMEMBER_ROWS = 100_000
_FUNCTION_LEVEL = 7

_OBJECTS_FOLDER = 85
_PROPERTY = space_types.standard(68, "PropertyType")
_DECLARED_METHODS = frozenset({*COMMANDS, *GRID_METHODS})
_FIRST_DATA_LEVEL = 8


MethodsOf = Callable[[str, int], Mapping[str, MethodSpec]]
"""(owner's address, its number in the tree) -> methods by name."""


class GridSpace:
    """The nodes of one point table.

    Args:
        table: the points.
        namespace: index of the authority's namespace.
        methods_of: methods of an object.
    """

    def __init__(self, table: PointTable, namespace: int, methods_of: MethodsOf) -> None:
        self.table = table
        self.tree = table.tree
        self.namespace = namespace
        self.methods_of = methods_of
        self.prefix = string_node_id("", namespace)[:3]
        """How every NodeId of the grid begins on the wire."""
        self.rows: dict[bytes, tuple[int, str]] = {}
        """Identifiers of points on the wire -> (row, address), filled by `row_of`."""
        self._edition = 0
        self.last_commands: dict[str, tuple[Mapping[str, Any], int]] = {}
        """Logical node -> (its last command, when it was known in ticks): see `members` for the fields."""
        self.history: HistoryFace | None = None
        """What points say of their history; None without one."""
        self.further: FacedNodes | None = None
        """Conditions; their identifiers have a `$`."""
        self.devices = Devices(table)
        self.version: int = 1
        """Counts what has been added to or removed from the grid: NodeVersion."""
        self.fingerprint: str = ""
        """Identity of what the points are; empty before the start."""
        self.revision_of_mapping: Callable[[], str] = lambda: ""
        """Revision of the mapping files that the points come from; empty when nobody knows."""
        self.control_model: Callable[[str], int | None] = lambda _: None
        """ctlModel of a data object by its address; None where it is not known."""
        self.bindings_of: Callable[[str], Sequence[Binding]] = lambda _: ()
        """Bindings of a point by its address."""
        self.protocol_of: Callable[[str], str] = lambda _: ""
        """Scheme of a link's addresses by the link's name."""
        self._grid_name = qualified_name("Grid", namespace)

    # ---- identity ----------------------------------------------------------------------------------------------------

    def node_id(self, identifier: str) -> bytes:
        """NodeId on the wire."""
        return string_node_id(identifier, self.namespace)

    def find_wire(self, node_id: bytes) -> Node | None:
        """The node of a NodeId on the wire; None when it is none of the grid's."""
        if not node_id.startswith(self.prefix):
            return None
        try:
            return self.find(node_id[7:].decode())
        except UnicodeDecodeError:
            return None

    def row_of(self, identifier: bytes) -> tuple[int, str] | None:
        """(row, address) of a point by its identifier on the wire; remembered in `rows`."""
        if self._edition != self.table.edition:
            self._edition = self.table.edition
            self.rows.clear()
        known = self.rows.get(identifier)
        if known is not None:
            return known
        try:
            address = identifier.decode("ascii")
        except UnicodeDecodeError:
            return None
        row = self.table.find(address)
        if row < 0:
            return None
        if len(self.rows) >= _REMEMBER_ROWS:
            self.rows.clear()
        found = self.rows[identifier] = (row, address)
        return found

    def find(self, identifier: str) -> Node | None:
        """The node of an identifier."""
        if "$" in identifier:
            return None if self.further is None else self.further.find(identifier)
        if "#" not in identifier:
            tree = self.tree.find(identifier)
            return None if tree == NO_NODE else Node(identifier, identifier, tree, int(self.tree.row[tree]))
        if identifier == GRID:
            return Node(GRID, "", NO_NODE, NO_NODE)
        inside = identifier.startswith(GRID + "#")
        owner_id, _, rest = (GRID, "", identifier[len(GRID) + 1 :]) if inside else identifier.partition("#")
        owner = self.find(owner_id)
        if owner is None:
            return None
        member, further, part = rest.partition("#")
        node = self._member(owner, member)
        if node is None or not further:
            return node
        if node.method is None or part not in _argument_parts(node.method):
            return None
        return Node(identifier, node.owner, node.tree, node.row, member, part, node.method)

    def _member(self, owner: Node, name: str) -> Node | None:
        identifier = f"{owner.identifier}#{name}"
        if owner.row >= 0:
            variables = members.of_point(self, owner)
        else:
            methods = self.methods_of(owner.owner, owner.tree)
            method = methods.get(name)
            if method is not None:
                return Node(identifier, owner.owner, owner.tree, NO_NODE, name, "", method)
            variables = members.of_object(self, owner, methods)
        variable = variables.get(name)
        if variable is None:
            return None
        return Node(identifier, owner.owner, owner.tree, owner.row, name, "", None, variable)

    def member_value(self, node: Node) -> members.Parts | None:
        """Value of a member; None for what the attribute service reads itself: values and properties of points."""
        read = members.reader_of(node.member)
        return None if read is None else read(self, node)

    # ---- attributes --------------------------------------------------------------------------------------------------

    def node_class(self, node: Node) -> NodeClass:
        """NodeClass of a node."""
        if node.face is not None:
            return node.face.node_class
        if node.is_method:
            return NodeClass.METHOD
        if node.part or node.member or node.row >= 0:
            return NodeClass.VARIABLE
        return NodeClass.OBJECT

    def browse_name(self, node: Node) -> bytes:
        """BrowseName on the wire: the segment without fillers."""
        if node.face is not None:
            return node.face.browse_name
        if node.part:
            return qualified_name(node.part, 0)
        if node.variable is not None:
            return qualified_name(node.member, node.variable.namespace)
        if node.member:
            return qualified_name(node.member, self._method_namespace(node.member))
        return self._grid_name if node.tree < 0 else self._name(node.tree)

    def _name(self, tree: int) -> bytes:
        declared = self.tree.level[tree] >= _FIRST_DATA_LEVEL
        return qualified_name(self.tree.name(tree), INDEX if declared else self.namespace)

    def _method_namespace(self, name: str) -> int:
        return INDEX if name in _DECLARED_METHODS else self.namespace

    def display_name(self, node: Node, language: str = "") -> bytes:
        """DisplayName on the wire: the name in the mapping, in the language where it has one, or the original."""
        if node.face is not None:
            return node.face.display_name
        if node.part or node.member:
            return localized_text(node.part or node.member)
        return localized_text("Grid") if node.tree < 0 else self._display(node.tree, node.row, language)

    def _display(self, tree: int, row: int, language: str) -> bytes:
        if row >= 0:
            names = self.table.display_names(row)
            if names:
                chosen = languages.choose((language,), (locale for locale, _ in names))
                for locale, name in names:
                    if locale == chosen:
                        return localized_text(name, locale)
            text = self.table.display_name(row)
            if text:
                return localized_text(text)
        return localized_text(unescape(self.tree.name(tree)))

    def description(self, node: Node, language: str = "") -> bytes:
        """Description on the wire, in a language where there is a text in it; of methods see their spec."""
        return description_of(self.table, node.owner, node.tree, node.row, language) if not node.member else NULL_TEXT

    def definition(self, node: Node) -> TypeOf | None:
        """Type of a node; None for methods and for what has a face of its own."""
        if node.is_method or node.face is not None:
            return None
        if node.variable is not None:
            return TypeOf(node.variable.definition, node.variable.definition_name, 0)
        if node.part:
            return _PROPERTY
        return space_types.grid_type() if node.tree < 0 else self._type(node.tree, node.row, node.owner)

    def type_of(self, tree: int, row: int, address: str) -> bytes:
        """TypeDefinition on the wire of a place, function or point, also of one that has been removed."""
        return self._type(tree, row, address).node_id

    def _type(self, tree: int, row: int, address: str) -> TypeOf:
        if row >= 0:
            return space_types.variable_type(self.table.profile(row))
        level, name = int(self.tree.level[tree]), self.tree.name(tree)
        if level == _FUNCTION_LEVEL:
            return space_types.function_type(name)
        if level >= _FIRST_DATA_LEVEL:
            return space_types.container_type(address.split("/")[_FUNCTION_LEVEL - 1], name)
        if level > _LAST_FOLDER_LEVEL:
            devices = self.devices
            return space_types.equipment_type(name, device=devices.is_device(tree), link=devices.is_link(tree))
        return space_types.place_type(level, system=space_types.is_system(address))

    # ---- references --------------------------------------------------------------------------------------------------

    def references(self, node: Node, language: str = "") -> Iterator[Reference]:
        """All references of a node, both directions; display names in a language where they exist in it."""
        if node.face is not None:
            yield from node.face.references()
            return
        definition = self.definition(node)
        if definition is not None:
            yield _type_reference(definition, variable=self.node_class(node) == NodeClass.VARIABLE)
        if node.part:
            yield self._to(node.identifier.rpartition("#")[0], node, HAS_PROPERTY, False, NodeClass.METHOD)
        elif node.member:
            yield from self._member_references(node, language)
        else:
            yield from self._own_references(node, language)

    def _member_references(self, node: Node, language: str) -> Iterator[Reference]:
        owner = self.find(node.owner or GRID)
        if owner is None:
            return
        relation = HAS_COMPONENT if node.variable is None else node.variable.relation
        yield self._reference_to(owner, relation, False, language)
        if node.method is not None:
            for part in _argument_parts(node.method):
                yield self._property(f"{node.identifier}#{part}", part, node.owner)

    def _own_references(self, node: Node, language: str) -> Iterator[Reference]:
        parent = self.parent(node)
        if parent is not None:
            yield self._reference_to(parent, self.relation(parent), False, language)
        elif node.tree < 0:
            yield _UP_TO_OBJECTS
        if node.row >= 0:
            variables = members.of_point(self, node)
        else:
            methods = self.methods_of(node.owner, node.tree)
            variables = members.of_object(self, node, methods)
            if "DeviceHealth" in variables:
                yield _IN_DEVICE_SET
            for name in methods:
                yield Reference(
                    HAS_COMPONENT,
                    True,
                    self.node_id(f"{node.identifier}#{name}"),
                    qualified_name(name, self._method_namespace(name)),
                    localized_text(name),
                    NodeClass.METHOD,
                    NULL_NODE_ID,
                    node.owner,
                )
        for name, variable in variables.items():
            yield Reference(
                variable.relation,
                True,
                self.node_id(f"{node.identifier}#{name}"),
                qualified_name(name, variable.namespace),
                localized_text(name),
                NodeClass.VARIABLE,
                variable.definition,
                node.owner,
            )
        if self.history is not None:
            yield from self.history.references(node)
        yield from self.child_references(node, language)
        if self.further is not None:
            yield from self.further.references_of(node)

    def child_references(self, node: Node, language: str = "") -> Iterator[Reference]:
        """References to the nodes one level down; the table may grow between one and the next."""
        tree, relation, display = self.tree, self.relation(node), self._display
        children = tree.children(node.tree) if node.tree >= 0 else iter(tree.roots())
        level = int(tree.level[node.tree]) if node.tree >= 0 else 0
        namespace = self.namespace
        for child in children:
            row, below = int(tree.row[child]), int(tree.level[child])
            name = tree.name(child)
            fillers = below - level - 1
            head = f"{node.owner}/" if level else ""
            address = f"{head}{(FILLER + '/') * fillers}{name}"
            yield Reference(
                relation,
                True,
                string_node_id(address, namespace),
                qualified_name(name, INDEX if below >= _FIRST_DATA_LEVEL else namespace),
                display(child, row, language),
                NodeClass.VARIABLE if row >= 0 else NodeClass.OBJECT,
                self._type(child, row, address).node_id,
                address,
            )

    def added(self, node_id: bytes, language: str = "") -> Iterator[Reference]:
        """References that nodes of other namespaces have besides their own: to the devices below DI's DeviceSet."""
        if node_id in _DEVICE_SET_FORMS:
            for place in self.devices.places():
                address = self.tree.address(place)
                yield self._reference_to(Node(address, address, place, NO_NODE), ORGANIZES, True, language)

    def child(self, node: Node, name: str) -> Node | None:
        """The place, function or point below a node by its BrowseName."""
        if node.member or "/" in name:
            return None
        if node.tree < 0:
            found = self.find(name)
            return found if found is not None and self.tree.level[found.tree] == 1 else None
        level = int(self.tree.level[node.tree])
        # By text, not through the siblings: a place may have thousands.
        for fillers in range(max(1, _FUNCTION_LEVEL - level)):
            address = f"{node.owner}/{(FILLER + '/') * fillers}{name}"
            child = self.tree.find(address)
            if child != NO_NODE:
                return Node(address, address, child, int(self.tree.row[child]))
        return None

    def parent(self, node: Node) -> Node | None:
        """The node above a place, function or point; None above the grid object."""
        if node.tree < 0:
            return None
        above = int(self.tree.parent[node.tree])
        if above < 0:
            return Node(GRID, "", NO_NODE, NO_NODE)
        address = node.owner.rpartition("/")[0]
        while address.endswith("/" + FILLER):
            address = address[:-2]
        return Node(address, address, above, int(self.tree.row[above]))

    def relation(self, parent: Node) -> int:
        """How a node holds those below it."""
        if parent.tree < 0 or (parent.row < 0 and self.tree.level[parent.tree] <= _LAST_FOLDER_LEVEL):
            return ORGANIZES
        return HAS_COMPONENT

    def _reference_to(self, node: Node, relation: int, forward: bool, language: str) -> Reference:
        definition = self.definition(node)
        return Reference(
            relation,
            forward,
            self.node_id(node.identifier),
            self.browse_name(node),
            self.display_name(node, language),
            self.node_class(node),
            NULL_NODE_ID if definition is None else definition.node_id,
            node.owner,
        )

    def _to(self, identifier: str, node: Node, relation: int, forward: bool, node_class: NodeClass) -> Reference:
        return Reference(
            relation,
            forward,
            self.node_id(identifier),
            qualified_name(node.member, self._method_namespace(node.member)),
            localized_text(node.member),
            node_class,
            NULL_NODE_ID,
            node.owner,
        )

    def _property(self, identifier: str, name: str, address: str) -> Reference:
        return Reference(
            HAS_PROPERTY,
            True,
            self.node_id(identifier),
            qualified_name(name, 0),
            localized_text(name),
            NodeClass.VARIABLE,
            _PROPERTY.node_id,
            address,
        )

    def is_function(self, tree: int) -> bool:
        """Whether a node of the tree is a logical node (or a terminal)."""
        return tree >= 0 and int(self.tree.level[tree]) == _FUNCTION_LEVEL


_UP_TO_OBJECTS = Reference(
    ORGANIZES,
    False,
    numeric_node_id(_OBJECTS_FOLDER),
    qualified_name("Objects", 0),
    localized_text("Objects"),
    NodeClass.OBJECT,
    numeric_node_id(61),
    None,
)
_DEVICE_SET = numeric_node_id(5001, DI_INDEX)
_DEVICE_SET_FORMS = frozenset({_DEVICE_SET, struct.pack("<BHI", 2, DI_INDEX, 5001)})
"""A number may stand on the wire in a longer form than it needs."""
_IN_DEVICE_SET = Reference(
    ORGANIZES,
    False,
    _DEVICE_SET,
    qualified_name("DeviceSet", DI_INDEX),
    localized_text("DeviceSet"),
    NodeClass.OBJECT,
    numeric_node_id(58),
    None,
)


@lru_cache(maxsize=1024)
def _type_reference(definition: TypeOf, *, variable: bool) -> Reference:
    return Reference(
        HAS_TYPE_DEFINITION,
        True,
        definition.node_id,
        qualified_name(definition.name, definition.namespace),
        localized_text(definition.name),
        NodeClass.VARIABLE_TYPE if variable else NodeClass.OBJECT_TYPE,
        NULL_NODE_ID,
        None,
    )


def _argument_parts(method: MethodSpec) -> tuple[str, ...]:
    parts = ("InputArguments",) if method.inputs else ()
    return (*parts, "OutputArguments") if method.outputs else parts
