"""The address tree: every node of the address space in a few numpy columns, names interned, ids never stored."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from address_space.address import FILLER, MAX_LENGTH, AddressError, parse_uncached

_HASH_MASK = 0xFFFF_FFFF
NO_NODE = -1
_FUNCTION_LEVEL = 7
_DEEPEST = 14
_MANY_CONTAINERS = 10_000
_LONG_HEAD = MAX_LENGTH - 33
"""Heads up to here leave room for any data object or attribute."""


class AddressTree:
    """Containers and points by technological address.

    A node is an integer. The text of its address is rebuilt from its parents; filler levels `_` are not nodes.
    Columns (numpy, one entry a node): parent, name id, level (1 to 6 place, 7 function, 8 data object, …), first
    child, next sibling, row of the point table (-1 for containers), 32-bit hash with its sort order.
    About 33 bytes a node. Nodes keep their numbers: one that is removed stays as an empty place that nothing finds.

    Attributes:
        edition: counts removals; what remembers nodes looks again when it is another one.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self.name_ids: dict[str, int] = {}
        self.parent = np.empty(0, np.int32)
        self.name_id = np.empty(0, np.int32)
        self.level = np.empty(0, np.uint8)
        self.first_child = np.empty(0, np.int32)
        self.next_sibling = np.empty(0, np.int32)
        self.row = np.empty(0, np.int32)
        self._sorted_hash = np.empty(0, np.uint32)
        self._order = np.empty(0, np.int32)
        self._cache: dict[str, int] = {}
        self.data_objects: dict[str, int] = {}
        self.attributes: dict[str, int] = {}
        """Names of points that have passed the grammar -> their number, by what they are; few, they repeat."""
        self.edition = 0
        self._kept: set[int] = set()
        self._gone: npt.NDArray[np.bool_] = np.empty(0, bool)  # made with the first removal

    def __len__(self) -> int:
        return len(self.parent)

    # ---- building -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> tuple[int, int]:
        """Another one after each change."""
        return len(self), self.edition

    def add(self, addresses: Iterable[str], first_row: int) -> int:
        """Add points with rows from `first_row` on, and the containers above them; returns how many points.

        Raises:
            AddressError: when an address is malformed, exists already, or two siblings would get one BrowseName.
        """
        batch = _TreeBatch(self, first_row)
        batch.add_points(addresses)
        count, many = self._join(batch), batch.containers > _MANY_CONTAINERS
        del batch
        if many:
            self._move_names()
        return count

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
        self._kept.add(node)
        return node

    def remove(self, points: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Take points out, and the containers that only they needed; those of `add_container` stay.

        What is gone is found and listed no more, but `address` still knows what it was called.

        Args:
            points: nodes that are points.

        Returns:
            The nodes that are gone; a point below which others stand is not among them, it is a container now.
        """
        gone = self.gone.copy()
        below = np.bincount(self.parent[~gone & (self.parent >= 0)], minlength=len(self))
        self.row[points] = NO_NODE
        kept = np.zeros(len(self), bool)
        kept[list(self._kept)] = True
        front = np.unique(points)
        parts = []
        while len(front):
            front = front[(below[front] == 0) & (self.row[front] < 0) & ~kept[front] & ~gone[front]]
            gone[front] = True
            parts.append(front.astype(np.int32))
            above = self.parent[front]
            above = above[above >= 0]
            np.subtract.at(below, above, 1)
            front = np.unique(above)
        self._gone = gone
        self._link_children()
        stays = ~gone[self._order]
        self._sorted_hash, self._order = self._sorted_hash[stays], self._order[stays]
        self._cache.clear()
        self.edition += 1
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def become(self, other: AddressTree) -> None:
        """Be what a copy of this tree has become; the copy is spent then."""
        self.__dict__.update(other.__dict__)

    def copy(self) -> AddressTree:
        """The same nodes once more; a million take about 10 ms."""
        made = AddressTree()
        made._names, made.name_ids = list(self._names), dict(self.name_ids)
        for name in ("parent", "name_id", "level", "first_child", "next_sibling", "row"):
            setattr(made, name, getattr(self, name).copy())
        made._sorted_hash, made._order = self._sorted_hash, self._order
        made.data_objects, made.attributes = dict(self.data_objects), dict(self.attributes)
        made._kept, made._gone, made.edition = set(self._kept), self._gone.copy(), self.edition
        return made

    @property
    def gone(self) -> npt.NDArray[np.bool_]:
        """Which nodes are removed, one entry a node."""
        missing = len(self) - len(self._gone)
        return np.concatenate([self._gone, np.zeros(missing, bool)]) if missing else self._gone

    def name_number(self, name: str) -> int:
        """Number of an interned name; the caller has checked it."""
        number = self.name_ids.get(name)
        if number is None:
            number = self.name_ids[name] = len(self._names)
            self._names.append(name)
        return number

    def _join(self, batch: _TreeBatch) -> int:
        start = len(self.parent)
        parent, name_id, level, row, hashes = batch.columns()
        points = int(np.count_nonzero(row >= 0))
        row = np.concatenate([self.row, row])
        parent = np.concatenate([self.parent, parent])
        name_id = np.concatenate([self.name_id, name_id])
        level = np.concatenate([self.level, level])
        keys = (parent.astype(np.int64) << 32) | name_id
        gone = np.nonzero(self._gone)[0]
        keys[gone] = np.iinfo(np.int64).min + gone  # nobody's twin
        merged = _points_that_are_containers(keys, level, row, start)
        if len(merged):
            keep = np.ones(len(keys), bool)
            keep[merged] = False
            parent, name_id, level = parent[keep], name_id[keep], level[keep]
            row, keys = row[keep], keys[keep]
            hashes = hashes[keep[start:]]
        self._refuse_twins(keys, parent, name_id, level)
        self.parent, self.name_id, self.level, self.row = parent, name_id, level, row
        self._link_children()
        hashes = np.concatenate([self._sorted_hash, hashes])
        order = np.argsort(hashes)
        self._sorted_hash = hashes[order]
        nodes = np.concatenate([self._order, np.arange(start, len(parent), dtype=np.int32)])
        self._order = nodes[order]
        self._cache.clear()
        return points

    def _move_names(self) -> None:
        # The kept names were cut from address texts that are gone by now, one in each of many memory pools. Through
        # one long text they come to stand together, and the pools go back to the system (40 bytes a point). The
        # collection empties the interpreter's own free lists, which would keep the pools as well.
        joined = "\n".join(self._names)
        self._names, self.name_ids = [], {}
        # It looks at nothing that is kept: that would take long where very much has been built.
        frozen = gc.get_freeze_count()
        if not frozen:
            gc.freeze()
        gc.collect()
        if not frozen:
            gc.unfreeze()
        self._names = joined.split("\n")
        self.name_ids = dict(zip(self._names, range(len(self._names)), strict=True))

    def _refuse_twins(
        self,
        keys: npt.NDArray[np.int64],
        parent: npt.NDArray[np.int32],
        name_id: npt.NDArray[np.int32],
        level: npt.NDArray[np.uint8],
    ) -> None:
        order = np.argsort(keys)
        same = np.nonzero(keys[order][1:] == keys[order][:-1])[0]
        if not len(same):
            return
        probe = AddressTree()
        probe.parent, probe.name_id, probe.level, probe._names = parent, name_id, level, self._names
        first, second = (probe.address(int(order[same[0] + step])) for step in (0, 1))
        if first == second:
            raise AddressError(f"{first} exists twice")
        raise AddressError(f"{first} and {second} would get the same browse path; rename one")

    def _link_children(self) -> None:
        count = len(self.parent)
        parent = np.where(self.gone, NO_NODE - 1, self.parent) if len(self._gone) else self.parent
        order = np.argsort(parent, kind="stable").astype(np.int32)
        parents = parent[order]
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

    def find_many(self, addresses: Sequence[str]) -> npt.NDArray[np.int32]:
        """Nodes of many addresses, int32, `NO_NODE` (-1) where there is none; several times faster than one by one."""
        found = np.full(len(addresses), NO_NODE, np.int32)
        if not len(addresses) or not len(self._order):
            return found
        keys = np.fromiter((hash(text) & _HASH_MASK for text in addresses), np.uint32, len(addresses))
        at = np.minimum(np.searchsorted(self._sorted_hash, keys), len(self._order) - 1)
        hits = np.nonzero(self._sorted_hash[at] == keys)[0]
        nodes = self._order[at[hits]]
        names, level, heads = self._names, self.level, {NO_NODE: ""}
        above = self.parent[nodes]
        gaps = level[nodes].astype(np.int32) - level[above] - 1
        columns = (hits, nodes, above, np.where(above < 0, 0, gaps), self.name_id[nodes])
        for index, node, parent, gap, name in zip(*(column.tolist() for column in columns), strict=True):
            head = heads.get(parent)
            if head is None:
                head = self._head(parent, heads)
            if gap:
                head += f"{FILLER}/" * gap
            # Two texts with one hash are rare: the plain search tells them apart.
            text = addresses[index]
            found[index] = node if head + names[name] == text else self.find(text)
        return found

    def _head(self, node: int, heads: dict[int, str]) -> str:
        """Text before a child of the node (without fillers between the two); remembered with all above it."""
        parent = int(self.parent[node])
        head = heads.get(parent)
        if head is None:
            head = self._head(parent, heads)
        if parent >= 0:
            head += f"{FILLER}/" * (int(self.level[node]) - int(self.level[parent]) - 1)
        heads[node] = head = f"{head}{self._names[self.name_id[node]]}/"
        return head

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
        number = self.name_ids.get(name)
        if number is None:
            return NO_NODE
        return next((child for child in self.children(node) if self.name_id[child] == number), NO_NODE)

    def roots(self) -> list[int]:
        """The grid nodes."""
        return [int(node) for node in np.nonzero((self.parent == NO_NODE) & ~self.gone)[0]]

    def nodes_of_rows(self, rows: Sequence[int] | npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Nodes of table rows, int32, same shape."""
        node_of_row = np.full(int(self.row.max(initial=-1)) + 1, NO_NODE, np.int32)
        points = np.nonzero(self.row >= 0)[0]
        node_of_row[self.row[points]] = points
        return node_of_row[np.asarray(rows, np.int32)]


def _points_that_are_containers(
    keys: npt.NDArray[np.int64], level: npt.NDArray[np.uint8], row: npt.NDArray[np.int32], start: int
) -> npt.NDArray[np.intp]:
    """New points whose node exists as a container already, because points stand below them (`A/phsA` and `A/phsA/ang`).

    The container takes the row (in place); returned are the nodes that are therefore not needed.
    """
    containers = np.nonzero((row < 0) & (level > _FUNCTION_LEVEL))[0]
    if not len(containers):
        return np.empty(0, np.intp)
    containers = containers[np.argsort(keys[containers], kind="stable")]
    points = start + np.nonzero(row[start:] >= 0)[0]
    places = np.minimum(np.searchsorted(keys[containers], keys[points]), len(containers) - 1)
    same = keys[containers[places]] == keys[points]
    merged: npt.NDArray[np.intp] = points[same]
    # Of two points at one address only the first is merged; the other stays and is refused as a twin.
    _unique, first = np.unique(keys[merged], return_index=True)
    merged = merged[first]
    row[containers[places[same]][first]] = row[merged]
    return merged


class _TreeBatch:
    """Nodes on their way into a tree: first the containers, then the points, as plain arrays joined at once."""

    def __init__(self, tree: AddressTree, first_row: int) -> None:
        self._tree = tree
        self._base = len(tree)
        self._first_row = first_row
        # Container text -> node * 16 + level: one small integer instead of a tuple, there are very many.
        self._places: dict[str, int] = {}
        # Names of containers by level that have passed the grammar, so that each is parsed once.
        self._checked: list[set[str]] = [set() for _ in range(16)]
        self._parents = array("i")
        self._names = array("i")
        self._levels = array("B")
        self._hashes = array("q")
        self._add_parent, self._add_name = self._parents.append, self._names.append
        self._add_level, self._add_hash = self._levels.append, self._hashes.append
        self._name_ids = tree.name_ids
        self._last_head: str | None = None
        self._last_above = (NO_NODE, 1)
        self._point_names = array("i")
        self._point_hashes = array("q")
        # Points that follow each other below one container: where the run starts, and the container.
        self._run_starts = array("i")
        self._run_places = array("q")

    @property
    def containers(self) -> int:
        """How many containers the batch adds."""
        return len(self._parents)

    def add_points(self, addresses: Iterable[str]) -> None:
        """Add points in order.

        Raises:
            AddressError: when an address is malformed or no point.
        """
        places, data_objects, attributes = self._places, self._tree.data_objects, self._tree.attributes
        add_name, add_hash = self._point_names.append, self._point_hashes.append
        last_head, leaves = None, data_objects
        for text in addresses:
            head, _, name = text.rpartition("/")
            if head != last_head:
                last_head = head
                place = places.get(head) or self._point_container(head, text)
                leaves = data_objects if place & 15 == 7 else attributes
                if len(head) > _LONG_HEAD:
                    parse_uncached(text)
                self._run_starts.append(len(self._point_names))
                self._run_places.append(place)
            number = leaves.get(name)
            if number is None:
                parse_uncached(text)
                number = leaves[name] = self._tree.name_number(name)
            add_name(number)
            add_hash(hash(text))

    def container(self, text: str) -> None:
        """Make a container and all above it.

        Raises:
            AddressError: when the text is malformed.
        """
        parse_uncached(text)
        self._container(text)

    def columns(
        self,
    ) -> tuple[
        npt.NDArray[np.int32],
        npt.NDArray[np.int32],
        npt.NDArray[np.uint8],
        npt.NDArray[np.int32],
        npt.NDArray[np.uint32],
    ]:
        """Parent, name id, level, row and hash of the new nodes; the batch is spent then."""
        self._places.clear()
        self._checked.clear()
        containers, points = len(self._parents), len(self._point_names)
        starts = np.frombuffer(self._run_starts, np.int32)
        places = np.repeat(np.frombuffer(self._run_places, np.int64), np.diff(starts, append=points))
        rows = np.full(containers + points, NO_NODE, np.int32)
        rows[containers:] = np.arange(self._first_row, self._first_row + points)
        hashes = np.concatenate([np.frombuffer(self._hashes, np.int64), np.frombuffer(self._point_hashes, np.int64)])
        return (
            np.concatenate([np.frombuffer(self._parents, np.int32), (places >> 4).astype(np.int32)]),
            np.concatenate([np.frombuffer(self._names, np.int32), np.frombuffer(self._point_names, np.int32)]),
            np.concatenate([np.frombuffer(self._levels, np.uint8), ((places & 15) + 1).astype(np.uint8)]),
            rows,
            (hashes & _HASH_MASK).astype(np.uint32),
        )

    def _point_container(self, head: str, text: str) -> int:
        place = self._container(head) if head else 0
        if place & 15 < 7:
            parse_uncached(text)
            raise AddressError(f"{text!r} is no point: a point needs a function and a data object")
        return place

    def _container(self, text: str) -> int:
        known = self._places.get(text)
        if known is not None:
            return known
        head, _, name = text.rpartition("/")
        if head != self._last_head:
            # Siblings follow each other: their common parent is looked for once.
            self._last_above = self._above(head)
            self._last_head = head
        parent, level = self._last_above
        if name not in self._checked[level]:
            parse_uncached(text)
            self._checked[level].add(name)
        node = self._tree.find(text) if self._base else NO_NODE
        if node == NO_NODE:
            number = self._name_ids.get(name)
            if number is None:
                number = self._tree.name_number(name)
            node = self._base + len(self._parents)
            self._add_parent(parent)
            self._add_name(number)
            self._add_level(level)
            self._add_hash(hash(text))
        place = self._places[text] = node << 4 | level
        return place

    def _above(self, head: str) -> tuple[int, int]:
        """(node, level of its children) of a parent's text, trailing fillers skipped."""
        level = 1
        while head.endswith("/_"):
            head = head[:-2]
            level += 1
        place = self._container(head) if head else 0
        level += place & 15
        if level > _DEEPEST:
            raise AddressError(f"{head!r} is nested too deeply: {_DEEPEST} levels are the most")
        return (place >> 4 if head else NO_NODE), level
