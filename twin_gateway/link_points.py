"""The points of a link: its channel (`LCCH1`) and what it and its driver count (`twLINK1`), spec 7.1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import PointProfile
from address_space.table import PointTable
from twin_gateway.drivers.contract import RedundantDriver, StrayKeepingDriver
from twin_gateway.drivers.link import LinkState, LinkSupervisor
from twin_gateway.unmapped import UnmappedNotice

COUNTERS: Mapping[str, Sequence[str]] = {
    "ConnCnt": ("connects",),
    "LosCnt": ("losses",),
    "FailCnt": ("attempts_failed",),
    "FltCnt": ("driver_faults",),
}
"""Data objects of `twLINK1` that every link has -> its counters that add up to them; the others its protocol names."""
_FAILURES = ("errors", "faults", "losses")


def new_points(table: PointTable, places: Iterable[tuple[str, Sequence[str]]]) -> range:
    """Put data objects of places (`LCCH1/RxCnt`) into the table; their rows in the same order.

    What each is follows from its name alone, so one of very many places costs little more than its entries in the tree.
    """
    addresses: list[str] = []
    profiles: list[int] = []
    for place, names in places:
        addresses += [f"{place}/{name}" for name in names]
        profiles += [table.profile_number(_profile(name)) for name in names]
    none = [0] * len(addresses)
    return table.add_columns(addresses, profiles, none, none)


@cache
def _profile(name: str) -> PointProfile:
    return PointProfile.of(classify(parse(f"g/_/_/_/_/_/{name}")))


class LinkPoints:
    """The points of one link.

    Args:
        link: the link.
        counters: what its protocol counts: data object of `twLINK1` -> counters that add up to it.

    Attributes:
        place: address of the link.
        size: how many there are; the last one is a text.
    """

    def __init__(self, link: LinkSupervisor, counters: Mapping[str, Sequence[str]]) -> None:
        self._link = link
        self._counted = tuple({**COUNTERS, **counters}.items())
        self._redundant = isinstance(link.driver, RedundantDriver) and link.driver.redundant
        self._unmapped = UnmappedNotice(link) if isinstance(link.driver, StrayKeepingDriver) else None
        self.place = link.address
        self.size = len(self.names())
        self._told: list[float] = [math.nan] * (self.size - 1)
        self._told_error: str | None = None

    @property
    def link_name(self) -> str:
        """Name of the link."""
        return self._link.name

    def names(self) -> list[str]:
        """Of the points below the link's place, in the order of their rows."""
        channel = ["ChLiv", "FerCh", "RxCnt"]
        if self._redundant:
            channel += ["RedChLiv", "RedFerCh"]
        counted = [*(name for name, _ in self._counted), *(["UnmCnt"] if self._unmapped else []), "Flap", "LastErr"]
        return [*(f"LCCH1/{name}" for name in channel), *(f"twLINK1/{name}" for name in counted)]

    def changed(self, first: int) -> Iterator[tuple[int, float]]:
        """(row, value) of what is otherwise than the last time, where `first` is the row of the first point."""
        values = self._values()
        if values == self._told:
            return
        for place, (value, told) in enumerate(zip(values, self._told, strict=True)):
            if value != told:
                yield first + place, value
        self._told = values

    def changed_error(self) -> str | None:
        """The last error, when it is another one than the last time."""
        error = self._link.last_error
        if error == self._told_error:
            return None
        self._told_error = error
        return error

    def _values(self) -> list[float]:
        link, counters = self._link, self._link.counters
        failed = sum(count for name, count in counters.items() if name.endswith(_FAILURES))
        values = [float(link.state is LinkState.UP), float(failed), float(counters["samples"])]
        if self._redundant and isinstance(link.driver, RedundantDriver):
            values += [float(link.driver.redundancy_alive), float(counters["standby_losses"])]
        values += [float(sum([counters[name] for name in names])) for _, names in self._counted]
        if self._unmapped:
            values.append(float(self._unmapped.count()))
        values.append(float(link.flapping))
        return values
