"""Late samples of measured and counted values, told together: one event per link for many of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.events import Event
from address_space.journal import Chunk
from address_space.point import Rows
from address_space.table import PointTable
from twin_gateway.mqtt.topics import Topics

_SUMMED = (ValueType.DOUBLE, ValueType.INT64)
"""What has a state (a position, an indication, a text) is told one by one: its order and times tell a story."""


@dataclass(slots=True)
class _Sum:
    """The late samples of one link: when they are told, how many, of which time, and the first piece as it came."""

    due: float
    piece: Chunk
    first: int
    last: int
    count: int = 0


class LateSums:
    """Sums late samples up per link.

    Args:
        table: whose late samples these are.
        topics: for the addresses of the links.
        window: s after the first late sample of a link until they are told; 0: none is summed up.
    """

    def __init__(self, table: PointTable, topics: Topics, window: float) -> None:
        self._table, self._topics, self._window = table, topics, window
        self._sums: dict[str, _Sum] = {}

    def take(self, chunk: Chunk, now: float) -> Chunk | None:
        """Take what is summed up out of a chunk at a time in s; returns what is to be told one by one."""
        if self._window <= 0 or chunk.texts is not None:
            return chunk
        types = self._table.value_type[chunk.rows]
        summed = np.isin(types, _SUMMED)
        if not summed.any():
            return chunk
        for link, part in self._by_link(chunk.rows, np.nonzero(summed)[0]):
            times = chunk.source_time[part]
            first, last = int(times.min()), int(times.max())
            found = self._sums.get(link)
            if found is None:
                found = self._sums[link] = _Sum(now + self._window, chunk.part(part[:1]), first, last)
            found.count += len(part)
            found.first, found.last = min(found.first, first), max(found.last, last)
        return None if summed.all() else chunk.part(np.nonzero(~summed)[0])

    def due(self, now: float) -> Iterator[Chunk | Event]:
        """What is to be told at a time in s: an event for many samples of a link, a single one as it came."""
        for link, found in list(self._sums.items()):
            if now < found.due:
                continue
            del self._sums[link]
            if found.count == 1:
                yield found.piece
                continue
            details = ("count", str(found.count)), ("first", clock.iso(found.first)), ("last", clock.iso(found.last))
            source = f"of link {link}" if link else "of results"
            address = self._topics.link_address(link) if link else self._topics.gateway_address
            text = f"{found.count} late values {source}"
            yield Event("late", text, 200, address, source_time=found.last, actor="mqtt", details=details)

    def _by_link(self, rows: Rows, where: npt.NDArray[np.intp]) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
        found: dict[str, list[int]] = {}
        for index, row in zip(where.tolist(), rows[where].tolist(), strict=True):
            found.setdefault(self._table.binding(row)[0], []).append(index)
        for link, part in found.items():
            yield link, np.array(part, np.intp)
