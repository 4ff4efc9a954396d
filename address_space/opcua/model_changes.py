"""Changes of the model: NodeVersion, NamespaceVersion and alias categories follow the table, and clients are told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from address_space.edits import Edit, EditKind
from address_space.journal import Cursor
from address_space.opcua import namespaces
from address_space.opcua.alias_names import AliasCategories
from address_space.opcua.event_values import from_variant
from address_space.opcua.nodes import GRID, Node
from address_space.opcua.untyped import ua
from address_space.opcua.wire import node_id_object
from address_space.point import Rows

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)
GENERAL_MODEL_CHANGE, SEMANTIC_CHANGE = 2133, 2738
MOST_CHANGES = 100
"""Changes told one by one; more are told as one of the grid object."""
_NODE_ADDED, _NODE_DELETED, _REFERENCE_ADDED, _REFERENCE_DELETED = 1, 2, 4, 8
_LOOK_SECONDS = 1.0
_BIG_TABLE = 20_000
"""Points from which on the fingerprint is made in a thread."""


class ModelWatch:
    """Looks whether the table, the methods or the aliases have changed, and tells it.

    Points are added by whole models and twin functions long after the start, and changed mappings retire and change
    them; whoever does so need not know of us.
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._aliases = AliasCategories(server)
        self._seen = (-1, -1, -1)
        self._nodes = 0
        self._edits: Cursor[Edit] = server.table.edits.cursor("model changes")

    def start(self) -> None:
        """Take the model as it is; nobody is told."""
        server = self._server
        self._edits.skip()
        self._seen, self._nodes = self._size(), len(server.table.tree)
        server.space.fingerprint = server.table.fingerprint()
        namespaces.set_version(server.aspace, server.space.fingerprint)
        self._aliases.refresh()

    def close(self) -> None:
        """Follow the table no longer."""
        self._edits.close()

    def _size(self) -> tuple[int, int, int]:
        table = self._server.table
        return len(table.tree), len(table), table.edition

    async def run(self) -> None:
        """Look every second; ends when it is cancelled. What goes wrong with one change does not hide the next."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._size() != self._seen:
                try:
                    await self.refresh()
                except Exception:
                    _log.exception("clients cannot be told of a change of the model")

    async def refresh(self) -> bool:
        """Compare the table with what was told last and tell what is new; whether there was anything."""
        server = self._server
        self._seen = self._size()
        table = server.table
        found = await asyncio.to_thread(table.fingerprint_later()) if len(table) > _BIG_TABLE else table.fingerprint()
        self._aliases.refresh()
        if found == server.space.fingerprint and not self._edits.pending:
            return False
        server.space.fingerprint = found
        namespaces.set_version(server.aspace, found)
        before, self._nodes = self._nodes, len(table.tree)
        lost = self._edits.lost
        edits = self._edits.take()
        if self._edits.lost > lost:
            edits = []  # too many to say which
        removed = [edit for edit in edits if edit.kind is EditKind.RETIRED]
        if removed:
            server.space.version += 1
            self._tell(GENERAL_MODEL_CHANGE, "Nodes have been removed", self._removed(removed))
        if self._nodes != before:
            server.space.version += 1
            self._tell(GENERAL_MODEL_CHANGE, "Nodes have been added", self._added(before))
        changed = [edit.rows for edit in edits if edit.kind is EditKind.CHANGED]
        if changed or not (removed or self._nodes != before):
            rows = np.unique(np.concatenate(changed)) if changed else np.empty(0, np.int32)
            self._tell(SEMANTIC_CHANGE, "Points mean something else", self._semantic(rows))
        return True

    def _tell(self, number: int, text: str, changes: list[Any]) -> None:
        value = from_variant(ua.Variant(changes, ua.VariantType.ExtensionObject, is_array=True))
        feed = self._server.event_feed
        feed.tell_server(feed.records.of_server(number, "Server", text, 100, {"Changes": value}))

    def _node(self, address: str) -> Any:
        return ua.NodeId(address or GRID, self._server.space.namespace)

    def _type(self, address: str) -> Any:
        space = self._server.space
        node = space.find(address or GRID)
        definition = space.definition(node) if isinstance(node, Node) else None
        return ua.NodeId() if definition is None else node_id_object(definition.node_id)

    def _change(self, address: str, verb: int) -> Any:
        made = ua.ModelChangeStructureDataType()
        made.Affected, made.AffectedType, made.Verb = self._node(address), self._type(address), verb
        return made

    def _added(self, before: int) -> list[Any]:
        """The new nodes right below old ones, and the old ones, which have a reference more."""
        tree = self._server.table.tree
        parents = tree.parent[before:]
        heads = np.nonzero((parents < before) & ~tree.gone[before:])[0] + before
        if not len(heads) or len(heads) > MOST_CHANGES:
            return [self._change("", _REFERENCE_ADDED)]
        changes = [self._change(tree.address(int(node)), _NODE_ADDED) for node in heads]
        above = {int(tree.parent[node]) for node in heads}
        return changes + [self._change(tree.address(each) if each >= 0 else "", _REFERENCE_ADDED) for each in above]

    def _removed(self, edits: list[Edit]) -> list[Any]:
        """The topmost nodes that are gone, and what they stood below; points that are only containers now."""
        space, tree = self._server.space, self._server.table.tree
        gone = np.unique(np.concatenate([edit.gone for edit in edits]))
        mark = np.zeros(len(tree), bool)
        mark[gone] = True
        above = tree.parent[gone]
        heads = gone[(above < 0) | ~mark[above]]
        rows = np.concatenate([edit.rows for edit in edits])
        nodes = self._server.table.node[rows]
        emptied = np.unique(nodes[~mark[nodes]])
        if len(heads) + len(emptied) > MOST_CHANGES:
            return [self._change("", _REFERENCE_DELETED)]
        told = np.isin(nodes, (*heads, *emptied))
        row_of = dict(zip(nodes[told].tolist(), rows[told].tolist(), strict=True))
        changes = []
        for node in (*heads.tolist(), *emptied.tolist()):
            made = ua.ModelChangeStructureDataType()
            address = tree.address(node)
            made.Affected, made.Verb = self._node(address), _NODE_DELETED if mark[node] else _NODE_DELETED | _NODE_ADDED
            made.AffectedType = node_id_object(space.type_of(node, row_of.get(node, -1), address))
            changes.append(made)
        parents = {int(tree.parent[node]) for node in heads}
        return changes + [
            self._change(tree.address(each) if each >= 0 else "", _REFERENCE_DELETED)
            for each in sorted(parents)
            if each < 0 or not tree.gone[each]
        ]

    def _semantic(self, rows: Rows) -> list[Any]:
        """What means something else; the grid object where nobody said which, or they are too many."""
        table = self._server.table
        rows = rows[table.is_point(rows)]
        addresses = [table.address(row) for row in rows.tolist()] if 0 < len(rows) <= MOST_CHANGES else [""]
        changes = []
        for address in addresses:
            made = ua.SemanticChangeStructureDataType()
            made.Affected, made.AffectedType = self._node(address), self._type(address)
            changes.append(made)
        return changes
