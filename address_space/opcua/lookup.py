"""Rows of many addresses at once, for requests that name thousands of points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from address_space.address import FILLER
from address_space.point import Rows
from address_space.table import PointTable
from address_space.tree import NO_NODE, AddressTree

_FEW = 4
_FILLER_TAIL = "/" + FILLER


def rows_of(table: PointTable, addresses: Sequence[str]) -> Rows:
    """Row of each address, int32; -1 for what is no point.

    Neighbours share the search for their parent, so a thousand points of some feeders cost little more than one search
    a feeder.
    """
    rows = np.full(len(addresses), NO_NODE, np.int32)
    families: dict[str, list[int]] = {}
    for index, text in enumerate(addresses):
        head, _, _ = text.rpartition("/")
        family = families.get(head)
        if family is None:
            families[head] = [index]
        else:
            family.append(index)
    for head, members in families.items():
        if len(members) < _FEW:
            for index in members:
                rows[index] = table.find(addresses[index])
        else:
            known = _children(table.tree, head)
            cut = len(head) + 1
            rows[members] = [known.get(addresses[index][cut:], NO_NODE) for index in members]
    return rows


def _children(tree: AddressTree, head: str) -> dict[str, int]:
    """Name -> row of the children whose address begins with `head`; fillers at its end are no nodes."""
    fillers = 0
    while head.endswith(_FILLER_TAIL):
        head = head[: -len(_FILLER_TAIL)]
        fillers += 1
    node = tree.find(head)
    if node == NO_NODE:
        return {}
    below = int(tree.level[node]) + 1 + fillers
    return {tree.name(child): int(tree.row[child]) for child in tree.children(node) if tree.level[child] == below}
