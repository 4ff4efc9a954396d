"""The address tree: every node of the address space in a few numpy columns, names interned, ids never stored."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from address_space.address import FILLER, AddressError, parse_uncached

_RE_LEAF = re.compile(r"[A-Za-z0-9][A-Za-z0-9]{0,31}\Z")
_HASH_MASK = 0xFFFF_FFFF
NO_NODE = -1


class AddressTree:
    """Containers and points by technological address.

    A node is an integer. The text of its address is rebuilt from its parents; filler levels `_` are not nodes.
    Columns (numpy, one entry a node): parent, name id, level (1 to 6 place, 7 function, 8 data object, …), first
    child, next sibling, row of the point table (-1 for containers), 32-bit hash with its sort order.
    About 33 bytes a node.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._name_ids: dict[str, int] = {}
        self.parent = np.empty(0, np.int32)
        self.name_id = np.empty(0, np.int32)
        self.level = np.empty(0, np.uint8)
        self.first_child = np.empty(0, np.int32)
        self.next_sibling = np.empty(0, np.int32)
        self.row = np.empty(0, np.int32)
        self._hash = np.empty(0, np.uint32)
        self._sorted_hash: npt.NDArray[np.uint32] | None = None
        self._order = np.empty(0, np.int32)
        self._cache: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.parent)

    # ---- building -------------------------------------------------------------------------------------------------

    def add(self, addresses: Iterable[str], first_row: int) -> int:
        """Add points with rows from `first_row` on, and the containers above them; returns how many points.

        Raises:
            AddressError: when an address is malformed, exists already, or two siblings would get one BrowseName.
        """
        batch = _TreeBatch(self, first_row)
        batch.add_points(addresses)
        return self._join(batch)

    def add_container(self, address: str) -> int:
        """The container node of an address, made when it is not there yet.

        Raises:
            AddressError: when the address is malformed.
        """
        node = self.find(address)
        if node == NO_NODE:
            batch = _TreeBatch(self, 0)
            batch.container(address)
            self._join(batch)
            node = self.find(address)
        return node

    def name_number(self, name: str) -> int:
        """Number of an interned name; new names are checked to be plain when `checked` earlier by the caller."""
        number = self._name_ids.get(name)
        if number is None:
            number = self._name_ids[name] = len(self._names)
            self._names.append(name)
        return number

    def _join(self, batch: _TreeBatch) -> int:
        start = len(self.parent)
        parent = np.concatenate([self.parent, np.frombuffer(batch.parents, np.int32)])
        name_id = np.concatenate([self.name_id, np.frombuffer(batch.names, np.int32)])
        _refuse_twins(self, parent, name_id, start, batch)
        self.parent, self.name_id = parent, name_id
        self.level = np.concatenate([self.level, np.frombuffer(batch.levels, np.uint8)])
        self.row = np.concatenate([self.row, np.frombuffer(batch.rows, np.int32)])
        self._hash = np.concatenate([self._hash, np.frombuffer(batch.hashes, np.uint32)])
        self._link_children()
        self._sorted_hash = None
        self._cache.clear()
        return batch.points

    def _link_children(self) -> None:
        count = len(self.parent)
        order = np.argsort(self.parent, kind="stable").astype(np.int32)
        parents = self.parent[order]
        self.first_child = np.full(count, NO_NODE, np.int32)
        self.next_sibling = np.full(count, NO_NODE, np.int32)
        if count < 2:
            return
        same = parents[1:] == parents[:-1]
        self.next_sibling[order[:-1][same]] = order[1:][same]
        first = np.concatenate([[True], ~same]) & (parents >= 0)
        self.first_child[parents[first]] = order[first]

    # ---- looking up -----------------------------------------------------------------------------------------------

    def find(self, address: str) -> int:
        """Node of an address, `NO_NODE` (-1) when there is none."""
        node = self._cache.get(address)
        if node is not None:
            return node
        if self._sorted_hash is None:
            self._order = np.argsort(self._hash, kind="stable").astype(np.int32)
            self._sorted_hash = self._hash[self._order]
        key = hash(address) & _HASH_MASK
        position = int(np.searchsorted(self._sorted_hash, np.uint32(key)))
        while position < len(self._order) and int(self._sorted_hash[position]) == key:
            node = int(self._order[position])
            if self.address(node) == address:
                if len(self._cache) < 100_000:
                    self._cache[address] = node
                return node
            position += 1
        return NO_NODE

    def address(self, node: int) -> str:
        """Canonical text of a node's address (fillers put back)."""
        segments: list[str] = []
        parent, names, name_id, level = self.parent, self._names, self.name_id, self.level
        while node >= 0:
            segments.append(names[name_id[node]])
            above = int(parent[node])
            if above >= 0:
                segments.extend([FILLER] * (int(level[node]) - int(level[above]) - 1))
            node = above
        segments.reverse()
        return "/".join(segments)

    def name(self, node: int) -> str:
        """BrowseName of a node."""
        return self._names[int(self.name_id[node])]

    def children(self, node: int) -> Iterator[int]:
        """Child nodes in the order they were added."""
        child = int(self.first_child[node])
        while child >= 0:
            yield child
            child = int(self.next_sibling[child])

    def child(self, node: int, name: str) -> int:
        """The child with a BrowseName, `NO_NODE` when there is none."""
        number = self._name_ids.get(name)
        if number is None:
            return NO_NODE
        return next((child for child in self.children(node) if self.name_id[child] == number), NO_NODE)

    def roots(self) -> list[int]:
        """The grid nodes."""
        return [int(node) for node in np.nonzero(self.parent == NO_NODE)[0]]

    def nodes_of_rows(self, rows: Sequence[int] | npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Nodes of table rows, int32, same shape."""
        node_of_row = np.full(int(self.row.max(initial=-1)) + 1, NO_NODE, np.int32)
        points = np.nonzero(self.row >= 0)[0]
        node_of_row[self.row[points]] = points
        return node_of_row[np.asarray(rows, np.int32)]


class _TreeBatch:
    """Nodes on their way into a tree: plain arrays, joined at once."""

    def __init__(self, tree: AddressTree, first_row: int) -> None:
        self._tree = tree
        self._base = len(tree)
        self._next_row = first_row
        self._containers: dict[str, tuple[int, int]] = {}
        self.parents = array("i")
        self.names = array("i")
        self.levels = array("B")
        self.rows = array("i")
        self.hashes = array("I")
        self.points = 0

    def add_points(self, addresses: Iterable[str]) -> None:
        containers, name_ids = self._containers, self._tree._name_ids
        add_parent, add_name, add_level = self.parents.append, self.names.append, self.levels.append
        add_row, add_hash = self.rows.append, self.hashes.append
        row = self._next_row
        for text in addresses:
            head, _, name = text.rpartition("/")
            place = containers.get(head)
            if place is None:
                place = self._container(head, text)
            number = name_ids.get(name)
            if number is None:
                number = self._new_name(name, text)
            add_parent(place[0])
            add_name(number)
            add_level(place[1] + 1)
            add_row(row)
            add_hash(hash(text) & _HASH_MASK)
            row += 1
        self.points = row - self._next_row
        self._next_row = row

    def container(self, text: str) -> tuple[int, int]:
        parse_uncached(text)
        return self._container(text, text)

    def _new_name(self, name: str, text: str) -> int:
        if not _RE_LEAF.match(name):
            parse_uncached(text)
            raise AddressError(f"{text!r} is no point")
        return self._tree.name_number(name)

    def _container(self, text: str, wanted_by: str) -> tuple[int, int]:
        """(node, level) of a container, made with all above it."""
        known = self._containers.get(text)
        if known is not None:
            return known
        address = parse_uncached(text) if text else parse_uncached(wanted_by)
        level = text.count("/") + 1
        if level < 7 and wanted_by.count("/") >= 7:
            raise AddressError(f"{wanted_by!r} is no point: a point needs a function and a data object")
        existing = self._tree.find(text)
        if existing != NO_NODE:
            found = (existing, level)
        else:
            above = address.parent()
            parent = self._container(above.text, text)[0] if above is not None else NO_NODE
            name = address.browse_path()[-1]
            self.parents.append(parent)
            self.names.append(self._tree.name_number(name))
            self.levels.append(level)
            self.rows.append(NO_NODE)
            self.hashes.append(hash(text) & _HASH_MASK)
            found = (self._base + len(self.parents) - 1, level)
        self._containers[text] = found
        return found


def _refuse_twins(
    tree: AddressTree,
    parent: npt.NDArray[np.int32],
    name_id: npt.NDArray[np.int32],
    start: int,
    batch: _TreeBatch,
) -> None:
    keys = (parent.astype(np.int64) << 32) | name_id
    order = np.argsort(keys, kind="stable")
    same = np.nonzero(keys[order][1:] == keys[order][:-1])[0]
    if not len(same):
        return
    # Rare: name the two addresses. The columns are put in only to rebuild the texts.
    old = (tree.parent, tree.name_id, tree.level)
    tree.parent, tree.name_id = parent, name_id
    tree.level = np.concatenate([tree.level, np.frombuffer(batch.levels, np.uint8)])
    first, second = (tree.address(int(order[same[0] + step])) for step in (0, 1))
    tree.parent, tree.name_id, tree.level = old
    if first == second:
        raise AddressError(f"{first} exists twice")
    raise AddressError(f"{first} and {second} would get the same browse path; rename one")
