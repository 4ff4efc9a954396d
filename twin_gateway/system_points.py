"""The gateway's own points under `<grid>/_sys/<gateway>`: queues, drops and clock, and those of its links."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

import numpy as np

from address_space import clock
from address_space.address import escape
from address_space.point import Batch, TextSample
from address_space.table import PointTable
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.link_points import LinkPoints, new_points


def gateway_place(grid: str, gateway: str) -> str:
    """Place of a gateway: `<grid>/_sys/<gateway>`."""
    return f"{grid}/_sys/{escape(gateway)}"


_TOGETHER = 2000
"""Values that are written at once."""
PARTS = ("disk", "files", "history", "mapping", "mqtt", "opcua", "tags", "trusted", "twin")
"""Parts of a gateway that have conditions of their own."""


def part_place(gateway: str, part: str) -> str:
    """Place of a part of a gateway, of whose place it is a child: `<grid>/_sys/<gateway>/_/_/<part>`."""
    return f"{gateway}/_/_/{part}"


def link_place(grid: str, gateway: str, link: str) -> str:
    """Place of a link: `<grid>/_sys/<gateway>/_/_/<link>`."""
    return f"{gateway_place(grid, gateway)}/_/_/{escape(link)}"


class SystemPoints:
    """Puts the points into the table once and refreshes them when asked, in one batch.

    Args:
        table: where the points live.
        place: as of `gateway_place`.
        counters: what the gateway counts, read at each refresh: data object of `twGWAY1` -> value.
    """

    def __init__(self, table: PointTable, place: str, counters: Callable[[], Mapping[str, float]]) -> None:
        self._table = table
        self._counters = counters
        names = sorted(counters())
        *counted, self._synchronised = new_points(
            table, [(f"{place}/_/_/_", [*(f"twGWAY1/{name}" for name in names), "LTMS1/TmSyn"])]
        )
        self._gateway_rows = dict(zip(names, counted, strict=True))
        self._links: list[tuple[LinkPoints, int]] = []
        for part in PARTS:  # conditions have a source that can be browsed
            table.tree.add_container(part_place(place, part))

    def add_links(self, links: Iterable[tuple[LinkSupervisor, Mapping[str, Sequence[str]]]]) -> None:
        """Add the points of links, all at once; with each its counters as of `LinkPoints`."""
        made = [LinkPoints(link, counters) for link, counters in links]
        first = new_points(self._table, [(points.place, points.names()) for points in made]).start
        for points in made:
            self._links = [*self._links, (points, first)]
            first += points.size

    def remove_links(self, names: Container[str]) -> None:
        """Retire the points of links, all at once."""
        gone = [(points, first) for points, first in self._links if points.link_name in names]
        self._links = [(points, first) for points, first in self._links if points.link_name not in names]
        rows = [row for points, first in gone for row in range(first, first + points.size)]
        self._table.retire(np.array(rows, np.int32))

    def refresh(self) -> Iterator[None]:
        """Bring all points up to date, in parts; unchanged values cost nothing downstream."""
        counters = self._counters()
        rows = [*self._gateway_rows.values(), self._synchronised]
        values = [float(counters[name]) for name in self._gateway_rows]
        values.append(2.0 if clock_is_synchronised() else 0.0)
        texts: list[TextSample] = []
        for points, first in self._links:  # it is another list when links are removed or added meanwhile
            for row, value in points.changed(first):
                rows.append(row)
                values.append(value)
            error = points.changed_error()
            if error is not None:
                texts.append(TextSample(first + points.size - 1, error, 0, clock.now()))
            if len(rows) > _TOGETHER:
                self._write(rows, values, texts)
                rows, values, texts = [], [], []
            yield
        self._write(rows, values, texts)

    def _write(self, rows: list[int], values: list[float], texts: list[TextSample]) -> None:
        # These are the gateway's own observations: its clock is the device's clock.
        batch = Batch.of(rows, values, 0, clock.now(), texts=texts)
        # Links may have been removed since the first part was gathered.
        self._table.ingest(self._table.without_retired(batch) if self._table.retired else batch)


class _TimeX(ctypes.Structure):
    """The head of Linux' `struct timex`; the kernel's answer is longer than what is read here."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 508))


_STATE_ERROR = 5


def clock_is_synchronised() -> bool:
    """Whether the kernel says that this machine's clock is synchronised (adjtimex, read only)."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return False
    return 0 <= int(adjtimex(ctypes.byref(_TimeX()))) < _STATE_ERROR
