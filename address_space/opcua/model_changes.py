"""Changes of the model: NodeVersion, MappingRevision and alias categories follow the table, and clients are told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from address_space.opcua import namespaces
from address_space.opcua.alias_names import AliasCategories
from address_space.opcua.event_values import from_variant
from address_space.opcua.nodes import GRID, Node
from address_space.opcua.untyped import ua
from address_space.opcua.wire import node_id_object

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)
GENERAL_MODEL_CHANGE, SEMANTIC_CHANGE = 2133, 2738
MOST_CHANGES = 100
"""Changes told one by one; more are told as one of the grid object."""
_NODE_ADDED, _REFERENCE_ADDED = 1, 4
_LOOK_SECONDS = 1.0
_BIG_TABLE = 200_000
"""Points from which on the fingerprint is made in a thread: it takes about 30 ms for a million."""


class ModelWatch:
    """Looks whether the table, the methods or the aliases have changed, and tells it.

    Points are added by whole models and twin functions long after the start; whoever adds them need not know of us.
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._aliases = AliasCategories(server)
        self._seen = (-1, -1)
        self._nodes = 0

    def start(self) -> None:
        """Take the model as it is; nobody is told."""
        server = self._server
        self._seen, self._nodes = self._size(), len(server.table.tree)
        server.space.mapping_revision = server.table.fingerprint()
        namespaces.set_version(server.aspace, server.space.mapping_revision)
        self._aliases.refresh()

    def _size(self) -> tuple[int, int]:
        return len(self._server.table.tree), len(self._server.table)

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
        revision = await asyncio.to_thread(table.fingerprint) if len(table) > _BIG_TABLE else table.fingerprint()
        self._aliases.refresh()
        if revision == server.space.mapping_revision:
            return False
        server.space.mapping_revision = revision
        namespaces.set_version(server.aspace, revision)
        before, self._nodes = self._nodes, len(table.tree)
        if self._nodes != before:
            server.space.version += 1
            self._tell(GENERAL_MODEL_CHANGE, "Nodes have been added", self._added(before))
        else:
            self._tell(SEMANTIC_CHANGE, "Points mean something else", [self._semantic()])
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
        heads = np.nonzero(parents < before)[0] + before
        if not len(heads) or len(heads) > MOST_CHANGES:
            return [self._change("", _REFERENCE_ADDED)]
        changes = [self._change(tree.address(int(node)), _NODE_ADDED) for node in heads]
        above = {int(tree.parent[node]) for node in heads}
        return changes + [self._change(tree.address(each) if each >= 0 else "", _REFERENCE_ADDED) for each in above]

    def _semantic(self) -> Any:
        made = ua.SemanticChangeStructureDataType()
        made.Affected, made.AffectedType = self._node(""), self._type("")
        return made
