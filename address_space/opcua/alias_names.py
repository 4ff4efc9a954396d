"""AliasNames (Part 17): categories below `Aliases`, one for each alias scheme, and FindAlias; no alias is a node."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from address_space.opcua import own_objects
from address_space.opcua.event_operators import like_pattern
from address_space.opcua.model.ids import APPLICATION_INDEX
from address_space.opcua.own_objects import NewNode
from address_space.opcua.standard_methods import Results, StandardMethod
from address_space.opcua.untyped import ua
from address_space.opcua.wire import pack_i32, qualified_name, string_node_id
from address_space.ports import Argument, MethodSpec, Right

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

ALIASES, TAG_VARIABLES, TOPICS = 23470, 23479, 23488
_CATEGORY_TYPE, _FIND_OF_TYPE = 23456, 23462
_FIND = {ALIASES: 23476, TAG_VARIABLES: 23485, TOPICS: 23494}
_LAST_CHANGE = {ALIASES: 32852, TAG_VARIABLES: 32854, TOPICS: 32856}
_NAME_ENCODING = 23499
_ALIAS_FOR = 23469
_VERSION_TIME_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_PREFIX = "Aliases/"
MOST_FOUND = 2_000
"""Aliases in one answer; more answer BadResponseTooLarge, so that nobody takes a part for the whole."""
_SLICE = 500
_LONGEST_PATTERN = 1_024
_WILD = re.compile(r"[%_\\[]")
_Names = Iterator[tuple[str, str | int]]

_SPEC = MethodSpec(
    "",
    "FindAlias",
    (
        Argument("AliasNameSearchPattern", 12, "Like pattern: % for any run of characters, _ for one"),
        Argument("ReferenceTypeFilter", 17, "Aliases of this reference type; null for AliasFor"),
    ),
    (Argument("AliasNodeList", 22, "Aliases and the nodes they name", is_list=True),),
    Right.BROWSE,
    "The nodes that aliases name",
)


class AliasCategories:
    """The categories of one server; those of schemes follow the address book."""

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._schemes: tuple[str, ...] = ()
        server.standard_methods.register(
            StandardMethod(
                _SPEC,
                methods=frozenset({*_FIND.values(), _FIND_OF_TYPE}),
                applies=self._applies,
                instance_call=self._find,
            )
        )

    def refresh(self) -> None:
        """Make the categories of the schemes that there are now, and set LastChange."""
        server, schemes = self._server, self._server.book.schemes()
        aspace = server.aspace
        own_objects.remove(aspace, [_category(each) for each in self._schemes if each not in schemes])
        for scheme in schemes:
            if scheme not in self._schemes:
                node_id = _category(scheme)
                name = ua.QualifiedName(scheme, APPLICATION_INDEX)
                own_objects.add_object(
                    aspace, NewNode(node_id, name, ua.NodeId(ALIASES), own_objects.ORGANIZES, _CATEGORY_TYPE)
                )
                # The method of the type is that of every instance.
                own_objects.link(aspace, node_id, own_objects.HAS_COMPONENT, ua.NodeId(_FIND_OF_TYPE), inverse=False)
        self._schemes = schemes
        moment = ua.Variant(int(time.time() - _VERSION_TIME_EPOCH), ua.VariantType.UInt32)
        for number in _LAST_CHANGE.values():
            node = aspace.get(ua.NodeId(number))
            if node is not None:
                node.attributes[ua.AttributeIds.Value].value = ua.DataValue(moment)

    def _applies(self, server: InternalServer, object_id: Any, method_id: Any) -> bool:
        if method_id.NamespaceIndex != 0:
            return False
        if object_id.NamespaceIndex == 0:
            own = _FIND.get(object_id.Identifier)
            return own is not None and method_id.Identifier in {own, _FIND_OF_TYPE}
        return method_id.Identifier == _FIND_OF_TYPE and self._scheme(object_id) is not None

    def _scheme(self, object_id: Any) -> str | None:
        name = object_id.Identifier
        if object_id.NamespaceIndex != APPLICATION_INDEX or not isinstance(name, str) or not name.startswith(_PREFIX):
            return None
        scheme = name[len(_PREFIX) :]
        return scheme if scheme in self._schemes else None

    # ---- FindAlias ---------------------------------------------------------------------------------------------------

    async def _find(self, server: InternalServer, session: Session, target: Any, inputs: Sequence[Any]) -> Results:
        pattern, wanted = inputs[0].Value or "", inputs[1].Value
        if not pattern or len(pattern) > _LONGEST_PATTERN:
            return int(ua.StatusCodes.BadInvalidArgument), ()
        try:
            expression = like_pattern(pattern)
        except ValueError:
            return int(ua.StatusCodes.BadInvalidArgument), ()
        status, taken = self._taken(wanted)
        if status or not taken:
            return status, () if status else (_answer([]),)
        found: dict[str, list[str]] = {}
        count = 0
        for count, (alias, place) in enumerate(self._names(target, pattern), 1):
            if expression.match(alias):
                address = place if isinstance(place, str) else server.table.address(place)
                if session.rights.allows(Right.BROWSE, address) and self._is_there(target, address):
                    found.setdefault(alias, []).append(address)
                    if len(found) > MOST_FOUND:
                        return int(ua.StatusCodes.BadResponseTooLarge), ()
            if count % _SLICE == 0:
                # A million aliases take their time: others get their turn.
                await asyncio.sleep(0)
        return 0, (_answer([self._encoded(alias, addresses) for alias, addresses in found.items()]),)

    def _taken(self, wanted: Any) -> tuple[int, bool]:
        """(Bad status, whether aliases are of the reference type asked for)."""
        if wanted is None or wanted.is_null():
            return 0, True
        types = None
        if wanted.NamespaceIndex == 0 and isinstance(wanted.Identifier, int):
            types = self._server.types.references(wanted.Identifier, subtypes=True)
        if types is None:
            return int(ua.StatusCodes.BadReferenceTypeIdInvalid), False
        return 0, _ALIAS_FOR in types

    def _is_there(self, target: Any, address: str) -> bool:
        """Whether the alias names a node; in TagVariables one with a value."""
        tree = self._server.table.tree
        node = tree.find(address)
        return node >= 0 and (target != ua.NodeId(TAG_VARIABLES) or int(tree.row[node]) >= 0)

    def _names(self, target: Any, pattern: str) -> _Names:
        """Aliases of a category with an address or a row, without those of schemes that the pattern rules out."""
        book = self._server.book
        if target == ua.NodeId(TOPICS):
            yield from self._topics(pattern)
            return
        scheme = self._scheme(target)
        schemes = self._schemes if scheme is None else (scheme,)
        head = _WILD.split(pattern, maxsplit=1)[0]
        exact = head == pattern
        for each in schemes:
            prefix = f"{each}:"
            if not (head.startswith(prefix) or (prefix.startswith(head) and not exact)):
                continue
            if exact:
                for address in dict.fromkeys((book.resolve(pattern).address, *book.reverse_lookup(pattern))):
                    if address:
                        yield pattern, address
            else:
                yield from book.named(each)
        if target == ua.NodeId(ALIASES):
            yield from self._topics(pattern)

    def _topics(self, pattern: str) -> _Names:
        """MQTT topics of values, of which every point has one."""
        root = f"{self._server.book.mqtt_root}/v/"
        head = _WILD.split(pattern, maxsplit=1)[0]
        table = self._server.table
        if head == pattern:
            row = table.find(pattern[len(root) :]) if pattern.startswith(root) else -1
            if row >= 0:
                yield pattern, row
        elif root.startswith(head) or head.startswith(root):
            for row in range(len(table)):
                if not table.retired or table.find(table.address(row)) == row:
                    yield root + table.address(row), row

    def _encoded(self, alias: str, addresses: Sequence[str]) -> Any:
        index = self._server.space.namespace
        nodes = b"".join(string_node_id(address, index) for address in addresses)
        return ua.ExtensionObject(
            ua.NodeId(_NAME_ENCODING), qualified_name(alias, index) + pack_i32(len(addresses)) + nodes
        )


def _category(scheme: str) -> Any:
    return ua.NodeId(f"{_PREFIX}{scheme}", APPLICATION_INDEX)


def _answer(aliases: Sequence[Any]) -> Any:
    return ua.Variant(list(aliases), ua.VariantType.ExtensionObject, is_array=True)
