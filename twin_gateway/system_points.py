"""The gateway's own points under `<grid>/_sys/<gateway>`: its links, queues, drops and clock."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence

from address_space import clock
from address_space.address import escape, parse
from address_space.catalogue import classify
from address_space.point import Batch, Point, PointProfile
from address_space.quality import Quality
from address_space.table import PointTable
from twin_gateway.drivers.contract import RedundantDriver
from twin_gateway.drivers.link import LinkState, LinkSupervisor

Reading = tuple[float, int]
"""A value and its quality word."""


def gateway_place(grid: str, gateway: str) -> str:
    """Place of a gateway: `<grid>/_sys/<gateway>`."""
    return f"{grid}/_sys/{escape(gateway)}"


_SINGLE = 3
"""Points of a link without a redundant connection."""
PARTS = ("disk", "files", "history", "mqtt", "opcua", "tags", "trusted", "twin")
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
        self._gateway_rows = dict(zip(names, self._add(f"{place}/_/_/_/twGWAY1", names), strict=True))
        (self._synchronised,) = self._add(f"{place}/_/_/_/LTMS1", ["TmSyn"])
        self._links: list[tuple[LinkSupervisor, range]] = []
        for part in PARTS:  # conditions have a source that can be browsed
            table.tree.add_container(part_place(place, part))

    def _add(self, function: str, names: Sequence[str]) -> range:
        addresses = [f"{function}/{name}" for name in names]
        return self._table.add([Point(text, PointProfile.of(classify(parse(text)))) for text in addresses])

    def add_link(self, link: LinkSupervisor) -> None:
        """Add the points of a link: alive, errors, samples received; the same of its redundant connection."""
        names = ["ChLiv", "FerCh", "RxCnt"]
        if isinstance(link.driver, RedundantDriver) and link.driver.redundant:
            names += ["RedChLiv", "RedFerCh"]
        self._links.append((link, self._add(f"{link.address}/LCCH1", names)))

    def refresh(self) -> None:
        """Bring all points up to date; unchanged values cost nothing downstream."""
        rows: list[int] = []
        values: list[float] = []
        counters = self._counters()
        for name, row in self._gateway_rows.items():
            rows.append(row)
            values.append(float(counters[name]))
        rows.append(self._synchronised)
        values.append(2.0 if clock_is_synchronised() else 0.0)
        for link, own in self._links:
            rows += own
            failed = sum(
                count for name, count in link.counters.items() if name.endswith(("errors", "faults", "losses"))
            )
            values += [float(link.state is LinkState.UP), float(failed), float(link.counters["samples"])]
            if len(own) > _SINGLE and isinstance(link.driver, RedundantDriver):
                values += [float(link.driver.redundancy_alive), float(link.counters["standby_losses"])]
        # These are the gateway's own observations: its clock is the device's clock.
        self._table.ingest(Batch.of(rows, values, int(Quality(0)), clock.now()))


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
