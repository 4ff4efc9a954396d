"""Devices of the grid: places with an LPHD and links of gateways, found over the whole tree at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from address_space.address import unescape
from address_space.opcua.space_types import is_system
from address_space.table import PointTable
from address_space.tree import NO_NODE

_FUNCTION_LEVEL, _EQUIPMENT_LEVEL = 7, 6


class Devices:
    """Which places are devices; looked for again when the tree has grown.

    A place with a logical node LPHD is a device. A place of level 6 with an LCCH below a reserved second level is a
    link of a gateway; its device is what has an LPHD among the points that the link delivers.
    """

    def __init__(self, table: PointTable) -> None:
        self._table = table
        self._size = -1
        self._physical: dict[int, int] = {}
        self._channels: dict[int, int] = {}
        self._of_links: dict[str, str] = {}

    def _look(self) -> None:
        tree = self._table.tree
        if self._size == len(tree):
            return
        self._size = len(tree)
        self._of_links.clear()
        self._physical = self._having("LPHD")
        self._channels = {
            place: function
            for place, function in self._having("LCCH").items()
            if int(tree.level[place]) == _EQUIPMENT_LEVEL and is_system(tree.address(place))
        }

    def _having(self, ln_class: str) -> dict[int, int]:
        """Place -> its function of a class, the first one where there are more."""
        tree = self._table.tree
        ids = [number for name, number in tree.name_ids.items() if name.startswith(ln_class) and _ends(name, ln_class)]
        if not ids:
            return {}
        nodes = np.nonzero(np.isin(tree.name_id, ids) & (tree.level == _FUNCTION_LEVEL))[0]
        return {int(tree.parent[node]): int(node) for node in nodes[::-1].tolist() if tree.parent[node] >= 0}

    def is_device(self, place: int) -> bool:
        """Whether a node of the tree is a place with an LPHD."""
        self._look()
        return place in self._physical

    def is_link(self, place: int) -> bool:
        """Whether a node of the tree is a link of a gateway."""
        self._look()
        return place in self._channels

    def places(self) -> Iterator[int]:
        """Nodes of all devices and links, in order of the tree."""
        self._look()
        return iter(sorted({*self._physical, *self._channels}))

    def physical(self, place: int) -> str:
        """Address of the LPHD of a device or of a link's device; empty when there is none."""
        self._look()
        tree = self._table.tree
        function = self._physical.get(place)
        if function is not None:
            return tree.address(function)
        return self._of_link(unescape(tree.name(place))) if place in self._channels else ""

    def channel(self, place: int) -> str:
        """Address of the LCCH of a link; empty for what is none."""
        self._look()
        function = self._channels.get(place)
        return "" if function is None else self._table.tree.address(function)

    def _of_link(self, link: str) -> str:
        known = self._of_links.get(link)
        if known is not None:
            return known
        table, tree = self._table, self._table.tree
        functions = set(self._physical.values())
        nodes = table.node[table.rows_of_link(link)]
        found = ""
        while len(nodes):
            levels = tree.level[nodes]
            hits = [int(node) for node in np.unique(nodes[levels == _FUNCTION_LEVEL]) if int(node) in functions]
            if hits:
                found = tree.address(hits[0])
                break
            nodes = np.unique(tree.parent[nodes[levels > _FUNCTION_LEVEL]])
            nodes = nodes[nodes != NO_NODE]
        self._of_links[link] = found
        return found


def _ends(name: str, ln_class: str) -> bool:
    rest = name[len(ln_class) :]
    return not rest or rest.isdigit()
