"""The three kinds of retained state: values of points, values of places, metadata. Each a queue and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from address_space.edits import Edit, EditKind
from address_space.point import Rows
from address_space.table import PointTable
from twin_gateway.mqtt.encode import Binding, metadata_object, table_objects
from twin_gateway.mqtt.state import StateQueue
from twin_gateway.mqtt.topics import Groups, PointTopics

_POINT_BLOCK = 64
_GROUP_BLOCK = 64
_GROUP_POINTS = 4096


class Encoded(NamedTuple):
    """One retained message: the item it is about, topic, payload, and how many points it shows."""

    item: int
    topic: str
    payload: bytes
    points: int


def _points(table: PointTable, known: int) -> Rows:
    """Of the first `known` rows those that are not retired."""
    rows = np.arange(known, dtype=np.int32)
    return rows[table.is_point(rows)] if table.retired else rows


def _cleared(table: PointTable, items: Rows, topic: Callable[[int], str]) -> tuple[list[Encoded], Rows]:
    """Empty messages for retired rows whose address no new point has, and the rows that are points."""
    if not table.retired:
        return [], items
    there = table.is_point(items)
    gone = [row for row in items[~there].tolist() if table.find(table.address(row)) < 0]
    return [Encoded(row, topic(row), b"", 0) for row in gone], items[there]


class Lane(Protocol):
    """One kind of retained state."""

    queue: StateQueue

    @property
    def block(self) -> int:
        """Items to encode at a time: enough for numpy, few enough that no value waits long after it was read."""
        ...

    def extend(self) -> None:
        """Take in rows that are new in the table; they become due."""
        ...

    def changed(self, rows: Rows) -> None:
        """The values of these rows changed."""
        ...

    def edited(self, edit: Edit) -> None:
        """Points are retired, or something else than they were."""
        ...

    def everything_due(self) -> None:
        """All of it is to be published again."""
        ...

    def encode(self, items: Rows) -> Sequence[Encoded]:
        """Messages of these items as the table is now."""
        ...


class PointLane:
    """Retained `v`: one message a point."""

    block = _POINT_BLOCK

    def __init__(self, table: PointTable, root: str) -> None:
        self.queue = StateQueue()
        self._table = table
        self._topics = PointTopics(table, root, "v")
        self._known = 0

    def extend(self) -> None:
        """New rows become due."""
        size = len(self._table)
        self.queue.grow(size)
        self.queue.set_due(np.arange(self._known, size, dtype=np.int32))
        self._known = size

    def changed(self, rows: Rows) -> None:
        """Each of the rows waits."""
        self.queue.mark(rows)

    def edited(self, edit: Edit) -> None:
        """The topics of retired points are to be cleared."""
        if edit.kind is EditKind.RETIRED:
            self.queue.mark(edit.rows)

    def everything_due(self) -> None:
        """All rows."""
        self.queue.set_all_due(_points(self._table, self._known))

    def encode(self, items: Rows) -> Sequence[Encoded]:
        """One message a row; an empty one, which clears the topic, where there is no such point any more."""
        topic = self._topics.of
        cleared, items = _cleared(self._table, items, topic)
        if not len(items):
            return cleared
        texts = table_objects(self._table, items)
        return cleared + [
            Encoded(row, topic(row), text.encode(), 1) for row, text in zip(items.tolist(), texts, strict=True)
        ]


class GroupLane:
    """Retained `g`: one message a place with all its points, so that the newest message alone is the whole state."""

    def __init__(self, table: PointTable, root: str, level: int) -> None:
        self.queue = StateQueue()
        self._table = table
        self._groups = Groups(table, root, level)

    @property
    def block(self) -> int:
        """So many groups that the points stay within bounds."""
        return max(1, min(_GROUP_BLOCK, _GROUP_POINTS // max(1, self._groups.largest)))

    def extend(self) -> None:
        """Places with new points become due."""
        self.queue.grow(len(self._table.tree))
        self.queue.set_due(self._groups.extend())

    def changed(self, rows: Rows) -> None:
        """The places of the rows wait; two changes of one place in one batch are one message without a loss."""
        groups = self._groups.of_row[rows]
        self.queue.mark(np.unique(groups))

    def edited(self, edit: Edit) -> None:
        """The places of retired points have fewer members, or none; what a point is stands in no group."""
        if edit.kind is EditKind.RETIRED:
            self.queue.mark(np.unique(self._groups.retired(edit.rows)))

    def everything_due(self) -> None:
        """All places."""
        of_row = self._groups.of_row
        self.queue.set_due(np.unique(of_row[_points(self._table, len(of_row))]))

    def encode(self, items: Rows) -> Sequence[Encoded]:
        """One message a place; an empty one, which clears the topic, where no point is left."""
        layouts = [self._groups.layout(group) for group in items.tolist()]
        rows = layouts[0].rows if len(layouts) == 1 else np.concatenate([layout.rows for layout in layouts])
        texts = table_objects(self._table, rows) if len(rows) else []
        encoded, start = [], 0
        for group, layout in zip(items.tolist(), layouts, strict=True):
            end = start + len(layout.keys)
            if end == start:
                if not self._groups.stands_elsewhere(group):
                    encoded.append(Encoded(group, layout.topic, b"", 0))
                continue
            members = ",".join(map(str.__add__, layout.keys, texts[start:end]))
            encoded.append(Encoded(group, layout.topic, f"{{{members}}}".encode(), end - start))
            start = end
        return encoded


class MetadataLane:
    """Retained `m`: what a point is."""

    block = _POINT_BLOCK

    def __init__(self, table: PointTable, root: str, gateway: str, binding: Binding | None) -> None:
        self.queue = StateQueue()
        self._table = table
        self._topics = PointTopics(table, root, "m")
        self._gateway = gateway
        self._binding = binding
        self._known = 0

    def extend(self) -> None:
        """New rows become due."""
        size = len(self._table)
        self.queue.grow(size)
        self.queue.set_due(np.arange(self._known, size, dtype=np.int32))
        self._known = size

    def changed(self, rows: Rows) -> None:
        """Nothing: metadata does not change with values."""

    def edited(self, edit: Edit) -> None:
        """They are told anew, or cleared."""
        self.queue.mark(edit.rows)

    def everything_due(self) -> None:
        """All rows."""
        self.queue.set_all_due(_points(self._table, self._known))

    def encode(self, items: Rows) -> Sequence[Encoded]:
        """One message a row; an empty one, which clears the topic, where there is no such point any more."""
        topic = self._topics.of
        cleared, items = _cleared(self._table, items, topic)
        return cleared + [
            Encoded(row, topic(row), metadata_object(self._table, row, self._gateway, self._binding).encode(), 0)
            for row in items.tolist()
        ]
