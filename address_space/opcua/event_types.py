"""Event types: which there are, what each is derived from, and which fields its events may have (Part 3, 4.7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from address_space.opcua.event_values import canonical
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_node_id, node_id_object, numeric_node_id

if TYPE_CHECKING:
    from asyncua.server.address_space import AddressSpace

BASE_EVENT = numeric_node_id(2041)
CONDITION = numeric_node_id(2782)
_HAS_SUBTYPE, _CHILDREN = 45, frozenset({46, 47})
_DEEPEST_TYPE = 20
_MOST_REMEMBERED = 4_096


def key_of(names: Sequence[Any]) -> str:
    """Key of a browse path: `AckedState/Id`, with the namespace before names that are not of namespace 0."""
    return "/".join(
        (each.Name or "") if not each.NamespaceIndex else f"{each.NamespaceIndex}:{each.Name}" for each in names
    )


class EventTypes:
    """The event types of an address space, by NodeId on the wire; each is looked at when it is first asked for.

    Args:
        aspace: where the types are.
        own: keys of fields that events of every type may have (the grid's own).
        common: keys of fields that some event has for sure, so that nobody has to look for their types.
    """

    def __init__(
        self, aspace: AddressSpace, own: frozenset[str] = frozenset(), common: frozenset[str] = frozenset()
    ) -> None:
        self._aspace = aspace
        self._own, self._common = own, common
        self._lines: dict[bytes, tuple[bytes, ...]] = {}
        self._children: dict[bytes, dict[str, bytes]] = {}
        self._answers: dict[tuple[bytes, str], bool] = {}

    def _references(self, node_id: bytes) -> Iterator[Any]:
        node = self._aspace.get(node_id_object(node_id))
        for each in node.references if node is not None else ():
            if not each.ReferenceTypeId.NamespaceIndex:
                yield each

    def line(self, type_id: bytes) -> tuple[bytes, ...]:
        """A type and what it is derived from, up to BaseEventType; empty for what is no event type."""
        known = self._lines.get(type_id)
        if known is None:
            known = self._line(type_id)
            if known:
                self._lines[type_id] = known
        return known

    def _line(self, type_id: bytes) -> tuple[bytes, ...]:
        found = [type_id]
        while found[-1] != BASE_EVENT and len(found) < _DEEPEST_TYPE:
            above = next(
                (
                    canonical(encode_node_id(each.NodeId))
                    for each in self._references(found[-1])
                    if not each.IsForward and each.ReferenceTypeId.Identifier == _HAS_SUBTYPE
                ),
                None,
            )
            if above is None:
                return ()
            found.append(above)
        return tuple(found) if found[-1] == BASE_EVENT else ()

    def known(self, type_id: bytes) -> bool:
        """Whether it is BaseEventType or derived from it."""
        return bool(self.line(type_id))

    def is_a(self, type_id: bytes, ancestor: bytes) -> bool:
        """Whether events of a type are events of another one."""
        return ancestor in self.line(type_id)

    def may_have(self, type_id: bytes, key: str) -> bool:
        """Whether an event of the type (or, for BaseEventType, any event) can have a field."""
        if key in self._own or (key in self._common and type_id == BASE_EVENT):
            return True
        known = self._answers.get((type_id, key))
        if known is None:
            if len(self._answers) >= _MOST_REMEMBERED:
                self._answers.clear()
            path = key.split("/")
            known = self._answers[type_id, key] = any(self._declares(each, path) for each in self._family(type_id))
        return known

    def _family(self, type_id: bytes) -> Iterator[bytes]:
        """A type, what it is derived from, and what is derived from it."""
        yield from self.line(type_id)
        waiting = deque((type_id,))
        while waiting:
            for each in self._references(waiting.popleft()):
                if each.IsForward and each.ReferenceTypeId.Identifier == _HAS_SUBTYPE:
                    derived = canonical(encode_node_id(each.NodeId))
                    yield derived
                    waiting.append(derived)

    def _declares(self, type_id: bytes, path: list[str]) -> bool:
        place: bytes | None = type_id
        for name in path:
            place = None if place is None else self._declared(place).get(name)
            if place is None:
                return False
        return True

    def _declared(self, node_id: bytes) -> dict[str, bytes]:
        """Objects and variables below a node by name."""
        known = self._children.get(node_id)
        if known is None:
            classes = {int(ua.NodeClass.Object), int(ua.NodeClass.Variable)}
            known = self._children[node_id] = {
                key_of([each.BrowseName]): canonical(encode_node_id(each.NodeId))
                for each in self._references(node_id)
                if each.IsForward and each.ReferenceTypeId.Identifier in _CHILDREN and int(each.NodeClass) in classes
            }
        return known
