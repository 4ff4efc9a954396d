"""Rows of many addresses at once, for requests that name thousands of points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from address_space.point import Rows
from address_space.table import PointTable
from address_space.tree import NO_NODE


def rows_of(table: PointTable, addresses: Sequence[str]) -> Rows:
    """Row of each address, int32; -1 for what is no point."""
    nodes = table.tree.find_many(addresses)
    rows = np.full(len(nodes), NO_NODE, np.int32)
    there = nodes >= 0
    rows[there] = table.tree.row[nodes[there]]
    return rows
