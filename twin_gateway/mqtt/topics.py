"""Topics of the mirror: `<root>/<class>/<address>`, those of points and groups cached within bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from address_space.address import FILLER, escape
from address_space.point import Rows
from address_space.table import PointTable
from address_space.tree import NO_NODE

_MAX_POINT_TOPICS = 1 << 16
_MAX_MEMBERS = 1 << 18


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """One group: its topic, the rows of its points and, in the same order, the beginnings of their JSON members."""

    topic: str
    rows: Rows
    keys: tuple[str, ...]


class Topics:
    """Topics of one gateway below one root.

    Classes: `v` value, `m` metadata, `e` event, `s` state of gateway and links, `g` values of a place.

    Args:
        root: first level or levels.
        gateway: address of the gateway, `<grid>/_sys/<name>`.
    """

    def __init__(self, root: str, gateway: str) -> None:
        self.root = root
        self.gateway_address = gateway
        self.gateway = f"{root}/s/{gateway}"

    def of(self, kind: str, address: str) -> str:
        """Topic of a class and an address; the gateway's own where the address is empty."""
        return f"{self.root}/{kind}/{address or self.gateway_address}"

    def link_address(self, name: str) -> str:
        """Address of a link of this gateway."""
        return f"{self.gateway_address}/{FILLER}/{FILLER}/{escape(name)}"

    def link(self, name: str) -> str:
        """State topic of a link."""
        return f"{self.root}/s/{self.link_address(name)}"


class PointTopics:
    """Topics of one class by row; a bounded cache, since an address is rebuilt from the tree every time."""

    def __init__(self, table: PointTable, root: str, kind: str) -> None:
        self._table = table
        self._prefix = f"{root}/{kind}/"
        self._cache: dict[int, str] = {}

    def of(self, row: int) -> str:
        """Topic of a row."""
        topic = self._cache.get(row)
        if topic is None:
            topic = self._prefix + self._table.address(row)
            if len(self._cache) >= _MAX_POINT_TOPICS:
                del self._cache[next(iter(self._cache))]
            self._cache[row] = topic
        return topic


class Groups:
    """Which place every row belongs to, and what the message of a place looks like.

    A group is the place of the points down to `level`, trailing fillers left out; its number is its node in the address
    tree. Group and member name joined by `/` are the address of the point.

    Attributes:
        of_row: group of every row, int32.
        largest: points of the largest group.
    """

    def __init__(self, table: PointTable, root: str, level: int) -> None:
        self._table = table
        self._prefix = f"{root}/g/"
        self._level = level
        self._layouts: dict[int, GroupLayout] = {}
        self._members = 0
        self.of_row: Rows = np.empty(0, np.int32)
        self._order: Rows = np.empty(0, np.int32)
        self._sorted: Rows = np.empty(0, np.int32)
        self.largest = 0

    def extend(self) -> Rows:
        """Take in rows that are new in the table; returns their groups, each once."""
        table = self._table
        start = len(self.of_row)
        parent, level = table.tree.parent, table.tree.level
        node = table.node[start:].copy()
        while True:
            above = (level[node] > self._level) & (parent[node] >= 0)
            if not above.any():
                break
            node[above] = parent[node[above]]
        self.of_row = np.concatenate([self.of_row, node])
        self._arrange()
        return np.unique(node)

    def retired(self, rows: Rows) -> Rows:
        """Leave out rows that are no points any more; returns the group of each."""
        self._arrange()
        return self.of_row[rows]

    def stands_elsewhere(self, group: int) -> bool:
        """Whether the place of a group has got another node, which tells of it: it was removed and came again."""
        tree = self._table.tree
        return tree.find(tree.address(group)) not in {group, NO_NODE}

    def _arrange(self) -> None:
        rows = np.arange(len(self.of_row), dtype=np.int32)
        if self._table.retired:
            rows = rows[self._table.is_point(rows)]
        self._order = rows[np.argsort(self.of_row[rows], kind="stable")]
        self._sorted = self.of_row[self._order]
        _touched, counts = np.unique(self._sorted, return_counts=True)
        self.largest = int(counts.max(initial=0))
        self._layouts.clear()
        self._members = 0

    def layout(self, group: int) -> GroupLayout:
        """Topic, rows and member names of a group."""
        layout = self._layouts.get(group)
        if layout is None:
            layout = self._make(group)
            while self._layouts and self._members + len(layout.rows) > _MAX_MEMBERS:
                oldest = self._layouts.pop(next(iter(self._layouts)))
                self._members -= len(oldest.rows)
            self._layouts[group] = layout
            self._members += len(layout.rows)
        return layout

    def _make(self, group: int) -> GroupLayout:
        table = self._table
        place = table.tree.address(group)
        first, last = np.searchsorted(self._sorted, [group, group + 1])
        rows = self._order[first:last]
        skip = len(place) + 1
        # Addresses have no character that JSON would escape.
        keys = tuple(f'"{table.address(int(row))[skip:]}":' for row in rows)
        return GroupLayout(self._prefix + place, rows, keys)
