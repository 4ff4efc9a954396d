"""Devices of the grid: places with an LPHD and links of gateways, found over the whole tree at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from address_space.address import unescape
from address_space.opcua.space_types import is_system
from address_space.point import Rows
from address_space.table import PointTable

_FUNCTION_LEVEL, _EQUIPMENT_LEVEL = 7, 6


class Devices:
    """Which places are devices; looked for again when the tree has changed.

    A place with a logical node LPHD is a device. A place of level 6 with an LCCH below a reserved second level is a
    link of a gateway; its device is what has an LPHD among the points that the link delivers.
    """

    def __init__(self, table: PointTable) -> None:
        self._table = table
        self._size = self._edition = 0
        self._physical: dict[int, int] = {}
        self._channels: dict[int, int] = {}
        self._of_links: dict[str, str] = {}

    def _look(self) -> None:
        """Look at the nodes that have been added since; at all of them after some were removed."""
        tree = self._table.tree
        if self._edition != tree.edition:
            self._size, self._edition = 0, tree.edition
            self._physical.clear()
            self._channels.clear()
        start, self._size = self._size, len(tree)
        if start == self._size:
            return
        self._of_links.clear()
        there = (tree.level[start:] == _FUNCTION_LEVEL) & ~tree.gone[start:]
        functions = (start + np.nonzero(there)[0]).astype(np.int32)
        for place, function in self._having("LPHD", functions):
            self._physical.setdefault(place, function)
        for place, function in self._having("LCCH", functions):
            if int(tree.level[place]) == _EQUIPMENT_LEVEL and is_system(tree.address(place)):
                self._channels.setdefault(place, function)

    def _having(self, ln_class: str, functions: Rows) -> Iterator[tuple[int, int]]:
        """(Place, function) of the functions of a class that stand below a place."""
        tree = self._table.tree
        names = list(tree.name_ids)
        used = np.nonzero(np.bincount(tree.name_id[functions]))[0].tolist()
        ids = [number for number in used if _is_of(names[number], ln_class)]
        found = functions[np.isin(tree.name_id[functions], ids)]
        parents = tree.parent[found]
        return zip(parents[parents >= 0].tolist(), found[parents >= 0].tolist(), strict=True)

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
        nodes = table.node[table.rows_of_link(link)]
        while (deep := tree.level[nodes] > _FUNCTION_LEVEL).any():
            nodes = np.where(deep, tree.parent[nodes], nodes)
        physical = np.zeros(len(tree), bool)
        physical[np.fromiter(self._physical.values(), np.int32)] = True
        hits = nodes[physical[nodes]]
        found = tree.address(int(hits.min())) if len(hits) else ""
        self._of_links[link] = found
        return found


def _is_of(name: str, ln_class: str) -> bool:
    rest = name.removeprefix(ln_class)
    return rest != name and (not rest or rest.isdigit())
